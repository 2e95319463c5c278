"""How much of the bare model's speed is left on a constellation?

Rounds of a job on twelve satellites (free clock, a ground link that does not matter) in turn with rounds of bare
onnxruntime on the same tiles (two processes, one thread each, the same niceness, one queue). A round is void when other
processes held more than MAX_OTHERS_CORES. What counts is CPU seconds a tile, bare over ours: all of ours, the hosts,
the ground, the supervisor and the client that takes the results. Wall throughput stands beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from perigrid.bench.accounting import machine, run_cpu_s
from perigrid.bench.arena import arena, preset, say
from perigrid.errors import EnvironmentProblem, MissingFile
from perigrid.job.masks import windows
from perigrid.job.spec import JobSpec
from perigrid.live.clients import JobClient
from perigrid.live.launch import ALLOCATOR_SETTINGS, LaunchOptions
from perigrid.live.models import ModelEntry, ModelStore, default_cache
from perigrid.live.rundir import RunDirectory, RunInfo
from perigrid.live.scenes import Scene, SceneSearch, load_scene
from perigrid.scenario.model import DataSource, GroundLink

TILE_PX = 256
BARE_PROCESSES = 2
MAX_OTHERS_CORES = 0.2
MAX_ROUNDS_FACTOR = 3
"""Rounds tried for each valid one that is wanted; then what there is is reported."""

BARE_SLACK_S = 0.2
TILES_PER_SHARD = 32
FAST_GROUND_BPS = 10e9
JOB_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Round:
    """One timed stretch of work."""

    tiles: int
    cpu_s: float
    wall_s: float
    others_cores: float

    def valid(self, seconds: float) -> bool:
        """Did it have the machine to itself, for long enough?"""
        return self.others_cores <= MAX_OTHERS_CORES and self.wall_s >= seconds

    @property
    def cpu_per_tile_s(self) -> float:
        """CPU seconds a tile."""
        return self.cpu_s / self.tiles

    @property
    def tiles_per_s(self) -> float:
        """Throughput."""
        return self.tiles / self.wall_s


def measured(work: Callable[[], int], cpu_s: Callable[[], float]) -> Round:
    """Time one stretch of work that answers with its number of tiles; `cpu_s` counts what its processes used."""
    before, cpu_before_s, start_s = machine(), cpu_s(), time.monotonic()
    tiles = work()
    wall_s, used_s = time.monotonic() - start_s, cpu_s() - cpu_before_s
    others = max(0.0, machine().busy_s - before.busy_s - used_s) / wall_s
    return Round(tiles, used_s, wall_s, others)


class Bare:
    """The bare processes: started once, so that a round times work only."""

    def __init__(self, folder: Path, entry: ModelEntry, model: Path, scene: Scene, corners: Any) -> None:
        self._folder = folder
        self._model = model
        np.save(folder / "scene.npy", scene.bands)
        np.save(folder / "tiles.npy", corners)
        scaling = entry.normalisation
        words = {
            "bands": len(entry.bands),
            "tile_px": TILE_PX,
            "mean": list(scaling.mean) if scaling else None,
            "std": list(scaling.std) if scaling else None,
        }
        (folder / "scaling.json").write_text(json.dumps(words))

    def round(self, seconds: float) -> Round:
        """Run them side by side for so long."""
        (self._folder / "counter").write_bytes(bytes(8))
        processes = [self._start(seconds) for _ in range(BARE_PROCESSES)]
        for process in processes:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise EnvironmentProblem("a bare process did not start; see its message above.")
        before, start_s = machine(), time.monotonic()
        for process in processes:
            if process.stdin is not None:
                process.stdin.write("go\n")
                process.stdin.flush()
        reports = [json.loads(process.communicate(timeout=seconds + 60)[0]) for process in processes]
        wall_s = time.monotonic() - start_s
        cpu_s = sum(report["cpu_s"] for report in reports)
        others = max(0.0, machine().busy_s - before.busy_s - cpu_s) / wall_s
        # Throughput is each process's own: starting and ending are no part of the work.
        rate = sum(report["tiles"] / report["wall_s"] for report in reports)
        tiles = sum(report["tiles"] for report in reports)
        return Round(tiles, cpu_s, tiles / rate, others)

    def _start(self, seconds: float) -> subprocess.Popen[str]:
        names = ("scene.npy", "scaling.json", "tiles.npy", "counter")
        scene, scaling, tiles, counter = (str(self._folder / name) for name in names)
        command = [sys.executable, "-m", "perigrid.bench.bare", str(self._model)]
        return subprocess.Popen(
            [*command, scene, scaling, tiles, counter, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ALLOCATOR_SETTINGS},
        )


def ours(run: RunDirectory, info: RunInfo, model: str, dataset: str, number: int) -> Round:
    """One job over the whole dataset; its client's CPU counts as ours."""

    def work() -> int:
        spec = JobSpec(job=f"{model}-{number}", model=model, dataset=dataset, tiles_per_shard=TILES_PER_SHARD)
        tiles = 0

        def on(event: object) -> None:
            nonlocal tiles
            tiles = max(tiles, getattr(event, "tiles", 0))

        with JobClient(info.jobs) as client:
            ending = client.run(spec, on, limit_s=JOB_LIMIT_S)
        if ending.outcome != "complete":
            raise EnvironmentProblem(f"job {spec.job} ended {ending.outcome}; see {run.path}.")
        return tiles

    return measured(work, lambda: run_cpu_s(run.path) + time.process_time())


