"""Who keeps a frame until the next node has it?

Each node keeps what it sent over a link until the other end acknowledges custody. Acknowledgements are also the
credits: only so many unacknowledged bulk bytes may be under way on a link, which bounds every queue behind it. A link
that stays silent is given up for the frame, whatever is heard over it (it may be broken one way only).

How long an acknowledgement may take is reckoned from the link, and stretched to what acknowledgements have been taking
(RFC 6298): a neighbour that is slow to answer must not be answered with everything twice.

Frames of one transfer leave in order, and take turns with those of others: the time of a frame runs only from when the
one before it has arrived, since until then it may only have been waiting for its turn.

The receiving side tells duplicates by number, for ever within one boot of the sender, never by a window of time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from perigrid.mesh.fair import FairQueue
from perigrid.mesh.plan import LinkState
from perigrid.node.frames import Frame, Priority, flow_of, size_on_link_bytes
from perigrid.node.transfers import MAX_CHUNK_BYTES
from perigrid.units import NodeId

MIN_WINDOW_BYTES = 2 * MAX_CHUNK_BYTES
MAX_WINDOW_BYTES = 192 * MAX_CHUNK_BYTES
ROUND_TRIP_SLACK_S = 0.05
TIMEOUT_MARGIN_S = 0.25
MAX_TIMEOUT_S = 20.0
VARIATIONS = 4
"""The time-out is the mean of the round trips and so many of their mean deviations (RFC 6298)."""

MAX_TRIES = 4
MAX_SEEN_AHEAD = 1 << 16
"""Numbers remembered beyond the contiguous ones; above, a frame is not taken and its sender tries again."""


@dataclass(slots=True)
class Held:
    """A frame in custody on a link: sent, and not yet acknowledged."""

    frame: Frame
    size_bytes: int
    sent_s: float
    due_s: float
    timeout_s: float
    tries: int


@dataclass(slots=True)
class Outgoing:
    """One direction of a link, as its sender sees it."""

    boot: int
    number: int = 0
    held: dict[int, Held] = field(default_factory=dict)
    flows: dict[tuple[NodeId, int], dict[int, None]] = field(default_factory=dict)
    round_trip_s: float = 0.0
    variation_s: float = 0.0
    bulk_bytes: int = 0
    backlog: FairQueue[Frame] = field(default_factory=FairQueue)

    def may_send(self, frame: Frame, state: LinkState) -> bool:
        """Is there credit for this frame? Control frames always have it."""
        return frame.priority is Priority.CONTROL or self.bulk_bytes == 0 or self.bulk_bytes < window_bytes(state)

    def take(self, frame: Frame, now_s: float, state: LinkState, tries: int = 1) -> Frame:
        """Take custody of a frame for sending; the frame as it goes out."""
        self.number += 1
        size = size_on_link_bytes(frame)
        timeout_s = tries * self._timeout_s(state)
        oldest = next(iter(self.held), self.number)
        sent = msgspec.structs.replace(frame, boot=self.boot, custody=self.number, floor=oldest)
        self.held[self.number] = Held(frame, size, now_s, now_s + timeout_s, timeout_s, tries)
        self.flows.setdefault(flow_of(frame), {})[self.number] = None
        if frame.priority is Priority.BULK:
            self.bulk_bytes += size
        return sent

    def acknowledged(self, number: int, now_s: float) -> bool:
        """Give custody up; False where it was not held."""
        held = self.held.get(number)
        if held is None:
            return False
        # Each sending has a number of its own, so that of a frame sent again too it is known which one is acknowledged.
        self._took(now_s - held.sent_s)
        flow = flow_of(held.frame)
        was_first = next(iter(self.flows[flow])) == number
        self.release(number)
        if was_first and flow in self.flows:
            # The next one of the transfer has its turn now.
            following = self.held[next(iter(self.flows[flow]))]
            following.due_s = max(following.due_s, now_s + following.timeout_s)
        return True

    def _timeout_s(self, state: LinkState) -> float:
        reckoned_s = 2 * state.delay_s + 8 * window_bytes(state) / state.rate_bps + TIMEOUT_MARGIN_S
        return min(MAX_TIMEOUT_S, max(reckoned_s, self.round_trip_s + VARIATIONS * self.variation_s))

    def _took(self, seconds: float) -> None:
        """An acknowledgement has taken so long: smooth it, and how much it varies, as RFC 6298 does."""
        if self.round_trip_s == 0.0:
            self.round_trip_s, self.variation_s = seconds, seconds / 2
            return
        self.variation_s += (abs(seconds - self.round_trip_s) - self.variation_s) / 4
        self.round_trip_s += (seconds - self.round_trip_s) / 8

    def release(self, number: int) -> Held | None:
        """Take a frame out of custody."""
        held = self.held.pop(number, None)
        if held is None:
            return None
        flow = flow_of(held.frame)
        del self.flows[flow][number]
        if not self.flows[flow]:
            del self.flows[flow]
        if held.frame.priority is Priority.BULK:
            self.bulk_bytes -= held.size_bytes
        return held

    def overdue(self, now_s: float) -> list[int]:
        """Numbers whose acknowledgement should have come; behind one that may still come, nothing is overdue."""
        found: list[int] = []
        for numbers in self.flows.values():
            for number in numbers:
                if self.held[number].due_s > now_s:
                    break
                found.append(number)
        return sorted(found)

    def empty(self) -> list[Frame]:
        """Everything held or waiting, for another way; nothing is left."""
        frames = [held.frame for held in self.held.values()] + list(self.backlog)
        self.held.clear()
        self.flows.clear()
        self.backlog.clear()
        self.bulk_bytes = 0
        return frames


@dataclass(slots=True)
class Incoming:
    """One direction of a link, as its receiver sees it."""

    boot: int = -1
    floor: int = 0
    ahead: set[int] = field(default_factory=set)

    def is_new(self, frame: Frame) -> bool | None:
        """True: not seen before; False: a duplicate; None: cannot be told, so it must not be taken."""
        if frame.boot < self.boot:
            return None
        if frame.boot > self.boot:
            self.boot, self.floor = frame.boot, 0
            self.ahead.clear()
        self._raise_floor(frame.floor - 1)
        if frame.custody <= self.floor or frame.custody in self.ahead:
            return False
        if len(self.ahead) >= MAX_SEEN_AHEAD:
            return None
        self.ahead.add(frame.custody)
        self._raise_floor(self.floor)
        return True

    def _raise_floor(self, floor: int) -> None:
        if floor > self.floor:
            self.ahead = {n for n in self.ahead if n > floor}
            self.floor = floor
        while self.floor + 1 in self.ahead:
            self.floor += 1
            self.ahead.discard(self.floor)


def window_bytes(state: LinkState) -> float:
    """Unacknowledged bulk bytes allowed on a link: what its light round trip holds, and some slack."""
    in_flight = state.rate_bps / 8 * (2 * state.delay_s + ROUND_TRIP_SLACK_S)
    return min(MAX_WINDOW_BYTES, max(MIN_WINDOW_BYTES, in_flight))
