"""Does a satellite, and the ground, keep its own order whatever neighbours say about frames of sensors?"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from perigrid.job.spec import Catalogue, Shard
from perigrid.mesh.routes import Routes
from perigrid.node.actions import Action, Infer, JoinPieces, Note, Tell, WakeAt
from perigrid.node.blobs import Blob, whole
from perigrid.node.events import Exposed, FrameArrived, InferenceEnded, Kept
from perigrid.node.frames import Observation, Part, Stages
from perigrid.node.intake import Intake
from perigrid.node.observing import KEY_PREFIX, MAX_FRAMES_UNDER_WAY, PART_GRACE_S, Observing
from perigrid.node.relay import Relay
from perigrid.node.replies import Observed
from perigrid.node.satellite import Satellite, SatelliteConfig
from perigrid.node.sensing import MAX_FRAMES_IN_HAND, Sensing, SensingConfig
from perigrid.node.transfers import Message, Sender, chunk_bytes
from perigrid.units import NodeId
from tests.node.wires import at, laser, notes, plan

OWN, NEIGHBOUR, GROUND = NodeId(0), NodeId(1), NodeId(13)
RATE_BPS = 1e9
NAMES = tuple(f"node-{n}" for n in range(14))
BLOB = Blob(b"d" * 32, 1000)
NOTHING_TOOK = Stages(1.0, 0.0, 0.0, 0.0, 0.0)


def tiles(count: int = 4, index: int = 0, capture: str = "") -> Shard:
    places = (0,) * count
    return Shard(index=index, capture=capture, tiles=tuple(range(count)), rows=places, columns=places)


def sensing() -> Sensing:
    return Sensing(SensingConfig(GROUND, RATE_BPS, RATE_BPS), Relay(OWN, 1, GROUND, plan(), Routes(plan())))


def message(body: Part | Observation, source: NodeId = NEIGHBOUR) -> Message:
    return Message(source, body, 7, 0, 1, BLOB.digest, (whole(BLOB),))


def part(frame: str = "frame.1.1.1", index: int = 1, shard: Shard | None = None) -> Part:
    return Part(frame, index, 3, "camera", 0, "cloudmask", shard or tiles(index=1), 1.0, 100.0)


def exposure(treatment: str = "in-orbit", number: int = 0, length: int = 4000) -> Exposed:
    return Exposed("camera", number, "cloudmask", treatment, Blob(b"r" * 32, length), tiles(), 100.0)


@pytest.mark.parametrize(
    "wrong",
    [
        part(frame="job-7"),
        part(frame="frame.0.1.1"),
        part(frame="frame.11.1.1"),
        part(index=2),
        part(shard=tiles(index=1, capture="somebody-elses")),
        part(shard=tiles(0, index=1)),
    ],
    ids=["a job", "our own frame", "another's frame", "two indices", "a capture", "no tiles"],
)
def test_a_part_that_is_not_its_senders_to_give_is_not_worked_on(wrong: Part) -> None:
    one = sensing()
    assert one.helped(at(5.0), wrong, message(wrong)) == []
    good = part()
    (work,) = one.helped(at(5.0), good, message(good))
    assert (work.job, work.shard.index) == ("frame.1.1.1", 1)


def test_a_helper_is_done_with_a_part_that_was_missed_and_takes_no_more_than_its_bound() -> None:
    one = sensing()
    for number in range(MAX_FRAMES_IN_HAND + 1):
        body = part(frame=f"frame.1.1.{number}")
        assert len(one.helped(at(5.0), body, message(body))) == (number < MAX_FRAMES_IN_HAND)
    assert notes(one.missed("frame.1.1.0", 1)) == ["frame-missed"]
    assert one.missed("frame.1.1.0", 1) == []
    body = part(frame="frame.1.2.1")
    assert len(one.helped(at(5.0), body, message(body))) == 1


def test_a_satellite_has_no_more_frames_in_hand_than_its_bound() -> None:
    one = sensing()
    for number in range(MAX_FRAMES_IN_HAND):
        assert one.exposed(at(5.0), exposure(number=number))[0]
    work, actions = one.exposed(at(5.0), exposure(number=9999))
    assert not work and notes(actions) == ["frame-refused"]


def test_raw_frames_wait_for_a_pass_whole_or_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of which a part only is held would go down in part, and never end."""
    monkeypatch.setattr("perigrid.node.sensing.MAX_WAITING_FRAMES", 10)
    one, size = sensing(), 4 * chunk_bytes(RATE_BPS)
    ended = [notes(one.exposed(at(5.0), exposure("bent-pipe", n, size))[1])[0] for n in range(4)]
    assert ended == ["frame", "frame", "frame-refused", "frame-refused"]


