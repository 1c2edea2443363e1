"""The suites of a run: opened from the `evals` block of its configuration.

    evals:
      heldout_concepts:                      # the name under which results are filed
        suite: "retrieval"                   # one of SUITES
        source: {kind: "webdataset", ...}    # as for training data
        where: {style: "noto"}               # optional: keep the records whose metadata match
        train: {source: {...}, where: {...}} # for suites that learn something: probes
        weights: "ema"                       # optional: the averaged parameters, not the last
        every_steps: 5000                    # optional: these and the last step; 0: the last alone
        captions: ["name"]                   # the rest are the options of the suite

A suite is a class: its constructor takes its sets of records (the parameters annotated `EvalSet`;
`source` and `where` of the block make the set `test`) and its options as keywords, and checks them
without a model; `evaluate(model)` gives an `Evaluation`.

A result's *definition* is a short hash of the suite's options, of what the records hold, and of
the preprocessing: two numbers with different definitions are not to be compared, and a step is
evaluated again only under another definition.
"""

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from bigclip.config import ConfigError, check, choose, plain, resolve, suggest
from bigclip.data.sources import open_random_access
from bigclip.evals.embedding import Model, Pictures
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.health.suite import Health
from bigclip.evals.limits.suite import Limits
from bigclip.evals.probes.attentive.suite import AttentiveProbe
from bigclip.evals.probes.few_shot.suite import FewShot
from bigclip.evals.probes.knn.suite import Knn
from bigclip.evals.probes.linear.suite import LinearProbe
from bigclip.evals.records import digest_text, read_records
from bigclip.evals.retrieval.suite import Retrieval
from bigclip.evals.robustness.suite import Robustness
from bigclip.evals.sets import EvalSet
from bigclip.evals.zero_shot.suite import ZeroShot


class Runner(Protocol):
    """What the class of a suite makes."""

    def evaluate(self, model: Model) -> Evaluation:
        """Run the suite on a model."""


SUITES: dict[str, type[Runner]] = {
    "attentive_probe": AttentiveProbe,
    "few_shot": FewShot,
    "health": Health,
    "knn": Knn,
    "limits": Limits,
    "linear_probe": LinearProbe,
    "retrieval": Retrieval,
    "robustness": Robustness,
    "zero_shot": ZeroShot,
}

# Which of a checkpoint's parameters: those of the last step, or their average over steps.
WEIGHTS = {"params": "params", "ema": "ema"}

# Options of memory, and of what the report shows: no metric depends on them.
_NO_NUMBERS = ("tile", "max_bytes", "num_examples", "num_candidates", "num_confusions")

# Changes when a metric's meaning does, so that old lines are not taken for new ones.
_VERSION = 2


class _Block(NamedTuple):
    """One entry of `evals`, taken apart."""

    name: str
    kind: str
    sets: dict[str, Mapping[str, Any]]  # set -> {"source": ..., "where": ...}
    weights: str
    every_steps: int | None
    options: dict[str, Any]


