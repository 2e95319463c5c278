"""What is in one host process?

A host process runs some nodes: one satellite or more, or the ground (stations and centre). All of it turns in one loop;
the ground's centre brings the journal and the job service with it. The supervisor speaks to it out of band.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from perigrid.errors import EnvironmentProblem, UsageError
from perigrid.live.blobs import held as held_blob
from perigrid.live.blobs import mapped
from perigrid.live.boardmodels import BoardModels
from perigrid.live.bus import Bus
from perigrid.live.cameras import Cameras, Observatory
from perigrid.live.clock import ClockPage
from perigrid.live.config import ModelFile, RunConfig, map_segment, open_plan, read_config, read_overlay, segment_path
from perigrid.live.devices import Device, PayloadGroup
from perigrid.live.driver import Board, Ground, Machine, NodeDriver
from perigrid.live.eventlog import EventLog
from perigrid.live.flash import Flash
from perigrid.live.journal import Journal, ResultsFile
from perigrid.live.lateness import LatenessMeter
from perigrid.live.loop import Loop
from perigrid.live.modelstore import GROUND_FOLDER, GroundModels
from perigrid.live.service_times import ServiceTimes
from perigrid.live.tracing import Tracer
from perigrid.mesh.outages import Outages
from perigrid.mesh.rates import slowest_ground_bps, slowest_laser_bps
from perigrid.mesh.routes import Routes
from perigrid.mesh.topology import Mesh
from perigrid.node.blobs import Blob
from perigrid.node.controller import Controller, ControllerConfig
from perigrid.node.copies import FLASH_BYTES
from perigrid.node.events import ControllerBooted, Exposed, Loaded, SatelliteBooted
from perigrid.node.frames import Priority, Probe
from perigrid.node.replies import Reply
from perigrid.node.satellite import Satellite, SatelliteConfig
from perigrid.node.station import Station
from perigrid.node.terminals import Overlay, Terminals
from perigrid.node.transfers import chunk_bytes
from perigrid.units import NodeId

PLAN_LOOK_WALL_S = 5.0
"""How often a host looks whether the next hour of the contact plan has been written; it is, long before it begins."""

WORKER_READY_LIMIT_S = 60.0


class Host:
    """One host process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.config: RunConfig = read_config(folder)
        self.mesh = Mesh(self.config.scenario)
        self.plan = open_plan(folder, self.config, self.mesh)
        self.routes = Routes(self.plan)
        self.loop = Loop(ClockPage(folder / "clock.page"))
        self.meter = LatenessMeter()
        self.log = EventLog(folder, name)
        self.bus = Bus(
            name, self.config, self.plan, Outages(self.config.scenario, self.mesh), self.loop, self.meter, self.log
        )
        self.bus.overlay = read_overlay(folder)
        self.drivers: dict[NodeId, NodeDriver] = {}
        self.tellers: list[Callable[[int, Reply], None]] = []
        self._folder = folder
        self._group = PayloadGroup()
        self._service_times = ServiceTimes(folder)
        self._copies: dict[NodeId, tuple[str, ...]] = {}
        self._fetched: dict[NodeId, tuple[tuple[str, Blob], ...]] = {}
        self._pushed: tuple[ModelFile, ...] = ()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="flash")
        self.cameras = Cameras(self.config.scenario, self.mesh, lambda: self.config.catalogue, self.loop, self._exposed)
        self.loop.after_turn.append(self.log.flush)
        spec = next(h for h in self.config.hosts if h.name == name)
        self.nodes = spec.nodes

    @property
    def running(self) -> int:
        """How many inferences are under way here."""
        return len(self._group.running)

    def start(self, first: bool) -> None:
        """Boot every node. `first` where the whole constellation starts, with its lasers acquired."""
        for node in self.nodes:
            self.boot(node, first)
        self.cameras.start(self.nodes)
        if self.mesh.ground in self.nodes:
            self.tellers.append(Observatory(self.mesh, self.loop, self.log).tell)
            self.tellers.append(Tracer(self.mesh, self.loop, self.log).tell)
        self._watch_plan()

    def boot(self, node: NodeId, first: bool) -> None:
        """Boot one node with what its flash, or the journal, holds."""
        name = self.mesh.names[node]
        if node in self.drivers:
            raise UsageError(f"{name} is running; kill it before it is rebooted.")
        terminals = Terminals(node, self.plan, self.bus.outages, acquired_at_start=first)
        scenario, ground = self.config.scenario, self.mesh.ground
        equipment: Ground | Board | None = None
        booted: SatelliteBooted | ControllerBooted | None = None
        machine: Machine
        if self.mesh.is_satellite(node):
            flash = Flash(Path("flash") / name)
            boot = _count_boot(name)
            device = self._device(name, flash)
            models = BoardModels(flash.models, device, self._writer, self.loop)
            equipment = Board(flash, device, self._writer, models)
            satellite = SatelliteConfig(
                node,
                ground,
                self.config.model_names,
                scenario.device.slots,
                slowest_laser_bps(scenario),
                slowest_ground_bps(scenario),
                scenario.processing,
                scenario.device.model_bytes or FLASH_BYTES,
                seed=scenario.seed,
            )
            machine = Satellite(satellite, boot, self.config.catalogue, self.plan, self.routes)
            booted = SatelliteBooted(flash.captures(), flash.results(), flash.models.booted())
        elif node == ground:
            equipment = self._ground()
            boot = equipment.journal.boots()
            satellites = self.mesh.satellite_ids
            slowest_bps = min(slowest_laser_bps(scenario), slowest_ground_bps(scenario))
            control = ControllerConfig(
                ground,
                satellites,
                self.mesh.names,
                self.config.model_names,
                self.config.lease_s,
                slowest_bps,
                scenario.processing,
                scenario.ground_device.slots,
            )
            machine = Controller(control, boot, self.config.catalogue, self.plan, self.routes)
            booted = ControllerBooted(equipment.journal.records(), GroundModels(GROUND_FOLDER).booted())
            self.learn_pushed()
        else:
            boot = _count_boot(name)
            machine = Station(node, boot, ground, self.plan, self.routes)
        driver = NodeDriver(node, name, machine, self.loop, self.bus, self.log, terminals, equipment)
        self.drivers[node] = driver
        driver.start(booted)
        if first and isinstance(machine, Satellite):
            self._replicate(driver, machine)

    def _exposed(self, node: NodeId, event: Exposed) -> None:
        """A sensor took a frame, if its satellite lives."""
        if node in self.drivers:
            self.drivers[node].feed(event)

    def crash(self, node: NodeId, lose_flash: bool) -> None:
        """Take one node down as a crash does; its neighbours in this process go on."""
        driver = self.drivers.pop(node, None)
        if driver is None:
            raise UsageError(f"{self.mesh.names[node]} is not running in this process.")
        driver.crash()
        if lose_flash:
            Flash(Path("flash") / driver.name).lose()

    def set_overlay(self, overlay: Overlay) -> None:
        """The world changed: let every node's terminals see it."""
        if overlay.version <= self.bus.overlay.version:
            return
        self.bus.see(overlay)
        for driver in list(self.drivers.values()):
            driver.look()

    def probe(self, source: NodeId, destination: NodeId, times_s: list[float], payload_bytes: int, bulk: bool) -> None:
        """Send probes from a node of this process at these sky times: frames without custody that mean nothing."""
        driver = self.drivers[source]
        relay = driver.machine.relay
        link = self.mesh.link_between(source, destination)
        payload = held_blob(bytes(payload_bytes)) if payload_bytes else None
        chunk = chunk_bytes(self.plan.line_rate_bps(link, source, self.loop.clock.now_s()))
        for number, time_s in enumerate(times_s):
            priority = Priority.BULK if bulk else Priority.CONTROL

            def send(number: int = number, priority: Priority = priority) -> None:
                body = Probe(number)
                for frame in relay.sender.frames(destination, body, priority=priority, payload=payload, chunk=chunk):
                    if link in driver.terminals.up:
                        self.bus.send(source, link, frame, self.loop.now_s())

            self.loop.at(max(time_s, self.loop.clock.now_s()), send)

    def fetch_models(self) -> None:
        """The run's configuration has grown: let the workers load what is new. It takes its time: not in the loop."""
        config = read_config(self._folder)
        names = [name for name in config.model_names if name not in self.config.model_names]
        for driver in list(self.drivers.values()):
            if isinstance(driver.equipment, Board):
                driver.equipment.device.learn(config.catalogue, names)
                self._fetched[driver.node] = self._new_captures(config, driver.node, driver.equipment.flash)

    def _new_captures(self, config: RunConfig, node: NodeId, flash: Flash) -> tuple[tuple[str, Blob], ...]:
        """Of the captures that are new, those that lie in a satellite's flash."""
        known = {capture.name for capture in self.config.catalogue.captures}
        mine = [c for c in config.catalogue.captures if c.name not in known and node in (c.owner, *c.replicas)]
        return tuple((c.name, mapped(flash.capture_path(c.name))) for c in mine if flash.holds(c.name))

    def load(self) -> None:
        """Tell every node what is new on board, once its worker serves it."""
        config = read_config(self._folder)
        models = tuple(name for name in config.model_names if name not in self.config.model_names)
        known = {capture.name for capture in self.config.catalogue.captures}
        captures = tuple(c for c in config.catalogue.captures if c.name not in known)
        preloaded = {source.name for source in config.loaded if source.preload_replicas}
        self.config = config
        for driver in list(self.drivers.values()):
            held = self._fetched.pop(driver.node, ())
            self._copies[driver.node] = tuple(
                c.name for c in captures if c.owner == driver.node and c.dataset not in preloaded
            )
            driver.feed(Loaded(models, captures, held))

    def learn_pushed(self) -> None:
        """Further models lie on the ground, ready to go up."""
        known = {file.entry.name for file in self.config.models}
        self._pushed = tuple(f for f in GroundModels(GROUND_FOLDER).files() if f.entry.name not in known)

    @property
    def models(self) -> tuple[ModelFile, ...]:
        """The models that may be asked for: those preloaded, and those that were ever pushed."""
        return (*self.config.models, *self._pushed)

    def send_copies(self) -> None:
        """Every node knows of the new captures: let copies of them set out."""
        copies, self._copies = self._copies, {}
        for node, names in copies.items():
            if names and node in self.drivers:
                self.drivers[node].feed(Loaded((), (), (), names))

    def _replicate(self, driver: NodeDriver, machine: Satellite) -> None:
        sources = {source.name: source for source in self.config.scenario.data}
        for capture in self.config.catalogue.captures:
            source = sources.get(capture.dataset)
            preloaded = source is not None and source.preload_replicas
            if capture.owner == driver.node and not preloaded:
                driver.do(machine.replicate(driver.now(), capture.name))

    def _device(self, name: str, flash: Flash) -> Device:
        # Read when the first task needs them: they are measured once all processes are there.
        service_s = None if self.config.free else self._service_times
        profile = self.config.scenario.device
        stated = profile.kind != "host"
        device = Device(
            name,
            self.loop,
            flash,
            self.config.catalogue,
            service_s,
            stated,
            self.meter,
            profile.slots,
            self._group,
        )
        if self.config.models and not device.wait_ready(WORKER_READY_LIMIT_S):
            raise EnvironmentProblem(
                f"the worker of {name} did not answer within {WORKER_READY_LIMIT_S:g} s; see the run's log folder."
            )
        return device

    def _ground(self) -> Ground:
        results = ResultsFile(self._folder / "ground" / "results.bin")
        journal = Journal(self._folder / "ground" / "journal.sqlite", results, self._journal_failed)
        return Ground(journal, results, self._tell)

    def _tell(self, client: int, reply: Reply) -> None:
        for tell in self.tellers:
            tell(client, reply)

    def _journal_failed(self, error: Exception) -> None:
        # Nothing may be acknowledged that is not durable: end, and let the supervisor start a new controller.
        os.write(2, f"the journal cannot be written ({error}); the ground process ends\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def _watch_plan(self) -> None:
        """Take up further hours of the contact plan as the supervisor writes them."""
        while segment_path(self._folder, self.plan.segment_count).exists():
            self.plan.add(map_segment(self._folder, self.plan.segment_count))
            for driver in self.drivers.values():
                driver.look()
        self.loop.at(self.loop.clock.now_s() + PLAN_LOOK_WALL_S * self.config.rate, self._watch_plan, lazy=True)


def _count_boot(name: str) -> int:
    """How often this node has booted: kept outside of its flash, so that numbers of a former life never come again."""
    path = Path("boots") / name
    boot = int(path.read_text()) + 1 if path.exists() else 1
    part = path.with_name(path.name + ".part")
    part.write_text(str(boot))
    part.replace(path)
    return boot
