"""Whom does the controller ask, whom does it believe, and when does it ask somebody else?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from perigrid.job.shards import cut
from perigrid.job.spec import JobSpec
from perigrid.mesh.routes import Routes
from perigrid.node.actions import Action, KeepResult, Note, Persist, Recall, Send, Tell, WakeAt
from perigrid.node.blobs import Blob, whole
from perigrid.node.controller import MAX_FAILURES_PER_SHARD, Controller, ControllerConfig
from perigrid.node.dispatch import MAX_ATTEMPTS, UNREACHABLE_GRACE_S
from perigrid.node.events import ControllerBooted, Event, Explain, FrameArrived, Kept, LinkUp, Submit, Watch, Woken
from perigrid.node.frames import (
    Alive,
    Assign,
    Body,
    CustodyAck,
    Failed,
    Frame,
    Hello,
    LinkAdvert,
    Priority,
    Result,
    Settled,
    Stages,
)
from perigrid.node.records import EpochStarted, JobAdmitted, JobEnded, Record, ShardAccepted, ShardFailed
from perigrid.node.replies import Admitted, Ended, Explanation, Refused, Row
from perigrid.units import NodeId
from tests.conftest import ring_catalogue, ring_scenario
from tests.node.wires import at, laser, plan

STATION, GROUND, CLIENT = NodeId(12), NodeId(13), 7
LEASE_S = 2.0
SPEC = JobSpec(job="a", model="tinycloud", dataset="scene", tiles_per_shard=2)
STAGES = Stages(0.0, 0.0, 0.1, 0.0, 0.1)
CATALOGUE = ring_catalogue(ring_scenario())
SHARDS = cut(SPEC, CATALOGUE)
OWNER = {shard.index: CATALOGUE.named(shard.capture).owner for shard in SHARDS}
REPLICA = {shard.index: CATALOGUE.named(shard.capture).replicas[0] for shard in SHARDS}


class Centre:
    """A controller whose journal is durable at once, and whose frames are read as they leave."""

    def __init__(self, journal: Sequence[Record] = ()) -> None:
        mesh = plan().mesh
        config = ControllerConfig(GROUND, mesh.satellite_ids, mesh.names, ("tinycloud",), LEASE_S)
        self.machine = Controller(config, 1, CATALOGUE, plan(), Routes(plan()))
        self.numbers = itertools.count(1)
        self.journal: list[Record] = list(journal)
        self.sent: list[Frame] = []
        self.told: list[object] = []
        self.notes: list[Note] = []
        self.wakes: dict[str, float] = {}
        self.now_s = 0.0
        self.fibre = mesh.link_between(STATION, GROUND)
        self.feed(LinkUp(self.fibre))
        self.feed(ControllerBooted(tuple(journal)))
        for node in mesh.satellite_ids:
            self.alive(node)

    def feed(self, event: Event) -> None:
        self._do(self.machine.handle(at(self.now_s), event))

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send(_, frame):
                    self.sent.append(frame)
                    self._take_custody(frame)
                case Tell(_, reply):
                    self.told.append(reply)
                case Note():
                    self.notes.append(action)
                case WakeAt(key, local_s):
                    self.wakes[key] = local_s
                case Persist(records, then):
                    self.journal.extend(records)
                    self._do(then)
                case Recall(event):
                    self.feed(event)
                case KeepResult(key=key, pieces=pieces):
                    self.feed(Kept(key, pieces[0].blob, True))

    def _take_custody(self, frame: Frame) -> None:
        """The station answers for every frame, so that none is sent again."""
        if frame.custody:
            body = CustodyAck((frame.custody,))
            values = {"source": STATION, "destination": GROUND, "priority": Priority.CONTROL, "boot": frame.boot}
            self.feed(FrameArrived(self.fibre, Frame(**values, body=body, transfer=0, trace=frame.trace)))

    def run(self, until_s: float) -> None:
        """Let time pass: wake-ups come due."""
        while self.wakes:
            key, due_s = min(self.wakes.items(), key=lambda item: item[1])
            if due_s > until_s:
                break
            del self.wakes[key]
            self.now_s = max(self.now_s, due_s)
            self.feed(Woken(key))
        self.now_s = until_s

    def hear(self, source: int, body: Body, payload: Blob | None = None) -> None:
        number = next(self.numbers)
        frame = Frame(
            source=NodeId(source),
            destination=GROUND,
            priority=Priority.CONTROL,
            body=body,
            transfer=number,
            trace=number,
            payload=None if payload is None else whole(payload),
            total=0 if payload is None else payload.length,
        )
        self.feed(FrameArrived(self.fibre, frame))

    def alive(self, node: int, shards: Sequence[int] = ()) -> None:
        """A satellite says that it holds what it shall hold, and has these shards in hand."""
        held = tuple(c.name for c in CATALOGUE.captures if node in (c.owner, *c.replicas))
        self.hear(node, Alive(held, (("a", tuple(shards)),)))

    def result(self, shard: int, source: int, digest: bytes = b"r" * 32, attempt: int = 1) -> None:
        self.hear(source, Result("a", shard, attempt, digest, STAGES), Blob(digest, 100))

    def submit(self, spec: JobSpec = SPEC) -> None:
        self.feed(Submit(CLIENT, spec))
        self.feed(Watch(CLIENT, spec.job, 0))

    def assigned(self, since: int = 0) -> dict[int, tuple[int, int]]:
        """Shard -> (satellite, attempt) of the assignments that left, the last one of each."""
        found = {}
        for frame in self.sent[since:]:
            if isinstance(frame.body, Assign):
                for shard, attempt in zip(frame.body.shards, frame.body.attempts, strict=True):
                    found[shard.index] = (int(frame.destination), attempt)
        return found

    def rows(self) -> list[Row]:
        return [reply for reply in self.told if isinstance(reply, Row)]

    def cut_off(self, first: int, last: int) -> None:
        """The ends outside of a stretch of the ring say that they lost it."""
        self.hear(first - 1, LinkAdvert(laser(first - 1, first), False, self.now_s))
        self.hear(last + 1, LinkAdvert(laser(last, last + 1), False, self.now_s))


def test_work_goes_to_the_data_and_each_satellite_is_asked_once() -> None:
    centre = Centre()
    centre.submit()
    assert centre.assigned() == {shard.index: (OWNER[shard.index], 1) for shard in SHARDS}
    asked = [frame.destination for frame in centre.sent if isinstance(frame.body, Assign)]
    assert len(asked) == len(set(asked)) == 12
    assert {frame.epoch for frame in centre.sent if isinstance(frame.body, Assign)} == {1}


def test_nothing_is_told_or_assigned_before_it_is_durable() -> None:
    mesh = plan().mesh
    config = ControllerConfig(GROUND, mesh.satellite_ids, mesh.names, ("tinycloud",), LEASE_S)
    machine = Controller(config, 1, CATALOGUE, plan(), Routes(plan()))
    machine.handle(at(0.0), LinkUp(mesh.link_between(STATION, GROUND)))
    booted = machine.handle(at(0.0), ControllerBooted(()))
    assert not [a for a in booted if isinstance(a, Send)]
    (persist,) = [a for a in booted if isinstance(a, Persist)]
    assert persist.records == (EpochStarted(1),)
    submitted = machine.handle(at(0.0), Submit(CLIENT, SPEC))
    assert not [a for a in submitted if isinstance(a, Send | Tell)]


def test_a_result_is_accepted_once_and_acknowledged_every_time() -> None:
    centre = Centre()
    centre.submit()
    centre.result(0, OWNER[0])
    centre.result(0, REPLICA[0])
    centre.result(0, REPLICA[0], digest=b"x" * 32)
    centre.run(1.0)
    assert [row.ending.shard for row in centre.rows()] == [0]
    assert [r.shard for r in centre.journal if isinstance(r, ShardAccepted)] == [0]
    ledger = centre.machine.jobs["a"].ledger
    assert (ledger.duplicates, ledger.conflicts) == (1, 1)
    settled = {int(f.destination) for f in centre.sent if isinstance(f.body, Settled)}
    assert settled == {OWNER[0], REPLICA[0]}


def test_a_job_ends_after_its_last_row_and_its_watcher_hears_so_last() -> None:
    centre = Centre()
    centre.submit()
    for shard in SHARDS:
        centre.result(shard.index, OWNER[shard.index])
    kinds = [type(reply) for reply in centre.told]
    assert kinds == [Admitted, *[Row] * len(SHARDS), Ended]
    assert [row.cursor for row in centre.rows()] == list(range(1, len(SHARDS) + 1))
    assert isinstance(centre.journal[-1], JobEnded)


def test_a_satellite_that_says_nothing_loses_its_lease_to_the_replica() -> None:
    centre = Centre()
    centre.submit()
    before = len(centre.sent)
    centre.run(0.9 * LEASE_S)
    for other in range(12):
        if other != OWNER[8]:
            centre.alive(other, [s.index for s in SHARDS if OWNER[s.index] == other])
    assert centre.assigned(before) == {}
    centre.run(1.1 * LEASE_S)
    silent = [s.index for s in SHARDS if OWNER[s.index] == OWNER[8]]
    assert centre.assigned(before) == dict.fromkeys(silent, (REPLICA[8], 2))
    assert [note.what for note in centre.notes].count("lease-expired") == len(silent)


def test_what_a_satellite_says_renews_its_lease() -> None:
    centre = Centre()
    centre.submit()
    before = len(centre.sent)
    for step in range(1, 20):
        centre.run(step * LEASE_S / 2)
        for node in range(12):
            centre.alive(node, [s.index for s in SHARDS if OWNER[s.index] == node])
    assert centre.assigned(before) == {}


def test_a_partition_shortens_the_leases_behind_it_and_what_no_one_reaches_waits() -> None:
    centre = Centre()
    centre.submit()
    before = len(centre.sent)
    centre.cut_off(4, 8)
    centre.run(UNREACHABLE_GRACE_S + 0.1)
    moved = centre.assigned(before)
    # The last satellite behind the cuts has its copies on the first one beyond them; the others' are behind as well.
    assert moved == {s.index: (9, 2) for s in SHARDS if OWNER[s.index] == 8}
    centre.feed(Explain(CLIENT, 6))
    told = centre.told[-1]
    assert isinstance(told, Explanation) and not told.reachable
    assert "sat-04 - sat-05" in told.reason and "sat-09 - sat-10" in told.reason
    assert told.until_sky_s is not None and told.until_sky_s > centre.now_s
    assert told.shards_waiting == 4 and told.shards_leased == 0
    centre.hear(3, LinkAdvert(laser(3, 4), True, centre.now_s))
    again = centre.assigned(before)
    assert all(again[s.index][0] in (OWNER[s.index], REPLICA[s.index]) for s in SHARDS if OWNER[s.index] in range(4, 8))
    assert {s.index for s in SHARDS if OWNER[s.index] in range(4, 8)} <= set(again)


def test_results_computed_behind_a_partition_are_worth_as_much() -> None:
    centre = Centre()
    centre.submit()
    centre.cut_off(4, 8)
    centre.run(5.0)
    centre.result(10, OWNER[10])
    assert 10 in centre.machine.jobs["a"].ledger.accepted
    assert 10 not in centre.machine.jobs["a"].ledger.leases


def test_a_refusal_goes_to_another_holder_and_three_end_the_shard() -> None:
    centre = Centre()
    centre.submit()
    for count in range(1, MAX_FAILURES_PER_SHARD + 1):
        satellite, attempt = centre.assigned()[0]
        assert attempt == count
        centre.hear(satellite, Failed("a", 0, attempt, f"no {count}", False))
    (failed,) = [r for r in centre.journal if isinstance(r, ShardFailed)]
    assert (failed.shard, failed.cause) == (0, f"no {MAX_FAILURES_PER_SHARD}")
    assert centre.assigned()[0][1] == MAX_FAILURES_PER_SHARD


def test_a_final_failure_ends_the_shard_at_once_and_one_of_a_stranger_is_ignored() -> None:
    centre = Centre()
    centre.submit()
    centre.hear(5, Failed("a", 0, 1, "not mine", True))
    centre.hear(OWNER[0], Failed("a", 0, 9, "another attempt", True))
    assert not centre.rows()
    centre.hear(OWNER[0], Failed("a", 0, 1, "POISON: it died", True))
    (row,) = centre.rows()
    assert isinstance(row.ending, ShardFailed) and row.ending.cause.startswith("POISON")


def test_a_shard_that_nobody_ever_answers_for_ends_by_name() -> None:
    centre = Centre()
    centre.submit()
    centre.run(MAX_ATTEMPTS * LEASE_S * 3)
    causes = {r.cause.split(":")[0] for r in centre.journal if isinstance(r, ShardFailed)}
    assert causes == {"ATTEMPTS"}
    assert len(centre.rows()) == len(SHARDS) and isinstance(centre.told[-1], Ended)


def test_a_restarted_controller_goes_on_in_a_new_epoch_with_the_same_rows() -> None:
    first = Centre()
    first.submit()
    for shard in (3, 1, 2):
        first.result(shard, OWNER[shard])
    second = Centre(journal=first.journal)
    second.feed(Submit(CLIENT, SPEC))
    second.feed(Watch(CLIENT, "a", 1))
    assert isinstance(second.told[0], Admitted) and second.told[0].again
    assert [(row.cursor, row.ending.shard) for row in second.rows()] == [(2, 1), (3, 2)]
    assert {f.epoch for f in second.sent if isinstance(f.body, Hello | Assign)} == {2}
    assert set(second.assigned()) == {s.index for s in SHARDS} - {1, 2, 3}
    assert [r.epoch for r in second.journal if isinstance(r, EpochStarted)] == [1, 2]
    assert len([r for r in second.journal if isinstance(r, JobAdmitted)]) == 1


def test_what_was_durable_and_never_told_is_told_after_the_crash() -> None:
    first = Centre()
    first.submit()
    for shard in SHARDS:
        first.result(shard.index, OWNER[shard.index])
    # It crashed before the job's own end was in the journal.
    journal = [r for r in first.journal if not isinstance(r, JobEnded)]
    second = Centre(journal=journal)
    second.submit()
    assert len(second.rows()) == len(SHARDS) and isinstance(second.told[-1], Ended)


def test_the_same_job_again_is_one_job_and_another_under_its_name_is_refused() -> None:
    centre = Centre()
    centre.submit()
    centre.feed(Submit(CLIENT, SPEC))
    assert isinstance(centre.told[-1], Admitted) and centre.told[-1].again
    other = JobSpec(job="a", model="tinycloud", dataset="scene", tiles_per_shard=3)
    centre.feed(Submit(CLIENT, other))
    assert isinstance(centre.told[-1], Refused)


def test_a_result_from_nobody_changes_nothing() -> None:
    centre = Centre()
    centre.submit()
    for source in (STATION, GROUND, 999):
        centre.hear(source, Result("a", 0, 1, b"r" * 32, STAGES), Blob(b"r" * 32, 100))
        centre.hear(source, Result("unknown", 0, 1, b"r" * 32, STAGES), Blob(b"r" * 32, 100))
        centre.hear(source, Alive((CATALOGUE.captures[0].name,), ()))
    centre.run(1.0)
    assert centre.rows() == []
