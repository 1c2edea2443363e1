"""The byte-pair vocabulary of a CLIPTokenizer: OpenAI's, or another of its kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer, clip_bpe
from bigclip.interop.clip_tokenizer import VOCABULARY
from bigclip.interop.json_files import read_json

Merges = list[tuple[str, ...]]

_MAX_ID = 1 << 24
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def read_vocabulary(folder: Path) -> tuple[dict[str, int], Merges]:
    """Read words and merges, from tokenizer.json or from vocab.json and merges.txt.

    Raises:
        ConfigError: if they are missing or something else.
    """
    whole = folder / "tokenizer.json"
    if whole.exists():
        model = read_json(whole).get("model")
        model = model if isinstance(model, Mapping) else {}
        vocabulary, merges = model.get("vocab"), json_merges(model)
    else:
        for name in ("vocab.json", "merges.txt"):
            if not (folder / name).exists():
                raise ConfigError(
                    f"{folder} has neither tokenizer.json nor {name}: its tokenizer is missing; "
                    f"give a tokenizer of your own with --tokenizer."
                )
        vocabulary = read_json(folder / "vocab.json")
        try:
            lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {folder}/merges.txt: {error}.") from None
        merges = [tuple(line.split()) for line in lines[1:] if line.strip()]
    if (
        not isinstance(vocabulary, dict)
        or not merges
        and merges != []
        or any(len(merge) != 2 for merge in merges)
        or not all(type(i) is int and 0 <= i < _MAX_ID for i in vocabulary.values())
    ):
        raise ConfigError(f"{folder}: its tokenizer is no byte-pair vocabulary with merges.")
    return vocabulary, merges


def json_merges(model: Mapping[str, Any]) -> Merges | None:
    """Return the merges of the model of a tokenizer.json, which has two ways of writing them."""
    merges = model.get("merges")
    return [_pair(merge) for merge in merges] if isinstance(merges, list) else None


def _pair(merge: Any) -> tuple[str, ...]:
    parts = merge.split(" ") if isinstance(merge, str) else merge
    whole = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
    return tuple(parts) if whole else ()


def openai_tokenizer(
    vocabulary: Any, merges: Merges | None, names: Mapping[str, str | None], length: int
) -> Tokenizer | None:
    """Make OpenAI's tokenizer, if the vocabulary is the one that they released, id for id.

    Args:
        vocabulary: word -> id, of a file.
        merges: of the file.
        names: of the special tokens, bos, eos and pad.
        length: L.
    """
    if not isinstance(vocabulary, dict) or len(vocabulary) != VOCABULARY:
        return None
    data = clip_bpe(context_length=length).to_dict()
    model = data["pieces"]["model"]
    if vocabulary != model["vocab"] or merges != [tuple(pair) for pair in model["merges"]]:
        return None
    ids = [vocabulary.get(names[role]) for role in ("bos", "eos", "pad")]
    if None in ids:
        return None
    return Tokenizer.from_dict(data | dict(zip(("sot", "eot", "pad"), ids, strict=True)))


def clip_json(
    vocabulary: dict[str, int], merges: Merges, names: Mapping[str, str]
) -> dict[str, Any]:
    """Lay out what CLIPTokenizer makes of a vocabulary, as a tokenizer.json."""
    special = sorted({vocabulary[name]: name for name in names.values()}.items())
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": name, "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for i, name in special
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Lowercase"},
            ],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": _WORDS},
                    "behavior": "Removed",
                    "invert": True,
                },
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": True,
                },
            ],
        },
        "model": {
            "type": "BPE",
            "vocab": vocabulary,
            "merges": [list(merge) for merge in merges],
            "unk_token": names["unk"],
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
            "fuse_unk": False,
            "dropout": None,
        },
    }
