"""A model of ours as a state dict that OpenAI's `clip.load` takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bigclip import models
from bigclip.config import ConfigError
from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from bigclip.interop.clip_tokenizer import difference_from_clips, padding_notes
from bigclip.interop.files import Spec, write_safetensors, write_torch
from bigclip.interop.geometry import differences
from bigclip.interop.openai.geometry import HEAD_WIDTH, POOL_WIDTH
from bigclip.interop.openai_rows import TOLD, folded, model_rows
from bigclip.interop.outgoing import Outgoing

# What all of its models have, whatever their sizes.
_BLOCKS = {"activation": "quick_gelu", "ln_eps": 1e-5}
_TEXT = {"causal": True, "pool": "eot", "projection_bias": False}
_VIT = {"stem": "patch", "pool": "class", "ln_pre": True, "projection_bias": False}


def write(path: Path, model: Outgoing) -> None:
    """Write a .safetensors, or else an archive of `torch.save`.

    Raises:
        ConfigError: if OpenAI's code cannot run the model; says what the model has and what is
            needed.
    """
    check(model)
    arch = model.architecture
    extra, used = ({}, ()) if models.is_resnet(arch["image"]) else folded(arch)
    values = arch["image"]["image_size"], arch["text"]["context_length"], arch["text"]["vocab_size"]
    for name, value in zip(TOLD, values, strict=True):
        told = np.asarray(value, np.int64)
        extra[name] = Spec((), told.dtype), lambda _, told=told: told
    specs, arrays = model.translated(model_rows(arch), where="openai", extra=extra, without=used)
    model.notes += padding_notes(model.tokenizer, "clip.tokenize")
    (write_safetensors if path.suffix == ".safetensors" else write_torch)(path, specs, arrays)


def check(model: Outgoing) -> None:
    """Refuse what `clip.model.build_model` would not rebuild, or `clip` not feed as it must.

    Raises:
        ConfigError: lists all of it.
    """
    if model.towers != ("image", "text"):
        raise ConfigError("openai: a state dict holds both towers, and this checkpoint one.")
    image, text = model.architecture["image"], model.architecture["text"]
    found = _resnet(image) if models.is_resnet(image) else _vit(image)
    found += differences(text, _TEXT, "text") + _transformer(text, "text")
    if model.loss != "softmax":
        found.append(f"the loss is {model.loss!r}, whose bias of logits its model lacks")
    prepare = Preprocess(size=image["image_size"], resize="crop", mean=CLIP_MEAN, std=CLIP_STD)
    found += differences(model.preprocess.to_dict(), prepare.to_dict(), "preprocess")
    other = difference_from_clips(model.tokenizer, text, clean="clip")
    if other or model.tokenizer.clean != "clip":
        rule = f"its texts are cleaned by {model.tokenizer.clean!r}, not 'clip'"
        found.append(f"the tokenizer is not CLIP's: {other or rule}")
    if found:
        raise ConfigError(
            "openai: OpenAI's code cannot run this model:\n"
            + "\n".join(f"  {one}" for one in found)
            + "\nChoose --format open_clip, which says more, or safetensors."
        )


def _transformer(fields: Mapping[str, Any], tower: str) -> list[str]:
    width = fields["width"]
    needed = {**_BLOCKS, "mlp_width": 4 * width}
    return differences(fields, needed, tower) + _heads(fields, width, tower)


def _heads(fields: Mapping[str, Any], width: int, tower: str) -> list[str]:
    own = width / fields["num_heads"]
    if own == HEAD_WIDTH:
        return []
    heads = fields["num_heads"]
    return [f"{tower}.num_heads is {heads}, so heads are {own:g} wide, not {HEAD_WIDTH}"]


def _vit(image: Mapping[str, Any]) -> list[str]:
    found = differences(image, _VIT, "image") + _transformer(image, "image")
    if image["image_size"] % image["patch_size"]:
        found.append(
            f"image.image_size is {image['image_size']}, no multiple of image.patch_size = "
            f"{image['patch_size']}"
        )
    return found


def _resnet(image: Mapping[str, Any]) -> list[str]:
    found = differences(image, {"bn_eps": 1e-5}, "image")
    return found + _heads(image, POOL_WIDTH * image["width"], "image")
