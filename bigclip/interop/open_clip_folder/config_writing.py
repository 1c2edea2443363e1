"""From an architecture of ours to open_clip's `model_cfg`."""

import math
from collections.abc import Mapping
from typing import Any

from bigclip import models
from bigclip.config import ConfigError
from bigclip.interop.geometry import mlp_ratio
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.timm_folder.names import NAMES, nearest
from bigclip.interop.timm_folder.reading import POOLS
from bigclip.interop.timm_folder.writing import check_trunk

_EPSILON = 1e-5
_MEND = "Choose --format safetensors, onnx or, for the image tower alone, timm."


def is_trunk(arch: Mapping[str, Any]) -> bool:
    """Tell whether the image tower can only be one of timm's."""
    image = arch["image"]
    return not models.is_resnet(image) and image["pool"] != "class"


def make_config(model: Outgoing) -> dict[str, Any]:
    """Write a `model_cfg`, without the tokenizer's part.

    Raises:
        ConfigError: if open_clip has no words for the model; says what it lacks.
    """
    if set(model.towers) != {"image", "text"}:
        raise ConfigError(
            f"open_clip: its models have two towers, and this checkpoint holds the "
            f"{model.towers[0]} tower alone. {_MEND}"
        )
    arch = model.architecture
    image, text = arch["image"], arch["text"]
    # GELUs that open_clip builds itself; a ResNet has none, and timm's trunk its own.
    native = not models.is_resnet(image) and not is_trunk(arch)
    activations = {text["activation"], image["activation"] if native else text["activation"]}
    quick_gelu = "quick_gelu" in activations
    if quick_gelu and len(activations) > 1:
        raise ConfigError(
            "open_clip: QuickGELU (quick_gelu) goes for both towers, and here image.activation is "
            f"{image['activation']!r} and text.activation {text['activation']!r}. {_MEND}"
        )
    config: dict[str, Any] = {"embed_dim": arch["embed_dim"]}
    if quick_gelu:
        config["quick_gelu"] = True
    if model.loss == "sigmoid":
        scale = model.manifest["task"]["init_logit_scale"]
        config |= {"init_logit_scale": math.log(scale), "init_logit_bias": -10.0}
    if models.is_resnet(image):
        return config | {"vision_cfg": _resnet(image), "text_cfg": _text(text)}
    check_trunk(image, "open_clip")
    if native:
        return config | {"vision_cfg": _vit(image), "text_cfg": _text(text)}
    return config | {
        "custom_text": True,
        "vision_cfg": _trunk(model),
        "text_cfg": _text(text),
    }


def _blocks(fields: Mapping[str, Any]) -> dict[str, Any]:
    config = {
        "width": fields["width"],
        "layers": fields["depth"],
        "mlp_ratio": mlp_ratio(fields["width"], fields["mlp_width"]),
    }
    if fields["activation"] == "gelu_tanh":
        config["act_kwargs"] = {"approximate": "tanh"}
    if fields["ln_eps"] != _EPSILON:
        config["norm_kwargs"] = {"eps": fields["ln_eps"]}
    return config


def _vit(image: Mapping[str, Any]) -> dict[str, Any]:
    if image["projection_bias"]:
        raise ConfigError(f"open_clip: its projection of images has no bias. {_MEND}")
    config = _blocks(image) | {
        "image_size": image["image_size"],
        "patch_size": image["patch_size"],
        "head_width": image["width"] // image["num_heads"],
    }
    return config if image["ln_pre"] else config | {"no_ln_pre": True}


def _resnet(image: Mapping[str, Any]) -> dict[str, Any]:
    if image["bn_eps"] != _EPSILON:
        raise ConfigError(
            f"open_clip: the epsilon of its ResNet is {_EPSILON}, and image.bn_eps is "
            f"{image['bn_eps']}. {_MEND}"
        )
    return {
        "image_size": image["image_size"],
        "layers": list(image["stages"]),
        "width": image["width"],
        "head_width": 32 * image["width"] // image["num_heads"],
    }


def _trunk(model: Outgoing) -> dict[str, Any]:
    image = model.architecture["image"]
    name, away = nearest(image)
    gelus = {image["activation"], NAMES[name]["activation"]}
    if away == ["activation"] and gelus == {"gelu", "gelu_tanh"}:
        model.notes.append(_gelu_note(image, name))
    elif away:
        told = ", ".join(
            f"image.{key} is {image[key]!r} and there {NAMES[name][key]!r}" for key in away
        )
        raise ConfigError(
            "open_clip: a tower that pools by the mean or a MAP head can only be one that timm has "
            f"a name for. The nearest, {name}, differs: {told}. {_MEND}"
        )
    config = {
        "image_size": image["image_size"],
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": {ours: theirs for theirs, ours in POOLS.items()}[image["pool"]],
        "timm_proj": "linear" if image["projection"] else "none",
    }
    return config | {"timm_proj_bias": True} if image["projection_bias"] else config


def _gelu_note(image: Mapping[str, Any], name: str) -> str:
    return (
        f"open_clip computes {NAMES[name]['activation']!r} in this image tower (timm's {name}), "
        f"and the model has image.activation = {image['activation']!r}: embeddings of pictures "
        "differ there by about 2e-4 of the largest value (B/16, random weights), more than "
        "--verify lets pass. open_clip runs the published SigLIP weights so, too; --format "
        "transformers keeps the activation."
    )


def _text(text: Mapping[str, Any]) -> dict[str, Any]:
    config = _blocks(text) | {
        "context_length": text["context_length"],
        "vocab_size": text["vocab_size"],
        "heads": text["num_heads"],
        "pool_type": {"eot": "argmax", "last": "last"}[text["pool"]],
    }
    if not text["causal"]:
        config["no_causal_mask"] = True
    if not text["projection"]:
        config["proj_type"] = "none"
    return config | {"proj_bias": True} if text["projection_bias"] else config
