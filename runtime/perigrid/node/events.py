"""What can happen to a machine?

Events go in, one at a time. Whoever drives a machine makes them out of the world's doings; a machine never asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from perigrid.job.spec import Capture, JobSpec, Shard
from perigrid.mesh.topology import Link
from perigrid.node.blobs import Blob
from perigrid.node.frames import Frame, Stages
from perigrid.node.manifest import Manifest, Order
from perigrid.node.records import Record
from perigrid.units import NodeId


@dataclass(frozen=True, slots=True)
class Now:
    """The time of an event: the node's own monotonic clock, and the sky's; both emulated, in seconds."""

    local_s: float
    sky_s: float


@dataclass(frozen=True, slots=True)
class HeldResult:
    """A finished result found in flash after a boot."""

    job: str
    shard: int
    blob: Blob
    stages: Stages


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A model found in flash after a boot: the order under which it was kept, and those pieces whose hash is right."""

    order: Order
    pieces: tuple[tuple[int, Blob], ...]


@dataclass(frozen=True, slots=True)
class SatelliteBooted:
    """A satellite starts; captures, results and models are what its flash still holds."""

    captures: tuple[tuple[str, Blob], ...]
    results: tuple[HeldResult, ...]
    models: tuple[HeldModel, ...] = ()


@dataclass(frozen=True, slots=True)
class ControllerBooted:
    """A controller starts with what its journal holds, oldest first; `models` are the ground's copies, in pieces."""

    records: tuple[Record, ...]
    models: tuple[tuple[bytes, tuple[Blob, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A frame came over a link, at its due time or late."""

    link: Link
    frame: Frame


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The terminal has acquired this link."""

    link: Link


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The terminal lost this link; `planned` where the contact plan said so."""

    link: Link
    planned: bool


@dataclass(frozen=True, slots=True)
class InferenceEnded:
    """The device has finished a task: its result, and what it took. `task` is the machine's own number.

    Where it was asked which tiles are worth going on with, `kept` are their places among the task's.
    """

    task: int
    blob: Blob
    inference_s: float
    desk_wait_s: float
    cpu_s: float
    kept: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class InferenceFailed:
    """The device could not do a task. `payload_died` where the payload process went down with it; `final` where no
    other satellite could do it either: the model refuses its input.
    """

    task: int
    cause: str
    payload_died: bool
    final: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """What `Keep` asked for is in flash (or on the ground's disk, not yet durable). `intact`: its hash was right."""

    key: str
    blob: Blob
    intact: bool


@dataclass(frozen=True, slots=True)
class PieceKept:
    """What `KeepPiece` asked for: `found` is the piece's SHA-256, `blob` the piece in flash where that was right."""

    model: bytes
    index: int
    found: bytes
    blob: Blob | None


@dataclass(frozen=True, slots=True)
class ModelRehashed:
    """What `RehashModel` asked for: the SHA-256 of all its bytes, and the pieces whose own is not the manifest's."""

    model: bytes
    found: bytes
    wrong: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelServed:
    """What `ServeModel` asked for: the worker serves the model, or says why it cannot."""

    model: bytes
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Models and captures were put on board while the run is up; all nodes learn of all, out of band.

    `held` are those captures that are in this very satellite's flash, `copies` those of which it is to send copies.
    """

    models: tuple[str, ...]
    captures: tuple[Capture, ...]
    held: tuple[tuple[str, Blob], ...] = ()
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Woken:
    """A wake-up of that name came due."""

    key: str


@dataclass(frozen=True, slots=True)
class RowDurable:
    """Recalled by the controller itself: that shard's ending is in the journal for good."""

    job: str
    shard: int


@dataclass(frozen=True, slots=True)
class AckDue:
    """Recalled by the controller itself: that satellite may forget its result."""

    job: str
    shard: int
    satellite: NodeId


@dataclass(frozen=True, slots=True)
class JobDurable:
    """Recalled by the controller itself: the job's admission, or its end, is in the journal for good."""

    job: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Exposed:
    """A sensor of this satellite took a frame, number `number` of its own: `raw` are its bytes, tile by tile.

    `shard` names its tiles, and the capture in flash that holds their pixels, or none where `raw` does.
    """

    sensor: str
    number: int
    model: str
    treatment: str
    raw: Blob
    shard: Shard
    deadline_sky_s: float
    filter_model: str = ""
    discard_share: float = 1.0
    trace_parent: bytes = b""


@dataclass(frozen=True, slots=True)
class Submit:
    """A client submits a job; `client` is who to tell."""

    client: int
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class Watch:
    """A client wants a job's results beyond `cursor`, and those to come."""

    client: int
    job: str
    cursor: int


@dataclass(frozen=True, slots=True)
class Unwatch:
    """A client went away."""

    client: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """A client gives up a job."""

    client: int
    job: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A client wants one inference in orbit: answered by Answered or Declined.

    `satellite` is the one that shall do it, or None for any; with `nearest` the nearest takes it, else the least busy.
    With a `trace_parent` (as in frames) its way is written down.
    """

    client: int
    model: str
    input: Blob
    satellite: NodeId | None
    nearest: bool
    priority: int
    deadline_sky_s: float | None
    trace_parent: bytes = b""


@dataclass(frozen=True, slots=True)
class HangUp:
    """A client that asked for an inference does not wait for it any more."""

    client: int


@dataclass(frozen=True, slots=True)
class ListJobs:
    """A client asks which jobs there are."""

    client: int


@dataclass(frozen=True, slots=True)
class Explain:
    """A client asks what a node's shards wait for."""

    client: int
    node: int


@dataclass(frozen=True, slots=True)
class PushDurable:
    """Recalled by the controller itself: the order to bring a model up is in the journal for good."""

    model: bytes
    client: int


@dataclass(frozen=True, slots=True)
class PushModel:
    """A client wants a model on satellites (empty: on all); `pieces` are its bytes on the ground.

    Answered by Models, or Refused.
    """

    client: int
    manifest: Manifest
    pieces: tuple[Blob, ...]
    targets: tuple[NodeId, ...]
    pinned: bool


@dataclass(frozen=True, slots=True)
class ListModels:
    """A client asks which models are where; with `rehash`, every satellite is told to look at its own again.

    Answered by Models, from what the ground knows now.
    """

    client: int
    rehash: bool = False


Recalled = RowDurable | AckDue | JobDurable | PushDurable
ClientRequest = Submit | Watch | Unwatch | Cancel | Ask | HangUp | ListJobs | Explain
ModelRequest = PushModel | ListModels

Event = (
    SatelliteBooted
    | ControllerBooted
    | FrameArrived
    | LinkUp
    | LinkDown
    | InferenceEnded
    | InferenceFailed
    | Exposed
    | Kept
    | PieceKept
    | ModelRehashed
    | ModelServed
    | Loaded
    | Woken
    | Recalled
    | ClientRequest
    | ModelRequest
)
