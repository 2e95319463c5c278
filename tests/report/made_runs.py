"""How do tests get a run's directory without starting anything?

Everything that stands in it is made by the same code as in a real run (`prepare`), but the event log behind its first
line and the results, which are made up here: a job of any number of shards over a ring, with a laser that is cut, a
satellite that is lost, leases that run out, and shards that fail where wanted. Seeded, so the same every time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from perigrid.live.clients import LatenessStatus
from perigrid.live.eventlog import EVENT_LOG_FILE
from perigrid.live.launch import LaunchOptions
from perigrid.live.models import ModelStore
from perigrid.live.prepare import prepare
from perigrid.live.rundir import RunDirectory
from perigrid.report.outcome import Outcome, Stages
from perigrid.scenario.model import Clock, DataSource, Provenance, Scenario
from tests.conftest import ring_scenario

JOB = "job-1"
SIDE_PX = 512
SERVICE_S, LIGHT_S, RADIO_S, LEASE_S = 0.05, 0.012, 0.004, 2.0
WALL_S = 1_780_000_000.0
LOST, CUT = "sat-07", ("sat-03", "sat-04")
LATE = LatenessStatus(frames=1000, frames_late=30, share_late=0.03, tolerance_ms=5.0, rate_that_holds=0.04)
IN_TIME = LatenessStatus(frames=1000, inferences=289, tolerance_ms=5.0)

Event = dict[str, Any]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the made-up job is like."""

    shards: int = 73
    satellites: int = 12
    failing: int = 0
    faults: bool = True
    valid: bool | None = True
    cause: str = "POISON: the payload died 3 times under it"
    job: str = JOB
    seed: int = 7
    orbit_rate: float = 1.0


@dataclass(slots=True)
class Story:
    """Events as they are made up, and what the outcome is counted from."""

    events: list[Event] = field(default_factory=list)
    accepted: list[Event] = field(default_factory=list)
    attempts: int = 0
    ended_s: float = 0.0

    def say(self, t_s: float, node: str, what: str, **fields: Any) -> Event:
        """Add an event."""
        event = {"t": round(t_s, 6), "wall": WALL_S + 10 * t_s, "node": node, "what": what, **fields}
        self.events.append(event)
        return event


