"""A folder of transformers, read but for its arrays."""

import re
from pathlib import Path

from bigclip import models
from bigclip.config import ConfigError
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.files import Weights, open_weights
from bigclip.interop.format import Imported, ReadOptions
from bigclip.interop.given_tokenizer import fit_tokenizer, open_tokenizer
from bigclip.interop.json_files import read_json
from bigclip.interop.transformers_folder.config_reading import (
    LEGACY_EOS,
    ReadConfig,
    read_config,
)
from bigclip.interop.transformers_folder.processors import read_processor
from bigclip.interop.transformers_folder.tables import (
    CLASSES,
    IGNORED,
    PATCHES,
    flat_to_kernel,
    rows,
)
from bigclip.interop.transformers_folder.tokenizer_reading import read_tokenizer

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def recognises(path: Path) -> bool:
    """Tell by config.json."""
    if not (path / "config.json").is_file():
        return False
    try:
        return read_json(path / "config.json").get("model_type") in tuple(CLASSES)
    except ConfigError:
        return False


def read(folder: Path, options: ReadOptions) -> Imported:
    """Read a folder of `save_pretrained`, with the files of its processor.

    A `Siglip2Model` (NaFlex) is read at its native grid, where it is exact: what it does beyond,
    pictures of any proportions, is not kept.

    Raises:
        ConfigError: for what is missing, damaged or of a kind that our towers cannot compute.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; a model of transformers is one.")
    found = read_config(read_json(folder / "config.json"), folder / "config.json")
    if options.architecture is not None:
        _check_architecture(found, options.architecture, folder)
    arch = found.architecture
    weights = open_weights(_weights_file(folder))
    prepare, notes = read_processor(folder, found.model_type, arch["image"]["image_size"])
    notes = found.notes + notes + _dtype_notes(weights)
    towers = ("image", "text") if options.tower is None else (options.tower,)
    context_length = arch["text"]["context_length"]
    tokenizer = None
    if options.tokenizer is not None:
        tokenizer = open_tokenizer(
            options.tokenizer,
            context_length=context_length,
            family="clip" if found.model_type == "clip" else "siglip",
            # A NaFlex model is a SigLIP 2, whatever its vocabulary.
            clean="lower" if found.model_type == "siglip2" else None,
        )
        notes += (
            f"Texts are cleaned by the rule {tokenizer.clean!r} of bigclip, and filled up with the "
            f"id {tokenizer.pad}.",
        )
    elif "text" in towers:
        tokenizer, more = read_tokenizer(folder, found.model_type, context_length)
        notes += more
    if "text" in towers:
        tokenizer = fit_tokenizer(tokenizer, arch["text"]["vocab_size"], str(folder))
        _check_end(found, tokenizer, folder)
    extra, ignored = {}, IGNORED
    if found.model_type == "siglip2":
        ignored += (re.escape(PATCHES),)
        if "image" in towers:
            extra["image/stem/kernel"] = _flat_kernel(arch["image"], weights)
    return Imported(
        weights=weights,
        rows=rows(found.model_type),
        architecture=arch,
        loss="softmax" if found.model_type == "clip" else "sigmoid",
        preprocess=prepare,
        tokenizer=tokenizer,
        towers=towers,
        ignored=ignored,
        extra=extra,
        notes=notes,
        origin={"class": CLASSES[found.model_type]},
    )


def _weights_file(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).exists():
            return folder / name
    raise ConfigError(f"{folder} has no weights: none of {', '.join(_WEIGHTS)}.")


def _check_architecture(found: ReadConfig, name: str, folder: Path) -> None:
    if models.architecture(name) != found.architecture:
        raise ConfigError(
            f"--architecture {name}: {folder}/config.json tells another one; leave the option away."
        )


def _dtype_notes(weights: Weights) -> tuple[str, ...]:
    dtypes = sorted({str(tensor.dtype) for name, tensor in weights.items() if ".weight" in name})
    if dtypes in ([], ["float32"]):
        return ()
    return (f"The weights are stored as {', '.join(dtypes)}; here they become float32.",)


def _flat_kernel(image: dict, weights: Weights):
    size, width = image["patch_size"], image["width"]
    shape = (width, size * size * 3)
    if PATCHES not in weights or weights[PATCHES].shape != shape:
        given = list(weights[PATCHES].shape) if PATCHES in weights else "missing"
        raise ConfigError(f"{weights.path}: {PATCHES} must be {list(shape)}, but is {given}.")
    return lambda read: flat_to_kernel(read(PATCHES), size)


def _check_end(found: ReadConfig, tokenizer: Tokenizer, folder: Path) -> None:
    if found.eos_token_id in (None, LEGACY_EOS):
        return
    if found.eos_token_id != tokenizer.eot or tokenizer.eot != tokenizer.vocab_size - 1:
        raise ConfigError(
            f"{folder}: the text tower pools at the token {found.eos_token_id} (config.json: "
            f"text_config.eos_token_id), its tokenizer ends texts with {tokenizer.eot}, and ids go "
            f"up to {tokenizer.vocab_size - 1}. Our towers pool at the largest id: these three "
            "must be one."
        )
