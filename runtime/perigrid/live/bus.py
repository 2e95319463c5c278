"""How do frames cross a laser on a desk?

Each host process binds one ZeroMQ PULL bus and connects a PUSH to the buses of the hosts that its nodes have links to;
a frame names its link. Each direction of a link has its own channel (queue, rate, delay, loss). A frame leaves at its
first bit's time, stamped with when its last bit is due at the other end, and the RECEIVING host holds it until then:
what was sent before a crash still lands, as photons do, and the transit time over the desk costs nothing.

PUSH with IMMEDIATE says at once when the other process is gone. Frames for a process that is slow wait here; they will
be late there, and counted.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import zmq

from perigrid.errors import Bug, ProtocolError
from perigrid.live.blobs import HeldBlob, view_of
from perigrid.live.config import RunConfig
from perigrid.live.eventlog import EventLog
from perigrid.live.lateness import LatenessMeter
from perigrid.live.loop import Loop
from perigrid.mesh.channel import MAX_QUEUED_FRAMES, Channel, Departure, loss_seed, lost
from perigrid.mesh.equipment import processing_s
from perigrid.mesh.outages import Outages
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.topology import Link
from perigrid.node.actions import Note
from perigrid.node.blobs import Piece
from perigrid.node.frames import CustodyAck, Frame, Priority, Probe, Replica, flow_of, size_on_link_bytes
from perigrid.node.terminals import Overlay
from perigrid.units import NodeId
from perigrid.wire.codec import (
    MAX_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Stamp,
    check_payload,
    decode,
    encode,
)

SEND_HIGH_WATER = 256
"""Frames that ZeroMQ may hold for one neighbouring host; beyond, they wait here."""

MAX_STUCK_FRAMES = 8192
"""Frames that wait for one neighbouring host; beyond, new ones are dropped, and custody brings them again."""

COPY_BELOW_BYTES = 64 * 1024
LOOKAHEAD_WALL_S = 1e-3
"""How far ahead of its first bit's time a frame is handed over, so that a busy process need not wake for each."""

RECEIVE_BURST = 128
MAX_AHEAD_S = 1.0
"""A frame is stamped at most so far ahead of its departure, emulated seconds: the look-ahead at the highest rate."""

MAX_FLIGHT_S = 60.0
"""From a frame's first bit out to its last bit in, emulated seconds: a chunk on the slowest line, and its light."""

MAX_ARRIVALS_KEPT = 100_000
TRAFFIC_LOOK_WALL_S = 1.0
"""How often what links have carried is written into the event log, while it changes."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A probe's arrival, all times emulated."""

    source: NodeId
    number: int
    sent_s: float
    due_s: float
    arrived_s: float
    size_bytes: int


