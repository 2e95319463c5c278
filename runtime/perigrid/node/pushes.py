"""How does the ground bring a model up once, and how does it know where it is?

An order to bring a model up is journalled, and then offered to one satellite, its root: the one that is nearest in
light of those that want it. The root alone is sent pieces from here; everybody else has them from laser neighbours.
Another root is chosen when this one cannot be reached while others can, and one more for those that lasers do not join
to anybody who has it, once that has lasted. Where an order names satellites, those between them carry it.

Satellites say how it is with each model; who does not is asked. When the bytes themselves turn out to be others than
the order says, and nobody has found them right, the order is withdrawn, and that too spreads to all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from perigrid.mesh.routes import NoPath
from perigrid.mesh.topology import LinkKind
from perigrid.node.actions import Action, Note, Persist, Recall, Tell, WakeAt
from perigrid.node.blobs import Blob
from perigrid.node.events import ListModels, Now, PushDurable, PushModel
from perigrid.node.frames import Body, ModelAsk, ModelOffer, ModelPiece, ModelQuery, ModelState, Priority
from perigrid.node.manifest import MAX_NAMED_SATELLITES, Manifest, Order
from perigrid.node.records import ModelOrdered
from perigrid.node.relay import Relay
from perigrid.node.replies import ModelAt, Models, PushedModel, Refused
from perigrid.units import NodeId

WAKE_PUSHES = "controller/pushes"
LOOK_S = 1.0
QUERY_S = 5.0
"""A satellite that owes word of a model and has said nothing for so long is asked."""

MAX_ASKED_AT_ONCE = 64
"""So many satellites are asked at a time; the others' turn comes."""

ROOT_PATIENCE_S = 5.0
"""A root that cannot be reached for so long is replaced, where another can."""

ISLAND_PATIENCE_S = 30.0
"""Satellites that no laser joins to anybody with the model are sent it from the ground after so long."""

MAX_MODELS = 256
"""Models that were ever ordered and are not withdrawn."""

MAX_UNFINISHED = 16
MAX_SHOWN = 3
"""A refusal names at most so many satellites."""

NEVER = ModelState(b"", "absent")


@dataclass(slots=True)
class Push:
    """One model that was ordered up. `roots` are those who may ask the ground, with when each was last reachable.

    `owing` is one of those of whom more is to come, if there is any; `islands_s` are satellites that no laser joins to
    anybody with the model, with since when.
    """

    order: Order
    pieces: tuple[Blob, ...]
    ordered_sky_s: float
    durable: bool = False
    finished: bool = False
    uplinked_bytes: int = 0
    states: dict[NodeId, ModelState] = field(default_factory=dict)
    heard: dict[NodeId, Now] = field(default_factory=dict)
    queried_s: dict[NodeId, float] = field(default_factory=dict)
    roots: dict[NodeId, float] = field(default_factory=dict)
    islands_s: dict[NodeId, float] = field(default_factory=dict)
    owing: NodeId | None = None

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        return self.order.manifest

    def state(self, node: NodeId) -> ModelState:
        """What a satellite last said."""
        return self.states.get(node, NEVER)

    def is_whole(self, node: NodeId) -> bool:
        """Does a satellite have all of it, found right?"""
        return self.state(node).state in ("held", "loaded")

    def is_settled(self, node: NodeId) -> bool:
        """Is there nothing more to come of it on that satellite?"""
        said = self.state(node)
        if self.order.refused:
            return said.state in ("refused", "absent")
        return said.state in ("loaded", "refused", "no-room", "evicted") or (said.state == "held" and said.cause != "")


