"""Does the user get the scenario that was meant, and hear what was changed in it?"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from perigrid.app import scenarios
from perigrid.app.launching import run_name
from perigrid.app.scenarios import at_epoch, choose, demo_scenario, fit, is_file, shipped_presets, utc_at
from perigrid.errors import MissingFile, ScenarioError
from perigrid.live.models import ModelStore
from perigrid.scenario.presets import preset_scenario
from tests.scenario.element_texts import FIELDS, TLE, as_csv, as_json

DARK_PROXY = "http://127.0.0.1:9"


@pytest.fixture
def dark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment without scenes, and no network to fetch them from."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, DARK_PROXY)
    return {"PERIGRID_CACHE": str(tmp_path), "HOME": str(tmp_path)}


@pytest.mark.parametrize(
    ("target", "file"),
    [("kuiper", False), ("mine.toml", True), ("./mine", True), ("a/b.toml", True), ("gp.json", True), ("x.tle", True)],
)
def test_a_file_is_told_from_a_preset(target: str, file: bool) -> None:
    assert is_file(target) is file


@pytest.mark.parametrize("name", shipped_presets().names)
def test_every_preset_can_be_chosen(name: str, dark: dict[str, str]) -> None:
    chosen = choose(name, dark, lambda _: None)
    assert chosen.scenario.preset == name
    assert "tinycloud" in chosen.scenario.models


def test_a_preset_without_its_scene_takes_the_packaged_one_and_says_so(dark: dict[str, str]) -> None:
    said: list[str] = []
    chosen = choose("three-body-12", dark, said.append)
    assert [source.dataset for source in chosen.scenario.data] == ["spyndex"]
    assert len(chosen.changes) == 1
    assert "spyndex instead of sentinel2" in chosen.changes[0]
    assert said == ["fetching the scene sentinel2"]


def test_a_preset_without_a_model_leaves_it_out_and_says_so(
    dark: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = preset_scenario("three-body-12", shipped_presets())
    resolve = ModelStore.resolve

    def without_package(store: ModelStore, name: str) -> Path:
        if store.entry(name).package:
            raise MissingFile(f"model {name!r} is not installed: pip install 'perigrid[eo]'")
        return resolve(store, name)

    monkeypatch.setattr(ModelStore, "resolve", without_package)
    chosen = fit(msgspec.structs.replace(whole, data=()), dark, lambda _: None)
    assert chosen.scenario.models == ("tinycloud",)
    assert chosen.changes == (
        "without the model cloudmask: model 'cloudmask' is not installed: pip install 'perigrid[eo]'",
    )
    with pytest.raises(MissingFile, match="none of the scenario's models"):
        fit(msgspec.structs.replace(whole, models=("cloudmask",)), dark, lambda _: None)


def test_a_preset_without_any_scene_comes_without_data_and_the_demo_does_not(
    dark: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(name: str, *_: object, **__: object) -> None:
        raise MissingFile(f"scene {name!r} is nowhere")

    monkeypatch.setattr(scenarios, "load_scene", nowhere)
    chosen = fit(preset_scenario("three-body-12", shipped_presets()), dark, lambda _: None)
    assert chosen.scenario.data == () and "without data" in chosen.changes[-1]
    with pytest.raises(MissingFile, match="no scene to work on"):
        demo_scenario(dark, lambda _: None)


def test_a_file_is_taken_as_it_is(tmp_path: Path, dark: dict[str, str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "kuiper-270"\nname = "mine"\nmodels = ["tinycloud"]\n')
    chosen = choose(str(path), dark, lambda _: None)
    assert (chosen.scenario.name, chosen.scenario.models, chosen.changes) == ("mine", ("tinycloud",), ())


def test_another_epoch() -> None:
    scenario = preset_scenario("three-body-12", shipped_presets())
    moved = at_epoch(scenario, "2026-02-03T04:05:06+01:00")
    assert moved.epoch == datetime(2026, 2, 3, 3, 5, 6, tzinfo=UTC)
    assert moved.provenance["epoch"].kind == "user"
    assert utc_at(moved.epoch, 60.0) == "2026-02-03T03:06:06Z"
    with pytest.raises(ScenarioError, match="--epoch"):
        at_epoch(scenario, "2026-02-03T04:05:06")


def test_the_demo_states_its_rate_and_is_in_the_package(dark: dict[str, str]) -> None:
    chosen = demo_scenario(dark, lambda _: None)
    assert chosen.scenario.clock.rate == 0.1
    assert chosen.scenario.satellite_count == 12


def test_a_run_has_a_name_that_can_be_a_folder() -> None:
    scenario = preset_scenario("three-body-12", shipped_presets())
    assert run_name(scenario) == "three-body-12"
    assert run_name(msgspec.structs.replace(scenario, name="../Mein Netz ö/1")) == "Mein-Netz---1"
    assert run_name(msgspec.structs.replace(scenario, name="///")) == "run"


@pytest.mark.parametrize(("name", "text"), [("sky.json", as_json(FIELDS)), ("sky.txt", TLE)])
def test_a_file_of_element_sets_is_a_scenario(name: str, text: str, tmp_path: Path, dark: dict[str, str]) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    scenario = choose(str(path), dark, lambda _: None).scenario
    assert scenario.name == "sky"
    assert scenario.satellite_count == 1
    assert "tinycloud" in scenario.models


def test_a_catalogue_lies_beside_the_scenario_file(
    tmp_path: Path, dark: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "near.csv").write_text(as_csv(FIELDS), encoding="utf-8")
    file = tmp_path / "mine.toml"
    text = 'preset = "three-body-12"\nepoch = 2026-01-03T00:00:00Z\n[[catalogue]]\nfile = "sets/near.csv"\n'
    file.write_text(text, encoding="utf-8")
    monkeypatch.chdir("/")
    scenario = choose(str(file), dark, lambda _: None).scenario
    assert scenario.satellite_names[-1] == "400000001"
    with pytest.raises(ScenarioError, match=r"--epoch: epoch is 2027-01-01.*object 400000001"):
        at_epoch(scenario, "2027-01-01T00:00:00Z")
    file.write_text(text.replace("near", "far"), encoding="utf-8")
    with pytest.raises(MissingFile, match=r"far\.csv cannot be read"):
        choose(str(file), dark, lambda _: None)
