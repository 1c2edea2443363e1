"""Parameter groups: which parameters learn at which rate, decay by how much, or stay frozen."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from rich import box
from rich.table import Table

from bigclip.config import ConfigError, call
from bigclip.models import STATISTICS
from bigclip.parallel import match_patterns, path_name

# Gains, biases and the logit's own scale and bias are not decayed (CLIP, section 2.5: decay "on
# all weights that are not gains or biases"). By name, since scanned layers stack them to matrices.
_UNDECAYED = ("scale", "bias", "log_logit_scale", "logit_bias")


class Group(NamedTuple):
    """How a parameter is trained.

    Attributes:
        lr_mult: factor of the learning rate.
        weight_decay: decoupled decay, times the learning rate, per step.
        freeze: whether it is without gradient and optimizer state.
        measured: whether it is a running statistic, which no gradient changes, but each batch
            does; `freeze` is then True. One that a rule freezes is not measured, and stays.
    """

    lr_mult: float
    weight_decay: float
    freeze: bool
    measured: bool = False

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


def is_statistic(path: str) -> bool:
    """Tell by its path whether a parameter is a running statistic."""
    return path.rsplit("/", 1)[-1] in STATISTICS


def constants(groups: Mapping[str, Group]) -> frozenset[str]:
    """Paths of the parameters that stay as they are for the whole run."""
    return frozenset(path for path, group in groups.items() if group.freeze and not group.measured)


def assign_groups(
    params: Any, rules: Sequence[Mapping[str, Any]], *, weight_decay: float
) -> dict[str, Group]:
    """Assign every parameter to a group.

    Args:
        params: tree of arrays or ShapeDtypeStructs.
        rules: blocks with `pattern` (a regular expression over the whole path), `lr_mult` (1.0),
            `weight_decay` (the optimizer's) and `freeze` (False); the first match wins, and what
            no pattern matches trains as usual. Running statistics never train: of a rule that
            matches them only `freeze` counts, which makes constants of them, so that their layer
            normalises by them as in evaluation.
        weight_decay: the optimizer's. Gains and biases are not decayed, unless a rule that
            matches them says otherwise.

    Returns:
        {path: group}, in the order of the tree.

    Raises:
        ConfigError: for a pattern that matches nothing, or running statistics alone without
            freezing them; or when all parameters are frozen.
    """
    where = "config.optimizer.groups"
    read = [call(_rule, rule, f"optimizer.groups[{index}]") for index, rule in enumerate(rules)]
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    found = match_patterns([rule.pattern for rule in read], names, where)
    for index, rule in enumerate(read):
        matched = [name for name in names if found.get(name) == index]
        if not rule.freeze and all(map(is_statistic, matched)):
            raise ConfigError(
                f"{where}: pattern {rule.pattern!r} has no effect: it matches running statistics "
                "alone, which have no learning rate. They can only be frozen."
            )
    groups = {}
    for name in names:
        decay = 0.0 if name.rsplit("/", 1)[-1] in _UNDECAYED else weight_decay
        rule = read[found[name]] if name in found else _rule(pattern=".*")
        if is_statistic(name):
            groups[name] = Group(1.0, 0.0, freeze=True, measured=not rule.freeze)
            continue
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
        learns = "statistics" if group.measured else "frozen" if group.freeze else "yes"
        table.add_row(
            learns,
            f"{group.lr_mult:g}" if not group.freeze else "",
            f"{group.weight_decay:g}" if not group.freeze else "",
            f"{size:,}",
            where,
        )
    return table
