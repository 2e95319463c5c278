"""What happens next in this process, and when?

One thread waits for file descriptors, for the next due time (a timerfd on the monotonic clock: epoll's own time-outs
are whole milliseconds) and for calls from other threads (an eventfd). Due times are emulated; the clock page says when
that is by the wall. Everything a host process decides runs in this thread, so nothing in it needs a lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import os
import select
import struct
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from perigrid.live.clock import LOOK_S, ClockPage
from perigrid.live.holds import Holds
from perigrid.live.lateness import TOLERANCE_S
from perigrid.live.watch import Marks

CLOCK_MONOTONIC = 1
TFD_TIMER_ABSTIME = 1
TFD_NONBLOCK = 0o4000
TFD_CLOEXEC = 0o2000000
HURRY_S = 0.002
SLACK_S = 0.05
"""How much later than asked a lazy call may come, emulated seconds: to be woken for it alone costs more than it."""

LAZY_PAST_S = 0.5 * TOLERANCE_S
"""How long ago a lazy call acts at most: it must not take a node's time ahead of what is due there and on its way, and
not send so far into the past that what it sends is late."""


_libc = ctypes.CDLL(None, use_errno=True)


class _TimerDescriptor:
    """A timerfd that fires at a monotonic time (linux timerfd_create(2); Python 3.11 has no call for it)."""

    def __init__(self) -> None:
        self.descriptor = _libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def arm(self, wall_s: float) -> None:
        """Fire at this monotonic time; what is past fires at once."""
        nanoseconds = max(1, int(wall_s * 1e9))
        spec = struct.pack("<qqqq", 0, 0, nanoseconds // 10**9, nanoseconds % 10**9)
        _libc.timerfd_settime(self.descriptor, TFD_TIMER_ABSTIME, spec, None)

    def drain(self) -> None:
        """Take note that it fired."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 8)


class Loop:
    """Descriptors, due times and calls of other threads, one at a time."""

    def __init__(self, clock: ClockPage) -> None:
        self.clock = clock
        self._epoll = select.epoll()
        self._timer = _TimerDescriptor()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._readers: dict[int, Callable[[], None]] = {}
        self._exact: list[tuple[float, int, Callable[[], None]]] = []
        self._lazy: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._calls: deque[Callable[[], None]] = deque()
        self._stopped = False
        self._moment_s: float | None = None
        self.hurry = False
        """Set where something waits for another process: the next turn comes within `HURRY_S`."""
        self._epoll.register(self._timer.descriptor, select.EPOLLIN)
        self._epoll.register(self._event, select.EPOLLIN)
        self.after_turn: list[Callable[[], None]] = []
        self.holds: Holds | None = None
        """Where time waits for whoever computes: where to say so."""
        self.marks: Marks | None = None

    def wait_for(self, holds: Holds, marks: Marks) -> None:
        """Let time wait for this loop, by its marks, and for whoever computes for it, through these holds."""
        self.holds, self.marks = holds, marks
        self.watch(holds.descriptor, holds.hear)

    def now_s(self) -> float:
        """The emulated moment of the call that runs: the one it was due at, however late this process came to it.

        How late that was is counted (`lateness.py`); it is no part of what takes time in orbit. Without a due time, and
        outside of calls, it is the clock's.
        """
        return self.clock.now_s() if self._moment_s is None else self._moment_s

    def watch(self, descriptor: int, reader: Callable[[], None]) -> None:
        """Call `reader` whenever the descriptor can be read."""
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, select.EPOLLIN)

    def at(self, emulated_s: float, call: Callable[[], None], lazy: bool = False) -> None:
        """Call when emulated time has come there; a lazy call at the next turn after it, within `SLACK_S`."""
        self._count += 1
        heapq.heappush(self._lazy if lazy else self._exact, (emulated_s, self._count, call))

    def soon(self, call: Callable[[], None]) -> None:
        """Call in this loop's thread; may be said from any thread."""
        self._calls.append(call)
        os.eventfd_write(self._event, 1)

    def must_not_fail(self, future: Future[None]) -> None:
        """Let what another thread could not do end this process, instead of being forgotten there."""

        def look(done: Future[None]) -> None:
            error = done.exception()
            if error is not None:
                self.soon(lambda: self._fail(error))

        future.add_done_callback(look)

    def _fail(self, error: BaseException) -> None:
        raise error

    def stop(self) -> None:
        """Leave `run` after this turn."""
        self._stopped = True
        os.eventfd_write(self._event, 1)

    def run(self) -> None:
        """Turn until stopped."""
        while not self._stopped:
            self._turn()

    def _turn(self) -> None:
        self._arm()
        for descriptor, _ in self._epoll.poll(HURRY_S if self.hurry else LOOK_S):
            if descriptor == self._timer.descriptor:
                self._timer.drain()
            elif descriptor == self._event:
                self._drain_event()
            else:
                self._readers[descriptor]()
        self._run_due()
        for _ in range(len(self._calls)):
            self._calls.popleft()()
        for call in self.after_turn:
            call()

    def _arm(self) -> None:
        if self.marks is not None:
            self.marks.turn(self._exact[0][0] if self._exact else float("inf"))
        if self._calls:
            self._timer.arm(0.0)
            return
        due_s = self._exact[0][0] if self._exact else float("inf")
        if self._lazy:
            due_s = min(due_s, self._lazy[0][0] + SLACK_S)
        if due_s != float("inf"):
            now_s, reading = self.clock.look()
            wall_s = reading.wall_at(due_s)
            # Where time stands before it, whoever lets it go on wakes this loop.
            if wall_s != float("inf") and not (due_s > reading.stop_s and reading.stands_at(now_s)):
                self._timer.arm(wall_s)

    def _run_due(self) -> None:
        # The clock is looked at again for each call: time may have been stopped meanwhile.
        while self._exact and self._exact[0][0] <= self.clock.now_s():
            self._moment_s, _, call = heapq.heappop(self._exact)
            call()
        while self._lazy and self._lazy[0][0] <= (now_s := self.clock.now_s()):
            due_s, _, call = heapq.heappop(self._lazy)
            self._moment_s = max(due_s, now_s - LAZY_PAST_S)
            call()
        self._moment_s = None

    def _drain_event(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
