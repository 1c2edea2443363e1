"""Reads the zip archives of torch.save and of TorchScript, without torch.

An archive holds `NAME/data.pkl`, which describes the tensors (`pickles.py`), and their elements as
plain files `NAME/data/KEY`. Several tensors may be windows on one of these, in any order of axes.
"""

import functools
import math
import zlib

import numpy as np

from bigclip.config import ConfigError
from bigclip.interop.files.pickle_calls import Module, Opaque, View
from bigclip.interop.files.pickles import MAX_BYTES, read_pickle
from bigclip.interop.files.tensors import (
    MAX_NAME_CHARACTERS,
    MAX_TENSORS,
    Tensor,
    Weights,
    check_count,
    check_lengths,
    check_name,
    check_shape,
    filled,
    open_regular,
    read_exactly,
)
from bigclip.interop.files.zips import Entry, zip_entries

# Where training scripts keep the state dict, beside the optimizer's state and settings.
STATE_KEYS = ("state_dict", "model_state_dict", "model")
_PREFIX = "module."  # of torch's DistributedDataParallel
_UNUSUAL = ("torch._utils._rebuild_", "torch.Q")  # tensors without plain elements
_MAX_DEPTH = 64
_MAX_METADATA_CHARACTERS = 4096
_PLAINLY = "Make it one with torch (dequantize, to_dense, resolve_conj), and save it anew."
_ANEW = "Save it anew: torch.save({k: v.contiguous() for k, v in state_dict.items()}, path)."


def open_torch(path: str) -> Weights:
    """Read which tensors an archive of torch holds, and hold their sizes against its files.

    Of a state dict all tensors are given; other entries are passed over, numbers and texts go to
    `metadata`. Of a training checkpoint, the state dict below "state_dict", "model_state_dict" or
    "model". Of a TorchScript archive all tensors that are attributes of modules, named by their
    paths, buffers that a state dict would leave out included. A prefix "module." that all names
    have is taken away.

    Raises:
        ConfigError: if the archive cannot be read (`pickles.py` says what can), or a tensor lies
            outside of its storage, shares elements with itself, or is of a kind that has no plain
            array (quantised, sparse, a subclass).
    """
    entries = zip_entries(path)
    described = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(described) != 1:
        raise ConfigError(
            f"{path}: no archive of torch.save, which has one data.pkl in one folder; "
            f"found: {len(described)}."
        )
    folder = described[0].removesuffix("data.pkl")
    order = entries.get(f"{folder}byteorder")
    if order and order.read(16) != b"little":
        raise ConfigError(f"{path}: written by a big-endian machine; save it anew on another.")
    where = f"{path}: {described[0]}"
    if entries[described[0]].size > MAX_BYTES:
        raise ConfigError(f"{where}: more than {MAX_BYTES} bytes are not read.")
    content = bytearray()
    for chunk in entries[described[0]].chunks():
        content += chunk
    top = read_pickle(bytes(content), where)
    if isinstance(top, Module):
        found, metadata = _of_modules(top, path), {}
    else:
        found, metadata = _of_dicts(top, path)
    check_count(len(found), path)
    if all(name.startswith(_PREFIX) for name in found):
        found = {name.removeprefix(_PREFIX): view for name, view in found.items()}
    tensors = {
        check_name(name, path): _tensor(f"{path}: {name}", name, view, folder, entries)
        for name, view in found.items()
    }
    return Weights(path, tensors, metadata)


def _of_dicts(top: object, path: str) -> tuple[dict[str, View], dict[str, str]]:
    """Find the tensors of a state dict, and the numbers and texts beside or around it."""
    if not isinstance(top, dict):
        raise ConfigError(
            f"{path}: holds no state dict but {_kind(top)}. Save one: "
            "torch.save(model.state_dict(), path)."
        )
    metadata = _scalars(top)
    # First these: a checkpoint may hold tensors of its own beside them, as of a random generator.
    inside = [top[key] for key in STATE_KEYS if isinstance(top.get(key), dict)]
    state = next((state for state in (*inside, top) if _holds_tensors(state)), None)
    if state is None:
        raise ConfigError(
            f"{path}: holds no tensors, and no state dict as {', '.join(STATE_KEYS)}; its "
            f"keys: {', '.join(repr(key[:80]) for key in list(top)[:20]) or 'none'}."
        )
    for name, value in state.items():
        if isinstance(value, Opaque) and value.name.startswith(_UNUSUAL):
            raise ConfigError(
                f"{path}: {name[:80]!r}: {_kind(value)} is no plain tensor. {_PLAINLY}"
            )
    return {name: view for name, view in state.items() if isinstance(view, View)}, metadata


