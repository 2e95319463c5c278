"""Where are the bytes behind a blob's handle in simulation? At hand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from perigrid.errors import Bug
from perigrid.node.blobs import Blob, Piece


@dataclass(frozen=True, slots=True, eq=False)
class SimBlob(Blob):
    """A blob whose bytes are at hand."""

    data: bytes = b""


def sim_blob(data: bytes) -> SimBlob:
    """Bytes as a blob."""
    return SimBlob(hashlib.sha256(data).digest(), len(data), data)


def join(pieces: tuple[Piece, ...]) -> bytes:
    """The bytes of some pieces, one behind the other."""
    parts = []
    for piece in pieces:
        if not isinstance(piece.blob, SimBlob):
            raise Bug("a blob without bytes reached a simulated driver")
        parts.append(piece.blob.data[piece.offset : piece.offset + piece.length])
    return b"".join(parts)
