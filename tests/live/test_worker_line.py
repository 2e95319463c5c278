"""Who is computed next, who never, and what is too much? A worker's line, with threads but without a clock's help."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest

from perigrid.errors import DeadlinePassed, LinkBroken, MissingFile, Overloaded, UsageError
from perigrid.live import worker as worker_module
from perigrid.live.models import ModelStore
from perigrid.live.pipeline import LoadedModel, load_model
from perigrid.live.serving.limits import Limits, limits_from
from perigrid.live.serving.line import Claim, Line, Listener, Patient
from perigrid.live.worker import OpenGate, Worker, serve
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc
from tests.live.own_models import write_model

BOUND_S = 30.0
LOOK_S = 0.001


class Leaving:
    """A caller that goes away when it is told to, and never before."""

    def __init__(self, remaining_s: float = math.inf) -> None:
        self._remaining_s = remaining_s
        self._listener: Listener | None = None
        self.gone = False

    def is_alive(self) -> bool:
        return not self.gone

    def remaining_s(self) -> float:
        return self._remaining_s

    def listen(self, listener: Listener | None) -> bool:
        self._listener = listener
        return not self.gone

    def leave(self) -> None:
        self.gone = True
        if self._listener is not None:
            self._listener()


def claim(**changes: Any) -> Claim:
    values = {"model": "m", "budget": 1, "caller": Patient(), "priority": 10, "due_s": math.inf, "end_s": math.inf}
    return Claim(**{**values, "size_bytes": 10, **changes})


def wait_until(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(LOOK_S)


class Crowd:
    """Threads that enter a line, one after the other, and say when they are in."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._threads: list[threading.Thread] = []
        self.entered: list[str] = []
        self.refused: dict[str, Exception] = {}

    def send(self, name: str, wish: Claim) -> None:
        """Let one enter, and wait until it waits or is in."""
        before = self._line.waiting()
        thread = threading.Thread(target=self._enter, args=(name, wish))
        thread.start()
        self._threads.append(thread)
        wait_until(lambda: self._line.waiting() > before or name in self.entered or name in self.refused)

    def _enter(self, name: str, wish: Claim) -> None:
        try:
            self._line.enter(wish)
        except (LinkBroken, Overloaded) as error:
            self.refused[name] = error
            return
        self.entered.append(name)
        self._line.leave(wish)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(BOUND_S)
            assert not thread.is_alive()


@contextmanager
def crowd_in(line: Line) -> Iterator[Crowd]:
    crowd = Crowd(line)
    yield crowd
    crowd.join()
    assert line.waiting() == 0


def test_the_urgent_go_first_then_the_earlier_due_then_who_came_first() -> None:
    line = Line(64, 1_000)
    holder = claim()
    line.enter(holder)
    with crowd_in(line) as crowd:
        for name, changes in {
            "bulk": {"priority": 20},
            "plain": {},
            "due late": {"due_s": 9.0},
            "due soon": {"due_s": 3.0},
            "plain again": {},
            "urgent": {"priority": 1},
            "urgent, due": {"priority": 1, "due_s": 100.0},
        }.items():
            crowd.send(name, claim(**changes))
        assert crowd.entered == []
        line.leave(holder)
        crowd.join()
        assert crowd.entered == ["urgent, due", "urgent", "due soon", "due late", "plain", "plain again", "bulk"]


def test_models_have_lines_and_budgets_of_their_own() -> None:
    line = Line(64, 1_000)
    first, second, third = claim(budget=2), claim(budget=2), claim(model="other")
    for wish in (first, second, third):
        line.enter(wish)
    with crowd_in(line) as crowd:
        crowd.send("third of two", claim(budget=2))
        line.leave(third)
        assert crowd.entered == []
        line.leave(first)
        crowd.join()
        assert crowd.entered == ["third of two"]
    line.leave(second)


def test_a_place_is_lent_to_the_more_urgent_only_and_comes_back() -> None:
    line = Line(64, 1_000)
    bulk = claim(priority=20)
    line.enter(bulk)
    with crowd_in(line) as crowd:
        crowd.send("as bulky", claim(priority=20))
        line.lend(bulk)
        assert crowd.entered == [] and bulk.seated
        crowd.send("urgent", claim(priority=1))
        line.lend(bulk)
        assert crowd.entered == ["urgent"] and bulk.seated
        line.leave(bulk)


def test_who_leaves_frees_the_place_at_once_and_is_not_computed() -> None:
    line = Line(2, 1_000)
    holder, caller = claim(), Leaving()
    line.enter(holder)
    with crowd_in(line) as crowd:
        crowd.send("leaving", claim(caller=caller))
        crowd.send("staying", claim())
        with pytest.raises(Overloaded, match="2 requests wait here, and 2 may"):
            line.enter(claim())
        caller.leave()
        assert line.waiting() == 1, "in the very call that says so, before its thread has heard of it"
        crowd.send("next", claim())
        line.leave(holder)
        crowd.join()
        assert crowd.entered == ["staying", "next"]
        assert isinstance(crowd.refused["leaving"], LinkBroken)


