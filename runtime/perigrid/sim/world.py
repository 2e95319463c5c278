"""What would happen, in virtual time?

The machines of the live world on one virtual clock: links with the same channels, frames through the same codec,
disks in memory, and every fault from one seed. Nothing waits, so hours pass in milliseconds, and equal seeds give
equal runs in every process.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from perigrid.errors import Bug
from perigrid.job.spec import Catalogue, plain_model
from perigrid.mesh.channel import Channel
from perigrid.mesh.equipment import processing_s
from perigrid.mesh.outages import Outages
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.rates import slowest_ground_bps, slowest_laser_bps
from perigrid.mesh.routes import Routes
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.node.actions import (
    AbandonInference,
    Action,
    DropModel,
    DropQueued,
    ForgetResults,
    Infer,
    JoinPieces,
    KeepCapture,
    KeepPiece,
    KeepResult,
    Note,
    OpenModel,
    Persist,
    Recall,
    RehashModel,
    Send,
    ServeModel,
    Tell,
    WakeAt,
    WithdrawModel,
)
from perigrid.node.blobs import Blob, Piece
from perigrid.node.controller import Controller, ControllerConfig
from perigrid.node.copies import FLASH_BYTES, SCRUB_S
from perigrid.node.events import (
    ControllerBooted,
    Event,
    FrameArrived,
    HeldResult,
    InferenceEnded,
    Kept,
    Now,
    SatelliteBooted,
    Woken,
)
from perigrid.node.frames import Frame, Priority, flow_of, size_on_link_bytes
from perigrid.node.replies import Reply
from perigrid.node.satellite import Satellite, SatelliteConfig
from perigrid.node.station import Station
from perigrid.node.terminals import Overlay, Terminals
from perigrid.scenario.model import Fault, Scenario
from perigrid.sim.blobs import SimBlob, join, sim_blob
from perigrid.sim.disk import SimFlash, SimJournal
from perigrid.sim.faults import CALM, Weather
from perigrid.units import NodeId
from perigrid.wire.codec import Stamp, check_payload, decode, encode

MAX_EVENTS = 5_000_000
"""A run that takes more is taken for one that never ends."""

PLAN_AHEAD = 0.5
"""The next segment of the contact plan is added when less than this share of one is left."""

Machine = Satellite | Station | Controller


def simulated_result(model: str, capture: bytes, tiles: tuple[int, ...]) -> bytes:
    """What a simulated device computes: a pure function of its inputs, 64 bytes a tile."""
    return b"".join(hashlib.blake2b(f"{model}/{tile}/".encode() + capture).digest() for tile in tiles)


@dataclass(slots=True)
class SimNode:
    """One node: its machine while it lives, and what outlives it."""

    node: NodeId
    machine: Machine | None = None
    boot: int = 0
    born_s: float = 0.0
    skew: float = 1.0
    terminals: Terminals | None = None
    look_s: float = float("inf")
    wakes: dict[str, int] = field(default_factory=dict)
    wake_count: int = 0
    flash: SimFlash = field(default_factory=SimFlash)
    journal: SimJournal = field(default_factory=SimJournal)
    results: dict[bytes, bytes] = field(default_factory=dict)


def even_cloud(frame: str, tile: int) -> float:
    """A share of cloud for each tile of each frame, evenly spread over 0 to 1."""
    return int.from_bytes(hashlib.blake2b(f"{frame}/{tile}".encode(), digest_size=8).digest(), "little") / 2.0**64


@dataclass(frozen=True, slots=True)
class SimConfig:
    """How a simulated run is set up beyond its scenario.

    `model_s` are seconds a tile by model on board, `ground_s` those of the ground's computer, else `service_s`;
    `answer_bytes` are bytes a tile of results by model; `cloud_of` says how much of a frame's tile is cloud.
    """

    seed: int = 0
    weather: Weather = CALM
    lease_s: float = 2.0
    service_s: float = 0.05
    model_s: Mapping[str, float] = field(default_factory=dict)
    ground_s: Mapping[str, float] = field(default_factory=dict)
    answer_bytes: Mapping[str, int] = field(default_factory=dict)
    cloud_of: Callable[[str, int], float] = even_cloud
    commit_s: float = 0.002
    skew: float = 0.0
    capture_bytes: int = 100_000
    model_bytes: int = FLASH_BYTES
    scrub_s: float = SCRUB_S


class World:
    """A constellation in virtual time. `run_until` moves it; `submit` and friends speak to its controller."""

    def __init__(self, scenario: Scenario, catalogue: Catalogue, config: SimConfig) -> None:
        self.scenario = scenario
        self.mesh = Mesh(scenario)
        self.plan = ContactPlan(scenario, self.mesh)
        self.plan.add(compute_segment(scenario, self.mesh, 0))
        self.routes = Routes(self.plan)
        self.outages = Outages(scenario, self.mesh)
        self.catalogue = catalogue
        self.config = config
        self.sky_s = 0.0
        self.overlay = Overlay()
        self.notes: list[tuple[float, str, Note]] = []
        self.replies: list[tuple[float, int, Reply]] = []
        self.on_reply: Callable[[int, Reply], None] | None = None
        self.on_note: Callable[[NodeId, Note], None] | None = None
        self.keep_notes = True
        self.keep_replies = True
        self.bytes_sent: dict[LinkKind, int] = {}
        self.ground_models: dict[bytes, tuple[Blob, ...]] = {}
        """The ground's own copies of models that are pushed, in pieces; they outlive its crashes."""
        self._random = random.Random(config.seed)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._sequence = 0
        self._channels: dict[tuple[Link, NodeId], Channel] = {}
        self._pumps: dict[tuple[Link, NodeId], float] = {}
        self.nodes = [SimNode(NodeId(n)) for n in range(len(self.mesh.names))]
        self._set_up()

    # --- what tests and commands do

    def request(self, event: Event) -> None:
        """Hand a client's request to the controller, if there is one now."""
        self._feed(self.nodes[self.mesh.ground], event)

    def tell(self, node: NodeId, event: Event) -> None:
        """Hand an event to a node's machine, if it lives: its sensor took a frame."""
        self._feed(self.nodes[node], event)

    def at(self, sky_s: float, action: Callable[[], None]) -> None:
        """Do something at a sky time."""
        self._count += 1
        heapq.heappush(self._queue, (sky_s, self._count, action))

    def inject(self, fault: Fault) -> None:
        """Do what a fault says, now."""
        a = self.mesh.id_of(fault.a)
        if fault.action in ("cut", "heal"):
            b = self.mesh.id_of(fault.b or "")
            cuts = {k: v for k, v in self.overlay.cuts.items() if k not in ((a, b), (b, a))}
            if fault.action == "cut":
                cuts |= {(a, b): self.sky_s, (b, a): self.sky_s}
            self._overlay(cuts, self.overlay.dead)
        elif fault.action == "kill":
            self.kill(a)
        else:
            self.reboot(a)

    def kill(self, node: NodeId, lose_flash: bool = False) -> None:
        """A node is gone at once, with all that was not in flash or durable."""
        record = self.nodes[node]
        record.machine, record.terminals = None, None
        record.wakes.clear()
        record.journal.crash()
        if lose_flash:
            record.flash = SimFlash()
        for link in self.plan.links_of(node):
            self._channel(link, node).clear()
        self._overlay(self.overlay.cuts, {**self.overlay.dead, node: self.sky_s})

    def reboot(self, node: NodeId) -> None:
        """A dead node starts anew with what its flash, or its journal, holds."""
        if self.nodes[node].machine is not None:
            return
        self._overlay(self.overlay.cuts, {k: v for k, v in self.overlay.dead.items() if k != node})
        self._boot(self.nodes[node], first=False)

    def run_until(self, sky_s: float, done: Callable[[], bool] | None = None) -> bool:
        """Let virtual time pass until then, or until `done` says so; whether it did."""
        for _ in range(MAX_EVENTS):
            if done is not None and done():
                return True
            if not self._queue or self._queue[0][0] > sky_s:
                self.sky_s = max(self.sky_s, sky_s)
                return done is not None and done()
            due_s, _, action = heapq.heappop(self._queue)
            self.sky_s = max(self.sky_s, due_s)
            action()
        raise Bug(f"a simulated run took more than {MAX_EVENTS} events: something never ends")

    # --- the world

    def _set_up(self) -> None:
        for fault in self.scenario.faults:
            self.at(fault.at_s, lambda fault=fault: self.inject(fault))  # type: ignore[misc]
        for capture in self.catalogue.captures:
            data = hashlib.blake2b(capture.name.encode()).digest() * (self.config.capture_bytes // 64)
            self.nodes[capture.owner].flash.captures[capture.name] = data
        for record in self.nodes:
            record.skew = 1 + self._random.uniform(-self.config.skew, self.config.skew)
            self._boot(record, first=True)
        self._extend_plan_later()

    def _extend_plan_later(self) -> None:
        self.at(self.plan.horizon_s - PLAN_AHEAD * self.plan.segment_s, self._extend_plan)

    def _extend_plan(self) -> None:
        """Add the next segment of the plan, and let every node's terminals see what it has."""
        plan = self.plan
        plan.add(compute_segment(self.scenario, self.mesh, plan.segment_count, plan.last_segment()))
        for record in self.nodes:
            self._look(record)
        self._extend_plan_later()

    def _boot(self, record: SimNode, first: bool) -> None:
        record.boot += 1
        record.born_s, record.look_s = self.sky_s, float("inf")
        scenario, mesh, node = self.scenario, self.mesh, record.node
        ground = mesh.ground
        if node < mesh.satellite_count:
            satellite = SatelliteConfig(
                node,
                ground,
                scenario.models,
                scenario.device.slots,
                slowest_laser_bps(scenario),
                slowest_ground_bps(scenario),
                scenario.processing,
                scenario.device.model_bytes or self.config.model_bytes,
                self.config.scrub_s,
                self.config.seed,
            )
            machine: Machine = Satellite(satellite, record.boot, self.catalogue, self.plan, self.routes)
        elif node == ground:
            satellites = tuple(NodeId(n) for n in range(mesh.satellite_count))
            slowest_bps = min(slowest_laser_bps(scenario), slowest_ground_bps(scenario))
            controller = ControllerConfig(
                ground,
                satellites,
                mesh.names,
                scenario.models,
                self.config.lease_s,
                slowest_bps,
                scenario.processing,
                scenario.ground_device.slots,
            )
            machine = Controller(controller, record.boot, self.catalogue, self.plan, self.routes)
        else:
            machine = Station(node, record.boot, ground, self.plan, self.routes)
        record.machine = machine
        record.terminals = Terminals(node, self.plan, self.outages, acquired_at_start=first)
        self._look(record)
        self._feed_boot(record, first)

    def _feed_boot(self, record: SimNode, first: bool) -> None:
        if isinstance(record.machine, Satellite):
            captures = tuple((name, sim_blob(data)) for name, data in record.flash.captures.items())
            results, models = tuple(record.flash.results.values()), record.flash.models.booted()
            self._feed(record, SatelliteBooted(captures, results, models))
            if first:
                for capture in self.catalogue.captures:
                    if capture.owner == record.node:
                        self._do(record, record.machine.replicate(self._now(record), capture.name))
        elif isinstance(record.machine, Controller):
            self._feed(record, ControllerBooted(tuple(record.journal.durable), tuple(self.ground_models.items())))

    def _overlay(self, cuts: dict[tuple[NodeId, NodeId], float], dead: dict[NodeId, float]) -> None:
        self.overlay = Overlay(self.overlay.version + 1, cuts, dead)
        for record in self.nodes:
            if record.machine is not None:
                self._look(record)

    def _look(self, record: SimNode) -> None:
        """Let a node's terminals see what changed, and look again when the next change can be."""
        terminals, boot = record.terminals, record.boot
        if terminals is None:
            return
        for event in terminals.update(self.sky_s, self.overlay):
            self._feed(record, event)
        next_s = terminals.next_change_s(self.sky_s)
        if next_s < self.plan.horizon_s and (next_s < record.look_s or record.look_s <= self.sky_s):
            record.look_s = next_s
            self.at(next_s, lambda: self._look(record) if record.boot == boot else None)

    def _now(self, record: SimNode) -> Now:
        return Now((self.sky_s - record.born_s) * record.skew, self.sky_s)

    def _feed(self, record: SimNode, event: Event) -> None:
        if record.machine is not None:
            self._do(record, record.machine.handle(self._now(record), event))

    def _do(self, record: SimNode, actions: list[Action] | tuple[Action, ...]) -> None:
        for action in actions:
            self._act(record, action)

    def _act(self, record: SimNode, action: Action) -> None:
        match action:
            case Send(link, frame):
                self._send(record, link, frame)
            case DropQueued(link):
                self._channel(link, record.node).clear()
            case WakeAt(key, local_s, _):
                self._wake_at(record, key, local_s)
            case Infer():
                self._infer(record, action)
            case AbandonInference():
                # The machine ignores what ends without being wanted.
                pass
            case JoinPieces(key, pieces, digest):
                data = join(pieces)
                self._feed(record, Kept(key, sim_blob(data), hashlib.sha256(data).digest() == digest))
            case KeepCapture(key, capture, pieces, digest):
                data = join(pieces)
                intact = hashlib.sha256(data).digest() == digest
                if intact:
                    record.flash.captures[capture] = data
                self._feed(record, Kept(key, sim_blob(data), intact))
            case KeepResult():
                self._keep_result(record, action)
            case OpenModel() | KeepPiece() | RehashModel() | ServeModel() | WithdrawModel() | DropModel():
                answer = record.flash.models.do(action)
                if answer is not None:
                    self._feed(record, answer)
            case ForgetResults(job, shards):
                for shard in shards:
                    record.flash.results.pop((job, shard), None)
            case Persist(records, then):
                record.journal.write(records, then)
                boot = record.boot
                due_s = self.sky_s + self.config.commit_s
                self.at(due_s, lambda: self._commit(record) if record.boot == boot else None)
            case Recall(event):
                self._feed(record, event)
            case Tell(client, reply):
                if self.keep_replies:
                    self.replies.append((self.sky_s, client, reply))
                if self.on_reply is not None:
                    self.on_reply(client, reply)
            case Note():
                if self.on_note is not None:
                    self.on_note(record.node, action)
                if self.keep_notes:
                    self.notes.append((self.sky_s, self.mesh.names[record.node], action))

    def _commit(self, record: SimNode) -> None:
        if record.machine is not None:
            self._do(record, record.journal.commit())

    def _keep_result(self, record: SimNode, action: KeepResult) -> None:
        data = join(action.pieces)
        intact = hashlib.sha256(data).digest() == action.digest
        blob = sim_blob(data)
        if isinstance(record.machine, Satellite):
            held = HeldResult(action.job, action.shard, blob, action.stages)
            record.flash.results[action.job, action.shard] = held
        elif intact:
            record.results[action.digest] = data
        self._feed(record, Kept(action.key, blob, intact))

    def _infer(self, record: SimNode, action: Infer) -> None:
        data = join(action.input) if action.shard.is_request else record.flash.captures[action.shard.capture]
        at_ground = record.node == self.mesh.ground
        answer_bytes = self.config.answer_bytes.get(plain_model(action.model))
        if answer_bytes is None:
            result = sim_blob(simulated_result(action.model, data, action.shard.tiles))
        else:
            result = sim_blob(bytes(answer_bytes * len(action.shard.tiles)))
        times_s = self.config.ground_s if at_ground else self.config.model_s
        tile_s = times_s.get(plain_model(action.model), self.config.service_s)
        service_s = tile_s * len(action.shard.tiles) + action.extra_s
        kept = None
        if action.discard_share is not None:
            tiles = action.shard.tiles
            kept = tuple(n for n, t in enumerate(tiles) if self.config.cloud_of(action.job, t) < action.discard_share)
        event = InferenceEnded(action.task, result, service_s, 0.0, service_s, kept)
        boot = record.boot
        due_s = self.sky_s + service_s
        self.at(due_s, lambda: self._feed(record, event) if record.boot == boot else None)

    def _wake_at(self, record: SimNode, key: str, local_s: float) -> None:
        record.wake_count += 1
        token = record.wakes[key] = record.wake_count
        due_s = max(self.sky_s, record.born_s + local_s / record.skew)

        def wake() -> None:
            if record.wakes.get(key) == token:
                del record.wakes[key]
                now = self._now(record)
                # Rounding must not wake a machine before its time: it would ask for the same wake-up for ever.
                now = Now(max(now.local_s, local_s), now.sky_s)
                if record.machine is not None:
                    self._do(record, record.machine.handle(now, Woken(key)))

        self.at(due_s, wake)

    # --- links

    def _channel(self, link: Link, sender: NodeId) -> Channel:
        channel = self._channels.get((link, sender))
        if channel is None:
            channel = Channel(
                lambda t: self.plan.line_rate_bps(link, sender, t),
                lambda t: self.plan.state(link, t).delay_s,
                processing_s(self.scenario, self.mesh, link, sender),
            )
            self._channels[link, sender] = channel
        return channel

    def _send(self, record: SimNode, link: Link, frame: Frame) -> None:
        if record.terminals is None or link not in record.terminals.up:
            return
        channel = self._channel(link, record.node)
        control = frame.priority is Priority.CONTROL
        channel.push(frame, size_on_link_bytes(frame), control, self.sky_s, flow_of(frame))
        self._pump(link, record.node)

    def _pump(self, link: Link, sender: NodeId) -> None:
        channel = self._channel(link, sender)
        for departure in channel.pump(self.sky_s, 0.0):
            frame = departure.frame
            if not isinstance(frame, Frame):
                raise Bug("a channel held something that is no frame")
            self._sequence += 1
            stamp = Stamp(
                link,
                sender,
                departure.start_s,
                departure.due_s,
                self._sequence,
                departure.end_s,
                departure.processing_s,
            )
            self._carry(frame, stamp)
        next_s = channel.next_pump_s
        if next_s < self._pumps.get((link, sender), float("inf")):
            self._pumps[link, sender] = next_s
            self.at(next_s, lambda: self._pump_again(link, sender, next_s))

    def _pump_again(self, link: Link, sender: NodeId, due_s: float) -> None:
        if self._pumps.get((link, sender)) == due_s:
            del self._pumps[link, sender]
            self._pump(link, sender)

    def _carry(self, frame: Frame, stamp: Stamp) -> None:
        weather, chance = self.config.weather, self._random
        size = size_on_link_bytes(frame)
        self.bytes_sent[stamp.link.kind] = self.bytes_sent.get(stamp.link.kind, 0) + size
        payload = join((frame.payload,)) if frame.payload is not None else b""
        header = encode(frame, stamp, payload)
        copies = 1 + (chance.random() < weather.duplicate)
        for _ in range(copies):
            if chance.random() < weather.loss:
                continue
            due_s = stamp.due_s + chance.random() * weather.jitter_s
            self.at(due_s, lambda: self._land(header, payload))

    def _land(self, header: bytes, payload: bytes) -> None:
        frame, stamp, length, crc32 = decode(header)
        check_payload(payload, length, crc32)
        receiver = stamp.link.other(stamp.from_node)
        record = self.nodes[receiver]
        if self.outages.is_out(stamp.link, stamp.sent_s):
            return
        if record.terminals is None or not self.overlay.carries(stamp.from_node, receiver, stamp.sent_s):
            return
        if payload:
            piece = Piece(SimBlob(b"", length, payload), 0, length)
            frame = msgspec.structs.replace(frame, payload=piece)
        self._feed(record, FrameArrived(stamp.link, frame))
