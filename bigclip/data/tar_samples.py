"""From the members of a sample in a tar to a record."""

import json

from bigclip.data.records import BadRecord, Record, checked_captions, parse_object


def sample_record(
    key: str,
    image: bytes,
    txt: bytes | None,
    json_bytes: bytes | None,
    cls: bytes | None = None,
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
