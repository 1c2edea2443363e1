"""From the members of a sample in a tar to a record."""

from bigclip.data.records import Record, checked_captions, parse_object


def sample_record(
    key: str, image: bytes, txt: bytes | None, json_bytes: bytes | None, *, caption_key: str
) -> Record:
    """Read one sample.

    Args:
        key: where it lies, for messages.
        image: the encoded picture.
        txt: the content of its .txt, which becomes the caption source "txt".
        json_bytes: the content of its .json.
        caption_key: field of the .json that holds captions: a text, a list of texts, or a dict
            from caption source to either.

    Raises:
        BadRecord: if its .json or its captions are broken.
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
    return Record(key, image, checked_captions(key, captions), metadata)
