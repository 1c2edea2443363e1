"""Read a compiled program's text: which instruction runs how often.

The compiler's own cost analysis counts the body of a loop once. Here every instruction comes with
the number of times that it runs in one call of the program, by the trip counts of the loops
around it.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_NAMED = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_OPERAND = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+[a-z0-9]*)\[([\d,]*)\](?:\{([^}]*)\})?")
_CALLED = re.compile(r"(?:calls|to_apply|async_execution_thread_calls)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRUE_FALSE = re.compile(r"(?:true|false)_computation=%?([\w.\-]+)")
_LOOP = re.compile(r"condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_KNOWN_TRIPS = re.compile(r'"known_trip_count":\s*\{"n":\s*"(\d+)"')
_BITS = re.compile(r"\d+")


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
        name: its name, unique in its computation.
        opcode: "fusion", "all-gather", ...
        shape: text of the type of its result.
        operands: names of the instructions it reads.
        rest: what follows the operands.
        inside: text between the parentheses (a constant's value, a parameter's number).
        is_root: whether it is its computation's result.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    rest: str
    inside: str
    is_root: bool


class Computation(NamedTuple):
    """A function of the program."""

    name: str
    instructions: dict[str, Instruction]

    @property
    def root(self) -> Instruction:
        """The instruction whose result is the computation's."""
        return next(one for one in self.instructions.values() if one.is_root)


class Execution(NamedTuple):
    """An instruction in its place.

    Attributes:
        instruction: the instruction.
        computation: where it stands.
        times: how often it runs in one call of the program.
        loops: names of the loops' bodies around it, outermost first.
        in_fusion: whether it is a part of a fused kernel.
    """

    instruction: Instruction
    computation: Computation
    times: int
    loops: tuple[str, ...]
    in_fusion: bool


class Program(NamedTuple):
    """A module of HLO text.

    Attributes:
        computations: by name.
        entry: name of the one that is called.
    """

    computations: dict[str, Computation]
    entry: str


def _closing(text: str, start: int) -> int:
    """Index of the parenthesis that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "(":
            depth += 1
        elif text[index] == ")":
            depth -= 1
            if not depth:
                return index
    return len(text) - 1


def _read_instruction(line: str, match: re.Match) -> Instruction | None:
    start = match.end()
    stop = _closing(line, start) + 1 if line[start] == "(" else line.find(" ", start)
    opening = line.find("(", stop)
    if stop < 0 or opening < 0:
        return None
    closing = _closing(line, opening)
    inside = line[opening + 1 : closing]
    return Instruction(
        name=match[1],
        opcode=line[stop:opening].strip(),
        shape=line[start:stop],
        operands=tuple(_OPERAND.findall(inside)),
        rest=line[closing + 1 :],
        inside=inside,
        is_root=line.lstrip().startswith("ROOT "),
    )


def read_program(text: str) -> Program:
    """Parse `compiled.as_text()`."""
    computations, entry, current = {}, "", None
    for line in text.splitlines():
        if not line:
            continue
        if line[0] in "%E" and line.endswith("{"):
            header = _HEADER.match(line)
            if header:
                current = Computation(header[2], {})
                computations[header[2]] = current
                entry = header[2] if header[1] else entry
            continue
        named = _NAMED.match(line) if current is not None else None
        instruction = _read_instruction(line, named) if named else None
        if instruction is not None:
            current.instructions[instruction.name] = instruction
    return Program(computations, entry)


def arrays(shape: str) -> list[tuple[str, tuple[int, ...], str]]:
    """Split the text of a type into (element type, sizes, layout) of each array in it."""
    return [
        (kind, tuple(int(size) for size in sizes.split(",") if size), layout or "")
        for kind, sizes, layout in _ARRAY.findall(shape)
    ]


def array_bytes(kind: str, sizes: tuple[int, ...]) -> int:
    """Bytes of an array, without the padding of its layout."""
    bits = 8 if kind == "pred" else int(_BITS.search(kind)[0])
    return math.prod(sizes) * bits // 8


def shape_bytes(shape: str) -> int:
    """Bytes of all arrays of a type, without the padding of their layouts."""
    return sum(array_bytes(kind, sizes) for kind, sizes, _ in arrays(shape))


def operand_bytes(instruction: Instruction, computation: Computation) -> int:
    """Bytes of what an instruction reads."""
    known = computation.instructions
    return sum(shape_bytes(known[name].shape) for name in instruction.operands if name in known)


def _constant(instruction: Instruction | None) -> int | None:
    if instruction is not None and instruction.opcode == "constant":
        return int(instruction.inside) if re.fullmatch(r"-?\d+", instruction.inside) else None
    return None


def _carried(instruction: Instruction | None, computation: Computation) -> int | None:
    """Which element of a loop's carry an instruction reads, through copies and bitcasts."""
    while instruction is not None and instruction.opcode in ("copy", "bitcast", "convert"):
        instruction = computation.instructions.get(instruction.operands[0])
    if instruction is None or instruction.opcode != "get-tuple-element":
        return None
    return int(re.search(r"index=(\d+)", instruction.rest)[1])


