"""What is one job in the controller's hands, and what can be said of it?

Its specification, its ledger and how its shards ended; and what clients ask of jobs as a whole: what a job would wait
for, and what a node's shards wait for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from perigrid.job.ledger import Ledger
from perigrid.job.spec import JobSpec
from perigrid.mesh.routes import NoPath
from perigrid.node.dispatch import Dispatcher
from perigrid.node.events import Now
from perigrid.node.frames import Result
from perigrid.node.records import JobEnded, ShardAccepted, ShardFailed
from perigrid.node.replies import Admitted, Explanation, Refused, Row
from perigrid.node.transfers import Message
from perigrid.units import NodeId


@dataclass(slots=True)
class Job:
    """One job in the controller's hands; `rows` are its endings in the order of the journal."""

    spec: JobSpec
    ledger: Ledger
    admitted_sky_s: float
    durable: bool = False
    rows: list[Row] = field(default_factory=list)
    endings: dict[int, ShardAccepted | ShardFailed] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)
    watchers: dict[int, int] = field(default_factory=dict)
    ending: JobEnded | None = None
    ended: bool = False
    cancelled: bool = False

    @property
    def until_sky_s(self) -> float | None:
        """When its time is over; None where it has no deadline."""
        return None if self.spec.deadline_s is None else self.admitted_sky_s + self.spec.deadline_s

    @property
    def deadline_sky_s(self) -> float:
        """When its time is over; infinite where it has no deadline."""
        return float("inf") if self.until_sky_s is None else self.until_sky_s

    def add_row(self, ending: ShardAccepted | ShardFailed) -> Row:
        """A shard has ended: the next row."""
        self.endings[ending.shard] = ending
        row = Row(len(self.rows) + 1, self.ledger.shards[ending.shard].tiles, ending)
        self.rows.append(row)
        return row

    def again(self, spec: JobSpec) -> Admitted | Refused:
        """The answer where this job's id is submitted again."""
        if self.spec != spec:
            cause = f"job {spec.job} exists with another specification; give this one an id of its own"
            return Refused(spec.job, cause)
        tiles = sum(len(s.tiles) for s in self.ledger.shards)
        return Admitted(spec.job, tiles, len(self.ledger.shards), True, admitted_sky_s=self.admitted_sky_s)

    def summary(self) -> tuple[str, str, int, int, int, int]:
        """As lists of jobs have it: (id, state, shards done, shards, attempts, priority)."""
        ledger = self.ledger
        state = self.ending.outcome if self.ending is not None else "running"
        done = len(ledger.accepted) + len(ledger.failed)
        return self.spec.job, state, done, len(ledger.shards), ledger.total_attempts, self.spec.priority


def waits_for_contact(now: Now, dispatcher: Dispatcher, satellites: Iterable[NodeId]) -> tuple[str, float | None]:
    """What a job would wait for before its first shard goes up, if for anything, and until when."""
    reasons = []
    for satellite in satellites:
        path = dispatcher.path(now, satellite)
        if not isinstance(path, NoPath):
            return "", None
        reasons.append(path)
    if not reasons:
        return "", None
    first = min(reasons, key=lambda p: float("inf") if p.until_s is None else p.until_s)
    return first.reason, first.until_s


def explanation(now: Now, node: NodeId, name: str, jobs: Iterable[Job], dispatcher: Dispatcher) -> Explanation:
    """What a node's shards wait for."""
    waiting = leased = 0
    for job in jobs:
        if job.ending is not None:
            continue
        leased += sum(lease.satellite == node for lease in job.ledger.leases.values())
        for capture, shards in job.ledger.open.items():
            waiting += len(shards) if node in dispatcher.holders(capture) else 0
    path = dispatcher.path(now, node) if node != dispatcher.relay.node else None
    blocked = path if isinstance(path, NoPath) else None
    reason = "" if blocked is None else blocked.reason
    return Explanation(name, blocked is None, waiting, leased, reason, None if blocked is None else blocked.until_s)


def stage_fields(result: Result, message: Message) -> dict[str, str | int | float]:
    """Where a result's time went, for the event log."""
    stages = result.stages
    return {
        "attempt": result.attempt,
        "digest": result.digest.hex(),
        "sent_s": stages.sent_sky_s,
        "arrived_s": stages.arrived_sky_s,
        "queue_s": stages.queue_s,
        "inference_s": stages.inference_s,
        "desk_wait_s": stages.desk_wait_s,
        "cpu_s": stages.cpu_s,
        "up_laser_s": stages.up_laser_s,
        "up_ground_s": stages.up_ground_s,
        "down_laser_s": message.laser_s,
        "down_ground_s": message.ground_s,
    }
