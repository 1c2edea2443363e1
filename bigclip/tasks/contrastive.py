"""Two towers and a contrastive loss over all pairs of the global batch: CLIP, SigLIP and kin.

An example may come with C captions, as with the caption policy "all" of `bigclip.data.captions`.
Then the images are paired with everyone's first captions, with everyone's second ones, and so on,
and the loss is the mean of these C losses. DataCompDR (MobileCLIP, arXiv 2311.17049) takes their
sum; the mean is that sum divided by C, so that a loss reads the same, and a clip of the gradient
means the same, for any number of captions.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from bigclip import models
from bigclip.config import ConfigError, call, choose, plain, resolve
from bigclip.losses import PairOptions, mean_over_captions, sigmoid_loss, softmax_loss
from bigclip.tasks.captions import caption_id
from bigclip.tasks.task import STATISTICS, Examples, Outputs, Params, Task

# As published: CLIP starts at a temperature of 0.07 and clips the scale at 100 "to prevent
# instability" (section 2.5); SigLIP starts at 10 with a bias of -10 and does not clip (section
# 3.2), so that the many negatives make no large first step.
_DEFAULTS: dict[str, dict[str, float | None]] = {
    "softmax": {"init_logit_scale": 1 / 0.07, "init_logit_bias": None, "max_logit_scale": 100.0},
    "sigmoid": {"init_logit_scale": 10.0, "init_logit_bias": -10.0, "max_logit_scale": None},
}
_SCALARS = ("log_logit_scale", "logit_bias")  # the parameters of the pairs
_LARGEST = 1_000_000  # a scale or bias of logits beyond it is a mistake or an attack


def normalise(x: jax.Array, *, eps: float = 1e-8) -> jax.Array:
    """Scale the last axis to unit length, in float32; a zero vector stays zero."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), eps**2))


def normalise_pixels(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """uint8 [b, H, W, 3] -> float32 with the given mean and deviation (of pixels in [0, 1]).

    On the device, since it moves a quarter of the bytes there and costs the host nothing.
    """
    scale = 1.0 / (255.0 * jnp.asarray(std, jnp.float32))
    shift = jnp.asarray(mean, jnp.float32) / jnp.asarray(std, jnp.float32)
    return images.astype(jnp.float32) * scale - shift


def _check_num_captions(num_captions: Any) -> None:
    if num_captions is None:
        return
    if isinstance(num_captions, bool) or not isinstance(num_captions, int) or num_captions < 1:
        raise ConfigError(
            f"config.task.num_captions must be 1 or more, or None, not {num_captions!r:.80}."
        )


def _check_number(name: str, value: Any) -> None:
    # The comparison is false for NaN and infinities, too.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise ConfigError(
            f"config.task.{name} must be a number from {-_LARGEST:,} to {_LARGEST:,}, "
            f"not {value!r:.80}."
        )


