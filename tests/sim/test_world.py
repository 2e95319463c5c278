"""Does every shard end once, whatever the world does, and alike for the same seed?"""

from __future__ import annotations

import hashlib
import random

import pytest

from perigrid.job.spec import JobSpec
from perigrid.node.events import Cancel, Explain, Submit, Watch
from perigrid.node.records import ShardAccepted, ShardFailed
from perigrid.node.replies import Admitted, Ended, Explanation, Refused, Reply, Row
from perigrid.scenario.model import Fault
from perigrid.sim.faults import Weather, random_faults
from perigrid.sim.world import SimConfig, World
from tests.conftest import ring_catalogue, ring_scenario

CLIENT = 1
SEEDS = 40


def job(name: str = "a", **changes: object) -> JobSpec:
    values: dict[str, object] = {"model": "tinycloud", "dataset": "scene", "tiles_per_shard": 2}
    return JobSpec(job=name, **{**values, **changes})  # type: ignore[arg-type]


def submit(world: World, spec: JobSpec, client: int = CLIENT) -> None:
    world.request(Submit(client, spec))
    world.run_until(world.sky_s + 0.01)
    world.request(Watch(client, spec.job, 0))


def rows(world: World, client: int = CLIENT) -> list[Row]:
    return [r for _, c, r in world.replies if c == client and isinstance(r, Row)]


def ending(world: World, client: int = CLIENT) -> Ended | None:
    return next((r for _, c, r in world.replies if c == client and isinstance(r, Ended)), None)


def digests(world: World) -> dict[int, bytes]:
    accepted = [r.ending for r in rows(world) if isinstance(r.ending, ShardAccepted)]
    return {a.shard: a.digest for a in accepted}


def run(world: World, limit_s: float = 600.0) -> None:
    for reply in world.replies:
        if isinstance(reply[2], Ended):
            return
    ended: list[Ended] = []

    def note(client: int, reply: Reply) -> None:
        if client == CLIENT and isinstance(reply, Ended):
            ended.append(reply)

    world.on_reply = note
    assert world.run_until(limit_s, lambda: bool(ended)), f"the job has not ended by {limit_s} s"


@pytest.fixture(scope="module")
def calm() -> dict[int, bytes]:
    scenario = ring_scenario()
    world = World(scenario, ring_catalogue(scenario), SimConfig())
    submit(world, job())
    run(world)
    return digests(world)


def test_a_calm_job_settles_each_shard_once(calm: dict[int, bytes]) -> None:
    assert sorted(calm) == list(range(24))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_faults_of_a_seed_change_no_result(seed: int, calm: dict[int, bytes]) -> None:
    generator = random.Random(seed)
    scenario = ring_scenario()
    catalogue = ring_catalogue(scenario)
    weather = Weather(loss=0.05 * generator.random(), duplicate=0.05, jitter_s=0.02)
    world = World(scenario, catalogue, SimConfig(seed=seed, weather=weather, skew=0.01))
    names = world.mesh.names
    lasers = [(names[x.a], names[x.b]) for x in world.mesh.lasers]
    for fault in random_faults(generator, lasers, list(names[:12]), span_s=20.0):
        world.at(fault.at_s, lambda fault=fault: world.inject(fault))  # type: ignore[misc]
    crash_s = generator.uniform(0.0, 5.0)
    world.at(crash_s, lambda: world.kill(world.mesh.ground))
    world.at(crash_s + 1.0, lambda: world.reboot(world.mesh.ground))

    def again() -> None:
        # What a client does: ask until admitted, and watch from its own cursor.
        if ending(world) is None:
            world.request(Submit(CLIENT, job()))
            world.request(Watch(CLIENT, "a", len(rows(world))))
            world.at(world.sky_s + 0.5, again)

    again()
    run(world)
    assert [r.cursor for r in rows(world)] == sorted({r.cursor for r in rows(world)})
    assert [r.ending.cause for r in rows(world) if isinstance(r.ending, ShardFailed)] == []
    assert digests(world) == calm


def test_equal_seeds_give_equal_runs() -> None:
    def trace() -> str:
        scenario = ring_scenario()
        world = World(scenario, ring_catalogue(scenario), SimConfig(seed=7, weather=Weather(0.02, 0.02, 0.01)))
        submit(world, job())
        run(world)
        return hashlib.sha256(repr(world.notes).encode()).hexdigest()

    assert trace() == trace()


def test_a_lost_satellite_s_shards_finish_on_its_replica(calm: dict[int, bytes]) -> None:
    scenario = ring_scenario()
    world = World(scenario, ring_catalogue(scenario), SimConfig())
    world.run_until(0.5)
    world.at(0.6, lambda: world.kill(world.mesh.id_of("sat-05"), lose_flash=True))
    submit(world, job())
    run(world)
    assert digests(world) == calm
    placed = {r.ending.satellite for r in rows(world) if isinstance(r.ending, ShardAccepted)}
    assert world.mesh.id_of("sat-05") not in placed
    assert world.mesh.id_of("sat-06") in placed