def test_the_digest_of_a_frame_is_said_of_the_whole_frame_alone() -> None:
    whole_frame = sensing().exposed(at(5.0), exposure())[0][0]
    assert whole_frame.digest == b"r" * 32
    one = sensing()
    (first,) = one.exposed(at(5.0), Exposed(**_as_cascade()))[0]
    stages = Stages(5.0, 0.25, 0.5, 0.0, 0.0)
    assert one.computed(at(6.0), first.job, 0, stages, InferenceEnded(1, BLOB, 0.5, 0.0, 0.0, (1, 3))) == []
    (second,) = one.next_work(at(6.0), first.job)[0]
    assert second.digest == b"" and [piece.offset for piece in second.input] == [1000, 3000]
    again = Stages(6.0, 0.125, 1.0, 0.0, 0.0)
    (join,) = one.computed(at(8.0), first.job, 0, again, InferenceEnded(2, BLOB, 1.0, 0.0, 0.0))
    assert isinstance(join, JoinPieces) and [p.length for p in join.pieces] == [1000, 1000, 1000, 1000]
    frame = one.frames[first.job]
    # Both waits and both computations, from the first arrival on.
    assert (frame.stages.arrived_sky_s, frame.stages.queue_s, frame.stages.inference_s) == (5.0, 0.375, 1.5)


def _as_cascade() -> dict[str, object]:
    event = exposure("cascade")
    fields = {name: getattr(event, name) for name in event.__slots__}
    return {**fields, "filter_model": "tinycloud", "discard_share": 0.5}


def seen(frame: str, index: int, parts: int, kind: str = "raw") -> Observation:
    return Observation(frame, index, parts, "camera", 0, "cloudmask", kind, 1.0, 9.0, "x", 4, BLOB.digest, NOTHING_TOOK)


def came(ground: Observing, body: Observation, time_s: float = 5.0) -> list[Action]:
    """What follows from a frame's coming down, once its bytes are together."""
    actions = ground.came(at(time_s), body, message(body))
    return [*actions, *ground.kept(at(time_s), Kept(f"{KEY_PREFIX}{body.frame}/{body.index}", BLOB, True))]


def told(actions: Iterable[Action]) -> list[Observed]:
    return [a.reply for a in actions if isinstance(a, Tell) and isinstance(a.reply, Observed)]


def test_parts_that_do_not_belong_together_and_bytes_that_nobody_waits_for_do_no_harm() -> None:
    ground = Observing(NAMES, 1)
    actions = [action for index, parts in ((1, 2), (3, 4), (2, 3)) for action in came(ground, seen("f", index, parts))]
    assert not any(isinstance(action, Infer) for action in actions)
    body = seen("g", 0, 2)
    ground.came(at(5.0), body, message(body))
    key = f"{KEY_PREFIX}g/0"
    assert notes(ground.kept(at(5.0), Kept(key, BLOB, False))) == ["corrupt-frame"]
    assert ground.kept(at(5.0), Kept(key, BLOB, True)) == []


