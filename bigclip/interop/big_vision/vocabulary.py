"""The tokenizer of a big_vision model, from a file that the user names: a .npz holds none."""

from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.given_tokenizer import fit_tokenizer, open_tokenizer

_PUBLISHED = {
    32_000: "SigLIP's is gs://t5-data/vocabs/cc_en.32000/sentencepiece.model",
    250_000: "SigLIP i18n's is gs://t5-data/vocabs/mc4.250000.100extra/sentencepiece.model",
    256_000: "SigLIP 2's is Gemma's tokenizer.model, gs://big_vision/gemma_tokenizer.model",
}


def read_tokenizer(
    path: str | None, *, vocab_size: int, context_length: int, where: str
) -> tuple[Tokenizer, str]:
    """Read the tokenizer that belongs to a text tower.

    Texts are cleaned as big_vision's own models were trained, shown in its notebooks and evaluated
    in retrieval: its op `tokenize(lower=True)` makes them lower case and does nothing else. (That
    op leaves capitals beyond ASCII alone, which the rule "lower" does not.) The classes and
    templates of its zero-shot evaluator have lost their punctuation before they get there; the
    SiglipTokenizer of transformers, and open_clip, take it out of every text.

    Args:
        path: see `locate_tokenizer`.
        vocab_size: V of the text tower.
        context_length: L of the text tower.
        where: the file with the weights, for messages.

    Returns:
        The tokenizer, and what the user should know about it.

    Raises:
        ConfigError: without a file, with one that is none, or that has ids which the tower lacks.
    """
    known = _PUBLISHED.get(vocab_size, f"it is the one with {vocab_size} ids")
    if path is None:
        raise ConfigError(
            f"{where}: no .npz holds a tokenizer. Give the file it was trained with by --tokenizer "
            f"FILE (a SentencePiece .model, a tokenizer.json, or one that bigclip saved): {known}. "
            "Or read the image tower alone: --tower image."
        )
    given = open_tokenizer(path, context_length=context_length, family="siglip", clean="lower")
    mend = f"{known[0].upper()}{known[1:]}."
    tokenizer = fit_tokenizer(given, vocab_size, f"{where} with --tokenizer {path}", mend)
    note = f"tokenizer: {path}, with the cleaning {tokenizer.clean!r}, padding {tokenizer.pad}."
    if tokenizer.clean == "lower":
        note += (
            " Texts become lower case and keep their punctuation, as where big_vision tokenizes;"
            " its zero-shot prompts, and SigLIP's texts in transformers and open_clip, have none."
        )
    return tokenizer, note
