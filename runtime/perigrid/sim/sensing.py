"""Which frames do a simulated constellation's sensors take?

Those of the scenario, at its seeded instants, with bytes that nobody looks at: what counts is how many they are.
"""

from __future__ import annotations

from perigrid.mesh.planning.exposures import Exposures
from perigrid.node.cameras import exposed, tiles_of
from perigrid.scenario.model import Sensor
from perigrid.sim.blobs import sim_blob
from perigrid.sim.world import World
from perigrid.units import NodeId


def schedule(world: World, start_s: float, end_s: float, traced: bool = True) -> int:
    """Let the world's sensors take their frames from `start_s` to `end_s` (sky time); how many there will be."""
    exposures = Exposures(world.scenario)
    count = 0
    for sensor in world.scenario.sensors:
        for satellite in exposures.carriers(sensor):
            times_s = exposures.times_s(sensor, satellite, start_s, end_s)
            take(world, sensor, NodeId(satellite), times_s.tolist(), exposures.period_s(sensor, satellite), traced)
            count += len(times_s)
    return count


def take(
    world: World, sensor: Sensor, satellite: NodeId, times_s: list[float], period_s: float, traced: bool = True
) -> None:
    """Let one satellite's sensor take frames at these sky times."""
    raw, shard, name = sim_blob(bytes(sensor.frame_bytes)), tiles_of(sensor), world.mesh.names[satellite]
    for number, taken_s in enumerate(times_s):
        event = exposed(sensor, name, number, taken_s, period_s, raw, shard, traced)
        world.at(taken_s, lambda event=event: world.tell(satellite, event))  # type: ignore[misc]
