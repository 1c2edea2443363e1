"""Parameter groups: which parameters learn at which rate, decay by how much, or stay frozen."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from rich import box
from rich.table import Table

from bigclip.config import ConfigError, call
from bigclip.parallel import match_patterns, path_name

# Gains, biases and the logit's own scale and bias are not decayed (CLIP, section 2.5: decay "on
# all weights that are not gains or biases"). By name, since scanned layers stack them to matrices.
_UNDECAYED = ("scale", "bias", "log_logit_scale", "logit_bias")


class Group(NamedTuple):
    """How a parameter is trained.

    Attributes:
        lr_mult: factor of the learning rate.
        weight_decay: decoupled decay, times the learning rate, per step.
        freeze: whether it stays as it is, without gradient and optimizer state.
    """

    lr_mult: float
    weight_decay: float
    freeze: bool

    @property
    def label(self) -> str:
        """Name in the optimizer's state."""
        return "frozen" if self.freeze else f"lr{self.lr_mult:g}_wd{self.weight_decay:g}"


class _Rule(NamedTuple):
    pattern: str
    lr_mult: float
    weight_decay: float | None
    freeze: bool


def _rule(
    *,
    pattern: str,
    lr_mult: float = 1.0,
    weight_decay: float | None = None,
    freeze: bool = False,
) -> _Rule:
    return _Rule(pattern, float(lr_mult), weight_decay, bool(freeze))


def assign_groups(
    params: Any, rules: Sequence[Mapping[str, Any]], *, weight_decay: float
) -> dict[str, Group]:
    """Assign every parameter to a group.

    Args:
        params: tree of arrays or ShapeDtypeStructs.
        rules: blocks with `pattern` (a regular expression over the whole path), `lr_mult` (1.0),
            `weight_decay` (the optimizer's) and `freeze` (False); the first match wins, and what
            no pattern matches trains as usual.
        weight_decay: the optimizer's. Gains and biases are not decayed, unless a rule that
            matches them says otherwise.

    Returns:
        {path: group}, in the order of the tree.

    Raises:
        ConfigError: for a pattern that matches nothing, or when all parameters are frozen.
    """
    where = "config.optimizer.groups"
    read = [call(_rule, rule, f"optimizer.groups[{index}]") for index, rule in enumerate(rules)]
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    found = match_patterns([rule.pattern for rule in read], names, where)
    groups = {}
    for name in names:
        decay = 0.0 if name.rsplit("/", 1)[-1] in _UNDECAYED else weight_decay
        rule = read[found[name]] if name in found else _rule(pattern=".*")
        if rule.weight_decay is not None:
            decay = rule.weight_decay
        groups[name] = Group(rule.lr_mult, 0.0 if rule.freeze else float(decay), rule.freeze)
    if all(group.freeze for group in groups.values()):
        raise ConfigError(f"{where}: every parameter is frozen: there is nothing to train.")
    return groups


def group_tree(params: Any, groups: Mapping[str, Group]) -> Any:
    """Return a tree like `params` with the group of each leaf."""
    return jax.tree_util.tree_map_with_path(lambda path, _: groups[path_name(path)], params)


def group_table(params: Any, groups: Mapping[str, Group]) -> Table:
    """Table of the groups: how many parameters each has, and where."""
    table = Table("train", "lr x", "weight decay", "parameters", "where", box=box.SIMPLE)
    sizes: dict[Group, int] = {}
    places: dict[Group, list[str]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = path_name(path)
        group = groups[name]
        sizes[group] = sizes.get(group, 0) + leaf.size
        places.setdefault(group, []).append(name)
    for group, size in sizes.items():
        names = places[group]
        where = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
        table.add_row(
            "frozen" if group.freeze else "yes",
            f"{group.lr_mult:g}",
            f"{group.weight_decay:g}",
            f"{size:,}",
            where,
        )
    return table
