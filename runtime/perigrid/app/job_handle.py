"""How does a program go on while its job runs, and take results as they arrive?

A thread watches the job, and a queue stands between it and whoever iterates. The queue is bounded in bytes: past that
the thread waits, and with it the stream from the ground, while the constellation works on. There is no asynchronous
twin of this on purpose: it would say everything twice, and a coroutine can call these methods with `asyncio.to_thread`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perigrid.app.jobs import RunEvent, Started, perform
from perigrid.app.reducers import Reduction
from perigrid.app.results import JobResult, ShardResult
from perigrid.errors import LinkBroken
from perigrid.job.spec import JobSpec
from perigrid.live.clients import Delivered, JobClient
from perigrid.live.rundir import RunDirectory
from perigrid.units import MIB

MAX_UNREAD_BYTES = 256 * MIB
"""Past so many bytes of results that nobody has taken, the job is not read on."""

LOOK_S = 0.2
"""How long a wait lasts before it is waited again, seconds: an interruption is heard in between."""


@dataclass(frozen=True, slots=True)
class Order:
    """A job that is to be run: what, how its tiles are reduced, where the result goes, how long it is watched."""

    spec: JobSpec
    reduction: Reduction
    out: Path | None
    limit_s: float


class Job:
    """A job that was submitted. Iterating yields each shard's result once, as it arrives, and raises what went wrong.

    `id` is the job's id and `shards` the number of its shards, which `len` gives too.
    """

    def __init__(self, run: RunDirectory, order: Order) -> None:
        self.id = order.spec.job
        self.shards = 0
        self.shards_done = 0
        self._run = run
        self._order = order
        self._changed = threading.Condition()
        self._unread: deque[tuple[ShardResult, int]] = deque()
        self._unread_bytes = 0
        self._arrived_bytes = 0
        self._keep_unread = True
        self._admitted = False
        self._result: JobResult | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._watch, name=f"job {self.id}", daemon=True)

    def start(self) -> Job:
        """Submit it, and return once it is admitted; raises why it was not."""
        self._thread.start()
        with self._changed:
            while not (self._admitted or self._ended):
                self._changed.wait(LOOK_S)
            if self._error is not None and not self._admitted:
                raise self._error
        return self

    @property
    def done(self) -> bool:
        """Whether it has ended and everything of it was read.

        A job with more than MAX_UNREAD_BYTES of results that nobody takes, by iterating or by `result`, stays undone.
        """
        with self._changed:
            return self._ended

    @property
    def state(self) -> str:
        """In a word: "running", "ended", or "broken" where watching it went wrong."""
        with self._changed:
            return "broken" if self._error is not None else "ended" if self._ended else "running"

    def __len__(self) -> int:
        return self.shards

    def __iter__(self) -> Iterator[ShardResult]:
        while (shard := self._next()) is not None:
            yield shard

    def result(self, limit_s: float | None = None) -> JobResult:
        """Wait until it has ended, at most `limit_s` seconds of the wall; its result, complete or not.

        Results that have arrived and were not iterated over are in it, and are not yielded any more. LinkBroken where
        it has not ended in time; the job goes on then. Raises what went wrong while it was watched.
        """
        end_s = None if limit_s is None else time.monotonic() + limit_s
        with self._changed:
            self._stop_keeping()
            while not self._ended:
                left_s = LOOK_S if end_s is None else min(LOOK_S, end_s - time.monotonic())
                if left_s <= 0:
                    raise LinkBroken(
                        f"job {self.id} has not ended within {limit_s:g} s ({self.shards_done} of {self.shards} shards "
                        "have); it goes on: ask again, or see what `why` says of its satellites."
                    )
                self._changed.wait(left_s)
            if self._result is not None:
                return self._result
            raise self._error if self._error is not None else LinkBroken(f"job {self.id} was left.")

    def cancel(self) -> None:
        """Give the job up: its open shards end as CANCELLED, and `result` says so. One that has ended stays so."""
        with JobClient(self._run.read().jobs, self._run.is_up) as client:
            client.cancel(self.id)

    def leave(self) -> None:
        """Take no more results; the job itself goes on as long as the constellation does."""
        with self._changed:
            self._stop_keeping()

    @property
    def _ended(self) -> bool:
        return self._result is not None or self._error is not None

    def _next(self) -> ShardResult | None:
        with self._changed:
            while not self._unread:
                if self._result is not None:
                    return None
                if self._error is not None:
                    raise self._error
                self._changed.wait(LOOK_S)
            shard, size_bytes = self._unread.popleft()
            self._unread_bytes -= size_bytes
            self._changed.notify_all()
            return shard

    def _stop_keeping(self) -> None:
        self._keep_unread = False
        self._unread.clear()
        self._unread_bytes = 0
        self._changed.notify_all()

    def _watch(self) -> None:
        order = self._order
        try:
            result = perform(self._run, order.spec, self._hear, order.reduction, order.out, limit_s=order.limit_s)
        except BaseException as error:
            # Whatever it is, it is raised again where the job is waited for.
            with self._changed:
                self._error = error
                self._changed.notify_all()
        else:
            with self._changed:
                self._result = result
                self._changed.notify_all()

    def _hear(self, event: RunEvent) -> None:
        with self._changed:
            if isinstance(event, Started):
                self._admitted, self.shards = True, event.admitted.shards
            elif isinstance(event, Delivered):
                self._arrived_bytes = len(event.result)
            elif isinstance(event, ShardResult):
                self._put(event)
            self._changed.notify_all()

    def _put(self, shard: ShardResult) -> None:
        while self._keep_unread and self._unread_bytes > MAX_UNREAD_BYTES:
            self._changed.wait(LOOK_S)
        self.shards_done += 1
        if self._keep_unread:
            self._unread.append((shard, self._arrived_bytes))
            self._unread_bytes += self._arrived_bytes

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.state}, {self.shards_done} of {self.shards} shards>"

    def _repr_html_(self) -> str:
        from perigrid.app.display import job_html

        return job_html(self)
