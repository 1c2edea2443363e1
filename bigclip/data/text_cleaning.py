"""What happens to a caption before it is cut into tokens.

A tokenizer names one of `CLEANERS`, and the name travels with it: the same text must become the
same ids in training, in evaluation and after export.
"""

import html
import string

import ftfy

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean_clip(text: str) -> str:
    """Repair encodings, undo HTML entities twice, collapse whitespace, lower-case.

    What OpenAI's tokenizer does (arXiv 2103.00020, released code).
    """
    return clean_cased(text).lower()


def clean_cased(text: str) -> str:
    """The same as `clean_clip`, with capitals left alone."""
    # For printable ASCII without an entity the repairs change nothing, and cost 20 us.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split())


def clean_canonical(text: str) -> str:
    """Drop ASCII punctuation, too: SigLIP's captions (arXiv 2303.15343, released code)."""
    text = clean_cased(text).replace("_", " ").translate(_PUNCTUATION).lower()
    return " ".join(text.split())


def clean_lower(text: str) -> str:
    """Lower-case and nothing else: SigLIP 2's captions (arXiv 2502.14786).

    All letters, as the models' classes in `transformers` do it; big_vision's training lower-cases
    ASCII letters only.
    """
    return text.lower()


def clean_nothing(text: str) -> str:
    """Leave the text as it is."""
    return text


CLEANERS = {
    "clip": clean_clip,
    "cased": clean_cased,
    "canonical": clean_canonical,
    "lower": clean_lower,
    "none": clean_nothing,
}
