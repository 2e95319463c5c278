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
from perigrid.units import EARTH_J2, EARTH_MU_KM3_S2, EARTH_RADIUS_KM, LIGHT_KM_S

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


def pull(place: Floats) -> Floats:
    """Acceleration [3], km/s^2, by a point mass and the Earth's oblateness alone (Vallado, eq. 8-30)."""
    distance = np.sqrt(np.sum(place * place))
    flat = 1.5 * EARTH_J2 * (EARTH_RADIUS_KM / distance) ** 2
    sine_squared = (place[2] / distance) ** 2
    return -EARTH_MU_KM3_S2 / distance**3 * place * (1 + flat * (np.array([1.0, 1.0, 3.0]) - 5 * sine_squared))


def fall(place: Floats, speed: Floats, step_s: float, steps: int) -> tuple[Floats, Floats]:
    """Places and velocities [steps + 1, 3] by Runge and Kutta's fourth-order rule."""
    places, speeds = np.empty((2, steps + 1, 3))
    places[0], speeds[0] = place, speed
    for step in range(steps):
        r, v = places[step], speeds[step]
        v1, a1 = v, pull(r)
        v2, a2 = v + step_s / 2 * a1, pull(r + step_s / 2 * v1)
        v3, a3 = v + step_s / 2 * a2, pull(r + step_s / 2 * v2)
        v4, a4 = v + step_s * a3, pull(r + step_s * v3)
        places[step + 1] = r + step_s / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        speeds[step + 1] = v + step_s / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
    return places, speeds


@pytest.mark.parametrize(("altitude_km", "inclination_deg"), [(535, 97.54), (550, 53.0), (650, 35.0), (1200, 87.9)])
def test_rates_agree_with_falling_around_a_flattened_earth(altitude_km: float, inclination_deg: float) -> None:
    start, tilt, step_s = EARTH_RADIUS_KM + altitude_km, np.radians(inclination_deg), 20.0
    circling = np.sqrt(EARTH_MU_KM3_S2 / start) * np.array([0.0, np.cos(tilt), np.sin(tilt)])
    places, speeds = fall(np.array([start, 0.0, 0.0]), circling, step_s, 4320)
    distance = np.linalg.norm(places, axis=1)
    axis_km = 1 / (2 / distance - np.sum(speeds**2, axis=1) / EARTH_MU_KM3_S2)
    momentum = np.cross(places, speeds)
    node = np.unwrap(np.arctan2(momentum[:, 0], -momentum[:, 1]))
    tilts = np.arccos(momentum[:, 2] / np.linalg.norm(momentum, axis=1))
    ahead = places[:, 0] * np.cos(node) + places[:, 1] * np.sin(node)
    phase = np.unwrap(np.arctan2(places[:, 2] / np.sin(tilts), ahead))
    # The pattern's radius is the mean semi-major axis: over whole turns, since oblateness makes it breathe.
    turns = int(np.searchsorted(phase, 2 * np.pi * (phase[-1] // (2 * np.pi))))
    shell = Shell(
        name="mean",
        altitude_km=float(axis_km[:turns].mean()) - EARTH_RADIUS_KM,
        inclination_deg=float(np.degrees(tilts[:turns].mean())),
        planes=1,
        sats_per_plane=1,
    )
    walker, t_s = Walker.from_shells([shell]), np.arange(turns) * step_s
    node_rate, phase_rate = (np.polyfit(t_s, angle[:turns], 1)[0] for angle in (node, phase))
    assert node_rate == pytest.approx(walker.node_rate_rad_s[0], rel=0.003)
    # What first order leaves out moves a satellite along its orbit by eight kilometres a day: a second of its way.
    assert abs(phase_rate - walker.phase_rate_rad_s[0]) * DAY_S * start < 8.0


def test_positions_are_those_of_the_elements() -> None:
    shells = [RING, Shell(name="two", altitude_km=630, inclination_deg=51.9, planes=3, sats_per_plane=4, phasing=0.5)]
    walker, t_s = Walker.from_shells(shells), np.array([0.0, 5e3, 3e6])
    phase = walker.phase_rad + walker.phase_rate_rad_s * t_s[:, None]
    node = walker.node_rad + walker.node_rate_rad_s * t_s[:, None]
    tilt = walker.inclination_rad
    expected = walker.radius_km * np.stack(
        [
            np.cos(node) * np.cos(phase) - np.sin(node) * np.sin(phase) * np.cos(tilt),
            np.sin(node) * np.cos(phase) + np.cos(node) * np.sin(phase) * np.cos(tilt),
            np.sin(phase) * np.sin(tilt),
        ]
    )
    assert walker.positions_eci_km(t_s) == pytest.approx(np.moveaxis(expected, 0, -1), abs=1e-5)
    normals = walker.normals_eci(t_s)
    assert np.sum(normals * walker.positions_eci_km(t_s), axis=-1) == pytest.approx(0.0, abs=1e-5)
    assert normals[..., 2] == pytest.approx(np.broadcast_to(np.cos(tilt), node.shape))


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