def _step_of(program: Program, body: Computation, index: int) -> int:
    """By how much a loop's counter grows each time; 1 where that is not plain to see."""
    root = body.root
    if root.opcode != "tuple" or index >= len(root.operands):
        return 1
    update = body.instructions.get(root.operands[index])
    if update is None:
        return 1
    if update.opcode == "fusion":
        called = program.computations[_CALLED.search(update.rest)[1]]
        update, body = called.root, called
    if update.opcode != "add":
        return 1
    steps = [_constant(body.instructions.get(name)) for name in update.operands]
    return next((step for step in steps if step), 1)


def trip_count(program: Program, loop: Instruction, computation: Computation) -> int | None:
    """How often the body of a `while` runs, or None if that is not plain to see."""
    known = _KNOWN_TRIPS.search(loop.rest)
    if known:
        return int(known[1])
    names = _LOOP.search(loop.rest)
    condition, body = (program.computations[name] for name in names.groups())
    test = condition.root
    if test.opcode == "fusion":
        return None
    direction = re.search(r"direction=(\w+)", test.rest)
    if test.opcode != "compare" or direction is None or direction[1] not in ("LT", "NE"):
        return None
    first, second = (condition.instructions.get(name) for name in test.operands)
    index, limit = _carried(first, condition), _constant(second)
    carry = computation.instructions.get(loop.operands[0])

    def initial(position: int | None) -> int | None:
        if carry is None or carry.opcode != "tuple" or position is None:
            return None
        value = computation.instructions.get(carry.operands[position])
        while value is not None and value.opcode in ("copy", "bitcast"):
            value = computation.instructions.get(value.operands[0])
        return _constant(value)

    if limit is None:
        limit = initial(_carried(second, condition))
    if index is None or limit is None:
        return None
    start = initial(index) or 0
    return max(-(-(limit - start) // _step_of(program, body, index)), 0)


def executions(program: Program) -> Iterator[Execution]:
    """All instructions that one call of the program runs, with how often each runs.

    A loop whose trip count is not plain to see counts once, and of a conditional every branch.
    """

    def walk(name: str, times: int, loops: tuple[str, ...], in_fusion: bool) -> Iterator[Execution]:
        computation = program.computations.get(name)
        if computation is None:
            return
        for instruction in computation.instructions.values():
            yield Execution(instruction, computation, times, loops, in_fusion)
            rest = instruction.rest
            if instruction.opcode == "while":
                trips = trip_count(program, instruction, computation)
                body = _LOOP.search(rest)[2]
                yield from walk(
                    body, times * (1 if trips is None else trips), (*loops, body), False
                )
            elif instruction.opcode == "conditional":
                branches = _BRANCHES.search(rest)
                found = _OPERAND.findall(branches[1]) if branches else _TRUE_FALSE.findall(rest)
                for branch in found:
                    yield from walk(branch, times, loops, in_fusion)
            elif instruction.opcode == "fusion":
                yield from walk(_CALLED.search(rest)[1], times, loops, True)
            elif instruction.opcode in ("call", "async-start"):
                called = _CALLED.search(rest)
                if called:
                    yield from walk(called[1], times, loops, in_fusion)

    yield from walk(program.entry, 1, (), False)


def unknown_trip_counts(program: Program) -> int:
    """Number of loops that count as if they ran once, because nothing tells how often they run."""
    return sum(
        trip_count(program, one.instruction, one.computation) is None
        for one in executions(program)
        if one.instruction.opcode == "while"
    )
