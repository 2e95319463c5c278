"""What does a simulated satellite's flash hold of models, and what does its worker serve?

The peer of the live store (`live/modelstore.py`): bytes in memory instead of files, the same answers. A test may change
bytes in it behind everybody's back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from perigrid.node.actions import DropModel, KeepPiece, OpenModel, RehashModel, ServeModel, WithdrawModel
from perigrid.node.events import HeldModel, ModelRehashed, ModelServed, PieceKept
from perigrid.node.manifest import Manifest, Order
from perigrid.sim.blobs import SimBlob, join

ModelAction = OpenModel | KeepPiece | RehashModel | ServeModel | WithdrawModel | DropModel
ModelAnswer = PieceKept | ModelRehashed | ModelServed


@dataclass(slots=True)
class SimModel:
    """One model in flash: the order, and its bytes, of which some pieces were never written."""

    order: Order
    data: bytearray

    def piece(self, index: int) -> bytes:
        """A piece as it lies there."""
        at = self.order.manifest.offset(index)
        return bytes(self.data[at : at + self.order.manifest.size_bytes(index)])

    def wrong(self) -> tuple[int, ...]:
        """The pieces whose hash is not the manifest's."""
        digests = self.order.manifest.pieces
        return tuple(i for i, digest in enumerate(digests) if hashlib.sha256(self.piece(i)).digest() != digest)


@dataclass(slots=True)
class SimModels:
    """The models of one flash, by hash; `served` are those that the worker serves now, which no crash survives."""

    held: dict[bytes, SimModel] = field(default_factory=dict)
    served: dict[str, bytes] = field(default_factory=dict)

    def booted(self) -> tuple[HeldModel, ...]:
        """What a satellite finds in its flash."""
        self.served.clear()
        found = []
        for model in self.held.values():
            wrong = set(model.wrong())
            right = [i for i in range(len(model.order.manifest.pieces)) if i not in wrong]
            blobs = tuple((i, _blob(model.piece(i))) for i in right)
            found.append(HeldModel(model.order, blobs))
        return tuple(found)

    def do(self, action: ModelAction) -> ModelAnswer | None:
        """Carry an action out; its answer, where it has one."""
        match action:
            case OpenModel(order):
                digest = order.manifest.digest
                known = self.held.get(digest)
                data = bytearray(order.manifest.length) if known is None else known.data
                self.held[digest] = SimModel(order, data)
            case KeepPiece(model, index, pieces, digest):
                data_kept = join(pieces)
                found = hashlib.sha256(data_kept).digest()
                if found != digest or model not in self.held:
                    return PieceKept(model, index, found, None)
                at = self.held[model].order.manifest.offset(index)
                self.held[model].data[at : at + len(data_kept)] = data_kept
                return PieceKept(model, index, found, _blob(data_kept))
            case RehashModel(model):
                if model not in self.held:
                    return None
                found = hashlib.sha256(self.held[model].data).digest()
                return ModelRehashed(model, found, () if found == model else self.held[model].wrong())
            case ServeModel(model, name):
                self.served[name] = model
                return ModelServed(model)
            case WithdrawModel(name):
                self.served.pop(name, None)
            case DropModel(model):
                self.held.pop(model, None)
        return None


def manifest_of(name: str, data: bytes, piece_bytes: int) -> tuple[Manifest, tuple[SimBlob, ...]]:
    """A model's manifest, and its pieces as blobs."""
    pieces = tuple(_blob(data[at : at + piece_bytes]) for at in range(0, len(data), piece_bytes))
    digests = tuple(piece.digest for piece in pieces)
    return Manifest(name, hashlib.sha256(data).digest(), len(data), piece_bytes, digests), pieces


def _blob(data: bytes) -> SimBlob:
    return SimBlob(hashlib.sha256(data).digest(), len(data), data)
