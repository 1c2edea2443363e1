"""A folder of timm's (`config.json` and weights) as an image tower of ours.

The name of the architecture, changed by `model_args`, says what no shape tells; sizes are read from
the arrays and held against it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bigclip import models
from bigclip.config import ConfigError, choose
from bigclip.data.preprocess import Preprocess
from bigclip.interop.files import Weights, open_weights
from bigclip.interop.format import Imported, ReadOptions
from bigclip.interop.geometry import check_same, num_layers, shape_of, side_of
from bigclip.interop.given_tokenizer import open_tokenizer
from bigclip.interop.json_files import read_json
from bigclip.interop.mapping import Row
from bigclip.interop.timm_folder.names import named
from bigclip.interop.timm_folder.rows import trunk_rows
from bigclip.interop.torch_layers import linear_rows
from bigclip.interop.weights_files import weights_file

CROPS = {"center": "crop", "squash": "squash", "border": "pad"}  # likewise
INTERPOLATIONS = ("bicubic", "bilinear")
POOLS = {"token": "class", "avg": "mean", "map": "map"}  # their name -> ours
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}
_CROP_PART = 0.875
# What happens to pictures where crop_pct is not one, there and here.
_SCALED = {
    "crop": "resizes the shorter side of pictures to {} and cuts the middle out",
    "squash": "squashes pictures to {} and cuts the middle out",
    "pad": "resizes the longer side of pictures to {} and cuts off or pads what differs",
}
_HERE = {
    "crop": "cut after resizing the shorter side to",
    "squash": "squashed to",
    "pad": "padded after resizing the longer side to",
}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # their default
# Arguments that must have one value, since our tower computes nothing else.
_FIXED = {
    "in_chans": 3,
    "qkv_bias": True,
    "qk_norm": False,
    "scale_attn_norm": False,
    "scale_mlp_norm": False,
    "proj_bias": True,
    "init_values": None,
    "pos_embed": "learn",
    "no_embed_class": False,
    "reg_tokens": 0,
    "final_norm": True,
    "fc_norm": False,
    "pool_include_prefix": False,
    "dynamic_img_size": False,
    "dynamic_img_pad": False,
}
# Those that are sizes, and our fields.
_SIZES = {
    "img_size": "image_size",
    "patch_size": "patch_size",
    "embed_dim": "width",
    "depth": "depth",
    "num_heads": "num_heads",
}
# Those that matter in training alone, and those that the arrays tell.
_LET_BE = ("drop_rate", "drop_path_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate")
_LET_BE += ("attn_drop_rate", "weight_init", "fix_init", "num_classes", "mlp_ratio")
_LET_BE += ("class_token", "global_pool", "pre_norm")


def rows(arch: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return the table; the projection is timm's classifier."""
    return *trunk_rows(arch["image"]), *linear_rows("image/projection", "head")


def read(path: Path, options: ReadOptions) -> Imported:
    """Read a folder that `timm.create_model("local-dir:...")` takes.

    Raises:
        ConfigError: for another model than a vision transformer as ours is; names what differs.
    """
    if options.tower == "text":
        raise ConfigError(f"{path}: timm's models are image towers; leave --tower text away.")
    if options.architecture is not None:
        raise ConfigError(f"{path}: its config.json tells all; leave --architecture away.")
    place = path / "config.json"
    config = read_json(place)
    inner = config.get("pretrained_cfg", config)  # older files are flat
    if not isinstance(inner, Mapping):
        raise ConfigError(f"{place}: pretrained_cfg is no object.")
    weights = open_weights(weights_file(path))
    fields = trunk_geometry(weights, _told(config, inner, str(place)), str(path))
    arch = models.architecture("clip-vit-b-32")
    ignored = zero_biases(weights, "")
    arch["image"] |= fields | {"patch_bias": fields["patch_bias"] and not ignored}
    arch["image"]["init_scheme"] = "siglip" if fields["pool"] == "map" else "clip"
    notes: tuple[str, ...] = ()
    if "head.weight" in weights:
        arch["embed_dim"], _ = shape_of(weights, "head.weight", 2)
        bias = zero_biases(weights, "", "head.bias")
        arch["image"]["projection_bias"] = "head.bias" in weights and not bias
        ignored += bias
        notes = (f"timm's classifier of {arch['embed_dim']} classes became the projection.",)
    else:
        arch["embed_dim"] = fields["width"]
        arch["image"] |= {"projection": False, "projection_bias": False}
    preprocess, more = read_preprocess(inner, fields["image_size"], str(place))
    tokenizer = None
    if options.tokenizer is not None:  # for the text tower that may be trained to it
        length = arch["text"]["context_length"]
        tokenizer = open_tokenizer(options.tokenizer, context_length=length)
        arch["text"]["vocab_size"] = tokenizer.vocab_size
    return Imported(
        weights=weights,
        rows=rows(arch),
        architecture=models.architecture(arch),
        loss="softmax",
        preprocess=preprocess,
        tokenizer=tokenizer,
        towers=("image",),
        ignored=ignored,
        notes=notes + more,
    )


