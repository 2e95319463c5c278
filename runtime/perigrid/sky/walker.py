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
from datetime import datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from perigrid.errors import ScenarioError
from perigrid.scenario.model import Shell
from perigrid.sky.frames import Floats
from perigrid.sky.sun import mean_sun_rad
from perigrid.units import EARTH_J2, EARTH_MU_KM3_S2, EARTH_RADIUS_KM


@dataclass(frozen=True, slots=True, eq=False)
class Walker:
    """Orbits of N satellites; every field is an array [N] in radians, radians a second, or km, but for the last three.

    Satellites stand in node order: shell by shell, plane by plane, slot by slot. `starts` are where shells begin, and
    where the last one ends. Within a shell all rates are the same, so that a position is a turn about the pole of

        ahead * cos(phase rate * t) + abeam * sin(phase rate * t)

    with two vectors of each satellite, [3, N] in km: where it is at the epoch, and where it is a quarter of a turn
    later. That needs four sines for a shell in place of four for a satellite, and is as exact.
    """

    radius_km: Floats
    inclination_rad: Floats
    node_rad: Floats
    node_rate_rad_s: Floats
    phase_rad: Floats
    phase_rate_rad_s: Floats
    starts: tuple[int, ...]
    ahead_km: Floats
    abeam_km: Floats

    @classmethod
    def from_shells(cls, shells: Iterable[Shell], epoch: datetime | None = None) -> "Walker":
        """Spread the satellites of all shells over their planes and slots, as `Shell` defines it.

        A shell with a local time of its node (`ltan_h`) needs `epoch`, the moment of sky time 0; without one it is
        refused (ScenarioError).
        """
        parts = [_orbits(shell, epoch) for shell in shells]
        starts = np.cumsum([0, *(part.shape[1] for part in parts)])
        radius, inclination, node, phase = np.concatenate([np.empty((4, 0)), *parts], axis=1)
        motion = np.sqrt(EARTH_MU_KM3_S2 / radius**3)
        drift = motion * EARTH_J2 * (EARTH_RADIUS_KM / radius) ** 2
        sine_squared = np.sin(inclination) ** 2
        return cls(
            radius_km=radius,
            inclination_rad=inclination,
            node_rad=node,
            node_rate_rad_s=-1.5 * drift * np.cos(inclination),
            phase_rad=phase,
            phase_rate_rad_s=motion + 0.75 * drift * ((2 - 3 * sine_squared) + (4 - 5 * sine_squared)),
            starts=tuple(starts.tolist()),
            ahead_km=radius * _direction(inclination, node, phase),
            abeam_km=radius * _direction(inclination, node, phase + np.pi / 2),
        )

    def __len__(self) -> int:
        return len(self.radius_km)

    def positions_eci_km(self, t_s: Floats) -> Floats:
        """Positions [T, N, 3] in ECI, km, at sky times `t_s` [T]."""
        t_s = np.asarray(t_s, np.float64)[:, None]
        out = np.empty((len(t_s), len(self), 3))
        for start, end in pairwise(self.starts):
            turns = self.phase_rate_rad_s[start] * t_s, self.node_rate_rad_s[start] * t_s
            _place(self.ahead_km[:, start:end], self.abeam_km[:, start:end], *turns, out[:, start:end])
        return out

    def positions_of_eci_km(self, satellites: npt.NDArray[np.int64], t_s: Floats) -> Floats:
        """Positions [K, 3] in ECI, km, of satellite `satellites[k]` at its own sky time `t_s[k]`."""
        out = np.empty((len(satellites), 3))
        turns = self.phase_rate_rad_s[satellites] * t_s, self.node_rate_rad_s[satellites] * t_s
        _place(self.ahead_km[:, satellites], self.abeam_km[:, satellites], *turns, out)
        return out

    def normals_eci(self, t_s: Floats) -> Floats:
        """Unit normals [T, N, 3] of the planes, towards the angular momentum, at sky times `t_s` [T]."""
        node = self.node_rad + self.node_rate_rad_s * np.asarray(t_s, np.float64)[:, None]
        sine = np.sin(self.inclination_rad)
        level = np.broadcast_to(np.cos(self.inclination_rad), node.shape)
        return np.stack([sine * np.sin(node), -sine * np.cos(node), level], axis=-1)


def _place(ahead: Floats, abeam: Floats, phase_turn: Floats, node_turn: Floats, out: Floats) -> None:
    """Write the positions of satellites that have gone `phase_turn` on planes that have turned by `node_turn`."""
    cosine, sine = np.cos(phase_turn), np.sin(phase_turn)
    x, y, z = (one * cosine + other * sine for one, other in zip(ahead, abeam, strict=True))
    cosine, sine = np.cos(node_turn), np.sin(node_turn)
    out[..., 0] = x * cosine - y * sine
    out[..., 1] = x * sine + y * cosine
    out[..., 2] = z


def _direction(inclination: Floats, node: Floats, phase: Floats) -> Floats:
    """Unit vectors [3, N] towards satellites at arguments of latitude `phase`."""
    along, level = np.cos(phase), np.sin(phase) * np.cos(inclination)
    cosine, sine = np.cos(node), np.sin(node)
    return np.stack([along * cosine - level * sine, along * sine + level * cosine, np.sin(phase) * np.sin(inclination)])


def phase_slots(shell: Shell, plane: int) -> float:
    """By what fraction of a slot, in [0, 1), a plane's satellites are ahead of the first plane's."""
    return plane * shell.phasing % 1.0


def first_node_deg(shell: Shell, epoch: datetime | None) -> float:
    """Right ascension of the ascending node of a shell's first plane at the epoch, degrees.

    A local mean time of the node counts from the mean sun's noon: 15 degrees an hour from its right ascension.
    """
    if shell.ltan_h is None:
        return shell.raan_deg
    if epoch is None:
        raise ScenarioError(
            f"shell {shell.name!r} has ltan_h = {shell.ltan_h:g}, and a local time is a place among the stars at a "
            "stated moment only; give an epoch, or raan_deg in place of ltan_h"
        )
    return float(np.degrees(mean_sun_rad(epoch)) + 15.0 * (shell.ltan_h - 12.0)) % 360.0


def _orbits(shell: Shell, epoch: datetime | None) -> Floats:
    """Rows radius, inclination, node and phase [4, planes * sats_per_plane] of one shell."""
    plane, slot = np.divmod(np.arange(shell.planes * shell.sats_per_plane), shell.sats_per_plane)
    ahead = np.array([phase_slots(shell, number) for number in range(shell.planes)])
    node_deg = first_node_deg(shell, epoch) + shell.raan_spread_deg / shell.planes * plane
    phase_deg = 360.0 / shell.sats_per_plane * (slot + ahead[plane])
    radius = np.full(len(plane), EARTH_RADIUS_KM + shell.altitude_km)
    inclination = np.full(len(plane), np.radians(shell.inclination_deg))
    return np.stack([radius, inclination, np.radians(node_deg), np.radians(phase_deg)])
