"""An image tower of ours as a folder that `timm.create_model("local-dir:...")` takes.

Every geometry goes out: a name of timm's registry fixes the epsilon, and `model_args` all else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigclip import models
from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.interop.files import write_safetensors
from bigclip.interop.geometry import mlp_ratio
from bigclip.interop.json_files import write_json
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.timm_folder.reading import ACTIVATIONS, CROPS, INTERPOLATIONS, POOLS, rows
from bigclip.interop.torch_layers import FOLDED, Extra, positions_with_bias, zeros

# What differs between these two but for the sizes is their epsilon.
_BY_EPSILON = {1e-6: "vit_base_patch16_224", 1e-5: "vit_base_patch16_clip_224"}


def write(folder: Path, model: Outgoing) -> None:
    """Write config.json and model.safetensors of the image tower alone.

    Raises:
        ConfigError: if timm's vision transformer cannot be the tower; says why.
    """
    if "image" not in model.towers:
        raise ConfigError("timm: its models are image towers, and this checkpoint holds none.")
    config = _config(model)
    extra, used = trunk_extra(model.architecture["image"])
    fields, dim = model.architecture["image"], model.architecture["embed_dim"]
    if fields["projection"] and not fields["projection_bias"]:
        extra["head.bias"] = zeros(dim)
    others = [name for name in model.shapes if not name.startswith("image/")]
    specs, arrays = model.translated(
        rows(model.architecture), where="timm", extra=extra, without=(*used, *others)
    )
    write_json(folder / "config.json", config)
    write_safetensors(folder / "model.safetensors", specs, arrays, metadata={"format": "pt"})


def _config(model: Outgoing) -> dict[str, Any]:
    image = model.architecture["image"]
    check_trunk(image, "timm")
    name = _BY_EPSILON.get(image["ln_eps"])
    if name is None:
        raise ConfigError(
            f"timm: the epsilon of its normalisations is one of {', '.join(map(str, _BY_EPSILON))},"
            f" and image.ln_eps is {image['ln_eps']}. Choose --format onnx or safetensors."
        )
    num_classes = model.architecture["embed_dim"] if image["projection"] else 0
    pool = {ours: theirs for theirs, ours in POOLS.items()}[image["pool"]]
    return {
        "architecture": name,
        "num_classes": num_classes,
        "num_features": image["width"],
        "global_pool": pool,
        "model_args": {
            "img_size": image["image_size"],
            "patch_size": image["patch_size"],
            "embed_dim": image["width"],
            "depth": image["depth"],
            "num_heads": image["num_heads"],
            "mlp_ratio": mlp_ratio(image["width"], image["mlp_width"]),
            "class_token": image["pool"] == "class",
            "global_pool": pool,
            "pre_norm": image["ln_pre"],
            "fc_norm": False,
            "act_layer": {ours: theirs for theirs, ours in ACTIVATIONS.items()}[
                image["activation"]
            ],
        },
        "pretrained_cfg": {
            "tag": "bigclip",
            "custom_load": False,
            "input_size": [3, image["image_size"], image["image_size"]],
            "fixed_input_size": True,
            **_preprocess(model.preprocess),
            "num_classes": num_classes,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def _preprocess(prepare: Preprocess) -> dict[str, Any]:
    if prepare.interpolation not in INTERPOLATIONS:
        raise ConfigError(
            f"timm: pictures are interpolated by {' or '.join(INTERPOLATIONS)}, and the model's "
            f"by {prepare.interpolation!r}. Choose --format onnx or safetensors."
        )
    return {
        "interpolation": prepare.interpolation,
        "crop_pct": 1.0,
        "crop_mode": {ours: theirs for theirs, ours in CROPS.items()}[prepare.resize],
        "mean": list(prepare.mean),
        "std": list(prepare.std),
    }


def check_trunk(image: Mapping[str, Any], where: str) -> None:
    """Refuse an image tower that is no vision transformer of patches.

    Raises:
        ConfigError: says what it is.
    """
    if models.is_resnet(image) or image["stem"] != "patch":
        kind = "CLIP's ResNet" if models.is_resnet(image) else "a stem of convolutions"
        raise ConfigError(
            f"{where}: a vision transformer there cuts patches by one convolution, and this image "
            f"tower has {kind}. Choose --format onnx or safetensors."
        )


def trunk_extra(image: Mapping[str, Any], prefix: str = "") -> tuple[Extra, tuple[str, ...]]:
    """Say what is computed: timm has a bias of patches exactly where nothing normalises behind.

    Args:
        image: the image tower's dict of the architecture.
        prefix: of all their names.

    Returns:
        Their name -> what it is and function(read) -> array; and our names used up by it.
    """
    if not image["ln_pre"]:
        no_bias = {f"{prefix}patch_embed.proj.bias": zeros(image["width"])}
        return ({}, ()) if image["patch_bias"] else (no_bias, ())
    if not image["patch_bias"]:
        return {}, ()
    return {f"{prefix}pos_embed": positions_with_bias(image, lead=True)}, FOLDED
