"""Make torchvision importable, which transformers, open_clip, timm and OpenAI's code import."""

import sys

_KEPT = []  # operators are gone when their library is


def import_torchvision() -> None:
    """Import torchvision, if it is there, also where its compiled part does not load.

    PyPI's torchvision for Linux is built for CUDA. Beside a CPU build of torch its operators are
    not registered, and its own import trips over them ("operator torchvision::nms does not
    exist"), though no reference calls any. Their schemas are enough.
    """
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        return
    except RuntimeError:
        import torch

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library = torch.library.Library("torchvision", "DEF")
        library.define(f"nms{boxes}")
        library.define(f"qnms{boxes}")
        _KEPT.append(library)
