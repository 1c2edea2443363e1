"""Models of big_vision's code in odd sizes: their arguments, weights and inputs."""

import zlib

import numpy as np
from random_models import small_tokenizer

from bigclip.data.tokenizer import save_tokenizer
from bigclip.interop.files import Spec, write_npz

IMAGE_SIZE, CONTEXT_LENGTH, VOCAB_SIZE = 24, 11, 317
IMAGE = {"patch_size": (8, 8), "width": 48, "depth": 3, "num_heads": 3, "mlp_dim": 80}
TEXT = {"width": 40, "depth": 2, "num_heads": 5, "mlp_dim": 72, "vocab_size": VOCAB_SIZE}
# Arguments of `two_towers.Model`; of `vit.Model` for what begins with "vit".
MODELS = {
    "siglip": {
        "image": {**IMAGE, "pool_type": "map"},
        "text": TEXT,
        "out_dim": (None, 48),
        "bias_init": -10.0,
    },
    "siglip_scan": {
        "image": {**IMAGE, "pool_type": "map", "scan": True},
        "text": {**TEXT, "scan": True},
        "out_dim": (36, 36),
        "bias_init": -10.0,
    },
    "lit_tok": {"image": {**IMAGE, "pool_type": "tok"}, "text": TEXT, "out_dim": (None, 48)},
    "lit_gap_sincos": {
        "image": {**IMAGE, "pool_type": "gap", "posemb": "sincos2d"},
        "text": TEXT,
        "out_dim": (36, 36),
    },
    "vit_tok": {**IMAGE, "pool_type": "tok", "num_classes": 7},
}


def draw(shapes):
    """Draw arrays from their names; RandomState's stream is frozen by NumPy's promise."""
    return {name: _draw(name, tuple(shape)) for name, shape in shapes.items()}


def _draw(name, shape):
    leaf = name.split("/")[-1]
    if leaf == "t":
        return np.full(shape, np.log(20.0), np.float32)
    if leaf == "b":
        return np.full(shape, -3.0, np.float32)
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if leaf == "scale":
        return (1 + 0.2 * normal).astype(np.float32)
    if leaf == "kernel":
        layer = shape[1:] if "encoderblock/" in name else shape
        inputs = np.prod(layer[:-1] if "/query" not in name and "/key" not in name else layer[:1])
        return (1.2 * inputs**-0.5 * normal).astype(np.float32)
    return (0.3 * normal).astype(np.float32)


def inputs(image_size=IMAGE_SIZE, num=3):
    """Draw pictures uint8 [num, H, W, 3] and ids int32 [num, L]."""
    rng = np.random.RandomState(7)
    pictures = rng.randint(0, 256, (num, image_size, image_size, 3)).astype(np.uint8)
    return pictures, rng.randint(0, VOCAB_SIZE, (num, CONTEXT_LENGTH)).astype(np.int32)


def pixels(pictures):
    """Normalise as big_vision's value_range(-1, 1)."""
    return pictures.astype(np.float32) / 127.5 - 1


def write(path, arrays, prefix="params/"):
    """Write arrays as a .npz."""
    arrays = {prefix + name: array for name, array in arrays.items()}
    write_npz(path, {k: Spec(v.shape, v.dtype) for k, v in arrays.items()}, arrays.items())
    return path


def tokenizer_file(folder):
    """Write a tokenizer that fits `TEXT`."""
    path = folder / "tokenizer.json"
    if not path.exists():
        save_tokenizer(small_tokenizer(CONTEXT_LENGTH), str(path))
    return str(path)


def tree(params):
    """Nest parameters of ours by their paths."""
    nested = {}
    for name, array in params.items():
        *parents, leaf = name.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    return nested
