"""How does a message with a payload become frames, and frames a message again?

A payload is cut into chunks of about a millisecond of the slowest link's rate, so that a control frame never waits long
behind one. The destination collects chunks in any order, over any routes, and forgets what it has delivered.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from perigrid.mesh.way import Crossing, Leg, way_of
from perigrid.node.blobs import Blob, Piece
from perigrid.node.frames import Body, Frame, Priority
from perigrid.units import KIB, MIB, NodeId

CHUNK_S = 1e-3
MIN_CHUNK_BYTES = 16 * KIB
MAX_CHUNK_BYTES = MIB
MAX_PARTIAL_TRANSFERS = 1024
"""Transfers under assembly at one node; the one that was begun first is given up for a new one."""

MAX_DELIVERED_REMEMBERED = 4096
"""Whole transfers remembered, so that a late duplicate chunk does not begin one anew."""

TRANSFERS_PER_BOOT = 1 << 32


def chunk_bytes(rate_bps: float) -> int:
    """The payload bytes of a frame where the slowest link runs at that rate."""
    return int(min(MAX_CHUNK_BYTES, max(MIN_CHUNK_BYTES, rate_bps * CHUNK_S / 8)))


@dataclass(slots=True)
class Sender:
    """Numbers transfers and cuts them. Numbers never come again: the boot is part of them."""

    node: NodeId
    boot: int
    count: int = 0

    def frames(
        self,
        destination: NodeId,
        body: Body,
        *,
        priority: Priority = Priority.CONTROL,
        payload: Blob | None = None,
        chunk: int = MAX_CHUNK_BYTES,
        epoch: int = 0,
        trace_parent: bytes = b"",
        own_pass: bool = False,
    ) -> list[Frame]:
        """The frames of one message, at least one.

        With a `trace_parent` they write down their way; with `own_pass` they leave this node over a ground link alone.
        """
        self.count += 1
        transfer = self.boot * TRANSFERS_PER_BOOT + self.count
        common = Frame(
            source=self.node,
            destination=destination,
            priority=priority,
            body=body,
            transfer=transfer,
            trace=(int(self.node) << 48) | (transfer & ((1 << 48) - 1)),
            epoch=epoch,
            trace_parent=trace_parent,
            own_pass=own_pass,
        )
        if payload is None or payload.length == 0:
            return [common]
        return [
            Frame(
                source=self.node,
                destination=destination,
                priority=priority,
                body=body,
                transfer=transfer,
                trace=common.trace,
                epoch=epoch,
                trace_parent=trace_parent,
                own_pass=own_pass,
                offset=offset,
                total=payload.length,
                digest=payload.digest,
                payload=Piece(payload, offset, min(chunk, payload.length - offset)),
            )
            for offset in range(0, payload.length, chunk)
        ]


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message as it arrived; `hops` is the most that a chunk of it made, the times are its last chunk's.

    `way` are its legs, where it was traced.
    """

    source: NodeId
    body: Body
    trace: int
    epoch: int
    hops: int
    digest: bytes
    pieces: tuple[Piece, ...]
    laser_s: float = 0.0
    ground_s: float = 0.0
    trace_parent: bytes = b""
    way: tuple[Leg, ...] = ()


@dataclass(slots=True)
class _Partial:
    chunks: dict[int, Piece] = field(default_factory=dict)
    received: int = 0
    hops: int = 0
    trails: list[tuple[Crossing, ...]] = field(default_factory=list)


@dataclass(slots=True)
class Assembler:
    """Collects the chunks of transfers that end at this node."""

    partial: OrderedDict[tuple[NodeId, int], _Partial] = field(default_factory=OrderedDict)
    delivered: OrderedDict[tuple[NodeId, int], None] = field(default_factory=OrderedDict)

    def add(self, frame: Frame) -> Message | None:
        """The message that this frame completes, or None."""
        key = (frame.source, frame.transfer)
        if key in self.delivered:
            return None
        if frame.payload is None:
            self._remember(key)
            return _message(frame, frame.hops, (), [frame.trail])
        partial = self.partial.setdefault(key, _Partial())
        if frame.offset not in partial.chunks:
            partial.chunks[frame.offset] = frame.payload
            partial.received += frame.payload.length
            if frame.trail:
                partial.trails.append(frame.trail)
        partial.hops = max(partial.hops, frame.hops)
        if partial.received < frame.total:
            if len(self.partial) > MAX_PARTIAL_TRANSFERS:
                self.partial.popitem(last=False)
            return None
        del self.partial[key]
        self._remember(key)
        pieces = tuple(partial.chunks[o] for o in sorted(partial.chunks))
        return _message(frame, partial.hops, pieces, partial.trails)

    def _remember(self, key: tuple[NodeId, int]) -> None:
        self.delivered[key] = None
        if len(self.delivered) > MAX_DELIVERED_REMEMBERED:
            self.delivered.popitem(last=False)


def _message(frame: Frame, hops: int, pieces: tuple[Piece, ...], trails: list[tuple[Crossing, ...]]) -> Message:
    return Message(
        frame.source,
        frame.body,
        frame.trace,
        frame.epoch,
        hops,
        frame.digest,
        pieces,
        frame.laser_s,
        frame.ground_s,
        frame.trace_parent,
        way_of(frame.trail, trails) if frame.trail else (),
    )
