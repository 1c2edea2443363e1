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


FORMAT = Format(
    name="transformers",
    title="CLIPModel, SiglipModel or Siglip2Model, a folder",
    suffixes=(),
    recognises=recognises,
    read=read,
    write=write,
    reference=_reference,
    install="pip install torch torchvision transformers",
)
