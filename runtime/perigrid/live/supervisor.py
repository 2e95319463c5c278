"""Who keeps the constellation up, and takes it down?

One process, exec'd by the launcher with the run directory as its working directory. It owns the clock, the core tokens
and the zygote, restarts what should be restarted, does the scenario's faults when their time comes, computes further
hours of the contact plan, and speaks to commands over gRPC on a unix socket. When it ends, however it ends, everything
ends: the zygote hears it and kills the rest; and should that die too, the kernel does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import msgspec

from perigrid.errors import EnvironmentProblem, NameInUse, PerigridError, UsageError
from perigrid.live.clock import ClockPage
from perigrid.live.config import (
    GROUND_HOST,
    Cargo,
    RunConfig,
    map_segment,
    open_plan,
    read_config,
    write_config,
)
from perigrid.live.constellation import BY_SCENARIO, Constellation, wait_gone
from perigrid.live.cores import CoreServer
from perigrid.live.entry import CORES_SOCKET, PAYLOAD_PREFIX, die_with_parent
from perigrid.live.eventlog import EventLog
from perigrid.live.governor import Governor, History
from perigrid.live.holds import HOLDS_SOCKET, HoldServer
from perigrid.live.horizon import lead_s, write_segment
from perigrid.live.rundir import RUN_VERSION, RunDirectory, RunInfo, SatelliteInfo
from perigrid.live.service_times import check_device, write_service_times
from perigrid.live.status import Pace, rounded, status
from perigrid.live.traffic import Traffic
from perigrid.live.watch import Watch, create_page
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.scenario.model import Fault
from perigrid.wire.generated import control_pb2 as protocol
from perigrid.wire.generated import control_pb2_grpc as protocol_grpc

LOOK_S = 0.05
PACE_S = 1.0
"""How often it is noted how fast a governed clock passes, seconds of the wall."""

SWITCH_INTERVAL_S = 1e-4
END_LIMIT_S = 1.5
SKIP_RATE = 100.0
"""Emulated seconds a second of the wall at which time is skipped: whatever is due meanwhile still takes its turn."""

SKIP_LOOK_S = 0.02
SKIP_SLACK_S = 0.05
"""A skip may end so much, emulated seconds, before its time."""

SKIP_HORIZON_S = 600.0
MAX_SKIP_S = 7 * 86_400.0
LOAD_LIMIT_S = 150.0
SETTLING_RATE = 0.02
SETTLING_LOOK_S = 0.1
SETTLING_LIMIT_S = 30.0
LOCK_TRIES, LOCK_LOOK_S = 100, 0.02
SOCKET = "sockets/supervisor"


class Supervisor:
    """The supervisor of one run."""

    def __init__(self, reports_to_launcher: int) -> None:
        self.folder = Path.cwd()
        self.run_directory = RunDirectory(self.folder)
        self.config: RunConfig = read_config(self.folder)
        self.clock = ClockPage.create(self.folder / "clock.page", self.config.free)
        self.stopping = threading.Event()
        self.service_s: dict[str, float] = {}
        self.settled = False
        self._settle_until_s: float | None = None
        self._settle_look_s = 0.0
        self._loading = threading.Lock()
        self._writing = threading.Lock()
        self.asking = threading.Lock()
        self.traffic = Traffic(self.folder)
        self._loaded: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._launcher = reports_to_launcher
        self._reports, write_end = os.pipe()
        self._cores = CoreServer(Path(CORES_SOCKET), self.config.cores)
        self._holds: HoldServer | None = None
        if self.config.governed:
            # Holds must not wait for the interpreter: time runs until they are carried out.
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            hosts = len(self.config.hosts)
            create_page(self.folder, hosts)
            self._holds = HoldServer(Path(HOLDS_SOCKET), self.clock, Governor(), Watch.open(self.folder, hosts))
        self._history = History()
        self._skipping = threading.Lock()
        self._skip_rate = 0.0
        self._metrics = ""
        self._pace_look_s = 0.0
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "perigrid.live.zygote", str(write_end)],
            stdin=subprocess.PIPE,
            pass_fds=(write_end,),
        )
        os.close(write_end)
        self._text = b""
        self._log = EventLog(self.folder, "supervisor")
        self.constellation = Constellation(self.config, self.clock, self._log, self._order)
        self.plan: ContactPlan = open_plan(self.folder, self.config, self.constellation.mesh)
        self._faults: list[Fault] = sorted(self.config.scenario.faults, key=lambda f: f.at_s)

    def run(self) -> int:
        """Bring everything up, keep it up, take it down; the exit status."""
        try:
            server = self._start()
            if server is None:
                return 3
            self._keep()
            server.stop(grace=None)
            return 0
        finally:
            self._end()

    # --- up

    def _start(self) -> grpc.Server | None:
        constellation = self.constellation
        while not constellation.all_ready():
            if constellation.failure is not None or self.stopping.is_set():
                code, text = constellation.failure or (3, "it was told to stop while it started")
                self._tell_launcher(failed=text, exit_code=str(code))
                return None
            if not self._hear(LOOK_S):
                self._tell_launcher(failed="the zygote ended; see the run's log folder", exit_code="3")
                return None
        constellation.started = True
        server = self._serve()
        if self.config.metrics_port is not None:
            from perigrid.live.metrics import serve_run

            try:
                self._metrics = serve_run(self, self.config.metrics_port)
            except EnvironmentProblem as error:
                self._tell_launcher(failed=str(error), exit_code=str(error.exit_code))
                return None
        self._write_info()
        self._tell_launcher(ready="")
        # The clock stands until the machine has been measured, which wants it quiet.
        self._order("measure all now")
        return server

    def info(self) -> RunInfo:
        """What run.json says."""
        config, constellation = self.config, self.constellation
        host_of = config.host_of()
        satellites = []
        for node in constellation.mesh.satellite_ids:
            name, host = constellation.mesh.names[node], host_of[node]
            pid = constellation.processes[host].pid if name not in constellation.dead_satellites else 0
            payload_pid = constellation.processes[PAYLOAD_PREFIX + host].pid if pid else 0
            worker = f"{self.folder}/sockets/{name}.worker"
            satellites.append(SatelliteInfo(name, worker, pid, payload_pid))
        ground = constellation.processes[GROUND_HOST]
        return RunInfo(
            version=RUN_VERSION,
            name=config.name,
            directory=str(self.folder),
            jobs=ground.address.partition(" ")[0],
            gateway=ground.address.partition(" ")[2],
            scenario_digest=config.scenario.digest(),
            epoch=config.scenario.epoch.isoformat(),
            rate=config.rate,
            orbit_rate=config.scenario.clock.orbit_rate,
            mode="free" if config.free else "dilated",
            satellites_per_process=config.satellites_per_process,
            supervisor_pid=os.getpid(),
            controller_pid=ground.pid,
            preloaded=config.preloaded,
            satellites=tuple(satellites),
            governed=config.governed,
            metrics=self._metrics,
        )

    def _write_info(self) -> None:
        """Write run.json, one thread at a time: a command that loads something does so beside the main one."""
        with self._writing:
            self.run_directory.write(self.info())

    # --- keeping it up

    def _keep(self) -> None:
        while not self.stopping.is_set():
            if not self._hear(LOOK_S):
                return
            self._settle()
            self._due_faults()
            self._extend_plan()
            self._note_pace()

    def _hear(self, limit_s: float) -> bool:
        """Take the reports that come within the limit; False when nobody is left to report."""
        readable, _, _ = select.select([self._reports], [], [], limit_s)
        if not readable:
            return self._zygote.poll() is None
        data = os.read(self._reports, 65536)
        if not data:
            return False
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            report = line.decode(errors="replace")
            if report.startswith("loaded "):
                self._tell_launcher(progress="models loaded; starting satellites")
                self.constellation.start_all()
            elif report.startswith("measured zygote "):
                self._measured(report.removeprefix("measured zygote "))
            elif report.startswith("answered zygote "):
                self._loaded.put(report.removeprefix("answered zygote "))
            else:
                self.constellation.heard(report)
                if self.constellation.started:
                    self._write_info()
        return True

    def _measured(self, text: str) -> None:
        measured_s = msgspec.json.decode(text, type=dict[str, float])
        self.service_s = write_service_times(self.folder, self.config.scenario.device, measured_s)
        self._begin_settling()

    def _begin_settling(self) -> None:
        self.settled = False
        self._set_rate(min(self.config.rate, SETTLING_RATE))
        self._settle_until_s = time.monotonic() + SETTLING_LIMIT_S

    def _settle(self) -> None:
        """Let time pass slowly until everything is in place: the copying of captures is a burst that no desk keeps up
        with at a rate that suits the work to come."""
        if self._settle_until_s is None or time.monotonic() < self._settle_look_s:
            return
        self._settle_look_s = time.monotonic() + SETTLING_LOOK_S
        if self.constellation.settled(self.plan) or time.monotonic() > self._settle_until_s:
            self._settle_until_s = None
            self.settled = True
            self.constellation.note("settled", {})
            self._set_rate(self.config.rate)

    def _set_rate(self, rate: float) -> None:
        if self._holds is None:
            self.clock.set_rate(rate)
        else:
            self._holds.limit(rate)
        self.constellation.note("clock", {"rate": rate})

    def skip(self, until_sky_s: float) -> None:
        """Let time pass fast until then, and at its own rate again; hold it where a process cannot keep up.

        UsageError for a time that is too far, or while the run settles.
        """
        if not self.settled or not until_sky_s - self.clock.now_s() <= MAX_SKIP_S:
            raise UsageError(
                f"time cannot be skipped until {until_sky_s:g} s now: wait, or skip at most {MAX_SKIP_S:g} s"
            )
        with self._skipping:
            began_s = self.clock.now_s()
            try:
                while (left_s := until_sky_s - self.clock.now_s()) > SKIP_SLACK_S and not self.stopping.is_set():
                    # Hosts take up the plan's next hour when it is written: it must be there long before it begins.
                    ready = self.plan.horizon_s - self.clock.now_s() > SKIP_HORIZON_S
                    self._skip_at(min(SKIP_RATE, left_s / SKIP_LOOK_S / 2) if ready else 0.0)
                    time.sleep(SKIP_LOOK_S)
            finally:
                self._skip_at(0.0)
            self.clock.await_rate()
            self.constellation.note("skip", {"from_s": began_s})

    def _skip_at(self, rate: float) -> None:
        """Time passes at this rate, or with 0 at its own."""
        if rate == self._skip_rate:
            return
        self._skip_rate = rate
        if self._holds is not None:
            self._holds.skip(rate)
        else:
            self.clock.set_rate(rate or self.config.rate)

    def _note_pace(self) -> None:
        """Write how fast a governed clock has passed since the last time."""
        wall_s = time.monotonic()
        if self._holds is None or wall_s < self._pace_look_s:
            return
        self._pace_look_s = wall_s + PACE_S
        governor = self._holds.governor
        stretch = self._history.add(wall_s, self.clock.now_s(), governor.standing_s(wall_s), governor.rate)
        if stretch is not None:
            self.constellation.note("pace", rounded(stretch))

    def standing(self, wall_s: float) -> tuple[float, int]:
        """How long time has stood for holds, seconds of the wall, and how often."""
        if self._holds is None:
            return 0.0, 0
        return self._holds.governor.standing_s(wall_s), self._holds.governor.holds

    @property
    def waiting(self) -> int:
        """How many inferences wait for a core of this machine."""
        return self._cores.waiting

    def pace(self) -> Pace | None:
        """How fast a governed clock has passed; None where its rate is given."""
        if self._holds is None:
            return None
        return Pace(self._history.stretches(), self._holds.governor.holds, self._holds.governor.forgiven)

    def load(self, cargo: Cargo) -> None:
        """Put models and captures on board whose files lie in the run directory, while everything runs.

        UsageError for a name that is taken, ScenarioError for a device that states no time of a model,
        EnvironmentProblem where a process could not take it up.
        """
        with self._loading:
            before, config = self.config, self.config.plus(cargo)
            check_device(config.scenario.device, config.model_names)
            write_config(self.folder, config)
            # Before anything settles: what is to be in place includes what comes now.
            self.config = self.constellation.config = config
            while not self._loaded.empty():
                self._loaded.get()
            self._order("load all now")
            try:
                failure = self._loaded.get(timeout=LOAD_LIMIT_S)
            except queue.Empty:
                failure = f"the models were not loaded within {LOAD_LIMIT_S:g} s"
            if failure:
                self.config = self.constellation.config = before
                write_config(self.folder, before)
                raise EnvironmentProblem(failure)
            self.clock.await_rate()
            self.constellation.load()
        fields = {
            "models": [file.entry.name for file in cargo.models],
            "datasets": [source.label for source in cargo.sources],
            "inputs": {file.name: file.sha256 for file in cargo.inputs},
        }
        self.constellation.note("loaded", fields)
        self._write_info()

    def _due_faults(self) -> None:
        while self._faults and self._faults[0].at_s <= self.clock.now_s():
            fault = self._faults.pop(0)
            threading.Thread(target=self._do_fault, args=(fault,), daemon=True).start()

    def _do_fault(self, fault: Fault) -> None:
        try:
            if fault.action == "cut":
                self.constellation.cut(fault.a, fault.b or "", one_way=False, by=BY_SCENARIO)
            elif fault.action == "heal":
                self.constellation.heal(fault.a, fault.b or "", by=BY_SCENARIO)
            elif fault.action == "kill":
                self.constellation.kill(fault.a, by=BY_SCENARIO)
            else:
                self.constellation.reboot(fault.a, lose_flash=False, by=BY_SCENARIO)
        except PerigridError as error:
            os.write(2, f"the scenario's fault at {fault.at_s} s: {error}\n".encode())

    def _extend_plan(self) -> None:
        scenario, plan = self.config.scenario, self.plan
        if self.clock.now_s() + lead_s(scenario, max(self.config.rate, self._skip_rate)) < plan.horizon_s:
            return
        index = plan.segment_count
        write_segment(self.folder, compute_segment(scenario, self.constellation.mesh, index, plan.last_segment()))
        # Whoever asks for the state looks into the plan from another thread.
        with self.asking:
            plan.add(map_segment(self.folder, index))

    # --- down

    def _end(self) -> None:
        """Close the zygote's orders: it kills its children and removes the sockets."""
        if self._zygote.stdin is not None:
            self._zygote.stdin.close()
        if not wait_gone(self._zygote, END_LIMIT_S):
            self._zygote.kill()
            self._zygote.wait()
        self.run_directory.remove_sockets()

    def _order(self, line: str) -> None:
        if self._zygote.stdin is not None:
            self._zygote.stdin.write(f"{line}\n".encode())
            self._zygote.stdin.flush()

    def _tell_launcher(self, **report: str) -> None:
        try:
            os.write(self._launcher, msgspec.json.encode(report) + b"\n")
        except (BrokenPipeError, OSError):
            return

    def _serve(self) -> grpc.Server:
        server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="control"), options=[("grpc.so_reuseport", 0)])
        register: Any = protocol_grpc.add_SupervisorServicer_to_server
        register(SupervisorService(self), server)
        server.add_insecure_port(f"unix:{SOCKET}")
        server.start()
        return server