def test_who_left_before_is_refused_and_holds_nothing() -> None:
    line = Line(2, 1_000)
    caller = Leaving()
    caller.leave()
    with pytest.raises(LinkBroken, match="cancelled"):
        line.enter(claim(caller=caller))
    line.enter(claim())


def test_a_deadline_ends_the_wait() -> None:
    line = Line(2, 1_000)
    with pytest.raises(DeadlinePassed, match="deadline has passed"):
        line.enter(claim(end_s=time.monotonic()))
    holder = claim()
    line.enter(holder)
    with pytest.raises(DeadlinePassed):
        line.enter(claim(end_s=time.monotonic() + 0.05))
    assert line.waiting() == 0
    line.leave(holder)
    line.enter(claim())


def test_the_bytes_that_wait_are_bounded() -> None:
    line = Line(64, 100)
    holder = claim(size_bytes=90)
    line.enter(holder)
    with crowd_in(line) as crowd:
        crowd.send("first", claim(size_bytes=60))
        with pytest.raises(Overloaded, match="1 requests that wait here have 60 bytes, and 100 may"):
            line.enter(claim(size_bytes=41))
        crowd.send("second", claim(size_bytes=40))
        line.leave(holder)


def test_bounds_come_from_the_environment() -> None:
    assert limits_from({}) == Limits()
    found = limits_from({"PERIGRID_MAX_MESSAGE_MIB": "8", "PERIGRID_MAX_WAITING": " 3 ", "PERIGRID_MAX_STREAMS": ""})
    assert (found.max_message_bytes, found.max_waiting, found.max_streams) == (8 * 2**20, 3, Limits().max_streams)
    for value in ("much", "-1", "0", "1025", "1.5"):
        with pytest.raises(UsageError, match="PERIGRID_MAX_MESSAGE_MIB"):
            limits_from({"PERIGRID_MAX_MESSAGE_MIB": value})


# --- the same, of a worker


