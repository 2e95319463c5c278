"""What time is it in orbit?

A clock page is a small memory-mapped file in the run directory with one writer, the supervisor. It maps the wall (the
machine's monotonic clock) to emulated time, piecewise linearly: emulated = emulated0 + (wall - wall0) * rate. All that
lasts in a run lasts in emulated seconds, and nothing waits or stamps but through this page. A change of
rate is announced before it comes, so that nobody sleeps through it.

The reader takes the version before and after the fields (a sequence lock): odd means that a write is under way.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from perigrid.errors import CorruptFile

MAGIC = b"PGCLOCK2"
LAYOUT = struct.Struct("<8sQdddddd?")
PAGE_BYTES = 4096
LOOK_S = 0.25
"""How often whoever waits by this clock looks at it again."""

NOTICE_S = 2 * LOOK_S
MAX_READS = 1000
"""Torn reads in a row after which the page's writer is taken for dead in the middle of a write."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One straight piece of the clock: from `wall_s` (monotonic) and `emulated_s` on, at `rate`."""

    wall_s: float
    emulated_s: float
    rate: float

    def emulated_at(self, wall_s: float) -> float:
        """Emulated time at a monotonic wall time."""
        return self.emulated_s + (wall_s - self.wall_s) * self.rate


@dataclass(frozen=True, slots=True)
class Reading:
    """The piece in force, and the one that takes over when its wall time has come."""

    now: Piece
    next: Piece
    free: bool

    def emulated_at(self, wall_s: float) -> float:
        """Emulated time at a monotonic wall time."""
        return self._at(wall_s).emulated_at(wall_s)

    def rate_at(self, wall_s: float) -> float:
        """Emulated seconds a second at a monotonic wall time."""
        return self._at(wall_s).rate

    def wall_at(self, emulated_s: float) -> float:
        """Monotonic wall time at an emulated time; infinite where the clock stands before it."""
        piece = self.next if emulated_s >= self.next.emulated_s else self.now
        if piece.rate <= 0:
            return piece.wall_s if emulated_s <= piece.emulated_s else float("inf")
        return piece.wall_s + (emulated_s - piece.emulated_s) / piece.rate

    def _at(self, wall_s: float) -> Piece:
        return self.next if wall_s >= self.next.wall_s else self.now


class ClockPage:
    """The page as its readers see it. `now_s` is emulated seconds since the scenario's epoch."""

    def __init__(self, path: Path | str, writable: bool = False) -> None:
        self.path = path
        flags = os.O_RDWR if writable else os.O_RDONLY
        descriptor = os.open(path, flags)
        try:
            if os.fstat(descriptor).st_size < PAGE_BYTES:
                raise CorruptFile(f"clock page {path} is too short; bring the constellation up again.")
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._page = mmap.mmap(descriptor, PAGE_BYTES, access=access)
        finally:
            os.close(descriptor)
        self._version = -1
        self._reading = self.reading()

    @classmethod
    def create(cls, path: Path | str, free: bool) -> ClockPage:
        """A clock that stands at 0 until it is set."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            standing = (time.monotonic(), 0.0, 0.0)
            page = LAYOUT.pack(MAGIC, 0, *standing, *standing, free)
            os.write(descriptor, page.ljust(PAGE_BYTES, b"\0"))
        finally:
            os.close(descriptor)
        return cls(path, writable=True)

    def set_rate(self, rate: float) -> None:
        """Let time pass at this rate from `NOTICE_S` of the wall on. Only the page's one writer may say so.

        A change is announced because readers sleep until due times that they reckoned by the old rate.
        """
        # The page has room for one change to come: the one before must have come first.
        self.await_rate()
        piece = self.reading().next
        wall_s = time.monotonic() + NOTICE_S
        version = struct.unpack_from("<Q", self._page, 8)[0]
        struct.pack_into("<Q", self._page, 8, version + 1)
        now = (piece.wall_s, piece.emulated_s, piece.rate)
        struct.pack_into("<dddddd", self._page, 16, *now, wall_s, piece.emulated_at(wall_s), rate)
        struct.pack_into("<Q", self._page, 8, version + 2)

    def await_rate(self) -> None:
        """Wait, at most `NOTICE_S` of the wall, until the rate that was announced last is in force."""
        time.sleep(max(0.0, self.reading().next.wall_s - time.monotonic()))

    def reading(self) -> Reading:
        """The pieces that are in force."""
        for _ in range(MAX_READS):
            magic, version, *pieces, free = LAYOUT.unpack_from(self._page, 0)
            if version == self._version:
                return self._reading
            if magic != MAGIC:
                raise CorruptFile(f"{self.path} is not a clock page of this version; bring the run up again.")
            if version % 2 == 0 and version == struct.unpack_from("<Q", self._page, 8)[0]:
                self._version = version
                self._reading = Reading(Piece(*pieces[:3]), Piece(*pieces[3:]), free)
                return self._reading
        raise CorruptFile(f"clock page {self.path} stays half written: its supervisor died; run `perigrid down`.")

    def now_s(self) -> float:
        """Emulated seconds since the epoch, now."""
        return self.reading().emulated_at(time.monotonic())

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()
