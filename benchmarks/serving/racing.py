"""How is one server started, asked, and ended?

A server is a process with all that it has started; what it used is read from /proc before and after a stretch.
Clients are processes of their own, as many as ask at once, which wait for their lines between stretches. What is
started here is ended by its id.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from figures import MAX_OTHERS_CORES, Stretch

from perigrid.bench.accounting import TICKS_S, machine, process_cpu_s
from perigrid.live.launch import ALLOCATOR_SETTINGS

HERE = Path(__file__).parent
START_LIMIT_S, END_LIMIT_S = 90.0, 10.0
READ_BYTES = 65536
QUIET_LOOK_S = 0.5
PARENT_FIELD, FAULTS_FIELD = 1, 7
"""Of /proc/<pid>/stat after the name's bracket: ppid, minflt (proc(5) counts them 4 and 10)."""


class RaceError(RuntimeError):
    """A server or client that did not do what was asked, with its own last words."""


@dataclass(frozen=True, slots=True)
class Server:
    """How one is started. `address` is what its clients are told; `command` is run as it stands.

    `namespace`: in a network of its own with nothing but a loopback, for those that listen elsewhere.
    """

    name: str
    command: Sequence[str]
    protocol: str
    address: str
    environment: dict[str, str] = field(default_factory=dict)
    namespace: bool = False
    folder: Path | None = None
    checked: bool = True


def stat_fields(pid: int) -> list[str]:
    """The words of /proc/<pid>/stat after the name; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            words = stat_fields(int(entry.name))
            if words:
                children.setdefault(int(words[PARENT_FIELD]), []).append(int(entry.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


@dataclass(frozen=True, slots=True)
class Usage:
    """What some processes have used so far."""

    cpu_s: float
    faults: int


def usage(pids: Sequence[int]) -> Usage:
    """CPU seconds and minor page faults of processes, all their threads."""
    stats = [words for pid in pids if (words := stat_fields(pid))]
    ticks = sum(int(words[11]) + int(words[12]) for words in stats)
    return Usage(ticks / TICKS_S, sum(int(words[FAULTS_FIELD]) for words in stats))


@contextlib.contextmanager
def started(server: Server, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A server that said "ready" on its standard output, ended at the end with all that it started."""
    command = list(server.command)
    if server.namespace:
        inside = 'ip link set lo up && exec "$@"'
        command = ["unshare", "--net", "sh", "-c", inside, "sh", *command]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=server.folder,
            env={**os.environ, **server.environment},
        )
    try:
        _await_ready(process, log)
        yield process
    finally:
        _end(process)


def _await_ready(process: subprocess.Popen[str], log: Path) -> None:
    """A peer may say much before it is ready; nothing is read after it."""
    if process.stdout is None:
        raise RaceError("it has no output")
    output, said, end_s = process.stdout.fileno(), b"", time.monotonic() + START_LIMIT_S
    while b"ready" not in said:
        readable, _, _ = select.select([output], [], [], max(0.0, end_s - time.monotonic()))
        data = os.read(output, READ_BYTES) if readable else b""
        if not data:
            raise RaceError(f"it did not start: {last_words(log)}")
        said += data


def last_words(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _end(process: subprocess.Popen[str]) -> None:
    """By their ids: first the server itself, kindly; then what is left of its tree."""
    pids = tree(process.pid)
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_LIMIT_S)
    for pid in reversed(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def wait_quiet(pids: Sequence[int], limit_s: float) -> float:
    """Wait until others than these processes hold next to nothing; seconds waited, at most the limit."""
    start_s = time.monotonic()
    while True:
        before, used_s, look_s = machine(), usage(pids).cpu_s, time.monotonic()
        waited_s = look_s - start_s
        if waited_s >= limit_s:
            return waited_s
        time.sleep(QUIET_LOOK_S)
        others_s = machine().busy_s - before.busy_s - (usage(pids).cpu_s - used_s)
        if others_s <= MAX_OTHERS_CORES * (time.monotonic() - look_s):
            return time.monotonic() - start_s


def spoken_to(command: Sequence[str], count: int, log: Path) -> list[subprocess.Popen[str]]:
    """So many processes of one command, spoken to by lines; what they complain of goes to the log."""
    with log.open("ab") as errors:
        return [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **ALLOCATOR_SETTINGS},
            )
            for _ in range(count)
        ]


