"""Which file of a folder holds the weights."""

from collections.abc import Sequence
from pathlib import Path

from bigclip.config import ConfigError

# As model hubs name them, in the order in which libraries look for them.
HUB = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")


def weights_file(folder: Path, names: Sequence[str] = HUB) -> Path:
    """Return the first of the files that is there.

    Raises:
        ConfigError: if none is.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{folder} holds no weights: none of {', '.join(names)}.")
