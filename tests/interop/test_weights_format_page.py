"""docs/weights_format.md: its tables list the parameters that there are, and its code computes."""

import itertools
import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from random_models import InMemory, shapes_of

from bigclip.interop import plain
from bigclip.models import ImageTower, architecture

PAGE = (Path(__file__).parents[2] / "docs" / "weights_format.md").read_text()
SMALL_TEXT = {"vocab_size": 300, "context_length": 11, "width": 40, "depth": 1}
SMALL_TEXT |= {"num_heads": 5, "mlp_width": 72}
MODELS = {
    "clip": architecture("tiny-clip", image={"depth": 2}, text={"depth": 1}),
    "siglip": architecture(
        "tiny-siglip", image={"depth": 1, "projection": True, "projection_bias": True}
    ),
    "conv": architecture("tiny-convstem-8", image={"depth": 1}, text={**SMALL_TEXT}),
    "resnet": architecture(
        "clip-rn50",
        image={"image_size": 64, "stages": [1, 2, 1, 1], "width": 8, "num_heads": 4},
        text=SMALL_TEXT,
        embed_dim=36,
    ),
}


def sections():
    """Each table: for the image towers and the text tower, rows of name and shape."""
    tables = re.findall(r"\| name \| shape \| there with \|\n\|[- |]+\n((?:\|.*\n)+)", PAGE)
    found = {}
    for title, table in zip(("scale", "vit", "resnet", "text"), tables, strict=True):
        lines = (line.strip("|\n ").split(" | ") for line in table.splitlines())
        found[title] = [(name.strip("`"), shape) for name, shape, _ in lines]
    return found


def expanded(name):
    """A name with choices in braces as names with one; {i} and {s} as they are."""
    parts = re.split(r"(\{[^}]*,[^}]*\})", name)
    choices = [part[1:-1].split(",") if "," in part else [part] for part in parts]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def patterns(kind):
    """Regular expression -> the page's words on the shape, for one kind of image tower."""
    found = {}
    for title, rows in sections().items():
        if title in ("scale", "text", kind):
            for name, shape in rows:
                for one in expanded(name):
                    number = r"(?P<\2>\\d+)"
                    found[re.sub(r"(\\?\{)(\w)(\\?\})", number, re.escape(one))] = shape
    return found


def expected_shape(words, arch, path, groups):
    """Work a shape out from the page's words."""
    image, text = arch["image"], arch["text"]
    tower = text if path.startswith("text/") else image
    names = {"D": arch["embed_dim"]}
    i, s = (int(groups.get(key) or 0) for key in "is")
    if tower.get("tower") == "resnet":
        w = image["width"]
        names |= {"w": w, "F": 32 * w, "P": (image["image_size"] // 32) ** 2, "c": w * 2**s}
        entering = 4 * w * 2**s if i else (4 * w * 2 ** (s - 1) if s else w)
        names["I"] = entering
        words = words.replace("3 or w / 2", "3" if i == 0 else "w / 2")
        words = words.replace("w / 2 or w", "w" if i == 2 else "w / 2").replace("4 c", "4 * c")
    else:
        names |= {"E": tower["width"], "M": tower["mlp_width"]}
    if "patch_size" in tower:
        p = image["patch_size"]
        halvings = p.bit_length() - 1
        names |= {"p": p, "P": (image["image_size"] // p) ** 2}
        names["C"] = [image["width"] // 2 ** (halvings - 1 - j) for j in range(halvings)]
        words = words.replace("3 or C[i - 1]", "3" if i == 0 else "C[i - 1]")
        if image["pool"] == "class":
            words = words.replace("[P, E]; ", "")
    else:
        names |= {"V": text["vocab_size"], "L": text["context_length"]}
    words = words.split(";")[0].split(", the")[0].split(" with")[0]
    return tuple(int(size) for size in eval(words, names | {"i": i}))


def test_the_tables_list_every_parameter_and_its_shape():
    seen = set()
    for arch in MODELS.values():
        known = patterns("resnet" if "tower" in arch["image"] else "vit")
        for path, shape in shapes_of(arch, loss="sigmoid").items():
            hits = [(pattern, match) for pattern in known if (match := re.fullmatch(pattern, path))]
            assert len(hits) == 1, (path, [pattern for pattern, _ in hits])
            pattern, match = hits[0]
            seen.add(pattern)
            assert expected_shape(known[pattern], arch, path, match.groupdict()) == shape, path
    unknown = {*patterns("vit"), *patterns("resnet")} - seen
    assert not unknown, "the page lists what no model has"


@pytest.mark.parametrize(
    ("name", "pool", "activation"),
    [("clip", "class", "quick_gelu"), ("siglip", "map", "gelu_tanh"), ("clip", "mean", "gelu")],
)
def test_its_code_embeds_pictures(name, pool, activation, tmp_path, monkeypatch):
    """With what any reader of safetensors gives in place of the library, which is not needed."""
    arch = architecture(MODELS[name], image={"pool": pool, "activation": activation})
    model = InMemory(arch, loss="sigmoid")
    model.manifest["format"] = 1
    plain.write(tmp_path / "MODEL.safetensors", model)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    library = types.ModuleType("safetensors.numpy")
    library.load_file = lambda path: {
        key: tensor.read() for key, tensor in plain.open_weights(path).items()
    }
    monkeypatch.setitem(sys.modules, "safetensors", types.ModuleType("safetensors"))
    monkeypatch.setitem(sys.modules, "safetensors.numpy", library)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    pixels = np.random.RandomState(0).standard_normal((2, 24, 24, 3)).astype(np.float32)
    found = names["embed"](pixels)
    tower = ImageTower(arch["embed_dim"], **arch["image"], dtype="float32")
    params: dict = {}
    for path, array in model.params.items():
        *parents, leaf = path.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    expected, _ = jax.jit(tower.apply)({"params": params["image"]}, pixels)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
