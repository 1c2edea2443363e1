"""Writes .npz files that numpy reads, one array at a time."""

import os
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.files.streams import check_specs, expected, nbytes
from bigclip.interop.files.tensors import BFLOAT16, DTYPES, Spec, bytes_of

# numpy writes dtypes that it does not know as bytes; only for bfloat16 it is known which.
_DTYPES = {dtype for dtype in DTYPES if dtype.isbuiltin == 1} | {BFLOAT16}


def write_npz(
    path: str | os.PathLike, specs: Mapping[str, Spec], arrays: Iterable[tuple[str, np.ndarray]]
) -> None:
    """Write a new .npz file, uncompressed, and bring it to the disk.

    bfloat16 is written as two-byte voids, as numpy and big_vision do.

    Args:
        path: of the file; nothing may exist there.
        specs: name -> shape and dtype of every array.
        arrays: (name, array) in any order, which is that in the file. One at a time is held in
            memory.

    Raises:
        ConfigError: if the file exists, the disk is too small, or numpy cannot store a dtype.
        ValueError: if the arrays are not those announced.
    """
    specs = check_specs(path, specs, _DTYPES, ".npz")
    try:
        file = open(path, "xb")  # noqa: SIM115 - closed below
    except FileExistsError as error:
        raise ConfigError(f"{path} exists: remove it, or write to another path.") from error
    with file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in expected(specs, arrays):
                info = zipfile.ZipInfo(f"{name}.npy")
                info.file_size = nbytes(specs[name]) + 4096  # decides on 64-bit sizes
                with archive.open(info, "w") as entry:
                    dtype = np.dtype("V2") if array.dtype == BFLOAT16 else array.dtype
                    np.lib.format.write_array_header_1_0(
                        entry,
                        {
                            "descr": np.lib.format.dtype_to_descr(dtype),
                            "fortran_order": False,
                            "shape": array.shape,
                        },
                    )
                    entry.write(bytes_of(array))
                del array
        file.flush()
        os.fsync(file.fileno())
