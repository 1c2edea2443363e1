"""From a big_vision tree to an architecture, and to what of ours no row of the table gives."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bigclip import models
from bigclip.config import ConfigError
from bigclip.interop.big_vision.geometry import (
    Positions,
    image_fields,
    output_width,
    text_fields,
)
from bigclip.interop.big_vision.sincos import sincos_positions
from bigclip.interop.big_vision.tables import Layout
from bigclip.interop.files import Weights
from bigclip.interop.format import ReadArray

TOWERS = ("image", "text")
# Of a tower that the file does not hold: a placeholder that fits the tokenizer put beside it.
_DEFAULT = "clip-vit-b-32"
_DEFAULT_SIZE = 224  # pixels, where neither the file nor the user tells
# What a file does not tell, or what does not change the model.
_UNTOLD = ("image_size", "init_scheme", "patch_dropout")

Architecture = dict[str, Any]


class Description(NamedTuple):
    """What a file holds.

    Attributes:
        architecture: whole; of a tower that is left out, a placeholder.
        extra: our path -> function(read) -> array.
        used: arrays of the file that `extra` reads.
        notes: what was taken for granted.
    """

    architecture: Architecture
    extra: dict[str, Callable[[ReadArray], np.ndarray]]
    used: list[str]
    notes: list[str]


def describe(weights: Weights, layout: Layout, named: str | None = None) -> Description:
    """Tell the architecture.

    Args:
        weights: the file.
        layout: where its towers are; one that is to be left out is None.
        named: a name of `ARCHITECTURES` that the user gave.

    Raises:
        ConfigError: if our towers cannot compute it, or it is not the one that the user named.
    """
    claimed = None if named is None else models.architecture(named)
    found = Description(models.architecture(_DEFAULT), {}, [], [])
    arch, widths = found.architecture, {}
    if layout.text is not None:
        arch["text"] = _text(weights, layout, found)
        widths["text"] = output_width(weights, layout.text, arch["text"])
    positions = None
    if layout.image is not None:
        arch["image"], positions = image_fields(weights, layout.image)
        widths["image"] = output_width(weights, layout.image, arch["image"])
        if arch["image"]["pool"] == "mean":
            found.notes.append(
                "image tower: taken as pool_type='gap'; '0' and 'none' have the same arrays."
            )
    if len(set(widths.values())) > 1:
        raise ConfigError(
            f"{weights.path}: its images' embeddings have {widths['image']} values, its texts' "
            f"{widths['text']}: they cannot be compared."
        )
    arch["embed_dim"] = next(iter(widths.values()))
    if positions is None:
        _hold_against(weights.path, arch, layout, claimed, named)
    elif positions.name is None:
        _compute_positions(weights.path, found, claimed)
    else:
        _read_positions(found, positions)
        _settle_image_size(found, layout, positions.grid, claimed)
        _hold_against(weights.path, arch, layout, claimed, named)
    return found


def _text(weights: Weights, layout: Layout, found: Description) -> dict[str, Any]:
    once = f"{layout.text.root}pos_embedding"
    twice = f"{layout.text.root}Encoder_0/pos_embedding"
    fields = text_fields(weights, layout.text)
    if twice in weights:  # old checkpoints have two and add both, see `text_transformer.load`
        if weights[twice].shape != weights[once].shape:
            raise ConfigError(f"{weights.path}: {twice} and {once} differ in shape.")
        found.extra["text/position"] = lambda read: (np.array(read(once)) + read(twice))[0]
        found.used.extend([once, twice])
    found.notes.append(
        "text tower: taken as pool_type='last'; 'first', 'mean' and 'max' have the same arrays."
    )
    return fields


def _compute_positions(where: str, found: Description, claimed: Architecture | None) -> None:
    """Make the table of an image tower that has none: posemb="sincos2d"."""
    fields = found.architecture["image"]
    size = claimed["image"]["image_size"] if claimed else _DEFAULT_SIZE
    patch_size, width = fields["patch_size"], fields["width"]
    if size < patch_size or width % 4 or width < 8:
        raise ConfigError(
            f"{where}: has no table of positions, and positions of sines cannot be computed for "
            f"pictures of {size} pixels, patches of {patch_size} and width {width}."
        )
    fields["image_size"] = size
    front = int(fields["pool"] == "class")

    def positions(_: ReadArray) -> np.ndarray:
        return np.pad(sincos_positions(size // patch_size, width), ((front, 0), (0, 0)))

    found.extra["image/position"] = positions
    why = "as --architecture says" if claimed else "which is assumed: say --architecture if not"
    found.notes.append(
        f"positions: the file has none (posemb='sincos2d'); computed for pictures of {size} "
        f"pixels, {why}."
    )


def _read_positions(found: Description, positions: Positions) -> None:
    """Say how our table comes from theirs, where a row of the mapping does not do."""
    name, class_token = positions.name, found.architecture["image"]["pool"] == "class"
    if class_token and positions.class_row:
        found.extra["image/position"] = lambda read: read(name)[0]
    elif class_token:
        # Positions are added before the class token is put in front, which so gets none.
        found.extra["image/position"] = lambda read: np.pad(read(name)[0], ((1, 0), (0, 0)))
    elif positions.class_row:
        # Of a class token that is not there: `vit.fix_old_checkpoints` drops it, too.
        found.extra["image/position"] = lambda read: read(name)[0, 1:]
    else:
        return
    found.used.append(name)


def _settle_image_size(
    found: Description, layout: Layout, grid: int, claimed: Architecture | None
) -> None:
    """Tell the size of pictures that end within a patch: 384 pixels are 27 patches of 14."""
    arch, fields = found.architecture, found.architecture["image"]

    def fits(one: Architecture) -> bool:
        if _differences(arch, layout, one):
            return False
        return one["image"]["image_size"] // fields["patch_size"] == grid

    if claimed is not None:
        if fits(claimed):
            fields["image_size"] = claimed["image"]["image_size"]
        return
    sizes = {
        one["image"]["image_size"]: name for name, one in models.ARCHITECTURES.items() if fits(one)
    }
    if len(sizes) == 1 and fields["image_size"] not in sizes:
        ((size, name),) = sizes.items()
        last = fields["image_size"] + fields["patch_size"] - 1
        found.notes.append(
            f"image size: {size}, as {name} has, whose shapes these are; the file tells only that "
            f"it is from {fields['image_size']} to {last}."
        )
        fields["image_size"] = size


def _differences(arch: Architecture, layout: Layout, other: Mapping[str, Any]) -> list[str]:
    """List what the file holds otherwise than a named architecture."""
    found = []
    for tower in TOWERS:
        if getattr(layout, tower) is None:
            continue
        for key, value in arch[tower].items():
            if key not in _UNTOLD and value != other[tower].get(key):
                found.append(f"{tower}.{key} is {value}, not {other[tower].get(key)}")
    if arch["embed_dim"] != other["embed_dim"]:
        found.append(f"embed_dim is {arch['embed_dim']}, not {other['embed_dim']}")
    return found


def _hold_against(
    where: str,
    arch: Architecture,
    layout: Layout,
    claimed: Architecture | None,
    named: str | None,
) -> None:
    if claimed is None:
        return
    found = _differences(arch, layout, claimed)
    size, other = (one["image"]["image_size"] for one in (arch, claimed))
    if layout.image is not None and size != other:
        found.append(f"image.image_size is {size}, not {other}")
    if found:
        more = f"; and {len(found) - 6} more" if len(found) > 6 else ""
        raise ConfigError(
            f"{where} is no {named}: {'; '.join(found[:6])}{more}. Leave --architecture away, or "
            "name the one that it is."
        )
