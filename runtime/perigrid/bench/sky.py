"""How fast are sky and mesh, beside a plain script that does the same?

One step is positions, ranges of all lasers, who sees whom, and delay and next hop of every satellite towards each of a
hundred cities; both sides are given the same moments, in turn in the same process, and their results are compared. A
round is a few steps; a ratio is ours over the script's of the same round, and the script is run twice in each round, so
that the spread of the same thing measured twice stands beside it. Ratios are of wall time. Those of CPU time,
which other programs on the machine disturb less, stand beside them, and growth is measured in CPU time.

The growth of a step with the number of satellites, a contact plan of 24 hours with what asking it costs, and the
earliest arrivals over two hours are measured beside it, once each.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from perigrid.bench.arena import preset, say
from perigrid.bench.cities import CITIES
from perigrid.bench.sky_script import Script, Step
from perigrid.bench.sky_step import Constellation, Moment, SkyStep
from perigrid.errors import Bug
from perigrid.mesh.earliest import planned_contacts
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.topology import Mesh
from perigrid.units import LIGHT_KM_S, NodeId

PLACES = tuple((city.latitude_deg, city.longitude_deg) for city in CITIES)
STEP_S = 15.0
"""Sky time from step to step."""

TOLERANCE = 1e-9
"""Relative difference of lengths above which the two sides do not agree."""

MAX_OTHER_HOPS = 1e-3
"""Share of next hops that may differ, as one of two equal ways was taken; none did in any round that was looked at."""

SIZES = ((20, 20), (28, 28), (40, 40), (56, 57), (80, 80))
"""Planes and slots, from 400 to 6,400 satellites."""

PLAN_PRESET = "three-body-2800"
LOOKUPS = 1_000_000
ARRIVAL_WINDOW_S = 7200.0
ARRIVAL_BYTES = 1e6


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    rounds: int = 10
    steps: int = 5
    sizes: tuple[tuple[int, int], ...] = SIZES
    size_turns: int = 3
    size_steps: int = 4
    hours: int = 24
    sources: int = 5
    plan_preset: str = PLAN_PRESET


QUICK = Effort(
    rounds=2,
    steps=2,
    sizes=((10, 10), (14, 14)),
    size_turns=1,
    size_steps=2,
    hours=2,
    sources=1,
    plan_preset="three-body-12",
)


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of a step, by the wall and of the CPU."""

    wall_s: float
    cpu_s: float


def differences(ours: Moment, script: Step) -> dict[str, float]:
    """How far the two sides are apart: lengths relatively, and the share of next hops that are not the same."""
    count = len(ours.length_km)
    lengths = _apart(ours.length_km, script.dist.T)
    between = _apart(ours.between_km, script.between)
    # A hop that differs is as good where two ways are of one length, which rounding decides: that is rare.
    other = (ours.step != script.hop.T) & np.isfinite(ours.length_km)
    return {
        "lengths": lengths,
        "between": between,
        "other_hops": float(np.count_nonzero(other)) / (count * len(ours.between_km)),
    }


def _apart(one: Any, two: Any) -> float:
    if not np.array_equal(np.isfinite(one), np.isfinite(two)):
        raise Bug("perigrid's step and the plain script do not reach the same places: one of the two is wrong.")
    known = np.isfinite(one) & (two > 0)
    return float(np.max(np.abs(one[known] / two[known] - 1), initial=0.0))


def step_ratios(effort: Effort) -> dict[str, Any]:
    """Interleaved rounds of the script, perigrid by SGP4 as the script, perigrid's own shells, and the script again."""
    world = Constellation(PLACES)
    script, ours, walker = Script(list(PLACES)), SkyStep(world), SkyStep(world, sgp4=False)
    worst = differences(ours.at(0.0), script.step(0.0))
    walker.at(0.0)
    first = ours.at(0.0).between_km[np.triu_indices(len(PLACES), 1)]
    rounds: list[tuple[Took, ...]] = []
    for number in range(effort.rounds):
        moments = [STEP_S * (1 + number * effort.steps + step) for step in range(effort.steps)]
        timed = [_timed(side, moments) for side in (script.step, ours.at, walker.at, script.step)]
        rounds.append(tuple(took for took, _ in timed))
        found = differences(timed[1][1], timed[0][1])
        worst = {key: max(value, found[key]) for key, value in worst.items()}
        shown = ", ".join(f"{took.wall_s * 1e3:.1f}" for took in rounds[-1])
        say(f"round {number + 1}: script, ours, ours by Walker, script {shown} ms")
    if max(worst["lengths"], worst["between"]) > TOLERANCE or worst["other_hops"] > MAX_OTHER_HOPS:
        raise Bug(f"perigrid's step and the plain script differ by {worst}: one of the two is wrong.")
    again = [second.wall_s / one.wall_s for one, _, _, second in rounds]
    return {
        "ratio": _ratio([(one.wall_s, own.wall_s, two.wall_s) for one, own, _, two in rounds]),
        "ratio_cpu": _ratio([(one.cpu_s, own.cpu_s, two.cpu_s) for one, own, _, two in rounds]),
        "ratio_walker": _ratio([(one.wall_s, own.wall_s, two.wall_s) for one, _, own, two in rounds]),
        "ratio_walker_cpu": _ratio([(one.cpu_s, own.cpu_s, two.cpu_s) for one, _, own, two in rounds]),
        "aa_median": round(statistics.median(again), 4),
        "aa_spread": round(max(abs(ratio - 1) for ratio in again), 4),
        "rounds": effort.rounds,
        "steps_a_round": effort.steps,
        "script_ms": _median_ms(one for one, *_ in rounds),
        "ours_ms": _median_ms(own for _, own, _, _ in rounds),
        "ours_walker_ms": _median_ms(own for _, _, own, _ in rounds),
        "one_way_median_ms": round(float(np.median(first[np.isfinite(first)])) / LIGHT_KM_S * 1e3, 3),
        "apart": worst,
    }


