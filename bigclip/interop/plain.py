"""Plain safetensors: one file with our own names and all that belongs to the model.

Every parameter lies there under its path with layers one by one ("image/block_07/mlp/up/kernel"),
float32, as docs/weights_format.md lists them; and the manifest of the checkpoint (architecture,
preprocessing, tokenizer, configuration) as one more array, `manifest`: the bytes of a JSON text.
It is not in the header, where readers refuse what is large, and vocabularies have megabytes; the
header repeats the short facts for people and for hubs.

Nothing but a reader of safetensors is needed to use it, and it comes back bit by bit.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bigclip import models
from bigclip.checkpoints.manifest import FORMAT as MANIFEST_FORMAT
from bigclip.config import ConfigError
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import Tokenizer
from bigclip.interop.files import Spec, Weights, open_weights, write_safetensors
from bigclip.interop.format import Format, Imported, ReadOptions
from bigclip.interop.mapping import Row
from bigclip.interop.outgoing import TASK, Outgoing

MANIFEST = "manifest"  # the array; no parameter is called so
_VERSION_KEY, _VERSION = "bigclip_weights", "1"
_MAX_MANIFEST_BYTES = 1 << 28  # the largest vocabulary, Gemma 3's, takes 35 MB
_TOWERS = ("image", "text")
# What every manifest holds: `checkpoints.make_manifest` and `at_step` write it.
_KINDS = {
    "run_id": str,
    "task": dict,
    "preprocess": dict,
    "tokenizer": dict,
    "versions": dict,
    "config": dict,
    "step": int,
    "examples_seen": int,
    "towers": list,
}


def recognises(path: Path) -> bool:
    """Tell by the header of a .safetensors file whether `write` made it."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        return _VERSION_KEY in open_weights(path, kind="safetensors").metadata
    except ConfigError:
        return False


def write(path: Path, outgoing: Outgoing) -> None:
    """Write a checkpoint as one file.

    Args:
        path: of the file; nothing may exist there.
        outgoing: the checkpoint, of any architecture.
    """
    manifest = {**outgoing.manifest, "has_ema": False, "towers": list(outgoing.towers)}
    text = json.dumps(manifest, ensure_ascii=False, separators=(",", ":")).encode()
    specs, arrays = outgoing.translated(
        [Row(name, name) for name in outgoing.shapes],
        where="safetensors",
        extra={
            MANIFEST: (
                Spec((len(text),), np.dtype(np.uint8)),
                lambda _: np.frombuffer(text, np.uint8),
            )
        },
    )
    metadata = {
        _VERSION_KEY: _VERSION,
        "architecture": json.dumps(outgoing.architecture),
        "loss": outgoing.loss,
        "preprocess": json.dumps(outgoing.preprocess.to_dict()),
        "towers": json.dumps(outgoing.towers),
        "step": str(outgoing.step),
    }
    write_safetensors(path, specs, arrays, metadata=metadata)


def read(path: Path, options: ReadOptions) -> Imported:
    """Read a file of `write`.

    Args:
        path: of the file.
        options: `tower` leaves the other one out; the file tells everything else.

    Raises:
        ConfigError: if it is no such file, or its manifest is damaged.
    """
    weights = open_weights(path, kind="safetensors")
    for name in ("architecture", "tokenizer"):
        if getattr(options, name) is not None:
            raise ConfigError(f"{path}: the file tells its {name} itself: leave --{name} away.")
    manifest = read_manifest(weights)
    task, held = manifest["task"], tuple(name for name in _TOWERS if name in manifest["towers"])
    try:
        arch, loss = models.architecture(task["architecture"]), task["loss"]
        preprocess = Preprocess(**manifest["preprocess"])
        tokenizer = Tokenizer.from_dict(manifest["tokenizer"])
    except ConfigError as error:
        raise _damaged(weights, str(error)) from error
    # What libraries of tokenizers raise for damaged data is nowhere listed.
    except Exception as error:
        raise _damaged(weights, f"{type(error).__name__}: {error}") from error
    # A task's manifest has no overrides: its architecture is whole.
    if task.get("name") != TASK or "overrides" in task or not held:
        raise _damaged(weights, f"no model of the task {TASK!r}")
    strange = [name for name in weights if "{" in name or "}" in name]
    if strange:  # which stands for the number of a layer in tables
        raise ConfigError(f"{path}: {strange[0]!r} is no name of a parameter of bigclip.")
    towers = held if options.tower is None else (options.tower,)
    if not set(towers) <= set(held):
        raise ConfigError(f"{path}: holds the {held[0]} tower alone; leave --tower away.")
    left_out = "|".join(name for name in held if name not in towers)
    return Imported(
        weights=weights,
        rows=tuple(Row(name, name) for name in weights if name != MANIFEST),
        architecture=arch,
        loss=loss,
        preprocess=preprocess,
        tokenizer=tokenizer,
        towers=towers,
        ignored=(MANIFEST, *([f"({left_out})/.*"] if left_out else [])),
        manifest=manifest,
    )


def read_manifest(weights: Weights) -> dict[str, Any]:
    """Read the manifest of the checkpoint that a file was written from.

    Raises:
        ConfigError: if there is none, or none of a known format.
    """
    version = weights.metadata.get(_VERSION_KEY)
    if version is None or MANIFEST not in weights:
        raise ConfigError(
            f"{weights.path}: no safetensors file that bigclip wrote (it lacks {_VERSION_KEY!r} or "
            f"the array {MANIFEST!r}). A file of another library: say its --format."
        )
    if version != _VERSION:
        raise ConfigError(
            f"{weights.path}: of version {version[:20]!r} of the format; this bigclip reads "
            f"version {_VERSION}. Use a newer bigclip."
        )
    tensor = weights[MANIFEST]
    if tensor.dtype != np.uint8 or tensor.nbytes > _MAX_MANIFEST_BYTES:
        raise _damaged(weights, f"{tensor.dtype}, {tensor.nbytes} bytes")
    try:
        text = tensor.read().tobytes().decode()
        manifest = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(weights, str(error)) from error
    if not isinstance(manifest, Mapping) or manifest.get("format") != MANIFEST_FORMAT:
        raise _damaged(weights, f"not of format {MANIFEST_FORMAT}")
    for name, kind in _KINDS.items():
        # Exactly: a bool is an int to isinstance.
        if type(manifest.get(name)) is not kind:
            raise _damaged(weights, f"{name!r} is missing, or of a wrong type")
    if not all(0 <= manifest[name] < 1 << 63 for name in ("step", "examples_seen")):
        raise _damaged(weights, "a step or a number of examples out of bounds")
    return dict(manifest)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _damaged(weights: Weights, why: str) -> ConfigError:
    return ConfigError(f"{weights.path}: its manifest cannot be used: {why[:300].rstrip('.')}.")


_USAGE = """\
from safetensors.numpy import load_file

params = load_file("{path}")  # names and shapes: docs/weights_format.md of bigclip"""

FORMAT = Format(
    name="safetensors",
    title="plain safetensors with bigclip's own names: everything in one file, for any framework",
    suffixes=(".safetensors",),
    recognises=recognises,
    read=read,
    write=write,
    reference=None,
    install="pip install safetensors",
    usage=_USAGE,
)
