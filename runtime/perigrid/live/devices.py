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
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

from perigrid.errors import Bug, LinkBroken, PerigridError, UsageError
from perigrid.job.spec import Capture, Catalogue, plain_model
from perigrid.live.blobs import HeldBlob, held
from perigrid.live.cameras import tiles_kept
from perigrid.live.flash import Flash
from perigrid.live.lateness import LatenessMeter
from perigrid.live.loop import Loop
from perigrid.live.tasks import items_of, mask_bytes, request_task, response_bytes, scene_task, stack_task
from perigrid.node.actions import Infer
from perigrid.node.events import Event, InferenceEnded, InferenceFailed
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
CALL_LIMIT_S = 3600.0
"""A bound on one call; the payload ends itself much sooner when a model hangs."""

LOAD_LIMIT_S = 120.0
LOAD_TRIES = 3
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
    abandoned: bool = False
    is_tensors: bool = False
    items: int = 0
    call: Any = None


@dataclass(slots=True)
class PayloadGroup:
    """The workers that share a payload process, and so a fate."""

    running: dict[int, _Running] = field(default_factory=dict)
    again: deque[_Running] = field(default_factory=deque)
    count: int = 0


class Device:
    """The computer of one satellite.

    `service_s` gives emulated seconds a tile of a model; None on a free clock. Where they are not `stated`, because the
    computer is this machine's, work other than masks lasts the CPU time that it costs here.
    """

    def __init__(
        self,
        name: str,
        loop: Loop,
        flash: Flash,
        catalogue: Catalogue,
        service_s: Callable[[str], float] | None,
        stated: bool,
        meter: LatenessMeter,
        slots: int,
        group: PayloadGroup,
    ) -> None:
        self.name = name
        self._loop = loop
        self._flash = flash
        self._catalogue = catalogue
        self._service_s = service_s
        self._stated = stated
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

    def infer(self, action: Infer, now_s: float, feed: Feed) -> None:
        """Run a task from this sky time on; `feed` gets its end."""
        items = max(1, len(action.shard.tiles))
        self._start(_Running(action, feed, self, now_s, time.monotonic(), items=items))

    def abandon(self, task: int) -> None:
        """Stop a task that nobody wants any more; its machine has forgotten it."""
        for running in [*self._group.running.values(), *self._group.again]:
            if running.device is self and running.action.task == task:
                running.abandoned = True
                if running.call is not None:
                    running.call.cancel()

    def learn(self, catalogue: Catalogue, models: Iterable[str]) -> None:
        """More came on board: let the worker serve these models. It takes as long as loading them takes."""
        self._catalogue = catalogue
        for name in models:
            request = protocol.RepositoryModelLoadRequest(model_name=name)
            self._stub.RepositoryModelLoad(request, timeout=LOAD_LIMIT_S, wait_for_ready=True)

    def load_model(self, name: str, then: Callable[[str], None], tries: int = LOAD_TRIES) -> None:
        """Let the worker serve a model from flash; `then` gets "", or why it cannot, in the loop's thread."""
        request = protocol.RepositoryModelLoadRequest(model_name=name)
        call = self._stub.RepositoryModelLoad.future(request, timeout=LOAD_LIMIT_S, wait_for_ready=True)

        def ended(error: grpc.RpcError | None) -> None:
            if error is not None and error.code() is grpc.StatusCode.UNAVAILABLE and tries > 1:
                # The payload died, of this or of something else: its successor is asked again.
                self.load_model(name, then, tries - 1)
                return
            then("" if error is None else f"the worker of {self.name} could not load it: {error.details()}")

        call.add_done_callback(lambda done: self._soon(lambda: ended(done.exception())))

    def unload_model(self, name: str, then: Callable[[], None]) -> None:
        """Let the worker serve a model no more; what runs on it ends first. One that is down serves none anyway."""
        request = protocol.RepositoryModelUnloadRequest(model_name=name)
        call = self._stub.RepositoryModelUnload.future(request, timeout=LOAD_LIMIT_S)
        call.add_done_callback(lambda done: self._soon(then))

    def _soon(self, call: Callable[[], None]) -> None:
        """Go on in the loop's thread, while the satellite lives."""
        self._loop.soon(lambda: call() if self._alive else None)

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
            if self._stated:
                self._hold(number, running)
            request = self._request(running)
            self._hold(number, running)
            response = self._ask(running, request)
        except grpc.RpcError as error:
            self._end(number, lambda error=error: self._broken(number, error))  # type: ignore[misc]
            return
        except PerigridError as error:
            self._end(number, lambda error=error: self._refused(number, error))  # type: ignore[misc]
            return
        except ValueError:
            self._lift(number)
            # This is what gRPC says of a closed channel: the satellite is gone, and nobody waits for the task.
            if self._alive:
                raise
            return
        desk_wait_s = response.parameters["desk_wait_s"].double_param
        cpu_s = response.parameters["cpu_s"].double_param
        blob = held(response_bytes(response) if running.is_tensors else mask_bytes(response))
        share, kept = running.action.discard_share, None
        if share is not None and not running.is_tensors:
            kept = tiles_kept(bytes(blob.data), len(running.action.shard.tiles), share)
        self._end(number, lambda: self._computed(number, running, blob, desk_wait_s, cpu_s, kept))

    def _hold(self, number: int, running: _Running) -> None:
        """Where time waits for whoever computes: it is not to pass the moment at which the task is due.

        How long a task lasts that is not stated is known once it has been computed: until then time stands.
        """
        if self._loop.holds is not None and self._service_s is not None:
            self._loop.holds.hold((self.name, number), running.started_s + (self._service(running) or 0.0))

    def _lift(self, number: int) -> None:
        if self._loop.holds is not None:
            self._loop.holds.lift((self.name, number))

    def _end(self, number: int, then: Callable[[], None]) -> None:
        """Go on in the loop's thread; time, too, but only after it: what is due by then is released first."""

        def end() -> None:
            then()
            self._lift(number)

        self._loop.soon(end)

    def _ask(self, running: _Running, request: protocol.ModelInferRequest) -> Any:
        """One call of the worker. Only a request's can be abandoned: a future costs a thread, which jobs are spared."""
        if not running.action.shard.is_request:
            return self._stub.ModelInfer(request, timeout=CALL_LIMIT_S)
        running.call = self._stub.ModelInfer.future(request, timeout=CALL_LIMIT_S)
        if running.abandoned:
            running.call.cancel()
        try:
            return running.call.result()
        except grpc.FutureCancelledError as error:
            raise LinkBroken(f"{running.action.job} is not wanted any more") from error

    def _request(self, running: _Running) -> protocol.ModelInferRequest:
        action, shard = running.action, running.action.shard
        if shard.is_request:
            request = request_task(action)
            running.is_tensors = True
        else:
            capture = self._catalogue.named(shard.capture)
            if capture is None:
                raise Bug(f"capture {shard.capture} is not in the catalogue")
            self._register(capture)
            running.is_tensors = capture.is_stack
            request = stack_task(action, capture) if capture.is_stack else scene_task(action, capture)
        running.items = items_of(request)
        request.parameters["due_s"].double_param = running.started_s + (self._service(running) or 0.0)
        return request

    def _register(self, capture: Capture) -> None:
        if capture.name not in self._registered:
            key = f"file:{self._flash.capture_path(capture.name)}"
            register = protocol.SystemSharedMemoryRegisterRequest(
                name=capture.name, key=key, offset=0, byte_size=capture.size_bytes
            )
            self._stub.SystemSharedMemoryRegister(register, timeout=READY_CALL_LIMIT_S)
            self._registered.add(capture.name)

    def _service(self, running: _Running) -> float | None:
        """How long a task lasts in orbit; None where it lasts the CPU time that it takes here."""
        if self._service_s is None:
            return 0.0
        if running.is_tensors and not self._stated:
            # Measured beforehand are only the models that give masks, a tile each.
            return None
        return self._service_s(plain_model(running.action.model)) * running.items + running.action.extra_s

    def _computed(
        self,
        number: int,
        running: _Running,
        blob: HeldBlob,
        desk_wait_s: float,
        cpu_s: float,
        kept: tuple[int, ...] | None,
    ) -> None:
        self._leave(number)
        action = running.action
        if self._service_s is None:
            took_s = self._loop.now_s() - running.started_s
            self._feed(running, InferenceEnded(action.task, blob, took_s, desk_wait_s, cpu_s, kept))
            return
        stated_s = self._service(running)
        service_s = cpu_s + action.extra_s if stated_s is None else stated_s
        due_s = running.started_s + service_s
        taken_wall_s = time.monotonic() - running.started_wall_s

        def release() -> None:
            self._meter.inference(service_s, taken_wall_s, self._loop.clock.now_s() - due_s)
            took_s = self._loop.now_s() - running.started_s
            self._feed(running, InferenceEnded(action.task, blob, took_s, desk_wait_s, cpu_s, kept))

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

    def _refused(self, number: int, error: PerigridError) -> None:
        """A task that the worker never got: it is none, did not arrive whole, or nobody wants it any more."""
        running = self._group.running.get(number)
        if running is None:
            return
        self._leave(number)
        if not running.abandoned:
            final = isinstance(error, UsageError)
            self._feed(running, InferenceFailed(running.action.task, str(error), payload_died=False, final=final))

    def _broken(self, number: int, error: grpc.RpcError) -> None:
        running = self._group.running.get(number)
        if running is None or not self._alive:
            return
        code, details = error.code(), error.details()
        if running.abandoned:
            self._leave(number)
            return
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
            # What a model refuses of a request, it refuses on every satellite.
            final = running.action.shard.is_request and code is grpc.StatusCode.INVALID_ARGUMENT
            self._feed(running, InferenceFailed(running.action.task, cause, payload_died=False, final=final))
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
