"""How do tests bring up real constellations, look at them from outside, and leave nothing behind?

A constellation is brought up by the command, in a process of its own, and ended by the fixture that started it: by
`down`, and by pid where that should fail. Processes of a run are found as anybody could find them, by their working
directory. The scene is made up, small and seeded; its expected mask comes from one process without any satellite.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from perigrid.job.masks import PIXELS_PER_BYTE, windows
from perigrid.job.reduce import VoteReducer
from perigrid.job.spec import JobSpec
from perigrid.live.clients import ConnectionLost, Delivered, JobClient, JobEvent
from perigrid.live.clock import ClockPage
from perigrid.live.config import read_config
from perigrid.live.launch import down
from perigrid.live.models import ModelStore
from perigrid.live.pipeline import load_model
from perigrid.live.rundir import RunDirectory, grpc_address
from perigrid.mesh.topology import Mesh
from perigrid.node.records import JobEnded, ShardAccepted
from perigrid.node.replies import Row
from perigrid.wire.generated import control_pb2, control_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from tests.conftest import ring_scenario

SOURCE_ROOT = Path(__file__).resolve().parents[2] / "runtime"
COMMAND = (sys.executable, "-c", "from perigrid.app.cli import main; main()")
SIDE_PX, TILE_PX, STRIDE_PX = 512, 256, 64
TILES = 25
SATELLITES = 12
LOOK_S = 0.02
UP_LIMIT_S = 30.0
JOB_LIMIT_S = 30.0
GONE_LIMIT_S = 2.0
"""How long after its end a constellation may still have a process or a socket."""


def wait_until(condition: Callable[[], Any], limit_s: float, what: str) -> Any:
    """Poll until the condition gives something true, and return that; fail with `what` past the limit."""
    end_s = time.monotonic() + limit_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end_s, f"not within {limit_s:g} s: {what}"
        time.sleep(LOOK_S)


# --- the world


def scenario_toml(
    scene: Path,
    rate: float,
    service_s: float,
    laser_rate_bps: float = 10e9,
    replicas: int = 2,
    preload: bool = True,
    acquire_s: float = 1.0,
    extra: str = "",
) -> str:
    """A twelve-ring with one station below its first satellite, as a user would write it."""
    world = ring_scenario()
    shell, station = world.shells[0], world.stations[0]
    return f"""
epoch = {world.epoch.isoformat()}
models = ["tinycloud"]
[[shell]]
name = "{shell.name}"
altitude_km = {shell.altitude_km}
inclination_deg = {shell.inclination_deg}
planes = 1
sats_per_plane = {shell.sats_per_plane}
raan_spread_deg = 0.0
phasing = 0.0
topology = "ring"
[[station]]
name = "{station.name}"
latitude_deg = {station.latitude_deg}
longitude_deg = {station.longitude_deg}
min_elevation_deg = {station.min_elevation_deg}
[lasers]
rate_bps = {laser_rate_bps}
acquire_s = {acquire_s}
[device]
name = "computer of the tests"
kind = "assumed"
service_s = {{ tinycloud = {service_s}, mine = {service_s} }}
[clock]
rate = {rate}
[[data]]
file = "{scene}"
stride_px = {STRIDE_PX}
replicas = {replicas}
preload_replicas = {str(preload).lower()}
{extra}
"""


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of six bands with clouds of a kind: smooth waves, and grain on top."""
    generator = np.random.default_rng(11)
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    waves = 0.35 + 0.25 * np.sin(rows / 31.0) * np.cos(columns / 47.0)
    bands = [waves * (1 - 0.08 * band) + 0.03 * generator.standard_normal(waves.shape) for band in range(6)]
    path = tmp_path_factory.mktemp("scene") / "waves.npz"
    np.savez(path, img=np.stack(bands).astype(np.float32))
    return path


@pytest.fixture(scope="session")
def expected_sha256(scene: Path) -> str:
    """The merged mask's digest, computed tile by tile in this process."""
    with np.load(scene) as arrays:
        image = arrays["img"]
    corners = windows(SIDE_PX, SIDE_PX, TILE_PX, STRIDE_PX)
    assert len(corners) == TILES
    reducer = VoteReducer(SIDE_PX, SIDE_PX, TILE_PX, corners)
    with load_model(ModelStore(), "tinycloud").pipeline() as pipeline:
        for tile, (row, column) in enumerate(corners.tolist()):
            reducer.add(tile, (row, column), pipeline.tile(image, row, column))
    assert len(np.unique(reducer.mask())) > 1, "a scene of one class would not tell results apart"
    return reducer.sha256()


# --- processes


