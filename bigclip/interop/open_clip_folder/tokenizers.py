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
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.clip_tokenizer import (
    VOCABULARY,
    difference_from_clips,
    given_or_clips,
    padding_notes,
    with_clean,
)
from bigclip.interop.format import ReadOptions
from bigclip.interop.given_tokenizer import fit_tokenizer
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.transformers_folder.tokenizer_reading import read_tokenizer
from bigclip.interop.transformers_folder.tokenizer_writing import write_tokenizer

_FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "vocab.json")
_CLEAN = {"lower": "clip", "whitespace": "cased", "canonicalize": "canonical"}  # theirs -> ours
_THEIRS = {ours: theirs for theirs, ours in _CLEAN.items()}
# What only matters in training.
_LET_BE = ("reduction_mask", "additional_special_tokens", "add_prefix_space", "use_fast")

Notes = tuple[str, ...]


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
    length, vocab_size = text.get("context_length", 77), text.get("vocab_size", VOCABULARY)
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
        given = given_or_clips(options.tokenizer, length, vocab_size, where, clean=clean)
        return given, notes
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
    return with_clean(tokenizer, _both(clean, tokenizer.clean)), notes + more


def _both(first: str, second: str) -> str:
    """Return the rule that does what two do after each other."""
    rules = {first, second}
    if "canonical" in rules:
        return "canonical"
    return "clip" if rules & {"clip", "lower"} else "cased"


def write_tokenizer_of(folder: Path, model: Outgoing) -> None:
    """Write the files of a tokenizer that is not CLIP's, for open_clip's `HFTokenizer`."""
    tokenizer = model.tokenizer
    if _is_clips(model):
        return
    # SigLIP's own class cleans by the same rule as open_clip: the second time changes nothing.
    siglip = "sentencepiece" in tokenizer.to_dict()["pieces"] and tokenizer.clean == "canonical"
    if tokenizer.clean in _THEIRS and not siglip:
        tokenizer = with_clean(tokenizer, "none")
    write_tokenizer(folder, tokenizer, masks=False)


def tokenizer_config(model: Outgoing) -> dict[str, Any]:
    """Return what a `text_cfg` says about the tokenizer."""
    theirs = _THEIRS.get(model.tokenizer.clean, "whitespace")
    if _is_clips(model):
        return {} if theirs == "lower" else {"tokenizer_kwargs": {"clean": theirs}}
    # Of a local folder open_clip takes the files, whatever the name.
    return {"hf_tokenizer_name": "bigclip", "tokenizer_kwargs": {"clean": theirs}}


def tokenizer_notes(model: Outgoing) -> tuple[str, ...]:
    """Tell for which texts open_clip gives other ids than the model's tokenizer."""
    clean = model.tokenizer.clean
    if clean not in _THEIRS:
        return (
            "open_clip repairs every text (curly quotes, broken encodings, HTML entities) and "
            f"collapses its blanks before it is cut, and the model's rule {clean!r} does not: "
            "texts that this changes get other ids there.",
        )
    return padding_notes(model.tokenizer, "open_clip") if _is_clips(model) else ()


def _is_clips(model: Outgoing) -> bool:
    clean, text = model.tokenizer.clean, model.architecture["text"]
    return clean in _THEIRS and not difference_from_clips(model.tokenizer, text, clean=clean)
