"""The same geometry for open_clip: from a bigclip architecture to arguments of `open_clip.CLIP`."""

from collections.abc import Mapping
from typing import Any

_IMAGE_POOLS = {"class": "tok", "mean": "avg"}
_TEXT_POOLS = {"eot": "argmax", "last": "last"}


def open_clip_model(arch: Mapping[str, Any], *, patch_dropout: bool = True) -> dict[str, Any]:
    """Describe an architecture to open_clip.

    Args:
        arch: `{"image": {...}, "text": {...}, "embed_dim": D}`, see `bigclip.models`.
        patch_dropout: whether to leave out patches where the architecture does so.

    Returns:
        Keyword arguments of `open_clip.CLIP`, plain data. What open_clip lacks is replaced by the
        nearest that it has; `differences` tells what.
    """
    image, text = arch["image"], arch["text"]
    return {
        "embed_dim": arch["embed_dim"],
        "quick_gelu": image["activation"] == "quick_gelu",
        "vision_cfg": {
            "image_size": image["image_size"],
            "patch_size": image["patch_size"],
            "width": image["width"],
            "layers": image["depth"],
            "head_width": image["width"] // image["num_heads"],
            "mlp_ratio": image["mlp_width"] / image["width"],
            "patch_dropout": image["patch_dropout"] if patch_dropout else 0.0,
            "no_ln_pre": not image["ln_pre"],
            "pool_type": _IMAGE_POOLS.get(image["pool"], "avg"),
            **_block(image),
        },
        "text_cfg": {
            "context_length": text["context_length"],
            "vocab_size": text["vocab_size"],
            "width": text["width"],
            "heads": text["num_heads"],
            "layers": text["depth"],
            "mlp_ratio": text["mlp_width"] / text["width"],
            "no_causal_mask": not text["causal"],
            "pool_type": _TEXT_POOLS[text["pool"]],
            "proj_bias": text["projection_bias"],
            "proj_type": "linear" if text["projection"] else "none",
            **_block(text),
        },
    }


def differences(arch: Mapping[str, Any]) -> list[str]:
    """Tell in what open_clip's model cannot be the same."""
    image, text = arch["image"], arch["text"]
    found = []
    if image["pool"] == "mean":
        found.append("open_clip adds a class token, though it averages the patches")
    elif image["pool"] not in _IMAGE_POOLS:
        found.append(f"open_clip has no {image['pool']!r} head here: it averages the patches")
    if image["stem"] != "patch":
        found.append(f"open_clip has no {image['stem']!r} stem: it cuts patches of that size")
    elif image["patch_bias"]:
        found.append("open_clip's patches have no bias")
    if not image["projection"]:
        found.append("open_clip projects the image embedding")
    elif image["projection_bias"]:
        found.append("open_clip's image projection has no bias")
    if (image["activation"] == "quick_gelu") != (text["activation"] == "quick_gelu"):
        found.append("open_clip has QuickGELU in both towers or in none")
    return found


def _block(tower: Mapping[str, Any]) -> dict[str, Any]:
    norm = {"norm_kwargs": {"eps": tower["ln_eps"]}}
    if tower["activation"] == "gelu_tanh":
        return {"act_kwargs": {"approximate": "tanh"}, **norm}
    return norm
