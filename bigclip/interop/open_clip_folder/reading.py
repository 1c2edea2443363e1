"""A model of open_clip: a folder for "local-dir:", or one file of weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigclip import models
from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.interop.clip_tokenizer import given_or_clips
from bigclip.interop.files import Weights, open_weights
from bigclip.interop.format import Imported, ReadOptions
from bigclip.interop.json_files import read_json
from bigclip.interop.open_clip_folder.config_reading import read_config
from bigclip.interop.open_clip_folder.preprocessing import read_preprocess
from bigclip.interop.open_clip_folder.tables import TRUNK, Layout, layout_of, rows
from bigclip.interop.open_clip_folder.tokenizers import tokenizer_of
from bigclip.interop.openai_rows import BUFFERS
from bigclip.interop.timm_folder.names import NAMES, nearest
from bigclip.interop.timm_folder.reading import zero_biases
from bigclip.interop.weights_files import HUB, weights_file

CONFIG = "open_clip_config.json"
# In the order in which open_clip looks for them.
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
WEIGHTS += ("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", *HUB)
_FILE = "To read one file, name its architecture: --architecture "


def read(path: Path, options: ReadOptions) -> Imported:
    """Read a model.

    Args:
        path: a folder with open_clip_config.json; or a file of weights, beside such a
            configuration or not.
        options: for a file alone, `architecture` is needed: a name of ours, or the path of a
            configuration as open_clip's `model_configs` are.

    Raises:
        ConfigError: for what our towers cannot be, and where something must be told.
    """
    folder = path if path.is_dir() else path.parent
    place = folder / CONFIG
    if path.is_dir():
        path = weights_file(path, WEIGHTS)
    weights = open_weights(path)
    layout = layout_of(weights)
    if options.architecture is not None and not options.architecture.endswith(".json"):
        return _by_name(weights, layout, options)
    if options.architecture is not None:
        place = Path(options.architecture).expanduser()
    elif not place.exists():
        raise ConfigError(
            f"{path} tells no heads and no activation, and there is no {CONFIG} beside it. {_FILE}"
            "a name of bigclip's that has its activation (openclip-vit-b-32 has GELU, "
            "clip-vit-b-32 QuickGELU), or the path of a configuration of open_clip's (.json)."
        )
    content = read_json(place)
    config = content.get("model_cfg", content)
    arch = read_config(config, weights, layout, f"{place}: model_cfg")
    prepare, notes = read_preprocess(
        content.get("preprocess_cfg") or {},
        arch["image"]["image_size"],
        f"{place}: preprocess_cfg",
    )
    tokenizer, more = tokenizer_of(place.parent, config["text_cfg"], options, str(place))
    if "preprocess_cfg" not in content:
        notes += (_guessed(prepare),)
    if options.architecture is not None:
        notes += (_taken(arch, options.architecture),)
    return _imported(weights, layout, arch, options, prepare, tokenizer, notes + more)


def _by_name(weights: Weights, layout: Layout, options: ReadOptions) -> Imported:
    """Read a file whose architecture the user names."""
    arch = models.architecture(options.architecture)
    if layout.trunk != (arch["image"].get("pool") in ("map", "mean")):
        raise ConfigError(
            f"{weights.path} is no {options.architecture}: its image tower is "
            f"{'one of timm' if layout.trunk else 'none of timm'}."
        )
    if layout.trunk:
        # It always has a bias of patches, which counts if it is more than zeros.
        arch["image"]["patch_bias"] = not zero_biases(weights, TRUNK)
    text = arch["text"]
    prepare = Preprocess(size=arch["image"]["image_size"], resize="crop")
    if arch["image"].get("pool") == "map":
        half = (0.5, 0.5, 0.5)
        prepare = Preprocess(size=prepare.size, resize="squash", mean=half, std=half)
    clean = "canonical" if layout.trunk else "clip"
    tokenizer = given_or_clips(
        options.tokenizer, text["context_length"], text["vocab_size"], weights.path, clean=clean
    )
    notes = _guessed(prepare), _taken(arch, options.architecture)
    if layout.trunk:
        notes += _otherwise(arch["image"])
    return _imported(weights, layout, arch, options, prepare, tokenizer, notes)


def _taken(arch: Mapping[str, Any], name: str) -> str:
    """Tell what no array of the file could contradict."""
    told = ", ".join(
        f"{tower}.{field} = {arch[tower][field]!r}"
        for tower in ("image", "text")
        for field in ("activation", "num_heads")
        if field in arch[tower]
    )
    return (
        f"The file does not tell its activations and heads; taken from {name}: {told}. With other "
        "ones than it was trained with, embeddings are wrong and no error shows it. Of open_clip's "
        "models, those of LAION and DataComp have 'gelu' (openclip-vit-b-32, ...); those of "
        "OpenAI, MetaCLIP and DFN 'quick_gelu' (clip-vit-b-32, ..., openclip-vit-h-14-quickgelu)."
    )


def _otherwise(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Tell where open_clip computes another activation than the architecture of a SigLIP has."""
    name, away = nearest(image)
    if away != ["activation"]:
        return ()
    return (
        f"open_clip computes {NAMES[name]['activation']!r} in this image tower (timm's {name}), "
        f"and not {image['activation']!r}: its embeddings differ by about 2e-4 of the largest "
        "value. A folder with its open_clip_config.json comes in as open_clip computes it.",
    )


def _guessed(prepare: Preprocess) -> str:
    return (
        "The file does not tell how pictures are prepared; as usual for such a model, they are "
        f"resized by {prepare.resize!r} ({prepare.interpolation}) and normalised by {prepare.mean}."
    )


def _imported(
    weights: Weights,
    layout: Layout,
    arch: dict[str, Any],
    options: ReadOptions,
    prepare: Preprocess,
    tokenizer: Any,
    notes: tuple[str, ...],
) -> Imported:
    ignored = BUFFERS
    if layout.trunk:
        ignored += zero_biases(weights, TRUNK) + zero_biases(weights, "", f"{layout.head}.bias")
    return Imported(
        weights=weights,
        rows=rows(arch, layout),
        architecture=arch,
        loss="sigmoid" if "logit_bias" in weights else "softmax",
        preprocess=prepare,
        tokenizer=tokenizer,
        towers=("image", "text") if options.tower is None else (options.tower,),
        ignored=ignored,
        notes=notes,
    )
