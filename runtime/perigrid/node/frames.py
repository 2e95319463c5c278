"""What do nodes say to each other?

A frame is what crosses one link: a header, a small body (a message), and at most one chunk of a payload. The body of a
transfer of several chunks rides on each of them, so that any one tells what it belongs to. Times of departure and
arrival are not here: the link's carrier stamps those.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from perigrid.job.spec import Shard
from perigrid.mesh.topology import Link
from perigrid.mesh.way import Crossing, Leg
from perigrid.node.blobs import Piece
from perigrid.node.manifest import DIGEST_BYTES, Order
from perigrid.units import NodeId

HOP_LIMIT = 96
"""Above the diameter of the largest preset's +Grid (36 + 39 hops), with room for detours."""

MAX_TRAIL = 128
"""Crossings that a traced frame remembers: a budget of hops, and detours; further ones are not written down."""

TRACE_PARENT_BYTES = 25

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
    `up` is its way up, where it was traced.
    """

    arrived_sky_s: float
    queue_s: float
    inference_s: float
    desk_wait_s: float
    cpu_s: float
    sent_sky_s: float = 0.0
    up_laser_s: float = 0.0
    up_ground_s: float = 0.0
    up: tuple[Leg, ...] = ()


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
    """Satellite to ground: what I hold, and which shards I have in hand. Renews their leases.

    `models` are those that were pushed and lie in flash, whole or not.
    """

    captures: tuple[str, ...]
    working: tuple[tuple[str, tuple[int, ...]], ...]
    models: tuple[bytes, ...] = ()


class Replica(msgspec.Struct, frozen=True, tag=True):
    """Satellite to satellite: a copy of a capture, its bytes being the transfer's payload."""

    capture: str
    digest: bytes


class Part(msgspec.Struct, frozen=True, tag=True):
    """Satellite to neighbour: infer these tiles of my sensor's frame, whose raw bytes are the transfer's payload."""

    frame: str
    index: int
    parts: int
    sensor: str
    number: int
    model: str
    shard: Shard
    taken_sky_s: float
    deadline_sky_s: float


class Observation(msgspec.Struct, frozen=True, tag=True):
    """Satellite to ground: what became of a sensor's frame, or of part `index` of `parts`; its bytes are the payload.

    `kind` is "answer" (a result), "raw" (the ground infers), "kept" (what a filter left, with its result) or
    "discarded" (nothing is left, and there is no payload). `tiles` is how many of them it is about.
    """

    frame: str
    index: int
    parts: int
    sensor: str
    number: int
    model: str
    kind: str
    taken_sky_s: float
    deadline_sky_s: float
    treatment: str
    tiles: int
    digest: bytes
    stages: Stages


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


class ModelOffer(msgspec.Struct, frozen=True, tag=True):
    """Ground to satellite, or to a laser neighbour that asked: a model shall be somewhere.

    `root`: ask the ground itself for those pieces that no neighbour has.
    """

    order: Order
    root: bool = False


class ModelHave(msgspec.Struct, frozen=True, tag=True):
    """To a laser neighbour: of this model, under the order of this serial, I have these pieces (bits)."""

    model: bytes
    serial: int
    pieces: bytes


class ModelAsk(msgspec.Struct, frozen=True, tag=True):
    """To a laser neighbour or the ground: send me these pieces; with `order`, what is to become of this model.

    `doubted`: a piece of yours had another hash; look at your own.
    """

    model: bytes
    pieces: tuple[int, ...] = ()
    order: bool = False
    doubted: bool = False


class ModelPiece(msgspec.Struct, frozen=True, tag=True):
    """A piece of a model, its bytes being the transfer's payload."""

    model: bytes
    index: int


class ModelQuery(msgspec.Struct, frozen=True, tag=True):
    """Ground to satellite: say how it is with this model (empty: all); with `rehash`, look at its bytes first."""

    model: bytes = b""
    rehash: bool = False