def processes_in(directory: Path) -> dict[int, str]:
    """The processes whose working directory this is: pid -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # A process may end while it is looked at; a zombie has no working directory.
            with suppress(OSError):
                if (entry / "cwd").readlink() == directory:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def is_gone(directory: Path) -> bool:
    """Is no process of that run alive, and no socket left?"""
    return not processes_in(directory) and not any((directory / "sockets").iterdir())


def alive(pid: int) -> bool:
    """Does that process run? A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def environment() -> dict[str, str]:
    """What a command of the tests is started with."""
    return {**os.environ, "PYTHONPATH": str(SOURCE_ROOT)}


# --- constellations


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its client saw it: rows in the order of their arrival, with their bytes."""

    rows: list[Row]
    ending: JobEnded
    sha256: str
    connections_lost: int

    def satellites(self) -> set[int]:
        """Who computed an accepted shard."""
        return {row.ending.satellite for row in self.rows if isinstance(row.ending, ShardAccepted)}


@dataclass(frozen=True, slots=True)
class Constellation:
    """A constellation that is up, from outside: `info` is what `perigrid up --json` printed."""

    run: RunDirectory
    info: dict[str, Any]

    @property
    def directory(self) -> Path:
        return self.run.path

    def command(self, *arguments: str) -> dict[str, Any]:
        """What a command of the CLI prints about this run as JSON."""
        where = ("--root", str(self.directory.parent), "--name", self.run.name, "--json")
        done = subprocess.run(
            [*COMMAND, *arguments, *where], env=environment(), capture_output=True, text=True, timeout=UP_LIMIT_S
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, method: str, request: Any) -> Any:
        """One call of the supervisor's service, patient where the machine is busy."""
        with grpc.insecure_channel(grpc_address(self.run.supervisor_socket)) as channel:
            stub = control_pb2_grpc.SupervisorStub(channel)
            return getattr(stub, method)(request, timeout=UP_LIMIT_S, wait_for_ready=True)

    def cut(self, a: str, b: str) -> None:
        self.ask("Cut", control_pb2.LinkRequest(a=a, b=b))

    def heal(self, a: str, b: str) -> None:
        self.ask("Heal", control_pb2.LinkRequest(a=a, b=b))

    def kill(self, node: str) -> None:
        self.ask("Kill", control_pb2.NodeRequest(node=node))

    def reboot(self, node: str, lose_flash: bool = False) -> None:
        self.ask("Reboot", control_pb2.NodeRequest(node=node, lose_flash=lose_flash))

    def status(self) -> dict[str, Any]:
        """What `perigrid status --json` is made from."""
        return json.loads(self.ask("Status", control_pb2.StateRequest()).json)

    def states(self) -> dict[str, Any]:
        """Every host's raw state by its name; arrivals of probes are handed out once."""
        return {state.name: state for state in self.ask("States", control_pb2.StateRequest(errors=True)).states}

    def jobs(self) -> list[str]:
        """The ids of the jobs that the controller knows."""
        with grpc.insecure_channel(self.info["jobs"]) as channel:
            answer = jobs_pb2_grpc.JobServiceStub(channel).List(
                jobs_pb2.ListRequest(), timeout=UP_LIMIT_S, wait_for_ready=True
            )
        return [job.job for job in answer.jobs]

    def probe(self, source: str, destination: str, start_sky_s: float, **changes: Any) -> None:
        """Let a node send probes to its neighbour."""
        values = {"count": 1, "interval_s": 0.0, "payload_bytes": 0, "bulk": False, **changes}
        request = control_pb2.ProbeRequest(source=source, destination=destination, start_sky_s=start_sky_s, **values)
        self.ask("Probe", request)

    def now_s(self) -> float:
        """The run's emulated time."""
        clock = ClockPage(self.directory / "clock.page")
        try:
            return clock.now_s()
        finally:
            clock.close()

    def mesh(self) -> Mesh:
        """The nodes and their names."""
        return Mesh(read_config(self.directory).scenario)

    def link_states(self) -> dict[tuple[str, str], str]:
        """The state of each link between two nodes, in words."""
        return {(link["a"], link["b"]): link["state"] for link in self.status()["links"]}

    def job(self, name: str, on_row: Callable[[int], None] | None = None, **changes: Any) -> Job:
        """Run a job to its end; `on_row` hears how many rows have come."""
        return run_job(self, name, on_row, changes)


