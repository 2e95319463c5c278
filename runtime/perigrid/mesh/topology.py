"""Who could be linked with whom?

Node ids are indices: satellites first (shell by shell, plane by plane, slot by slot, then the catalogues'), then
the ground stations, then the ground centre. Three kinds of links join them: lasers between satellites, radio (or
light) between a satellite and a station that sees it, fibre between a station and the ground centre. This file
says which links can exist at all; when they are up is the contact plan's business (`plan.py`).

Most lasers always point at the same neighbour. Satellites of a group with the topology `nearest` point wherever
their group has someone in view, so that any two of them can have a link. Lasers between shells are explicit.
"""

import difflib
from collections import Counter
from collections.abc import Iterator
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

from perigrid.errors import ScenarioError, UsageError
from perigrid.scenario.model import GROUND_NAME, Fault, LaserPair, Scenario, Shell
from perigrid.sky.walker import phase_slots
from perigrid.units import NodeId

FULL_CIRCLE_DEG = 360.0
"""Planes that are spread over less than this leave a seam between the last and the first, which no laser
crosses.
"""

DEFAULT_TERMINALS = 4
"""Lasers of a satellite that seeks its nearest neighbours, where the scenario states none: as many as a +Grid's."""

NAMES_SHOWN = 8
"""A message lists at most this many names."""


class LinkKind(IntEnum):
    """What carries a link's frames."""

    LASER = 0
    RADIO = 1
    FIBRE = 2


class Link(NamedTuple):
    """Two nodes that can exchange frames; `a` is the smaller id. Both directions are one link.

    A named tuple and not a dataclass, because links are hashed in every routing decision.
    """

    a: NodeId
    b: NodeId
    kind: LinkKind

    @classmethod
    def between(cls, one: NodeId, two: NodeId, kind: LinkKind) -> "Link":
        """The link of two nodes, in whichever order they come."""
        return cls(min(one, two), max(one, two), kind)

    def other(self, node: NodeId) -> NodeId:
        """The end of the link that is not `node`."""
        return self.b if node == self.a else self.a


