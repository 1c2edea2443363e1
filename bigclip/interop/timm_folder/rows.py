"""timm's names of a vision transformer's arrays.

Source: huggingface/pytorch-image-models `timm/models/vision_transformer.py` and
`timm/layers/attention_pool.py`. Positions of a class token come first, as ours.
"""

from collections.abc import Mapping
from typing import Any

from bigclip.interop.mapping import Row
from bigclip.interop.torch_layers import linear_rows, norm_rows, packed_rows


def trunk_rows(image: Mapping[str, Any], prefix: str = "") -> tuple[Row, ...]:
    """Rows of everything but the projection.

    Args:
        image: the image tower's dict of the architecture.
        prefix: of all their names.
    """
    block, pool = f"{prefix}blocks.{{}}", f"{prefix}attn_pool"
    ours, head = "image/block_{}", "image/map_head"
    rows = (
        Row("image/stem/kernel", f"{prefix}patch_embed.proj.weight", "conv"),
        Row("image/stem/bias", f"{prefix}patch_embed.proj.bias"),
        Row("image/position", f"{prefix}pos_embed", "lead"),
        *norm_rows("image/ln_pre", f"{prefix}norm_pre"),
        *norm_rows(f"{ours}/ln_attention", f"{block}.norm1"),
        *packed_rows(f"{ours}/attention", f"{block}.attn.qkv", ("query", "key", "value")),
        *linear_rows(f"{ours}/attention/out", f"{block}.attn.proj"),
        *norm_rows(f"{ours}/ln_mlp", f"{block}.norm2"),
        *linear_rows(f"{ours}/mlp/up", f"{block}.mlp.fc1"),
        *linear_rows(f"{ours}/mlp/down", f"{block}.mlp.fc2"),
        *norm_rows("image/ln_post", f"{prefix}norm"),
    )
    if image["pool"] == "class":
        return Row("image/class_token", f"{prefix}cls_token", "lead"), *rows
    if image["pool"] == "map":
        rows += (
            Row(f"{head}/probe", f"{pool}.latent", "lead"),
            *linear_rows(f"{head}/attention/query", f"{pool}.q"),
            *packed_rows(f"{head}/attention", f"{pool}.kv", ("key", "value")),
            *linear_rows(f"{head}/attention/out", f"{pool}.proj"),
            *norm_rows(f"{head}/ln_mlp", f"{pool}.norm"),
            *linear_rows(f"{head}/mlp/up", f"{pool}.mlp.fc1"),
            *linear_rows(f"{head}/mlp/down", f"{pool}.mlp.fc2"),
        )
    return rows
