"""Our tokenizer as the files that AutoTokenizer reads.

All goes out as a `tokenizer.json` with everything in it: cleaning, cutting, start and end of text.
A SentencePiece model is laid out as one, too, and lies beside it as `spiece.model`: transformers
has a `SiglipTokenizer` that reads it, but that drops "_" and keeps curly quotes, where the rule
"canonical" does not.

The ids are ours with padding="max_length" and truncation=True, but for some texts that need repair:
see `cleaning`.
"""

import base64
import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import normalizers, processors

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.json_files import write_json
from bigclip.interop.transformers_folder.cleaning import cleaning
from bigclip.interop.transformers_folder.sentencepiece_json import to_json

_NAMES = {"sot": "<|startoftext|>", "eot": "<|endoftext|>", "pad": "<|pad|>"}
_GEMMA_NAMES = {"sot": "<bos>", "eot": "<eos>", "pad": "<pad>"}
# No text holds a blank any more when a SentencePiece model cuts it.
_PIECE_NAMES = {"sot": "<start of text>", "eot": "<end of text>", "pad": "<no text>"}
_GEMMA_FIRST = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")  # ids 0 to 4
# What Siglip2Tokenizer makes of any tokenizer.json: byte pairs, with blanks as marks.
_GEMMA_MODEL = {"type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
_GEMMA_BLANKS = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_ROLES = {"sot": "bos_token", "eot": "eos_token", "pad": "pad_token"}  # ours -> theirs


def write_tokenizer(folder: Path, tokenizer: Tokenizer, *, masks: bool) -> None:
    """Write tokenizer.json and what tells of it; and spiece.model where there is one.

    Args:
        folder: where to.
        tokenizer: of the model.
        masks: whether the tokenizer gives an attention mask, too. A text tower that attends to
            padding must get none.
    """
    data = tokenizer.to_dict()
    pieces = data["pieces"]
    config: dict[str, Any] = {
        "model_max_length": tokenizer.context_length,
        "model_input_names": ["input_ids", "attention_mask"] if masks else ["input_ids"],
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
        # A text that spells a special token is cut up like any other.
        "split_special_tokens": True,
    }
    if "sentencepiece" in pieces:
        model = base64.b64decode(pieces["sentencepiece"])
        (folder / "spiece.model").write_bytes(model)
        content, names = whole_json(to_json(model), tokenizer, _PIECE_NAMES)
    else:
        content, names = whole_json(pieces, tokenizer)
    text = json.dumps(content, ensure_ascii=False)  # on one line: it may have a million
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    write_json(folder / "tokenizer_config.json", config | names)
    write_json(folder / "special_tokens_map.json", names)


def is_gemma(tokenizer: Tokenizer) -> bool:
    """Tell whether Siglip2Tokenizer, the one for a Siglip2Model, can cut as the tokenizer does."""
    pieces = tokenizer.to_dict()["pieces"]
    model, normalizer = pieces.get("model", {}), pieces.get("normalizer")
    steps = (normalizer or {}).get("normalizers", [normalizer])
    before = pieces.get("pre_tokenizer")
    return (
        tokenizer.clean == "lower"
        and all(model.get(key) == value for key, value in _GEMMA_MODEL.items())
        and [step for step in steps if step != {"type": "Lowercase"}] == [_GEMMA_BLANKS]
        and (before is None or before.get("pattern") == {"String": " "})
    )


def whole_json(
    pieces: dict[str, Any], tokenizer: Tokenizer, default: dict[str, str] | None = None
) -> tuple[dict, dict[str, str]]:
    """Complete what cuts clean text to what cuts any text.

    Args:
        pieces: the content of a tokenizer.json without special tokens.
        tokenizer: of whose parts it is.
        default: role -> name of special tokens that the vocabulary does not name.

    Returns:
        The content of a tokenizer.json, and their role -> the name of the special token.

    Raises:
        ConfigError: if an id is one that the model cannot name.
    """
    content = json.loads(json.dumps(pieces))
    gemma = is_gemma(tokenizer)
    names = _name_special(content, tokenizer, default or (_GEMMA_NAMES if gemma else _NAMES))
    if gemma:
        _fill_gemma(content)
    if (content.get("pre_tokenizer") or {}).get("type") == "ByteLevel":
        # A sequence of one: CLIPTokenizerFast of transformers 4 refuses anything else.
        alone = content["pre_tokenizer"]
        content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [alone]}
    cut = tokenizers.Tokenizer.from_str(json.dumps(content))
    steps = cleaning(tokenizer.clean)
    if cut.normalizer is not None:
        steps.append(cut.normalizer)
    if steps:
        cut.normalizer = steps[0] if len(steps) == 1 else normalizers.Sequence(steps)
    around = [(names[role], getattr(tokenizer, role)) for role in ("sot", "eot") if role in names]
    if around:
        head, tail = ([names[role]] if role in names else [] for role in ("sot", "eot"))
        cut.post_processor = processors.TemplateProcessing(
            single=[*head, "$A", *tail],
            pair=[*head, "$A", *tail, *head, "$B:1", *tail],
            special_tokens=around,
        )
    found = json.loads(cut.to_str())
    return found, {_ROLES[role]: name for role, name in names.items()}


def _fill_gemma(content: dict[str, Any]) -> None:
    """Give Gemma's names to ids that no text gets and that Siglip2Tokenizer asks for."""
    vocabulary, added = content["model"]["vocab"], content["added_tokens"]
    ids = set(vocabulary.values()) | {token["id"] for token in added}
    for number, name in enumerate(_GEMMA_FIRST):
        if number not in ids and name not in vocabulary:
            vocabulary[name] = number
            added.append(_added(number, name))
    added.sort(key=lambda token: token["id"])


def _added(number: int, name: str) -> dict[str, Any]:
    token = {"id": number, "content": name, "special": True, "normalized": False}
    return token | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)


def _name_special(
    content: dict[str, Any], tokenizer: Tokenizer, default: dict[str, str]
) -> dict[str, str]:
    """Put special tokens into the vocabulary and the list of added ones."""
    model = content["model"]
    listed = isinstance(model["vocab"], list)
    words = (
        {i: word for i, (word, _) in enumerate(model["vocab"])}
        if listed
        else {i: word for word, i in model["vocab"].items()}
    )
    taken = set(words.values()) | {token["content"] for token in content["added_tokens"]}
    words |= {token["id"]: token["content"] for token in content["added_tokens"]}
    names: dict[str, str] = {}
    added = {token["id"]: token for token in content["added_tokens"]}
    for role in ("eot", "sot", "pad"):
        number = getattr(tokenizer, role)
        if number is None:
            continue
        name = words.get(number) or _free(default[role], taken)
        names[role], words[number] = name, name
        taken.add(name)
        added[number] = _added(number, name)
        if not listed:
            model["vocab"][name] = number
        elif number < len(model["vocab"]):
            model["vocab"][number][0] = name
        elif number > max(added.keys() - {number}, default=len(model["vocab"]) - 1) + 1:
            raise ConfigError(
                f"transformers: the tokenizer's {role} is {number}, and its vocabulary has "
                f"{len(model['vocab'])} words: ids between them have no name."
            )
    content["added_tokens"] = [added[number] for number in sorted(added)]
    return names


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"<{name}>"
    return name