class Watched:
    """A session that counts its runs, and holds the first until it is let go."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.running, self.go = threading.Event(), threading.Event()
        self.runs: list[float] = []

    def run(self, values: Any) -> Any:
        self.runs.append(float(next(iter(values.values())).flat[0]))
        self.running.set()
        assert self.go.wait(BOUND_S)
        return self._session.run(values)


def request_of(value: float, model: str = "mine", items: int = 1, **parameters: int) -> Any:
    request = protocol.ModelInferRequest(model_name=model)
    name = "tiles" if model.endswith(".tiles") else "x"
    request.inputs.add(name=name, datatype="FP32", shape=[items, 2])
    request.raw_input_contents.append(np.full((items, 2), value, np.float32).tobytes())
    for key, number in parameters.items():
        request.parameters[key].int64_param = number
    return request


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(load_model(ModelStore(), str(write_model(tmp_path / "mine.onnx"))).session)


def worker_of(watched: Watched, tmp_path: Path, **changes: Any) -> Worker:
    entry = load_model(ModelStore(), str(tmp_path / "mine.onnx")).entry
    entry = msgspec.structs.replace(entry, cores=changes.pop("cores", 1))
    return Worker("sat-01", {"mine": LoadedModel(entry, watched)}, None, OpenGate(), **changes)  # type: ignore[arg-type]


class Asking:
    """A request that is under way in a thread."""

    def __init__(self, worker: Worker, request: Any, caller: Any = None) -> None:
        self.caller = caller or Leaving()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._ask, args=(worker, request))
        self._thread.start()

    def _ask(self, worker: Worker, request: Any) -> None:
        try:
            worker.infer(request, self.caller)
        except Exception as error:
            self.error = error

    def end(self) -> Exception | None:
        self._thread.join(BOUND_S)
        assert not self._thread.is_alive()
        return self.error


def test_what_was_cancelled_or_is_past_its_deadline_in_the_line_is_never_computed(
    watched: Watched, tmp_path: Path
) -> None:
    worker = worker_of(watched, tmp_path, limits=Limits(max_waiting=2))
    first = Asking(worker, request_of(1))
    assert watched.running.wait(BOUND_S)
    cancelled = Asking(worker, request_of(2))
    wait_until(lambda: worker.line.waiting() == 1)
    late = Asking(worker, request_of(3, timeout=20_000))
    own_deadline = Asking(worker, request_of(4), Leaving(remaining_s=0.02))
    assert isinstance(late.end(), DeadlinePassed | Overloaded)
    assert isinstance(own_deadline.end(), DeadlinePassed | Overloaded)
    cancelled.caller.leave()
    assert isinstance(cancelled.end(), LinkBroken)
    with pytest.raises(DeadlinePassed):
        worker.infer(request_of(5), Leaving(remaining_s=0.0))
    watched.go.set()
    assert first.end() is None
    assert watched.runs == [1.0]
    said = worker.counters.response(["mine"], "1").model_stats[0]
    assert (said.inference_stats.success.count, said.inference_stats.fail.count) == (1, 4)


def test_a_model_s_budget_is_what_it_computes_at_once(watched: Watched, tmp_path: Path) -> None:
    for slots, cores, at_once in ((1, 1, 1), (3, 1, 3), (1, 2, 2)):
        watched.runs.clear()
        watched.go.clear()
        worker = worker_of(watched, tmp_path, slots=slots, cores=cores)
        asked = [Asking(worker, request_of(number)) for number in range(4)]
        wait_until(lambda at_once=at_once: len(watched.runs) == at_once)
        wait_until(lambda worker=worker, at_once=at_once: worker.line.waiting() == 4 - at_once)
        assert len(watched.runs) == at_once
        watched.go.set()
        assert [one.end() for one in asked] == [None] * 4


def test_what_is_under_way_when_its_model_is_unloaded_ends(watched: Watched, tmp_path: Path) -> None:
    worker = worker_of(watched, tmp_path)
    under_way = Asking(worker, request_of(1))
    assert watched.running.wait(BOUND_S)
    waiting = Asking(worker, request_of(2))
    wait_until(lambda: worker.line.waiting() == 1)
    worker.unload("mine")
    with pytest.raises(MissingFile, match="unloaded"):
        worker.infer(request_of(3), Patient())
    watched.go.set()
    assert (under_way.end(), waiting.end(), watched.runs) == (None, None, [1.0, 2.0])


def test_an_urgent_request_overtakes_a_stack_between_two_tiles(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "QUANTUM_S", -1.0)
    worker = worker_of(watched, tmp_path)
    bulk = Asking(worker, request_of(7, "mine.tiles", items=3, priority=20))
    assert watched.running.wait(BOUND_S)
    as_bulky = Asking(worker, request_of(8, priority=20))
    wait_until(lambda: worker.line.waiting() == 1)
    urgent = Asking(worker, request_of(1, priority=1))
    wait_until(lambda: worker.line.waiting() == 2)
    watched.go.set()
    assert [one.end() for one in (bulk, as_bulky, urgent)] == [None] * 3
    assert watched.runs == [7, 1, 7, 7, 8]


def test_over_grpc_a_full_line_is_said_and_a_cancelled_call_makes_room_at_once(
    watched: Watched, tmp_path: Path
) -> None:
    worker = worker_of(watched, tmp_path, limits=Limits(max_waiting=2))
    server = serve(f"unix:{tmp_path}/w", worker)
    try:
        with grpc.insecure_channel(f"unix:{tmp_path}/w") as channel:
            stub = protocol_grpc.GRPCInferenceServiceStub(channel)
            first = stub.ModelInfer.future(request_of(1), timeout=BOUND_S)
            assert watched.running.wait(BOUND_S)
            waiting = []
            for value in (2, 3):
                waiting.append(stub.ModelInfer.future(request_of(value), timeout=BOUND_S))
                wait_until(lambda: worker.line.waiting() == len(waiting))
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request_of(4), timeout=BOUND_S)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "2 requests wait here, and 2 may" in caught.value.details()
            waiting[0].cancel()
            wait_until(lambda: worker.line.waiting() == 1)
            late = stub.ModelInfer.future(request_of(5), timeout=0.1)
            assert late.exception(BOUND_S).code() is grpc.StatusCode.DEADLINE_EXCEEDED
            wait_until(lambda: worker.line.waiting() == 1)
            last = stub.ModelInfer.future(request_of(6), timeout=BOUND_S)
            assert not watched.go.is_set() and len(watched.runs) == 1, "all of that while the first was computed"
            wait_until(lambda: worker.line.waiting() == 2)
            watched.go.set()
            for call in (first, waiting[1], last):
                assert call.result(BOUND_S).outputs
            assert watched.runs == [1, 3, 6]
    finally:
        watched.go.set()
        assert server.stop(grace=None).wait(BOUND_S)


def test_a_stack_holds_its_place_until_its_quantum_is_over(watched: Watched, tmp_path: Path) -> None:
    worker = worker_of(watched, tmp_path)
    bulk = Asking(worker, request_of(7, "mine.tiles", items=3, priority=20))
    assert watched.running.wait(BOUND_S)
    urgent = Asking(worker, request_of(1, priority=1))
    wait_until(lambda: worker.line.waiting() == 1)
    watched.go.set()
    assert [one.end() for one in (bulk, urgent)] == [None] * 2
    assert watched.runs in ([7, 7, 7, 1], [7, 1, 7, 7]), "the second where getting here took longer than a quantum"
