"""What is a model that crosses links: which bytes, in which pieces, and for whom?

A model is its bytes: it is named on every link and in every flash by their SHA-256. It travels in pieces, each with a
hash of its own, so that a satellite can tell a right piece from a wrong one before it has the others, and pass it on.
A manifest lists them. An order says what is to become of it: whose it shall be, and who only carries it for others.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from perigrid.errors import ProtocolError
from perigrid.job.spec import JOB_ID_CHARACTERS
from perigrid.units import KIB, MIB, NodeId

DIGEST_BYTES = 32
PIECE_BYTES = 256 * KIB
"""A piece's length, where a model has no more than MAX_PIECES of them; else the next doubling that makes it so."""

MAX_PIECES = 1024
"""Pieces of one model: their hashes are 32 KiB, which fit into one frame's header."""

MAX_MODEL_BYTES = 1024 * MIB
MAX_NAME_LENGTH = 64
MAX_ENTRY_BYTES = 16 * KIB
"""What a worker is told of a model beside its bytes."""

MAX_NAMED_SATELLITES = 2048
"""Satellites that an order may name; one for all names none."""


class Manifest(msgspec.Struct, frozen=True):
    """A model: `digest` is the SHA-256 of its `length` bytes, `pieces` are those of its pieces, in order.

    `entry` is what a worker must know beside the bytes (JSON); no machine reads it.
    """

    name: str
    digest: bytes
    length: int
    piece_bytes: int
    pieces: tuple[bytes, ...]
    entry: bytes = b""

    def check(self) -> None:
        """Raise ProtocolError where this is no manifest: what names files must be a name, and bounds hold."""
        label = f"a manifest of model {self.name[:MAX_NAME_LENGTH]!r}"
        if not is_model_name(self.name):
            raise ProtocolError(f"{label}: a name is 1 to {MAX_NAME_LENGTH} letters, digits, '-', '_' or '.'")
        if not 0 < self.length <= MAX_MODEL_BYTES or len(self.entry) > MAX_ENTRY_BYTES:
            raise ProtocolError(f"{label} of {self.length} bytes, described in {len(self.entry)}: a bound is passed")
        if self.piece_bytes != piece_bytes(self.length) or len(self.pieces) != -(-self.length // self.piece_bytes):
            raise ProtocolError(f"{label}: {len(self.pieces)} pieces of {self.piece_bytes} bytes are not its length")
        if any(len(digest) != DIGEST_BYTES for digest in (self.digest, *self.pieces)):
            raise ProtocolError(f"{label}: a SHA-256 has {DIGEST_BYTES} bytes")

    def offset(self, index: int) -> int:
        """Where a piece begins."""
        return index * self.piece_bytes

    def size_bytes(self, index: int) -> int:
        """How long a piece is; the last one is shorter."""
        return min(self.piece_bytes, self.length - self.offset(index))


class Order(msgspec.Struct, frozen=True):
    """A manifest, and what is to become of it. Of two orders of one model the one with the higher `serial` counts.

    `targets` are those who shall hold and serve it, all satellites where it is empty; `carriers` only pass it on.
    Targets never evict a `pinned` model. `refused` is the hash that was found in place of one of the manifest's: the
    model is to be held by nobody.
    """

    manifest: Manifest
    serial: int
    targets: tuple[NodeId, ...] = ()
    carriers: tuple[NodeId, ...] = ()
    pinned: bool = False
    refused: bytes = b""

    def is_for(self, node: NodeId) -> bool:
        """Shall this satellite serve it?"""
        return not self.targets or node in self.targets

    def concerns(self, node: NodeId) -> bool:
        """Shall this satellite hold it, for itself or for others?"""
        return self.is_for(node) or node in self.carriers


def piece_bytes(length: int) -> int:
    """The length of the pieces of a model of `length` bytes."""
    size = PIECE_BYTES
    while -(-length // size) > MAX_PIECES:
        size *= 2
    return size


def is_model_name(name: str) -> bool:
    """May a model be called that on a satellite?"""
    return 0 < len(name) <= MAX_NAME_LENGTH and set(name) <= JOB_ID_CHARACTERS and not name.startswith(".")


def as_bits(indices: Iterable[int]) -> bytes:
    """A set of piece numbers as bits, the lowest first."""
    value = 0
    for index in indices:
        value |= 1 << index
    return value.to_bytes(-(-value.bit_length() // 8), "little")


def from_bits(bits: bytes, count: int) -> frozenset[int]:
    """The piece numbers below `count` whose bits are set."""
    value = int.from_bytes(bits, "little")
    return frozenset(index for index in range(count) if value >> index & 1)
