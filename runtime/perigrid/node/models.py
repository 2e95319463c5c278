"""Which models does a satellite hold, whence does it get what it lacks, and what must go?

A satellite that is ordered to hold a model asks for its pieces: from laser neighbours that have said that they have
them, and, where it is the root of the order, from the ground for those that no neighbour has. What it has it tells its
neighbours. So each piece goes up once and spreads from satellite to satellite while later ones still come up, over
what is, as long as nothing breaks, a tree; and when something does, whoever has a piece serves it.

Each piece is hashed before it is kept, and the whole before the worker may load it and, while it is held, from time to
time by a seeded schedule. What is wrong is told with both hashes, taken from the worker, and fetched again.

When flash is full, models are evicted that are neither pinned nor needed by work in hand: first those that are only
carried for others, then the least recently used. What still does not fit is refused, and said so.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import msgspec

from perigrid.mesh.routes import NoPath
from perigrid.mesh.topology import Link, LinkKind
from perigrid.node.actions import (
    Action,
    DropModel,
    KeepPiece,
    Note,
    OpenModel,
    RehashModel,
    ServeModel,
    WakeAt,
    WithdrawModel,
)
from perigrid.node.blobs import Blob
from perigrid.node.copies import (
    MAX_MODELS_HELD,
    MAX_MODELS_KNOWN,
    PATIENCE_S,
    WANTED,
    WHOLE,
    Copy,
    Fields,
    ShelfConfig,
    names,
    patience_s,
    window_pieces,
)
from perigrid.node.events import HeldModel, ModelRehashed, ModelServed, Now, PieceKept
from perigrid.node.frames import (
    Body,
    Frame,
    ModelAsk,
    ModelHave,
    ModelOffer,
    ModelPiece,
    ModelQuery,
    ModelState,
    ModelStateWord,
    Priority,
)
from perigrid.node.manifest import Order, as_bits, from_bits
from perigrid.node.relay import Relay
from perigrid.node.transfers import Message, chunk_bytes
from perigrid.units import NodeId

TELL_S = 0.02
"""For so long what has come is gathered before neighbours are told."""

LOOK_S = 0.5
REPORT_S = 1.0
MAX_WRONG = 3
"""After so many wrong pieces a source is not asked for a while; the ground's third one refuses the model."""

SHUN_S = 60.0
MAX_ROUNDS = 3
"""So often a model whose bytes were wrong in flash is fetched again before it is refused."""

MODELS_PREFIX = "models/"
WAKE_TELL, WAKE_LOOK, WAKE_SCRUB = "models/tell", "models/look", "models/scrub"


