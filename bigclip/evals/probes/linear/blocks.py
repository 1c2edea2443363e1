"""How problems lie in blocks, which go through the rows together.

A block of C problems shares its matrix products with the rows, which makes these efficient; but it
costs until the last of its problems is solved. Problems that only fill the last block up are idle
from the start.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Logits of a block: what makes a matrix product efficient.
_COLUMNS = {"cpu": 64}
_COLUMNS_ELSEWHERE = 4096


class Blocks(NamedTuple):
    """P problems in N blocks of C.

    Attributes:
        num_problems: P.
        count: N.
        size: C.
    """

    num_problems: int
    count: int
    size: int

    def lay_out(self, values: np.ndarray, *, repeat_last: bool = False) -> jax.Array:
        """Return values [P, ...] as [N, C, ...], filled up with zeros or with the last of them."""
        padding = [(0, self.count * self.size - len(values))] + [(0, 0)] * (values.ndim - 1)
        values = np.pad(values, padding, "edge" if repeat_last else "constant")
        return jnp.asarray(values.reshape(self.count, self.size, *values.shape[1:]))

    def take_up(self, leaf: jax.Array) -> np.ndarray:
        """Undo `lay_out`: [N, C, ...] -> [P, ...], on the host."""
        return np.asarray(leaf).reshape(-1, *leaf.shape[2:])[: self.num_problems]

    def is_problem(self) -> jax.Array:
        """Return which of the places are problems: [N, C] bool."""
        return self.lay_out(np.ones(self.num_problems, bool))

    def up_to(self, count: int) -> np.ndarray:
        """Return the numbers of the blocks that hold the first `count` problems."""
        return np.arange(-(-count // self.size))


def columns_of(device: jax.Device) -> int:
    """Return how many logits a block should have on a device."""
    return _COLUMNS.get(device.platform, _COLUMNS_ELSEWHERE)


def plan(num_problems: int, most: int, *, size: int) -> Blocks:
    """Lay problems out.

    Args:
        num_problems: P.
        most: the places to have at least: what is compiled for so many serves fewer problems.
        size: the most of a block.
    """
    most = max(most, num_problems)
    size = min(max(size, 1), most)
    count = -(-most // size)
    return Blocks(num_problems, count, -(-most // count))  # even blocks


def padded(blocks: np.ndarray, length: int) -> tuple[np.ndarray, np.int32]:
    """Return the blocks' numbers, in an array of one length, and how many they are."""
    return np.pad(blocks, (0, length - len(blocks))).astype(np.int32), np.int32(len(blocks))


@functools.partial(jax.jit, static_argnums=2)
def repeat_first(found: Any, penalty: jax.Array, once: int) -> Any:
    """Give the values at the first `once` problems to all, each with its own penalty.

    Args:
        found: value [N, C], gradient and diagonal [N, C, E + 1, k], at points without a kernel.
        penalty: [N, C], of each problem.
        once: after so many problems the same come again, at the next strength.
    """

    def repeated(leaf):
        flat = leaf.reshape(-1, *leaf.shape[2:])
        index = jnp.arange(len(flat)) % once
        return flat[index].reshape(leaf.shape)

    value, gradient, metric = map(repeated, found)
    own = (penalty - repeated(penalty))[..., None, None]
    return value, gradient, metric.at[:, :, :-1].add(jnp.broadcast_to(own, metric.shape)[:, :, :-1])
