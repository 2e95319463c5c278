"""What becomes of a sensor's frames, by each treatment, and when?"""

from __future__ import annotations

import msgspec
import pytest

from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.topology import LinkKind
from perigrid.node.replies import Observed
from perigrid.node.stages import observed_stages
from perigrid.scenario.model import Scenario, Sensor, Treatment
from perigrid.sim.sensing import schedule, take
from perigrid.sim.world import SimConfig, World
from perigrid.units import NodeId
from tests.conftest import ring_catalogue, ring_scenario

TILE_S, GROUND_TILE_S, FILTER_S = 0.09, 0.06, 0.01
MASK_BYTES = 16_384
CAMERA = Sensor(
    name="camera",
    width_px=512,
    height_px=512,
    bands=6,
    bits_per_pixel=16,
    gsd_m=10.0,
    model="cloudmask",
    daylight=False,
)
FRAME_BYTES = 512 * 512 * 6 * 2


def scenario_with(treatment: Treatment, **changes: object) -> Scenario:
    sensor = msgspec.structs.replace(CAMERA, treatment=treatment, deadline_s=30.0, **changes)
    return ring_scenario(models=("cloudmask", "tinycloud"), sensors=(sensor,))


def world_of(scenario: Scenario, cloud: float | None = None) -> World:
    changes: dict[str, object] = {} if cloud is None else {"cloud_of": lambda frame, tile: cloud}
    config = SimConfig(
        model_s={"cloudmask": TILE_S, "tinycloud": FILTER_S},
        ground_s={"cloudmask": GROUND_TILE_S},
        answer_bytes={"cloudmask": MASK_BYTES, "tinycloud": MASK_BYTES},
        **changes,  # type: ignore[arg-type]
    )
    return World(scenario, ring_catalogue(scenario), config)


def observed(
    treatment: Treatment, satellite: int, at_s: float = 5.0, cloud: float | None = None
) -> tuple[World, Observed]:
    """One frame, taken at that time, and how it ended."""
    scenario = scenario_with(treatment)
    world = world_of(scenario, cloud)
    take(world, scenario.sensors[0], NodeId(satellite), [at_s], 1.0)
    assert world.run_until(at_s + 200_000.0, lambda: bool(world.replies))
    reply = world.replies[0][2]
    assert isinstance(reply, Observed)
    return world, reply


def test_in_orbit_a_frame_is_inferred_on_board_and_its_mask_comes_down() -> None:
    world, reply = observed("in-orbit", 5)
    stages = observed_stages(reply)
    assert (reply.outcome, reply.satellite, reply.size_bytes) == ("ok", "sat-06", 4 * MASK_BYTES)
    assert stages["inference"] == pytest.approx(4 * TILE_S)
    assert sum(stages.values()) == pytest.approx(reply.answered_sky_s - reply.taken_sky_s, abs=1e-9)
    lasers = [leg for leg in reply.down if leg.is_laser]
    # Light over the shorter way round the ring to the satellite that sees the station.
    light_s = sum(world.plan.state(leg.link, leg.here_s).delay_s for leg in lasers)
    assert sum(leg.propagation_s for leg in lasers) == pytest.approx(light_s, abs=1e-6)
    assert len(lasers) == min(5, 7)


def own_contact(plan: ContactPlan, satellite: int, t_s: float) -> float:
    """When this satellite's own next pass begins, or t_s where one is under way: by the plan alone."""
    links = [k for k in plan.links_of(NodeId(satellite)) if k.kind is LinkKind.RADIO]
    if any(plan.state(link, t_s).up for link in links):
        return t_s
    while True:
        t_s = min(plan.next_change(link, t_s) for link in links)
        if any(plan.state(link, t_s + 1e-6).up for link in links):
            return t_s


