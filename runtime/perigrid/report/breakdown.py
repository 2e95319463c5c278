"""Where did a shard's time go?

From the job's admission to the settling of its result, in emulated seconds, each moment of a shard belongs to one of
six parts, which add up. Medians do not add up, so the bar that shows a whole is drawn from means. The quantile is
the nearest rank: the least of the values that at least so many of them do not exceed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perigrid.report.story import Accepted

TAIL_SHARE = 0.99


@dataclass(frozen=True, slots=True)
class Parts:
    """One shard's time by part, emulated seconds. `waiting_s` is what no other part explains: held on the ground or in
    flash, without a link to take, or in an attempt that came to nothing.
    """

    waiting_s: float
    uplink_s: float
    lasers_s: float
    queue_s: float
    inference_s: float
    downlink_s: float

    @property
    def total_s(self) -> float:
        """From admission to settling."""
        inside_s = self.uplink_s + self.lasers_s + self.queue_s + self.inference_s + self.downlink_s
        return self.waiting_s + inside_s


PART_NAMES = ("waiting_s", "uplink_s", "lasers_s", "queue_s", "inference_s", "downlink_s")


@dataclass(frozen=True, slots=True)
class Line:
    """One part over all shards, emulated seconds."""

    name: str
    median_s: float
    tail_s: float
    mean_s: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The parts over `shards` accepted shards, and the whole, which is the parts' sum shard by shard."""

    shards: int
    parts: tuple[Line, ...]
    whole: Line


def parts_of(accepted: Accepted, admitted_s: float) -> Parts:
    """One shard's parts; they add up to `accepted.settled_s - admitted_s`."""
    uplink_s, downlink_s = accepted.up_ground_s, accepted.down_ground_s
    lasers_s = accepted.up_laser_s + accepted.down_laser_s
    explained_s = uplink_s + lasers_s + accepted.queue_s + accepted.inference_s + downlink_s
    waiting_s = accepted.settled_s - admitted_s - explained_s
    return Parts(waiting_s, uplink_s, lasers_s, accepted.queue_s, accepted.inference_s, downlink_s)


def breakdown_of(accepted: Iterable[Accepted], admitted_s: float) -> Breakdown | None:
    """Medians, 99th percentiles and means of all parts; None without any accepted shard."""
    shards = [parts_of(one, admitted_s) for one in accepted]
    if not shards:
        return None
    parts = tuple(_line(name.removesuffix("_s"), [getattr(parts, name) for parts in shards]) for name in PART_NAMES)
    return Breakdown(len(shards), parts, _line("whole", [parts.total_s for parts in shards]))


def quantile(values: Sequence[float], share: float) -> float:
    """The least of the values that at least `share` of them do not exceed; there must be one."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _line(name: str, values: Sequence[float]) -> Line:
    return Line(name, statistics.median(values), quantile(values, TAIL_SHARE), statistics.fmean(values))
