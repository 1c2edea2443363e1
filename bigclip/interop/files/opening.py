"""Opens a file of weights, told by what it holds."""

import os
import pathlib

from bigclip.config import ConfigError
from bigclip.interop.files.npz_reading import open_npz
from bigclip.interop.files.safetensors_reading import open_safetensors
from bigclip.interop.files.tensors import (
    Tensor,
    Weights,
    check_count,
    check_name,
    open_regular,
    read_exactly,
)
from bigclip.interop.files.torch_reading import open_torch
from bigclip.interop.files.zips import zip_entries
from bigclip.interop.json_files import parse_json

KINDS = ("safetensors", "torch", "npz")
_OPENERS = dict(zip(KINDS, (open_safetensors, open_torch, open_npz), strict=True))
_BEGINNING_BYTES = 64
_MAX_INDEX_BYTES = 16 << 20
_MAX_SHARDS = 10_000

_PICKLE = (
    "a pickle, not an archive: torch wrote such files before version 1.6. Pickles of others are "
    "never executed. Where you trust the file, save it anew with torch: "
    "torch.save(torch.load(path, map_location='cpu', weights_only=True), new_path)."
)
# What people hand over instead: beginning of the file -> what it is, and the mend.
_OTHERS = {
    b"\x80": _PICKLE,
    b"\x93NUMPY": "a single array of numpy (.npy), which has no names. Save them together: "
    "np.savez(path, name=array, ...).",
    b"\x89HDF": "an HDF5 file (Keras). Convert it to safetensors where it was made.",
    b"version https://git-lfs": "only a pointer of git-lfs. Get the file itself: git lfs pull.",
    b"<": "a web page, not weights. Download the file itself (on Hugging Face: /resolve/ in the "
    "address, not /blob/).",
    b"GGUF": "a GGUF file of llama.cpp. Take the safetensors it was made from.",
    b"\x1f\x8b": "compressed with gzip. Unpack it first.",
}


def open_weights(path: str | os.PathLike, *, kind: str | None = None) -> Weights:
    """Open a file of weights: .safetensors, a zip archive of torch, .npz, or an index of shards.

    What the file holds decides, not its suffix. Only headers are read, nothing of the file is
    executed, no other library is needed, and all sizes are held against the file before memory is
    asked for. Arrays are then read one by one, `weights[name].read()`.

    Args:
        path: of a local file. Of an index (`model.safetensors.index.json`,
            `pytorch_model.bin.index.json`), the shards lie in its folder.
        kind: one of `KINDS`, to take only that.

    Returns:
        The tensors by name.

    Raises:
        ConfigError: if there is no such file, or it is of none of these kinds, cut off, damaged or
            made to do harm. The message says what it is and how to mend it.
    """
    path = os.fspath(path)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"{path}: no kind {kind!r} of files; {', '.join(KINDS)}.")
    if os.path.isdir(path):
        files = [entry.name for entry in pathlib.Path(path).iterdir() if _looks_like(entry.name)]
        raise ConfigError(
            f"{path}: is a folder; name a file of weights. In it: {', '.join(sorted(files)[:20])}."
        )
    found = _kind_of(path)
    if found == "index":
        return _open_index(path, kind)
    if kind not in (None, found):
        raise ConfigError(f"{path}: holds weights as {found}; {kind} is needed here.")
    return _OPENERS[found](path)


def _looks_like(name: str) -> bool:
    return name.endswith((".safetensors", ".pt", ".pth", ".bin", ".npz", ".index.json"))


def _kind_of(path: str) -> str:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = bytearray(min(size, _BEGINNING_BYTES))
        read_exactly(file, 0, memoryview(content), path)
    beginning = bytes(content)
    if not beginning:
        raise ConfigError(f"{path}: is empty.")
    if beginning[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        names = zip_entries(path)
        return "torch" if any(name.endswith("/data.pkl") for name in names) else "npz"
    # The length of a header begins with any byte, so this goes first.
    if beginning[8:9] == b"{":
        return "safetensors"
    if beginning.lstrip()[:1] == b"{":
        return "index"
    for start, what in _OTHERS.items():
        if beginning.startswith(start):
            raise ConfigError(f"{path}: {what}")
    raise ConfigError(
        f"{path}: no safetensors file, no zip archive of torch or numpy, and no index of shards; "
        f"it begins with {beginning[:16]!r}."
    )


def _open_index(path: str, kind: str | None) -> Weights:
    """Open the shards of an index; together they must hold what it lists, and nothing else."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_INDEX_BYTES:
            raise ConfigError(f"{path}: an index of more than {_MAX_INDEX_BYTES} bytes.")
        content = bytearray(size)
        read_exactly(file, 0, memoryview(content), path)
    listed = parse_json(bytes(content), path).get("weight_map")
    if not isinstance(listed, dict):
        raise ConfigError(f"{path}: a JSON file without weight_map, so no index of weights.")
    check_count(len(listed), path)
    shards: dict[str, Weights] = {}
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for name, shard in listed.items():
        check_name(name, path)
        if not isinstance(shard, str) or shard not in shards:
            shards[shard] = _open_shard(path, shard, kind)
            metadata |= shards[shard].metadata
            if len(shards) > _MAX_SHARDS:
                raise ConfigError(f"{path}: lists more than {_MAX_SHARDS} files.")
        if name not in shards[shard]:
            raise ConfigError(f"{path}: {name} is not in {shard}, where the index has it.")
        tensors[name] = shards[shard][name]
    for shard, weights in shards.items():
        left = [name for name in weights if listed.get(name) != shard]
        if left:
            raise ConfigError(
                f"{path}: {shard} holds {len(left)} tensors that the index does not have there: "
                f"{', '.join(left[:5])}."
            )
    return Weights(path, tensors, metadata)


def _open_shard(path: str, shard: object, kind: str | None) -> Weights:
    # A plain name: no way into another folder, on Windows neither. Links are the user's own.
    plain = isinstance(shard, str) and shard.isprintable() and not set(shard) & set("/\\:")
    if not plain or not shard:
        raise ConfigError(f"{path}: lists {_short(shard)}, which is no name of a file beside it.")
    where = os.path.join(os.path.dirname(path), shard)
    if not os.path.isfile(where):
        raise ConfigError(f"{path}: lists {shard[:80]!r}, which is not beside it; copy it, too.")
    if _kind_of(where) == "index":
        raise ConfigError(f"{path}: lists {shard[:80]!r}, which is an index itself.")
    return open_weights(where, kind=kind)


def _short(value: object) -> str:
    return repr(value[:80]) if isinstance(value, str) else f"a {type(value).__name__}"
