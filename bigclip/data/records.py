"""What a source yields: one picture with its captions, or the reason why not."""

import json
from typing import NamedTuple

FAULTS = (
    # the shard
    "missing_shard",
    "broken_shard",  # cut off or damaged: what follows cannot be read
    "incomplete_sample",  # a picture without a text, or a text without a picture
    "broken_record",  # damaged on disk, or not of the form that its file promises
    # the texts
    "broken_json",
    "caption_not_text",
    "caption_not_utf8",
    "no_caption",  # none, or blank ones only
    "unknown_label",  # a class label without a name
    # the picture
    "missing_image",  # the file that is named is not there
    "empty_image",  # no bytes
    "unknown_image",  # of no known format
    "huge_image",  # more pixels than any photograph: a decompression bomb
    "broken_image",  # cut off or damaged
)

# Caption sources that name a picture best; of others the first in alphabetical order does.
_NAMING = ("name", "title", "txt")


class Record(NamedTuple):
    """One example as it was stored, before any decoding of the picture."""

    key: str  # where it lies, for messages: "train-00003.tar/000123"
    image: bytes  # encoded picture
    captions: dict[str, list[str]]  # caption source -> its texts, none of them blank
    metadata: dict  # whatever else was stored with it


class BadRecord(Exception):
    """A record that cannot be used: broken data, as opposed to a mistake in the program.

    Reading the same record again gives the same error, so whoever reads may replace the record
    by another one and stay reproducible. Failures of the disk or the network are not of this
    kind; they stay `OSError`.

    Attributes:
        key: of the record.
        fault: what is wrong, one of `FAULTS`; bad records are counted under this name.
        reason: the same in a sentence, with what was found.
    """

    def __init__(self, key: str, fault: str, reason: str):
        super().__init__(key, fault, reason)  # all in args, so that it survives pickling
        self.key = key
        self.fault = fault
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


def caption_of(record: Record) -> str | None:
    """Return the caption that names a picture best, None if it has none."""
    for source in (*_NAMING, *sorted(record.captions)):
        if record.captions.get(source):
            return record.captions[source][0]
    return None


def title_of(record: Record) -> str | None:
    """Return what to call a picture before people: its caption, with the style it is drawn in."""
    caption, style = caption_of(record), record.metadata.get("style")
    return f"{caption} ({style})" if caption and isinstance(style, str) and style else caption


def checked_captions(
    key: str, captions: dict[str, object], *, needs_caption: bool = True
) -> dict[str, list[str]]:
    """Bring captions as stored into the form of `Record.captions`.

    Args:
        key: the record's key, for the message.
        captions: caption source -> a text or a list of texts; bytes are read as UTF-8.
        needs_caption: whether there must be one, as for training; pictures that are only to be
            classified need none.

    Returns:
        Caption source -> non-empty list of stripped texts. Blank texts and sources without any
        text are left out.

    Raises:
        BadRecord: if something is not text, or if no text is left and one is needed.
    """
    checked = {}
    for source, texts in captions.items():
        if isinstance(texts, (str, bytes)):
            texts = [texts]
        elif not isinstance(texts, (list, tuple)):
            raise BadRecord(
                key, "caption_not_text", f"caption {source!r} is not text but {_described(texts)}"
            )
        kept = [text for text in (_as_text(key, source, text) for text in texts) if text]
        if kept:
            checked[source] = kept
    if not checked and needs_caption:
        raise BadRecord(key, "no_caption", "no caption: every text is missing or blank")
    return checked


def parse_object(key: str, content: bytes, what: str) -> dict:
    """Read a JSON object that was stored with a record.

    Args:
        key: the record's key, for the message.
        content: the JSON.
        what: what it is called in the message, "its .json".

    Raises:
        BadRecord: if it is no JSON, or another kind of value.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadRecord(key, "broken_json", f"{what} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise BadRecord(key, "broken_json", f"{what} holds a {type(found).__name__}, not an object")
    return found


def _as_text(key: str, source: str, text: object) -> str:
    if isinstance(text, str) and text.isascii():
        return text.strip()
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"caption {source!r} is not valid UTF-8 ({error.reason} at {error.start})"
            raise BadRecord(key, "caption_not_utf8", message) from None
    if not isinstance(text, str):
        raise BadRecord(
            key, "caption_not_text", f"caption {source!r} is not text but {_described(text)}"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # JSON can spell half of a surrogate pair; no tokenizer can take it.
        message = f"caption {source!r} holds a lone surrogate, which is no character"
        raise BadRecord(key, "caption_not_utf8", message) from None
    return text.strip()


def _described(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
