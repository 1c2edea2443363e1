"""The tokenizer of a model's folder: its files, and what its class does around them.

The ids are those that the class gives with padding="max_length" and truncation=True, but for:

- a text that spells a special token ("<|endoftext|>"): here it is cut up like any other;
- OpenAI's vocabulary: here texts are repaired and HTML entities undone first, as OpenAI's own code
  does, and transformers does not;
- `SiglipTokenizer`: here texts are repaired first, as open_clip does for these models, and "_"
  becomes a blank, as in the prompts of SigLIP's authors; there it is dropped;
- Gemma's vocabulary: here texts become lower case, as in SigLIP 2's training, also where the class
  forgets about it.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer, huggingface_tokenizer, sentencepiece_tokenizer
from bigclip.interop.json_files import read_json, read_json_if_there
from bigclip.interop.transformers_folder.cleaning import without_cleaning
from bigclip.interop.transformers_folder.clip_vocabulary import (
    clip_json,
    json_merges,
    openai_tokenizer,
    read_vocabulary,
)

_OF_MODEL = {"clip": "CLIPTokenizer", "siglip": "SiglipTokenizer", "siglip2": "Siglip2Tokenizer"}
_GEMMA = ("GemmaTokenizer", "Siglip2Tokenizer")
_MODEL_FILES = ("spiece.model", "tokenizer.model")
_MAX_LENGTH = 1 << 20  # a model_max_length above it says that there is none
_MEND = "give a tokenizer of your own with --tokenizer"

Notes = tuple[str, ...]


def read_tokenizer(folder: Path, model_type: str, context_length: int) -> tuple[Tokenizer, Notes]:
    """Read the tokenizer of a folder.

    Args:
        folder: of the model.
        model_type: a key of `tables.CLASSES`.
        context_length: L, positions of the text tower.

    Returns:
        The tokenizer, and what the user should know about it.

    Raises:
        ConfigError: if files are missing or do something that a `Tokenizer` cannot.
    """
    config = read_json_if_there(folder / "tokenizer_config.json")
    special = read_json_if_there(folder / "special_tokens_map.json")
    tokens = {
        role: _content(config.get(f"{role}_token", special.get(f"{role}_token")), role, folder)
        for role in ("bos", "eos", "pad", "unk")
    }
    name = config.get("tokenizer_class") or _OF_MODEL[model_type]
    if not isinstance(name, str):
        raise ConfigError(f"{folder}/tokenizer_config.json: tokenizer_class is {name!r}.")
    name = name.removesuffix("Fast")
    length, notes = _length(config, context_length)
    _check_side(folder, config)
    whole, model = folder / "tokenizer.json", folder / _MODEL_FILES[0]
    if name == "PreTrainedTokenizer" and whole.exists() and model.exists():
        tokenizer, more = _both(whole, model, tokens, length), ()
    elif name == "CLIPTokenizer":
        tokenizer, more = _clip(folder, tokens, length)
    elif name == "SiglipTokenizer" or not whole.exists():
        tokenizer, more = _sentencepiece(folder, name, config, tokens, length)
    else:
        tokenizer, more = _fast(folder, name, config, tokens, length)
    return tokenizer, notes + more


def _content(token: Any, role: str, folder: Path) -> str | None:
    token = token.get("content") if isinstance(token, Mapping) else token
    if token is not None and not isinstance(token, str):
        raise ConfigError(f"{folder}/tokenizer_config.json: {role}_token is {token!r}, no token.")
    return token


def _length(config: Mapping[str, Any], positions: int) -> tuple[int, Notes]:
    length = config.get("model_max_length")
    known = isinstance(length, int | float) and not isinstance(length, bool)
    if not known or not 0 < length < _MAX_LENGTH or length >= positions:
        return positions, ()
    return int(length), (
        f"tokenizer_config.json: texts have {int(length)} tokens (model_max_length), fewer than "
        f"the {positions} that the model has positions for.",
    )


def _check_side(folder: Path, config: Mapping[str, Any]) -> None:
    side = config.get("padding_side")
    if side is None:
        padding = read_json_if_there(folder / "tokenizer.json").get("padding")
        side = padding.get("direction") if isinstance(padding, Mapping) else "right"
    if str(side).lower() != "right":
        raise ConfigError(
            f"{folder}: its tokenizer pads at the {side}, and only padding at the right can be "
            f"kept; {_MEND}."
        )
    if config.get("truncation_side", "right") != "right":
        raise ConfigError(f"{folder}: its tokenizer cuts long texts at the left; {_MEND}.")


def _clip(folder: Path, tokens: Mapping[str, str | None], length: int) -> tuple[Tokenizer, Notes]:
    """CLIPTokenizer builds everything anew from the vocabulary and the merges."""
    vocabulary, merges = read_vocabulary(folder)
    names = {"bos": "<|startoftext|>", "eos": "<|endoftext|>", "pad": "<|endoftext|>"}
    names |= {role: token for role, token in tokens.items() if token is not None}
    names.setdefault("unk", "<|endoftext|>")
    missing = [name for name in set(names.values()) if name not in vocabulary]
    if missing:
        raise ConfigError(
            f"{folder}: the vocabulary has no {', '.join(sorted(missing))}, which "
            f"tokenizer_config.json names; {_MEND}."
        )
    openai = openai_tokenizer(vocabulary, merges, names, length)
    if openai is not None:
        return openai, (
            "The tokenizer is OpenAI's: texts are repaired (ftfy) and HTML entities undone before "
            "they are cut, as in training; transformers leaves that out.",
        )
    content = clip_json(vocabulary, merges, names)
    return _from_json(content, folder, length, {**names, "clean": "none"}), ()


def _from_json(
    content: dict[str, Any], folder: Path, length: int, options: Mapping[str, str]
) -> Tokenizer:
    """Make the tokenizer of a tokenizer.json's content."""
    chosen = {key: options[key] for key in ("bos", "eos", "pad", "clean")}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "tokenizer.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        try:
            return huggingface_tokenizer(str(path), context_length=length, **chosen)
        except Exception as error:  # of `tokenizers`, which raises nothing narrower
            told = str(error).replace(str(path), "tokenizer.json")
            raise ConfigError(f"{folder}: its tokenizer cannot be read: {told}; {_MEND}.") from None


