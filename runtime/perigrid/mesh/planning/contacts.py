"""Which contacts does one hour of the sky hold?

Lasers that always point at the same satellite are up while they see each other (`sight.py`); lasers that may choose
(`pointing.py`) and the antennas of stations (`antennas.py`) are up while they also point there. In every case
acquisition is taken off the start (`services.py`). What is in contact at the epoch counts as acquired.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from perigrid.errors import ScenarioError
from perigrid.mesh.planning.antennas import Antennas
from perigrid.mesh.planning.geometry import Geometry, Indices
from perigrid.mesh.planning.pointing import nearest_services
from perigrid.mesh.planning.services import ACQUIRED_S, Service, acquired, offsets_of, rows_of
from perigrid.mesh.planning.sight import CHUNK_STEPS, STEP_S, laser_sights, radio_sights
from perigrid.mesh.rates import link_of
from perigrid.mesh.segment import KNOT_S, KNOTS, SEGMENT_S, Segment, segment_start_s
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import Scenario, Station
from perigrid.sky.frames import Floats
from perigrid.sky.spans import Spans
from perigrid.units import NodeId

MAX_LINKS = 1_000_000
"""More links than that in one hour would be half a gigabyte of plan."""


def compute_segment(scenario: Scenario, mesh: Mesh, index: int, before: Segment | None = None) -> Segment:
    """The contacts of hour `index` (0 starts at the epoch) of a scenario.

    Pure and deterministic: every caller gets the same segment on the same kind of machine. Where terminals or
    antennas choose their partners an hour goes on with what the one `before` it held; without that the hours from the
    epoch on are computed first. ScenarioError where more links meet than a plan can hold.
    """
    if before is None and index > 0 and chooses(scenario):
        for earlier in range(index):
            before = compute_segment(scenario, mesh, earlier, before)
    geometry = Geometry.of(scenario, mesh)
    hour = _Hour(scenario, mesh, geometry, index, _held(before) if chooses(scenario) else {})
    fixed, fixed_offsets, fixed_intervals = hour.fixed_lasers()
    roaming, roaming_offsets, roaming_intervals = rows_of(hour.roaming_lasers())
    radio, radio_offsets, radio_intervals = rows_of(hour.ground_links())
    pairs = np.concatenate([fixed, roaming, radio + np.array([0, mesh.satellite_count])])
    if len(pairs) > MAX_LINKS:
        raise ScenarioError(
            f"{scenario.name}: {len(pairs)} pairs of nodes meet in hour {index} and a contact plan holds at most "
            f"{MAX_LINKS}: choose fewer stations or satellites."
        )
    offsets = np.concatenate(
        [
            fixed_offsets,
            fixed_offsets[-1] + roaming_offsets[1:],
            fixed_offsets[-1] + roaming_offsets[-1] + radio_offsets[1:],
        ]
    )
    lasers = np.concatenate([fixed, roaming])
    return Segment(
        digest=scenario.digest(),
        index=index,
        orbit_rate=geometry.orbit_rate,
        pairs=pairs.astype(np.int32),
        lasers=len(lasers),
        squared_km2=_knots(geometry, lasers, radio, index),
        offsets=offsets,
        intervals=np.concatenate([fixed_intervals, roaming_intervals, radio_intervals]),
        seeking=np.array([(one.a, one.b) for one in hour.seeking], np.int32).reshape(-1, 2),
        since_s=np.array([one.start_s for one in hour.seeking], np.float64),
    )


def chooses(scenario: Scenario) -> bool:
    """Whether any terminal or antenna has to choose whom it points at."""
    topologies = [shell.topology for shell in scenario.shells] + [one.topology for one in scenario.catalogues]
    return "nearest" in topologies or any(station.antennas is not None for station in scenario.stations)


def _held(before: Segment | None) -> dict[tuple[int, int], float]:
    """Pairs of nodes that are up at a segment's last moment, or being acquired, with since when they are."""
    if before is None:
        return {}
    rows = np.repeat(np.arange(len(before.pairs)), np.diff(before.offsets))
    last = rows[before.intervals[:, 1] == before.end_s]
    pairs = np.concatenate([before.pairs[last], before.seeking]).tolist()
    since_s = [ACQUIRED_S] * len(last) + before.since_s.tolist()
    return {(a, b): pointing_s for (a, b), pointing_s in zip(pairs, since_s, strict=True)}


