"""Bytes that a compiled step reads from, and writes to, a chip's main memory.

Counted like the compiler's own cost analysis, with two differences: a loop's body counts as often
as it runs, and what lies in on-chip memory (layouts marked S(1) and up) costs nothing. A kernel
reads each operand and writes its result once; of an operand that it only slices, it reads the
slice; of a buffer that it updates in place, it touches the update.
"""

import re

from bigclip.planning.hlo import Computation, Instruction, Program, array_bytes, arrays, executions

_CALLED = re.compile(r"calls=%?([\w.\-]+)")
_ON_CHIP = re.compile(r"S\([1-9]\d*\)")
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
    "call", "after-all", "partition-id", "replica-id", "iota", "custom-call", "opt-barrier",
    "optimization-barrier", "add-dependency", "send", "recv",
}  # fmt: skip
_KERNEL = (
    'custom_call_target="tpu_custom_call"'  # written in Pallas: reads and writes like any other
)
_THROUGH = ("bitcast", "copy", "convert", "reshape")


def hbm_bytes(shape: str) -> int:
    """Bytes of the arrays of a type that lie in main memory."""
    return sum(
        array_bytes(kind, sizes)
        for kind, sizes, layout in arrays(shape)
        if not _ON_CHIP.search(layout)
    )


def _untouched(user: Instruction, name: str) -> bool:
    """Whether `user` hands `name` on, or updates a part of it in place."""
    updates = user.opcode == "dynamic-update-slice" and user.operands[0] == name
    return updates or (user.opcode == "tuple" and user.is_root)


def _read(program: Program, inside: Computation, name: str, whole: int) -> int:
    """Bytes that a kernel reads of its parameter `name`, of `whole` bytes."""
    total = 0
    for user in inside.instructions.values():
        if name not in user.operands:
            continue
        if user.opcode in ("dynamic-slice", "slice", "gather") and user.operands[0] == name:
            total += sum(array_bytes(kind, sizes) for kind, sizes, _ in arrays(user.shape))
        elif _untouched(user, name):
            continue
        elif user.opcode == "bitcast":
            total += _read(program, inside, user.name, whole)
        elif user.opcode == "fusion":
            called = program.computations[_CALLED.search(user.rest)[1]]
            for index, operand in enumerate(user.operands):
                if operand == name:
                    total += _read(program, called, _parameter(called, index), whole)
        else:
            return whole
    return min(total, whole)


def _parameter(inside: Computation, index: int) -> str:
    return next(
        one.name
        for one in inside.instructions.values()
        if one.opcode == "parameter" and one.inside == str(index)
    )


def _written(program: Program, inside: Computation, name: str, shape: str) -> int:
    """Bytes that a kernel writes for the result `name` of type `shape`."""
    one = inside.instructions.get(name)
    if one is None:
        return hbm_bytes(shape)
    if one.opcode == "parameter":
        return 0  # handed on
    if one.opcode in _THROUGH:
        return min(hbm_bytes(shape), _written(program, inside, one.operands[0], shape))
    if one.opcode == "dynamic-update-slice" and hbm_bytes(shape):
        update = inside.instructions.get(one.operands[1])
        return 0 if update is None else sum(array_bytes(k, s) for k, s, _ in arrays(update.shape))
    if one.opcode == "fusion":
        called = program.computations[_CALLED.search(one.rest)[1]]
        return _written(program, called, called.root.name, shape)
    if one.opcode == "tuple":
        parts = (inside.instructions.get(operand) for operand in one.operands)
        return sum(_written(program, inside, part.name, part.shape) for part in parts if part)
    return hbm_bytes(shape)


def _accessed(program: Program, one: Instruction, computation: Computation) -> int:
    kernel = one.opcode == "custom-call" and _KERNEL in one.rest
    if (one.opcode in _FREE and not kernel) or one.opcode.endswith("-done"):
        return 0
    if one.opcode.endswith("-start"):
        return hbm_bytes(one.shape)  # the source and the target
    known = computation.instructions
    shapes = [known[name].shape if name in known else "" for name in one.operands]
    if one.opcode == "fusion":
        inside = program.computations[_CALLED.search(one.rest)[1]]
        reads = 0
        for index, shape in enumerate(shapes):
            whole = hbm_bytes(shape)
            if whole:
                reads += _read(program, inside, _parameter(inside, index), whole)
        root = inside.root
        if root.opcode == "tuple":
            return reads + _written(program, inside, root.name, one.shape)
        return reads + (
            _written(program, inside, root.name, one.shape) if hbm_bytes(one.shape) else 0
        )
    if one.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * hbm_bytes(one.shape)
    if one.opcode == "dynamic-update-slice":
        return 2 * hbm_bytes(shapes[1])
    return sum(hbm_bytes(shape) for shape in shapes) + hbm_bytes(one.shape)


def bytes_accessed(program: Program) -> int:
    """Main-memory traffic of one chip in one call of the program."""
    return sum(
        one.times * _accessed(program, one.instruction, one.computation)
        for one in executions(program)
        if not one.in_fusion
    )
