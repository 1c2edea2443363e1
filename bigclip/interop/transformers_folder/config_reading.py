"""From a `config.json` of transformers to an architecture of ours.

A configuration lists what differs from its class's defaults, or everything, as its writer liked.
The defaults here are those of `CLIPConfig`, `SiglipConfig` and `Siglip2Config`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bigclip import models
from bigclip.config import ConfigError
from bigclip.interop.transformers_folder.tables import CLASSES

# Their name -> ours. Several of theirs are one formula in two ways of writing.
ACTIVATIONS = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
LEGACY_EOS = 2  # a CLIPModel with this eos_token_id pools at the largest id, whatever that is

_TOWER = {"num_hidden_layers": 12, "attention_dropout": 0.0}
_CLIP = _TOWER | {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
_SIGLIP = _TOWER | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
_SIGLIP_TEXT = _SIGLIP | {
    "vocab_size": 32000,
    "max_position_embeddings": 64,
    "projection_size": None,
}
_SIGLIP_VISION = _SIGLIP | {"num_channels": 3, "patch_size": 16, "vision_use_head": True}
# (of the text, of the vision) by model_type
_DEFAULTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip": (
        _CLIP
        | {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
        | {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407},
        _CLIP
        | {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
        | {"num_channels": 3, "image_size": 224, "patch_size": 32},
    ),
    "siglip": (_SIGLIP_TEXT, _SIGLIP_VISION | {"image_size": 224}),
    "siglip2": (_SIGLIP_TEXT, _SIGLIP_VISION | {"num_patches": 256}),
}
_CLIP_PROJECTION = 512

# What no model has more of: a larger number is a damaged or hostile file.
_MOST = {
    "hidden_size": 1 << 16,
    "intermediate_size": 1 << 18,
    "num_hidden_layers": 512,
    "num_attention_heads": 1 << 12,
    "vocab_size": 1 << 24,
    "max_position_embeddings": 1 << 20,
    "image_size": 1 << 14,
    "patch_size": 1 << 12,
    "num_patches": 1 << 20,
    "projection_dim": 1 << 16,
    "projection_size": 1 << 16,
}


class ReadConfig(NamedTuple):
    """What a `config.json` tells.

    Attributes:
        model_type: a key of `tables.CLASSES`.
        architecture: whole, of ours.
        eos_token_id: where a CLIPModel pools; None for the others, which pool at the last place.
        notes: what does not carry over.
    """

    model_type: str
    architecture: dict[str, Any]
    eos_token_id: int | None
    notes: tuple[str, ...]


def read_config(config: Mapping[str, Any], where: Path) -> ReadConfig:
    """Translate a configuration.

    Args:
        config: the content of the file.
        where: the file, for messages.

    Raises:
        ConfigError: for another class, for what our towers do not compute, for values of a wrong
            type or size; names the key.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CLASSES:
        raise ConfigError(
            f"{where}: model_type is {model_type!r}, and only {', '.join(CLASSES)} are read "
            f"({', '.join(CLASSES.values())})."
        )
    text, vision = (
        _Part(_merged(config, name, defaults, model_type, where), f"{where}: {name}")
        for name, defaults in zip(
            ("text_config", "vision_config"), _DEFAULTS[model_type], strict=True
        )
    )
    if vision.fields["num_channels"] != 3:
        raise ConfigError(
            f"{vision.where}.num_channels is {vision.fields['num_channels']!r}: only pictures in "
            "RGB, 3, are read."
        )
    notes = [part.dropout_note() for part in (text, vision) if part.fields["attention_dropout"]]
    eos = None
    if model_type == "clip":
        embed_dim = _Part(
            {"projection_dim": config.get("projection_dim", _CLIP_PROJECTION)}, str(where)
        ).whole("projection_dim")
        eos = text.id("eos_token_id")
        arch = models.architecture("clip-vit-b-32")
    else:
        arch = models.architecture("siglip-b-16-224")
        embed_dim = _siglip_embedding(text, vision)
    image_size, grid_notes = _image_size(model_type, vision)
    arch["embed_dim"] = embed_dim
    arch["image"] |= vision.tower() | {
        "image_size": image_size,
        "patch_size": vision.square("patch_size"),
    }
    arch["text"] |= text.tower() | {
        "vocab_size": text.whole("vocab_size"),
        "context_length": text.whole("max_position_embeddings"),
    }
    return ReadConfig(model_type, models.architecture(arch), eos, tuple(notes) + grid_notes)


