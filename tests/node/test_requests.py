"""What becomes of an inference that a client asks the ground for: who gets it, who is next, and when is it over?"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import pytest

from perigrid.job.spec import JobSpec, Shard
from perigrid.node import requests as requests_module
from perigrid.node.actions import AbandonInference, Action, ForgetResults, Infer, JoinPieces, Tell, WakeAt
from perigrid.node.blobs import Blob
from perigrid.node.dispatch import MAX_ATTEMPTS, MAX_INPUT_BYTES, UNREACHABLE_GRACE_S
from perigrid.node.events import (
    Ask,
    Event,
    HangUp,
    HeldResult,
    InferenceEnded,
    InferenceFailed,
    Kept,
    Loaded,
    Now,
    Woken,
)
from perigrid.node.frames import Alive, Assign, Failed, Frame, Hello, LinkAdvert, Result, Settled, Stages, Withdraw
from perigrid.node.replies import Answered, Declined, Reply
from perigrid.node.requests import MAX_FAILURES, MAX_REQUESTS
from perigrid.node.satellite import MAX_PAYLOAD_KILLS, MAX_WITHDRAWN_REMEMBERED, WAKE_DEADLINES
from perigrid.units import KIB, MIB, NodeId
from tests.node.test_controller import LEASE_S, SHARDS, STAGES, Centre
from tests.node.test_satellite import Board, blob, bodies, my_shards, only
from tests.node.wires import laser, notes, sent

ALL = tuple(range(12))
INPUT = Blob(b"i" * 32, 100)


class Desk(Centre):
    """The controller with clients that ask for inferences; what each of them heard is in `heard`."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, Reply]] = []
        self._events: deque[Event] = deque()
        self._busy = False
        super().__init__()

    def feed(self, event: Event) -> None:
        # One after the other: a large input's thousand frames are acknowledged one by one.
        self._events.append(event)
        if not self._busy:
            self._busy = True
            while self._events:
                super().feed(self._events.popleft())
            self._busy = False

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case JoinPieces(key, pieces, digest):
                    self.feed(Kept(key, pieces[0].blob, pieces[0].blob.digest == digest))
                case Tell(client, reply):
                    self.heard.append((client, reply))
                    super()._do([action])
                case _:
                    super()._do([action])

    def ask(self, client: int = -1, **changes: object) -> None:
        values = {"model": "tinycloud", "input": INPUT, "satellite": None, "nearest": False, "priority": 10}
        self.feed(Ask(client=client, **{"deadline_sky_s": None, **values, **changes}))  # type: ignore[arg-type]

    def assigns(self, since: int = 0) -> list[Frame]:
        """The first frame of each assignment of a request, in the order in which they left."""
        frames = [f for f in self.sent[since:] if isinstance(f.body, Assign) and f.offset == 0]
        return [f for f in frames if f.body.job.startswith("request.")]

    def last(self) -> tuple[str, int, int]:
        """Name, satellite and attempt of the assignment that left last."""
        frame = self.assigns()[-1]
        return frame.body.job, int(frame.destination), frame.body.attempts[0]

    def answer(self, name: str, source: int, digest: bytes = b"r" * 32, arrived: bytes | None = None) -> None:
        """A satellite's result comes down, with other bytes than it should have where `arrived` is given."""
        self.hear(source, Result(name, 0, 1, digest, STAGES), Blob(digest if arrived is None else arrived, 100))

    def refuse(self, final: bool = False) -> None:
        """Whoever was asked last cannot do it."""
        name, satellite, attempt = self.last()
        self.hear(satellite, Failed(name, 0, attempt, "cannot", final))

    def of(self, kind: type, client: int = -1) -> list:
        return [reply for who, reply in self.heard if who == client and isinstance(reply, kind)]

    def told_to(self, kind: type, since: int = 0) -> dict[int, list[str]]:
        """Satellite -> jobs that it was told to withdraw, or to forget."""
        self.run(self.now_s + 1.0)
        found: dict[int, list[str]] = {}
        for frame in self.sent[since:]:
            if isinstance(frame.body, kind):
                found.setdefault(int(frame.destination), []).append(frame.body.job)
        return found


# --- asking and answering


