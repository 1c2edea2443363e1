"""How the run was made: configuration, environment, and the commands to do it again."""

import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigclip import __version__
from bigclip.reports import numbers, tables
from bigclip.reports.markup import Child, Safe, element, join
from bigclip.reports.run import Run
from bigclip.reports.settings import as_cell, flatten


def how_it_was_made(run: Run) -> Safe:
    """Configuration, environment, and the commands."""
    return element(
        "section",
        element("h2", "How it was made"),
        element("details", element("summary", "Configuration"), _configuration(run.config)),
        element("details", element("summary", "Environment"), _environment(run)),
        element("details", element("summary", "Do it again, and use it"), _commands(run)),
        id="made",
    )


def _configuration(config: Mapping[str, Any]) -> list[Safe]:
    blocks = {key: value for key, value in config.items() if isinstance(value, dict) and value}
    plain = {key: value for key, value in config.items() if key not in blocks}
    parts = [tables.facts("run", _flat(plain))]
    parts += [tables.facts(key, _flat(value)) for key, value in blocks.items()]
    return parts


def _flat(block: Mapping[str, Any]) -> list[tuple[Child, Child]]:
    return [(name, as_cell(value)) for name, value in flatten(block).items()]


def _environment(run: Run) -> Safe:
    status = run.status
    rows: list[tuple[Child, Child]] = [("run id", status.get("run_id", "unknown"))]
    for key in ("platform", "device_kind", "num_devices", "num_processes"):
        if status.get(key) is not None:
            rows.append((key.replace("_", " "), str(status[key])))
    for branch, number in run.num_params.items():
        rows.append((f"parameters, {branch}", numbers.count(number)))
    for key in ("memory_bytes", "host_memory_bytes"):
        if run.latest(key):
            rows.append(
                (
                    f"peak {key.removesuffix('_bytes').replace('_', ' ')}",
                    numbers.size(run.latest(key)),
                )
            )
    rows += [(f"{name}, in training", str(v)) for name, v in (status.get("versions") or {}).items()]
    rows.append(
        (
            "report written by",
            f"bigclip {__version__}{_commit()}, Python {platform.python_version()}",
        )
    )
    return tables.facts("Where it ran", rows)


def _commit() -> str:
    """Return the source tree's commit, if bigclip runs from one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" (commit {done.stdout.strip()})" if done.returncode == 0 else ""


def _commands(run: Run) -> Safe:
    workdir = str(run.workdir)
    train = (
        run.status.get("command") or f"python -m bigclip.train --config \u2026 --workdir {workdir}"
    )
    lines = [
        "# train; the same command goes on where it was stopped",
        train,
        "# evaluate the checkpoints, also while the run goes on, and write this page",
        f"python -m bigclip.evaluate --workdir {workdir} --follow",
        "# write this page alone",
        f"python -m bigclip.report {workdir}",
    ]
    use = [
        "import bigclip",
        f"model = bigclip.load({workdir!r})",
        'image_emb = model.embed_images(["picture.png"])',
        'text_emb = model.embed_texts(["a red fox", "an owl"])',
        "print(model.score(image_emb, text_emb))  # larger is a better match",
    ]
    return join(
        element("pre", element("code", "\n".join(lines)), tabindex=0),
        element("pre", element("code", "\n".join(use)), tabindex=0),
    )
