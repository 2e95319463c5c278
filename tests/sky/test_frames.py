"""Does the Earth stand right, and are places on it where surveyors put them?"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skyfield.api import wgs84
from skyfield.framelib import itrs
from skyfield.sgp4lib import theta_GMST1982

from perigrid.sky.fleet import Fleet
from perigrid.sky.frames import (
    J2000,
    Floats,
    earth_angle_rad,
    ecef_to_eci,
    eci_to_ecef,
    geodetic,
    geodetic_site,
    great_circle_km,
    sidereal_angle_rad,
)
from perigrid.sky.sgp4 import GONE_KM, Catalogued
from perigrid.sky.walker import Walker
from perigrid.units import EARTH_FLATTENING, EARTH_RADIUS_KM, EARTH_RATE_RAD_S
from tests.sky.outside import EPOCH, moments, objects, witnesses


def test_sidereal_time_has_the_published_values() -> None:
    # 280.46061837 deg at J2000.0 is the constant of the IAU 1982 expression.
    assert np.degrees(sidereal_angle_rad(J2000)) == pytest.approx(280.46061837, abs=1e-4)
    assert np.degrees(sidereal_angle_rad(datetime(2000, 1, 1, tzinfo=UTC))) == pytest.approx(99.9678, abs=1e-3)
    # Meeus, Astronomical Algorithms, example 12.b: 1987-04-10 19:21:00 UT is 8h 34m 57.0896s.
    meeus = datetime(1987, 4, 10, 19, 21, tzinfo=UTC)
    assert np.degrees(sidereal_angle_rad(meeus)) == pytest.approx(15 * (8 + 34 / 60 + 57.0896 / 3600), abs=1e-4)


def test_a_run_turns_the_earth_as_sidereal_time_does() -> None:
    epoch = datetime(2025, 5, 15, tzinfo=UTC)
    later = sidereal_angle_rad(epoch + timedelta(days=1))
    turned = earth_angle_rad(sidereal_angle_rad(epoch), np.array([86400.0]))[0]
    assert np.angle(np.exp(1j * (turned - later))) == pytest.approx(0, abs=1e-6)
    assert 2 * np.pi / EARTH_RATE_RAD_S == pytest.approx(86164.1, abs=0.1)


def test_the_earths_lead_on_the_clock_turns_it_further() -> None:
    epoch = datetime(2025, 5, 14, 4, 12, 30, tzinfo=UTC)
    lead = sidereal_angle_rad(epoch, 0.5) - sidereal_angle_rad(epoch)
    assert lead == pytest.approx(0.5 * EARTH_RATE_RAD_S, rel=1e-6)
    # Another's expression of the same angle, at moments over forty years.
    for days in np.random.default_rng(1).uniform(-9000, 9000, 50):
        moment = J2000 + timedelta(days=days)
        whole, part = divmod((moment - J2000) / timedelta(days=1), 1.0)
        theirs = theta_GMST1982(2451545.0 + whole, part + 0.3 / 86400)[0]
        assert np.angle(np.exp(1j * (sidereal_angle_rad(moment, 0.3) - theirs))) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("ut1_utc_s", [0.0, 0.3, -0.7])
def test_points_below_satellites_agree_with_skyfield_to_metres(ut1_utc_s: float) -> None:
    elements = objects(15, seed=21, deep=5)
    fleet = Fleet(Walker.from_shells([]), Catalogued.of(elements, EPOCH))
    t_s = np.random.default_rng(22).uniform(-86400.0, 86400.0, 30)
    angle = earth_angle_rad(sidereal_angle_rad(EPOCH, ut1_utc_s), t_s)
    ecef = eci_to_ecef(fleet.positions_eci_km(t_s), angle)
    north_deg, east_deg, altitude_km = geodetic(ecef)
    for number, witness in enumerate(witnesses(elements, ut1_utc_s)):
        at = witness.at(moments(t_s, ut1_utc_s))
        theirs = wgs84.geographic_position_of(at)
        assert np.linalg.norm(ecef[:, number] - at.frame_xyz(itrs).km.T, axis=1).max() < 0.01
        level_km = np.radians(theirs.latitude.degrees - north_deg[:, number]) * 6378
        across = np.radians((theirs.longitude.degrees - east_deg[:, number] + 180) % 360 - 180) * 6378
        across_km = across * np.cos(np.radians(north_deg[:, number]))
        assert np.hypot(level_km, across_km).max() < 0.01
        assert altitude_km[:, number] == pytest.approx(theirs.elevation.km, abs=0.001)


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(-50, 400_000))
def test_geodetic_coordinates_lead_back_to_their_place(north: float, east: float, altitude: float) -> None:
    site = geodetic_site(north, east)
    latitude, longitude, height = geodetic(site.position_km + altitude * site.up)
    assert height == pytest.approx(altitude, abs=1e-6)
    back = geodetic_site(float(latitude), float(longitude))
    assert back.position_km + float(height) * back.up == pytest.approx(site.position_km + altitude * site.up, abs=1e-6)


def test_geodetic_takes_any_shape_and_even_what_has_come_down() -> None:
    places: Floats = np.broadcast_to(GONE_KM, (2, 3, 4, 3))
    assert all(part.shape == (2, 3, 4) and np.isfinite(part).all() for part in geodetic(places))
    assert np.isfinite(geodetic(np.zeros(3))).all()


@given(st.floats(-50, 50), st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3))
def test_turning_there_and_back_changes_nothing(angle: float, vector: list[float]) -> None:
    angles, vectors = np.array([angle]), np.array([[vector]])
    turned = eci_to_ecef(vectors, angles)
    assert ecef_to_eci(turned, angles) == pytest.approx(vectors, abs=1e-8)
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(vectors), abs=1e-8)


def test_greenwich_is_the_x_axis_of_the_turning_frame() -> None:
    quarter = eci_to_ecef(np.array([[0.0, 1.0, 0.0]]), np.array([np.pi / 2]))
    assert quarter == pytest.approx(np.array([[1.0, 0.0, 0.0]]), abs=1e-12)


def test_places_on_the_ellipsoid() -> None:
    assert geodetic_site(0, 0).position_km == pytest.approx([EARTH_RADIUS_KM, 0, 0])
    assert geodetic_site(90, 0).position_km == pytest.approx([0, 0, EARTH_RADIUS_KM * (1 - EARTH_FLATTENING)])
    assert geodetic_site(0, 90).up == pytest.approx([0, 1, 0])
    # At 45 degrees the normal and the line from the centre differ by 0.1924 degrees, the most there is.
    site = geodetic_site(45, 0)
    outward = site.position_km / np.linalg.norm(site.position_km)
    assert np.degrees(np.arccos(outward @ site.up)) == pytest.approx(0.1924, abs=1e-3)


def test_great_circles() -> None:
    assert great_circle_km((0, 0), (0, 0)) == 0
    assert great_circle_km((0, 0), (0, 180)) == pytest.approx(np.pi * 6371.0088)
    # Nashville to Los Angeles, the usual example of the haversine formula: 2,886 to 2,887 km.
    assert great_circle_km((36.12, -86.67), (33.94, -118.40)) == pytest.approx(2886.4, abs=1)
