"""Where is every satellite of a scenario at t, whatever moves it?

Shells follow their pattern under the Earth's oblateness (`walker.py`), catalogued objects follow SGP4 (`sgp4.py`).
Both live in one frame, TEME: true equator and mean equinox of date (see `frames.py`), called ECI throughout.
"""

import numpy as np
import numpy.typing as npt

from perigrid.scenario.model import Scenario
from perigrid.sky.frames import Floats
from perigrid.sky.sgp4 import GONE_KM, Catalogued
from perigrid.sky.walker import Walker

Indices = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


class Fleet:
    """All satellites in node order: those of the shells first, then those of the catalogues.

    Positions are in ECI, km. A satellite that has come down lies at `GONE_KM` near the Earth's centre, where nobody
    sees it; no position is ever NaN.
    """

    def __init__(self, walker: Walker, catalogued: Catalogued | None = None) -> None:
        self._walker = walker
        self._catalogued = catalogued if catalogued is not None and len(catalogued) else None
        self._first_catalogued = len(walker)

    @classmethod
    def of(cls, scenario: Scenario) -> "Fleet":
        """The satellites of a scenario."""
        elements = [one for catalogue in scenario.catalogues for one in catalogue.elements]
        catalogued = Catalogued.of(elements, scenario.epoch) if elements else None
        return cls(Walker.from_shells(scenario.shells, scenario.epoch), catalogued)

    def __len__(self) -> int:
        return self._first_catalogued + (0 if self._catalogued is None else len(self._catalogued))

    def positions_eci_km(self, t_s: Floats) -> Floats:
        """Positions [T, N, 3] at `t_s` [T] seconds after the epoch."""
        t_s = np.asarray(t_s, np.float64)
        if self._catalogued is None:
            return self._walker.positions_eci_km(t_s)
        catalogued = self._catalogued.states(t_s)[0]
        if self._first_catalogued == 0:
            return catalogued
        return np.concatenate([self._walker.positions_eci_km(t_s), catalogued], axis=1)

    def positions_of_eci_km(self, satellites: Indices, t_s: Floats) -> Floats:
        """Positions [K, 3] of satellite `satellites[k]`, each at its own time `t_s[k]`."""
        satellites, t_s = np.asarray(satellites, np.int64), np.asarray(t_s, np.float64)
        if self._catalogued is None:
            return self._walker.positions_of_eci_km(satellites, t_s)
        out = np.empty((len(satellites), 3))
        in_shell = satellites < self._first_catalogued
        out[in_shell] = self._walker.positions_of_eci_km(satellites[in_shell], t_s[in_shell])
        others = satellites[~in_shell] - self._first_catalogued
        out[~in_shell] = self._catalogued.positions_of_eci_km(others, t_s[~in_shell])
        return out

    def normals_eci(self, t_s: Floats) -> Floats:
        """Unit normals [T, N, 3] of the orbits' planes at `t_s` [T], towards the angular momentum.

        What has come down has the Earth's axis for its normal.
        """
        t_s = np.asarray(t_s, np.float64)
        normals = self._walker.normals_eci(t_s)
        if self._catalogued is None:
            return normals
        positions, velocities, gone = self._catalogued.states(t_s)
        momenta = np.cross(positions, velocities)
        momenta[gone] = 0.0, 0.0, 1.0
        momenta /= np.sqrt(np.sum(momenta * momenta, axis=-1))[..., None]
        return np.concatenate([normals, momenta], axis=1)

    def decayed(self, t_s: Floats) -> Truths:
        """Whether each satellite has come down [T, N]; it is then at no place that anyone sees."""
        t_s = np.asarray(t_s, np.float64)
        down = np.zeros((len(t_s), len(self)), np.bool_)
        if self._catalogued is not None:
            down[:, self._first_catalogued :] = self._catalogued.states(t_s)[2]
        return down


__all__ = ["GONE_KM", "Fleet"]
