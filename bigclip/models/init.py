"""Published initialisation schemes, by name.

`initializers(scheme, width=, depth=, mlp_width=)` returns one initializer for every kind of
parameter that a tower owns. Layers under `scan` split their keys, so each initializer sees the
shape of one layer and its fans are those of one layer.

`clip`: openai/CLIP `clip/model.py`. The release leaves ViT blocks at PyTorch's defaults, while the
paper only says that the towers differ slightly; here the text scheme serves the ViT blocks, too.
Biases of the MLP and the patch kernel keep PyTorch's uniform default, as in the release.

`siglip`: big_vision `models/vit.py` and `models/proj/image_text/text_transformer.py`.
"""

import math
from typing import NamedTuple

import jax
from jax.nn import initializers as jinit

from bigclip.config import choose


class Initializers(NamedTuple):
    """One initializer, `(key, shape, dtype) -> array`, for every kind of parameter."""

    patch_kernel: jinit.Initializer  # [.., E], also the kernels of a convolutional stem
    class_token: jinit.Initializer  # [1, E]
    image_position: jinit.Initializer  # [P (+ 1), E]
    token_embedding: jinit.Initializer  # [V, E]
    text_position: jinit.Initializer  # [L, E]
    attention_in: jinit.Initializer  # query, key and value, [E, E] each
    attention_out: jinit.Initializer  # [E, E]
    mlp_up: jinit.Initializer  # [E, mlp]
    mlp_up_bias: jinit.Initializer
    mlp_down: jinit.Initializer  # [mlp, E]
    mlp_down_bias: jinit.Initializer
    probe: jinit.Initializer  # [1, E], the query of the attention pooling head
    projection: jinit.Initializer  # [E, D]


def initializers(scheme: str, *, width: int, depth: int, mlp_width: int) -> Initializers:
    """Return the initializers of a tower.

    Args:
        scheme: a key of `SCHEMES`.
        width: E.
        depth: number of blocks; residual branches of `clip` shrink with it.
        mlp_width: hidden width of the MLP.
    """
    return choose(scheme, SCHEMES, "init_scheme")(width, depth, mlp_width)


def _uniform(limit: float) -> jinit.Initializer:
    def init(key, shape, dtype=float, out_sharding=None):
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def _clip(width: int, depth: int, mlp_width: int) -> Initializers:
    by_width = jinit.normal(width**-0.5)
    residual = jinit.normal(width**-0.5 * (2 * depth) ** -0.5)
    return Initializers(
        # PyTorch's convolution default: uniform within 1 / sqrt(fan_in).
        patch_kernel=jinit.variance_scaling(1 / 3, "fan_in", "uniform"),
        class_token=by_width,
        image_position=by_width,
        token_embedding=jinit.normal(0.02),
        text_position=jinit.normal(0.01),
        attention_in=by_width,
        attention_out=residual,
        mlp_up=jinit.normal((2 * width) ** -0.5),
        mlp_up_bias=_uniform(width**-0.5),
        mlp_down=residual,
        mlp_down_bias=_uniform(mlp_width**-0.5),
        probe=by_width,
        projection=by_width,
    )


def _siglip(width: int, depth: int, mlp_width: int) -> Initializers:
    del depth, mlp_width
    xavier = jinit.xavier_uniform()
    tiny = jinit.normal(1e-6)
    lecun = jinit.lecun_normal()
    by_width = jinit.normal(1 / math.sqrt(width))
    return Initializers(
        patch_kernel=lecun,
        class_token=jinit.zeros,
        image_position=by_width,
        token_embedding=by_width,
        text_position=by_width,
        attention_in=xavier,
        attention_out=xavier,
        mlp_up=xavier,
        mlp_up_bias=tiny,
        mlp_down=xavier,
        mlp_down_bias=tiny,
        probe=xavier,
        projection=lecun,
    )


SCHEMES = {"clip": _clip, "siglip": _siglip}
