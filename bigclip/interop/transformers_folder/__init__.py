"""`CLIPModel`, `SiglipModel` and `Siglip2Model` of Hugging Face's transformers, as folders.

Sources: the classes of transformers, version 5, and the files that `save_pretrained` writes.
"""

from pathlib import Path

from bigclip.interop.format import Format, Reference
from bigclip.interop.transformers_folder.reading import read, recognises
from bigclip.interop.transformers_folder.writing import write


def _reference(folder: Path) -> Reference:
    from bigclip.interop.transformers_folder.reference import TransformersReference

    return TransformersReference(folder)


_USAGE = """\
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{path}").eval()
processor = AutoProcessor.from_pretrained("{path}")
inputs = processor(
    text=["a cat", "a dog"],
    images=Image.open("picture.png"),
    padding="max_length",
    truncation=True,
    return_tensors="pt",
)
with torch.no_grad():
    print(model(**inputs).logits_per_image)"""

FORMAT = Format(
    name="transformers",
    title="CLIPModel, SiglipModel or Siglip2Model, a folder",
    suffixes=(),
    recognises=recognises,
    read=read,
    write=write,
    reference=_reference,
    install="pip install torch torchvision transformers",
    needs=("torch", "transformers"),
    usage=_USAGE,
    library="transformers",
)
