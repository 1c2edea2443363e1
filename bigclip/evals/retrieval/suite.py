"""Suite `retrieval`: image to text and text to image, many to many.

An image may have several right texts, and a text several right images. Texts that are equal as
strings are one text, so that a duplicate never counts as a wrong answer. R@k is 1 if any right
candidate is among the first k (arXiv 2103.00020, appendix E.1, and every retrieval table since).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from bigclip.evals import options
from bigclip.evals.embedding import Model, embed_texts, take
from bigclip.evals.evaluation import Evaluation
from bigclip.evals.ranks import examples, ranking, recall
from bigclip.evals.records import metadata_values, unique
from bigclip.evals.retrieval.paraphrases import chance_overlaps, overlaps, read_paraphrases
from bigclip.evals.sets import EvalSet
from bigclip.evals.texts import fill, set_texts

KS = (1, 5, 10)
OVERLAP_RANKS = 10  # of AO@k and JS@k; fewer where the set is smaller


class Pool(NamedTuple):
    """Images and texts that are ranked against each other.

    Attributes:
        name: "" for the whole set, or for example "style=noto".
        images: positions among the records.
        texts: positions among the texts.
        pairs: [M, 2], positions within `images` and `texts`.
    """

    name: str
    images: list[int]
    texts: list[int]
    pairs: np.ndarray


class Retrieval:
    """Rank all texts for each image and all images for each text of a set of records.

    Args:
        test: the evaluation set.
        captions: the texts of an image: caption sources, or patterns such as
            "{name}: {keywords}" (see `bigclip.evals.texts`).
        template: what every text is put into, at {}; CLIP reports "a photo of {}".
        captions_per_image: keep the first so many texts of an image (Flickr30k and COCO: 5).
        group_by: a metadata key. Each of its values becomes a pool of its own, ranked within
            itself, with metrics under "style=noto/..."; the plain metrics are then the means over
            the pools. Without it, all records are one pool.
        paraphrases: a caption source, or a .json or .tsv file of (query, paraphrase): do both
            find the same pictures of the whole set? "paraphrase/AO@10" and "paraphrase/JS@10" (see
            `bigclip.evals.retrieval.paraphrases`).
        tile: largest number of rows and of columns that are scored at once.
        num_examples: ranked examples kept for the report, in each direction.
        num_candidates: candidates kept of each example.
        example_seed: draws the examples.

    Attributes:
        content: what was read from files, for the hash of a result's definition.

    Raises:
        ConfigError: for options and files that do not fit the records.
    """

    def __init__(
        self,
        test: EvalSet,
        *,
        captions: Sequence[str] = ("txt",),
        template: str = "{}",
        captions_per_image: int | None = None,
        group_by: str | None = None,
        paraphrases: str | None = None,
        tile: int = 1024,
        num_examples: int = 8,
        num_candidates: int = 8,
        example_seed: int = 0,
    ):
        records = test.records
        for name, value in (("group_by", group_by), ("paraphrases", paraphrases)):
            if value is not None:
                options.text(value, name)
        options.whole(tile, "tile")
        options.whole(num_examples, "num_examples", least=0)
        options.whole(num_candidates, "num_candidates")
        options.seed(example_seed, "example_seed")
        found = set_texts(
            records.captions, captions, template=template, captions_per_image=captions_per_image
        )
        self._num_without_text = found.num_without
        self._test, self._records = test, records
        self._texts, self._prompts = found.texts, found.prompts
        self._rewordings = (
            read_paraphrases(paraphrases, records.captions, found.of) if paraphrases else []
        )
        self._reworded = unique([text for pair in self._rewordings for text in pair])
        self._template = template
        self.content = self._rewordings
        groups = metadata_values(records, group_by, "group_by") if group_by else None
        self._pools = make_pools(found.pairs, groups, group_by)
        self._tile = tile
        self._num_examples, self._num_candidates = num_examples, num_candidates
        self._seed = example_seed
        self._about = about_images(self._pools)
        self._drawn = {
            "image_to_text": examples.deal(self._about, num_examples, example_seed),
            "text_to_image": examples.deal(
                [[frozenset([text]) for text in pool.texts] for pool in self._pools],
                num_examples,
                example_seed,
                direction=1,
            ),
        }

    def evaluate(self, model: Model) -> Evaluation:
        """Embed the set with `model` and rank it."""
        images = unique([i for pool in self._pools for i in pool.images])
        row = {i: position for position, i in enumerate(images)}
        image_emb = self._test.embed(model, images)
        text_emb = embed_texts(model, self._prompts)
        scoring = {"score_fn": model.task.score, "params": model.score_params}

        metrics: dict[str, float] = {}
        chance: dict[str, float] = {}
        details: dict[str, list] = {"image_to_text": [], "text_to_image": [], "mistakes": []}
        for number, pool in enumerate(self._pools):
            pool_emb = (take(image_emb, [row[i] for i in pool.images]), take(text_emb, pool.texts))
            ranks = ranking.rank_pairs(*pool_emb, pool.pairs, tile=self._tile, **scoring)
            prefix = f"{pool.name}/" if pool.name else ""
            pool_metrics, pool_chance = pool_metrics_of(*ranks)
            metrics |= {prefix + name: value for name, value in pool_metrics.items()}
            chance |= {prefix + name: value for name, value in pool_chance.items()}
            for name, entries in self._pool_examples(
                number, pool, pool_emb, ranks, scoring
            ).items():
                details[name] += entries
        if self._pools[0].name:
            names = [pool.name for pool in self._pools]
            metrics = means(metrics, names) | metrics
            chance = means(chance, names) | chance
        if self._rewordings:
            more_metrics, more_chance = self._consistency(model, image_emb, scoring)
            metrics, chance = metrics | more_metrics, chance | more_chance
        details["mistakes"] = examples.worst(details["mistakes"], self._num_examples)
        return Evaluation(
            metrics=metrics,
            chance=chance,
            counts={
                "images": len(images),
                "texts": len(self._texts),
                "pairs": sum(len(pool.pairs) for pool in self._pools),
                "pools": len(self._pools),
                "images_without_text": self._num_without_text,
                **({"paraphrases": len(self._rewordings)} if self._rewordings else {}),
            },
            details=details | {"texts": self._texts_of(details), "seed": self._seed},
        )

    def _consistency(self, model: Model, image_emb: Any, scoring: dict[str, Any]):
        """Rank the pictures of the set for each query and for its paraphrase."""
        prompts = [fill(self._template, text, "template") for text in self._reworded]
        _, first = ranking.top_candidates(
            image_emb,
            embed_texts(model, prompts),
            OVERLAP_RANKS,
            by_text=True,
            tile=self._tile,
            **scoring,
        )
        row = {text: i for i, text in enumerate(self._reworded)}
        pairs = np.array([[row[text] for text in pair] for pair in self._rewordings])
        found = overlaps(first[pairs[:, 0]], first[pairs[:, 1]])
        chance = chance_overlaps(len(jax.tree.leaves(image_emb)[0]), first.shape[1])
        names = [f"paraphrase/{measure}@{OVERLAP_RANKS}" for measure in ("AO", "JS")]
        metrics = {name: float(value.mean()) for name, value in zip(names, found, strict=True)}
        return metrics, dict(zip(names, chance, strict=True))

    def _pool_examples(self, number, pool, pool_emb, ranks, scoring) -> dict[str, list]:
        """Return this pool's share of the examples, with positions in the source and the texts."""
        mistakes = examples.confident_mistakes(
            *pool_emb, ranks[0], self._about[number], self._num_examples, **scoring
        )
        chosen = {name: drawn[number] for name, drawn in self._drawn.items()}
        chosen["mistakes"] = mistakes
        entries = {}
        for name, queries in chosen.items():
            by_text = name == "text_to_image"
            found = []
            if queries:
                found = examples.ranked(
                    queries,
                    *pool_emb,
                    ranks[1 if by_text else 0],
                    pool.pairs,
                    num_candidates=self._num_candidates,
                    by_text=by_text,
                    **scoring,
                )
            entries[name] = [self._in_the_source(entry, pool, by_text) for entry in found]
        return entries

    def _in_the_source(self, entry: dict[str, Any], pool: Pool, by_text: bool) -> dict[str, Any]:
        def record(i):
            i = pool.images[i]
            return {"record": self._records.index[i], "key": self._records.key[i]}

        def text(j):
            return {"text": pool.texts[j]}

        query, candidate = (text, record) if by_text else (record, text)
        right = pool.pairs[pool.pairs[:, 0] == entry["query"], 1]
        return {
            **query(entry["query"]),
            "pool": pool.name,
            "candidates": len(pool.images if by_text else pool.texts),
            "rank": entry["rank"],
            "best": entry["best"],
            "right": entry["right"],
            **({} if by_text else {"right_texts": [pool.texts[j] for j in right]}),
            "ranked": [
                {**candidate(hit["candidate"]), "score": hit["score"], "right": hit["right"]}
                for hit in entry["ranked"]
            ],
        }

    def _texts_of(self, details: Mapping[str, list]) -> dict[str, str]:
        """Return position -> text for the texts that the examples name."""
        used: set[int] = set()
        for entry in (entry for entries in details.values() for entry in entries):
            used |= {entry["text"]} if "text" in entry else set(entry["right_texts"])
            used |= {hit["text"] for hit in entry["ranked"] if "text" in hit}
        return {str(j): self._texts[j] for j in sorted(used)}


