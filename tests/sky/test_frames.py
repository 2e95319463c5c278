"""Does the Earth stand right, and are places on it where surveyors put them?"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.sky.frames import (
    J2000,
    earth_angle_rad,
    ecef_to_eci,
    eci_to_ecef,
    geodetic_site,
    great_circle_km,
    sidereal_angle_rad,
)
from perigrid.units import EARTH_FLATTENING, EARTH_RADIUS_KM, EARTH_RATE_RAD_S


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
