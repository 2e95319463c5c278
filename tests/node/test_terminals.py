"""Does a terminal have a link exactly while plan, outages and acquisition let it?

Terminals are driven as a driver does, from one possible change to the next; what they say is held against the plan and
the outages themselves, looked at every hundredth of a second or drawn together by hand.
"""

from __future__ import annotations

import msgspec
import pytest

from perigrid.mesh.outages import Outages
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.topology import Link, Mesh
from perigrid.node.events import LinkDown, LinkUp
from perigrid.node.terminals import Overlay, Terminals
from perigrid.scenario.model import GroundLink, Lasers, Scenario
from perigrid.units import NodeId
from tests.conftest import ring_scenario

SPAN_S = 1800.0
ACQUIRE_S = 4.0
CALM = Overlay()


def failing_lasers() -> Scenario:
    """A ring whose terminals are dark for 20 s, 240 times a day."""
    lasers = Lasers(rate_bps=1e9, acquire_s=ACQUIRE_S, availability=1 - 240 * 24 / 86_400, acquisitions_per_day=240)
    return ring_scenario(lasers=lasers)


def cloudy_station() -> Scenario:
    """A ring over an optical station that clouds close half of the time."""
    scenario = ring_scenario(optical_link=GroundLink(rate_bps=1e9, acquire_s=ACQUIRE_S))
    station = msgspec.structs.replace(scenario.stations[0], kind="optical", availability=0.5, closure_s=30.0)
    return msgspec.structs.replace(scenario, stations=(station,))


def terminals_of(scenario: Scenario, node: int) -> Terminals:
    mesh = Mesh(scenario)
    plan = ContactPlan(scenario, mesh)
    plan.add(compute_segment(scenario, mesh, 0))
    return Terminals(NodeId(node), plan, Outages(scenario, mesh), acquired_at_start=True)


def told(terminals: Terminals, until_s: float = SPAN_S) -> list[tuple[float, LinkUp | LinkDown]]:
    """What a driver hears, and when."""
    found, now_s = [], 0.0
    while now_s <= until_s:
        found += [(now_s, event) for event in terminals.update(now_s, CALM)]
        now_s = terminals.next_change_s(now_s)
    return found


def test_a_laser_goes_as_an_outage_begins_and_comes_back_when_it_is_acquired_again() -> None:
    scenario = failing_lasers()
    terminals = terminals_of(scenario, 3)
    # Its two terminals point at its neighbours by their order, and the neighbours' at it likewise.
    ends = {NodeId(2): ((3, 0), (2, 1)), NodeId(4): ((3, 1), (4, 0))}
    heard = told(terminals)
    for neighbour, places in ends.items():
        link = terminals.plan.mesh.link_between(NodeId(3), neighbour)
        dark = sorted(span for sat, number in places for span in terminals.outages.of_terminal(NodeId(sat), number, 0))
        expected: list[tuple[float, LinkUp | LinkDown]] = [(0.0, LinkUp(link))]
        clear_s = -ACQUIRE_S
        for start_s, end_s in [*dark, (float("inf"), 0.0)]:
            if clear_s > 0.0 and clear_s + ACQUIRE_S < start_s:
                expected.append((clear_s + ACQUIRE_S, LinkUp(link)))
            if isinstance(expected[-1][1], LinkUp):
                expected.append((start_s, LinkDown(link, planned=False)))
            clear_s = max(clear_s, end_s)
        mine = [(at_s, event) for at_s, event in heard if event.link == link]
        wanted = [(at_s, event) for at_s, event in expected if at_s <= SPAN_S]
        assert [event for _, event in mine] == [event for _, event in wanted] and len(mine) > 4
        assert [at_s for at_s, _ in mine] == pytest.approx([at_s for at_s, _ in wanted], abs=1e-6)


@pytest.mark.parametrize(
    ("scenario", "node"), [(failing_lasers(), 5), (cloudy_station(), 12)], ids=["lasers", "clouds"]
)
def test_a_link_is_there_exactly_where_it_has_been_clear_for_as_long_as_acquiring_takes(
    scenario: Scenario, node: int
) -> None:
    terminals = terminals_of(scenario, node)
    plan, outages = terminals.plan, terminals.outages
    links = [link for link in plan.links_of(NodeId(node)) if link.b != plan.mesh.ground]
    heard, unplanned = told(terminals, 600.0), 0
    # Before the epoch a link counts as acquired.
    clear_since_s: dict[Link, float | None] = dict.fromkeys(links, -ACQUIRE_S)
    up: dict[Link, bool] = dict.fromkeys(links, False)
    for step in range(60_000):
        now_s = step / 100 + 0.005
        while heard and heard[0][0] <= now_s:
            _, event = heard.pop(0)
            up[event.link] = isinstance(event, LinkUp)
            unplanned += isinstance(event, LinkDown) and not event.planned
        for link in links:
            planned, out = plan.state(link, now_s).up, outages.is_out(link, now_s)
            if out and planned:
                clear_since_s[link] = None
            elif not planned:
                # The plan's own rises have their acquisition in them.
                clear_since_s[link] = -ACQUIRE_S
            elif clear_since_s[link] is None:
                clear_since_s[link] = now_s
            since_s = clear_since_s[link]
            should = planned and not out and since_s is not None and since_s + ACQUIRE_S <= now_s
            near = since_s is not None and abs(since_s + ACQUIRE_S - now_s) < 0.02
            assert up[link] == should or near, f"{tuple(link)} at {now_s} s"
    assert unplanned > 1


def test_nothing_is_asked_of_outages_where_nothing_fails() -> None:
    terminals = terminals_of(ring_scenario(), 3)
    assert not terminals.outages
    assert [event for _, event in told(terminals)] == [
        LinkUp(terminals.plan.mesh.link_between(NodeId(3), NodeId(n))) for n in (2, 4)
    ]
