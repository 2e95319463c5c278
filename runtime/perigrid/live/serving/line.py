"""Which request is computed next, and which one never?

A worker's requests wait in one line for each model. A model computes as many at once as its budget says (one, unless
its entry says otherwise), and the next is the most urgent: the lower number of its priority, then the earlier due, then
who came first. Who has a place lends it to somebody more urgent between two tiles. A place in the line is given up at
once when its caller cancels or its deadline passes, and nothing is computed for either. The line is bounded in requests
and in bytes.
"""

from __future__ import annotations

import bisect
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from perigrid.errors import DeadlinePassed, LinkBroken, Overloaded

_LATE = "the request's deadline has passed: nothing (more) is computed for it; give it longer"
_CANCELLED = "the request was cancelled or its deadline has passed: nothing (more) is computed for it"

Listener = Callable[[], None]


class Caller(Protocol):
    """Who waits for an answer."""

    def is_alive(self) -> bool:
        """Whether anybody still does."""

    def remaining_s(self) -> float:
        """Wall seconds until the caller's own deadline; infinite without one."""

    def listen(self, listener: Listener | None) -> bool:
        """Call this, in any thread, when nobody waits any more; False, and it is not called, where that is so already.

        There is one listener at a time; None takes it away.
        """


class Patient:
    """A caller without a deadline that never goes away, for those who ask within a process."""

    def is_alive(self) -> bool:
        """Always."""
        return True

    def remaining_s(self) -> float:
        """For ever."""
        return math.inf

    def listen(self, listener: Listener | None) -> bool:
        """It never ends, so nobody is called."""
        return True


class Claim(msgspec.Struct, eq=False):
    """One request's wish to be computed.

    Args:
        model: whose line it stands in.
        budget: how many of that model's requests are computed at once.
        caller: who waits.
        priority: 1 is the most urgent.
        due_s: emulated seconds at which the answer is due; infinite when nobody said.
        end_s: monotonic wall seconds after which nothing is computed for it.
        size_bytes: what its message keeps in memory.
    """

    model: str
    budget: int
    caller: Caller
    priority: int
    due_s: float
    end_s: float
    size_bytes: int
    number: int = 0
    seated: bool = False
    wake: threading.Event | None = None

    @property
    def key(self) -> tuple[int, float, int]:
        """The lower, the sooner."""
        return self.priority, self.due_s, self.number

    def check(self) -> None:
        """DeadlinePassed or LinkBroken when nothing is to be computed for it any more."""
        if time.monotonic() >= self.end_s:
            raise DeadlinePassed(_LATE)
        if not self.caller.is_alive():
            raise LinkBroken(_CANCELLED)


class _Queue(msgspec.Struct, eq=False):
    """One model's line: who waits, most urgent first, and how many are computed."""

    waiting: list[Claim] = []
    seated: int = 0


class Line:
    """The requests of one worker; used from many threads.

    Args:
        max_waiting: most requests that wait, of all models.
        max_waiting_bytes: most bytes that they keep.
    """

    def __init__(self, max_waiting: int, max_waiting_bytes: int) -> None:
        self._max_waiting = max_waiting
        self._max_bytes = max_waiting_bytes
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._waiting = 0
        self._bytes = 0
        self._count = 0

    def waiting(self) -> int:
        """How many requests wait now."""
        with self._lock:
            return self._waiting

    def enter(self, claim: Claim) -> None:
        """Wait for a place and take it.

        Overloaded when too many wait already; DeadlinePassed and LinkBroken when nobody waits for the answer any more,
        and then no place is held.
        """
        claim.check()
        with self._lock:
            self._count += 1
            claim.number = self._count
            queue = self._queues.get(claim.model)
            if queue is None:
                queue = self._queues[claim.model] = _Queue()
            if queue.seated < claim.budget and not queue.waiting:
                queue.seated += 1
                claim.seated = True
                return
            self._check_room(claim)
            self._stand(queue, claim)
        self._wait(claim)

    def lend(self, claim: Claim) -> None:
        """Let whoever is more urgent go first; comes back with a place, and raises as `enter` does."""
        claim.check()
        with self._lock:
            queue = self._queues[claim.model]
            if not queue.waiting or queue.waiting[0].key > claim.key:
                return
            # It was let in already, so the bound is not asked again.
            claim.seated = False
            queue.seated -= 1
            self._stand(queue, claim)
            self._seat(queue)
        self._wait(claim)

    def leave(self, claim: Claim) -> None:
        """Give a place back, if one is held."""
        with self._lock:
            if not claim.seated:
                return
            claim.seated = False
            queue = self._queues[claim.model]
            queue.seated -= 1
            self._seat(queue)
            if not queue.seated and not queue.waiting:
                del self._queues[claim.model]

    def _check_room(self, claim: Claim) -> None:
        if self._waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._waiting} requests wait here, and {self._max_waiting} may: ask again when some are answered"
            )
        if self._bytes + claim.size_bytes > self._max_bytes:
            raise Overloaded(
                f"the {self._waiting} requests that wait here have {self._bytes} bytes, and {self._max_bytes} may "
                "wait: ask again when some are answered"
            )

    def _stand(self, queue: _Queue, claim: Claim) -> None:
        claim.wake = threading.Event()
        bisect.insort(queue.waiting, claim, key=lambda other: other.key)
        self._waiting += 1
        self._bytes += claim.size_bytes

    def _seat(self, queue: _Queue) -> None:
        while queue.waiting and queue.seated < queue.waiting[0].budget:
            claim = queue.waiting.pop(0)
            self._waiting -= 1
            self._bytes -= claim.size_bytes
            queue.seated += 1
            claim.seated = True
            _wake(claim)

    def _wait(self, claim: Claim) -> None:
        if not claim.caller.listen(lambda: self._drop(claim)):
            self._drop(claim)
        in_time = True
        try:
            limit_s = claim.end_s - time.monotonic()
            if claim.wake is not None:
                in_time = claim.wake.wait(None if math.isinf(limit_s) else max(0.0, limit_s))
        finally:
            claim.caller.listen(None)
            if not in_time:
                self._drop(claim)
        try:
            claim.check()
            if not claim.seated:
                raise LinkBroken(_CANCELLED) if in_time else DeadlinePassed(_LATE)
        except LinkBroken:
            self.leave(claim)
            raise

    def _drop(self, claim: Claim) -> None:
        """Take a claim out of the line, whoever says so; one with a place keeps it until its thread gives it back."""
        with self._lock:
            queue = self._queues.get(claim.model)
            if claim.seated or queue is None or claim not in queue.waiting:
                return
            queue.waiting.remove(claim)
            self._waiting -= 1
            self._bytes -= claim.size_bytes
            if not queue.seated and not queue.waiting:
                del self._queues[claim.model]
            _wake(claim)


def _wake(claim: Claim) -> None:
    if claim.wake is not None:
        claim.wake.set()
