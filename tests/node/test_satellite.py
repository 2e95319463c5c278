"""What does a satellite do with an assignment, from its arrival until the ground lets it forget the result?"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

import pytest

from perigrid.job.shards import cut
from perigrid.job.spec import Catalogue, JobSpec, Shard
from perigrid.mesh.routes import Routes
from perigrid.node.actions import Action, ForgetResults, Infer, KeepCapture, KeepResult, WakeAt
from perigrid.node.blobs import Blob, whole
from perigrid.node.events import (
    FrameArrived,
    HeldResult,
    InferenceEnded,
    InferenceFailed,
    Kept,
    LinkUp,
    SatelliteBooted,
    Woken,
)
from perigrid.node.frames import (
    Alive,
    Assign,
    Body,
    Failed,
    Frame,
    Hello,
    Priority,
    Replica,
    Result,
    Settled,
    Stages,
    Withdraw,
)
from perigrid.node.satellite import (
    ALIVES_PER_LEASE,
    LEASES_FOR_A_RESULT,
    MAX_PAYLOAD_KILLS,
    WAKE_ALIVE,
    Satellite,
    SatelliteConfig,
)
from perigrid.units import NodeId
from tests.conftest import ring_catalogue, ring_scenario
from tests.node.wires import at, laser, notes, plan, sent

ME, BEFORE, GROUND = NodeId(2), NodeId(1), NodeId(13)
LEASE_S = 2.0
SPEC = JobSpec(job="a", model="tinycloud", dataset="scene", tiles_per_shard=1)


def catalogue() -> Catalogue:
    return ring_catalogue(ring_scenario())


def my_shards() -> list[Shard]:
    """The four one-tile shards of the capture that was born here."""
    own = next(c.name for c in catalogue().captures if c.owner == ME)
    return [shard for shard in cut(SPEC, catalogue()) if shard.capture == own]


def blob(text: str) -> Blob:
    return Blob(hashlib.sha256(text.encode()).digest(), len(text))


class Board:
    """A satellite, and the frames that reach it over the laser from its neighbour."""

    def __init__(self, captures: Sequence[str] | None = None, results: Sequence[HeldResult] = ()) -> None:
        config = SatelliteConfig(ME, GROUND, ("tinycloud",), slots=1, laser_rate_bps=1e9, ground_rate_bps=1e8)
        self.machine = Satellite(config, 1, catalogue(), plan(), Routes(plan()))
        self.numbers = itertools.count(1)
        held = [c.name for c in catalogue().captures if c.owner == ME] if captures is None else captures
        # The laser comes up first: what a satellite says when it boots needs a way to the ground.
        self.handle(0.0, LinkUp(laser(1, 2)))
        self.booted = self.handle(0.0, SatelliteBooted(tuple((n, blob(n)) for n in held), tuple(results)))

    def handle(self, time_s: float, event: object) -> list[Action]:
        return self.machine.handle(at(time_s), event)  # type: ignore[arg-type]

    def hear(self, time_s: float, body: Body, epoch: int = 1, source: int = GROUND, payload: Blob | None = None):
        number = next(self.numbers)
        frame = Frame(
            source=NodeId(source),
            destination=ME,
            priority=Priority.CONTROL,
            body=body,
            transfer=number,
            trace=number,
            epoch=epoch,
            payload=None if payload is None else whole(payload),
            total=0 if payload is None else payload.length,
        )
        return self.handle(time_s, FrameArrived(laser(1, 2), frame))

    def assign(self, time_s: float, shards: Sequence[Shard], epoch: int = 1, attempt: int = 1, **changes: object):
        values = {"job": "a", "model": "tinycloud", "lease_s": LEASE_S, "priority": 0, **changes}
        return self.hear(time_s, Assign(**values, shards=tuple(shards), attempts=(attempt,) * len(shards)), epoch)


def only(kind: type, actions: Sequence[object]) -> list:
    return [action for action in actions if isinstance(action, kind)]


def bodies(actions: Sequence[Action], kind: type) -> list:
    return [frame.body for frame in sent(actions) if isinstance(frame.body, kind)]


def test_a_reader_can_follow_one_shard() -> None:
    board, shard = Board(), my_shards()[0]
    assert bodies(board.booted, Alive) == [Alive((shard.capture,), ())]

    # The ground assigns, and the device is free.
    actions = board.assign(1.0, [shard])
    (infer,) = only(Infer, actions)
    assert (infer.job, infer.model, infer.shard) == ("a", "tinycloud", shard)

    # It is computed, and kept before it is sent.
    result = blob("mask")
    actions = board.handle(1.5, InferenceEnded(infer.task, result, 0.4, 0.1, 0.35))
    (keep,) = only(KeepResult, actions)
    assert (keep.job, keep.shard, keep.digest) == ("a", shard.index, result.digest)
    assert keep.stages == Stages(1.0, 0.0, 0.4, 0.1, 0.35)
    assert sent(actions) == []

    # It is safe in flash: now the ground gets it.
    actions = board.handle(1.6, Kept(keep.key, result, True))
    (frame,) = sent(actions)
    assert frame.body == Result("a", shard.index, 1, result.digest, keep.stages)
    assert (frame.destination, frame.priority, frame.payload.blob) == (GROUND, Priority.BULK, result)

    # Asked anew, it sends again and computes nothing.
    actions = board.assign(2.0, [shard], attempt=2)
    assert not only(Infer, actions) and len(bodies(actions, Result)) == 1

    # The ground has it for good.
    actions = board.hear(3.0, Settled("a", (shard.index,)))
    assert only(ForgetResults, actions) == [ForgetResults("a", (shard.index,))]
    assert not board.machine.finished


def test_shards_wait_for_the_slot_in_the_order_of_priority_and_arrival() -> None:
    board, (first, second, third, _) = Board(), my_shards()
    (running,) = only(Infer, board.assign(1.0, [first, second]))
    assert not only(Infer, board.assign(1.1, [third], job="urgent", priority=5))
    (following,) = only(Infer, board.handle(2.0, InferenceEnded(running.task, blob("1"), 0.1, 0.0, 0.1)))
    assert (following.job, following.shard) == ("urgent", third)
    (last,) = only(Infer, board.handle(3.0, InferenceEnded(following.task, blob("2"), 0.1, 0.0, 0.1)))
    assert (last.job, last.shard) == ("a", second)


def test_the_same_assignment_twice_is_one_computation() -> None:
    board, shard = Board(), my_shards()[0]
    assert len(only(Infer, board.assign(1.0, [shard]))) == 1
    assert not only(Infer, board.assign(1.1, [shard], attempt=2))
    assert not board.machine.queued


def test_three_deaths_of_the_payload_under_one_shard_are_poison() -> None:
    board, (shard, healthy, *_) = Board(), my_shards()
    (infer,) = only(Infer, board.assign(1.0, [shard, healthy]))
    for death in range(1, MAX_PAYLOAD_KILLS):
        actions = board.handle(1.0 + death, InferenceFailed(infer.task, "it died", payload_died=True))
        assert notes(actions) == ["payload-died"] and not bodies(actions, Failed)
        (infer,) = only(Infer, actions)
        assert infer.shard == shard, "it is tried again at once: the first deaths may have been anybody's"
    actions = board.handle(9.0, InferenceFailed(infer.task, "it died", payload_died=True))
    (failed,) = bodies(actions, Failed)
    assert (failed.shard, failed.final) == (shard.index, True) and failed.cause.startswith("POISON")
    assert [i.shard for i in only(Infer, actions)] == [healthy], "the next shard is computed all the same"


def test_a_failure_without_a_death_is_for_the_ground_to_judge() -> None:
    board, shard = Board(), my_shards()[0]
    (infer,) = only(Infer, board.assign(1.0, [shard]))
    (failed,) = bodies(board.handle(2.0, InferenceFailed(infer.task, "no", payload_died=False)), Failed)
    assert (failed.attempt, failed.cause, failed.final) == (1, "no", False)


def test_what_cannot_be_computed_here_is_refused_with_its_cause() -> None:
    board, shard = Board(captures=[]), my_shards()[0]
    (failed,) = bodies(board.assign(1.0, [shard]), Failed)
    assert shard.capture in failed.cause and not failed.final
    (failed,) = bodies(Board().assign(1.0, [shard], model="other"), Failed)
    assert "other" in failed.cause


def test_an_old_controller_is_not_obeyed() -> None:
    board, shard = Board(), my_shards()[0]
    board.hear(1.0, Hello(), epoch=3)
    for body in (Withdraw("a"), Settled("a", (0,)), Hello()):
        actions = board.hear(1.1, body, epoch=2)
        assert notes(actions) == ["old-epoch"] and not only(ForgetResults, actions)
    assert not only(Infer, board.assign(1.2, [shard], epoch=2))
    assert only(Infer, board.assign(1.3, [shard], epoch=3))


def test_a_copy_of_a_capture_is_kept_whatever_the_controller_s_epoch() -> None:
    copied = next(c for c in catalogue().captures if ME in c.replicas)
    board = Board()
    board.hear(1.0, Hello(), epoch=7)
    data = Blob(b"d" * 32, copied.size_bytes)
    # A neighbour speaks for no controller, so its frames have no epoch.
    actions = board.hear(2.0, Replica(copied.name, data.digest), epoch=0, source=copied.owner, payload=data)
    (keep,) = only(KeepCapture, actions)
    assert (keep.capture, keep.digest) == (copied.name, data.digest)
    (said,) = bodies(board.handle(2.1, Kept(keep.key, data, True)), Alive)
    assert copied.name in said.captures


def test_a_damaged_copy_is_not_taken_for_one() -> None:
    copied = next(c for c in catalogue().captures if ME in c.replicas)
    board = Board()
    actions = board.handle(2.1, Kept(f"capture/{copied.name}", blob("damaged"), False))
    assert notes(actions) == ["corrupt-capture"] and copied.name not in board.machine.captures


@pytest.mark.parametrize("name", ["", "../x", "a/b", "nobody's"])
def test_a_copy_of_no_known_capture_is_not_kept(name: str) -> None:
    assert not only(KeepCapture, Board().hear(1.0, Replica(name, bytes(32)), source=BEFORE))


def test_it_says_that_it_lives_while_it_has_work_and_only_then() -> None:
    board, shard = Board(), my_shards()[0]
    actions = board.assign(1.0, [shard])
    (wake,) = [w for w in only(WakeAt, actions) if w.key == WAKE_ALIVE]
    assert wake.local_s == 1.0 + LEASE_S / ALIVES_PER_LEASE
    actions = board.handle(wake.local_s, Woken(WAKE_ALIVE))
    (said,) = bodies(actions, Alive)
    assert said.working == (("a", (shard.index,)),)
    assert [w for w in only(WakeAt, actions) if w.key == WAKE_ALIVE]
    board.handle(1.8, InferenceEnded(1, blob("m"), 0.1, 0.0, 0.1))
    # Its result has only set out: the ground must not give the shard to another meanwhile.
    (said,) = bodies(board.handle(2.0, Woken(WAKE_ALIVE)), Alive)
    assert said.working == (("a", (shard.index,)),)
    late_s = 1.9 + LEASES_FOR_A_RESULT * LEASE_S
    assert board.handle(late_s, Woken(WAKE_ALIVE)) == []


def test_what_the_ground_has_is_not_said_to_be_in_hand() -> None:
    board, shard = Board(), my_shards()[0]
    board.assign(1.0, [shard])
    (keep,) = only(KeepResult, board.handle(1.8, InferenceEnded(1, blob("m"), 0.1, 0.0, 0.1)))
    board.handle(1.9, Kept(keep.key, blob("m"), True))
    board.hear(2.0, Settled("a", (shard.index,)))
    assert board.handle(2.1, Woken(WAKE_ALIVE)) == []


def test_a_finished_result_survives_a_crash_and_is_offered_on_boot() -> None:
    stages, result, shard = Stages(0.0, 0.0, 0.1, 0.0, 0.1), blob("mask"), my_shards()[0]
    board = Board(results=[HeldResult("a", shard.index, result, stages)])
    (offered,) = bodies(board.booted, Result)
    assert (offered.job, offered.shard, offered.digest) == ("a", shard.index, result.digest)
    assert not only(Infer, board.assign(1.0, [shard], attempt=2))


def test_a_withdrawn_job_leaves_nothing_but_what_runs() -> None:
    board, (first, second, *_) = Board(), my_shards()
    (infer,) = only(Infer, board.assign(1.0, [first, second]))
    board.hear(1.1, Withdraw("a"))
    assert not board.machine.queued
    assert not only(Infer, board.handle(2.0, InferenceEnded(infer.task, blob("m"), 0.1, 0.0, 0.1)))
