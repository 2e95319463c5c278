"""What does a ground station do next? It relays: frames between satellites and the ground centre pass through it."""

from __future__ import annotations

from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.routes import Routes
from perigrid.node.actions import Action
from perigrid.node.events import Event, FrameArrived, LinkDown, LinkUp, Now, Woken
from perigrid.node.relay import Relay
from perigrid.units import NodeId


class Station:
    """The machine of one ground station."""

    def __init__(self, node: NodeId, boot: int, ground: NodeId, plan: ContactPlan, routes: Routes) -> None:
        self.relay = Relay(node, boot, ground, plan, routes)

    def handle(self, now: Now, event: Event) -> list[Action]:
        """Take one event; the actions that follow from it, in order."""
        match event:
            case FrameArrived(link, frame):
                # Nothing is addressed to a station but adverts of links, which its relay has used already.
                return self.relay.arrived(now, link, frame)[0]
            case LinkUp(link):
                return self.relay.link_up(now, link)
            case LinkDown(link, planned):
                return self.relay.link_down(now, link, planned)
            case Woken(key):
                return self.relay.woken(now, key)
            case _:
                return []
