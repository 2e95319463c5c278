"""How fast may time pass, so that nothing is late and no more of the wall is spent than needed?

Two means, decided here and carried out by `holds.py`:

- **Holds.** A host says up to which emulated moment time may run: no further than the due time of an inference whose
  result is not there yet, and not at all while its loop is behind with releases. Time runs up to the least of these
  moments and stands there. So an inference is never late, however slow this machine is, and needs no forecast.
- **The rate** at which time runs between two holds. What no host can hold time for is how late a process wakes, and how
  long a frame takes through the kernel: seconds of the wall, whatever the rate, which times the rate are emulated
  seconds. So the rate is what keeps the worst of late within `HEADROOM` of the tolerance. A worse one lowers it at
  once, and is forgotten by half each `FORGET_S`; it rises by `CLIMB` a window.

All of it is reckoned from events with the wall's seconds as an argument: no clock, no thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from perigrid.live.clock import NEVER_S
from perigrid.live.lateness import TOLERANCE_S

HIGHEST_RATE = 1.0
"""Time never passes faster than the wall: with nothing to do it would run ahead of whoever is about to ask."""

LOWEST_RATE = 1e-3
BUSY_RATE = 0.5
"""The highest while anything is computed, and `BUSY_S` of the wall after it: how late processes wake on a busy machine,
some 5 ms at worst, is not to be learned from the quiet before."""

BUSY_S = 2.0
START_RATE = 0.1
"""Before anything was released: a wake-up of 25 ms would still be in time."""

HEADROOM = 0.5
"""The worst wake-up, times the rate, is to stay below this part of the tolerance: the next one may be worse."""

WINDOW_S = 0.5
"""Seconds of the wall between two rises; a rise is announced as long before it comes."""

CLIMB = 1.25
LATE_FACTOR = 0.7
"""What is left of the rate after a late release that no wake-up explains."""

FORGET_S = 20.0
LEAST_CHANGE = 0.05
"""A rise by less than this part is not worth saying."""

MAX_STRETCHES = 256
MAX_STANDING_S = 120.0
"""Seconds of the wall that time stands for one host; whatever keeps it longer is late, and counted so."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Time is not to pass `due_s` (emulated) for this host; infinite where it holds nothing."""

    host: int
    due_s: float


@dataclass(frozen=True, slots=True)
class Gone:
    """A host has ended, and with it what it held."""

    host: int


@dataclass(frozen=True, slots=True)
class Released:
    """A host released so much, of which `late` too late; the worst came `worst_s` of the wall after its time."""

    count: int
    late: int
    worst_s: float


@dataclass(frozen=True, slots=True)
class Limit:
    """No rate above this one is wanted."""

    rate: float


@dataclass(frozen=True, slots=True)
class Skip:
    """Let time pass at this rate where nothing holds it, until it is told 0: nobody minds what is late meanwhile."""

    rate: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Some time has passed."""


Event = Ceiling | Gone | Released | Limit | Skip | Tick


@dataclass(frozen=True, slots=True)
class StopAt:
    """Let time run up to this emulated moment; infinite for ever."""

    stop_s: float


@dataclass(frozen=True, slots=True)
class SetRate:
    """Let time pass at this rate."""

    rate: float


Action = StopAt | SetRate


@dataclass(frozen=True, slots=True)
class Stretch:
    """How fast time passed from an emulated moment on: emulated seconds a second of the wall, holds included.

    `allowed` is the rate between holds, and `standing` the share of the wall in which time stood for them.
    """

    from_s: float
    rate: float
    allowed: float
    standing: float


class History:
    """The pace of a run, kept in at most `MAX_STRETCHES` stretches: where there are more, each two become one."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float, float]] = []
        self._allowed: list[float] = []
        self._every = 1
        self._skipped = 0

    def add(self, wall_s: float, emulated_s: float, standing_s: float, allowed: float) -> Stretch | None:
        """What the clock says now, at about even intervals; the stretch since the last time, None at the first."""
        last = self._points[-1] if self._points else None
        point = (wall_s, emulated_s, standing_s)
        if last is not None and self._skipped < self._every - 1:
            self._skipped += 1
        else:
            self._skipped = 0
            self._points.append(point)
            self._allowed.append(allowed)
        if len(self._points) > MAX_STRETCHES:
            self._points, self._allowed = self._points[::2], self._allowed[::2]
            self._every *= 2
        return None if last is None else _stretch(last, point, allowed)

    def stretches(self) -> tuple[Stretch, ...]:
        """The pace so far."""
        pairs = zip(self._points, self._points[1:], self._allowed[1:], strict=False)
        return tuple(_stretch(start, end, allowed) for start, end, allowed in pairs)


def _stretch(start: tuple[float, float, float], end: tuple[float, float, float], allowed: float) -> Stretch:
    took_s = max(end[0] - start[0], 1e-9)
    return Stretch(start[1], (end[1] - start[1]) / took_s, allowed, (end[2] - start[2]) / took_s)


