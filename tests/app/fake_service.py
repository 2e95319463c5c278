"""What would a job service say? One that says what a test tells it to, over real gRPC on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from perigrid.wire.generated import jobs_pb2, jobs_pb2_grpc

SHARDS = 6
SILENCE_LIMIT_S = 30.0


def result_of(shard: int) -> bytes:
    """The bytes of a shard's result."""
    return bytes([shard]) * 16


def row(shard: int, **changes: object) -> jobs_pb2.WatchReply:
    """The reply for a shard, which ends as number `shard + 1`."""
    values: dict[str, Any] = {
        "cursor": shard + 1,
        "tiles": [shard],
        "shard": shard,
        "settled_sky_s": float(shard),
        "digest": hashlib.sha256(result_of(shard)).digest(),
        "satellite": shard % 3,
        "attempt": 1,
        "result": result_of(shard),
        **changes,
    }
    return jobs_pb2.WatchReply(row=jobs_pb2.Row(**values))


def ended() -> jobs_pb2.WatchReply:
    """The job's own end."""
    return jobs_pb2.WatchReply(
        ended=jobs_pb2.Ended(outcome="complete", ended_sky_s=9.0, attempts=7, duplicates=1, conflicts=0)
    )


class FakeJobService(jobs_pb2_grpc.JobServiceServicer):
    """Answers the n-th watch with the n-th script: replies in order, a status for a lost stream, an event for silence
    until it is set.
    """

    def __init__(self, scripts: list[list[jobs_pb2.WatchReply | grpc.StatusCode | threading.Event]]) -> None:
        self.scripts = scripts
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.submissions: list[jobs_pb2.JobSpec] = []
        self.cursors: list[int] = []

    def Submit(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.submissions.append(request)
        if self.refusal is not None:
            context.abort(*self.refusal)
        again = len(self.submissions) > 1
        return jobs_pb2.Admitted(job=request.job, tiles=SHARDS, shards=SHARDS, again=again)

    def Watch(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        script = self.scripts[min(len(self.cursors), len(self.scripts) - 1)]
        self.cursors.append(request.cursor)
        for reply in script:
            if isinstance(reply, grpc.StatusCode):
                context.abort(reply, "as the test wants it")
            if isinstance(reply, threading.Event):
                reply.wait(SILENCE_LIMIT_S)
                return
            yield reply

    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        job = jobs_pb2.Job(job="a", state="running", done=2, shards=6, attempts=3, priority=1)
        return jobs_pb2.Jobs(jobs=[job])

    def Explain(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.node != "sat-01":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no node {request.node!r}; there is sat-01")
        return jobs_pb2.Explanation(
            node="sat-01", reachable=False, shards_waiting=2, shards_leased=1, reason="cut", until_sky_s=7.5
        )


def serve(service: FakeJobService) -> tuple[grpc.Server, str]:
    """Serve on a free port of loopback; the server and its address."""
    server = grpc.server(ThreadPoolExecutor(4))
    jobs_pb2_grpc.add_JobServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"
