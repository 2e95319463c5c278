"""Do MLPerf's own load generator and `perigrid bench latency` measure the same latencies?

One constellation, one client's bytes, one satellite. In turns, `--rounds` times each: mlcommons-loadgen, unmodified and
in an environment of its own, drives the gateway (tests/live/loadgen_probe.py), and perigrid's own generator does
(`bench.latency.live`), in SingleStream and in Server at the same rate. The load generator's percentiles are of the
wall; times the clock's rate they are emulated, as ours are.

    python benchmarks/loadgen/run.py [--json] [--rounds 3] [--duration 10] [--rate 0.2] [--model filetype]

Two things are compared, each with the A/A spread: the largest distance between two rounds of the same generator. Of
the **same requests**, the load generator's percentile and that of the times which the system under test saw, from
before the call to its answer. Between **different runs**, the means of its percentiles and of ours. Apart by no more
than the spread they AGREE, beyond twice the spread they DIFFER, and in between it is UNDECIDED. Where a run was INVALID
FOR LATENCY this machine was busy: the spread shows it, and what agrees within a wide one says little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from perigrid.bench.arena import arena, preset
from perigrid.bench.latency.live import LiveRun
from perigrid.bench.latency.payloads import requests_of
from perigrid.bench.latency.rows import Arm, Mode, Origin, Stratum, World
from perigrid.bench.latency.worlds import Configuration, sensor_of
from perigrid.live.launch import LaunchOptions
from perigrid.live.models import ModelStore, default_cache
from perigrid.live.scenes import SceneSearch, load_scene
from perigrid.scenario.model import Device

ROOT = Path(__file__).resolve().parents[2]
WANTED = ("mlcommons-loadgen==6.0.*", "tritonclient[grpc]==2.73.*", "numpy")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "perigrid-loadgen"
SATELLITE, SERVICE_S = "sat-02", 0.02
OFFERED_LOAD = 0.3
SHARES = (50, 90)
MODES = {Mode.SINGLE_STREAM: "SingleStream", Mode.SERVER: "Server"}
DTYPES = {"FP32": np.float32, "INT32": np.int32, "INT64": np.int64}
OBJECTIVE_NS = 60 * 10**9
WARM_UP_S = 0.5
LEAD_S = 2.0


def say(text: str) -> None:
    """Progress goes to standard error; data goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def installed() -> Path:
    """The Python of an environment with the load generator."""
    python = CACHE / "bin" / "python"
    if not (CACHE / ".installed").is_file():
        say("installing mlcommons-loadgen")
        subprocess.run([sys.executable, "-m", "venv", str(CACHE)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *WANTED], check=True, stdout=sys.stderr)
        (CACHE / ".installed").touch()
    return python


class Race:
    """One constellation that both generators drive in turns."""

    def __init__(self, chosen: argparse.Namespace, live: LiveRun, probe: subprocess.Popen[str], model: str) -> None:
        self._chosen = chosen
        self._model = model
        self._live = live
        self._probe = probe
        self.rows: list[dict[str, Any]] = []

    def run(self) -> None:
        """All rounds."""
        for number in range(self._chosen.rounds):
            for mode, name in MODES.items():
                order = (self._theirs, self._ours) if number % 2 == 0 else (self._ours, self._theirs)
                for one in order:
                    row = one(mode)
                    self.rows.append({"round": number, "mode": mode.value, **row})
                    say(f"round {number + 1}, {name}: {row['who']}, {row['count']} samples")

    def _theirs(self, mode: Mode) -> dict[str, Any]:
        rate = self._chosen.rate
        settings: dict[str, Any] = {"min_duration_ms": round(1e3 * self._chosen.duration), "min_query_count": 64}
        if mode is Mode.SERVER:
            settings |= {"server_target_qps": rate * OFFERED_LOAD / SERVICE_S, "server_target_latency_ns": OBJECTIVE_NS}
            settings |= {"server_target_latency_percentile": 0.9}
        else:
            settings |= {"single_stream_expected_latency_ns": round(1e9 * SERVICE_S / rate)}
        test = {"model": self._model, "scenario": MODES[mode], "settings": settings, "satellite": SATELLITE}
        assert self._probe.stdin is not None and self._probe.stdout is not None
        self._probe.stdin.write(json.dumps(test) + "\n")
        self._probe.stdin.flush()
        found = json.loads(next(line for line in self._probe.stdout if line.startswith("{")))
        summary, seen = found["summary"], [one["latency_s"] * rate for one in found["seen"]]
        said = {p: int(summary[f"{p:.2f} percentile latency (ns)"]) * 1e-9 * rate for p in SHARES}
        orbit = [one["total_s"] for one in found["seen"]]
        return {
            "who": "loadgen",
            "result": summary["Result is"],
            "count": len(seen),
            "failed": len(found["failed"]),
            "percentiles_s": said,
            "same_requests_s": {p: nearest(seen, p) for p in SHARES},
            "gateway_s": {p: nearest(orbit, p) for p in SHARES},
        }

    def _ours(self, mode: Mode) -> dict[str, Any]:
        offered = OFFERED_LOAD / SERVICE_S if mode is Mode.SERVER else None
        one = Configuration(
            World.LIVE, Arm.IN_ORBIT, Origin.GROUND, mode, "a", len(self.rows), SATELLITE, None, offered
        )
        start_s = self._live.now_s() + LEAD_S
        stratum = Stratum(0, start_s, start_s + self._chosen.rate * self._chosen.duration)
        (series,) = self._live.measure([one], [stratum], WARM_UP_S, lambda text: None)
        times = [row.latency_s for row in series.rows if row.outcome == "ok" and not row.warm_up]
        return {
            "who": "perigrid",
            "result": "VALID" if series.valid else "INVALID FOR LATENCY",
            "count": len(times),
            "failed": sum(row.outcome != "ok" for row in series.rows),
            "percentiles_s": {p: nearest(times, p) for p in SHARES},
        }


