"""Optimizers of optax by name, with parameter groups, clipping and a schedule.

An update is: clip the global gradient norm; let the named rule precondition the gradient; add the
decoupled weight decay; multiply by the group's factor, the schedule and the learning rate.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax
from optax import contrib

from bigclip.config import ConfigError, call, choose
from bigclip.parallel import path_name
from bigclip.training.groups import Group, assign_groups, group_tree
from bigclip.training.schedules import Schedule


def adamw(
    *, b1: float = 0.9, b2: float = 0.98, eps: float = 1e-6, mu_dtype: str = "float32"
) -> optax.GradientTransformation:
    """Adam (arXiv 1412.6980); the defaults are those of CLIP's ViTs."""
    return optax.scale_by_adam(b1=b1, b2=b2, eps=eps, mu_dtype=mu_dtype)


def lion(
    *, b1: float = 0.9, b2: float = 0.99, mu_dtype: str = "float32"
) -> optax.GradientTransformation:
    """Lion (arXiv 2302.06675)."""
    return optax.scale_by_lion(b1=b1, b2=b2, mu_dtype=mu_dtype)


def adafactor(
    *,
    b1: float = 0.9,
    b2_cap: float = 0.95,
    decay_rate: float = 0.8,
    min_dim_size_to_factor: int = 32,
    clip_rms: float = 1.0,
    mu_dtype: str = "bfloat16",
) -> optax.GradientTransformation:
    """Adafactor as modified for large ViTs (arXiv 2106.04560, appendix), used by SigLIP.

    Factored second moments whose decay 1 - step^-decay_rate is capped at `b2_cap` (SigLIP: 0.95,
    against spikes at large batches), first moment in half precision, no parameter scaling.
    """

    def capped_decay(step: jax.Array, rate: float) -> jax.Array:
        return jax.numpy.minimum(b2_cap, 1.0 - (step + 1.0) ** -rate)

    return optax.chain(
        optax.scale_by_factored_rms(
            decay_rate=decay_rate,
            min_dim_size_to_factor=min_dim_size_to_factor,
            decay_rate_fn=capped_decay,
        ),
        optax.clip_by_block_rms(clip_rms),
        optax.ema(b1, debias=False, accumulator_dtype=mu_dtype),
    )


def muon(
    *,
    beta: float = 0.95,
    ns_steps: int = 5,
    b1: float = 0.9,
    b2: float = 0.98,
    eps: float = 1e-6,
    consistent_rms: float = 0.2,
) -> optax.GradientTransformation:
    """Muon (optax.contrib) on the kernels, Adam on all else (embeddings, gains, biases, scalars).

    Scanned kernels [layers, in, out] are orthogonalised layer by layer. With `consistent_rms`
    0.2 the updates of both have the same size (arXiv 2502.16982), so that one learning rate and
    weight decay serve both.
    """

    def dimension_numbers(params: Any) -> Any:
        def numbers(path: tuple, leaf: jax.Array) -> contrib.MuonDimensionNumbers | None:
            if not path_name(path).endswith("/kernel") or leaf.ndim < 2:
                return None
            return contrib.MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1)

        return jax.tree_util.tree_map_with_path(numbers, params)

    # Rate -1: the sign and the size of the step are the business of `make_optimizer`.
    return contrib.muon(
        -1.0,
        ns_steps=ns_steps,
        beta=beta,
        eps=eps,
        adam_b1=b1,
        adam_b2=b2,
        muon_weight_dimension_numbers=dimension_numbers,
        consistent_rms=consistent_rms,
    )


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": adamw,
    "adafactor": adafactor,
    "lion": lion,
    "muon": muon,
}


def make_optimizer(
    params: Any,
    schedule: Schedule,
    *,
    name: str = "adamw",
    learning_rate: float,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    groups: Sequence[Mapping[str, Any]] = (),
    options: Mapping[str, Any] | None = None,
) -> tuple[optax.GradientTransformation, dict[str, Group]]:
    """Build an optimizer for a tree of parameters.

    Args:
        params: tree of arrays or ShapeDtypeStructs.
        schedule: step -> factor of the learning rate.
        name: one of `OPTIMIZERS`.
        learning_rate: the peak.
        weight_decay: decoupled, multiplied by the learning rate; not on gains and biases.
        clip_norm: largest global norm of the gradient (of the parameters that train).
        groups: exceptions by pattern, see `assign_groups`.
        options: keyword arguments of the rule `name`.

    Returns:
        The transformation (its updates are to be added), and {path: group}.

    Raises:
        ConfigError: for unknown names and keys, or patterns without effect.
    """
    rule = choose(name, OPTIMIZERS, "config.optimizer.name")
    if learning_rate <= 0 or weight_decay < 0 or (clip_norm is not None and clip_norm <= 0):
        raise ConfigError(
            "config.optimizer: learning_rate and clip_norm must be positive, weight_decay not "
            f"negative; got {learning_rate}, {clip_norm}, {weight_decay}."
        )
    assigned = assign_groups(params, groups, weight_decay=weight_decay)
    chains = {}
    for group in set(assigned.values()):
        if group.freeze:
            chains[group.label] = optax.set_to_zero()
            continue
        chains[group.label] = optax.chain(
            call(rule, options or {}, "optimizer.options"),
            optax.add_decayed_weights(group.weight_decay)
            if group.weight_decay
            else optax.identity(),
            optax.scale_by_learning_rate(
                lambda step, mult=group.lr_mult: mult * learning_rate * schedule(step)
            ),
        )

    def labels(tree: Any) -> Any:
        return jax.tree.map(
            lambda group: group.label,
            group_tree(tree, assigned),
            is_leaf=lambda leaf: isinstance(leaf, Group),
        )

    clip = optax.identity() if clip_norm is None else optax.clip_by_global_norm(clip_norm)
    return optax.chain(clip, optax.partition(chains, labels)), assigned
