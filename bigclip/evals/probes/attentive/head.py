"""An attentive classifier on frozen tokens, and its training at several learning rates at once.

Attention pooling with one learned query (`bigclip.models.pooling.MapHead`) and a linear classifier
on what it gives. The recipe is V-JEPA's for ImageNet (Bardes et al. 2024, arXiv 2404.08471;
facebookresearch/jepa `configs/evals/vitl16_in1k.yaml` and
`evals/image_classification_frozen/eval.py`): AdamW with a weight decay of 0.001 on matrices only,
20 epochs, a learning rate of 0.001 that falls to zero by a cosine, no warm-up. It is one of
several rates here, since the best one differs between towers; like V-JEPA 2's heads (arXiv
2506.09985), those of all rates are trained side by side on the same minibatches. Images come
without augmentation, since their tokens are computed once.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bigclip.models.pooling import MapHead


class AttentiveHead(nn.Module):
    """Tokens to class logits: attention pooling, then a linear layer that starts at zero."""

    width: int
    num_heads: int
    num_classes: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens [b, P, E] to float32 logits [b, C]."""
        pooled = MapHead(
            self.width,
            self.num_heads,
            4 * self.width,
            activation="gelu_tanh",
            ln_eps=1e-6,
            init_scheme="siglip",
            depth=1,
            dtype=jnp.float32,
            name="map_head",
        )(tokens.astype(jnp.float32))
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="classifier")(
            pooled
        )


class Trained(NamedTuple):
    """The heads of R learning rates.

    Attributes:
        params: leaves [R, ...].
        loss: [R], mean cross-entropy over the last epoch.
    """

    params: Any
    loss: np.ndarray


def num_heads_for(width: int) -> int:
    """Return the usual number of heads: of 64 columns each, or of the next larger divisor."""
    return next(n for n in range(max(width // 64, 1), 0, -1) if width % n == 0)


def batch_rows(step: int, num_rows: int, batch_size: int, seed: int) -> np.ndarray:
    """Return the rows of a step's minibatch: a pure function of the arguments.

    Every epoch is a permutation of all rows; a minibatch may reach over its end into the next, so
    that all have one size.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    parts = []
    for epoch in range(positions[0] // num_rows, positions[-1] // num_rows + 1):
        order = np.random.default_rng([seed, epoch]).permutation(num_rows)
        parts.append(order[positions[positions // num_rows == epoch] % num_rows])
    return np.concatenate(parts)


def train(
    head: AttentiveHead,
    tokens: np.ndarray,
    class_of: np.ndarray,
    *,
    learning_rates: Sequence[float],
    weight_decay: float = 1e-3,
    epochs: int = 20,
    batch_size: int = 256,
    seed: int = 0,
    devices: Sequence[jax.Device] | None = None,
) -> Trained:
    """Train one head for each learning rate, all from the same start on the same minibatches.

    Args:
        head: the architecture.
        tokens: [N, P, E] float, on the host.
        class_of: [N] int.
        learning_rates: the rates at the start.
        weight_decay: of matrices, times the learning rate as in AdamW.
        epochs: passes over the rows.
        batch_size: rows of a minibatch, all of them if there are fewer.
        seed: decides the start and the order.
        devices: cut the minibatch among them, or among as many of them as divide it; by default
            all of this process.
    """
    num_rows = len(tokens)
    batch_size = min(batch_size, num_rows)
    num_steps = max(epochs * num_rows // batch_size, 1)
    devices = list(devices or jax.local_devices())
    mesh = Mesh(np.asarray(devices[: math.gcd(len(devices), batch_size)]), ("rows",))
    by_rows, whole = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in (("rows",), ()))
    rates = np.asarray(learning_rates, np.float32)
    state = jax.device_put(start(head, len(rates), tokens.shape[1], seed), whole)
    losses, before = [], None
    for step in range(num_steps):
        rows = batch_rows(step, num_rows, batch_size, seed)
        batch = jax.device_put((tokens[rows], class_of[rows].astype(np.int32)), by_rows)
        decay = 0.5 * (1 + math.cos(math.pi * step / num_steps))
        state, loss = _train_step(head, state, batch, rates * decay, weight_decay)
        # Only one minibatch waits on the device while another is at work.
        jax.block_until_ready(before)
        before = loss
        if step >= num_steps - max(num_rows // batch_size, 1):
            losses.append(loss)
    return Trained(jax.device_get(state[0]), np.mean([np.asarray(one) for one in losses], axis=0))


@functools.lru_cache(maxsize=16)
def predict_fn(head: AttentiveHead):
    """Return (params with leaves [R, ...], tokens [t, P, E]) -> predicted classes int32 [t, R].

    Where a logit is no number, the prediction is -1, which is no class.
    """

    def predict(params: Any, tokens: jax.Array) -> jax.Array:
        logits = jax.vmap(lambda one: head.apply({"params": one}, tokens))(params)  # [R, t, C]
        best = jnp.where(jnp.isnan(logits).any(axis=-1), -1, jnp.argmax(logits, axis=-1))
        return best.T.astype(jnp.int32)

    return predict


def to_arrays(params: Any) -> dict[str, np.ndarray]:
    """Return a tree of parameters as flat arrays: "map_head/attention/query/kernel", ..."""
    return {
        name: np.asarray(value)
        for name, value in traverse_util.flatten_dict(params, sep="/").items()
    }


def from_arrays(
    arrays: Mapping[str, np.ndarray], num_heads: int
) -> tuple[AttentiveHead, dict[str, Any]]:
    """Rebuild a head from what `to_arrays` gave: `head.apply({"params": params}, tokens)`."""
    params = traverse_util.unflatten_dict(dict(arrays), sep="/")
    width, num_classes = params["classifier"]["kernel"].shape
    return AttentiveHead(width, num_heads, num_classes), params


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def start(head: AttentiveHead, num_rates: int, num_tokens: int, seed: int) -> tuple[Any, Any]:
    """Return the same parameters, and empty moments, for each of R rates: leaves [R, ...]."""
    params = head.init(jax.random.key(seed), jnp.zeros((1, num_tokens, head.width)))["params"]
    one = (params, _adamw(0.0).init(params))
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_rates, *leaf.shape)), one)


def _adamw(weight_decay: float | jax.Array) -> optax.GradientTransformation:
    """AdamW but for the learning rate, which differs between the heads that are trained."""

    def is_matrix(params):
        return jax.tree.map(lambda x: x.ndim > 1, params)

    return optax.chain(
        optax.scale_by_adam(), optax.add_decayed_weights(weight_decay, mask=is_matrix)
    )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _train_step(head, state, batch, rates, weight_decay):
    tokens, class_of = batch

    def loss_fn(params):
        logits = head.apply({"params": params}, tokens)
        return optax.softmax_cross_entropy_with_integer_labels(logits, class_of).mean()

    def one(params, moments, rate):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, moments = _adamw(weight_decay).update(grads, moments, params)
        updates = jax.tree.map(lambda update: -rate * update, updates)
        return (optax.apply_updates(params, updates), moments), loss

    return jax.vmap(one)(*state, rates)
