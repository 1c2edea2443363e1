"""Inputs, parameters and logits for the tests of this folder and the maker of the goldens."""

import jax
import numpy as np


def inputs(arch: dict, *, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images float32 [num, H, W, 3] and tokens int32 [num, L] with an end-of-text each.

    Every second text repeats the end-of-text id behind the first, as some tokenizers pad.
    """
    rng = np.random.RandomState(7)
    size, text = arch["image"]["image_size"], arch["text"]
    images = rng.standard_normal((num, size, size, 3)).astype(np.float32)
    eot = text["vocab_size"] - 1
    tokens = rng.randint(1, eot - 1, (num, text["context_length"])).astype(np.int32)
    for row in range(num):
        end = rng.randint(2, text["context_length"])
        tokens[row, end] = eot
        tokens[row, end + 1 :] = eot if row % 2 else 0
    return images, tokens


def logits(image_emb, text_emb, weights: dict) -> np.ndarray:
    """Return scaled cosines [I, T] of raw embeddings, plus the bias where the model has one."""
    image_emb, text_emb = (np.asarray(x, np.float64) for x in (image_emb, text_emb))
    image_emb /= np.linalg.norm(image_emb, axis=1, keepdims=True)
    text_emb /= np.linalg.norm(text_emb, axis=1, keepdims=True)
    scaled = np.exp(weights["logit_scale"]) * image_emb @ text_emb.T
    return scaled + weights.get("logit_bias", 0.0)


def random_params(tower, x) -> dict:
    """Draw a tower's parameters with NumPy: compiling an initialisation takes seconds."""
    rng = np.random.RandomState(3)

    def draw(path, leaf):
        values = rng.standard_normal(leaf.shape) * (
            leaf.shape[-2] ** -0.5 if leaf.ndim > 1 else 0.2
        )
        if path[-1].key == "scale":
            values += 1
        return values.astype(np.float32)

    shapes = jax.eval_shape(tower.init, jax.random.key(0), x)["params"]
    return jax.tree.map_with_path(draw, shapes)
