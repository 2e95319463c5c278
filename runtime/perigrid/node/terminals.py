"""Which of a node's links can its terminals use now?

A terminal sees a link when the plan has it up, the other end is alive, and nothing cuts the light that comes from
there; and after a fault or an outage it has it once that has lasted for the time of acquisition. Faults are an overlay
on the plan, and outages are nobody's plan: both are the world's doing, and no node reads them but through its own
terminals.
"""

from __future__ import annotations

import msgspec

from perigrid.mesh.outages import Outages
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.topology import Link
from perigrid.node.events import LinkDown, LinkUp
from perigrid.units import NodeId


class Overlay(msgspec.Struct, frozen=True):
    """What is broken now beyond the plan, each with the sky time since when.

    `cuts` are directions (from, to) that carry no light; `dead` are nodes that are not there.
    """

    version: int = 0
    cuts: dict[tuple[NodeId, NodeId], float] = {}
    dead: dict[NodeId, float] = {}

    def carries(self, sender: NodeId, receiver: NodeId, sent_s: float) -> bool:
        """Does what left at that sky time get there? What was sent before a cut or a death still lands."""
        never = float("inf")
        return (
            sent_s < self.cuts.get((sender, receiver), never)
            and sent_s < self.dead.get(sender, never)
            and sent_s < self.dead.get(receiver, never)
        )


class Terminals:
    """The terminals of one node. `acquired_at_start`: the constellation begins with its lasers locked."""

    def __init__(
        self,
        node: NodeId,
        plan: ContactPlan,
        outages: Outages,
        acquired_at_start: bool,
    ) -> None:
        self.node = node
        self.plan = plan
        self.outages = outages
        self.up: dict[Link, None] = {}
        self._first = acquired_at_start
        self._must_acquire: dict[Link, None] = {}
        self._clear_since_s: dict[Link, float] = {}

    def update(self, sky_s: float, overlay: Overlay) -> list[LinkUp | LinkDown]:
        """What changed since the last call."""
        events: list[LinkUp | LinkDown] = []
        failing = bool(self.outages)
        for link in self.plan.links_of(self.node):
            planned = self.plan.state(link, sky_s).up
            peer = link.other(self.node)
            faulty = (peer, self.node) in overlay.cuts or peer in overlay.dead
            faulty = faulty or (failing and self.outages.is_out(link, sky_s))
            if not planned or faulty:
                self._clear_since_s.pop(link, None)
                if link in self.up:
                    del self.up[link]
                    events.append(LinkDown(link, planned=not planned))
                # The plan's own rises have their acquisition in them; what a fault broke must be acquired anew.
                if planned:
                    self._must_acquire[link] = None
                else:
                    self._must_acquire.pop(link, None)
            elif link not in self.up and self._acquired(link, sky_s):
                self._clear_since_s.pop(link, None)
                self._must_acquire.pop(link, None)
                self.up[link] = None
                events.append(LinkUp(link))
        self._first = True
        return events

    def _acquired(self, link: Link, sky_s: float) -> bool:
        if not self._first:
            # A node that boots into a running constellation finds none of its links locked.
            self._must_acquire[link] = None
        if link not in self._must_acquire:
            return True
        since_s = self._clear_since_s.setdefault(link, sky_s)
        return since_s + self.plan.acquire_s(link) <= sky_s

    def next_change_s(self, sky_s: float) -> float:
        """When the plan or an acquisition under way could change something next; infinite when nothing is known."""
        links = self.plan.links_of(self.node)
        acquired = (since_s + self.plan.acquire_s(link) for link, since_s in self._clear_since_s.items())
        planned = (self.plan.next_change(link, sky_s) for link in links)
        unplanned = (self.outages.next_change_s(link, sky_s) for link in links) if self.outages else ()
        return min([*acquired, *planned, *unplanned, self.plan.horizon_s], default=float("inf"))