def test_the_bent_pipe_waits_for_its_own_pass_and_the_sum_follows_from_the_plan() -> None:
    world, reply = observed("bent-pipe", 1)
    stages = observed_stages(reply)
    assert (reply.outcome, reply.size_bytes, reply.hops) == ("ok", FRAME_BYTES, 2)
    begins_s = own_contact(world.plan, 1, 5.0)
    assert begins_s > 6.0
    assert stages["contact_wait"] == pytest.approx(begins_s - 5.0, abs=0.01)
    radio, fibre = (leg.link for leg in reply.down)
    # By hand: the wait, the frame's bits over the downlink, light to the station and over the fibre, the ground's work.
    rate_bps = world.plan.line_rate_bps(radio, NodeId(1), begins_s)
    light_s = world.plan.state(radio, begins_s).delay_s + world.plan.state(fibre, begins_s).delay_s
    by_hand_s = begins_s - 5.0 + 8 * FRAME_BYTES / rate_bps + light_s + 4 * GROUND_TILE_S
    assert reply.answered_sky_s - reply.taken_sky_s == pytest.approx(by_hand_s, rel=0.02)
    assert stages["ground_inference"] == pytest.approx(4 * GROUND_TILE_S)
    assert sum(stages.values()) == pytest.approx(reply.answered_sky_s - reply.taken_sky_s, abs=1e-9)


def test_over_lasers_the_raw_frame_takes_whoever_has_a_pass() -> None:
    _, direct = observed("bent-pipe", 1)
    _, lasers = observed("bent-pipe-lasers", 1)
    assert lasers.size_bytes == direct.size_bytes == FRAME_BYTES
    assert lasers.answered_sky_s < direct.answered_sky_s
    assert any(leg.is_laser for leg in lasers.down) and not any(leg.is_laser for leg in direct.down)


def test_shared_out_over_neighbours_it_is_sooner_done_and_the_same_bytes_come_down() -> None:
    _, alone = observed("in-orbit", 0)
    world, shared = observed("sharded", 0)
    assert shared.outcome == "ok" and shared.size_bytes == alone.size_bytes
    assert shared.answered_sky_s < alone.answered_sky_s
    parts = [note for _, _, note in world.notes if note.what == "observed"]
    assert len(parts) == 1
    assert sum(observed_stages(shared).values()) == pytest.approx(shared.answered_sky_s - shared.taken_sky_s, abs=1e-9)


def test_a_cascade_sends_down_what_its_filter_left() -> None:
    _, cloudy = observed("cascade", 0, cloud=0.9)
    assert (cloudy.outcome, cloudy.size_bytes) == ("discarded", 0)
    assert observed_stages(cloudy)["inference"] == pytest.approx(4 * FILTER_S)
    _, clear = observed("cascade", 0, cloud=0.1)
    assert clear.outcome == "ok" and clear.size_bytes == FRAME_BYTES + 8 * MASK_BYTES
    assert observed_stages(clear)["inference"] == pytest.approx(4 * FILTER_S + 4 * TILE_S)
    _, mixed = observed("cascade", 0)
    assert mixed.outcome == "ok" and 0 < mixed.tiles < 4
    assert mixed.size_bytes == mixed.tiles * FRAME_BYTES // 4 + (4 + mixed.tiles) * MASK_BYTES


def test_a_frame_whose_deadline_passes_in_the_queue_is_missed_and_noted() -> None:
    scenario = scenario_with("in-orbit")
    sensor = msgspec.structs.replace(scenario.sensors[0], deadline_s=0.5)
    world = world_of(scenario)
    take(world, sensor, NodeId(0), [5.0, 5.01, 5.02], 1.0)
    world.run_until(30.0)
    assert len(world.replies) == 1
    missed = [note for _, _, note in world.notes if note.what == "frame-missed"]
    assert len(missed) == 2


def test_frames_are_the_same_each_time_and_follow_the_ground_track() -> None:
    scenario = scenario_with("in-orbit", satellites=("sat-01", "sat-03"), duty_cycle=0.5)
    counts = [schedule(world_of(scenario), 0.0, 600.0) for _ in range(2)]
    assert counts[0] == counts[1] > 0
    # 5.12 km a frame at some 7 km/s, half of the stretches, two satellites.
    assert counts[0] == pytest.approx(2 * 600.0 * 0.5 * 7.05 / 5.12, rel=0.5)
