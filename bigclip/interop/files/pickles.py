"""Reads the pickle inside a torch archive symbolically: it describes tensors, and runs nothing.

A pickle is a program for a small stack machine, and what makes it dangerous is that the machine
may look up any Python object by its name and call it. `pickle.Unpickler` with a narrowed
`find_class` is that machine still: it calls what it is given, sets attributes, and one name too
many on its list is a way out. So the machine here is another one:

- it knows only the forty operations with which state dicts and TorchScript modules are written;
- a name stays a name. None is ever looked up: "calling" chooses among the ten functions of
  `pickle_calls.CALLS`, which take apart tuples. No code of the file, of torch or of any other
  package can be reached, because no callable is ever on the stack;
- objects are dicts, lists, tuples, texts, numbers and the five inert classes there. Nothing of
  them is compared, hashed or printed but texts, so depth and cycles in the data do no harm;
- each operation adds at most one object, and their number and the file's length are bounded:
  memory and time are, too. Numbers of more than 255 bytes cannot be written with these operations.

Names beyond those of torch are refused, but for a few of plain data (argparse.Namespace, paths,
numpy's scalars) that lie beside the weights in training checkpoints: these become `Opaque`.
"""

import pickletools
from collections.abc import Callable

from bigclip.config import ConfigError
from bigclip.interop.files.pickle_calls import (
    CALLS,
    Module,
    Name,
    Opaque,
    Storage,
    call,
    fill,
    of,
)
from bigclip.interop.files.torch_names import INERT, NAMED_DTYPES, STORAGES

MAX_BYTES = 32 << 20
MAX_OPERATIONS = 2_000_000  # a tensor takes fifty


_MARK = object()


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
    except ConfigError:
        raise
    # Operations on what is not there or of another kind raise IndexError, KeyError, TypeError,
    # ValueError ...; what genops raises for broken bytes is nowhere listed.
    except Exception as error:
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
        known = name in CALLS or name in STORAGES or name in NAMED_DTYPES or name in INERT
        if not known and not (name.startswith("__torch__.") and name.isprintable()):
            raise ConfigError(
                f"{self._where}: holds an object of {name[:200]!r}, and pickles of others are "
                "never executed. Where you trust the file, load it with torch and save its "
                "tensors alone: torch.save(model.state_dict(), path)."
            )
        self.push(Name(name))

    def stack_name(self, _: object) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self.name(f"{module} {name}")

    def storage(self, _: object) -> None:
        """BINPERSID: ("storage", type, key, device, length)."""
        kind, storage, key, _, length = of(tuple, self.pop())
        if kind != "storage" or not isinstance(storage, Name):
            raise ValueError("an outside object that is no storage")
        if storage.name in INERT:  # of quantised numbers
            self.push(Opaque(storage.name))
        else:
            dtype = STORAGES[storage.name]
            self.push(Storage(of(str, key), dtype, of(int, length)))

    def call(self, _: object) -> None:
        arguments, callee = self.pop(), self.pop()
        self.push(call(callee, of(tuple, arguments)))

    def new(self, _: object) -> None:
        arguments, kind = of(tuple, self.pop()), of(Name, self.pop())
        if kind.name.startswith("__torch__."):
            self.push(Module(kind.name))
        else:
            self.push(call(kind, arguments))

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
            fill(target, zip(values[::2], values[1::2], strict=True))


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
