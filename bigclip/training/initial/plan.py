"""From a checkpoint and the block `init_from` to where everything comes from, or why it cannot."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from bigclip import checkpoints
from bigclip.config import ConfigError
from bigclip.models.positions import position_grid, text_method
from bigclip.parallel import path_name
from bigclip.training.initial.checks import check_model, matched_rows
from bigclip.training.initial.options import WHERE, InitFrom
from bigclip.training.initial.origins import Misfit, Origin, Shapes, find, find_origins

_FEW = 12  # parameters that are named one by one


class Start(NamedTuple):
    """What a run begins with.

    Attributes:
        place: the checkpoint.
        options: the block `init_from`.
        origins: {parameter: where it comes from}.
        saved: shapes of the checkpoint's parameters.
        rows: int32 [V], the checkpoint's row for each row of the table of tokens, -1 for those
            that are drawn; None if the table is not matched.
        facts: plain data for run.json.
        notes: lines that tell people what is done.
    """

    place: epath.Path
    options: InitFrom
    origins: dict[str, Origin]
    saved: Shapes
    rows: np.ndarray | None
    facts: dict[str, Any]
    notes: tuple[str, ...]


def plan_start(
    options: InitFrom,
    params: Any,
    manifest: Mapping[str, Any],
    *,
    constant: Collection[str] = frozenset(),
) -> Start:
    """Decide where every parameter comes from; reads names and shapes, and no array.

    Args:
        options: the block `init_from`.
        params: the run's parameters, a tree of ShapeDtypeStructs.
        manifest: `task`, `preprocess` and `tokenizer` of the run, as its checkpoints will hold.
        constant: parameters that the optimizer leaves as they are.

    Raises:
        ConfigError: for what does not fit; lists it, and the options that would say it is meant.
    """
    place = checkpoints.step_path(options.path, options.step)
    before = checkpoints.read_manifest(place)
    wanted = _shapes(params)
    saved = _shapes(checkpoints.params_shapes(place, item=options.weights))
    origins, misfits = find_origins(wanted, saved, options)
    if misfits:
        raise ConfigError(_tell(place, misfits, options, wanted))
    _check_draws(origins, wanted, constant)
    taken = [name for name, origin in origins.items() if origin.kind != "fresh"]
    matched = [name for name, origin in origins.items() if origin.kind == "match"]
    if options.match_tokens and not matched:
        raise ConfigError(
            f"{WHERE}.match_tokens has no effect: {WHERE}.fresh has the table of tokens drawn anew."
        )
    allowed = check_model(before, manifest, taken=taken, matches=bool(matched), allow=options.allow)
    rows = None
    if matched:  # there is one such table
        rows = matched_rows(before, manifest, num_rows=wanted[matched[0]][0])
    by_kind = {
        kind: [name for name, origin in origins.items() if origin.kind == kind]
        for kind in ("resize", "match", "fresh")
    }
    # What a draw replaces is left out on purpose.
    known = [find(name, saved) or origin for name, origin in origins.items()]
    met = {name for origin in known for name in origin.names}
    unused = [name for name in saved if name not in met]
    facts = {
        "path": str(place),
        "run_id": before.get("run_id"),
        "step": before.get("step"),
        "weights": options.weights,
        **{kind: names for kind, names in by_kind.items() if names},
        "unused": unused,
    }
    notes = [_begins(facts, taken, wanted)]
    notes += [_resized(name, origins[name], saved, wanted, options) for name in by_kind["resize"]]
    notes += [_matched(name, rows) for name in matched]
    if by_kind["fresh"]:
        notes.append(f"drawn anew: {_listed(by_kind['fresh'], wanted)}")
    if unused:
        notes.append(f"NOT USED of the checkpoint: {_listed(unused, saved)}")
    losses = [one["task"].get("loss") for one in (before, manifest)]
    if losses[0] != losses[1] and "log_logit_scale" in taken:
        notes.append(
            f"the loss was {losses[0]} and is {losses[1]}, and the logit scale goes on where it "
            'was; fresh=("log_logit_scale",) starts it anew'
        )
    return Start(place, options, origins, saved, rows, facts, (*notes, *allowed))


def _check_draws(origins: Mapping[str, Origin], wanted: Shapes, constant: Collection[str]) -> None:
    """Not everything may be drawn, and nothing that will never learn."""
    if all(origin.kind == "fresh" for origin in origins.values()):
        raise ConfigError(f"{WHERE}.fresh matches every parameter: nothing is left to begin with.")
    drawn = [name for name, origin in origins.items() if origin.kind in ("fresh", "match")]
    stuck = [name for name in drawn if name in constant]
    if stuck:
        raise ConfigError(
            f"{WHERE} draws at random what config.optimizer.groups freezes, so that it would never "
            f"learn: {_listed(stuck, wanted)}. Freeze less, or take it from the checkpoint."
        )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): tuple(leaf.shape) for path, leaf in leaves}


def _begins(facts: Mapping[str, Any], taken: Sequence[str], wanted: Shapes) -> str:
    which = "averaged weights" if facts["weights"] == "ema" else "weights"
    count = sum(math.prod(wanted[name]) for name in taken)
    return (
        f"begins with the {which} of {facts['path']} (step {facts['step']}): {count:,} of "
        f"{sum(map(math.prod, wanted.values())):,} values"
    )


def _matched(name: str, rows: np.ndarray) -> str:
    return (
        f"{name}: {int((rows >= 0).sum()):,} of {len(rows):,} rows are those of pieces that the "
        "checkpoint's tokenizer has, too; the others are drawn anew"
    )


def _resized(name: str, origin: Origin, saved: Shapes, wanted: Shapes, options: InitFrom) -> str:
    there, here = saved[origin.names[0]][0], wanted[name][0]
    if name.startswith("text/"):
        if text_method(there, here, options.text_positions) == "truncate":
            return f"{name}: the first {here} of {there} positions are kept"
        return f"{name}: {there} positions are interpolated linearly to {here}"
    old, new = position_grid(there)[1], position_grid(here)[1]
    return f"{name}: a grid of {old} x {old} is resized to {new} x {new} (bicubic, antialiased)"


def _listed(names: Sequence[str], shapes: Shapes) -> str:
    """Tell many parameters in a line: whole branches as one, few names one by one."""
    told, left = [], list(names)
    for branch in dict.fromkeys(name.split("/")[0] for name in names):
        inside = [name for name in names if name.startswith(f"{branch}/")]
        if len(inside) > 1 and len(inside) == sum(n.startswith(f"{branch}/") for n in shapes):
            count = sum(math.prod(shapes[name]) for name in inside)
            told.append(f"all of {branch} ({count:,} values)")
            left = [name for name in left if name not in inside]
    told += [f"{name} {list(shapes[name])}" for name in left[:_FEW]]
    more = [f"and {len(left) - _FEW} more"] if len(left) > _FEW else []
    return ", ".join([*told, *more])


def _tell(place: epath.Path, misfits: Sequence[Misfit], options: InitFrom, wanted: Shapes) -> str:
    """Say what does not fit, and which options would make it."""
    lines = [f"  {one.name}: {one.there} in the checkpoint, {one.here} here" for one in misfits]
    if len(lines) > _FEW:
        lines[_FEW:] = [f"  ... and {len(misfits) - _FEW} more"]
    resize = any(one.resizable for one in misfits)
    fresh, other = _to_draw([one for one in misfits if not one.resizable], wanted)
    block = [f'"path": {options.path!r}']
    if resize or options.resize_positions:
        block.append('"resize_positions": True')
    patterns = (*options.fresh, *(name for name in fresh if name not in options.fresh))
    if patterns:
        block.append(f'"fresh": {list(patterns)}')
    mends = []
    if resize or fresh:
        mends.append(f"If that is meant: {WHERE} = {{{', '.join(block)}}}")
    if any(one.name.endswith("token_embedding") for one in misfits):
        mends.append(
            'Instead of drawing the whole table of tokens, "match_tokens": True takes over the '
            "rows of the pieces that both tokenizers have."
        )
    if other:
        mends.append(
            "Take the checkpoint's architecture (--config configs/finetune.py:PATH does), or draw "
            f"the tower anew: fresh = {other}."
        )
    return "\n".join(
        [
            f"{WHERE}: the checkpoint {place} is of another architecture, tokenizer or loss:",
            *lines,
            *mends,
        ]
    )


def _to_draw(misfits: Sequence[Misfit], wanted: Shapes) -> tuple[list[str], list[str]]:
    """Find patterns for what could start anew.

    Returns:
        Those of single parameters and of towers that the checkpoint lacks; and of towers that
        differ so much that they are more likely a mistake.
    """
    fresh, other = [], []
    names = {one.name for one in misfits}
    branches: Iterable[str] = dict.fromkeys(one.name.split("/")[0] for one in misfits)
    for branch in branches:
        inside = {name for name in wanted if name == branch or name.startswith(f"{branch}/")}
        here = [one for one in misfits if one.name.split("/")[0] == branch]
        if len(inside) > 1 and inside <= names and all(one.absent for one in here):
            # A new tower beside a trained logit scale would begin with a huge loss.
            fresh += [f"{branch}/.*", "log_logit_scale"]
        elif len(here) <= _FEW and all(one.name in wanted for one in here):
            fresh += [one.name for one in here]
            if branch == "logit_bias":
                # With the scale of a trained softmax, most negatives would count as positives.
                fresh.append("log_logit_scale")
        else:
            other.append(f"{branch}/.*")
    return [name for name in dict.fromkeys(fresh) if "/" in name or name in wanted], other
