"""The named architectures, laid out family by family.

Sources: CLIP (arXiv 2103.00020, tables 19 and 20), LAION's, DataComp's and others' CLIPs (open_clip
model configs), SigLIP (arXiv 2303.15343) and SigLIP 2 (arXiv 2502.14786; big_vision).
"""

from collections.abc import Sequence
from typing import Any


def _clip_text(text: tuple[int, int, int], *, activation: str) -> dict[str, Any]:
    return {
        "vocab_size": 49408,
        "context_length": 77,
        "width": text[0],
        "depth": text[1],
        "num_heads": text[2],
        "mlp_width": 4 * text[0],
        "causal": True,
        "pool": "eot",
        "activation": activation,
        "ln_eps": 1e-5,
        "projection": True,
        "projection_bias": False,
        "init_scheme": "clip",
    }


def _clip(
    image: tuple[int, int, int],
    text: tuple[int, int, int],
    *,
    embed_dim: int,
    patch_size: int,
    image_size: int = 224,
    image_mlp: int | None = None,
    activation: str = "quick_gelu",
) -> dict[str, Any]:
    """Lay out a CLIP; `image` and `text` are (width, depth, heads)."""
    return {
        "image": {
            "image_size": image_size,
            "patch_size": patch_size,
            "width": image[0],
            "depth": image[1],
            "num_heads": image[2],
            "mlp_width": image_mlp or 4 * image[0],
            "stem": "patch",
            "patch_bias": False,
            "ln_pre": True,
            "pool": "class",
            "activation": activation,
            "ln_eps": 1e-5,
            "projection": True,
            "projection_bias": False,
            "init_scheme": "clip",
            "patch_dropout": 0.0,
        },
        "text": _clip_text(text, activation=activation),
        "embed_dim": embed_dim,
    }


# width, depth, heads, mlp width (big_vision models/vit.py decode_variant)
_B = (768, 12, 12, 3072)
_L = (1024, 24, 16, 4096)
_SO400M = (1152, 27, 16, 4304)
_G_OPT = (1536, 40, 16, 6144)


def _siglip(
    image: tuple[int, int, int, int],
    *,
    patch_size: int,
    image_size: int,
    text: tuple[int, int, int, int] | None = None,
    vocab_size: int = 32000,
    context_length: int = 64,
) -> dict[str, Any]:
    """Lay out a SigLIP; `image` and `text` are (width, depth, heads, mlp), alike by default."""
    text = text or image
    return {
        "image": {
            "image_size": image_size,
            "patch_size": patch_size,
            "width": image[0],
            "depth": image[1],
            "num_heads": image[2],
            "mlp_width": image[3],
            "stem": "patch",
            "patch_bias": True,
            "ln_pre": False,
            "pool": "map",
            "activation": "gelu_tanh",
            "ln_eps": 1e-6,
            "projection": False,
            "projection_bias": False,
            "init_scheme": "siglip",
            "patch_dropout": 0.0,
        },
        "text": {
            "vocab_size": vocab_size,
            "context_length": context_length,
            "width": text[0],
            "depth": text[1],
            "num_heads": text[2],
            "mlp_width": text[3],
            "causal": False,
            "pool": "last",
            "activation": "gelu_tanh",
            "ln_eps": 1e-6,
            "projection": True,
            "projection_bias": True,
            "init_scheme": "siglip",
        },
        "embed_dim": image[0],
    }


def _resnet(
    stages: Sequence[int],
    text: tuple[int, int, int],
    *,
    width: int,
    embed_dim: int,
    image_size: int = 224,
) -> dict[str, Any]:
    """Lay out a CLIP with a ResNet; `text` is (width, depth, heads)."""
    return {
        "image": {
            "tower": "resnet",
            "image_size": image_size,
            "stages": list(stages),
            "width": width,
            "num_heads": width // 2,  # of 64 columns each, as everywhere in CLIP
            "batch_norm": "batch",
            "bn_eps": 1e-5,
            "init_scheme": "clip",
        },
        "text": _clip_text(text, activation="quick_gelu"),
        "embed_dim": embed_dim,
    }


