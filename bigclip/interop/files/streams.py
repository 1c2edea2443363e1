"""What all writers of weights share: the arrays come one by one, and must be those announced."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.files.tensors import Spec, check_count, check_name, check_shape


def check_specs(
    path: str | os.PathLike, specs: Mapping[str, Spec], dtypes: Iterable[np.dtype], kind: str
) -> dict[str, Spec]:
    """Check what is announced before anything is written.

    Args:
        path: of the file to be; for messages, and for the disk that it will lie on.
        specs: name -> shape and dtype.
        dtypes: those that the format can hold.
        kind: the format's name, for messages.

    Returns:
        The same, with shapes of ints and dtypes of numpy.

    Raises:
        ConfigError: if the format cannot hold a name or a dtype, or the disk not the whole; or if
            there is no such folder.
    """
    checked, dtypes, total = {}, set(dtypes), 0
    check_count(len(specs), str(path))
    for name, (shape, dtype) in specs.items():
        where = f"{path}: {check_name(name, str(path))}"
        dtype = np.dtype(dtype)
        if dtype not in dtypes:
            raise ConfigError(f"{where}: {kind} cannot hold {dtype}; convert it to float32.")
        shape = check_shape([int(length) for length in shape], dtype.itemsize, where)
        checked[name] = Spec(shape, dtype)
        total += nbytes(checked[name])
    try:
        free = shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}.") from error
    if total > free:
        raise ConfigError(
            f"{path}: needs {total / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB free."
        )
    return checked


def nbytes(spec: Spec) -> int:
    """Bytes of the array."""
    return int(np.prod(spec.shape, dtype=np.int64)) * spec.dtype.itemsize


def expected(
    specs: Mapping[str, Spec], arrays: Iterable[tuple[str, np.ndarray]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Go through the arrays, each contiguous, and hold them against what was announced.

    Raises:
        ValueError: if one is not announced, comes twice, has another shape or dtype, or is missing
            at the end. The caller is wrong then, not the user.
    """
    missing = set(specs)
    for name, array in arrays:
        if name not in missing:
            raise ValueError(f"{name}: {'comes twice' if name in specs else 'not announced'}")
        missing.remove(name)
        array = np.asarray(array)
        if (array.shape, array.dtype) != (specs[name].shape, specs[name].dtype):
            raise ValueError(
                f"{name}: {array.dtype}{list(array.shape)}, announced as "
                f"{specs[name].dtype}{list(specs[name].shape)}"
            )
        # `np.ascontiguousarray` would give a scalar an axis.
        yield name, np.asarray(array, order="C")
        del array  # else it would live on while the next one is made
    if missing:
        names = sorted(missing)
        raise ValueError(f"{len(names)} arrays did not come: {', '.join(names[:5])}")