def run_job(
    constellation: Constellation, name: str, on_row: Callable[[int], None] | None, changes: dict[str, Any]
) -> Job:
    """The client's side of a job. The reducer refuses a tile that comes twice, so exactly-once is asserted here."""
    corners = windows(SIDE_PX, SIDE_PX, TILE_PX, STRIDE_PX)
    reducer = VoteReducer(SIDE_PX, SIDE_PX, TILE_PX, corners)
    rows: list[Row] = []
    lost: list[ConnectionLost] = []

    def hear(event: JobEvent) -> None:
        if isinstance(event, ConnectionLost):
            lost.append(event)
        elif isinstance(event, Delivered):
            rows.append(event.row)
            assert isinstance(event.row.ending, ShardAccepted), event.row.ending
            packed = np.frombuffer(event.result, np.uint8).reshape(-1, TILE_PX**2 // PIXELS_PER_BYTE)
            for tile, mask in zip(event.row.tiles, packed, strict=True):
                reducer.add(tile, tuple(corners[tile].tolist()), mask)
            if on_row is not None:
                on_row(len(rows))

    dataset = constellation.directory.parent.joinpath("dataset").read_text()
    spec = JobSpec(job=name, model="tinycloud", dataset=dataset, **{"tiles_per_shard": 1, **changes})
    with JobClient(constellation.info["jobs"], constellation.run.is_up) as client:
        ending = client.run(spec, hear, limit_s=JOB_LIMIT_S)
    assert ending.outcome == "complete"
    assert [row.cursor for row in rows] == list(range(1, len(rows) + 1))
    assert reducer.coverage_error() is None
    return Job(rows, ending, reducer.sha256(), len(lost))


@dataclass(slots=True)
class Launcher:
    """Starts constellations, and ends whatever is left of them."""

    root: Path
    scene: Path
    started: list[RunDirectory] = field(default_factory=list)
    attached: list[subprocess.Popen[str]] = field(default_factory=list)

    def scenario(self, name: str, rate: float = 1.0, service_s: float = 0.2, **changes: Any) -> Path:
        """Write a scenario file."""
        path = self.root / f"{name}.toml"
        path.write_text(scenario_toml(self.scene, rate, service_s, **changes))
        return path

    def up(
        self, name: str, *options: str, settled: bool = True, file: Path | None = None, **changes: Any
    ) -> Constellation:
        """Bring up a detached constellation of `file`, or of what the changes say, and wait until it is at rest."""
        run = RunDirectory((self.root / name).resolve())
        self.started.append(run)
        path = file or self.scenario(name, **changes)
        arguments = ["up", str(path), "--name", name, "--root", str(self.root), *options]
        done = subprocess.run(
            [*COMMAND, *arguments, "--detach", "--json"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=UP_LIMIT_S,
        )
        assert done.returncode == 0, done.stderr
        constellation = Constellation(run, json.loads(done.stdout))
        if settled:
            wait_until(lambda: constellation.status()["settled"], UP_LIMIT_S, "copies in place and payloads warm")
        return constellation

    def attach(self, name: str, *options: str, **changes: Any) -> tuple[subprocess.Popen[str], RunDirectory]:
        """Start `perigrid up` without --detach; its process, and the run's directory."""
        run = RunDirectory((self.root / name).resolve())
        self.started.append(run)
        arguments = ["up", str(self.scenario(name, **changes)), "--name", name, "--root", str(self.root), *options]
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.attached.append(process)
        return process, run

    def end(self, run: RunDirectory) -> list[str]:
        """Take a run down; the command lines of what did not end by itself, and had to be killed."""
        if run.path.exists():
            down(run)
            end_s = time.monotonic() + GONE_LIMIT_S
            while processes_in(run.path) and time.monotonic() < end_s:
                time.sleep(LOOK_S)
        left = processes_in(run.path)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return list(left.values())

    def end_all(self) -> list[str]:
        """End everything that was started."""
        for process in self.attached:
            if process.poll() is None:
                process.kill()
            process.communicate()
        left = [line for run in self.started for line in self.end(run)]
        self.started.clear()
        self.attached.clear()
        return left


@contextmanager
def launching(root: Path, scene: Path) -> Iterator[Launcher]:
    """A launcher that leaves nothing behind, whatever happens."""
    (root / "dataset").write_text(scene.stem)
    launcher = Launcher(root, scene)
    left: Sequence[str] = ()
    try:
        yield launcher
    finally:
        left = launcher.end_all()
    assert not left, f"still running after `down`: {left}"


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory, scene: Path) -> Iterator[Launcher]:
    """What a test file's constellations are started with."""
    with launching(tmp_path_factory.mktemp("runs"), scene) as found:
        yield found


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory, scene: Path) -> Iterator[Constellation]:
    """Twelve satellites, a process each, at a tenth of real time. Whoever breaks something mends it."""
    with launching(tmp_path_factory.mktemp("slow"), scene) as found:
        yield found.up("slow", rate=0.1, service_s=0.03, acquire_s=0.1)
