"""What a folder of ONNX models tells of its inputs: how pictures and texts become arrays."""

import base64
from pathlib import Path
from typing import Any

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.json_files import write_json
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.transformers_folder.config_writing import choose_class, make_config
from bigclip.interop.transformers_folder.processors import make_processor
from bigclip.interop.transformers_folder.sentencepiece_json import to_json
from bigclip.interop.transformers_folder.tokenizer_writing import whole_json

FILE = "preprocess.json"
TOKENIZER_FILE = "tokenizer.json"  # of the `tokenizers` library
SENTENCEPIECE_FILE = "spiece.model"  # of the `sentencepiece` library


def describe(outgoing: Outgoing) -> dict[str, bytes | dict[str, Any]]:
    """Return file name -> content.

    `preprocess.json` has the fields of `bigclip.data.preprocess.Preprocess` under "images" (then
    pixel_values = (RGB / 255 - mean) / std, channels first), and under "texts" the context length,
    the special ids and the cleaning that bigclip does before it cuts. `tokenizer.json` gives these
    ids by itself, padding included; where ours is a SentencePiece model, `spiece.model` is the
    original. Where transformers has a class for the model, its `config.json` and
    `preprocessor_config.json` are here, too, so that transformers.js opens the folder.

    Raises:
        ConfigError: if the tokenizer cannot be said in a tokenizer.json.
    """
    files: dict[str, Any] = {FILE: {}}
    if "image" in outgoing.towers:
        files[FILE]["images"] = outgoing.preprocess.to_dict()
    if "text" in outgoing.towers:
        files[FILE]["texts"] = _describe_tokenizer(outgoing.tokenizer, files)
    try:
        model_type = choose_class(outgoing)
        patches = outgoing.shapes["image/position"][0]
        files["preprocessor_config.json"] = make_processor(outgoing.preprocess, model_type, patches)
        files["config.json"] = make_config(outgoing, model_type)
    except ConfigError:
        pass  # transformers cannot say this model; the graphs can
    return files


def _describe_tokenizer(tokenizer: Tokenizer, files: dict[str, Any]) -> dict[str, Any]:
    facts = tokenizer.to_dict()
    pieces = facts.pop("pieces")
    if "sentencepiece" in pieces:
        files[SENTENCEPIECE_FILE] = base64.b64decode(pieces["sentencepiece"])
        pieces = to_json(files[SENTENCEPIECE_FILE])
    content, names = whole_json(pieces, tokenizer)
    # Listed there, "!", which is CLIP's padding, would be taken out of texts before they are cut.
    content["added_tokens"] = [one for one in content["added_tokens"] if not one["special"]]
    length = tokenizer.context_length
    content["truncation"] = {
        "direction": "Right",
        "max_length": length,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    content["padding"] = {
        "strategy": {"Fixed": length},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": tokenizer.pad,
        "pad_type_id": 0,
        "pad_token": names["pad_token"],
    }
    files[TOKENIZER_FILE] = content
    files["tokenizer_config.json"] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "model_input_names": ["input_ids"],
        **names,
    }
    return facts


def write_descriptions(folder: Path, files: dict[str, bytes | dict[str, Any]]) -> None:
    """Write what `describe` gave."""
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            write_json(folder / name, content)
