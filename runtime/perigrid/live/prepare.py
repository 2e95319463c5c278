"""What must be in a run's directory before anything starts?

The configuration, each satellite's share of the data in its flash, and the first hour of the contact plan. Everything
that can be wrong with a scenario on this machine is found here, before a process is started.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from perigrid.errors import DataError, ScenarioError
from perigrid.job.masks import windows
from perigrid.job.shards import next_in_ring, share_out
from perigrid.job.spec import Capture, Catalogue
from perigrid.live.config import (
    CONFIG_VERSION,
    GROUND_HOST,
    HostSpec,
    ModelFile,
    RunConfig,
    segment_path,
    write_config,
)
from perigrid.live.flash import CAPTURE_SUFFIX
from perigrid.live.launch import LaunchOptions
from perigrid.live.models import ModelStore
from perigrid.live.pipeline import own_entry
from perigrid.live.rundir import RunDirectory
from perigrid.live.scenes import Scene, SceneSearch, load_scene
from perigrid.live.service_times import check_device
from perigrid.mesh.plan import compute_segment
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import DataSource, Scenario
from perigrid.units import NodeId

DEFAULT_LEASE_S = 2.0
DEFAULT_SEED = 1
DESK_SHARE = 0.6
"""The part of the cores that inference may count on at the default rate: hosts, links and this machine's other work
take theirs, and an inference that takes a little longer than usual must still end in time."""

MAX_HOST_PROCESSES = 300


def default_rate(cores: int, computing: int) -> float:
    """Emulated seconds a second at which this many computers can be emulated honestly on this many cores."""
    return round(min(1.0, DESK_SHARE * cores / max(1, computing)), 6)


def prepare(
    scenario: Scenario,
    run: RunDirectory,
    store: ModelStore,
    environment: Mapping[str, str],
    options: LaunchOptions,
    progress: Callable[[str], None],
) -> RunConfig:
    """Write what a run starts from into its directory."""
    options.check()
    models = _models(scenario, store)
    scenario = msgspec.structs.replace(scenario, models=tuple(m.entry.name for m in models))
    check_device(scenario.device, tuple(m.entry.name for m in models if m.entry.mask is not None))
    mesh = Mesh(scenario)
    cores = len(os.sched_getaffinity(0))
    mode = options.mode or scenario.clock.mode
    slots = mesh.satellite_count * scenario.device.slots
    rate = options.rate or scenario.clock.rate or (1.0 if mode == "free" else default_rate(cores, slots))
    search = SceneSearch.from_environment(environment)
    preloaded = [f"models on every satellite: {', '.join(scenario.models)}"] if scenario.models else []
    captures: list[Capture] = []
    for number, source in enumerate(scenario.data):
        scene = load_scene(source.label, search)
        progress(f"scene {source.label}: {scene.source}")
        shares = _shares(number, source, scene, mesh)
        _write_captures(run, scene, shares, mesh, source.preload_replicas)
        captures += shares
        if source.preload_replicas:
            preloaded.append(f"copies of the captures of {source.label} on their replicas")
    config = RunConfig(
        version=CONFIG_VERSION,
        name=run.name,
        scenario=scenario,
        catalogue=Catalogue(tuple(captures)),
        models=models,
        hosts=_hosts(mesh, options.satellites_per_process),
        rate=rate,
        free=mode == "free",
        port=options.port,
        seed=DEFAULT_SEED,
        cores=cores,
        satellites_per_process=options.satellites_per_process,
        # On a free clock everything on board takes as much longer as there are more computers than cores.
        lease_s=DEFAULT_LEASE_S * (max(1.0, slots / cores) if mode == "free" else 1.0),
        preloaded=tuple(preloaded),
    )
    segment = compute_segment(scenario, mesh, 0)
    segment_path(run.path, 0).write_bytes(segment.to_bytes())
    write_config(run.path, config)
    return config


def _models(scenario: Scenario, store: ModelStore) -> tuple[ModelFile, ...]:
    files = []
    for name in scenario.models:
        path = store.resolve(name).resolve()
        entry = store.entry(name) if store.knows(name) else own_entry(path)
        files.append(ModelFile(entry, str(path)))
    names = [file.entry.name for file in files]
    if len(set(names)) < len(names):
        raise ScenarioError(f"models {', '.join(names)}: two have the same name; rename one's file.")
    return tuple(files)


def _shares(number: int, source: DataSource, scene: Scene, mesh: Mesh) -> tuple[Capture, ...]:
    bands, height, width = scene.bands.shape
    corners = windows(height, width, source.tile_px, source.stride_px)
    if source.tiles is not None:
        corners = corners[: source.tiles]
    if not len(corners):
        raise DataError(f"data source {number + 1} ({source.label}): no tile fits; lower tile_px or raise tiles.")
    pairs = [(int(row), int(column)) for row, column in corners]
    return share_out(
        Path(source.label).stem,
        (bands, height, width),
        pairs,
        source.tile_px,
        mesh.satellite_ids,
        lambda n: next_in_ring(n, mesh.laser_neighbours(n), source.replicas),
        lambda n: mesh.names[n],
    )


def _write_captures(
    run: RunDirectory, scene: Scene, shares: tuple[Capture, ...], mesh: Mesh, with_replicas: bool
) -> None:
    for capture in shares:
        rows = slice(capture.first_row, capture.first_row + capture.height_px)
        share = np.ascontiguousarray(scene.bands[:, rows, :])
        holders: tuple[NodeId, ...] = (capture.owner, *(capture.replicas if with_replicas else ()))
        for holder in holders:
            folder = run.path / "flash" / mesh.names[holder] / "captures"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{capture.name}{CAPTURE_SUFFIX}").write_bytes(share.tobytes())


def _hosts(mesh: Mesh, per_process: int) -> tuple[HostSpec, ...]:
    count = -(-mesh.satellite_count // per_process)
    if count > MAX_HOST_PROCESSES:
        least = -(-mesh.satellite_count // MAX_HOST_PROCESSES)
        raise ScenarioError(
            f"{mesh.satellite_count} satellites at {per_process} a process would be {count} processes, the limit is "
            f"{MAX_HOST_PROCESSES}; use --satellites-per-process {least} or more."
        )
    digits = len(str(count))
    satellites = [
        HostSpec(f"host-{i + 1:0{digits}d}", mesh.satellite_ids[i * per_process : (i + 1) * per_process])
        for i in range(count)
    ]
    return (*satellites, HostSpec(GROUND_HOST, (*mesh.station_ids, mesh.ground)))
