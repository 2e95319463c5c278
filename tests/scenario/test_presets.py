"""Do the shipped constellations say what the published ones are, and where each number comes from?"""

from typing import get_args

import msgspec
import pytest

from perigrid.errors import ScenarioError
from perigrid.scenario.draft import GROUPS, SINGLE
from perigrid.scenario.model import ProvenanceKind, Scenario
from perigrid.scenario.presets import parse_presets, preset_scenario
from tests.scenario.shipped import PRESETS, STATIONS_TEXT, all_numbers

SATELLITES = {
    "three-body-12": 12,
    "three-body-2800": 2800,
    "kuiper-270": 270,
    "kuiper": 3236,
    "starlink-shell1": 1584,
    "starlink-shell1-3lasers": 1584,
    "starlink-gen1": 4408,
    "iridium-next": 66,
    "telesat-2020": 351,
    "telesat-lightspeed-2025": 264,
    "oneweb-gen1": 588,
    "starcloud-1": 1,
    "kepler-odc": 10,
    "spacex-ai1": 60,
}


def test_exactly_these_constellations_ship() -> None:
    assert {name: preset_scenario(name, PRESETS).satellite_count for name in PRESETS.names} == SATELLITES


@pytest.mark.parametrize("name", SATELLITES)
def test_every_number_says_where_it_comes_from(name: str) -> None:
    scenario = preset_scenario(name, PRESETS)
    assert [key for key in ["epoch", *all_numbers(scenario)] if key not in scenario.provenance] == []
    for origin in scenario.provenance.values():
        assert origin.kind in get_args(ProvenanceKind)
        assert origin.source.strip()


@pytest.mark.parametrize("name", SATELLITES)
def test_a_preset_computes_on_this_machine_and_invents_no_fault(name: str) -> None:
    scenario = preset_scenario(name, PRESETS)
    assert scenario.device.kind == scenario.ground_device.kind == "host"
    assert scenario.faults == ()
    assert scenario.models == ("cloudmask", "tinycloud")
    assert scenario.preset == scenario.name == name
    assert scenario.ground_link.rate_bps == 220e6
    assert scenario.provenance["ground_link.rate_bps"].kind == "sourced"
    assert scenario.provenance["ground_link.full_rate_km"].kind == "computed"


def test_presets_with_data_have_crops_of_one_scene() -> None:
    with_data = {name for name in PRESETS.names if preset_scenario(name, PRESETS).data}
    assert with_data == {"three-body-12", "kuiper-270", "iridium-next", "spacex-ai1"}
    (source,) = preset_scenario("three-body-12", PRESETS).data
    assert (source.dataset, source.tile_px, source.stride_px, source.replicas) == ("sentinel2", 256, 16, 2)


def test_what_was_not_published_is_not_called_sourced() -> None:
    provenance = preset_scenario("three-body-12", PRESETS).provenance
    assert provenance["shell.ring.altitude_km"].kind == "assumed"
    assert provenance["shell.ring.raan_deg"].kind == "assumed"
    assert provenance["lasers.rate_bps"].kind == "sourced"
    assert provenance["station.Svalbard.latitude_deg"].kind == "sourced"
    assert provenance["station.Miyun.latitude_deg"].kind == "general"


def test_catalogue_has_all_stations_under_names_of_their_own() -> None:
    assert len(PRESETS.stations) == 82
    assert {"Svalbard", "Hawaii", "Hawaii AWS", "Sanya"} <= set(PRESETS.stations)
    for entry in PRESETS.stations.values():
        assert -90 <= entry["latitude_deg"].value <= 90
        assert entry["latitude_deg"].provenance.source


def test_computers_state_their_numbers_with_provenance() -> None:
    assert PRESETS.compute["three-body-max"].values["tops_int8"] == 744
    for profile in PRESETS.compute.values():
        assert set(profile.values) == set(profile.provenance)


@pytest.mark.parametrize("table", ["[preset.x]\nmin_elevation_deg = 5", "[defaults.lasers]\nrate_bps = 1e9"])
def test_a_number_without_provenance_is_refused(table: str) -> None:
    with pytest.raises(ScenarioError, match="does not say where it comes from"):
        parse_presets(f"{table}\n[compute]\n[defaults.clock]\n[preset.y]\n", STATIONS_TEXT)


def test_an_unknown_kind_of_provenance_is_refused() -> None:
    text = '[defaults]\nepoch = { value = 1, kind = "guessed", source = "x" }\n[compute]\n[preset]\n'
    with pytest.raises(ScenarioError, match="guessed"):
        parse_presets(text, STATIONS_TEXT)


def test_groups_and_tables_cover_the_scenario() -> None:
    fields = {field.name for field in msgspec.structs.fields(Scenario)}
    plural = {
        "shell": "shells",
        "catalogue": "catalogues",
        "laser": "laser_pairs",
        "station": "stations",
        "data": "data",
        "fault": "faults",
        "sensor": "sensors",
    }
    assert {*SINGLE, *(plural[key] for key in GROUPS)} <= fields
