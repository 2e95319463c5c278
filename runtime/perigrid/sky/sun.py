"""Where does the Sun stand at t?

Its apparent place (where its light comes from) in the inertial frame of `frames.py`: true equator and mean equinox of
date. Newcomb's mean elements and equation of the centre with the five largest perturbations, by Venus, Jupiter and
the Moon (Meeus, Astronomical Formulae for Calculators, chapter 18), then aberration and the two largest terms of
nutation (Meeus, Astronomical Algorithms, chapter 22). Against JPL's DE421 from 1950 to 2050 the direction is good to
0.005 degrees, 0.001 as a rule, and the distance to 0.0001 of itself; a satellite in low orbit enters the shadow 0.08 s
later for 0.005 degrees. Dynamical time is taken to be `DYNAMICAL_LEAD_S` ahead of UTC: ten seconds of it move the
Sun by 0.0001 degrees.

The mean sun goes round the equator evenly; local mean solar time counts from it.
"""

from datetime import datetime

import numpy as np

from perigrid.sky.frames import CENTURY_DAYS, DAY_S, J2000, Floats

ASTRONOMICAL_UNIT_KM = 149_597_870.7
"""Mean distance of the Sun, km; exact by definition (IAU 2012, resolution B2)."""

DYNAMICAL_LEAD_S = 69.184
"""By how much terrestrial time is ahead of UTC, s: 32.184 + 37 leap seconds, which holds since 2017."""

NEWCOMB_DAYS = 36_525.0
"""Days from 1900 January 0.5, from which Newcomb's elements count, to J2000."""

ABERRATION_DEG = -0.00569
"""By how much the Earth's motion displaces the Sun backwards, degrees."""


def sun_km(epoch: datetime, t_s: Floats) -> Floats:
    """Vectors [T, 3] in ECI, km, from the Earth's centre to the Sun at `t_s` [T] seconds after an aware epoch."""
    days = (epoch - J2000).total_seconds() / DAY_S + (np.asarray(t_s, np.float64) + DYNAMICAL_LEAD_S) / DAY_S
    longitude_deg, distance_km = _ecliptic((days + NEWCOMB_DAYS) / CENTURY_DAYS)
    centuries = days / CENTURY_DAYS
    node = np.radians(125.04452 - 1934.136261 * centuries)
    twice = np.radians(2 * (280.4665 + 36000.7698 * centuries))
    nutation_deg = (-17.20 * np.sin(node) - 1.32 * np.sin(twice)) / 3600
    tilt_deg = 23.4392911 - 0.0130042 * centuries + (9.20 * np.cos(node) + 0.57 * np.cos(twice)) / 3600
    longitude, tilt = np.radians(longitude_deg + nutation_deg + ABERRATION_DEG), np.radians(tilt_deg)
    x, across = np.cos(longitude), np.sin(longitude)
    y, z = across * np.cos(tilt), across * np.sin(tilt)
    # Right ascensions count from the mean equinox, which the true one leads by this much along the equator.
    back = np.radians(nutation_deg) * np.cos(tilt)
    direction = np.stack([x + y * back, y - x * back, z], axis=-1)
    return np.asarray(direction * distance_km[..., None])


def mean_sun_rad(epoch: datetime) -> float:
    """Right ascension of the mean sun at an aware moment, radians in [0, 2 pi).

    The Sun's mean longitude, aberration included (Meeus, Astronomical Algorithms, eq. 28.2), from the mean equinox of
    date.
    """
    centuries = ((epoch - J2000).total_seconds() + DYNAMICAL_LEAD_S) / DAY_S / CENTURY_DAYS
    longitude_deg = 280.4664567 + 36000.76982779 * centuries + 0.0003032028 * centuries**2 + ABERRATION_DEG
    return float(np.radians(longitude_deg % 360.0))


def local_mean_time_h(node_rad: Floats, moment: datetime) -> Floats:
    """Local mean solar time, hours in [0, 24), of places (nodes of orbits) at right ascensions [...] at a moment."""
    return np.asarray((12.0 + np.degrees(node_rad - mean_sun_rad(moment)) / 15.0) % 24.0)


def _ecliptic(centuries: Floats) -> tuple[Floats, Floats]:
    """True longitude, degrees from the mean equinox of date, and distance, km, at Julian centuries from 1900."""
    mean_deg = 279.69668 + 36000.76892 * centuries + 0.0003025 * centuries**2
    anomaly_deg = 358.47583 + 35999.04975 * centuries - 0.00015 * centuries**2
    eccentricity = 0.01675104 - 0.0000418 * centuries - 0.000000126 * centuries**2
    anomaly = np.radians(anomaly_deg)
    centre_deg = (
        (1.919460 - 0.004789 * centuries - 0.000014 * centuries**2) * np.sin(anomaly)
        + (0.020094 - 0.000100 * centuries) * np.sin(2 * anomaly)
        + 0.000293 * np.sin(3 * anomaly)
    )
    venus, venus_too = np.radians(153.23 + 22518.7541 * centuries), np.radians(216.57 + 45037.5082 * centuries)
    jupiter, moon = np.radians(312.69 + 32964.3577 * centuries), np.radians(350.74 + 445267.1142 * centuries)
    slow = np.radians(231.19 + 20.20 * centuries)
    pulled_deg = (
        0.00134 * np.cos(venus)
        + 0.00154 * np.cos(venus_too)
        + 0.00200 * np.cos(jupiter)
        + 0.00179 * np.sin(moon)
        + 0.00178 * np.sin(slow)
    )
    true_anomaly = np.radians(anomaly_deg + centre_deg)
    distance = 1.0000002 * (1 - eccentricity**2) / (1 + eccentricity * np.cos(true_anomaly))
    return mean_deg + centre_deg + pulled_deg, distance * ASTRONOMICAL_UNIT_KM