def test_a_request_goes_up_with_its_input_and_is_answered_once() -> None:
    desk = Desk()
    desk.ask(input=Blob(b"i" * 32, 40 * KIB), deadline_sky_s=50.0)
    (first,) = desk.assigns()
    name, satellite, attempt = desk.last()
    assert (attempt, first.body.model, first.body.deadline_sky_s) == (1, "tinycloud", 50.0)
    (shard,) = first.body.shards
    assert shard.is_request and (shard.index, shard.tiles) == (0, (0,))
    chunks = [f for f in desk.sent if isinstance(f.body, Assign)]
    assert len(chunks) > 1 and sum(f.payload.length for f in chunks) == first.total == 40 * KIB

    desk.now_s = 3.0
    desk.answer(name, satellite)
    (told,) = desk.of(Answered)
    assert (told.request, told.satellite, told.attempt, told.blob.digest) == (name, "sat-01", 1, b"r" * 32)
    assert (told.asked_sky_s, told.answered_sky_s) == (0.0, 3.0)
    assert desk.told_to(Settled) == {satellite: [name]}
    assert not desk.machine.requests.active and not desk.journal[1:], "a request is in no journal"


def test_what_comes_after_the_answer_is_acknowledged_and_dropped() -> None:
    desk = Desk()
    desk.ask()
    name, satellite, _ = desk.last()
    desk.answer(name, satellite)
    desk.answer(name, satellite)
    desk.answer(name, 5, digest=b"x" * 32)
    assert len(desk.heard) == 1
    assert set(desk.told_to(Settled)) == {satellite, 5}


def test_a_result_that_came_damaged_is_no_answer() -> None:
    desk = Desk()
    desk.ask()
    name, satellite, _ = desk.last()
    desk.answer(name, satellite, arrived=b"damaged".ljust(32))
    assert desk.heard == [] and "corrupt-result" in [note.what for note in desk.notes]
    desk.run(1.2 * LEASE_S)
    again, other, attempt = desk.last()
    assert (again, attempt) == (name, 2)
    desk.answer(name, other)
    assert len(desk.of(Answered)) == 1


def test_a_job_may_be_called_request() -> None:
    desk = Desk()
    desk.submit(JobSpec(job="request", model="tinycloud", dataset="scene", tiles_per_shard=2))
    for shard, (satellite, attempt) in desk.assigned().items():
        desk.hear(satellite, Result("request", shard, attempt, b"r" * 32, STAGES), Blob(b"r" * 32, 100))
    assert len(desk.rows()) == len(SHARDS)


# --- what is not taken


def test_an_unknown_model_is_declined_and_every_form_of_a_known_one_is_taken() -> None:
    desk = Desk()
    desk.ask(model="other")
    (declined,) = desk.of(Declined)
    assert declined.reason == "refused" and "other" in declined.cause and "tinycloud" in declined.cause
    for model in ("tinycloud", "tinycloud.mask", "tinycloud.tiles"):
        desk.ask(model=model)
    assert [f.body.model for f in desk.assigns()] == ["tinycloud", "tinycloud.mask", "tinycloud.tiles"]
    desk.feed(Loaded(("other",), ()))
    desk.ask(model="other")
    assert desk.assigns()[-1].body.model == "other" and len(desk.heard) == 1


def test_requests_are_bounded_by_their_number() -> None:
    desk = Desk()
    for client in range(MAX_REQUESTS):
        desk.ask(-1 - client)
    assert desk.heard == [] and len(desk.assigns()) == MAX_REQUESTS
    desk.ask(-1000)
    (declined,) = desk.of(Declined, -1000)
    assert declined.reason == "full" and str(MAX_REQUESTS) in declined.cause
    frame = desk.assigns()[0]
    desk.answer(frame.body.job, int(frame.destination))
    desk.ask(-1001)
    assert desk.of(Declined, -1001) == []


