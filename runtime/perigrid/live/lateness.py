"""Was anything released late, and is the run still valid?

Whatever is released after its emulated due time is counted with how late it was. A run in which more than
`MAX_SHARE_LATE` was late by more than `TOLERANCE_S` emulated seconds is INVALID FOR LATENCY: the desk, not the orbit,
made its times.

Each release also tells the rate up to which it would have been in time. Those rates are kept as counts by eighths of an
octave, so that a run can say which rate would have held for all but the share that may be late.
"""

from __future__ import annotations

import bisect
import math
from collections import deque

import msgspec

TOLERANCE_S = 0.005
"""Emulated seconds by which a release may be late; a hop over a twelve-ring takes 12 ms of light."""

MAX_SHARE_LATE = 0.001
MAX_ERRORS_KEPT = 200_000
"""Release errors of frames kept for measurements; the oldest go first."""

RATE_HEADROOM = 0.9
"""The rate that would hold is said with this much room: the next run is not this one."""

LATE_BUCKETS_S = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, TOLERANCE_S, 1e-2, 2e-2, 5e-2, 0.1, 0.5)
"""Upper edges of the counts of frames by how late they were, emulated seconds; the last count has no edge."""

STEPS_PER_OCTAVE = 8
LOWEST_OCTAVE = -14
STEPS = 16 * STEPS_PER_OCTAVE
"""Rates from 2^-14 to 4 are told apart; what would hold at any higher rate counts as the highest."""


def step_of(rate: float) -> int:
    """The step that a rate belongs to."""
    if rate <= 0:
        return 0
    step = math.floor((math.log2(rate) - LOWEST_OCTAVE) * STEPS_PER_OCTAVE)
    return max(0, min(STEPS - 1, step))


def rate_of(step: int) -> float:
    """The lowest rate of a step."""
    return float(2.0 ** (LOWEST_OCTAVE + step / STEPS_PER_OCTAVE))


class Lateness(msgspec.Struct, frozen=True):
    """Counts of a whole run over its processes; `*_hold` count releases by the step of rate that they would hold at."""

    frames: int = 0
    frames_late: int = 0
    inferences: int = 0
    inferences_late: int = 0
    worst_frame_s: float = 0.0
    worst_inference_s: float = 0.0
    frames_hold: tuple[int, ...] = (0,) * STEPS
    inferences_hold: tuple[int, ...] = (0,) * STEPS

    def plus(self, other: Lateness) -> Lateness:
        """Both together."""
        return Lateness(
            self.frames + other.frames,
            self.frames_late + other.frames_late,
            self.inferences + other.inferences,
            self.inferences_late + other.inferences_late,
            max(self.worst_frame_s, other.worst_frame_s),
            max(self.worst_inference_s, other.worst_inference_s),
            tuple(map(sum, zip(self.frames_hold, other.frames_hold, strict=True))),
            tuple(map(sum, zip(self.inferences_hold, other.inferences_hold, strict=True))),
        )

    @property
    def share_late(self) -> float:
        """The larger of the shares of frames and of inferences that were late."""
        frames = self.frames_late / self.frames if self.frames else 0.0
        inferences = self.inferences_late / self.inferences if self.inferences else 0.0
        return max(frames, inferences)

    @property
    def valid(self) -> bool:
        """Did this machine keep the orbit's time?"""
        return self.share_late <= MAX_SHARE_LATE

    @property
    def rate_that_holds(self) -> float | None:
        """The rate at which this machine would have kept it; None while nothing says so."""
        rates = [
            _holding_rate(counts, total)
            for counts, total in ((self.frames_hold, self.frames), (self.inferences_hold, self.inferences))
            if total
        ]
        return RATE_HEADROOM * min(rates) if rates else None


def _holding_rate(counts: tuple[int, ...], total: int) -> float:
    allowed, seen = MAX_SHARE_LATE * total, 0
    for step, count in enumerate(counts):
        seen += count
        if seen > allowed:
            return rate_of(step)
    return rate_of(STEPS - 1)


class LatenessMeter:
    """Counts releases in one process."""

    def __init__(self) -> None:
        self.frames = 0
        self.frames_late = 0
        self.inferences = 0
        self.inferences_late = 0
        self.worst_frame_s = 0.0
        self.worst_inference_s = 0.0
        self.errors_wall_s: deque[float] = deque(maxlen=MAX_ERRORS_KEPT)
        self._frames_hold = [0] * STEPS
        self._inferences_hold = [0] * STEPS
        self._told = (0, 0)
        self._recent_worst_wall_s = 0.0
        self.late_buckets = [0] * (len(LATE_BUCKETS_S) + 1)
        self.late_sum_s = 0.0

    def frame(self, late_s: float, rate: float) -> bool:
        """A frame was released `late_s` emulated seconds after its due time; whether that is late."""
        self.frames += 1
        error_wall_s = late_s / rate if rate else 0.0
        self.errors_wall_s.append(error_wall_s)
        self._recent_worst_wall_s = max(self._recent_worst_wall_s, error_wall_s)
        self.late_buckets[bisect.bisect_left(LATE_BUCKETS_S, late_s)] += 1
        self.late_sum_s += max(0.0, late_s)
        holds = rate * TOLERANCE_S / late_s if late_s > 0 else math.inf
        self._frames_hold[step_of(holds) if holds < 1 else STEPS - 1] += 1
        if late_s > self.worst_frame_s:
            self.worst_frame_s = late_s
        if late_s <= TOLERANCE_S:
            return False
        self.frames_late += 1
        return True

    def inference(self, service_s: float, taken_wall_s: float, late_s: float) -> None:
        """An inference of `service_s` emulated seconds took `taken_wall_s` here, and was `late_s` emulated late."""
        self.inferences += 1
        self.worst_inference_s = max(self.worst_inference_s, late_s)
        self._inferences_hold[step_of((service_s + TOLERANCE_S) / max(taken_wall_s, 1e-9))] += 1
        if late_s > TOLERANCE_S:
            self.inferences_late += 1

    def recent(self) -> tuple[int, int, float]:
        """Since this was last asked: releases, those that were late, and the worst error of a frame, wall seconds."""
        now = (self.frames + self.inferences, self.frames_late + self.inferences_late)
        releases, late = now[0] - self._told[0], now[1] - self._told[1]
        worst_wall_s, self._recent_worst_wall_s = self._recent_worst_wall_s, 0.0
        self._told = now
        return releases, late, worst_wall_s

    def total(self) -> Lateness:
        """The counts so far."""
        return Lateness(
            self.frames,
            self.frames_late,
            self.inferences,
            self.inferences_late,
            self.worst_frame_s,
            self.worst_inference_s,
            tuple(self._frames_hold),
            tuple(self._inferences_hold),
        )
