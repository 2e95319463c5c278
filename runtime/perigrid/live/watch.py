"""Which process has fallen behind, without asking it?

A process that gets no core cannot say so. So each host leaves marks in a page of shared memory as it goes, a few stores
a turn of its loop and none of them a message: what it has to release next, how often its loop has turned, how many
frames it has sent to each host and how many it has taken. The supervisor looks at the page whenever it grants time:

- Time is to run no further than `SLACK_S` past what a host has to release next. Whoever is late with it finds time
  standing there, and releases within the tolerance.
- Frames that were on their way to a host at one look are to be taken by the next: where they are not, they lie where
  nobody reads them, and time is to wait. What has not come after `LOST_WALL_S`, while the loop turned, does not come.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perigrid.live.clock import NEVER_S
from perigrid.live.lateness import TOLERANCE_S

HOSTS_PAGE = "hosts.page"
WORD_BYTES = 8
MARKS = 3
"""Words of a host before its counters of frames to each host: next due, turns, frames taken."""

NEXT_DUE, TURNS, TAKEN = range(MARKS)
SLACK_S = 0.5 * TOLERANCE_S
READ_TURNS = 2
LOST_WALL_S = 0.5
"""Seconds of the wall, and turns of a loop, after which a frame that was sent and has not come is lost."""


def create_page(folder: Path, hosts: int) -> None:
    """Make the page for so many hosts, which have nothing to release."""
    rows = np.zeros((hosts, MARKS + hosts), dtype=np.uint64)
    rows[:, NEXT_DUE] = np.array(NEVER_S).view(np.uint64)
    (folder / HOSTS_PAGE).write_bytes(rows.tobytes())


def _mapped(folder: Path, hosts: int) -> mmap.mmap:
    descriptor = os.open(folder / HOSTS_PAGE, os.O_RDWR | os.O_CLOEXEC)
    try:
        return mmap.mmap(descriptor, hosts * (MARKS + hosts) * WORD_BYTES)
    finally:
        os.close(descriptor)


class Marks:
    """One host's row, which it alone writes; `names` are all hosts in the order of the configuration."""

    def __init__(self, folder: Path, names: tuple[str, ...], name: str) -> None:
        self.index = names.index(name)
        self._to = {other: MARKS + number for number, other in enumerate(names)}
        row_bytes = (MARKS + len(names)) * WORD_BYTES
        row = memoryview(_mapped(folder, len(names)))[self.index * row_bytes : (self.index + 1) * row_bytes]
        self._counts, self._times = row.cast("Q"), row.cast("d")
        # A former life's: nothing is known yet of what this one has to release.
        self._times[NEXT_DUE] = NEVER_S
        self._new = 0

    def turn(self, next_due_s: float) -> None:
        """The loop turns once more, and has this to release next (emulated seconds)."""
        self._times[NEXT_DUE] = next_due_s
        # Only now: what has been taken is watched for by its due moment from here on.
        self._counts[TAKEN] += self._new
        self._new = 0
        self._counts[TURNS] += 1

    def sent(self, host: str) -> None:
        """A frame is on its way to a host."""
        self._counts[self._to[host]] += 1

    def taken(self) -> None:
        """A frame has come, whatever it is worth; it counts from the next turn on."""
        self._new += 1


class Watch:
    """The supervisor's look at all rows. Hosts count from when they are there until they are gone."""

    def __init__(self, rows: NDArray[np.uint64]) -> None:
        self._rows = rows
        self._there = np.zeros(len(rows), dtype=bool)
        self._lost = np.zeros(len(rows), dtype=np.int64)
        self._wanted = np.zeros(len(rows), dtype=np.int64)
        self._wanted_turns = np.zeros(len(rows), dtype=np.int64)
        self._wanted_since_s = np.zeros(len(rows))

    @classmethod
    def open(cls, folder: Path, hosts: int) -> Watch:
        """The watch over a run directory's page."""
        rows: NDArray[np.uint64] = np.frombuffer(_mapped(folder, hosts), dtype=np.uint64)
        return cls(rows.reshape(hosts, MARKS + hosts))

    def there(self, host: int, is_there: bool) -> None:
        """A host has come, or is gone; what was on its way to it is lost."""
        self._there[host] = is_there
        self._lost[host] = max(0, self._sent()[host] - self._taken()[host])
        self._wanted[host] = 0

    def limit_s(self, wall_s: float, now_s: float) -> float:
        """The emulated moment that time is not to pass, as far as the rows tell at `now_s`; infinite for none."""
        # Taken first: a frame that comes in between is then taken for one on its way.
        taken, sent, turns = self._taken(), self._sent(), self._rows[:, TURNS].astype(np.int64)
        # What was given up too early came after all; and a frame may be taken before its sender has counted it.
        self._lost = np.minimum(self._lost, np.maximum(0, sent - taken))
        missing = self._there & (taken + self._lost < self._wanted)
        given_up = missing & (turns - self._wanted_turns >= READ_TURNS) & (wall_s - self._wanted_since_s >= LOST_WALL_S)
        self._lost[given_up] = (self._wanted - taken)[given_up]
        missing &= ~given_up
        if missing.any():
            return now_s
        self._wanted, self._wanted_turns = sent, turns
        self._wanted_since_s[:] = wall_s
        due_s = self._rows[:, NEXT_DUE].view(np.float64)[self._there]
        return float(due_s.min()) + SLACK_S if len(due_s) else NEVER_S

    def _taken(self) -> NDArray[np.int64]:
        return self._rows[:, TAKEN].astype(np.int64)

    def _sent(self) -> NDArray[np.int64]:
        sums: NDArray[np.int64] = self._rows[:, MARKS:].sum(axis=0).astype(np.int64)
        return sums
