"""Where is a catalogued object at t, and is it still up?

SGP4 as published by Vallado et al. (AIAA 2006-6753, WGS72 constants, improved mode) and computed by the package
`sgp4`; element sets are fitted with this theory and mean nothing in another. Positions are in TEME, km. Element
sets are good to about a kilometre at their epoch and lose one to three kilometres a day after it.

The theory fails in stated ways (`ERRORS`): where an object has come down, and where drag has driven its polynomials
out of their range. But an eccentric orbit that dips into the Earth fails at its perigees only, and beyond its end an
object may be given places again that mean nothing, since drag's polynomial, squared, grows once it has passed zero.
So when a catalogue is made, each object whose perigee comes down to the ground within a hundred days of its epoch is
followed to its first failure. It counts as gone from there on, and at any moment at which the theory fails, or puts it
further away than anything that orbits the Earth (`FAR_KM`), as it does with absurd drag. What is gone is never NaN: it
lies at `GONE_KM`, a kilometre off the Earth's centre, where nobody sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from sgp4.api import WGS72, Satrec, SatrecArray

from perigrid.scenario.model import Elements
from perigrid.sky.frames import Floats

Indices = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

GONE_KM = np.array([1.0, 0.0, 0.0])
"""Where an object is that has come down: inside the Earth, but not at its centre, which has no direction."""

FAR_KM = 1e9
"""More than twice the half axis of the widest orbit that an element set may have, a turn in a million days."""

ERRORS = {
    1: "the mean eccentricity has left [0, 1)",
    2: "the mean motion has fallen below zero",
    3: "the perturbed eccentricity has left [0, 1]",
    4: "the semilatus rectum has fallen below zero",
    6: "the orbit has come down below the Earth's surface",
}
"""What SGP4's error codes mean (AIAA 2006-6753, appendix B); code 5 is no longer given."""

DAY_S = 86_400.0
DAY_MINUTES = 1_440.0

DUMMY_NUMBER = 1
"""The catalogue number that the theory is given: it plays no part in it, and the package refuses numbers above
339999, which exist."""

JULIAN_ORIGIN = datetime(1999, 12, 31, tzinfo=UTC)
JULIAN_ORIGIN_DAY = 2_451_543.5
"""Julian date of `JULIAN_ORIGIN`, from which whole days are counted."""

SGP4_ORIGIN_DAY = 2_433_281.5
"""Julian date of 1949-12-31, from which the theory's initialiser counts days."""

LOOKS_S = np.concatenate([[0.0], DAY_S * 0.02 * 1.2 ** np.arange(48)])
"""Ages, s, at which an object's perigee is looked at: from 29 minutes to 105 days, each 20 % after the last.

What the theory takes back after an end lasts longer than that: of a thousand falling objects drawn at random none was
missed.
"""

SCAN_S, MAX_SCAN = 240.0, 20_000
"""Step of the search for the end itself, where a look has shown that there is one, and how many steps it may take."""

CHUNK_OBJECTS = 5_000
"""Objects that are looked at together, at some tens of megabytes."""


def julian_day(moment: datetime) -> tuple[float, float]:
    """Julian date (UTC) of an aware moment as a whole day, which ends in .5, and the fraction of a day after it.

    The fraction is exact to 1e-16 days, 10 picoseconds; the sum would be exact to 40 microseconds only.
    """
    days, rest = divmod(moment - JULIAN_ORIGIN, timedelta(days=1))
    return JULIAN_ORIGIN_DAY + days, rest / timedelta(days=1)


def satrec_of(elements: Elements) -> Satrec:
    """The propagator of one object, as the package `sgp4` has it; the catalogue number stays with us."""
    day, fraction = julian_day(elements.epoch)
    per_minute = 2 * np.pi / DAY_MINUTES
    satellite = Satrec()
    satellite.sgp4init(
        WGS72,
        "i",
        DUMMY_NUMBER,
        day - SGP4_ORIGIN_DAY + fraction,
        elements.bstar,
        elements.mean_motion_dot * per_minute / DAY_MINUTES,
        elements.mean_motion_ddot * per_minute / DAY_MINUTES**2,
        elements.eccentricity,
        np.radians(elements.argument_of_perigee_deg),
        np.radians(elements.inclination_deg),
        np.radians(elements.mean_anomaly_deg),
        elements.mean_motion_rev_day * per_minute,
        np.radians(elements.raan_deg),
    )
    # The initialiser takes the epoch as one number, good to a third of a microsecond; the split is exact.
    satellite.jdsatepoch, satellite.jdsatepochF = day, fraction
    return satellite


