"""What does the controller say to a client?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from perigrid.mesh.way import Leg
from perigrid.node.blobs import Blob
from perigrid.node.frames import ModelStateWord, Stages
from perigrid.node.manifest import Manifest
from perigrid.node.records import JobEnded, ShardAccepted, ShardFailed
from perigrid.units import NodeId


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
    """A request's answer: its bytes, and how they came about. Sky times are when it was asked for and answered.

    `down` is the way of a traced one down; `gateway_s` is what the gateway's equipment took before it was dispatched.
    """

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
    down: tuple[Leg, ...] = ()
    gateway_s: float = 0.0
    trace_parent: bytes = b""


@dataclass(frozen=True, slots=True)
class Observed:
    """How a sensor's frame ended: `outcome` is "ok", "discarded" by its filter, or "failed".

    It was taken at `taken_sky_s`, and its answer known on the ground at `answered_sky_s`. `stages` are those on board,
    `down` the legs of what came down last, `size_bytes` all that came down; the ground's queue and inference follow.
    """

    frame: str
    sensor: str
    number: int
    satellite: str
    treatment: str
    outcome: str
    taken_sky_s: float
    answered_sky_s: float
    deadline_sky_s: float
    tiles: int
    size_bytes: int
    hops: int
    stages: Stages
    down: tuple[Leg, ...]
    ground_queue_s: float
    ground_inference_s: float
    trace_parent: bytes = b""


Reason = Literal["full", "refused", "deadline", "failed"]


@dataclass(frozen=True, slots=True)
class Declined:
    """A request ends without an answer: too much is under way, it cannot be, its time is over, or orbit failed."""

    reason: Reason
    cause: str


@dataclass(frozen=True, slots=True)
class ModelAt:
    """A pushed model on one satellite, as the ground knows it; `heard_sky_s` is when it last said so (below 0: never).

    `pieces` are how many are there, `rehashed_sky_s` is when all its bytes were last found right, `found` the hash of
    bytes that were wrong.
    """

    satellite: NodeId
    state: ModelStateWord
    pieces: int
    heard_sky_s: float
    rehashed_sky_s: float
    cause: str
    found: bytes


@dataclass(frozen=True, slots=True)
class PushedModel:
    """A pushed model: what it is, whom it is for, when it was first ordered, and where it is.

    `uplinked_bytes` of it have been sent up by the present controller.
    """

    manifest: Manifest
    targets: tuple[NodeId, ...]
    pinned: bool
    ordered_sky_s: float
    uplinked_bytes: int
    places: tuple[ModelAt, ...]


@dataclass(frozen=True, slots=True)
class Models:
    """Which models were pushed, and how that goes."""

    models: tuple[PushedModel, ...]
    sky_s: float


Reply = Admitted | Refused | Row | Ended | Jobs | Explanation | Answered | Declined | Observed | Models
