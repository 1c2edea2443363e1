"""Regenerate tests/goldens/models/*.npz with transformers; needs the `peers` extra.

    python tests/goldens/make_model_goldens.py

Weights and inputs are drawn by frozen generators from their names, so that a golden holds only
the weights' names and shapes, and the outputs of transformers in float32.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "models"))

import hf_models  # noqa: E402
from model_inputs import inputs  # noqa: E402

from bigclip.models import architecture  # noqa: E402


def main() -> None:
    for name in ("tiny-clip", "tiny-siglip"):
        arch = architecture(name)
        model = hf_models.build(arch)
        weights = hf_models.fill(model)
        images, tokens = inputs(arch, num=4)
        out = hf_models.outputs(model, images, tokens)
        shapes = json.dumps({name: w.shape for name, w in weights.items()})
        path = HERE / "models" / f"{name}.npz"
        np.savez_compressed(path, shapes=np.array(shapes), **out)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
