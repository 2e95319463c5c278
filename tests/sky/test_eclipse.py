"""Do satellites enter and leave the Earth's shadow when skyfield says so, and is the shadow a cone?"""

from datetime import UTC, datetime

import numpy as np
import pytest

from perigrid.scenario.model import Shell
from perigrid.sky.eclipse import (
    SUN_RADIUS_KM,
    Edge,
    beta_deg,
    eclipse_fraction,
    eclipse_share,
    eclipses,
    margin_rad,
    sunlight_share,
)
from perigrid.sky.fleet import Fleet
from perigrid.sky.frames import Floats
from perigrid.sky.sgp4 import GONE_KM, Catalogued
from perigrid.sky.sun import ASTRONOMICAL_UNIT_KM, sun_km
from perigrid.sky.walker import Walker
from perigrid.units import EARTH_RADIUS_KM
from tests.sky.outside import EPOCH, ephemeris, moments, objects, witnesses

DAY_S = 86_400.0
SKYFIELD_RADIUS_KM = 6378.1366
SUN = np.array([[ASTRONOMICAL_UNIT_KM, 0.0, 0.0]])


def shell(altitude_km: float, ltan_h: float, inclination_deg: float = 97.6) -> Fleet:
    """One satellite on a circular orbit with its node at a local time."""
    one = Shell(
        name="one", altitude_km=altitude_km, inclination_deg=inclination_deg, planes=1, sats_per_plane=1, ltan_h=ltan_h
    )
    return Fleet(Walker.from_shells([one], EPOCH))


def test_edges_agree_with_skyfield_to_a_second() -> None:
    elements = objects(20, seed=11, deep=4)
    fleet = Fleet(Walker.from_shells([]), Catalogued.of(elements, EPOCH))
    start_s, end_s = 0.0, 0.5 * DAY_S
    found = eclipses(fleet, EPOCH, start_s, end_s, "point", SKYFIELD_RADIUS_KM)
    seen = 0
    for number, witness in enumerate(witnesses(elements)):
        mine = found.satellite == number
        enter_s, leave_s = found.enter_s[mine & ~found.cut_start], found.leave_s[mine & ~found.cut_end]
        edges_s = np.concatenate([enter_s, leave_s])
        is_enter = np.arange(len(edges_s)) < len(enter_s)
        if len(edges_s):
            before = witness.at(moments(edges_s - 1.0)).is_sunlit(ephemeris())
            after = witness.at(moments(edges_s + 1.0)).is_sunlit(ephemeris())
            assert (before == is_enter).all() and (after == ~is_enter).all(), number
        seen += len(edges_s)
        # And no eclipse is missed or made up.
        grid_s = np.arange(start_s, end_s, 37.0)
        near = np.abs(grid_s[:, None] - edges_s).min(axis=1, initial=np.inf) < 1.0
        dark = ((grid_s[:, None] >= found.enter_s[mine]) & (grid_s[:, None] < found.leave_s[mine])).any(axis=1)
        lit = witness.at(moments(grid_s)).is_sunlit(ephemeris())
        assert (lit != dark)[~near].all(), number
    assert seen > 150


@pytest.mark.parametrize(("altitude_km", "share"), [(500.0, 0.378), (550.0, 0.372), (600.0, 0.367), (1200.0, 0.318)])
def test_the_share_of_a_turn_in_the_shadow_with_the_sun_in_the_plane(altitude_km: float, share: float) -> None:
    assert eclipse_fraction(altitude_km) == pytest.approx(share, abs=0.0006)
    # Noon-midnight at the equinox: the Sun is in the plane, and a whole number of turns shows the share.
    equinox = datetime(2025, 3, 20, 9, 1, tzinfo=UTC)
    one = Shell(name="p", altitude_km=altitude_km, inclination_deg=90.0, planes=1, sats_per_plane=1, ltan_h=12.0)
    walker = Walker.from_shells([one], equinox)
    turn_s = 2 * np.pi / walker.phase_rate_rad_s[0]
    fleet = Fleet(walker)
    beta = beta_deg(fleet.normals_eci(np.zeros(1)), sun_km(equinox, np.zeros(1)))[0, 0]
    assert abs(beta) < 2.0
    for edge in ("point", "umbra", "penumbra"):
        found = eclipses(fleet, equinox, 0.0, 4 * turn_s, edge)
        sampled = eclipse_share(found, 1, 0.0, 4 * turn_s)[0]
        assert sampled == pytest.approx(eclipse_fraction(altitude_km, float(beta), edge), abs=2e-4)


