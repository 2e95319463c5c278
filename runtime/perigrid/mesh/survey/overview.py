"""What is a constellation made of: which shells, who neighbours whom, how far apart, in what light?

Everything here follows from the scenario and the geometry at the moments asked about; what is up at a moment is the
contact plan's business (`plan.py`), contact with the ground `coverage.py`'s, and how wide the mesh is `extent.py`'s.

A shell is named as the literature does, i:t/p/f (Walker, J. Brit. Interplan. Soc. 37, 1984): inclination, satellites,
planes, and the phasing F in units of 360 / t degrees between neighbouring planes. Our `Shell.phasing` is a fraction of
an in-plane slot, which is F / p.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from perigrid.mesh.planning.geometry import Geometry
from perigrid.mesh.topology import FULL_CIRCLE_DEG, Mesh
from perigrid.scenario.model import Catalogue, Scenario, Shell
from perigrid.sky.frames import Floats
from perigrid.sky.walker import Walker
from perigrid.units import EARTH_MU_KM3_S2, EARTH_RADIUS_KM, LIGHT_KM_S

Indices = npt.NDArray[np.int64]

STAR_DEG = 180.0
"""Nodes of a Walker star are spread over half a circle."""

MINUTES_A_DAY = 1440.0

SAMPLES_AN_ORBIT = 24
"""Moments of an orbit at which the ranges of neighbours are taken."""

WHOLE_F = 1e-6
"""An F that is no further than this from a whole number is one."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Lowest, median and highest of some values."""

    lowest: float
    median: float
    highest: float


