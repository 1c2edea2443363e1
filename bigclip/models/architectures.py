"""Architectures by name and as plain data.

An architecture is a JSON-able dict `{"image": {...}, "text": {...}, "embed_dim": D}`; the inner
dicts are the fields of `ImageTower` and `TextTower` (all of them, so that a checkpoint's manifest
does not depend on a default), except those that do not change what is computed: dtype, scan, remat,
attention. An image dict with `"tower": "resnet"` holds the fields of `ModifiedResNet` instead.

Names are `<family>-<size>-<patch>` with the image size behind it where a family has several:

    clip-vit-b-32 ...          OpenAI's CLIP (arXiv 2103.00020)
    clip-rn50 ...              its ResNets, clip-rn50x4 to clip-rn50x64 larger in every respect
    openclip-vit-b-32 ...      LAION's and DataComp's CLIPs, to bigG (open_clip model configs);
                               -quickgelu: others' of the sizes H and bigG, with OpenAI's GELU
    siglip-b-16-224 ...        SigLIP (arXiv 2303.15343); siglip-b-16-256-i18n: multilingual
    siglip2-b-16-224 ...       SigLIP 2 (arXiv 2502.14786): Gemma's vocabulary
    tiny-*                     for tests and for small data on small machines
"""

import copy
from collections.abc import Mapping
from typing import Any

from bigclip.config import ConfigError, choose, suggest
from bigclip.models.batch_norm import BATCH_NORMS
from bigclip.models.image import POOLS as IMAGE_POOLS
from bigclip.models.image import STEMS
from bigclip.models.init import SCHEMES
from bigclip.models.published import ARCHITECTURES
from bigclip.models.resnet import NUM_STAGES, STRIDE
from bigclip.models.text import POOLS as TEXT_POOLS
from bigclip.models.towers import RESNET, is_resnet
from bigclip.models.transformer import ACTIVATIONS

# Field -> the largest value; the smallest is 1. These are far beyond every model there is: an
# architecture may come out of somebody else's file, and a number too many would take hours and all
# memory before anything is found amiss.
LARGEST = {
    "image_size": 1 << 14,
    "patch_size": 1 << 12,
    "width": 1 << 16,
    "depth": 1000,
    "num_heads": 1 << 12,
    "mlp_width": 1 << 18,
    "vocab_size": 10**8,
    "context_length": 1 << 16,
    "embed_dim": 1 << 16,
}
_MAX_STAGE_DEPTH = 200  # of a ResNet, whose blocks are laid out one by one
_FLAGS = ("causal", "ln_pre", "patch_bias", "projection", "projection_bias")
_EPSILONS = ("ln_eps", "bn_eps")