class Pushes:
    """The models that were ordered up; part of the controller's machine. `epoch` gives its own."""

    def __init__(
        self, relay: Relay, satellites: tuple[NodeId, ...], names: tuple[str, ...], epoch: Callable[[], int], chunk: int
    ) -> None:
        self.known: dict[bytes, Push] = {}
        self._relay = relay
        self._satellites = satellites
        self._names = names
        self._epoch = epoch
        self._chunk = chunk
        self._serial = 0
        self._wake_s = float("inf")

    # --- what the controller asks

    def names(self) -> tuple[str, ...]:
        """The models that some satellite serves because they were pushed."""
        return tuple(
            p.manifest.name for p in self.known.values() if any(s.state == "loaded" for s in p.states.values())
        )

    def serves(self, satellite: NodeId, name: str) -> bool:
        """Does a satellite serve a model because it was pushed?"""
        named = (p for p in self.known.values() if p.manifest.name == name)
        return any(push.state(satellite).state == "loaded" for push in named)

    def refusal(self, name: str, holders: Iterable[tuple[NodeId, ...]]) -> str:
        """Why a pushed model cannot work on captures that these satellites hold; "" where it can."""
        lacking = [nodes[0] for nodes in holders if not any(self.serves(node, name) for node in nodes)]
        if not lacking:
            return ""
        shown = ", ".join(self._names[node] for node in lacking[:MAX_SHOWN]) + (" ..." if lacking[MAX_SHOWN:] else "")
        return (
            f"model {name!r} is not loaded where the data lie ({shown}); wait for its push, or push it to them with "
            f"`perigrid model push`"
        )

    def replay(self, record: ModelOrdered) -> None:
        """An order from the journal; a later one of the same model takes its place."""
        order = record.order
        self._serial = max(self._serial, order.serial)
        known = self.known.get(order.manifest.digest)
        ordered_sky_s = record.ordered_sky_s if known is None else known.ordered_sky_s
        self.known[order.manifest.digest] = Push(order, (), ordered_sky_s, durable=True)

    def booted(self, models: Iterable[tuple[bytes, tuple[Blob, ...]]]) -> None:
        """The ground's copies of what the journal has."""
        for model, pieces in models:
            if model in self.known:
                self.known[model].pieces = pieces

    def lead(self, now: Now) -> list[Action]:
        """A controller begins: ask every satellite what it holds. Islands are judged once they could answer."""
        actions: list[Action] = []
        if self.known:
            for satellite in self._satellites:
                actions += self._say(now, satellite, ModelQuery())
            for push in self.known.values():
                push.islands_s = dict.fromkeys(self._targets(push), now.local_s)
        return actions + self._arm(now)

    # --- what clients say

    def handle(self, now: Now, event: PushModel | ListModels | PushDurable, taken: tuple[str, ...]) -> list[Action]:
        """A client's wish, or an order that is durable; `taken` are the names of preloaded models."""
        match event:
            case PushModel():
                return self._pushed(now, event, taken)
            case PushDurable():
                return self._durable(now, event)
            case ListModels(client, rehash):
                return self._listed(now, client, rehash)

    def _pushed(self, now: Now, event: PushModel, taken: tuple[str, ...]) -> list[Action]:
        """A client wants a model up. What is up, or on its way, is not ordered again."""
        manifest, known = event.manifest, self.known.get(event.manifest.digest)
        cause = self._refusal(event, known, taken)
        if cause:
            return [Tell(event.client, Refused(manifest.name, cause))]
        targets, pinned = event.targets, event.pinned
        if known is not None and not known.order.refused:
            targets = tuple(sorted({*known.order.targets, *targets})) if known.order.targets and targets else ()
            pinned = pinned or known.order.pinned
            again = [
                n for n in targets or self._satellites if known.state(n).state in ("refused", "no-room", "evicted")
            ]
            if (targets, pinned) == (known.order.targets, known.order.pinned) and not again:
                return [Tell(event.client, self.listing(now))]
        self._serial += 1
        order = Order(manifest, self._serial, targets, (), pinned)
        if known is None:
            known = self.known[manifest.digest] = Push(order, event.pieces, now.sky_s)
        known.order, known.pieces, known.finished = order, event.pieces, False
        for node in self._targets(known):
            if known.state(node).state in ("refused", "no-room", "evicted"):
                del known.states[node]
        fields = _names(manifest) | {"bytes": manifest.length, "satellites": len(self._targets(known))}
        then = (Recall(PushDurable(manifest.digest, event.client)),)
        return [Note("model-order", 0, fields), Persist((ModelOrdered(order, now.sky_s),), then)]

    def _refusal(self, event: PushModel, known: Push | None, taken: tuple[str, ...]) -> str:
        manifest = event.manifest
        live = [push for push in self.known.values() if not push.order.refused]
        if manifest.name in taken:
            return f"a model named {manifest.name!r} is preloaded on the satellites; rename the file"
        if any(push.manifest.name == manifest.name and push is not known for push in live):
            return f"another model named {manifest.name!r} was pushed before; rename the file"
        if known is not None and known.manifest.name != manifest.name and not known.order.refused:
            return f"these bytes are on board as {known.manifest.name!r}; use that name"
        if len(event.targets) > MAX_NAMED_SATELLITES:
            return f"{len(event.targets)} satellites are named, and the limit is {MAX_NAMED_SATELLITES}; push to all"
        unfinished = sum(not push.finished for push in live)
        if known is None and (len(live) >= MAX_MODELS or unfinished >= MAX_UNFINISHED):
            return (
                f"{len(live)} models were pushed, {unfinished} of which are on their way; the limits are {MAX_MODELS} "
                f"and {MAX_UNFINISHED}: wait for some"
            )
        return ""

    def _durable(self, now: Now, event: PushDurable) -> list[Action]:
        """An order is in the journal: it goes up."""
        push = self.known[event.model]
        push.durable = True
        tell = [Tell(event.client, self.listing(now))] if event.client else []
        return [*tell, *self._inject(now, push), *self.look(now)]

    def _listed(self, now: Now, client: int, rehash: bool) -> list[Action]:
        """A client asks how it is; with `rehash`, those who hold something are told to look at it again."""
        actions: list[Action] = []
        if rehash:
            for push in self.known.values():
                for node in self._satellites:
                    if push.is_whole(node):
                        actions += self._say(now, node, ModelQuery(push.manifest.digest, rehash=True))
        return [*actions, Tell(client, self.listing(now))]

    def listing(self, now: Now) -> Models:
        """Which models were pushed, and where they are."""
        return Models(tuple(self._row(push) for push in self.known.values()), now.sky_s)

    def _row(self, push: Push) -> PushedModel:
        places = []
        for node in self._satellites:
            if node in push.states or push.order.is_for(node):
                said, heard = push.state(node), push.heard.get(node)
                heard_sky_s = -1.0 if heard is None else heard.sky_s
                places.append(
                    ModelAt(node, said.state, said.pieces, heard_sky_s, said.rehashed_sky_s, said.cause, said.found)
                )
        order = push.order
        return PushedModel(
            order.manifest, order.targets, order.pinned, push.ordered_sky_s, push.uplinked_bytes, tuple(places)
        )

    # --- what satellites say

    def message(self, now: Now, source: NodeId, body: ModelState | ModelAsk) -> list[Action]:
        """A satellite says how it is with a model, or asks for pieces of one."""
        return self._stated(now, source, body) if isinstance(body, ModelState) else self._asked(now, source, body)

    def _stated(self, now: Now, source: NodeId, said: ModelState) -> list[Action]:
        """How it is with a model on a satellite."""
        push = self.known.get(said.model)
        if push is None:
            return []
        push.states[source], push.heard[source] = said, now
        wrong = said.state == "refused" and said.found and not push.order.refused
        if wrong and not any(push.is_whole(node) for node in self._satellites):
            return self._withdraw(now, push, said)
        if push.finished and not push.is_settled(source) and push.order.is_for(source):
            push.finished = False
        return self._finish(now, push) if push.durable else []

    def alive(self, now: Now, source: NodeId, models: tuple[bytes, ...]) -> list[Action]:
        """A satellite has said which models lie in its flash: those that it does not name it has lost."""
        actions: list[Action] = []
        for model, push in self.known.items():
            if model not in models and push.state(source).state in ("arriving", "held", "loaded", "corrupt"):
                actions += self._stated(now, source, ModelState(model, "absent"))
        return actions

    def _asked(self, now: Now, source: NodeId, ask: ModelAsk) -> list[Action]:
        """A root asks for pieces; nobody else is sent any from here."""
        push = self.known.get(ask.model)
        if push is None or push.order.refused or not push.pieces:
            return []
        if source not in push.roots:
            # It was a root once, and has not heard that it is none any more.
            return self._say(now, source, ModelOffer(push.order))
        actions: list[Action] = []
        for index in ask.pieces:
            if index < len(push.pieces):
                push.uplinked_bytes += push.pieces[index].length
                actions += self._say(now, source, ModelPiece(ask.model, index), push.pieces[index])
        return actions

    def _withdraw(self, now: Now, push: Push, said: ModelState) -> list[Action]:
        """Nobody has found the bytes right, and somebody has found them wrong: nobody shall hold them."""
        self._serial += 1
        push.order = msgspec.structs.replace(push.order, serial=self._serial, refused=said.found)
        fields = _names(push.manifest) | {"found": said.found.hex(), "cause": said.cause}
        record = ModelOrdered(push.order, push.ordered_sky_s)
        then = (Recall(PushDurable(push.manifest.digest, 0)),)
        return [Note("model-withdrawn", 0, fields), Persist((record,), then)]

    def _finish(self, now: Now, push: Push) -> list[Action]:
        targets = self._targets(push)
        if push.finished or (push.owing is not None and not push.is_settled(push.owing)):
            return self._arm(now)
        push.owing = next((node for node in targets if not push.is_settled(node)), None)
        if push.owing is not None:
            return self._arm(now)
        push.finished = True
        push.roots.clear()
        counts = {"satellites": sum(push.is_whole(n) for n in targets), "uplinked_bytes": push.uplinked_bytes}
        fields = _names(push.manifest) | counts | {"since_order_s": now.sky_s - push.ordered_sky_s}
        return [Note("model-pushed", 0, fields)]

    # --- time

    def look(self, now: Now) -> list[Action]:
        """Choose roots and carriers for what is under way, and ask those who owe word."""
        self._wake_s = float("inf")
        under_way = [push for push in self.known.values() if push.durable and not push.finished]
        actions: list[Action] = []
        graph = self._graph(now) if under_way else {}
        for push in under_way:
            if not push.order.refused:
                closed = {n for n, said in push.states.items() if said.state in ("refused", "no-room", "evicted")}
                way = {n: [m for m in near if m not in closed] for n, near in graph.items() if n not in closed}
                actions += self._choose(now, push, way)
                actions += self._carry(now, push, way)
            actions += self._ask_debtors(now, push)
        return actions + self._arm(now)

    def _choose(self, now: Now, push: Push, graph: dict[NodeId, list[NodeId]]) -> list[Action]:
        """Roots for the islands of satellites that want the model and have nobody to get it from."""
        wanting = [node for node in self._targets(push) if not push.is_settled(node) and not push.is_whole(node)]
        self._dismiss(now, push, wanting)
        actions: list[Action] = []
        seen: set[NodeId] = set()
        for node in wanting:
            if node in seen:
                continue
            island = _reach(graph, [node])
            seen |= island
            mine = [one for one in wanting if one in island]
            if any(root in island for root in push.roots) or any(push.is_whole(one) for one in island):
                for one in mine:
                    push.islands_s.pop(one, None)
                continue
            since_s = min(push.islands_s.setdefault(one, now.local_s) for one in mine)
            nowhere = not push.roots and not any(push.is_whole(one) for one in self._satellites)
            if now.local_s < since_s + (0.0 if nowhere else ISLAND_PATIENCE_S):
                continue
            reachable = [(delay_s, one) for one in mine if (delay_s := self._delay_s(now, one)) is not None]
            if reachable:
                root = min(reachable)[1]
                push.roots[root] = now.local_s
                note = Note("model-root", 0, _names(push.manifest) | {"root": self._names[root]})
                actions += [note, *self._say(now, root, ModelOffer(push.order, root=True))]
        return actions

    def _dismiss(self, now: Now, push: Push, wanting: list[NodeId]) -> None:
        """Roots that want nothing any more, and those that cannot be reached for long while others can."""
        for root, since_s in list(push.roots.items()):
            if root not in wanting:
                del push.roots[root]
            elif self._delay_s(now, root) is not None:
                push.roots[root] = now.local_s
            elif since_s + ROOT_PATIENCE_S < now.local_s and any(self._delay_s(now, n) is not None for n in wanting):
                del push.roots[root]

    def _carry(self, now: Now, push: Push, graph: dict[NodeId, list[NodeId]]) -> list[Action]:
        """Where an order names satellites that no named one joins: let those between them carry it."""
        order = push.order
        if not order.targets:
            return []
        members = {*order.targets, *order.carriers}
        sources = [node for node in members if push.is_whole(node) or node in push.roots]
        joined = _reach({n: [m for m in graph.get(n, []) if m in members] for n in members}, sources)
        more: set[NodeId] = set()
        for node in order.targets:
            if node not in joined and not push.is_settled(node):
                more |= set(_way(graph, sources, node)) - members
        if not more:
            return []
        self._serial += 1
        carriers = tuple(sorted({*order.carriers, *more}))
        push.order = msgspec.structs.replace(order, serial=self._serial, carriers=carriers)
        record = ModelOrdered(push.order, push.ordered_sky_s)
        return [Persist((record,), (Recall(PushDurable(push.manifest.digest, 0)),))]

    def _inject(self, now: Now, push: Push) -> list[Action]:
        """Let those who have something of a model know of its newest order; they tell their neighbours."""
        have = [node for node, said in push.states.items() if said.state not in ("absent", "refused")]
        told = dict.fromkeys([*push.roots, *have])
        return [a for node in told for a in self._say(now, node, ModelOffer(push.order, root=node in push.roots))]

    def _ask_debtors(self, now: Now, push: Push) -> list[Action]:
        actions: list[Action] = []
        asked = 0
        for node in self._targets(push):
            if asked >= MAX_ASKED_AT_ONCE:
                break
            heard = push.heard.get(node)
            last_s = max(push.queried_s.get(node, -QUERY_S), -QUERY_S if heard is None else heard.local_s)
            if push.is_settled(node) or now.local_s < last_s + QUERY_S or self._delay_s(now, node) is None:
                continue
            first = node not in push.queried_s and heard is None
            push.queried_s[node] = now.local_s
            if first:
                # It may not have heard of it yet: neighbours tell it, and it says so by itself.
                continue
            unaware = heard is not None and push.state(node).state in ("absent", "refused", "no-room", "evicted")
            asked += 1
            root = node in push.roots
            body: Body = ModelOffer(push.order, root) if unaware or root else ModelQuery(push.manifest.digest)
            actions += self._say(now, node, body)
        return actions

    def _targets(self, push: Push) -> tuple[NodeId, ...]:
        return push.order.targets or self._satellites

    def _delay_s(self, now: Now, node: NodeId) -> float | None:
        # Towards the ground: one tree of ways answers for all satellites, and light takes as long both ways.
        path = self._relay.routes.path(node, self._relay.node, now.sky_s, self._relay.dead())
        return None if isinstance(path, NoPath) else path.delay_s

    def _graph(self, now: Now) -> dict[NodeId, list[NodeId]]:
        """Who has a laser to whom that carries something now, as far as the ground knows."""
        plan, dead = self._relay.plan, self._relay.dead()
        graph: dict[NodeId, list[NodeId]] = {}
        for node in self._satellites:
            lasers = (link for link in plan.links_of(node) if link.kind is LinkKind.LASER and link not in dead)
            graph[node] = [link.other(node) for link in lasers if plan.state(link, now.sky_s).up]
        return graph

    def _say(self, now: Now, satellite: NodeId, body: Body, payload: Blob | None = None) -> list[Action]:
        frames = self._relay.sender.frames(
            satellite,
            body,
            priority=Priority.CONTROL if payload is None else Priority.BULK,
            payload=payload,
            chunk=self._chunk,
            epoch=self._epoch(),
        )
        return self._relay.submit(now, frames)

    def _arm(self, now: Now) -> list[Action]:
        if self._wake_s < float("inf") or all(push.finished or not push.durable for push in self.known.values()):
            return []
        self._wake_s = now.local_s + LOOK_S
        return [WakeAt(WAKE_PUSHES, self._wake_s, lazy=True)]


def _reach(graph: dict[NodeId, list[NodeId]], starts: Iterable[NodeId]) -> set[NodeId]:
    """All that can be reached from some nodes."""
    found = set(starts)
    queue = deque(found)
    while queue:
        for node in graph.get(queue.popleft(), []):
            if node not in found:
                found.add(node)
                queue.append(node)
    return found


def _way(graph: dict[NodeId, list[NodeId]], starts: Iterable[NodeId], end: NodeId) -> list[NodeId]:
    """The nodes of a way of fewest lasers from one of some nodes to another; none where there is no way."""
    before: dict[NodeId, NodeId | None] = dict.fromkeys(sorted(starts))
    queue = deque(before)
    while queue and end not in before:
        at = queue.popleft()
        for node in graph.get(at, []):
            if node not in before:
                before[node] = at
                queue.append(node)
    way: list[NodeId] = []
    at_node: NodeId | None = end if end in before else None
    while at_node is not None:
        way.append(at_node)
        at_node = before[at_node]
    return way


def _names(manifest: Manifest) -> dict[str, str | int | float]:
    return {"model": manifest.name, "sha256": manifest.digest.hex()}
