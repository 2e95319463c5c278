"""What does a step cost with leopath?

Its own way from orbital elements to forwarding state: TLEs that it generates, positions from ephem, a networkx graph,
link-state routing. Runs in leopath's environment, takes a world as JSON on standard input, gives seconds as JSON.
"""

import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from leopath.main import generate_plus_grid_isls
from leopath.network_state.generate_network_state import generate_dynamic_state
from leopath.tles.generate_tles_from_scratch import generate_tles_from_scratch_with_sgp
from leopath.tles.read_tles import read_tles
from leopath.topology.distance_tools import geodetic2cartesian
from leopath.topology.satellite.satellite import Satellite
from leopath.topology.topology import ConstellationData, GroundStation


def main() -> None:
    """Set up once, then one call a step."""
    world = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        tles = str(Path(folder) / "tles.txt")
        generate_tles_from_scratch_with_sgp(
            tles, "shell", world["planes"], world["slots"], True, world["inclination_deg"], 1e-7, 0.0, world["rev_day"]
        )
        read = read_tles(tles)
    satellites = [Satellite(number, one, one) for number, one in enumerate(read["satellites"])]
    stations = [
        GroundStation(
            len(satellites) + number, str(number), str(lat), str(lon), 0.0, *geodetic2cartesian(lat, lon, 0.0)
        )
        for number, (lat, lon) in enumerate(world["places"])
    ]
    data = ConstellationData(world["planes"], world["slots"], read["epoch"], world["slant_km"] * 1e3, 1e9, satellites)
    interfaces = [
        {"id": number, "number_of_interfaces": 1, "aggregate_max_bandwidth": 1.0}
        for number in range(len(satellites) + len(stations))
    ]
    lasers = generate_plus_grid_isls(world["planes"], world["slots"])
    steps_s, hops = [], 0
    for t_s in world["times_s"]:
        now_ns = round(t_s * 1e9)
        start_s = time.perf_counter()
        states = generate_dynamic_state(
            read["epoch"],
            now_ns + 1,
            15_000_000_000,
            now_ns,
            data,
            stations,
            lasers,
            interfaces,
            "shortest_path_link_state",
        )
        steps_s.append(time.perf_counter() - start_s)
        hops = len(states[0]["fstate"])
    print(json.dumps({"steps_s": steps_s, "hops": hops}))


if __name__ == "__main__":
    main()
