"""What a pickle of torch may hold and call: inert objects, and functions that take tuples apart.

The functions stand for those of torch and of Python whose names they are listed under in `CALLS`.
None of those is imported or called: a tensor becomes the description of one.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from bigclip.interop.files.torch_names import INERT, NAMED_DTYPES


class Storage(NamedTuple):
    """A file of the archive with the elements of one or more tensors."""

    key: str
    dtype: np.dtype | None  # None: bytes
    length: int  # in elements, as claimed


class View(NamedTuple):
    """A tensor: a window on a storage, all numbers in elements and as claimed."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple
    strides: tuple


class Opaque:
    """An object of which only the class's name is known."""

    def __init__(self, name: str):
        self.name = name


class Module(Opaque):
    """A TorchScript module: parameters, buffers, settings and modules by name."""

    def __init__(self, name: str):
        super().__init__(name)
        self.attributes: dict[str, object] = {}


class Name(NamedTuple):
    """The name of a class or function, which nobody looks up."""

    name: str


def of(kind: type, value: object):
    """Return the value, which must be of exactly this kind; else ValueError."""
    # Exactly: a bool is an int to isinstance, a View a tuple.
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def fill(target: dict, pairs: Iterable[tuple[object, object]]) -> None:
    """Put entries into a dict; two of one key are an error."""
    for key, value in pairs:
        # Other keys number an optimizer's entries. Left out, none can be chosen to collide.
        if isinstance(key, str):
            if key in target:
                raise ValueError(f"{key[:80]!r} stands in a dict twice")
            target[key] = value


def call(callee: object, arguments: tuple) -> object:
    """Make what a call by this name describes; ValueError where the name cannot be called."""
    name = of(Name, callee).name
    if name in CALLS:
        return CALLS[name](*arguments)
    if name in INERT:
        return Opaque(name)
    raise ValueError(f"{name} is called")


def _tensor(
    storage: Storage,
    offset: int,
    shape: tuple,
    strides: tuple,
    grad: object = False,
    hooks: object = None,
    metadata: object = None,
) -> object:
    if isinstance(storage, Opaque):
        return storage
    if isinstance(metadata, dict) and metadata:  # {"conj": True} or {"neg": True}, and not yet done
        return Opaque("torch._utils._rebuild_tensor_v2, conjugated or negated lazily")
    dtype = of(Storage, storage).dtype
    return View(storage, dtype or np.dtype("u1"), of(int, offset), of(tuple, shape), strides)


def _tensor_of_bytes(storage, offset, shape, strides, grad, hooks, dtype, *_: object) -> View:
    kind = NAMED_DTYPES[of(Name, dtype).name]
    return View(of(Storage, storage), kind, of(int, offset), of(tuple, shape), strides)


def _parameter(data: object, *_: object) -> object:
    return data


def _subclass(rebuild: Name, kind: Name, arguments: tuple, state: object) -> object:
    """A tensor with attributes of its own: of torch's own classes, the tensor itself."""
    plain = of(Name, rebuild).name.startswith("torch._utils._rebuild_")  # not this again
    if plain and of(Name, kind).name.startswith(("torch.nn.", "torch.Tensor")):
        return call(rebuild, of(tuple, arguments))
    return Opaque(kind.name)


def _ordered(pairs: object = ()) -> dict:
    """An OrderedDict, in old files made of a list of pairs."""
    made: dict = {}
    for pair in pairs if isinstance(pairs, list | tuple) else ():
        key, value = pair if isinstance(pair, list | tuple) else (None, None)
        fill(made, [(key, value)])
    return made


CALLS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.Size": lambda lengths=(): of(tuple, lengths),
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": lambda *_: {},
    "collections.Counter": lambda *_: {},
}
