"""How does a machine speak of bytes that it never touches?

Payload bytes do not pass through a machine. It handles blobs by content hash and length; whoever drives it subclasses
`Blob` to hold the bytes, and the garbage collector releases them when the last handle is gone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Blob:
    """A handle on `length` bytes; `digest` is their SHA-256, or empty where nobody has computed it (a chunk)."""

    digest: bytes
    length: int


@dataclass(frozen=True, slots=True)
class Piece:
    """`length` bytes of a blob from `offset` on."""

    blob: Blob
    offset: int
    length: int


def whole(blob: Blob) -> Piece:
    """All of a blob as one piece."""
    return Piece(blob, 0, blob.length)