def make_pools(
    pairs: np.ndarray, groups: Sequence[str] | None = None, group_by: str | None = None
) -> list[Pool]:
    """Cut pairs (image, text) into one pool for each value of `groups` (one value per image)."""
    labels = np.array(["" if groups is None else f"{group_by}={groups[i]}" for i in pairs[:, 0]])
    pools = []
    for label in sorted(set(labels.tolist())):
        inside = pairs[labels == label]
        images, rows = np.unique(inside[:, 0], return_inverse=True)
        texts, columns = np.unique(inside[:, 1], return_inverse=True)
        local = np.stack([rows.ravel(), columns.ravel()], axis=1)
        pools.append(Pool(label, images.tolist(), texts.tolist(), local))
    return pools


def about_images(pools: Sequence[Pool]) -> list[list[frozenset[int]]]:
    """Return for each pool, for each of its images, the texts that belong to it."""
    about = []
    for pool in pools:
        texts: list[set[int]] = [set() for _ in pool.images]
        for image, text in pool.pairs.tolist():
            texts[image].add(pool.texts[text])
        about.append([frozenset(one) for one in texts])
    return about


def pool_metrics_of(
    image_to_text: ranking.Ranks, text_to_image: ranking.Ranks
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the flat metrics of both directions, and what R@k would be by chance."""
    metrics, chance = {}, {}
    for name, ranks in (("image_to_text", image_to_text), ("text_to_image", text_to_image)):
        for key, value in recall.summarize(ranks, ks=KS).items():
            metrics[f"{name}/{key}"] = value
        for key, value in recall.chance(ranks, ks=KS).items():
            chance[f"{name}/{key}"] = value
    return metrics, chance


def means(metrics: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Average metrics "name/rest" over the names, giving "rest"."""
    rests = [key.removeprefix(f"{names[0]}/") for key in metrics if key.startswith(f"{names[0]}/")]
    return {rest: float(np.mean([metrics[f"{name}/{rest}"] for name in names])) for rest in rests}
