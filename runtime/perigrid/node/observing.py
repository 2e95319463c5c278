"""What does the ground make of frames that satellites' sensors took?

A part of the controller's machine. It infers what came down raw, puts the parts of shared frames together, and tells
observers how each frame ended and where its time went. A frame ends once: what comes again is dropped by its name.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from perigrid.job.spec import Shard
from perigrid.node.actions import Action, Infer, JoinPieces, Note, Tell, WakeAt
from perigrid.node.events import InferenceEnded, InferenceFailed, Kept, Now
from perigrid.node.frames import Observation
from perigrid.node.replies import Observed
from perigrid.node.sensing import FRAME_PREFIX
from perigrid.node.transfers import Message

KEY_PREFIX = "observation:"
OBSERVERS = 0
"""The client that frames are told to: whoever listens. No other client has this number."""

WAKE_PARTS = "controller/parts"
PART_GRACE_S = 60.0
"""So long after a part of a shared frame the next one is waited for; then the frame has failed."""

MAX_FRAMES_REMEMBERED = 65_536
"""Ended frames that are remembered, so that none ends twice; the oldest is forgotten first."""

MAX_FRAMES_UNDER_WAY = 4096
"""Frames of which parts have come, or which wait for the ground's computer; beyond, the oldest is given up."""


@dataclass(slots=True)
class _UnderWay:
    """A frame of which something has come: its parts, with the messages that brought them."""

    parts: dict[int, Message] = field(default_factory=dict)
    size_bytes: int = 0
    queued_local_s: float = 0.0
    until_local_s: float = 0.0