def _merged(
    config: Mapping[str, Any],
    name: str,
    defaults: Mapping[str, Any],
    model_type: str,
    where: Path,
) -> dict[str, Any]:
    """Fill in what a part leaves out."""
    part = _object(config, name, where)
    if model_type == "clip" and config.get(f"{name}_dict") is not None:
        # A second spelling, which wins as a whole where it occurs.
        part = {**part, **defaults, **_object(config, f"{name}_dict", where)}
    return {**defaults, **{key: part[key] for key in defaults if key in part}}


def _object(config: Mapping[str, Any], name: str, where: Path) -> Mapping[str, Any]:
    part = config.get(name)
    if part is None:
        return {}
    if not isinstance(part, Mapping):
        raise ConfigError(f"{where}: {name} must be an object, not {part!r}.")
    return part


def _siglip_embedding(text: "_Part", vision: "_Part") -> int:
    if vision.fields["vision_use_head"] is not True:
        raise ConfigError(
            f"{vision.where}.vision_use_head is {vision.fields['vision_use_head']!r}: a model "
            "without the attention pooling head gives no image embedding."
        )
    width = vision.whole("hidden_size")
    given = text.fields["projection_size"]
    embed_dim = text.whole("hidden_size" if given is None else "projection_size")
    if embed_dim != width:
        raise ConfigError(
            f"{text.where}: texts are embedded in {embed_dim} dimensions (projection_size, or else "
            f"hidden_size) and images in {width} (hidden_size of vision_config): they cannot be "
            "compared."
        )
    return width


def _image_size(model_type: str, vision: "_Part") -> tuple[int, tuple[str, ...]]:
    patch_size = vision.square("patch_size")
    if model_type != "siglip2":
        return vision.square("image_size"), ()
    count = vision.whole("num_patches")
    side = math.isqrt(count)
    if side * side != count:
        raise ConfigError(
            f"{vision.where}.num_patches = {count} is no square number, so there is no native grid."
        )
    size = side * patch_size
    return size, (
        f"This is a NaFlex model, for pictures of any proportions: here it is kept at its native "
        f"grid of {side} x {side} patches, where it is exact. Pictures are squashed to {size} x "
        f"{size}.",
    )


class _Part:
    """One tower's part of a configuration, with all its keys."""

    def __init__(self, fields: Mapping[str, Any], where: str):
        self.fields, self.where = fields, where

    def whole(self, key: str) -> int:
        """Return a count, of at least 1."""
        value, most = self.fields[key], _MOST[key]
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise ConfigError(
                f"{self.where}.{key} must be a whole number from 1 to {most:,}, not "
                f"{_shown(value)}."
            )
        return value

    def square(self, key: str) -> int:
        """Return the side of a square, which may be written as two equal sides."""
        value = self.fields[key]
        if isinstance(value, list):
            if len(value) != 2 or value[0] != value[1]:
                raise ConfigError(f"{self.where}.{key} = {_shown(value)} is no square.")
            return _Part({key: value[0]}, self.where).whole(key)
        return self.whole(key)

    def id(self, key: str) -> int:
        """Return a token's id."""
        value = self.fields[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigError(f"{self.where}.{key} must be an id, not {_shown(value)}.")
        return value

    def dropout_note(self) -> str:
        return (
            f"{self.where}.attention_dropout = {_shown(self.fields['attention_dropout'])} is for "
            "training alone, and is not carried over."
        )

    def tower(self) -> dict[str, Any]:
        """Return the fields that both of our towers have."""
        activation, eps = self.fields["hidden_act"], self.fields["layer_norm_eps"]
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            raise ConfigError(
                f"{self.where}.hidden_act is {_shown(activation)}: our towers compute "
                f"{', '.join(ACTIVATIONS)}."
            )
        if not isinstance(eps, float | int) or isinstance(eps, bool) or not 0 < eps < 1:
            raise ConfigError(
                f"{self.where}.layer_norm_eps must be a number between 0 and 1, not {_shown(eps)}."
            )
        return {
            "width": self.whole("hidden_size"),
            "depth": self.whole("num_hidden_layers"),
            "num_heads": self.whole("num_attention_heads"),
            "mlp_width": self.whole("intermediate_size"),
            "activation": ACTIVATIONS[activation],
            "ln_eps": float(eps),
        }


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:60]} ..."
