"""Was anything released late, and is the run still valid?

Whatever is released after its emulated due time is counted with how late it was. A run in which more than
`MAX_SHARE_LATE` was late by more than `TOLERANCE_S` emulated seconds is INVALID FOR LATENCY: the desk, not the orbit,
made its times. The counts also say at which rate this machine would have held.
"""

from __future__ import annotations

from collections import deque

import msgspec

TOLERANCE_S = 0.005
"""Emulated seconds by which a release may be late; a hop over a twelve-ring takes 12 ms of light."""

MAX_SHARE_LATE = 0.001
MAX_ERRORS_KEPT = 200_000
"""Release errors of frames kept for measurements; the oldest go first."""

RATE_HEADROOM = 0.8
"""The rate that would hold is said with this much room: the next run is not this one."""


class Lateness(msgspec.Struct, frozen=True):
    """Counts of a whole run, added up over its processes."""

    frames: int = 0
    frames_late: int = 0
    inferences: int = 0
    inferences_late: int = 0
    worst_frame_s: float = 0.0
    worst_inference_s: float = 0.0
    rate_that_holds: float = float("inf")

    def plus(self, other: Lateness) -> Lateness:
        """Both together."""
        return Lateness(
            self.frames + other.frames,
            self.frames_late + other.frames_late,
            self.inferences + other.inferences,
            self.inferences_late + other.inferences_late,
            max(self.worst_frame_s, other.worst_frame_s),
            max(self.worst_inference_s, other.worst_inference_s),
            min(self.rate_that_holds, other.rate_that_holds),
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


class LatenessMeter:
    """Counts releases in one process. Errors are wall seconds for measuring links, emulated for validity."""

    def __init__(self) -> None:
        self.frames = 0
        self.frames_late = 0
        self.inferences = 0
        self.inferences_late = 0
        self.worst_frame_s = 0.0
        self.worst_inference_s = 0.0
        self.rate_that_holds = float("inf")
        self.errors_wall_s: deque[float] = deque(maxlen=MAX_ERRORS_KEPT)

    def frame(self, late_s: float, rate: float) -> bool:
        """A frame was released `late_s` emulated seconds after its due time; whether that is late."""
        self.frames += 1
        self.errors_wall_s.append(late_s / rate if rate else 0.0)
        if late_s > self.worst_frame_s:
            self.worst_frame_s = late_s
        if late_s <= TOLERANCE_S:
            return False
        self.frames_late += 1
        self.rate_that_holds = min(self.rate_that_holds, rate * TOLERANCE_S / late_s * RATE_HEADROOM)
        return True

    def inference(self, service_s: float, taken_wall_s: float, late_s: float) -> None:
        """An inference of `service_s` emulated seconds took `taken_wall_s` here, and was `late_s` emulated late."""
        self.inferences += 1
        self.worst_inference_s = max(self.worst_inference_s, late_s)
        if late_s > TOLERANCE_S:
            self.inferences_late += 1
            self.rate_that_holds = min(self.rate_that_holds, (service_s + TOLERANCE_S) / taken_wall_s * RATE_HEADROOM)

    def total(self) -> Lateness:
        """The counts so far."""
        return Lateness(
            self.frames,
            self.frames_late,
            self.inferences,
            self.inferences_late,
            self.worst_frame_s,
            self.worst_inference_s,
            self.rate_that_holds,
        )
