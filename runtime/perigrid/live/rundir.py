"""Where does a run keep what it writes?

Everything of a run lies in one directory, mode 0700, and nothing is written elsewhere:

    run.json         what is up, and where          config.json    what it was made from
    clock.page       emulated time                  plan/          contact plan, an hour a file
    hosts.page       how far each host is, where the clock is governed
    sockets/         buses, workers, control        flash/NAME/    one satellite's captures and finished results
    ground/          journal and results            events.jsonl   what happened
    log/             what processes said            results/JOB/   what clients got
    boots/           how often each node has booted inputs/        the user's own models and data

Processes of a run have it as their working directory, because a unix socket's path holds 107 bytes at most.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from perigrid.errors import CorruptFile, EnvironmentProblem, NameInUse, NotRunning, UsageError
from perigrid.job.spec import JOB_ID_CHARACTERS

RUN_VERSION = 1
SUBFOLDERS = ("plan", "sockets", "flash", "ground", "boots", "log", "results", "inputs")
MAX_SOCKET_PATH_BYTES = 107
MAX_NAME_LENGTH = 64


class SatelliteInfo(msgspec.Struct, frozen=True):
    """Where one satellite is: its worker's socket (absolute), its host process and its payload process."""

    name: str
    worker: str
    pid: int
    payload_pid: int


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What run.json says of a constellation that is up.

    `rate` is emulated seconds a second of the wall, the highest where the clock is `governed`; `orbit_rate` is how many
    times as fast as emulated time the sky turns. `metrics` is where Prometheus finds the run, "" where it does not.
    """

    version: int
    name: str
    directory: str
    jobs: str
    gateway: str
    scenario_digest: str
    epoch: str
    rate: float
    orbit_rate: float = 1.0
    mode: str
    satellites_per_process: int
    supervisor_pid: int
    controller_pid: int
    preloaded: tuple[str, ...]
    satellites: tuple[SatelliteInfo, ...]
    governed: bool = False
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """One run's directory."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def run_json(self) -> Path:
        """What is up, and where."""
        return self.path / "run.json"

    @property
    def supervisor_socket(self) -> Path:
        """Where the supervisor listens."""
        return self.path / "sockets" / "supervisor"

    @classmethod
    def create(cls, root: Path, name: str) -> RunDirectory:
        """A fresh directory of that name; what a dead run of the same name left is removed first.

        NameInUse where that run is up.
        """
        if not name or len(name) > MAX_NAME_LENGTH or not set(name) <= JOB_ID_CHARACTERS or name.startswith("."):
            raise UsageError(
                f"run name {name!r}: use 1 to {MAX_NAME_LENGTH} letters, digits, '-', '_' or '.', not starting "
                "with '.', since it names a folder."
            )
        run = cls(root.resolve() / name)
        if run.path.exists():
            if run.is_up():
                raise NameInUse(
                    f"a constellation named {name!r} is up in {run.path}; take it down with `perigrid down "
                    f"--name {name}`, or give this one another --name."
                )
            if not run.run_json.exists() and any(run.path.iterdir()):
                raise NameInUse(f"{run.path} exists and is not a run's directory; give another --name or --root.")
            shutil.rmtree(run.path)
        try:
            run.path.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot make the run directory {run.path} ({error.strerror}); name a writable --root."
            ) from error
        for folder in SUBFOLDERS:
            (run.path / folder).mkdir(mode=0o700)
        run.run_json.write_text("{}")
        return run

    @classmethod
    def all(cls, root: Path) -> list[RunDirectory]:
        """Every run under `root`, up or not, by name."""
        if not root.is_dir():
            return []
        return [cls(p.resolve()) for p in sorted(root.iterdir()) if (p / "run.json").is_file()]

    @classmethod
    def find(cls, root: Path, name: str | None) -> RunDirectory:
        """The run of that name, or the only one, that is up; NotRunning with what to do otherwise."""
        up = [run for run in cls.all(root) if run.is_up()]
        names = ", ".join(run.name for run in up)
        if name is not None:
            found = next((run for run in up if run.name == name), None)
            if found is None:
                raise NotRunning(
                    f"no constellation named {name!r} is up under {root} (up: {names or 'none'}); start one with "
                    f"`perigrid up three-body-12 --name {name} --detach`."
                )
            return found
        if not up:
            raise NotRunning(
                f"no constellation is up under {root}; start one with `perigrid up three-body-12 --detach`."
            )
        if len(up) > 1:
            raise NotRunning(f"several constellations are up under {root} ({names}); say which with --name.")
        return up[0]

    def is_up(self) -> bool:
        """Is this run's supervisor alive? The lock that it holds says so: it cannot outlive the process."""
        import fcntl

        try:
            descriptor = os.open(self.path / "supervisor.lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def read(self) -> RunInfo:
        """What run.json says; NotRunning where the run is not up yet, CorruptFile where it cannot be read."""
        try:
            text = self.run_json.read_bytes()
        except FileNotFoundError as error:
            raise NotRunning(f"{self.path} is not the directory of a run that is up.") from error
        if text == b"{}":
            raise NotRunning(f"the constellation {self.name!r} is not up yet.")
        try:
            return msgspec.json.decode(text, type=RunInfo)
        except msgspec.MsgspecError as error:
            raise CorruptFile(f"{self.run_json} is not readable ({error}); bring the run up again.") from error

    def write(self, info: RunInfo) -> None:
        """Replace run.json at once: a reader sees the old one or the new one."""
        part = self.path / "run.json.part"
        part.write_bytes(msgspec.json.format(msgspec.json.encode(info), indent=1))
        part.replace(self.run_json)

    def remove_sockets(self) -> None:
        """Remove the files that dead listeners left."""
        for path in (self.path / "sockets").iterdir():
            path.unlink(missing_ok=True)


def grpc_address(path: Path) -> str:
    """A unix socket as gRPC names it, by whichever of its names fits into 107 bytes."""
    names = [str(path), os.path.relpath(path)]
    short = min(names, key=lambda n: len(os.fsencode(n)))
    if len(os.fsencode(short)) > MAX_SOCKET_PATH_BYTES:
        raise EnvironmentProblem(
            f"the socket path {path} is longer than {MAX_SOCKET_PATH_BYTES} bytes, and so is every way to say it "
            "from here; run from a folder nearer to it, or name a shorter --root."
        )
    return f"unix:{short}"