def _tiny(
    *, stem: str, width: int, depth: int, patch_size: int = 8, text_depth: int = 2
) -> dict[str, Any]:
    """Lay out a CLIP for about ten thousand small pictures and two CPU cores."""
    arch = _clip(
        (width, depth, width // 32),
        (128, text_depth, 4),
        embed_dim=128,
        patch_size=patch_size,
        image_size=64,
        activation="gelu_tanh",
    )
    arch["image"] |= {"stem": stem, "patch_bias": True, "ln_pre": False, "pool": "mean"}
    arch["text"] |= {"vocab_size": 4096, "context_length": 16, "causal": False}
    return arch


def _test_size(arch: dict[str, Any]) -> dict[str, Any]:
    """Shrink to what compiles in a second; every size differs, so that no mix-up goes unseen."""
    arch["image"] |= {"image_size": 24, "patch_size": 8, "width": 48, "num_heads": 3}
    arch["image"] |= {"depth": 3, "mlp_width": 80}
    arch["text"] |= {"vocab_size": 99, "context_length": 11, "width": 40, "num_heads": 5}
    arch["text"] |= {"depth": 2, "mlp_width": 72}
    return arch


def _test_resnet() -> dict[str, Any]:
    arch = _resnet((1, 2, 1, 1), (40, 2, 5), width=8, embed_dim=32, image_size=64)
    arch["text"] |= {"vocab_size": 99, "context_length": 11, "mlp_width": 72}
    return arch


_CLIP_B_TEXT, _CLIP_L_TEXT = (512, 12, 8), (768, 12, 12)

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "clip-vit-b-32": _clip((768, 12, 12), _CLIP_B_TEXT, embed_dim=512, patch_size=32),
    "clip-vit-b-16": _clip((768, 12, 12), _CLIP_B_TEXT, embed_dim=512, patch_size=16),
    "clip-vit-l-14": _clip((1024, 24, 16), _CLIP_L_TEXT, embed_dim=768, patch_size=14),
    "clip-vit-l-14-336": _clip(
        (1024, 24, 16), _CLIP_L_TEXT, embed_dim=768, patch_size=14, image_size=336
    ),
    "clip-rn50": _resnet((3, 4, 6, 3), _CLIP_B_TEXT, width=64, embed_dim=1024),
    "clip-rn101": _resnet((3, 4, 23, 3), _CLIP_B_TEXT, width=64, embed_dim=512),
    "clip-rn50x4": _resnet((4, 6, 10, 6), (640, 12, 10), width=80, embed_dim=640, image_size=288),
    "clip-rn50x16": _resnet((6, 8, 18, 8), _CLIP_L_TEXT, width=96, embed_dim=768, image_size=384),
    "clip-rn50x64": _resnet(
        (3, 15, 36, 10), (1024, 12, 16), width=128, embed_dim=1024, image_size=448
    ),
    "siglip-b-16-224": _siglip(_B, patch_size=16, image_size=224),
    "siglip-b-16-256": _siglip(_B, patch_size=16, image_size=256),
    "siglip-b-16-384": _siglip(_B, patch_size=16, image_size=384),
    "siglip-b-16-512": _siglip(_B, patch_size=16, image_size=512),
    "siglip-b-16-256-i18n": _siglip(_B, patch_size=16, image_size=256, vocab_size=250_000),
    "siglip-l-16-256": _siglip(_L, patch_size=16, image_size=256),
    "siglip-l-16-384": _siglip(_L, patch_size=16, image_size=384),
    "siglip-so400m-14-224": _siglip(_SO400M, patch_size=14, image_size=224, context_length=16),
    "siglip-so400m-14-384": _siglip(_SO400M, patch_size=14, image_size=384),
    "tiny-clip": _test_size(_clip((48, 3, 3), (40, 2, 5), embed_dim=32, patch_size=8)),
    "tiny-siglip": _test_size(_siglip((48, 3, 3, 80), patch_size=8, image_size=24)),
    "tiny-rn": _test_resnet(),
    "tiny-vit-8": _tiny(stem="patch", width=192, depth=5),
    "tiny-convstem-8": _tiny(stem="conv", width=192, depth=4),
    "tiny-convstem-16": _tiny(stem="conv", width=192, depth=4, patch_size=16),
}


def _add_siglip2() -> None:
    sizes = {
        "b-32": (_B, 32, (256,)),
        "b-16": (_B, 16, (224, 256, 384, 512)),
        "l-16": (_L, 16, (256, 384, 512)),
        "so400m-14": (_SO400M, 14, (224, 384)),
        "so400m-16": (_SO400M, 16, (256, 384, 512)),
        "g-opt-16": (_G_OPT, 16, (256, 384)),
    }
    for size, (image, patch_size, image_sizes) in sizes.items():
        for image_size in image_sizes:
            ARCHITECTURES[f"siglip2-{size}-{image_size}"] = _siglip(
                image,
                patch_size=patch_size,
                image_size=image_size,
                # The giant image tower was trained beside So400m's text tower.
                text=_SO400M if size == "g-opt-16" else None,
                vocab_size=256_000,
            )


def _add_openclip() -> None:
    """Add LAION's and DataComp's CLIPs, whose GELU is exact, and others' of the sizes H and bigG.

    In open_clip's names "-quickgelu" tells of OpenAI's GELU; of OpenAI's own sizes such models are
    the "clip-vit-*" above (MetaCLIP and DFN have these, too).
    """
    b, large, huge = (768, 12, 12), (1024, 24, 16), (1280, 32, 16)
    giant, gigantic = (1408, 40, 16), (1664, 48, 16)
    # size -> image tower, text tower, embed_dim, patch size, image size, MLP of the image tower
    sizes: dict[str, tuple[Any, Any, int, int, int, int | None]] = {
        "b-32": (b, _CLIP_B_TEXT, 512, 32, 224, None),
        "b-32-256": (b, _CLIP_B_TEXT, 512, 32, 256, None),
        "b-16": (b, _CLIP_B_TEXT, 512, 16, 224, None),
        "l-14": (large, _CLIP_L_TEXT, 768, 14, 224, None),
        "l-14-336": (large, _CLIP_L_TEXT, 768, 14, 336, None),
        "h-14": (huge, (1024, 24, 16), 1024, 14, 224, None),
        "h-14-378": (huge, (1024, 24, 16), 1024, 14, 378, None),
        "g-14": (giant, (1024, 24, 16), 1024, 14, 224, 6144),
        "bigg-14": (gigantic, (1280, 32, 20), 1280, 14, 224, 8192),
    }
    endings = ("", "gelu"), ("-quickgelu", "quick_gelu")
    others = ("h-14", "h-14-378", "bigg-14")
    for size, (image, text, embed_dim, patch_size, image_size, mlp) in sizes.items():
        for ending, activation in endings[: 2 if size in others else 1]:
            ARCHITECTURES[f"openclip-vit-{size}{ending}"] = _clip(
                image,
                text,
                embed_dim=embed_dim,
                patch_size=patch_size,
                image_size=image_size,
                image_mlp=mlp,
                activation=activation,
            )


_add_openclip()
_add_siglip2()
