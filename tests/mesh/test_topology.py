"""Are the right nodes linked, from one satellite to thousands?"""

from datetime import UTC, datetime

import pytest

from perigrid.errors import ScenarioError, UsageError
from perigrid.mesh.routes import reachable
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import Catalogue, Elements, Fault, LaserPair, Shell
from perigrid.scenario.presets import preset_scenario
from perigrid.units import NodeId
from tests.mesh.worlds import shell, world
from tests.scenario.shipped import PRESETS


def pairs(mesh: Mesh) -> list[tuple[int, int]]:
    return [(link.a, link.b) for link in mesh.lasers]


def test_nodes_are_satellites_then_stations_then_the_ground() -> None:
    mesh = Mesh(world(shell()))
    assert mesh.names == (*(f"sat-{n:02d}" for n in range(1, 13)), "Svalbard", "Sanya", "ground")
    assert (mesh.node_count, mesh.ground, mesh.station_ids) == (15, 14, (12, 13))
    assert [mesh.id_of(name) for name in mesh.names] == list(range(15))
    assert mesh.id_of("svalbard") == 12
    assert (mesh.is_satellite(NodeId(11)), mesh.is_station(NodeId(12)), mesh.is_station(NodeId(14))) == (
        True,
        True,
        False,
    )
    assert [(link.a, link.b) for link in mesh.fibres] == [(12, 14), (13, 14)]


@pytest.mark.parametrize(
    ("satellites", "expected"),
    [(1, []), (2, [(0, 1)]), (3, [(0, 1), (0, 2), (1, 2)]), (4, [(0, 1), (0, 3), (1, 2), (2, 3)])],
)
def test_a_ring_of_few(satellites: int, expected: list[tuple[int, int]]) -> None:
    mesh = Mesh(world(shell(sats_per_plane=satellites)))
    assert pairs(mesh) == expected
    for satellite in mesh.satellite_ids:
        assert set(mesh.ring_neighbours(satellite)) == {a + b - satellite for a, b in expected if satellite in (a, b)}


def test_a_delta_closes_and_a_star_has_a_seam() -> None:
    grid = {"planes": 3, "sats_per_plane": 4, "topology": "grid"}
    delta = set(pairs(Mesh(world(shell(raan_spread_deg=360.0, **grid)))))
    star = set(pairs(Mesh(world(shell(raan_spread_deg=180.0, **grid)))))
    assert len(delta) == 3 * 4 + 3 * 4
    assert delta - star == {(0, 8), (1, 9), (2, 10), (3, 11)}


def test_two_planes_are_linked_once_and_only_the_ring_counts_as_one() -> None:
    mesh = Mesh(world(shell(planes=2, sats_per_plane=4, raan_spread_deg=360.0, topology="grid")))
    assert len(mesh.lasers) == 4 + 4 + 4
    assert {(link.a, link.b) for link in mesh.crossing} == {(0, 4), (1, 5), (2, 6), (3, 7)}
    assert mesh.ring_neighbours(NodeId(0)) == (1, 3)
    assert mesh.laser_neighbours(NodeId(0)) == (1, 3, 4)


