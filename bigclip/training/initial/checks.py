"""What shapes do not show: pixels, tokens and activations that are not those of the checkpoint.

A model goes on with weights that fit by shape, and its loss comes down from a bad start, so that
nobody notices that its pictures were normalised in another way. So these are errors, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer
from bigclip.data.tokenizer.shared_pieces import difference, shared_rows
from bigclip.training.initial.options import WHERE

# Of an architecture, what the names and shapes of parameters show, and what matters to training
# alone. Anything else changes what is computed from the same weights.
_SHOWN = frozenset(
    (
        "image_size", "patch_size", "width", "depth", "mlp_width", "vocab_size", "context_length",
        "projection", "projection_bias", "patch_bias", "ln_pre", "stem",
    )
)  # fmt: skip
_TRAINING_ONLY = frozenset(("init_scheme", "patch_dropout", "batch_norm"))
# The size of pictures is the architecture's, and the positions show it.
_PREPROCESS = ("resize", "interpolation", "mean", "std")


def check_model(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    taken: Sequence[str],
    matches: bool,
    allow: Sequence[str],
) -> list[str]:
    """Compare what a checkpoint's manifest tells with the run's.

    Args:
        before: manifest of the checkpoint.
        now: `task`, `preprocess` and `tokenizer` of the run.
        taken: the run's parameters that come from the checkpoint.
        matches: whether rows of the table of tokens are matched piece by piece.
        allow: what may differ, of `ALLOWABLE`.

    Returns:
        Lines that tell what differs and may.

    Raises:
        ConfigError: for what differs otherwise; tells how to mend it.
    """
    found: list[tuple[str, str, str]] = []
    if any(name.startswith("image/") for name in taken):
        found += _pixels(before.get("preprocess") or {}, now["preprocess"])
    found += _computation(before["task"], now["task"], taken)
    if "text/token_embedding" in taken and not matches:
        found += _tokens(before, now)
    refused = [(told, mend) for what, told, mend in found if what not in allow]
    if refused:
        lines = "\n".join(f"  {told}\n    {mend}" for told, mend in refused)
        raise ConfigError(
            f"{WHERE}: the weights were trained for something else, which their shapes do not "
            f"show:\n{lines}"
        )
    return [f"differs, as allowed: {told}" for _, told, _ in found]


def _pixels(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    changed = [
        name for name in _PREPROCESS if name in before and not _equal(before[name], now[name])
    ]
    if not changed:
        return []
    told = "; ".join(f"preprocess.{name} was {before[name]} and is {now[name]}" for name in changed)
    values = {name: before[name] for name in changed}
    return [("preprocess", told, f'set config.preprocess to {values}, or allow=("preprocess",).')]


def _equal(old: Any, new: Any) -> bool:
    if isinstance(old, (list, tuple)):
        return len(old) == len(new) and bool(np.allclose(old, new, rtol=0, atol=1e-6))
    return old == new


def _computation(
    before: Mapping[str, Any], now: Mapping[str, Any], taken: Sequence[str]
) -> list[tuple[str, str, str]]:
    found = []
    towers, other = (task.get("architecture") or {} for task in (before, now))
    for tower in ("image", "text"):
        if not any(name.startswith(f"{tower}/") for name in taken):
            continue
        fields, new = towers.get(tower) or {}, other.get(tower) or {}
        for name in sorted((fields.keys() & new.keys()) - _SHOWN - _TRAINING_ONLY):
            if fields[name] != new[name]:
                told = f"{tower}.{name} was {fields[name]!r} and is {new[name]!r}"
                mend = (
                    f"set config.task.overrides.{tower}.{name} = {fields[name]!r}, or "
                    'allow=("architecture",).'
                )
                found.append(("architecture", told, mend))
    return found


def _tokens(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    if not before.get("tokenizer"):
        raise ConfigError(f"{WHERE}: the checkpoint has a table of tokens, but no tokenizer.")
    text = now["task"]["architecture"]["text"]
    told, is_other = difference(
        Tokenizer.from_dict(before["tokenizer"]),
        Tokenizer.from_dict(now["tokenizer"]),
        padding_counts=not (text.get("causal") and text.get("pool") == "eot"),
    )
    if not told:
        return []
    same = 'set config.tokenizer = {"kind": "saved", "path": CHECKPOINT} to keep it'
    if is_other:
        mend = (
            f'{same}; fresh=("text/token_embedding",) draws the table anew, match_tokens=True all '
            "rows but those of the pieces that both have."
        )
        return [("other pieces", f"tokenizer: {told}", mend)]
    return [("tokenizer", f"tokenizer: {told}", f'{same}, or allow=("tokenizer",).')]


def matched_rows(before: Mapping[str, Any], now: Mapping[str, Any], *, num_rows: int) -> np.ndarray:
    """Find the rows of the checkpoint's table of tokens for the run's tokenizer.

    Args:
        before: manifest of the checkpoint.
        now: `tokenizer` of the run.
        num_rows: V, of the run's table.

    Returns:
        int32 [V], -1 for rows to be drawn.

    Raises:
        ConfigError: if the checkpoint has no tokenizer, or none of its pieces are the run's.
    """
    if not before.get("tokenizer"):
        raise ConfigError(f"{WHERE}.match_tokens: the checkpoint has no tokenizer to compare with.")
    old, new = (Tokenizer.from_dict(one["tokenizer"]) for one in (before, now))
    rows = shared_rows(old, new, num_rows=num_rows)
    if (rows < 0).all():
        raise ConfigError(
            f"{WHERE}.match_tokens: the tokenizers have no piece in common; "
            'fresh=("text/token_embedding",) draws the whole table.'
        )
    return rows
