"""Can a computer be named, and is every time of it cited or marked as assumed?"""

from __future__ import annotations

import pytest

from perigrid.errors import ScenarioError
from perigrid.scenario.load import parse
from perigrid.scenario.presets import preset_scenario, with_device
from tests.scenario.shipped import PRESETS

MODELS = ("cloudmask", "cloudmask-4b", "tinycloud", "vad", "filetype")
BASE = 'preset = "three-body-12"\n'


def test_every_profile_has_a_time_of_every_model_with_where_it_comes_from() -> None:
    assert {"jetson-agx-orin", "jetson-tx2", "three-body-max", "ground-server"} <= set(PRESETS.compute)
    for name, profile in PRESETS.compute.items():
        assert set(MODELS) <= set(profile.service_s), name
        for model, leaf in profile.service_s.items():
            assert leaf.value > 0 and leaf.provenance is not None and leaf.provenance.source.strip(), (name, model)
            assert leaf.provenance.kind == "assumed" or leaf.provenance.source.count("/"), (name, model)


def test_a_time_of_another_s_model_is_not_taken_over() -> None:
    for name in ("jetson-tx2", "myriad2"):
        profile = PRESETS.compute[name]
        assert profile.values["task_s"] not in {leaf.value for leaf in profile.service_s.values()}
        assert {leaf.provenance.kind for leaf in profile.service_s.values() if leaf.provenance} == {"assumed"}


def test_a_scenario_names_computers_on_board_and_on_the_ground() -> None:
    text = f'{BASE}device = "jetson-agx-orin"\nground_device = "ground-server"\n'
    scenario = parse(text, "mine.toml", PRESETS)
    assert (scenario.device.name, scenario.device.kind, scenario.device.slots) == ("jetson-agx-orin", "assumed", 1)
    assert scenario.device.service_s["cloudmask"] == 0.005 and scenario.device.watts == 60.0
    assert (scenario.ground_device.name, scenario.ground_device.slots) == ("ground-server", 4)
    for key in ("device", "ground_device"):
        assert scenario.provenance[f"{key}.service_s.cloudmask"].kind == "assumed"
        assert scenario.provenance[f"{key}.slots"].kind == "assumed"
    assert scenario.provenance["device.watts"].kind == "sourced"


def test_a_table_takes_a_profile_and_states_what_it_knows_better() -> None:
    text = f'{BASE}[device]\nprofile = "jetson-tx2"\nslots = 2\nservice_s = {{ tinycloud = 0.02, mine = 0.1 }}\n'
    scenario = parse(text, "mine.toml", PRESETS)
    assert scenario.device.slots == 2
    assert (scenario.device.service_s["tinycloud"], scenario.device.service_s["mine"]) == (0.02, 0.1)
    assert scenario.device.service_s["cloudmask"] == 0.05
    assert scenario.provenance["device.service_s.tinycloud"].kind == "user"
    assert scenario.provenance["device.service_s.cloudmask"].kind == "assumed"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'device = "jetson-agx-orn"',
            r"mine\.toml: device 'jetson-agx-orn' .*did you mean 'jetson-agx-orin'\?.*Known: host",
        ),
        ('ground_device = "ground"', r"ground_device 'ground' .*did you mean 'ground-server'\?"),
        ("device = 3", "device 3 is no computer"),
        ("[device]\nprofile = [1]", "is no computer"),
        ('device = "h100"\nmodels = ["other"]', r"device\.service_s\.other is missing"),
    ],
)
def test_what_is_no_computer_is_named_with_what_is_near_it(text: str, told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        parse(f"{BASE}{text}\n", "mine.toml", PRESETS)


def test_a_computer_can_be_put_on_board_of_a_scenario_that_is_there() -> None:
    before = preset_scenario("three-body-12", PRESETS)
    after = with_device(before, "jetson-orin-nano", PRESETS, "--device")
    assert after.device.name == "jetson-orin-nano" and after.ground_device == before.ground_device
    assert after.provenance["device.service_s.cloudmask"].kind == "assumed"
    assert after.digest() != before.digest()
    back = with_device(after, "host", PRESETS, "--device")
    assert back.device == before.device and back.digest() == before.digest()
    with pytest.raises(ScenarioError, match=r"--ground-device: ground_device 'grund-server'.*did you mean"):
        with_device(before, "grund-server", PRESETS, "--ground-device", "ground_device")


def test_a_clock_can_be_governed() -> None:
    scenario = parse(f'{BASE}[clock]\nrate = "auto"\n', "mine.toml", PRESETS)
    assert scenario.clock.rate == "auto"
    with pytest.raises(ScenarioError, match=r"clock"):
        parse(f'{BASE}[clock]\nrate = "fast"\n', "mine.toml", PRESETS)
