"""`preprocessor_config.json`: how transformers prepares pictures, read and written.

What its processors do is what `Preprocess` does, within a grey level, since both resize in uint8
with Pillow's filters (three levels, where a line drawing shrinks to a tenth). One thing differs:
where the surplus that a crop cuts off is odd, its CLIPImageProcessor leaves the odd row at the
bottom or right, and ours puts it where OpenAI's code does. Then the two crops are shifted by a
pixel against each other.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigclip.config import ConfigError
from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from bigclip.interop.json_files import read_json

_FILES = ("preprocessor_config.json", "processor_config.json")
_RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_HALF = [0.5, 0.5, 0.5]
_SHARED = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_pad": False,
    "rescale_factor": 1 / 255,
    "resample": 3,
}
_SIGLIP = _SHARED | {
    "do_center_crop": False,
    "size": {"height": 224, "width": 224},
    "image_mean": _HALF,
    "image_std": _HALF,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": _SHARED
    | {
        "do_center_crop": True,
        "size": {"shortest_edge": 224},
        "crop_size": {"height": 224, "width": 224},
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
    },
    "SiglipImageProcessor": _SIGLIP,
    "Siglip2ImageProcessor": _SIGLIP | {"resample": 2},
}
_OF_MODEL = dict(zip(("clip", "siglip", "siglip2"), _DEFAULTS, strict=True))


def read_processor(
    folder: Path, model_type: str, image_size: int
) -> tuple[Preprocess, tuple[str, ...]]:
    """Read how pictures are prepared.

    Args:
        folder: of the model.
        model_type: a key of `tables.CLASSES`.
        image_size: pixels, of the image tower.

    Returns:
        The transform, and what the user should know about it.

    Raises:
        ConfigError: for a processor that does something that `Preprocess` cannot; names the key.
    """
    where, given = _find(folder)
    notes = []
    if where is None:
        where = folder / _FILES[0]
        given = {}
        if model_type != "siglip2":
            given["size"] = given["crop_size"] = image_size
        notes.append(f"{where} is missing: pictures are prepared as {_OF_MODEL[model_type]} does.")
    name = given.get("image_processor_type", given.get("feature_extractor_type"))
    name = _OF_MODEL[model_type] if name is None else name
    family = str(name).removesuffix("Fast").removesuffix("Pil")
    family = family.replace("FeatureExtractor", "ImageProcessor")
    if family not in _DEFAULTS:
        raise ConfigError(
            f"{where}: image_processor_type is {name!r}; only {', '.join(_DEFAULTS)} are read."
        )
    fields = _DEFAULTS[family] | {key: value for key, value in given.items() if value is not None}
    _check_switches(fields, where)
    interpolation = fields["resample"]
    if type(interpolation) is not int or interpolation not in _RESAMPLE:
        raise ConfigError(
            f"{where}: resample is {interpolation!r}; only 2 (bilinear) and 3 (bicubic) are read."
        )
    if family == "Siglip2ImageProcessor":
        size, resize = image_size, "squash"
    else:
        size, resize = _size(fields, family, where)
    if size != image_size:
        raise ConfigError(
            f"{where}: pictures become {size} x {size}, and the model takes {image_size} x "
            f"{image_size} (config.json: vision_config.image_size)."
        )
    if resize == "crop":
        notes.append(
            "Pictures: where the surplus to cut off is odd, transformers cuts a pixel further left "
            "or up than OpenAI's code and bigclip do."
        )
    mean, std = (_triple(fields, key, where) for key in ("image_mean", "image_std"))
    if not fields["do_normalize"]:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    prepare = Preprocess(
        size=size, resize=resize, interpolation=_RESAMPLE[interpolation], mean=mean, std=std
    )
    return prepare, tuple(notes)


def _find(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    path = folder / _FILES[0]
    if path.exists():
        return path, read_json(path)
    path = folder / _FILES[1]  # of transformers 5, with everything in it
    inner = read_json(path).get("image_processor") if path.exists() else None
    return (path, inner) if isinstance(inner, dict) else (None, {})


def _check_switches(fields: Mapping[str, Any], where: Path) -> None:
    for key, wanted in (("do_resize", True), ("do_rescale", True), ("do_pad", False)):
        if bool(fields[key]) != wanted:
            raise ConfigError(f"{where}: {key} is {fields[key]!r}, and only {wanted} can be kept.")
    factor = fields["rescale_factor"]
    if not _is_number(factor) or abs(factor * 255 - 1) > 1e-4:
        raise ConfigError(f"{where}: rescale_factor is {factor!r}, and only 1/255 can be kept.")


def _size(fields: Mapping[str, Any], family: str, where: Path) -> tuple[int, str]:
    """Find the side of the result, and how pictures get there."""
    size, crops = fields["size"], bool(fields["do_center_crop"])
    if _is_side(size):
        size = {"shortest_edge": size} if family == "CLIPImageProcessor" else _square(size)
    crop = fields.get("crop_size")
    crop = _square(crop) if _is_side(crop) else crop
    if not isinstance(size, Mapping):
        raise ConfigError(f"{where}: size must be a number or an object, not {size!r}.")
    edge = size.get("shortest_edge")
    if edge is not None:
        if crops and _is_side(edge) and crop == _square(edge) and not size.get("longest_edge"):
            return edge, "crop"
        raise ConfigError(
            f"{where}: size {size!r} with crop_size {crop!r} (do_center_crop: {crops}): only the "
            "shortest edge resized to the size of the centre crop can be kept."
        )
    height = size.get("height")
    if not _is_side(height) or size.get("width") != height:
        raise ConfigError(f"{where}: size {size!r} is no square.")
    if crops and crop != _square(height):
        raise ConfigError(
            f"{where}: size {size!r}, and then a centre crop of {crop!r}: that cannot be kept."
        )
    return height, "squash"


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _triple(fields: Mapping[str, Any], key: str, where: Path) -> tuple[float, float, float]:
    value = fields[key]
    values = [value] * 3 if _is_number(value) else value
    if (
        not isinstance(values, list)
        or len(values) != 3
        or not all(_is_number(one) and abs(one) < 1e6 for one in values)
    ):
        raise ConfigError(f"{where}: {key} must be three numbers, not {value!r}.")
    if key == "image_std" and min(values) <= 0:
        raise ConfigError(f"{where}: {key} must be positive, not {value!r}.")
    return tuple(float(one) for one in values)


def make_processor(prepare: Preprocess, model_type: str, patches: int) -> dict[str, Any]:
    """Write how pictures are prepared.

    Args:
        prepare: of the model.
        model_type: of `config_writing.choose_class`.
        patches: P, of the image tower.

    Raises:
        ConfigError: if no processor can say it.
    """
    if prepare.resize == "pad":
        raise ConfigError(
            "transformers: its image processors do not pad pictures to a square as this model's "
            "preprocessing does (resize='pad'). Use --format onnx or safetensors, which leave the "
            "pictures to you, or tune the model with resize='squash' or 'crop'."
        )
    resample = {name: number for number, name in _RESAMPLE.items()}
    fields = {
        "processor_class": {
            "clip": "CLIPProcessor",
            "siglip": "SiglipProcessor",
            "siglip2": "Siglip2Processor",
        }[model_type],
        "do_resize": True,
        "resample": resample.get(prepare.interpolation, 2),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(prepare.mean),
        "image_std": list(prepare.std),
        "do_convert_rgb": True,
    }
    if model_type == "siglip2":
        patch_size = prepare.size // math.isqrt(patches)
        fields |= {"patch_size": patch_size, "max_num_patches": patches}
        return fields | {"image_processor_type": "Siglip2ImageProcessor"}
    if prepare.resize == "squash":
        fields["size"] = _square(prepare.size)
    else:
        fields |= {"size": {"shortest_edge": prepare.size}, "crop_size": _square(prepare.size)}
    # The SigLIP one cannot crop; the CLIP one can squash, too.
    if model_type == "siglip" and prepare.resize == "squash":
        return fields | {"image_processor_type": "SiglipImageProcessor"}
    crops = prepare.resize == "crop"
    return fields | {"do_center_crop": crops, "image_processor_type": "CLIPImageProcessor"}
