"""The suites of a run: opened from the `evals` block of its configuration.

    evals:
      heldout_concepts:                      # the name under which results are filed
        suite: "retrieval"                   # one of SUITES
        source: {kind: "webdataset", ...}    # as for training data
        where: {style: "noto"}               # optional: keep the records whose metadata match
        weights: "ema"                       # optional: the averaged parameters, not the last
        captions: ["name"]                   # the rest are the options of the suite

A result's *definition* is a short hash of the suite's options, of what the records hold, and of
the preprocessing: two numbers with different definitions are not to be compared, and a step is
evaluated again only under another definition.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from bigclip.config import ConfigError, check, choose, plain, resolve, suggest
from bigclip.data.sources import open_random_access
from bigclip.evals.embedding import Model, Pictures
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.records import digest_text, read_records
from bigclip.evals.retrieval import Retrieval
from bigclip.evals.zero_shot import ZeroShot

SUITES: dict[str, Callable] = {"retrieval": Retrieval, "zero_shot": ZeroShot}

# Which of a checkpoint's parameters: those of the last step, or their average over steps.
WEIGHTS = {"params": "params", "ema": "ema"}

# What the code gives a suite; every other argument is configuration.
_GIVEN = ("records", "pictures")

# Changes when a metric's meaning does, so that old lines are not taken for new ones.
_VERSION = 1


class _Block(NamedTuple):
    """One entry of `evals`, taken apart."""

    name: str
    kind: str
    source: Any
    where: Mapping[str, Any] | None
    weights: str
    options: dict[str, Any]


class Suite:
    """A suite with its data: what a follower runs at every step.

    Attributes:
        name: the name in the configuration.
        kind: the name in `SUITES`.
        options: the suite's options, defaults filled in.
        weights: which of a checkpoint's parameters, of `WEIGHTS`.
    """

    def __init__(
        self,
        block: _Block,
        *,
        options: dict[str, Any],
        fingerprint: str,
        pictures: Pictures,
        run: Retrieval | ZeroShot,
    ):
        self.name, self.kind, self.weights = block.name, block.kind, block.weights
        self.options = options
        self._fingerprint, self._pictures, self._run = fingerprint, pictures, run

    def definition(self, preprocess: Mapping[str, Any]) -> str:
        """Return the hash of everything but the weights that the numbers depend on.

        Args:
            preprocess: the preprocessing, as the manifest has it.
        """
        parts = [_VERSION, self.kind, self.options, self._fingerprint, dict(preprocess)]
        return digest_text(parts)[:12]

    def evaluate(self, model: Model) -> Evaluation:
        """Run the suite on a model."""
        return self._run.evaluate(model)

    def release(self) -> None:
        """Let go of the last model."""
        self._pictures.release()


def check_suites(evals: Mapping[str, Any]) -> None:
    """Hold the `evals` block against the suites' options without reading any data.

    Raises:
        ConfigError: for an unknown suite, a misspelt option, a missing source.
    """
    for name, block in evals.items():
        _split(name, block)


def open_suites(
    evals: Mapping[str, Any],
    *,
    only: Iterable[str] | None = None,
    cache_bytes: int = 2 << 30,
    batch_size: int = 64,
) -> list[Suite]:
    """Open the suites of a run's `evals` block; suites of one source share its pictures.

    Args:
        evals: suite name -> block.
        only: names of the suites to open; all by default.
        cache_bytes: bound of the decoded pictures kept in memory, over all suites.
        batch_size: pictures per call of the model.

    Raises:
        ConfigError: for mistakes in the block, and for data that a suite cannot work with.
    """
    only = list(evals) if only is None else list(only)
    for name in only:
        if name not in evals:
            raise ConfigError(f"the run has no suite {name!r}.{suggest(name, evals)}")
    sources: dict[str, tuple[Any, Pictures]] = {}
    keys = {name: json.dumps(plain(evals[name]["source"]), sort_keys=True) for name in only}
    share = cache_bytes // max(len(set(keys.values())), 1)
    suites = []
    for name in only:
        block = _split(name, evals[name])
        if keys[name] not in sources:
            source = _open_source(name, block.source)
            pictures = Pictures(source, cache_bytes=share, batch_size=batch_size)
            sources[keys[name]] = (source, pictures)
        source, pictures = sources[keys[name]]
        try:
            records = read_records(source, where=block.where)
            run = SUITES[block.kind](records, pictures, **block.options)
        except ConfigError as error:
            raise ConfigError(f"config.evals.{name}: {error}") from error
        more = {"where": plain(block.where), "weights": block.weights}
        options = plain(resolve(SUITES[block.kind], block.options, given=_GIVEN)) | more
        fingerprint = records.fingerprint
        suites.append(
            Suite(block, options=options, fingerprint=fingerprint, pictures=pictures, run=run)
        )
    return suites


def _open_source(name: str, block: Any) -> Any:
    place = f"config.evals.{name}.source"
    try:
        return open_random_access(**plain(block))
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    except TypeError as error:  # a misspelt or missing argument of the source
        raise ConfigError(f"{place} = {plain(block)!r}: {error}.") from error


def _split(name: str, block: Any) -> _Block:
    place = f"evals.{name}"
    if not hasattr(block, "keys"):
        raise ConfigError(f"config.{place} must be a block of key = value, not {block!r}.")
    options = dict(block.items())
    kind = options.pop("suite", None)
    choose(kind, SUITES, f"config.{place}.suite")
    weights = options.pop("weights", "params")
    choose(weights, WEIGHTS, f"config.{place}.weights")
    if "source" not in options:
        raise ConfigError(f"config.{place}.source is missing: where are the records?")
    source, where = options.pop("source"), options.pop("where", None)
    check(SUITES[kind], options, place, given=_GIVEN)
    return _Block(name, kind, source, where, weights, options)