def architecture(name: str | Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
    """Return a copy of a named architecture, changed where asked.

    Args:
        name: a key of `ARCHITECTURES`; or a whole architecture, as a manifest holds it.
        **overrides: `image` and `text`, dicts of fields to change, and `embed_dim`.

    Returns:
        `{"image": {...}, "text": {...}, "embed_dim": D}`.

    Raises:
        ConfigError: an unknown name or key (tells the nearest and lists the valid ones), or
            fields of a wrong type, out of their bounds or that do not fit each other.

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
    arch = {k: copy.deepcopy(dict(v)) if isinstance(v, Mapping) else v for k, v in data.items()}
    for tower in ("image", "text"):
        if not isinstance(arch.get(tower, {}), Mapping):
            raise ConfigError(f"{tower} must be a dict of fields, but is {_shown(arch[tower])}")
    image = arch.get("image", {})
    if "tower" in image:
        choose(image["tower"], {RESNET: 0}, "image.tower")
    template = ARCHITECTURES["tiny-rn" if is_resnet(image) else "tiny-clip"]
    for where, given, wanted in (
        ("the architecture", arch, template),
        ("the architecture's image", image, template["image"]),
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
    _check_field("embed_dim", "embed_dim", arch["embed_dim"])
    for tower in ("image", "text"):
        for field, value in arch[tower].items():
            _check_field(field, f"{tower}.{field}", value)
    _check_transformer(arch, "text", TEXT_POOLS)
    if is_resnet(arch["image"]):
        _check_resnet(arch["image"])
    else:
        if "tower" in arch["image"]:
            choose(arch["image"]["tower"], {RESNET: 0}, "image.tower")
        _check_transformer(arch, "image", IMAGE_POOLS)
        _check_vit(arch["image"])


def _check_field(field: str, where: str, value: Any) -> None:
    """Check type and bounds; those of names and lists are checked with what they mean."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if field in LARGEST:
        fits = number and isinstance(value, int) and 1 <= value <= LARGEST[field]
        allowed = f"a whole number from 1 to {LARGEST[field]:,}"
    elif field in _FLAGS:
        fits, allowed = isinstance(value, bool), "True or False"
    elif field in _EPSILONS:
        fits, allowed = number and 0 < value < 1, "a positive number below 1"
    elif field == "patch_dropout":
        fits, allowed = number and 0 <= value < 1, "in [0, 1)"
    else:
        return
    if not fits:
        raise ConfigError(f"{where} = {_shown(value)} must be {allowed}")


def _shown(value: Any) -> str:
    text = f"{value!r:.80}"
    return text if len(text) < 80 else f"{text} ..."


def _check_transformer(arch: dict[str, Any], tower: str, pools: tuple[str, ...]) -> None:
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


def _check_vit(fields: dict[str, Any]) -> None:
    choose(fields["stem"], dict.fromkeys(STEMS), "image.stem")
    if fields["image_size"] < fields["patch_size"]:
        raise ConfigError(
            f"image.image_size = {fields['image_size']} holds no patch of "
            f"image.patch_size = {fields['patch_size']}"
        )
    if fields["stem"] == "conv":
        size = fields["patch_size"]
        if fields["width"] < size // 2:
            raise ConfigError(
                f"image.stem = 'conv' doubles its channels up to image.width = {fields['width']}: "
                f"image.patch_size = {size} needs a width of {size // 2} or more"
            )
        if size < 2 or size & (size - 1) or fields["image_size"] % size:
            raise ConfigError(
                f"image.stem = 'conv' needs image.patch_size = {size} to be a power of two that "
                f"divides image.image_size = {fields['image_size']}; or set image.stem = 'patch'"
            )


def _check_resnet(fields: dict[str, Any]) -> None:
    choose(fields["batch_norm"], dict.fromkeys(BATCH_NORMS), "image.batch_norm")
    choose(fields["init_scheme"], SCHEMES, "image.init_scheme")
    stages, width, size = fields["stages"], fields["width"], fields["image_size"]
    if (
        not isinstance(stages, list | tuple)
        or len(stages) != NUM_STAGES
        or not all(type(depth) is int and 1 <= depth <= _MAX_STAGE_DEPTH for depth in stages)
    ):
        raise ConfigError(
            f"image.stages = {_shown(stages)} must be a list of {NUM_STAGES} numbers of blocks, "
            f"each from 1 to {_MAX_STAGE_DEPTH}, such as [3, 4, 6, 3]"
        )
    if width % 2:
        raise ConfigError(f"image.width = {width} must be even: half of it starts the stem")
    if 32 * width % fields["num_heads"]:
        raise ConfigError(
            f"32 image.width = {32 * width} channels of the last stage do not divide into "
            f"image.num_heads = {fields['num_heads']} heads"
        )
    if size < STRIDE or size % STRIDE:
        near = max(STRIDE, round(size / STRIDE) * STRIDE)
        raise ConfigError(
            f"image.image_size = {size} must be a multiple of {STRIDE} pixels, what the ResNet "
            f"makes one position of: the nearest is {near}"
        )
