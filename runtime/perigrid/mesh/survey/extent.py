"""How wide is the laser mesh at a moment, in hops and in milliseconds?

The diameter is the longest of all shortest ways between two satellites over the lasers that are up: once counted in
hops, once in light. Satellites that lasers do not join have no way at all, so that every part of the mesh has its own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perigrid.mesh.plan import Edges
from perigrid.mesh.survey.overview import Group
from perigrid.mesh.topology import LinkKind

MAX_SOURCES = 2_500
"""Ways are measured from at most this many satellites of a part, evenly picked: more would take tens of seconds."""

CHUNK_SOURCES = 250
"""Sources that are worked on at once: 4,408 satellites then need 9 MB."""


@dataclass(frozen=True, slots=True)
class Part:
    """Satellites that lasers join: of which shells, how many, and the diameter in hops and milliseconds.

    `measured_from` is how many satellites the ways were measured from: where that is not all of them, the diameter is
    at least what is given.
    """

    shells: tuple[str, ...]
    satellites: int
    hops: int
    delay_ms: float
    measured_from: int


def parts_of(edges: Edges, groups: tuple[Group, ...]) -> tuple[Part, ...]:
    """The parts that lasers join two or more satellites to, the largest first."""
    # Slow to import, and needed by few commands.
    from scipy.sparse.csgraph import connected_components

    satellites = groups[-1].last if groups else 0
    kinds = np.array([link.kind for link in edges.links], np.int64)
    ends, delay_s = edges.ends[kinds == LinkKind.LASER], edges.delay_s[kinds == LinkKind.LASER]
    graph = _graph(ends, delay_s, satellites)
    _, label = connected_components(graph, directed=False)
    number = np.repeat(np.arange(len(groups)), [group.count for group in groups])
    sizes = np.bincount(label, minlength=1)
    parts = []
    for each in np.argsort(-sizes, kind="stable"):
        if sizes[each] < 2:
            break
        members = np.flatnonzero(label == each)
        names = tuple(groups[index].name for index in np.unique(number[members]).tolist())
        parts.append(_part(names, graph[members][:, members]))
    return tuple(parts)


def _graph(ends: npt.NDArray[np.int64], delay_s: npt.NDArray[np.float64], nodes: int) -> Any:
    from scipy.sparse import csr_array

    both = np.concatenate([ends, ends[:, ::-1]])
    return csr_array((np.concatenate([delay_s, delay_s]), (both[:, 0], both[:, 1])), shape=(nodes, nodes))


def _part(names: tuple[str, ...], graph: Any) -> Part:
    from scipy.sparse.csgraph import dijkstra

    count: int = graph.shape[0]
    sources = np.unique(np.linspace(0, count - 1, min(count, MAX_SOURCES)).round().astype(np.int64))
    hops, delay_s = 0.0, 0.0
    for first in range(0, len(sources), CHUNK_SOURCES):
        some = sources[first : first + CHUNK_SOURCES]
        hops = max(hops, float(dijkstra(graph, indices=some, unweighted=True).max()))
        delay_s = max(delay_s, float(dijkstra(graph, indices=some).max()))
    return Part(names, count, int(hops), delay_s * 1e3, len(sources))
