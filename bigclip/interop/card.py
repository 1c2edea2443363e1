"""The model card of an export: what the model is, how to use it, and how exact the copy is."""

import importlib.metadata
import math
from collections.abc import Sequence

from bigclip.interop.format import Format
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.verify import Figure


def model_card(model: Outgoing, format: Format, path: str, figures: Sequence[Figure] | None) -> str:
    """Write the card.

    Args:
        model: the checkpoint.
        format: of the export.
        path: what the export is called, for the lines that load it.
        figures: of `verify.compare`; None if it was not run.

    Returns:
        Markdown, with the header that model hubs read.
    """
    version = importlib.metadata.version("bigclip")
    towers = [tower for tower in format.towers if tower in model.towers]
    header = ["---", *([f"library_name: {format.library}"] if format.library else [])]
    if len(towers) == 2:
        header.append("pipeline_tag: zero-shot-image-classification")
    header += ["tags:", "- clip", "- bigclip", "---"]
    parts = [
        "\n".join(header),
        f"# {path}",
        f"{_summary(model, towers)} Exported by bigclip {version} for {format.title}.",
        "## Use",
        f"```python\n{_usage(model, format, path)}\n```",
        "## Model",
        _table(("", ""), _facts(model, towers)),
        "## How exact this copy is",
        _proof(format, figures),
        *(f"Note: {note}" for note in model.notes),
    ]
    return "\n\n".join(parts) + "\n"


def _usage(model: Outgoing, format: Format, path: str) -> str:
    if callable(format.usage):
        return format.usage(model, path).rstrip()
    return format.usage.format(path=path)


def _summary(model: Outgoing, towers: Sequence[str]) -> str:
    kind = "An image-text model" if len(towers) > 1 else f"The {towers[0]} tower of a model"
    origin = model.manifest.get("origin")
    if origin:
        return f"{kind}, imported from {origin['format']} ({origin['source']})."
    return f"{kind} pretrained with a {model.loss} loss."


def _facts(model: Outgoing, towers: Sequence[str]) -> list[tuple[str, str]]:
    prepare = model.preprocess
    away = {"image", "text"} - set(towers)
    held = (shape for name, shape in model.shapes.items() if name.split("/")[0] not in away)
    count = sum(math.prod(shape) for shape in held)
    facts = [
        ("parameters", f"{count:,}"),
        ("step, examples seen", f"{model.step:,}, {model.examples_seen:,}"),
        ("embedding", f"{model.architecture['embed_dim']} dimensions"),
        ("pictures", f"{prepare.size} x {prepare.size}, {prepare.resize}, {prepare.interpolation}"),
        ("pixel mean, deviation", f"{list(prepare.mean)}, {list(prepare.std)}"),
    ]
    for tower in towers:
        fields = model.architecture[tower].items()
        facts += [(f"{tower} tower: {key}", str(value)) for key, value in fields]
    if "text" in towers:
        facts.append(("cleaning of texts", model.tokenizer.clean))
    return facts


def _proof(format: Format, figures: Sequence[Figure] | None) -> str:
    if figures is None:
        return (
            "Not measured: `python -m bigclip.convert ... --verify` compares it with the original "
            f"(needs `{format.install}`)."
        )
    rows = [
        (
            one.what,
            one.inputs,
            f"{one.value:.3g} {one.unit}" + (f": {one.note}" if one.note else ""),
        )
        for one in figures
    ]
    return "Largest difference from the original, in float32:\n\n" + _table(
        ("what", "on", "difference"), rows
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
