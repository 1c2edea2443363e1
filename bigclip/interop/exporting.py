"""From a bigclip checkpoint to another framework's files, whole or not at all."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bigclip.config import ConfigError
from bigclip.interop.atomic import new_file, new_folder
from bigclip.interop.card import model_card
from bigclip.interop.format import Format
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.verify import Figure

CARD = "README.md"


def export_model(
    model: Outgoing,
    format: Format,
    dest: Path,
    *,
    verify: Callable[[Path], Sequence[Figure]] | None = None,
) -> Sequence[Figure] | None:
    """Write a checkpoint in a foreign format, with a model card.

    Args:
        model: the checkpoint.
        format: where to.
        dest: a new folder, or a new file with one of the format's suffixes, beside which the card
            lies as NAME.md. It appears when all is written and proven.
        verify: (path of what was written) -> figures; an error of it leaves nothing behind.

    Returns:
        The figures.

    Raises:
        ConfigError: if `dest` exists or has a wrong suffix, or the format cannot say this model.
    """
    if format.suffixes and dest.suffix not in format.suffixes:
        raise ConfigError(
            f"{dest}: the format {format.name!r} is one file: its name ends in "
            f"{' or '.join(format.suffixes)}."
        )
    card = dest.with_suffix(".md") if format.suffixes else None
    if card is not None and card.exists():
        raise ConfigError(f"{card} exists, where the model card would go: remove it first.")
    with new_file(dest) if format.suffixes else new_folder(dest) as temporary:
        format.write(temporary, model)
        figures = None if verify is None else verify(temporary)
        text = model_card(model, format, os.path.basename(dest), figures)
        (temporary.with_suffix(".md") if card else temporary / CARD).write_text(text)
        if card is not None:
            os.replace(temporary.with_suffix(".md"), card)
    return figures