class Shelf:
    """The models of one satellite; part of its machine.

    `say` sends a body to the ground; `taken` says whether a name is served otherwise, `needed` whether work in hand
    needs a model.
    """

    def __init__(
        self,
        config: ShelfConfig,
        relay: Relay,
        say: Callable[[Now, Body], list[Action]],
        taken: Callable[[str], bool],
        needed: Callable[[str], bool],
    ) -> None:
        self.config = config
        self.copies: dict[bytes, Copy] = {}
        self._relay = relay
        self._say = say
        self._taken = taken
        self._needed = needed
        self._inquired: dict[bytes, tuple[int, float]] = {}
        self._wakes_s: dict[str, float] = {}

    # --- what the satellite asks

    def serves(self, name: str) -> bool:
        """Is a model of that name loaded here?"""
        return any(copy.state == "loaded" and copy.manifest.name == name for copy in self.copies.values())

    def on_flash(self) -> tuple[bytes, ...]:
        """The models that lie in flash, whole or not."""
        return tuple(model for model, copy in self.copies.items() if copy.on_flash)

    def done(self, now: Now, event: PieceKept | ModelRehashed | ModelServed) -> list[Action]:
        """Flash, or the worker, has done what it was asked to."""
        if isinstance(event, PieceKept):
            return self._piece_kept(now, event)
        return self._rehashed(now, event) if isinstance(event, ModelRehashed) else self._served(now, event)

    def used(self, now: Now, name: str) -> None:
        """Work that needs a model has come."""
        for copy in self.copies.values():
            if copy.manifest.name == name:
                copy.used_s = now.local_s

    def booted(self, now: Now, models: tuple[HeldModel, ...]) -> list[Action]:
        """The satellite starts: nothing that lay in flash is trusted before it has been hashed again."""
        actions: list[Action] = []
        for held in models:
            copy = Copy(held.order, blobs=dict(held.pieces), used_s=now.local_s)
            copy.missing = {i: None for i in range(len(copy.manifest.pieces)) if i not in copy.blobs}
            self.copies[copy.manifest.digest] = copy
            actions += self._tell_all(now, copy)
            actions += self._go_on(now, copy)
        return actions

    # --- what others say

    def message(self, now: Now, message: Message) -> list[Action]:
        """A message about models, from the ground or a laser neighbour."""
        source = message.source
        if source != self.config.ground and source not in self._neighbours():
            return [Note("not-from-a-neighbour", message.trace, {"source": int(source)})]
        match message.body:
            case ModelOffer(order, root):
                return self._offered(now, order, source, root and source == self.config.ground)
            case ModelHave(model, serial, pieces):
                return self._had(now, source, model, serial, pieces)
            case ModelAsk() as ask:
                return self._asked(now, source, ask)
            case ModelPiece(model, index):
                return self._piece(now, message, model, index)
            case ModelQuery(model, rehash) if source == self.config.ground:
                return self._queried(now, model, rehash)
            case _:
                return []

    def link_up(self, now: Now, link: Link) -> list[Action]:
        """A laser came up: say what is here, the neighbour may have lost it, or never heard of it."""
        if link.kind is not LinkKind.LASER:
            return []
        peer = link.other(self.config.node)
        tellable = [copy for copy in self.copies.values() if copy.on_flash or copy.order.refused]
        return [action for copy in tellable for action in self._tell(now, copy, peer)]

    def link_down(self, now: Now, link: Link) -> list[Action]:
        """A laser went down: what was asked over it is asked elsewhere."""
        peer = link.other(self.config.node)
        actions: list[Action] = []
        for copy in self.copies.values():
            copy.peers.pop(peer, None)
            copy.told_s.pop(peer, None)
            if link.kind is LinkKind.LASER and peer in copy.asked.values():
                copy.give_up(peer)
                actions += self._pull(now, copy)
        return actions

    def woken(self, now: Now, key: str) -> list[Action]:
        """A wake-up of the shelf's own came due."""
        self._wakes_s.pop(key, None)
        if key == WAKE_TELL:
            return [a for copy in self.copies.values() if copy.untold for a in self._tell_all(now, copy)]
        return self._look(now) if key == WAKE_LOOK else self._scrub(now)

    # --- orders

    def _offered(self, now: Now, order: Order, source: NodeId, root: bool) -> list[Action]:
        model = order.manifest.digest
        known = self.copies.get(model)
        if known is not None and order.serial < known.order.serial:
            return []
        actions: list[Action] = []
        if known is None or order.serial > known.order.serial:
            actions += self._ordered(now, order, known)
        copy = self.copies[model]
        if source == self.config.ground:
            copy.root = root
            if not root or copy.heard_s.get(source, float("-inf")) + PATIENCE_S < now.local_s:
                # It is not sent any from there, or what was is lost: a controller that starts anew says so again.
                copy.give_up(source)
            actions += self._report(now, copy)
        return actions + self._pull(now, copy)

    def _ordered(self, now: Now, order: Order, known: Copy | None) -> list[Action]:
        """A new order, or a newer one of a model that is known."""
        manifest, node = order.manifest, self.config.node
        copy = known if known is not None and known.on_flash else Copy(order, state="absent", used_s=now.local_s)
        if known is not None and order.refused:
            copy.cause = known.cause
        copy.order, copy.root = order, False
        self.copies.pop(manifest.digest, None)
        self._forget_oldest()
        self.copies[manifest.digest] = copy
        if order.refused:
            cause = f"withdrawn: what came up had SHA-256 {order.refused.hex()}, against the order of {_hex(copy)}"
            return self._refuse(now, copy, copy.cause or cause, order.refused)
        if copy.on_flash:
            actions: list[Action] = [OpenModel(order)]
            if copy.state == "held" and order.is_for(node):
                actions.append(ServeModel(manifest.digest, manifest.name))
            return [*actions, *self._tell_all(now, copy)]
        if not order.concerns(node):
            return []
        others = (c for c in self.copies.values() if c is not copy and c.on_flash)
        if self._taken(manifest.name) or any(other.manifest.name == manifest.name for other in others):
            return self._refuse(now, copy, f"another model named {manifest.name!r} is on board", b"")
        actions = self._make_room(now, copy)
        if copy.state == "no-room":
            return [*actions, *self._tell_all(now, copy)]
        copy.state = "arriving"
        copy.missing = dict.fromkeys(range(len(manifest.pieces)))
        fields: Fields = {**names(copy), "bytes": manifest.length, "pieces": len(manifest.pieces)}
        actions += [Note("model-ordered", 0, fields), OpenModel(order)]
        return [*actions, *self._tell_all(now, copy), *self._report(now, copy), *self._arm(now, WAKE_LOOK, LOOK_S)]

    def _forget_oldest(self) -> None:
        """Keep the table within its bound; what is on flash has a bound of its own."""
        gone = [model for model, copy in self.copies.items() if not copy.on_flash]
        for model in gone[: max(0, len(self.copies) + 1 - MAX_MODELS_KNOWN)]:
            del self.copies[model]

    def _make_room(self, now: Now, new: Copy) -> list[Action]:
        """Evict what the rule says until a model fits; nothing, where it does not fit even then."""
        held = [copy for copy in self.copies.values() if copy.on_flash]
        free = self.config.flash_bytes - sum(copy.manifest.length for copy in held) - new.manifest.length
        places = MAX_MODELS_HELD - len(held) - 1
        node = self.config.node
        may_go = [c for c in held if c.state in WHOLE and not (c.order.pinned and c.order.is_for(node))]
        may_go = [c for c in may_go if not self._needed(c.manifest.name)]
        may_go.sort(key=lambda c: (c.order.is_for(node), c.used_s))
        leaving: list[Copy] = []
        for copy in may_go:
            if free >= 0 and places >= 0:
                break
            leaving.append(copy)
            free, places = free + copy.manifest.length, places + 1
        if free < 0 or places < 0:
            new.state = "no-room"
            new.cause = (
                f"{new.manifest.length} bytes do not fit: of {self.config.flash_bytes} for at most {MAX_MODELS_HELD} "
                f"models all but {max(0, free + new.manifest.length)} are arriving, pinned or needed by work"
            )
            return [Note("model-no-room", 0, {**names(new), "cause": new.cause}), *self._report(now, new)]
        return [action for copy in leaving for action in self._evict(now, copy, new)]

    def _evict(self, now: Now, copy: Copy, new: Copy) -> list[Action]:
        actions = self._take_away(copy, "evicted")
        copy.cause = f"made room for {new.manifest.name}"
        note = Note("model-evicted", 0, {**names(copy), "for": new.manifest.name})
        return [note, *actions, *self._report(now, copy)]

    def _take_away(self, copy: Copy, state: ModelStateWord) -> list[Action]:
        """Nothing of a model stays here but the memory of it."""
        withdraw = [WithdrawModel(copy.manifest.name)] if copy.state == "loaded" else []
        drop = [DropModel(copy.manifest.digest)] if copy.on_flash else []
        copy.state, copy.scrub_s, copy.rehashing = state, float("inf"), False
        for table in (copy.blobs, copy.missing, copy.asked, copy.keeping, copy.peers):
            table.clear()
        return [*withdraw, *drop]

    def _refuse(self, now: Now, copy: Copy, cause: str, found: bytes) -> list[Action]:
        actions = self._take_away(copy, "refused")
        copy.cause, copy.found = cause, found
        fields: Fields = {**names(copy), "cause": cause, "found": found.hex()}
        told = self._tell_all(now, copy) if copy.order.refused else []
        return [Note("model-refused", 0, fields), *actions, *told, *self._report(now, copy)]

    # --- who has what

    def _neighbours(self) -> dict[NodeId, Link]:
        """The satellites at the other ends of lasers that carry something now."""
        dead = self._relay.dead()
        ends = self._relay.neighbours()
        return {node: link for link, node in ends if link.kind is LinkKind.LASER and link not in dead}

    def _tell_all(self, now: Now, copy: Copy) -> list[Action]:
        copy.untold = False
        full = len(copy.manifest.pieces)
        peers = [p for p in self._neighbours() if copy.order.refused or len(copy.peers.get(p, ())) < full]
        return [action for peer in peers for action in self._tell(now, copy, peer)]

    def _tell(self, now: Now, copy: Copy, peer: NodeId) -> list[Action]:
        if not copy.order.concerns(peer):
            return []
        copy.told_s[peer] = now.local_s
        return self._send(now, peer, ModelHave(copy.manifest.digest, copy.order.serial, as_bits(copy.blobs)))

    def _had(self, now: Now, peer: NodeId, model: bytes, serial: int, pieces: bytes) -> list[Action]:
        copy = self.copies.get(model)
        if copy is None or copy.order.serial < serial:
            asked, asked_s = self._inquired.get(model, (0, 0.0))
            if asked >= serial and now.local_s < asked_s + PATIENCE_S:
                return []
            if len(self._inquired) >= MAX_MODELS_KNOWN:
                self._inquired.clear()
            self._inquired[model] = (serial, now.local_s)
            return self._send(now, peer, ModelAsk(model, order=True))
        if serial < copy.order.serial:
            return self._tell(now, copy, peer)
        if not copy.on_flash:
            return []
        theirs = copy.peers[peer] = from_bits(pieces, len(copy.manifest.pieces))
        actions = self._pull(now, copy)
        news = now.local_s > copy.told_s.get(peer, float("-inf")) + REPORT_S
        if news and any(index not in theirs for index in copy.blobs):
            actions += self._tell(now, copy, peer)
        return actions

    def _asked(self, now: Now, peer: NodeId, ask: ModelAsk) -> list[Action]:
        copy = self.copies.get(ask.model)
        if copy is None:
            return []
        actions: list[Action] = []
        if ask.order and copy.order.concerns(peer):
            actions += self._send(now, peer, ModelOffer(copy.order))
            actions += self._tell(now, copy, peer)
        if ask.doubted and copy.state in WHOLE and not copy.rehashing:
            actions += self._rehash(copy)
        if peer in self._neighbours():
            for index in ask.pieces:
                if index in copy.blobs:
                    actions += self._send(now, peer, ModelPiece(ask.model, index), copy.blobs[index])
        return actions

    def _send(self, now: Now, peer: NodeId, body: Body, payload: Blob | None = None) -> list[Action]:
        """Say something to a laser neighbour, over their own laser or not at all."""
        frames: list[Frame] = self._relay.sender.frames(
            peer,
            body,
            priority=Priority.CONTROL if payload is None else Priority.BULK,
            payload=payload,
            chunk=chunk_bytes(self.config.laser_rate_bps),
        )
        return self._relay.submit(now, [msgspec.structs.replace(frame, hop_limit=1) for frame in frames])

    # --- pieces

    def _pull(self, now: Now, copy: Copy) -> list[Action]:
        """Ask for what is missing, in order, each piece of one source that has it and is not asked for too much."""
        if copy.state not in WANTED or not copy.missing:
            return []
        free = self._free(now, copy)
        asks: dict[NodeId, list[int]] = {}
        nearby = frozenset[int]().union(*copy.peers.values())
        for index in list(copy.missing):
            if not any(room > 0 for room in free.values()):
                break
            holders = [peer for peer in free if index in copy.peers.get(peer, ())]
            if index not in nearby and self.config.ground in free:
                holders = [self.config.ground]
            source = max(holders, key=lambda one: free[one], default=None)
            if source is None or free[source] <= 0:
                continue
            free[source] -= 1
            del copy.missing[index]
            copy.asked[index] = source
            asks.setdefault(source, []).append(index)
        actions: list[Action] = []
        for source, indices in asks.items():
            copy.heard_s[source] = now.local_s
            body = ModelAsk(copy.manifest.digest, tuple(indices))
            actions += self._say(now, body) if source == self.config.ground else self._send(now, source, body)
        return [*actions, *self._arm(now, WAKE_LOOK, LOOK_S)]

    def _free(self, now: Now, copy: Copy) -> dict[NodeId, int]:
        """Whom this satellite may ask now, and for how many pieces more.

        A source whose window is nearly used up is left alone, so that few messages ask for many pieces.
        """
        sources = [peer for peer in self._neighbours() if peer in copy.peers]
        if copy.root and not isinstance(self._way_down(now), NoPath):
            sources.append(self.config.ground)
        counts: dict[NodeId, int] = {}
        for source in copy.asked.values():
            counts[source] = counts.get(source, 0) + 1
        free: dict[NodeId, int] = {}
        for source in sources:
            if copy.shunned_s.get(source, float("-inf")) > now.local_s:
                continue
            window = window_pieces(self.config, copy, source)
            room = window - counts.get(source, 0)
            if source not in counts or room >= window // 4:
                free[source] = room
        return free

    def _way_down(self, now: Now) -> object:
        return self._relay.routes.path(self.config.node, self.config.ground, now.sky_s, self._relay.dead())

    def _piece(self, now: Now, message: Message, model: bytes, index: int) -> list[Action]:
        copy = self.copies.get(model)
        if copy is None or copy.state not in WANTED or index >= len(copy.manifest.pieces):
            return []
        copy.heard_s[message.source] = now.local_s
        if index in copy.blobs or index in copy.keeping:
            return []
        copy.asked.pop(index, None)
        copy.missing.pop(index, None)
        copy.keeping[index] = message.source
        return [KeepPiece(model, index, message.pieces, copy.manifest.pieces[index]), *self._pull(now, copy)]

    def _piece_kept(self, now: Now, event: PieceKept) -> list[Action]:
        """A piece was hashed, and is in flash where it was right."""
        copy = self.copies.get(event.model)
        source = None if copy is None else copy.keeping.pop(event.index, None)
        if copy is None or source is None:
            return []
        if event.blob is None:
            return self._wrong_piece(now, copy, event, source)
        copy.blobs[event.index] = event.blob
        copy.untold = True
        return [*self._arm(now, WAKE_TELL, TELL_S), *self._go_on(now, copy)]

    def _wrong_piece(self, now: Now, copy: Copy, event: PieceKept, source: NodeId) -> list[Action]:
        expected = copy.manifest.pieces[event.index]
        fields: Fields = {
            **names(copy),
            "piece": event.index,
            "from": int(source),
            "expected": expected.hex(),
            "found": event.found.hex(),
        }
        actions: list[Action] = [Note("model-piece-refused", 0, fields)]
        copy.lacks([event.index])
        copy.wrong[source] = copy.wrong.get(source, 0) + 1
        if source != self.config.ground:
            actions += self._send(now, source, ModelAsk(copy.manifest.digest, doubted=True))
        if copy.wrong[source] >= MAX_WRONG:
            if source == self.config.ground:
                cause = f"piece {event.index} has SHA-256 {event.found.hex()}, the manifest says {expected.hex()}"
                return actions + self._refuse(now, copy, cause, event.found)
            copy.wrong[source] = 0
            copy.shunned_s[source] = now.local_s + SHUN_S
        return actions + self._pull(now, copy)

    # --- hashing the whole

    def _go_on(self, now: Now, copy: Copy) -> list[Action]:
        """Ask for more; or, where all is here, have it hashed."""
        if len(copy.blobs) == len(copy.manifest.pieces):
            return [] if copy.rehashing else self._rehash(copy)
        return [*self._pull(now, copy), *self._arm(now, WAKE_LOOK, LOOK_S)]

    def _rehash(self, copy: Copy) -> list[Action]:
        copy.rehashing = True
        return [RehashModel(copy.manifest.digest)]

    def _rehashed(self, now: Now, event: ModelRehashed) -> list[Action]:
        """All bytes of a model were hashed."""
        copy = self.copies.get(event.model)
        if copy is None or not copy.rehashing:
            return []
        copy.rehashing = False
        if event.found != copy.manifest.digest:
            return self._found_wrong(now, copy, event)
        copy.rehashed_sky_s = now.sky_s
        copy.scrubs += 1
        copy.scrub_s = now.local_s + self.config.scrub_s * (0.5 + self._chance(copy))
        actions = self._arm_scrub(now)
        if copy.state in WANTED:
            copy.state, copy.untold = "held", True
            copy.cause = f"mended: its bytes had SHA-256 {copy.found.hex()}" if copy.found else ""
            actions += [Note("model-held", 0, {**names(copy), "bytes": copy.manifest.length})]
            actions += self._arm(now, WAKE_TELL, TELL_S)
            if copy.order.is_for(self.config.node):
                return [*actions, ServeModel(copy.manifest.digest, copy.manifest.name)]
            return actions + self._report(now, copy)
        copy.cause, copy.found = "", b""
        return actions + (self._report(now, copy) if copy.report_rehash else [])

    def _found_wrong(self, now: Now, copy: Copy, event: ModelRehashed) -> list[Action]:
        manifest = copy.manifest
        fields: Fields = {**names(copy), "expected": manifest.digest.hex(), "found": event.found.hex()}
        actions: list[Action] = [Note("model-corrupt", 0, {**fields, "wrong_pieces": len(event.wrong)})]
        copy.rounds += 1
        if (copy.state in WANTED and not event.wrong) or copy.rounds > MAX_ROUNDS:
            cause = f"its bytes have SHA-256 {event.found.hex()}, the order says {manifest.digest.hex()}"
            return actions + self._refuse(now, copy, cause, event.found)
        if copy.state == "loaded":
            actions.append(WithdrawModel(manifest.name))
        if copy.state in WHOLE:
            copy.state = "corrupt"
        copy.found, copy.scrub_s = event.found, float("inf")
        copy.cause = f"its bytes had SHA-256 {event.found.hex()}, the order says {manifest.digest.hex()}"
        for index in event.wrong or range(len(manifest.pieces)):
            copy.blobs.pop(index, None)
            copy.missing[index] = None
        return [*actions, *self._report(now, copy), *self._tell_all(now, copy), *self._go_on(now, copy)]

    def _served(self, now: Now, event: ModelServed) -> list[Action]:
        """The worker serves a model, or cannot."""
        copy = self.copies.get(event.model)
        if copy is None or copy.state not in WHOLE:
            return []
        if event.cause:
            copy.cause = event.cause
        else:
            copy.state, copy.used_s = "loaded", now.local_s
        what = "model-load-failed" if event.cause else "model-loaded"
        fields: Fields = {**names(copy), "cause": event.cause} if event.cause else names(copy)
        return [Note(what, 0, fields), *self._report(now, copy)]

    def _scrub(self, now: Now) -> list[Action]:
        actions: list[Action] = []
        for copy in self.copies.values():
            if copy.scrub_s <= now.local_s and copy.state in WHOLE and not copy.rehashing:
                copy.scrub_s = float("inf")
                actions += self._rehash(copy)
        return actions + self._arm_scrub(now)

    def _arm_scrub(self, now: Now) -> list[Action]:
        due_s = min((copy.scrub_s for copy in self.copies.values()), default=float("inf"))
        return [] if due_s == float("inf") else self._arm(now, WAKE_SCRUB, due_s - now.local_s)

    def _chance(self, copy: Copy) -> float:
        """Evenly spread over [0, 1): the schedule follows from the seed, and no two satellites hash in step."""
        words = f"{self.config.seed}/{self.config.node}/{copy.manifest.digest.hex()}/{copy.scrubs}"
        return int.from_bytes(blake2b(words.encode(), digest_size=6).digest(), "little") / (1 << 48)

    # --- what the ground hears

    def _queried(self, now: Now, model: bytes, rehash: bool) -> list[Action]:
        copies = list(self.copies.values()) if not model else [c for m, c in self.copies.items() if m == model]
        if model and not copies:
            return self._say(now, ModelState(model, "absent"))
        actions: list[Action] = []
        for copy in copies:
            if rehash and copy.state in WHOLE:
                copy.report_rehash = True
                actions += [] if copy.rehashing else self._rehash(copy)
            else:
                actions += self._report(now, copy)
        return actions

    def _report(self, now: Now, copy: Copy) -> list[Action]:
        copy.report_rehash = False
        copy.reported_s, copy.reported_pieces = now.local_s, len(copy.blobs)
        pieces, rehashed_sky_s = len(copy.blobs), copy.rehashed_sky_s
        model = copy.manifest.digest
        return self._say(now, ModelState(model, copy.state, pieces, rehashed_sky_s, copy.cause, copy.found))

    def _look(self, now: Now) -> list[Action]:
        """While something is to come: ask again for what does not, and say how it goes."""
        actions: list[Action] = []
        wanted = [copy for copy in self.copies.values() if copy.state in WANTED]
        for copy in wanted:
            for source in set(copy.asked.values()):
                if copy.heard_s.get(source, 0.0) + patience_s(self.config, copy, source) < now.local_s:
                    copy.give_up(source)
            actions += self._go_on(now, copy)
            quiet_s = max(copy.heard_s.values(), default=float("-inf")) + PATIENCE_S
            for peer in self._neighbours():
                if quiet_s < now.local_s and copy.told_s.get(peer, float("-inf")) + PATIENCE_S < now.local_s:
                    actions += self._tell(now, copy, peer)
            if copy.reported_pieces != len(copy.blobs) and copy.reported_s + REPORT_S <= now.local_s:
                actions += self._report(now, copy)
        return actions + (self._arm(now, WAKE_LOOK, LOOK_S) if wanted else [])

    def _arm(self, now: Now, key: str, after_s: float) -> list[Action]:
        due_s = now.local_s + max(0.0, after_s)
        if self._wakes_s.get(key, float("inf")) <= due_s:
            return []
        self._wakes_s[key] = due_s
        return [WakeAt(key, due_s, lazy=True)]


def _hex(copy: Copy) -> str:
    return copy.manifest.digest.hex()