def test_a_partition_waits_says_why_and_ends_after_heal(calm: dict[int, bytes]) -> None:
    scenario = ring_scenario()
    world = World(scenario, ring_catalogue(scenario), SimConfig())
    world.run_until(0.5)
    for a, b in (("sat-04", "sat-05"), ("sat-08", "sat-09")):
        world.inject(Fault(at_s=0.0, action="cut", a=a, b=b))
    world.run_until(0.7)
    submit(world, job())
    world.run_until(30.0)
    assert ending(world) is None
    world.request(Explain(CLIENT, world.mesh.id_of("sat-06")))
    told = world.replies[-1][2]
    assert isinstance(told, Explanation)
    # Its own two shards, and two whose capture it holds as a copy.
    assert not told.reachable and told.shards_waiting == 4
    assert "sat-04" in told.reason and "sat-09" in told.reason
    world.inject(Fault(at_s=0.0, action="heal", a="sat-08", b="sat-09"))
    run(world)
    assert digests(world) == calm


def test_a_deadline_ends_what_is_left_by_name() -> None:
    scenario = ring_scenario()
    world = World(scenario, ring_catalogue(scenario), SimConfig())
    for a, b in (("sat-04", "sat-05"), ("sat-08", "sat-09")):
        world.inject(Fault(at_s=0.0, action="cut", a=a, b=b))
    world.run_until(0.5)
    submit(world, job(deadline_s=5.0))
    run(world)
    failed = [r.ending for r in rows(world) if isinstance(r.ending, ShardFailed)]
    assert failed and all(f.cause.startswith("DEADLINE") for f in failed)
    assert len(rows(world)) == 24
    assert world.sky_s < 8.0


def test_a_cancelled_job_ends_once() -> None:
    scenario = ring_scenario()
    world = World(scenario, ring_catalogue(scenario), SimConfig(service_s=1.0))
    submit(world, job())
    world.run_until(1.0)
    world.request(Cancel(CLIENT, "a"))
    run(world)
    done = ending(world)
    assert done is not None and done.ending.outcome == "cancelled"
    assert len(rows(world)) == 24


def test_submitting_twice_is_one_job_and_another_spec_is_refused() -> None:
    scenario = ring_scenario()
    world = World(scenario, ring_catalogue(scenario), SimConfig())
    submit(world, job())
    submit(world, job())
    admitted = [r for _, _, r in world.replies if isinstance(r, Admitted)]
    assert [a.again for a in admitted] == [False, True]
    world.request(Submit(CLIENT, job(tiles_per_shard=3)))
    assert isinstance(world.replies[-1][2], Refused)


def test_several_jobs_run_at_once_and_priority_comes_first() -> None:
    scenario = ring_scenario()
    world = World(scenario, ring_catalogue(scenario), SimConfig(service_s=0.2))
    world.run_until(0.5)
    submit(world, job("low"), client=1)
    submit(world, job("high", priority=5), client=2)
    assert world.run_until(60.0, lambda: ending(world, 1) is not None and ending(world, 2) is not None)
    assert ending(world, 2).ending.ended_sky_s < ending(world, 1).ending.ended_sky_s  # type: ignore[union-attr]


@pytest.mark.parametrize("satellites", [1, 2, 3])
def test_small_constellations_work(satellites: int) -> None:
    scenario = ring_scenario(satellites)
    world = World(scenario, ring_catalogue(scenario, tiles=8), SimConfig())
    submit(world, job())
    if satellites == 1:
        run(world)
        assert len(digests(world)) == 4
    else:
        # So few satellites stand beyond each other's horizon: those without a station wait, and are said to.
        world.run_until(10.0)
        world.request(Explain(CLIENT, 1))
        told = world.replies[-1][2]
        assert isinstance(told, Explanation) and not told.reachable and told.reason


def test_a_link_that_came_back_during_a_partition_is_used_once_that_heals(calm: dict[int, bytes]) -> None:
    """sat-05 could not tell sat-04 that its other laser is back; sat-04 must not go on believing it dead."""
    world = World(ring_scenario(), ring_catalogue(ring_scenario()), SimConfig())
    faults = [(1.0, "cut", 5), (3.0, "heal", 5), (3.1, "cut", 4), (3.1, "cut", 7), (8.0, "heal", 4)]
    for at_s, action, a in faults:
        fault = Fault(at_s=at_s, action=action, a=f"sat-{a:02d}", b=f"sat-{a + 1:02d}")  # type: ignore[arg-type]
        world.at(at_s, lambda fault=fault: world.inject(fault))  # type: ignore[misc]
    world.run_until(3.2)
    submit(world, job())
    run(world, limit_s=16.0)
    assert digests(world) == calm


def test_a_link_that_is_broken_one_way_is_left_once_its_other_end_says_so(calm: dict[int, bytes]) -> None:
    """sat-05 hears sat-04 and is not heard by it; it must not learn that from time-outs alone."""
    world = World(ring_scenario(), ring_catalogue(ring_scenario()), SimConfig())
    unheard = (world.mesh.id_of("sat-05"), world.mesh.id_of("sat-04"))
    world.at(1.0, lambda: world._overlay({unheard: 1.0}, {}))
    world.run_until(1.0)
    submit(world, job())
    run(world, limit_s=4.0)
    assert digests(world) == calm
    assert not any(note.what == "custody-gave-up" for _, _, note in world.notes)
