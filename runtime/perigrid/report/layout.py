"""Where does each satellite stand in a drawing of its constellation?

One plane is a ring around the Earth. Several planes are columns beside each other, a slot a row, as if the orbits were
unrolled; catalogued satellites, which have no pattern, stand in the order of their file. At most MAX_SATELLITES are
drawn: whole planes, those that had most to do with the job first. Positions are of the pattern, not of the sky at some
moment, and not to scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perigrid.mesh.topology import Mesh
from perigrid.report.words import named
from perigrid.scenario.model import Scenario
from perigrid.units import NodeId

MAX_SATELLITES = 400
MAX_COLUMNS = 40
"""Planes beside each other; more go below."""

RING_PX, RING_RADIUS_PX = 440.0, 168.0
EARTH_RADIUS_PX = 92.0
COLUMN_PX, SLOT_PX, MARGIN_PX, TITLE_PX = 34.0, 26.0, 26.0, 24.0
MAX_NODE_PX, MIN_NODE_PX, SLOT_NODE_PX = 13.0, 2.5, 7.0
MIN_WIDTH_PX = 360.0
NUMBERS_SHOWN = 16
CATALOGUE_SLOTS = 24
"""Catalogued satellites below each other; so few alone are a ring."""

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plane:
    """A plane's satellites, slot by slot, and which shell (`group` in words) and which of its planes it is; or some of
    a catalogue's satellites.
    """

    group: str
    number: int
    nodes: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of the satellites drawn, px. `ring` says that they go around the Earth, else `titles` head the blocks."""

    ring: bool
    width_px: float
    height_px: float
    node_px: float
    places: Mapping[NodeId, Place]
    titles: tuple[tuple[Place, str], ...]
    planes_drawn: int
    planes: int

    def is_short(self, a: NodeId, b: NodeId) -> bool:
        """Whether two nodes stand near enough for a line between them; around a seam they do not."""
        if self.ring:
            return True
        (ax, ay), (bx, by) = self.places[a], self.places[b]
        return abs(ax - bx) <= 1.5 * COLUMN_PX and abs(ay - by) <= 2.5 * SLOT_PX


def planes_of(scenario: Scenario) -> list[Plane]:
    """All planes, in the order of their satellites' ids."""
    planes = []
    first = 0
    for shell in scenario.shells:
        for number in range(shell.planes):
            nodes = tuple(NodeId(first + slot) for slot in range(shell.sats_per_plane))
            planes.append(Plane(f"shell {shell.name}", number + 1, nodes))
            first += shell.sats_per_plane
    for catalogue in scenario.catalogues:
        last = first + len(catalogue.elements)
        for number, low in enumerate(range(first, last, CATALOGUE_SLOTS)):
            nodes = tuple(NodeId(node) for node in range(low, min(low + CATALOGUE_SLOTS, last)))
            planes.append(Plane(f"catalogue {catalogue.name}", number + 1, nodes))
        first = last
    return planes


def layout_of(scenario: Scenario, mesh: Mesh, weight: Mapping[NodeId, float]) -> Layout:
    """Places for a constellation; `weight` says how much each satellite had to do with the job."""
    planes = planes_of(scenario)
    chosen = _chosen(planes, weight)
    if len(planes) == 1:
        return _ring(planes[0], chosen[0])
    return _columns(chosen, len(planes))


def _chosen(planes: Sequence[Plane], weight: Mapping[NodeId, float]) -> list[Plane]:
    """Whole planes, the weightiest first, as many as there is room for; of a plane that is too large, a part."""
    if sum(len(plane.nodes) for plane in planes) <= MAX_SATELLITES:
        return list(planes)
    ranked = sorted(planes, key=lambda plane: -sum(weight.get(node, 0.0) for node in plane.nodes))
    if len(ranked[0].nodes) > MAX_SATELLITES:
        nodes = sorted(ranked[0].nodes, key=lambda node: -weight.get(node, 0.0))[:MAX_SATELLITES]
        return [Plane(ranked[0].group, ranked[0].number, tuple(sorted(nodes)))]
    chosen: list[Plane] = []
    room = MAX_SATELLITES
    for plane in ranked:
        if len(plane.nodes) <= room:
            chosen.append(plane)
            room -= len(plane.nodes)
    return sorted(chosen, key=lambda plane: plane.nodes)


def _ring(plane: Plane, drawn: Plane) -> Layout:
    count = len(plane.nodes)
    places = {}
    for node in drawn.nodes:
        angle = 2 * math.pi * (node - plane.nodes[0]) / count - math.pi / 2
        places[node] = (
            round(RING_PX / 2 + RING_RADIUS_PX * math.cos(angle), 1),
            round(RING_PX / 2 + RING_RADIUS_PX * math.sin(angle), 1),
        )
    node_px = min(MAX_NODE_PX, max(MIN_NODE_PX, 0.7 * math.pi * RING_RADIUS_PX / count))
    return Layout(True, RING_PX, RING_PX, node_px, places, (), 1, 1)


def _columns(planes: Sequence[Plane], of_planes: int) -> Layout:
    places: dict[NodeId, Place] = {}
    titles: list[tuple[Place, str]] = []
    y, widest = MARGIN_PX, 1
    for block in _blocks(planes):
        titles.append(((MARGIN_PX - 12, y), f"{block[0].group}, {_numbers(block)}"))
        y += TITLE_PX
        for column, plane in enumerate(block):
            for slot, node in enumerate(plane.nodes):
                places[node] = (MARGIN_PX + COLUMN_PX * column, y + SLOT_PX * slot)
        y += SLOT_PX * (max(len(plane.nodes) for plane in block) - 1) + 2 * MARGIN_PX
        widest = max(widest, len(block))
    width = 2 * MARGIN_PX + COLUMN_PX * (widest - 1)
    return Layout(
        False, max(width, MIN_WIDTH_PX), y - MARGIN_PX, SLOT_NODE_PX, places, tuple(titles), len(planes), of_planes
    )


def _blocks(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Planes that stand beside each other: of one shell, and not too many."""
    blocks: list[list[Plane]] = []
    for plane in planes:
        if blocks and blocks[-1][0].group == plane.group and len(blocks[-1]) < MAX_COLUMNS:
            blocks[-1].append(plane)
        else:
            blocks.append([plane])
    return blocks


def _numbers(block: Sequence[Plane]) -> str:
    first, last = block[0].number, block[-1].number
    what = "plane" if block[0].group.startswith("shell ") else "column"
    if first == last:
        return f"{what} {first}"
    if last - first == len(block) - 1:
        return f"{what}s {first} to {last}"
    return f"{what}s {named([str(plane.number) for plane in block], NUMBERS_SHOWN)}"
