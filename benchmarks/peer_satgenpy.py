"""What does a step cost with satgenpy, Hypatia's generator of network state?

Positions from ephem, a networkx graph, Floyd-Warshall between all satellites, and a forwarding state that is written to
files. Runs in satgenpy's environment, takes a world as JSON on standard input, gives seconds as JSON.
"""

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import satgen
from satgen.dynamic_state.generate_dynamic_state import generate_dynamic_state_at


def main() -> None:
    """Set up once, then one call a step."""
    world = json.load(sys.stdin)
    steps_s, hops = [], 0
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
        folder = Path(name)
        tles, stations_file, isls_file = folder / "tles.txt", folder / "stations.txt", folder / "isls.txt"
        satgen.generate_tles_from_scratch_manual(
            str(tles),
            "shell",
            world["planes"],
            world["slots"],
            True,
            world["inclination_deg"],
            1e-7,
            0.0,
            world["rev_day"],
        )
        lines = [f"{number},city{number},{lat},{lon},0" for number, (lat, lon) in enumerate(world["places"])]
        (folder / "basic.txt").write_text("\n".join(lines) + "\n")
        satgen.extend_ground_stations(str(folder / "basic.txt"), str(stations_file))
        satgen.generate_plus_grid_isls(str(isls_file), world["planes"], world["slots"], isl_shift=0, idx_offset=0)
        read = satgen.read_tles(str(tles))
        stations = satgen.read_ground_stations_extended(str(stations_file))
        lasers = satgen.read_isls(str(isls_file), len(read["satellites"]))
        interfaces = [
            {"id": number, "number_of_interfaces": 1, "aggregate_max_bandwidth": 1.0}
            for number in range(len(read["satellites"]) + len(stations))
        ]
        for t_s in world["times_s"]:
            start_s = time.perf_counter()
            state = generate_dynamic_state_at(
                str(folder),
                read["epoch"],
                round(t_s * 1e9),
                read["satellites"],
                stations,
                lasers,
                interfaces,
                world["slant_km"] * 1e3,
                1e9,
                "algorithm_free_one_only_over_isls",
                None,
                False,
            )
            steps_s.append(time.perf_counter() - start_s)
            hops = len(state["fstate"])
    print(json.dumps({"steps_s": steps_s, "hops": hops}))


if __name__ == "__main__":
    main()