def test_requests_are_bounded_by_the_bytes_of_their_inputs() -> None:
    desk = Desk()
    half = Blob(b"h" * 32, MAX_INPUT_BYTES // 2)
    desk.ask(-1, input=half)
    desk.ask(-2, input=half)
    assert desk.heard == [], "the bound itself is allowed"
    desk.ask(-3, input=Blob(b"b" * 32, 1))
    assert [reply.reason for reply in desk.of(Declined, -3)] == ["full"]
    desk.feed(HangUp(-1))
    desk.ask(-4, input=half)
    assert desk.of(Declined, -4) == []


# --- placement


def test_placement_is_the_wanted_the_nearest_or_the_least_busy() -> None:
    desk = Desk()
    for _ in range(3):
        desk.ask(satellite=NodeId(7))
    assert [int(f.destination) for f in desk.assigns()] == [7, 7, 7]
    for _ in range(3):
        desk.ask(nearest=True)
    nearest = [int(f.destination) for f in desk.assigns()[3:]]
    assert nearest == [0, 0, 0], "the first satellite is above the station"
    for _ in range(10):
        desk.ask()
    balanced = [int(f.destination) for f in desk.assigns()[6:]]
    assert sorted(balanced) == [n for n in ALL if n not in (0, 7)], "who is busy is spared"
    assert balanced[0] in (1, 11) and balanced[-1] in (5, 6), "of equals, the nearest in light comes first"


def test_a_wanted_satellite_is_waited_for_when_no_way_leads_there() -> None:
    desk = Desk()
    desk.cut_off(4, 8)
    desk.ask(satellite=NodeId(6))
    assert desk.assigns() == []
    desk.hear(3, LinkAdvert(laser(3, 4), True, desk.now_s))
    assert [int(f.destination) for f in desk.assigns()] == [6]


def test_requests_and_jobs_go_out_in_the_order_of_their_priorities() -> None:
    desk = Desk()
    desk.hear(0, LinkAdvert(laser(0, 1), False, 0.0))
    desk.hear(0, LinkAdvert(laser(0, 11), False, 0.0))
    before = len(desk.sent)
    for name, priority in (("low", 0), ("even", 10), ("high", 15)):
        desk.submit(JobSpec(job=name, model="tinycloud", dataset="scene", tiles_per_shard=64, priority=priority))
    desk.ask(satellite=NodeId(1))
    held = {f.body.job for f in desk.sent[before:] if isinstance(f.body, Assign) and f.destination != 0}
    assert held == set(), "nobody but the first satellite can be reached"
    desk.hear(0, LinkAdvert(laser(0, 1), True, 0.1))
    order = list(dict.fromkeys(f.body.job for f in desk.sent if isinstance(f.body, Assign) and f.destination == 1))
    assert order == ["high", "request.1.1", "even", "low"]


# --- other attempts


def test_a_request_behind_a_cut_goes_to_another_satellite() -> None:
    desk = Desk()
    for client in ALL:
        desk.ask(-1 - client)
    behind = {f.body.job: -1 - n for n, f in enumerate(desk.assigns()) if f.destination in range(4, 9)}
    before = len(desk.sent)
    desk.cut_off(4, 8)
    desk.run(UNREACHABLE_GRACE_S + 0.1)
    again = desk.assigns(before)
    assert {f.body.job for f in again} == set(behind) and {f.body.attempts for f in again} == {(2,)}
    assert {int(f.destination) for f in again} <= set(ALL) - set(range(4, 9))
    name, satellite, _ = desk.last()
    desk.answer(name, satellite)
    (told,) = desk.of(Answered, behind[name])
    assert told.satellite == desk.machine.config.names[satellite]


def test_who_was_asked_before_the_one_that_answered_is_told_to_stop() -> None:
    desk = Desk()
    desk.ask()
    name, first, _ = desk.last()
    desk.run(1.1 * LEASE_S)
    _, second, attempt = desk.last()
    assert attempt == 2 and second != first, "who was silent is asked last"
    before = len(desk.sent)
    desk.answer(name, second)
    assert desk.told_to(Withdraw, before) == {first: [name]}
    assert desk.told_to(Settled, before) == {second: [name]}


def test_what_one_refuses_another_is_asked_until_three_have_refused() -> None:
    desk = Desk()
    desk.ask()
    asked = []
    for failure in range(1, MAX_FAILURES + 1):
        name, satellite, attempt = desk.last()
        assert attempt == failure
        asked.append(satellite)
        desk.refuse()
        desk.hear(satellite, Failed(name, 0, attempt, "said twice", False))
    assert len(set(asked)) == MAX_FAILURES
    (declined,) = desk.of(Declined)
    assert (declined.reason, declined.cause) == ("failed", "cannot")
    assert not desk.machine.requests.active


def test_where_all_have_refused_they_are_asked_again() -> None:
    small = Desk()
    small.machine.dispatcher._config = type(small.machine.dispatcher._config)(
        (NodeId(0),), small.machine.config.names, LEASE_S, 1e8
    )
    small.ask()
    for _ in range(MAX_FAILURES):
        small.refuse()
    assert [int(f.destination) for f in small.assigns()] == [0] * MAX_FAILURES
    assert [reply.reason for reply in small.of(Declined)] == ["failed"]


def test_what_no_satellite_could_do_is_refused_at_once() -> None:
    desk = Desk()
    desk.ask()
    desk.refuse(final=True)
    assert [(r.reason, r.cause) for r in desk.of(Declined)] == [("refused", "cannot")]
    assert len(desk.assigns()) == 1


def test_what_the_wanted_satellite_cannot_do_nobody_else_is_asked_for() -> None:
    desk = Desk()
    desk.ask(satellite=NodeId(3))
    desk.refuse()
    assert [reply.reason for reply in desk.of(Declined)] == ["failed"]
    assert len(desk.assigns()) == 1


def test_attempts_are_bounded() -> None:
    desk = Desk()
    desk.ask(satellite=NodeId(0))
    desk.run(10 * MAX_ATTEMPTS * LEASE_S)
    assert len(desk.assigns()) == MAX_ATTEMPTS
    (declined,) = desk.of(Declined)
    assert declined.reason == "failed" and declined.cause.startswith("ATTEMPTS")


def test_a_lease_waits_for_all_inputs_that_share_the_way_up() -> None:
    desk = Desk()
    # Each takes a second and a third at 100 Mb/s, so the last one's input is there after ten.
    for client in range(8):
        desk.ask(-1 - client, input=Blob(b"i" * 32, 16 * MIB))
    desk.run(10.0)
    assert [f.body.attempts for f in desk.assigns()] == [(1,)] * 8


# --- the end of a client's patience


def test_a_deadline_declines_and_tells_the_satellite_to_stop() -> None:
    desk = Desk()
    desk.ask(deadline_sky_s=1.0)
    name, satellite, _ = desk.last()
    desk.run(0.9)
    assert desk.heard == []
    before = len(desk.sent)
    desk.run(1.1)
    (declined,) = desk.of(Declined)
    assert declined.reason == "deadline" and "1.000" in declined.cause
    assert desk.told_to(Withdraw, before) == {satellite: [name]}
    before = len(desk.sent)
    desk.answer(name, satellite)
    assert len(desk.heard) == 1
    assert desk.told_to(Settled, before) == {satellite: [name]}, "what it has computed all the same, it may forget"


def test_a_deadline_ends_what_no_way_leads_to() -> None:
    desk = Desk()
    desk.cut_off(4, 8)
    desk.ask(satellite=NodeId(6), deadline_sky_s=2.0)
    desk.run(2.1)
    assert [reply.reason for reply in desk.of(Declined)] == ["deadline"]
    assert desk.assigns() == []


def test_a_client_that_hangs_up_is_told_nothing_and_its_satellite_stops() -> None:
    desk = Desk()
    desk.ask(-1)
    desk.ask(-2)
    frames = dict(zip((-1, -2), desk.assigns(), strict=True))
    before = len(desk.sent)
    desk.feed(HangUp(-1))
    assert desk.told_to(Withdraw, before) == {int(frames[-1].destination): [frames[-1].body.job]}
    assert desk.heard == [] and list(desk.machine.requests.active) == [frames[-2].body.job]
    desk.feed(HangUp(-1))
    desk.feed(HangUp(-77))
    desk.answer(frames[-1].body.job, int(frames[-1].destination))
    assert desk.heard == []


def test_a_restarted_controller_knows_no_request_and_lets_satellites_forget_it() -> None:
    desk = Desk()
    desk.ask()
    name, satellite, _ = desk.last()
    again = Desk()
    again.machine.epoch = 7
    again.answer(name, satellite)
    assert again.heard == []
    assert again.told_to(Settled) == {satellite: [name]}
    again.ask()
    assert again.last()[0] != name, "names never come again"


# --- on board


def ask_board(
    board: Board, time_s: float, name: str = "request.1.1", epoch: int = 1, **changes: object
) -> list[Action]:
    shard = Shard(index=0, capture="", tiles=(0,), rows=(0,), columns=(0,))
    values = {"job": name, "model": "tinycloud", "lease_s": LEASE_S, "priority": 10, **changes}
    assign = Assign(**values, shards=(shard,), attempts=(1,))  # type: ignore[arg-type]
    return board.hear(time_s, assign, epoch, payload=blob("input"))


def test_a_request_is_computed_from_the_input_that_came_with_it() -> None:
    board = Board(captures=[])
    (infer,) = only(Infer, ask_board(board, 1.0, model="tinycloud.mask"))
    assert (infer.job, infer.model, infer.shard.is_request) == ("request.1.1", "tinycloud.mask", True)
    assert [piece.length for piece in infer.input] == [len("input")]
    result = blob("answer")
    board.handle(1.5, InferenceEnded(infer.task, result, 0.4, 0.0, 0.4))
    (said,) = bodies(board.handle(1.6, Kept("result/request.1.1/0", result, True)), Result)
    assert (said.job, said.digest) == ("request.1.1", result.digest)
    assert said.stages == Stages(1.0, 0.0, 0.4, 0.0, 0.4)


def test_a_request_overtakes_a_job_s_shards_and_yields_to_more_urgent_ones() -> None:
    board, (first, second, third, _) = Board(), my_shards()
    (running,) = only(Infer, board.assign(1.0, [first, second]))
    ask_board(board, 1.1)
    board.assign(1.2, [third], job="urgent", priority=15)
    order = []
    for step in range(3):
        (running,) = only(Infer, board.handle(2.0 + step, InferenceEnded(running.task, blob("m"), 0.1, 0.0, 0.1)))
        order.append(running.job)
    assert order == ["urgent", "request.1.1", "a"]


def test_a_withdrawn_request_frees_its_slot_at_once() -> None:
    board = Board()
    (first,) = only(Infer, ask_board(board, 1.0, "request.1.1"))
    assert not only(Infer, ask_board(board, 1.1, "request.1.2"))
    actions = board.hear(1.2, Withdraw("request.1.1"))
    assert only(AbandonInference, actions) == [AbandonInference(first.task)]
    (second,) = only(Infer, actions)
    assert second.job == "request.1.2"
    assert board.handle(1.3, InferenceEnded(first.task, blob("late"), 0.1, 0.0, 0.1)) == []
    assert not board.handle(1.3, InferenceFailed(first.task, "late", payload_died=True))
    assert set(board.machine.running) == {second.task}


def test_a_deadline_frees_the_slot_without_a_word_from_the_ground() -> None:
    board = Board()
    actions = ask_board(board, 1.0, "request.1.1", deadline_sky_s=2.0)
    (first,) = only(Infer, actions)
    (wake,) = [w for w in only(WakeAt, actions) if w.key == WAKE_DEADLINES]
    assert 2.0 <= wake.local_s < 2.01
    ask_board(board, 1.1, "request.1.2", deadline_sky_s=9.0)
    ask_board(board, 1.2, "request.1.3")
    early = board.handle(1.9, Woken(WAKE_DEADLINES))
    assert not only(AbandonInference, early)
    actions = board.handle(wake.local_s, Woken(WAKE_DEADLINES))
    assert only(AbandonInference, actions) == [AbandonInference(first.task)]
    assert [i.job for i in only(Infer, actions)] == ["request.1.2"]
    (later,) = [w for w in only(WakeAt, actions) if w.key == WAKE_DEADLINES]
    assert 9.0 <= later.local_s < 9.01
    assert [i.job for i in only(Infer, board.handle(9.0, Woken(WAKE_DEADLINES)))] == ["request.1.3"]


def test_a_wake_up_that_comes_a_hair_early_is_set_anew_for_later() -> None:
    board = Board()
    ask_board(board, 1.0, deadline_sky_s=2.0)
    # The node's own clock has run for long, so that its digits are coarser than the sky's.
    early = Now(50_000.0, 2.0 - 2e-16)
    (again,) = [w for w in only(WakeAt, board.machine.handle(early, Woken(WAKE_DEADLINES))) if w.key == WAKE_DEADLINES]
    assert again.local_s > early.local_s


def test_word_that_a_request_is_over_may_overtake_its_input() -> None:
    board = Board()
    board.hear(1.0, Withdraw("request.1.1"))
    assert not only(Infer, ask_board(board, 1.1, "request.1.1"))
    assert not board.machine.queued and not board.machine.running
    assert only(Infer, ask_board(board, 1.2, "request.1.2"))
    for number in range(MAX_WITHDRAWN_REMEMBERED + 5):
        board.hear(2.0, Withdraw(f"request.2.{number}"))
    assert len(board.machine.withdrawn) == MAX_WITHDRAWN_REMEMBERED


def test_a_new_controller_s_first_word_ends_the_requests_of_the_old_one() -> None:
    board, shard = Board(), my_shards()[0]
    (infer,) = only(Infer, ask_board(board, 1.0, "request.1.1"))
    board.handle(1.2, InferenceEnded(infer.task, blob("m"), 0.1, 0.0, 0.1))
    board.handle(1.3, Kept("result/request.1.1/0", blob("m"), True))
    (running,) = only(Infer, ask_board(board, 1.4, "request.1.2"))
    board.assign(1.5, [shard])
    actions = board.hear(2.0, Hello(), epoch=2)
    assert only(ForgetResults, actions) == [ForgetResults("request.1.1", (0,))]
    assert only(AbandonInference, actions) == [AbandonInference(running.task)]
    assert [i.job for i in only(Infer, actions)] == ["a"], "jobs outlive controllers"
    (said,) = bodies(actions, Alive)
    assert said.working == (("a", (shard.index,)),)
    assert not board.machine.finished
    assert not only(ForgetResults, board.hear(2.1, Hello(), epoch=2))


def test_a_satellite_that_boots_offers_the_requests_results_that_it_finds() -> None:
    result = blob("m")
    board = Board(results=[HeldResult("request.4.1", 0, result, STAGES)])
    assert [r.job for r in bodies(board.booted, Result)] == ["request.4.1"]
    # The first word of a controller after a boot is no sign that a new one has begun.
    assert not only(ForgetResults, board.hear(1.0, Hello(), epoch=4))
    assert only(ForgetResults, board.hear(1.1, Settled("request.4.1", (0,)), epoch=4))


def test_a_request_that_kills_the_payload_is_poison_and_leaves_no_trace() -> None:
    board = Board()
    (infer,) = only(Infer, ask_board(board, 1.0))
    for _ in range(MAX_PAYLOAD_KILLS - 1):
        actions = board.handle(2.0, InferenceFailed(infer.task, "it died", payload_died=True))
        assert notes(actions) == ["payload-died"]
        (infer,) = only(Infer, actions)
        assert [piece.length for piece in infer.input] == [len("input")]
    (failed,) = bodies(board.handle(3.0, InferenceFailed(infer.task, "it died", payload_died=True)), Failed)
    assert failed.final and failed.cause.startswith("POISON")
    assert not board.machine.kills


@pytest.mark.parametrize("kind", [Withdraw, Settled])
def test_what_the_ground_ends_leaves_nothing_on_board(kind: type) -> None:
    board = Board()
    (infer,) = only(Infer, ask_board(board, 1.0))
    board.handle(1.1, InferenceFailed(infer.task, "it died", payload_died=True))
    (infer,) = [Infer(n, t.job, t.model, t.shard) for n, t in board.machine.running.items()]
    board.handle(1.2, InferenceEnded(infer.task, blob("m"), 0.1, 0.0, 0.1))
    assert sent(board.handle(1.3, Kept("result/request.1.1/0", blob("m"), True)))
    body = Withdraw("request.1.1") if kind is Withdraw else Settled("request.1.1", (0,))
    assert only(ForgetResults, board.hear(1.4, body))
    machine = board.machine
    assert not (machine.finished or machine.queued or machine.running or machine.kills)


def test_a_result_whose_request_ended_while_it_was_put_together_is_acknowledged() -> None:
    desk = Desk()
    desk.ask()
    name, satellite, _ = desk.last()
    desk.machine.requests.active.clear()
    desk.feed(Kept(f"{requests_module.KEY_PREFIX}{name}/{satellite}/1", Blob(b"r" * 32, 100), True))
    assert desk.heard == []
    assert desk.told_to(Settled) == {satellite: [name]}
