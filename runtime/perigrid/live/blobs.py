"""Where are the bytes behind a blob's handle? In memory, or in a file that is mapped."""

from __future__ import annotations

import hashlib
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from perigrid.errors import Bug
from perigrid.node.blobs import Blob, Piece


@dataclass(frozen=True, slots=True, eq=False)
class HeldBlob(Blob):
    """A blob and its bytes; they are released with the last handle."""

    data: memoryview


def held(data: bytes | memoryview, digest: bytes | None = None) -> HeldBlob:
    """Bytes as a blob, hashed unless the digest is given."""
    view = memoryview(data)
    return HeldBlob(hashlib.sha256(view).digest() if digest is None else digest, len(view), view)


def mapped(path: Path, digest: bytes | None = None) -> HeldBlob:
    """A file as a blob; its pages are read when they are needed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        view = memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)) if size else memoryview(b"")
    finally:
        os.close(descriptor)
    return held(view, digest)


def view_of(piece: Piece) -> memoryview:
    """The bytes of a piece, not copied."""
    if not isinstance(piece.blob, HeldBlob):
        raise Bug("a blob that this process does not hold reached its driver")
    return piece.blob.data[piece.offset : piece.offset + piece.length]
