"""How does a Python program get a constellation?

    import perigrid

    with perigrid.launch("three-body-12") as c:
        job = c.submit(model="tinycloud")
        c.cut("sat-06", "sat-07")
        print(job.result())

`launch` brings one up and `attach` finds one that is up; `handles.py` has what can be done with it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from perigrid.app.handles import Constellation, say_nothing
from perigrid.app.launching import bring_up
from perigrid.app.scenarios import with_computers
from perigrid.app.worlds import Data, Model, Wanted, as_files, as_list, data_source, world
from perigrid.live.launch import LaunchOptions
from perigrid.live.rundir import RunDirectory
from perigrid.scenario.model import Scenario


def launch(
    scenario: str | Path | Scenario = "three-body-12",
    *,
    models: Model | Sequence[Model] | None = None,
    data: Data | Sequence[Data] | None = None,
    rate: float | Literal["auto"] | None = None,
    orbit_rate: float | None = None,
    clock: Literal["dilated", "free"] | None = None,
    satellites_per_process: int = 1,
    name: str | None = None,
    root: str | Path = "runs",
    epoch: str | None = None,
    device: str | None = None,
    ground_device: str | None = None,
    port: int = 0,
    gateway_port: int = 0,
    metrics_port: int | None = None,
    quiet: bool = True,
) -> Constellation:
    """Bring up a constellation; it dies with this process, and with the `with` block where it is used as one.

    It is also bound to the thread that launched it: launch from one that lasts as long as you need it.

    Args:
        scenario: the name of a preset, the path of a .toml file, or a Scenario.
        models: names of models or paths of .onnx files in place of the scenario's.
        data: datasets, scenes (.npz), tiles (.npy [N, ...], folders, arrays) or DataSources in place of the scenario's.
        rate: emulated seconds a second of the wall; by default what this machine can keep, at most 1. "auto": as fast
            as it keeps up with, from moment to moment.
        orbit_rate: how many times as fast as emulated time passes the sky turns, at most 1000, in place of the
            scenario's: contacts come and go that much sooner, delays stay those of the geometry.
        clock: "free" lets inference take what it takes here: throughput, not latency.
        satellites_per_process: satellites that share a process.
        name: the run's name, by default the scenario's.
        root: the folder of the runs; all that is written lies in root/name.
        epoch: another moment of sky time 0, such as "2026-01-01T00:00:00Z".
        device: the computer on board in place of the scenario's, a profile's name such as "jetson-agx-orin".
        ground_device: the computer on the ground, likewise.
        port: of the job service on 127.0.0.1; 0 takes a free one.
        gateway_port: of the gateway on 127.0.0.1; 0 takes a free one.
        metrics_port: where Prometheus finds metrics on 127.0.0.1, 0 for any free one; None serves none.
        quiet: say nothing; else progress goes to stderr.

    Raises ScenarioError, DataError and ModelError for what cannot be, NameInUse where that run is up, MissingFile and
    CorruptFile for models and data, EnvironmentProblem where it does not come up.
    """
    say = say_nothing if quiet else _say
    ports = (port, gateway_port, metrics_port)
    options = LaunchOptions(rate, clock, satellites_per_process, *ports, attached=True)
    options.check()
    names = None if models is None else [str(model) for model in as_list(models)]
    with as_files([] if data is None else as_list(data)) as files:
        sources = None if data is None else [data_source(each, os.environ) for each in files]
        chosen = world(scenario, Wanted(names, sources, epoch, orbit_rate), os.environ, say)
        for change in chosen.changes:
            say(change)
        computed = with_computers(chosen.scenario, device, ground_device)
        run, _ = bring_up(computed, Path(root), name, options, os.environ, say)
    return Constellation(run, owned=True, say=None if quiet else _say)


def attach(name: str | None = None, root: str | Path = "runs", *, quiet: bool = True) -> Constellation:
    """A constellation that is up already: the one of that name, or the only one; NotRunning where there is none.

    Leaving its `with` block does not take it down; `down()` does.
    """
    return Constellation(RunDirectory.find(Path(root), name), owned=False, say=None if quiet else _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
