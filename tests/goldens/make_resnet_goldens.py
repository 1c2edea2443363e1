"""Regenerate tests/goldens/models/tiny-rn.npz with openai/CLIP; needs torch and clip-anytorch.

    python tests/goldens/make_resnet_goldens.py

Weights and inputs are drawn by frozen generators, as for the other models. Of each gradient the
golden holds one number, its product with a drawn array of its shape.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "models"))

from openai_resnet import build, draw, fill, inputs, outputs  # noqa: E402

from bigclip.models import architecture  # noqa: E402


def main() -> None:
    arch = architecture("tiny-rn")
    model = build(arch)
    weights = fill(model)
    out = outputs(model, *inputs(arch, num=6))
    arrays = dict(out["embedding"])
    # In the order of their names, which `shapes` holds.
    arrays["statistics"] = np.concatenate([x for _, x in sorted(out["statistics"].items())])
    arrays["gradient"] = np.array(
        [
            np.sum(gradient.astype(np.float64) * draw(f"probe of {name}", gradient.shape))
            for name, gradient in sorted(out["gradient"].items())
        ]
    )
    shapes = json.dumps({name: weights[name].shape for name in sorted(weights)})
    path = HERE / "models" / "tiny-rn.npz"
    np.savez_compressed(path, shapes=np.array(shapes), **arrays)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