class SupervisorService(protocol_grpc.SupervisorServicer):
    """What commands ask of the supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._constellation = supervisor.constellation

    def Cut(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Cut a link."""
        return self._do(context, lambda: self._constellation.cut(request.a, request.b, request.one_way))

    def Heal(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Heal a link."""
        return self._do(context, lambda: self._constellation.heal(request.a, request.b))

    def Kill(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Kill a satellite."""
        return self._do(context, lambda: self._constellation.kill(request.node))

    def Reboot(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Reboot a dead satellite."""
        return self._do(context, lambda: self._constellation.reboot(request.node, request.lose_flash))

    def Probe(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Send probes over a link."""
        return self._do(context, lambda: self._constellation.probe(request))

    def Expose(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Let a satellite's sensor take frames."""
        return self._do(context, lambda: self._constellation.expose(request))

    def Skip(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Let time pass fast until then."""
        return self._do(context, lambda: self._supervisor.skip(request.until_sky_s))

    def Load(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Put more models and captures on board."""
        cargo = msgspec.json.decode(request.json, type=Cargo)
        return self._do(context, lambda: self._supervisor.load(cargo))

    def States(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The raw states of all host processes."""
        return protocol.HostStates(states=self._constellation.states(request.errors))

    def Status(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """How everything is."""
        supervisor = self._supervisor
        with supervisor.asking:
            found = status(
                self._constellation,
                supervisor.plan,
                supervisor.info(),
                supervisor.service_s,
                supervisor.traffic,
                supervisor.pace(),
            )
        found["settled"] = supervisor.settled
        return protocol.RunStatus(json=msgspec.json.encode(found).decode())

    def Down(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Take everything down."""
        self._supervisor.stopping.set()
        return protocol.Done()

    def _do(self, context: grpc.ServicerContext, call: Any) -> Any:
        try:
            call()
        except PerigridError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return protocol.Done()


def _take(lock: int) -> None:
    """Take the run's lock; whoever looks whether the run is up holds it for a moment too."""
    for _ in range(LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOCK_LOOK_S)
    raise NameInUse(f"another supervisor holds {Path.cwd() / 'supervisor.lock'}; take that run down first.")


def main() -> int:
    """The supervisor's process: `supervisor REPORTS_DESCRIPTOR [LAUNCHER_PID]`."""
    lock = os.open("supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _take(lock)
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if len(sys.argv) > 2:
        die_with_parent(int(sys.argv[2]), signal.SIGTERM)
    supervisor = Supervisor(int(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: supervisor.stopping.set())
    signal.signal(signal.SIGINT, lambda *_: supervisor.stopping.set())
    started_s = time.monotonic()
    try:
        return supervisor.run()
    except PerigridError as error:
        supervisor._tell_launcher(failed=str(error), exit_code=str(error.exit_code))
        return error.exit_code
    finally:
        os.write(2, f"supervisor ends after {time.monotonic() - started_s:.1f} s\n".encode())


if __name__ == "__main__":
    # Not sys.exit: that would wait for gRPC's threads, and one may be asking a process that has just been ended.
    os._exit(main())
