"""Image and text towers, and the table of named architectures."""

from bigclip.models.architectures import ARCHITECTURES, architecture
from bigclip.models.attention import ATTENTIONS
from bigclip.models.features import image_features, layer_names
from bigclip.models.flops import image_flops, text_flops
from bigclip.models.image import ImageTower
from bigclip.models.layers import stack, unstack
from bigclip.models.partition import PARTITION_RULES
from bigclip.models.text import TextTower

__all__ = [
    "ARCHITECTURES",
    "ATTENTIONS",
    "PARTITION_RULES",
    "ImageTower",
    "TextTower",
    "architecture",
    "image_features",
    "image_flops",
    "layer_names",
    "stack",
    "text_flops",
    "unstack",
]
