"""big_vision's .npz: two towers (SigLIP, SigLIP 2, LiT with its own text tower), or one of them."""

import functools
from pathlib import Path

from bigclip.interop.big_vision.configuring import config_text
from bigclip.interop.big_vision.reading import read
from bigclip.interop.big_vision.reference import INSTALL, BigVisionModel, import_big_vision
from bigclip.interop.big_vision.writing import write
from bigclip.interop.format import Format


def _recognises(path: Path) -> bool:
    return path.suffix == ".npz" and path.is_file()


FORMAT = Format(
    name="big_vision",
    title="big_vision's .npz of parameters: SigLIP, SigLIP 2, LiT, ViT",
    suffixes=(".npz",),
    recognises=_recognises,
    read=read,
    write=write,
    reference=BigVisionModel,
    install=INSTALL,
    ready=functools.partial(import_big_vision, "utils"),
    usage=config_text,
)

__all__ = ["FORMAT", "config_text"]
