"""A checkpoint written array by array: for what must not hold a whole model at once."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from bigclip.checkpoints import store

# A large array is cut into pieces of this size, so that a host that needs a part reads no more.
_CHUNK_BYTES = 128 * 2**20


class Pending(NamedTuple):
    """An array that is made when it is written.

    Attributes:
        shape: its shape.
        dtype: its type.
        make: returns it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]


class _Leaf:
    """A `Pending` as Orbax sees it: a NamedTuple would be a branch of the tree."""

    def __init__(self, pending: Pending):
        self.shape, self.dtype, self.make = pending
        self.nbytes = int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class _OneByOne(ocp.type_handlers.NumpyHandler):
    """Makes, writes and forgets one array after the other."""

    def __init__(self):
        super().__init__(deepcopy_host_arrays=False)  # nobody else holds them

    async def serialize(self, values, infos, args=None):
        for number, (leaf, info) in enumerate(zip(values, infos, strict=True)):
            array = leaf.make()
            if (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
                raise ValueError(
                    f"{info.name}: promised {leaf.dtype} {leaf.shape}, made {array.dtype} "
                    f"{array.shape}"
                )
            arg = args[number] if args else ocp.SaveArgs()
            for written in await super().serialize([array], [info], [arg]):
                written.result()
        return []


def write_streaming(
    path: epath.PathLike, params: Mapping[str, Any], manifest: dict[str, Any]
) -> None:
    """Write parameters and their manifest as `export` does, with one array in memory at a time.

    Args:
        path: a new folder; it appears when all is written.
        params: nested dict of `Pending`.
        manifest: of `at_step`.

    Raises:
        ConfigError: if there is something at `path`.
    """
    leaves = jax.tree.map(_Leaf, params, is_leaf=lambda x: isinstance(x, Pending))
    registry = ocp.type_handlers.create_type_handler_registry(
        (_Leaf, _OneByOne()), (jax.Array, ocp.type_handlers.ArrayHandler())
    )
    cut = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=_CHUNK_BYTES), leaves)
    store.write_folder(path, leaves, manifest, save_args=cut, type_handler_registry=registry)
