"""When does which satellite pass over which station, and how long may a satellite wait for a station?

A pass lasts from rise to set: while the satellite stands above the station's smallest elevation and above its mask. It
culminates where its elevation is greatest within that time. Moments are found to 0.01 s; a pass that is shorter
than that is no pass. Behind a mask with narrow gaps, a pass shorter than `STEP_S` may be missed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.sky.fleet import Fleet
from perigrid.sky.frames import Floats, earth_angle_rad, eci_to_ecef
from perigrid.sky.spans import covered_s, highest, positive_spans
from perigrid.sky.stations import (
    Sites,
    azimuth_of_pairs_deg,
    sine_and_slant_of_pairs,
    sine_elevation,
    sine_margin_of_pairs,
)

Indices = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

STEP_S = 30.0
"""Step of the search. Passes between two steps are found too (see `spans.py`)."""

LONG_S = 2_400.0
"""A pass longer than this may have several peaks: 40 minutes, more than any in low orbit has."""

LOOKS, LONG_LOOKS = 9, 289
"""At how many moments a pass, and a long one, is looked at for its peak: every 5 minutes of either or of a day."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a satellite over a station, by their indices.

    `rise_s`, `culmination_s` and `set_s` are sky times; `range_km` is the slant range at the culmination, and azimuths
    count from north over east. A pass under way at the window's start or end is cut there (`cut_start`, `cut_end`).
    """

    satellite: int
    station: int
    rise_s: float
    culmination_s: float
    set_s: float
    max_elevation_deg: float
    rise_azimuth_deg: float
    culmination_azimuth_deg: float
    set_azimuth_deg: float
    range_km: float
    cut_start: bool
    cut_end: bool


@dataclass(frozen=True, slots=True, eq=False)
class Passes:
    """K passes as arrays [K], sorted by rise, satellite and station; iterating gives each as a `Pass`."""

    satellite: Indices
    station: Indices
    rise_s: Floats
    culmination_s: Floats
    set_s: Floats
    max_elevation_deg: Floats
    rise_azimuth_deg: Floats
    culmination_azimuth_deg: Floats
    set_azimuth_deg: Floats
    range_km: Floats
    cut_start: Truths
    cut_end: Truths

    def __len__(self) -> int:
        return len(self.satellite)

    def __iter__(self) -> Iterator[Pass]:
        columns = [getattr(self, name).tolist() for name in self.__slots__]
        return (Pass(*row) for row in zip(*columns, strict=True))


class _View:
    """What M satellites show to S stations: rows are pairs, satellite by satellite."""

    def __init__(self, fleet: Fleet, sites: Sites, angle_at_epoch_rad: float, satellites: Indices) -> None:
        self._fleet, self._sites, self._angle_rad, self._satellites = fleet, sites, angle_at_epoch_rad, satellites
        self._all = len(satellites) == len(fleet)

    def pairs(self, rows: Indices) -> tuple[Indices, Indices]:
        """Satellites and stations [K] of rows [K]."""
        which, stations = np.divmod(rows, len(self._sites))
        return self._satellites[which], stations

    def margins(self, t_s: Floats) -> Floats:
        """Sine of the elevation above the smallest one [T, M * S] at times [T]."""
        positions = eci_to_ecef(self._positions(t_s), earth_angle_rad(self._angle_rad, t_s))
        margins = sine_elevation(positions, self._sites) - self._sites.sine_min
        for number, _ in self._sites.masks:
            stations = np.full(len(self._satellites), number)
            margins[..., number] = sine_margin_of_pairs(positions, self._sites, stations)
        return margins.reshape(len(t_s), -1)

    def margin_at(self, rows: Indices, t_s: Floats) -> Floats:
        """The same number [K] of rows [K], each at its own time [K]."""
        return sine_margin_of_pairs(self.positions_at(rows, t_s), self._sites, self.pairs(rows)[1])

    def sine_at(self, rows: Indices, t_s: Floats) -> Floats:
        """Sine of the elevation [K] of rows [K], each at its own time [K]."""
        return sine_and_slant_of_pairs(self.positions_at(rows, t_s), self._sites, self.pairs(rows)[1])[0]

    def positions_at(self, rows: Indices, t_s: Floats) -> Floats:
        """ECEF positions [K, 3], km, of the satellites of rows [K], each at its own time [K]."""
        positions = self._fleet.positions_of_eci_km(self.pairs(rows)[0], t_s)
        return eci_to_ecef(positions, earth_angle_rad(self._angle_rad, t_s))

    def _positions(self, t_s: Floats) -> Floats:
        if self._all:
            return self._fleet.positions_eci_km(t_s)
        count = len(self._satellites)
        positions = self._fleet.positions_of_eci_km(np.tile(self._satellites, len(t_s)), np.repeat(t_s, count))
        return positions.reshape(len(t_s), count, 3)


def passes(
    fleet: Fleet,
    sites: Sites,
    angle_at_epoch_rad: float,
    start_s: float,
    end_s: float,
    satellites: Indices | None = None,
) -> Passes:
    """All passes between sky times `start_s` and `end_s` of a fleet, or of some of its satellites, over all sites.

    `angle_at_epoch_rad` is the Earth's angle at sky time 0 (`sidereal_angle_rad`).
    """
    chosen = np.arange(len(fleet)) if satellites is None else np.unique(satellites)
    view = _View(fleet, sites, angle_at_epoch_rad, chosen)
    spans = positive_spans(view.margins, view.margin_at, len(chosen) * len(sites), start_s, end_s, STEP_S)
    satellite, station = view.pairs(spans.row) if len(spans) else (spans.row, spans.row)

    culmination_s = np.empty(len(spans))
    long = spans.end_s - spans.start_s > LONG_S
    for those, looks in ((~long, LOOKS), (long, LONG_LOOKS)):
        culmination_s[those] = highest(view.sine_at, spans.row[those], spans.start_s[those], spans.end_s[those], looks)
    at_rise, at_peak, at_set = (
        view.positions_at(spans.row, t_s) for t_s in (spans.start_s, culmination_s, spans.end_s)
    )
    sine, slant_km = sine_and_slant_of_pairs(at_peak, sites, station)
    azimuths = [azimuth_of_pairs_deg(positions, sites, station) for positions in (at_rise, at_peak, at_set)]
    elevation_deg = np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0)))
    order = np.lexsort((station, satellite, spans.start_s))
    columns = (
        *(satellite, station, spans.start_s, culmination_s, spans.end_s, elevation_deg),
        *(*azimuths, slant_km, spans.cut_start, spans.cut_end),
    )
    return Passes(*(column[order] for column in columns))


def contact_share(found: Passes, satellites: int, start_s: float, end_s: float) -> Floats:
    """Share of the time between `start_s` and `end_s` [N] in which each of N satellites is over any station.

    `found` are the passes of that window.
    """
    row, starts_s, ends_s = covered_s(found.satellite, found.rise_s, found.set_s)
    return np.bincount(row, weights=ends_s - starts_s, minlength=satellites) / (end_s - start_s)


def any_contact_share(found: Passes, start_s: float, end_s: float) -> float:
    """Share of the time between `start_s` and `end_s` in which any satellite is over any station."""
    _, starts_s, ends_s = covered_s(np.zeros_like(found.satellite), found.rise_s, found.set_s)
    return float(np.sum(ends_s - starts_s) / (end_s - start_s))


def longest_gap_s(found: Passes, satellites: int, start_s: float, end_s: float) -> Floats:
    """The longest time [N] that each of N satellites waits for any station between `start_s` and `end_s`.

    Waits under way at the window's ends count as far as they are seen, so that a satellite without any pass waits for
    the whole window.
    """
    row, starts_s, ends_s = covered_s(found.satellite, found.rise_s, found.set_s)
    everyone = np.arange(satellites)
    rows = np.concatenate([everyone, row, everyone])
    # A contact of no length at each end of the window makes the waits there like those between two contacts.
    begins = np.concatenate([np.full(satellites, start_s), starts_s, np.full(satellites, end_s)])
    stops = np.concatenate([np.full(satellites, start_s), ends_s, np.full(satellites, end_s)])
    order = np.lexsort((stops, begins, rows))
    rows, begins, stops = rows[order], begins[order], stops[order]
    same = rows[1:] == rows[:-1]
    gaps = np.zeros(satellites)
    np.maximum.at(gaps, rows[1:][same], (begins[1:] - stops[:-1])[same])
    return gaps
