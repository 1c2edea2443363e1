"""Plans as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bigclip.planning.advice import advise

_MEMORY = {
    "parameters": "parameters (float32)",
    "optimizer": "optimizer state, moving average",
    "arguments": "embeddings",
    "outputs": "gradients",
    "batch": "batch",
    "activations": "activations, waiting gradients",
    "loss": "loss",
    "other": "program, padding",
    "total": "total",
}


def size(num_bytes: float | None) -> str:
    """Bytes in the unit that suits them."""
    if num_bytes is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(num_bytes) < 1024 or unit == "GiB":
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:,.2f} {unit}"
        num_bytes /= 1024
    raise AssertionError


def seconds(value: float | None) -> str:
    """Seconds in the unit that suits them."""
    if value is None:
        return "-"
    for unit, scale in (("s", 1), ("ms", 1e3)):
        if value >= 1 / scale:
            return f"{value * scale:.2f} {unit}"
    return f"{value * 1e6:.1f} us"


def flops(value: float) -> str:
    """FLOPs with a prefix."""
    for unit, scale in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if value >= scale:
            return f"{value / scale:,.2f} {unit}FLOP"
    return f"{value:,.0f} FLOP"


def verdict(plan: Mapping[str, Any]) -> str:
    """One line: does it fit, and by how much."""
    hbm = plan["hbm_bytes"]
    share = hbm["total"] / hbm["limit"]
    if plan["fits"]:
        left = size(hbm["limit"] - hbm["total"])
        return f"[green]fits[/]: {share:.0%} of {size(hbm['limit'])} a device, {left} left"
    return (
        f"[red]does not fit[/]: it asks for {size(hbm['total'])} of {size(hbm['limit'])} a device, "
        f"{size(plan['over_bytes'])} too much"
    )


def _where(plan: Mapping[str, Any]) -> str:
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan["mesh"].items() if size > 1)
    slices = f"{plan['slices']} x " if plan["slices"] > 1 else ""
    return f"{slices}{plan['topology']}: {plan['chips']} {plan['chip']}, mesh {mesh or '1'}"


def _what(plan: Mapping[str, Any]) -> str:
    if "embed_dim" in plan:
        how = " ".join(f"{key}={value}" for key, value in plan["pairs"].items())
        return f"{plan['loss']} loss and gradient, batch {plan['batch_size']:,}, " + (
            f"D {plan['embed_dim']}" + (f" ({how})" if how else "")
        )
    micro = f", micro-batches of {plan['micro_batch_size']:,}" if plan["micro_batch_size"] else ""
    name = plan["architecture"]
    return (
        f"{name if isinstance(name, str) else 'given architecture'}, batch "
        f"{plan['batch_size']:,}{micro}, remat {plan['remat']}"
    )


def _traffic_rows(plan: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    found = plan["collectives"]
    if found is None:
        return []
    asynchronous = (
        f"{found['async_count']} of {found['count']} collectives in the program asynchronous "
        f"({found['async_bytes_fraction']:.0%} of the bytes)"
    )
    rows = [("collectives a step", f"{found['executions']:,}", asynchronous)]
    for kind, one in found["by_kind"].items():
        rows.append(
            (f"  {kind}", size(one["bytes"]), f"{one['executions']:,}, {one['async']} of "
             f"{one['count']} asynchronous")
        )  # fmt: skip
    for one in found["largest"][:3]:
        what = f"{one['times']:,} x {one['kind']}, {size(one['bytes_sent'])} each"
        rows.append(("  largest", size(one["times"] * one["bytes_sent"]), f"{what}: {one['of']}"))
    return rows


def plan_table(plan: Mapping[str, Any]) -> Table:
    """The whole plan."""
    table = Table(title=f"{_what(plan)}\n{_where(plan)}", title_justify="left", show_header=False)
    for style in ("bold", "", "dim"):
        table.add_column(style=style, justify="right" if style == "" else "left")
    hbm, links = plan["hbm_bytes"], "NVLink" if plan["analytic"] else "ICI"
    outside = "between nodes" if plan["analytic"] else "DCN"
    for key, label in _MEMORY.items():
        if hbm.get(key):
            note = "per device" if key == "total" else ""
            table.add_row(label, size(hbm[key]), note, end_section=key == "total")
    parts = plan["flops"]
    split = ", ".join(
        f"{key} {flops(parts[key])}" for key in ("image", "text", "loss") if key in parts
    )
    table.add_row("model FLOPs a step", flops(plan["flops_per_step"]), split)
    again = parts["hardware"] / plan["flops_per_step"]
    table.add_row(
        "hardware FLOPs", flops(parts["hardware"]), f"{again:.2f} x model", end_section=True
    )
    if plan["step_seconds_roofline"] is None:
        return table
    times = plan["roofline_seconds"]
    table.add_row(f"sent over {links}", size(plan["ici_bytes_per_step"]), "per chip and step")
    if plan["dcn_bytes_per_step"]:
        table.add_row(f"sent {outside}", size(plan["dcn_bytes_per_step"]), "per chip and step")
    for row in _traffic_rows(plan):
        table.add_row(*row)
    table.add_section()
    table.add_row(
        "step, at best",
        seconds(plan["step_seconds_roofline"]),
        ", ".join(f"{part} {seconds(value)}" for part, value in times.items() if value),
    )
    table.add_row(
        "step, nothing overlapped", seconds(plan["step_seconds_serial"]), "the networks waited for"
    )
    table.add_row(
        "examples/s, at best",
        f"{plan['examples_per_second']:,.0f}",
        f"model FLOPs utilisation {plan['mfu']:.0%}",
    )
    if plan.get("chip_hours") is not None:
        cost = plan["cost_usd"]
        table.add_row(
            "chip-hours of the run",
            f"{plan['chip_hours']:,.0f}",
            f"{plan['total_steps']:,} steps" + ("" if cost is None else f", {cost:,.0f} USD"),
        )
    return table


def print_plan(plan: Mapping[str, Any], console: Console) -> None:
    """Print a plan with what must be known to read it."""
    console.print(plan_table(plan))
    console.print(verdict(plan), highlight=False)
    for line in advise(plan) if "micro_batch_size" in plan else ():
        console.print(f"  try {line}", highlight=False, soft_wrap=True)
    if plan["analytic"]:
        console.print(
            "Analytic: nothing was compiled. Parameters and optimizer are exact; activations, "
            "traffic and times are formulas.",
            style="dim",
        )
    else:
        took = plan["compile_seconds"]
        console.print(
            f"Compiled in {took:.1f} s by the TPU compiler; nothing ran. Times are a roofline: "
            "what no step can beat.",
            style="dim",
        )
    if plan["unknown_trip_counts"]:
        console.print(
            f"{plan['unknown_trip_counts']} loops count once: how often they run is not plain in "
            "the program. Traffic and HBM time are too low.",
            style="yellow",
        )


def sweep_row(number: int, trial: Mapping[str, Any]) -> str:
    """One line of a sweep, printed when its trial is done."""
    choice = trial["choice"]
    micro = choice["micro_batch_size"]
    head = (
        f"{number:>3}  micro-batch {micro if micro else 'none':>8}  remat {choice['remat']:<14}"
        f"fsdp {choice['fsdp']:<4}"
    )
    if trial["status"] != "planned":
        return f"{head}{trial['status']}"
    fits = "fits" if trial["fits"] else "does not fit"
    share = trial["total_bytes"] / trial["limit_bytes"]
    return (
        f"{head}{fits:<13}{share:>6.0%}  step {seconds(trial['step_seconds_roofline']):>10}"
        f"  {trial['trial_seconds']:.0f} s"
    )


def sweep_summary(trials: Sequence[Mapping[str, Any]], skipped: int) -> str:
    """What was tried, and what was not."""
    planned = sum(trial["status"] == "planned" for trial in trials)
    fitting = sum(bool(trial.get("fits")) for trial in trials)
    return (
        f"{planned} of {len(trials) + skipped} choices planned, {fitting} fit; the others were "
        "slower by formula, or far too large."
    )
