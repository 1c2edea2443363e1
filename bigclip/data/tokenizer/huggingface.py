"""A user's `tokenizer.json`, the format of Hugging Face's `tokenizers` library."""

import json
import os

import tokenizers

from bigclip.config import ConfigError
from bigclip.data.tokenizer.cutters import open_json
from bigclip.data.tokenizer.tokenizer import Tokenizer

_CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")


def huggingface_tokenizer(
    path: str,
    *,
    context_length: int = 64,
    bos: str | int = "model",
    eos: str | int = "model",
    pad: str | int = "model",
    clean: str = "none",
) -> Tokenizer:
    """Make the tokenizer of a `tokenizer.json`.

    The ids are those that the `tokenizers` library gives with its special tokens, padding at the
    right and truncation. One thing differs: a text that spells a special token ("[SEP]") does not
    become its id but is cut up like any other. What classes of `transformers` do around the file
    is not in it: to SigLIP 2's texts, for one, `Siglip2Tokenizer` adds lower case (clean="lower").

    Args:
        path: of the file, or of the folder that holds it.
        context_length: L, ids of a text, special ones included.
        bos: in front of every text: "model" (what the file's post-processor puts there, if
            anything), "none", a special token or its id.
        eos: behind every text, likewise.
        pad: fills up to `context_length`: "model" (of the file's padding, or the pad_token of
            tokenizer_config.json or special_tokens_map.json beside it), a special token or its id.
        clean: what happens before the file's own normalization, a name from `CLEANERS`.

    Raises:
        ConfigError: if the file is missing or no tokenizer.json, or lacks a special token.
    """
    place = os.path.expanduser(path)
    if os.path.isdir(place):
        place = os.path.join(place, "tokenizer.json")
    content = _read_json(place)
    try:
        whole = open_json(json.dumps(content))
    except ConfigError as error:
        raise ConfigError(
            f"config.tokenizer.path: {place} is no tokenizer.json of the `tokenizers` library "
            f'({error}); a tokenizer that bigclip saved is read by kind "saved"'
        ) from None
    whole.no_truncation()
    whole.no_padding()
    special = {token["content"]: token["id"] for token in content.get("added_tokens") or []}
    head, tail = _around(whole)
    ids = {
        "sot": _special("bos", bos, special, head),
        "eot": _special("eos", eos, special, tail),
        "pad": _special("pad", pad, special, _padding(content, whole, os.path.dirname(place))),
    }
    return Tokenizer(
        pieces=_without_special(content, {i for i in ids.values() if i is not None}),
        context_length=context_length,
        clean=clean,
        **ids,
    )


def _read_json(place: str) -> dict:
    try:
        with open(place, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise ConfigError(f"config.tokenizer.path: cannot read {place}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"config.tokenizer.path: {place} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"config.tokenizer.path: {place} is no JSON object")
    return content


def _around(whole: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """Find the ids that the post-processor puts in front of a text and behind it."""
    by_id = sorted(whole.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    # Any text will do that gives ids; "a" does, but for the smallest vocabularies.
    for text in ("a", *(word for word, _ in by_id)):
        inner = whole.encode(text, add_special_tokens=False).ids
        found = whole.encode(text)
        if inner and 0 in found.special_tokens_mask:
            start = found.special_tokens_mask.index(0)
            return found.ids[:start], found.ids[start + len(inner) :]
    return [], []


def _padding(content: dict, whole: tokenizers.Tokenizer, folder: str) -> list[int]:
    if content.get("padding"):
        return [content["padding"]["pad_id"]]
    for name in _CONFIGS:
        place = os.path.join(folder, name)
        token = _read_json(place).get("pad_token") if os.path.exists(place) else None
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None and whole.token_to_id(token) is not None:
            return [whole.token_to_id(token)]
    return []


def _special(role: str, wanted: str | int, special: dict[str, int], own: list[int]) -> int | None:
    """Find the id of bos, eos or pad."""
    if wanted == "none" and role != "pad":
        return None
    names = ", ".join(f'"{name}" ({i})' for name, i in list(special.items())[:8]) or "none"
    if wanted == "model":
        if len(own) > 1:
            raise ConfigError(
                f"config.tokenizer.{role}: the file puts {len(own)} ids there ({own}), and only "
                f"one is supported; name one of its special tokens: {names}"
            )
        if not own and role == "pad":
            raise ConfigError(
                "config.tokenizer.pad: neither the file nor tokenizer_config.json beside it tells; "
                f"name one of its special tokens: {names}"
            )
        number = own[0] if own else None
    else:
        number = special.get(wanted) if isinstance(wanted, str) else wanted
    # Any other token could come out of a text.
    if (number is None and wanted != "model") or number not in {None, *special.values()}:
        raise ConfigError(
            f"config.tokenizer.{role}: {wanted if number is None else number!r} is no special "
            f"token of the file; it has {names}"
        )
    return number


def _without_special(content: dict, chosen: set[int]) -> dict:
    """Take away what would make special ids out of texts.

    A special token is found in texts in two ways: as an added token, before anything else, and
    as a word of the model, where the model knows it, too.
    """
    added = content.get("added_tokens") or []
    hidden = chosen | {token["id"] for token in added if token["special"]}
    model = dict(content["model"])
    unknown = model.get("unk_token")
    if isinstance(model["vocab"], dict):
        model["vocab"] = {
            word: i for word, i in model["vocab"].items() if i not in hidden or word == unknown
        }
    else:
        # Unigram: the place in the list is the id. No text holds the empty piece.
        model["vocab"] = [
            ["", score] if i in hidden else [word, score]
            for i, (word, score) in enumerate(model["vocab"])
        ]
    return {
        **content,
        "added_tokens": [token for token in added if token["id"] not in hidden],
        "truncation": None,
        "padding": None,
        "post_processor": None,
        "model": model,
    }
