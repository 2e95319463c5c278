"""Does the Sun stand where JPL's ephemeris has it, and does local time count from the mean sun?"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from skyfield.sgp4lib import TEME

from perigrid.errors import ScenarioError
from perigrid.scenario.model import Shell
from perigrid.sky.frames import Floats, sidereal_angle_rad
from perigrid.sky.sun import local_mean_time_h, mean_sun_rad, sun_km
from perigrid.sky.walker import Walker
from tests.sky.outside import ephemeris, moments

DAY_S = 86_400.0
DAWN = Shell(
    name="dawn",
    altitude_km=535.0,
    inclination_deg=97.54,
    planes=3,
    sats_per_plane=4,
    raan_spread_deg=30.0,
    ltan_h=6.0,
)


def angle_deg(one: Floats, two: Floats) -> Floats:
    """Angles [K] between vectors [K, 3]."""
    crossed = np.linalg.norm(np.cross(one, two), axis=1)
    return np.degrees(np.arctan2(crossed, np.sum(one * two, axis=1)))


def test_the_sun_stands_where_the_ephemeris_has_it() -> None:
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    t_s = np.random.default_rng(1).uniform(-50, 50, 1500) * 365.25 * DAY_S
    when = moments(t_s, epoch=epoch)
    theirs = ephemeris()["earth"].at(when).observe(ephemeris()["sun"]).apparent().frame_xyz(TEME).km.T
    ours = sun_km(epoch, t_s)
    off_deg = angle_deg(ours, theirs)
    assert off_deg.max() < 0.005
    assert np.median(off_deg) < 0.0015
    assert np.linalg.norm(ours, axis=1) == pytest.approx(np.linalg.norm(theirs, axis=1), rel=1e-4)


def test_local_mean_time_is_universal_time_and_a_fifteenth_of_the_longitude() -> None:
    for epoch in (datetime(2025, 5, 14, 4, 12, tzinfo=UTC), datetime(2031, 11, 3, 17, 50, tzinfo=UTC)):
        node_rad = np.radians([0.0, 100.0, 350.0])
        longitude_deg = np.degrees(node_rad - sidereal_angle_rad(epoch))
        clock_h = epoch.hour + epoch.minute / 60
        apart_h = (local_mean_time_h(node_rad, epoch) - clock_h - longitude_deg / 15 + 12) % 24 - 12
        assert np.abs(apart_h).max() * 3600 < 1.0


def test_the_true_sun_is_never_far_from_the_mean_one() -> None:
    # The equation of time: +16.4 minutes in early November, -14.2 in the middle of February.
    epoch = datetime(2025, 1, 1, 12, tzinfo=UTC)
    x, y, _ = sun_km(epoch, np.arange(365) * DAY_S).T
    mean = np.array([mean_sun_rad(epoch + timedelta(days=day)) for day in range(365)])
    ahead_minutes = np.degrees(np.angle(np.exp(1j * (mean - np.arctan2(y, x))))) * 4
    assert ahead_minutes.max() == pytest.approx(16.4, abs=0.1)
    assert ahead_minutes.min() == pytest.approx(-14.2, abs=0.1)
    assert np.argmax(ahead_minutes) == pytest.approx(306, abs=2)


def test_a_shell_starts_at_its_local_time_and_a_sun_synchronous_one_keeps_it() -> None:
    epoch = datetime(2025, 3, 20, 1, 2, 3, tzinfo=UTC)
    walker = Walker.from_shells([DAWN], epoch)
    assert local_mean_time_h(walker.node_rad[::4], epoch) == pytest.approx([6.0, 6 + 10 / 15, 6 + 20 / 15], abs=1e-6)
    for days in (30, 90, 180):
        nodes = walker.node_rad + walker.node_rate_rad_s * days * DAY_S
        drifted_h = local_mean_time_h(nodes, epoch + timedelta(days=days))[0] - 6.0
        assert abs(drifted_h) * 60 < 4
    # At 6 o'clock the first satellite of the first plane crosses the equator northwards above the terminator.
    first = walker.positions_eci_km(np.array([0.0]))[0, 0]
    sun = sun_km(epoch, np.array([0.0]))[0]
    assert first[2] == pytest.approx(0.0, abs=1e-6)
    assert angle_deg(first[None], sun[None])[0] == pytest.approx(90.0, abs=2.5)


def test_a_local_time_without_a_moment_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"'dawn'.*ltan_h.*epoch"):
        Walker.from_shells([DAWN])
