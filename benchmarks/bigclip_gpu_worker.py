"""The side of bigclip on a GPU: its step, and its loss alone, without data."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.bigclip_step import make_step, parts_without_data, place
from benchmarks.workers import serve
from bigclip.losses import PairOptions, softmax_loss
from bigclip.training.throughput import peak_flops

_WARM_STEPS = 2


class BigclipGpu:
    """Measures one thing after another."""

    def device(self) -> dict[str, Any]:
        """Return `kind` and `peak_flops` (bfloat16, None where not known) of the device, or {}."""
        try:
            first = jax.devices()[0]
        except (RuntimeError, AssertionError):  # how JAX says that there is no such backend
            return {}
        return {"kind": first.device_kind, "peak_flops": peak_flops(first)}

    def step(self, *, config: dict[str, Any], batches: str, count: int) -> dict[str, Any]:
        """Train on the first batch of an .npz, which stays on the device; see `_measured`."""
        parts = parts_without_data(config)
        step = make_step(parts)
        with np.load(batches) as arrays:
            examples = place(parts, {name: arrays[name][0] for name in ("image", "text")})
        with jax.set_mesh(parts.mesh):
            state, compiling = step.create(), time.perf_counter()
            for _ in range(_WARM_STEPS):
                state, metrics = step.update(state, examples)
            metrics = jax.block_until_ready(metrics)
            compiling, start = time.perf_counter() - compiling, time.perf_counter()
            for _ in range(count):
                state, metrics = step.update(state, examples)
            jax.block_until_ready((state, metrics))
            seconds = (time.perf_counter() - start) / count
        return {
            "seconds": seconds,
            "first_seconds": compiling,
            "loss": float(metrics["loss"]),
            "flops_per_example": 3 * parts.task.flops_per_example,
            **_peak(),
        }

    def loss(
        self, *, batch_size: int, dim: int, pairs: dict[str, Any], count: int
    ) -> dict[str, Any]:
        """Measure the softmax loss and its gradient by both embeddings and the scale.

        Args:
            batch_size: B.
            dim: D.
            pairs: arguments of `PairOptions`.
            count: evaluations, after one to compile.
        """
        options = PairOptions(**pairs)

        def value(image_emb: jax.Array, text_emb: jax.Array, logit_scale: jax.Array) -> jax.Array:
            return softmax_loss(image_emb, text_emb, logit_scale, pairs=options)[0]

        gradient = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2)))
        embs = [_unit(jax.random.key(seed), batch_size, dim) for seed in (0, 1)]
        return {
            "seconds": _seconds(lambda: gradient(*embs, jnp.float32(100.0)), count),
            **_peak(),
        }


def _unit(key: jax.Array, batch_size: int, dim: int) -> jax.Array:
    x = jax.random.normal(key, (batch_size, dim))
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def _seconds(fn: Callable[[], Any], count: int) -> float:
    jax.block_until_ready(fn())
    start = time.perf_counter()
    for _ in range(count):
        jax.block_until_ready(fn())
    return (time.perf_counter() - start) / count


def _peak() -> dict[str, Any]:
    stats = jax.devices()[0].memory_stats() or {}
    return {"peak_bytes": stats.get("peak_bytes_in_use")}


if __name__ == "__main__":
    serve(BigclipGpu())
