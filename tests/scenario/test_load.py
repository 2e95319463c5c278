"""Does a user's file become the scenario it describes, and does a mistake in it get a message that helps?"""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.errors import ScenarioError
from perigrid.scenario.load import parse
from perigrid.scenario.model import Scenario
from perigrid.scenario.presets import preset_scenario
from tests.scenario.shipped import PRESETS, all_numbers

SHELL = """
[[shell]]
name = "one"
altitude_km = 550
inclination_deg = 53
planes = 1
sats_per_plane = {satellites}
"""
OWN = 'stations = ["Svalbard"]\n' + SHELL
BASE = 'preset = "three-body-12"\n'


def load(text: str) -> Scenario:
    return parse(text, "my.toml", PRESETS)


def test_a_preset_alone_is_that_preset() -> None:
    assert load(BASE).digest() == preset_scenario("three-body-12", PRESETS).digest()


@pytest.mark.parametrize("satellites", [1, 2, 3, 12])
def test_a_shell_of_ones_own_needs_only_a_station(satellites: int) -> None:
    scenario = load(OWN.format(satellites=satellites))
    assert scenario.satellite_count == satellites
    assert scenario.satellite_names[0] == "sat-01"
    assert scenario.shells[0].topology == "ring"
    assert [station.name for station in scenario.stations] == ["Svalbard"]
    assert scenario.provenance["shell.one.altitude_km"].kind == "user"
    assert [key for key in all_numbers(scenario) if key not in scenario.provenance] == []


def test_a_changed_value_is_the_users_and_the_rest_keeps_its_source() -> None:
    scenario = load(BASE + "[lasers]\nrate_bps = 1e9\n")
    assert scenario.lasers.rate_bps == 1e9
    assert scenario.lasers.acquire_s == 15
    assert scenario.provenance["lasers.rate_bps"].kind == "user"
    assert scenario.provenance["lasers.rate_bps"].source == "my.toml"
    assert scenario.provenance["lasers.acquire_s"].kind == "sourced"


def test_a_shell_with_a_known_name_keeps_what_it_leaves_out() -> None:
    scenario = load(BASE + '[[shell]]\nname = "ring"\naltitude_km = 500\n')
    assert (scenario.shells[0].altitude_km, scenario.shells[0].sats_per_plane) == (500, 12)
    assert scenario.provenance["shell.ring.sats_per_plane"].kind == "sourced"


def test_stations_come_by_name_or_by_place() -> None:
    scenario = load(
        BASE
        + 'min_elevation_deg = 7\nstations = ["svalbard", "Kourou"]\n'
        + '[[station]]\nname = "Home"\nlatitude_deg = 50\nlongitude_deg = 10\nmin_elevation_deg = 20\n'
        + '[[station]]\nname = "Troll"\nmin_elevation_deg = 3\n'
    )
    assert [(station.name, station.min_elevation_deg) for station in scenario.stations] == [
        ("Svalbard", 7),
        ("Kourou", 7),
        ("Home", 20),
        ("Troll", 3),
    ]
    assert scenario.stations[3].latitude_deg == -72


def test_elevation_alone_changes_all_stations_of_the_preset() -> None:
    scenario = load(BASE + "min_elevation_deg = 5\n")
    assert {station.min_elevation_deg for station in scenario.stations} == {5}
    assert len(scenario.stations) == 4