class Observing:
    """Frames on the ground. `slots` inferences run at once."""

    def __init__(self, names: tuple[str, ...], slots: int) -> None:
        self.under_way: OrderedDict[str, _UnderWay] = OrderedDict()
        self.ended: OrderedDict[str, None] = OrderedDict()
        self._names = names
        self._slots = slots
        self._queue: deque[str] = deque()
        self._running: dict[int, tuple[str, float]] = {}
        self._tasks = 0

    def came(self, now: Now, body: Observation, message: Message) -> list[Action]:
        """A frame, or a part of one, has come down."""
        if body.frame in self.ended:
            return []
        if body.parts == 1 and message.source != owner_of(body.frame):
            return [Note("not-its-frame", message.trace, {"frame": body.frame, "source": int(message.source)})]
        frame = self.under_way.setdefault(body.frame, _UnderWay())
        if body.index in frame.parts:
            return []
        frame.parts[body.index] = message
        frame.size_bytes += sum(piece.length for piece in message.pieces)
        frame.until_local_s = now.local_s + PART_GRACE_S
        actions: list[Action] = [WakeAt(WAKE_PARTS, frame.until_local_s, lazy=True)] if body.parts > 1 else []
        if len(self.under_way) > MAX_FRAMES_UNDER_WAY:
            lost, _ = self.under_way.popitem(last=False)
            actions.append(Note("frame-given-up", 0, {"frame": lost}))
        if not message.pieces:
            return [*actions, *self._arrived(now, body)]
        key = f"{KEY_PREFIX}{body.frame}/{body.index}"
        return [*actions, JoinPieces(key, message.pieces, body.digest)]

    def kept(self, now: Now, event: Kept) -> list[Action]:
        """A part's bytes are together."""
        name, _, index = event.key.removeprefix(KEY_PREFIX).rpartition("/")
        frame = self.under_way.get(name)
        message = None if frame is None else frame.parts.get(int(index))
        if frame is None or message is None:
            return []
        body = message.body
        if not event.intact:
            del frame.parts[int(index)]
            return [Note("corrupt-frame", 0, {"frame": name, "part": int(index)})]
        return self._arrived(now, body) if isinstance(body, Observation) else []

    def inferred(self, now: Now, event: InferenceEnded) -> list[Action]:
        """The ground's computer is done with a frame."""
        name, waited_s = self._running.pop(event.task, ("", 0.0))
        frame = self.under_way.get(name)
        actions = self._start(now)
        if frame is None:
            return actions
        return [*actions, *self._end(now, name, frame, "ok", waited_s, event.inference_s)]

    def failed(self, now: Now, event: InferenceFailed) -> list[Action]:
        """The ground's computer could not."""
        name, waited_s = self._running.pop(event.task, ("", 0.0))
        frame = self.under_way.get(name)
        actions = self._start(now)
        if frame is None:
            return actions
        return [*actions, *self._end(now, name, frame, "failed", waited_s, 0.0)]

    def overdue(self, now: Now) -> list[Action]:
        """Frames that wait for a part which does not come: who was to compute it is gone, or would not."""
        actions: list[Action] = []
        waiting = {
            name: frame.until_local_s
            for name, frame in self.under_way.items()
            if any(isinstance(m.body, Observation) and len(frame.parts) < m.body.parts for m in frame.parts.values())
        }
        for name, until_s in waiting.items():
            if until_s <= now.local_s:
                actions += self._end(now, name, self.under_way[name], "failed", 0.0, 0.0)
        later = [until_s for until_s in waiting.values() if until_s > now.local_s]
        return [*actions, *([WakeAt(WAKE_PARTS, min(later), lazy=True)] if later else [])]

    def _arrived(self, now: Now, body: Observation) -> list[Action]:
        frame = self.under_way[body.frame]
        if len(frame.parts) < body.parts:
            return []
        if body.kind != "raw":
            return self._end(now, body.frame, frame, "discarded" if body.kind == "discarded" else "ok", 0.0, 0.0)
        frame.queued_local_s = now.local_s
        self._queue.append(body.frame)
        return self._start(now)

    def _start(self, now: Now) -> list[Action]:
        actions: list[Action] = []
        while self._queue and len(self._running) < self._slots:
            name = self._queue.popleft()
            frame = self.under_way.get(name)
            if frame is None:
                continue
            message = frame.parts.get(0)
            if message is None or not isinstance(message.body, Observation):
                continue
            self._tasks += 1
            self._running[self._tasks] = name, now.local_s - frame.queued_local_s
            tiles = tuple(range(message.body.tiles))
            shard = Shard(index=0, capture="", tiles=tiles, rows=(0,) * len(tiles), columns=(0,) * len(tiles))
            actions.append(Infer(self._tasks, name, message.body.model, shard, message.pieces, message.body.digest))
        return actions

    def _end(
        self, now: Now, name: str, frame: _UnderWay, outcome: str, ground_queue_s: float, ground_inference_s: float
    ) -> list[Action]:
        del self.under_way[name]
        self.ended[name] = None
        if len(self.ended) > MAX_FRAMES_REMEMBERED:
            self.ended.popitem(last=False)
        # Of several parts the last to come is what the frame waited for.
        last = list(frame.parts.values())[-1]
        body = last.body
        if not isinstance(body, Observation):
            return []
        satellite = self._names[last.source]
        reply = Observed(
            name,
            body.sensor,
            body.number,
            satellite,
            body.treatment,
            outcome,
            body.taken_sky_s,
            now.sky_s,
            body.deadline_sky_s,
            body.tiles,
            frame.size_bytes,
            last.hops,
            body.stages,
            last.way,
            ground_queue_s,
            ground_inference_s,
            last.trace_parent,
        )
        fields: dict[str, str | int | float] = {
            "frame": name,
            "sensor": body.sensor,
            "satellite": satellite,
            "outcome": outcome,
            "latency_s": now.sky_s - body.taken_sky_s,
        }
        return [Note("observed", last.trace, fields), Tell(OBSERVERS, reply)]


def owner_of(frame: str) -> int:
    """The node whose sensor took a frame, as its name says; -1 for a name that says none."""
    owner = frame.removeprefix(FRAME_PREFIX).partition(".")[0]
    return int(owner) if owner.isdecimal() else -1
