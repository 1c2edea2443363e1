"""Write the page of a run: `python -m bigclip.report runs/demo` -> runs/demo/report.html.

`bigclip.evaluate` writes it, too; this command does so without evaluating anything.
"""

import argparse
import sys

from bigclip.config import ConfigError
from bigclip.reports import write_report


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.report",
        description="Write WORKDIR/report.html: one page that shows a run, without any network.",
        epilog="example:  python -m bigclip.report runs/demo",
    )
    parser.add_argument("workdir", metavar="WORKDIR", help="directory of the run")
    args = parser.parse_args(arguments)
    try:
        print(write_report(args.workdir))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
