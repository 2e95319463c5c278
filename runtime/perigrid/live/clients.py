"""How does a program outside the orbit talk to a constellation?

Two clients. `JobClient` drives the client's machine over the job service: it submits, watches from its
cursor and hands each ending on once, over lost connections and a restarted controller alike.
`SupervisorClient` asks the supervisor for faults and for the state of things. Both wait by the wall, since a
client is no part of the orbit, and both have bounds.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
import msgspec

from perigrid.errors import EnvironmentProblem, LinkBroken, NotRunning, ProtocolError, UsageError
from perigrid.job.spec import JobSpec
from perigrid.live.config import Cargo
from perigrid.live.rundir import RunDirectory, grpc_address
from perigrid.node.client import (
    AskSubmit,
    AskWatch,
    Begin,
    Client,
    ClientAction,
    Connected,
    Deliver,
    Disconnected,
    Finish,
    GiveUp,
    Reconnect,
    Said,
)
from perigrid.node.records import JobEnded, ShardAccepted, ShardFailed
from perigrid.node.replies import Admitted, Ended, Explanation, Refused, Row
from perigrid.units import MIB, NodeId
from perigrid.wire.codec import read_stages
from perigrid.wire.generated import control_pb2, control_pb2_grpc, jobs_pb2, jobs_pb2_grpc

CALL_TIMEOUT_S = 35.0
"""Longest wait for one answer of the job service, seconds; the service itself gives up a little earlier."""

SKIP_LIMIT_S = 3600.0
CONTROL_TIMEOUT_S = 80.0
"""Longest wait for one answer of the supervisor, seconds: a reboot waits for the satellite's worker."""

LOAD_LIMIT_S = 480.0
"""Longest wait until models and data are on board, seconds."""

UNREACHABLE_LIMIT_S = 60.0
"""A job service that has not answered for so long is given up, seconds."""

MAX_JOB_S = 7 * 86_400.0
"""Longest that one job is watched, seconds: a job may wait for contacts, but not for ever."""

MAX_ANSWER_BYTES = 64 * MIB
"""Largest answer taken: a row of 64 tiles of 2,048 pixels."""

MAX_REPLIES_AHEAD = 16
"""How many replies are read before they are asked for."""

STREAM_LOOK_S = 0.05
STREAM_CLOSE_LIMIT_S = 5.0

MIN_RECONNECT_MS, MAX_RECONNECT_MS, CONNECT_LIMIT_MS = 100, 1000, 5000

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.initial_reconnect_backoff_ms", MIN_RECONNECT_MS),
    # This is also how long one attempt to connect may take, and the other side may be busy.
    ("grpc.min_reconnect_backoff_ms", CONNECT_LIMIT_MS),
    ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_MS),
    # A subchannel that is shared in the process would carry one client's back-off over to the next.
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy named by the environment has no business between processes of one machine.
    ("grpc.enable_http_proxy", 0),
)

REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""Statuses of a request that will never succeed as it is; all others mean that the connection is lost."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One ended shard, handed on once; `result` is its tiles' packed masks, or empty where it failed."""

    row: Row
    result: bytes


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The job service does not answer; the next try is in `after_s` seconds."""

    cause: str
    after_s: float


JobEvent = Admitted | Delivered | ConnectionLost


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job as the controller lists it; `shards_done` counts the accepted and the failed."""

    job: str
    state: str
    shards_done: int
    shards: int
    attempts: int
    priority: int


class Replies:
    """The replies of a stream, read in a thread of their own. Iterating raises the stream's RpcError.

    An interruption raises in the main thread, wherever that is; in the middle of gRPC's own bookkeeping of a stream it
    leaves a channel that never closes. So the main thread only ever waits for a queue.
    """

    def __init__(self, open_stream: Callable[[], Any]) -> None:
        self._open_stream = open_stream
        self._stream: Any = None
        self._queue: queue.Queue[Any] = queue.Queue(MAX_REPLIES_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="replies", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Any]:
        while (reply := self._queue.get()) is not None:
            if isinstance(reply, grpc.RpcError):
                raise reply
            yield reply

    def close(self) -> None:
        """Cancel the stream and wait, a bounded time, until its thread has left it."""
        self._closed.set()
        end_s = time.monotonic() + STREAM_CLOSE_LIMIT_S
        while self._thread.is_alive() and time.monotonic() < end_s:
            # Asked again each time, since the stream may have been opened only now.
            if self._stream is not None:
                self._stream.cancel()
            self._thread.join(STREAM_LOOK_S)

    def _read(self) -> None:
        try:
            self._stream = self._open_stream()
            for reply in self._stream:
                self._put(reply)
            self._put(None)
        except grpc.RpcError as error:
            self._put(error)

    def _put(self, reply: Any) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(reply, timeout=STREAM_LOOK_S)
                return
            except queue.Full:
                continue