def on_cone(radius_km: float, lean_rad: float, off_rad: float) -> Floats:
    """A place [1, 1, 3] behind the Earth, by an angle outside a cone that touches the Earth and leans inwards."""
    angle = np.arcsin(EARTH_RADIUS_KM / radius_km) - lean_rad + off_rad
    return radius_km * np.array([[[-np.cos(angle), np.sin(angle) * 0.6, np.sin(angle) * 0.8]]])


@pytest.mark.parametrize("radius_km", [6500.0, 6928.0, 8000.0, 26_600.0, 42_164.0])
@pytest.mark.parametrize("edge", ["umbra", "penumbra", "point"])
def test_the_shadow_is_a_cone_that_touches_sun_and_earth(radius_km: float, edge: Edge) -> None:
    lean = {
        "umbra": np.arcsin((SUN_RADIUS_KM - EARTH_RADIUS_KM) / ASTRONOMICAL_UNIT_KM),
        "penumbra": -np.arcsin((SUN_RADIUS_KM + EARTH_RADIUS_KM) / ASTRONOMICAL_UNIT_KM),
        # The cone of a point leans outwards, by as much as the Earth is wide from there.
        "point": -np.arcsin(EARTH_RADIUS_KM / ASTRONOMICAL_UNIT_KM),
    }[edge]
    for off in (1e-4, 1e-6):
        assert margin_rad(on_cone(radius_km, lean, off), SUN, edge)[0, 0] > 0
        assert margin_rad(on_cone(radius_km, lean, -off), SUN, edge)[0, 0] < 0


def test_the_light_fades_between_penumbra_and_umbra() -> None:
    radius_km = EARTH_RADIUS_KM + 550
    half = np.arcsin(SUN_RADIUS_KM / ASTRONOMICAL_UNIT_KM)
    places = np.concatenate([on_cone(radius_km, 0.0, off) for off in np.linspace(-1.2, 1.2, 49) * half])
    share = sunlight_share(places, np.repeat(SUN, 49, axis=0))[:, 0]
    assert (np.diff(share) >= 0).all()
    assert share[:3] == pytest.approx(0.0) and share[-3:] == pytest.approx(1.0)
    # The Earth's edge is nearly straight across the Sun, and half of a disk is half of the light.
    assert share[24] == pytest.approx(0.5, abs=0.01)
    # So is the part of a disk beyond a straight edge at a quarter of its width.
    assert np.interp(0.5, np.linspace(-1.2, 1.2, 49), share) == pytest.approx(1 - 0.19550, abs=0.01)


def test_umbra_lies_within_point_shadow_within_penumbra_by_seconds() -> None:
    fleet = shell(550.0, 12.0)
    umbra, point, penumbra = (
        next(iter(eclipses(fleet, EPOCH, 600.0, 8_000.0, edge))) for edge in ("umbra", "point", "penumbra")
    )
    assert not any(one.cut_start or one.cut_end for one in (umbra, point, penumbra))
    assert penumbra.enter_s < point.enter_s < umbra.enter_s < umbra.leave_s < point.leave_s < penumbra.leave_s
    assert 3 < point.enter_s - penumbra.enter_s < 8 and 3 < umbra.enter_s - point.enter_s < 8


def test_a_dawn_dusk_orbit_high_enough_is_never_dark_near_an_equinox() -> None:
    fleet = shell(1400.0, 6.0, inclination_deg=101.4)
    beta = beta_deg(fleet.normals_eci(np.zeros(1)), sun_km(EPOCH, np.zeros(1)))[0, 0]
    assert 60 < abs(beta) < 90
    assert eclipse_fraction(1400.0, float(beta)) == 0.0
    assert len(eclipses(fleet, EPOCH, 0.0, DAY_S)) == 0


def test_eclipses_under_way_at_the_ends_are_cut_and_say_so() -> None:
    fleet = shell(550.0, 12.0)
    whole = next(iter(eclipses(fleet, EPOCH, 600.0, 8_000.0)))
    middle_s = (whole.enter_s + whole.leave_s) / 2
    early, late = (
        next(iter(eclipses(fleet, EPOCH, start_s, end_s)))
        for start_s, end_s in ((middle_s - 3_000, middle_s), (middle_s, middle_s + 3_000))
    )
    assert (early.leave_s, early.cut_end, early.cut_start) == (middle_s, True, False)
    assert (late.enter_s, late.cut_start, late.cut_end) == (middle_s, True, False)
    assert early.enter_s == pytest.approx(whole.enter_s, abs=0.02)
    assert late.leave_s == pytest.approx(whole.leave_s, abs=0.02)


def test_what_has_come_down_is_in_the_dark() -> None:
    assert margin_rad(GONE_KM[None, None], SUN)[0, 0] < 0
    assert sunlight_share(GONE_KM[None, None], SUN)[0, 0] == 0
    assert sunlight_share(-GONE_KM[None, None], SUN)[0, 0] == 0
