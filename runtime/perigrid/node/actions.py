"""What can a machine want done?

Actions come out of `handle`, in the order in which they are to be carried out. A driver does them and asks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from perigrid.job.spec import Shard
from perigrid.mesh.topology import Link
from perigrid.node.blobs import Piece
from perigrid.node.events import Recalled
from perigrid.node.frames import Frame, Stages
from perigrid.node.manifest import Order
from perigrid.node.records import Record
from perigrid.node.replies import Reply


@dataclass(frozen=True, slots=True)
class Send:
    """Put a frame into a link's queue."""

    link: Link
    frame: Frame


@dataclass(frozen=True, slots=True)
class DropQueued:
    """Throw away what has not left yet on this link: its custodian sends it another way."""

    link: Link


@dataclass(frozen=True, slots=True)
class Infer:
    """Run a shard on the device; answered by InferenceEnded or InferenceFailed with the same `task`.

    A request's shard comes with its input, whose hash is to be `digest`. The computer takes `extra_s` (emulated) more.
    With a `discard_share` the result says which tiles have less of cloud, and are kept.
    """

    task: int
    job: str
    model: str
    shard: Shard
    input: tuple[Piece, ...] = ()
    digest: bytes = b""
    extra_s: float = 0.0
    discard_share: float | None = None


@dataclass(frozen=True, slots=True)
class AbandonInference:
    """Nobody wants this task's result any more: stop it, and free its slot. It is not answered."""

    task: int


@dataclass(frozen=True, slots=True)
class KeepCapture:
    """Write a capture's copy to flash and check its hash; answered by Kept."""

    key: str
    capture: str
    pieces: tuple[Piece, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class KeepResult:
    """Write a result to flash (on the ground: append it to the results file); answered by Kept."""

    key: str
    job: str
    shard: int
    pieces: tuple[Piece, ...]
    digest: bytes
    stages: Stages


@dataclass(frozen=True, slots=True)
class JoinPieces:
    """Put a result together in memory and check its hash; answered by Kept."""

    key: str
    pieces: tuple[Piece, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class ForgetResults:
    """Delete results from flash: the ground has them."""

    job: str
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OpenModel:
    """Make room in flash for a model's bytes, and keep the order with it; where it is there, keep the newer order."""

    order: Order


@dataclass(frozen=True, slots=True)
class KeepPiece:
    """Write a piece of a model to flash if its SHA-256 is `digest`; answered by PieceKept."""

    model: bytes
    index: int
    pieces: tuple[Piece, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class RehashModel:
    """Read a model's bytes from flash, and hash them; answered by ModelRehashed.

    Where they are wrong it is quarantined: no worker finds it until it has been found right again.
    """

    model: bytes


@dataclass(frozen=True, slots=True)
class ServeModel:
    """Let the worker serve a model that was found right; answered by ModelServed."""

    model: bytes
    name: str


@dataclass(frozen=True, slots=True)
class WithdrawModel:
    """Let the worker serve a model no more."""

    name: str


@dataclass(frozen=True, slots=True)
class DropModel:
    """Delete a model's bytes and its order from flash."""

    model: bytes


@dataclass(frozen=True, slots=True)
class Persist:
    """Append records to the journal; carry out `then`, in order, only once they are durable."""

    records: tuple[Record, ...]
    then: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Recall:
    """Hand this event back to the machine; as part of a Persist's `then`, once its records are durable."""

    event: Recalled


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send Woken(key) when the node's own clock reads `local_s`; a later one with the same key takes its place.

    A lazy one may come some hundredths of a second later, when the node is awake anyway.
    """

    key: str
    local_s: float
    lazy: bool = False


@dataclass(frozen=True, slots=True)
class Tell:
    """Answer a client."""

    client: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a line in the event log. `what` names it; the fields are plain values."""

    what: str
    trace: int = 0
    fields: dict[str, str | int | float] = field(default_factory=dict)


Action = (
    Send
    | DropQueued
    | Infer
    | AbandonInference
    | KeepCapture
    | KeepResult
    | JoinPieces
    | ForgetResults
    | OpenModel
    | KeepPiece
    | RehashModel
    | ServeModel
    | WithdrawModel
    | DropModel
    | Persist
    | Recall
    | WakeAt
    | Tell
    | Note
)
