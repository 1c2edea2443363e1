"""Read the arrays of a checkpoint: all or some of them, onto any devices."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from bigclip.checkpoints.store import STATE, array_handler, step_path
from bigclip.config import ConfigError
from bigclip.parallel import path_name


def arrays(path: epath.PathLike, step: int | None = None) -> dict[str, Any]:
    """Describe all arrays of a checkpoint without reading them.

    Returns:
        Name, with slashes -> Orbax's metadata of it: `shape`, `dtype`, `sharding`.
    """
    tree = array_handler().metadata(step_path(path, step) / STATE).tree
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(name): leaf for name, leaf in leaves}


def _restore(place: epath.Path, abstract: Any, *, partial: bool) -> Any:
    with ocp.Checkpointer(array_handler()) as reader:
        return reader.restore(
            place / STATE,
            args=ocp.args.PyTreeRestore(
                item=abstract,
                restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
                partial_restore=partial,
            ),
        )


def read_array(
    place: epath.Path, name: str, leaf: jax.ShapeDtypeStruct, *, item: str = "params"
) -> np.ndarray:
    """Read one array of a checkpoint to the host.

    Args:
        place: of `step_path`.
        name: its path as it is stored, with slashes (scanned layers are one array).
        leaf: what `params_shapes` tells of it; to ask again takes longer than a small array.
        item: "params" or "ema".

    Raises:
        ConfigError: if it cannot be read.
    """
    abstract: Any = np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)  # takes no memory
    for part in reversed([item, *name.split("/")]):
        abstract = {part: abstract}
    try:
        (array,) = jax.tree.leaves(_restore(place, abstract, partial=True))
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"{place}: its array {name} cannot be read: the checkpoint is damaged or not wholly "
            f"copied. {str(error)[:300]}"
        ) from error
    return array


def restore_state(path: epath.PathLike, abstract: Any, step: int | None = None) -> Any:
    """Restore a whole state.

    Args:
        path: see `step_path`.
        abstract: the state as ShapeDtypeStructs with the shardings wanted; the mesh may be
            another than that of the run that saved it.
        step: which; the newest by default.

    Raises:
        ConfigError: if the checkpoint holds other arrays than `abstract`, with the differences.
    """
    place = step_path(path, step)
    check_params(place, abstract.params)
    try:
        return _restore(place, abstract, partial=False)
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"the checkpoint {place} holds another optimizer's state, other frozen parameters, or "
            "an average of the parameters where this run keeps none. Use the configuration it "
            f"was made with, or another --workdir. Orbax says: {str(error)[:500]}"
        ) from error


def check_params(place: epath.PathLike, params: Any, *, partial: bool = False) -> None:
    """Compare the saved parameters with those wanted, by name and shape.

    Args:
        place: a checkpoint, see `step_path`.
        params: tree of arrays or ShapeDtypeStructs.
        partial: whether the checkpoint may hold more branches at the top of its tree.

    Raises:
        ConfigError: lists the first differences.
    """

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {path_name(path): tuple(leaf.shape) for path, leaf in leaves}

    there = params_shapes(place)
    if partial:
        there = {name: part for name, part in there.items() if name in params}
    saved, wanted = shapes(there), shapes(params)
    lines = [
        f"  {name}: {saved.get(name, 'absent')} in the checkpoint, "
        f"{wanted.get(name, 'absent')} here"
        for name in sorted(saved.keys() | wanted.keys())
        if saved.get(name) != wanted.get(name)
    ]
    if lines:
        more = [f"  ... and {len(lines) - 8} more"] if len(lines) > 8 else []
        raise ConfigError(
            f"the checkpoint {place} is of another architecture:\n"
            + "\n".join(lines[:8] + more)
            + "\nUse the configuration it was made with, or another --workdir."
        )


def params_shapes(path: epath.PathLike, step: int | None = None, *, item: str = "params") -> Any:
    """Shapes and types of the saved parameters (or "ema"), without reading them.

    Returns:
        Nested dict of ShapeDtypeStructs.

    Raises:
        ConfigError: if the checkpoint has none.
    """
    place = step_path(path, step)
    tree = array_handler().metadata(place / STATE).tree
    if not tree.get(item):
        held = ", ".join(sorted(name for name, value in tree.items() if value))
        raise ConfigError(f"{place} holds no {item!r}; it holds {held}.")
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree[item])


def restore_params(
    path: epath.PathLike, step: int | None = None, *, item: str = "params", shardings: Any
) -> Any:
    """Restore the parameters alone, onto any devices.

    Args:
        path: see `step_path`.
        step: which; the newest by default.
        item: "params" or "ema".
        shardings: tree of shardings like the parameters, or one for all. Branches at the top of
            the tree that it lacks are not read.

    Returns:
        Nested dict of arrays.
    """
    place = step_path(path, step)
    shapes = params_shapes(place, item=item)
    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, shapes)
    shapes = {name: part for name, part in shapes.items() if name in shardings}
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )
    restored = _restore(place, {item: abstract}, partial=True)[item]
    size = sum(np.prod(leaf.shape, dtype=np.int64) for leaf in jax.tree.leaves(restored))
    logging.info("restored %d values of %s from %s", size, item, place)
    return restored


def restore_named(
    place: epath.Path, wanted: Mapping[str, jax.ShapeDtypeStruct], *, item: str = "params"
) -> dict[str, jax.Array]:
    """Restore some of the parameters, each onto its own devices.

    Args:
        place: of `step_path`.
        wanted: path as it is stored, with slashes -> shape as it is stored, the type wanted, and
            the sharding wanted.
        item: "params" or "ema".

    Returns:
        {path: array}.
    """
    tree: dict[str, Any] = {}
    for name, leaf in wanted.items():
        *parents, last = name.split("/")
        branch = tree
        for part in parents:
            branch = branch.setdefault(part, {})
        branch[last] = leaf
    restored = _restore(place, {item: tree}, partial=True)[item]
    leaves = jax.tree_util.tree_leaves_with_path(restored)
    return {path_name(path): leaf for path, leaf in leaves}
