"""Where each parameter of a run comes from, decided by names and shapes alone."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from bigclip.config import ConfigError
from bigclip.models.positions import position_grid, text_method
from bigclip.parallel import match_patterns
from bigclip.training.initial.options import WHERE, InitFrom

Shapes = Mapping[str, tuple[int, ...]]

# Layers are scanned ("blocks", with a leading layer axis) or unrolled ("block_07").
_LAYER = re.compile(r"(?P<head>(?:.*/)?)(?:blocks|block_(?P<number>\d{2,}))/(?P<tail>.*)")
_POSITION = re.compile(r"(.*/)?position")
_TOKENS = re.compile(r"(.*/)?token_embedding")


class Origin(NamedTuple):
    """Where one parameter comes from.

    Attributes:
        kind: "same"; "layer", one of scanned layers; "stack", of unrolled ones; "resize";
            "match", rows of a table of tokens; or "fresh", drawn.
        names: of the checkpoint's arrays, in the order of the layers for "stack".
        index: the layer, for "layer".
    """

    kind: str
    names: tuple[str, ...] = ()
    index: int = 0


class Misfit(NamedTuple):
    """A parameter that the checkpoint does not have as the run needs it.

    Attributes:
        name: the parameter, or the tower whose layers are counted.
        there: what the checkpoint has, in words.
        here: what the run needs.
        resizable: whether `resize_positions` would make it fit.
        absent: whether the checkpoint lacks it.
    """

    name: str
    there: str
    here: str
    resizable: bool = False
    absent: bool = False


def find_origins(
    wanted: Shapes, saved: Shapes, options: InitFrom
) -> tuple[dict[str, Origin], list[Misfit]]:
    """Decide where every parameter comes from.

    Args:
        wanted: the run's parameters.
        saved: the checkpoint's.
        options: the block `init_from`.

    Returns:
        {parameter: origin}, in the order of `wanted`, and what does not fit.

    Raises:
        ConfigError: for patterns without effect, or tables that cannot be resized as asked.
    """
    fresh = match_patterns(options.fresh, list(wanted), f"{WHERE}.fresh")
    kept = {name: shape for name, shape in wanted.items() if name not in fresh}
    depths, depths_there = _depths(kept), _depths(saved)
    uneven = {
        head: (depths_there[head], depth)
        for head, depth in depths.items()
        if depths_there.get(head, depth) != depth
    }
    origins = {name: Origin("fresh") for name in wanted}
    misfits = [
        Misfit(f"{head}block*", f"{there} layers", f"{here}")
        for head, (there, here) in uneven.items()
    ]
    for name, shape in kept.items():
        layer = _LAYER.fullmatch(name)
        if layer is not None and layer["head"] in uneven:
            continue
        found = find(name, saved)
        if found is None:
            misfits.append(Misfit(name, "absent", str(list(shape)), absent=True))
            continue
        there = _shape_of(found, saved)
        tokens = bool(_TOKENS.fullmatch(name)) and there[1:] == shape[1:]
        resizable = _resizable(name, there, shape)
        if tokens and options.match_tokens:
            origins[name] = found._replace(kind="match")
        elif there == shape:
            origins[name] = found
        elif resizable and options.resize_positions:
            if name.startswith("text/"):
                text_method(there[0], shape[0], options.text_positions)  # whether it can be done
            origins[name] = found._replace(kind="resize")
        else:
            misfits.append(Misfit(name, str(list(there)), str(list(shape)), resizable=resizable))
    return origins, misfits


def _depths(shapes: Shapes) -> dict[str, int]:
    """Number of layers of each tower, by the path in front of them."""
    depths: dict[str, int] = {}
    for name, shape in shapes.items():
        layer = _LAYER.fullmatch(name)
        if layer is not None:
            count = shape[0] if layer["number"] is None else int(layer["number"]) + 1
            depths[layer["head"]] = max(depths.get(layer["head"], 0), count)
    return depths


def find(name: str, saved: Shapes) -> Origin | None:
    """Find a parameter in the checkpoint by its name, whichever way its layers are kept there."""
    if name in saved:
        return Origin("same", (name,))
    layer = _LAYER.fullmatch(name)
    if layer is None:
        return None
    head, tail = layer["head"], layer["tail"]
    if layer["number"] is not None:
        scanned = f"{head}blocks/{tail}"
        return Origin("layer", (scanned,), int(layer["number"])) if scanned in saved else None
    names: list[str] = []
    while (unrolled := f"{head}block_{len(names):02d}/{tail}") in saved:
        names.append(unrolled)
    return Origin("stack", tuple(names)) if names else None


def _shape_of(origin: Origin, saved: Shapes) -> tuple[int, ...]:
    shape = tuple(saved[origin.names[0]])
    if origin.kind == "layer":
        return shape[1:]
    return (len(origin.names), *shape) if origin.kind == "stack" else shape


def _resizable(name: str, there: tuple[int, ...], here: tuple[int, ...]) -> bool:
    if not _POSITION.fullmatch(name) or len(there) != 2 or there[1:] != here[1:]:
        return False
    if name.startswith("text/"):
        return True
    try:
        return position_grid(there[0])[0] == position_grid(here[0])[0]
    except ConfigError:
        return False