def contrastive(
    *,
    architecture: str | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    loss: str = "softmax",
    init_logit_scale: float | None = None,
    init_logit_bias: float | None = None,
    max_logit_scale: float | None = None,
    pairs: Mapping[str, Any] | None = None,
    dtype: str = "bfloat16",
    scan: bool = True,
    remat: str = "none",
    attention: str = "auto",
    mean: Sequence[float],
    std: Sequence[float],
    num_captions: int | None = None,
) -> Task:
    """Build the task.

    Sources: CLIP (arXiv 2103.00020), SigLIP (arXiv 2303.15343).

    Args:
        architecture: a name of `bigclip.models.ARCHITECTURES`, or one as plain data.
        overrides: what to change in it, nested: {"image": {"depth": 6}}.
        loss: "softmax" (CLIP) or "sigmoid" (SigLIP).
        init_logit_scale: where the logit scale starts; as published by default (14.3, or 10).
        init_logit_bias: likewise, for sigmoid only (-10).
        max_logit_scale: the scale is clipped to [1, this] after each update; 100 for softmax and
            no clip for sigmoid by default. 0 turns the clip off.
        pairs: how the pairs of the batch are computed (all at once, gathered, around a ring), and
            what equal captions count as: see `bigclip.losses.PairOptions`.
        dtype: type of the towers' matrix products, "bfloat16" or "float32".
        scan: whether the towers' layers are scanned (compiles once for all) or unrolled; those of
            a ResNet always are unrolled.
        remat: what the backward pass computes again, see `bigclip.models.remat`.
        attention: "auto" (on TPUs, the kernel of `bigclip.models.fused_attention` where it fits)
            or "plain".
        mean: pixel mean per channel, of the preprocessing.
        std: pixel deviation per channel.
        num_captions: C, if examples come with several texts, int32 [b, C, L]; None if with one,
            int32 [b, L]. Of a run, its data decide it (`config.data.captions`).

    Raises:
        ConfigError: for unknown names, and for options of a wrong type, out of their bounds or that
            do not fit the loss.
    """
    defaults = choose(loss, _DEFAULTS, "config.task.loss")
    if loss == "softmax" and init_logit_bias is not None:
        raise ConfigError("config.task.init_logit_bias: the softmax loss has no bias.")
    if init_logit_scale is None:
        init_logit_scale = defaults["init_logit_scale"]
    if init_logit_bias is None:
        init_logit_bias = defaults["init_logit_bias"]
    if max_logit_scale is None:
        max_logit_scale = defaults["max_logit_scale"] or 0.0
    for name, value in (
        ("init_logit_scale", init_logit_scale),
        ("init_logit_bias", init_logit_bias if loss == "sigmoid" else 0.0),
        ("max_logit_scale", max_logit_scale),
    ):
        _check_number(name, value)
    _check_num_captions(num_captions)
    if not isinstance(scan, bool):
        raise ConfigError(f"config.task.scan must be True or False, not {scan!r}.")
    if init_logit_scale <= 0 or (max_logit_scale and init_logit_scale > max_logit_scale):
        raise ConfigError(
            f"config.task.init_logit_scale = {init_logit_scale} must be positive and at most "
            f"max_logit_scale ({max_logit_scale or 'none'})."
        )
    pairs = plain(pairs or {})
    how_pairs = call(PairOptions, pairs, "task.pairs")
    choose(dtype, {"bfloat16": 0, "float32": 0}, "config.task.dtype")
    arch = models.architecture(plain(architecture), **plain(overrides or {}))
    choose(attention, dict.fromkeys(models.ATTENTIONS), "config.task.attention")
    how = {"dtype": jnp.dtype(dtype), "scan": scan, "remat": remat, "attention": attention}
    image_tower = models.image_tower(arch, **how)
    text_tower = models.TextTower(arch["embed_dim"], **arch["text"], **how)
    image_size, context_length = arch["image"]["image_size"], arch["text"]["context_length"]

    def init(rng: jax.Array) -> Params:
        image_rng, text_rng = jax.random.split(rng)
        images = jnp.zeros((1, image_size, image_size, 3), jnp.float32)
        tokens = jnp.zeros((1, context_length), jnp.int32)
        params = {
            "image": image_tower.init(image_rng, images)["params"],
            "text": text_tower.init(text_rng, tokens)["params"],
            "log_logit_scale": jnp.float32(math.log(init_logit_scale)),
        }
        if loss == "sigmoid":
            params["logit_bias"] = jnp.float32(init_logit_bias)
        return params

    def embed_images(params: Params, images: jax.Array) -> jax.Array:
        pixels = normalise_pixels(images, mean, std)
        emb, _ = image_tower.apply({"params": params["image"]}, pixels)
        return normalise(emb)

    def embed_texts(params: Params, tokens: jax.Array) -> jax.Array:
        emb, _ = text_tower.apply({"params": params["text"]}, tokens)
        return normalise(emb)

    def embed_captions(params: Params, tokens: jax.Array) -> jax.Array:
        own = () if num_captions is None else (num_captions,)
        if tokens.shape[1:-1] != own:
            raise ValueError(
                f"text has the shape {tokens.shape}, but this task takes "
                f"{'[b, L]' if num_captions is None else f'[b, {num_captions}, L]'}: build it with "
                "num_captions = C for texts [b, C, L], with None for [b, L]."
            )
        emb = embed_texts(params, tokens.reshape(-1, tokens.shape[-1]))
        return emb.reshape(*tokens.shape[:-1], -1)

    def image_features(
        params: Params, images: jax.Array, layers: tuple[str, ...]
    ) -> dict[str, jax.Array]:
        pixels = normalise_pixels(images, mean, std)
        return models.image_features(image_tower, params["image"], pixels, layers)

    def forward(
        params: Params,
        examples: Examples,
        rngs: jax.Array,
        *,
        frozen: Collection[str] = frozenset(),
    ) -> Outputs:
        image_emb, statistics = models.embed_in_training(
            image_tower,
            params["image"],
            normalise_pixels(examples["image"], mean, std),
            keys=rngs,
            frozen={path.removeprefix("image/") for path in frozen if path.startswith("image/")},
        )
        outputs = {
            "image_emb": normalise(image_emb),
            "text_emb": embed_captions(params, examples["text"]),
        }
        if statistics:
            outputs[STATISTICS] = {"image": statistics}
        if how_pairs.duplicates != "negative":
            outputs["caption_id"] = caption_id(examples["text"])
        return outputs

    def pair_loss(
        shared: dict[str, jax.Array], text_emb: jax.Array, ids: jax.Array | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        logit_scale = jnp.exp(shared["log_logit_scale"])
        inputs = (shared["image_emb"], text_emb, logit_scale)
        more = {"pairs": how_pairs, "caption_id": ids}
        if loss == "softmax":
            value, metrics = softmax_loss(*inputs, **more)
            return value, {**metrics, "logit_scale": logit_scale}
        value, metrics = sigmoid_loss(*inputs, shared["logit_bias"], **more)
        return value, {
            **metrics,
            "logit_scale": logit_scale,
            "logit_bias": shared["logit_bias"],
        }

    def objective(
        params: Params, outputs: Outputs, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del progress  # these losses do not change over the run
        shared = {name: params[name] for name in _SCALARS if name in params}
        shared["image_emb"] = outputs["image_emb"]
        text_emb, ids = outputs["text_emb"], outputs.get("caption_id")
        if num_captions is None:
            return pair_loss(shared, text_emb, ids)
        return mean_over_captions(pair_loss, shared, text_emb, ids)

    def score(params: Params, image_emb: jax.Array, text_emb: jax.Array) -> jax.Array:
        cosine = jnp.matmul(image_emb, text_emb.T, precision=jax.lax.Precision.HIGHEST)
        return cosine * jnp.exp(params["log_logit_scale"]) + params.get("logit_bias", 0.0)

    def constrain(params: Params) -> Params:
        if not max_logit_scale:
            return params
        clipped = jnp.clip(params["log_logit_scale"], 0.0, math.log(max_logit_scale))
        return {**params, "log_logit_scale": clipped}

    return Task(
        init=init,
        forward=forward,
        objective=objective,
        embed_images=embed_images,
        embed_texts=embed_texts,
        image_layers=models.layer_names(arch["image"]),
        image_features=image_features,
        towers={"image": ("image",), "text": ("text",)},
        score=score,
        constrain=constrain,
        rules=(*models.PARTITION_RULES, ("|".join(_SCALARS), ())),
        num_captions=num_captions,
        flops_per_example=models.image_flops(arch, drop=True)
        + (num_captions or 1) * models.text_flops(arch),
        manifest=plain(
            {
                "name": "contrastive",
                "architecture": arch,
                "loss": loss,
                "init_logit_scale": init_logit_scale,
                "init_logit_bias": init_logit_bias,
                "max_logit_scale": max_logit_scale,
                "pairs": resolve(PairOptions, pairs),
                "dtype": dtype,
                "scan": scan,
                "remat": remat,
                "attention": attention,
            }
        ),
    )