@dataclass(slots=True)
class BusCounts:
    """What this host has sent and refused."""

    lost: int = 0
    bad: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What one direction of a link has carried, and what waits for it."""

    sender: str
    receiver: str
    kind: str
    size_bytes: int
    frames: int
    queued_frames: int


@dataclass(slots=True)
class _Direction:
    """The sending side of one link."""

    channel: Channel
    seed: bytes
    sequence: int = 0
    size_bytes: int = 0
    replica_bytes: int = 0
    noted_bytes: int = 0
    pump_s: float = float("inf")


class Bus:
    """All link ends of one host process."""

    def __init__(
        self,
        name: str,
        config: RunConfig,
        plan: ContactPlan,
        outages: Outages,
        loop: Loop,
        meter: LatenessMeter,
        log: EventLog,
    ) -> None:
        self.overlay = Overlay()
        self.counts = BusCounts()
        self.arrivals: deque[Arrival] = deque(maxlen=MAX_ARRIVALS_KEPT)
        self._config = config
        self._plan = plan
        self._loop = loop
        self._meter = meter
        self._log = log
        self._name = name
        self._host_of = config.host_of()
        self.outages = outages
        self._receivers: dict[NodeId, Callable[[Link, Frame], None]] = {}
        self._directions: dict[tuple[Link, NodeId], _Direction] = {}
        self._pushes: dict[str, zmq.Socket[bytes]] = {}
        self._stuck: dict[str, deque[list[bytes | memoryview]]] = {}
        self._traffic_due = False
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 8192)
        self._pull = self._context.socket(zmq.PULL)
        self._pull.setsockopt(zmq.LINGER, 0)
        self._pull.setsockopt(zmq.MAXMSGSIZE, max(MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES))
        self._pull.bind(f"ipc://sockets/{name}.bus")
        loop.watch(int(self._pull.getsockopt(zmq.FD)), self._receive)
        loop.after_turn.append(self._after_turn)

    def attach(self, node: NodeId, receiver: Callable[[Link, Frame], None]) -> None:
        """A node of this process lives: hand it what arrives, and connect to its neighbours' hosts."""
        self._receivers[node] = receiver
        for link in self._plan.links_of(node):
            self._push_to(self._host_of[link.other(node)])

    def detach(self, node: NodeId) -> None:
        """A node of this process is dead: what arrives for it is lost, and so is what it had queued."""
        self._receivers.pop(node, None)
        for (_, sender), direction in self._directions.items():
            if sender == node:
                direction.channel.clear()

    def send(self, node: NodeId, link: Link, frame: Frame, now_s: float) -> None:
        """Put a frame into a link's queue, at the node's own sky time."""
        direction = self._direction(link, node)
        control = frame.priority is Priority.CONTROL
        if direction.channel.queued_frames >= MAX_QUEUED_FRAMES - 1:
            # Credits bound bulk far below this; what is dropped here its custodian sends again.
            self.counts.dropped += 1
            return
        direction.channel.push(frame, size_on_link_bytes(frame), control, now_s, flow_of(frame))
        self._pump(link, node, direction)

    def drop_queued(self, node: NodeId, link: Link) -> None:
        """Throw away what has not left on a link."""
        direction = self._directions.get((link, node))
        if direction is not None:
            direction.channel.clear()

    def see(self, overlay: Overlay) -> None:
        """What is broken has changed: frames that wait for a process whose nodes are all dead shine on nobody."""
        self.overlay = overlay
        for spec in self._config.hosts:
            stuck = self._stuck.get(spec.name)
            if stuck and all(node in overlay.dead for node in spec.nodes):
                self.counts.dropped += len(stuck)
                stuck.clear()

    def loads(self) -> list[Load]:
        """What each direction that starts here has carried; may be asked from any thread."""
        names = self._plan.mesh.names
        return [
            Load(
                names[sender],
                names[link.other(sender)],
                link.kind.name.lower(),
                direction.size_bytes,
                direction.sequence,
                direction.channel.queued_frames,
            )
            for (link, sender), direction in list(self._directions.items())
        ]

    def note_traffic(self) -> None:
        """Write into the event log what each direction has carried since this process began, where that has changed."""
        self._traffic_due = False
        names, now_s = self._plan.mesh.names, self._loop.clock.now_s()
        for (link, sender), direction in self._directions.items():
            if direction.size_bytes == direction.noted_bytes:
                continue
            direction.noted_bytes = direction.size_bytes
            fields = {
                "a": names[sender],
                "b": names[link.other(sender)],
                "kind": link.kind.name.lower(),
                "bytes": direction.size_bytes,
                "replica_bytes": direction.replica_bytes,
                "frames": direction.sequence,
                "process": self._name,
                "pid": os.getpid(),
            }
            self._log.add(now_s, names[sender], "traffic", fields)

    def _note_traffic_soon(self) -> None:
        if not self._traffic_due:
            self._traffic_due = True
            wall_s, reading = self._loop.clock.look()
            due_s = reading.emulated_at(wall_s) + TRAFFIC_LOOK_WALL_S * reading.rate_at(wall_s)
            self._loop.at(due_s, self.note_traffic, lazy=True)

    def close(self) -> None:
        """Close all sockets; nothing lingers."""
        self._context.destroy(linger=0)

    # --- sending

    def _direction(self, link: Link, sender: NodeId) -> _Direction:
        direction = self._directions.get((link, sender))
        if direction is None:
            channel = Channel(
                lambda t: self._plan.line_rate_bps(link, sender, t),
                lambda t: self._plan.state(link, t).delay_s,
                processing_s(self._config.scenario, self._plan.mesh, link, sender),
            )
            direction = _Direction(channel, loss_seed(self._config.seed, link, sender))
            self._directions[link, sender] = direction
        return direction

    def _pump(self, link: Link, sender: NodeId, direction: _Direction) -> None:
        wall_s, reading = self._loop.clock.look()
        ahead_s = LOOKAHEAD_WALL_S * reading.rate_at(wall_s)
        # By the moment, not by the clock: what is due in between, and comes first, is still to be done.
        for departure in direction.channel.pump(self._loop.now_s(), ahead_s):
            self._depart(link, sender, direction, departure)
        next_s = direction.channel.next_pump_s
        if next_s < direction.pump_s:
            direction.pump_s = next_s

            def again() -> None:
                if direction.pump_s == next_s:
                    direction.pump_s = float("inf")
                    self._pump(link, sender, direction)

            self._loop.at(next_s - ahead_s / 2, again)

    def _depart(self, link: Link, sender: NodeId, direction: _Direction, departure: Departure) -> None:
        frame, receiver = departure.frame, link.other(sender)
        if not isinstance(frame, Frame):
            raise Bug("a channel held something that is no frame")
        direction.sequence += 1
        size = size_on_link_bytes(frame)
        direction.size_bytes += size
        self._note_traffic_soon()
        if isinstance(frame.body, Replica):
            direction.replica_bytes += size
        if lost(direction.sequence, direction.seed, self._plan.loss(link)):
            self.counts.lost += 1
            return
        if not self.overlay.carries(sender, receiver, departure.start_s):
            self.counts.dropped += 1
            return
        stamp = Stamp(
            link,
            sender,
            departure.start_s,
            departure.due_s,
            direction.sequence,
            departure.end_s,
            departure.processing_s,
        )
        payload = view_of(frame.payload) if frame.payload is not None else memoryview(b"")
        parts: list[bytes | memoryview] = [encode(frame, stamp, payload)]
        if payload:
            parts.append(payload)
        host = self._host_of[receiver]
        stuck = self._stuck.get(host)
        if stuck:
            if len(stuck) < MAX_STUCK_FRAMES:
                stuck.append(parts)
            else:
                self.counts.dropped += 1
        elif not self._hand_over(host, parts):
            self._stuck.setdefault(host, deque()).append(parts)

    def _hand_over(self, host: str, parts: list[bytes | memoryview]) -> bool:
        copy = len(parts) == 1 or len(parts[1]) < COPY_BELOW_BYTES
        try:
            self._push_to(host).send_multipart(parts, zmq.NOBLOCK, copy=copy)
        except zmq.Again:
            return False
        if self._loop.marks is not None:
            self._loop.marks.sent(host)
        return True

    def _push_to(self, host: str) -> zmq.Socket[bytes]:
        push = self._pushes.get(host)
        if push is None:
            push = self._context.socket(zmq.PUSH)
            push.setsockopt(zmq.LINGER, 0)
            push.setsockopt(zmq.IMMEDIATE, 1)
            push.setsockopt(zmq.SNDHWM, SEND_HIGH_WATER)
            push.setsockopt(zmq.RECONNECT_IVL, 20)
            push.connect(f"ipc://sockets/{host}.bus")
            self._pushes[host] = push
        return push

    # --- receiving

    def _after_turn(self) -> None:
        # ZeroMQ's descriptor is edge-triggered: sending may have swallowed the edge of something received.
        if int(self._pull.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._receive()
        for host, stuck in self._stuck.items():
            while stuck and self._hand_over(host, stuck[0]):
                stuck.popleft()
        self._loop.hurry = any(self._stuck.values())

    def _receive(self) -> None:
        for _ in range(RECEIVE_BURST):
            try:
                parts = self._pull.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if self._loop.marks is not None:
                self._loop.marks.taken()
            try:
                self._take(parts)
            except ProtocolError:
                self.counts.bad += 1
        self._loop.soon(self._receive)

    def _take(self, parts: list[bytes]) -> None:
        frame, stamp, length, crc32 = decode(parts[0])
        payload = parts[1] if len(parts) == 2 else b""
        check_payload(payload, length, crc32)
        if len(parts) > 2 or stamp.from_node not in (stamp.link.a, stamp.link.b):
            raise ProtocolError("a frame of more than two parts, or from a node that is not on its link")
        self._check_world(frame, stamp)
        receiver = stamp.link.other(stamp.from_node)
        if receiver not in self._receivers or not self._light_passes(stamp, receiver):
            self.counts.dropped += 1
            return
        if length:
            blob = HeldBlob(b"", length, memoryview(payload))
            frame = msgspec.structs.replace(frame, payload=Piece(blob, 0, length))
        # Acknowledgements of custody are no work's latency: they wait until this process is awake anyway.
        lazy = isinstance(frame.body, CustodyAck)
        self._loop.at(stamp.due_s, lambda: self._release(receiver, stamp, frame), lazy)

    def _check_world(self, frame: Frame, stamp: Stamp) -> None:
        """ProtocolError for nodes, links and times that this world does not have."""
        nodes = len(self._host_of)
        if frame.source >= nodes or frame.destination >= nodes:
            raise ProtocolError(f"a frame from node {frame.source} to {frame.destination}: there are {nodes}")
        if stamp.link not in self._plan.links_of(stamp.from_node):
            raise ProtocolError(f"a frame over {tuple(stamp.link)}, which is no link of this mesh")
        stages = getattr(frame.body, "stages", None)
        for leg in (*frame.trail, *(stages.up if stages is not None else ())):
            if leg.link not in self._plan.links_of(leg.sender):
                raise ProtocolError(f"a frame that came over {tuple(leg.link)}, which is no link of this mesh")
        if stamp.sent_s > self._loop.clock.now_s() + MAX_AHEAD_S or stamp.due_s - stamp.sent_s > MAX_FLIGHT_S:
            raise ProtocolError(f"a frame that left at {stamp.sent_s} s and is due at {stamp.due_s} s")

    def _light_passes(self, stamp: Stamp, receiver: NodeId) -> bool:
        """A frame lands only where the plan had the link when it left, and nothing cut it then."""
        sent_s = max(0.0, stamp.sent_s)
        if not self._plan.state(stamp.link, sent_s).up or self.outages.is_out(stamp.link, sent_s):
            return False
        return self.overlay.carries(stamp.from_node, receiver, stamp.sent_s)

    def _release(self, receiver: NodeId, stamp: Stamp, frame: Frame) -> None:
        wall_s, reading = self._loop.clock.look()
        # Where time stands, what counts is the rate at which it goes on.
        now_s, rate = reading.emulated_at(wall_s), reading.rate_at(wall_s) or reading.next.rate
        if not isinstance(frame.body, CustodyAck) and self._meter.frame(now_s - stamp.due_s, rate):
            fields: dict[str, str | int | float] = {
                "late_s": round(now_s - stamp.due_s, 6),
                "from": int(stamp.from_node),
            }
            self._log.note(self._loop.now_s(), self._name, Note("late-frame", frame.trace, fields))
        if isinstance(frame.body, Probe) and frame.destination == receiver:
            size = size_on_link_bytes(frame)
            arrival = Arrival(frame.source, frame.body.number, stamp.sent_s, stamp.due_s, now_s, size)
            self.arrivals.append(arrival)
        deliver = self._receivers.get(receiver)
        if deliver is not None:
            deliver(stamp.link, frame)
