"""Captions to token ids.

`Tokenizer` is the one class, whatever cuts the words; makers of it are `clip_bpe` (OpenAI's),
`train_tokenizer` (learns one), `sentencepiece_tokenizer` and `huggingface_tokenizer` (a user's
files) and `load_tokenizer` (one that was saved). `MergeDropout` cuts words at random, for training.
`python -m bigclip.data.tokenizer` trains and shows tokenizers.
"""

from bigclip.data.tokenizer.clip import clip_bpe
from bigclip.data.tokenizer.huggingface import huggingface_tokenizer
from bigclip.data.tokenizer.merge_dropout import MergeDropout
from bigclip.data.tokenizer.saved import load_tokenizer, save_tokenizer
from bigclip.data.tokenizer.sentencepiece_file import sentencepiece_tokenizer
from bigclip.data.tokenizer.tokenizer import Tokenizer
from bigclip.data.tokenizer.training import train_tokenizer

__all__ = [
    "MergeDropout",
    "Tokenizer",
    "clip_bpe",
    "huggingface_tokenizer",
    "load_tokenizer",
    "save_tokenizer",
    "sentencepiece_tokenizer",
    "train_tokenizer",
]