class Clients:
    """Processes that ask one server for one model."""

    def __init__(self, spec: dict[str, Any], count: int, log: Path, inside: int | None) -> None:
        command = [sys.executable, str(HERE / "client.py"), json.dumps(spec)]
        if inside is not None:
            command = ["nsenter", "--net", "--target", str(inside), *command]
        self._log = log
        self._processes = spoken_to(command, count, log)
        for process in self._processes:
            if self._line(process) != "ready\n":
                raise RaceError(f"a client failed: {last_words(log)}")

    def pids(self) -> list[int]:
        """Their ids."""
        return [process.pid for process in self._processes]

    def ask(self, asking: int, seconds: float) -> list[dict[str, float]]:
        """The first so many of them ask for so long, side by side; what each of them says."""
        for process in self._processes[:asking]:
            if process.stdin is not None:
                process.stdin.write(f"{seconds}\n")
                process.stdin.flush()
        return [json.loads(self._line(process) or "{}") for process in self._processes[:asking]]

    def _line(self, process: subprocess.Popen[str]) -> str:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise RaceError(f"a client failed: {last_words(self._log)}")
        return line

    def end(self) -> None:
        """Let them go."""
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError):
                process.communicate(timeout=END_LIMIT_S)


def measured(server: int, clients: Clients, asking: int, seconds: float) -> Stretch:
    """One stretch, and what everybody used meanwhile."""
    pids = tree(server)
    before, used, asked_s, own_s = machine(), usage(pids), usage(clients.pids()).cpu_s, process_cpu_s(os.getpid())
    start_s = time.monotonic()
    said = clients.ask(asking, seconds)
    wall_s = time.monotonic() - start_s
    after, done = machine(), usage(pids)
    asked_s = usage(clients.pids()).cpu_s - asked_s
    own_s = process_cpu_s(os.getpid()) - own_s
    cpu_s = done.cpu_s - used.cpu_s
    others = max(0.0, after.busy_s - before.busy_s - cpu_s - asked_s - own_s) / wall_s
    return Stretch(
        int(sum(one["requests"] for one in said)),
        sum(one["requests"] / one["wall_s"] for one in said),
        cpu_s,
        sum(one["cpu_s"] for one in said),
        done.faults - used.faults,
        others,
        statistics.median(one["p50_s"] for one in said),
        max(one["p99_s"] for one in said),
    )


class Bare:
    """Loops of onnxruntime in processes of their own, as many as there are cores."""

    def __init__(self, given: Sequence[str], count: int, log: Path) -> None:
        command = [sys.executable, str(HERE / "servers" / "bare.py"), *given]
        self._processes = spoken_to(command, count, log)
        for process in self._processes:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RaceError(f"bare did not start: {last_words(log)}")

    def pids(self) -> list[int]:
        """Their ids."""
        return [process.pid for process in self._processes]

    def round(self, model: str, asking: int, seconds: float) -> Stretch:
        """So many of them side by side."""
        chosen = self._processes[:asking]
        pids = [process.pid for process in chosen]
        before, used, own_s = machine(), usage(pids), process_cpu_s(os.getpid())
        start_s = time.monotonic()
        for process in chosen:
            if process.stdin is not None:
                process.stdin.write(f"{model} {seconds}\n")
                process.stdin.flush()
        said = [json.loads(process.stdout.readline()) for process in chosen if process.stdout is not None]
        wall_s = time.monotonic() - start_s
        after, done = machine(), usage(pids)
        others = after.busy_s - before.busy_s - (done.cpu_s - used.cpu_s) - (process_cpu_s(os.getpid()) - own_s)
        each_s = float(np.mean([one["wall_s"] / one["requests"] for one in said]))
        return Stretch(
            int(sum(one["requests"] for one in said)),
            sum(one["requests"] / one["wall_s"] for one in said),
            sum(one["cpu_s"] for one in said),
            0.0,
            done.faults - used.faults,
            max(0.0, others) / wall_s,
            each_s,
            each_s,
        )

    def end(self) -> None:
        """Let them go."""
        for process in self._processes:
            process.communicate(timeout=END_LIMIT_S)
