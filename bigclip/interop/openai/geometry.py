"""The sizes of OpenAI's models, read from the shapes of their arrays.

Source: openai/CLIP `clip/model.py` (`build_model`), where heads are 64 wide everywhere.
"""

from typing import Any

from bigclip import models
from bigclip.interop.files import Weights
from bigclip.interop.geometry import heads_of, num_layers, shape_of, side_of
from bigclip.models.resnet import NUM_STAGES, STRIDE

HEAD_WIDTH = 64
POOL_WIDTH = 32  # the attention pool has so many times the width of the ResNet


def architecture_of(weights: Weights) -> dict[str, Any]:
    """Return the architecture.

    Raises:
        ConfigError: if an array that tells it is missing or misshapen.
    """
    is_vit = "visual.proj" in weights
    arch = models.architecture("clip-vit-b-32" if is_vit else "clip-rn50")
    arch["image"] |= _vit(weights) if is_vit else _resnet(weights)
    arch["text"] |= _text(weights)
    arch["embed_dim"] = shape_of(weights, "text_projection", 2)[1]
    return models.architecture(arch)


def _vit(weights: Weights) -> dict[str, Any]:
    where = f"{weights.path}: the image tower"
    width, _, size, _ = shape_of(weights, "visual.conv1.weight", 4)
    positions = shape_of(weights, "visual.positional_embedding", 2)[0]
    return {
        "image_size": size * side_of(positions - 1, where),
        "patch_size": size,
        "width": width,
        "depth": num_layers(weights, "visual.transformer.resblocks."),
        "num_heads": heads_of(width, HEAD_WIDTH, where),
        "mlp_width": shape_of(weights, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
    }


def _resnet(weights: Weights) -> dict[str, Any]:
    where = f"{weights.path}: the image tower"
    width = shape_of(weights, "visual.layer1.0.conv1.weight", 4)[0]
    positions = shape_of(weights, "visual.attnpool.positional_embedding", 2)[0]
    return {
        "image_size": STRIDE * side_of(positions - 1, where),
        "stages": [num_layers(weights, f"visual.layer{i + 1}.") for i in range(NUM_STAGES)],
        "width": width,
        "num_heads": heads_of(POOL_WIDTH * width, HEAD_WIDTH, where),
    }


def _text(weights: Weights) -> dict[str, Any]:
    vocab_size, width = shape_of(weights, "token_embedding.weight", 2)
    return {
        "vocab_size": vocab_size,
        "context_length": shape_of(weights, "positional_embedding", 2)[0],
        "width": width,
        "depth": num_layers(weights, "transformer.resblocks."),
        "num_heads": heads_of(width, HEAD_WIDTH, f"{weights.path}: the text tower"),
        "mlp_width": shape_of(weights, "transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
    }