@pytest.mark.parametrize("phasing", [0.0, 0.5, 0.9, 39 / 72])
def test_links_between_planes_join_nearest_slots(phasing: float) -> None:
    mesh = Mesh(
        world(
            shell(planes=5, sats_per_plane=8, raan_spread_deg=360.0, phasing=phasing, topology="grid"),
        )
    )
    for link in mesh.crossing:
        slots = [(node // 8 * phasing % 1 + node % 8) for node in (link.a, link.b)]
        apart = abs(slots[0] - slots[1]) % 8
        assert min(apart, 8 - apart) <= 0.5 + 1e-9
    assert len(mesh.crossing) == 40


def test_shells_do_not_link_and_none_has_no_lasers() -> None:
    mesh = Mesh(world(shell(sats_per_plane=3), shell(name="b", sats_per_plane=3, topology="none")))
    assert pairs(mesh) == [(0, 1), (0, 2), (1, 2)]
    assert mesh.ring_neighbours(NodeId(4)) == ()


def test_links_are_found_in_both_orders() -> None:
    mesh = Mesh(world(shell()))
    link = mesh.link_between(NodeId(3), NodeId(2))
    assert link == mesh.link_between(NodeId(2), NodeId(3)) == Link(NodeId(2), NodeId(3), LinkKind.LASER)
    assert (link.other(NodeId(2)), link.other(NodeId(3))) == (3, 2)
    assert mesh.label(link) == "sat-03 - sat-04"
    assert mesh.link_between(NodeId(12), NodeId(0)).kind == LinkKind.RADIO
    assert mesh.link_between(NodeId(14), NodeId(13)).kind == LinkKind.FIBRE


@pytest.mark.parametrize(("one", "two"), [(0, 2), (0, 0), (0, 14), (12, 13), (14, 14)])
def test_nodes_without_a_link_say_whom_they_reach(one: int, two: int) -> None:
    mesh = Mesh(world(shell()))
    with pytest.raises(UsageError, match=f"{mesh.names[one]} links to"):
        mesh.link_between(NodeId(one), NodeId(two))


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'sat-3'.*'sat-03'.*sat-01 to sat-12.*Svalbard, Sanya.*'ground'"):
        Mesh(world(shell())).id_of("sat-3")
    with pytest.raises(UsageError, match="nodes 0 to 14"):
        Mesh(world(shell())).name_of(NodeId(15))


def test_a_fault_on_a_link_that_cannot_be_is_refused() -> None:
    faults = (Fault(at_s=30.0, action="cut", a="sat-01", b="sat-03"),)
    with pytest.raises(ScenarioError, match=r"fault\.0 \(cut at 30 s\).*sat-01 links to sat-02, sat-12"):
        Mesh(world(shell(), faults=faults))


@pytest.mark.parametrize(
    ("name", "lasers"),
    [
        ("three-body-12", 12),
        ("three-body-2800", 1600 + 39 * 40 + 800 + 800 + 400 + 7 * 50),
        ("kuiper-270", 540),
        ("starlink-gen1", 2 * 4408),
        ("iridium-next", 66 + 5 * 11),
    ],
)
def test_presets_have_the_lasers_that_their_pattern_says(name: str, lasers: int) -> None:
    mesh = Mesh(preset_scenario(name, PRESETS))
    assert len(mesh.lasers) == len(set(mesh.lasers)) == lasers
    assert all(link.a < link.b for link in mesh.lasers)


def test_names_widen_with_the_number_of_satellites() -> None:
    many = Shell(name="m", altitude_km=550, inclination_deg=53, planes=10, sats_per_plane=10)
    assert Mesh(world(many)).names[0] == "sat-001"


@pytest.mark.parametrize(
    ("planes", "slots", "phasing", "complete"),
    [(72, 22, 0.5, True), (72, 22, 0.0, True), (34, 34, 0.5, True), (72, 22, 45 / 72, False), (7, 9, 0.0, False)],
)
def test_the_motif_gives_each_satellite_three_lasers_at_most(
    planes: int, slots: int, phasing: float, complete: bool
) -> None:
    mesh = Mesh(
        world(shell(planes=planes, sats_per_plane=slots, raan_spread_deg=360.0, phasing=phasing, topology="motif"))
    )
    degrees = [len(mesh.laser_neighbours(satellite)) for satellite in mesh.satellite_ids]
    assert max(degrees) == 3
    assert min(degrees) >= 2
    if complete:
        assert set(degrees) == {3}
    assert degrees.count(3) > 0.8 * len(degrees)
    grid = Mesh(
        world(shell(planes=planes, sats_per_plane=slots, raan_spread_deg=360.0, phasing=phasing, topology="grid"))
    )
    assert set(mesh.lasers) < set(grid.lasers)
    assert len(reachable(NodeId(0), mesh.lasers)) == len(degrees)


def test_explicit_lasers_that_cannot_be_are_refused() -> None:
    for a, b in (("sat-01", "sat-01"), ("sat-01", "Svalbard"), ("sat-01", "sat-99")):
        with pytest.raises(ScenarioError, match=r"laser\.0"):
            Mesh(world(shell(), laser_pairs=(LaserPair(a=a, b=b),)))
    joined = Mesh(world(shell(), laser_pairs=(LaserPair(a="SAT-07", b="sat-01"),)))
    assert NodeId(6) in joined.laser_neighbours(NodeId(0))
    assert len(joined.lasers) == 13


def test_catalogued_satellites_go_by_number_and_by_name() -> None:
    def one(number: int, name: str) -> Elements:
        return Elements(
            number=number,
            name=name,
            epoch=datetime(2026, 1, 1, tzinfo=UTC),
            mean_motion_rev_day=15.0,
            eccentricity=0.001,
            inclination_deg=53.0,
            raan_deg=0.0,
            argument_of_perigee_deg=0.0,
            mean_anomaly_deg=float(number % 360),
        )

    listed = (one(25544, "ISS (ZARYA)"), one(799500003, "TWIN"), one(799500004, "TWIN"), one(5, ""))
    mesh = Mesh(world(shell(), catalogues=(Catalogue(name="some", file="some.json", elements=listed),)))
    assert mesh.names[12:16] == ("25544", "799500003", "799500004", "5")
    assert mesh.id_of("iss (zarya)") == mesh.id_of("25544") == 12
    assert mesh.id_of("799500004") == 14
    with pytest.raises(UsageError, match="TWIN"):
        mesh.id_of("TWIN")