class _Hour:
    """One hour of a scenario, and as much of the hour before as acquisitions under way ask for.

    `held` are pairs of nodes that pointed at each other as the hour before ended, with since when; `seeking` are those
    that this hour finds to be still acquiring as it ends.
    """

    def __init__(
        self, scenario: Scenario, mesh: Mesh, geometry: Geometry, index: int, held: Mapping[tuple[int, int], float]
    ) -> None:
        self._held = held
        self.seeking: list[Service] = []
        self._scenario = scenario
        self._mesh = mesh
        self._geometry = geometry
        self._low_s = segment_start_s(index, geometry.orbit_rate)
        self._high_s = segment_start_s(index + 1, geometry.orbit_rate)

    def fixed_lasers(self) -> tuple[Indices, Indices, Floats]:
        """Pairs, offsets and intervals of the lasers that always point at the same satellite, up or not."""
        acquire_s = self._scenario.lasers.acquire_s
        pairs = np.array([(link.a, link.b) for link in self._mesh.lasers], np.int64).reshape(-1, 2)
        sights = laser_sights(self._geometry, pairs, self._looked_from_s(acquire_s), self._high_s)
        start_s = np.maximum(sights.start_s + np.where(sights.cut_start, 0.0, acquire_s), self._low_s)
        lasting = start_s < sights.end_s
        intervals = np.stack([start_s[lasting], sights.end_s[lasting]], axis=1)
        return pairs, offsets_of(sights.row[lasting], len(pairs)), intervals

    def roaming_lasers(self) -> list[Service]:
        """Services among satellites that seek the nearest, from when they are acquired."""
        roaming, found = np.array(self._mesh.roaming, np.int64), []
        used = np.bincount([end for link in self._mesh.lasers for end in (link.a, link.b)], minlength=len(roaming))
        flying = sorted(pair for pair in self._held if self._mesh.is_satellite(NodeId(pair[1])))
        fixed = {(link.a, link.b) for link in self._mesh.lasers}
        for group in np.unique(roaming[roaming >= 0]).tolist():
            members = np.flatnonzero(roaming == group)
            free = np.maximum(0, self._mesh.terminals - used[members])
            chosen = (roaming[a] == group == roaming[b] and (a, b) not in fixed for a, b in flying)
            held = np.array([pair for pair, mine in zip(flying, chosen, strict=True) if mine], np.int64).reshape(-1, 2)
            barred = np.array([pair for pair in fixed if roaming[pair[0]] == group == roaming[pair[1]]], np.int64)
            now = nearest_services(
                self._geometry, members, free, held, barred.reshape(-1, 2), (self._low_s, self._high_s)
            )
            up, seeking = acquired(now, self._held, self._scenario.lasers.acquire_s, self._low_s, self._high_s)
            found += up
            self.seeking += seeking
        return found

    def ground_links(self) -> list[Service]:
        """Services of satellites (index) by stations (index), from when they are acquired."""
        stations = self._scenario.stations
        longest_s = max((link_of(self._scenario, station).acquire_s for station in stations), default=0.0)
        pairs, sights = radio_sights(self._geometry, self._looked_from_s(longest_s), self._high_s)
        found: list[Service] = []
        for number, station in enumerate(stations):
            mine = np.flatnonzero(pairs[sights.row, 1] == number)
            one = sights.of(mine, pairs[sights.row[mine], 0])
            found += self._station(number, station, one)
        return found

    def _station(self, number: int, station: Station, sights: Spans) -> list[Service]:
        """Services of one station; the sights' rows are satellites."""
        link = link_of(self._scenario, station)
        if station.antennas is None:
            start_s = np.maximum(sights.start_s + np.where(sights.cut_start, 0.0, link.acquire_s), self._low_s)
            rows = zip(sights.row.tolist(), start_s.tolist(), sights.end_s.tolist(), strict=True)
            return [Service(satellite, number, start, end) for satellite, start, end in rows if start < end]

        def height(satellites: list[int], t_s: float) -> list[float]:
            pairs = np.array([(satellite, number) for satellite in satellites], np.int64)
            return self._geometry.radio_margin_at(pairs, np.full(len(pairs), t_s)).tolist()  # type: ignore[no-any-return]

        sights = sights.within(self._low_s, self._high_s)
        passes = list(zip(sights.start_s.tolist(), sights.end_s.tolist(), sights.row.tolist(), strict=True))
        node = self._mesh.satellite_count + number
        held = {(a, number): since_s for (a, b), since_s in self._held.items() if b == node}
        services = Antennas(number, station.antennas, link.policy, self._low_s, height).serve(
            passes, {satellite for satellite, _ in held}
        )
        found, seeking = acquired(services, held, link.acquire_s, self._low_s, self._high_s)
        self.seeking += [one._replace(b=node) for one in seeking]
        return found

    def _looked_from_s(self, acquire_s: float) -> float:
        """As long before the hour as an acquisition under way at its start may have begun."""
        step_s = STEP_S / self._geometry.orbit_rate
        return max(0.0, self._low_s - float(np.ceil(acquire_s / step_s)) * step_s)


def _knots(geometry: Geometry, lasers: Indices, radio: Indices, index: int) -> npt.NDArray[np.float32]:
    """Squared ranges [P, KNOTS] of lasers and then of radio pairs."""
    squared_km2 = np.empty((len(lasers) + len(radio), KNOTS), np.float32)
    t_s: Floats = (index * SEGMENT_S + KNOT_S * np.arange(-1.0, KNOTS - 1.0)) / geometry.orbit_rate
    for start in range(0, KNOTS, CHUNK_STEPS):
        chunk = slice(start, start + CHUNK_STEPS)
        for pairs, rows, positions, partners in (
            (lasers, slice(0, len(lasers)), geometry.positions_eci_km(t_s[chunk]), None),
            (radio, slice(len(lasers), None), geometry.positions_ecef_km(t_s[chunk]), geometry.sites.position_km),
        ):
            two = positions[:, pairs[:, 1]] if partners is None else partners[pairs[:, 1]]
            squared_km2[rows, chunk] = np.sum((positions[:, pairs[:, 0]] - two) ** 2, axis=-1).T
    return squared_km2