class Mesh:
    """Nodes and possible links of a scenario.

    `lasers` and `fibres` are tuples of links in the order of their ends; radio links are any satellite with
    any station. Raises ScenarioError where a planned fault names a node or a link that does not exist. Without
    `fibre` the stations are not joined on the ground, for those who ask what the sky alone can do.
    """

    def __init__(self, scenario: Scenario, fibre: bool = True) -> None:
        self.satellite_count = scenario.satellite_count
        self.station_count = len(scenario.stations)
        stations = tuple(station.name for station in scenario.stations)
        self.names: tuple[str, ...] = (*scenario.satellite_names, *stations, GROUND_NAME)
        self._ids = _called(scenario) | {name.casefold(): NodeId(node) for node, name in enumerate(self.names)}
        self.planes: tuple[int, ...] = _planes(scenario)
        """For each satellite the number of its plane; a catalogued one has a plane of its own."""
        explicit = {self._explicit_pair(number, pair) for number, pair in enumerate(scenario.laser_pairs)}
        pairs = explicit | laser_pairs(scenario.shells)
        self.lasers: tuple[Link, ...] = tuple(Link(NodeId(a), NodeId(b), LinkKind.LASER) for a, b in sorted(pairs))
        """Lasers that always point at the same satellite, explicit ones included."""
        self.crossing: frozenset[Link] = frozenset(
            link for link in self.lasers if self.planes[link.a] != self.planes[link.b]
        )
        """Those of them that join different planes."""
        self.roaming: tuple[int, ...] = _roaming(scenario)
        """For each satellite the number of the group within which its free terminals seek the nearest, or -1."""
        self.terminals = scenario.lasers.terminals or DEFAULT_TERMINALS
        """Lasers of a satellite that seeks the nearest."""
        self.fibres: tuple[Link, ...] = tuple(
            Link(station, self.ground, LinkKind.FIBRE) for station in self.station_ids if fibre
        )
        self._neighbours = _neighbours(self.lasers)
        self._ring = _neighbours(tuple(link for link in self.lasers if link not in self.crossing))
        for number, fault in enumerate(scenario.faults):
            self._check_fault(number, fault)

    @property
    def node_count(self) -> int:
        """Satellites, stations and the ground centre."""
        return len(self.names)

    @property
    def ground(self) -> NodeId:
        """The ground centre, which is the last node."""
        return NodeId(self.satellite_count + self.station_count)

    @property
    def satellite_ids(self) -> tuple[NodeId, ...]:
        """Ids of the satellites, in order."""
        return tuple(NodeId(node) for node in range(self.satellite_count))

    @property
    def station_ids(self) -> tuple[NodeId, ...]:
        """Ids of the ground stations, in order."""
        return tuple(NodeId(self.satellite_count + number) for number in range(self.station_count))

    def is_satellite(self, node: NodeId) -> bool:
        """Whether the node flies."""
        return 0 <= node < self.satellite_count

    def is_station(self, node: NodeId) -> bool:
        """Whether the node is a ground station."""
        return self.satellite_count <= node < self.ground

    def name_of(self, node: NodeId) -> str:
        """The node's name; UsageError where there is no such node."""
        if not 0 <= node < self.node_count:
            raise UsageError(f"There is no node {node}: this mesh has nodes 0 to {self.node_count - 1}.")
        return self.names[node]

    def id_of(self, name: str) -> NodeId:
        """The node of that name, capital letters aside; UsageError names the nearest where there is none."""
        node = self._ids.get(name.casefold())
        if node is None:
            near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"There is no node named {name!r}: {hint}Satellites are {self.names[0]} to "
                f"{self.names[self.satellite_count - 1]}, stations are {self._listed(self.station_ids)}, "
                f"and the ground centre is {GROUND_NAME!r}."
            )
        return node

    def label(self, link: Link) -> str:
        """The link in words, such as `sat-03 - sat-04`."""
        return f"{self.name_of(link.a)} - {self.name_of(link.b)}"

    def ring_neighbours(self, satellite: NodeId) -> tuple[NodeId, ...]:
        """The satellites before and after this one in its plane that it has a laser to: none, one or two."""
        return self._ring.get(satellite, ())

    def laser_neighbours(self, satellite: NodeId) -> tuple[NodeId, ...]:
        """All satellites that this one has a laser to, in the order of their ids."""
        return self._neighbours.get(satellite, ())

    def may_roam(self, one: NodeId, two: NodeId) -> bool:
        """Whether two satellites seek the nearest in the same group, so that either may choose the other."""
        return one != two and self.is_satellite(max(one, two)) and 0 <= self.roaming[one] == self.roaming[two]

    def can_be(self, link: Link) -> bool:
        """Whether the two nodes of a link can ever be joined by its kind."""
        low, high, kind = link
        if kind == LinkKind.LASER:
            return high in self.laser_neighbours(low) or (self.is_satellite(low) and self.may_roam(low, high))
        if kind == LinkKind.RADIO:
            return self.is_satellite(low) and self.is_station(high)
        return self.is_station(low) and high == self.ground and bool(self.fibres)

    def link_between(self, one: NodeId, two: NodeId) -> Link:
        """The only link that two nodes can have; UsageError, with whom they can be linked, where there is
        none.
        """
        low, high = min(one, two), max(one, two)
        for kind in LinkKind:
            if self.can_be(Link(low, high, kind)):
                return Link(low, high, kind)
        raise UsageError(
            f"There is no link between {self.name_of(one)} and {self.name_of(two)}: "
            f"{self.name_of(one)} links to {self._partners(one)}."
        )

    def _partners(self, node: NodeId) -> str:
        if node == self.ground:
            return f"the stations ({self._listed(self.station_ids)})"
        if self.is_station(node):
            return f"the satellites that it sees and to {GROUND_NAME}"
        lasers = self._listed(self.laser_neighbours(node)) if self.laser_neighbours(node) else "no satellite"
        if self.roaming[node] >= 0:
            lasers = "whichever satellites of its group are nearest"
        return f"{lasers} by laser and to the stations ({self._listed(self.station_ids)}) by radio"

    def _listed(self, nodes: tuple[NodeId, ...]) -> str:
        names = [self.names[node] for node in nodes]
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        return ", ".join(names[:NAMES_SHOWN]) + more

    def _explicit_pair(self, number: int, pair: LaserPair) -> tuple[int, int]:
        try:
            one, two = self.id_of(pair.a), self.id_of(pair.b)
        except UsageError as error:
            raise ScenarioError(f"laser.{number}: {error}") from error
        if one == two or not (self.is_satellite(one) and self.is_satellite(two)):
            raise ScenarioError(f"laser.{number} joins {pair.a} and {pair.b}: a laser joins two different satellites.")
        return min(one, two), max(one, two)

    def _check_fault(self, number: int, fault: Fault) -> None:
        try:
            one = self.id_of(fault.a)
            if fault.b is not None:
                self.link_between(one, self.id_of(fault.b))
        except UsageError as error:
            raise ScenarioError(f"fault.{number} ({fault.action} at {fault.at_s:g} s): {error}") from error


