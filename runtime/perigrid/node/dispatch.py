"""Which shard goes where now, and whose lease has run out?

Leases are durations on the controller's own clock, renewed by what satellites say of themselves. A satellite that the
ground has lost for reasons outside the plan gets a short grace; one that merely passed the horizon keeps its work until
the plan brings it back. Only satellites that can be reached now are given work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from perigrid.job.ledger import Ledger
from perigrid.job.placement import place, place_request
from perigrid.job.spec import Capture, Catalogue, Shard, plain_model
from perigrid.mesh.routes import NoPath, Path, Routes
from perigrid.node.actions import Action, Note, WakeAt
from perigrid.node.blobs import Blob
from perigrid.node.events import Now
from perigrid.node.frames import Assign, Priority
from perigrid.node.relay import Relay
from perigrid.node.transfers import chunk_bytes
from perigrid.units import MIB, NodeId

WAKE_LEASES = "controller/leases"
MAX_LEASED_SHARDS_PER_SATELLITE = 64
MAX_ATTEMPTS = 16
UNREACHABLE_GRACE_S = 0.5
"""How much longer the lease of a satellite lasts that faults have cut off: its last results may be on their way."""

MAX_ALTERNATIVE_HOLDERS = 8
MAX_INPUT_BYTES = 256 * MIB
"""Inputs of requests that are under way at a time."""


@dataclass(frozen=True, slots=True)
class DispatchConfig:
    """What a dispatcher is told: who there is, what nodes are called, how long leases are, the slowest link's rate."""

    satellites: tuple[NodeId, ...]
    names: tuple[str, ...]
    lease_s: float
    slowest_rate_bps: float


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What is to be placed: a job's shards, or a request's one with its input.

    For a request: `satellite` is the one that shall do it (None: any), `nearest` prefers the nearest to the least busy,
    `refused` are those that could not, and `asked` those that may have it in hand, with when they were asked (local);
    with a `trace_parent` its way is written down.
    """

    ledger: Ledger
    deadline_sky_s: float | None = None
    input: Blob | None = None
    satellite: NodeId | None = None
    nearest: bool = False
    refused: dict[NodeId, None] = field(default_factory=dict)
    asked: dict[NodeId, float] = field(default_factory=dict)
    trace_parent: bytes = b""


class Dispatcher:
    """Holders, suspects and leases; part of the controller's machine."""

    def __init__(self, relay: Relay, catalogue: Catalogue, config: DispatchConfig) -> None:
        self.relay = relay
        self.lease_s = config.lease_s
        self.suspects: dict[NodeId, None] = {}
        self.serves: Callable[[NodeId, str], bool] = lambda node, model: True
        self._config = config
        self._names = config.names
        self._holders: dict[str, dict[NodeId, None]] = {}
        self._owners: dict[str, NodeId] = {}
        self.learn(catalogue.captures)
        self._leased: dict[NodeId, int] = {}
        self._uploading: list[Work] = []
        self._wake_s = float("inf")

    @property
    def routes(self) -> Routes:
        """The routes of the relay beside this."""
        return self.relay.routes

    def learn(self, captures: Iterable[Capture]) -> None:
        """There are captures, each on the satellite that took it."""
        for capture in captures:
            self._holders.setdefault(capture.name, {capture.owner: None})
            self._owners[capture.name] = capture.owner

    def holders(self, capture: str) -> tuple[NodeId, ...]:
        """Who is known to hold a capture."""
        return tuple(self._holders[capture])

    def holds(self, satellite: NodeId, captures: tuple[str, ...]) -> None:
        """A satellite said what it holds; what it does not name, it has lost."""
        for capture, holders in self._holders.items():
            if capture in captures:
                if len(holders) < MAX_ALTERNATIVE_HOLDERS:
                    holders[satellite] = None
            elif satellite != self._owners[capture]:
                holders.pop(satellite, None)

    def path(self, now: Now, satellite: NodeId) -> Path | NoPath:
        """The way from the ground centre to a satellite as the ground knows it."""
        return self.routes.path(self.relay.node, satellite, now.sky_s, self.relay.dead())

    def renew(self, now: Now, ledger: Ledger, satellite: NodeId, shards: tuple[int, ...]) -> None:
        """A satellite has these shards in hand."""
        for index in shards:
            ledger.renew(index, satellite, now.local_s + self.lease_s)

    def refused(self, ledger: Ledger, index: int, satellite: NodeId) -> None:
        """A satellite cannot do a shard: it is not asked for that capture again until it says that it holds it."""
        capture = ledger.shards[index].capture
        ledger.reopen(index)
        if len(self._holders[capture]) > 1:
            self._holders[capture].pop(satellite, None)

    def run(
        self, now: Now, works: list[Work], epoch: int, paths_changed: bool, actions: list[Action]
    ) -> list[tuple[Ledger, int, str]]:
        """Expire, place and lease. Returns the shards whose attempts are used up, with the cause."""
        spent: list[tuple[Ledger, int, str]] = []
        paths: dict[NodeId, Path | NoPath] = {}
        ledgers = [work.ledger for work in works]
        for ledger in ledgers:
            if paths_changed:
                self._shorten(now, ledger, paths)
            self._expire(now, ledger, paths, actions)
        self._count(works)
        for work in works:
            self._assign(now, work, epoch, paths, actions, spent)
        self._arm(now, ledgers, actions)
        return spent

    def _path(self, now: Now, satellite: NodeId, paths: dict[NodeId, Path | NoPath]) -> Path | NoPath:
        if satellite not in paths:
            paths[satellite] = self.path(now, satellite)
        return paths[satellite]

    def _shorten(self, now: Now, ledger: Ledger, paths: dict[NodeId, Path | NoPath]) -> None:
        for index, lease in list(ledger.leases.items()):
            path = self._path(now, lease.satellite, paths)
            if isinstance(path, NoPath) and path.blocked_by:
                ledger.shorten(index, now.local_s + UNREACHABLE_GRACE_S)

    def _expire(self, now: Now, ledger: Ledger, paths: dict[NodeId, Path | NoPath], actions: list[Action]) -> None:
        for index, lease in list(ledger.leases.items()):
            if lease.expires_s > now.local_s:
                continue
            path = self._path(now, lease.satellite, paths)
            if isinstance(path, NoPath) and not path.blocked_by and path.until_s is not None:
                # It only passed the horizon: it goes on computing, and is heard again when the plan says so.
                beyond_s = path.until_s - now.sky_s + self.lease_s
                ledger.renew(index, lease.satellite, now.local_s + beyond_s)
                continue
            ledger.reopen(index)
            self.suspects[lease.satellite] = None
            fields: dict[str, str | int | float] = {"job": ledger.spec.job, "shard": index}
            actions.append(Note("lease-expired", 0, {**fields, "satellite": self._names[lease.satellite]}))

    def _count(self, works: list[Work]) -> None:
        self._leased = {}
        for work in works:
            for lease in work.ledger.leases.values():
                self._leased[lease.satellite] = self._leased.get(lease.satellite, 0) + 1
        self._uploading = [work for work in works if work.input is not None and work.ledger.leases]

    def _assign(
        self,
        now: Now,
        work: Work,
        epoch: int,
        paths: dict[NodeId, Path | NoPath],
        actions: list[Action],
        spent: list[tuple[Ledger, int, str]],
    ) -> None:
        ledger = work.ledger
        batches: dict[NodeId, list[tuple[Shard, int]]] = {}
        for capture, waiting in ledger.open.items():
            for index in list(waiting):
                if ledger.attempts.get(index, 0) >= MAX_ATTEMPTS:
                    spent.append((ledger, index, f"ATTEMPTS: {MAX_ATTEMPTS} attempts brought no result"))
                    continue
                satellite = self._place(now, work, capture, paths)
                if satellite is None:
                    break
                path = self._path(now, satellite, paths)
                delay_s = path.delay_s if isinstance(path, Path) else 0.0
                # A request's lease begins to count when its input can be there.
                upload_s = 0.0 if work.input is None else self._share_way_up(now, work, work.input.length, paths)
                lease = ledger.lease(index, satellite, now.local_s + self.lease_s + 2 * (delay_s + upload_s))
                self._leased[satellite] = self._leased.get(satellite, 0) + 1
                if work.input is not None:
                    work.asked[satellite] = now.local_s
                    self._uploading.append(work)
                batches.setdefault(satellite, []).append((ledger.shards[index], lease.attempt))
        for satellite, batch in batches.items():
            actions += self._say_assign(now, work, epoch, satellite, batch)

    def _share_way_up(self, now: Now, new: Work, size_bytes: int, paths: dict[NodeId, Path | NoPath]) -> float:
        """One more input goes up; how long that may take, s. Transfers take turns on a link, so that each one of those
        under way takes longer by at most its own size: their leases last as much longer.
        """
        total_bytes = size_bytes
        for work in self._uploading:
            lease = work.ledger.leases.get(0)
            if work is new or work.input is None or lease is None:
                continue
            shared_bytes = min(work.input.length, size_bytes)
            total_bytes += shared_bytes
            if isinstance(self._path(now, lease.satellite, paths), Path):
                longest_s = self.lease_s + 2 * self._upload_s(MAX_INPUT_BYTES)
                until_s = min(lease.expires_s + self._upload_s(shared_bytes), work.asked[lease.satellite] + longest_s)
                work.ledger.renew(0, lease.satellite, max(lease.expires_s, until_s))
        return self._upload_s(total_bytes)

    def _upload_s(self, size_bytes: int) -> float:
        return 8 * size_bytes / self._config.slowest_rate_bps

    def _place(self, now: Now, work: Work, capture: str, paths: dict[NodeId, Path | NoPath]) -> NodeId | None:
        def can_take(satellite: NodeId) -> bool:
            free = self._leased.get(satellite, 0) < MAX_LEASED_SHARDS_PER_SATELLITE
            free = free and self.serves(satellite, plain_model(work.ledger.spec.model))
            return free and isinstance(self._path(now, satellite, paths), Path)

        def queued(satellite: NodeId) -> int:
            return self._leased.get(satellite, 0)

        def delay_s(satellite: NodeId) -> float:
            path = self._path(now, satellite, paths)
            return path.delay_s if isinstance(path, Path) else float("inf")

        if work.input is not None:
            wanted = self._config.satellites if work.satellite is None else (work.satellite,)
            # Where all have refused, the bound on failures ends it, not a wait for nobody.
            able = [s for s in wanted if s not in work.refused] or wanted
            return place_request(able, can_take, self.suspects, queued, delay_s, work.nearest)
        return place(self._owners[capture], self._holders[capture], can_take, self.suspects, queued)

    def _say_assign(
        self, now: Now, work: Work, epoch: int, satellite: NodeId, batch: list[tuple[Shard, int]]
    ) -> list[Action]:
        spec = work.ledger.spec
        body = Assign(
            spec.job,
            spec.model,
            self.lease_s,
            spec.priority,
            tuple(shard for shard, _ in batch),
            tuple(attempt for _, attempt in batch),
            now.sky_s,
            work.deadline_sky_s,
        )
        frames = self.relay.sender.frames(
            satellite,
            body,
            priority=Priority.CONTROL if work.input is None else Priority.BULK,
            payload=work.input,
            chunk=chunk_bytes(self._config.slowest_rate_bps),
            epoch=epoch,
            trace_parent=work.trace_parent,
        )
        name, trace = self._names[satellite], frames[0].trace
        notes = [
            Note("assign", trace, {"job": spec.job, "shard": shard.index, "attempt": attempt, "satellite": name})
            for shard, attempt in batch
        ]
        return [*notes, *self.relay.submit(now, frames)]

    def _arm(self, now: Now, ledgers: list[Ledger], actions: list[Action]) -> None:
        expiries = (lease.expires_s for ledger in ledgers for lease in ledger.leases.values())
        due_s = min(expiries, default=float("inf"))
        if due_s == float("inf"):
            return
        if due_s < self._wake_s or self._wake_s <= now.local_s:
            self._wake_s = due_s
            actions.append(WakeAt(WAKE_LEASES, due_s, lazy=True))
