"""What must be in a run's directory before anything starts?

The configuration, each satellite's share of the data in its flash, and the first hours of the contact plan. Everything
that can be wrong with a scenario on this machine is found here, before a process is started.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

import perigrid
from perigrid.errors import ScenarioError
from perigrid.job.spec import Catalogue
from perigrid.live.cameras import check_pixels, check_sensors
from perigrid.live.cargo import stow
from perigrid.live.config import (
    CONFIG_VERSION,
    GROUND_HOST,
    HostSpec,
    RunConfig,
    write_config,
)
from perigrid.live.eventlog import EVENT_LOG_VERSION, append_event
from perigrid.live.governor import HIGHEST_RATE
from perigrid.live.horizon import write_first
from perigrid.live.launch import LaunchOptions
from perigrid.live.models import ModelStore
from perigrid.live.rundir import RunDirectory
from perigrid.live.scenes import SceneSearch
from perigrid.live.service_times import check_device
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import Scenario

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
    mesh = Mesh(scenario)
    search = SceneSearch.from_environment(environment)
    cargo = stow(run, mesh, scenario.models, scenario.data, store, search, progress)
    names = tuple(m.entry.name for m in cargo.models)
    scenario = msgspec.structs.replace(scenario, models=names)
    check_device(scenario.device, names)
    check_sensors(scenario)
    check_pixels(scenario, mesh, Catalogue(cargo.captures))
    cores = len(os.sched_getaffinity(0))
    mode = options.mode or scenario.clock.mode
    slots = mesh.satellite_count * scenario.device.slots
    wanted = options.rate or scenario.clock.rate or (1.0 if mode == "free" else default_rate(cores, slots))
    governed = wanted == "auto" and mode != "free"
    rate = HIGHEST_RATE if isinstance(wanted, str) else wanted
    config = RunConfig(
        version=CONFIG_VERSION,
        name=run.name,
        scenario=scenario,
        catalogue=Catalogue(cargo.captures),
        models=cargo.models,
        hosts=_hosts(mesh, options.satellites_per_process),
        rate=rate,
        governed=governed,
        free=mode == "free",
        port=options.port,
        gateway_port=options.gateway_port,
        metrics_port=options.metrics_port,
        seed=DEFAULT_SEED,
        cores=cores,
        satellites_per_process=options.satellites_per_process,
        # On a free clock everything on board takes as much longer as there are more computers than cores.
        lease_s=DEFAULT_LEASE_S * (max(1.0, slots / cores) if mode == "free" else 1.0),
        preloaded=cargo.preloaded,
        inputs=cargo.inputs,
    )
    write_first(run.path, scenario, mesh, rate)
    write_config(run.path, config)
    append_event(run.path, 0.0, "launcher", "run", _first_event(config))
    return config


def _first_event(config: RunConfig) -> dict[str, Any]:
    """What the event log begins with."""
    return {
        "version": EVENT_LOG_VERSION,
        "run": config.name,
        "perigrid": perigrid.__version__,
        "onnxruntime": importlib.metadata.version("onnxruntime"),
        "processor": _processor(),
        "epoch": config.scenario.epoch.isoformat(),
        "scenario_digest": config.scenario.digest(),
        "rate": config.rate,
        "governed": config.governed,
        "orbit_rate": config.scenario.clock.orbit_rate,
        "mode": "free" if config.free else "dilated",
        "seed": config.seed,
        "satellites": config.scenario.satellite_count,
        "inputs": {file.name: file.sha256 for file in config.inputs},
        "preloaded": list(config.preloaded),
    }


def _processor() -> str:
    """The processor's name: other instructions may round otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


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
