"""Floating-point operations of a step: those the model asks for, and those the program does.

Model FLOPs are analytic: the towers' products three times over (the backward pass is two forward
passes), and four products of all pairs for the loss (`bigclip.losses.pair_flops`). They do not
depend on how a step is computed, and are what model FLOPs utilisation divides by the peak.
Hardware FLOPs are counted in the traced step, whose every matrix product is plain to see, with
what rematerialisation, micro-batches and the optimizer (Muon) compute again or besides.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from bigclip import models
from bigclip.losses import pair_flops
from bigclip.tasks import Task

# Forward, and the two products of the backward pass.
PASSES = 3


def _frozen(groups: Mapping[str, Any], branch: str) -> bool:
    inside = [group.freeze for path, group in groups.items() if path.startswith(f"{branch}/")]
    return bool(inside) and all(inside)


def model_flops(task: Task, batch_size: int, groups: Mapping[str, Any]) -> dict[str, int]:
    """Model FLOPs of a step, over all chips: {"image", "text", "loss"}.

    A tower that is wholly frozen costs its forward pass alone. With C captions an example, the text
    tower and the loss count C times.
    """
    arch, num_captions = task.manifest["architecture"], task.num_captions or 1
    forward = {
        "image": models.image_flops(arch, drop=True),
        "text": num_captions * models.text_flops(arch),
    }
    found = {
        tower: (1 if _frozen(groups, tower) else PASSES) * flops * batch_size
        for tower, flops in forward.items()
    }
    return {**found, "loss": num_captions * pair_flops(batch_size, arch["embed_dim"])}


class Counted(NamedTuple):
    """FLOPs of matrix products.

    Attributes:
        flops: as mathematics counts them.
        bfloat16_flops: as a TPU's matrix unit does them: float32 factors are split into bfloat16
            parts, six products for precision "highest" and three for "high".
    """

    flops: int
    bfloat16_flops: int

    def __mul__(self, times: int) -> "Counted":
        """So many of them."""
        return Counted(self.flops * times, self.bfloat16_flops * times)

    def plus(self, other: "Counted") -> "Counted":
        """Both."""
        return Counted(self.flops + other.flops, self.bfloat16_flops + other.bfloat16_flops)


_NONE = Counted(0, 0)


def _with_passes(eqn: Any, flops: int) -> Counted:
    precision = eqn.params.get("precision")
    first = precision[0] if isinstance(precision, tuple) else precision
    passes = {jax.lax.Precision.HIGHEST: 6, jax.lax.Precision.HIGH: 3}.get(first, 1)
    wide = eqn.invars[0].aval.dtype == jnp.float32
    return Counted(flops, flops * (passes if wide else 1))


def _dot_flops(eqn: Any) -> Counted:
    (contracting, _), _ = eqn.params["dimension_numbers"]
    left = eqn.invars[0].aval.shape
    depth = math.prod(left[axis] for axis in contracting)
    return _with_passes(eqn, 2 * math.prod(eqn.outvars[0].aval.shape) * depth)


def _conv_flops(eqn: Any) -> Counted:
    kernel = eqn.invars[1].aval.shape
    outputs = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    flops = 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel) // outputs
    return _with_passes(eqn, flops)


def _inner(value: Any) -> list[Any]:
    """Programs among an equation's parameters."""
    if isinstance(value, core.ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, core.Jaxpr):
        return [value]
    return []


def traced_flops(jaxpr: Any) -> Counted:
    """FLOPs of the matrix products and convolutions of a traced function, over all chips.

    A scan counts as often as it runs, the body of a `shard_map` on every device, of a conditional
    the dearest branch, and a `while` of unknown length once. A kernel tells its own.
    """
    total = _NONE
    for eqn in jaxpr.eqns:
        total = total.plus(_equation_flops(eqn))
    return total


def _equation_flops(eqn: Any) -> Counted:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        return _dot_flops(eqn)
    if name == "conv_general_dilated":
        return _conv_flops(eqn)
    if name == "pallas_call":
        return Counted(params["cost_estimate"].flops, params["cost_estimate"].flops)
    if name == "cond":
        return max(traced_flops(branch.jaxpr) for branch in params["branches"])
    times = 1
    if name == "scan":
        times = params["length"]
    elif name == "shard_map":
        mesh = params["mesh"]
        axes = params.get("manual_axes", mesh.axis_names)
        times = math.prod(mesh.shape[axis] for axis in axes)
    # Calls of every kind (jit, checkpoint, custom rules, while) hold the program among their
    # parameters; the rules of a custom derivative are plain functions, and so not counted.
    total = _NONE
    for value in params.values():
        for inner in _inner(value):
            total = total.plus(traced_flops(inner))
    return total * times
