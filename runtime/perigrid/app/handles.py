"""What can a program do with a constellation that is up?

Run jobs and watch them, break links and satellites and mend them, ask how things are, and talk to one satellite. Each
method opens the connection that it needs, so that several threads may use one handle. Everything is synchronous; why
there is no asynchronous twin, `job_handle.py` says.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from perigrid.app.display import status_html
from perigrid.app.job_handle import Job, Order
from perigrid.app.jobs import complete, perform
from perigrid.app.progress import job_display, moment_of, status_rows
from perigrid.app.reducers import Wish, find_reduction
from perigrid.app.results import JobResult
from perigrid.app.scenarios import Say
from perigrid.app.tables import check_folder
from perigrid.app.worlds import Data, Model, as_files
from perigrid.errors import LinkBroken, NotRunning, UsageError
from perigrid.live.clients import MAX_JOB_S, JobClient, JobSummary, RunStatus, SupervisorClient
from perigrid.live.config import read_config, read_overlay
from perigrid.live.launch import down
from perigrid.live.rundir import RunDirectory, SatelliteInfo, grpc_address
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import GROUND_NAME, Scenario

if TYPE_CHECKING:
    from perigrid.app.inference_client import InferenceClient


class Status(RunStatus, frozen=True, kw_only=True):
    """How a constellation is: what `perigrid status --json` prints, as a value.

    `sky_s` is emulated seconds since `epoch`; `rate` emulated seconds a second of the wall, and `orbit_rate` how many
    times as fast as that the sky turns.
    """

    satellites: tuple[SatelliteInfo, ...]
    job_list: tuple[JobSummary, ...] = ()

    def __str__(self) -> str:
        rows = status_rows(self, len(self.satellites), self.job_list)
        return "\n".join([f"constellation {self.name}", *(f"  {what:<14} {how}" for what, how in rows)])

    def _repr_html_(self) -> str:
        return status_html(self)


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's shards wait for, and until when, as far as the ground knows.

    `until_sky_s` is when the next contact is planned, `until_utc` where the sky stands then, `in_sky_s` how far that is
    in emulated time and `in_wall_s` here; all are None where nothing is waited for, or no contact comes within the
    plan's horizon. `dead` is how it really is.
    """

    node: str
    reachable: bool
    dead: bool
    shards_waiting: int
    shards_leased: int
    reason: str
    until_sky_s: float | None = None
    until_utc: str | None = None
    in_sky_s: float | None = None
    in_wall_s: float | None = None