def test_the_grounds_computer_takes_one_frame_a_slot_and_says_how_long_the_next_has_waited() -> None:
    ground = Observing(NAMES, 1)
    started = [a for n in range(2) for a in came(ground, seen(f"frame.1.1.{n}", 0, 1), 5.0 + n) if isinstance(a, Infer)]
    assert [one.job for one in started] == ["frame.1.1.0"]
    first = ground.inferred(at(9.0), InferenceEnded(started[0].task, BLOB, 4.0, 0.0, 0.0))
    (second,) = (a for a in first if isinstance(a, Infer))
    last = ground.inferred(at(13.0), InferenceEnded(second.task, BLOB, 4.0, 0.0, 0.0))
    waits = [(r.ground_queue_s, r.ground_inference_s) for r in (*told(first), *told(last))]
    assert waits == [(0.0, 4.0), (3.0, 4.0)]


def test_a_frame_ends_once_and_what_never_becomes_whole_is_given_up_with_a_note() -> None:
    ground = Observing(NAMES, 1)
    assert len(told(came(ground, seen("frame.1.1.7", 0, 1, "answer")))) == 1
    assert came(ground, seen("frame.1.1.7", 0, 1, "answer")) == []
    for number in range(MAX_FRAMES_UNDER_WAY):
        assert not notes(came(ground, seen(f"half-{number}", 0, 2, "answer")))
    assert notes(came(ground, seen("one-more", 0, 2, "answer"))) == ["frame-given-up"]
    assert len(ground.under_way) == MAX_FRAMES_UNDER_WAY


def test_nobody_ends_another_satellites_frame() -> None:
    ground = Observing(NAMES, 1)
    assert notes(came(ground, seen("frame.3.1.1", 0, 1, "answer"))) == ["not-its-frame"]
    assert not ground.under_way and not ground.ended


def test_a_shared_frame_whose_helper_is_gone_fails_after_its_grace() -> None:
    ground = Observing(NAMES, 1)
    actions = came(ground, seen("frame.1.1.1", 0, 2, "answer"))
    assert [a.local_s for a in actions if isinstance(a, WakeAt)] == [5.0 + PART_GRACE_S]
    assert not told(ground.overdue(at(5.0 + PART_GRACE_S - 1.0)))
    (ended,) = told(ground.overdue(at(5.0 + PART_GRACE_S)))
    assert ended.outcome == "failed" and not ground.under_way


def test_of_several_parts_the_last_to_come_is_the_one_that_is_told_of() -> None:
    ground = Observing(NAMES, 1)
    early, late = seen("f", 1, 2, "answer"), seen("f", 0, 2, "answer")
    assert not told(came(ground, early))
    ground.came(at(6.0), late, message(late, NodeId(4)))
    (ended,) = told(ground.kept(at(6.0), Kept(f"{KEY_PREFIX}f/0", BLOB, True)))
    assert ended.satellite == "node-4" and ended.size_bytes == 2 * BLOB.length


def test_equipment_hands_on_in_order_when_the_time_is_over_and_not_what_was_dropped() -> None:
    intake: Intake[str] = Intake("key", 0.5)
    wakes = [intake.put(at(1.0 + 0.125 * n), word)[0] for n, word in enumerate(("a", "b", "c"))]
    assert [wake.local_s for wake in wakes] == [1.5, 1.5, 1.5]
    intake.drop(lambda word: word == "b")
    assert intake.due(at(1.25))[0] == []
    through, again = intake.due(at(1.5))
    assert through == ["a"] and [wake.local_s for wake in again] == [1.75]
    assert intake.due(at(1.75)) == (["c"], [])


def test_notes_of_what_was_not_worked_on_name_the_sender() -> None:
    """The satellite's machine says so: nothing is dropped without a word."""
    config = SatelliteConfig(OWN, GROUND, ("cloudmask",), 1, RATE_BPS, RATE_BPS)
    satellite = Satellite(config, 1, Catalogue(()), plan(), Routes(plan()))
    (frame,) = Sender(NEIGHBOUR, 1).frames(OWN, part(frame="job-7"))
    actions = satellite.handle(at(5.0), FrameArrived(laser(0, 1), frame))
    said = [a for a in actions if isinstance(a, Note) and a.what == "part-refused"]
    assert [note.fields["from"] for note in said] == [1] and not satellite.queued
