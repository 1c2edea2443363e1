"""Reads the pickle inside a torch archive symbolically: it describes tensors, and runs nothing.

A pickle is a program for a small stack machine, and what makes it dangerous is that the machine
may look up any Python object by its name and call it. `pickle.Unpickler` with a narrowed
`find_class` is that machine still: it calls what it is given, sets attributes, and one name too
many on its list is a way out. So the machine here is another one:

- it knows only the thirty operations with which state dicts and TorchScript modules are written;
- a name stays a name. None is ever looked up: "calling" chooses among the dozen functions of
  `_CALLS` below, which take apart tuples. No code of the file, of torch or of any other package can
  be reached, because no callable is ever on the stack;
- objects are dicts, lists, tuples, texts, numbers and three inert classes. Nothing of them is
  compared, hashed or printed but texts, so depth and cycles in the data do no harm;
- each operation adds at most one object, and their number and the file's length are bounded:
  memory and time are, too. Numbers of more than 255 bytes cannot be written with these operations.

Names beyond those of torch are refused, but for a few of plain data (argparse.Namespace, paths,
numpy's scalars) that lie beside the weights in training checkpoints: these become `Opaque`.
"""

import pickletools
from collections.abc import Callable
from typing import NamedTuple

import ml_dtypes
import numpy as np

from bigclip.config import ConfigError

MAX_BYTES = 32 << 20
MAX_OPERATIONS = 2_000_000  # a tensor takes fifty

# torch's names, as storages of one dtype ("torch.FloatStorage") and as dtypes ("torch.float32").
DTYPES = {
    "float64": ("Double", np.dtype("<f8")),
    "float32": ("Float", np.dtype("<f4")),
    "float16": ("Half", np.dtype("<f2")),
    "bfloat16": ("BFloat16", np.dtype(ml_dtypes.bfloat16)),
    "int64": ("Long", np.dtype("<i8")),
    "int32": ("Int", np.dtype("<i4")),
    "int16": ("Short", np.dtype("<i2")),
    "int8": ("Char", np.dtype("i1")),
    "uint8": ("Byte", np.dtype("u1")),
    "bool": ("Bool", np.dtype("?")),
    "complex64": ("ComplexFloat", np.dtype("<c8")),
    "complex128": ("ComplexDouble", np.dtype("<c16")),
    # These have no storage of their own.
    "uint16": ("", np.dtype("<u2")),
    "uint32": ("", np.dtype("<u4")),
    "uint64": ("", np.dtype("<u8")),
    "float8_e4m3fn": ("", np.dtype(ml_dtypes.float8_e4m3fn)),
    "float8_e5m2": ("", np.dtype(ml_dtypes.float8_e5m2)),
    "float8_e4m3fnuz": ("", np.dtype(ml_dtypes.float8_e4m3fnuz)),
    "float8_e5m2fnuz": ("", np.dtype(ml_dtypes.float8_e5m2fnuz)),
    "float8_e8m0fnu": ("", np.dtype(ml_dtypes.float8_e8m0fnu)),
}


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


class _Name(NamedTuple):
    name: str


_MARK = object()
_STORAGES = {f"torch.{storage}Storage": dtype for storage, dtype in DTYPES.values() if storage}
_STORAGES |= {"torch.UntypedStorage": None, "torch.storage.UntypedStorage": None}
_TORCH_DTYPES = {f"torch.{name}": dtype for name, (_, dtype) in DTYPES.items()}

