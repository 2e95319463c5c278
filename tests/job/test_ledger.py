"""Is a shard always in exactly one state, and is its one result for ever?"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from perigrid.errors import Bug
from perigrid.job.ledger import Ledger, Verdict
from perigrid.job.spec import JobSpec, Shard
from perigrid.units import NodeId

SHARDS = tuple(
    Shard(index=i, capture=f"c{i // 3}", tiles=(2 * i, 2 * i + 1), rows=(0, 0), columns=(0, 16)) for i in range(7)
)
INDICES = st.integers(0, len(SHARDS) - 1)
SATELLITES = st.integers(0, 3).map(NodeId)
TIMES = st.floats(0, 100)
DIGESTS = st.sampled_from([b"one", b"two"])


def ledger() -> Ledger:
    return Ledger(JobSpec(job="a", model="m", dataset="d"), SHARDS)


class LedgerMachine(RuleBasedStateMachine):
    """Does everything to a ledger that a controller may do, in any order, and keeps count beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = ledger()
        self.accepted: dict[int, bytes] = {}
        self.failed: dict[int, str] = {}
        self.attempts = dict.fromkeys(range(len(SHARDS)), 0)
        self.duplicates = self.conflicts = 0

    def is_open(self, index: int) -> bool:
        return index in self.ledger.open[SHARDS[index].capture]

    @rule(index=INDICES, satellite=SATELLITES, expires_s=TIMES)
    def lease(self, index: int, satellite: NodeId, expires_s: float) -> None:
        if not self.is_open(index):
            with pytest.raises(Bug):
                self.ledger.lease(index, satellite, expires_s)
            return
        lease = self.ledger.lease(index, satellite, expires_s)
        self.attempts[index] += 1
        assert (lease.satellite, lease.attempt, lease.expires_s) == (satellite, self.attempts[index], expires_s)

    @rule(index=INDICES, satellite=SATELLITES, expires_s=TIMES)
    def renew(self, index: int, satellite: NodeId, expires_s: float) -> None:
        before = self.ledger.leases.get(index)
        self.ledger.renew(index, satellite, expires_s)
        after = self.ledger.leases.get(index)
        if before is None or before.satellite != satellite:
            assert after == before, "a lease is its holder's alone"
        else:
            assert after is not None
            assert (after.satellite, after.attempt, after.expires_s) == (satellite, before.attempt, expires_s)

    @precondition(lambda self: self.ledger.leases)
    @rule(data=st.data(), expires_s=TIMES)
    def shorten(self, data: st.DataObject, expires_s: float) -> None:
        index = data.draw(st.sampled_from(sorted(self.ledger.leases)))
        before = self.ledger.leases[index]
        self.ledger.shorten(index, expires_s)
        assert self.ledger.leases[index].expires_s == min(before.expires_s, expires_s)

    @precondition(lambda self: self.ledger.leases)
    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.ledger.leases)))
        self.ledger.reopen(index)
        assert self.is_open(index)

    @rule(index=INDICES, digest=DIGESTS)
    def settle(self, index: int, digest: bytes) -> None:
        verdict = self.ledger.settle(index, digest)
        if index not in self.accepted and index not in self.failed:
            assert verdict is Verdict.ACCEPTED
            self.accepted[index] = digest
        elif index in self.failed or self.accepted[index] == digest:
            assert verdict is Verdict.DUPLICATE
            self.duplicates += 1
        else:
            assert verdict is Verdict.CONFLICT
            self.conflicts += 1

    @rule(index=INDICES, cause=st.sampled_from(["POISON", "DEADLINE"]))
    def fail(self, index: int, cause: str) -> None:
        fresh = index not in self.accepted and index not in self.failed
        assert self.ledger.fail(index, cause) is fresh
        if fresh:
            self.failed[index] = cause

    @invariant()
    def each_shard_is_in_one_state(self) -> None:
        waiting = [index for shards in self.ledger.open.values() for index in shards]
        states = [*waiting, *self.ledger.leases, *self.ledger.accepted, *self.ledger.failed]
        assert sorted(states) == list(range(len(SHARDS)))

    @invariant()
    def endings_are_for_ever(self) -> None:
        assert self.ledger.accepted == self.accepted
        assert self.ledger.failed == self.failed

    @invariant()
    def counts_are_right_and_attempts_only_grow(self) -> None:
        assert {i: self.ledger.attempts.get(i, 0) for i in self.attempts} == self.attempts
        assert self.ledger.total_attempts == sum(self.attempts.values())
        assert (self.ledger.duplicates, self.ledger.conflicts) == (self.duplicates, self.conflicts)
        assert self.ledger.done == (len(self.accepted) + len(self.failed) == len(SHARDS))


LedgerMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestLedger = LedgerMachine.TestCase


def test_open_shards_keep_the_order_of_their_captures_and_tiles() -> None:
    assert [list(shards) for shards in ledger().open.values()] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(ledger().open) == ["c0", "c1", "c2"]


@pytest.mark.parametrize(("index", "known"), [(-1, False), (0, True), (6, True), (7, False), (1 << 31, False)])
def test_only_shards_of_the_job_are_known(index: int, known: bool) -> None:
    assert ledger().knows(index) is known
