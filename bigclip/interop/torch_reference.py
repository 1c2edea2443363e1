"""What models that run in PyTorch have in common: numpy in, numpy out, no gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL.Image

from bigclip.interop.torchvision_import import import_torchvision


class TorchReference:
    """Base of `Reference`s; a subclass sets `_prepare`, the framework's transform of a picture."""

    _prepare: Callable[[PIL.Image.Image], Any]

    def __init__(self):
        """Import PyTorch.

        Raises:
            ImportError: if it is not installed.
        """
        import torch

        import_torchvision()  # the frameworks do, and PyPI's does not load beside a CPU torch
        self._torch = torch

    def pixels(self, pictures: Sequence[PIL.Image.Image]) -> np.ndarray:
        """Prepare pictures: float32 [I, H, W, 3], normalised."""
        return np.stack([self._prepare(one).permute(1, 2, 0).numpy() for one in pictures])

    def _images(self, pixels: np.ndarray) -> Any:
        """Turn pixels [I, H, W, 3] into a tensor [I, 3, H, W]."""
        return self._torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

    def _texts(self, ids: np.ndarray) -> Any:
        """Turn ids [T, L] into a tensor."""
        return self._torch.from_numpy(np.asarray(ids, np.int64))

    def _run(self, function: Callable[..., Any], *inputs: Any, **options: Any) -> np.ndarray:
        """Call the model; of several outputs the first counts."""
        with self._torch.inference_mode():
            found = function(*inputs, **options)
        return (found[0] if isinstance(found, tuple) else found).numpy()
