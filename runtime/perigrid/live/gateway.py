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

Response parameters: satellite, hops, attempt, rate (of the clock), and in emulated seconds uplink_s, lasers_s, queue_s,
inference_s, downlink_s, waiting_s (all the rest) and total_s; desk_wait_s and cpu_s are this machine's own.

Status codes: NOT_FOUND for a model that is not there, INVALID_ARGUMENT for what does not fit, RESOURCE_EXHAUSTED when
too much is under way, DEADLINE_EXCEEDED, and UNAVAILABLE when orbit could not do it.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from perigrid.errors import DataError, EnvironmentProblem, NameInUse, UsageError
from perigrid.live.blobs import HeldBlob, held
from perigrid.live.forms import (
    MAX_MESSAGE_BYTES,
    MODEL_VERSION,
    Form,
    MetadataService,
    Served,
    add_health,
    answer,
    find,
    forms_of,
    has_batch_axis,
)
from perigrid.live.host import Host
from perigrid.live.shared_regions import Input, SharedRegions, read_inputs, read_outputs
from perigrid.live.tasks import ITEMS
from perigrid.node.controller import Controller
from perigrid.node.dispatch import MAX_INPUT_BYTES
from perigrid.node.events import Ask, HangUp
from perigrid.node.replies import Answered, Declined, Reply
from perigrid.node.requests import MAX_REQUESTS
from perigrid.units import MIB, NodeId
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

REFUSING_THREADS = 16
"""Calls that are looked at beyond those under way, to be told why they are refused; gRPC itself refuses more."""

DEFAULT_PRIORITY = 10
MAX_PRIORITY_STEPS = 20
MAX_WAIT_S = 3600.0
"""A call without a deadline is given up after so many seconds of the wall."""

MAX_REQUEST_BYTES = 16 * MIB
"""Largest request: gRPC reads as many at once as there are threads before any of them can be refused."""

MAX_HELD_BYTES = 2 * MAX_INPUT_BYTES
"""Inputs that this process holds: those under way, and of ended ones what still waits in front of a link."""

PLACEMENTS = ("balanced", "nearest")
PARAMETERS = ("satellite", "placement", "priority", "timeout")
US_PER_S = 1e6

_CODES = {
    "full": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "refused": grpc.StatusCode.INVALID_ARGUMENT,
    "deadline": grpc.StatusCode.DEADLINE_EXCEEDED,
    "failed": grpc.StatusCode.UNAVAILABLE,
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
        super().__init__("perigrid gateway", (), self._find)
        self._host = host
        self._numbers = itertools.count(1)
        self._queues: dict[int, queue.SimpleQueue[Reply | None]] = {}
        self._served: dict[str, Served] = {}
        self._models = 0
        self._held = HeldBytes()
        host.tellers.append(self._tell)

    def _tell(self, client: int, reply: Reply) -> None:
        replies = self._queues.get(client)
        if replies is not None:
            replies.put(reply)

    def ready(self) -> bool:
        """Whether the controller leads: it does once its journal is read."""
        driver = self._host.drivers.get(self._host.mesh.ground)
        return driver is not None and isinstance(driver.machine, Controller) and driver.machine.leading

    def _find(self, name: str, version: str) -> Served:
        models = self._host.config.models
        if len(models) != self._models:
            self._served = {form.name: form for file in models for form in forms_of(file.entry)}
            self._models = len(models)
        return find(self._served, "the gateway", name, version)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Have one inference done in orbit."""
        client = -next(self._numbers)
        # Before anything is made of it: the request itself is here already, and what goes up is a copy of its bytes.
        if not self._held.reserve(request.ByteSize()):
            return _too_much(context)
        try:
            ask, blob = answer(context, lambda: self._ask(client, request, context))
        finally:
            self._held.release(request.ByteSize())
        if not self._held.take(blob):
            return _too_much(context)
        replies = self._queues[client] = queue.SimpleQueue()
        try:
            # Called when the client cancels or its deadline passes; and at the end of any call, when nobody listens.
            if not context.add_callback(lambda: replies.put(None)):
                replies.put(None)
            self._feed(ask)
            reply = self._wait(client, replies)
        finally:
            self._queues.pop(client, None)
        if isinstance(reply, Answered):
            return self._response(reply, request.model_name, request.id)
        cause = reply.cause if isinstance(reply, Declined) else "the call was ended by its client, or by its deadline"
        code = _CODES[reply.reason] if isinstance(reply, Declined) else grpc.StatusCode.DEADLINE_EXCEEDED
        return context.abort(code, cause)

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
        self._host.loop.soon(lambda: driver.feed(event))

    def _ask(self, client: int, request: Any, context: Any) -> tuple[Ask, HeldBlob]:
        """What the controller is asked, and its input; UsageError and MissingFile for what cannot be."""
        served = self._find(request.model_name, request.model_version)
        parameters = request.parameters
        for key in parameters:
            if key not in PARAMETERS:
                raise UsageError(f"the parameter {key!r} is unknown here: there are {', '.join(PARAMETERS)}")
        satellite = _text(parameters, "satellite")
        placement = _text(parameters, "placement") or PLACEMENTS[0]
        if placement not in PLACEMENTS:
            raise UsageError(f"placement {placement!r}: there are {' and '.join(PLACEMENTS)}")
        blob = _input_of(request, served)
        ask = Ask(
            client=client,
            model=served.name,
            input=blob,
            satellite=None if satellite is None else self._satellite(satellite),
            nearest=placement == "nearest",
            priority=_priority(_number(parameters, "priority")),
            deadline_sky_s=self._deadline_sky_s(_number(parameters, "timeout"), context.time_remaining()),
        )
        return ask, blob

    def _satellite(self, name: str) -> NodeId:
        node = self._host.mesh.id_of(name)
        if not self._host.mesh.is_satellite(node):
            raise UsageError(f"{name} is no satellite: name one of {self._host.mesh.names[0]} and on")
        return node

    def _deadline_sky_s(self, timeout_us: int | None, remaining_s: float | None) -> float | None:
        """The earlier of the two deadlines, as sky time."""
        reading, wall_s = self._host.loop.clock.reading(), time.monotonic()
        found = []
        if timeout_us:
            found.append(reading.emulated_at(wall_s) + timeout_us / US_PER_S)
        # gRPC says centuries for a call without a deadline.
        if remaining_s is not None and remaining_s < MAX_WAIT_S:
            found.append(reading.emulated_at(wall_s + remaining_s))
        return min(found, default=None)

    def _response(self, reply: Answered, name: str, identity: str) -> Any:
        blob = reply.blob
        response = protocol.ModelInferResponse.FromString(bytes(blob.data) if isinstance(blob, HeldBlob) else b"")
        response.model_name, response.model_version, response.id = name, MODEL_VERSION, identity
        response.parameters["satellite"].string_param = reply.satellite
        response.parameters["hops"].int64_param = reply.hops
        response.parameters["attempt"].int64_param = reply.attempt
        rate = self._host.loop.clock.reading().rate_at(time.monotonic())
        for key, value in {**stage_times(reply), "rate": rate}.items():
            response.parameters[key].double_param = value
        return response


def _too_much(context: Any) -> Any:
    cause = f"inputs of {MAX_HELD_BYTES} bytes are here on their way up; ask again when some have gone"
    return context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, cause)


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


def _input_of(request: Any, served: Served) -> HeldBlob:
    """What goes up: model, tensors in the order of the model's inputs as raw bytes, and which outputs come down."""
    for tensor in (*request.inputs, *request.outputs):
        if "shared_memory_region" in tensor.parameters:
            raise DataError(f"tensor {tensor.name!r} is in shared memory, which does not reach orbit: send its bytes")
    regions = SharedRegions(None)
    inputs = read_inputs(request, served.inputs, regions)
    served.check_batch({name: value.array.shape for name, value in inputs.items()})
    outputs = read_outputs(request, served.outputs, regions)
    sent = protocol.ModelInferRequest(model_name=served.name)
    sent.parameters[ITEMS].int64_param = _items(served, inputs)
    for tensor in served.inputs:
        array = inputs[tensor.name].array
        sent.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=array.shape)
        sent.raw_input_contents.append(array.tobytes())
    if request.outputs:
        for output in outputs:
            sent.outputs.add(name=output.name)
    return held(sent.SerializeToString(deterministic=True))