# Plain data that lies beside the weights; kept as `Opaque`.
_INERT = frozenset(
    (
        *("argparse.Namespace", "types.SimpleNamespace", "copyreg._reconstructor"),
        *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath"),
        *("pathlib._local.Path", "pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
        *("datetime.datetime", "datetime.date", "datetime.timedelta", "_codecs.encode"),
        *("builtins.set", "builtins.frozenset", "builtins.object", "builtins.complex"),
        *("builtins.list", "builtins.dict", "builtins.int", "builtins.float", "builtins.slice"),
        *("__builtin__.set", "__builtin__.frozenset", "__builtin__.object", "__builtin__.list"),
        *("__builtin__.dict", "__builtin__.int", "__builtin__.float", "__builtin__.slice"),
        *("numpy.dtype", "numpy.ndarray", "numpy.random._pickle.__randomstate_ctor"),
        *("numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct"),
        *("numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct"),
        *("torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter"),
        *("torch.nn.parameter.Buffer", "torch.serialization._get_layout"),
        *("torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor"),
        *("torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_nested_tensor"),
        *("torch._utils._rebuild_wrapper_subclass", "torch.per_tensor_affine"),
        *("torch.per_channel_affine", "torch.quint8", "torch.qint8", "torch.qint32"),
        *("torch.QInt8Storage", "torch.QUInt8Storage", "torch.QInt32Storage"),
        *("torch.jit._pickle.build_intlist", "torch.jit._pickle.build_doublelist"),
        *("torch.jit._pickle.build_boollist", "torch.jit._pickle.build_tensorlist"),
        *("torch.jit._pickle.build_tensor_from_id", "torch.jit._pickle.restore_type_tag"),
    )
)


def read_pickle(content: bytes, where: str) -> object:
    """Read what a pickle describes.

    Args:
        content: of `data.pkl` in a torch archive.
        where: begins error messages.

    Returns:
        Dicts (keys that are no texts are left out), lists, tuples, texts, bytes, numbers, bools,
        None, `View` for tensors, `Module` for TorchScript modules and `Opaque` for all else. They
        may be nested to any depth and contain themselves.

    Raises:
        ConfigError: if the pickle is broken, too long, holds an operation that no state dict
            needs, or names what is neither of torch nor known plain data.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{where}: a pickle of {len(content)} bytes; {MAX_BYTES} are read.")
    machine = _Machine(where)
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if number > MAX_OPERATIONS:
                raise ConfigError(f"{where}: a pickle of more than {MAX_OPERATIONS} operations.")
            if operation.name == "STOP":
                return machine.result()
            step = _OPERATIONS.get(operation.name)
            if step is None:
                raise ConfigError(
                    f"{where}: the pickle's operation {operation.name} is not one of a state dict."
                )
            step(machine, argument)
    # ValueError: also what genops finds (ConfigError is one, too). The others: operations on
    # what is not there, or is of another kind than they need.
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{where}: the pickle is broken: {str(error)[:200]}. Cut off or damaged; copy it again."
        ) from error
    raise ConfigError(f"{where}: the pickle has no end; cut off or damaged.")


class _Machine:
    """Stack and memo. A wrong kind of object raises ValueError, TypeError or IndexError."""

    def __init__(self, where: str):
        self._where = where
        self._stack: list = []
        self._memo: dict[int, object] = {}

    def push(self, value: object) -> None:
        self._stack.append(value)

    def pop(self) -> object:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark where an object should be")
        return value

    def mark(self, _: object) -> None:
        self._stack.append(_MARK)

    def pop_to_mark(self) -> list:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def result(self) -> object:
        value = self.pop()
        if self._stack:
            raise ValueError("it ends with objects left over")
        return value

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def put(self, index: int | None) -> None:
        value = self.pop()
        self._stack.append(value)
        self._memo[len(self._memo) if index is None else index] = value

    def name(self, argument: str) -> None:
        """GLOBAL gives "module name"; only a text is made of it."""
        name = argument.replace(" ", ".", 1)
        known = name in _CALLS or name in _STORAGES or name in _TORCH_DTYPES or name in _INERT
        if not known and not name.startswith("__torch__."):
            raise ConfigError(
                f"{self._where}: holds an object of {name[:200]!r}, and pickles of others are "
                "never executed. Where you trust the file, load it with torch and save its "
                "tensors alone: torch.save(model.state_dict(), path)."
            )
        self.push(_Name(name))

    def stack_name(self, _: object) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self.name(f"{module} {name}")

    def storage(self, _: object) -> None:
        """BINPERSID: ("storage", type, key, device, length)."""
        kind, storage, key, _, length = _of(tuple, self.pop())
        if kind != "storage" or not isinstance(storage, _Name):
            raise ValueError("an outside object that is no storage")
        if storage.name in _INERT:  # of quantised numbers
            self.push(Opaque(storage.name))
        else:
            dtype = _STORAGES[storage.name]
            self.push(Storage(_of(str, key), dtype, _of(int, length)))

    def call(self, _: object) -> None:
        arguments, callee = self.pop(), self.pop()
        self.push(_call(callee, _of(tuple, arguments)))

    def new(self, _: object) -> None:
        arguments, kind = _of(tuple, self.pop()), _of(_Name, self.pop())
        if kind.name.startswith("__torch__."):
            self.push(Module(kind.name))
        else:
            self.push(_call(kind, arguments))

    def build(self, _: object) -> None:
        """Give an object its attributes: only those of modules matter."""
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, Module):
            if isinstance(state, dict):
                target.attributes.update(state)
        # An ordered dict's `_metadata` are versions of torch's modules.
        elif not isinstance(target, dict | Opaque):
            raise ValueError(f"attributes for a {type(target).__name__}")

    def extend(self, values: list) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Opaque):
            raise ValueError(f"items for a {type(target).__name__}")

    def fill(self, values: list) -> None:
        target = self._stack[-1]
        if len(values) % 2 or not isinstance(target, dict | Opaque):
            raise ValueError("entries that are no pairs, or not for a dict")
        if isinstance(target, dict):
            _fill(target, zip(values[::2], values[1::2], strict=True))


def _of(kind: type, value: object):
    # Exactly: a bool is an int to isinstance, a View a tuple.
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def _fill(target: dict, pairs) -> None:
    for key, value in pairs:
        # Other keys number an optimizer's entries. Left out, none can be chosen to collide.
        if isinstance(key, str):
            if key in target:
                raise ValueError(f"{key[:80]!r} stands in a dict twice")
            target[key] = value


def _call(callee: object, arguments: tuple) -> object:
    name = _of(_Name, callee).name
    if name in _CALLS:
        return _CALLS[name](*arguments)
    if name in _INERT:
        return Opaque(name)
    raise ValueError(f"{name} is called")


def _tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *_: object) -> object:
    if isinstance(storage, Opaque):
        return storage
    dtype = _of(Storage, storage).dtype
    return View(storage, dtype or np.dtype("u1"), _of(int, offset), _of(tuple, shape), strides)


def _tensor_of_bytes(storage, offset, shape, strides, grad, hooks, dtype, *_: object) -> View:
    kind = _TORCH_DTYPES[_of(_Name, dtype).name]
    return View(_of(Storage, storage), kind, _of(int, offset), _of(tuple, shape), strides)


def _parameter(data: object, *_: object) -> object:
    return data


def _subclass(rebuild: _Name, kind: _Name, arguments: tuple, state: object) -> object:
    """A tensor with attributes of its own: of torch's own classes, the tensor itself."""
    if _of(_Name, kind).name.startswith(("torch.nn.", "torch.Tensor")):
        return _call(rebuild, _of(tuple, arguments))
    return Opaque(kind.name)


def _ordered(pairs: object = ()) -> dict:
    """An OrderedDict, in old files made of a list of pairs."""
    made: dict = {}
    for pair in pairs if isinstance(pairs, list | tuple) else ():
        key, value = pair if isinstance(pair, list | tuple) else (None, None)
        _fill(made, [(key, value)])
    return made


_CALLS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.Size": lambda lengths=(): _of(tuple, lengths),
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": lambda *_: {},
    "collections.Counter": lambda *_: {},
}

_OPERATIONS: dict[str, Callable[[_Machine, object], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
        _Machine.push,
    ),
    **dict.fromkeys(("SHORT_BINSTRING", "SHORT_BINBYTES", "BINBYTES"), _Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push(Opaque("builtins.set")),
    "MARK": _Machine.mark,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push((machine.pop(),)),
    "TUPLE2": lambda machine, _: machine.push((machine.pop(), machine.pop())[::-1]),
    "TUPLE3": lambda machine, _: machine.push((machine.pop(), machine.pop(), machine.pop())[::-1]),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda m, _: m.extend(m.pop_to_mark())),
    "SETITEM": lambda machine, _: machine.fill([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.fill(machine.pop_to_mark()),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "BINPERSID": _Machine.storage,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.new,
    "BUILD": _Machine.build,
}
