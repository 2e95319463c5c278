"""Skyfield and the package `sgp4` as witnesses: the same objects and moments, by others' code.

Skyfield's Earth turns by UT1, which it takes from a table; here it is given UT1 - UTC as a number, the same as ours.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from sgp4 import omm
from sgp4.api import Satrec
from skyfield.api import EarthSatellite, Timescale, load, load_file

from perigrid.scenario.model import Elements
from perigrid.sky.frames import Floats

EPOCH = datetime(2025, 5, 14, 4, 12, 30, 250_000, UTC)
LEAP_S = 37.0
TERRESTRIAL_LEAD_S = 32.184


@cache
def timescale(ut1_utc_s: float = 0.0) -> Timescale:
    """Skyfield's time with a constant UT1 - UTC, which holds from 2017 on."""
    return load.timescale(delta_t=TERRESTRIAL_LEAD_S + LEAP_S - ut1_utc_s)


@cache
def ephemeris() -> Any:
    """JPL's DE421."""
    return load_file(str(files("skyfield_data") / "data" / "de421.bsp"))


def moments(t_s: Floats, ut1_utc_s: float = 0.0, epoch: datetime = EPOCH) -> Any:
    """Skyfield's moments at `t_s` seconds after the epoch."""
    seconds = epoch.second + epoch.microsecond / 1e6 + np.asarray(t_s)
    return timescale(ut1_utc_s).utc(epoch.year, epoch.month, epoch.day, epoch.hour, epoch.minute, seconds)


def seconds_of(times: Any, epoch: datetime = EPOCH) -> Floats:
    """Skyfield's moments as seconds after the epoch."""
    start = moments(np.array([0.0]), epoch=epoch)
    return np.asarray((times.tt - start.tt[0]) * 86_400.0)


def satrec(one: Elements) -> Satrec:
    """An object as the package reads it from an orbit mean-elements message."""
    fields = {
        "OBJECT_NAME": one.name,
        "OBJECT_ID": "2020-001A",
        "CLASSIFICATION_TYPE": "U",
        "EPHEMERIS_TYPE": "0",
        "ELEMENT_SET_NO": "999",
        "REV_AT_EPOCH": "1",
        "NORAD_CAT_ID": "7",
        "EPOCH": one.epoch.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "MEAN_MOTION": repr(one.mean_motion_rev_day),
        "ECCENTRICITY": repr(one.eccentricity),
        "INCLINATION": repr(one.inclination_deg),
        "RA_OF_ASC_NODE": repr(one.raan_deg),
        "ARG_OF_PERICENTER": repr(one.argument_of_perigee_deg),
        "MEAN_ANOMALY": repr(one.mean_anomaly_deg),
        "BSTAR": repr(one.bstar),
        "MEAN_MOTION_DOT": repr(one.mean_motion_dot),
        "MEAN_MOTION_DDOT": repr(one.mean_motion_ddot),
    }
    satellite = Satrec()
    omm.initialize(satellite, fields)
    return satellite


def witnesses(elements: Sequence[Elements], ut1_utc_s: float = 0.0) -> list[EarthSatellite]:
    """Objects as skyfield has them."""
    return [EarthSatellite.from_satrec(satrec(one), timescale(ut1_utc_s)) for one in elements]


def objects(count: int, seed: int, deep: int = 0) -> tuple[Elements, ...]:
    """Made-up objects with epochs within three days of `EPOCH`: in low orbit, the last `deep` of them far out."""
    chance = np.random.default_rng(seed)
    found = []
    for number in range(count):
        high = number >= count - deep
        found.append(
            Elements(
                number=400_000 + number,
                name=f"OBJECT {number}",
                epoch=EPOCH + timedelta(seconds=float(chance.uniform(-3, 3)) * 86_400),
                mean_motion_rev_day=float(chance.uniform(1.0, 6.0) if high else chance.uniform(12.5, 15.6)),
                eccentricity=float(chance.uniform(0.0, 0.4) if high else chance.uniform(0.0, 0.01)),
                inclination_deg=float(chance.uniform(0.0, 110.0)),
                raan_deg=float(chance.uniform(0.0, 360.0)),
                argument_of_perigee_deg=float(chance.uniform(0.0, 360.0)),
                mean_anomaly_deg=float(chance.uniform(0.0, 360.0)),
                bstar=float(10 ** chance.uniform(-5.0, -3.7)),
            )
        )
    return tuple(found)
