"""What a folder of ONNX models tells of its inputs: how pictures and texts become arrays."""

import base64
import json
import string
from pathlib import Path
from typing import Any

from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.outgoing import Outgoing

FILE = "preprocess.json"
TOKENIZER_FILE = "tokenizer.json"  # of the `tokenizers` library
SENTENCEPIECE_FILE = "spiece.model"  # of the `sentencepiece` library


def write_descriptions(folder: Path, outgoing: Outgoing) -> None:
    """Write `preprocess.json` and, with a text tower, the tokenizer's file.

    `preprocess.json` has the fields of `bigclip.data.preprocess.Preprocess` under "images" (then
    pixel_values = (RGB / 255 - mean) / std, channels first), and under "texts" the context length,
    the special ids and the cleaning that bigclip does before it cuts.
    """
    content: dict[str, Any] = {}
    if "image" in outgoing.towers:
        content["images"] = outgoing.preprocess.to_dict()
    if "text" in outgoing.towers:
        tokenizer = outgoing.tokenizer.to_dict()
        pieces = tokenizer.pop("pieces")
        if "sentencepiece" in pieces:
            name = SENTENCEPIECE_FILE
            (folder / name).write_bytes(base64.b64decode(pieces["sentencepiece"]))
        else:
            name = TOKENIZER_FILE
            _write_json(folder / name, tokenizer_json(outgoing.tokenizer))
        content["texts"] = {"file": name, **tokenizer}
    _write_json(folder / FILE, content)


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the content of a `tokenizer.json` that gives the tokenizer's ids by itself.

    Special ids, padding and truncation are in it, and of the cleaning what the library can do:
    lower case, white space, punctuation. Repairs of broken encodings and of HTML entities are not.
    """
    data = tokenizer.to_dict()
    content = dict(data["pieces"])
    rules = [*_CLEANING[data["clean"]]]
    if content.get("normalizer"):
        rules.append(content["normalizer"])
    content["normalizer"] = {"type": "Sequence", "normalizers": rules} if rules else None
    names = {"<|startoftext|>": data["sot"], "<|endoftext|>": data["eot"]}
    names = {name: number for name, number in names.items() if number is not None}
    around = [{"SpecialToken": {"id": name, "type_id": 0}} for name in names]
    text = {"Sequence": {"id": "A", "type_id": 0}}
    single = around[:1] + [text] + around[1:] if data["sot"] is not None else [text, *around]
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]} for name, number in names.items()
        },
    }
    content["truncation"] = {
        "direction": "Right",
        "max_length": data["context_length"],
        "strategy": "LongestFirst",
        "stride": 0,
    }
    content["padding"] = {
        "strategy": {"Fixed": data["context_length"]},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": data["pad"],
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    return content


def _replace(pattern: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": by}


_SPACES = (
    _replace(r"\s+", " "),
    {"type": "Strip", "strip_left": True, "strip_right": True},
)
_LOWER = {"type": "Lowercase"}
_PUNCTUATION = "".join(rf"\x{{{ord(mark):x}}}" for mark in string.punctuation.replace("_", ""))
# A cleaner of `bigclip.data.text_cleaning` -> normalizers of the `tokenizers` library.
_CLEANING: dict[str, tuple[dict[str, Any], ...]] = {
    "clip": (*_SPACES, _LOWER),
    "cased": _SPACES,
    "canonical": (_replace("_", " "), _replace(f"[{_PUNCTUATION}]", ""), _LOWER, *_SPACES),
    "lower": (_LOWER,),
    "none": (),
}
