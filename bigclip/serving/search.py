"""What the page asks of the model: pictures for a text, pictures like a picture, labels for one.

Any number of threads may ask at once; the model works for one at a time. The number of texts that
go through it together is rounded up to a few sizes, so that it is compiled for these alone.
"""

import hashlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bigclip.evals.embedding import are_vectors
from bigclip.evals.zero_shot.class_scores import ensemble_embeddings
from bigclip.serving.embedding import EmbeddedGallery
from bigclip.serving.labels import BadInput, prompts_of
from bigclip.serving.recent import Recent

_TEXT_BATCHES = (1, 8, 64)
_LABEL_BATCH = 64
_KEPT_BYTES = 64 << 20  # of scores, for the next page of the same text


class Hit(NamedTuple):
    """A picture that was found.

    Attributes:
        row: which, of the embedded gallery.
        score: how well it fits; larger is better.
    """

    row: int
    score: float


class NamedScore(NamedTuple):
    """A label of a picture.

    Attributes:
        label: the text.
        score: of the model, averaged over the templates.
        share: in [0, 1]. Of a model trained with the sigmoid loss: how probable it takes the match
            to be. Of all others: of the given labels alone, a softmax over their scores.
    """

    label: str
    score: float
    share: float


class Search:
    """Answers questions about an embedded gallery.

    Attributes:
        pictures: the gallery.
        has_vectors: whether embeddings are vectors. Only then is there a similarity of pictures,
            and `Hit.score` is a cosine; else it is the task's own score.
        independent: whether the shares of labels are probabilities of their own.
    """

    def __init__(self, model: Any, pictures: EmbeddedGallery):
        self._model, self._lock = model, threading.Lock()
        self.pictures = pictures
        outputs = pictures.outputs
        self.has_vectors = are_vectors(outputs)
        self.independent = (model.manifest.get("task") or {}).get("loss") == "sigmoid"
        # Not bound to one device: the model may lie on several.
        self._outputs = jax.tree.map(jnp.asarray, outputs)
        self._texts, self._images = Recent(10_000), Recent(64)
        self._scores = Recent(_KEPT_BYTES, size=lambda scores: scores.nbytes)

    def warm_up(self, labels: Sequence[str], templates: Sequence[str]) -> None:
        """Compile and embed what the first questions will need."""
        size = self._model.preprocess.size
        self._model.embed_images(np.zeros((1, size, size, 3), np.uint8))
        self._ranked("warm-up", 0, 1)
        self.labels(self.picture(0), labels, templates)

    def by_text(self, text: str, start: int, count: int) -> list[Hit]:
        """Return the pictures from rank `start` on that fit a text best.

        Raises:
            BadInput: if the tokenizer makes nothing of the text: any picture would be found.
        """
        if not self._model.tokenizer.ids(text):
            raise BadInput(
                "nothing is left of this text: the tokenizer of the model knows none of its words."
            )
        return self._ranked(text, start, count)

    def _ranked(self, text: str, start: int, count: int) -> list[Hit]:
        output = self._embed_texts([text])
        scores = self._scores.get(text)
        if scores is None:
            with self._lock:
                scores = self._model.score(self._outputs, output)[:, 0]
            self._scores.put(text, scores)
        rows = best_rows(scores, start + count)[start:]
        shown = self.pictures.outputs[rows] @ output[0] if self.has_vectors else scores[rows]
        return _hits(rows, shown)

    def by_picture(
        self, output: Any, start: int, count: int, *, without: int | None = None
    ) -> list[Hit]:
        """Return the pictures from rank `start` on that are most similar to one.

        Args:
            output: of `picture` or `embed`.
            start: how many to leave away.
            count: how many to return.
            without: a row to leave out: the picture itself.
        """
        if not self.has_vectors:
            return []
        scores = self.pictures.outputs @ output[0]
        rows = best_rows(scores, start + count + 1)
        rows = rows[rows != without][start : start + count]
        return _hits(rows, scores[rows])

    def picture(self, row: int) -> Any:
        """Return the output of a row, leading axis 1."""
        return jax.tree.map(lambda leaf: leaf[row : row + 1], self.pictures.outputs)

    def embed(self, encoded: bytes) -> Any:
        """Embed another picture, leading axis 1.

        Raises:
            BadImage: if it is none, or too large.
        """
        key = hashlib.sha256(encoded).digest()
        output = self._images.get(key)
        if output is None:
            pixels = np.asarray(self._model.preprocess(encoded), np.uint8)
            with self._lock:
                output = self._model.embed_images(pixels[None])
            self._images.put(key, output)
        return output

    def labels(
        self, output: Any, labels: Sequence[str], templates: Sequence[str]
    ) -> list[NamedScore]:
        """Return all labels of a picture, best first.

        As in the suite `zero_shot`, a label is the normalised mean of its prompts' normalised
        embeddings (arXiv 2103.00020, section 3.1.4); where embeddings are no vectors, its score
        is the mean of its prompts' scores.

        Raises:
            BadInput: if there are too many prompts.
        """
        prompts = prompts_of(labels, templates)
        outputs = self._embed_texts([text for group in prompts for text in group])
        if self.has_vectors:
            rows = np.arange(len(outputs)).reshape(len(labels), len(templates))
            outputs = ensemble_embeddings(outputs, rows)
        scores = self._score_texts(output, outputs).reshape(len(labels), -1).mean(axis=1)
        if self.independent:
            share = 0.5 * (1 + np.tanh(scores / 2))
        else:
            share = np.exp(scores - scores.max())
            share /= share.sum()
        return [
            NamedScore(labels[i], float(scores[i]), float(share[i]))
            for i in np.argsort(-scores, kind="stable")
        ]

    def _score_texts(self, image: Any, texts: Any) -> np.ndarray:
        """Score one picture against T texts, [T] float64."""
        count = len(jax.tree.leaves(texts)[0])
        padded = -(-count // _LABEL_BATCH) * _LABEL_BATCH
        texts = jax.tree.map(
            lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], padded - count, axis=0)]),
            texts,
        )
        with self._lock:
            scores = self._model.score(image, texts)
        return np.asarray(scores[0, :count], np.float64)

    def _embed_texts(self, texts: list[str]) -> Any:
        """Embed texts, of which those that were embedded before are remembered."""
        found = {text: self._texts.get(text) for text in dict.fromkeys(texts)}
        missing = [text for text, output in found.items() if output is None]
        while missing:
            size = next((n for n in _TEXT_BATCHES if n >= len(missing)), _TEXT_BATCHES[-1])
            now, missing = missing[:size], missing[size:]
            with self._lock:
                outputs = self._model.embed_texts(now + [now[-1]] * (size - len(now)))
            for i, text in enumerate(now):
                found[text] = jax.tree.map(lambda leaf, i=i: leaf[i], outputs)
                self._texts.put(text, found[text])
        return jax.tree.map(lambda *rows: np.stack(rows), *(found[text] for text in texts))


def best_rows(scores: np.ndarray, most: int) -> np.ndarray:
    """Return the rows of the best scores, best first, equal ones in order.

    The same as the beginning of a whole stable sort, and much faster for a million scores.

    Args:
        scores: [I].
        most: how many are wanted.
    """
    rows = np.arange(len(scores))
    if most < len(scores):
        least = -np.partition(-scores, most - 1)[most - 1]
        rows = np.flatnonzero(scores >= least)  # with all that equal the last one
    return rows[np.argsort(-scores[rows], kind="stable")][:most]


def _hits(rows: np.ndarray, scores: np.ndarray) -> list[Hit]:
    return [Hit(int(row), float(score)) for row, score in zip(rows, scores, strict=True)]
