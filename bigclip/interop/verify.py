"""Two frameworks on the same inputs: the proof that a conversion is one.

Real pictures and texts (the embedded data's), random ones, and texts that tokenizers disagree
about go through both. Towers are compared on the same pixels and ids, so that a difference there
is a difference of weights or arithmetic; pixels and ids are compared for themselves.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image

from bigclip.api import Model
from bigclip.config import ConfigError
from bigclip.data import embedded, images
from bigclip.data.webdataset import WebDataset
from bigclip.interop.format import Reference

TOLERANCE = 1e-4  # of the largest value; float32 towers of depth 48 differ by a tenth of it
_MAX_GREY_LEVELS = 2.01  # two libraries' resizing may round differently, twice
_TEXTS = (
    "a photo of a cat",
    "Two Dogs, playing in the snow!",
    "naïve café — “déjà vu”",
    "  spaces   and\ttabs\n",
    "snake_case, kebab-case & 3.14159 = π?",
    "日本語のテキスト 🦊🚀",
    "don't it's we'll they're I'm",
    "antidisestablishmentarianism " * 40,
    "",
)


class Figure(NamedTuple):
    """One line of the proof.

    Attributes:
        what: what was compared.
        inputs: on what.
        value: the difference found.
        unit: of the value.
        limit: the largest that passes; None where a difference is only told.
        note: what the user should know about it.
    """

    what: str
    inputs: str
    value: float
    unit: str
    limit: float | None
    note: str = ""

    @property
    def passes(self) -> bool:
        return self.limit is None or self.value <= self.limit  # false for NaN


def compare(model: Model, reference: Reference, *, num_pictures: int = 8) -> list[Figure]:
    """Compare a model of ours with the other framework's.

    Args:
        model: loaded with dtype="float32".
        reference: the same weights there.
        num_pictures: of each kind, real and random.

    Returns:
        The figures, those that were not taken left out.
    """
    figures: list[Figure] = []
    real = _real_pictures(num_pictures)
    size, rng = model.preprocess.size, np.random.default_rng(0)
    noise = rng.integers(0, 256, (num_pictures, size, size, 3), np.uint8)
    prepared = np.concatenate([np.stack([model.preprocess(one) for one in real]), noise])
    mean, std = (np.asarray(x, np.float32) for x in (model.preprocess.mean, model.preprocess.std))
    pixels = (prepared.astype(np.float32) / 255 - mean) / std
    figures += _compare_pixels(reference, real, pixels[: len(real)], std)
    inputs = f"{len(real)} pictures and {num_pictures} of noise"
    towers = model.manifest.get("towers", ("image", "text"))
    if "image" not in towers:
        raise ConfigError("--verify: a text tower alone is compared by no format.")
    if "text" not in towers:
        ours = model.image_features(prepared, "projected")["projected"]
        theirs = reference.embed_images(pixels)
        lengths = np.linalg.norm(theirs, axis=-1, keepdims=True)
        if np.allclose(lengths, 1, atol=1e-4):  # the tower came out of a pair, which normalises
            ours = ours / np.linalg.norm(ours, axis=-1, keepdims=True)
        figures.append(_difference("image features", inputs, ours, theirs))
        return figures
    image_emb = model.embed_images(prepared)
    figures.append(
        _difference("image embeddings", inputs, image_emb, reference.embed_images(pixels))
    )
    texts = [*_TEXTS, *(f"a picture of a {word}" for word in ("fox", "lighthouse", "tomato"))]
    ids = model.tokenize(texts)
    figures += _compare_ids(reference, texts, ids)
    inputs_text = f"{len(texts)} texts"
    text_emb = model.embed_texts(texts)
    figures.append(
        _difference("text embeddings", inputs_text, text_emb, reference.embed_texts(ids))
    )
    ours = model.score(image_emb, text_emb)
    figures.append(
        _difference("logits", f"{inputs} x {inputs_text}", ours, reference.logits(pixels, ids))
    )
    return figures


def check(figures: Sequence[Figure], where: str) -> None:
    """Refuse a conversion whose figures do not pass.

    Raises:
        ConfigError: lists them.
    """
    bad = [figure for figure in figures if not figure.passes]
    if bad:
        lines = [f"  {one.what}: {one.value:.3g} {one.unit} (at most {one.limit:g})" for one in bad]
        raise ConfigError(
            f"{where}: the two frameworks disagree, so nothing was written:\n"
            + "\n".join(lines)
            + "\nThis is a bug of bigclip or of the other framework's version: please report it."
        )


def _difference(what: str, inputs: str, ours: np.ndarray, theirs: np.ndarray) -> Figure:
    if ours.shape != np.shape(theirs):
        raise ConfigError(f"{what}: {list(ours.shape)} here, {list(np.shape(theirs))} there.")
    largest = np.abs(theirs).max()
    value = float(np.abs(ours - theirs).max() / largest)
    return Figure(what, inputs, value, "of the largest value", TOLERANCE)


def _compare_pixels(
    reference: Reference, pictures: list[PIL.Image.Image], pixels: np.ndarray, std: np.ndarray
) -> list[Figure]:
    theirs = reference.pixels(pictures)
    if theirs is None:
        return []
    if theirs.shape != pixels.shape:
        note = f"shape {list(theirs.shape)} there, {list(pixels.shape)} here"
        return [Figure("pixels", f"{len(pictures)} pictures", float("inf"), "grey levels", 0, note)]
    value = float(np.abs((theirs - pixels) * std * 255).max())
    note = (
        ""
        if value <= _MAX_GREY_LEVELS
        else "it prepares pictures otherwise, or cuts the centre out a pixel beside"
    )
    return [Figure("pixels", f"{len(pictures)} pictures", value, "grey levels", None, note)]


def _compare_ids(reference: Reference, texts: list[str], ids: np.ndarray) -> list[Figure]:
    theirs = reference.ids(texts)
    if theirs is None:
        return []
    same = [np.array_equal(a, b) for a, b in zip(ids, theirs, strict=True)]
    odd = [text[:40] for text, equal in zip(texts, same, strict=True) if not equal]
    note = f"its tokenizer cuts otherwise: {odd}" if odd else ""
    return [Figure("ids", f"{len(texts)} texts", float(len(odd)), "texts differ", None, note)]


def _real_pictures(count: int) -> list[PIL.Image.Image]:
    """Clip art of the embedded data, stretched to sides and proportions as pictures have them."""
    source = WebDataset(embedded.shards("heldout_titles"))
    pictures = []
    for index in range(count):
        picture = images.open_rgb(source[index].image)
        pictures.append(picture.resize((120 + 61 * (index % 5), 150 + 83 * (index % 3))))
    return pictures
