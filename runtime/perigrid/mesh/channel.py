"""When does a frame leave, and when does it arrive?

A channel is one direction of one link: a queue in front of a line that carries one frame at a time at the
link's rate, and a delay behind it. It decides and does nothing: carriers send what `pump` lets go and
release it at its due time. The rules:

- A frame's first bit leaves when the line is free and the frame has arrived, whichever is later. How late
  anyone calls `pump` has no part in it, so a busy machine does not slow the emulated line down.
- Whenever the line falls free, the oldest waiting control frame goes first, else the next bulk frame, flows taking
  turns; a frame that has started is never interrupted, and a control frame that arrives in the moment in which a
  bulk frame starts comes too late. So the order of arrivals alone decides, and not how often anyone called
  `pump`.
- `pump` may look ahead, so that a carrier has the frame in time. What it let go is committed: a control
  frame that arrives within the lookahead waits behind it.
"""

import math
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from hashlib import blake2b

from perigrid.errors import Bug
from perigrid.mesh.fair import FairQueue
from perigrid.mesh.topology import Link
from perigrid.units import MIB, NodeId

MAX_QUEUED_FRAMES = 65_536
"""Frames that may wait in one channel; senders hold back by credits long before."""

MAX_QUEUED_BYTES = 256 * MIB
"""Bytes that may wait in one channel."""

_HASH_BYTES = 8
_HASH_RANGE = 2.0 ** (8 * _HASH_BYTES)


@dataclass(frozen=True, slots=True)
class Departure:
    """A frame on the line: first bit out at `start_s`, last bit out at `end_s`, last bit in at `due_s` (sky
    time), `processing_s` of which the equipment took.
    """

    frame: object
    start_s: float
    end_s: float
    due_s: float
    processing_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    frame: object
    size_bytes: int
    since_s: float


class Channel:
    """The queue and the line of one direction of one link.

    `rate_at` gives the line's rate, bit/s, and `delay_at` the propagation delay, s, of what leaves at a sky time.
    Both are taken when the first bit leaves: over a frame the range changes by centimetres. `processing_s` is what the
    equipment takes for each frame, while others follow it.
    """

    def __init__(
        self, rate_at: Callable[[float], float], delay_at: Callable[[float], float], processing_s: float = 0.0
    ) -> None:
        self._rate_at = rate_at
        self._delay_at = delay_at
        self._processing_s = processing_s
        self._control: deque[_Waiting] = deque()
        self._bulk: FairQueue[_Waiting] = FairQueue()
        self._gone: list[Departure] = []
        self._free_s = -math.inf
        self._last_s = -math.inf
        self._queued_bytes = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait and have not started."""
        return self._queued_bytes

    @property
    def queued_frames(self) -> int:
        """Frames that wait and have not started."""
        return len(self._control) + len(self._bulk)

    @property
    def free_s(self) -> float:
        """Sky time at which the line is through with everything that was let go; minus infinity at first."""
        return self._free_s

    @property
    def next_pump_s(self) -> float:
        """Sky time at which `pump` has something to let go next; infinite where nothing waits."""
        return self._gone[0].start_s if self._gone else self._next_start_s()

    def push(self, frame: object, size_bytes: int, control: bool, now_s: float, flow: Hashable = None) -> None:
        """Let a frame of `size_bytes` on the wire wait in its class; Bug past the queue's bounds.

        Bulk frames of different flows take turns; within a flow, and among control frames, the order of arrival is the
        order of departure, even if a caller's clock stepped back.
        """
        if size_bytes <= 0:
            raise Bug(f"A frame has at least one byte, not {size_bytes}.")
        if self.queued_frames >= MAX_QUEUED_FRAMES or self._queued_bytes + size_bytes > MAX_QUEUED_BYTES:
            raise Bug(
                f"A channel's queue is full: {self.queued_frames} frames with {self._queued_bytes} bytes "
                f"wait, and {size_bytes} bytes more came. Senders must hold back at "
                f"{MAX_QUEUED_FRAMES} frames or {MAX_QUEUED_BYTES} bytes."
            )
        since_s = self._last_s = max(now_s, self._last_s)
        # What could start before this frame came has started, whether anyone has called `pump` or not.
        self._advance(since_s)
        waiting = _Waiting(frame, size_bytes, since_s)
        if control:
            self._control.append(waiting)
        else:
            self._bulk.put(flow, waiting)
        self._queued_bytes += size_bytes

    def pump(self, now_s: float, lookahead_s: float) -> list[Departure]:
        """Let go, in order, every frame that starts by now + lookahead."""
        self._advance(now_s + lookahead_s)
        count = sum(departure.start_s <= now_s + lookahead_s for departure in self._gone)
        departures, self._gone = self._gone[:count], self._gone[count:]
        return departures

    def clear(self) -> list[object]:
        """Empty the queue and return the frames that had not started: control first, oldest first."""
        frames = [waiting.frame for waiting in (*self._control, *self._bulk)]
        self._control.clear()
        self._bulk.clear()
        self._queued_bytes = 0
        return frames

    def _advance(self, until_s: float) -> None:
        """Start every frame that starts by then."""
        while (start_s := self._next_start_s()) <= until_s:
            if self._control and self._control[0].since_s <= start_s:
                waiting = self._control.popleft()
            else:
                waiting = self._bulk.take(lambda item, start_s=start_s: item.since_s <= start_s)  # type: ignore[misc]
            rate_bps = self._rate_at(start_s)
            if not 0.0 < rate_bps < math.inf:
                raise Bug(f"A channel needs a rate above 0 bit/s, not {rate_bps}.")
            end_s = start_s + waiting.size_bytes * 8 / rate_bps
            self._free_s = end_s
            self._queued_bytes -= waiting.size_bytes
            due_s = end_s + self._delay_at(start_s) + self._processing_s
            self._gone.append(Departure(waiting.frame, start_s, end_s, due_s, self._processing_s))

    def _next_start_s(self) -> float:
        """When the line is free and something is there; infinite where nothing waits."""
        since_s = self._control[0].since_s if self._control else math.inf
        for head in self._bulk.heads():
            since_s = min(since_s, head.since_s)
        return max(self._free_s, since_s)


def loss_seed(run_seed: int, link: Link, sender: NodeId) -> bytes:
    """The seed of one direction of one link in one run, for `lost`."""
    return blake2b(f"{run_seed}/{link.a}/{link.b}/{sender}".encode(), digest_size=_HASH_BYTES).digest()


def lost(frame_number: int, seed: bytes, probability: float) -> bool:
    """Whether the frame of that number is lost: a fixed answer for the same seed, true as often as
    `probability`.
    """
    if probability <= 0.0:
        return False
    hashed = blake2b(frame_number.to_bytes(8, "little"), key=seed, digest_size=_HASH_BYTES).digest()
    return int.from_bytes(hashed, "little") / _HASH_RANGE < probability
