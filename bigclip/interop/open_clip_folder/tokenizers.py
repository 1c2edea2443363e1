"""open_clip's tokenizers: CLIP's own, and files of transformers in the folder.

open_clip repairs and cleans every text itself (`clean`) before either cuts it. So CLIP's vocabulary
goes by our rule of the same name, and any other tokenizer is written without its cleaning, which
open_clip is told to do. Of our rules "none" and "lower" it knows none: their texts are repaired and
their blanks collapsed in front, which changes nothing of a clean text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigclip.config import ConfigError, choose
from bigclip.data.tokenizer import Tokenizer, clip_bpe
from bigclip.interop.format import ReadOptions
from bigclip.interop.given_tokenizer import fit_tokenizer, open_tokenizer
from bigclip.interop.transformers_folder.tokenizer_reading import read_tokenizer
from bigclip.interop.transformers_folder.tokenizer_writing import write_tokenizer

_CLIP_VOCABULARY = 49408
_FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "vocab.json")
_CLEAN = {"lower": "clip", "whitespace": "cased", "canonicalize": "canonical"}  # theirs -> ours
_THEIRS = {ours: theirs for theirs, ours in _CLEAN.items()}
# What only matters in training.
_LET_BE = ("reduction_mask", "additional_special_tokens", "add_prefix_space", "use_fast")

Notes = tuple[str, ...]


def default_tokenizer(
    options: ReadOptions, context_length: int, vocab_size: int, where: str, *, clean: str = "clip"
) -> Tokenizer:
    """Return the tokenizer that the user names, or else CLIP's.

    Raises:
        ConfigError: if the user names none and the vocabulary is not CLIP's.
    """
    if options.tokenizer is not None:
        family = "clip" if vocab_size == _CLIP_VOCABULARY else "siglip"
        given = open_tokenizer(
            options.tokenizer, context_length=context_length, family=family, clean=clean
        )
        return fit_tokenizer(given, vocab_size, where)
    if vocab_size != _CLIP_VOCABULARY:
        raise ConfigError(
            f"{where}: a vocabulary of {vocab_size} tokens is not CLIP's of {_CLIP_VOCABULARY}. "
            "Name its tokenizer: --tokenizer PATH."
        )
    return _with_clean(clip_bpe(context_length=context_length), clean)


def tokenizer_of(
    folder: Path, text: Mapping[str, Any], options: ReadOptions, where: str
) -> tuple[Tokenizer, Notes]:
    """Read the tokenizer that a `text_cfg` asks for.

    Args:
        folder: of the configuration.
        text: the `text_cfg`, checked but for its tokenizer.
        options: of the user.
        where: the configuration, for messages.

    Returns:
        The tokenizer and what the user should know.

    Raises:
        ConfigError: if it is missing, or does what ours cannot.
    """
    length, vocab_size = text.get("context_length", 77), text.get("vocab_size", _CLIP_VOCABULARY)
    name, arguments = text.get("hf_tokenizer_name"), text.get("tokenizer_kwargs") or {}
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"{where}: tokenizer_kwargs is no object.")
    if text.get("tokenizer_mode"):
        raise ConfigError(
            f"{where}: tokenizer_mode {text['tokenizer_mode']!r:.40} is unknown here."
        )
    if arguments.get("strip_sep_token"):
        raise ConfigError(
            f"{where}: tokenizer_kwargs.strip_sep_token turns an id of the tokenizer into padding, "
            "which ours does not."
        )
    known = {"clean", "strip_sep_token", *_LET_BE}
    unknown = [str(key)[:40] for key in arguments if key not in known]
    if unknown:
        raise ConfigError(f"{where}: tokenizer_kwargs.{unknown[0]} is unknown here.")
    theirs = arguments.get("clean", "whitespace" if name else "lower")
    clean = choose(theirs, _CLEAN, f"{where}: tokenizer_kwargs.clean")
    notes: Notes = ()
    if arguments.get("reduction_mask"):
        notes = ("tokenizer_kwargs.reduction_mask: long texts are cut at their end here.",)
    if not name or options.tokenizer is not None:
        return default_tokenizer(options, length, vocab_size, where, clean=clean), notes
    if not any((folder / file).exists() for file in _FILES):
        raise ConfigError(
            f"{where}: the tokenizer is {name!r:.80} of transformers, and {folder} holds no files "
            "of it. Put its tokenizer.json and tokenizer_config.json there, or name it: "
            "--tokenizer PATH."
        )
    tokenizer, more = read_tokenizer(folder, "clip", length)
    tokenizer = fit_tokenizer(tokenizer, vocab_size, where)
    # open_clip names the length itself, whatever the tokenizer's configuration says.
    tokenizer = Tokenizer.from_dict({**tokenizer.to_dict(), "context_length": length})
    more = tuple(note for note in more if "model_max_length" not in note)
    return _with_clean(tokenizer, _both(clean, tokenizer.clean)), notes + more


def _both(first: str, second: str) -> str:
    """Return the rule that does what two do after each other."""
    rules = {first, second}
    if "canonical" in rules:
        return "canonical"
    return "clip" if rules & {"clip", "lower"} else "cased"


def _with_clean(tokenizer: Tokenizer, clean: str) -> Tokenizer:
    if tokenizer.clean == clean:
        return tokenizer
    return Tokenizer.from_dict({**tokenizer.to_dict(), "clean": clean})


def write_tokenizer_of(folder: Path, tokenizer: Tokenizer) -> None:
    """Write the files of a tokenizer that is not CLIP's, for open_clip's `HFTokenizer`."""
    if _is_clip(tokenizer):
        return
    # SigLIP's own class cleans by the same rule as open_clip: the second time changes nothing.
    siglip = "sentencepiece" in tokenizer.to_dict()["pieces"] and tokenizer.clean == "canonical"
    if tokenizer.clean in _THEIRS and not siglip:
        tokenizer = _with_clean(tokenizer, "none")
    write_tokenizer(folder, tokenizer, masks=False)


def tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what a `text_cfg` says about the tokenizer."""
    theirs = _THEIRS.get(tokenizer.clean, "whitespace")
    if _is_clip(tokenizer):
        return {} if theirs == "lower" else {"tokenizer_kwargs": {"clean": theirs}}
    # Of a local folder open_clip takes the files, whatever the name.
    return {"hf_tokenizer_name": "bigclip", "tokenizer_kwargs": {"clean": theirs}}


def _is_clip(tokenizer: Tokenizer) -> bool:
    if tokenizer.clean not in _THEIRS or tokenizer.vocab_size != _CLIP_VOCABULARY:
        return False
    clip = clip_bpe(context_length=tokenizer.context_length)
    return tokenizer == _with_clean(clip, tokenizer.clean)
