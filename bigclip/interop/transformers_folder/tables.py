"""Where our parameters lie in `CLIPModel`, `SiglipModel` and `Siglip2Model` of transformers."""

from collections.abc import Callable, Mapping

import numpy as np

from bigclip.interop.files import Spec
from bigclip.interop.mapping import Row, Shape
from bigclip.interop.torch_layers import linear_rows as _linear
from bigclip.interop.torch_layers import norm_rows as _norm

CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}  # model_type

PATCHES = "vision_model.embeddings.patch_embedding.weight"
_PATCH_BIAS = "vision_model.embeddings.patch_embedding.bias"
_IMAGE_POSITIONS = "vision_model.embeddings.position_embedding.weight"
_TEXT_HEAD_BIAS = "text_model.head.bias"
_LOGIT_BIAS = "logit_bias"

# Buffers that older versions stored: the numbers 0, 1, 2, ...
IGNORED = (r"(text|vision)_model\.embeddings\.position_ids",)

Computed = dict[str, tuple[Spec, Callable[[Callable[[str], np.ndarray]], np.ndarray]]]


def rows(model_type: str) -> tuple[Row, ...]:
    """Return the table of a class.

    Args:
        model_type: a key of `CLASSES`.
    """
    shared = (
        Row("image/position", _IMAGE_POSITIONS),
        *_block("image/block_{}", "vision_model.encoder.layers.{}"),
        *_norm("image/ln_post", "vision_model.post_layernorm"),
        Row("text/token_embedding", "text_model.embeddings.token_embedding.weight"),
        Row("text/position", "text_model.embeddings.position_embedding.weight"),
        *_block("text/block_{}", "text_model.encoder.layers.{}"),
        *_norm("text/ln_post", "text_model.final_layer_norm"),
    )
    if model_type == "clip":
        return (
            Row("image/stem/kernel", PATCHES, "conv"),
            Row("image/class_token", "vision_model.embeddings.class_embedding", "row"),
            *_norm("image/ln_pre", "vision_model.pre_layrnorm"),  # their spelling
            Row("image/projection/kernel", "visual_projection.weight", "transpose"),
            Row("text/projection/kernel", "text_projection.weight", "transpose"),
            Row("log_logit_scale", "logit_scale"),
            *shared,
        )
    # A Siglip2Model's patches are flat: see `flat_to_kernel`.
    stem = (Row("image/stem/kernel", PATCHES, "conv"),) if model_type == "siglip" else ()
    return (
        *stem,
        Row("image/stem/bias", _PATCH_BIAS),
        *_map_head("image/map_head", "vision_model.head"),
        *_linear("text/projection", "text_model.head"),
        Row("log_logit_scale", "logit_scale", "scalar"),
        Row("logit_bias", _LOGIT_BIAS, "scalar"),
        *shared,
    )


def _block(ours: str, theirs: str) -> tuple[Row, ...]:
    return (
        *_norm(f"{ours}/ln_attention", f"{theirs}.layer_norm1"),
        *_linear(f"{ours}/attention/query", f"{theirs}.self_attn.q_proj"),
        *_linear(f"{ours}/attention/key", f"{theirs}.self_attn.k_proj"),
        *_linear(f"{ours}/attention/value", f"{theirs}.self_attn.v_proj"),
        *_linear(f"{ours}/attention/out", f"{theirs}.self_attn.out_proj"),
        *_norm(f"{ours}/ln_mlp", f"{theirs}.layer_norm2"),
        *_linear(f"{ours}/mlp/up", f"{theirs}.mlp.fc1"),
        *_linear(f"{ours}/mlp/down", f"{theirs}.mlp.fc2"),
    )


def _map_head(ours: str, theirs: str) -> tuple[Row, ...]:
    def packed(leaf: str) -> tuple[str, ...]:
        return tuple(f"{ours}/attention/{name}/{leaf}" for name in ("query", "key", "value"))

    return (
        Row(f"{ours}/probe", f"{theirs}.probe", "lead"),
        Row(packed("kernel"), f"{theirs}.attention.in_proj_weight", "transpose"),
        Row(packed("bias"), f"{theirs}.attention.in_proj_bias"),
        *_linear(f"{ours}/attention/out", f"{theirs}.attention.out_proj"),
        *_norm(f"{ours}/ln_mlp", f"{theirs}.layernorm"),
        *_linear(f"{ours}/mlp/up", f"{theirs}.mlp.fc1"),
        *_linear(f"{ours}/mlp/down", f"{theirs}.mlp.fc2"),
    )


def flat_to_kernel(flat: np.ndarray, patch_size: int) -> np.ndarray:
    """Turn a matrix on flattened patches, [E, p * p * 3], into a kernel [p, p, 3, E].

    A `Siglip2Model` gets its pictures cut up: each patch is a vector, row by row, pixel by pixel,
    red, green and blue together.
    """
    return flat.T.reshape(patch_size, patch_size, 3, -1)


def kernel_to_flat(kernel: np.ndarray) -> np.ndarray:
    """The inverse of `flat_to_kernel`."""
    return kernel.reshape(-1, kernel.shape[-1]).T


def computed(model_type: str, shapes: Mapping[str, Shape]) -> tuple[Computed, tuple[str, ...]]:
    """Say what goes out of a model that no row can say.

    Args:
        model_type: a key of `CLASSES`, one that can say the model.
        shapes: our paths and their shapes.

    Returns:
        Their name -> (what it is, function(read) -> array); and our paths that are used up by it.
    """
    float32 = np.dtype(np.float32)
    width = shapes["image/position"][1]
    if model_type == "clip":
        if "image/stem/bias" not in shapes:
            return {}, ()

        def positions(read: Callable[[str], np.ndarray]) -> np.ndarray:
            # CLIPModel's patches have no bias. Added to every patch, it may as well be part of
            # the patches' positions; that of the class token comes first.
            table = read("image/position").copy()
            table[1:] += read("image/stem/bias")
            return table

        spec = Spec(shapes["image/position"], float32)
        return {_IMAGE_POSITIONS: (spec, positions)}, ("image/position", "image/stem/bias")
    found: Computed = {}
    used: tuple[str, ...] = ()
    zeros = {
        "image/stem/bias": (_PATCH_BIAS, width),
        "text/projection/bias": (_TEXT_HEAD_BIAS, width),
        "logit_bias": (_LOGIT_BIAS, 1),
    }
    for ours, (theirs, size) in zeros.items():
        if ours not in shapes:
            found[theirs] = Spec((size,), float32), lambda read, n=size: np.zeros(n, np.float32)
    if model_type == "siglip2":
        *patch, _ = shapes["image/stem/kernel"]
        spec = Spec((width, int(np.prod(patch))), float32)
        found[PATCHES] = spec, lambda read: kernel_to_flat(read("image/stem/kernel"))
        used = ("image/stem/kernel",)
    return found, used
