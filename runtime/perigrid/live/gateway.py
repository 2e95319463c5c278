"""How does any client of the Open Inference Protocol have an inference done in orbit?

The ground's gateway, gRPC on loopback. A call becomes a request of the controller's machine: a shard of one whose input
goes up over station and lasers, is computed by a satellite's worker, and comes down the same way; it is leased, settled
and, where a link or a satellite is lost, tried again like any shard. What cannot be is refused here, before anything is
sent.

Request parameters (all may be left out):

    satellite  string: the satellite that shall do it; by default any
    placement  string: "balanced" (default: the least busy, of equals the nearest in light) or "nearest"
    priority   as in Triton: 0 for the default, else 1 is the highest; bulk jobs are below the default
    timeout    as in Triton, microseconds: here of emulated time, from the call's arrival to the answer

The call's own deadline is of the wall, as its client is; at the clock's rate it becomes a deadline in orbit as well.
When either passes, or the client cancels, the satellite is told to stop.

A stream's requests are carried one after the other. What does not reach orbit is refused and says so: shared memory,
and loading and unloading of models, which `perigrid model` does.

Response parameters: satellite, hops, attempt, rate (of the clock), and in emulated seconds uplink_s, lasers_s, queue_s,
inference_s, downlink_s, waiting_s (all the rest) and total_s; desk_wait_s and cpu_s are this machine's own.

Status codes: NOT_FOUND for a model that is not there, INVALID_ARGUMENT for what does not fit, RESOURCE_EXHAUSTED when
too much is under way, DEADLINE_EXCEEDED, and UNAVAILABLE when orbit could not do it.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from perigrid.errors import (
    DataError,
    DeadlinePassed,
    EnvironmentProblem,
    MissingFile,
    NameInUse,
    NotOffered,
    Overloaded,
    PerigridError,
    UsageError,
)
from perigrid.live.blobs import HeldBlob, held
from perigrid.live.forms import (
    MAX_MESSAGE_BYTES,
    MODEL_VERSION,
    READY,
    MetadataService,
    Served,
    answer,
    find,
    forms_of,
    items_in,
)
from perigrid.live.host import Host
from perigrid.live.serving import messages
from perigrid.live.serving.calls import FINAL, CallerOf, stream
from perigrid.live.serving.counters import Counters, Times
from perigrid.live.serving.health import Health, Places, add_health
from perigrid.live.serving.parameters import (
    ITEMS,
    LAST_PRIORITY,
    US_PER_S,
    check_known,
    priority_of,
    text,
    whole_number,
)
from perigrid.live.serving.service import add_inference, check_repository
from perigrid.live.shared_regions import (
    SharedRegions,
    declared_inputs,
    declared_outputs,
    raw_bytes,
    read_inputs,
    read_outputs,
)
from perigrid.live.tracing import breakdown_text, trace_parent_of, trace_parent_text
from perigrid.node.controller import Controller
from perigrid.node.dispatch import MAX_INPUT_BYTES
from perigrid.node.events import Ask, HangUp
from perigrid.node.replies import Answered, Declined, Reply
from perigrid.node.requests import MAX_REQUESTS
from perigrid.units import MIB, NodeId
from perigrid.wire.generated import open_inference_pb2 as protocol

REFUSING_THREADS = 16
"""Calls that are looked at beyond those under way, to be told why they are refused; gRPC itself refuses more."""

MAX_STREAMS = 16
MAX_WATCHERS = 64
READY_LOOK_S = 0.1
MAX_WAIT_S = 3600.0
"""A call without a deadline is given up after so many seconds of the wall."""

MAX_REQUEST_BYTES = 16 * MIB
"""Largest request: gRPC reads as many at once as there are threads before any of them can be refused."""

MAX_HELD_BYTES = 2 * MAX_INPUT_BYTES
"""Inputs that this process holds: those under way, and of ended ones what still waits in front of a link."""

PLACEMENTS = ("balanced", "nearest")
PARAMETERS = ("satellite", "placement", "priority", "timeout")
EXTENSIONS = ("model_configuration", "statistics", "binary_tensor_data")
"""The protocol's extensions, in Triton's words."""

_ASKED, _TOLD = "asked", "told"
"""Why time is held for a request: it is being read, or its answer is being made."""

_ERRORS: dict[str, type[PerigridError]] = {
    "full": Overloaded,
    "refused": DataError,
    "deadline": DeadlinePassed,
    "failed": EnvironmentProblem,
}


class HeldBytes:
    """Counts the bytes of blobs until the last handle on each is gone, whoever holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0
        # A blob may be let go of in any thread, and at any step of it.
        self._released: deque[int] = deque()

    def take(self, blob: HeldBlob) -> bool:
        """Count a blob; False, and it is not counted, where that would be more than MAX_HELD_BYTES."""
        if not self.reserve(blob.length):
            return False
        weakref.finalize(blob, self.release, blob.length).atexit = False
        return True

    def reserve(self, size_bytes: int) -> bool:
        """Count bytes that are about to be; False, and they are not counted, where that would be too many."""
        with self._lock:
            while self._released:
                self._bytes -= self._released.popleft()
            if self._bytes + size_bytes > MAX_HELD_BYTES:
                return False
            self._bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Count them no more."""
        self._released.append(size_bytes)


class Gateway(MetadataService):
    """The gateway of one ground process. Clients' numbers are negative here, so that no job's client has the same."""

    def __init__(self, host: Host) -> None:
        super().__init__("perigrid gateway", EXTENSIONS, self._find)
        self._host = host
        self._numbers = itertools.count(1)
        self._queues: dict[int, queue.SimpleQueue[Reply | None]] = {}
        self._telling = threading.Lock()
        self._served: dict[str, Served] = {}
        self._models = 0
        self._held = HeldBytes()
        self._counters = Counters()
        self.streams = Places(MAX_STREAMS, "streams")
        host.tellers.append(self._tell)

    def _tell(self, client: int, reply: Reply) -> None:
        with self._telling:
            replies = self._queues.get(client)
            if replies is None:
                return
            self._hold(_TOLD, client)
        replies.put(reply)

    def _hold(self, why: str, client: int) -> None:
        """Where time waits for whoever computes, it stands while this process handles a request: that is no part of
        what takes time in orbit.
        """
        loop = self._host.loop
        if loop.holds is not None:
            loop.holds.hold((why, client), loop.clock.now_s())

    def _lift(self, why: str, client: int) -> None:
        if self._host.loop.holds is not None:
            self._host.loop.holds.lift((why, client))

    def ready(self) -> bool:
        """Whether the controller leads: it does once its journal is read."""
        driver = self._host.drivers.get(self._host.mesh.ground)
        return driver is not None and isinstance(driver.machine, Controller) and driver.machine.leading

    def _find(self, name: str, version: str) -> Served:
        models = self._host.models
        if len(models) != self._models:
            self._served = {form.name: form for file in models for form in forms_of(file.entry)}
            self._models = len(models)
        return find(self._served, "the gateway", name, version)

    def ModelInfer(self, request: messages.Request, context: Any) -> messages.Response:  # noqa: N802
        """Have one inference done in orbit."""
        return answer(context, lambda: self._infer(request, CallerOf(context)))

    def ModelStreamInfer(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Have inferences done in orbit, one request of the stream after the other."""

        def infer(request: messages.Request, caller: CallerOf) -> messages.Response:
            response = self._infer(request, caller)
            response.message.parameters[FINAL].bool_param = True
            return response

        return stream(request_iterator, context, self.streams, infer, lambda request: str(request.message.id))

    def _infer(self, request: messages.Request, caller: CallerOf) -> messages.Response:
        """A response; UsageError and MissingFile for what cannot be, Overloaded, DeadlinePassed, EnvironmentProblem."""
        request.check()
        message = request.message
        served = self._find(message.model_name, message.model_version)
        client = -next(self._numbers)
        start_sky_s = self._host.loop.clock.now_s()
        if len(self._queues) < MAX_REQUESTS:
            # What will be refused, however often it comes, does not keep those waiting that are under way.
            self._hold(_ASKED, client)
        try:
            reply = self._carry(client, request, served, caller)
            self._count(served, message, stage_times(reply))
            return self._response(reply, message.model_name, message.id)
        except BaseException:
            self._counters.failed(served.name, self._host.loop.clock.now_s() - start_sky_s)
            raise
        finally:
            self._lift(_ASKED, client)
            self._lift(_TOLD, client)

    def _carry(self, client: int, request: messages.Request, served: Served, caller: CallerOf) -> Answered:
        # Before anything is made of it: the request itself is here already, and what goes up is a copy of its bytes.
        if not self._held.reserve(request.size_bytes):
            raise _too_much()
        try:
            ask, blob = self._ask(client, request, served, caller)
        finally:
            self._held.release(request.size_bytes)
        if not self._held.take(blob):
            raise _too_much()
        replies = self._queues[client] = queue.SimpleQueue()
        try:
            # Called when the client cancels or its deadline passes; and at the end of any call, when nobody listens.
            if not caller.listen(lambda: replies.put(None)):
                replies.put(None)
            self._feed(ask)
            reply = self._wait(client, replies)
        finally:
            caller.listen(None)
            with self._telling:
                self._queues.pop(client, None)
        if isinstance(reply, Answered):
            return reply
        if isinstance(reply, Declined):
            raise _ERRORS[reply.reason](reply.cause)
        raise DeadlinePassed("the call was ended by its client, or by its deadline")

    def _count(self, served: Served, request: Any, times: Mapping[str, float]) -> None:
        shapes = {tensor.name: tuple(tensor.shape) for tensor in request.inputs}
        parts = Times(times.get("queue_s", 0.0), 0.0, times.get("inference_s", 0.0), 0.0)
        total_s = times.get("total_s", 0.0)
        self._counters.succeeded(served.name, items_in(served, shapes), served.batch(shapes), total_s, parts)

    def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What was asked for since this process started, one model or all; durations are of orbit."""
        if request.name:
            answer(context, lambda: self._find(request.name, request.version))
        return self._counters.response([request.name] if request.name else self._names(), MODEL_VERSION)

    def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The models that are on board."""
        answer(context, lambda: check_repository(request))
        said = protocol.RepositoryIndexResponse()
        for name in self._names():
            said.models.add(name=name, version=MODEL_VERSION, state=READY)
        return said

    def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What is on board can be asked already; what is not comes there in another way."""

        def load() -> Any:
            check_repository(request, ())
            if request.model_name in self._names():
                return protocol.RepositoryModelLoadResponse()
            raise NotOffered(
                f"model {request.model_name!r} is not on board, and the gateway brings none there: do `perigrid model "
                "push`"
            )

        return answer(context, load)

    def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refused: the gateway takes nothing off satellites."""
        return answer(
            context,
            lambda: _refuse(
                f"model {request.model_name!r} is on board of satellites, from where the gateway takes none: unload it "
                "from a satellite's own worker"
            ),
        )

    def SystemSharedMemoryStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """There is none."""
        if request.name:
            return answer(context, lambda: _refuse(f"there is no region {request.name!r}: {_NO_MEMORY}"))
        return protocol.SystemSharedMemoryStatusResponse()

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refused: this machine's memory is not in orbit."""
        return answer(context, lambda: _refuse(f"region {request.name!r} cannot be registered: {_NO_MEMORY}"))

    def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Nothing to forget."""
        return protocol.SystemSharedMemoryUnregisterResponse()

    def _names(self) -> tuple[str, ...]:
        with contextlib.suppress(MissingFile):
            self._find("", "")
        return tuple(self._served)

    def _wait(self, client: int, replies: queue.SimpleQueue[Reply | None]) -> Reply | None:
        try:
            reply = replies.get(timeout=MAX_WAIT_S)
        except queue.Empty:
            reply = None
        if reply is None:
            self._feed(HangUp(client))
        return reply

    def _feed(self, event: Ask | HangUp) -> None:
        driver = self._host.drivers[self._host.mesh.ground]

        def feed() -> None:
            driver.feed(event)
            self._lift(_ASKED, event.client)

        self._host.loop.soon(feed)

    def _ask(self, client: int, request: messages.Request, served: Served, caller: CallerOf) -> tuple[Ask, HeldBlob]:
        """What the controller is asked, and its input; UsageError for what cannot be."""
        parameters = request.message.parameters
        check_known(parameters, PARAMETERS)
        satellite = text(parameters, "satellite")
        placement = text(parameters, "placement") or PLACEMENTS[0]
        if placement not in PLACEMENTS:
            raise UsageError(f"placement {placement!r}: there are {' and '.join(PLACEMENTS)}")
        blob = _input_of(request, served)
        ask = Ask(
            client=client,
            model=served.name,
            input=blob,
            satellite=None if satellite is None else self._satellite(satellite),
            nearest=placement == "nearest",
            priority=_priority(whole_number(parameters, "priority")),
            deadline_sky_s=self._deadline_sky_s(whole_number(parameters, "timeout"), caller.remaining_s()),
            trace_parent=trace_parent_of(caller.metadata()),
        )
        return ask, blob

    def _satellite(self, name: str) -> NodeId:
        node = self._host.mesh.id_of(name)
        if not self._host.mesh.is_satellite(node):
            raise UsageError(f"{name} is no satellite: name one of {self._host.mesh.names[0]} and on")
        return node

    def _deadline_sky_s(self, timeout_us: int | None, remaining_s: float) -> float | None:
        """The earlier of the two deadlines, as sky time."""
        wall_s, reading = self._host.loop.clock.look()
        found = []
        if timeout_us:
            found.append(reading.emulated_at(wall_s) + timeout_us / US_PER_S)
        if remaining_s < MAX_WAIT_S:
            found.append(reading.ahead_at(wall_s + remaining_s))
        return min(found, default=None)

    def _response(self, reply: Answered, name: str, identity: str) -> messages.Response:
        blob = reply.blob
        response = messages.read_response(blob.data if isinstance(blob, HeldBlob) else b"")
        said, parameters = response.message, response.message.parameters
        said.model_name, said.model_version, said.id = name, MODEL_VERSION, identity
        parameters["satellite"].string_param = reply.satellite
        parameters["hops"].int64_param = reply.hops
        parameters["attempt"].int64_param = reply.attempt
        rate = self._host.loop.clock.reading().rate_at(time.monotonic())
        for key, value in {**stage_times(reply), "rate": rate}.items():
            parameters[key].double_param = value
        if reply.trace_parent:
            parameters["traceparent"].string_param = trace_parent_text(reply.trace_parent)
            parameters["breakdown"].string_param = breakdown_text(reply, self._host.mesh)
        return response


_NO_MEMORY = "the gateway's requests are computed in orbit, which this machine's memory does not reach; send the bytes"


def _refuse(why: str) -> Any:
    raise NotOffered(why)


def _too_much() -> Overloaded:
    return Overloaded(f"inputs of {MAX_HELD_BYTES} bytes are here on their way up; ask again when some have gone")


def stage_times(reply: Answered) -> dict[str, float]:
    """Where a request's time went: emulated seconds that add up to total_s, and the desk's own two."""
    stages = reply.stages
    parts = {
        "uplink_s": stages.up_ground_s,
        "lasers_s": stages.up_laser_s + reply.down_laser_s,
        "queue_s": stages.queue_s,
        "inference_s": stages.inference_s,
        "downlink_s": reply.down_ground_s,
    }
    total_s = reply.answered_sky_s - reply.asked_sky_s
    return {
        **parts,
        "waiting_s": total_s - sum(parts.values()),
        "total_s": total_s,
        "desk_wait_s": stages.desk_wait_s,
        "cpu_s": stages.cpu_s,
    }


def _input_of(request: messages.Request, served: Served) -> HeldBlob:
    """What goes up: model, tensors in the order of the model's inputs as raw bytes, and which outputs come down."""
    message = request.message
    for tensor in (*message.inputs, *message.outputs):
        if "shared_memory_region" in tensor.parameters:
            raise DataError(f"tensor {tensor.name!r} is in shared memory, which does not reach orbit: send its bytes")
    regions = SharedRegions(None)
    arrays = read_inputs(message, declared_inputs(served.inputs), regions, request.raw).arrays
    shapes = {name: array.shape for name, array in arrays.items()}
    served.check_batch(shapes)
    outputs = read_outputs(message, declared_outputs(served.outputs), regions)
    sent = protocol.ModelInferRequest(model_name=served.name)
    sent.parameters[ITEMS].int64_param = items_in(served, shapes)
    if "priority" in message.parameters:
        # On board, too, it overtakes what is less urgent.
        sent.parameters["priority"].int64_param = priority_of(whole_number(message.parameters, "priority"))
    for tensor in served.inputs:
        sent.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=arrays[tensor.name].shape)
    if message.outputs:
        for output in outputs:
            sent.outputs.add(name=output.name)
    return held(messages.write_request(sent, [raw_bytes(t.dtype, arrays[t.name]) for t in served.inputs]))


