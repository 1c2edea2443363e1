"""What a foreign model must fulfil before its arrays are read: its parts must fit each other."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.format import Imported
from bigclip.interop.mapping import Link, links
from bigclip.models import is_resnet

_BLOCK = re.compile(r"\w+/(stage_\d+/)?block_\d+")


def check_tokenizer(imported: Imported, arch: Mapping[str, Any]) -> None:
    """Hold the tokenizer against the text tower.

    Beyond the end of the table of tokens, JAX would take its last row without a word. A table may
    have more rows than the tokenizer has ids.

    Raises:
        ConfigError: if an id is no row of the table, or texts have more ids than positions.
    """
    tokenizer, text = imported.tokenizer, arch["text"]
    if tokenizer is None or "text" not in imported.towers:
        return
    where, rows = imported.weights.path, text["vocab_size"]
    if tokenizer.vocab_size > rows:
        raise ConfigError(
            f"{where}: the tokenizer gives ids up to {tokenizer.vocab_size - 1}, and the model's "
            f"table of tokens has {rows} rows: it belongs to another model. "
            + ("Give the model's own with --tokenizer." if imported.manifest is None else "")
        )
    special = {"sot": tokenizer.sot, "eot": tokenizer.eot, "pad": tokenizer.pad}
    for name, number in special.items():
        if number is not None and (type(number) is not int or number < 0):
            raise ConfigError(
                f"{where}: the tokenizer's {name} = {number!r} is no id: those of this model go "
                f"from 0 to {rows - 1}."
            )
    length, most = tokenizer.context_length, text["context_length"]
    if type(length) is not int or length > most:
        raise ConfigError(
            f"{where}: the tokenizer makes texts of {length!r} ids, and the model takes {most}."
        )


def check_layers(imported: Imported, arch: Mapping[str, Any]) -> None:
    """Look for every layer in the file before the layers are laid out, which takes time for each.

    An architecture may promise thousands in a file of a few bytes.

    Args:
        imported: of a format's `read`.
        arch: its architecture, checked.

    Raises:
        ConfigError: if there is a layer of which the file holds nothing.
    """
    weights = imported.weights
    held = set(imported.extra)
    for link in links(imported.rows, arch):
        tensor = weights.get(link.theirs)
        if tensor is not None and (not link.stacked or tensor.shape[:1] == (len(link.ours),)):
            held.update(link.ours)
    blocks = {match[0] for name in held if (match := _BLOCK.match(name))}
    for tower in imported.towers:
        wanted = _block_names(tower, arch[tower])
        missing = [name for name in wanted if name not in blocks]
        if missing:
            raise ConfigError(
                f"{weights.path} does not hold this architecture: of the {len(wanted)} layers of "
                f"its {tower} tower, it has nothing for {len(missing)} ({missing[0]} is the first)."
            )


def check_types(imported: Imported, found: list[Link]) -> None:
    """Refuse integers: quantised numbers mean something only with their scales.

    Args:
        imported: of a format's `read`.
        found: which of its arrays are parameters.

    Raises:
        ConfigError: names the array.
    """
    for link in found:
        dtype = imported.weights[link.theirs].dtype
        if not jnp.issubdtype(dtype, np.floating):
            raise ConfigError(
                f"{imported.weights.path}: {link.theirs} is of type {dtype}; parameters are read "
                "from floating-point numbers alone. Take the model's file that is not quantised."
            )


def _block_names(tower: str, fields: Mapping[str, Any]) -> list[str]:
    depths = (
        {tower: fields["depth"]}
        if not is_resnet(fields)
        else {f"{tower}/stage_{stage}": depth for stage, depth in enumerate(fields["stages"])}
    )
    return [
        f"{path}/block_{number:02d}" for path, depth in depths.items() for number in range(depth)
    ]