ModelStateWord = Literal["absent", "arriving", "held", "loaded", "corrupt", "refused", "no-room", "evicted"]


class ModelState(msgspec.Struct, frozen=True, tag=True):
    """Satellite to ground: how it is with a model here. `found` is its bytes' SHA-256, where it was not the model's.

    `pieces` are how many are here, `rehashed_sky_s` is when all its bytes were last found right (below 0: never).
    """

    model: bytes
    state: ModelStateWord
    pieces: int = 0
    rehashed_sky_s: float = -1.0
    cause: str = ""
    found: bytes = b""


Body = (
    Assign
    | Result
    | Failed
    | Settled
    | Withdraw
    | Hello
    | Alive
    | Replica
    | LinkAdvert
    | CustodyAck
    | Probe
    | ModelOffer
    | ModelHave
    | ModelAsk
    | ModelPiece
    | ModelQuery
    | ModelState
    | Part
    | Observation
)


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame. `custody` numbers it on its present link from this boot of its sender (0: no custody wanted);
    every number below `floor` is settled between the two.

    `transfer` is unique at the source for ever (boot and counter); `offset` and `total` place the payload's chunk;
    `digest` is the whole payload's. `met` are dead links that it ran into on the way.

    `routed_sky_s` is when the present node chose the link that it goes out on (not on the wire); `laser_s` and
    `ground_s` are the emulated seconds that it has spent for lasers and for radio and fibre so far: from that choice to
    its last bit at the other end.

    One with `own_pass` leaves its source over a ground link of its own alone, and goes on by fibre from there.

    A frame with a `trace_parent` (W3C Trace Context: 16 bytes of trace id, 8 of the parent's, 1 of flags) writes down
    its way: `trail` has a crossing for each link behind it. `here_sky_s` is when it came to the present node, or
    began there (below 0: not yet), and `held_s` how long it waited here for want of a way; neither is on the wire.
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
    own_pass: bool = False
    laser_s: float = 0.0
    ground_s: float = 0.0
    trace_parent: bytes = b""
    trail: tuple[Crossing, ...] = ()
    here_sky_s: float = -1.0
    held_s: float = 0.0


HEADER_BYTES = 64
"""What a frame's header is charged on a link's rate: what a compact binary form of its fields takes (assumed). On the
desk it is a protobuf message of about twice that."""

BODY_BYTES_PER_SHARD = 64
"""What each shard in an assignment is charged."""

BODY_BYTES_PER_NODE = 4
BODY_BYTES_PER_PIECE = 2
"""What each satellite that an order names, and each piece that is asked for, is charged."""


def flow_of(frame: Frame) -> tuple[NodeId, int]:
    """The transfer that a frame belongs to: transfers take turns on a link.

    The pieces of one model to one node are one: they follow each other, and take one turn beside others.
    """
    if isinstance(frame.body, ModelPiece):
        return frame.source, -1 - (int.from_bytes(frame.body.model[:8], "little") << 32) - int(frame.destination)
    return frame.source, frame.transfer


def size_on_link_bytes(frame: Frame) -> int:
    """The bytes that a frame is charged for on a link: header, body and payload."""
    return HEADER_BYTES + _body_bytes(frame.body) + (frame.payload.length if frame.payload is not None else 0)


def _body_bytes(body: Body) -> int:
    match body:
        case Assign():
            return BODY_BYTES_PER_SHARD * len(body.shards)
        case Part():
            return BODY_BYTES_PER_SHARD
        case ModelOffer(order):
            manifest = order.manifest
            hashes = DIGEST_BYTES * (1 + len(manifest.pieces))
            return hashes + len(manifest.entry) + BODY_BYTES_PER_NODE * (len(order.targets) + len(order.carriers))
        case ModelHave():
            return DIGEST_BYTES + len(body.pieces)
        case ModelAsk():
            return DIGEST_BYTES + BODY_BYTES_PER_PIECE * len(body.pieces)
        case _:
            return 0
