"""What timm's names of vision transformers stand for, so far as our image tower can be it.

A name fixes what no shape tells: the heads, the activation, the epsilon and the pooling. Source:
the registered functions of timm 1.0.31, `timm/models/vision_transformer.py`; a test holds every
name against them.
"""

import re
from collections.abc import Mapping
from typing import Any

from bigclip.config import ConfigError

# Size -> width, depth, heads, MLP width.
_SIZES = {
    "tiny": (192, 12, 3, 768),
    "xsmall": (256, 10, 4, 1024),
    "small": (384, 12, 6, 1536),
    "medium": (512, 12, 8, 2048),
    "betwixt": (640, 12, 10, 2560),
    "base": (768, 12, 12, 3072),
    "plus": (896, 12, 14, 3584),  # vit_base_patch16_plus_clip_240
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
    "huge": (1280, 32, 16, 5120),
    "giant": (1408, 40, 16, 6144),
    "giantopt": (1536, 40, 16, 6144),
    "gigantic": (1664, 48, 16, 8192),
}
# Size, patch and image of each, by family.
_PLAIN = """
tiny_patch16_224 tiny_patch16_384 small_patch8_224 small_patch16_224 small_patch16_384
small_patch32_224 small_patch32_384 base_patch8_224 base_patch16_224 base_patch16_384
base_patch32_224 base_patch32_384 large_patch14_224 large_patch16_224 large_patch16_384
large_patch32_224 large_patch32_384 huge_patch14_224 giant_patch14_224 gigantic_patch14_224
"""
_CLIP = """
xsmall_patch16_clip_224 medium_patch16_clip_224 medium_patch32_clip_224 betwixt_patch32_clip_224
base_patch16_clip_224 base_patch16_clip_384 base_patch16_plus_clip_240 base_patch32_clip_224
base_patch32_clip_256 base_patch32_clip_384 base_patch32_clip_448 large_patch14_clip_224
large_patch14_clip_336 huge_patch14_clip_224 huge_patch14_clip_336 huge_patch14_clip_378
giant_patch14_clip_224 gigantic_patch14_clip_224 gigantic_patch14_clip_378
base_patch16_clip_quickgelu_224 base_patch32_clip_quickgelu_224 large_patch14_clip_quickgelu_224
large_patch14_clip_quickgelu_336 huge_patch14_clip_quickgelu_224 huge_patch14_clip_quickgelu_378
gigantic_patch14_clip_quickgelu_224
"""
_SIGLIP = """
base_patch16_siglip_224 base_patch16_siglip_256 base_patch16_siglip_384 base_patch16_siglip_512
large_patch16_siglip_256 large_patch16_siglip_384 so400m_patch14_siglip_224
so400m_patch14_siglip_378 so400m_patch14_siglip_384
"""
_SIGLIP_TANH = """
base_patch32_siglip_256 large_patch16_siglip_512 so400m_patch16_siglip_256
so400m_patch16_siglip_384 so400m_patch16_siglip_512 giantopt_patch16_siglip_256
giantopt_patch16_siglip_384
"""
_SIGLIP_GAP = """so400m_patch14_siglip_gap_448 so400m_patch14_siglip_gap_896"""
_NAME = re.compile(r"([a-z0-9]+)_patch(\d+)_(plus_)?([a-z_]*?)_?(\d+)")


def _facts(name: str, activation: str) -> dict[str, Any]:
    size, patch, plus, family, image_size = _NAME.fullmatch(name).groups()
    width, depth, heads, mlp_width = _SIZES["plus" if plus else size]
    is_clip, is_siglip = family.startswith("clip"), family.startswith("siglip")
    return {
        "image_size": int(image_size),
        "patch_size": int(patch),
        "width": width,
        "depth": depth,
        "num_heads": heads,
        "mlp_width": mlp_width,
        "patch_bias": not is_clip,
        "ln_pre": is_clip,
        "pool": "mean" if family.endswith("gap") else "map" if is_siglip else "class",
        "activation": "quick_gelu" if "quickgelu" in family else activation,
        "ln_eps": 1e-5 if is_clip else 1e-6,
    }


def _listed() -> dict[str, dict[str, Any]]:
    # All SigLIPs but those of _SIGLIP_GAP are there with mean pooling, too.
    exact, tanh = _SIGLIP.split(), _SIGLIP_TANH.split()
    exact += [name.replace("siglip", "siglip_gap") for name in exact] + _SIGLIP_GAP.split()
    tanh += [name.replace("siglip", "siglip_gap") for name in tanh]
    exact += _PLAIN.split() + _CLIP.split()
    found = {f"vit_{name}": _facts(name, "gelu") for name in exact}
    return found | {f"vit_{name}": _facts(name, "gelu_tanh") for name in tanh}


NAMES: dict[str, dict[str, Any]] = _listed()  # name -> fields of `ImageTower`


# What a tower must agree in to go by a name; a bias of patches is made or folded as it needs.
_COMPARED = (
    *("image_size", "patch_size", "width", "depth", "num_heads", "mlp_width"),
    *("pool", "ln_pre", "activation", "ln_eps"),
)


def nearest(image: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Find the name that a tower can go by, or nearly.

    Args:
        image: the dict of a vision transformer in the architecture.

    Returns:
        The name, and the fields that it differs in; the activation alone, if that can be.
    """
    away = {
        name: [key for key in _COMPARED if image[key] != fields[key]]
        for name, fields in NAMES.items()
    }
    return min(away.items(), key=lambda one: (one[1] not in ([], ["activation"]), len(one[1])))


def named(name: Any, where: str) -> dict[str, Any]:
    """Return what a name stands for.

    Args:
        name: of a model in timm, with or without the tag of its weights (".augreg_in21k").
        where: the file, for messages.

    Returns:
        Fields of `ImageTower`.

    Raises:
        ConfigError: if our image tower cannot be it, or it is unknown.
    """
    if isinstance(name, str) and (plain := name.partition(".")[0]) in NAMES:
        return dict(NAMES[plain])
    raise ConfigError(
        f"{where}: timm's {str(name)[:80]!r} is no vision transformer that our image tower can be "
        "(patches, an optional class token, learnt positions, LayerNorm, plain GELU MLPs, pooled "
        f"by the class token, the mean or a MAP head). These are: {', '.join(sorted(NAMES))}."
    )
