"""Tell from the names and shapes of a big_vision tree which architecture it holds."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bigclip.config import ConfigError
from bigclip.interop.big_vision.tables import ENCODERS, Layout, Tower, parts
from bigclip.interop.files import Weights
from bigclip.interop.geometry import shape_of

_MAX_DEPTH = 1000  # no ViT has more than 100 layers
# Newest first: `vit.fix_old_checkpoints` knows them all.
_POSITIONS = (
    "pos_embedding",
    "Transformer/pos_embedding",
    "Transformer/posembed_input/pos_embedding",
)
# What both of its models compute, whatever their sizes.
_SHARED = {"activation": "gelu_tanh", "ln_eps": 1e-6, "init_scheme": "siglip"}
_IMAGE_ALONE = "read the image tower alone (--tower image)"


class Positions(NamedTuple):
    """The table of an image tower's positions in the file.

    Attributes:
        name: of the array; None where positions are computed (sincos2d).
        grid: patches along a side; 0 where the file does not tell.
        class_row: whether a row for the class token comes first, as before 2022.
    """

    name: str | None
    grid: int
    class_row: bool


def find_layout(weights: Weights) -> Layout:
    """Find the towers of a file.

    Raises:
        ConfigError: if there is none.
    """
    # The order in which `utils.load_params` looks.
    prefixes = ("params/", "opt/target/")
    prefix = next((p for p in prefixes if any(name.startswith(p) for name in weights)), "")
    tops = {name.removeprefix(prefix).split("/")[0] for name in weights if name.startswith(prefix)}
    if tops & {"img", "txt"}:
        image = _tower(weights, f"{prefix}img/", "image") if "img" in tops else None
        text = _tower(weights, f"{prefix}txt/", "text") if "txt" in tops else None
        return Layout(prefix, image, text)
    if "embedding" in tops:
        return Layout(prefix, _tower(weights, prefix, "image"), None)
    if "Embed_0" in tops:
        return Layout(prefix, None, _tower(weights, prefix, "text"))
    raise ConfigError(
        f"{weights.path}: no model of big_vision's two_towers, vit or text_transformer: its "
        f"parameters begin with {', '.join(sorted(tops)[:8])}; img and txt, or embedding, were "
        "looked for."
    )


def _tower(weights: Weights, root: str, branch: str) -> Tower:
    encoder = root + ENCODERS[branch]
    scanned = any(name.startswith(f"{encoder}encoderblock/") for name in weights)
    first = f"{encoder}encoderblock{'' if scanned else '_0'}/"
    old = any(name.startswith(f"{first}MultiHeadDotProductAttention_1/") for name in weights)
    positions = next((name for name in _POSITIONS if root + name in weights), None)
    return Tower(root, scanned, old, positions if branch == "image" else "pos_embedding")


def image_fields(weights: Weights, tower: Tower) -> tuple[dict[str, Any], Positions]:
    """Describe an image tower; `image_size` is that of the grid, 0 where the file does not tell.

    Raises:
        ConfigError: for what is missing, and for what our image tower cannot compute.
    """
    root = tower.root
    kernel = f"{root}embedding/kernel"
    table = None if tower.positions is None else root + tower.positions
    _refuse_image(weights, root, kernel, table)
    height, patch_size, channels, width = shape_of(weights, kernel, 4)
    if height != patch_size or channels != 3:
        raise ConfigError(
            f"{weights.path}: {kernel} {list(weights[kernel].shape)}: patches of {height} x "
            f"{patch_size} pixels and {channels} channels; bigclip's are square, of 3 channels."
        )
    pool = "mean"
    if f"{root}cls" in weights:
        pool = "class"
    if any(name.startswith(f"{root}MAPHead_0/") for name in weights):
        pool = "map"
    positions = _positions(weights, table)
    block = _block(weights, tower, "image")
    if pool == "map":
        query = f"{root}MAPHead_0/MultiHeadDotProductAttention_0/query/kernel"
        heads = shape_of(weights, query, 3)[1]
        if heads != block["num_heads"]:
            raise ConfigError(
                f"{weights.path}: {query} has {heads} heads and the layers {block['num_heads']}; "
                "bigclip has one number for both."
            )
    fields = {
        "image_size": positions.grid * patch_size,
        "patch_size": patch_size,
        "width": width,
        **block,
        "stem": "patch",
        "patch_bias": f"{root}embedding/bias" in weights,
        "ln_pre": False,
        "pool": pool,
        **_head(weights, root),
        **_SHARED,
        "patch_dropout": 0.0,
    }
    return fields, positions


def _refuse_image(weights: Weights, root: str, kernel: str, table: str | None) -> None:
    shape = weights[kernel].shape if kernel in weights else None
    tall = table is not None and weights[table].shape[:1] != (1,)
    if (shape is not None and len(shape) == 2) or tall:
        raise ConfigError(
            f"{weights.path}: a NaFlex model (patches as rows, {kernel} {list(shape or ())}; "
            "positions for pictures of all proportions), which bigclip's image tower does not "
            "compute. Take the checkpoint of the same size with a fixed resolution, such as "
            "siglip2_b16_256.npz instead of siglip2_b16_naflex.npz."
        )
    if f"{root}pre_logits/kernel" in weights:
        raise ConfigError(
            f"{weights.path}: {root}pre_logits: a layer with tanh before the head (rep_size), "
            "which bigclip's image tower does not have. Take a checkpoint without it (rep_size="
            "False), or drop pre_logits and head from the file: what is left is the tower up to "
            "its pooling, whose embedding then needs tuning."
        )


def _positions(weights: Weights, table: str | None) -> Positions:
    if table is None:
        return Positions(None, 0, class_row=False)
    _, rows, _ = shape_of(weights, table, 3)
    grid = math.isqrt(rows)
    if grid * grid == rows:
        return Positions(table, grid, class_row=False)
    if grid and grid * grid + 1 == rows:
        return Positions(table, grid, class_row=True)
    raise ConfigError(
        f"{weights.path}: {table} has {rows} rows, which are no square grid; bigclip's pictures "
        "are square. Resize the table to a square grid first."
    )


def text_fields(weights: Weights, tower: Tower) -> dict[str, Any]:
    """Describe a text tower.

    Raises:
        ConfigError: for what is missing, and for what our text tower cannot compute.
    """
    root = tower.root
    tops = {name.removeprefix(root).split("/")[0] for name in weights if name.startswith(root)}
    if any(top.lower().startswith("bert") for top in tops):
        raise ConfigError(
            f"{weights.path}: {root}{min(tops)}: its text tower is BERT (flaxformer), which "
            f"bigclip does not have. To keep what can be kept, {_IMAGE_ALONE} and train a text "
            "tower for it."
        )
    if "MAPHead_0" in tops:
        raise ConfigError(
            f"{weights.path}: {root}MAPHead_0: its text tower pools by attention; bigclip's takes "
            f"the last token. {_IMAGE_ALONE[0].upper()}{_IMAGE_ALONE[1:]}."
        )
    vocab_size, width = shape_of(weights, f"{root}Embed_0/embedding", 2)
    return {
        "vocab_size": vocab_size,
        "context_length": shape_of(weights, f"{root}pos_embedding", 3)[1],
        "width": width,
        **_block(weights, tower, "text"),
        "causal": False,
        "pool": "last",
        **_head(weights, root),
        **_SHARED,
    }


def output_width(weights: Weights, tower: Tower, fields: Mapping[str, Any]) -> int:
    """Return D of a tower."""
    if not fields["projection"]:
        return fields["width"]
    return shape_of(weights, f"{tower.root}head/kernel", 2)[1]


def _head(weights: Weights, root: str) -> dict[str, bool]:
    return {
        "projection": f"{root}head/kernel" in weights,
        "projection_bias": f"{root}head/bias" in weights,
    }


def _block(weights: Weights, tower: Tower, branch: str) -> dict[str, int]:
    """Tell depth, heads and MLP width from the first layer."""
    encoder = tower.root + ENCODERS[branch]
    names = parts(tower)
    first = f"{encoder}encoderblock{'' if tower.scanned else '_0'}/"
    axes = int(tower.scanned)  # in front of those of a layer
    query = shape_of(weights, f"{first}{names['attention']}/query/kernel", 3 + axes)
    up = shape_of(weights, f"{first}{names['mlp']}/Dense_0/kernel", 2 + axes)
    depth = query[0] if tower.scanned else _depth(weights, encoder)
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{weights.path}: {encoder} claims {depth} layers.")
    return {"depth": depth, "num_heads": query[axes + 1], "mlp_width": up[axes + 1]}


def _depth(weights: Weights, encoder: str) -> int:
    """Count the layers; their numbers must follow each other from 0."""
    pattern = re.compile(re.escape(encoder) + r"encoderblock_(\d+)/")
    numbers = {match[1] for match in map(pattern.match, weights) if match}
    # Compared as text: a number of a million digits is never made an int, and 1e9 layers no range.
    missing = {str(i) for i in range(len(numbers))} - numbers
    if missing:
        raise ConfigError(
            f"{weights.path}: {encoder}: {len(numbers)} layers, but encoderblock_"
            f"{min(missing, key=int)} is not among them."
        )
    return len(numbers)