def job_events(wish: Wish, admitted_s: float = 12.0) -> Story:
    """The events of one job, in the order of time."""
    story, chance = Story(), random.Random(wish.seed)
    names = [f"sat-{n + 1:0{max(2, len(str(wish.satellites)))}d}" for n in range(wish.satellites)]
    job, said = {"job": wish.job}, {**job_fields(wish), "job": wish.job}
    story.say(admitted_s, "ground", "job-admitted", **said)
    free_s = dict.fromkeys(names, admitted_s)
    broken_s = admitted_s + 0.3 * wish.shards / len(names) * SERVICE_S + 0.02
    if wish.faults:
        story.say(broken_s, "supervisor", "kill", satellite=LOST, by="user", lose_flash=False)
        story.say(broken_s + 0.004, "supervisor", "cut", a=CUT[0], b=CUT[1], one_way=False, by="user")
    for shard in range(wish.shards):
        home = names[shard * len(names) // wish.shards]
        if shard < wish.failing:
            story.attempts += 1
            story.say(admitted_s + 0.001, "ground", "assign", shard=shard, attempt=1, satellite=home, **job)
            refused_s = admitted_s + 0.2
            story.say(refused_s, "ground", "shard-refused", shard=shard, satellite=home, cause=wish.cause, **job)
            story.say(refused_s, "ground", "shard-failed", shard=shard, cause=wish.cause, **job)
            continue
        _compute(story, wish, shard, home, free_s, broken_s, chance)
    story.ended_s = max(event["t"] for event in story.events) + 0.001
    _traffic(story, names, admitted_s)
    ending = {"outcome": "failed" if wish.failing else "complete", "attempts": story.attempts}
    story.say(story.ended_s, "ground", "job-ended", **ending, duplicates=1, conflicts=0, **job)
    story.events.sort(key=lambda event: event["t"])
    return story


def _compute(
    story: Story, wish: Wish, shard: int, home: str, free_s: dict[str, float], broken_s: float, chance: random.Random
) -> None:
    """A shard is sent up, queued, computed and sent down; again elsewhere, where its satellite is lost first."""
    satellite, attempt, hops = home, 1, 1 + chance.randrange(5)
    sent_s = story.events[0]["t"] + 0.001
    while True:
        story.attempts += 1
        known = {"job": wish.job, "shard": shard, "satellite": satellite}
        story.say(sent_s, "ground", "assign", attempt=attempt, **known)
        up_ground_s, up_laser_s = RADIO_S * (1 + chance.random()), LIGHT_S * hops
        arrived_s = sent_s + up_ground_s + up_laser_s
        started_s = max(arrived_s, free_s[satellite])
        computed_s = started_s + SERVICE_S
        if wish.faults and satellite == LOST and computed_s > broken_s:
            sent_s = broken_s + LEASE_S
            story.say(sent_s, "ground", "lease-expired", **known)
            satellite, attempt = "sat-08", attempt + 1
            continue
        free_s[satellite] = computed_s
        down_ground_s, held_s = RADIO_S * (1 + chance.random()), 0.001 * chance.random()
        event = story.say(
            computed_s + LIGHT_S * hops + down_ground_s + held_s,
            "ground",
            "accepted",
            attempt=attempt,
            hops=hops,
            digest=f"{shard:064x}",
            sent_s=sent_s,
            arrived_s=arrived_s,
            queue_s=started_s - arrived_s,
            inference_s=SERVICE_S,
            desk_wait_s=0.002,
            cpu_s=0.04,
            up_laser_s=up_laser_s,
            up_ground_s=up_ground_s,
            down_laser_s=LIGHT_S * hops,
            down_ground_s=down_ground_s,
            **known,
        )
        story.accepted.append(event)
        return


def _traffic(story: Story, names: list[str], admitted_s: float) -> None:
    """Counters of the ring's lasers and of one radio link, some before the job and some in it."""
    for number, name in enumerate(names):
        following = names[(number + 1) % len(names)]
        before, after = 50_000, 50_000 + 40_000 * (number % 5)
        for t_s, size in ((admitted_s - 1.0, before), (story.ended_s, after)):
            for a, b in ((name, following), (following, name)):
                story.say(
                    t_s, a, "traffic", a=a, b=b, kind="laser", bytes=size, frames=9, process="host", pid=number + 1
                )
    story.say(story.ended_s, names[0], "traffic", a=names[0], b="below", kind="radio", bytes=900_000, frames=9, pid=1)
    story.say(story.ended_s, "below", "traffic", a="below", b="ground", kind="fibre", bytes=900_000, frames=9, pid=99)


def job_fields(wish: Wish) -> dict[str, Any]:
    """What the job's admission says."""
    return {
        "model": "tinycloud",
        "dataset": "scene",
        "shards": wish.shards,
        "tiles": 4 * wish.shards,
        "tiles_per_shard": 4,
        "priority": 0,
        "deadline_s": None,
    }


def outcome_of(wish: Wish, story: Story) -> Outcome:
    """The outcome that a client of the job would have written."""
    stages = Stages(
        queue_s=_median(story, "queue_s"),
        inference_s=_median(story, "inference_s"),
        return_s=0.03,
        desk_wait_s=_median(story, "desk_wait_s"),
        cpu_s=_median(story, "cpu_s"),
        inference_per_tile_s=_median(story, "inference_s") / 4,
        cpu_per_tile_s=_median(story, "cpu_s") / 4,
    )
    return Outcome(
        job=wish.job,
        outcome="failed" if wish.failing else "complete",
        model="tinycloud",
        dataset="scene",
        tiles=4 * wish.shards,
        shards=wish.shards,
        accepted=len(story.accepted),
        duplicates=1,
        duplicates_to_client=0,
        conflicts=0,
        failed=wish.failing,
        failures={wish.cause: wish.failing} if wish.failing else {},
        attempts=story.attempts,
        coverage_ok=not wish.failing,
        result_sha256="83fa6529" * 8,
        elapsed_s=81.2,
        emulated_s=round(story.ended_s - story.events[0]["t"], 6),
        tiles_per_s=round(4 * wish.shards / 81.2, 3),
        stages=stages if story.accepted else None,
        satellites=wish.satellites,
        links_cut=int(wish.faults),
        satellites_lost=int(wish.faults),
        mode="free" if wish.valid is None else "dilated",
        rate=1.0 if wish.valid is None else 0.1,
        valid_for_latency=wish.valid,
        lateness=LATE if wish.valid is False else IN_TIME,
        bytes_over_lasers=1_923_000,
        bytes_over_ground_links=905_123,
        bytes_of_replicas=25_165_824,
        preloaded=("models on every satellite: tinycloud",),
        orbit_rate=wish.orbit_rate,
    )


def _median(story: Story, name: str) -> float:
    return float(np.median([event[name] for event in story.accepted])) if story.accepted else 0.0


def made_run(root: Path, wish: Wish, scenario: Scenario | None = None) -> Path:
    """A run's directory with that job in it, as if it had been run and taken down."""
    root.mkdir(parents=True, exist_ok=True)
    scene = root / "scene.npz"
    np.savez(scene, img=made_scene())
    world = scenario or ring_scenario(wish.satellites)
    wish = msgspec.structs.replace(wish, satellites=world.satellite_count)
    changes: dict[str, Any] = {
        "data": (DataSource(file=str(scene), stride_px=64),),
        "clock": Clock(rate=0.1, orbit_rate=wish.orbit_rate),
        "preset": "three-body-12",
        "provenance": origins(world),
    }
    world = msgspec.structs.replace(world, **changes)
    per_process = -(-wish.satellites // 100)
    run = RunDirectory.create(root, "made")
    prepare(world, run, ModelStore(), {}, LaunchOptions(satellites_per_process=per_process), lambda line: None)
    story = job_events(wish)
    outcome = outcome_of(wish, story)
    client = {"t": story.ended_s, "wall": WALL_S + 10 * story.ended_s + 0.1, "node": "client", "what": "outcome"}
    append(run.path, [*story.events, {**client, **msgspec.to_builtins(outcome)}])
    folder = run.path / "results" / wish.job
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "mask.npz", mask=made_mask())
    (folder / "outcome.json").write_bytes(msgspec.json.encode(outcome))
    return run.path


def append(folder: Path, events: list[Event]) -> None:
    """Lengthen a run's event log."""
    with (folder / EVENT_LOG_FILE).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def made_scene() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Six bands [6,H,W] of soft hills with some clouds."""
    generator = np.random.default_rng(3)
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX
    land = 0.12 + 0.05 * np.sin(9 * rows + 4 * np.sin(5 * columns)) + 0.01 * generator.standard_normal(rows.shape)
    clouds = np.clip(np.sin(7 * rows + 1) * np.sin(11 * columns + 3 * rows) - 0.4, 0, 1)
    tints = (0.8, 1.0, 0.9, 1.8, 1.2, 1.0)
    return np.stack([tint * land + clouds for tint in tints]).astype(np.float32)


def made_mask() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Classes [H,W] that go with the scene."""
    bands = made_scene()
    mask = (bands[0] > 0.25).astype(np.uint8)
    return np.where((np.roll(mask, 24, axis=1) == 1) & (mask == 0), 2, mask).astype(np.uint8)


def origins(scenario: Scenario) -> dict[str, Provenance]:
    """A provenance of every kind."""
    kinds = dict(_origins(scenario))
    return {name: Provenance(kind=kind, source=source) for name, (kind, source) in kinds.items()}  # type: ignore[arg-type]


def _origins(scenario: Scenario) -> Iterator[tuple[str, tuple[str, str]]]:
    yield (
        "lasers.rate_bps",
        ("sourced", "up to 1 Gbit/s: example.org/article/id/68bab39c; also https://example.com/a?b=1."),
    )
    yield "lasers.acquire_s", ("assumed", "not published")
    for shell in scenario.shells:
        yield f"shell.{shell.name}.altitude_km", ("assumed", "plausible; sweep 500 to 560")
        yield f"shell.{shell.name}.inclination_deg", ("computed", "sun-synchronous at that height")
    for station in scenario.stations:
        yield f"station.{station.name}.min_elevation_deg", ("general", "common for X-band downlink")
    yield "epoch", ("user", "own.toml")
    yield "clock.rate", ("user", "own.toml")
