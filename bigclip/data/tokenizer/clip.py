"""OpenAI's tokenizer, id for id, from the vocabulary that ships with bigclip."""

import gzip
import importlib.resources
import json

import tokenizers

from bigclip.data.tokenizer.tokenizer import Tokenizer
from bigclip.data.tokenizer.training import byte_characters

_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_NUM_MERGES = 49152 - 256 - 2  # the file lists more than the released models use
# The released pattern ignores case: "ſ" is an s to it, and U+0345, a mark whose capital is a
# letter, falls through as neither letter nor other.
_WORDS = r"'[sſ]|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{345}]+"


def clip_bpe(*, context_length: int = 77) -> Tokenizer:
    """Make OpenAI's CLIP tokenizer (arXiv 2103.00020; ids of the released code).

    49,408 ids: 256 bytes, the same at the end of a word, 48,894 merges, sot 49406, eot 49407.
    Padding is 0. Unlike the released code, which stops, too long texts are cut.
    """
    path = importlib.resources.files("bigclip.data.vocabularies") / _VOCABULARY
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 1 + _NUM_MERGES]]
    # Printable bytes come first, in order; then those that borrow a character from U+0100 up.
    alphabet = sorted(byte_characters(), key=lambda character: (ord(character) > 255, character))
    words = [*alphabet, *(character + "</w>" for character in alphabet), *map("".join, merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    cut = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>")
    )
    cut.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(
                tokenizers.Regex(_WORDS), behavior="removed", invert=True
            ),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return Tokenizer(
        pieces=json.loads(cut.to_str()),
        context_length=context_length,
        sot=len(words) - 2,
        eot=len(words) - 1,
        pad=0,
    )
