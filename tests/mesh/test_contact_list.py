"""Does the list of contacts say when, how far, how fast and how much, as the plan itself does moment by moment?"""

from __future__ import annotations

import numpy as np
import pytest

from perigrid.mesh.survey.contact_list import contact_table, kind_name
from perigrid.mesh.topology import Link, LinkKind
from perigrid.scenario.model import GroundLink, Station
from perigrid.units import NodeId
from tests.mesh.worlds import SVALBARD, planned, shell, world

BUDGET = GroundLink(rate_bps=220e6, uplink_bps=2e6, full_rate_km=900.0)


@pytest.fixture(scope="module")
def scenario():  # type: ignore[no-untyped-def]
    return world(shell(), ground_link=BUDGET)


@pytest.fixture(scope="module")
def plan(scenario):  # type: ignore[no-untyped-def]
    return planned(scenario, 2)


def test_every_row_is_what_the_plan_says_at_each_moment(scenario, plan) -> None:  # type: ignore[no-untyped-def]
    table = contact_table(scenario, plan, 0.0, 7200.0, frozenset(LinkKind))
    assert len(table) > 30
    for row in range(len(table)):
        link = Link(NodeId(int(table.a[row])), NodeId(int(table.b[row])), LinkKind(int(table.kind[row])))
        t_s = np.linspace(table.start_s[row] + 0.01, table.end_s[row] - 0.01, 2001)
        states = [plan.state(link, moment) for moment in t_s.tolist()]
        assert all(state.up for state in states)
        ranges = [state.range_km for state in states]
        assert table.least_km[row] == pytest.approx(min(ranges), abs=0.5)
        assert table.most_km[row] == pytest.approx(max(ranges), abs=0.5)
        rates = [state.rate_bps for state in states]
        assert table.rate_bps[row] == pytest.approx(max(rates), rel=1e-3)
        assert table.far_rate_bps[row] == pytest.approx(min(rates), rel=1e-3)
        assert table.back_bps[row] == pytest.approx(max(state.back_bps for state in states), rel=1e-3)
        assert table.volume_bytes[row] == pytest.approx(np.trapezoid(rates, t_s) / 8, rel=2e-3)


def test_a_window_cuts_contacts_and_says_so(scenario, plan) -> None:  # type: ignore[no-untyped-def]
    whole = contact_table(scenario, plan, 0.0, 7200.0, frozenset({LinkKind.RADIO}))
    row = int(np.argmax(whole.start_s > 600.0))
    middle = float(whole.start_s[row] + whole.end_s[row]) / 2
    cut = contact_table(scenario, plan, middle, middle + 10.0, frozenset({LinkKind.RADIO}))
    same = (cut.a == whole.a[row]) & (cut.b == whole.b[row])
    assert same.sum() == 1
    one = cut.of(same)
    assert (one.start_s[0], one.end_s[0]) == (middle, middle + 10.0)
    assert one.began[0] and one.goes_on[0]
    assert not whole.began[row]


def test_kinds_are_asked_for(scenario, plan) -> None:  # type: ignore[no-untyped-def]
    lasers = contact_table(scenario, plan, 0.0, 3600.0, frozenset({LinkKind.LASER}))
    assert len(lasers) == 12 and set(lasers.kind.tolist()) == {int(LinkKind.LASER)}
    # What lasts to the plan's end has no end that anyone knows.
    assert lasers.goes_on.all()
    none = contact_table(scenario, plan, 0.0, 3600.0, frozenset({LinkKind.FIBRE}))
    assert len(none) == 0


def test_an_optical_station_is_no_radio() -> None:
    light = Station(name="light", latitude_deg=10.0, longitude_deg=20.0, min_elevation_deg=20.0, kind="optical")
    scenario = world(shell(), stations=(SVALBARD, light))
    mesh = planned(scenario).mesh
    assert kind_name(scenario, mesh, LinkKind.RADIO, 12) == "radio"
    assert kind_name(scenario, mesh, LinkKind.RADIO, 13) == "optical"
    assert kind_name(scenario, mesh, LinkKind.LASER, 3) == "laser"
