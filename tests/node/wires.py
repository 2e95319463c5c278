"""How do tests join machines without a world? By a wire that loses, doubles and delays what it is told to.

Time is a number that the wire moves. Machines are handed events and asked for actions; sends are put on the wire,
wake-ups are remembered, and everything else is left to the test.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.routes import Routes
from perigrid.mesh.topology import Link, Mesh
from perigrid.node.actions import Action, Note, Send, WakeAt
from perigrid.node.events import Now
from perigrid.node.frames import Frame
from perigrid.node.relay import Relay
from perigrid.node.transfers import Assembler, Message
from perigrid.units import NodeId
from tests.conftest import ring_scenario

LIGHT_S = 0.012
MAX_STEPS = 200_000


@cache
def plan() -> ContactPlan:
    """An hour of the twelve-ring's plan; nobody changes it."""
    scenario = ring_scenario()
    mesh = Mesh(scenario)
    found = ContactPlan(scenario, mesh)
    found.add(compute_segment(scenario, mesh, 0))
    return found


def laser(a: int, b: int) -> Link:
    """The laser between two satellites."""
    return plan().mesh.link_between(NodeId(a), NodeId(b))


def at(time_s: float) -> Now:
    """A moment at which the node's clock and the sky's agree."""
    return Now(time_s, time_s)


def notes(actions: Iterable[Action]) -> list[str]:
    """What the notes among actions are called."""
    return [action.what for action in actions if isinstance(action, Note)]


def sent(actions: Iterable[Action]) -> list[Frame]:
    """The frames among actions."""
    return [action.frame for action in actions if isinstance(action, Send)]


@dataclass
class End:
    """A relay with what its node would have read."""

    relay: Relay
    assembler: Assembler = field(default_factory=Assembler)
    messages: list[Message] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    wakes: dict[str, float] = field(default_factory=dict)


def end(node: int, boot: int = 1, ground: int = 13) -> End:
    """A node of the ring whose lasers are all up."""
    relay = Relay(NodeId(node), boot, NodeId(ground), plan(), Routes(plan()))
    for link in plan().links_of(NodeId(node)):
        if plan().state(link, 0.0).up:
            relay.link_up(at(0.0), link)
    return End(relay)


@dataclass
class Wire:
    """Lasers between some ends. `weather` says what becomes of each frame in turn; after it, all pass."""

    ends: dict[NodeId, End]
    weather: Sequence[str] = ()
    now_s: float = 0.0
    carried: int = 0
    queue: list[tuple[float, int, Link, NodeId, Frame]] = field(default_factory=list)
    most_held_bytes: int = 0
    dark: set[tuple[NodeId, NodeId]] = field(default_factory=set)
    """Directions that carry nothing, though the terminals at both ends see light."""

    def do(self, node: NodeId, actions: Iterable[Action]) -> None:
        """Carry out what a node's relay wants."""
        for action in actions:
            match action:
                case Send(link, frame):
                    self._carry(link, node, frame)
                case WakeAt(key, local_s):
                    self.ends[node].wakes[key] = local_s
                case Note():
                    self.ends[node].notes.append(action)

    def _carry(self, link: Link, sender: NodeId, frame: Frame) -> None:
        fate = self.weather[self.carried] if self.carried < len(self.weather) else "pass"
        self.carried += 1
        receiver = link.other(sender)
        if receiver not in self.ends or (sender, receiver) in self.dark:
            return
        delays_s = {"pass": [LIGHT_S], "lose": [], "double": [LIGHT_S, 3 * LIGHT_S], "delay": [20 * LIGHT_S]}[fate]
        for number, delay_s in enumerate(delays_s):
            heapq.heappush(self.queue, (self.now_s + delay_s, 2 * self.carried + number, link, receiver, frame))

    def run(self, until_s: float) -> None:
        """Let time pass: frames arrive and wake-ups come due, in their order."""
        for _ in range(MAX_STEPS):
            wake_s, node, key = min(
                ((due_s, node, key) for node, each in self.ends.items() for key, due_s in each.wakes.items()),
                default=(float("inf"), NodeId(0), ""),
            )
            frame_s = self.queue[0][0] if self.queue else float("inf")
            if min(wake_s, frame_s) > until_s:
                self.now_s = until_s
                return
            self.now_s = max(self.now_s, min(wake_s, frame_s))
            if frame_s <= wake_s:
                self._arrive()
            else:
                del self.ends[node].wakes[key]
                self.do(node, self.ends[node].relay.woken(at(self.now_s), key))
            self._look()
        raise AssertionError("the wire never comes to rest")

    def _arrive(self) -> None:
        _, _, link, node, frame = heapq.heappop(self.queue)
        here = self.ends[node]
        actions, mine = here.relay.arrived(at(self.now_s), link, frame)
        message = here.assembler.add(mine) if mine is not None else None
        if message is not None:
            here.messages.append(message)
        self.do(node, actions)

    def _look(self) -> None:
        held = [out.bulk_bytes for each in self.ends.values() for out in each.relay._outgoing.values()]
        self.most_held_bytes = max([self.most_held_bytes, *held])

    def at_rest(self) -> bool:
        """Is nothing held, waiting or under way any more?"""
        for each in self.ends.values():
            if each.relay.waiting or any(out.held or out.backlog for out in each.relay._outgoing.values()):
                return False
        return not self.queue