class Suite:
    """A suite with its data: what a follower runs at every step.

    Attributes:
        name: the name in the configuration.
        kind: the name in `SUITES`.
        options: the suite's options, defaults filled in.
        weights: which of a checkpoint's parameters, of `WEIGHTS`.
        source: the configuration of the pictures that are evaluated; None for made ones.
    """

    def __init__(
        self,
        block: _Block,
        *,
        options: dict[str, Any],
        fingerprints: Mapping[str, str],
        pictures: Iterable[Pictures],
        run: Runner,
    ):
        self.name, self.kind, self.weights = block.name, block.kind, block.weights
        self.options = options
        self.source = plain(block.sets["test"]["source"]) if "test" in block.sets else None
        self._every_steps = block.every_steps
        self._fingerprints, self._pictures, self._run = dict(fingerprints), list(pictures), run

    def wants(self, step: int, *, is_last: bool) -> bool:
        """Say whether a step is to be evaluated.

        Args:
            step: of a checkpoint.
            is_last: whether the run ends with it.
        """
        if is_last or self._every_steps is None:
            return True
        return self._every_steps > 0 and step % self._every_steps == 0

    def definition(self, preprocess: Mapping[str, Any]) -> str:
        """Return the hash of everything but the weights that the numbers depend on.

        Args:
            preprocess: the preprocessing, as the manifest has it.
        """
        options = {name: v for name, v in self.options.items() if name not in _NO_NUMBERS}
        parts = [_VERSION, self.kind, options, self._fingerprints, dict(preprocess)]
        # What a suite has read from files that its options name: class names, prompts.
        parts.append(getattr(self._run, "content", None))
        return digest_text(parts)[:12]

    def evaluate(self, model: Model) -> Evaluation:
        """Run the suite on a model."""
        return self._run.evaluate(model)

    def release(self) -> None:
        """Let go of the last model."""
        for pictures in self._pictures:
            pictures.release()


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
    blocks = [_split(name, evals[name]) for name in only]
    keys = {_key(one["source"]) for block in blocks for one in block.sets.values()}
    pictures_of: dict[str, tuple[Any, Pictures]] = {}
    suites = []
    for block in blocks:
        sets = {}
        for set_name, one in block.sets.items():
            place = f"config.evals.{block.name}" + ("" if set_name == "test" else f".{set_name}")
            key = _key(one["source"])
            if key not in pictures_of:
                source = _open_source(place, one["source"])
                share = cache_bytes // len(keys)
                pictures = Pictures(source, cache_bytes=share, batch_size=batch_size)
                pictures_of[key] = (source, pictures)
            source, pictures = pictures_of[key]
            try:
                sets[set_name] = EvalSet(read_records(source, where=one["where"]), pictures)
            except ConfigError as error:
                raise ConfigError(f"{place}: {error}") from error
        try:
            run = SUITES[block.kind](**sets, **block.options)
        except ConfigError as error:
            raise ConfigError(f"config.evals.{block.name}: {error}") from error
        wheres = {name: plain(one["where"]) for name, one in block.sets.items()}
        more = {"where": wheres, "weights": block.weights}
        given = set_parameters(SUITES[block.kind])
        suites.append(
            Suite(
                block,
                options=plain(resolve(SUITES[block.kind], block.options, given=given)) | more,
                fingerprints={name: one.records.fingerprint for name, one in sets.items()},
                pictures={id(one.pictures): one.pictures for one in sets.values()}.values(),
                run=run,
            )
        )
    return suites


def set_parameters(kind: type[Runner]) -> dict[str, bool]:
    """Return the sets that a suite's constructor takes: name -> whether it must be given."""
    parameters = inspect.signature(kind).parameters.values()
    return {
        one.name: one.default is inspect.Parameter.empty
        for one in parameters
        if one.annotation in (EvalSet, EvalSet | None)
    }


def _key(source: Any) -> str:
    return json.dumps(plain(source), sort_keys=True)


def _open_source(place: str, block: Any) -> Any:
    if not hasattr(block, "keys") or "kind" not in block:
        raise ConfigError(
            f"{place}.source must be a block with a `kind`, for example "
            f"{{'kind': 'folder', 'path': ...}}, not {block!r}."
        )
    try:
        return open_random_access(**plain(block))
    except ConfigError as error:
        raise ConfigError(f"{place}.source: {error}") from error
    except TypeError as error:  # a misspelt or missing argument of the source
        raise ConfigError(f"{place}.source = {plain(block)!r}: {error}.") from error


def _split(name: str, block: Any) -> _Block:
    place = f"evals.{name}"
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(
            f"config.evals: the name {name!r} becomes the name of files: use letters, digits, '_', "
            "'-' and '.'."
        )
    if not hasattr(block, "keys"):
        raise ConfigError(f"config.{place} must be a block of key = value, not {block!r}.")
    options = dict(block.items())
    kind = options.pop("suite", None)
    choose(kind, SUITES, f"config.{place}.suite")
    weights = options.pop("weights", "params")
    choose(weights, WEIGHTS, f"config.{place}.weights")
    every_steps = options.pop("every_steps", None)
    if every_steps is not None and (not isinstance(every_steps, int) or every_steps < 0):
        raise ConfigError(
            f"config.{place}.every_steps must be a number of steps, or 0 for the last one alone, "
            f"not {every_steps!r}."
        )
    wanted = set_parameters(SUITES[kind])
    sets = {}
    for set_name, must in wanted.items():
        if set_name == "test":
            one = {key: options.pop(key) for key in ("source", "where") if key in options}
            where = f"config.{place}"
        else:
            one, where = options.pop(set_name, None) or {}, f"config.{place}.{set_name}"
        if not one and not must:
            continue
        sets[set_name] = _set(one, where)
    check(SUITES[kind], options, place, given=wanted)
    return _Block(name, kind, sets, weights, every_steps, options)


def _set(block: Any, place: str) -> dict[str, Any]:
    if not hasattr(block, "keys"):
        raise ConfigError(f"{place} must be a block with a `source`, not {block!r}.")
    for key in block:
        if key not in ("source", "where"):
            raise ConfigError(f"unknown key {key!r} in {place}.{suggest(key, ('source', 'where'))}")
    if "source" not in block:
        raise ConfigError(f"{place}.source is missing: where are the records?")
    return {"source": block["source"], "where": block.get("where")}
