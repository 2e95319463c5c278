"""How is a constellation brought up and taken down?

The launcher execs the supervisor with the memory allocator's settings in its environment (they are read before the
first line of Python runs), and waits until it says that every satellite serves. An attached constellation dies with its
launcher; a detached one lives until it is taken down.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from perigrid.errors import EnvironmentProblem, PerigridError, UsageError
from perigrid.live.rundir import RunDirectory, RunInfo

READY_LIMIT_S = 120.0
DOWN_LIMIT_S = 10.0
LOCK_LOOK_S = 0.02
LOG_TAIL_BYTES = 1500

ALLOCATOR_SETTINGS = {
    # Big buffers come and go with every request: without these, each costs hundreds of page faults.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    # By default eight heaps a core, and each costs page faults until it has once held what a request needs.
    "MALLOC_ARENA_MAX": str(os.cpu_count() or 1),
    # Nothing is written outside the run directory, and nothing is sent anywhere.
    "ORT_DISABLE_TELEMETRY": "1",
    # A thread pool per process of the linear-algebra library would compete with the core tokens.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


_launched: dict[Path, subprocess.Popen[bytes]] = {}
"""The supervisors that this very process has started, so that it can take note of their end."""


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How a scenario is to run here. `rate` and `mode` None take the scenario's, or the launcher's default; the rate
    "auto" lets the clock be governed. Metrics are served where `metrics_port` is a port, or 0 for any free one.
    """

    rate: float | Literal["auto"] | None = None
    mode: str | None = None
    satellites_per_process: int = 1
    port: int = 0
    gateway_port: int = 0
    metrics_port: int | None = None
    attached: bool = True

    def check(self) -> None:
        """Raise UsageError where they cannot be."""
        if self.rate == "auto" and self.mode == "free":
            raise UsageError("--rate auto keeps a dilated clock in time; leave out --clock free, or the rate.")
        if self.rate not in (None, "auto") and not (isinstance(self.rate, float | int) and 0 < self.rate <= 1000):
            raise UsageError(f"--rate {self.rate}: give emulated seconds a second, above 0 and at most 1000, or auto.")
        if self.mode not in (None, "dilated", "free"):
            raise UsageError(f"--clock {self.mode}: there are 'dilated' and 'free'.")
        if self.satellites_per_process < 1:
            raise UsageError("--satellites-per-process: give 1 or more.")
        ports = (("--port", self.port), ("--gateway-port", self.gateway_port), ("--metrics-port", self.metrics_port))
        for option, port in ports:
            if port is not None and not 0 <= port <= 65535:
                raise UsageError(f"{option} {port}: give 1 to 65535, or 0 for any free one.")


def launch(run: RunDirectory, options: LaunchOptions, progress: Callable[[str], None]) -> RunInfo:
    """Start the supervisor of a prepared run and wait until everything serves.

    Raises what kept it from starting, with its own text; nothing is left running then.
    """
    read_end, write_end = os.pipe()
    arguments = [sys.executable, "-m", "perigrid.live.supervisor", str(write_end)]
    if options.attached:
        arguments.append(str(os.getpid()))
    log = (run.path / "log" / "supervisor.log").open("ab")
    try:
        process = subprocess.Popen(
            arguments,
            cwd=run.path,
            env={**os.environ, **ALLOCATOR_SETTINGS, "PYTHONPATH": _python_path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(write_end,),
            start_new_session=True,
        )
    finally:
        os.close(write_end)
        log.close()
    _launched[run.path] = process
    try:
        _wait_ready(run, process, read_end, progress)
    except BaseException:
        _end(_launched.pop(run.path))
        run.remove_sockets()
        raise
    finally:
        os.close(read_end)
    return run.read()


def down(run: RunDirectory) -> None:
    """Take a constellation down and wait until it is; bounded. Does nothing where it is not up."""
    try:
        descriptor = os.open(run.path / "supervisor.lock", os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        text = (run.path / "supervisor.lock").read_text().strip()
        if not run.is_up():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(text), signal.SIGTERM)
        end_s = time.monotonic() + DOWN_LIMIT_S
        while time.monotonic() < end_s:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(LOCK_LOOK_S)
        # It does not answer: its children die with it, by the kernel's hand.
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(text), signal.SIGKILL)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        run.remove_sockets()
    finally:
        os.close(descriptor)
        process = _launched.pop(run.path, None)
        if process is not None:
            process.wait(timeout=DOWN_LIMIT_S)


def _wait_ready(
    run: RunDirectory, process: subprocess.Popen[bytes], reports: int, progress: Callable[[str], None]
) -> None:
    end_s, text = time.monotonic() + READY_LIMIT_S, b""
    while True:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise EnvironmentProblem(f"the constellation was not up after {READY_LIMIT_S:g} s; see {run.path / 'log'}.")
        readable, _, _ = select.select([reports], [], [], left_s)
        if not readable:
            continue
        data = os.read(reports, 65536)
        if not data:
            raise EnvironmentProblem(
                f"the supervisor ended while it started (status {process.wait()}): {_log_tail(run)}"
            )
        *lines, text = (text + data).split(b"\n")
        for line in lines:
            report = msgspec.json.decode(line, type=dict[str, str])
            if "ready" in report:
                return
            if "failed" in report:
                raise _failure(int(report["exit_code"]), report["failed"])
            progress(report["progress"])


def _failure(exit_code: int, text: str) -> PerigridError:
    if exit_code == UsageError.exit_code:
        return UsageError(text)
    return EnvironmentProblem(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=DOWN_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _log_tail(run: RunDirectory) -> str:
    text = (run.path / "log" / "supervisor.log").read_text(errors="replace")
    return text[-LOG_TAIL_BYTES:].strip() or f"it said nothing; see {run.path / 'log'}"


def _python_path() -> str:
    """The launcher's own import path: the run directory is the supervisor's working directory."""
    source_root = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    absolute = [str(Path(p).resolve()) for p in known if p]
    return os.pathsep.join([source_root, *absolute])