def test_everything_else_a_file_can_say() -> None:
    scenario = load(
        BASE
        + 'name = "mine"\ntitle = "My run"\nepoch = 2026-03-01T12:00:00+02:00\nmodels = ["tinycloud"]\n'
        + '[clock]\nrate = 0.5\nmode = "free"\n[backbone]\ncentre_station = "Sanya"\n'
        + '[[data]]\nfile = "scene.npz"\ntiles = 9\n'
        + '[[fault]]\nat_s = 30\naction = "cut"\na = "sat-03"\nb = "sat-04"\n'
        + '[[fault]]\nat_s = 60\naction = "kill"\na = "sat-07"\n'
        + '[device]\nname = "jetson-tx2"\nkind = "cited"\nsource = "a paper"\n'
        + "[device.service_s]\ntinycloud = 0.02\n"
    )
    assert (scenario.name, scenario.title, scenario.preset) == ("mine", "My run", "three-body-12")
    assert scenario.epoch == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert (scenario.clock.rate, scenario.clock.mode) == (0.5, "free")
    assert (scenario.data[0].label, scenario.data[0].tiles, scenario.data[0].stride_px) == (
        "scene.npz",
        9,
        256,
    )
    assert [fault.action for fault in scenario.faults] == ["cut", "kill"]
    assert scenario.device.service_s == {"tinycloud": 0.02}
    assert scenario.provenance["device.watts"].kind == "sourced"
    assert scenario.provenance["fault.0.at_s"].kind == "user"
    assert scenario.provenance["device.service_s.tinycloud"].kind == "user"


