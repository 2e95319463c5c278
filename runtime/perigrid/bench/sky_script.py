"""How would one write down a step of a constellation in an afternoon, with numpy, scipy and sgp4?

The yardstick of `perigrid bench sky`: Starlink's shell 1 as most studies have it, a closed grid of lasers, a hundred
cities on a sphere that see what is at most a given slant range away, and a Dijkstra a city for delay and next hop of
every satellite towards it. Nothing here is of perigrid, and nothing is slower than it would be in such a script: what
can be set up once is, arrays are arrays, and the search for ways is scipy's, in C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import dijkstra
from sgp4.api import WGS72, Satrec, SatrecArray

EARTH_KM = 6371.0
WGS72_KM, WGS72_MU = 6378.135, 398600.8
EPOCH_JD = 2460310.5
"""2024-01-01 00:00 UTC."""

EPOCH_ANGLE_RAD = 1.747993146284751
"""Greenwich mean sidereal time at that moment (IAU 1982)."""

EARTH_RATE_RAD_S = 7.29211585531e-5
SGP4_EPOCH = 27029.0
"""The same moment as SGP4 counts days, from 1949-12-31 on."""


@dataclass
class Step:
    """What one step gives: `dist` [G, N] km and `hop` [G, N] by city and satellite, and `between` [G, G] cities."""

    dist: Any
    hop: Any
    between: Any


class Script:
    """A shell of `planes` x `slots` satellites; odd planes are half a slot ahead, or F is Walker's phasing."""

    def __init__(
        self,
        places: list[tuple[float, float]],
        planes: int = 72,
        slots: int = 22,
        altitude_km: float = 550.0,
        inclination_deg: float = 53.0,
        elevation_deg: float = 25.0,
        phasing: int | None = None,
    ) -> None:
        count = self.count = planes * slots
        motion = math.sqrt(WGS72_MU / (WGS72_KM + altitude_km) ** 3) * 60
        records = []
        for plane in range(planes):
            half_slot = 180.0 / slots if plane % 2 else 0.0
            shift = half_slot if phasing is None else 360.0 / count * plane * phasing
            for slot in range(slots):
                anomaly = math.radians((360.0 / slots * slot + shift) % 360)
                record = Satrec()
                record.sgp4init(
                    WGS72,
                    "i",
                    plane * slots + slot,
                    SGP4_EPOCH,
                    0.0,
                    0.0,
                    0.0,
                    1e-7,
                    0.0,
                    math.radians(inclination_deg),
                    anomaly,
                    motion,
                    math.radians(360.0 / planes * plane),
                )
                records.append(record)
        self.fleet = SatrecArray(records)
        p, s = np.divmod(np.arange(count), slots)
        self.a = np.concatenate([np.arange(count)] * 2)
        self.b = np.concatenate([p * slots + (s + 1) % slots, (p + 1) % planes * slots + s])
        lat, lon = np.radians(np.array(places)).T
        self.ground = EARTH_KM * np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
        low = EARTH_KM * math.cos(math.radians(elevation_deg))
        self.slant_max = math.sqrt((EARTH_KM + altitude_km) ** 2 - low**2) - EARTH_KM * math.sin(
            math.radians(elevation_deg)
        )

    def step(self, t_s: float) -> Step:
        """Positions, ranges, who sees whom, ways and next hops at t seconds after the epoch."""
        n, g = self.count, len(self.ground)
        _, pos, _ = self.fleet.sgp4(np.array([EPOCH_JD]), np.array([t_s / 86400.0]))
        pos = pos[:, 0]
        theta = EPOCH_ANGLE_RAD + EARTH_RATE_RAD_S * t_s
        c, s = math.cos(theta), math.sin(theta)
        ground = self.ground @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        slant = np.sqrt((ground * ground).sum(1)[:, None] + (pos * pos).sum(1)[None] - 2 * ground @ pos.T)
        laser = np.linalg.norm(pos[self.a] - pos[self.b], axis=1)
        gi, si = np.nonzero(slant <= self.slant_max)
        rows, cols = np.concatenate([self.a, self.b, n + gi]), np.concatenate([self.b, self.a, si])
        graph = sparse.csr_matrix((np.concatenate([laser, laser, slant[gi, si]]), (rows, cols)), shape=(n + g, n + g))
        dist, hop = dijkstra(graph, indices=np.arange(n, n + g), return_predecessors=True)
        between = np.full((g, g), np.inf)
        for j in range(g):
            seen = np.flatnonzero(slant[j] <= self.slant_max)
            if len(seen):
                between[:, j] = (dist[:, seen] + slant[j, seen]).min(1)
        return Step(dist[:, :n], hop[:, :n], between)
