"""Where does a frame go next, and what does it wait for?

Every node has a relay: it takes custody of frames that arrive, routes each by the contact plan minus the links that it
knows to be dead and those that the frame has met, and holds what has no way now until it has one. It decides only;
whoever drives the node's machine moves the bytes.

A lost link is told to its other end, the neighbours and the ground, nobody else: flooding it over thousands of
satellites would cost more than the detours of frames that run into it, which remember it themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.routes import Hop, NoPath, Routes
from perigrid.mesh.topology import Link, LinkKind
from perigrid.node.actions import Action, DropQueued, Note, Send, WakeAt
from perigrid.node.custody import MAX_TRIES, Incoming, Outgoing
from perigrid.node.events import Now
from perigrid.node.frames import (
    HOP_LIMIT,
    MAX_DEAD_LINKS_MET,
    CustodyAck,
    Frame,
    LinkAdvert,
    Priority,
    flow_of,
)
from perigrid.node.transfers import Sender
from perigrid.units import NodeId

WAKE_CUSTODY = "relay/custody"
WAKE_ACKS = "relay/acks"
ACK_DELAY_S = 0.05
"""How long acknowledgements of one link are gathered; far below the time after which a sender tries again."""

MAX_GATHERED_ACKS = 8
WAKE_WAITING = "relay/waiting"
WAKE_DEAF = "relay/deaf"
ADVERT_LIFETIME_S = 60.0
RETRY_WAITING_S = 5.0
MAX_WAITING_FRAMES = 1 << 16
"""Frames held for want of a path; above, the newest is dropped, and its source's lease brings it again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame without a path, since when, and why."""

    frame: Frame
    reason: str
    until_sky_s: float | None
    since_sky_s: float = 0.0


