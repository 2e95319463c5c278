"""How far ahead of the clock is the contact plan written?

The plan of a run lies in its directory, an hour of orbit a file. The launcher writes the first ones before anything
starts, the supervisor goes on, and every host maps what is there. All of them must have an hour before its first moment
comes: a node that asks beyond the horizon is lost. How long an hour of orbit lasts here depends on how fast time passes
(`rate`) and how fast the sky turns in it (`orbit_rate`); so the lead is kept both in hours and in seconds of the wall.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

from perigrid.errors import ScenarioError
from perigrid.live.config import segment_path
from perigrid.mesh.plan import SEGMENT_S, Segment, compute_segment
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import Scenario

LEAD_SEGMENTS = 0.5
"""The next segment is due when less than this share of one is left."""

LEAD_WALL_S = 30.0
"""It is due, too, when less than this is left, seconds of the wall: the supervisor may be busy with something else."""

MAX_SHARE = 0.25
"""Largest part of the time of a segment that may go into computing one."""


def segment_s(scenario: Scenario) -> float:
    """Emulated seconds that a segment of the scenario's plan lasts."""
    return SEGMENT_S / scenario.clock.orbit_rate


def lead_s(scenario: Scenario, rate: float) -> float:
    """How far the plan has to reach beyond now, emulated seconds, at `rate` emulated seconds a second of the wall."""
    return max(LEAD_SEGMENTS * segment_s(scenario), LEAD_WALL_S * rate)


def write_first(folder: Path, scenario: Scenario, mesh: Mesh, rate: float) -> None:
    """Compute and write the segments that a run starts with.

    ScenarioError where this machine could not go on as fast as they pass.
    """
    segment: Segment | None = None
    index = 0
    while index == 0 or index * segment_s(scenario) < lead_s(scenario, rate):
        began_s = time.process_time()
        segment = compute_segment(scenario, mesh, index, segment)
        check_pace(scenario, rate, time.process_time() - began_s)
        write_segment(folder, segment)
        index += 1


def write_segment(folder: Path, segment: Segment) -> None:
    """Write one segment, at once: a reader sees all of it or nothing."""
    path = segment_path(folder, segment.index)
    part = path.with_name(path.name + ".part")
    part.write_bytes(segment.to_bytes())
    part.replace(path)


def check_pace(scenario: Scenario, rate: float, took_s: float) -> None:
    """ScenarioError where segments that take so long to compute pass too fast."""
    passes_s = segment_s(scenario) / rate
    if took_s <= MAX_SHARE * passes_s:
        return
    share, orbit_rate = MAX_SHARE * passes_s / took_s, scenario.clock.orbit_rate
    slower = f"--rate {_below(rate * share):g}"
    if orbit_rate > 1.0:
        slower = f"--orbit-rate {max(1.0, _below(orbit_rate * share)):g} or {slower}"
    raise ScenarioError(
        f"{scenario.name}: an hour of orbit passes in {passes_s:.3g} s here, at rate {rate:.3g} and orbit rate "
        f"{orbit_rate:g}, and computing its contact plan takes {took_s:.2g} s: use {slower}."
    )


def _below(value: float) -> float:
    """A value with one or two figures that is not above this one."""
    size = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / size) * size:.2g}")
