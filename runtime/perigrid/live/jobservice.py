"""How do clients reach the controller?

The job service, gRPC on loopback. A call becomes an event for the controller's machine, in the loop's thread; what the
machine tells comes back through a queue of the call's own. Result bytes are read from the results file by hash.
"""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from perigrid.errors import EnvironmentProblem, NameInUse, UsageError
from perigrid.job.spec import JobSpec
from perigrid.live.driver import Ground
from perigrid.live.host import Host
from perigrid.live.modelservice import add_models
from perigrid.node.events import Cancel, ClientRequest, Explain, ListJobs, Submit, Unwatch, Watch
from perigrid.node.records import ShardAccepted
from perigrid.node.replies import Admitted, Ended, Explanation, Jobs, Refused, Reply, Row
from perigrid.wire.codec import stages_message
from perigrid.wire.generated import jobs_pb2 as protocol
from perigrid.wire.generated import jobs_pb2_grpc as protocol_grpc

MAX_WATCHERS = 24
SERVICE_THREADS = MAX_WATCHERS + 8
ANSWER_LIMIT_S = 30.0
WATCH_LOOK_S = 0.5
"""How often a watch looks whether its client is still there."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class JobService(protocol_grpc.JobServiceServicer):
    """The job service of one ground process."""

    def __init__(self, host: Host, ground: Ground) -> None:
        self._host = host
        self._ground = ground
        self._numbers = itertools.count(1)
        self._queues: dict[int, queue.SimpleQueue[Reply]] = {}
        self._watchers = 0
        host.tellers.append(self._tell)

    def Submit(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Admit a job; answered once it is durable."""
        spec = JobSpec(
            job=request.job,
            model=request.model,
            dataset=request.dataset,
            tiles_per_shard=request.tiles_per_shard,
            priority=request.priority,
            deadline_s=request.deadline_s if request.HasField("deadline_s") else None,
        )
        try:
            spec.check()
        except UsageError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        reply = self._ask(context, lambda client: Submit(client, spec))
        if not isinstance(reply, Admitted):
            return context.abort(grpc.StatusCode.FAILED_PRECONDITION, _cause(reply))
        answer = protocol.Admitted(
            job=reply.job,
            tiles=reply.tiles,
            shards=reply.shards,
            again=reply.again,
            waits_for=reply.waits_for,
            admitted_sky_s=reply.admitted_sky_s,
        )
        if reply.until_sky_s is not None:
            answer.until_sky_s = reply.until_sky_s
        return answer

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """Stream a job's endings from a cursor on."""
        if self._watchers >= MAX_WATCHERS:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} watches are open, which is the limit")
        self._watchers += 1
        client = next(self._numbers)
        replies = self._queues[client] = queue.SimpleQueue()
        self._feed(Watch(client, request.job, request.cursor))
        try:
            while context.is_active():
                try:
                    reply = replies.get(timeout=WATCH_LOOK_S)
                except queue.Empty:
                    continue
                if isinstance(reply, Refused):
                    context.abort(grpc.StatusCode.NOT_FOUND, reply.cause)
                if isinstance(reply, Row):
                    yield protocol.WatchReply(row=self._row(reply))
                elif isinstance(reply, Ended):
                    yield protocol.WatchReply(ended=_ended(reply))
                    return
        finally:
            self._watchers -= 1
            self._feed(Unwatch(client))
            self._queues.pop(client, None)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Give a job up."""
        return self._jobs(context, lambda client: Cancel(client, request.job))

    def List(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The jobs there are."""
        return self._jobs(context, ListJobs)

    def Explain(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """What a node's shards wait for."""
        try:
            node = self._host.mesh.id_of(request.node)
        except UsageError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        reply = self._ask(context, lambda client: Explain(client, node))
        if not isinstance(reply, Explanation):
            return context.abort(grpc.StatusCode.FAILED_PRECONDITION, _cause(reply))
        answer = protocol.Explanation(
            node=reply.node,
            reachable=reply.reachable,
            shards_waiting=reply.shards_waiting,
            shards_leased=reply.shards_leased,
            reason=reply.reason,
        )
        if reply.until_sky_s is not None:
            answer.until_sky_s = reply.until_sky_s
        return answer

    def _jobs(self, context: grpc.ServicerContext, make: Any) -> Any:
        reply = self._ask(context, make)
        if not isinstance(reply, Jobs):
            return context.abort(grpc.StatusCode.NOT_FOUND, _cause(reply))
        answer = protocol.Jobs()
        for job, state, done, shards, attempts, priority in reply.jobs:
            answer.jobs.add(job=job, state=state, done=done, shards=shards, attempts=attempts, priority=priority)
        return answer

    def _ask(self, context: grpc.ServicerContext, make: Any) -> Reply:
        client = next(self._numbers)
        replies = self._queues[client] = queue.SimpleQueue()
        self._feed(make(client))
        try:
            return replies.get(timeout=ANSWER_LIMIT_S)
        except queue.Empty:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"the controller did not answer in {ANSWER_LIMIT_S:g} s")
            raise
        finally:
            self._queues.pop(client, None)

    def _feed(self, event: ClientRequest) -> None:
        driver = self._host.drivers[self._host.mesh.ground]
        self._host.loop.soon(lambda: driver.feed(event))

    def _tell(self, client: int, reply: Reply) -> None:
        replies = self._queues.get(client)
        if replies is not None:
            replies.put(reply)

    def _row(self, row: Row) -> Any:
        ending = row.ending
        answer = protocol.Row(
            cursor=row.cursor, tiles=row.tiles, shard=ending.shard, settled_sky_s=ending.settled_sky_s
        )
        if isinstance(ending, ShardAccepted):
            answer.digest = ending.digest
            answer.satellite = ending.satellite
            answer.attempt = ending.attempt
            answer.hops = ending.hops
            answer.down_laser_s, answer.down_ground_s = ending.down_laser_s, ending.down_ground_s
            answer.stages.CopyFrom(stages_message(ending.stages))
            answer.result = self._ground.results.read(ending.digest)
        else:
            answer.failure = ending.cause
        return answer


def _ended(reply: Ended) -> Any:
    ending = reply.ending
    return protocol.Ended(
        outcome=ending.outcome,
        ended_sky_s=ending.ended_sky_s,
        attempts=ending.attempts,
        duplicates=ending.duplicates,
        conflicts=ending.conflicts,
    )


def _cause(reply: Reply) -> str:
    return reply.cause if isinstance(reply, Refused) else f"an unexpected answer: {type(reply).__name__}"


def serve_jobs(host: Host, ground: Ground, port: int) -> tuple[grpc.Server, str]:
    """Start the job service on loopback; its server and address. NameInUse where the port is taken."""
    options = [("grpc.so_reuseport", 0), ("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
    threads = ThreadPoolExecutor(SERVICE_THREADS, thread_name_prefix="jobs")
    server = grpc.server(threads, options=options)
    register: Any = protocol_grpc.add_JobServiceServicer_to_server
    register(JobService(host, ground), server)
    add_models(host, server)
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise NameInUse(f"port {port} on 127.0.0.1 is in use ({error}); give another --port, or none.") from error
    if bound == 0:
        raise EnvironmentProblem(f"cannot listen on 127.0.0.1:{port}; give another --port, or none.")
    server.start()
    return server, f"127.0.0.1:{bound}"