def _holds_tensors(state: dict) -> bool:
    return any(isinstance(value, View) for value in state.values())


def _scalars(entries: dict) -> dict[str, str]:
    return {
        name: str(value)
        for name, value in entries.items()
        if type(value) in (bool, int, float, str)
        and len(str(value)) <= _MAX_METADATA_CHARACTERS
        and (name + str(value)).isprintable()
    }


def _kind(value: object) -> str:
    if isinstance(value, View):
        return "a single tensor"
    return repr(value.name[:200]) if isinstance(value, Opaque) else f"a {type(value).__name__}"


def _of_modules(top: Module, path: str) -> dict[str, View]:
    """Go through modules in modules. One that has two names gives its tensors both.

    So a short file can name a tensor a trillion times, or without end: all that is looked at is
    counted, and names are kept short before they are made.
    """
    found, waiting, seen = {}, [("", 0, top)], 0
    while waiting:
        prefix, depth, module = waiting.pop()
        seen += 1 + len(module.attributes)
        if depth > _MAX_DEPTH or seen > MAX_TENSORS:
            raise ConfigError(f"{path}: its modules are nested without end.")
        below = []
        for name, value in module.attributes.items():
            if len(prefix) + len(name) > MAX_NAME_CHARACTERS:
                raise ConfigError(f"{path}: a name of more than {MAX_NAME_CHARACTERS} characters.")
            if isinstance(value, View):
                found[prefix + name] = value
            elif isinstance(value, Module):
                below.append((f"{prefix}{name}.", depth + 1, value))
        waiting.extend(reversed(below))
    return found


def _tensor(where: str, name: str, view: View, folder: str, entries: dict[str, Entry]) -> Tensor:
    storage, itemsize = view.storage, view.dtype.itemsize
    shape = check_shape(view.shape, itemsize, where)
    strides = check_lengths(view.strides, where)
    entry = entries.get(f"{folder}data/{storage.key}")
    if entry is None:
        raise ConfigError(f"{where}: its storage {storage.key[:80]!r} is not in the archive.")
    if entry.deflated:
        raise ConfigError(f"{where}: is compressed, which torch cannot read either. {_ANEW}")
    claimed = storage.length * (storage.dtype.itemsize if storage.dtype else 1)
    if not 0 <= claimed <= entry.size:
        raise ConfigError(
            f"{where}: its storage claims {claimed} bytes and has {entry.size}; damaged."
        )
    if len(strides) != len(shape):
        raise ConfigError(f"{where}: {len(shape)} axes and {len(strides)} strides.")
    size = math.prod(shape)
    span = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    span = span if size else 0
    if view.offset < 0 or (view.offset + span) * itemsize > claimed:
        raise ConfigError(
            f"{where}: {list(shape)} with strides {list(strides)} from element {view.offset} on "
            f"lies outside of its storage of {claimed} bytes."
        )
    # So what is read is never larger than what is in the file.
    if size > span:
        raise ConfigError(f"{where}: its elements share memory (an expanded tensor). {_ANEW}")
    # The stride of an axis of one element is never used, and may be anything.
    strides = tuple(s if n != 1 else 0 for n, s in zip(shape, strides, strict=True))
    read = functools.partial(_read, where, entry, view, shape, strides, span)
    return Tensor(name, shape, view.dtype, read)


def _read(
    where: str, entry: Entry, view: View, shape: tuple, strides: tuple, span: int
) -> np.ndarray:
    itemsize = view.dtype.itemsize
    start = entry.offset + view.offset * itemsize

    def fill(content: memoryview) -> None:
        with open_regular(entry.path) as file:
            read_exactly(file, start, content, where)
        # Only of the whole storage a checksum is known; zero where torch was told to leave it out.
        if len(content) == entry.size and entry.crc not in (0, zlib.crc32(content)):
            raise ConfigError(f"{where}: its checksum (CRC-32) differs: damaged; copy it again.")

    elements = filled((span,), view.dtype, fill)
    if not span or _contiguous(shape, strides):
        return elements.reshape(shape)
    steps = [stride * itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(elements, shape, steps).copy(order="C")


def _contiguous(shape: tuple, strides: tuple) -> bool:
    step = 1
    for length, stride in zip(shape[::-1], strides[::-1], strict=True):
        if length != 1 and stride != step:
            return False
        step *= length
    return True
