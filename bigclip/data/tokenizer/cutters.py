"""What cuts clean text into ids: a model of the `tokenizers` or of the `sentencepiece` library.

Either is plain data in a tokenizer's manifest, under `pieces`: the content of a `tokenizer.json`,
or `{"sentencepiece": the bytes of the .model file in base64}`.
"""

import base64
import json
from typing import Protocol

import sentencepiece
import tokenizers

from bigclip.config import ConfigError


class Cutter(Protocol):
    """Cuts clean text, without any special id.

    Attributes:
        num_ids: one more than the largest id that a text can get.
        is_byte_level: whether the characters of a piece stand for bytes.
    """

    num_ids: int
    is_byte_level: bool

    def ids(self, text: str) -> list[int]: ...

    def pieces(self, text: str) -> list[str]: ...

    def piece(self, number: int) -> str: ...

    def to_dict(self) -> dict: ...


def is_byte_level(content: dict) -> bool:
    """Whether what a `tokenizer.json` describes turns texts into bytes before it cuts them."""
    stages = [content.get("pre_tokenizer") or {}]
    while stages:
        stage = stages.pop()
        if stage.get("type") == "ByteLevel":
            return True
        stages += stage.get("pretokenizers", [])
    return False


def open_json(content: str) -> tokenizers.Tokenizer:
    """Make what the `tokenizers` library has for the content of a `tokenizer.json`.

    Raises:
        ConfigError: if the library refuses it, or breaks down over it.
    """
    try:
        return tokenizers.Tokenizer.from_str(content)
    except BaseException as error:
        # A panic of the library's Rust code is no Exception, and has no name that one can import.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ConfigError(f"the `tokenizers` library cannot read it: {error}") from None


class JsonCutter:
    """A model of the `tokenizers` library, by the content of its `tokenizer.json`."""

    def __init__(self, content: dict):
        """Load the model.

        Raises:
            ConfigError: if the library cannot.
        """
        # Kept as text: as Python objects, a vocabulary of 256,000 takes ten times the memory.
        self._content = json.dumps(content)
        self._cut = open_json(self._content)
        self.num_ids = 1 + max(self._cut.get_vocab().values(), default=-1)
        self.is_byte_level = is_byte_level(content)

    # One text a call: the library's own batches start threads, which forbid a later fork.
    def ids(self, text: str) -> list[int]:
        return self._cut.encode(text, add_special_tokens=False).ids

    def pieces(self, text: str) -> list[str]:
        return self._cut.encode(text, add_special_tokens=False).tokens

    def piece(self, number: int) -> str:
        return self._cut.id_to_token(number)

    def to_dict(self) -> dict:
        return json.loads(self._content)


class SentencePieceCutter:
    """A model of the `sentencepiece` library, by the bytes of its file.

    The library itself cuts, for its rules of normalization and of ties are nobody else's.
    """

    is_byte_level = False  # single bytes are pieces of their own, "<0x0A>"

    def __init__(self, model: bytes):
        """Load the model.

        Raises:
            ValueError: if the bytes are no SentencePiece model.
        """
        self._model = model
        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            self.num_ids = self.processor.vocab_size()
        except RuntimeError:
            self.num_ids = 0
        if not self.num_ids:
            raise ValueError("no SentencePiece model")

    def ids(self, text: str) -> list[int]:
        return self.processor.encode(text)

    def pieces(self, text: str) -> list[str]:
        return self.processor.encode(text, out_type=str)

    def piece(self, number: int) -> str:
        return self.processor.id_to_piece(number)

    def to_dict(self) -> dict:
        return {"sentencepiece": base64.b64encode(self._model).decode("ascii")}


def open_cutter(pieces: dict) -> Cutter:
    """Make the cutter that `to_dict` described."""
    if "sentencepiece" in pieces:
        return SentencePieceCutter(base64.b64decode(pieces["sentencepiece"]))
    return JsonCutter(pieces)
