"""How is a whole latency run measured?

Every configuration twice (A/A). On real processes: inference in orbit, from the ground and on board, at the same
instants of the orbit. In virtual time: every arm over the same captures, links and contacts, since a bent pipe waits
for hours; in-orbit inference too, so that the two worlds can be compared. Bare onnxruntime before and after all of it.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from perigrid.bench.arena import arena
from perigrid.bench.latency.environment import environment_here
from perigrid.bench.latency.live import LiveRun
from perigrid.bench.latency.payloads import bare, measured_s, requests_of, sizes_of
from perigrid.bench.latency.rate_search import RateSearch, search
from perigrid.bench.latency.rows import Arm, Mode, Origin, Row, Series, Stratum, World
from perigrid.bench.latency.schedule import length_of, strata_of
from perigrid.bench.latency.summary import Assumption, LatencyRun, RatePiece, RunFacts, Span
from perigrid.bench.latency.virtual import VirtualRun
from perigrid.bench.latency.worlds import TREATMENTS, Configuration, Costs, sensor_of
from perigrid.errors import UsageError
from perigrid.live.clients import SupervisorClient
from perigrid.live.launch import ALLOCATOR_SETTINGS, LaunchOptions
from perigrid.live.models import ModelStore, default_cache
from perigrid.live.rundir import RunDirectory
from perigrid.live.scenes import SceneSearch, load_scene
from perigrid.live.service_times import ServiceTimes
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import Device, Scenario, Sensor
from perigrid.sky.eclipse import eclipses
from perigrid.sky.fleet import Fleet
from perigrid.units import EARTH_MU_KM3_S2
from perigrid.wire.generated.open_inference_pb2 import ModelInferRequest

Say = Callable[[str], None]
REPEATS = ("a", "b")
LIVE_ARMS = (Arm.IN_ORBIT, Arm.CASCADE)
GROUND_ARMS = (Arm.IN_ORBIT, Arm.BARE)
OFFERED_LOAD = 0.5
"""The part of a computer's capacity that Server offers where no rate is given."""

SEARCH_LOADS = (0.05, 1.5)
"""Between which parts of it the highest rate is sought."""

BARE_SAMPLES = 60
START_S = 60.0
"""Emulated seconds before the first stratum: everything has settled by then."""


@dataclass(frozen=True, slots=True)
class LatencyOptions:
    """What is measured, and how long: `duration_s` of emulated time for each series, over `strata` instants."""

    model: str
    modes: tuple[Mode, ...] = (Mode.SINGLE_STREAM, Mode.SERVER)
    origins: tuple[Origin, ...] = (Origin.GROUND, Origin.BOARD)
    arms: tuple[Arm, ...] = tuple(Arm)
    worlds: tuple[World, ...] = tuple(World)
    duration_s: float = 60.0
    strata: int = 20
    warm_up_s: float = 0.0
    satellite: str = ""
    slo_s: float | None = None
    offered_per_s: float | None = None
    find_rate: bool = False
    seed: int = 1
    rate: float | Literal["auto"] = "auto"
    traced: bool = True


