"""What a process and all that it started use, from /proc (Linux).

Only the standard library is imported here, so that it can watch any program.
"""

import os
import pathlib

_PROC = pathlib.Path("/proc")


def process_tree(pid: int) -> list[int]:
    """Return a process and its descendants that live, parents first."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            fields = _stat(int(folder.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a tree so far, that of ended and reaped children included."""
    ticks = 0
    for one in process_tree(pid):
        fields = _stat(one)
        # utime, stime, cutime, cstime; see proc_pid_stat(5), whose count begins two fields before.
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a tree; a page that n processes share counts 1 / n in each."""
    total = 0
    for one in process_tree(pid):
        try:
            lines = (_PROC / str(one) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has ended meanwhile
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none if the process is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    # The name before them is in parentheses and may hold anything.
    return text.rpartition(")")[2].split()
