"""The table of named architectures, as plain data.

An architecture is a JSON-able dict `{"image": {...}, "text": {...}, "embed_dim": D}`; the inner
dicts are the fields of `ImageTower` and `TextTower` (all of them, so that a checkpoint's manifest
does not depend on a default), except those that do not change what is computed: dtype, scan, remat,
attention.

Names are `<family>-<size>-<patch>` with the image size behind it where a family has several:

    clip-vit-b-32 ...          OpenAI's CLIP (arXiv 2103.00020)
    openclip-vit-h-14 ...      LAION's larger CLIPs (open_clip model configs)
    siglip-b-16-224 ...        SigLIP (arXiv 2303.15343); siglip-b-16-256-i18n: multilingual
    siglip2-b-16-224 ...       SigLIP 2 (arXiv 2502.14786): Gemma's vocabulary
    tiny-*                     for tests and for small data on small machines
"""

import copy
from collections.abc import Mapping
from typing import Any

from bigclip.config import ConfigError, choose, suggest
from bigclip.models.image import POOLS as IMAGE_POOLS
from bigclip.models.image import STEMS
from bigclip.models.init import SCHEMES
from bigclip.models.text import POOLS as TEXT_POOLS
from bigclip.models.transformer import ACTIVATIONS


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
        "text": {
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
        },
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


_CLIP_B_TEXT, _CLIP_L_TEXT = (512, 12, 8), (768, 12, 12)

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "clip-vit-b-32": _clip((768, 12, 12), _CLIP_B_TEXT, embed_dim=512, patch_size=32),
    "clip-vit-b-16": _clip((768, 12, 12), _CLIP_B_TEXT, embed_dim=512, patch_size=16),
    "clip-vit-l-14": _clip((1024, 24, 16), _CLIP_L_TEXT, embed_dim=768, patch_size=14),
    "clip-vit-l-14-336": _clip(
        (1024, 24, 16), _CLIP_L_TEXT, embed_dim=768, patch_size=14, image_size=336
    ),
    "openclip-vit-h-14": _clip(
        (1280, 32, 16), (1024, 24, 16), embed_dim=1024, patch_size=14, activation="gelu"
    ),
    "openclip-vit-g-14": _clip(
        (1408, 40, 16),
        (1024, 24, 16),
        embed_dim=1024,
        patch_size=14,
        image_mlp=6144,
        activation="gelu",
    ),
    "openclip-vit-bigg-14": _clip(
        (1664, 48, 16),
        (1280, 32, 20),
        embed_dim=1280,
        patch_size=14,
        image_mlp=8192,
        activation="gelu",
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


_add_siglip2()


def architecture(name: str | Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
    """Return a copy of a named architecture, changed where asked.

    Args:
        name: a key of `ARCHITECTURES`; or a whole architecture, as a manifest holds it.
        **overrides: `image` and `text`, dicts of fields to change, and `embed_dim`.

    Returns:
        `{"image": {...}, "text": {...}, "embed_dim": D}`.

    Raises:
        ConfigError: an unknown name or key (tells the nearest and lists the valid ones), or
            fields that do not fit each other.

    Example:
        architecture("clip-vit-b-32", image={"patch_dropout": 0.5}, text={"vocab_size": 8192})
    """
    if isinstance(name, Mapping):
        name, arch = "(given as data)", _read(name)
    else:
        arch = copy.deepcopy(choose(name, ARCHITECTURES, "architecture"))
    for key, value in overrides.items():
        if key not in arch:
            raise ConfigError(f"architecture {name!r} has no {key!r}.{suggest(key, arch)}")
        if key == "embed_dim":
            arch[key] = value
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key} must be a dict of fields to change, but is {value!r}")
        for field, new in value.items():
            if field not in arch[key]:
                hint = suggest(field, arch[key])
                raise ConfigError(f"architecture {name!r} has no {key}.{field}.{hint}")
            arch[key][field] = new
    _check(arch)
    return arch


def _read(data: Mapping[str, Any]) -> dict[str, Any]:
    """Copy an architecture given as data, which must have every field and no other."""
    template = ARCHITECTURES["tiny-clip"]
    arch = {k: dict(v) if isinstance(v, Mapping) else v for k, v in data.items()}
    for where, given, wanted in (
        ("the architecture", arch, template),
        ("the architecture's image", arch.get("image", {}), template["image"]),
        ("the architecture's text", arch.get("text", {}), template["text"]),
    ):
        for key in given:
            if key not in wanted:
                raise ConfigError(f"{where} has no {key!r}.{suggest(key, wanted)}")
        missing = [key for key in wanted if key not in given]
        if missing:
            raise ConfigError(f"{where}, given as data, lacks {', '.join(missing)}")
    return arch


def _check(arch: dict[str, Any]) -> None:
    for tower, pools in (("image", IMAGE_POOLS), ("text", TEXT_POOLS)):
        fields = arch[tower]
        choose(fields["pool"], dict.fromkeys(pools), f"{tower}.pool")
        choose(fields["activation"], ACTIVATIONS, f"{tower}.activation")
        choose(fields["init_scheme"], SCHEMES, f"{tower}.init_scheme")
        if fields["width"] % fields["num_heads"]:
            raise ConfigError(
                f"{tower}.width = {fields['width']} does not divide into "
                f"{tower}.num_heads = {fields['num_heads']} heads"
            )
        if not fields["projection"] and fields["width"] != arch["embed_dim"]:
            raise ConfigError(
                f"embed_dim = {arch['embed_dim']} must equal {tower}.width = {fields['width']} "
                f"without a projection; set {tower}.projection or change one of them"
            )
    fields = arch["image"]
    choose(fields["stem"], dict.fromkeys(STEMS), "image.stem")
    if fields["image_size"] < fields["patch_size"]:
        raise ConfigError(
            f"image.image_size = {fields['image_size']} holds no patch of "
            f"image.patch_size = {fields['patch_size']}"
        )
    if not 0 <= fields["patch_dropout"] < 1:
        raise ConfigError(f"image.patch_dropout = {fields['patch_dropout']} must be in [0, 1)")
    if fields["stem"] == "conv":
        size = fields["patch_size"]
        if size < 2 or size & (size - 1) or fields["image_size"] % size:
            raise ConfigError(
                f"image.stem = 'conv' needs image.patch_size = {size} to be a power of two that "
                f"divides image.image_size = {fields['image_size']}; or set image.stem = 'patch'"
            )