@dataclass(frozen=True, slots=True, eq=False)
class Catalogued:
    """N catalogued objects and the moment of sky time 0, as Julian day and fraction.

    `gone_s` [N] is the sky time from which on an object counts as gone, infinity for those that stay.
    """

    satellites: tuple[Satrec, ...]
    together: SatrecArray
    day: float
    fraction: float
    gone_s: Floats

    @classmethod
    def of(cls, elements: Sequence[Elements], epoch: datetime) -> "Catalogued":
        """The objects of a catalogue, with sky time counted from `epoch`."""
        satellites = tuple(satrec_of(one) for one in elements)
        day, fraction = julian_day(epoch)
        ages = np.array([(one.epoch - epoch).total_seconds() for one in elements])
        parts = [satellites[start : start + CHUNK_OBJECTS] for start in range(0, len(satellites), CHUNK_OBJECTS)]
        gone_s = ages + np.concatenate([np.empty(0), *(_ends_s(part) for part in parts)])
        return cls(satellites, SatrecArray(list(satellites)), day, fraction, gone_s)

    def __len__(self) -> int:
        return len(self.satellites)

    def states(self, t_s: Floats) -> tuple[Floats, Floats, Truths]:
        """Positions [T, N, 3], km, velocities [T, N, 3], km/s, and whether each object is gone [T, N]."""
        failed, positions, velocities = self.together.sgp4(*self._moments(t_s))
        placed = np.ascontiguousarray(positions.swapaxes(0, 1))
        gone = (failed.T != 0) | (t_s[:, None] >= self.gone_s) | _nowhere(placed)
        moving = np.ascontiguousarray(velocities.swapaxes(0, 1))
        if gone.any():
            placed[gone], moving[gone] = GONE_KM, 0.0
        return placed, moving, gone

    def positions_of_eci_km(self, satellites: Indices, t_s: Floats) -> Floats:
        """Positions [K, 3], km, of object `satellites[k]` at its own sky time `t_s[k]`."""
        placed, failed = np.empty((len(satellites), 3)), np.empty(len(satellites), np.uint8)
        day, fraction = self._moments(t_s)
        order = np.argsort(satellites, kind="stable")
        numbers, starts = np.unique(satellites[order], return_index=True)
        # Each object's moments go to the theory in one call; of no pairs at all the split still makes one part.
        for number, rows in zip(numbers.tolist(), np.split(order, starts[1:]), strict=False):
            failed[rows], placed[rows], _ = self.satellites[number].sgp4_array(day[rows], fraction[rows])
        placed[(failed != 0) | (t_s >= self.gone_s[satellites]) | _nowhere(placed)] = GONE_KM
        return placed

    def _moments(self, t_s: Floats) -> tuple[Floats, Floats]:
        return np.full(len(t_s), self.day), self.fraction + t_s / DAY_S


def _nowhere(positions: Floats) -> Truths:
    """Whether positions [..., 3], km, are no place that an object in orbit has [...]."""
    return np.asarray(~(np.abs(positions) <= FAR_KM).all(axis=-1))


def _ends_s(satellites: Sequence[Satrec]) -> Floats:
    """At which age, s, each of N objects comes down, infinity if not within the last look."""
    down = _down(satellites, np.broadcast_to(LOOKS_S, (len(satellites), len(LOOKS_S))))
    first = np.argmax(down, axis=1)
    ends_s = np.full(len(satellites), np.inf)
    for row in np.flatnonzero(down.any(axis=1)).tolist():
        # Perigees sway by some kilometres, so that a first dip may lie before the last look that showed none.
        low, high = LOOKS_S[max(first[row] - 2, 0)], LOOKS_S[first[row]]
        end_s = high + 2 * np.pi / satellites[row].no_kozai * 60.0
        ages = np.linspace(low, end_s, int(min((end_s - low) / SCAN_S, MAX_SCAN)) + 2)
        failed = satellites[row].sgp4_array(*_moments(satellites[row], ages))[0]
        ends_s[row] = ages[np.argmax(failed)] if failed.any() else ages[-1]
    return ends_s


def _moments(satellite: Satrec, ages_s: Floats) -> tuple[Floats, Floats]:
    """Julian dates of an object's ages, as the theory takes them."""
    return np.full(len(ages_s), satellite.jdsatepoch), satellite.jdsatepochF + ages_s / DAY_S


def _down(satellites: Sequence[Satrec], ages_s: Floats) -> Truths:
    """Whether objects' theory fails or their osculating perigee is below the equator's radius, at ages [N, A]."""
    failed = np.empty(ages_s.shape, np.uint8)
    positions, velocities = np.empty((2, *ages_s.shape, 3))
    for row, (satellite, ages) in enumerate(zip(satellites, ages_s, strict=True)):
        failed[row], positions[row], velocities[row] = satellite.sgp4_array(*_moments(satellite, ages))
    positions[failed != 0], velocities[failed != 0] = GONE_KM, 0.0
    radius = np.sqrt(np.sum(positions**2, axis=-1))
    momentum_squared = np.sum(np.cross(positions, velocities) ** 2, axis=-1)
    energy = np.sum(velocities**2, axis=-1) / 2 - satellites[0].mu / radius
    # An orbit of this energy whose perigee is just at the ground has this momentum.
    ground_km = satellites[0].radiusearthkm
    grazing_squared = 2 * ground_km**2 * (energy + satellites[0].mu / ground_km)
    return np.asarray((failed != 0) | (momentum_squared < grazing_squared))
