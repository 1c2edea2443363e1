"""Image and text towers, and the table of named architectures."""

from bigclip.models.architectures import ARCHITECTURES, architecture
from bigclip.models.attention import ATTENTIONS
from bigclip.models.batch_norm import STATISTICS
from bigclip.models.features import image_features, layer_names
from bigclip.models.flops import (
    block_flops,
    computed_positions,
    image_flops,
    resnet_blocks,
    text_flops,
    transformer_flops,
)
from bigclip.models.image import ImageTower
from bigclip.models.layers import stack, unstack
from bigclip.models.partition import PARTITION_RULES
from bigclip.models.resnet import ModifiedResNet
from bigclip.models.text import TextTower
from bigclip.models.towers import embed_in_training, image_tower, is_resnet

__all__ = [
    "ARCHITECTURES",
    "ATTENTIONS",
    "PARTITION_RULES",
    "STATISTICS",
    "ImageTower",
    "ModifiedResNet",
    "TextTower",
    "architecture",
    "block_flops",
    "computed_positions",
    "embed_in_training",
    "image_features",
    "image_flops",
    "image_tower",
    "is_resnet",
    "layer_names",
    "resnet_blocks",
    "stack",
    "text_flops",
    "transformer_flops",
    "unstack",
]
