"""What a compiled step sends: its collectives, their bytes, and over which links they go."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bigclip.planning.groups import replica_groups, source_target_pairs
from bigclip.planning.hlo import Execution, Program, executions, operand_bytes

_KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_MEGASCALE = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_ONE_TO_ONE = re.compile(r"\d+->\d+")
_OPERATION = re.compile(r'op_name="([^"]*)"')
_WRAPPERS = ("while", "body", "closed_call", "checkpoint", "rematted_computation")
_CHANNEL = re.compile(r"channel_id=(\d+)")


class Collective(NamedTuple):
    """One collective of the program, with all its executions in one step.

    Attributes:
        kind: "all-gather", ...; what crosses slices is prefixed with "dcn-".
        times: executions a step.
        bytes_sent: by one chip in one execution, on average over the chips.
        group_size: how many devices take part.
        is_async: whether the compiler lets other work run meanwhile.
        in_loop: whether it is part of a loop's body.
        seconds: at least, of one execution, on the links it uses.
        of: the operation of the model that it belongs to, as far as the compiler tells.
    """

    kind: str
    times: int
    bytes_sent: float
    group_size: int
    is_async: bool
    in_loop: bool
    seconds: float
    of: str


class Network(NamedTuple):
    """Where the devices of one slice are, and how fast they are joined.

    Attributes:
        coords: chip coordinates [devices, axes], in the order of the program's partitions.
        shape: chips along each axis.
        wraps: whether the ends of each axis are joined.
        link_bytes_per_second: one direction of a link.
        dcn_bytes_per_second: a chip's share of the network between slices, one direction.
        num_slices: slices.
    """

    coords: np.ndarray
    shape: Sequence[int]
    wraps: Sequence[bool]
    link_bytes_per_second: float
    dcn_bytes_per_second: float
    num_slices: int

    def ring_bandwidth(self, group: np.ndarray) -> float:
        """Bytes per second at which one chip of a group can send, both ways round each axis."""
        spread = [len(np.unique(axis)) > 1 for axis in self.coords[group].T]
        ways = sum(
            (2 if wraps else 1) for wraps, used in zip(self.wraps, spread, strict=True) if used
        )
        # Two devices on one chip: there is no link between them to wait for.
        return self.link_bytes_per_second * ways if ways else float("inf")

    def hops(self, pairs: np.ndarray) -> float:
        """Links between the ends of a pair, on average."""
        if not len(pairs):
            return 0.0
        apart = np.abs(self.coords[pairs[:, 0]] - self.coords[pairs[:, 1]])
        for axis, (size, wraps) in enumerate(zip(self.shape, self.wraps, strict=True)):
            if wraps:
                apart[:, axis] = np.minimum(apart[:, axis], size - apart[:, axis])
        return float(apart.sum(axis=1).mean())


def sent(kind: str, operand: float, group_size: int) -> float:
    """Bytes that each member of a ring sends.

    Args:
        kind: of the collective.
        operand: bytes that each member contributes (of an all-gather, its own part).
        group_size: number of members.
    """
    others = group_size - 1
    if kind == "all-gather":
        return operand * others
    if kind == "all-reduce":
        return 2 * operand * others / group_size
    if kind == "collective-broadcast":
        return operand
    return operand * others / group_size  # reduce-scatter, all-to-all


def _kind(one: Execution) -> str:
    opcode = one.instruction.opcode
    kind = opcode.removesuffix("-start")
    # A fused kernel that keeps only its own part of the sum: half of the way round.
    if kind == "all-reduce" and one.in_fusion and "scatter" in one.computation.name:
        return "reduce-scatter"
    return kind


def _operation(rest: str) -> str:
    """The last steps of an operation's path; loops and calls are left out."""
    found = _OPERATION.search(rest)
    parts = found[1].split("/") if found else []
    kept = [part for part in parts if part not in _WRAPPERS and not part.startswith("jit(")]
    return "/".join(kept[-4:])


