"""Analytic counts of floating-point operations, for model FLOPs utilisation.

Counted are the matrix products of one forward pass of one example, a multiply-add as two. The
elementwise rest (norms, activations, softmax) is some percent on a wide tower and runs on other
units. A training step costs three forward passes, whatever is recomputed in between.

Of a last layer that is pooled at one token (the class token, the end of a text), keys and values
are needed of all tokens and everything else of that one: that is what counts, and what is computed.
The literature counts all tokens, which is 7% more for towers of 12 layers and 3.5% for 24.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bigclip.models.image import kept_patches
from bigclip.models.resnet import STRIDE, BlockShape, block_shapes
from bigclip.models.towers import is_resnet


def image_flops(arch: Mapping[str, Any], *, drop: bool = False) -> int:
    """Return the FLOPs of embedding one image, forward.

    Args:
        arch: an architecture, as `architecture()` returns it.
        drop: whether `patch_dropout` is at work, as in training.
    """
    image, dim = arch["image"], arch["embed_dim"]
    if is_resnet(image):
        blocks = sum(block_flops(shape, side) for shape, side in resnet_blocks(image))
        return _resnet_stem_flops(image) + blocks + _attention_pool_flops(image, dim)
    width = image["width"]
    num_tokens = (image["image_size"] // image["patch_size"]) ** 2
    if drop and image["patch_dropout"]:
        num_tokens = kept_patches(num_tokens, image["patch_dropout"])
    flops = _stem_flops(image, num_tokens)
    if image["pool"] == "class":
        num_tokens += 1
    flops += sum(transformer_flops(image, num_tokens, pooled=image["pool"] == "class"))
    if image["pool"] == "map":
        # Keys and values of every token; query, output and MLP of one; one row of attention.
        flops += 2 * width**2 * (2 * num_tokens + 2) + 4 * num_tokens * width
        flops += 4 * width * image["mlp_width"]
    return flops + (2 * width * dim if image["projection"] else 0)


def text_flops(arch: Mapping[str, Any]) -> int:
    """Return the FLOPs of embedding one text, forward; a causal mask saves none.

    Args:
        arch: an architecture, as `architecture()` returns it.
    """
    text, dim = arch["text"], arch["embed_dim"]
    flops = sum(transformer_flops(text, text["context_length"], pooled=True))
    return flops + (2 * text["width"] * dim if text["projection"] else 0)


class TransformerFlops(NamedTuple):
    """FLOPs of a transformer's blocks, by what a policy of rematerialisation tells apart.

    Attributes:
        attention: logits, and the mix of the values.
        projections: the other products with weights.
        down: the second layer of the MLPs.
    """

    attention: int
    projections: int
    down: int


def computed_positions(depth: int, num_tokens: int, *, pooled: bool) -> int:
    """Positions that leave the layers of a transformer, over all layers; arguments as below."""
    return (depth - 1) * num_tokens + (1 if pooled else num_tokens)


def transformer_flops(
    fields: Mapping[str, Any], num_tokens: int, *, pooled: bool
) -> TransformerFlops:
    """Return the FLOPs of all blocks of a transformer for one sequence, forward.

    Args:
        fields: `depth`, `width` and `mlp_width`.
        num_tokens: L.
        pooled: of the last layer, one token is wanted.
    """
    width, mlp_width, depth = fields["width"], fields["mlp_width"], fields["depth"]
    # Keys and values are of every position of every layer.
    queries = computed_positions(depth, num_tokens, pooled=pooled)
    return TransformerFlops(
        attention=4 * queries * num_tokens * width,
        projections=2 * width * (2 * width * (depth * num_tokens + queries) + queries * mlp_width),
        down=2 * queries * width * mlp_width,
    )


def _stem_flops(image: Mapping[str, Any], num_patches: int) -> int:
    width, patch = image["width"], image["patch_size"]
    if image["stem"] == "patch":
        return 2 * num_patches * patch**2 * 3 * width
    flops, channels, num_halvings = 0, 3, patch.bit_length() - 1
    for index in range(num_halvings):
        outputs = width >> (num_halvings - 1 - index)
        side = image["image_size"] >> (index + 1)
        flops += 2 * side**2 * 9 * channels * outputs
        channels = outputs
    return flops + 2 * num_patches * channels * width


def resnet_blocks(image: Mapping[str, Any]) -> Iterator[tuple[BlockShape, int]]:
    """Yield the blocks of a ResNet, each with the side in pixels of what enters it."""
    side = image["image_size"] // 4
    for stage in block_shapes(image["stages"], image["width"]):
        for shape in stage:
            yield shape, side
            side //= shape.stride


def block_flops(shape: BlockShape, side: int) -> int:
    """Return the FLOPs of a bottleneck block, forward.

    Args:
        shape: of the block.
        side: of the feature map that enters, in pixels.
    """
    inside = shape.planes * (shape.inputs + 9 * shape.planes)
    behind = shape.outputs * (shape.planes + (shape.inputs if shape.has_shortcut else 0))
    return 2 * side**2 * inside + 2 * (side // shape.stride) ** 2 * behind


def _resnet_stem_flops(image: Mapping[str, Any]) -> int:
    half = image["width"] // 2
    weights = 9 * (3 * half + half * half + half * image["width"])
    return 2 * (image["image_size"] // 2) ** 2 * weights


def _attention_pool_flops(image: Mapping[str, Any], dim: int) -> int:
    """Keys and values of every position and of the mean, query and output of the mean alone."""
    width = 32 * image["width"]
    num_tokens = (image["image_size"] // STRIDE) ** 2 + 1
    return 2 * width**2 * (2 * num_tokens + 1) + 4 * num_tokens * width + 2 * width * dim
