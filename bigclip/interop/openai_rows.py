"""OpenAI's names of a CLIP's arrays, which open_clip has kept.

Source: openai/CLIP `clip/model.py`; open_clip `model.py`, `transformer.py` and
`modified_resnet.py`. A text tower has its arrays at the root, or below "text." (open_clip's
`CustomTextCLIP`).
"""

import re
from collections.abc import Mapping
from typing import Any

from bigclip import models
from bigclip.interop.mapping import Row
from bigclip.interop.torch_layers import (
    FOLDED,
    Extra,
    identity,
    linear_rows,
    norm_rows,
    packed_rows,
    positions_with_bias,
)
from bigclip.models.resnet import block_shapes


def _block_rows(ours: str, theirs: str) -> tuple[Row, ...]:
    return (
        *norm_rows(f"{ours}/ln_attention", f"{theirs}.ln_1"),
        *packed_rows(
            f"{ours}/attention", f"{theirs}.attn.in_proj", ("query", "key", "value"), dot="_"
        ),
        *linear_rows(f"{ours}/attention/out", f"{theirs}.attn.out_proj"),
        *norm_rows(f"{ours}/ln_mlp", f"{theirs}.ln_2"),
        *linear_rows(f"{ours}/mlp/up", f"{theirs}.mlp.c_fc"),
        *linear_rows(f"{ours}/mlp/down", f"{theirs}.mlp.c_proj"),
    )


VIT_ROWS = (
    Row("image/stem/kernel", "visual.conv1.weight", "conv"),
    Row("image/class_token", "visual.class_embedding", "row"),
    Row("image/position", "visual.positional_embedding"),
    *norm_rows("image/ln_pre", "visual.ln_pre"),
    *_block_rows("image/block_{}", "visual.transformer.resblocks.{}"),
    *norm_rows("image/ln_post", "visual.ln_post"),
    Row("image/projection/kernel", "visual.proj"),
)


def text_rows(text: Mapping[str, Any], prefix: str = "") -> tuple[Row, ...]:
    """Rows of the text tower.

    Args:
        text: its dict of the architecture.
        prefix: of all its names.
    """
    projection = (Row("text/projection/kernel", f"{prefix}text_projection"),)
    if text["projection_bias"]:
        projection = linear_rows("text/projection", f"{prefix}text_projection")
    return (
        Row("text/token_embedding", f"{prefix}token_embedding.weight"),
        Row("text/position", f"{prefix}positional_embedding"),
        *_block_rows("text/block_{}", f"{prefix}transformer.resblocks.{{}}"),
        *norm_rows("text/ln_post", f"{prefix}ln_final"),
        *projection,
    )


def scale_rows(*, with_axis: bool = False) -> tuple[Row, ...]:
    """Rows of the logarithm of the logit scale and of the bias, scalars or arrays of one."""
    change = "scalar" if with_axis else "same"
    return (
        Row("log_logit_scale", "logit_scale", change),
        Row("logit_bias", "logit_bias", change),
    )


def _batch_norm_rows(ours: str, theirs: str) -> tuple[Row, ...]:
    return (
        *norm_rows(ours, theirs),
        Row(f"{ours}/running_mean", f"{theirs}.running_mean"),
        Row(f"{ours}/running_var", f"{theirs}.running_var"),
    )


def resnet_rows(image: Mapping[str, Any]) -> tuple[Row, ...]:
    """Rows of a `ModifiedResNet`, by its dict of the architecture."""

    def pair(ours: tuple[str, str], theirs: tuple[str, str]) -> tuple[Row, ...]:
        return Row(f"{ours[0]}/kernel", f"{theirs[0]}.weight", "conv"), *_batch_norm_rows(
            ours[1], theirs[1]
        )

    rows = []
    for i in range(3):
        ours = f"image/stem/conv_{i}", f"image/stem/bn_{i}"
        rows += pair(ours, (f"visual.conv{i + 1}", f"visual.bn{i + 1}"))
    for stage, blocks in enumerate(block_shapes(image["stages"], image["width"])):
        for number, block in enumerate(blocks):
            ours, theirs = f"image/stage_{stage}/block_{number:02d}", f"visual.layer{stage + 1}"
            theirs = f"{theirs}.{number}"
            for i in range(3):
                names = f"{ours}/conv_{i}", f"{ours}/bn_{i}"
                rows += pair(names, (f"{theirs}.conv{i + 1}", f"{theirs}.bn{i + 1}"))
            if block.has_shortcut:
                names = f"{ours}/shortcut_conv", f"{ours}/shortcut_bn"
                rows += pair(names, (f"{theirs}.downsample.0", f"{theirs}.downsample.1"))
    pool = "image/attention_pool"
    rows.append(Row(f"{pool}/position", "visual.attnpool.positional_embedding"))
    for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "c")):
        rows += linear_rows(f"{pool}/{ours}", f"visual.attnpool.{theirs}_proj")
    return tuple(rows)


def model_rows(arch: Mapping[str, Any]) -> tuple[Row, ...]:
    """Rows of a whole model with OpenAI's names."""
    image = resnet_rows(arch["image"]) if models.is_resnet(arch["image"]) else VIT_ROWS
    return *image, *text_rows(arch["text"]), *scale_rows()


# Told by OpenAI's releases beside the parameters; its `build_model` takes them away.
TOLD = ("input_resolution", "context_length", "vocab_size")
# Arrays that are no parameters: masks, counters of batches, and the above.
BUFFERS = (r"(.*\.)?attn_mask", r".*\.num_batches_tracked", *TOLD)


def is_buffer(name: str) -> bool:
    """Tell whether an array is no parameter."""
    return any(re.fullmatch(pattern, name) for pattern in BUFFERS)


def folded(arch: Mapping[str, Any], *, text: bool = True) -> tuple[Extra, tuple[str, ...]]:
    """Say what is computed for theirs since no row can say it.

    Args:
        arch: of a vision transformer with a class token.
        text: whether a missing projection of the text tower is wanted, too.

    Returns:
        Their name -> what it is and function(read) -> array; and our names used up by it.
    """
    extra: Extra = {}
    if arch["image"]["patch_bias"]:
        extra["visual.positional_embedding"] = positions_with_bias(arch["image"])
    for tower, name in (("image", "visual.proj"), ("text", "text_projection"))[: 1 + text]:
        if not arch[tower]["projection"]:
            extra[name] = identity(arch["embed_dim"])
    return extra, FOLDED if arch["image"]["patch_bias"] else ()