def zero_biases(
    weights: Weights, prefix: str, name: str = "patch_embed.proj.bias"
) -> tuple[str, ...]:
    """Return the pattern of a bias that timm always has, if it is all zeros and so no parameter."""
    name = prefix + name
    if name not in weights or np.any(weights[name].read()):
        return ()
    return (re.escape(name),)


def trunk_geometry(
    weights: Weights, told: Mapping[str, Any], where: str, prefix: str = ""
) -> dict[str, Any]:
    """Return the fields of the tower, as its name and its arrays tell together.

    Args:
        weights: the file.
        told: fields of `ImageTower`, of `names.named`.
        where: for messages.
        prefix: of all their names.

    Raises:
        ConfigError: where they disagree, or for what our tower does not compute.
    """
    for name, what in (
        ("fc_norm.weight", "normalises after the pooling (fc_norm)"),
        ("reg_token", "has register tokens"),
        ("blocks.0.ls1.gamma", "scales its layers (layer scale)"),
        ("blocks.0.attn.q_norm.weight", "normalises queries and keys (qk_norm)"),
    ):
        if prefix + name in weights:
            raise ConfigError(f"{where}: this vision transformer {what}, and ours does not.")
    width, _, size, _ = shape_of(weights, f"{prefix}patch_embed.proj.weight", 4)
    has_class = f"{prefix}cls_token" in weights
    positions = shape_of(weights, f"{prefix}pos_embed", 3)[1]
    found = {
        "image_size": size * side_of(positions - has_class, where),
        "patch_size": size,
        "width": width,
        "depth": num_layers(weights, f"{prefix}blocks."),
    }
    # Pixels beyond the last whole patch are left out, so 384 may be 378.
    if told["image_size"] // size * size == found["image_size"]:
        found["image_size"] = told["image_size"]
    check_same(found, told, where)
    if (told["pool"] == "class") != has_class:
        raise ConfigError(
            f"{where}: a class token is {'there' if has_class else 'missing'}, and images are "
            f"pooled by {told['pool']!r}; our tower has one where it pools by it, and only there."
        )
    return {
        **told,
        **found,
        "mlp_width": shape_of(weights, f"{prefix}blocks.0.mlp.fc1.weight", 2)[0],
        "patch_bias": f"{prefix}patch_embed.proj.bias" in weights,
        "ln_pre": f"{prefix}norm_pre.weight" in weights,
    }


def _told(config: Mapping[str, Any], inner: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read the architecture's name and the arguments that change it."""
    told = named(config.get("architecture") or inner.get("architecture"), where)
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"{where}: model_args is no object.")
    if "input_size" in inner and "img_size" not in arguments:
        told["image_size"] = _input_size(inner, where)
    for pool in (inner.get("global_pool"), arguments.get("global_pool")):
        if pool is not None:
            told["pool"] = choose(pool, POOLS, f"{where}: global_pool")
    for key, value in arguments.items():
        here = f"{where}: model_args.{str(key)[:40]}"
        if key in _FIXED:
            # None is an argument's default.
            if value not in (_FIXED[key], None):
                raise ConfigError(f"{here} is {value!r:.40}, and our tower has {_FIXED[key]!r}.")
        elif key in _SIZES:
            told[_SIZES[key]] = _size(value, here)
        elif key == "act_layer":
            told["activation"] = choose(value, ACTIVATIONS, here)
        elif key not in _LET_BE:
            raise ConfigError(f"{here} is unknown here, so it could change what is computed.")
    return told


def _size(value: Any, where: str) -> int:
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if type(value) is not int or not 0 < value < 1 << 20:
        raise ConfigError(f"{where} must be a whole number or two equal, not {value!r:.40}.")
    return value


def _input_size(config: Mapping[str, Any], where: str) -> int:
    size = config["input_size"]
    if not isinstance(size, list) or len(size) != 3 or size[0] != 3:
        raise ConfigError(
            f"{where}: input_size is {str(size)[:40]}, and RGB pictures [3, H, W] are needed."
        )
    return _size(size[1:], f"{where}: input_size")


def read_preprocess(
    config: Mapping[str, Any], image_size: int, where: str
) -> tuple[Preprocess, tuple[str, ...]]:
    """Read how pictures are prepared for evaluation, of a `pretrained_cfg`.

    Returns:
        It, and what differs from timm's.

    Raises:
        ConfigError: for values that are none.
    """
    mode = choose(config.get("crop_mode") or "center", CROPS, f"{where}: crop_mode")
    kind = config.get("interpolation") or "bicubic"
    choose(kind, dict.fromkeys(INTERPOLATIONS), f"{where}: interpolation")
    part = config.get("crop_pct", _CROP_PART)
    notes: tuple[str, ...] = ()
    if part != 1:
        size = f"{image_size} / {str(part)[:10]} pixels (crop_pct)"
        notes = (f"timm {_SCALED[mode].format(size)}; here they are {_HERE[mode]} {image_size}.",)
    mean, std = (config.get(name, default) for name, default in _IMAGENET.items())
    try:
        prepare = Preprocess(
            size=image_size,
            resize=mode,
            interpolation=kind,
            mean=mean,
            std=std,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None
    return prepare, notes
