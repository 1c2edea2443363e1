"""Write the page of a run, or a page that compares several.

    python -m bigclip.report runs/demo              -> runs/demo/report.html
    python -m bigclip.report runs/a runs/b runs/c   -> comparison.html

`bigclip.evaluate` writes the page of its run, too; this command evaluates nothing.
"""

import argparse
import sys
from pathlib import Path

from bigclip.config import ConfigError
from bigclip.reports import write_comparison, write_report


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(
        prog="python -m bigclip.report",
        description="Write a page that shows a run, or several side by side, without any network.",
        epilog="example:  python -m bigclip.report runs/a runs/b --out a-and-b.html",
    )
    parser.add_argument(
        "workdirs", metavar="WORKDIR", nargs="+", help="directory of a run; several are compared"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the page; default: WORKDIR/report.html, for several runs ./comparison.html",
    )
    args = parser.parse_args(arguments)
    try:
        out = _checked(args.out)
        if len(args.workdirs) == 1:
            print(write_report(args.workdirs[0], out))
        else:
            print(write_comparison(args.workdirs, **({"out": out} if out else {})))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _checked(out: str | None) -> Path | None:
    """Return where to write, or raise a ConfigError before any work if that cannot be."""
    if out is None:
        return None
    path = Path(out)
    if path.is_dir():
        raise ConfigError(
            f"--out={out} is a directory: name a file in it, such as {out}/report.html."
        )
    if not path.parent.is_dir():
        raise ConfigError(f"--out={out}: there is no directory {path.parent}. Make it first.")
    return path


if __name__ == "__main__":
    sys.exit(main())
