"""From a bigclip checkpoint to another framework's files, whole or not at all."""

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
    if not format.suffixes:
        with new_folder(dest) as folder:
            figures = _write(model, format, folder, folder / CARD, dest, verify)
        return figures
    # The card appears last, when the file that it describes is there.
    with new_file(dest.with_suffix(".md")) as card, new_file(dest) as file:
        figures = _write(model, format, file, card, dest, verify)
    return figures


def _write(
    model: Outgoing,
    format: Format,
    path: Path,
    card: Path,
    dest: Path,
    verify: Callable[[Path], Sequence[Figure]] | None,
) -> Sequence[Figure] | None:
    format.write(path, model)
    figures = None if verify is None else verify(path)
    card.write_text(model_card(model, format, dest.name, figures))
    return figures
