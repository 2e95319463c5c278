"""Where is every satellite at t?

Circular orbits with the secular effects of the Earth's oblateness: the nodes turn and the satellites drift
along their orbits at constant rates (Vallado, Fundamentals of Astrodynamics, the first-order J2 rates at
zero eccentricity). With p = a, n = sqrt(mu / a^3) and k = n J2 (R / a)^2:

    node rate      -3/2 k cos i
    phase rate     n + 3/4 k (2 - 3 sin^2 i) + 3/4 k (4 - 5 sin^2 i)

The phase is the argument of latitude; its rate is mean motion, mean anomaly's drift and perigee's drift
together, which on a circle cannot be told apart. Drag, resonances and station keeping are left out:
operators hold their constellations to a pattern, and the pattern is what is wanted here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.scenario.model import Shell
from perigrid.units import EARTH_J2, EARTH_MU_KM3_S2, EARTH_RADIUS_KM

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Walker:
    """Orbits of N satellites; every field is an array [N] in radians, radians a second, or km.

    Satellites stand in node order: shell by shell, plane by plane, slot by slot.
    """

    radius_km: Floats
    inclination_rad: Floats
    node_rad: Floats
    node_rate_rad_s: Floats
    phase_rad: Floats
    phase_rate_rad_s: Floats

    @classmethod
    def from_shells(cls, shells: Iterable[Shell]) -> "Walker":
        """Spread the satellites of all shells over their planes and slots, as `Shell` defines it."""
        parts = [_orbits(shell) for shell in shells]
        radius, inclination, node, phase = np.concatenate(parts, axis=1)
        motion = np.sqrt(EARTH_MU_KM3_S2 / radius**3)
        drift = motion * EARTH_J2 * (EARTH_RADIUS_KM / radius) ** 2
        sine_squared = np.sin(inclination) ** 2
        node_rate = -1.5 * drift * np.cos(inclination)
        phase_rate = motion + 0.75 * drift * ((2 - 3 * sine_squared) + (4 - 5 * sine_squared))
        return cls(radius, inclination, node, node_rate, phase, phase_rate)

    def __len__(self) -> int:
        return len(self.radius_km)

    def positions_eci_km(self, t_s: Floats) -> Floats:
        """Positions [T, N, 3] in ECI, km, at sky times `t_s` [T]."""
        return self._positions(np.arange(len(self)), np.asarray(t_s, np.float64)[:, None])

    def positions_of_eci_km(self, satellites: npt.NDArray[np.int64], t_s: Floats) -> Floats:
        """Positions [K, 3] in ECI, km, of satellite `satellites[k]` at its own sky time `t_s[k]`."""
        return self._positions(satellites, t_s)

    def _positions(self, satellites: npt.NDArray[np.int64], t_s: Floats) -> Floats:
        phase = self.phase_rad[satellites] + self.phase_rate_rad_s[satellites] * t_s
        node = self.node_rad[satellites] + self.node_rate_rad_s[satellites] * t_s
        inclination, radius = self.inclination_rad[satellites], self.radius_km[satellites]
        along, across = radius * np.cos(phase), radius * np.sin(phase)
        level = across * np.cos(inclination)
        cosine, sine = np.cos(node), np.sin(node)
        return np.stack(
            [along * cosine - level * sine, along * sine + level * cosine, across * np.sin(inclination)],
            axis=-1,
        )


def phase_slots(shell: Shell, plane: int) -> float:
    """By what fraction of a slot, in [0, 1), a plane's satellites are ahead of the first plane's."""
    return plane * shell.phasing % 1.0


def _orbits(shell: Shell) -> Floats:
    """Rows radius, inclination, node and phase [4, planes * sats_per_plane] of one shell."""
    plane, slot = np.divmod(np.arange(shell.planes * shell.sats_per_plane), shell.sats_per_plane)
    ahead = np.array([phase_slots(shell, number) for number in range(shell.planes)])
    node_deg = shell.raan_deg + shell.raan_spread_deg / shell.planes * plane
    phase_deg = 360.0 / shell.sats_per_plane * (slot + ahead[plane])
    radius = np.full(len(plane), EARTH_RADIUS_KM + shell.altitude_km)
    inclination = np.full(len(plane), np.radians(shell.inclination_deg))
    return np.stack([radius, inclination, np.radians(node_deg), np.radians(phase_deg)])
