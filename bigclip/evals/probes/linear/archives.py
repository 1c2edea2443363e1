"""Arrays in files: .npz, local or in a bucket."""

import os
import zipfile
import zlib

import numpy as np
from etils import epath

from bigclip.config import ConfigError


def read_arrays(path: str | os.PathLike, what: str) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz.

    Args:
        path: of the file; local or `gs://`.
        what: it should be, for the message.

    Raises:
        ConfigError: if there is no such file, or it is damaged or of another kind.
    """
    try:
        with epath.Path(path).open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    # An empty file, a .npy, an archive that was cut off, one with damaged parts.
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read as {what}: {error}.") from error
