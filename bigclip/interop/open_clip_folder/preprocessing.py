"""open_clip's `preprocess_cfg`: how pictures are prepared for evaluation.

Source: open_clip 3.3 `transform.py`.
"""

from collections.abc import Mapping
from typing import Any

from bigclip.config import ConfigError, choose
from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD, Preprocess

_RESIZES = {"shortest": "crop", "squash": "squash", "longest": "pad"}  # theirs -> ours
_INTERPOLATIONS = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


def read_preprocess(config: Any, image_size: int, where: str) -> tuple[Preprocess, tuple[str, ...]]:
    """Translate a `preprocess_cfg`; what it leaves out is as in open_clip.

    Args:
        config: the object.
        image_size: of the image tower, which open_clip takes whatever the configuration says.
        where: its place, for messages.

    Returns:
        The preprocessing, and what differs from open_clip's.

    Raises:
        ConfigError: for values that are none of open_clip's.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where} must be an object, not {config!r:.40}.")
    content = {key: value for key, value in config.items() if value is not None}
    if content.get("mode", "RGB") != "RGB":
        raise ConfigError(f"{where}.mode is {content['mode']!r:.40}; pictures are RGB.")
    resize = choose(content.get("resize_mode", "shortest"), _RESIZES, f"{where}.resize_mode")
    kind = content.get("interpolation", "bicubic")
    kind = choose(kind, _INTERPOLATIONS, f"{where}.interpolation")
    try:
        prepare = Preprocess(
            size=image_size,
            resize=resize,
            interpolation=kind,
            mean=_three(content.get("mean", CLIP_MEAN)),
            std=_three(content.get("std", CLIP_STD)),
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None
    fill = content.get("fill_color", 0)
    if resize == "pad" and prepare.fill != (fill,) * 3:
        return prepare, (
            f"open_clip pads pictures with {str(fill)[:20]}, and here they are padded with their "
            f"mean colour {prepare.fill}.",
        )
    return prepare, ()


def _three(value: Any) -> Any:
    return (value,) * 3 if isinstance(value, float | int) else value


def make_preprocess(prepare: Preprocess) -> dict[str, Any]:
    """Write a `preprocess_cfg`.

    Raises:
        ConfigError: if open_clip prepares no pictures so.
    """
    wrong = None
    if prepare.interpolation not in _INTERPOLATIONS:
        wrong = f"interpolates by none of {', '.join(_INTERPOLATIONS)}: {prepare.interpolation!r}"
    if prepare.resize == "pad" and len(set(prepare.fill)) > 1:
        wrong = f"pads with grey alone, and here the mean colour is {prepare.fill}"
    if wrong:
        raise ConfigError(
            f"open_clip: its preprocessing {wrong}. Choose --format transformers or safetensors."
        )
    return {
        "size": prepare.size,
        "mode": "RGB",
        "mean": list(prepare.mean),
        "std": list(prepare.std),
        "interpolation": prepare.interpolation,
        "resize_mode": {ours: theirs for theirs, ours in _RESIZES.items()}[prepare.resize],
        "fill_color": prepare.fill[0] if prepare.resize == "pad" else 0,
    }
