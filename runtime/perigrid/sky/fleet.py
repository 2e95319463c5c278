"""Where is every satellite of a scenario at t, whatever moves it?"""

import numpy as np
import numpy.typing as npt

from perigrid.scenario.model import Scenario
from perigrid.sky.frames import Floats
from perigrid.sky.walker import Walker


class Fleet:
    """All satellites in node order. Positions are in ECI (true equator, mean equinox of date), km."""

    def __init__(self, walker: Walker) -> None:
        self._walker = walker

    @classmethod
    def of(cls, scenario: Scenario) -> "Fleet":
        """The satellites of a scenario."""
        return cls(Walker.from_shells(scenario.shells))

    def __len__(self) -> int:
        return len(self._walker)

    def positions_eci_km(self, t_s: Floats) -> Floats:
        """Positions [T, N, 3] at `t_s` [T] seconds after the epoch."""
        return self._walker.positions_eci_km(t_s)

    def positions_of_eci_km(self, satellites: npt.NDArray[np.int64], t_s: Floats) -> Floats:
        """Positions [K, 3] of satellite `satellites[k]`, each at its own time `t_s[k]`."""
        return self._walker.positions_of_eci_km(satellites, t_s)

    def decayed(self, t_s: Floats) -> npt.NDArray[np.bool_]:
        """Whether each satellite has come down [T, N]; it is then at no place that anyone sees."""
        return np.zeros((len(np.asarray(t_s)), len(self)), np.bool_)