@dataclass(slots=True)
class Governor:
    """Decides on stops and rate. `limit` 0 is a clock that is not to move yet."""

    limit: float = 0.0
    rate: float = 0.0
    holds: int = 0
    forgiven: int = 0
    _ceilings: dict[int, float] = field(default_factory=dict)
    _stop_s: float = NEVER_S
    _standing_since_s: float | None = None
    _stood_s: float = 0.0
    _worst_s: float = 0.0
    _worst_at_s: float = 0.0
    _goal: float = START_RATE
    _risen_at_s: float = 0.0
    _cut_at_s: float = 0.0
    _busy_until_s: float = 0.0
    _skip: float = 0.0

    def handle(self, wall_s: float, standing: bool, event: Event) -> list[Action]:
        """What follows from an event at a monotonic wall time; `standing` is whether time stands at its stop."""
        self._count_standing(wall_s, standing)
        match event:
            case Ceiling(host, due_s):
                return [*self._hold(host, due_s), *self._computes(wall_s, due_s)]
            case Gone(host):
                return self._hold(host, NEVER_S)
            case Released() if self._skip:
                return []
            case Released(_, late, worst_s):
                return self._released(wall_s, late, worst_s)
            case Limit(rate):
                if rate > self.limit:
                    # What was late while everything started says little of the work to come.
                    self._worst_s, self._goal, self._risen_at_s = 0.0, START_RATE, wall_s
                self.limit = rate
                return self._set(wall_s)
            case Skip(rate):
                self._skip = rate
                return self._set(wall_s)
            case Tick():
                return [*self._forgive(wall_s), *self._climb(wall_s)]

    def look(self, wall_s: float, standing: bool) -> None:
        """Take note of whether time stands."""
        self._count_standing(wall_s, standing)

    def standing_s(self, wall_s: float) -> float:
        """Seconds of the wall that time has stood for holds."""
        since_s = self._standing_since_s
        return self._stood_s + (0.0 if since_s is None else wall_s - since_s)

    def safe_rate(self, wall_s: float) -> float:
        """The rate at which a wake-up as bad as the worst that is remembered is still in time."""
        worst_s = self._worst(wall_s)
        highest = BUSY_RATE if wall_s < self._busy_until_s else HIGHEST_RATE
        return highest if worst_s <= 0 else min(highest, HEADROOM * TOLERANCE_S / worst_s)

    # --- stops

    def _count_standing(self, wall_s: float, standing: bool) -> None:
        if standing and self._standing_since_s is None:
            self._standing_since_s = wall_s
            self.holds += 1
        elif not standing and self._standing_since_s is not None:
            self._stood_s += wall_s - self._standing_since_s
            self._standing_since_s = None

    def _hold(self, host: int, due_s: float) -> list[Action]:
        if due_s == NEVER_S:
            self._ceilings.pop(host, None)
        else:
            self._ceilings[host] = due_s
        return self._stop()

    def _stop(self) -> list[Action]:
        least_s = min(self._ceilings.values(), default=NEVER_S)
        if least_s == self._stop_s:
            return []
        self._stop_s = least_s
        return [StopAt(least_s)]

    def _forgive(self, wall_s: float) -> list[Action]:
        """Let time go on past whoever has kept it for too long: what hangs must not hang the world."""
        if self._standing_since_s is None or wall_s - self._standing_since_s < MAX_STANDING_S:
            return []
        self.forgiven += 1
        self._ceilings = {host: due_s for host, due_s in self._ceilings.items() if due_s > self._stop_s}
        return self._stop()

    # --- the rate

    def _computes(self, wall_s: float, due_s: float) -> list[Action]:
        """A host computes for a satellite, or is behind: the machine is about to be busy."""
        if due_s == NEVER_S:
            return []
        self._busy_until_s = wall_s + BUSY_S
        return self._lower(wall_s, self.safe_rate(wall_s))

    def _worst(self, wall_s: float) -> float:
        return float(self._worst_s * 0.5 ** ((wall_s - self._worst_at_s) / FORGET_S))

    def _released(self, wall_s: float, late: int, worst_s: float) -> list[Action]:
        if worst_s > self._worst(wall_s):
            self._worst_s, self._worst_at_s = worst_s, wall_s
        safe = self.safe_rate(wall_s)
        if late and wall_s - self._cut_at_s >= WINDOW_S:
            # One cut for what many hosts tell of one bad moment.
            self._cut_at_s = wall_s
            safe = min(safe, LATE_FACTOR * self._goal)
        return self._lower(wall_s, safe)

    def _lower(self, wall_s: float, safe: float) -> list[Action]:
        if safe >= self._goal:
            return []
        self._goal = max(LOWEST_RATE, safe)
        self._risen_at_s = wall_s
        return self._set(wall_s)

    def _climb(self, wall_s: float) -> list[Action]:
        if wall_s - self._risen_at_s < WINDOW_S or self._goal > self.limit:
            return []
        goal = min(self._goal * CLIMB, self.safe_rate(wall_s), HIGHEST_RATE)
        if goal <= self._goal or (goal < self._goal * (1 + LEAST_CHANGE) and goal < HIGHEST_RATE):
            return []
        self._goal = goal
        return self._set(wall_s)

    def _set(self, wall_s: float) -> list[Action]:
        rate = self._skip or min(self._goal, self.limit)
        if rate == self.rate:
            return []
        if rate > self.rate:
            self._risen_at_s = wall_s
        self.rate = rate
        return [SetRate(rate)]
