"""What time is it in orbit?

A clock page is a small memory-mapped file in the run directory with one writer, the supervisor. It maps the wall (the
machine's monotonic clock) to emulated time, piecewise linearly: emulated = emulated0 + (wall - wall0) * rate. All that
lasts in a run lasts in emulated seconds, and nothing waits or stamps but through this page.

Whoever waits sleeps until a wall time that it reckoned from the page, and looks again when it wakes. So a lower rate
may come at once, since it only makes sleepers wake early; a higher one is announced before it comes, so that nobody
sleeps through it. For the same reason time may be told where to stop (`stop_s`): it runs up to that emulated moment and
stands there, for all readers alike, until its writer lets it go on.

The page has room for two readings, and a version whose last bit says which one holds; the writer fills the other and
counts the version up. So a writer that is interrupted, or dies, leaves a page that is whole. A reader looks at the wall
first and at the page then: what a page that is newer than the wall time says of it is true, and what an older page says
of a later one need not be.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from perigrid.errors import CorruptFile

MAGIC = b"PGCLOCK3"
HEADER = struct.Struct("<8sQ?")
SLOT = struct.Struct("<ddddddd")
VERSION_AT = 8
SLOTS_AT = (64, 128)
PAGE_BYTES = 4096
LOOK_S = 0.25
"""How often whoever waits by this clock looks at it again."""

NOTICE_S = 2 * LOOK_S
AT_ONCE_S = 1e-3
"""How far ahead, seconds of the wall, what comes at once is put: writing it takes its time, in which others read."""

NEVER_S = float("inf")
MAX_READS = 1000
"""Reads in a row that may be overtaken by two writes each; so many never are."""


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
    """The piece in force, the one that takes over when its wall time has come, and where time stops."""

    now: Piece
    next: Piece
    free: bool
    stop_s: float = NEVER_S

    def emulated_at(self, wall_s: float) -> float:
        """Emulated time at a monotonic wall time."""
        return min(self.stop_s, self.ahead_at(wall_s))

    def ahead_at(self, wall_s: float) -> float:
        """Emulated time at a monotonic wall time to come, if time need not stop before."""
        return self.piece_at(wall_s).emulated_at(wall_s)

    def rate_at(self, wall_s: float) -> float:
        """Emulated seconds a second at a monotonic wall time, unless time stands at its stop."""
        return self.piece_at(wall_s).rate

    def wall_at(self, emulated_s: float) -> float:
        """Monotonic wall time at an emulated time, if time need not stop before; infinite where the clock stands."""
        piece = self.next if emulated_s >= self.next.emulated_s else self.now
        if piece.rate <= 0:
            return piece.wall_s if emulated_s <= piece.emulated_s else NEVER_S
        return piece.wall_s + (emulated_s - piece.emulated_s) / piece.rate

    def stands_at(self, wall_s: float) -> bool:
        """Whether time stands at its stop at a monotonic wall time."""
        return self.ahead_at(wall_s) >= self.stop_s

    def piece_at(self, wall_s: float) -> Piece:
        """The piece that a wall time belongs to."""
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
        # One value, replaced at once: threads share a page.
        self._seen: tuple[int, Reading | None] = (-1, None)
        self._writing = threading.Lock()
        self.rate = self.reading().next.rate
        """What the writer last set: time goes on at it from where it stood."""

    @classmethod
    def create(cls, path: Path | str, free: bool) -> ClockPage:
        """A clock that stands at 0 until it is set."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            standing = (time.monotonic(), 0.0, 0.0)
            header, slot = HEADER.pack(MAGIC, 0, free), SLOT.pack(*standing, *standing, NEVER_S)
            os.write(descriptor, (header.ljust(SLOTS_AT[0], b"\0") + slot).ljust(PAGE_BYTES, b"\0"))
        finally:
            os.close(descriptor)
        return cls(path, writable=True)

    def set_rate(self, rate: float) -> None:
        """Let time pass at this rate: at once where that is lower than it is, else from `NOTICE_S` of the wall on.

        Only the page's one writer may say so. A rise is announced because readers sleep until due times that they
        reckoned by the old rate.
        """
        with self._writing:
            wall_s = time.monotonic()
            reading = self.reading()
            piece = reading.piece_at(wall_s)
            self.rate = rate
            start_s = wall_s + (NOTICE_S if rate > piece.rate else AT_ONCE_S)
            if reading.stands_at(wall_s):
                # It goes on from where it stands, whatever would have passed meanwhile.
                piece = Piece(piece.wall_s, reading.stop_s, 0.0)
                self._write(piece, Piece(start_s, reading.stop_s, rate), reading.stop_s)
                return
            self._write(piece, Piece(start_s, piece.emulated_at(start_s), rate), reading.stop_s)

    def stop_at(self, stop_s: float, notice_s: float = AT_ONCE_S) -> bool:
        """Let time run up to this emulated moment and stand there; infinite for never. Only the one writer may say so.

        A moment that has passed is taken for now. Whether anybody may have seen time stand, which goes on now, in
        `notice_s` of the wall: whoever sleeps until something that is due soon should be woken then.
        """
        with self._writing:
            wall_s = time.monotonic()
            reading = self.reading()
            if stop_s == reading.stop_s:
                return False
            if not reading.stands_at(wall_s):
                soon_s = wall_s + AT_ONCE_S
                self._write(reading.now, reading.next, max(stop_s, reading.emulated_at(soon_s)))
                # A reader may have come to the old stop while this was being written.
                return stop_s > reading.stop_s and reading.stands_at(time.monotonic())
            if stop_s <= reading.stop_s:
                return False
            stood_s = reading.stop_s
            start_s = wall_s + notice_s
            self._write(Piece(wall_s, stood_s, 0.0), Piece(start_s, stood_s, self.rate), stop_s)
            return True

    def await_rate(self) -> None:
        """Wait, at most `NOTICE_S` of the wall, until the rate that was announced last is in force."""
        time.sleep(max(0.0, self.reading().next.wall_s - time.monotonic()))

    def _write(self, now: Piece, following: Piece, stop_s: float) -> None:
        version = struct.unpack_from("<Q", self._page, VERSION_AT)[0] + 1
        pieces = (now.wall_s, now.emulated_s, now.rate, following.wall_s, following.emulated_s, following.rate)
        SLOT.pack_into(self._page, SLOTS_AT[version % 2], *pieces, stop_s)
        struct.pack_into("<Q", self._page, VERSION_AT, version)

    def reading(self) -> Reading:
        """The pieces that are in force."""
        for _ in range(MAX_READS):
            magic, version, free = HEADER.unpack_from(self._page, 0)
            seen, known = self._seen
            if version == seen and known is not None:
                return known
            if magic != MAGIC:
                raise CorruptFile(f"{self.path} is not a clock page of this version; bring the run up again.")
            *pieces, stop_s = SLOT.unpack_from(self._page, SLOTS_AT[version % 2])
            if version == struct.unpack_from("<Q", self._page, VERSION_AT)[0]:
                found = Reading(Piece(*pieces[:3]), Piece(*pieces[3:]), free, stop_s)
                self._seen = (version, found)
                return found
        raise CorruptFile(f"clock page {self.path} is never the same twice; bring the run up again.")

    def now_s(self) -> float:
        """Emulated seconds since the epoch, now."""
        wall_s = time.monotonic()
        return self.reading().emulated_at(wall_s)

    def look(self) -> tuple[float, Reading]:
        """The monotonic wall time, and what the page said just after it."""
        wall_s = time.monotonic()
        return wall_s, self.reading()

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()
