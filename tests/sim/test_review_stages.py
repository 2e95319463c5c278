"""Do stages add up to the latency when links lose, double and delay what they carry?"""

from __future__ import annotations

import msgspec
import pytest

from perigrid.node.events import Ask
from perigrid.node.replies import Answered, Observed
from perigrid.node.stages import observed_stages, request_stages
from perigrid.scenario.model import Fault, Sensor
from perigrid.sim.blobs import sim_blob
from perigrid.sim.faults import Weather
from perigrid.sim.sensing import take
from perigrid.sim.world import SimConfig, World
from perigrid.units import NodeId
from tests.conftest import ring_catalogue, ring_scenario

CAMERA = Sensor(
    name="camera",
    width_px=512,
    height_px=512,
    bands=3,
    bits_per_pixel=8,
    gsd_m=10.0,
    model="cloudmask",
    daylight=False,
    deadline_s=90.0,
)
WEATHERS = {"jitter": Weather(jitter_s=0.02), "all": Weather(loss=0.05, duplicate=0.1, jitter_s=0.005)}
TREATMENTS = ("in-orbit", "cascade", "sharded", "bent-pipe-lasers")
SERVICE_S = {"cloudmask": 0.09, "tinycloud": 0.01}


def world_in(weather: Weather, seed: int) -> World:
    scenario = ring_scenario(models=("cloudmask", "tinycloud"))
    config = SimConfig(seed=seed, weather=weather, model_s=SERVICE_S, ground_s=SERVICE_S)
    return World(scenario, ring_catalogue(scenario), config)


@pytest.mark.parametrize("name", list(WEATHERS))
def test_in_bad_weather_stages_add_up_and_none_is_below_nothing(name: str) -> None:
    world = world_in(WEATHERS[name], seed=1)
    for place, treatment in enumerate(TREATMENTS):
        sensor = msgspec.structs.replace(CAMERA, treatment=treatment, name=treatment)
        for satellite in (3 * place, (3 * place + 7) % 12):
            take(world, sensor, NodeId(satellite), [5.0 + 0.1 * place], 1.0)
    for number in range(4):
        ask = Ask(-1 - number, "tinycloud", sim_blob(bytes(100_000)), NodeId(3 * number), True, 10, None, bytes(25))
        world.at(5.0, lambda ask=ask: world.request(ask))  # type: ignore[misc]
    ends = [world.mesh.names[n] for n in (4, 5)]
    world.at(5.3, lambda: world.inject(Fault(5.3, "cut", *ends)))
    world.at(8.0, lambda: world.inject(Fault(8.0, "heal", *ends)))
    count = 2 * len(TREATMENTS) + 4
    assert world.run_until(3000.0, lambda: len(world.replies) >= count)
    for _, _, reply in world.replies:
        if isinstance(reply, Observed):
            stages, total_s = observed_stages(reply), reply.answered_sky_s - reply.taken_sky_s
        else:
            assert isinstance(reply, Answered)
            stages, total_s = request_stages(reply), reply.answered_sky_s - reply.asked_sky_s
        assert sum(stages.values()) == pytest.approx(total_s, abs=1e-6), stages
        assert min(stages.values()) > -1e-9, stages


def test_what_a_frame_waited_for_the_grounds_computer_is_in_no_other_stage() -> None:
    world = world_in(Weather(), seed=1)
    sensor = msgspec.structs.replace(CAMERA, treatment="bent-pipe-lasers")
    take(world, sensor, NodeId(0), [5.0, 5.001], 1.0)
    assert world.run_until(60.0, lambda: len(world.replies) == 2)
    queues_s = []
    for _, _, reply in world.replies:
        assert isinstance(reply, Observed)
        stages = observed_stages(reply)
        queues_s.append(stages["ground_queue"])
        assert sum(stages.values()) == pytest.approx(reply.answered_sky_s - reply.taken_sky_s, abs=1e-9)
        assert stages["settle"] == pytest.approx(0.0, abs=1e-9)
        assert stages["ground_inference"] == pytest.approx(4 * SERVICE_S["cloudmask"])
    assert queues_s[0] == 0.0 and queues_s[1] > 0.1