def _in_slice(one: Execution, network: Network) -> Collective:
    instruction, kind = one.instruction, _kind(one)
    operand = operand_bytes(instruction, one.computation)
    num_devices = len(network.coords)
    fused_start = any(
        'custom_call_target="AsyncCollectiveStart"' in other.rest
        for other in one.computation.instructions.values()
    )
    if kind == "collective-permute":
        pairs = source_target_pairs(instruction.rest)
        size, moved = len(pairs), operand * len(pairs) / num_devices
        seconds = operand * network.hops(pairs) / network.link_bytes_per_second
    else:
        groups = replica_groups(instruction.rest, num_devices)
        if groups is None:
            groups = np.arange(num_devices)[None]
        size = groups.shape[1]
        moved = sent(kind, operand, size)
        seconds = moved / network.ring_bandwidth(groups[0]) if size > 1 else 0.0
    return Collective(
        kind=kind,
        times=one.times,
        bytes_sent=moved,
        group_size=size,
        is_async=instruction.opcode.endswith("-start") or fused_start,
        in_loop=bool(one.loops),
        seconds=seconds,
        of=_operation(instruction.rest),
    )


def _between_slices(one: Execution, network: Network) -> Collective:
    kind = _MEGASCALE.search(one.instruction.rest)[1].lower().replace("_", "-")
    data = one.computation.instructions.get(one.instruction.operands[0])
    operand = operand_bytes(
        one.instruction._replace(operands=(data.name,) if data else ()), one.computation
    )
    if kind == "one-to-one":
        # Few chips send, and all others wait for them.
        pairs = len(_ONE_TO_ONE.findall(one.instruction.rest))
        moved = operand * pairs / (len(network.coords) * network.num_slices)
        seconds = operand / network.dcn_bytes_per_second
    else:
        moved = sent(kind, operand, network.num_slices)
        seconds = moved / network.dcn_bytes_per_second
    return Collective(
        kind=f"dcn-{kind}",
        times=one.times,
        bytes_sent=moved,
        group_size=network.num_slices,
        is_async=True,  # the host moves it, between a send and its send-done
        in_loop=bool(one.loops),
        seconds=seconds,
        of=_operation(one.instruction.rest),
    )


def collectives(program: Program, network: Network) -> list[Collective]:
    """List the collectives of a compiled step.

    One that the compiler fuses with other work appears in the kernel that starts it, in those
    that run meanwhile (the bodies of later loops, too) and in the one that waits. Its channel
    tells that they are one, and the kernel that starts it where it belongs.
    """
    found, meanwhile, started = [], {}, set()
    for one in executions(program):
        opcode = one.instruction.opcode
        if opcode == "send" and _MEGASCALE.search(one.instruction.rest):
            found.append(_between_slices(one, network))
            continue
        if opcode.removesuffix("-start") not in _KINDS:
            continue
        channel = _CHANNEL.search(one.instruction.rest)
        collective = _in_slice(one, network)
        if not one.in_fusion or channel is None:
            found.append(collective)  # permutations share channels, each is one of its own
        elif collective.is_async:
            found.append(collective)
            started.add(channel[1])
        else:
            meanwhile.setdefault((channel[1], one.loops), collective)
    # What no kernel starts asynchronously is fused with what uses it, and waited for.
    found += [one for (channel, _), one in meanwhile.items() if channel not in started]
    return [one for one in found if one.group_size > 1]


def summarise(found: Sequence[Collective]) -> dict:
    """Plain figures of a step.

    Returns:
        `count` and `async_count` (collectives in the program's text), `executions` and
        `async_executions` (in one step, loops unrolled), `async_bytes_fraction`, `by_kind`:
        {kind: {count, async, executions, bytes}}, bytes sent by one chip a step, and `largest`:
        the ten that send most a step, each with the fields of `Collective`.
    """
    by_kind: dict[str, dict] = {}
    for one in found:
        kind = by_kind.setdefault(one.kind, {"count": 0, "async": 0, "executions": 0, "bytes": 0.0})
        kind["count"] += 1
        kind["async"] += one.is_async
        kind["executions"] += one.times
        kind["bytes"] += one.times * one.bytes_sent
    total = sum(one.times * one.bytes_sent for one in found)
    hidden = sum(one.times * one.bytes_sent for one in found if one.is_async)
    largest = sorted(found, key=lambda one: -one.times * one.bytes_sent)
    return {
        "count": len(found),
        "async_count": sum(one.is_async for one in found),
        "executions": sum(one.times for one in found),
        "async_executions": sum(one.times for one in found if one.is_async),
        "async_bytes_fraction": hidden / total if total else 0.0,
        "by_kind": dict(sorted(by_kind.items())),
        "largest": [one._asdict() for one in largest[:10]],
    }
