"""When is each request to be sent?

MLPerf Inference's four scenarios, with its names and as far as possible its rules (mlcommons/inference_policies,
inference_rules.adoc, section Scenarios, July 2026); MLPerf-style, unverified:

- SingleStream: one sample a query, the next when the last ended; the metric is the 90th percentile.
- MultiStream: eight samples a query, the next when the last ended; the 99th percentile.
- Server: one sample a query, a Poisson process; the highest rate that keeps the 99th percentile within a bound.
- Offline: all samples in one query; throughput.

MLPerf asks for 600 s each, and 24,576 samples Offline; what a run is short of is said beside its results (`short_of`).

**Strata.** One instant of an orbit is one geometry, so requests are sent at `MIN_STRATA` instants or more, one at a
seeded place in each of as many equal parts of the orbit. **Warm-up** comes before each stratum and is kept apart.
**Open loop**: Server's times are fixed beforehand by the seed, whatever the system does; latency counts from them.
Streams are closed loops, as MLPerf has them, and measure no queueing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perigrid.bench.latency.rows import Mode, Series, Stratum
from perigrid.errors import UsageError

LABEL = "MLPerf-style, unverified"
MIN_STRATA = 20
MAX_PLANNED = 2_000_000
"""Requests of one schedule; more would not fit into memory with their rows."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One of MLPerf's scenarios: its name there, samples a query, the percentile that is its metric (None: throughput),
    how long and how many samples it takes at least, and whether the next query waits for the last one's end.
    """

    mode: Mode
    name: str
    samples_per_query: int
    share: float | None
    min_duration_s: float
    min_samples: int
    closed_loop: bool


RULES = {
    Mode.SINGLE_STREAM: Rule(Mode.SINGLE_STREAM, "SingleStream", 1, 0.90, 600.0, 64, True),
    Mode.MULTI_STREAM: Rule(Mode.MULTI_STREAM, "MultiStream", 8, 0.99, 600.0, 8 * 662, True),
    Mode.SERVER: Rule(Mode.SERVER, "Server", 1, 0.99, 600.0, 662, False),
    Mode.OFFLINE: Rule(Mode.OFFLINE, "Offline", 24_576, None, 600.0, 24_576, False),
}
"""MLPerf's rules. The least samples of the first three are those of its early stopping with one query over the
bound.
"""


@dataclass(frozen=True, slots=True)
class Planned:
    """One request: when it is to be sent, emulated seconds, in which stratum, of how many samples, and whether it only
    warms up.
    """

    number: int
    stratum: int
    intended_s: float
    items: int
    warm_up: bool


def strata_of(
    start_s: float,
    period_s: float,
    length_s: float,
    seed: int,
    count: int = MIN_STRATA,
    warm_up_s: float = 0.0,
    orbits: int = 1,
    at_least: int = MIN_STRATA,
) -> tuple[Stratum, ...]:
    """`count` stretches of `length_s` over `orbits` periods from `start_s` on, one in each count-th of the orbit.

    Stratum i lies `orbits * i / count` periods on, moved by a seeded share of what its part leaves it beside warm-up
    and length; over several orbits the Earth turns below, and each part of the orbit still has one stratum. UsageError
    for fewer than `at_least`, for stretches that do not fit, and for orbits with a divisor in common with `count`.
    """
    if count < at_least:
        raise UsageError(
            f"{count} strata are too few: one instant of an orbit is one geometry; ask for {at_least} or more."
        )
    if orbits < 1 or math.gcd(orbits, count) != 1:
        raise UsageError(
            f"{count} strata over {orbits} orbits would meet the same parts of the orbit again; take a number of "
            f"orbits without a divisor in common with {count}."
        )
    part_s = period_s / count
    slack_s = part_s - length_s - warm_up_s
    if length_s <= 0 or warm_up_s < 0 or slack_s < 0:
        raise UsageError(
            f"strata of {length_s:g} s with {warm_up_s:g} s of warm-up do not fit into {count} parts of {part_s:g} s "
            "of the orbit; take a shorter duration or fewer strata."
        )
    places = np.random.default_rng([seed, count]).random(count)
    starts = [start_s + orbits * part_s * i + warm_up_s + slack_s * float(places[i]) for i in range(count)]
    return tuple(Stratum(i, begin_s, begin_s + length_s) for i, begin_s in enumerate(starts))


def length_of(duration_s: float, count: int = MIN_STRATA) -> float:
    """How long each stratum is, so that all of them take `duration_s` of measured time."""
    return duration_s / count


def server_times(
    strata: Sequence[Stratum], rate_per_s: float, seed: int, warm_up_s: float = 0.0
) -> tuple[Planned, ...]:
    """Server: a Poisson process of `rate_per_s` queries a second in each stratum and in the warm-up before it.

    Each stratum has its own stream of the seed, so that a stratum left out changes no other. UsageError for a rate that
    is not positive, or too many requests.
    """
    if not 0 < rate_per_s < math.inf:
        raise UsageError(f"a rate of {rate_per_s:g} requests a second cannot be sent; take one above 0.")
    expected = rate_per_s * sum(s.end_s - s.start_s + warm_up_s for s in strata)
    if expected > MAX_PLANNED:
        raise UsageError(
            f"{expected:,.0f} requests are more than the {MAX_PLANNED:,} that a run holds; take a lower rate or a "
            "shorter duration."
        )
    planned: list[Planned] = []
    for stratum in strata:
        from_s = stratum.start_s - warm_up_s
        for at_s in _poisson_s(from_s, stratum.end_s, rate_per_s, np.random.default_rng([seed, stratum.number])):
            planned.append(Planned(len(planned), stratum.number, at_s, 1, at_s < stratum.start_s))
    return tuple(planned)


def offline_times(strata: Sequence[Stratum], samples: int, warm_up_s: float = 0.0) -> tuple[Planned, ...]:
    """Offline: one query of `samples` at the start of each stratum; with a warm-up, one of a single sample before."""
    planned: list[Planned] = []
    for stratum in strata:
        if warm_up_s > 0:
            planned.append(Planned(len(planned), stratum.number, stratum.start_s - warm_up_s, 1, True))
        planned.append(Planned(len(planned), stratum.number, stratum.start_s, samples, False))
    return tuple(planned)


def first_of_stream(rule: Rule, stratum: Stratum, number: int, warm_up_s: float = 0.0) -> Planned:
    """The first query of a stream in a stratum."""
    at_s = stratum.start_s - warm_up_s
    return Planned(number, stratum.number, at_s, rule.samples_per_query, warm_up_s > 0)


def next_of_stream(rule: Rule, stratum: Stratum, last: Planned, ended_s: float) -> Planned | None:
    """The query after `last`, which ended then: it is to be sent at once. None where the stratum is over by then."""
    if ended_s >= stratum.end_s:
        return None
    return Planned(last.number + 1, stratum.number, ended_s, rule.samples_per_query, ended_s < stratum.start_s)


def short_of(rule: Rule, series: Series) -> tuple[str, ...]:
    """What MLPerf's rules ask for and a series does not have, in words; nothing where it meets them."""
    said = []
    duration_s = sum(stratum.end_s - stratum.start_s for stratum in series.strata)
    if duration_s < rule.min_duration_s - 1e-6:
        said.append(f"{duration_s:.4g} s measured of {rule.min_duration_s:g} s")
    samples = sum(row.items for row in series.rows if not row.warm_up)
    if samples < rule.min_samples:
        said.append(f"{samples:,} samples of {rule.min_samples:,}")
    return tuple(said)


def _poisson_s(from_s: float, to_s: float, rate_per_s: float, random: np.random.Generator) -> list[float]:
    """Times of a Poisson process from `from_s` to before `to_s`: exponential gaps, in chunks that mostly suffice."""
    chunk = int(rate_per_s * (to_s - from_s) * 1.2) + 16
    found: list[float] = []
    at_s = from_s
    while at_s < to_s:
        times = at_s + np.cumsum(random.exponential(1 / rate_per_s, chunk))
        found += times[times < to_s].tolist()
        at_s = float(times[-1])
    return found
