"""What a frozen image tower offers to probes: its embedding, and the layers before it, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from bigclip.models.image import ImageTower
from bigclip.models.resnet import ModifiedResNet
from bigclip.models.towers import is_resnet

# Beside these, the output of each block, "block_00", "block_01", ..., or of a ResNet's stages.
LAYERS = ("embedding", "projected", "pooled", "tokens")


def layer_names(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of all layers of a tower, by the image dict of its architecture."""
    if is_resnet(image):
        return (*LAYERS, *(f"stage_{index}" for index in range(len(image["stages"]))))
    return (*LAYERS, *(f"block_{index:02d}" for index in range(image["depth"])))


def image_features(
    tower: ImageTower | ModifiedResNet, params: Any, pixels: jax.Array, layers: Sequence[str]
) -> dict[str, jax.Array]:
    """Run the tower once and return the layers asked for.

    Args:
        tower: the tower.
        params: its parameters.
        pixels: normalised images, float [b, H, W, 3].
        layers: names of `layer_names`:
            "embedding"  the embedding, L2-normalised, [b, D]
            "projected"  the embedding before that, [b, D]
            "pooled"     before the projection, [b, E]: what CLIP's linear probes are fitted to
                         (arXiv 2103.00020, appendix A.3); of a ResNet what its attention pool
                         gives, which is the embedding before normalisation, [b, D]
            "tokens"     the patches after the last norm, or a ResNet's last feature map, [b, P, E]
            "block_00"   the output of a block, mean over all of its tokens, [b, E]; likewise the
                         others
            "stage_0"    the output of a ResNet's stage, mean over all positions; likewise the
                         others

    Returns:
        Layer -> float32 array.
    """
    # A tower that pools one token computes the others of its last layer only where it must.
    (emb, inner), seen = tower.apply(
        {"params": params},
        pixels,
        with_tokens="tokens" in layers,
        mutable=["intermediates"] if set(layers) - set(LAYERS) else [],
    )
    emb = emb.astype(jnp.float32)
    unit = emb * jax.lax.rsqrt(jnp.maximum(jnp.sum(emb * emb, -1, keepdims=True), 1e-16))
    known = {"embedding": unit, "projected": emb, **inner}
    known |= _blocks(seen.get("intermediates", {}))
    return {name: known[name].astype(jnp.float32) for name in layers}


def _blocks(seen: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Name the means that blocks and stages sow; those of scanned blocks are [depth, b, E]."""
    if "blocks" in seen:
        (means,) = seen["blocks"]["output"]
        return {f"block_{index:02d}": means[index] for index in range(means.shape[0])}
    return {name: value["output"][0] for name, value in seen.items()}