class Constellation:
    """A constellation that is up. As a context manager it is taken down at the end, where this program launched it.

    Every method raises NotRunning where it is not up any more, and UsageError for a node or link that is not there.
    """

    def __init__(self, run: RunDirectory, owned: bool, say: Say | None) -> None:
        self._run = run
        self._owned = owned
        self._say: Say = say or say_nothing
        self._quiet = say is None
        self._jobs: weakref.WeakSet[Job] = weakref.WeakSet()

    def __enter__(self) -> Constellation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            self.down()

    # --- what it is

    @property
    def name(self) -> str:
        """The run's name."""
        return self._run.name

    @property
    def directory(self) -> Path:
        """Where everything of the run lies; it stays when the constellation is taken down."""
        return self._run.path

    @property
    def scenario(self) -> Scenario:
        """The scenario that it was made from."""
        return read_config(self._run.path).scenario

    @property
    def satellites(self) -> tuple[str, ...]:
        """The satellites' names, dead ones too."""
        return self.scenario.satellite_names

    @property
    def rate(self) -> float:
        """Emulated seconds a second of the wall."""
        return self._run.read().rate

    @property
    def orbit_rate(self) -> float:
        """How many times as fast as emulated time passes the sky turns."""
        return self._run.read().orbit_rate

    # --- work

    def run(
        self,
        model: Model | None = None,
        data: Data | None = None,
        reduce: Wish = None,
        *,
        tiles_per_shard: int | None = None,
        priority: int = 0,
        deadline_s: float | None = None,
        job: str | None = None,
        out: str | Path | None = None,
        limit_s: float = MAX_JOB_S,
    ) -> JobResult:
        """Run a job to its end.

        Args:
            model: a name on board, or an .onnx file, which is brought on board first; by default the first that fits.
            data: a dataset on board, a scene (.npz), or tiles (.npy [N, ...], a folder, an array); by default the
                first on board.
            reduce: "votes" (one mask, the default for scenes), "none" (all outputs, the default for tiles),
                "module:function", or a function of the sequence of TileResults.
            tiles_per_shard: tiles that are computed and settled together.
            priority: higher goes first.
            deadline_s: emulated seconds after which its open shards are given up.
            job: its id; the same id with the same wish again is the same job, and gives the same result.
            out: a folder for the result, besides the run's own.
            limit_s: longest that it is watched, seconds of the wall.

        Returns the result, complete or not: failed shards are in it, and `check()` raises JobFailed for them. Raises
        UsageError for a wish that cannot be, LinkBroken where it has not ended in time.
        """
        wish = _wish(tiles_per_shard, priority, deadline_s, job)
        order = self._order(model, data, reduce, wish, out, limit_s)
        display = None if self._quiet else job_display(False, self._say)
        hear = _hear_nothing if display is None else display.show
        return perform(self._run, order.spec, hear, order.reduction, order.out, limit_s=order.limit_s)

    def submit(
        self,
        model: Model | None = None,
        data: Data | None = None,
        reduce: Wish = None,
        *,
        tiles_per_shard: int | None = None,
        priority: int = 0,
        deadline_s: float | None = None,
        job: str | None = None,
        out: str | Path | None = None,
        limit_s: float = MAX_JOB_S,
    ) -> Job:
        """Submit a job and go on: iterate over what is returned for results as they arrive, or ask for its `result`.

        Arguments and errors are those of `run`. Returns once the job is admitted.
        """
        wish = _wish(tiles_per_shard, priority, deadline_s, job)
        handle = Job(self._run, self._order(model, data, reduce, wish, out, limit_s)).start()
        self._jobs.add(handle)
        return handle

    def jobs(self) -> tuple[JobSummary, ...]:
        """The jobs that the ground knows, in the order of their admission."""
        with JobClient(self._run.read().jobs, self._run.is_up) as client:
            return client.jobs()

    def client(self, name: str) -> InferenceClient:
        """A client of the Open Inference Protocol for a satellite's worker, or, for "ground", for the gateway."""
        # It brings onnxruntime's types along, which running jobs does not need.
        from perigrid.app.inference_client import InferenceClient

        info = self._run.read()
        if name == GROUND_NAME:
            return InferenceClient(name, info.gateway)
        worker = next((satellite.worker for satellite in info.satellites if satellite.name == name), None)
        if worker is None:
            raise UsageError(
                f"no satellite of {self.name} is called {name!r}: there are {self.satellites[0]} to "
                f"{self.satellites[-1]}, and {GROUND_NAME!r} for the gateway."
            )
        return InferenceClient(name, grpc_address(Path(worker)))

    # --- faults

    def cut(self, a: str, b: str, one_way: bool = False) -> None:
        """Break the link between two nodes, or only its direction from a to b."""
        with SupervisorClient(self._run) as supervisor:
            supervisor.cut(a, b, one_way)

    def heal(self, a: str, b: str) -> None:
        """Mend the link between two nodes; its terminals acquire each other anew."""
        with SupervisorClient(self._run) as supervisor:
            supervisor.heal(a, b)

    def kill(self, name: str) -> None:
        """Let a satellite die at once; its flash stays. "ground" is the controller, which starts again by itself."""
        with SupervisorClient(self._run) as supervisor:
            supervisor.kill(name)

    def reboot(self, name: str, lose_flash: bool = False) -> None:
        """Start a dead satellite again, from its flash or from nothing; returns once its worker serves."""
        with SupervisorClient(self._run) as supervisor:
            supervisor.reboot(name, lose_flash)

    def restore(self) -> None:
        """Heal every link that was cut, and reboot every satellite that is lost."""
        names = Mesh(self.scenario).names
        with SupervisorClient(self._run) as supervisor:
            for a, b in sorted({(min(ends), max(ends)) for ends in read_overlay(self._run.path).cuts}):
                supervisor.heal(names[a], names[b])
            for name in supervisor.status().satellites_lost:
                supervisor.reboot(name)

    # --- questions

    def status(self) -> Status:
        """How it is now: links, satellites and jobs, and whether its times count."""
        with SupervisorClient(self._run) as supervisor:
            status = msgspec.json.decode(supervisor.status_json(), type=Status)
        try:
            jobs = self.jobs()
        except LinkBroken:
            # The controller is being restarted; the supervisor still answers.
            jobs = ()
        return msgspec.structs.replace(status, job_list=jobs)

    def why(self, name: str) -> Why:
        """What a node's shards wait for, and until when."""
        with SupervisorClient(self._run) as supervisor, JobClient(self._run.read().jobs, self._run.is_up) as client:
            explanation = client.explain(name)
            status = supervisor.status()
        dead = explanation.node in status.satellites_lost
        # It does not come back by itself, whatever contact is planned.
        until_s = None if dead else explanation.until_sky_s
        in_sky_s = None if until_s is None else max(0.0, until_s - status.sky_s)
        return Why(
            node=explanation.node,
            reachable=explanation.reachable,
            dead=dead,
            shards_waiting=explanation.shards_waiting,
            shards_leased=explanation.shards_leased,
            reason=f"{explanation.node} is dead until it is rebooted" if dead else explanation.reason,
            until_sky_s=until_s,
            until_utc=None if until_s is None else moment_of(status, until_s),
            in_sky_s=in_sky_s,
            in_wall_s=None if in_sky_s is None or status.rate <= 0 else in_sky_s / status.rate,
        )

    def events(self, follow: bool = False) -> Iterator[dict[str, Any]]:
        """The run's events so far, as docs/events.md has them; with `follow` those to come too, while it is up."""
        from perigrid.live.eventlog import follow_events, read_events

        return follow_events(self._run.path, self._run.is_up) if follow else read_events(self._run.path)

    def report(self, out: str | Path | None = None, job: str | None = None) -> Path:
        """Write the report of a job, by default the last, as one HTML file; its path."""
        from perigrid.report.page import write_report

        return write_report(self._run.path, job, None if out is None else Path(out))

    # --- its end

    def down(self) -> None:
        """Take it down; its directory stays. Does nothing where it is down."""
        for handle in list(self._jobs):
            handle.leave()
        down(self._run)

    def __repr__(self) -> str:
        state = "up" if self._run.is_up() else "down"
        return f"<Constellation {self.name}: {state}, {len(self.satellites)} satellites, in {self.directory}>"

    def _repr_html_(self) -> str:
        if not self._run.is_up():
            return f"<p>constellation {self.name} is down</p>"
        return self.status()._repr_html_()

    # --- how a wish becomes an order

    def _order(
        self,
        model: Model | None,
        data: Data | None,
        reduce: Wish,
        wish: dict[str, Any],
        out: str | Path | None,
        limit_s: float,
    ) -> Order:
        folder = None if out is None else Path(out)
        if folder is not None:
            check_folder(folder, parquet=False)
        reduction = find_reduction(reduce)
        if not self._run.is_up():
            raise NotRunning(f"the constellation {self.name} is not up any more; launch it again.")
        names = on_board(self._run, model, data, self._say)
        spec = complete({**wish, "model": names[0], "dataset": names[1]}, self._run)
        reduction = reduction.fitting(read_config(self._run.path).catalogue.of(spec.dataset)[0])
        return Order(spec, reduction, folder, limit_s)


def on_board(run: RunDirectory, model: Model | None, data: Data | None, say: Say) -> tuple[str | None, str | None]:
    """The names of a model and of data on board; what is not there is brought first. None stays None."""
    config = read_config(run.path)
    names = {file.entry.name for file in config.models}
    datasets = {capture.dataset for capture in config.catalogue.captures}
    if (model is None or str(model) in names) and (data is None or (isinstance(data, str) and data in datasets)):
        return (None if model is None else str(model), None if data is None else str(data))
    from perigrid.app.loading import ensure

    with as_files([] if data is None else [data]) as files:
        return ensure(run, model, files[0] if files else None, say)


def _wish(tiles_per_shard: int | None, priority: int, deadline_s: float | None, job: str | None) -> dict[str, Any]:
    return {"tiles_per_shard": tiles_per_shard, "priority": priority, "deadline_s": deadline_s, "job": job}


def say_nothing(line: str) -> None:
    """Say nothing: nobody asked."""


def _hear_nothing(event: object) -> None:
    """Hear nothing: nobody looks on."""
