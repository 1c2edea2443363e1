"""The live line: step, loss, examples per second, time left."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bigclip.parallel import is_main


def duration(seconds: float) -> str:
    """Write a duration for people: 42s, 3m10s, 2h05m."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"


class ProgressLine:
    """Shows where the run is: a bar on a terminal, a line per reading elsewhere.

    Args:
        total_steps: length of the run.
        first_step: where this process begins.
    """

    def __init__(self, *, total_steps: int, first_step: int):
        self._total, self._first = total_steps, first_step
        self._start = time.perf_counter()
        self._bar = None
        if is_main() and sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(),
            )
            self._task = self._bar.add_task("compiling", total=total_steps, completed=first_step)
            self._bar.start()

    def update(self, step: int, *, loss: float, examples_per_second: float) -> None:
        """Tell the state after `step`."""
        text = f"loss {loss:.3f}  {examples_per_second:,.0f} examples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        elif is_main():
            elapsed = time.perf_counter() - self._start
            left = elapsed / max(step - self._first, 1) * (self._total - step)
            print(f"step {step}/{self._total}  {text}  ETA {duration(left)}", flush=True)

    def close(self) -> None:
        """Leave the line as it is."""
        if self._bar is not None:
            self._bar.stop()
