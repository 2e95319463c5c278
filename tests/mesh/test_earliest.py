"""Does nothing arrive earlier than the search says, and is its way one that can be flown?"""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from perigrid.errors import Bug
from perigrid.mesh.earliest import Arrivals, ContactGraph, planned_contacts
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.routes import Arrival, NoPath, Path, Routes
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import Clock, GroundLink, Lasers
from perigrid.units import NodeId
from tests.mesh.worlds import SANYA, SVALBARD, planned, shell, world

NONE: frozenset[Link] = frozenset()
AWAY = planned(world(shell(raan_deg=200.0), stations=(SVALBARD,)), 12)


@dataclass(frozen=True)
class RandomPlan:
    """Contacts in whole seconds with whole volumes, so that every sum is exact."""

    nodes: int
    links: list[Link]
    start_s: list[int]
    end_s: list[int]
    delay_s: dict[Link, int]
    seconds: dict[tuple[int, int], int]
    """How long the volume takes over a contact, by contact and side."""
    ahead: dict[tuple[int, NodeId], float]
    limits: dict[tuple[int, NodeId], float]
    dead: frozenset[Link]
    asked_s: int

    volume = 720_720.0
    """Divides by all numbers of seconds up to 16."""

    def graph(self) -> ContactGraph:
        rates = np.array(
            [[self.volume * 8 / self.seconds[row, side] for side in (0, 1)] for row in range(len(self.links))]
        ).reshape(-1, 2)
        return ContactGraph(
            self.links,
            np.array(self.start_s, float),
            np.array(self.end_s, float),
            rates,
            lambda link, _: float(self.delay_s[link]),
        )


def random_plan(seed: int) -> RandomPlan:
    """A few nodes, a few dozen contacts within a minute or two."""
    random = np.random.default_rng(seed)
    nodes = int(random.integers(2, 8))
    links, start_s, end_s = [], [], []
    delay_s: dict[Link, int] = {}
    for a in range(nodes):
        for b in range(a + 1, nodes):
            if random.random() < 0.5:
                continue
            link = Link(NodeId(a), NodeId(b), LinkKind.LASER)
            delay_s[link] = int(random.integers(0, 6))
            now = int(random.integers(0, 15))
            for _ in range(int(random.integers(1, 4))):
                until = now + int(random.integers(1, 25))
                links.append(link)
                start_s.append(now)
                end_s.append(until)
                now = until + int(random.integers(1, 20))
    seconds = {(row, side): int(random.integers(1, 13)) for row in range(len(links)) for side in (0, 1)}
    ways = [(row, node) for row, link in enumerate(links) for node in (link.a, link.b)]
    side_of = {(row, node): int(node != links[row].a) for row, node in ways}
    # Whole seconds of what is booked ahead; limits that let the volume through, or do not.
    ahead = {
        way: RandomPlan.volume / seconds[way[0], side_of[way]] * int(random.integers(0, 6))
        for way in ways
        if random.random() < 0.3
    }
    limits = {way: RandomPlan.volume * float(random.integers(0, 3)) for way in ways if random.random() < 0.15}
    dead = frozenset(link for link in delay_s if random.random() < 0.1)
    return RandomPlan(nodes, links, start_s, end_s, delay_s, seconds, ahead, limits, dead, int(random.integers(0, 20)))


def expanded(plan: RandomPlan, source: int) -> dict[int, int]:
    """The earliest arrivals, by going through all seconds and all that could be sent in each: nothing is clever."""
    last_s = max([*plan.end_s, plan.asked_s]) + 10
    has = {(source, plan.asked_s)}
    for t_s in range(plan.asked_s, last_s + 1):
        has |= {(node, t_s) for node in range(plan.nodes) if (node, t_s - 1) in has}
        for row, link in enumerate(plan.links):
            for side, (sender, receiver) in enumerate(((link.a, link.b), (link.b, link.a))):
                ahead = plan.ahead.get((row, sender), 0.0)
                if link in plan.dead or plan.limits.get((row, sender), math.inf) < ahead + plan.volume:
                    continue
                needed_s = plan.seconds[row, side]
                free_s = max(plan.start_s[row], plan.asked_s) + ahead / plan.volume * needed_s
                # Each second's sending is looked at anew, also where it could have begun before.
                if (sender, t_s) in has and t_s >= free_s and t_s + needed_s <= plan.end_s[row]:
                    has.add((receiver, t_s + needed_s + plan.delay_s[link]))
    # A delay of nothing and a search in order of time: what arrives in a second is looked at in that second or later.
    first: dict[int, int] = {}
    for node, t_s in has:
        first[node] = min(t_s, first.get(node, t_s))
    return first


