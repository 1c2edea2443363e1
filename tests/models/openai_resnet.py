"""openai/CLIP's ModifiedResNet with drawn weights, and their place in bigclip's tree.

Only for tests marked `peers` and for the script that makes the goldens; `draw`, `to_bigclip` and
`inputs` need no torch.
"""

import importlib.util
import pathlib
import re
import sys
import zlib

import numpy as np

FLOAT = np.float32


def definition():
    """Import `clip/model.py` alone: the package itself wants pkg_resources and torchvision."""
    if "openai_clip_model" not in sys.modules:
        folder = pathlib.Path(importlib.util.find_spec("clip").origin).parent
        spec = importlib.util.spec_from_file_location("openai_clip_model", folder / "model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[spec.name] = module
    return sys.modules["openai_clip_model"]


def build(arch: dict):
    """Return the tower with the shapes of `arch`."""
    image = arch["image"]
    return definition().ModifiedResNet(
        image["stages"],
        arch["embed_dim"],
        image["num_heads"],
        input_resolution=image["image_size"],
        width=image["width"],
    )


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw an array by its name; RandomState's stream is frozen by NumPy's promise."""
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        return np.exp(0.3 * normal).astype(FLOAT)
    if len(shape) == 1:  # a scale is around 1, all other vectors around 0
        is_scale = name.endswith("weight")
        return (is_scale + 0.2 * normal).astype(FLOAT)
    if name.endswith("positional_embedding"):
        return normal.astype(FLOAT)
    return (1.5 * float(np.prod(shape[1:])) ** -0.5 * normal).astype(FLOAT)


def fill(model) -> dict[str, np.ndarray]:
    """Draw all weights and running statistics of the model, in place; return them."""
    import torch

    state = {name: x for name, x in model.state_dict().items() if "num_batches" not in name}
    weights = {name: draw(name, tuple(x.shape)) for name, x in state.items()}
    missing = model.load_state_dict({k: torch.from_numpy(w) for k, w in weights.items()}, False)
    assert not missing.unexpected_keys
    return weights


def inputs(arch: dict, *, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images [num, H, W, 3], and what the loss multiplies embeddings with, [num, D]."""
    rng, size = np.random.RandomState(11), arch["image"]["image_size"]
    images = rng.standard_normal((num, size, size, 3))
    return images.astype(FLOAT), rng.standard_normal((num, arch["embed_dim"])).astype(FLOAT)


def outputs(model, images: np.ndarray, factors: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Run the model as in evaluation and, once, as in training.

    Returns:
        "embedding": of "evaluation" and of "training", [b, D]; "statistics": name -> what the
        training pass has made of each running statistic; "gradient": name -> of the sum of
        embedding x factors.
    """
    import torch

    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        evaluated = model.eval()(pixels).numpy()
    trained = model.train()(pixels)
    (trained * torch.from_numpy(factors)).sum().backward()
    state = model.state_dict()
    return {
        "embedding": {"evaluation": evaluated, "training": trained.detach().numpy()},
        "statistics": {name: x.numpy() for name, x in state.items() if "running" in name},
        "gradient": {name: x.grad.numpy() for name, x in model.named_parameters()},
    }


_ENDS = {"weight": "scale", "bias": "bias"}
_POOL = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "c_proj": "out"}


def path(name: str) -> str:
    """Our path of their name."""
    *parts, end = name.split(".")
    where = ""
    if parts[0] == "attnpool":
        if end == "positional_embedding":
            return "attention_pool/position"
        return f"attention_pool/{_POOL[parts[1]]}/{'kernel' if end == 'weight' else end}"
    if parts[0].startswith("layer"):
        where = f"stage_{int(parts[0][5:]) - 1}/block_{int(parts[1]):02d}/"
        if parts[2] == "downsample":
            kind = {"0": "shortcut_conv", "1": "shortcut_bn"}[parts[3]]
            return where + kind + "/" + ("kernel" if parts[3] == "0" else _ENDS.get(end, end))
        parts = parts[2:]
    kind, number = re.fullmatch(r"(conv|bn)(\d)", parts[0]).groups()
    end = "kernel" if kind == "conv" else _ENDS.get(end, end)
    return f"{where or 'stem/'}{kind}_{int(number) - 1}/{end}"


def to_bigclip(arrays: dict[str, np.ndarray]) -> dict:
    """Return our tree of their arrays (weights, statistics or gradients)."""
    tree = {}
    for name, array in arrays.items():
        *parents, leaf = path(name).split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        assert leaf not in node
        if leaf == "kernel":
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        node[leaf] = array
    return tree
