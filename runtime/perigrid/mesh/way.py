"""Which way did a message come, and where did its time go?

A traced frame writes down each link that it crosses: when it came to the sender, how long it was held there for want of
a way, when its first and last bits left, when its last bit was due at the other end, and what of that the equipment
took. All are sky times, so that they can be laid beside each other whoever wrote them.

A message of several chunks came when its last chunk did, so that chunk's way is the message's. What it waited for
in front of a line while its own message's other chunks were on it is serialisation of the message, not queueing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from perigrid.mesh.topology import Link, LinkKind
from perigrid.units import NodeId


class Crossing(msgspec.Struct, frozen=True):
    """One frame over one link. `here_s` is when it came to the sender, or began there; the rest as above, in s."""

    link: Link
    sender: NodeId
    here_s: float
    held_s: float
    start_s: float
    end_s: float
    due_s: float
    processing_s: float


class Leg(msgspec.Struct, frozen=True):
    """A message's time over one link, emulated seconds: its five parts add up to `due_s - here_s`."""

    link: Link
    sender: NodeId
    here_s: float
    due_s: float
    held_s: float
    queue_s: float
    serialisation_s: float
    propagation_s: float
    processing_s: float

    @property
    def total_s(self) -> float:
        """All of it but what it was held for want of a way."""
        return self.queue_s + self.serialisation_s + self.propagation_s + self.processing_s

    @property
    def is_laser(self) -> bool:
        """Whether it is a laser between satellites."""
        return self.link.kind is LinkKind.LASER


def way_of(last: Sequence[Crossing], chunks: Iterable[Sequence[Crossing]]) -> tuple[Leg, ...]:
    """The legs of a message: those of its last chunk, given the crossings of all its chunks, the last included."""
    lines: dict[tuple[Link, NodeId], list[tuple[float, float]]] = {}
    for chunk in chunks:
        for crossing in chunk:
            lines.setdefault((crossing.link, crossing.sender), []).append((crossing.start_s, crossing.end_s))
    return tuple(_leg(crossing, lines.get((crossing.link, crossing.sender), [])) for crossing in last)


def _leg(crossing: Crossing, lines: list[tuple[float, float]]) -> Leg:
    ready_s = crossing.here_s + crossing.held_s
    own_s = sum(max(0.0, min(end_s, crossing.start_s) - max(start_s, ready_s)) for start_s, end_s in lines)
    own_s = min(own_s, max(0.0, crossing.start_s - ready_s))
    return Leg(
        crossing.link,
        crossing.sender,
        crossing.here_s,
        crossing.due_s,
        crossing.held_s,
        crossing.start_s - ready_s - own_s,
        crossing.end_s - crossing.start_s + own_s,
        crossing.due_s - crossing.end_s - crossing.processing_s,
        crossing.processing_s,
    )


def stage_sums(up: Iterable[Leg], down: Iterable[Leg]) -> Mapping[str, float]:
    """Seconds of both ways by stage: `contact_wait`, `uplink`, `lasers_up`, `lasers_down`, `downlink`."""
    sums = dict.fromkeys(("contact_wait", "uplink", "lasers_up", "lasers_down", "downlink"), 0.0)
    for legs, laser, ground in ((up, "lasers_up", "uplink"), (down, "lasers_down", "downlink")):
        for leg in legs:
            sums["contact_wait"] += leg.held_s
            sums[laser if leg.is_laser else ground] += leg.total_s
    return sums
