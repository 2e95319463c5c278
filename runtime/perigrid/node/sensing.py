"""What becomes of a frame that a sensor took?

A satellite's part in it. A frame is work that begins on board: it enters the satellite's own queue, under a name that
no job and no request has, with the time by which its answer is due. By its treatment

    in-orbit          it is inferred here, and its result goes down
    bent-pipe         it goes down raw, in this satellite's own passes
    bent-pipe-lasers  it goes down raw, by any way
    sharded           its tiles are shared out over this satellite and its laser neighbours
    cascade           a filter discards tiles, the model works on the rest, which goes down with its result

Frames are not in a journal: one that is lost with a node is lost, as it is in orbit. Data that must not be lost is a
job's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from perigrid.job.spec import Shard
from perigrid.mesh.topology import LinkKind
from perigrid.mesh.way import Leg
from perigrid.node.actions import Action, JoinPieces, Note
from perigrid.node.blobs import Blob, Piece, whole
from perigrid.node.events import Exposed, InferenceEnded, Kept, Now
from perigrid.node.frames import Observation, Part, Priority, Stages
from perigrid.node.relay import MAX_WAITING_FRAMES, Relay
from perigrid.node.transfers import Message, chunk_bytes
from perigrid.units import NodeId

FRAME_PREFIX = "frame."
"""What the names of frames begin with; no job and no request has it."""

FRAME_PRIORITY = 5
"""Above bulk jobs, below what somebody at a client waits for."""

KEY_PREFIX = "frame:"
"""Before the keys of what is put together for a frame."""

MAX_FRAMES_IN_HAND = 1024
"""Frames that a satellite has at a time; the next is refused, and noted."""


@dataclass(frozen=True, slots=True)
class BoardWork:
    """Something for the own computer. With a `discard_share` it also says which tiles are worth going on with."""

    job: str
    model: str
    shard: Shard
    input: tuple[Piece, ...]
    digest: bytes
    deadline_sky_s: float
    arrived: Now
    legs: tuple[Leg, ...] = ()
    trace_parent: bytes = b""
    discard_share: float | None = None


@dataclass(slots=True)
class _Frame:
    """A frame in hand; `results` are blobs that go down with it, `spent` what computing it took so far."""

    event: Exposed
    exposed: Now
    stages: Stages
    parts: int = 1
    kept: tuple[int, ...] | None = None
    results: list[Blob] = field(default_factory=list)
    helpers: dict[int, NodeId] = field(default_factory=dict)
    shards: dict[int, Shard] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SensingConfig:
    """What sensing is told: who the ground is, and the links' rates."""

    ground: NodeId
    laser_rate_bps: float
    ground_rate_bps: float