def _always() -> bool:
    return True


class JobClient:
    """A client of the job service at `address` ("127.0.0.1:PORT"). One thread at a time may use it.

    `still_up` is asked whenever the connection is lost: where it says no, waiting is over.
    """

    def __init__(self, address: str, still_up: Callable[[], bool] = _always) -> None:
        self.address = address
        self._still_up = still_up
        self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub = jobs_pb2_grpc.JobServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._lost_since_s: float | None = None
        self._lost_cause = ""
        self._deadline_s = float("inf")

    def __enter__(self) -> JobClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; jobs go on."""
        self._channel.close()

    def run(
        self, spec: JobSpec, on: Callable[[JobEvent], None], limit_s: float = MAX_JOB_S, cursor: int = 0
    ) -> JobEnded:
        """Submit a job and watch it to its end; `on` gets every event, and each ending beyond `cursor` once.

        UsageError where the job is refused, NotRunning where the constellation is gone, LinkBroken where the
        service has not answered for UNREACHABLE_LIMIT_S or the job has not ended within `limit_s` seconds of
        the wall, ProtocolError for a result whose bytes are not what their hash says.
        """
        machine = Client(spec, cursor)
        self._deadline_s = time.monotonic() + limit_s
        self._lost_since_s = None
        waiting = machine.handle(Connected())
        while waiting:
            action = waiting.pop(0)
            match action:
                case Finish(ending):
                    return ending
                case GiveUp(cause):
                    raise UsageError(f"job {spec.job} was refused: {cause}.")
                case _:
                    waiting += self._do(machine, action, on)
        raise ProtocolError(f"the client of job {spec.job} has nothing left to do, and the job has not ended.")

    def jobs(self) -> tuple[JobSummary, ...]:
        """The jobs that the controller knows, in the order of their admission."""
        answer = self._ask(self._stub.List, jobs_pb2.ListRequest())
        return tuple(JobSummary(j.job, j.state, j.done, j.shards, j.attempts, j.priority) for j in answer.jobs)

    def cancel(self, job: str) -> None:
        """End a job; its open shards end as CANCELLED. UsageError for an unknown one."""
        self._ask(self._stub.Cancel, jobs_pb2.CancelRequest(job=job))

    def explain(self, node: str) -> Explanation:
        """What the shards of a node wait for, as far as the ground knows. UsageError for an unknown node."""
        answer = self._ask(self._stub.Explain, jobs_pb2.ExplainRequest(node=node))
        until_sky_s = answer.until_sky_s if answer.HasField("until_sky_s") else None
        return Explanation(
            answer.node,
            answer.reachable,
            answer.shards_waiting,
            answer.shards_leased,
            answer.reason,
            until_sky_s,
        )

    def _ask(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() in REFUSALS:
                raise UsageError(_sentence(error.details())) from error
            raise LinkBroken(
                f"the job service at {self.address} does not answer ({_cause(error)}); look at `perigrid status`."
            ) from error

    def _do(self, machine: Client, action: ClientAction, on: Callable[[JobEvent], None]) -> list[ClientAction]:
        match action:
            case AskSubmit(spec):
                return self._submit(machine, spec)
            case AskWatch(job, cursor):
                return self._watch(machine, job, cursor, on)
            case Begin(admitted):
                on(admitted)
            case Reconnect(after_s):
                on(ConnectionLost(self._lost_cause, after_s))
                time.sleep(max(0.0, min(after_s, self._deadline_s - time.monotonic())))
                return machine.handle(Connected())
        return []

    def _submit(self, machine: Client, spec: JobSpec) -> list[ClientAction]:
        request = jobs_pb2.JobSpec(
            job=spec.job,
            model=spec.model,
            dataset=spec.dataset,
            tiles_per_shard=spec.tiles_per_shard,
            priority=spec.priority,
            deadline_s=spec.deadline_s,
        )
        try:
            answer = self._stub.Submit(request, timeout=min(CALL_TIMEOUT_S, self._left_s(spec.job)))
        except grpc.RpcError as error:
            return self._failed(machine, spec.job, error)
        self._lost_since_s = None
        until_sky_s = answer.until_sky_s if answer.HasField("until_sky_s") else None
        admitted = Admitted(
            answer.job,
            answer.tiles,
            answer.shards,
            answer.again,
            answer.waits_for,
            until_sky_s,
            answer.admitted_sky_s,
        )
        return machine.handle(Said(admitted))

    def _watch(self, machine: Client, job: str, cursor: int, on: Callable[[JobEvent], None]) -> list[ClientAction]:
        request = jobs_pb2.WatchRequest(job=job, cursor=cursor)
        limit_s = self._left_s(job)
        replies = Replies(lambda: self._stub.Watch(request, timeout=limit_s))
        try:
            return self._follow(machine, job, replies, on)
        except grpc.RpcError as error:
            return self._failed(machine, job, error)
        finally:
            replies.close()

    def _follow(
        self, machine: Client, job: str, replies: Iterable[Any], on: Callable[[JobEvent], None]
    ) -> list[ClientAction]:
        """Take a stream's replies until one of them asks for more than to be handed on."""
        for reply in replies:
            self._lost_since_s = None
            said = _read_reply(job, reply)
            for action in machine.handle(Said(said)):
                if not isinstance(action, Deliver):
                    return [action]
                result = reply.row.result
                _check_result(action.row, result)
                on(Delivered(action.row, result))
        return self._disconnected(machine, job, "the stream ended before the job did")

    def _failed(self, machine: Client, job: str, error: grpc.RpcError) -> list[ClientAction]:
        if error.code() in REFUSALS:
            return machine.handle(Said(Refused(job, (error.details() or error.code().name).rstrip("."))))
        return self._disconnected(machine, job, _cause(error))

    def _disconnected(self, machine: Client, job: str, cause: str) -> list[ClientAction]:
        now_s = time.monotonic()
        self._lost_since_s = now_s if self._lost_since_s is None else self._lost_since_s
        self._lost_cause = cause
        if not self._still_up():
            raise NotRunning(
                f"the constellation went down while job {job} ran; bring one up with `perigrid up` and "
                "submit the job again."
            )
        self._left_s(job)
        if now_s - self._lost_since_s > UNREACHABLE_LIMIT_S:
            raise LinkBroken(
                f"the job service at {self.address} has not answered for {UNREACHABLE_LIMIT_S:g} s "
                f"({cause}); look at `perigrid status`, and run the job again as --job {job}."
            )
        return machine.handle(Disconnected())

    def _left_s(self, job: str) -> float:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise LinkBroken(
                f"job {job} has not ended within the time given; it goes on: look at `perigrid why "
                f"SATELLITE`, and run it again as --job {job}."
            )
        return left_s


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One link: `state` is up, down (by the plan), out (an outage that nobody planned), cut (by a fault) or dead (one
    of its ends is).

    `rate_bps` is the rate from `a` to `b` and `back_bps` that from `b` to `a`, both 0 where it is not up; of a radio
    link, whose `a` is the satellite, they are the downlink's and the uplink's.
    """

    a: str
    b: str
    kind: str
    state: str
    range_km: float | None = None
    delay_ms: float | None = None
    rate_bps: float | None = None
    back_bps: float | None = None


class LatenessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How much was released late over a whole run, emulated milliseconds, and the rate that would hold."""

    frames: int = 0
    frames_late: int = 0
    inferences: int = 0
    inferences_late: int = 0
    share_late: float = 0.0
    worst_frame_late_ms: float = 0.0
    worst_inference_late_ms: float = 0.0
    tolerance_ms: float = 0.0
    rate_that_holds: float | None = None


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients read of a run's status; the supervisor says more.

    `valid_for_latency` is None in free mode. A run has `settled` once this machine is measured and every capture's
    copies are where they shall be; until then its clock stands or goes slowly. The sky turns `orbit_rate` times as fast
    as emulated time passes.
    """

    name: str
    epoch: str
    sky_s: float
    rate: float
    orbit_rate: float = 1.0
    mode: str
    settled: bool
    satellites_up: int
    links_up: int
    links: tuple[LinkStatus, ...]
    links_cut: int
    links_out: int = 0
    satellites_lost: tuple[str, ...]
    valid_for_latency: bool | None
    lateness: LatenessStatus
    governed: bool = False
    bytes_over_lasers: int
    bytes_over_ground_links: int = 0
    bytes_of_replicas: int = 0
    event_log_full: bool = False
    preloaded: tuple[str, ...] = ()


class SupervisorClient:
    """A client of a run's supervisor. One thread at a time may use it.

    Every method raises UsageError for a node or link that is not there, NotRunning where the supervisor is
    gone.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._channel = grpc.insecure_channel(grpc_address(run.supervisor_socket), options=CHANNEL_OPTIONS)
        self._stub = control_pb2_grpc.SupervisorStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> SupervisorClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; the run goes on."""
        self._channel.close()

    def cut(self, a: str, b: str, one_way: bool = False) -> str:
        """Break the link between two nodes, or only its direction from a to b; what the supervisor says."""
        return self._said(self._stub.Cut, control_pb2.LinkRequest(a=a, b=b, one_way=one_way))

    def heal(self, a: str, b: str) -> str:
        """Mend what `cut` broke, in both directions."""
        return self._said(self._stub.Heal, control_pb2.LinkRequest(a=a, b=b))

    def kill(self, node: str) -> str:
        """Let a satellite die at once; its flash stays."""
        return self._said(self._stub.Kill, control_pb2.NodeRequest(node=node))

    def reboot(self, node: str, lose_flash: bool = False) -> str:
        """Start a satellite again, from its flash or from nothing."""
        return self._said(self._stub.Reboot, control_pb2.NodeRequest(node=node, lose_flash=lose_flash))

    def probe(self, request: control_pb2.ProbeRequest) -> str:
        """Send probes from one node to another, for measurements of links."""
        return self._said(self._stub.Probe, request)

    def expose(self, request: control_pb2.ExposeRequest) -> str:
        """Let a satellite's sensor take frames, for measurements."""
        return self._said(self._stub.Expose, request)

    def skip(self, until_sky_s: float) -> str:
        """Let emulated time pass as fast as this machine can until then."""
        return self._said(self._stub.Skip, control_pb2.SkipRequest(until_sky_s=until_sky_s), SKIP_LIMIT_S)

    def load(self, cargo: Cargo) -> str:
        """Put models and data on board whose files lie in the run directory (live/cargo.py)."""
        text = msgspec.json.encode(cargo).decode()
        return self._said(self._stub.Load, control_pb2.LoadRequest(json=text), LOAD_LIMIT_S)

    def states(self, errors: bool = False) -> list[Any]:
        """The raw state of every host process that answers (control.proto's HostState).

        With `errors`, also the release errors and the probes' arrivals since they were asked for last.
        """
        return list(self._ask(self._stub.States, control_pb2.StateRequest(errors=errors)).states)

    def down(self) -> str:
        """Ask the supervisor to take the constellation down; it answers before it does."""
        return self._said(self._stub.Down, control_pb2.DownRequest())

    def status_json(self, errors: bool = False) -> bytes:
        """The run's whole status, a JSON object; with the raw release errors where asked for."""
        answer = self._ask(self._stub.Status, control_pb2.StateRequest(errors=errors))
        return bytes(answer.json.encode())

    def status(self) -> RunStatus:
        """The part of the run's status that clients read."""
        try:
            return msgspec.json.decode(self.status_json(), type=RunStatus)
        except msgspec.MsgspecError as error:
            raise ProtocolError(
                f"the supervisor of {self._run.name} gave a status that cannot be read ({error}); it may be "
                "of another version: take the run down and up again."
            ) from error

    def _said(self, method: Any, request: Any, limit_s: float = CONTROL_TIMEOUT_S) -> str:
        return str(self._ask(method, request, limit_s).message)

    def _ask(self, method: Any, request: Any, limit_s: float = CONTROL_TIMEOUT_S) -> Any:
        try:
            return method(request, timeout=limit_s)
        except grpc.RpcError as error:
            if error.code() in REFUSALS:
                raise UsageError(_sentence(error.details())) from error
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise NotRunning(
                    f"the supervisor of {self._run.name} in {self._run.path} does not answer "
                    f"({error.details()}); start the constellation with `perigrid up`."
                ) from error
            raise EnvironmentProblem(
                f"the supervisor of {self._run.name} could not do it ({_cause(error)}); see {self._run.path / 'log'}."
            ) from error


