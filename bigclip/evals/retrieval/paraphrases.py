"""Ranked consistency under paraphrase: does another wording find the same pictures?

A query and its paraphrase each rank the same pictures; the first k of the two lists are compared
(arXiv 2405.03190):

    AO@k = 1/k sum over d = 1..k of |first d of both| / d      (average overlap: top-weighted)
    JS@k = |first k of both| / |first k of either|             (Jaccard similarity)

Both are 1 for equal rankings, whether the ranking is good or bad: they are to be read beside R@k.
Pictures of equal score stand in the set's order, for both queries; a model that gives every
picture one score is therefore consistent, though it knows nothing. Where scores are no numbers, as
of a model that has diverged, nothing is in common. Chance is the expectation over two independent
random rankings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigclip.config import ConfigError, suggest
from bigclip.evals.zero_shot.prompts import read_file


def overlaps(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare two rankings of each of Q pairs of queries.

    Args:
        first, second: [Q, k] int, candidates best first, none twice in a row; -1 is none, where a
            score is no number, and is in common with nothing.

    Returns:
        AO@k and JS@k, [Q] each in [0, 1].
    """
    num_ranks = first.shape[1]
    same = first[:, :, None] == second[:, None, :]  # [Q, k, k]
    same &= first[:, :, None] >= 0
    # The rank from which on a common candidate is in both lists.
    depth = np.maximum(np.arange(num_ranks)[:, None], np.arange(num_ranks)[None, :])
    shared = np.stack([(same & (depth <= d)).sum(axis=(1, 2)) for d in range(num_ranks)], axis=1)
    average = (shared / np.arange(1, num_ranks + 1)).mean(axis=1)
    common = shared[:, -1]
    return average, common / (2 * num_ranks - common)


def chance_overlaps(num_candidates: int, num_ranks: int) -> tuple[float, float]:
    """Return the expected AO@k and JS@k of two independent random rankings.

    Of two random choices of d among N, d^2 / N are common on average, so that AO@k is
    (k + 1) / (2 N); the number that k ranks have in common is hypergeometric.

    Args:
        num_candidates: N.
        num_ranks: k, at most N.
    """
    # P(m common), by the ratio of one m to the next; in logarithms, N may be large.
    least = max(0, 2 * num_ranks - num_candidates)
    counts = np.arange(least, num_ranks + 1)
    with np.errstate(divide="ignore"):
        steps = 2 * np.log(num_ranks - counts[:-1]) - np.log(counts[:-1] + 1.0)
        steps -= np.log(num_candidates - 2 * num_ranks + counts[:-1] + 1.0)
    weights = np.concatenate([[0.0], np.cumsum(steps)])
    weights = np.exp(weights - weights.max())
    jaccard = np.sum(weights * counts / (2 * num_ranks - counts)) / weights.sum()
    return (num_ranks + 1) / (2 * num_candidates), float(jaccard)


def read_paraphrases(
    value: str, captions: Sequence[Mapping[str, Sequence[str]]], texts: Sequence[Sequence[str]]
) -> list[tuple[str, str]]:
    """Read the pairs (query, paraphrase).

    Args:
        value: a caption source, each text of which says the same as the first text of its record;
            or the path of a .json file with a list of [query, paraphrase], or of a .tsv file with
            a pair a line.
        captions: of each record.
        texts: for each record the texts of the retrieval, maybe none.

    Returns:
        Distinct pairs, in the order of their appearance.

    Raises:
        ConfigError: if there is no such caption source or file, or no pair.
    """
    if value.endswith((".json", ".tsv")):
        pairs = _read_file(value)
    else:
        pairs = [
            (own[0], paraphrase)
            for found, own in zip(captions, texts, strict=True)
            for paraphrase in found.get(value, ())
            if own and own[0] != paraphrase
        ]
        if not pairs:
            there = {name for found in captions for name in found}
            raise ConfigError(
                f"paraphrases = {value!r}: no record has a text of this caption source beside "
                f"another one; a path would end in .json or .tsv.{suggest(value, there)}"
            )
    return list(dict.fromkeys(pairs))


def _read_file(path: str) -> list[tuple[str, str]]:
    rows: Any = read_file(path, "paraphrases")
    if Path(path).suffix == ".tsv":
        rows = [line.split("\t") for line in rows]
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"paraphrases: {path} must hold a list of [query, paraphrase].")
    for number, row in enumerate(rows, 1):
        is_pair = isinstance(row, list) and len(row) == 2
        if not is_pair or not all(isinstance(text, str) and text.strip() for text in row):
            raise ConfigError(f"paraphrases: entry {number} of {path} is no pair: {row!r}.")
    return [(query.strip(), paraphrase.strip()) for query, paraphrase in rows]
