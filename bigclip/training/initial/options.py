"""The block `init_from` of a configuration."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bigclip.config import ConfigError, call, choose, resolve
from bigclip.models.positions import TEXT_METHODS

WHERE = "config.init_from"
# What may differ from the checkpoint although no shape shows it, and only if the user says so.
ALLOWABLE = ("preprocess", "tokenizer", "architecture")


class InitFrom(NamedTuple):
    """The block, read; for its fields see `init_from_options`."""

    path: str
    step: int | None
    weights: str
    fresh: tuple[str, ...]
    resize_positions: bool
    text_positions: str
    match_tokens: bool
    allow: tuple[str, ...]


def init_from_options(
    *,
    path: str,
    step: int | None = None,
    weights: str = "params",
    fresh: Sequence[str] = (),
    resize_positions: bool = False,
    text_positions: str = "auto",
    match_tokens: bool = False,
    allow: Sequence[str] = (),
) -> InitFrom:
    """Read the block: a checkpoint whose weights the run begins with.

    Args:
        path: a run's workdir, one checkpoint, or a folder that `bigclip.convert` or `Model.save`
            wrote; local or `gs://`.
        step: which checkpoint of a run; the newest by default.
        weights: "params", or "ema" for their average.
        fresh: patterns of parameters that the task draws anew ("text/.*"): regular expressions
            over the whole path, as in `config.optimizer.groups`.
        resize_positions: whether tables of positions are fitted to another image size or context
            length.
        text_positions: how those of texts are, one of `TEXT_METHODS`; see
            `bigclip.models.positions.resize_text_positions`.
        match_tokens: whether the table of another tokenizer takes over the rows of the pieces that
            both have; the other rows are drawn.
        allow: what may differ, of "preprocess", "tokenizer" (texts are cleaned or cut in another
            way, into the same pieces) and "architecture" (what shapes do not show: activations,
            number of heads, pooling ...).

    Raises:
        ConfigError: for a value that is none of those.
    """
    choose(weights, {"params": 0, "ema": 0}, f"{WHERE}.weights")
    choose(text_positions, dict.fromkeys(TEXT_METHODS), f"{WHERE}.text_positions")
    for name, value in (("fresh", fresh), ("allow", allow)):
        if isinstance(value, str):
            raise ConfigError(f"{WHERE}.{name} must be a list: [{value!r}], not {value!r}.")
    for name in allow:
        choose(name, dict.fromkeys(ALLOWABLE), f"{WHERE}.allow")
    return InitFrom(
        path=path,
        step=step,
        weights=weights,
        fresh=tuple(fresh),
        resize_positions=bool(resize_positions),
        text_positions=text_positions,
        match_tokens=bool(match_tokens),
        allow=tuple(allow),
    )


def read_init_from(value: str | Mapping[str, Any] | None) -> InitFrom | None:
    """Read `config.init_from`: nothing, a path (then all must match), or a block.

    Raises:
        ConfigError: for unknown keys or values.
    """
    if value is None:
        return None
    block = {"path": value} if isinstance(value, str) else value
    return call(init_from_options, block, "init_from")


def plain_init_from(value: str | Mapping[str, Any] | None) -> Any:
    """Return `config.init_from` as the resolved configuration keeps it, a block with its defaults.

    A path stays one, as in the folders of runs that began when nothing else was known.
    """
    if value is None or isinstance(value, str):
        return value
    return resolve(init_from_options, value)
