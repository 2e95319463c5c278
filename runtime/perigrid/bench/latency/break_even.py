"""When is it faster to send the capture down than to infer in orbit?

A bent pipe answers after contact wait + capture bytes / rate + range / c + the ground's inference; inference in orbit
after the satellite's inference + the way of a small result, over lasers where those lead to a contact. In contact the
bent pipe often wins; what it loses is the wait. So the break-even is a contact wait: below it the bent pipe is faster.

`of_plan` reckons it by hand from a contact plan's figures, `of_series` from two arms of a run; a test holds the second
against the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from perigrid.bench.latency.rows import Arm, Row, Series
from perigrid.errors import UsageError
from perigrid.report.words import seconds
from perigrid.units import LIGHT_KM_S

WAIT = "contact_wait"
PIPES = (Arm.BENT_PIPE, Arm.BENT_PIPE_LASERS)
IN_CONTACT_S = 1e-3
"""Who waited no longer was sent in contact."""

MIN_IN_CONTACT = 10
ORBITS = (Arm.IN_ORBIT, Arm.SHARDED, Arm.CASCADE)


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How something comes down: so many bytes over a link of such a rate and range, after a wait for the contact.

    `crossings` is how often light crosses the range: 1 for what starts on board, 2 for a question and its answer;
    `others_s` is all the rest: lasers, queues, computers, equipment.
    """

    size_bytes: int
    rate_bps: float
    range_km: float
    crossings: int = 1
    wait_s: float = 0.0
    others_s: float = 0.0


class BreakEven(msgspec.Struct, frozen=True, kw_only=True):
    """Two arms, seconds. Below `wait_s` of contact wait the bent pipe is faster; at 0 or less it never is.

    `pipe_without_wait_s` is the bent pipe's time but for its contact wait, `orbit_s` the other arm's, waits included.
    Of a run: means over answered requests, `valid` whether the desk kept the orbit's time, `in_contact` captures that
    the pipe sent without a wait, `pairs` captures that both arms answered, and `pipe_faster` of them those in which the
    bent pipe was. Of a plan the last three are None.
    """

    pipe: Arm
    orbit: Arm
    wait_s: float
    pipe_without_wait_s: float
    pipe_wait_s: float
    orbit_s: float
    orbit_wait_s: float
    valid: bool = True
    in_contact: int | None = None
    pairs: int | None = None
    pipe_faster: int | None = None

    def sentence(self) -> str:
        """The break-even for a reader."""
        pipe = "bent pipe over lasers" if self.pipe == Arm.BENT_PIPE_LASERS else "bent pipe"
        orbit = self.orbit.value.replace("-", " ")
        if self.wait_s <= 0:
            return (
                f"The {pipe} is never faster than {orbit}: even without a contact wait it takes "
                f"{seconds(self.pipe_without_wait_s)} against {seconds(self.orbit_s)}."
            )
        wins = "is" if self.pipe_wait_s < self.wait_s else "would be"
        text = (
            f"The {pipe} {wins} faster than {orbit} while its contact wait is below {seconds(self.wait_s)}; the mean "
            f"wait here is {seconds(self.pipe_wait_s)}."
        )
        if self.pairs and self.pipe_faster is not None:
            text += f" It was faster for {self.pipe_faster:,} of {self.pairs:,} captures."
        return text


def way_s(way: Way) -> float:
    """How long a way takes: wait + 8 bytes / rate + crossings * range / c + the rest, seconds."""
    if way.rate_bps <= 0:
        raise UsageError(f"a link of {way.rate_bps:g} bit/s carries nothing; give a rate above 0.")
    line_s = 8 * way.size_bytes / way.rate_bps
    return way.wait_s + line_s + way.crossings * way.range_km / LIGHT_KM_S + way.others_s


def of_plan(pipe: Way, orbit: Way) -> BreakEven:
    """The break-even of two ways that were put together by hand."""
    pipe_s, orbit_s = way_s(pipe) - pipe.wait_s, way_s(orbit)
    return BreakEven(
        pipe=Arm.BENT_PIPE,
        orbit=Arm.IN_ORBIT,
        wait_s=orbit_s - pipe_s,
        pipe_without_wait_s=pipe_s,
        pipe_wait_s=pipe.wait_s,
        orbit_s=orbit_s,
        orbit_wait_s=orbit.wait_s,
    )


def bytes_even(pipe: Way, orbit: Way) -> float:
    """The capture's size in bytes at which a bent pipe that waits as it does takes as long as the way in orbit.

    Smaller captures come down sooner than they are inferred on board; negative where none does.
    """
    empty = msgspec.structs.replace(pipe, size_bytes=0)
    return (way_s(orbit) - way_s(empty)) * pipe.rate_bps / 8


def of_series(pipe: Sequence[Series], orbit: Sequence[Series]) -> BreakEven | None:
    """The break-even of two arms, each with its repeats; None where one of them answered nothing.

    Captures are paired by their number within a repeat. What the pipe takes without a contact wait is the mean of those
    that met a contact, where there are MIN_IN_CONTACT of them: captures that waited together also queue for the link.
    """
    pipe_rows, orbit_rows = _answered(pipe), _answered(orbit)
    if not pipe_rows or not orbit_rows:
        return None
    waits_s = {key: row.stages.get(WAIT, 0.0) for key, row in pipe_rows.items()}
    rests_s = {key: row.latency_s - waits_s[key] for key, row in pipe_rows.items()}
    in_contact = [rests_s[key] for key, wait_s in waits_s.items() if wait_s <= IN_CONTACT_S]
    pipe_s = _mean(in_contact if len(in_contact) >= MIN_IN_CONTACT else list(rests_s.values()))
    orbit_s = _mean([row.latency_s for row in orbit_rows.values()])
    both = [(row.latency_s, orbit_rows[key].latency_s) for key, row in pipe_rows.items() if key in orbit_rows]
    return BreakEven(
        pipe=pipe[0].arm,
        orbit=orbit[0].arm,
        wait_s=orbit_s - pipe_s,
        pipe_without_wait_s=pipe_s,
        pipe_wait_s=_mean(list(waits_s.values())),
        orbit_s=orbit_s,
        orbit_wait_s=_mean([row.stages.get(WAIT, 0.0) for row in orbit_rows.values()]),
        valid=all(series.valid for series in (*pipe, *orbit)),
        in_contact=len(in_contact),
        pairs=len(both),
        pipe_faster=sum(one_s < other_s for one_s, other_s in both),
    )


def _answered(repeats: Sequence[Series]) -> dict[tuple[str, int], Row]:
    return {
        (series.repeat, row.number): row
        for series in repeats
        for row in series.rows
        if row.outcome == "ok" and not row.warm_up
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
