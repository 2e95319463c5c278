"""What do nodes say to each other?

A frame is what crosses one link: a header, a small body (a message), and at most one chunk of a payload. The body of a
transfer of several chunks rides on each of them, so that any one tells what it belongs to. Times of departure and
arrival are not here: the link's carrier stamps those.
"""

from __future__ import annotations

import enum

import msgspec

from perigrid.job.spec import Shard
from perigrid.mesh.topology import Link
from perigrid.node.blobs import Piece
from perigrid.units import NodeId

HOP_LIMIT = 96
"""Above the diameter of the largest preset's +Grid (36 + 39 hops), with room for detours."""

MAX_DEAD_LINKS_MET = 8
"""How many dead links a frame remembers; the oldest is forgotten first."""


class Priority(enum.IntEnum):
    """Class of a frame: control frames overtake bulk on every link."""

    CONTROL = 0
    BULK = 1


class Assign(msgspec.Struct, frozen=True, tag=True):
    """Ground to satellite: compute these shards. `attempts` runs beside `shards`; it was said at `sent_sky_s`.

    After `deadline_sky_s` nobody wants them. A request's assignment has one shard, and its input as payload.
    """

    job: str
    model: str
    lease_s: float
    priority: int
    shards: tuple[Shard, ...]
    attempts: tuple[int, ...]
    sent_sky_s: float = 0.0
    deadline_sky_s: float | None = None


class Stages(msgspec.Struct, frozen=True):
    """Where a shard's time went until it was computed, in emulated seconds; `desk_wait_s` and `cpu_s` are this desk's.

    The ground sent the assignment at `sent_sky_s`; it spent `up_ground_s` on radio and fibre and `up_laser_s` on lasers
    (in front of each, on it, and as light), and arrived at `arrived_sky_s`; then it queued, then the device computed.
    """

    arrived_sky_s: float
    queue_s: float
    inference_s: float
    desk_wait_s: float
    cpu_s: float
    sent_sky_s: float = 0.0
    up_laser_s: float = 0.0
    up_ground_s: float = 0.0


class Result(msgspec.Struct, frozen=True, tag=True):
    """Satellite to ground: a shard's result, its bytes being the transfer's payload."""

    job: str
    shard: int
    attempt: int
    digest: bytes
    stages: Stages


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Satellite to ground: this shard could not be computed here. `final` where no other satellite could either."""

    job: str
    shard: int
    attempt: int
    cause: str
    final: bool


class Settled(msgspec.Struct, frozen=True, tag=True):
    """Ground to satellite: these results are durable here; forget them."""

    job: str
    shards: tuple[int, ...]


class Withdraw(msgspec.Struct, frozen=True, tag=True):
    """Ground to satellite: the job has ended; drop what is queued of it."""

    job: str


class Hello(msgspec.Struct, frozen=True, tag=True):
    """Ground to satellite: a controller of this epoch has started; say what you hold."""


class Alive(msgspec.Struct, frozen=True, tag=True):
    """Satellite to ground: what I hold, and which shards I have in hand. Renews their leases."""

    captures: tuple[str, ...]
    working: tuple[tuple[str, tuple[int, ...]], ...]


class Replica(msgspec.Struct, frozen=True, tag=True):
    """Satellite to satellite: a copy of a capture, its bytes being the transfer's payload."""

    capture: str
    digest: bytes


class LinkAdvert(msgspec.Struct, frozen=True, tag=True):
    """Node to neighbours and ground: my terminal lost (or regained) this link at that sky time."""

    link: Link
    up: bool
    since_sky_s: float


class CustodyAck(msgspec.Struct, frozen=True, tag=True):
    """Over one hop: I have taken custody of these frames of yours."""

    numbers: tuple[int, ...]


class Probe(msgspec.Struct, frozen=True, tag=True):
    """A frame that measures the link and means nothing else."""

    number: int


Body = Assign | Result | Failed | Settled | Withdraw | Hello | Alive | Replica | LinkAdvert | CustodyAck | Probe


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame. `custody` numbers it on its present link from this boot of its sender (0: no custody wanted);
    every number below `floor` is settled between the two.

    `transfer` is unique at the source for ever (boot and counter); `offset` and `total` place the payload's chunk;
    `digest` is the whole payload's. `met` are dead links that it ran into on the way.

    `routed_sky_s` is when the present node chose the link that it goes out on (not on the wire); `laser_s` and
    `ground_s` are the emulated seconds that it has spent for lasers and for radio and fibre so far: from that choice to
    its last bit at the other end.
    """

    source: NodeId
    destination: NodeId
    priority: Priority
    body: Body
    transfer: int
    trace: int
    epoch: int = 0
    boot: int = 0
    custody: int = 0
    floor: int = 0
    hop_limit: int = HOP_LIMIT
    hops: int = 0
    offset: int = 0
    total: int = 0
    digest: bytes = b""
    payload: Piece | None = None
    met: tuple[Link, ...] = ()
    routed_sky_s: float = 0.0
    laser_s: float = 0.0
    ground_s: float = 0.0


HEADER_BYTES = 64
"""What a frame's header is charged on a link's rate: what a compact binary form of its fields takes (assumed). On the
desk it is a protobuf message of about twice that."""

BODY_BYTES_PER_SHARD = 64
"""What each shard in an assignment is charged."""


def flow_of(frame: Frame) -> tuple[NodeId, int]:
    """The transfer that a frame belongs to: transfers take turns on a link."""
    return frame.source, frame.transfer


def size_on_link_bytes(frame: Frame) -> int:
    """The bytes that a frame is charged for on a link: header, body and payload."""
    body = BODY_BYTES_PER_SHARD * len(frame.body.shards) if isinstance(frame.body, Assign) else 0
    return HEADER_BYTES + body + (frame.payload.length if frame.payload is not None else 0)
