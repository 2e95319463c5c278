"""What does a satellite's computer do, really, and when is it done in orbit?

Each inference runs once, for its true bits, on the satellite's own gRPC worker, which maps the capture from flash.
How long it lasts in orbit is the device's service time: its result is released at start + service in emulated time,
and late, counted so, where this machine was slower. On a free clock it is released when it is there.

A worker that dies takes down nothing else. What it was doing is done again once it is back: one task at a time, so that
a task which is alone in a second death is known to be its cause, and its neighbours' work does not count against them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from perigrid.errors import Bug
from perigrid.job.spec import Catalogue, Shard
from perigrid.live.blobs import HeldBlob, held
from perigrid.live.flash import Flash
from perigrid.live.lateness import LatenessMeter
from perigrid.live.loop import Loop
from perigrid.node.actions import Infer
from perigrid.node.events import Event, InferenceEnded, InferenceFailed
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
CALL_LIMIT_S = 3600.0
"""A bound on one call; the payload ends itself much sooner when a model hangs."""

READY_CALL_LIMIT_S = 1.0
READY_RETRY_S = 0.1

Feed = Callable[[Event], None]


@dataclass(slots=True)
class _Running:
    """One task on a device."""

    action: Infer
    feed: Feed
    device: Device
    started_s: float
    started_wall_s: float
    fresh_region: bool = False


@dataclass(slots=True)
class PayloadGroup:
    """The workers that share a payload process, and so a fate."""

    running: dict[int, _Running] = field(default_factory=dict)
    again: deque[_Running] = field(default_factory=deque)
    count: int = 0


class Device:
    """The computer of one satellite. `service_s` gives emulated seconds a tile by model; None on a free clock."""

    def __init__(
        self,
        name: str,
        loop: Loop,
        flash: Flash,
        catalogue: Catalogue,
        service_s: Callable[[], dict[str, float]] | None,
        meter: LatenessMeter,
        slots: int,
        group: PayloadGroup,
    ) -> None:
        self.name = name
        self._loop = loop
        self._flash = flash
        self._catalogue = catalogue
        self._service_s = service_s
        self._meter = meter
        self._group = group
        self._registered: set[str] = set()
        self._alive = True
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.initial_reconnect_backoff_ms", 50),
        ]
        # Threads that stay: gRPC's futures start one a call, and starting one makes the loop wait.
        self._calls = ThreadPoolExecutor(slots, thread_name_prefix=name)
        self._channel = grpc.insecure_channel(f"unix:sockets/{name}.worker", options=options)
        stub: Any = protocol_grpc.GRPCInferenceServiceStub
        self._stub = stub(self._channel)

    def wait_ready(self, limit_s: float) -> bool:
        """Wait, at most so many wall seconds, until the worker answers. Only before the loop runs."""
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            try:
                request = protocol.ServerReadyRequest()
                if self._stub.ServerReady(request, timeout=READY_CALL_LIMIT_S, wait_for_ready=True).ready:
                    return True
            except grpc.RpcError:
                continue
        return False

    def infer(self, action: Infer, feed: Feed) -> None:
        """Run a task; `feed` gets its end."""
        now_s = self._loop.clock.now_s()
        self._start(_Running(action, feed, self, now_s, time.monotonic()))

    def close(self) -> None:
        """The satellite is gone: what runs for it is nobody's any more."""
        self._alive = False
        for number, running in list(self._group.running.items()):
            if running.device is self:
                self._leave(number)
        self._channel.close()
        self._calls.shutdown(wait=False)

    def _start(self, running: _Running) -> None:
        group = self._group
        if group.again and running is not group.again[0]:
            # After a death, tasks go one at a time until all that were under way have ended.
            group.again.append(running)
            return
        group.count += 1
        number = group.count
        group.running[number] = running
        self._loop.must_not_fail(self._calls.submit(self._call, number, running))

    def _call(self, number: int, running: _Running) -> None:
        """In a thread of the device's: ask the worker, hash what it answers, and go on in the loop's thread."""
        try:
            request = self._request(running.action, running.started_s)
            response = self._stub.ModelInfer(request, timeout=CALL_LIMIT_S)
        except grpc.RpcError as error:
            self._loop.soon(lambda error=error: self._broken(number, error))  # type: ignore[misc]
            return
        blob = held(response.raw_output_contents[0])
        desk_wait_s = response.parameters["desk_wait_s"].double_param
        cpu_s = response.parameters["cpu_s"].double_param
        self._loop.soon(lambda: self._computed(number, running, blob, desk_wait_s, cpu_s))

    def _request(self, action: Infer, started_s: float) -> protocol.ModelInferRequest:
        shard = action.shard
        capture = self._catalogue.named(shard.capture)
        if capture is None:
            raise Bug(f"capture {shard.capture} is not in the catalogue")
        if capture.name not in self._registered:
            key = f"file:{self._flash.capture_path(capture.name)}"
            register = protocol.SystemSharedMemoryRegisterRequest(
                name=capture.name, key=key, offset=0, byte_size=capture.size_bytes
            )
            self._stub.SystemSharedMemoryRegister(register, timeout=READY_CALL_LIMIT_S)
            self._registered.add(capture.name)
        request = protocol.ModelInferRequest(model_name=f"{action.model}.mask", id=str(action.task))
        image = request.inputs.add(
            name="capture", datatype="FP32", shape=[capture.bands, capture.height_px, capture.width_px]
        )
        image.parameters["shared_memory_region"].string_param = capture.name
        image.parameters["shared_memory_byte_size"].int64_param = capture.size_bytes
        request.inputs.add(name="windows", datatype="INT32", shape=[len(shard.tiles), 2])
        windows = np.array([shard.rows, shard.columns], dtype=np.int32).T
        request.raw_input_contents.append(np.ascontiguousarray(windows).tobytes())
        request.parameters["due_s"].double_param = started_s + self._service(action.model, shard)
        return request

    def _service(self, model: str, shard: Shard) -> float:
        return 0.0 if self._service_s is None else self._service_s()[model] * len(shard.tiles)

    def _computed(self, number: int, running: _Running, blob: HeldBlob, desk_wait_s: float, cpu_s: float) -> None:
        self._leave(number)
        action = running.action
        if self._service_s is None:
            took_s = self._loop.clock.now_s() - running.started_s
            self._feed(running, InferenceEnded(action.task, blob, took_s, desk_wait_s, cpu_s))
            return
        service_s = self._service(action.model, action.shard)
        due_s = running.started_s + service_s
        taken_wall_s = time.monotonic() - running.started_wall_s

        def release() -> None:
            now_s = self._loop.clock.now_s()
            self._meter.inference(service_s, taken_wall_s, now_s - due_s)
            took_s = now_s - running.started_s
            self._feed(running, InferenceEnded(action.task, blob, took_s, desk_wait_s, cpu_s))

        if self._loop.clock.now_s() >= due_s:
            release()
        else:
            self._loop.at(due_s, release)

    def _feed(self, running: _Running, event: Event) -> None:
        if running.device._alive:
            running.feed(event)

    def _leave(self, number: int) -> None:
        """A task has ended; after a death, the next of those that go one at a time."""
        group = self._group
        ended = group.running.pop(number, None)
        if group.again and ended is group.again[0]:
            group.again.popleft()
            if group.again:
                group.again[0].device._start(group.again[0])

    def _broken(self, number: int, error: grpc.RpcError) -> None:
        running = self._group.running.get(number)
        if running is None or not self._alive:
            return
        code, details = error.code(), error.details()
        if code is not grpc.StatusCode.UNAVAILABLE:
            if not running.fresh_region and running.action.shard.capture in self._registered:
                # A worker that was restarted between two tasks does not know the capture's region yet.
                self._registered.clear()
                running.fresh_region = True
                del self._group.running[number]
                self._start(running)
                return
            self._leave(number)
            cause = f"the worker of {self.name} says {code.name}: {details}"
            self._feed(running, InferenceFailed(running.action.task, cause, payload_died=False))
            return
        alone = len(self._group.running) == 1
        del self._group.running[number]
        self._registered.clear()
        self._when_ready(lambda: self._died(running, alone, str(details)))

    def _died(self, running: _Running, alone: bool, details: str) -> None:
        again = self._group.again
        if alone:
            if again and again[0] is running:
                again.popleft()
            cause = f"the payload process died ({details})"
            self._feed(running, InferenceFailed(running.action.task, cause, payload_died=True))
            if again and again[0].action is not running.action:
                again[0].device._start(again[0])
            return
        again.append(running)
        if len(again) == 1:
            self._start(running)

    def _when_ready(self, then: Callable[[], None]) -> None:
        """Go on once the worker answers again."""
        if not self._alive:
            return
        call = self._stub.ServerReady.future(
            protocol.ServerReadyRequest(), timeout=READY_CALL_LIMIT_S, wait_for_ready=True
        )

        def answered(done: grpc.Future) -> None:
            if done.exception() is None:
                self._loop.soon(then)
            else:
                self._loop.soon(lambda: self._when_ready(then))

        call.add_done_callback(answered)