def _sentencepiece(
    folder: Path,
    name: str,
    config: Mapping[str, Any],
    tokens: Mapping[str, str | None],
    length: int,
) -> tuple[Tokenizer, Notes]:
    found = [folder / file for file in _MODEL_FILES if (folder / file).exists()]
    if not found and (folder / "tokenizer.json").exists():
        raise ConfigError(
            f"{folder}: {_MODEL_FILES[0]} is missing. {name} cuts by that file: its tokenizer.json "
            f"does not tell the cleaning of that class. Put {_MODEL_FILES[0]} there, or {_MEND}."
        )
    if not found:
        raise ConfigError(
            f"{folder} has no tokenizer that can be read for {name} (tokenizer.json, "
            f"{' or '.join(_MODEL_FILES)}); {_MEND}."
        )
    notes: Notes = ()
    if name == "SiglipTokenizer":
        if config.get("do_lower_case") is False:
            raise ConfigError(f"{folder}: its tokenizer keeps capitals, which is unknown; {_MEND}.")
        clean, bos, eos = "canonical", "none", tokens["eos"] or "</s>"
        pad: str | None = tokens["pad"] or "</s>"
        notes = (
            'The tokenizer is SigLIP\'s: texts lose their punctuation as in transformers, "_" '
            "becomes a blank (there it is dropped), and texts are repaired (ftfy) first.",
        )
    else:
        clean, notes = _cleaning(name, config)
        # Gemma's class puts bos in front unless it is told otherwise; T5's never does.
        starts = config.get("add_bos_token", name in _GEMMA)
        ends = config.get("add_eos_token", name not in _GEMMA)
        bos = (tokens["bos"] or "model") if starts else "none"
        eos = (tokens["eos"] or "model") if ends else "none"
        pad = tokens["pad"] or "model"
    tokenizer = sentencepiece_tokenizer(
        str(found[0]), context_length=length, bos=bos, eos=eos, pad=pad, clean=clean
    )
    return tokenizer, notes


def _both(whole: Path, model: Path, tokens: Mapping[str, str | None], length: int) -> Tokenizer:
    """Read a SentencePiece model as `tokenizer_writing` writes it, laid out as JSON beside it."""
    content, clean = without_cleaning(read_json(whole))
    added = content.get("added_tokens")
    added = [token for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    ids = {token.get("content"): token.get("id") for token in added}
    bos, eos, pad = (ids.get(tokens[role]) for role in ("bos", "eos", "pad"))
    if not all(type(number) in (int, type(None)) for number in (bos, eos, pad)) or pad is None:
        raise ConfigError(f"{whole}: its added_tokens do not tell the padding; {_MEND}.")
    return sentencepiece_tokenizer(
        str(model),
        context_length=length,
        bos="none" if bos is None else bos,
        eos="none" if eos is None else eos,
        pad=pad,
        clean=clean or "none",
    )


def _cleaning(name: str, config: Mapping[str, Any]) -> tuple[str, Notes]:
    if name not in _GEMMA or config.get("do_lower_case") is False:
        return "none", ()
    if name == "Siglip2Tokenizer":
        return "lower", ()
    return "lower", (
        "The tokenizer is Gemma's: texts become lower case first, as in SigLIP 2's training; "
        "GemmaTokenizer of transformers leaves that out.",
    )


def _fast(
    folder: Path,
    name: str,
    config: Mapping[str, Any],
    tokens: Mapping[str, str | None],
    length: int,
) -> tuple[Tokenizer, Notes]:
    clean, notes = _cleaning(name, config)
    bos = eos = "model"
    if "add_bos_token" in config or "add_eos_token" in config:
        # Then the file's own post-processor does not count.
        bos = tokens["bos"] if config.get("add_bos_token") else "none"
        eos = tokens["eos"] if config.get("add_eos_token") else "none"
        if bos is None or eos is None:
            raise ConfigError(
                f"{folder}/tokenizer_config.json wants a bos or eos token, and names none; {_MEND}."
            )
    content, ours = without_cleaning(read_json(folder / "tokenizer.json"))
    if ours is not None:  # we wrote it
        clean, notes = ours, ()
    content = _unwrapped(content)
    model = content.get("model")
    if ours == "clip" and isinstance(model, dict):
        openai = openai_tokenizer(model.get("vocab"), json_merges(model), tokens, length)
        if openai is not None:
            return openai, ()
    options = {"bos": bos, "eos": eos, "pad": tokens["pad"] or "model", "clean": clean}
    return _from_json(content, folder, length, options), notes


def _unwrapped(content: dict[str, Any]) -> dict[str, Any]:
    """Take away a sequence of one, such as `tokenizer_writing` makes."""
    steps = content.get("pre_tokenizer")
    inner = steps.get("pretokenizers") if isinstance(steps, dict) else None
    if isinstance(inner, list) and len(inner) == 1:
        return {**content, "pre_tokenizer": inner[0]}
    return content
