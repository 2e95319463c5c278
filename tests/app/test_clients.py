"""Does a client hand each ending on once, whatever happens to its connection?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perigrid.errors import LinkBroken, NotRunning, ProtocolError, UsageError
from perigrid.job.spec import JobSpec
from perigrid.live.clients import ConnectionLost, Delivered, JobClient, JobEvent, SupervisorClient
from perigrid.live.rundir import RunDirectory
from perigrid.node.records import ShardFailed
from perigrid.node.replies import Admitted
from tests.app.fake_service import SHARDS, FakeJobService, ended, result_of, row, serve

SPEC = JobSpec(job="a", model="tinycloud", dataset="scene", priority=2)
LIMIT_S = 20.0
LOST = grpc.StatusCode.UNAVAILABLE

Serve = Callable[[FakeJobService], str]


@pytest.fixture
def start() -> Iterator[Serve]:
    servers = []

    def one(service: FakeJobService) -> str:
        server, address = serve(service)
        servers.append(server)
        return address

    yield one
    for server in servers:
        server.stop(grace=None).wait()


def run(address: str, spec: JobSpec = SPEC, limit_s: float = LIMIT_S) -> list[JobEvent]:
    events: list[JobEvent] = []
    with JobClient(address) as client:
        ending = client.run(spec, events.append, limit_s)
    assert (ending.outcome, ending.attempts, ending.duplicates) == ("complete", 7, 1)
    return events


def shards(events: list[JobEvent]) -> list[int]:
    return [e.row.ending.shard for e in events if isinstance(e, Delivered)]


def test_a_calm_job_is_handed_on_in_order(start: Serve) -> None:
    service = FakeJobService([[*(row(s) for s in range(SHARDS)), ended()]])
    events = run(start(service))
    assert isinstance(events[0], Admitted)
    assert shards(events) == list(range(SHARDS))
    assert [e.result for e in events if isinstance(e, Delivered)] == [result_of(s) for s in range(SHARDS)]
    submitted = service.submissions[0]
    assert (submitted.job, submitted.priority, submitted.HasField("deadline_s")) == ("a", 2, False)


def test_a_lost_stream_goes_on_from_the_cursor(start: Serve) -> None:
    service = FakeJobService([[row(0), row(1), LOST], [row(s) for s in range(2, SHARDS)] + [ended()]])
    events = run(start(service))
    assert shards(events) == list(range(SHARDS))
    assert service.cursors == [0, 2]
    assert sum(isinstance(e, Admitted) for e in events) == 1
    assert sum(isinstance(e, ConnectionLost) for e in events) == 1


def test_a_stream_that_ends_too_early_is_a_lost_one(start: Serve) -> None:
    service = FakeJobService([[row(0)], [row(s) for s in range(1, SHARDS)] + [ended()]])
    assert shards(run(start(service))) == list(range(SHARDS))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, SHARDS - 1), max_size=2), st.integers(0, SHARDS))
def test_rows_that_are_told_again_are_not_handed_on(breaks: list[int], again_from: int) -> None:
    """Streams break after some rows, and begin anew at rows that the client has had."""
    scripts: list[list[object]] = [[*(row(s) for s in range(count)), LOST] for count in sorted(breaks)]
    known = max(breaks, default=0)
    first = min(again_from, known)
    scripts.append([*(row(s) for s in range(first, SHARDS)), ended()])
    server, address = serve(FakeJobService(scripts))  # type: ignore[arg-type]
    try:
        assert shards(run(address)) == list(range(SHARDS))
    finally:
        server.stop(grace=None).wait()


def test_a_gap_makes_the_client_ask_again(start: Serve) -> None:
    service = FakeJobService([[row(0), row(3)], [row(s) for s in range(1, SHARDS)] + [ended()]])
    assert shards(run(start(service))) == list(range(SHARDS))
    assert service.cursors == [0, 1]


def test_a_restarted_service_at_the_same_address_is_found_again() -> None:
    first, address = serve(FakeJobService([[row(0), row(1), LOST]]))
    service = FakeJobService([[row(s) for s in range(2, SHARDS)] + [ended()]])
    second = []

    def replace(event: JobEvent) -> None:
        events.append(event)
        if isinstance(event, ConnectionLost) and not second:
            first.stop(grace=None).wait()
            from concurrent.futures import ThreadPoolExecutor

            from perigrid.wire.generated import jobs_pb2_grpc

            server = grpc.server(ThreadPoolExecutor(4))
            jobs_pb2_grpc.add_JobServiceServicer_to_server(service, server)
            server.add_insecure_port(address)
            server.start()
            second.append(server)

    events: list[JobEvent] = []
    with JobClient(address) as client:
        client.run(SPEC, replace, LIMIT_S)
    second[0].stop(grace=None).wait()
    assert shards(events) == list(range(SHARDS))


def test_failed_shards_are_endings_too(start: Serve) -> None:
    failed = row(0, failure="DEADLINE: 1 s", digest=b"", result=b"")
    events = run(start(FakeJobService([[failed, *(row(s) for s in range(1, SHARDS)), ended()]])))
    first = next(e for e in events if isinstance(e, Delivered))
    assert isinstance(first.row.ending, ShardFailed)
    assert first.row.ending.cause == "DEADLINE: 1 s"


def test_a_damaged_result_is_refused(start: Serve) -> None:
    address = start(FakeJobService([[row(0, result=b"other bytes"), ended()]]))
    with pytest.raises(ProtocolError, match="shard 0"):
        run(address)


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION])
def test_a_refused_job_says_why(start: Serve, code: grpc.StatusCode) -> None:
    service = FakeJobService([[]])
    service.refusal = (code, "model 'x' is not on the satellites (there: tinycloud)")
    with pytest.raises(UsageError, match="not on the satellites"):
        run(start(service))


def test_a_job_that_does_not_end_is_left_at_its_limit(start: Serve) -> None:
    with pytest.raises(LinkBroken, match="not ended within the time given"):
        run(start(FakeJobService([[row(0), LOST]])), limit_s=0.3)


def test_waiting_ends_where_the_constellation_is_gone(start: Serve) -> None:
    address = start(FakeJobService([[row(0), LOST]]))
    with JobClient(address, still_up=lambda: False) as client, pytest.raises(NotRunning, match="went down"):
        client.run(SPEC, lambda _: None, LIMIT_S)


@pytest.mark.parametrize("moment", [Admitted, Delivered])
def test_an_interrupted_client_leaves_nothing_behind(start: Serve, moment: type) -> None:
    silence = threading.Event()
    address = start(FakeJobService([[row(0), silence]]))

    def interrupt(event: JobEvent) -> None:
        if isinstance(event, moment):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), JobClient(address) as client:
        client.run(SPEC, interrupt, LIMIT_S)
    silence.set()
    assert not [thread for thread in threading.enumerate() if thread.name == "replies"]


def test_questions(start: Serve) -> None:
    with JobClient(start(FakeJobService([[]]))) as client:
        job = client.jobs()[0]
        assert (job.job, job.shards_done, job.shards, job.attempts) == ("a", 2, 6, 3)
        explanation = client.explain("sat-01")
        assert (explanation.reason, explanation.until_sky_s) == ("cut", 7.5)
        with pytest.raises(UsageError, match="no node 'sat-99'"):
            client.explain("sat-99")


def test_a_service_that_is_not_there() -> None:
    server, address = serve(FakeJobService([[]]))
    server.stop(grace=None).wait()
    with JobClient(address) as client, pytest.raises(LinkBroken, match="does not answer"):
        client.jobs()


def test_a_supervisor_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_directory = RunDirectory.create(Path(), "gone")
    with SupervisorClient(run_directory) as supervisor, pytest.raises(NotRunning, match="does not answer"):
        supervisor.status()
