"""Format "open_clip": a folder for `open_clip.create_model_and_transforms("local-dir:...")`.

Source: mlfoundations/open_clip 3.3. Both of its layouts (`CLIP` and `CustomTextCLIP`), its own
image towers (vision transformers with a class token, CLIP's ResNets) and timm's of SigLIP. What
our towers cannot be is refused by its name.

A vision transformer of timm's is known there by a name, which fixes its sizes and its GELU: most
SigLIPs' are exact there, although they were trained with the tanh approximation. So they come in
with image.activation = "gelu", as open_clip computes them; one that has the approximation goes out
with a note that says so.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.format import Format
from bigclip.interop.open_clip_folder.reading import CONFIG, read
from bigclip.interop.open_clip_folder.writing import write
from bigclip.interop.torch_reference import TorchReference


class _Reference(TorchReference):
    """open_clip's own code."""

    def __init__(self, path: Path):
        if not path.is_dir():
            raise ConfigError(
                f"--verify: open_clip opens folders; put {path.name} into one, with its {CONFIG}."
            )
        super().__init__()
        import open_clip

        place = f"local-dir:{path}"
        self._model, _, self._prepare = open_clip.create_model_and_transforms(place)
        self._model.eval()
        self._tokenizer = open_clip.get_tokenizer(place)

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        return self._tokenizer(list(texts)).numpy()

    def embed_images(self, pixels: np.ndarray) -> np.ndarray:
        return self._run(self._model.encode_image, self._images(pixels), normalize=True)

    def embed_texts(self, ids: np.ndarray) -> np.ndarray:
        return self._run(self._model.encode_text, self._texts(ids), normalize=True)

    def logits(self, pixels: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return self._run(self._model.get_logits, self._images(pixels), self._texts(ids))


_USAGE = """\
import open_clip
from PIL import Image

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{path}")
model.eval()
tokenizer = open_clip.get_tokenizer("local-dir:{path}")
image_emb = model.encode_image(preprocess(Image.open("picture.png"))[None], normalize=True)
text_emb = model.encode_text(tokenizer(["a cat", "a dog"]), normalize=True)
print(image_emb @ text_emb.T * model.logit_scale.exp())"""

FORMAT = Format(
    name="open_clip",
    title="open_clip: a folder for local-dir:, CLIP, CustomTextCLIP and SigLIP",
    suffixes=(),
    recognises=lambda path: (path / CONFIG).is_file(),
    read=read,
    write=write,
    reference=_Reference,
    install="pip install torch open_clip_torch transformers",
    needs=("torch", "open_clip", "transformers"),
    usage=_USAGE,
    library="open_clip",
)