class Relay:
    """One node's relay. Shared by satellites, stations and the ground centre."""

    def __init__(self, node: NodeId, boot: int, ground: NodeId, plan: ContactPlan, routes: Routes) -> None:
        self.node = node
        self.ground = ground
        self.plan = plan
        self.routes = routes
        self.sender = Sender(node, boot)
        self.up: dict[Link, None] = {}
        self.told_dead: dict[Link, float] = {}
        self.waiting: list[Waiting] = []
        self._lost: dict[Link, None] = {}
        self._changed_s: dict[Link, float] = {}
        self._up_s: dict[Link, float] = {}
        self._advised_s: dict[Link, float] = {}
        self._dead: frozenset[Link] = frozenset()
        self._outgoing: dict[Link, Outgoing] = {}
        self._incoming: dict[Link, Incoming] = {}
        self._acks: dict[Link, list[int]] = {}
        self._acks_boot: dict[Link, int] = {}
        self._custody_wake_s = float("inf")
        self._waiting_wake_s = float("inf")
        self._refresh()

    def dead(self) -> frozenset[Link]:
        """The links that this node knows to be dead beyond what the plan says."""
        return self._dead

    def submit(self, now: Now, frames: Iterable[Frame]) -> list[Action]:
        """Route frames that begin here, or that this node has custody of."""
        actions: list[Action] = []
        for frame in frames:
            self._route(now, frame, actions)
        self._arm_custody(now, actions)
        return actions

    def arrived(self, now: Now, link: Link, frame: Frame) -> tuple[list[Action], Frame | None]:
        """Take a frame from a link: the actions, and the frame itself where it ends here."""
        if isinstance(frame.body, CustodyAck):
            return self._acknowledged(now, link, frame.boot, frame.body), None
        actions: list[Action] = []
        if frame.custody:
            new = self._incoming.setdefault(link, Incoming()).is_new(frame)
            if new is None:
                return actions, None
            self._acknowledge(now, link, frame, actions)
            if not new:
                return actions, None
        frame = msgspec.structs.replace(frame, hops=frame.hops + 1, hop_limit=frame.hop_limit - 1)
        if frame.destination == self.node:
            if isinstance(frame.body, LinkAdvert):
                actions += self._advised(now, frame.body, frame.source)
                return actions, (frame if self.node == self.ground else None)
            return actions, frame
        if isinstance(frame.body, LinkAdvert) and frame.body.link in self.told_dead and frame.body.up:
            # Good news may be read in passing. Bad news may not: what brings the good one later need not pass here.
            actions += self._advised(now, frame.body, frame.source)
        if frame.hop_limit <= 0:
            actions.append(Note("hop-limit", frame.trace, {"destination": frame.destination}))
            return actions, None
        self._route(now, frame, actions)
        self._arm_custody(now, actions)
        return actions, None

    def link_up(self, now: Now, link: Link) -> list[Action]:
        """The terminal has acquired a link."""
        self.up[link] = None
        self._up_s[link] = now.sky_s
        was_lost = link in self._lost
        self._lost.pop(link, None)
        self.told_dead.pop(link, None)
        self._refresh()
        actions: list[Action] = [Note("link-up", 0, _ends(link))]
        if was_lost:
            actions += self._advertise(now, link, True)
            actions += self._brief(now, link.other(self.node), link)
        return actions + self._retry(now, returned=link)

    def link_down(self, now: Now, link: Link, planned: bool) -> list[Action]:
        """The terminal lost a link: send everything in custody there another way."""
        if link not in self.up and link in self._lost:
            return []
        self.up.pop(link, None)
        if not planned:
            self._lost[link] = None
        self._refresh()
        actions: list[Action] = [
            Note("link-down", 0, {**_ends(link), "planned": int(planned)}),
            DropQueued(link),
        ]
        outgoing = self._outgoing.get(link)
        stranded = outgoing.empty() if outgoing is not None else []
        if not planned:
            actions += self._advertise(now, link, False)
            actions.append(WakeAt(WAKE_DEAF, now.local_s + ADVERT_LIFETIME_S / 2))
        return actions + self.submit(now, [_met(f, link) for f in stranded])

    def woken(self, now: Now, key: str) -> list[Action]:
        """A wake-up of the relay's own came due."""
        if key == WAKE_ACKS:
            return [Send(link, self._ack(link)) for link, gathered in self._acks.items() if gathered]
        if key == WAKE_DEAF:
            return self._still_deaf(now)
        if key == WAKE_CUSTODY:
            self._custody_wake_s = float("inf")
            return self._resend(now)
        self._waiting_wake_s = float("inf")
        for link in [k for k, until in self.told_dead.items() if until <= now.sky_s]:
            del self.told_dead[link]
        self._refresh()
        actions = self._retry(now, forget_met=True)
        if self.told_dead:
            self._arm_waiting(now.local_s + max(0.0, min(self.told_dead.values()) - now.sky_s) + 1e-3, actions)
        return actions

    def neighbours(self) -> list[tuple[Link, NodeId]]:
        """The links that are up, with the node at their other end."""
        return [(link, link.other(self.node)) for link in self.up]

    def _route(self, now: Now, frame: Frame, actions: list[Action]) -> None:
        # What this node knows rides on with the frame: nodes that know of different dead links would otherwise send it
        # to and fro between them.
        for link in (*self.told_dead, *self._lost):
            frame = _met(frame, link)
        dead = self._dead.union(frame.met) if frame.met else self._dead
        hop = (
            self._own_pass(now)
            if frame.own_pass
            else self.routes.next_hop(self.node, frame.destination, now.sky_s, dead)
        )
        if frame.hop_limit == 1 and not frame.hops and (isinstance(hop, NoPath) or hop.node != frame.destination):
            # It was meant for a neighbour alone, who asks somebody else when it does not come.
            return
        if isinstance(hop, NoPath):
            self._wait(now, frame, hop, actions)
            return
        outgoing = self._outgoing.setdefault(hop.link, Outgoing(self.sender.boot))
        state = self.plan.state(hop.link, now.sky_s).seen_from(hop.link, self.node)
        here_sky_s = now.sky_s if frame.here_sky_s < 0 else frame.here_sky_s
        frame = msgspec.structs.replace(frame, routed_sky_s=now.sky_s, here_sky_s=here_sky_s)
        if (outgoing.backlog and frame.priority is Priority.BULK) or not outgoing.may_send(frame, state):
            outgoing.backlog.put(flow_of(frame), frame)
            return
        actions.append(Send(hop.link, outgoing.take(frame, now.local_s, state)))

    def _own_pass(self, now: Now) -> Hop | NoPath:
        """A satellite's own link to a station, the nearest of several, and the fibre from there; or when one comes."""
        kinds = {link.kind for link in self.plan.links_of(self.node)}
        kind = LinkKind.FIBRE if LinkKind.FIBRE in kinds else LinkKind.RADIO
        links = [link for link in self.plan.links_of(self.node) if link.kind is kind]
        up = [(self.plan.delay_s(link, now.sky_s), link) for link in links if link in self.up]
        if up:
            delay_s, link = min(up)
            return Hop(link, link.other(self.node), delay_s)
        changes = (self.plan.next_change(link, now.sky_s) for link in links)
        until_s = min((t for t in changes if t < self.plan.horizon_s), default=None)
        return NoPath("it waits for this satellite's own pass over a station", until_s, ())

    def _wait(self, now: Now, frame: Frame, no_path: NoPath, actions: list[Action]) -> None:
        if len(self.waiting) >= MAX_WAITING_FRAMES:
            actions.append(Note("waiting-full", frame.trace, {"destination": frame.destination}))
            return
        if frame.here_sky_s < 0:
            frame = msgspec.structs.replace(frame, here_sky_s=now.sky_s)
        self.waiting.append(Waiting(frame, no_path.reason, no_path.until_s, now.sky_s))
        if not frame.held_s:
            actions.append(Note("wait", frame.trace, {"destination": frame.destination, "reason": no_path.reason}))
        retry_s = RETRY_WAITING_S
        if no_path.until_s is not None:
            opens_s = max(0.0, no_path.until_s - now.sky_s) + 1e-3
            # Where faults have no part in it the plan is right; what it does not know comes as a link that is up.
            retry_s = min(retry_s, opens_s) if no_path.blocked_by or frame.met else opens_s
        self._arm_waiting(now.local_s + retry_s, actions)

    def _arm_waiting(self, wake_s: float, actions: list[Action]) -> None:
        if wake_s < self._waiting_wake_s:
            self._waiting_wake_s = wake_s
            actions.append(WakeAt(WAKE_WAITING, wake_s))

    def _retry(self, now: Now, forget_met: bool = False, returned: Link | None = None) -> list[Action]:
        # Word of a link that is older than anybody remembers it helps nobody; for a dead node it would wait for ever.
        waiting, self.waiting = [w for w in self.waiting if not _is_stale(now, w.frame)], []
        frames = (msgspec.structs.replace(w.frame, held_s=w.frame.held_s + now.sky_s - w.since_sky_s) for w in waiting)
        if returned is not None:
            # They met it dead, and waited for this.
            frames = (msgspec.structs.replace(f, met=tuple(k for k in f.met if k != returned)) for f in frames)
        if forget_met:
            # Custody renews a frame's hop budget: it is spent per stretch between waits, and waits are paced.
            frames = (msgspec.structs.replace(f, met=(), hop_limit=HOP_LIMIT) for f in frames)
        return self.submit(now, frames)

    def _acknowledge(self, now: Now, link: Link, frame: Frame, actions: list[Action]) -> None:
        """Gather an acknowledgement. Those of a former boot of the sender have no meaning any more."""
        gathered = self._acks.setdefault(link, [])
        if frame.boot != self._acks_boot.get(link):
            self._acks_boot[link] = frame.boot
            gathered.clear()
        gathered.append(frame.custody)
        if len(gathered) >= MAX_GATHERED_ACKS:
            actions.append(Send(link, self._ack(link)))
        elif len(gathered) == 1:
            actions.append(WakeAt(WAKE_ACKS, now.local_s + ACK_DELAY_S, lazy=True))

    def _ack(self, link: Link) -> Frame:
        numbers = tuple(self._acks[link])
        self._acks[link].clear()
        return Frame(
            source=self.node,
            destination=link.other(self.node),
            priority=Priority.CONTROL,
            body=CustodyAck(numbers),
            transfer=0,
            trace=0,
            boot=self._acks_boot[link],
        )

    def _acknowledged(self, now: Now, link: Link, boot: int, ack: CustodyAck) -> list[Action]:
        outgoing = self._outgoing.get(link)
        if outgoing is None or boot != self.sender.boot:
            return []
        for number in ack.numbers:
            outgoing.acknowledged(number, now.local_s)
        actions: list[Action] = []
        self._use_credit(now, link, outgoing, actions)
        self._arm_custody(now, actions)
        return actions

    def _use_credit(self, now: Now, link: Link, outgoing: Outgoing, actions: list[Action]) -> None:
        """Send what waits for credit, as far as there is some again."""
        state = self.plan.state(link, now.sky_s).seen_from(link, self.node)
        while outgoing.backlog and state.up and outgoing.may_send(outgoing.backlog.peek(), state):
            frame = outgoing.backlog.take()
            actions.append(Send(link, outgoing.take(frame, now.local_s, state)))

    def _resend(self, now: Now) -> list[Action]:
        actions: list[Action] = []
        # What is given up goes another way, perhaps over a link that was never used.
        for link, outgoing in list(self._outgoing.items()):
            for number in outgoing.overdue(now.local_s):
                held = outgoing.release(number)
                if held is None:
                    continue
                if held.tries >= MAX_TRIES:
                    actions.append(Note("custody-gave-up", held.frame.trace, _ends(link)))
                    actions += self.submit(now, [_met(held.frame, link)])
                    continue
                state = self.plan.state(link, now.sky_s).seen_from(link, self.node)
                if not state.up:
                    # The plan has ended it just now, and the terminal is about to say so.
                    actions += self.submit(now, [held.frame])
                    continue
                actions.append(Note("custody-resend", held.frame.trace, _ends(link)))
                actions.append(Send(link, outgoing.take(held.frame, now.local_s, state, held.tries + 1)))
            self._use_credit(now, link, outgoing, actions)
        self._arm_custody(now, actions)
        return actions

    def _arm_custody(self, now: Now, actions: list[Action]) -> None:
        # The earliest of a link is its oldest but for resent ones, so the oldest is near enough to look at: a timer
        # that fires early finds nothing overdue and is set again.
        oldest = [next(iter(o.held.values())).due_s for o in self._outgoing.values() if o.held]
        if not oldest:
            return
        due_s = max(min(oldest), now.local_s)
        if due_s < self._custody_wake_s:
            self._custody_wake_s = due_s
            actions.append(WakeAt(WAKE_CUSTODY, due_s, lazy=True))

    def _brief(self, now: Now, neighbour: NodeId, over: Link) -> list[Action]:
        """Tell a neighbour that could not be told how the own links changed: what it knows may not be so any more."""
        # What is merely down by the plan is not lost: the other node has the plan too.
        changed = [(own, since) for own, since in self._changed_s.items() if own != over]
        bodies = [LinkAdvert(own, own not in self._lost, since) for own, since in changed]
        return self.submit(now, [f for body in bodies for f in self.sender.frames(neighbour, body)])

    def _still_deaf(self, now: Now) -> list[Action]:
        """Say again, to the other ends of lost links alone, that they are not heard: they forget it in time."""
        if not self._lost:
            return []
        frames = [
            f
            for link in self._lost
            for f in self.sender.frames(link.other(self.node), LinkAdvert(link, False, now.sky_s))
        ]
        return [*self.submit(now, frames), WakeAt(WAKE_DEAF, now.local_s + ADVERT_LIFETIME_S / 2)]

    def _advertise(self, now: Now, link: Link, up: bool) -> list[Action]:
        self._changed_s[link] = now.sky_s
        body = LinkAdvert(link, up, now.sky_s)
        # The other end may hear this one well and not know that it is not heard.
        receivers = {node: None for _, node in self.neighbours()} | {self.ground: None, link.other(self.node): None}
        receivers.pop(self.node, None)
        return self.submit(now, [f for node in receivers for f in self.sender.frames(node, body)])

    def _advised(self, now: Now, advert: LinkAdvert, source: NodeId) -> list[Action]:
        own = self.node in (advert.link.a, advert.link.b)
        if own and (source != advert.link.other(self.node) or advert.since_sky_s < self._up_s.get(advert.link, 0.0)):
            # The own terminal knows better than a message about it; but whether it is heard, only the other end knows.
            return []
        if advert.link not in self.plan.links_of(advert.link.a):
            return []
        if advert.since_sky_s < self._advised_s.get(advert.link, float("-inf")):
            # It was held up on its way, behind the very break that it tells of perhaps: newer word has come.
            return []
        self._advised_s[advert.link] = advert.since_sky_s
        if advert.up:
            self.told_dead.pop(advert.link, None)
        else:
            self.told_dead[advert.link] = now.sky_s + ADVERT_LIFETIME_S
        self._refresh()
        actions = self._unheard(now, advert.link) if own and not advert.up else []
        actions += self._retry(now, returned=advert.link if advert.up else None)
        if self.told_dead:
            # What it was told is forgotten in time even while nothing waits: whoever asks for a way must find it.
            self._arm_waiting(now.local_s + ADVERT_LIFETIME_S + 1e-3, actions)
        return actions

    def _unheard(self, now: Now, link: Link) -> list[Action]:
        """The other end does not hear this one: send what is in custody for it another way."""
        outgoing = self._outgoing.get(link)
        stranded = outgoing.empty() if outgoing is not None else []
        return [DropQueued(link), *self.submit(now, [_met(f, link) for f in stranded])]

    def _refresh(self) -> None:
        own = (link for link in self.plan.links_of(self.node) if link not in self.up)
        self._dead = frozenset([*self.told_dead, *self._lost, *own])


def _is_stale(now: Now, frame: Frame) -> bool:
    return isinstance(frame.body, LinkAdvert) and now.sky_s - frame.body.since_sky_s > ADVERT_LIFETIME_S


def _met(frame: Frame, link: Link) -> Frame:
    if link in frame.met:
        return frame
    return msgspec.structs.replace(frame, met=(*frame.met, link)[-MAX_DEAD_LINKS_MET:])


def _ends(link: Link) -> dict[str, str | int | float]:
    return {"a": int(link.a), "b": int(link.b)}
