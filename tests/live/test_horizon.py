"""Is the contact plan there before its time, however fast time passes and the sky turns?"""

from __future__ import annotations

from pathlib import Path

import pytest

from perigrid.errors import ScenarioError
from perigrid.live.config import map_segment, segment_path
from perigrid.live.horizon import LEAD_WALL_S, check_pace, lead_s, write_first
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import Clock, Scenario
from tests.conftest import ring_scenario


def turning(orbit_rate: float) -> Scenario:
    return ring_scenario(clock=Clock(orbit_rate=orbit_rate))


@pytest.mark.parametrize(
    ("orbit_rate", "rate", "segments"),
    [(1.0, 0.1, 1), (60.0, 0.1, 1), (60.0, 1.0, 1), (1000.0, 0.1, 1), (1000.0, 1.0, 9), (0.5, 1.0, 1)],
)
def test_a_run_starts_with_as_much_of_the_plan_as_it_needs_until_more_can_come(
    tmp_path: Path, orbit_rate: float, rate: float, segments: int
) -> None:
    scenario = turning(orbit_rate)
    mesh = Mesh(scenario)
    (tmp_path / "plan").mkdir()
    write_first(tmp_path, scenario, mesh, rate)
    assert len(list((tmp_path / "plan").iterdir())) == segments
    plan = ContactPlan(scenario, mesh)
    for index in range(segments):
        plan.add(map_segment(tmp_path, index))
    assert not segment_path(tmp_path, segments).exists()
    assert plan.horizon_s == pytest.approx(segments * 3600 / orbit_rate)
    assert plan.horizon_s >= lead_s(scenario, rate) >= LEAD_WALL_S * rate
    # They follow each other as if they had been computed in one go.
    last = compute_segment(scenario, mesh, segments - 1)
    assert map_segment(tmp_path, segments - 1).to_bytes() == last.to_bytes()


def test_a_sky_that_turns_faster_than_its_plan_can_be_computed_is_refused_with_one_that_would_do() -> None:
    # An hour of orbit passes in 3.6 s; of a second for its plan there would be too little left for anything else.
    check_pace(turning(1000.0), 1.0, 0.8)
    with pytest.raises(ScenarioError, match=r"use --orbit-rate 900 or --rate 0\.9\.$") as caught:
        check_pace(turning(1000.0), 1.0, 1.0)
    assert "ring: an hour of orbit passes in 3.6 s here" in str(caught.value)
    with pytest.raises(ScenarioError, match=r"use --rate 90\.$"):
        check_pace(turning(1.0), 100.0, 10.0)
    check_pace(turning(900.0), 1.0, 1.0)