def nearest(values: Sequence[float], percentile: int) -> float:
    """The nearest rank, as the load generator has it: the value at index floor(n * share) of those in order."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percentile // 100)]


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each scenario and percentile: means, A/A spread, and whether both generators agree."""
    found = []
    for mode, name in MODES.items():
        for share in SHARES:
            of: dict[str, list[float]] = {"loadgen": [], "perigrid": []}
            same: list[float] = []
            for row in rows:
                if row["mode"] == mode.value:
                    of[row["who"]].append(row["percentiles_s"][share])
                    if row["who"] == "loadgen":
                        same.append(row["percentiles_s"][share] - row["same_requests_s"][share])
            means = {who: float(np.mean(values)) for who, values in of.items()}
            spread_s = max(max(values) - min(values) for values in of.values())
            apart_s = means["loadgen"] - means["perigrid"]
            found.append(
                {
                    "scenario": name,
                    "percentile": share,
                    "loadgen_s": means["loadgen"],
                    "perigrid_s": means["perigrid"],
                    "apart_s": apart_s,
                    "spread_s": spread_s,
                    "same_requests_apart_s": max(same, key=abs),
                    "same_requests": verdict(max(same, key=abs), spread_s),
                    "runs": verdict(apart_s, spread_s),
                }
            )
    return found


def verdict(apart_s: float, spread_s: float) -> str:
    """What a difference says beside the A/A spread."""
    if abs(apart_s) <= spread_s:
        return "AGREE"
    return "UNDECIDED" if abs(apart_s) <= 2 * spread_s else "DIFFER"


@contextmanager
def probing(gateway: str, request: Any, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The load generator's process, with a request's inputs."""
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        np.save(folder / f"{tensor.name}.npy", np.frombuffer(raw, DTYPES[tensor.datatype]).reshape(tensor.shape))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = ROOT / "tests" / "live" / "loadgen_probe.py"
    command = [str(installed()), str(script), gateway, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def measure(chosen: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The rows of all rounds."""
    device = Device(name="stated", kind="assumed", service_s={chosen.model: SERVICE_S})
    scenario = preset("three-body-12", models=(chosen.model,), device=device)
    installed()
    store = ModelStore(cache=default_cache(os.environ))
    scene = load_scene(scenario.data[0].label, SceneSearch.from_environment(os.environ))
    requests = requests_of(store, chosen.model, scene)[:1]
    options = LaunchOptions(rate=chosen.rate, satellites_per_process=scenario.satellite_count)
    inputs = folder / "inputs"
    inputs.mkdir()
    with (
        arena(scenario, folder, "loadgen", options) as (run, info),
        probing(info.gateway, requests[0], inputs) as probe,
    ):
        live = LiveRun(run, info.gateway, requests, sensor_of(scenario, chosen.model))
        try:
            race = Race(chosen, live, probe, requests[0].model_name)
            race.run()
        finally:
            live.close()
    return race.rows


def main() -> None:
    """Measure, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", type=float, default=10.0, help="seconds of the wall for each run")
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--model", default="filetype")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        rows = measure(chosen, Path(folder))
    found = verdicts(rows)
    if chosen.json:
        print(msgspec.json.encode({"rows": rows, "verdicts": found}).decode())
        return
    for row in rows:
        times = ", ".join(f"p{share} {1e3 * time_s:.3f} ms" for share, time_s in row["percentiles_s"].items())
        print(
            f"round {row['round'] + 1} {row['mode']:<14} {row['who']:<9} {row['count']:>5} {row['result']:<20} {times}"
        )
    for one in found:
        print(
            f"{one['scenario']:<13} p{one['percentile']}: loadgen {1e3 * one['loadgen_s']:.3f} ms, perigrid "
            f"{1e3 * one['perigrid_s']:.3f} ms, apart {1e3 * one['apart_s']:+.3f} ms, A/A spread "
            f"{1e3 * one['spread_s']:.3f} ms: {one['runs']}; same requests "
            f"{1e3 * one['same_requests_apart_s']:+.3f} ms: {one['same_requests']}"
        )


if __name__ == "__main__":
    main()
