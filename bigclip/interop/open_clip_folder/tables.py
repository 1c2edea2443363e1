"""open_clip's layouts of a CLIP, and what each of them can be.

An image tower is open_clip's own (OpenAI's names) or timm's (`visual.trunk`); the text tower's
arrays lie at the root (`CLIP`) or below `text.` (`CustomTextCLIP`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bigclip import models
from bigclip.interop.mapping import Row
from bigclip.interop.openai_rows import VIT_ROWS, resnet_rows, scale_rows, text_rows
from bigclip.interop.timm_folder.rows import trunk_rows
from bigclip.interop.torch_layers import linear_rows

TRUNK = "visual.trunk."
CUSTOM_TEXT = "text."


class Layout(NamedTuple):
    """Where a file has its arrays.

    Attributes:
        trunk: whether the image tower is timm's.
        head: prefix of timm's projection: behind the trunk, or its own classifier.
        text: prefix of the text tower's names.
        scale_axis: whether the logit scale is an array of one, no scalar.
    """

    trunk: bool = False
    head: str = "visual.head.proj"
    text: str = ""
    scale_axis: bool = False


def layout_of(names: Mapping[str, Any]) -> Layout:
    """Tell a layout by the arrays, name -> something with a shape."""
    scale = names.get("logit_scale")
    return Layout(
        trunk=any(name.startswith(TRUNK) for name in names),
        head=f"{TRUNK}head" if f"{TRUNK}head.weight" in names else "visual.head.proj",
        text=CUSTOM_TEXT if f"{CUSTOM_TEXT}token_embedding.weight" in names else "",
        scale_axis=scale is not None and len(scale.shape) == 1,
    )


def rows(arch: Mapping[str, Any], layout: Layout) -> tuple[Row, ...]:
    """Return the table for an architecture in a layout."""
    if layout.trunk:
        image = *trunk_rows(arch["image"], TRUNK), *linear_rows("image/projection", layout.head)
    elif models.is_resnet(arch["image"]):
        image = resnet_rows(arch["image"])
    else:
        image = VIT_ROWS
    return (
        *image,
        *text_rows(arch["text"], layout.text),
        *scale_rows(with_axis=layout.scale_axis),
    )