def _read_reply(job: str, reply: jobs_pb2.WatchReply) -> Row | Ended:
    kind = reply.WhichOneof("reply")
    if kind == "ended":
        e = reply.ended
        return Ended(JobEnded(job, e.outcome, e.ended_sky_s, e.attempts, e.duplicates, e.conflicts))
    if kind != "row":
        raise ProtocolError(f"job {job}: the job service said something unknown; use clients of its own version.")
    row = reply.row
    ending: ShardAccepted | ShardFailed
    if row.failure:
        ending = ShardFailed(job, row.shard, row.failure, row.settled_sky_s)
    else:
        ending = ShardAccepted(
            job,
            row.shard,
            row.digest,
            len(row.result),
            NodeId(row.satellite),
            row.attempt,
            row.hops,
            row.settled_sky_s,
            read_stages(row.stages),
            row.down_laser_s,
            row.down_ground_s,
        )
    return Row(row.cursor, tuple(row.tiles), ending)


def _check_result(row: Row, result: bytes) -> None:
    ending = row.ending
    if isinstance(ending, ShardAccepted) and hashlib.sha256(result).digest() != ending.digest:
        raise ProtocolError(
            f"job {ending.job}, shard {ending.shard}: the {len(result)} bytes of its result are not what "
            "their sha256 says; run the job again, and see ground/ in the run directory."
        )


def _cause(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}"


def _sentence(details: str | None) -> str:
    text = (details or "the request was refused").strip()
    return text if text.endswith(".") else f"{text}."
