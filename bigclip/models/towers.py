"""Which module an architecture's image tower is, and how it runs in training."""

from collections.abc import Collection, Mapping
from typing import Any

import jax

from bigclip.models.batch_norm import COLLECTION
from bigclip.models.image import ImageTower
from bigclip.models.resnet import ModifiedResNet

# What an architecture's image dict may say under "tower". That of a vision transformer says
# nothing, so that manifests from before there was a choice stay valid.
RESNET = "resnet"


def is_resnet(image: Mapping[str, Any]) -> bool:
    """Tell by an architecture's image dict whether the tower is a `ModifiedResNet`."""
    return image.get("tower") == RESNET


def image_tower(
    arch: Mapping[str, Any],
    *,
    dtype: Any = "bfloat16",
    scan: bool = False,
    remat: str = "none",
    attention: str = "auto",
) -> ImageTower | ModifiedResNet:
    """Build the image tower of an architecture.

    Args:
        arch: as `architecture()` returns it.
        dtype: of the computation.
        scan: whether equal layers are scanned. A ResNet has none that are: it is always unrolled.
        remat: a key of `remat.POLICIES`, for each block.
        attention: one of `attention.ATTENTIONS`. The one query of a ResNet's attention pool needs
            no kernel: it takes the formula.
    """
    fields, embed_dim = dict(arch["image"]), arch["embed_dim"]
    if is_resnet(fields):
        del fields["tower"]
        fields["stages"] = tuple(fields["stages"])
        return ModifiedResNet(embed_dim, **fields, dtype=dtype, remat=remat)
    return ImageTower(embed_dim, **fields, dtype=dtype, scan=scan, remat=remat, attention=attention)


def embed_in_training(
    tower: ImageTower | ModifiedResNet,
    params: Any,
    pixels: jax.Array,
    *,
    keys: jax.Array,
    frozen: Collection[str] = frozenset(),
) -> tuple[jax.Array, dict[str, Any]]:
    """Embed the images of a training batch.

    Args:
        tower: of `image_tower`.
        params: its parameters.
        pixels: normalised images, float [b, H, W, 3].
        keys: PRNG keys [b], for what a tower draws for each example.
        frozen: paths in `params` of what does not train.

    Returns:
        The embeddings, float32 [b, D], and new values of some parameters, as a tree with those
        alone: the running statistics of what was normalised by the batch. Empty for most towers.
    """
    if isinstance(tower, ModifiedResNet):
        (emb, _), new = tower.apply(
            {"params": params}, pixels, training=True, frozen=frozen, mutable=[COLLECTION]
        )
        return emb, new.get(COLLECTION, {})
    emb, _ = tower.apply({"params": params}, pixels, keys=keys)
    return emb, {}
