"""Why does a constellation start in seconds?

The zygote imports everything and loads the models once; each process of the run is a fork of it, which shares those
pages and starts in hundredths of a second. It never starts gRPC, ZeroMQ or an event loop itself: those do not survive a
fork. It tells the supervisor which child has ended, and when the supervisor is gone it ends everything: kills its
children, removes the sockets, and leaves.

Its orders come on standard input, a line each: `fork NAME first|again`, `measure all now` (the CPU time of a tile,
while nothing else runs), `load all now` (models that came on board since, measured at once). Its reports go to the
descriptor that it was given: `loaded`, `measured JSON`, `answered TEXT` (to `load`, behind what was measured: nothing,
or why it could not be loaded), `forked NAME PID`, `exit NAME PID STATUS`; its children add `ready NAME`, `warm NAME`,
`failed NAME`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

import msgspec

from perigrid.errors import PerigridError
from perigrid.live.config import read_config
from perigrid.live.entry import die_with_parent, run_process
from perigrid.live.pipeline import LoadedModel, load_models, service_time
from perigrid.live.rundir import RunDirectory
from perigrid.live.service_times import MEASURED_TILES
from perigrid.mesh.shortest import preload
from perigrid.mesh.topology import Mesh


class Zygote:
    """Forks the processes of a run."""

    def __init__(self, models: dict[str, LoadedModel], reports: int) -> None:
        self._models = models
        self._reports = reports
        self._children: dict[int, str] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def run(self) -> None:
        """Take orders until the supervisor is gone."""
        orders = b""
        while True:
            readable, _, _ = select.select([0, self._wake_read], [], [])
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
                self._reap()
            if 0 in readable:
                data = os.read(0, 4096)
                if not data:
                    self._end_all()
                    return
                *lines, orders = (orders + data).split(b"\n")
                for line in lines:
                    self._order(line.decode())

    def _order(self, line: str) -> None:
        verb, name, first = line.split()
        if verb == "fork":
            self._fork(name, first == "first")
        elif verb == "measure":
            self._measure(self._models)
        elif verb == "load":
            self._load()

    def _load(self) -> None:
        """Load what came on board since, so that later forks have it too, and measure it."""
        try:
            new = load_models(read_config(Path()), self._models)
        except PerigridError as error:
            self._report(f"answered zygote {error}".replace("\n", " "))
            return
        self._models |= new
        self._measure(new)
        self._report("answered zygote ")

    def _measure(self, models: dict[str, LoadedModel]) -> None:
        times = {}
        for name, model in models.items():
            if model.tile_px is not None:
                with model.pipeline() as pipeline:
                    times[name] = service_time(pipeline, MEASURED_TILES)
        self._report(f"measured zygote {msgspec.json.encode(times).decode()}")

    def _fork(self, name: str, first: bool) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._children[pid] = name
            self._report(f"forked {name} {pid}")
            return
        try:
            die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _redirect(name)
            run_process(name, self._models, self._reports, first)
        except BaseException:
            import traceback

            os.write(2, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            name = self._children.pop(pid, "?")
            self._report(f"exit {name} {pid} {os.waitstatus_to_exitcode(status)}")

    def _end_all(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)
        RunDirectory(Path.cwd()).remove_sockets()

    def _report(self, line: str) -> None:
        try:
            os.write(self._reports, f"{line}\n".encode())
        except BrokenPipeError:
            self._end_all()
            os._exit(0)


def _redirect(name: str) -> None:
    """A process's standard error is its log; its standard input is empty."""
    log = os.open(f"log/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _preload() -> None:
    """Import what the children use, without starting any of it."""
    import grpc  # noqa: F401
    import zmq  # noqa: F401

    from perigrid.live import control, gateway, jobservice, worker  # noqa: F401


def main() -> None:
    """The zygote's process."""
    reports = int(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    config = read_config(Path())
    try:
        models = load_models(config, {})
    except PerigridError as error:
        text = f"failed zygote {error.exit_code} {error}".replace("\n", " ")
        os.write(reports, text.encode() + b"\n")
        sys.exit(error.exit_code)
    _preload()
    preload(Mesh(config.scenario).node_count)
    os.write(reports, b"loaded zygote\n")
    Zygote(models, reports).run()
    os._exit(0)


if __name__ == "__main__":
    main()
