"""How is a host process told what the world does to it?

Out of band, over gRPC on a unix socket of the run directory. What comes in is done in the loop's thread; no payload and
no job ever takes this way.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import msgspec

from perigrid.errors import PerigridError
from perigrid.live.host import Host
from perigrid.node.satellite import Satellite
from perigrid.node.terminals import Overlay
from perigrid.scenario.model import Sensor
from perigrid.units import NodeId
from perigrid.wire.generated import control_pb2 as protocol
from perigrid.wire.generated import control_pb2_grpc as protocol_grpc

LOOP_LIMIT_S = 70.0
"""How long a call waits for the loop: a reboot in a shared process waits for its worker."""

MAX_PROBES = 100_000
Answer = TypeVar("Answer")


class HostControl(protocol_grpc.HostControlServicer):
    """The control service of one host process."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def Overlay(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """What is broken now."""
        overlay = Overlay(
            request.version,
            {(NodeId(c.from_node), NodeId(c.to_node)): c.since_sky_s for c in request.cuts},
            {NodeId(d.node): d.since_sky_s for d in request.dead},
        )
        return self._in_loop(context, lambda: self._host.set_overlay(overlay))

    def Crash(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """One node of several in this process is gone."""
        node = self._host.mesh.id_of(request.node)
        return self._in_loop(context, lambda: self._host.crash(node, request.lose_flash))

    def Boot(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """A node that is gone starts again."""
        node = self._host.mesh.id_of(request.node)
        return self._in_loop(context, lambda: self._host.boot(node, first=False))

    def Probe(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Send frames that measure a link."""
        mesh = self._host.mesh
        count = min(request.count, MAX_PROBES)
        times_s = [request.start_sky_s + i * request.interval_s for i in range(count)]
        source, destination = mesh.id_of(request.source), mesh.id_of(request.destination)
        return self._in_loop(
            context,
            lambda: self._host.probe(source, destination, times_s, request.payload_bytes, request.bulk),
        )

    def Expose(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Let a satellite's sensor take frames."""
        host = self._host
        sensor = msgspec.json.decode(request.sensor_json, type=Sensor)
        node, times_s = host.mesh.id_of(request.satellite), list(request.times_s)[:MAX_PROBES]
        deadline_s = float("inf") if sensor.deadline_s is None else sensor.deadline_s

        def expose() -> None:
            for place, taken_s in enumerate(times_s):
                host.cameras.take(sensor, node, request.number + place, taken_s, deadline_s, not request.untraced)

        return self._in_loop(context, expose)

    def Load(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """More is on board: serve it, then tell the nodes; and once all know of it, send copies."""
        if request.send_copies:
            return self._in_loop(context, self._host.send_copies)
        try:
            self._host.fetch_models()
        except grpc.RpcError as error:
            cause = f"a worker of {self._host.name} could not load a model ({error.code().name}: {error.details()})"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, cause)
        return self._in_loop(context, self._host.load)

    def State(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """How this process is."""
        return _call(self._host, context, lambda: _state(self._host, request.errors))

    def _in_loop(self, context: grpc.ServicerContext, call: Callable[[], None]) -> Any:
        _call(self._host, context, call)
        return protocol.Done()


def _call(host: Host, context: grpc.ServicerContext, call: Callable[[], Answer]) -> Answer:
    """Do it in the loop's thread and wait; errors of ours become INVALID_ARGUMENT with their text."""
    answers: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(call())
        except PerigridError as error:
            answers.put(error)

    host.loop.soon(run)
    try:
        answer = answers.get(timeout=LOOP_LIMIT_S)
    except queue.Empty:
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"{host.name} did not answer in {LOOP_LIMIT_S:g} s")
        raise
    if isinstance(answer, PerigridError):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(answer))
    return answer  # type: ignore[return-value]


def _state(host: Host, errors: bool) -> protocol.HostState:
    # Whoever asks for the state of things may read the event log next.
    host.bus.note_traffic()
    host.log.flush()
    late, counts = host.meter.total(), host.bus.counts
    state = protocol.HostState(
        name=host.name,
        pid=os.getpid(),
        frames=late.frames,
        frames_late=late.frames_late,
        inferences=late.inferences,
        inferences_late=late.inferences_late,
        worst_frame_late_s=late.worst_frame_s,
        worst_inference_late_s=late.worst_inference_s,
        frames_hold=late.frames_hold,
        inferences_hold=late.inferences_hold,
        nodes=[driver.name for driver in host.drivers.values()],
        captures=[
            f"{driver.name}:{capture}"
            for driver in host.drivers.values()
            if isinstance(driver.machine, Satellite)
            for capture in driver.machine.captures
        ],
        busy_cpu_s=time.process_time(),
        frames_lost=counts.lost,
        frames_dropped=counts.dropped,
        frames_refused=counts.bad,
    )
    if errors:
        state.release_errors_s.extend(host.meter.errors_wall_s)
        host.meter.errors_wall_s.clear()
        for arrival in host.bus.arrivals:
            state.arrivals.add(
                source=arrival.source,
                number=arrival.number,
                sent_s=arrival.sent_s,
                due_s=arrival.due_s,
                arrived_s=arrival.arrived_s,
                bytes=arrival.size_bytes,
            )
        host.bus.arrivals.clear()
    return state


def serve_control(host: Host) -> grpc.Server:
    """Start the control service on this process's control socket."""
    server = grpc.server(ThreadPoolExecutor(2, thread_name_prefix="control"), options=[("grpc.so_reuseport", 0)])
    register: Any = protocol_grpc.add_HostControlServicer_to_server
    register(HostControl(host), server)
    server.add_insecure_port(f"unix:sockets/{host.name}.control")
    server.start()
    return server
