"""How does a scenario become a constellation that is up?

A run directory is made, filled with captures and the contact plan, and handed to a supervisor. What fails
before a process was started leaves no directory behind.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from perigrid.app.scenarios import Say, model_store
from perigrid.live.launch import LaunchOptions, launch
from perigrid.live.prepare import prepare
from perigrid.live.rundir import MAX_NAME_LENGTH, RunDirectory, RunInfo
from perigrid.scenario.model import Scenario


def bring_up(
    scenario: Scenario,
    root: Path,
    name: str | None,
    options: LaunchOptions,
    environment: Mapping[str, str],
    say: Say,
) -> tuple[RunDirectory, RunInfo]:
    """Bring up a scenario under `root`, named as the scenario unless told otherwise.

    Raises NameInUse where that run is up, MissingFile and CorruptFile for models and scenes, and
    EnvironmentProblem, with the end of the log, where the processes do not come up.
    """
    run = RunDirectory.create(root, name or run_name(scenario))
    try:
        prepare(scenario, run, model_store(environment), environment, options, say)
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run, launch(run, options, say)


def run_name(scenario: Scenario) -> str:
    """A scenario's name as a run's: whatever could not name a folder becomes a dash."""
    letters = [c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in scenario.name]
    return "".join(letters).strip(".-")[:MAX_NAME_LENGTH] or "run"


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def epoch_of(info: RunInfo) -> datetime:
    """The moment of a run's sky time 0."""
    return datetime.fromisoformat(info.epoch)
