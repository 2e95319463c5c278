"""Who could be linked with whom?

Node ids are indices: satellites first (shell by shell, plane by plane, slot by slot), then the ground
stations, then the ground centre. Three kinds of links join them: lasers between neighbouring satellites,
radio between a satellite and a station that sees it, fibre between a station and the ground centre. This
file says which links can exist at all; when they are up is the contact plan's business (`plan.py`).
"""

import difflib
from collections.abc import Iterator
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

from perigrid.errors import ScenarioError, UsageError
from perigrid.scenario.model import GROUND_NAME, Fault, Scenario, Shell
from perigrid.sky.walker import phase_slots
from perigrid.units import NodeId

FULL_CIRCLE_DEG = 360.0
"""Planes that are spread over less than this leave a seam between the last and the first, which no laser
crosses.
"""

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
    any station. Raises ScenarioError where a planned fault names a node or a link that does not exist.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.satellite_count = scenario.satellite_count
        self.station_count = len(scenario.stations)
        stations = tuple(station.name for station in scenario.stations)
        self.names: tuple[str, ...] = (*scenario.satellite_names, *stations, GROUND_NAME)
        self._ids = {name.casefold(): NodeId(node) for node, name in enumerate(self.names)}
        inside, across = _laser_pairs(scenario.shells)
        lasers = [Link.between(NodeId(a), NodeId(b), LinkKind.LASER) for a, b in inside | across]
        self.lasers: tuple[Link, ...] = tuple(sorted(lasers))
        self.crossing: frozenset[Link] = frozenset(
            Link.between(NodeId(a), NodeId(b), LinkKind.LASER) for a, b in across
        )
        """Lasers between planes; the others stay within one."""
        self.fibres: tuple[Link, ...] = tuple(
            Link(station, self.ground, LinkKind.FIBRE) for station in self.station_ids
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

    def link_between(self, one: NodeId, two: NodeId) -> Link:
        """The only link that two nodes can have; UsageError, with whom they can be linked, where there is
        none.
        """
        low, high = min(one, two), max(one, two)
        if high in self.laser_neighbours(low):
            return Link(low, high, LinkKind.LASER)
        if self.is_satellite(low) and self.is_station(high):
            return Link(low, high, LinkKind.RADIO)
        if self.is_station(low) and high == self.ground:
            return Link(low, high, LinkKind.FIBRE)
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
        return f"{lasers} by laser and to the stations ({self._listed(self.station_ids)}) by radio"

    def _listed(self, nodes: tuple[NodeId, ...]) -> str:
        names = [self.names[node] for node in nodes]
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        return ", ".join(names[:NAMES_SHOWN]) + more

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


def _laser_pairs(shells: tuple[Shell, ...]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs (smaller id, larger id) of satellites with a laser: within planes, and between planes."""
    inside: set[tuple[int, int]] = set()
    across: set[tuple[int, int]] = set()
    first = 0
    for shell in shells:
        if shell.topology != "none":
            inside.update(_pairs_in_planes(shell, first))
        if shell.topology == "grid":
            across.update(_pairs_between_planes(shell, first))
        first += shell.planes * shell.sats_per_plane
    return inside, across


def _pairs_in_planes(shell: Shell, first: int) -> Iterator[tuple[int, int]]:
    """Consecutive slots of each plane, closed to a ring from three satellites on; two have one link, one has
    none.
    """
    slots = shell.sats_per_plane
    for start in range(first, first + shell.planes * slots, slots):
        yield from pairwise(range(start, start + slots))
        if slots > 2:
            yield start, start + slots - 1


def _pairs_between_planes(shell: Shell, first: int) -> Iterator[tuple[int, int]]:
    """Each satellite with the nearest slot of the next plane; the last plane meets the first where there is
    no seam.
    """
    slots, planes = shell.sats_per_plane, shell.planes
    for plane in range(planes):
        following = (plane + 1) % planes
        seam = following == 0 and (shell.raan_spread_deg < FULL_CIRCLE_DEG or planes == 1)
        if seam:
            continue
        # Half a slot ahead and half a slot behind are equally near; rounding to even keeps the same slot
        # number.
        shift = round(phase_slots(shell, plane) - phase_slots(shell, following))
        for slot in range(slots):
            here = first + plane * slots + slot
            there = first + following * slots + (slot + shift) % slots
            yield min(here, there), max(here, there)