def _ratio(rounds: list[tuple[float, float, float]]) -> float:
    """The median of ours over the mean of the script's two, round by round."""
    return round(statistics.median(2 * own / (one + two) for one, own, two in rounds), 4)


def _median_ms(all_took: Iterable[Took]) -> float:
    return round(statistics.median(took.wall_s for took in all_took) * 1e3, 3)


def _timed(side: Callable[[float], Any], moments: list[float]) -> tuple[Took, Any]:
    """What a step took, and the last step's result."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    for t_s in moments:
        result = side(t_s)
    wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    return Took(wall_s / len(moments), cpu_s / len(moments)), result


def growth(effort: Effort) -> dict[str, Any]:
    """CPU milliseconds of a step by number of satellites, and the slope of their logarithms."""
    sides = {planes * slots: SkyStep(Constellation(PLACES, planes, slots)) for planes, slots in effort.sizes}
    took_s: dict[int, list[float]] = {count: [] for count in sides}
    for turn in range(effort.size_turns):
        for count, side in sides.items():
            # The first step of a turn finds the caches full of other sizes, and at the very start no trees.
            each = [
                _timed(side.at, [STEP_S * (turn * (effort.size_steps + 1) + number)])[0].cpu_s
                for number in range(effort.size_steps + 1)
            ]
            took_s[count] += each[1:]
    took_ms = {count: round(statistics.median(each) * 1e3, 3) for count, each in took_s.items()}
    say(f"CPU ms a step by satellites: {took_ms}")
    x, y = [math.log(count) for count in took_ms], [math.log(took) for took in took_ms.values()]
    return {"slope": round(statistics.linear_regression(x, y).slope, 3), "cpu_ms": took_ms}


def contact_plan(effort: Effort) -> tuple[dict[str, Any], ContactPlan]:
    """What the contact plan of a preset takes: seconds on one core, bytes, and microseconds a lookup."""
    scenario = preset(effort.plan_preset)
    mesh = Mesh(scenario)
    plan = ContactPlan(scenario, mesh)
    took_s, size = [], 0
    for index in range(effort.hours):
        start_s = time.perf_counter()
        segment = compute_segment(scenario, mesh, index, plan.last_segment())
        size += len(segment.to_bytes())
        took_s.append(time.perf_counter() - start_s)
        plan.add(segment)
    say(f"{effort.hours} hours of {effort.plan_preset}: {sum(took_s):.1f} s, {size / 1e6:.1f} MB")
    random = np.random.default_rng(0)
    pairs = np.array([(link.a, link.b) for link in mesh.lasers], np.int64)
    ends = pairs[random.integers(0, len(pairs), LOOKUPS)]
    times_s = random.uniform(0.0, plan.horizon_s, LOOKUPS)
    start_s = time.perf_counter()
    plan.states(ends, times_s)
    lookup_us = (time.perf_counter() - start_s) / LOOKUPS * 1e6
    return {
        "preset": effort.plan_preset,
        "hours": effort.hours,
        "seconds": round(sum(took_s), 2),
        "first_hour_s": round(took_s[0], 3),
        "bytes": size,
        "lookup_us": round(lookup_us, 3),
    }, plan


def arrivals(plan: ContactPlan, effort: Effort) -> dict[str, Any]:
    """Earliest arrivals at all nodes over two hours, from a few sources."""
    start_s = time.perf_counter()
    graph = planned_contacts(plan, 0.0, min(ARRIVAL_WINDOW_S, plan.horizon_s))
    index_s = time.perf_counter() - start_s
    sources = [NodeId(plan.mesh.satellite_count * number // effort.sources) for number in range(effort.sources)]
    took_s, reached = [], 0
    for source in sources:
        start_s = time.perf_counter()
        reached = len(graph.arrivals(source, 0.0, ARRIVAL_BYTES).arrival_s)
        took_s.append(time.perf_counter() - start_s)
    return {
        "contacts": len(graph),
        "nodes_reached": reached,
        "index_ms": round(index_s * 1e3, 1),
        # The first source finds the rates of contacts unsampled, as whoever asks once does.
        "first_source_ms": round(took_s[0] * 1e3, 1),
        "source_ms": round(statistics.median(took_s) * 1e3, 1),
    }


def measure(effort: Effort) -> dict[str, Any]:
    """All figures."""
    step, grown = step_ratios(effort), growth(effort)
    plan_figures, plan = contact_plan(effort)
    return {"step": step, "growth": grown, "plan": plan_figures, "arrivals": arrivals(plan, effort)}


def main(arguments: list[str]) -> int:
    """`perigrid bench sky`."""
    parser = argparse.ArgumentParser(prog="perigrid bench sky", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of the step")
    parser.add_argument("--quick", action="store_true", help="a small world, to see that everything works")
    chosen = parser.parse_args(arguments)
    found = measure(QUICK if chosen.quick else Effort(rounds=chosen.rounds))
    if chosen.json:
        print(msgspec.json.encode(found).decode())
    else:
        for name, figures in found.items():
            print(name, *(f"{key} {value}" for key, value in figures.items()))
    return 0
