"""What has a model done since it is served?

The protocol's statistics: how many requests, inferences and executions, and where their time went. Times are of the
wall on a worker, and of orbit on the gateway.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from typing import Any

import msgspec

from perigrid.wire.generated import open_inference_pb2 as protocol

NS_PER_S = 1e9
MS_PER_S = 1e3
MAX_SIZES = 64
"""Batch sizes that are counted apart, of one name."""


class Times(msgspec.Struct, frozen=True):
    """Where one request's time went, seconds: waiting, reading its inputs, computing, writing its outputs."""

    queue_s: float
    input_s: float
    infer_s: float
    output_s: float


@dataclass(slots=True)
class _Tally:
    """Requests that were answered, of one name and batch size, and the seconds of all of them."""

    count: int = 0
    total_s: float = 0.0
    queue_s: float = 0.0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0

    def fill(self, said: Any) -> None:
        """Say the parts that a request and a batch have in common."""
        _fill(said.compute_input, self.count, self.input_s)
        _fill(said.compute_infer, self.count, self.infer_s)
        _fill(said.compute_output, self.count, self.output_s)


@dataclass(slots=True)
class _Record:
    """Of one served name."""

    sizes: dict[int, _Tally] = field(default_factory=dict)
    failures: int = 0
    failed_s: float = 0.0
    inferences: int = 0
    executions: int = 0
    last_s: float = 0.0

    def sum(self) -> _Tally:
        """Over all batch sizes."""
        columns = zip(*(astuple(tally) for tally in self.sizes.values()), strict=True)
        return _Tally(*map(sum, columns))

    def fill(self, one: Any) -> None:
        """Say it in the protocol's words."""
        whole, stats = self.sum(), one.inference_stats
        one.last_inference = round(self.last_s * MS_PER_S)
        one.inference_count, one.execution_count = self.inferences, self.executions
        _fill(stats.success, whole.count, whole.total_s)
        _fill(stats.fail, self.failures, self.failed_s)
        _fill(stats.queue, whole.count, whole.queue_s)
        whole.fill(stats)
        for size, tally in sorted(self.sizes.items()):
            if size:
                tally.fill(one.batch_stats.add(batch_size=size))


def _fill(said: Any, count: int, total_s: float) -> None:
    said.count, said.ns = count, max(0, round(total_s * NS_PER_S))


class Counters:
    """Counts by served name; used from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}

    def succeeded(self, name: str, items: int, batch: int, total_s: float, times: Times) -> None:
        """A request was answered: `items` computed, `batch` at a time, in `total_s` all in all."""
        now_s = time.time()
        with self._lock:
            record = self._record(name)
            tally = record.sizes.get(batch)
            if tally is None:
                # Past the bound the rest goes into one that is not said apart.
                key = batch if len(record.sizes) < MAX_SIZES else 0
                tally = record.sizes.setdefault(key, _Tally())
            tally.count += 1
            tally.total_s += total_s
            tally.queue_s += times.queue_s
            tally.input_s += times.input_s
            tally.infer_s += times.infer_s
            tally.output_s += times.output_s
            record.inferences += items
            record.executions += max(1, items // batch)
            record.last_s = now_s

    def failed(self, name: str, total_s: float) -> None:
        """A request was refused, cancelled or past its deadline."""
        with self._lock:
            record = self._record(name)
            record.failures += 1
            record.failed_s += total_s

    def response(self, names: Iterable[str], version: str) -> Any:
        """What is said of these names, also of those that were never asked."""
        said = protocol.ModelStatisticsResponse()
        with self._lock:
            for name in names:
                self._records.get(name, _Record()).fill(said.model_stats.add(name=name, version=version))
        return said

    def _record(self, name: str) -> _Record:
        found = self._records.get(name)
        if found is None:
            found = self._records[name] = _Record()
        return found
