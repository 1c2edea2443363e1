"""A model and a source small enough to compute by hand, for the tests of the suites."""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import PIL.Image

from bigclip.data.preprocess import Preprocess
from bigclip.evals.ranks import ranking


class FakeRecord(NamedTuple):
    key: str
    image: bytes
    captions: dict
    metadata: dict


class FakePreprocess:
    """Reads 8 x 8 x 3 raw bytes as a picture."""

    def __init__(self, size: int = 8):
        self.size = size
        self.calls = 0

    def __call__(self, image: bytes) -> np.ndarray:
        self.calls += 1
        return np.frombuffer(image, np.uint8).reshape(self.size, self.size, 3)

    def to_dict(self) -> dict:
        return {"size": self.size}


def vector(text: str, dim: int = 16) -> np.ndarray:
    """A unit vector that is a function of a text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    emb = np.random.default_rng(seed).normal(size=dim)
    return (emb / np.linalg.norm(emb)).astype(np.float32)


class Fake:
    """What the fakes share: a cosine score without parameters, and layers made of the embedding."""

    image_layers = ("embedding", "pooled", "tokens")
    task = SimpleNamespace(score=ranking.inner_product)
    score_params = None

    def image_features(self, images, layers):
        emb = self.embed_images(images)
        known = {
            "embedding": emb,
            "pooled": np.concatenate([3 * emb, emb[:, :2]], axis=1),
            "tokens": np.stack([emb, -emb], axis=1),
        }
        return {layer: known[layer] for layer in layers}

    def score(self, image_outputs, text_outputs):
        return np.asarray(image_outputs) @ np.asarray(text_outputs).T

    def rows_here(self, batch_size: int) -> np.ndarray:
        return np.arange(batch_size)


class FakeModel(Fake):
    """Embeds a picture as the mean of its texts plus noise that its pixels decide.

    Args:
        noise: 0 gives a perfect model.
        constant: every picture and text has the same embedding.
    """

    def __init__(self, meaning: dict[bytes, str], *, noise: float = 0.0, constant: bool = False):
        self._meaning, self._noise, self._constant = meaning, noise, constant
        self.preprocess = FakePreprocess()
        self.batch_shapes: set[tuple] = set()

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        self.batch_shapes.add(images.shape)
        return np.stack([self._embed(self._meaning[image.tobytes()], image) for image in images])

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._embed(text, None) for text in texts])

    def _embed(self, text, image):
        if self._constant:
            return vector("constant")
        emb = vector(text)
        if image is not None and self._noise:
            emb = emb + self._noise * vector(image.tobytes().hex())
        return (emb / np.linalg.norm(emb)).astype(np.float32)


def make_source(concepts: Sequence[str], styles: Sequence[str], seed: int = 0):
    """Return records (one per concept and style) and the meaning of each picture."""
    rng = np.random.default_rng(seed)
    records, meaning = [], {}
    for style in styles:
        for concept in concepts:
            image = rng.integers(0, 256, (8, 8, 3), np.uint8).tobytes()
            meaning[image] = concept
            captions = {"name": [concept], "keywords": [f"{concept} a", "shared"], "txt": [concept]}
            key = f"test-00000.tar/{len(records):06d}"
            records.append(FakeRecord(key, image, captions, {"concept": concept, "style": style}))
    return records, meaning


def write_tar(path, concepts: Sequence[str], styles: Sequence[str], seed: int = 0) -> None:
    """Write a webdataset shard of 16 x 16 PNG pictures, one a concept and style."""
    rng = np.random.default_rng(seed)
    with tarfile.open(path, "w") as tar:
        for number, (style, concept) in enumerate((s, c) for s in styles for c in concepts):
            buffer = io.BytesIO()
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(buffer, "PNG")
            captions = {"name": [concept], "keywords": concept.split()}
            about = {"concept": concept, "style": style, "captions": captions}
            for suffix, data in (
                ("png", buffer.getvalue()),
                ("txt", concept.encode()),
                ("json", json.dumps(about).encode()),
            ):
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


class PixelModel(Fake):
    """Embeds pictures by their pixels and texts by their letters: deterministic, knows nothing."""

    def __init__(self, step: int = 0):
        self.step = step
        self.preprocess = Preprocess(size=16)

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        return np.stack([vector(image.tobytes().hex() + str(self.step)) for image in images])

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([vector(text + str(self.step)) for text in texts])
