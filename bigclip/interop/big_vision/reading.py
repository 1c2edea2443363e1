"""Read a .npz of big_vision."""

import re
from pathlib import Path

from bigclip.config import ConfigError, choose
from bigclip.data.preprocess import Preprocess
from bigclip.interop.big_vision.describing import TOWERS, describe
from bigclip.interop.big_vision.geometry import find_layout
from bigclip.interop.big_vision.tables import Layout, rows
from bigclip.interop.big_vision.vocabulary import read_tokenizer
from bigclip.interop.files import open_weights
from bigclip.interop.format import Imported, ReadOptions


def read(path: Path, options: ReadOptions) -> Imported:
    """Read a file that big_vision wrote: two towers, or one; parameters alone, or a checkpoint.

    Args:
        path: of the .npz.
        options: `tokenizer` is needed with a text tower. `architecture` tells the size of the
            pictures, and is held against the file. `tower` leaves the other one out.

    Raises:
        ConfigError: if it is no such file, or holds what our towers cannot compute.
    """
    weights = open_weights(path, kind="npz")
    layout = _wanted(find_layout(weights), options.tower, weights.path)
    found = describe(weights, layout, options.architecture)
    arch, notes = found.architecture, list(found.notes)
    towers = tuple(name for name in TOWERS if getattr(layout, name) is not None)
    tokenizer = None
    if "text" in towers:
        tokenizer, note = read_tokenizer(
            options.tokenizer,
            vocab_size=arch["text"]["vocab_size"],
            context_length=arch["text"]["context_length"],
            where=weights.path,
        )
        notes.append(note)
    if "image" in towers:
        notes.append(
            "preprocessing: no .npz holds any; big_vision's resize(N)|value_range(-1, 1) is taken, "
            "with which its SigLIPs were trained."
        )
    ignored = [re.escape(name) for name in found.used]
    if layout.prefix:
        beside = {name.split("/")[0] for name in weights if not name.startswith(layout.prefix)}
        ignored.append(f"(?!{re.escape(layout.prefix)}).*")
        if beside:
            notes.append(f"left out: {', '.join(sorted(beside)[:8])}, the state of a training.")
    if options.tower is not None:
        root, prefix = (re.escape(p) for p in (getattr(layout, options.tower).root, layout.prefix))
        ignored.append(f"(?!{root}|{prefix}[tb]$).*")
    return Imported(
        weights=weights,
        rows=tuple(row for row in rows(arch, layout) if row.theirs not in found.used),
        architecture=arch,
        loss="sigmoid" if f"{layout.prefix}b" in weights else "softmax",
        preprocess=Preprocess(
            size=arch["image"]["image_size"],
            resize="squash",
            interpolation="bilinear_aliased",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        tokenizer=tokenizer,
        towers=towers,
        ignored=tuple(ignored),
        extra=found.extra,
        notes=tuple(notes),
    )


def _wanted(layout: Layout, tower: str | None, where: str) -> Layout:
    """Leave out the tower that is not asked for."""
    if tower is None:
        return layout
    choose(tower, dict.fromkeys(TOWERS), "--tower")
    if getattr(layout, tower) is None:
        raise ConfigError(f"{where}: has no {tower} tower; leave --tower away.")
    other = TOWERS[1 - TOWERS.index(tower)]
    return layout._replace(**{other: None})
