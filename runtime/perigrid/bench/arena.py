"""On which constellation is something measured?

One of its own, brought up for the measurement under the runs' root and taken down after it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import msgspec

from perigrid.errors import EnvironmentProblem
from perigrid.live.clients import SupervisorClient
from perigrid.live.launch import LaunchOptions, down, launch
from perigrid.live.models import ModelStore, default_cache
from perigrid.live.prepare import prepare
from perigrid.live.rundir import RunDirectory, RunInfo
from perigrid.scenario.model import Scenario
from perigrid.scenario.presets import parse_presets, preset_scenario

SETTLE_LIMIT_S = 60.0
LOOK_S = 0.1


def preset(name: str, **changes: object) -> Scenario:
    """A preset with some of its values changed."""
    package = files("perigrid.scenario")
    presets = parse_presets((package / "presets.toml").read_text(), (package / "stations.toml").read_text())
    return msgspec.structs.replace(preset_scenario(name, presets), **changes)


@contextlib.contextmanager
def arena(scenario: Scenario, root: Path, name: str, options: LaunchOptions) -> Iterator[tuple[RunDirectory, RunInfo]]:
    """A constellation that is up and settled; it is taken down at the end."""
    run = RunDirectory.create(root, name)
    store = ModelStore(cache=default_cache(os.environ))
    prepare(scenario, run, store, os.environ, options, say)
    info = launch(run, options, say)
    try:
        _wait_settled(run)
        yield run, info
    finally:
        down(run)


def say(text: str) -> None:
    """Progress goes to standard error; data goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def _wait_settled(run: RunDirectory) -> None:
    end_s = time.monotonic() + SETTLE_LIMIT_S
    with SupervisorClient(run) as client:
        while time.monotonic() < end_s:
            if msgspec.json.decode(client.status_json())["settled"]:
                return
            time.sleep(LOOK_S)
    raise EnvironmentProblem(f"the constellation did not settle within {SETTLE_LIMIT_S:g} s; see {run.path / 'log'}.")
