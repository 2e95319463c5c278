"""Do perigrid's step and the plain script say the same, and does the measurement run?"""

import ast
import dataclasses
import inspect
import json

import numpy as np
import pytest

from perigrid.bench import sky_script
from perigrid.bench.cities import CITIES
from perigrid.bench.sky import PLACES, differences, main
from perigrid.bench.sky_script import EARTH_RATE_RAD_S, EPOCH_ANGLE_RAD, EPOCH_JD, Script
from perigrid.bench.sky_step import EPOCH, Constellation, SkyStep
from perigrid.sky.frames import sidereal_angle_rad
from perigrid.sky.sgp4 import julian_day
from perigrid.units import EARTH_RATE_RAD_S as OUR_RATE_RAD_S


def test_the_script_knows_nothing_of_perigrid() -> None:
    tree = ast.parse(inspect.getsource(sky_script))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} == {
        "__future__",
        "math",
        "dataclasses",
        "typing",
        "numpy",
        "scipy",
        "sgp4",
    }


def test_both_sides_have_the_same_moment_and_the_same_earth() -> None:
    assert sum(julian_day(EPOCH)) == EPOCH_JD
    assert sidereal_angle_rad(EPOCH) == pytest.approx(EPOCH_ANGLE_RAD, abs=1e-12)
    assert OUR_RATE_RAD_S == EARTH_RATE_RAD_S
    assert len(set(CITIES)) == 100


def test_other_hops_are_counted() -> None:
    world = Constellation(PLACES[::4], planes=18, slots=16)
    ours, script = SkyStep(world).at(0.0), Script(list(PLACES[::4]), 18, 16).step(0.0)
    mixed = dataclasses.replace(ours, step=np.roll(ours.step, 1, axis=0))
    assert differences(mixed, script)["other_hops"] > 0.5


@pytest.mark.parametrize("phasing", [None, 0, 1])
def test_both_sides_agree_step_after_step(phasing: int | None) -> None:
    # A small world, where satellites that come into sight and leave it matter; steps near and far apart.
    world = Constellation(PLACES[::4], planes=18, slots=16, phasing=phasing)
    script, ours = Script(list(PLACES[::4]), 18, 16, phasing=phasing), SkyStep(world)
    for t_s in (0.0, 15.0, 30.0, 45.0, 46.0, 200.0, 200.0, 1000.0, 86_400.0, 15.0):
        found = differences(ours.at(t_s), script.step(t_s))
        assert found["lengths"] < 1e-9
        assert found["between"] < 1e-9
        assert found["other_hops"] < 0.01


def test_the_measurement_gives_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["step"]["ratio"] > 0
    assert found["step"]["one_way_median_ms"] == pytest.approx(39.85, rel=0.01)
    assert found["step"]["apart"]["lengths"] < 1e-9
    assert set(found["growth"]) == {"slope", "cpu_ms"}
    assert found["plan"]["hours"] == 2
    assert found["plan"]["bytes"] > 0
    assert found["arrivals"]["nodes_reached"] > 12
