"""How exactly do links keep their delay and their rate?

On a running twelve-ring at rate 1: probes over every laser, evenly staggered; their error is arrival minus due time,
end to end. Beside them a floor process, a bare thread that sleeps to the same instants in the same run. Once with idle
payloads, once with inference on all satellites on a free clock. Then, over lasers of 100 Mbit/s: 10 MB alone, two times
10 MB together, and a control frame sent while 10 MB are under way.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from perigrid.bench.accounting import machine
from perigrid.bench.arena import arena, preset, say
from perigrid.errors import EnvironmentProblem, LinkBroken
from perigrid.job.spec import JobSpec
from perigrid.live.clients import JobClient, SupervisorClient
from perigrid.live.clock import ClockPage
from perigrid.live.config import open_plan, read_config
from perigrid.live.lateness import TOLERANCE_S
from perigrid.live.launch import LaunchOptions
from perigrid.live.rundir import RunDirectory, RunInfo
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.topology import LinkKind, Mesh
from perigrid.node.frames import HEADER_BYTES
from perigrid.node.transfers import MIN_CHUNK_BYTES
from perigrid.scenario.model import DataSource, Lasers, Scenario
from perigrid.wire.generated import control_pb2 as protocol

PROBE_INTERVAL_S = 0.02
LEAD_S = 1.0
MEASURED_LINE_BPS = 100e6
TRANSFER_BYTES = 10_000_000
TRANSFER_LIMIT_S = 30.0
LOOK_S = 0.05
NOISE_FILE = "noise.npz"


def percentiles(errors_ms: Iterable[float]) -> dict[str, float]:
    """p50, p99 and the largest of some errors."""
    values = np.asarray(list(errors_ms))
    if not len(values):
        raise EnvironmentProblem("no probe arrived; see the run's log folder.")
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4), "max_ms": round(float(values.max()), 4)}


class Prober:
    """Sends probes on a running constellation and collects their arrivals."""

    def __init__(self, run: RunDirectory) -> None:
        self.client = SupervisorClient(run)
        self.clock = ClockPage(run.path / "clock.page")
        config = read_config(run.path)
        self.mesh = Mesh(config.scenario)
        self.plan: ContactPlan = open_plan(run.path, config, self.mesh)
        self._folder = run.path

    def send(self, source: int, destination: int, start_s: float, count: int = 1, payload_bytes: int = 0) -> None:
        """Ask for `count` probes from sky time `start_s` on; bulk where they have a payload."""
        request = protocol.ProbeRequest(
            source=self.mesh.names[source],
            destination=self.mesh.names[destination],
            count=count,
            interval_s=PROBE_INTERVAL_S,
            payload_bytes=payload_bytes,
            bulk=payload_bytes > 0,
            start_sky_s=start_s,
        )
        self.client.probe(request)

    def arrivals(self) -> list[Any]:
        """The probes that arrived since this was asked last."""
        return [arrival for state in self.client.states(errors=True) for arrival in state.arrivals]

    def every_laser(self, seconds: float) -> tuple[dict[str, float], dict[str, float], int]:
        """Probe all lasers for so long: errors, the floor's errors, and how many were late beyond tolerance."""
        self.arrivals()
        count = int(seconds / PROBE_INTERVAL_S)
        start_s = self.clock.now_s() + 2 * LEAD_S
        instants: list[float] = []
        lasers = self.mesh.lasers
        for number, link in enumerate(lasers):
            first_s = start_s + number * PROBE_INTERVAL_S / len(lasers)
            times_s = [first_s + i * PROBE_INTERVAL_S for i in range(count)]
            line_s = HEADER_BYTES * 8 / self.plan.state(link, start_s).rate_bps
            instants += [t + line_s + self.plan.state(link, t).delay_s for t in times_s]
            self.send(link.a, link.b, first_s, count)
        path = self._folder / "instants.npy"
        np.save(path, np.sort(instants))
        command = [sys.executable, "-m", "perigrid.bench.floor", str(self._folder / "clock.page"), str(path)]
        floor = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 60)
        errors_ms = json.loads(floor.stdout.splitlines()[-1])
        late_s = [a.arrived_s - a.due_s for a in self._wait_for(count * len(lasers))]
        late = sum(error > TOLERANCE_S for error in late_s)
        return percentiles(error * 1e3 for error in late_s), percentiles(errors_ms), late

    def transfers(self, flows: int, control_after_s: float | None = None) -> tuple[list[Any], float]:
        """Send `flows` times TRANSFER_BYTES over the first laser at once; arrivals of their frames, and its delay."""
        self.arrivals()
        link = self.mesh.lasers[0]
        start_s = self.clock.now_s() + LEAD_S
        for _ in range(flows):
            self.send(link.a, link.b, start_s, payload_bytes=TRANSFER_BYTES)
        if control_after_s is not None:
            self.send(link.a, link.b, start_s + control_after_s)
        frames = -(-TRANSFER_BYTES // MIN_CHUNK_BYTES) * flows + (control_after_s is not None)
        return self._wait_for(frames), self.plan.state(link, start_s).delay_s

    def _wait_for(self, frames: int) -> list[Any]:
        found: list[Any] = []
        end_s = time.monotonic() + TRANSFER_LIMIT_S
        while len(found) < frames and time.monotonic() < end_s:
            time.sleep(LOOK_S)
            found += self.arrivals()
        return found


def accuracy(run: RunDirectory, info: RunInfo, model: str, dataset: str, seconds: float) -> dict[str, Any]:
    """Errors of all lasers, idle and busy."""
    prober = Prober(run)
    figures: dict[str, Any] = {}
    for phase in ("idle", "busy"):
        stop = threading.Event()
        worker = threading.Thread(target=_keep_busy, args=(info, model, dataset, stop), daemon=True)
        if phase == "busy":
            worker.start()
        errors, floor, late = prober.every_laser(seconds)
        stop.set()
        if phase == "busy":
            worker.join(timeout=TRANSFER_LIMIT_S)
        figures[phase] = {
            **errors,
            "floor_p50_ms": floor["p50_ms"],
            "floor_p99_ms": floor["p99_ms"],
            "floor_max_ms": floor["max_ms"],
            "late": late,
        }
        say(f"{phase}: {figures[phase]}")
    return figures


def _keep_busy(info: RunInfo, model: str, dataset: str, stop: threading.Event) -> None:
    """Run jobs one after another until told to stop; the last one is given up."""
    number = 0
    while not stop.is_set():
        number += 1
        name = f"busy-{number}"
        with JobClient(info.jobs) as client, JobClient(info.jobs) as canceller:
            watcher = threading.Thread(target=_cancel, args=(canceller, name, stop), daemon=True)
            watcher.start()
            client.run(JobSpec(job=name, model=model, dataset=dataset, tiles_per_shard=4), lambda event: None)


def _cancel(client: JobClient, name: str, stop: threading.Event) -> None:
    stop.wait()
    try:
        client.cancel(name)
    except LinkBroken:
        return


def bandwidth(run: RunDirectory) -> dict[str, Any]:
    """How 10 MB, two times 10 MB, and a control frame among them fare over 100 Mbit/s."""
    prober = Prober(run)
    ideal_s = TRANSFER_BYTES * 8 / MEASURED_LINE_BPS
    alone, delay_s = prober.transfers(1)
    took_s = max(a.arrived_s for a in alone) - min(a.sent_s for a in alone) - delay_s
    both, delay_s = prober.transfers(2)
    start_s = min(a.sent_s for a in both)
    both_s = max(a.arrived_s for a in both) - start_s - delay_s
    half_way = [a for a in both if a.arrived_s - start_s - delay_s < both_s / 2]
    mixed, delay_s = prober.transfers(1, control_after_s=ideal_s / 2)
    control = min(mixed, key=lambda a: a.bytes)
    chunks = [a for a in mixed if a is not control]
    return {
        "seconds_for_10_mb": round(took_s, 5),
        "bandwidth_error_percent": round(100 * abs(took_s / ideal_s - 1), 4),
        "two_flows_error_percent": round(100 * abs(both_s / (2 * ideal_s) - 1), 4),
        "two_flows_done_half_way_percent": round(100 * len(half_way) / len(both), 2),
        "control_beyond_light_ms": round((control.arrived_s - control.sent_s - delay_s) * 1e3, 4),
        "chunks_that_arrived_after_control": sum(a.arrived_s > control.arrived_s for a in chunks),
        "chunks": len(chunks),
    }


def _ring(**changes: object) -> Scenario:
    return preset("three-body-12", **changes)


def main(arguments: list[str]) -> int:
    """`perigrid bench links`."""
    parser = argparse.ArgumentParser(prog="perigrid bench links", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each phase")
    parser.add_argument("--model", default="cloudmask", help="what satellites compute in the busy phase")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where runs are kept")
    chosen = parser.parse_args(arguments)
    chosen.root.mkdir(parents=True, exist_ok=True)
    noise = chosen.root.resolve() / NOISE_FILE
    np.savez(noise, img=np.random.default_rng(0).random((512, 512, 6), dtype=np.float32))
    data = (DataSource(file=str(noise), tile_px=256, stride_px=8),)
    before, start_s = machine(), time.monotonic()
    options = LaunchOptions(rate=1.0, mode="free")
    with arena(_ring(models=(chosen.model,), data=data), chosen.root, "links-delay", options) as (run, info):
        figures = accuracy(run, info, chosen.model, noise.stem, chosen.seconds)
    lasers = Lasers(rate_bps=MEASURED_LINE_BPS, acquire_s=1.0)
    with arena(_ring(models=(), data=(), lasers=lasers), chosen.root, "links-rate", options) as (run, _):
        figures |= bandwidth(run)
    stolen_s, wall_s = machine().steal_s - before.steal_s, time.monotonic() - start_s
    figures["steal_percent"] = round(100 * stolen_s / wall_s, 3)
    figures["lasers"] = sum(link.kind is LinkKind.LASER for link in Mesh(_ring()).lasers)
    if chosen.json:
        print(msgspec.json.encode(figures).decode())
    else:
        for key, value in figures.items():
            print(key, value)
    return 0
