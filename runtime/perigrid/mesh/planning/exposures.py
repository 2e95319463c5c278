"""When does a satellite's sensor take a frame?

Along the ground track frames follow each other without a gap: each is as far from the next as it is high on the ground,
at the speed of the point below the satellite (over the rotating Earth, taken as a sphere). A sensor works in stretches;
which of them are taken, and at which part of a frame's time frames begin, is drawn from the scenario's seed, the sensor
and the satellite, so that every process and every arm of a measurement has the same frames. With `daylight`, frames
under which the Sun stands below the horizon are left out.

Where the sky turns faster (`clock.orbit_rate`), places are those of the faster sky, while frames come as often as the
satellite's own speed makes them: what a computer has to do in a second stays what it is.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from perigrid.scenario.model import Scenario, Sensor
from perigrid.sky.fleet import Fleet
from perigrid.sky.frames import Floats, earth_angle_rad, eci_to_ecef, sidereal_angle_rad
from perigrid.sky.sun import sun_km
from perigrid.units import EARTH_RADIUS_KM

SPEED_STEP_S = 1.0
"""Seconds over which the ground speed is taken."""

MAX_FRAMES = 1_000_000
"""Frames of one sensor on one satellite in one call."""

_RANGE = 2.0**64


class Exposures:
    """The frames of a scenario's sensors."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._fleet = Fleet.of(scenario)
        self._angle_rad = sidereal_angle_rad(scenario.epoch, scenario.ut1_utc_s)
        self._names = scenario.satellite_names

    def carriers(self, sensor: Sensor) -> tuple[int, ...]:
        """The satellites that carry a sensor, by their indices."""
        if not sensor.satellites:
            return tuple(range(len(self._names)))
        return tuple(self._names.index(name) for name in sensor.satellites)

    def period_s(self, sensor: Sensor, satellite: int) -> float:
        """Emulated seconds from one frame to the next, at the epoch's ground speed."""
        if sensor.period_s is not None:
            return sensor.period_s
        track = self._track_km(satellite, np.array([0.0, SPEED_STEP_S]))
        speed_km_s = float(np.linalg.norm(track[1] - track[0])) / SPEED_STEP_S
        return sensor.height_px * sensor.gsd_m / 1000 / speed_km_s

    def times_s(self, sensor: Sensor, satellite: int, start_s: float, end_s: float) -> Floats:
        """Sky times [K] in [start_s, end_s) at which a satellite takes a frame, in order."""
        period_s = self.period_s(sensor, satellite)
        phase = self._chance(sensor, satellite, "phase")
        first = int(np.ceil(start_s / period_s - phase))
        count = min(MAX_FRAMES, max(0, int(np.ceil(end_s / period_s - phase)) - first))
        times_s = np.asarray((phase + first + np.arange(count)) * period_s, np.float64)
        if sensor.duty_cycle < 1.0:
            stretches = (times_s // sensor.stretch_s).astype(np.int64)
            every, place = np.unique(stretches, return_inverse=True)
            taken = [self._chance(sensor, satellite, str(number)) < sensor.duty_cycle for number in every.tolist()]
            times_s = times_s[np.array(taken, np.bool_)[place]] if count else times_s
        return times_s[self.daylight(satellite, times_s)] if sensor.daylight else times_s

    def daylight(self, satellite: int, times_s: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether the Sun stands above the horizon below a satellite [K]."""
        orbit_s = np.asarray(times_s, np.float64) * self._scenario.clock.orbit_rate
        positions = self._positions_km(satellite, orbit_s)
        sun = sun_km(self._scenario.epoch, orbit_s)
        return np.asarray(np.einsum("ki,ki->k", positions, sun) > 0)

    def _chance(self, sensor: Sensor, satellite: int, what: str) -> float:
        """An even draw in [0, 1) of a satellite's sensor: whether a stretch is taken, or the phase of its frames."""
        text = f"{self._scenario.seed}/{sensor.name}/{self._names[satellite]}/{what}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") / _RANGE

    def _positions_km(self, satellite: int, orbit_s: Floats) -> Floats:
        return self._fleet.positions_of_eci_km(np.full(len(orbit_s), satellite), orbit_s)

    def _track_km(self, satellite: int, orbit_s: Floats) -> Floats:
        """The points [K, 3] below a satellite on the rotating Earth, km."""
        positions = self._positions_km(satellite, orbit_s)[:, None, :]
        fixed = eci_to_ecef(positions, earth_angle_rad(self._angle_rad, orbit_s))[:, 0, :]
        return np.asarray(fixed / np.linalg.norm(fixed, axis=-1, keepdims=True) * EARTH_RADIUS_KM)
