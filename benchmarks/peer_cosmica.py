"""What does a step cost with cosmica?

Circular orbits one satellite after the other, topologies as networkx graphs, delays from its link calculators, and
networkx's Dijkstra for each city, since cosmica leaves ways to networkx. Runs in cosmica's environment, takes a world
as JSON on standard input, gives seconds and one-way delays as JSON.
"""

import json
import math
import statistics
import sys
import time

import networkx as nx
import numpy as np
from cosmica.comm_link import SatToGatewayBinaryCommLinkCalculator, SatToSatBinaryCommLinkCalculator
from cosmica.dtos import DynamicsData
from cosmica.dynamics import CircularSatelliteOrbitPropagator, get_sun_direction_eci
from cosmica.models import Gateway
from cosmica.models.constellation import build_walker_delta_constellation
from cosmica.topology import build_elevation_based_g2c_topology, build_manhattan_topology
from cosmica.utils.coordinates import calc_dcm_eci2ecef

EPOCH = np.datetime64("2024-01-01T00:00:00")


def dynamics(satellites: list, times: np.ndarray) -> DynamicsData:
    """Where everything is, as cosmica wants it."""
    turn = calc_dcm_eci2ecef(times)
    states = {one: CircularSatelliteOrbitPropagator(one.orbit).propagate(times) for one in satellites}
    sun = get_sun_direction_eci(times)
    return DynamicsData(
        time=times,
        dcm_eci2ecef=turn,
        satellite_position_eci={one: state.position_eci for one, state in states.items()},
        satellite_velocity_eci={one: state.velocity_eci for one, state in states.items()},
        satellite_position_ecef={one: state.calc_position_ecef(turn) for one, state in states.items()},
        satellite_attitude_angular_velocity_eci={one: np.zeros((len(times), 3)) for one in satellites},
        sun_direction_eci=sun,
        sun_direction_ecef=np.einsum("ijk,ik->ij", turn, sun),
    )


def step(constellation: object, gateways: list, t_s: float) -> tuple[int, list[float]]:
    """Delays and next hops of every satellite towards every city at one moment."""
    satellites = list(constellation.satellites.values())
    data = dynamics(satellites, np.array([EPOCH + np.timedelta64(round(t_s * 1e3), "ms")]))
    lasers = build_manhattan_topology(constellation)
    ground = build_elevation_based_g2c_topology(constellation, ground_nodes=gateways, dynamics_data=data)[0]
    random = np.random.default_rng(0)
    between = SatToSatBinaryCommLinkCalculator(inter_satellite_link_capacity=1.0)
    down = SatToGatewayBinaryCommLinkCalculator(satellite_to_gateway_link_capacity=1.0)
    laser_links = between.calc(list(lasers.edges), dynamics_data=data[0], rng=random)
    pairs = [(b, a) if isinstance(a, Gateway) else (a, b) for a, b in ground.edges]
    ground_links = down.calc(pairs, dynamics_data=data[0], rng=random)
    graph = nx.Graph()
    graph.add_nodes_from(satellites)
    graph.add_weighted_edges_from((a, b, link["delay"]) for (a, b), link in laser_links.items())
    hops, one_way_s = 0, []
    seen = {gateway: [] for gateway in gateways}
    for (satellite, gateway), link in ground_links.items():
        seen[gateway].append((satellite, link["delay"]))
    for number, gateway in enumerate(gateways):
        # No way leads through another city.
        graph.add_weighted_edges_from((gateway, satellite, delay) for satellite, delay in seen[gateway])
        if gateway not in graph:
            continue
        before, delays = nx.dijkstra_predecessor_and_distance(graph, gateway)
        hops += sum(1 for satellite in satellites if before.get(satellite))
        for other in gateways[number + 1 :]:
            ways = [delays[satellite] + delay for satellite, delay in seen[other] if satellite in delays]
            one_way_s += [min(ways)] if ways else []
        graph.remove_node(gateway)
    return hops, one_way_s


def main() -> None:
    """Set up once, then one call a step."""
    world = json.load(sys.stdin)
    constellation = build_walker_delta_constellation(
        (6378.137 + world["altitude_km"]) * 1e3,
        math.radians(world["inclination_deg"]),
        world["planes"] * world["slots"],
        world["planes"],
        1,
        EPOCH,
    )
    gateways = [
        Gateway(
            id=number,
            latitude=math.radians(lat),
            longitude=math.radians(lon),
            minimum_elevation=math.radians(world["elevation_deg"]),
        )
        for number, (lat, lon) in enumerate(world["places"])
    ]
    steps_s, hops, one_way_s = [], 0, [math.nan]
    for t_s in world["times_s"]:
        start_s = time.perf_counter()
        hops, one_way_s = step(constellation, gateways, t_s)
        steps_s.append(time.perf_counter() - start_s)
    print(json.dumps({"steps_s": steps_s, "hops": hops, "one_way_median_ms": statistics.median(one_way_s) * 1e3}))


if __name__ == "__main__":
    main()
