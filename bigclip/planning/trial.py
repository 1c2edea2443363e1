"""One plan in a process of its own: `python -m bigclip.planning.trial REQUEST.json RESULT.json`.

A compiler cannot be interrupted, and gives its memory back only when its process ends. A sweep
therefore plans each of its choices in a new process, which it may stop.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from bigclip.config import ConfigError
from bigclip.planning.plans import plan_training
from bigclip.planning.topology import use_cpu


def plan_apart(
    config: Mapping[str, Any], topology: str, *, timeout_seconds: float, **options: Any
) -> dict[str, Any] | str:
    """Run `plan_training` in a process of its own.

    Args:
        config: plain data.
        topology: as for `plan_training`.
        timeout_seconds: after which the process is stopped.
        **options: of `plan_training`.

    Returns:
        The plan, or in a few words why there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        request, result = (pathlib.Path(folder) / name for name in ("request", "result"))
        request.write_text(json.dumps({"config": config, "topology": topology, "options": options}))
        command = [sys.executable, "-m", "bigclip.planning.trial", str(request), str(result)]
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return f"stopped after {timeout_seconds / 60:.0f} minutes"
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            return f"failed: {last[:200]}"
        return json.loads(result.read_text())


def main(request: str, result: str) -> int:
    """Read the request, plan, write the result; exit code 2 for a mistake in the request."""
    use_cpu()
    asked = json.loads(pathlib.Path(request).read_text())
    try:
        plan = plan_training(asked["config"], asked["topology"], **asked["options"])
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    pathlib.Path(result).write_text(json.dumps(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