def _priority(given: int | None) -> int:
    """Triton counts from 1, the highest; within perigrid more is higher, and bulk jobs have 0 unless told otherwise."""
    return LAST_PRIORITY - priority_of(given)


def _tell_when_ready(gateway: Gateway, health: Health) -> None:
    """In a thread of its own: until the controller leads, which it does for as long as its process lives."""
    while not gateway.ready():
        time.sleep(READY_LOOK_S)
    health.say(True)


def serve_gateway(host: Host, port: int) -> tuple[grpc.Server, str]:
    """Start the gateway on loopback; its server and address. NameInUse where the port is taken."""
    calls = MAX_REQUESTS + REFUSING_THREADS + MAX_STREAMS
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    threads = ThreadPoolExecutor(calls, thread_name_prefix="gateway")
    server = grpc.server(threads, options=options, maximum_concurrent_rpcs=calls)
    gateway = Gateway(host)
    add_inference(server, gateway)
    health = add_health(server, MAX_WATCHERS, gateway.streams)
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise NameInUse(
            f"port {port} on 127.0.0.1 is in use ({error}); give another --gateway-port, or none."
        ) from error
    if bound == 0:
        raise EnvironmentProblem(f"cannot listen on 127.0.0.1:{port}; give another --gateway-port, or none.")
    server.start()
    threading.Thread(target=_tell_when_ready, args=(gateway, health), name="ready", daemon=True).start()
    return server, f"127.0.0.1:{bound}"
