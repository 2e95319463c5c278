"""Which processes of the run live, and what is broken in its world?

The supervisor's own state: it orders processes from the zygote, hears of their ends, restarts what should be restarted
(payloads and the ground; a satellite that died stays dead until it is rebooted), and keeps the overlay of faults, which
it tells to every host process. Calls come from the main loop and from gRPC's threads; one lock keeps them apart.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from perigrid.errors import EnvironmentProblem, UsageError
from perigrid.live.clock import ClockPage
from perigrid.live.config import GROUND_HOST, HostSpec, RunConfig, write_overlay
from perigrid.live.entry import PAYLOAD_PREFIX
from perigrid.live.eventlog import EventLog
from perigrid.mesh.outages import Outages
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.topology import Link, Mesh
from perigrid.node.terminals import Overlay
from perigrid.units import NodeId
from perigrid.wire.generated import control_pb2 as protocol
from perigrid.wire.generated import control_pb2_grpc as protocol_grpc

CALL_LIMIT_S = 5.0
BOOT_LIMIT_S = 60.0
LOAD_LIMIT_S = 150.0
BY_USER, BY_SCENARIO = "user", "scenario"
"""Whose doing a fault is, in the event log."""

MAX_RESTARTS = 100
"""Restarts of one process after which it is left alone: something is wrong that starting anew does not mend."""


@dataclass(slots=True)
class Process:
    """One process of the run, as the supervisor sees it."""

    name: str
    pid: int = 0
    ready: bool = False
    warm: bool = False
    wanted: bool = True
    restarts: int = 0
    address: str = ""
    changed: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)


class Constellation:
    """Processes and faults of one run."""

    def __init__(self, config: RunConfig, clock: ClockPage, log: EventLog, order: Callable[[str], None]) -> None:
        self.config = config
        self._log = log
        self.mesh = Mesh(config.scenario)
        self.outages = Outages(config.scenario, self.mesh)
        self.clock = clock
        self.overlay = Overlay()
        self.processes: dict[str, Process] = {}
        self.failure: tuple[int, str] | None = None
        self.started = False
        self.dead_satellites: dict[str, float] = {}
        self._order = order
        self._lock = threading.RLock()
        self._stubs: dict[str, Any] = {}
        for host in config.hosts:
            self.processes[host.name] = Process(host.name)
            if host.name != GROUND_HOST:
                self.processes[PAYLOAD_PREFIX + host.name] = Process(PAYLOAD_PREFIX + host.name)

    def note(self, what: str, fields: Mapping[str, Any]) -> None:
        """Write into the event log what was done to the world, or to its processes."""
        with self._lock:
            self._log.add(self.clock.now_s(), "supervisor", what, fields)
            self._log.flush()

    # --- processes

    def start_all(self) -> None:
        """Order every process, payloads first: hosts wait for their workers."""
        for name in sorted(self.processes, key=lambda n: (not n.startswith(PAYLOAD_PREFIX), n)):
            self._order(f"fork {name} first")

    def heard(self, report: str) -> None:
        """Take one report of the zygote's or of a process's."""
        verb, _, rest = report.partition(" ")
        name, _, text = rest.partition(" ")
        process = self.processes.get(name)
        if verb == "failed":
            code, _, message = text.partition(" ")
            if self.failure is None:
                self.failure = (int(code), message)
            return
        if process is None:
            return
        with self._lock:
            if verb == "forked":
                process.pid = int(text)
                process.gone.clear()
            elif verb == "ready":
                process.ready, process.address = True, text.strip()
                process.changed.set()
                self.note("process", {"process": name, "pid": process.pid, "state": "started"})
                self._process_ready(process)
            elif verb == "warm":
                process.warm = True
            elif verb == "exit":
                self._process_ended(process, text)

    def all_ready(self) -> bool:
        """Does everything serve?"""
        return all(process.ready for process in self.processes.values())

    def settled(self, plan: ContactPlan) -> bool:
        """Are all payloads warm, and all copies of captures where they shall be, as far as a laser leads there now?"""
        payloads = [p for p in self.processes.values() if p.name.startswith(PAYLOAD_PREFIX)]
        if not all(p.warm or not p.wanted for p in payloads):
            return False
        held = {(state.name, capture) for state in self.states() for capture in state.captures}
        host_of = self.config.host_of()
        wanted = {
            (host_of[node], f"{self.mesh.names[node]}:{capture.name}")
            for capture in self.config.catalogue.captures
            for node in capture.replicas
            if plan.state(self.mesh.link_between(capture.owner, node), self.clock.now_s()).up
            and self.mesh.names[node] not in self.dead_satellites
            and self.mesh.names[capture.owner] not in self.dead_satellites
        }
        return wanted <= held

    def _process_ready(self, process: Process) -> None:
        if self.started and not process.name.startswith(PAYLOAD_PREFIX):
            nodes = self._spec(process.name).nodes
            self._set_dead({k: v for k, v in self.overlay.dead.items() if k not in nodes})

    def _process_ended(self, process: Process, text: str) -> None:
        pid, status = text.split()
        if int(pid) != process.pid:
            return
        process.ready, process.pid = False, 0
        process.gone.set()
        fields = {"process": process.name, "pid": int(pid), "state": "ended", "status": int(status)}
        self.note("process", fields)
        if not self.started:
            if self.failure is None:
                self.failure = (3, f"{process.name} ended while it started (status {status}); see its log")
            return
        is_payload = process.name.startswith(PAYLOAD_PREFIX)
        if not is_payload:
            now_s = self.clock.now_s()
            nodes = self._spec(process.name).nodes
            self._set_dead({**dict.fromkeys(nodes, now_s), **self.overlay.dead})
            self._stubs.pop(process.name, None)
            if process.name != GROUND_HOST:
                process.wanted = False
                for node in nodes:
                    self.dead_satellites.setdefault(self.mesh.names[node], now_s)
                self._end_process(PAYLOAD_PREFIX + process.name)
        if process.wanted and process.restarts < MAX_RESTARTS:
            process.restarts += 1
            self._order(f"fork {process.name} again")

    def _end_process(self, name: str) -> None:
        process = self.processes[name]
        process.wanted = False
        _kill(process.pid)

    def _spec(self, host: str) -> HostSpec:
        return next(h for h in self.config.hosts if h.name == host)

    # --- faults

    def cut(self, a: str, b: str, one_way: bool, by: str = BY_USER) -> None:
        """No light passes between two nodes from now on (with `one_way`, none from `a` to `b`)."""
        one, two = self._link_ends(a, b)
        directions = [(one, two)] if one_way else [(one, two), (two, one)]
        with self._lock:
            now_s = self.clock.now_s()
            self.note("cut", {"a": a, "b": b, "one_way": one_way, "by": by})
            self._set(Overlay(0, {**dict.fromkeys(directions, now_s), **self.overlay.cuts}, self.overlay.dead))

    def heal(self, a: str, b: str, by: str = BY_USER) -> None:
        """Light passes again; the terminals acquire each other anew."""
        one, two = self._link_ends(a, b)
        with self._lock:
            cuts = {k: v for k, v in self.overlay.cuts.items() if k not in ((one, two), (two, one))}
            self.note("heal", {"a": a, "b": b, "one_way": False, "by": by})
            self._set(Overlay(0, cuts, self.overlay.dead))

    def kill(self, name: str, by: str = BY_USER) -> None:
        """A satellite is gone at once; the ground's name ends the controller's process, which starts anew."""
        node = self.mesh.id_of(name)
        host = self.config.host_of()[node]
        if host == GROUND_HOST:
            if node != self.mesh.ground:
                raise UsageError(f"{name} is a ground station; cut its links instead, or kill 'ground'.")
            self.note("kill", {"satellite": name, "by": by})
            _kill(self.processes[GROUND_HOST].pid)
            return
        if name in self.dead_satellites:
            raise UsageError(f"{name} is dead already; `perigrid reboot {name}` starts it again.")
        with self._lock:
            now_s = self.clock.now_s()
            self.note("kill", {"satellite": name, "by": by})
            self.dead_satellites[name] = now_s
            alive = [n for n in self._spec(host).nodes if self.mesh.names[n] not in self.dead_satellites]
            if alive:
                self._stub(host).Crash(protocol.NodeRequest(node=name), timeout=CALL_LIMIT_S)
            else:
                self.processes[host].wanted = False
                self.processes[host].changed.clear()
                self._end_process(host)
                self._end_process(PAYLOAD_PREFIX + host)
            self._set_dead({**self.overlay.dead, node: now_s})

    def reboot(self, name: str, lose_flash: bool, by: str = BY_USER) -> None:
        """A dead satellite starts again, with its flash or with an empty one."""
        node = self.mesh.id_of(name)
        host = self.config.host_of()[node]
        if name not in self.dead_satellites:
            raise UsageError(f"{name} is not dead; `perigrid kill {name}` ends it first.")
        self.note("reboot", {"satellite": name, "by": by, "lose_flash": lose_flash})
        if lose_flash:
            from perigrid.live.flash import Flash

            Flash(Path("flash") / name).lose()
        process, payload = self.processes[host], self.processes[PAYLOAD_PREFIX + host]
        if process.wanted:
            self._stub(host).Boot(protocol.NodeRequest(node=name), timeout=BOOT_LIMIT_S)
            with self._lock:
                del self.dead_satellites[name]
                self._set_dead({k: v for k, v in self.overlay.dead.items() if k != node})
            return
        if not all(each.gone.wait(CALL_LIMIT_S) for each in (process, payload)):
            raise EnvironmentProblem(f"the old process of {name} has not ended within {CALL_LIMIT_S:g} s.")
        with self._lock:
            others = [n for n in self._spec(host).nodes if n != node]
            if others:
                raise UsageError(
                    f"{name} shares a process that is gone with {len(others)} others; reboot needs satellites "
                    "that have a process each, or that one of the others lives."
                )
            process.changed.clear()
            for each in (payload, process):
                each.wanted = True
                self._order(f"fork {each.name} again")
        if not process.changed.wait(BOOT_LIMIT_S):
            raise EnvironmentProblem(f"{name} did not boot within {BOOT_LIMIT_S:g} s; see the run's log folder.")
        with self._lock:
            self.dead_satellites.pop(name, None)

    def _link_ends(self, a: str, b: str) -> tuple[NodeId, NodeId]:
        one, two = self.mesh.id_of(a), self.mesh.id_of(b)
        self.mesh.link_between(one, two)
        return one, two

    def _set_dead(self, dead: dict[NodeId, float]) -> None:
        self._set(Overlay(0, self.overlay.cuts, dead))

    def _set(self, overlay: Overlay) -> None:
        """Make a new overlay the world's, and tell every host that lives."""
        self.overlay = Overlay(self.overlay.version + 1, overlay.cuts, overlay.dead)
        write_overlay(Path(), self.overlay)
        request = protocol.OverlayRequest(
            version=self.overlay.version,
            cuts=[
                protocol.Cut(from_node=a, to_node=b, since_sky_s=since_s)
                for (a, b), since_s in self.overlay.cuts.items()
            ],
            dead=[protocol.Dead(node=node, since_sky_s=since_s) for node, since_s in self.overlay.dead.items()],
        )
        self._ask_all(lambda stub: stub.Overlay.future(request, timeout=CALL_LIMIT_S))

    # --- asking

    def states(self, errors: bool = False) -> list[Any]:
        """The state of every host process that answers."""
        request = protocol.StateRequest(errors=errors)
        return self._ask_all(lambda stub: stub.State.future(request, timeout=CALL_LIMIT_S))

    def load(self) -> None:
        """The configuration has grown: let every host that lives take up what is new.

        EnvironmentProblem where one could not; what lives has what is new all the same.
        """
        hosts = [p.name for p in self.processes.values() if p.ready and not p.name.startswith(PAYLOAD_PREFIX)]
        # A copy that came to a satellite which does not know of it yet would be turned away.
        for send_copies in (False, True):
            request = protocol.LoadedRequest(send_copies=send_copies)
            calls = [(host, self._stub(host).Load.future(request, timeout=LOAD_LIMIT_S)) for host in hosts]
            for host, call in calls:
                try:
                    call.result()
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise EnvironmentProblem(f"{host} could not load it: {error.details()}") from error

    def probe(self, request: Any) -> None:
        """Let a node send probes."""
        host = self.config.host_of()[self.mesh.id_of(request.source)]
        self._stub(host).Probe(request, timeout=CALL_LIMIT_S)

    def expose(self, request: Any) -> None:
        """Let a satellite's sensor take frames."""
        host = self.config.host_of()[self.mesh.id_of(request.satellite)]
        self._stub(host).Expose(request, timeout=CALL_LIMIT_S)

    def _ask_all(self, ask: Callable[[Any], Any]) -> list[Any]:
        hosts = [p.name for p in self.processes.values() if p.ready and not p.name.startswith(PAYLOAD_PREFIX)]
        answers = []
        for call in [ask(self._stub(host)) for host in hosts]:
            try:
                answers.append(call.result())
            except grpc.RpcError:
                # A process that died just now; its end will be reported.
                continue
        return answers

    def _stub(self, host: str) -> Any:
        if host not in self._stubs:
            channel = grpc.insecure_channel(f"unix:sockets/{host}.control")
            stub: Any = protocol_grpc.HostControlStub
            self._stubs[host] = stub(channel)
        return self._stubs[host]

    def link_state(self, link: Link, sky_s: float, planned_up: bool) -> str:
        """A link's state in a word, for people."""
        ends = (link.a, link.b)
        if any(end in self.overlay.dead for end in ends):
            return "dead"
        if ends in self.overlay.cuts or ends[::-1] in self.overlay.cuts:
            return "cut"
        if planned_up and self.outages.is_out(link, sky_s):
            return "out"
        return "up" if planned_up else "down"


def _kill(pid: int) -> None:
    """End a process, unless it has ended: the report of that may still be on its way."""
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_gone(process: subprocess.Popen[bytes], limit_s: float) -> bool:
    """Wait for a child's end; whether it came in time."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if process.poll() is not None:
            return True
        time.sleep(0.01)
    return False
