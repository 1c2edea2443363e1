"""The same geometry for big_vision: from a bigclip architecture to its `two_towers.Model`."""

from collections.abc import Mapping
from typing import Any

_IMAGE_POOLS = {"class": "tok", "mean": "gap", "map": "map"}


def big_vision_model(
    arch: Mapping[str, Any], *, image_dtype: str = "float32", scan: bool = False
) -> dict[str, Any]:
    """Describe an architecture to big_vision.

    Args:
        arch: `{"image": {...}, "text": {...}, "embed_dim": D}`, see `bigclip.models`.
        image_dtype: type of the image tower's products; the text tower has float32 only.
        scan: whether to scan the layers, which also recomputes them in the backward pass.

    Returns:
        Keyword arguments of its `two_towers.Model`, plain data. What it lacks is replaced by the
        nearest that it has; `differences` tells what.
    """
    image, text = arch["image"], arch["text"]
    head = {"head_zeroinit": False} if image["projection"] else {}
    return {
        "image": {
            "patch_size": (image["patch_size"],) * 2,
            "pool_type": _IMAGE_POOLS[image["pool"]],
            "dtype_mm": image_dtype,
            "scan": scan,
            **_tower(image),
            **head,
        },
        "text": {"vocab_size": text["vocab_size"], "scan": scan, **_tower(text)},
        "out_dim": (arch["embed_dim"] if image["projection"] else None, arch["embed_dim"]),
        "temperature_init": 10.0,
        "bias_init": -10.0,
    }


def differences(arch: Mapping[str, Any]) -> list[str]:
    """Tell in what big_vision's step cannot be the same."""
    image, text = arch["image"], arch["text"]
    found = []
    if image["ln_pre"]:
        found.append("big_vision has no norm before the blocks")
    if image["projection"] and not image["projection_bias"]:
        found.append("big_vision's projections have biases")
    if text["causal"]:
        found.append("big_vision's text tower sees all tokens")
    if text["pool"] != "last":
        found.append("big_vision pools the last token")
    if {image["activation"], text["activation"]} != {"gelu_tanh"}:
        found.append("big_vision has the tanh approximation of GELU")
    return found


def _tower(tower: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": tower["width"],
        "depth": tower["depth"],
        "num_heads": tower["num_heads"],
        "mlp_dim": tower["mlp_width"],
    }