def check_flown(plan: RandomPlan, found: Arrivals, source: int) -> None:
    """Every way is a chain of sendings within their contacts, behind what is booked, each after the one before."""
    for node in found.arrival_s:
        at, now_s = source, float(plan.asked_s)
        for hop in found.transfers(node):
            side = int(hop.sender != hop.link.a)
            ahead = plan.ahead.get((hop.contact, hop.sender), 0.0)
            free_s = max(plan.start_s[hop.contact], plan.asked_s)
            free_s += ahead / plan.volume * plan.seconds[hop.contact, side]
            assert hop.sender == at
            assert hop.link == plan.links[hop.contact]
            assert hop.link not in plan.dead
            assert hop.start_s >= max(now_s, free_s)
            assert hop.end_s == hop.start_s + plan.seconds[hop.contact, side]
            assert hop.end_s <= hop.until_s == plan.end_s[hop.contact]
            assert hop.arrival_s == hop.end_s + plan.delay_s[hop.link]
            assert ahead + plan.volume <= plan.limits.get((hop.contact, hop.sender), math.inf)
            at, now_s = hop.receiver, hop.arrival_s
        assert (at, now_s) == (node, found.arrival_s[node])


def test_a_thousand_random_plans_give_what_a_search_through_all_seconds_gives() -> None:
    reached = 0
    for seed in range(1000):
        plan = random_plan(seed)
        found = plan.graph().arrivals(
            NodeId(0), plan.asked_s, plan.volume, dead=plan.dead, booked=plan.ahead, limits=plan.limits
        )
        expected = expanded(plan, 0)
        assert found.arrival_s == expected, f"seed {seed}"
        check_flown(plan, found, 0)
        reached += len(expected) - 1
    assert reached > 1000


def one_contact(rates_bps: list[float], end_s: float = 100.0) -> tuple[Link, ContactGraph]:
    link = Link(NodeId(0), NodeId(1), LinkKind.RADIO)
    rates = np.array([rates_bps, rates_bps])
    return link, ContactGraph(
        [link],
        np.array([10.0]),
        np.array([end_s]),
        rates[None, :, 0],
        lambda _, t_s: 0.5,
        np.array([True]),
        lambda _: rates,
    )


def test_a_rate_that_changes_is_integrated() -> None:
    # 8, 16 and 8 bit/s at 10, 55 and 100 s: 67.5 bytes in each half.
    _, graph = one_contact([8.0, 16.0, 8.0])
    assert graph.room_bytes((0, NodeId(0)), 0.0) == pytest.approx(135.0)
    for volume, end_s in ((0.0, 10.0), (33.75, 32.5), (67.5, 55.0), (135.0, 100.0)):
        assert graph.arrivals(NodeId(0), 0.0, volume).arrival_s[NodeId(1)] == pytest.approx(end_s + 0.5)
    late = graph.arrivals(NodeId(0), 55.0, 33.75).transfers(NodeId(1))[0]
    assert (late.start_s, late.end_s) == (pytest.approx(55.0), pytest.approx(77.5))
    behind = graph.arrivals(NodeId(0), 0.0, 33.75, booked={(0, NodeId(0)): 67.5}).transfers(NodeId(1))[0]
    assert (behind.start_s, behind.end_s) == (pytest.approx(55.0), pytest.approx(77.5))
    asked_late = graph.arrivals(NodeId(0), 55.0, 33.75, booked={(0, NodeId(0)): 33.75}).transfers(NodeId(1))[0]
    assert (asked_late.start_s, asked_late.end_s) == (pytest.approx(77.5), pytest.approx(100.0))
    assert NodeId(1) not in graph.arrivals(NodeId(0), 0.0, 135.1).arrival_s
    assert NodeId(1) not in graph.arrivals(NodeId(0), 99.0, 67.5).arrival_s