def compare(
    model: str, scene: Scene, source: DataSource, stride_px: int, root: Path, rounds: int, seconds: float
) -> dict[str, Any]:
    """Interleaved rounds of one model; medians of the ratios of neighbouring rounds."""
    store = ModelStore(cache=default_cache(os.environ))
    source = msgspec.structs.replace(source, stride_px=stride_px)
    scenario = preset(
        "three-body-12", models=(model,), data=(source,), ground_link=GroundLink(rate_bps=FAST_GROUND_BPS)
    )
    corners = windows(scene.bands.shape[1], scene.bands.shape[2], TILE_PX, stride_px)
    pairs: list[tuple[Round, Round]] = []
    tried = 0
    options = LaunchOptions(mode="free")
    with tempfile.TemporaryDirectory(dir=root) as folder, arena(scenario, root, f"efficiency-{model}", options) as up:
        bare = Bare(Path(folder), store.entry(model), store.resolve(model), scene, corners)
        ours(*up, model, Path(scene.name).stem, 0)
        while len(_valid(pairs, seconds)) < rounds and tried < MAX_ROUNDS_FACTOR * rounds:
            tried += 1
            pair = ours(*up, model, Path(scene.name).stem, tried), bare.round(seconds)
            pairs.append(pair)
            say(
                f"{model} round {tried}: CPU ms a tile ours {pair[0].cpu_per_tile_s * 1e3:.2f} bare "
                f"{pair[1].cpu_per_tile_s * 1e3:.2f}; tiles/s {pair[0].tiles_per_s:.1f} and "
                f"{pair[1].tiles_per_s:.1f} over {pair[0].wall_s:.1f} and {pair[1].wall_s:.1f} s; others "
                f"{pair[0].others_cores:.2f} and {pair[1].others_cores:.2f} cores"
            )
    return summary(_valid(pairs, seconds), tried)


def _valid(pairs: list[tuple[Round, Round]], seconds: float) -> list[tuple[Round, Round]]:
    # A bare process stops taking tiles when its time is over, so its own wall may be a tile short.
    return [(own, bare) for own, bare in pairs if own.valid(seconds) and bare.valid(seconds - BARE_SLACK_S)]


def summary(valid: list[tuple[Round, Round]], tried: int) -> dict[str, Any]:
    """The figures of one model's valid rounds."""
    if len(valid) < 2:
        return {"rounds": len(valid), "rounds_tried": tried, "void": "other processes held the machine"}
    bare = [b.cpu_per_tile_s for _, b in valid]
    own = [o.cpu_per_tile_s for o, _ in valid]
    again = [one / two for one, two in itertools.pairwise(bare)]
    return {
        "cpu_ratio": round(statistics.median(b.cpu_per_tile_s / o.cpu_per_tile_s for o, b in valid), 4),
        "wall_ratio": round(statistics.median(o.tiles_per_s / b.tiles_per_s for o, b in valid), 4),
        "rounds": len(valid),
        "rounds_tried": tried,
        "aa_spread": round(max(abs(ratio - 1) for ratio in again), 4),
        "bare_tiles_per_s": round(statistics.median(b.tiles_per_s for _, b in valid), 2),
        "ours_tiles_per_s": round(statistics.median(o.tiles_per_s for o, _ in valid), 2),
        "bare_cpu_ms_per_tile": round(statistics.median(bare) * 1e3, 3),
        "ours_cpu_ms_per_tile": round(statistics.median(own) * 1e3, 3),
    }


def main(arguments: list[str]) -> int:
    """`perigrid bench efficiency`."""
    parser = argparse.ArgumentParser(prog="perigrid bench efficiency", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, default=5, help="valid rounds wanted of each model")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a round")
    parser.add_argument("--model", action="append", choices=["cloudmask", "tinycloud"], help="only this model")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where runs are kept")
    chosen = parser.parse_args(arguments)
    chosen.root.mkdir(parents=True, exist_ok=True)
    scene, source = _scene(chosen.root)
    # Strides that make rounds of more than twenty seconds on two cores.
    strides = {"cloudmask": 12, "tinycloud": 3}
    found = {
        model: compare(model, scene, source, strides[model], chosen.root, chosen.rounds, chosen.seconds)
        for model in chosen.model or strides
    }
    if chosen.json:
        print(msgspec.json.encode(found).decode())
    else:
        for model, figures in found.items():
            print(model, *(f"{key} {value}" for key, value in figures.items()))
    return 0


def _scene(root: Path) -> tuple[Scene, DataSource]:
    """The labelled Sentinel-2 scene; where it is not here, noise of the same shape costs a convolution the same."""
    try:
        scene = load_scene("sentinel2", SceneSearch.from_environment(os.environ))
        return scene, DataSource(dataset="sentinel2", tile_px=TILE_PX)
    except MissingFile:
        path = root.resolve() / "noise.npz"
        noise = np.random.default_rng(0).random((512, 512, 6), dtype=np.float32)
        np.savez(path, img=noise)
        scene = load_scene(str(path), SceneSearch.from_environment(os.environ))
        return scene, DataSource(file=str(path), tile_px=TILE_PX)