def _neighbours(lasers: tuple[Link, ...]) -> dict[NodeId, tuple[NodeId, ...]]:
    found: dict[NodeId, list[NodeId]] = {}
    for link in lasers:
        found.setdefault(link.a, []).append(link.b)
        found.setdefault(link.b, []).append(link.a)
    return {node: tuple(sorted(others)) for node, others in found.items()}


def laser_pairs(shells: tuple[Shell, ...]) -> set[tuple[int, int]]:
    """Pairs (smaller id, larger id) of satellites that the shells' topologies join for good."""
    found: set[tuple[int, int]] = set()
    first = 0
    for shell in shells:
        if shell.topology in ("ring", "grid", "motif"):
            found.update(_pairs_in_planes(shell, first))
        if shell.topology == "grid":
            found.update(_pairs_between_planes(shell, first))
        elif shell.topology == "motif":
            found.update(_motif(shell, first))
        first += shell.planes * shell.sats_per_plane
    return found


def _pairs_in_planes(shell: Shell, first: int) -> Iterator[tuple[int, int]]:
    """Consecutive slots of each plane, closed to a ring from three satellites on; two have one link, one has
    none.
    """
    slots = shell.sats_per_plane
    for start in range(first, first + shell.planes * slots, slots):
        yield from pairwise(range(start, start + slots))
        if slots > 2:
            yield start, start + slots - 1


def _shifts(shell: Shell) -> Iterator[tuple[int, int, int]]:
    """Each plane, the next one, and by how many slots their nearest satellites differ; the last plane meets the
    first where there is no seam.
    """
    for plane in range(shell.planes):
        following = (plane + 1) % shell.planes
        seam = following == 0 and (shell.raan_spread_deg < FULL_CIRCLE_DEG or shell.planes == 1)
        if not seam:
            # Half a slot ahead and half a slot behind are equally near; rounding to even keeps the same slot
            # number.
            yield plane, following, round(phase_slots(shell, plane) - phase_slots(shell, following))


def _pairs_between_planes(shell: Shell, first: int) -> Iterator[tuple[int, int]]:
    """Each satellite with the nearest slot of the next plane."""
    slots = shell.sats_per_plane
    for plane, following, shift in _shifts(shell):
        for slot in range(slots):
            here = first + plane * slots + slot
            there = first + following * slots + (slot + shift) % slots
            yield min(here, there), max(here, there)


def _motif(shell: Shell, first: int) -> Iterator[tuple[int, int]]:
    """Every other satellite with the nearest slot of the next plane, so that each has one link out of its plane.

    Those that point ahead alternate along the plane and from plane to plane. Where an odd number of slots or
    planes breaks the pattern, a satellite is left without.
    """
    slots = shell.sats_per_plane
    taken: set[int] = set()
    parity = 0
    for plane, following, shift in _shifts(shell):
        for slot in range(parity % 2, slots, 2):
            here = first + plane * slots + slot
            there = first + following * slots + (slot + shift) % slots
            if here not in taken and there not in taken:
                taken.update((here, there))
                yield min(here, there), max(here, there)
        parity += 1 + shift


def _called(scenario: Scenario) -> dict[str, NodeId]:
    """Catalogued satellites by what their objects are called, where no two are called the same."""
    called = [one.name.casefold() for catalogue in scenario.catalogues for one in catalogue.elements]
    times = Counter(called)
    first = scenario.shell_satellites
    return {name: NodeId(first + number) for number, name in enumerate(called) if name and times[name] == 1}


def _planes(scenario: Scenario) -> tuple[int, ...]:
    planes: list[int] = []
    for shell in scenario.shells:
        start = planes[-1] + 1 if planes else 0
        planes += [start + plane for plane in range(shell.planes) for _ in range(shell.sats_per_plane)]
    start = planes[-1] + 1 if planes else 0
    return (*planes, *range(start, start + scenario.satellite_count - len(planes)))


def _roaming(scenario: Scenario) -> tuple[int, ...]:
    sizes = [(shell.topology, shell.planes * shell.sats_per_plane) for shell in scenario.shells]
    sizes += [(catalogue.topology, len(catalogue.elements)) for catalogue in scenario.catalogues]
    groups: list[int] = []
    for number, (topology, size) in enumerate(sizes):
        groups += [number if topology == "nearest" else -1] * size
    return tuple(groups)