@dataclass(frozen=True, slots=True)
class Group:
    """A shell or a catalogue: satellites `first` up to but not including `last` in node order."""

    name: str
    first: int
    last: int
    origin: Shell | Catalogue

    @property
    def count(self) -> int:
        """How many satellites there are."""
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Lasers of one sort over an orbit: how many are planned, and the ranges of those that geometry allows.

    `range_km` and `delay_ms` are None where it never allows any; `allowed` is the share of time, over the lasers.
    """

    sort: str
    planned: int
    allowed: float
    range_km: Spread | None
    delay_ms: Spread | None


@dataclass(frozen=True, slots=True)
class ShellView:
    """What a shell or a catalogue is.

    `notation` is i:t/p/f, "" for a catalogue; `phasing_slots` and `polar_cutoff_deg` are None where there is none.
    `period_min` is the time from node to node (of a catalogue: of one turn), minutes.
    """

    name: str
    notation: str
    pattern: str
    satellites: int
    planes: int | None
    phasing_slots: float | None
    altitude_km: Spread
    period_min: Spread
    topology: str
    polar_cutoff_deg: float | None


def spread_of(values: Floats) -> Spread | None:
    """The spread of values [K], None where there are none."""
    if not len(values):
        return None
    return Spread(float(np.min(values)), float(np.median(values)), float(np.max(values)))


def groups_of(scenario: Scenario) -> tuple[Group, ...]:
    """All shells and catalogues in node order."""
    found: list[Group] = []
    first = 0
    sizes: list[tuple[Shell | Catalogue, int]] = [
        *((shell, shell.planes * shell.sats_per_plane) for shell in scenario.shells),
        *((catalogue, len(catalogue.elements)) for catalogue in scenario.catalogues),
    ]
    for origin, size in sizes:
        found.append(Group(origin.name, first, first + size, origin))
        first += size
    return tuple(found)


def notation(shell: Shell) -> str:
    """The shell as i:t/p/f, such as `53:1584/72/36`; an F that is no whole number keeps its fraction."""
    walker_f = shell.phasing % 1.0 * shell.planes
    near = round(walker_f)
    phasing = f"{near % shell.planes}" if abs(walker_f - near) < WHOLE_F else f"{walker_f:.4g}"
    return f"{shell.inclination_deg:g}:{shell.planes * shell.sats_per_plane}/{shell.planes}/{phasing}"


def pattern(shell: Shell) -> str:
    """How the planes are spread, in words."""
    if shell.planes == 1:
        return "one plane"
    if shell.raan_spread_deg == FULL_CIRCLE_DEG:
        return "Walker delta"
    if shell.raan_spread_deg == STAR_DEG:
        return "Walker star"
    return f"planes over {shell.raan_spread_deg:g} deg"


def shell_view(group: Group) -> ShellView:
    """What a shell or a catalogue is, from its definition alone."""
    origin = group.origin
    if isinstance(origin, Catalogue):
        motion = np.array([one.mean_motion_rev_day for one in origin.elements])
        motion_rad_s = motion * 2 * np.pi / 86_400.0
        altitude = np.cbrt(EARTH_MU_KM3_S2 / motion_rad_s**2) - EARTH_RADIUS_KM
        return ShellView(
            name=group.name,
            notation="",
            pattern="catalogued objects, moved by SGP4",
            satellites=group.count,
            planes=None,
            phasing_slots=None,
            altitude_km=_sure(spread_of(altitude)),
            period_min=_sure(spread_of(MINUTES_A_DAY / motion)),
            topology=origin.topology,
            polar_cutoff_deg=None,
        )
    period_min = 2 * np.pi / _phase_rate_rad_s(origin) / 60
    return ShellView(
        name=group.name,
        notation=notation(origin),
        pattern=pattern(origin),
        satellites=group.count,
        planes=origin.planes,
        phasing_slots=origin.phasing % 1.0,
        altitude_km=Spread(origin.altitude_km, origin.altitude_km, origin.altitude_km),
        period_min=Spread(period_min, period_min, period_min),
        topology=origin.topology,
        polar_cutoff_deg=origin.polar_cutoff_deg,
    )


def neighbours(geometry: Geometry, mesh: Mesh, group: Group, t_s: float) -> tuple[Neighbours, ...]:
    """The lasers within a group that always point at the same satellite, in their planes and between them.

    Ranges are taken over the orbit that begins at `t_s`, while geometry allows the laser.
    """
    pairs = np.array(
        [(link.a, link.b) for link in mesh.lasers if group.first <= link.a and link.b < group.last], np.int64
    ).reshape(-1, 2)
    planes = geometry.plane[pairs]
    across = planes[:, 0] != planes[:, 1]
    moments = orbit_moments(geometry, shell_view(group), t_s)
    sorts = (("in the plane", pairs[~across]), ("between planes", pairs[across]))
    return tuple(ranges_of(geometry, sort, some, moments) for sort, some in sorts if len(some))


def between_groups(geometry: Geometry, mesh: Mesh, scenario: Scenario, t_s: float) -> Neighbours | None:
    """The explicit lasers between shells, over the longest of their orbits; None where there are none."""
    groups = groups_of(scenario)
    number = np.repeat(np.arange(len(groups)), [group.count for group in groups])
    pairs = np.array([(link.a, link.b) for link in mesh.lasers if number[link.a] != number[link.b]], np.int64)
    if not len(pairs):
        return None
    slowest = max((shell_view(group) for group in groups), key=lambda view: view.period_min.highest)
    return ranges_of(geometry, "between shells", pairs, orbit_moments(geometry, slowest, t_s))


def orbit_moments(geometry: Geometry, view: ShellView, t_s: float) -> Floats:
    """`SAMPLES_AN_ORBIT` sky times over one orbit from `t_s` on."""
    period_s = view.period_min.median * 60 / geometry.orbit_rate
    return t_s + np.arange(SAMPLES_AN_ORBIT) * period_s / SAMPLES_AN_ORBIT


def ranges_of(geometry: Geometry, sort: str, pairs: Indices, t_s: Floats) -> Neighbours:
    """The ranges of laser pairs [K, 2] at sky times [T], while geometry allows them."""
    kept = []
    for moment in t_s:
        positions = geometry.positions_eci_km(np.array([moment]))[0]
        one, two = positions[pairs[:, 0]], positions[pairs[:, 1]]
        allowed = geometry.laser_margin(pairs, one, two) > 0.0
        kept.append(np.linalg.norm(two - one, axis=-1)[allowed])
    ranges = np.concatenate(kept)
    share = len(ranges) / (len(pairs) * len(t_s))
    return Neighbours(sort, len(pairs), share, spread_of(ranges), spread_of(ranges / LIGHT_KM_S * 1e3))


def one_of_each_plane(geometry: Geometry, group: Group) -> Indices:
    """The first satellite of every plane of a group; each catalogued one has its own."""
    _, first = np.unique(geometry.plane[group.first : group.last], return_index=True)
    return np.asarray(first + group.first, np.int64)


def islands(scenario: Scenario, mesh: Mesh) -> tuple[tuple[str, ...], ...]:
    """Groups of shells and catalogues that lasers could join, by name; more than one are islands to each other.

    A shell without lasers is an island of its own, and its satellites are islands to one another.
    """
    groups = groups_of(scenario)
    number = np.repeat(np.arange(len(groups)), [group.count for group in groups])
    label = list(range(len(groups)))
    for link in mesh.lasers:
        one, two = label[number[link.a]], label[number[link.b]]
        if one != two:
            label = [one if each == two else each for each in label]
    together: dict[int, list[str]] = {}
    for each, group in zip(label, groups, strict=True):
        together.setdefault(each, []).append(group.name)
    return tuple(tuple(names) for names in together.values())


def _sure(spread: Spread | None) -> Spread:
    return spread or Spread(0.0, 0.0, 0.0)


def _phase_rate_rad_s(shell: Shell) -> float:
    # Where the first plane stands has no part in it, and asking for a local time would ask for an epoch.
    one = msgspec.structs.replace(shell, ltan_h=None, raan_deg=0.0, planes=1, sats_per_plane=1)
    return float(Walker.from_shells((one,)).phase_rate_rad_s[0])
