"""Write a .npz that big_vision's `two_towers.load`, `vit.load` and `text_transformer.load` read."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.big_vision.tables import Layout, Tower, rows
from bigclip.interop.files import Spec, write_npz
from bigclip.interop.format import ReadArray
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.torch_layers import zeros as _zeros

_FLOAT32 = np.dtype(np.float32)
_PREFIX = "params/"
_ROOTS = {"image": "img/", "text": "txt/"}
_SCALARS = ("log_logit_scale", "logit_bias")
# What both of its models compute, whatever their sizes.
_FIXED: dict[str, dict[str, Any]] = {
    "image": {"activation": "gelu_tanh", "ln_eps": 1e-6, "stem": "patch", "ln_pre": False},
    "text": {"activation": "gelu_tanh", "ln_eps": 1e-6, "causal": False, "pool": "last"},
}

Made = dict[str, tuple[Spec, Callable[[ReadArray], np.ndarray]]]


def write(path: Path, outgoing: Outgoing) -> None:
    """Write a checkpoint as big_vision's parameters, layers one by one.

    A tower alone is written as its own model's tree, without the scale. Nothing else fits into
    the file: `config_text` tells what a configuration of big_vision must say about it.

    Args:
        path: of the file; nothing may exist there.
        outgoing: the checkpoint.

    Raises:
        ConfigError: for what big_vision's models do not compute; nothing is written then.
    """
    arch, towers = outgoing.architecture, outgoing.towers
    check(arch, towers)
    layout = written_layout(towers)
    extra, without = _folded(arch, layout)
    if len(towers) == 1:
        without += [name for name in _SCALARS if name in outgoing.shapes]
    specs, arrays = outgoing.translated(
        rows(arch, layout), where="big_vision", extra=extra, without=without
    )
    write_npz(path, specs, arrays)


def written_layout(towers: tuple[str, ...]) -> Layout:
    """Return where `write` puts the towers."""
    roots = {name: Tower(_PREFIX + (_ROOTS[name] if len(towers) == 2 else "")) for name in towers}
    return Layout(_PREFIX, roots.get("image"), roots.get("text"))


def check(arch: Mapping[str, Any], towers: tuple[str, ...]) -> None:
    """Refuse what big_vision's models do not compute.

    Raises:
        ConfigError: lists all of it.
    """
    found = []
    for tower in towers:
        if "tower" in arch[tower]:
            found.append(f"{tower}: a {arch[tower]['tower']}; its image tower is a ViT")
            continue
        for key, needed in _FIXED[tower].items():
            value = arch[tower][key]
            if value != needed:
                found.append(f"{tower}.{key} is {value!r}; it has {needed!r} only")
    if found:
        raise ConfigError(
            "big_vision's models cannot compute this one:\n"
            + "\n".join(f"  {one}" for one in found)
            + "\nChoose another --format; safetensors takes every model."
        )


def _folded(arch: Mapping[str, Any], layout: Layout) -> tuple[Made, list[str]]:
    """Return what of theirs no row gives, and what of ours goes into it."""
    made: Made = {}
    without: list[str] = []
    for name, tower in (("image", layout.image), ("text", layout.text)):
        if tower is not None and arch[name]["projection"] and not arch[name]["projection_bias"]:
            made[f"{tower.root}head/bias"] = _zeros(arch["embed_dim"])
    if layout.image is None:
        return made, without
    fields, root = arch["image"], layout.image.root
    if not fields["patch_bias"]:
        made[f"{root}embedding/bias"] = _zeros(fields["width"])
    if fields["pool"] == "class":
        # Positions are added there before the class token is put in front, so that its own goes
        # into the token.
        width, patches = fields["width"], (fields["image_size"] // fields["patch_size"]) ** 2
        without += ["image/position", "image/class_token"]
        made[f"{root}cls"] = Spec((1, 1, width), _FLOAT32), _class_token
        made[f"{root}pos_embedding"] = (
            Spec((1, patches, width), _FLOAT32),
            lambda read: read("image/position")[None, 1:],
        )
    return made, without


def _class_token(read: ReadArray) -> np.ndarray:
    return (read("image/class_token") + read("image/position")[:1])[None]
