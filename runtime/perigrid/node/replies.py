"""What does the controller say to a client?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from perigrid.node.blobs import Blob
from perigrid.node.frames import Stages
from perigrid.node.records import JobEnded, ShardAccepted, ShardFailed


class Admitted(msgspec.Struct, frozen=True, tag=True):
    """The job is durable and will end. `again` where it had been submitted before; `waits_for` when not at once.

    `admitted_sky_s` is when it was admitted first.
    """

    job: str
    tiles: int
    shards: int
    again: bool
    waits_for: str = ""
    until_sky_s: float | None = None
    admitted_sky_s: float = 0.0


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The request was not accepted, and had no effect."""

    job: str
    cause: str


class Row(msgspec.Struct, frozen=True, tag=True):
    """One ended shard of a watched job; `cursor` grows by one a row, and never changes for a shard."""

    cursor: int
    tiles: tuple[int, ...]
    ending: ShardAccepted | ShardFailed


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A watched job has ended, and every row was told before this."""

    ending: JobEnded


class Jobs(msgspec.Struct, frozen=True, tag=True):
    """The jobs there are: (id, state, shards done, shards, attempts, priority)."""

    jobs: tuple[tuple[str, str, int, int, int, int], ...]


class Explanation(msgspec.Struct, frozen=True, tag=True):
    """What a node's shards wait for, and until when (sky time), as far as the ground knows."""

    node: str
    reachable: bool
    shards_waiting: int
    shards_leased: int
    reason: str
    until_sky_s: float | None


@dataclass(frozen=True, slots=True)
class Answered:
    """A request's answer: its bytes, and how they came about. Sky times are when it was asked for and answered."""

    request: str
    blob: Blob
    satellite: str
    attempt: int
    hops: int
    stages: Stages
    down_laser_s: float
    down_ground_s: float
    asked_sky_s: float
    answered_sky_s: float


Reason = Literal["full", "refused", "deadline", "failed"]


@dataclass(frozen=True, slots=True)
class Declined:
    """A request ends without an answer: too much is under way, it cannot be, its time is over, or orbit failed."""

    reason: Reason
    cause: str


Reply = Admitted | Refused | Row | Ended | Jobs | Explanation | Answered | Declined
