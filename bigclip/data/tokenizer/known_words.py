"""A tokenizer that leaves out the words which its captions never had.

A byte-pair tokenizer cuts a new word into pieces of others: a "cashew" may begin like "cash". A
tower that has seen a web of captions makes sense of that; one that has seen some thousand words is
misled. To pass over what was never learnt is what a vocabulary of whole words does, too.

The rule is one regular expression in front of the cutting, so that it stands in the
`tokenizer.json` of every export.
"""

import re
from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

from bigclip.config import ConfigError

# 100,000 words make an expression of about 600 kB: it is kept in every checkpoint.
_MOST_WORDS = 100_000

_LETTERS = pre_tokenizers.Split(Regex(r"[^\p{L}]+"), behavior="removed")


def words_of(text: str) -> list[str]:
    """The runs of letters of a clean text."""
    return [word for word, _ in _LETTERS.pre_tokenize_str(text)]


def leave_out_other_words(cut: tokenizers.Tokenizer, words: Iterable[str]) -> None:
    """Make a byte-level tokenizer pass over every run of letters that is none of `words`.

    Raises:
        ConfigError: for more words than fit into a tokenizer.
    """
    words = sorted(set(words))
    if len(words) > _MOST_WORDS:
        raise ConfigError(
            "config.tokenizer.unknown_words = 'leave_out' is for collections of few words, at "
            f"most {_MOST_WORDS:,}; these captions have {len(words):,}. Take 'split'"
        )
    known = _alternatives(words) if words else "(?!)"
    # With the blanks before it; and no part of a longer word.
    other = rf"\s*(?<!\p{{L}})(?!{known}(?!\p{{L}}))\p{{L}}+"
    # The blank that every word carries in front is given once, to the whole text: the parts
    # between words that are left out would each get one of their own.
    cut.normalizer = normalizers.Prepend(" ")
    cut.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(other), behavior="removed"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )


def _alternatives(words: list[str]) -> str:
    """A regular expression of words, a letter at a time: it is read in the time of one word."""
    tree: dict = {}
    for word in words:
        node = tree
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}
    return _expression(tree)


def _expression(node: dict) -> str:
    branches = [re.escape(letter) + _expression(node[letter]) for letter in sorted(node) if letter]
    if not branches:
        return ""
    if len(branches) == 1 and "" not in node:
        return branches[0]
    return f"(?:{'|'.join(branches)}){'?' if '' in node else ''}"
