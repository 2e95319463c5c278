"""How much of this machine did something take?

Read from /proc: CPU seconds of the processes of a run (they all have the run directory as their working directory), of
the whole machine, and what the hypervisor stole from it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_S = os.sysconf("SC_CLK_TCK")
IDLE_FIELDS = (3, 4)
STEAL_FIELD = 7


@dataclass(frozen=True, slots=True)
class Machine:
    """Cumulated seconds of all cores: at work for anyone here, and stolen by the hypervisor."""

    busy_s: float
    steal_s: float


def machine() -> Machine:
    """The machine's counts now."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = sum(fields[i] for i in IDLE_FIELDS)
    steal = fields[STEAL_FIELD]
    return Machine((sum(fields) - idle - steal) / TICKS_S, steal / TICKS_S)


def process_cpu_s(pid: int) -> float:
    """CPU seconds of one process, all its threads; 0 where it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / TICKS_S


def pids_in(folder: Path) -> list[int]:
    """The processes whose working directory that is."""
    wanted = str(folder.resolve())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") == wanted:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def run_cpu_s(folder: Path) -> float:
    """CPU seconds of all processes of a run so far."""
    return sum(process_cpu_s(pid) for pid in pids_in(folder))
