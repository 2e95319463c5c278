"""Does every job end once with the same result, whatever the sky does: outages, budgets, slow uplinks, faster turns?"""

from __future__ import annotations

import msgspec
import pytest

from perigrid.node.events import Ask
from perigrid.node.records import ShardAccepted, ShardFailed
from perigrid.node.replies import Answered
from perigrid.scenario.model import Clock, GroundLink, Lasers
from perigrid.sim.world import SimConfig, World, sim_blob
from tests.conftest import ring_catalogue, ring_scenario
from tests.sim.test_world import digests, ending, job, rows, run, submit

UPLOAD_BYTES = 250_000
TILES_A_SHARD, BYTES_A_TILE = 64, 64
FAST_BPS, SLOW_UP_BPS, SLOW_DOWN_BPS = 160e6, 2e6, 50e3


@pytest.fixture(scope="module")
def calm() -> dict[int, bytes]:
    """What each shard gives where nothing goes wrong."""
    world = World(ring_scenario(), ring_catalogue(ring_scenario()), SimConfig())
    submit(world, job())
    run(world)
    return digests(world)


def planned_of(world: World, what: str) -> list[int]:
    return [int(note.fields.get("planned", 1)) for _, _, note in world.notes if note.what == what]


@pytest.mark.parametrize("seed", range(8))
def test_a_job_over_lasers_that_fail_a_tenth_of_the_time_ends_once_with_the_calm_result(
    seed: int, calm: dict[int, bytes]
) -> None:
    # Of each minute of a terminal 6 s are lost in two outages, each with a second for acquiring.
    lasers = Lasers(rate_bps=1e9, acquire_s=1.0, availability=0.9, acquisitions_per_day=2880)
    scenario = ring_scenario(lasers=lasers, seed=seed)
    world = World(scenario, ring_catalogue(scenario), SimConfig(service_s=1.0))
    world.run_until(20.0)
    submit(world, job())
    run(world)
    assert 0 in planned_of(world, "link-down"), "an outage that nobody planned"
    assert [r.cursor for r in rows(world)] == list(range(1, len(calm) + 1))
    assert not [r for r in rows(world) if isinstance(r.ending, ShardFailed)]
    assert digests(world) == calm


def test_outages_come_again_for_the_same_seed_and_otherwise_for_another() -> None:
    def outages(seed: int) -> list[tuple[float, str]]:
        lasers = Lasers(rate_bps=1e9, acquire_s=1.0, availability=0.9, acquisitions_per_day=2880)
        scenario = ring_scenario(lasers=lasers, seed=seed)
        world = World(scenario, ring_catalogue(scenario), SimConfig())
        world.run_until(60.0)
        return [(at_s, node) for at_s, node, note in world.notes if note.what == "link-down"]

    assert outages(3) == outages(3) != outages(4)


def test_a_faster_sky_brings_other_satellites_and_the_same_result_hour_after_hour(calm: dict[int, bytes]) -> None:
    scenario = ring_scenario(clock=Clock(orbit_rate=60.0))
    world = World(scenario, ring_catalogue(scenario), SimConfig())
    submit(world, job())
    run(world)
    assert digests(world) == calm
    # Nine hours of orbit: further hours of the plan are there in time, and go on where the last one ended.
    world.run_until(540.0)
    assert world.plan.segment_count >= 9 and world.plan.horizon_s > 540.0
    served = {note.fields["a"] for _, node, note in world.notes if note.what == "link-up" and node == "below"}
    assert len(served) > 6
    # The plan of the usual sky has the same contacts, 60 times as long.
    usual = World(ring_scenario(), ring_catalogue(ring_scenario()), SimConfig()).plan
    for link in usual.links:
        if usual.mesh.is_station(link.b) and usual.mesh.is_satellite(link.a):
            change_s = usual.next_change(link, 0.0)
            assert world.plan.next_change(link, 0.0) == pytest.approx(change_s / 60.0, abs=1e-3)


@pytest.mark.parametrize(("antennas", "most"), [(None, 2), (1, 1), (2, 2)])
def test_a_station_serves_as_many_satellites_at_once_as_it_has_antennas(antennas: int | None, most: int) -> None:
    scenario = ring_scenario(24)
    station = msgspec.structs.replace(scenario.stations[0], antennas=antennas)
    scenario = msgspec.structs.replace(scenario, stations=(station,), clock=Clock(orbit_rate=60.0))
    world = World(scenario, ring_catalogue(scenario), SimConfig())
    submit(world, job())
    run(world)
    assert ending(world) is not None and len(digests(world)) == 24
    world.run_until(30.0)
    station_id = world.mesh.station_ids[0]
    looks = [(at_s, note) for at_s, node, note in world.notes if node == "below" and note.fields.get("b") == station_id]
    served: set[object] = set()
    counts: dict[float, int] = {}
    for at_s, note in looks:
        if note.what == "link-up":
            served.add(note.fields["a"])
        elif note.what == "link-down":
            served.discard(note.fields["a"])
        # What changes in one moment changes together.
        counts[at_s] = len(served)
    assert max(counts.values()) == most


def ground_times(radio: GroundLink) -> tuple[float, float]:
    """How long a request's input is on its way over the ground link, and how long a shard's result."""
    scenario = ring_scenario(ground_link=radio)
    catalogue = ring_catalogue(scenario, tiles=12 * TILES_A_SHARD)
    world = World(scenario, catalogue, SimConfig(service_s=1e-6))
    wish = {"model": "tinycloud", "satellite": None, "nearest": True, "priority": 0, "deadline_sky_s": None}
    world.run_until(0.5)
    world.request(Ask(client=-1, input=sim_blob(bytes(UPLOAD_BYTES)), **wish))  # type: ignore[arg-type]
    assert world.run_until(60.0, lambda: any(isinstance(reply, Answered) for _, _, reply in world.replies))
    (answer,) = [reply for _, _, reply in world.replies if isinstance(reply, Answered)]
    submit(world, job(tiles_per_shard=TILES_A_SHARD))
    run(world)
    downs_s = [r.ending.down_ground_s for r in rows(world) if isinstance(r.ending, ShardAccepted)]
    return answer.stages.up_ground_s, min(downs_s)


def test_each_direction_of_a_ground_link_has_its_own_rate() -> None:
    up_s, down_s = 8 * UPLOAD_BYTES / SLOW_UP_BPS, 8 * TILES_A_SHARD * BYTES_A_TILE / SLOW_DOWN_BPS
    alike = ground_times(GroundLink(rate_bps=FAST_BPS))
    slow_up = ground_times(GroundLink(rate_bps=FAST_BPS, uplink_bps=SLOW_UP_BPS))
    slow_down = ground_times(GroundLink(rate_bps=SLOW_DOWN_BPS, uplink_bps=FAST_BPS))
    # Beside the payload there are headers, light, and what else is on the line.
    assert slow_up[0] == pytest.approx(up_s, rel=0.03)
    assert slow_down[1] == pytest.approx(down_s, rel=0.1)
    assert max(alike[0], slow_down[0]) < 8 * UPLOAD_BYTES / FAST_BPS + 0.02 < up_s / 10
    assert max(alike[1], slow_up[1]) < 0.02 < down_s / 10
