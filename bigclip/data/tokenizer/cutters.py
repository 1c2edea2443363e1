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
    """

    num_ids: int

    def ids(self, text: str) -> list[int]: ...

    def pieces(self, text: str) -> list[str]: ...

    def vocabulary(self) -> dict[int, str]:
        """Return the piece of each id that stands for text: no mark, no unknown word."""
        ...

    def to_dict(self) -> dict: ...


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

    # One text a call: the library's own batches start threads, which forbid a later fork.
    def ids(self, text: str) -> list[int]:
        return self._cut.encode(text, add_special_tokens=False).ids

    def pieces(self, text: str) -> list[str]:
        return self._cut.encode(text, add_special_tokens=False).tokens

    def vocabulary(self) -> dict[int, str]:
        marks = self._cut.get_added_tokens_decoder()
        words = self._cut.get_vocab(with_added_tokens=False)
        unknown = getattr(self._cut.model, "unk_token", None)
        return {one: word for word, one in words.items() if one not in marks and word != unknown}

    def to_dict(self) -> dict:
        return json.loads(self._content)


class SentencePieceCutter:
    """A model of the `sentencepiece` library, by the bytes of its file.

    The library itself cuts, for its rules of normalization and of ties are nobody else's.
    """

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

    def vocabulary(self) -> dict[int, str]:
        cut = self.processor
        return {
            one: cut.id_to_piece(one)
            for one in range(self.num_ids)
            if not (cut.is_control(one) or cut.is_unknown(one) or cut.is_unused(one))
        }

    def to_dict(self) -> dict:
        return {"sentencepiece": base64.b64encode(self._model).decode("ascii")}


def open_cutter(pieces: dict) -> Cutter:
    """Make the cutter that `to_dict` described."""
    if "sentencepiece" in pieces:
        return SentencePieceCutter(base64.b64decode(pieces["sentencepiece"]))
    return JsonCutter(pieces)
