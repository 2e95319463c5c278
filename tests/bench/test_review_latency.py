"""Is what cannot be measured refused before any work, and is nothing made up?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from perigrid.bench.arena import preset
from perigrid.bench.latency.rows import Arm, Mode, Origin, Stratum, World
from perigrid.bench.latency.run import LatencyBench, LatencyOptions
from perigrid.bench.latency.virtual import VirtualRun
from perigrid.bench.latency.worlds import DEFAULT_SENSOR, Configuration, Costs
from perigrid.errors import UsageError
from perigrid.scenario.model import Device

STATED = Device(name="stated", kind="assumed", slots=1, service_s={"cloudmask": 0.09})
COSTS = Costs({"cloudmask": 0.09, "tinycloud": 0.01}, {"cloudmask": 0.02}, {"cloudmask": 4096}, 1000, 1000)


def bench(tmp_path: Path, **options: Any) -> LatencyBench:
    scenario = preset("three-body-12", models=("cloudmask",), device=STATED, ground_device=STATED)
    said: list[str] = []
    return LatencyBench(scenario, LatencyOptions(model="cloudmask", **options), tmp_path, said.append)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"worlds": (World.SIM,), "arms": (Arm.BARE,)}, "nothing is left to measure"),
        ({"worlds": (World.LIVE,), "arms": (Arm.BENT_PIPE,)}, "nothing is left to measure"),
        ({"worlds": (World.SIM,), "arms": (Arm.SHARDED,), "origins": (Origin.GROUND,)}, "nothing is left to measure"),
        ({"worlds": (World.SIM,), "arms": (Arm.CASCADE,)}, "tinycloud takes on stated is neither stated nor"),
        ({"worlds": (World.SIM,), "arms": (Arm.IN_ORBIT,), "warm_up_s": 1000.0}, "do not fit"),
        ({"worlds": (World.SIM,), "arms": (Arm.IN_ORBIT,), "duration_s": 1e6}, "do not fit"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        bench(tmp_path, **options).measure()


@pytest.mark.parametrize("name", ["ground", "Svalbard"])
def test_a_sensor_is_carried_by_a_satellite(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no satellite"):
        bench(tmp_path, satellite=name)


def outcomes(models: tuple[str, ...], deadline_s: float | None = None) -> set[tuple[str, str]]:
    scenario = preset("three-body-12", models=models)
    one = Configuration(World.SIM, Arm.CASCADE, Origin.BOARD, Mode.SERVER, "a", 1, "sat-01", None, 1.0)
    sensor = msgspec.structs.replace(DEFAULT_SENSOR, deadline_s=deadline_s)
    run = VirtualRun(scenario, sensor, "cloudmask", COSTS, one)
    for node in run.world.nodes[:12]:
        machine: Any = node.machine
        machine.models = models
    return {(row.outcome, row.cause) for row in run.measure([Stratum(0, 20.0, 26.0)]).rows}


def test_frames_that_end_on_board_say_why() -> None:
    assert outcomes(("cloudmask",)) == {("dropped", "its satellite had no room for it, or not its model")}
    assert outcomes(("cloudmask", "tinycloud"), deadline_s=0.001) == {("deadline", "not done by its deadline")}
