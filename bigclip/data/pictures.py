"""Pictures as users have them, in batches as a model takes them."""

import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import PIL.Image
from etils import epath

_PATHS = (str, pathlib.PurePath, epath.Path)
_SINGLE = (*_PATHS, bytes, bytearray, memoryview, PIL.Image.Image)


def prepared_batches(
    pictures: Any, preprocess: Callable[[Any], np.ndarray], *, batch_size: int
) -> Iterator[np.ndarray]:
    """Prepare pictures batch by batch; one batch ahead of the one that is used.

    Args:
        pictures: uint8 [I, H, W, 3], which is passed on as it is where it has the size of the
            preprocessing; or one picture, or an iterable of them: Pillow images, uint8 arrays,
            encoded bytes, open files, paths (local or `gs://`).
        preprocess: picture -> uint8 [H, W, 3], with an attribute `size`, H.
        batch_size: pictures a batch.

    Yields:
        uint8 [b, H, W, 3] with b = batch_size but for the last; one empty batch if there is no
        picture.

    Raises:
        ValueError: for what is no picture; says which one.
    """
    size = preprocess.size
    if _is_array(pictures) and pictures.dtype.kind not in "OSU":
        if pictures.dtype != np.uint8:
            raise ValueError(
                f"images are {pictures.dtype} {pictures.shape}: give uint8, in [0, 255]; the model "
                "normalises them itself."
            )
        if pictures.ndim < 4:
            pictures = [pictures]
        elif pictures.shape[1:] == (size, size, 3):
            for start in range(0, max(len(pictures), 1), batch_size):
                yield np.asarray(pictures[start : start + batch_size])
            return
    elif isinstance(pictures, _SINGLE) or hasattr(pictures, "read"):
        pictures = [pictures]
    elif not isinstance(pictures, Iterable):
        raise ValueError(f"give a picture or several, not {type(pictures).__name__}.")
    yield from _decoded(enumerate(pictures), preprocess, batch_size)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "ndim")


def _content(picture: Any) -> Any:
    """Return what the preprocessing takes: bytes, a Pillow image or a numpy array."""
    if isinstance(picture, _PATHS):
        return epath.Path(picture).read_bytes()
    if not isinstance(picture, PIL.Image.Image) and hasattr(picture, "read"):
        return picture.read()
    return np.asarray(picture) if _is_array(picture) else picture


def _decoded(
    numbered: Iterable[tuple[int, Any]], preprocess: Callable, batch_size: int
) -> Iterator[np.ndarray]:
    numbered = iter(numbered)

    def prepare(one: tuple[int, Any]) -> np.ndarray:
        number, picture = one
        try:
            return preprocess(_content(picture))
        except Exception as error:  # paths of unknown kinds raise anything
            name = f" ({picture})" if isinstance(picture, _PATHS) else ""
            raise ValueError(f"picture {number}{name} cannot be read: {error}") from error

    def begin(pool: ThreadPoolExecutor) -> list:
        return [pool.submit(prepare, one) for one in itertools.islice(numbered, batch_size)]

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        waiting = begin(pool)
        if not waiting:
            yield np.zeros((0, preprocess.size, preprocess.size, 3), np.uint8)
        while waiting:
            following = begin(pool)
            yield np.stack([future.result() for future in waiting])
            waiting = following
