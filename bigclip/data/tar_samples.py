"""From the members of a sample in a tar to a record."""

import io
import json

import numpy as np

from bigclip.data.records import BadRecord, Record, checked_captions, parse_object


def sample_record(
    key: str,
    image: bytes,
    txt: bytes | None,
    json_bytes: bytes | None,
    cls: bytes | None = None,
    npy: bytes | None = None,
    *,
    caption_key: str,
    needs_caption: bool = True,
) -> Record:
    """Read one sample.

    Args:
        key: where it lies, for messages.
        image: the encoded picture.
        txt: the content of its .txt, which becomes the caption source "txt".
        json_bytes: the content of its .json.
        cls: the content of its .cls, which becomes the metadata "label": a number, a list of
            numbers as JSON, or a text.
        npy: the content of its .npy. A vector of zeros and ones becomes the list of the places of
            its ones, as the metadata "label": so CLIP_benchmark writes several labels. Other
            arrays are no labels.
        caption_key: field of the .json that holds captions: a text, a list of texts, or a dict
            from caption source to either.
        needs_caption: whether a record without any caption is broken.

    Raises:
        BadRecord: if its .json, its .cls or its captions are broken.
    """
    captions, metadata = {}, {}
    if txt is not None:
        captions["txt"] = txt
    if json_bytes is not None:
        metadata = parse_object(key, json_bytes, "its .json")
        stored = metadata.pop(caption_key, None)
        if isinstance(stored, dict):
            captions.update(stored)
        elif stored is not None:
            captions[caption_key] = stored
    if npy is not None and (places := _places_of_ones(npy)) is not None:
        metadata["label"] = places
    if cls is not None:
        metadata["label"] = _label(key, cls)
    checked = checked_captions(key, captions, needs_caption=needs_caption)
    return Record(key, image, checked, metadata)


def _label(key: str, cls: bytes) -> int | str | list:
    try:
        text = cls.decode("utf-8").strip()
        if text.startswith("["):
            return json.loads(text)
    except ValueError as error:
        raise BadRecord(key, "unknown_label", f"its .cls cannot be read: {error}") from None
    if not text:
        raise BadRecord(key, "unknown_label", "its .cls is empty")
    return int(text) if text.removeprefix("-").isdecimal() else text


def _places_of_ones(npy: bytes) -> list[int] | None:
    try:
        array = np.load(io.BytesIO(npy), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None
    is_mask = isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind in "biuf"
    if not is_mask or not np.isin(array, (0, 1)).all():
        return None
    return np.flatnonzero(array).tolist()