class Sensing:
    """The frames of one satellite, and parts of others'; a part of the satellite's machine."""

    def __init__(self, config: SensingConfig, relay: Relay) -> None:
        self.frames: dict[str, _Frame] = {}
        self._helped: dict[tuple[str, int], tuple[Part, Message]] = {}
        self._config = config
        self._relay = relay
        self._count = 0

    def exposed(self, now: Now, event: Exposed) -> tuple[list[BoardWork], list[Action]]:
        """A sensor took a frame."""
        self._count += 1
        name = f"{FRAME_PREFIX}{int(self._relay.node)}.{self._relay.sender.boot}.{self._count}"
        fields: dict[str, str | int | float] = {"frame": name, "sensor": event.sensor, "number": event.number}
        if len(self.frames) >= MAX_FRAMES_IN_HAND:
            return [], [Note("frame-refused", 0, {**fields, "in_hand": len(self.frames)})]
        frame = _Frame(event, now, Stages(now.sky_s, 0.0, 0.0, 0.0, 0.0, now.sky_s))
        note = Note("frame", 0, {**fields, "treatment": event.treatment, "bytes": event.raw.length})
        if event.treatment in ("bent-pipe", "bent-pipe-lasers"):
            own_pass = event.treatment == "bent-pipe"
            chunk = chunk_bytes(min(self._config.laser_rate_bps, self._config.ground_rate_bps))
            # One that is not held whole would go down in part, and never end.
            if len(self._relay.waiting) + -(-event.raw.length // chunk) > MAX_WAITING_FRAMES:
                return [], [Note("frame-refused", 0, {**fields, "waiting": len(self._relay.waiting)})]
            return [], [note, *self._send(now, name, frame, "raw", event.raw, 0, own_pass)]
        self.frames[name] = frame
        if event.treatment == "sharded":
            work, actions = self._share_out(now, name, frame)
            return work, [note, *actions]
        if event.treatment == "cascade":
            return [self._work(name, frame, event.filter_model, event.shard, event.discard_share)], [note]
        return [self._work(name, frame, event.model, event.shard)], [note]

    def computed(self, now: Now, name: str, index: int, stages: Stages, event: InferenceEnded) -> list[Action]:
        """The own computer is done with work of ours; `cascade` may go on with `next_work`."""
        helped = self._helped.pop((name, index), None)
        if helped is not None:
            part, message = helped
            return self._send_part(now, part, message, stages, event.blob)
        frame = self.frames.get(name)
        if frame is None:
            return []
        frame.stages = _plus(frame.stages, stages)
        frame.results.append(event.blob)
        if event.kept is not None and frame.kept is None:
            frame.kept = event.kept
            return []
        if frame.event.treatment == "cascade":
            pieces = (*self._tiles(frame.event, frame.kept or ()), *(whole(blob) for blob in frame.results))
            return [JoinPieces(f"{KEY_PREFIX}{name}/down", pieces, b"")]
        del self.frames[name]
        return self._send(now, name, frame, "answer", event.blob, index)

    def next_work(self, now: Now, name: str) -> tuple[list[BoardWork], list[Action]]:
        """What a cascade goes on with once its filter is through: the tiles that it kept, or word of none."""
        frame = self.frames.get(name)
        if frame is None or frame.kept is None or len(frame.results) != 1:
            return [], []
        if not frame.kept:
            del self.frames[name]
            return [], self._send(now, name, frame, "discarded", None, 0)
        shard = _some(frame.event.shard, frame.kept, 0)
        return [self._work(name, frame, frame.event.model, shard, arrived=now)], []

    def joined(self, now: Now, event: Kept) -> list[Action]:
        """Something was put together: what goes down of a cascade, or a neighbour's part of a shared frame."""
        name, _, what = event.key.removeprefix(KEY_PREFIX).partition("/")
        frame = self.frames.get(name)
        if frame is None:
            return []
        if what == "down":
            del self.frames[name]
            return self._send(now, name, frame, "kept", event.blob, 0)
        index = int(what)
        helper = frame.helpers.pop(index)
        body = Part(
            name,
            index,
            frame.parts,
            frame.event.sensor,
            frame.event.number,
            frame.event.model,
            frame.shards[index],
            frame.exposed.sky_s,
            frame.event.deadline_sky_s,
        )
        frames = self._relay.sender.frames(
            helper,
            body,
            priority=Priority.BULK,
            payload=event.blob,
            chunk=chunk_bytes(self._config.laser_rate_bps),
            trace_parent=frame.event.trace_parent,
        )
        return self._relay.submit(now, frames)

    def helped(self, now: Now, part: Part, message: Message) -> list[BoardWork]:
        """A neighbour's part of a frame has come; nothing to do where it is no part of a frame of its sender's own."""
        key, shard = (part.frame, part.index), part.shard
        # What is in the queue is known by its name: no other satellite may name jobs, or frames of this one.
        own = message.source != self._relay.node and part.frame.startswith(f"{FRAME_PREFIX}{int(message.source)}.")
        if not own or shard.capture or not shard.tiles or shard.index != part.index:
            return []
        if key in self._helped or len(self._helped) >= MAX_FRAMES_IN_HAND:
            return []
        self._helped[key] = part, message
        return [
            BoardWork(
                part.frame,
                part.model,
                part.shard,
                message.pieces,
                message.digest,
                part.deadline_sky_s,
                now,
                message.way,
                message.trace_parent,
            )
        ]

    def missed(self, name: str, index: int) -> list[Action]:
        """Work of ours was not begun, or not done, by the time its answer was due."""
        frame = self.frames.pop(name, None)
        helped = self._helped.pop((name, index), None)
        if frame is None and helped is None:
            return []
        return [Note("frame-missed", 0, {"frame": name, "part": index})]

    # --- on board

    def _work(
        self,
        name: str,
        frame: _Frame,
        model: str,
        shard: Shard,
        discard_share: float | None = None,
        arrived: Now | None = None,
    ) -> BoardWork:
        event = frame.event
        pieces = () if event.shard.capture else self._tiles(event, range(len(shard.tiles)), shard)
        return BoardWork(
            name,
            model,
            shard,
            pieces,
            event.raw.digest if len(shard.tiles) == len(event.shard.tiles) else b"",
            event.deadline_sky_s,
            frame.exposed if arrived is None else arrived,
            (),
            event.trace_parent,
            discard_share,
        )

    def _tiles(self, event: Exposed, numbers: tuple[int, ...] | range, shard: Shard | None = None) -> tuple[Piece, ...]:
        """The raw bytes of some tiles: frames lie in memory tile by tile. What is left over lies behind the last."""
        order = event.shard.tiles
        tiles = numbers if shard is None else [order.index(tile) for tile in shard.tiles]
        if len(tiles) == len(order):
            return (whole(event.raw),)
        size = event.raw.length // len(order)
        return tuple(Piece(event.raw, int(number) * size, size) for number in tiles)

    def _share_out(self, now: Now, name: str, frame: _Frame) -> tuple[list[BoardWork], list[Action]]:
        """Tiles in turn to this satellite and those to whom its lasers lead now."""
        neighbours = [node for link, node in self._relay.neighbours() if link.kind is LinkKind.LASER]
        workers = [self._relay.node, *neighbours][: len(frame.event.shard.tiles)]
        frame.parts = len(workers)
        actions: list[Action] = []
        for index, worker in enumerate(workers):
            numbers = tuple(range(index, len(frame.event.shard.tiles), len(workers)))
            frame.shards[index] = _some(frame.event.shard, numbers, index)
            if index:
                frame.helpers[index] = worker
                pieces = self._tiles(frame.event, numbers)
                actions.append(JoinPieces(f"{KEY_PREFIX}{name}/{index}", pieces, b""))
        return [self._work(name, frame, frame.event.model, frame.shards[0])], actions

    # --- down

    def _send(
        self, now: Now, name: str, frame: _Frame, kind: str, payload: Blob | None, index: int, own_pass: bool = False
    ) -> list[Action]:
        event = frame.event
        tiles = len(event.shard.tiles) if frame.kept is None else len(frame.kept)
        body = Observation(
            name,
            index,
            frame.parts,
            event.sensor,
            event.number,
            event.model,
            kind,
            frame.exposed.sky_s,
            event.deadline_sky_s,
            event.treatment,
            tiles,
            b"" if payload is None else payload.digest,
            frame.stages,
        )
        return self._submit(now, body, payload, event.trace_parent, own_pass)

    def _send_part(self, now: Now, part: Part, message: Message, stages: Stages, blob: Blob) -> list[Action]:
        body = Observation(
            part.frame,
            part.index,
            part.parts,
            part.sensor,
            part.number,
            part.model,
            "answer",
            part.taken_sky_s,
            part.deadline_sky_s,
            "sharded",
            len(part.shard.tiles),
            blob.digest,
            stages,
        )
        return self._submit(now, body, blob, message.trace_parent, False)

    def _submit(
        self, now: Now, body: Observation, payload: Blob | None, trace_parent: bytes, own_pass: bool
    ) -> list[Action]:
        frames = self._relay.sender.frames(
            self._config.ground,
            body,
            priority=Priority.BULK if payload is not None else Priority.CONTROL,
            payload=payload,
            chunk=chunk_bytes(min(self._config.laser_rate_bps, self._config.ground_rate_bps)),
            trace_parent=trace_parent,
            own_pass=own_pass,
        )
        return self._relay.submit(now, frames)


def _some(shard: Shard, numbers: tuple[int, ...], index: int) -> Shard:
    """Some of a shard's tiles as one of its own."""
    return Shard(
        index=index,
        capture=shard.capture,
        tiles=tuple(shard.tiles[n] for n in numbers),
        rows=tuple(shard.rows[n] for n in numbers),
        columns=tuple(shard.columns[n] for n in numbers),
    )


def _plus(before: Stages, last: Stages) -> Stages:
    """What two inferences of one frame took together: the arrival is the first's."""
    if before.inference_s == 0.0 and before.queue_s == 0.0:
        return last
    return Stages(
        before.arrived_sky_s,
        before.queue_s + last.queue_s,
        before.inference_s + last.inference_s,
        before.desk_wait_s + last.desk_wait_s,
        before.cpu_s + last.cpu_s,
        before.sent_sky_s,
        last.up_laser_s,
        last.up_ground_s,
        last.up,
    )