@pytest.mark.parametrize("full_rate_km", [None, 1103.0])
def test_up_and_down_each_have_their_own_rate(full_rate_km: float | None) -> None:
    ground = GroundLink(rate_bps=160e6, uplink_bps=1e6, full_rate_km=full_rate_km)
    plan = planned(world(shell(), stations=(SVALBARD,), ground_link=ground), 2)
    graph, station = planned_contacts(plan, 0.0, plan.horizon_s), plan.mesh.station_ids[0]
    for source, volume in ((NodeId(0), 1e6), (station, 1e4)):
        hops = graph.arrivals(source, 600.0, volume).transfers(NodeId(0) if source == station else station)
        hop = next(hop for hop in hops if hop.link.kind == LinkKind.RADIO)
        assert hop.sender == station or hop.receiver == station
        state = plan.state(hop.link, (hop.start_s + hop.end_s) / 2).seen_from(hop.link, hop.sender)
        assert hop.end_s - hop.start_s == pytest.approx(volume * 8 / state.rate_bps, rel=0.02)


def test_of_hops_that_are_there_at_one_moment_the_smaller_senders_is_taken() -> None:
    ends = ((0, 1), (0, 2), (1, 3), (2, 3))
    links = [Link(NodeId(a), NodeId(b), LinkKind.LASER) for a, b in ends]
    # Node 2 has it before node 1, and is asked first.
    delay_s = dict(zip(links, (2.0, 1.0, 1.0, 2.0), strict=True))
    rates = np.full((4, 2), 8.0)
    graph = ContactGraph(links, np.zeros(4), np.full(4, 99.0), rates, lambda link, _: delay_s[link])
    found = graph.arrivals(NodeId(0), 0.0, 1.0)
    assert found.arrival_s[NodeId(3)] == 5.0
    assert [hop.sender for hop in found.transfers(NodeId(3))] == [0, 1]


def test_nothing_is_split_over_contacts() -> None:
    link = Link(NodeId(0), NodeId(1), LinkKind.RADIO)
    rates = np.full((2, 2), 8.0)
    graph = ContactGraph([link, link], np.array([0.0, 50.0]), np.array([10.0, 80.0]), rates, lambda _, t_s: 0.0)
    assert graph.arrivals(NodeId(0), 0.0, 20.0).arrival_s[NodeId(1)] == 70.0
    assert NodeId(1) not in graph.arrivals(NodeId(0), 0.0, 31.0).arrival_s


def test_what_waits_for_a_pass_goes_down_in_it() -> None:
    first_s = AWAY.ground_edges()[0]
    routes, ground = Routes(AWAY), AWAY.mesh.ground
    assert isinstance(routes.path(NodeId(0), ground, 0.0, NONE), NoPath)
    found = routes.arrival(NodeId(0), ground, 0.0, 1e6, NONE)
    assert isinstance(found, Arrival)
    assert first_s < found.arrival_s < first_s + 5.0
    assert found.transfers[-1].link.kind == LinkKind.FIBRE
    assert found.transfers[-2].link.kind == LinkKind.RADIO
    assert found.transfers[-1].arrival_s == found.arrival_s
    for one, two in zip(found.transfers, found.transfers[1:], strict=False):
        assert one.receiver == two.sender
        assert one.arrival_s <= two.start_s
        assert AWAY.state(one.link, one.start_s).up
        assert one.arrival_s == pytest.approx(one.end_s + AWAY.state(one.link, one.end_s).delay_s, abs=1e-9)


def test_where_a_way_stands_open_nothing_arrives_later_than_over_it() -> None:
    plan = planned(world(shell(), stations=(SVALBARD, SANYA)), 2)
    routes = Routes(plan)
    for to in range(1, 12):
        path = routes.path(NodeId(0), NodeId(to), 30.0, NONE)
        found = routes.arrival(NodeId(0), NodeId(to), 30.0, 0.0, NONE)
        assert isinstance(path, Path)
        assert isinstance(found, Arrival)
        # The range changes while the data fly, by micrometres a microsecond.
        assert found.arrival_s - 30.0 <= path.delay_s + 1e-6 * len(path.links)


def test_windows_that_grow_find_what_the_whole_plan_finds() -> None:
    whole = planned_contacts(AWAY, 0.0, AWAY.horizon_s)
    routes = Routes(AWAY)
    for t_s in (0.0, 3599.0, 9000.5):
        expected = whole.arrivals(NodeId(5), t_s, 1e8)
        for to in (NodeId(11), AWAY.mesh.ground):
            found = routes.arrival(NodeId(5), to, t_s, 1e8, NONE)
            assert isinstance(found, Arrival)
            assert found.arrival_s == pytest.approx(expected.arrival_s[to], abs=1e-6)


