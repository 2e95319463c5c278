"""Is the work done, and was each shard settled exactly once?

The ledger is the one place that says Accepted, Duplicate or Conflict. Exactly-once is this idempotent `settle`, keyed
by shard id for ever, never a property of links. A shard is open, leased, accepted or failed; it leaves the last two
never.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from perigrid.errors import Bug
from perigrid.job.spec import JobSpec, Shard
from perigrid.units import NodeId


class Verdict(enum.Enum):
    """What a settle says of a result."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Lease:
    """Who computes a shard, until when on the controller's own clock; `attempt` counts from 1."""

    satellite: NodeId
    attempt: int
    expires_s: float


@dataclass(slots=True)
class Ledger:
    """The state of every shard of one job; `open` lists, by capture, those that wait for a satellite."""

    spec: JobSpec
    shards: tuple[Shard, ...]
    open: dict[str, dict[int, None]] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)
    accepted: dict[int, bytes] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    duplicates: int = 0
    conflicts: int = 0

    def __post_init__(self) -> None:
        # A dict with None for values is a set that keeps its order: equal runs then iterate equally everywhere.
        for shard in self.shards:
            self.open.setdefault(shard.capture, {})[shard.index] = None

    @property
    def done(self) -> bool:
        """Has every shard ended, in a result or in a named error?"""
        return len(self.accepted) + len(self.failed) == len(self.shards)

    @property
    def total_attempts(self) -> int:
        """Assignments made so far, over all shards."""
        return sum(self.attempts.values())

    def knows(self, index: int) -> bool:
        """Is that a shard of this job?"""
        return 0 <= index < len(self.shards)

    def lease(self, index: int, satellite: NodeId, expires_s: float) -> Lease:
        """Hand an open shard to a satellite; the attempt number goes up by one."""
        waiting = self.open[self.shards[index].capture]
        if index not in waiting:
            raise Bug(f"shard {index} of {self.spec.job} is leased while it is not open")
        del waiting[index]
        attempt = self.attempts.get(index, 0) + 1
        self.attempts[index] = attempt
        lease = Lease(satellite, attempt, expires_s)
        self.leases[index] = lease
        return lease

    def renew(self, index: int, satellite: NodeId, expires_s: float) -> None:
        """Extend a lease that this satellite still holds; anything else is ignored."""
        lease = self.leases.get(index)
        if lease is not None and lease.satellite == satellite:
            self.leases[index] = Lease(satellite, lease.attempt, expires_s)

    def shorten(self, index: int, expires_s: float) -> None:
        """Let a lease end sooner, where its holder cannot be reached any more."""
        lease = self.leases[index]
        self.leases[index] = Lease(lease.satellite, lease.attempt, min(lease.expires_s, expires_s))

    def reopen(self, index: int) -> None:
        """Take a lease back; the shard waits for its next attempt."""
        del self.leases[index]
        self.open[self.shards[index].capture][index] = None

    def settle(self, index: int, digest: bytes) -> Verdict:
        """Say what a result with that content hash is. The first one wins, whoever computed it.

        A result for a shard that had failed is a duplicate: the client was told of the failure, once.
        """
        known = self.accepted.get(index)
        if known is None and index not in self.failed:
            self._end(index)
            self.accepted[index] = digest
            return Verdict.ACCEPTED
        if known is None or known == digest:
            self.duplicates += 1
            return Verdict.DUPLICATE
        self.conflicts += 1
        return Verdict.CONFLICT

    def fail(self, index: int, cause: str) -> bool:
        """End a shard in a named error; False when it had ended before."""
        if index in self.accepted or index in self.failed:
            return False
        self._end(index)
        self.failed[index] = cause
        return True

    def _end(self, index: int) -> None:
        self.open[self.shards[index].capture].pop(index, None)
        self.leases.pop(index, None)
