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
# Two passes of resizing, each rounded otherwise there; a wrong mean or filter makes more.
_MAX_GREY_LEVELS = 3.01
_TEXTS = (
    "a photo of a cat",
    "Two Dogs, playing in the snow!",
    "a picture of a lighthouse, 1920",
    "  spaces   and a line\nbreak ",
    "antidisestablishmentarianism " * 40,
)
# Cleaning and normalisation that a format cannot say show here; they are told, and no error.
_AWKWARD_TEXTS = (
    "naïve café — “déjà vu”",
    "snake_case, kebab-case & 3.14159 = π?",
    "日本語のテキスト 🦊🚀",
    "don't it's we'll they're I'm",
    "caf&eacute; &amp; &lt;b&gt;",
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


class _Inputs(NamedTuple):
    """What goes through both frameworks."""

    pictures: list[PIL.Image.Image]  # real ones
    images: np.ndarray  # uint8 [I, H, W, 3], those and noise, prepared by ours
    pixels: np.ndarray  # float32 [I, H, W, 3], the same, normalised
    texts: list[str]
    ids: np.ndarray  # int32 [T, L], by ours


def compare(model: Model, reference: Reference, *, num_pictures: int = 8) -> list[Figure]:
    """Compare a model of ours with the other framework's.

    Args:
        model: loaded with dtype="float32".
        reference: the same weights there.
        num_pictures: of each kind, real and random.

    Returns:
        The figures; those for which the other side has no code are left out.
    """
    towers = model.manifest.get("towers", ("image", "text"))
    inputs = _inputs(model, num_pictures)
    told = f"{num_pictures} pictures and {num_pictures} of noise", f"{len(inputs.texts)} texts"
    figures: list[Figure] = []
    image_emb = text_emb = None
    if "image" in towers:
        figures += _compare_pixels(model, reference, inputs)
        image_emb = reference.embed_images(inputs.pixels)
    if "text" in towers:
        text_emb = reference.embed_texts(inputs.ids)
    if text_emb is None:  # the other side is an image tower alone
        ours = model.image_features(inputs.images, "projected")["projected"]
        if _is_unit(image_emb):  # it came out of a pair, which normalises
            ours = _unit(ours)
        return [*figures, _difference("image features", told[0], ours, image_emb)]
    figures += _compare_ids(model, reference, inputs)
    ours_text = model.embed_texts(inputs.texts)
    text = _difference("text embeddings", told[1], ours_text, _unit(text_emb))
    if image_emb is None:
        return [*figures, text]
    ours_image = model.embed_images(inputs.images)
    figures += [_difference("image embeddings", told[0], ours_image, image_emb), text]
    ours = model.score(ours_image, ours_text)
    theirs = reference.logits(inputs.pixels, inputs.ids)
    return [*figures, _difference("logits", " x ".join(told), ours, theirs)]


def _inputs(model: Model, num_pictures: int) -> _Inputs:
    prepare = model.preprocess
    pictures = _real_pictures(num_pictures)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (num_pictures, prepare.size, prepare.size, 3), np.uint8)
    prepared = np.concatenate([np.stack([prepare(one) for one in pictures]), noise])
    mean, std = (np.asarray(x, np.float32) for x in (prepare.mean, prepare.std))
    texts = [*_TEXTS, *_AWKWARD_TEXTS]
    pixels = (prepared.astype(np.float32) / 255 - mean) / std
    return _Inputs(pictures, prepared, pixels, texts, model.tokenize(texts))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _is_unit(x: np.ndarray) -> bool:
    return bool(np.allclose(np.linalg.norm(x, axis=-1), 1, atol=1e-4))


def check(figures: Sequence[Figure], where: str, notes: Sequence[str] = ()) -> None:
    """Refuse a conversion whose figures do not pass; `notes` may tell why.

    Raises:
        ConfigError: lists them.
    """
    bad = [figure for figure in figures if not figure.passes]
    if bad:
        lines = [
            f"  {one.what}: {one.value:.3g} {one.unit} (at most {one.limit:g}) {one.note}"
            for one in bad
        ]
        raise ConfigError(
            f"{where}: the two frameworks disagree, so nothing was written:\n"
            + "\n".join(lines)
            + "".join(f"\nnote: {note}" for note in notes)
            + "\nWhere no note explains it, this is a bug of bigclip or of the other framework's "
            "version: please report it. Without --verify it is written as it is."
        )


def _difference(what: str, inputs: str, ours: np.ndarray, theirs: np.ndarray) -> Figure:
    if ours.shape != np.shape(theirs):
        raise ConfigError(f"{what}: {list(ours.shape)} here, {list(np.shape(theirs))} there.")
    largest = np.abs(theirs).max()
    value = float(np.abs(ours - theirs).max() / largest)
    return Figure(what, inputs, value, "of the largest value", TOLERANCE)


def _compare_pixels(model: Model, reference: Reference, inputs: _Inputs) -> list[Figure]:
    theirs = reference.pixels(inputs.pictures)
    if theirs is None:
        return []
    told = f"{len(inputs.pictures)} pictures"
    ours = inputs.pixels[: len(inputs.pictures)]
    if theirs.shape != ours.shape:
        note = f"shape {list(theirs.shape)} there, {list(ours.shape)} here"
        return [Figure("pixels", told, float("inf"), "grey levels", _MAX_GREY_LEVELS, note)]
    value = float(np.abs((theirs - ours) * np.asarray(model.preprocess.std) * 255).max())
    return [Figure("pixels", told, value, "grey levels", _MAX_GREY_LEVELS)]


def _compare_ids(model: Model, reference: Reference, inputs: _Inputs) -> list[Figure]:
    theirs = reference.ids(inputs.texts)
    if theirs is None:
        return []
    text = model.manifest["task"]["architecture"]["text"]
    # What follows the end of the text counts only where it is seen.
    unseen = text["causal"] and text["pool"] == "eot"

    def seen(row: np.ndarray) -> np.ndarray:
        return row[: row.argmax() + 1] if unseen else row

    pairs = zip(inputs.ids, theirs, strict=True)
    same = [np.array_equal(seen(ours), seen(other)) for ours, other in pairs]
    plain, awkward = same[: len(_TEXTS)], same[len(_TEXTS) :]
    odd = [text for text, equal in zip(_AWKWARD_TEXTS, awkward, strict=True) if not equal]
    note = f"cut otherwise there: {odd}" if odd else ""
    differ = "texts differ"
    return [
        Figure("ids", f"{len(plain)} texts", float(plain.count(False)), differ, 0),
        Figure("awkward ids", f"{len(awkward)} texts", float(len(odd)), differ, None, note),
    ]


def _real_pictures(count: int) -> list[PIL.Image.Image]:
    """Clip art of the embedded data, stretched to other sizes and proportions.

    The sides are one to one or one to three, so that what is cut off is the same left and right:
    libraries round half a pixel to different sides.
    """
    source = WebDataset(embedded.shards("heldout_titles"))
    pictures = []
    for index in range(count):
        picture = images.open_rgb(source[index].image)
        side = 60 + 61 * (index % 4)
        width, height = ((side, side), (3 * side, side), (side, 3 * side))[index % 3]
        pictures.append(picture.resize((width, height)))
    return pictures
