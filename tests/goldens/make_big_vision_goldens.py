"""Regenerate tests/goldens/interop/big_vision.npz with big_vision's own model code.

    BIG_VISION=PATH_OF_A_CLONE python tests/goldens/make_big_vision_goldens.py

Weights and inputs are drawn by frozen generators from their names, so that the golden holds only
the weights' names and shapes, and what the models give in float32.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "interop"), str(HERE.parent / "interop" / "big_vision")]

import bv_models  # noqa: E402

from bigclip.interop.big_vision.reference import import_big_vision  # noqa: E402


def main() -> None:
    utils = import_big_vision("utils")
    pictures, ids = bv_models.inputs()
    pixels = bv_models.pixels(pictures)
    golden = {}
    for name, arguments in bv_models.MODELS.items():
        alone = name.startswith("vit")
        module = import_big_vision("models.vit" if alone else "models.proj.image_text.two_towers")
        model = module.Model(**arguments)
        given = (pixels,) if alone else (pixels, ids)
        shapes = jax.eval_shape(model.init, jax.random.key(0), *given)["params"]
        named, _ = utils.tree_flatten_with_names(shapes)
        shapes = {path: leaf.shape for path, leaf in named}
        arrays = bv_models.draw(shapes)
        params = utils.recover_tree(arrays.keys(), arrays.values())
        images, *rest = jax.jit(model.apply)({"params": params}, *given)
        golden[f"{name}/shapes"] = np.array(json.dumps(shapes))
        golden[f"{name}/images"] = np.asarray(images)
        if not alone:
            golden[f"{name}/texts"] = np.asarray(rest[0])
            # trainers/proj/image_text/siglip.py: zimg ztxt' t + b
            logits = np.asarray(images) @ np.asarray(rest[0]).T * np.asarray(rest[1]["t"])
            golden[f"{name}/logits"] = logits + np.asarray(rest[1].get("b", 0.0))
    path = HERE / "interop" / "big_vision.npz"
    np.savez_compressed(path, **golden)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