def _items(served: Served, inputs: Mapping[str, Input]) -> int:
    """How many items a request has computed: windows, tiles, or a batch."""
    tensor = served.inputs[-1] if served.form is Form.MASKS else served.inputs[0]
    counted = served.form is not Form.BARE or has_batch_axis(tensor)
    return int(inputs[tensor.name].array.shape[0]) if counted else 1


def _priority(given: int | None) -> int:
    """Triton counts from 1, the highest; within perigrid more is higher, and bulk jobs have 0 unless told otherwise."""
    return DEFAULT_PRIORITY if not given else MAX_PRIORITY_STEPS - min(given, MAX_PRIORITY_STEPS)


def _text(parameters: Any, key: str) -> str | None:
    if key not in parameters:
        return None
    if parameters[key].WhichOneof("parameter_choice") != "string_param":
        raise UsageError(f"the parameter {key} is no text: send it as string_param")
    return str(parameters[key].string_param)


def _number(parameters: Any, key: str) -> int | None:
    if key not in parameters:
        return None
    kind = parameters[key].WhichOneof("parameter_choice")
    value = getattr(parameters[key], kind) if kind in ("int64_param", "uint64_param") else -1
    if value < 0:
        raise UsageError(f"the parameter {key} is no whole number from 0 on: send it as int64_param or uint64_param")
    return int(value)


def serve_gateway(host: Host, port: int) -> tuple[grpc.Server, str]:
    """Start the gateway on loopback; its server and address. NameInUse where the port is taken."""
    calls = MAX_REQUESTS + REFUSING_THREADS
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    threads = ThreadPoolExecutor(calls, thread_name_prefix="gateway")
    server = grpc.server(threads, options=options, maximum_concurrent_rpcs=calls)
    register: Any = protocol_grpc.add_GRPCInferenceServiceServicer_to_server
    register(Gateway(host), server)
    add_health(server)
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise NameInUse(
            f"port {port} on 127.0.0.1 is in use ({error}); give another --gateway-port, or none."
        ) from error
    if bound == 0:
        raise EnvironmentProblem(f"cannot listen on 127.0.0.1:{port}; give another --gateway-port, or none.")
    server.start()
    return server, f"127.0.0.1:{bound}"
