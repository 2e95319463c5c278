"""Are satellites where their shell says, and do they move as the reference figures do?"""

import numpy as np
import pytest

from perigrid.scenario.model import Shell, Station
from perigrid.sky.frames import Floats, earth_angle_rad, eci_to_ecef
from perigrid.sky.stations import (
    Sites,
    elevation_deg,
    sine_and_slant_of_pairs,
    sine_elevation,
    slant_km,
    visible,
)
from perigrid.sky.walker import Walker, phase_slots
from perigrid.units import EARTH_RADIUS_KM, LIGHT_KM_S

RING = Shell(
    name="ring",
    altitude_km=535.0,
    inclination_deg=97.54,
    planes=1,
    sats_per_plane=12,
    raan_spread_deg=0.0,
)
DAY_S = 86400.0


def sites(*places: tuple[float, float]) -> Sites:
    """Sites with a smallest elevation of 10 degrees."""
    return Sites.from_stations(
        Station(name=str(number), latitude_deg=north, longitude_deg=east, min_elevation_deg=10.0)
        for number, (north, east) in enumerate(places)
    )


def ecef(walker: Walker, t_s: Floats) -> Floats:
    """Positions with Greenwich on the x axis at t = 0, the condition of the reference figures."""
    return eci_to_ecef(walker.positions_eci_km(t_s), earth_angle_rad(0.0, t_s))


def test_a_ring_of_twelve_has_the_known_distances() -> None:
    positions = Walker.from_shells([RING]).positions_eci_km(np.array([0.0, 1000.0]))
    neighbour = np.linalg.norm(positions[:, 1] - positions[:, 0], axis=1)
    assert neighbour == pytest.approx(3579, abs=1)
    assert neighbour / LIGHT_KM_S * 1000 == pytest.approx(11.9, abs=0.05)
    assert 6 * neighbour / LIGHT_KM_S * 1000 == pytest.approx(71.6, abs=0.05)


def test_orbits_keep_their_radius_and_inclination() -> None:
    positions = Walker.from_shells([RING]).positions_eci_km(np.arange(0, DAY_S, 600.0))
    radius = np.linalg.norm(positions, axis=2)
    assert radius == pytest.approx(EARTH_RADIUS_KM + 535)
    assert np.degrees(np.arcsin(np.max(positions[..., 2] / radius))) == pytest.approx(180 - 97.54, abs=0.05)


def test_a_sun_synchronous_node_turns_with_the_sun() -> None:
    walker = Walker.from_shells([RING])
    assert np.degrees(walker.node_rate_rad_s[0]) * DAY_S == pytest.approx(360 / 365.2422, rel=0.01)
    # Kepler's period at 535 km is 95.34 minutes; over the poles oblateness makes a turn 0.13 % longer.
    assert 2 * np.pi / walker.phase_rate_rad_s[0] / 60 == pytest.approx(95.46, abs=0.01)


def test_satellites_of_their_own_times_agree_with_the_whole() -> None:
    walker = Walker.from_shells([RING, Shell(**{**vars_of(RING), "name": "two", "planes": 3})])
    t_s = np.array([0.0, 123.4, 5000.0])
    whole = walker.positions_eci_km(t_s)
    some = walker.positions_of_eci_km(np.array([3, 47, 20]), t_s)
    assert some == pytest.approx(np.array([whole[0, 3], whole[1, 47], whole[2, 20]]))


def vars_of(shell: Shell) -> dict[str, object]:
    """A shell's fields by name."""
    return {name: getattr(shell, name) for name in shell.__struct_fields__}


@pytest.mark.parametrize(("phasing", "ahead"), [(0.0, [0, 0, 0]), (0.5, [0, 0.5, 0]), (0.3, [0, 0.3, 0.6])])
def test_phasing_moves_planes_by_a_fraction_of_a_slot(phasing: float, ahead: list[float]) -> None:
    shell = Shell(name="s", altitude_km=550, inclination_deg=53, planes=3, sats_per_plane=4, phasing=phasing)
    assert [phase_slots(shell, plane) for plane in range(3)] == pytest.approx(ahead)
    walker = Walker.from_shells([shell])
    assert np.degrees(walker.phase_rad[::4]) == pytest.approx(np.array(ahead) * 90)
    assert np.degrees(walker.node_rad[::4]) == pytest.approx([0, 120, 240])


# Three days at 10 s gave these figures; a sample every 30 s keeps them within 2 %.
@pytest.mark.parametrize(
    ("places", "each", "any_of_12"),
    [
        ([(78.23, 15.41)], 0.052, None),
        ([(40.45, 116.86), (39.50, 75.93), (18.31, 109.31)], 0.038, 0.369),
    ],
)
def test_contact_fractions_of_the_ring(places: list[tuple[float, float]], each: float, any_of_12: float | None) -> None:
    seen = visible(ecef(Walker.from_shells([RING]), np.arange(0, 3 * DAY_S, 30.0)), sites(*places)).any(axis=2)
    assert seen.mean() == pytest.approx(each, rel=0.02)
    if any_of_12 is not None:
        assert seen.any(axis=1).mean() == pytest.approx(any_of_12, rel=0.02)


def test_overhead_is_ninety_degrees_and_the_antipode_is_below() -> None:
    place = sites((0, 0))
    above = np.array([[EARTH_RADIUS_KM + 500, 0.0, 0.0], [-EARTH_RADIUS_KM - 500, 0.0, 0.0]])
    assert elevation_deg(above, place)[:, 0] == pytest.approx([90, -90])
    assert slant_km(above, place)[0, 0] == pytest.approx(500)
    assert visible(above, place)[:, 0].tolist() == [True, False]


def test_elevation_against_the_law_of_cosines_on_a_sphere() -> None:
    # On the equator the ellipsoid's section is a circle, so the spherical triangle is exact.
    place, radius = sites((0, 0)), EARTH_RADIUS_KM + 600
    for degrees in (1.0, 5.0, 12.0, 20.0):
        angle = np.radians(degrees)
        satellite = radius * np.array([[np.cos(angle), np.sin(angle), 0.0]])
        slant = np.sqrt(EARTH_RADIUS_KM**2 + radius**2 - 2 * EARTH_RADIUS_KM * radius * np.cos(angle))
        sine = (radius * np.cos(angle) - EARTH_RADIUS_KM) / slant
        assert slant_km(satellite, place)[0, 0] == pytest.approx(slant)
        assert elevation_deg(satellite, place)[0, 0] == pytest.approx(np.degrees(np.arcsin(sine)))


def test_pairs_agree_with_the_whole_table() -> None:
    place = sites((78, 15), (-30, 100))
    positions = ecef(Walker.from_shells([RING]), np.array([10.0]))
    sine, slant = sine_and_slant_of_pairs(positions[:, [2, 7]], place, np.array([1, 0]))
    assert sine == pytest.approx(sine_elevation(positions, place)[:, [2, 7], [1, 0]])
    assert slant == pytest.approx(slant_km(positions, place)[:, [2, 7], [1, 0]])