def test_a_laser_that_stays_up_for_hours_has_the_rate_of_its_range_at_every_moment() -> None:
    lasers = Lasers(rate_bps=100e9, acquire_s=15.0, full_rate_km=1000.0)
    star = shell(planes=6, sats_per_plane=11, raan_spread_deg=180.0, altitude_km=780.0, phasing=0.5, topology="grid")
    plan = planned(world(star, lasers=lasers), 6)
    graph = planned_contacts(plan, 0.0, plan.horizon_s)
    longest = [row for row, link in enumerate(graph.links) if link.kind == LinkKind.LASER and graph.end_s[row] > 20e3]
    changes = 0.0
    for row in longest[:40]:
        link, end_s = graph.links[row], min(graph.end_s[row], plan.horizon_s)
        for from_s in np.linspace(graph.start_s[row], end_s - 60.0, 25).tolist():
            room = graph.room_bytes((row, link.a), from_s) - graph.room_bytes((row, link.a), from_s + 60.0)
            rates_bps = [plan.state(link, from_s + second).rate_bps for second in np.linspace(0.0, 59.999, 61)]
            assert room == pytest.approx(np.trapezoid(rates_bps) / 8, rel=0.01)
            changes = max(changes, max(rates_bps) / min(rates_bps))
    assert longest
    assert changes > 1.1


@pytest.mark.parametrize("first", [0, 3, 5])
@pytest.mark.parametrize("orbit_rate", [7.0, 13.0, 0.7])
def test_hours_that_no_float_divides_have_their_arrivals(orbit_rate: float, first: int) -> None:
    scenario = world(shell(), clock=Clock(orbit_rate=orbit_rate))
    mesh = Mesh(scenario)
    plan = ContactPlan(scenario, mesh, first)
    for index in range(first, first + 7):
        plan.add(compute_segment(scenario, mesh, index, plan.last_segment()))
        routes = Routes(plan)
        dead = frozenset(link for link in plan.links if NodeId(3) in (link.a, link.b))
        for t_s in (plan.start_s, (plan.start_s + plan.horizon_s) / 2):
            assert isinstance(routes.arrival(NodeId(0), NodeId(3), t_s, 1e6, NONE), Arrival)
            # Nothing leads there, so all windows up to the horizon are searched.
            assert isinstance(routes.arrival(NodeId(0), NodeId(3), t_s, 1e6, dead), NoPath)
            assert isinstance(routes.path(NodeId(0), NodeId(3), t_s, NONE), Path)
        assert isinstance(routes.arrival(NodeId(0), NodeId(3), plan.horizon_s, 1e6, NONE), NoPath)


def test_what_is_there_has_arrived() -> None:
    assert Routes(AWAY).arrival(NodeId(3), NodeId(3), 7.0, 1e9, NONE) == Arrival(7.0, ())


def test_reasons_name_the_horizon_the_cut_or_the_room() -> None:
    routes, ground = Routes(AWAY), AWAY.mesh.ground
    horizon = "the plan's horizon at t = 43200 s"
    never = Routes(planned(world(shell(inclination_deg=10.0), stations=(SVALBARD,))))
    answer = never.arrival(NodeId(0), NodeId(13), 0.0, 1.0, NONE)
    assert isinstance(answer, NoPath)
    assert answer.reason == (
        "no sequence of planned contacts leads from sat-01 to ground before the plan's horizon at t = 3600 s"
    )
    dead = frozenset(AWAY.mesh.fibres)
    answer = routes.arrival(NodeId(0), ground, 0.0, 1.0, dead)
    assert answer == NoPath(f"cut: Svalbard - ground; nothing gets round them before {horizon}", None, tuple(dead))
    answer = routes.arrival(NodeId(0), ground, 0.0, 1e12, NONE)
    assert isinstance(answer, NoPath)
    assert answer.reason.startswith(
        f"1000000000000 bytes fit into no sequence of contacts from sat-01 to ground before {horizon}: the roomiest"
    )
    assert "Svalbard, until t = " in answer.reason


@pytest.mark.parametrize(("t_s", "volume"), [(-1.0, 0.0), (43201.0, 0.0), (0.0, -1.0)])
def test_questions_without_sense_are_refused(t_s: float, volume: float) -> None:
    with pytest.raises(Bug):
        Routes(AWAY).arrival(NodeId(0), NodeId(1), t_s, volume, NONE)
