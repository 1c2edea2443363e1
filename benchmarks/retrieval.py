"""Held-out retrieval from embeddings alone, so that every side is measured by the same code.

The sets are those of the configuration's `evals`: every block of the suite `retrieval`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.data.sources import open_random_access
from bigclip.data.tokenizer import Tokenizer
from bigclip.evals.records import metadata_values, read_records
from bigclip.evals.retrieval.suite import Pool, make_pools
from bigclip.evals.texts import fill, pair_up, record_texts

KS = (1, 5)


class RetrievalSet(NamedTuple):
    """What is embedded, and what belongs together.

    Attributes:
        name: of the block in the configuration.
        weights: which of bigclip's parameters the block asks for, "params" or "ema".
        image: uint8 [I, H, W, 3].
        text: int32 [T, L].
        pools: images and texts that are ranked against each other.
    """

    name: str
    weights: str
    image: np.ndarray
    text: np.ndarray
    pools: list[Pool]


def retrieval_sets(
    evals: Mapping[str, Any], *, preprocess: Preprocess, tokenizer: Tokenizer
) -> list[RetrievalSet]:
    """Read the retrieval blocks of a configuration's `evals` block.

    Raises:
        ConfigError: if there is none, or its data are not there.
    """
    pictures: dict[tuple[str, int], np.ndarray] = {}  # blocks share most of them
    sets = []
    for name, block in evals.items():
        if block["suite"] != "retrieval":
            continue
        records = read_records(open_random_access(**block["source"]), where=block.get("where"))
        limit = block.get("captions_per_image")
        texts, pairs = pair_up(
            [record_texts(one, block.get("captions", ("txt",)))[:limit] for one in records.captions]
        )
        group_by = block.get("group_by")
        groups = metadata_values(records, group_by, "group_by") if group_by else None
        for index, key in zip(records.index, records.key, strict=True):
            if (key, index) not in pictures:
                pictures[key, index] = preprocess(records.source[index].image)
        sets.append(
            RetrievalSet(
                name=name,
                weights=block.get("weights", "params"),
                image=np.stack(
                    [pictures[one] for one in zip(records.key, records.index, strict=True)]
                ),
                text=tokenizer(
                    [fill(block.get("template", "{}"), text, "template") for text in texts]
                ),
                pools=make_pools(pairs, groups, group_by),
            )
        )
    if not sets:
        raise ConfigError("config.evals has no block of the suite 'retrieval' to compare by.")
    return sets


def pool_metrics(
    image_emb: np.ndarray, text_emb: np.ndarray, pools: Sequence[Pool]
) -> dict[str, dict[str, float]]:
    """Measure every pool.

    Args:
        image_emb: [I, D], normalised.
        text_emb: [T, D], normalised.
        pools: positions in those.

    Returns:
        Pool name -> metrics of `recalls`; and "mean", the mean over the pools.
    """
    found = {
        pool.name: recalls(image_emb[pool.images] @ text_emb[pool.texts].T, pool.pairs)
        for pool in pools
    }
    return found | {"mean": _mean(found)}


def chance_metrics(pools: Sequence[Pool]) -> dict[str, dict[str, float]]:
    """Return what `pool_metrics` would be in a random order."""
    found = {pool.name: _chance(_right(pool)) for pool in pools}
    return found | {"mean": _mean(found)}


def recalls(scores: np.ndarray, pairs: np.ndarray) -> dict[str, float]:
    """R@k of both directions, in percent: is any right candidate among the k best?

    A wrong candidate with the very score of the best right one counts as better.

    Args:
        scores: [I, T], larger is better.
        pairs: [M, 2], the (image, text) that belong together.

    Returns:
        "image_to_text/R@1" and so on.
    """
    right = np.zeros(scores.shape, bool)
    right[pairs[:, 0], pairs[:, 1]] = True
    metrics = {}
    for direction, values, is_right in (
        ("image_to_text", scores, right),
        ("text_to_image", scores.T, right.T),
    ):
        best = np.where(is_right, values, -np.inf).max(axis=1, keepdims=True)
        num_better = (~is_right & (values >= best)).sum(axis=1)
        for k in KS:
            metrics[f"{direction}/R@{k}"] = 100 * float((num_better < k).mean())
    return metrics


def _right(pool: Pool) -> np.ndarray:
    right = np.zeros((len(pool.images), len(pool.texts)), bool)
    right[pool.pairs[:, 0], pool.pairs[:, 1]] = True
    return right


def _chance(right: np.ndarray) -> dict[str, float]:
    metrics = {}
    for direction, is_right in (("image_to_text", right), ("text_to_image", right.T)):
        total, wrong = is_right.shape[1], (~is_right).sum(axis=1).tolist()
        for k in KS:
            k_of_all = math.comb(total, min(k, total))
            missed = [math.comb(one, min(k, total)) / k_of_all for one in wrong]
            metrics[f"{direction}/R@{k}"] = 100 * (1 - float(np.mean(missed)))
    return metrics


def _mean(pools: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    names = next(iter(pools.values()))
    return {name: float(np.mean([pool[name] for pool in pools.values()])) for name in names}