MISTAKES = {
    'preset = "three-body-21"': ["my.toml", "three-body-12", "Known:", "iridium-next"],
    BASE + "[lasser]\nrate_bps = 1": ["lasser", "'laser"],
    BASE + "[lasers]\nrate_bbs = 1": ["lasers.rate_bbs", "'rate_bps'"],
    BASE + "[lasers]\nrate_bps = -1": ["lasers.rate_bps is -1", "above 0"],
    BASE + "[lasers]\nrate_bps = nan": ["lasers.rate_bps is nan"],
    BASE + "[lasers]\nloss = 2": ["lasers.loss is 2"],
    BASE + '[lasers]\nrate_bps = "fast"': ["lasers.rate_bps", "float", "str"],
    BASE + "lasers = 5": ["lasers is 5", "[lasers]"],
    BASE + "[ground_link]\nrate_bps = 0": ["ground_link.rate_bps is 0"],
    BASE + 'stations = ["Svalbord"]': ["'Svalbord'", "'Svalbard'", "82"],
    BASE + "stations = 3": ["stations is 3", "list of names"],
    BASE + "stations = []": ["no station"],
    BASE + '[[station]]\nname = "X"\nlatitude_deg = 91\nlongitude_deg = 0': ["station.X.latitude_deg is 91"],
    BASE + '[[station]]\nname = "X"\nlatitude_deg = 9': ["station.X.longitude_deg is missing"],
    BASE + '[[station]]\nname = "sat-01"\nlatitude_deg = 9\nlongitude_deg = 1': [
        "station.sat-01",
        "another node",
    ],
    BASE + '[[station]]\nname = "Troll"\n[[station]]\nname = "Troll"': ["station.Troll appears twice"],
    BASE + '[[station]]\nname = "Troll"\n[[station]]\nname = "troll"': ["station.troll appears twice"],
    BASE + "[[shell]]\naltitude_km = 500": ["shell.shell-1.inclination_deg is missing"],
    BASE + '[[shell]]\nname = "ring"\naltitude_km = 100': ["shell.ring.altitude_km is 100", "120"],
    BASE + '[[shell]]\nname = "ring"\nplanes = 0': ["shell.ring.planes is 0", "at least one plane"],
    BASE + '[[shell]]\nname = "ring"\nsats_per_plane = 1.5': ["shell.ring.sats_per_plane", "int"],
    BASE + '[[shell]]\nname = "ring"\ntopology = "star"': ["shell.ring.topology", "star"],
    BASE + "shell = 5": ["shell is 5", "[[shell]]"],
    OWN.replace("planes = 1", "planes = 3").format(satellites=4): ["shell.one.raan_spread_deg is missing"],
    OWN.replace("planes = 1", "planes = 900").format(satellites=900) + "raan_spread_deg = 360\nphasing = 0": [
        "810000 satellites",
        "20000",
    ],
    'stations = ["Svalbard"]': ["no shell", "three-body-12"],
    SHELL.format(satellites=3): ["no station"],
    BASE + "models = []": ["models is empty"],
    BASE + 'models = ["a", "a"]': ["models.a appears twice"],
    BASE + "epoch = 2026-01-01T00:00:00": ["epoch", "2026-01-01T00:00:00Z"],
    BASE + 'epoch = "soon"': ["epoch is 'soon'"],
    BASE + "epoch = 9999-12-31T23:59:59-23:00": ["epoch is 9999", "where dates end"],
    BASE + "epoch = 1899-12-31T00:00:00Z": ["epoch is 1899", "1900 to 2199"],
    BASE + "seed = " + "9" * 5000: ["my.toml: this is not TOML"],
    BASE + "models = " + "[" * 5000: ["my.toml: this is not TOML: it is nested too deeply"],
    BASE + '[[fault]]\nat_s = 1\naction = "cut"\na = "sat-3"\nb = "sat-04"': [
        "fault.0.a is 'sat-3'",
        "'sat-03'",
    ],
    BASE + '[[fault]]\nat_s = 1\naction = "cut"\na = "sat-03"': ["fault.0 (cut)", "both ends"],
    BASE + '[[fault]]\nat_s = 1\naction = "kill"\na = "sat-03"\nb = "sat-04"': ["fault.0 (kill)", "one node"],
    BASE + '[[fault]]\nat_s = -1\naction = "kill"\na = "sat-03"': ["fault.0.at_s is -1"],
    BASE + '[[fault]]\nat_s = 1\naction = "burn"\na = "sat-03"': ["fault.0.action", "burn"],
    BASE + "[[data]]\nstride_px = 4": ["data.", "dataset", "file"],
    BASE + '[[data]]\ndataset = "a"\n[[data]]\ndataset = "a"': ["data.a appears twice"],
    BASE + '[device]\nkind = "assumed"': ["device.service_s.cloudmask is missing"],
    BASE + '[device]\nkind = "cited"\nservice_s = { cloudmask = 1, tinycloud = 1 }': ["device.source is missing"],
    BASE + "[device.service_s]\ntinycloud = 1": ["device.service_s is given", "measured on this machine"],
    BASE + '[backbone]\ncentre_station = "Oslo"': ["backbone.centre_station is 'Oslo'", "Svalbard"],
    BASE + "[clock]\nrate = 0": ["clock.rate is 0"],
    "preset = 5": ["preset is 5"],
    BASE + "x =\ny = 1": ["not TOML", "line 2"],
    BASE + 'planets = "nine"': ["planets is not known"],
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_remedy(text: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(text)
    message = str(caught.value)
    assert message.startswith("my.toml: ")
    assert [part for part in MISTAKES[text] if part not in message] == []


def as_toml(value: object) -> str:
    """A value as one line of TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {as_toml(inner)}' for key, inner in value.items())} }}"
    return repr(value)


KEYS = [
    "lasers",
    "stations",
    "station",
    "device",
    "epoch",
    "models",
    "shell",
    "data",
    "fault",
    "clock",
    "name",
]
INNER = ["name", "planes", "loss", "kind", "at_s", "service_s"]
ANYTHING = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.floats() | st.sampled_from(["", "ring", "host", "Svalbard"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(INNER), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
def test_any_file_ends_in_a_scenario_or_a_scenario_error(document: dict[str, object]) -> None:
    lines = [f"{key} = {as_toml(value)}" for key, value in document.items()]
    try:
        scenario = load(BASE + "\n".join(lines))
    except ScenarioError as error:
        assert str(error).startswith("my.toml: ")
    else:
        assert scenario.satellite_count > 0


def test_digest_names_the_world_and_not_its_sources() -> None:
    one, same = (
        load(BASE + "[lasers]\nloss = 0.1\n"),
        parse(BASE + "[lasers]\nloss = 0.1\n", "other.toml", PRESETS),
    )
    assert one.provenance != same.provenance
    assert one.digest() == same.digest()
    assert one.digest() != load(BASE + "[lasers]\nloss = 0.2\n").digest()


def test_a_scenario_survives_being_written_and_read() -> None:
    scenario = load(BASE + "[clock]\nrate = 0.5\n")
    read = msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario)
    assert read == scenario
    assert read.digest() == scenario.digest()
