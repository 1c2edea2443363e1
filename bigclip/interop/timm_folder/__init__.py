"""Format "timm": an image tower alone, as a folder for `timm.create_model("local-dir:...")`.

Source: huggingface/pytorch-image-models. Of its models, the vision transformers that our tower can
be; the projection is what timm calls the classifier.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.format import Format
from bigclip.interop.json_files import read_json
from bigclip.interop.timm_folder.reading import read
from bigclip.interop.timm_folder.writing import write
from bigclip.interop.torch_reference import TorchReference


def _recognises(path: Path) -> bool:
    place = path / "config.json"
    if not place.is_file() or (path / "open_clip_config.json").exists():
        return False
    try:
        config = read_json(place)
    except ConfigError:
        return False
    return isinstance(config.get("architecture"), str) and "model_type" not in config


class _Reference(TorchReference):
    """timm's own code."""

    def __init__(self, path: Path):
        super().__init__()
        import timm

        self._model = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
        config = timm.data.resolve_model_data_config(self._model)
        self._prepare = timm.data.create_transform(**config, is_training=False)

    def ids(self, texts: Sequence[str]) -> None:
        return None

    def embed_images(self, pixels: np.ndarray) -> np.ndarray:
        return self._run(self._model, self._images(pixels))

    def embed_texts(self, ids: np.ndarray) -> None:
        return None

    def logits(self, pixels: np.ndarray, ids: np.ndarray) -> None:
        return None


_USAGE = """\
import timm
import torch
from PIL import Image

model = timm.create_model("local-dir:{path}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
with torch.no_grad():
    features = model(transform(Image.open("picture.png").convert("RGB"))[None])"""

FORMAT = Format(
    name="timm",
    title="timm's VisionTransformer: the image tower, for timm.create_model",
    suffixes=(),
    recognises=_recognises,
    read=read,
    write=write,
    reference=_Reference,
    install="pip install torch timm",
    towers=("image",),
    needs=("torch", "timm"),
    usage=_USAGE,
    library="timm",
)