class LatencyBench:
    """One latency run on one scenario."""

    def __init__(self, scenario: Scenario, options: LatencyOptions, root: Path, say: Say) -> None:
        models = tuple(dict.fromkeys((*scenario.models, options.model)))
        self._sensor = sensor_of(scenario, options.model)
        if Arm.CASCADE in options.arms:
            models = tuple(dict.fromkeys((*models, self._sensor.filter_model)))
        self._given = scenario
        self._scenario = msgspec.structs.replace(scenario, models=models, sensors=())
        self._options = options
        self._root = root
        self._say = say
        self._mesh = Mesh(self._scenario)
        self._store = ModelStore(cache=default_cache(os.environ))
        self._satellite = options.satellite or self._mesh.names[0]
        if not self._mesh.is_satellite(self._mesh.id_of(self._satellite)):
            raise UsageError(f"--satellite {self._satellite} is no satellite: name one, as {self._mesh.names[0]}.")
        self._environment = environment_here(os.environ, {}, ALLOCATOR_SETTINGS)
        self._searches: dict[str, RateSearch] = {}
        self._rates: tuple[RatePiece, ...] = ()
        self._notes: list[str] = []
        self._measured: dict[str, float] | None = None

    def measure(self) -> LatencyRun:
        """All of it."""
        options = self._options
        started = datetime.now(UTC).isoformat(timespec="seconds")
        period_s, length_s = self._orbit_period_s(), length_of(options.duration_s, options.strata)
        strata = strata_of(START_S, period_s, length_s, options.seed, options.strata, options.warm_up_s)
        self._check()
        search_for = SceneSearch.from_environment(os.environ)
        label = self._scenario.data[0].label if self._scenario.data else "sentinel2"
        scene = load_scene(label, search_for)
        requests = requests_of(self._store, options.model, scene)
        series: list[Series] = []
        if World.BARE in options.worlds:
            series += self._bare(label, "a")
        live, board_s = self._live(strata, requests) if World.LIVE in options.worlds else ([], {})
        series += live
        costs = self._costs(board_s, requests)
        if World.SIM in options.worlds:
            series += self._virtual(strata, costs, live)
        if World.BARE in options.worlds:
            series += self._bare(label, "b")
        return LatencyRun(
            facts=self._facts(started, period_s),
            environment=self._environment,
            series=tuple(series),
            spans=self._spans(START_S, START_S + period_s),
            rate_history=self._rates,
            searches=self._searches,
        )

    # --- what to measure

    def _check(self) -> None:
        """UsageError where nothing would be measured, or where virtual time would not know how long a model takes."""
        options, worlds = self._options, self._options.worlds
        arms = set(TREATMENTS if World.SIM in worlds else LIVE_ARMS if World.LIVE in worlds else ()) & set(options.arms)
        if options.origins == (Origin.GROUND,):
            arms &= set(GROUND_ARMS)
        if not arms and not (World.BARE in worlds and Arm.BARE in options.arms):
            raise UsageError(
                "nothing is left to measure: none of --arms is measured in these --worlds and --from there."
            )
        if World.SIM in worlds and arms:
            for name in (options.model, *((self._sensor.filter_model,) if Arm.CASCADE in arms else ())):
                self._tile_s(self._scenario.device, name)
            if arms & {Arm.BENT_PIPE, Arm.BENT_PIPE_LASERS}:
                self._tile_s(self._scenario.ground_device, options.model)

    def _tile_s(self, device: Device, model: str) -> float:
        """Seconds that a model takes for a tile on a device; UsageError where nobody stated or measured it."""
        tile_s = self._times(device).get(model)
        if tile_s is None:
            raise UsageError(
                f"how long {model} takes on {device.name} is neither stated nor measured, and virtual time would have "
                "to make it up: state it in the device's service_s, or take --worlds live,bare with --qps."
            )
        return tile_s

    def _configurations(self, world: World, arms: Iterable[Arm]) -> list[Configuration]:
        """Each configuration twice, in the order of the options."""
        options, found = self._options, []
        for mode in options.modes:
            for origin in options.origins:
                for arm in arms:
                    if (
                        arm not in options.arms
                        or arm is Arm.BARE
                        or (origin is Origin.GROUND and arm not in GROUND_ARMS)
                    ):
                        continue
                    for repeat in REPEATS:
                        found.append(
                            Configuration(
                                world,
                                arm,
                                origin,
                                mode,
                                repeat,
                                # The same captures at the same times in every arm. Virtual time takes no two draws
                                # differently, so there a repeat is another draw.
                                options.seed + (REPEATS.index(repeat) if world is World.SIM else 0),
                                self._satellite if origin is Origin.BOARD else options.satellite,
                                options.slo_s,
                                self._offered(origin) if mode is Mode.SERVER else None,
                                options.traced,
                            )
                        )
        return found

    def _items(self, origin: Origin) -> int:
        """Tiles of a sample: a client asks for one, a frame has several."""
        return self._sensor.tiles if origin is Origin.BOARD else 1

    def _offered(self, origin: Origin) -> float:
        if self._options.offered_per_s is not None:
            return self._options.offered_per_s
        return OFFERED_LOAD * self._capacity_per_s(origin)

    def _capacity_per_s(self, origin: Origin) -> float:
        """Samples a second that one computer can do."""
        tile_s = self._tile_s(self._scenario.device, self._options.model)
        return self._scenario.device.slots / (tile_s * self._items(origin))

    def _times(self, device: Device) -> dict[str, float]:
        """Seconds a tile of each model on a device; those of this machine are measured once."""
        if device.kind != "host":
            return dict(device.service_s)
        if self._measured is None:
            self._say("measuring this machine: CPU seconds a tile")
            self._measured = measured_s(self._store, self._scenario.models)
        return self._measured

    def _costs(self, board_s: dict[str, float], requests: Sequence[ModelInferRequest]) -> Costs:
        """What work costs in virtual time: on board as the live run had it, if there was one."""
        options = self._options
        sizes = sizes_of(self._store, options.model, list(requests))
        masks = [
            (name, entry.mask.tile_px**2 // 4)
            for name in self._scenario.models
            if self._store.knows(name) and (entry := self._store.entry(name)).mask is not None
        ]
        board = {**self._times(self._scenario.device), **board_s}
        ground = self._times(self._scenario.ground_device)
        if self._scenario.ground_device.kind == "host":
            ground = {**ground, **board_s} if self._scenario.device.kind == "host" else ground
        return Costs(board, ground, dict(masks), *sizes)

    # --- the worlds

    def _live(
        self, strata: Sequence[Stratum], requests: Sequence[ModelInferRequest]
    ) -> tuple[list[Series], dict[str, float]]:
        options = self._options
        configurations = self._configurations(World.LIVE, LIVE_ARMS)
        if not configurations:
            return [], {}
        self._say(f"bringing up {self._scenario.name} with {self._mesh.satellite_count} satellites")
        with tempfile.TemporaryDirectory(prefix="latency-", dir=self._root) as folder:
            launch = LaunchOptions(rate=options.rate)
            with arena(self._scenario, Path(folder), "latency", launch) as (run, info):
                board_s = ServiceTimes(run.path).all()
                live = LiveRun(run, info.gateway, requests, self._sensor)
                try:
                    found = live.measure(configurations, strata, options.warm_up_s, self._say)
                    if options.find_rate:
                        self._notes.append("Server's highest rate is sought in virtual time.")
                finally:
                    live.close()
                self._rates = _rates_of(run)
        return found, board_s

    def _virtual(self, strata: Sequence[Stratum], costs: Costs, live: Sequence[Series]) -> list[Series]:
        options, found = self._options, []
        instants = {(s.mode, s.origin, s.arm, s.repeat): s.strata for s in live}
        for one in self._configurations(World.SIM, TREATMENTS):
            own = instants.get((one.mode, one.origin, Arm.IN_ORBIT, one.repeat), tuple(strata))
            self._say(f"virtual time: {one.name}, repeat {one.repeat}")
            measure = VirtualRun(self._scenario, self._sensor, options.model, costs, one).measure
            found.append(measure(own, options.warm_up_s))
            if options.find_rate and one.mode is Mode.SERVER and one.repeat == REPEATS[0] and options.slo_s is not None:
                self._searches[one.name] = self._sought(one, own, costs, options.slo_s)
        return found

    def _sought(self, one: Configuration, strata: Sequence[Stratum], costs: Costs, slo_s: float) -> RateSearch:
        """The highest rate of Server that keeps a bound."""
        self._say(f"seeking the highest rate of {one.name} within {slo_s:g} s")

        def run(rate_per_s: float) -> Series:
            configuration = replace(one, offered_per_s=rate_per_s)
            return VirtualRun(self._scenario, self._sensor, self._options.model, costs, configuration).measure(strata)

        capacity_per_s = self._capacity_per_s(one.origin)
        return search(run, slo_s, SEARCH_LOADS[0] * capacity_per_s, SEARCH_LOADS[1] * capacity_per_s)

    def _bare(self, label: str, repeat: str) -> list[Series]:
        """Bare onnxruntime on the samples of each configuration: nothing is faster on this machine."""
        options, found = self._options, []
        if Arm.BARE not in options.arms:
            return []
        entry = self._store.entry(options.model) if self._store.knows(options.model) else None
        if entry is None or entry.mask is None:
            self._notes.append(f"bare was not measured: {options.model} gives no mask")
            return []
        self._say(f"bare onnxruntime, repeat {repeat}")
        tiles_s = bare(options.model, label, BARE_SAMPLES * self._sensor.tiles, os.environ)
        for mode in options.modes:
            for origin in options.origins:
                items = self._items(origin)
                times_s = [sum(tiles_s[n : n + items]) for n in range(0, len(tiles_s) - items + 1, items)]
                found.append(_bare_series(mode, origin, repeat, times_s, items))
        return found

    # --- the world around

    def _orbit_period_s(self) -> float:
        """From node to node of the measured satellite, by where it stands: emulated seconds."""
        fleet, node = Fleet.of(self._scenario), int(self._mesh.id_of(self._satellite))
        position = fleet.positions_of_eci_km(np.array([node]), np.array([0.0]))[0]
        radius_km = float(np.linalg.norm(position))
        return 2 * np.pi * float(np.sqrt(radius_km**3 / EARTH_MU_KM3_S2)) / self._scenario.clock.orbit_rate

    def _spans(self, start_s: float, end_s: float) -> tuple[Span, ...]:
        scenario, mesh = self._scenario, self._mesh
        plan = ContactPlan(scenario, mesh)
        plan.add(compute_segment(scenario, mesh, 0))
        while plan.horizon_s < end_s:
            plan.add(compute_segment(scenario, mesh, plan.segment_count, plan.last_segment()))
        node = mesh.id_of(self._satellite)
        found = []
        for link in plan.links_of(node):
            if link.kind is LinkKind.RADIO:
                name = f"{self._satellite} over {mesh.names[link.other(node)]}"
                found += [
                    Span(kind="contact", name=name, start_s=a, end_s=b) for a, b in _ups(plan, link, start_s, end_s)
                ]
        rate = scenario.clock.orbit_rate
        fleet = Fleet.of(scenario)
        shadow = [one for one in eclipses(fleet, scenario.epoch, start_s * rate, end_s * rate) if one.satellite == node]
        found += [
            Span(kind="eclipse", name=self._satellite, start_s=e.enter_s / rate, end_s=e.leave_s / rate) for e in shadow
        ]
        found += [
            Span(kind="fault", name=f"{f.action} {f.a}{' - ' + f.b if f.b else ''}", start_s=f.at_s, end_s=f.at_s)
            for f in scenario.faults
            if start_s <= f.at_s <= end_s
        ]
        return tuple(found)

    def _facts(self, started: str, period_s: float) -> RunFacts:
        scenario = self._scenario
        return RunFacts(
            scenario=scenario.name,
            title=scenario.title,
            digest=self._given.digest(),
            phasing=", ".join(f"{shell.name}: {shell.phasing:g} of a slot" for shell in scenario.shells),
            model=self._options.model,
            seed=self._options.seed,
            started_utc=started,
            orbit_period_s=period_s,
            command="perigrid " + shlex.join(sys.argv[1:]),
            device=scenario.device.name,
            ground_device=scenario.ground_device.name,
            orbit_rate=scenario.clock.orbit_rate,
            rate_setting=str(self._options.rate),
            assumptions=_assumptions(self._given, self._sensor),
            notes=tuple(self._notes),
        )


def _ups(plan: ContactPlan, link: Link, start_s: float, end_s: float) -> list[tuple[float, float]]:
    """The stretches in which a link is up."""
    found, at_s = [], start_s
    while at_s < end_s:
        up = plan.state(link, at_s).up
        next_s = min(end_s, plan.next_change(link, at_s))
        if up:
            found.append((at_s, next_s))
        at_s = max(next_s, np.nextafter(at_s, np.inf))
    return found


def _rates_of(run: RunDirectory) -> tuple[RatePiece, ...]:
    """How fast the clock passed, as the run itself says."""
    with SupervisorClient(run) as client:
        status = msgspec.json.decode(client.status_json())
    return tuple(RatePiece(float(p["from_s"]), float(p["rate"])) for p in status.get("pace", {}).get("stretches", ()))


def _bare_series(mode: Mode, origin: Origin, repeat: str, times_s: Sequence[float], items: int) -> Series:
    rows = []
    at_s = 0.0
    for number, took_s in enumerate(times_s):
        rows.append(
            Row(
                number=number,
                world=World.BARE,
                arm=Arm.BARE,
                origin=origin,
                mode=mode,
                stratum=0,
                intended_s=at_s,
                sent_s=at_s,
                ended_s=at_s + took_s,
                latency_s=took_s,
                items=items,
                stages={"inference": took_s},
            )
        )
        at_s += took_s
    return Series(
        name=f"{mode}/{origin}/{Arm.BARE}/{World.BARE}",
        world=World.BARE,
        arm=Arm.BARE,
        origin=origin,
        mode=mode,
        repeat=repeat,
        rows=tuple(rows),
        strata=(Stratum(0, 0.0, at_s),),
    )


STAGES_OF_KEY = {
    "lasers.": ("lasers_up", "lasers_down"),
    "ground_link.": ("uplink", "downlink"),
    "backbone.": ("uplink", "downlink"),
    "device.": ("inference", "satellite_queue"),
    "ground_device.": ("ground_inference", "ground_queue"),
}
"""Which stages rest on which values of a scenario."""


def _assumptions(scenario: Scenario, sensor: Sensor) -> tuple[Assumption, ...]:
    """The values that nobody published and that latencies rest on."""
    found = []
    content = msgspec.to_builtins(scenario)
    for key, origin in scenario.provenance.items():
        stages = next((stages for start, stages in STAGES_OF_KEY.items() if key.startswith(start)), ())
        if origin.kind in ("assumed", "general") and stages:
            table, _, field = key.partition(".")
            value = content.get(table, {})
            for part in field.split("."):
                value = value.get(part, "") if isinstance(value, dict) else ""
            found.append(Assumption(key=key, value=str(value), kind=origin.kind, source=origin.source, stages=stages))
    if not scenario.sensors:
        text = f"{sensor.width_px} x {sensor.height_px} px, {sensor.bands} bands of {sensor.bits_per_pixel} bits"
        found.append(
            Assumption(key="sensor", value=text, kind="assumed", source="the scenario has no sensor of its own")
        )
    return tuple(found)
