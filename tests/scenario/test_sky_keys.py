"""Can a scenario file say what flies, who points at whom and who sees what, and is it told where it cannot be?"""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.errors import ScenarioError
from perigrid.scenario.elements import read_elements
from perigrid.scenario.load import parse, scenario_of_elements
from perigrid.scenario.model import Scenario, Shell
from perigrid.scenario.presets import preset_scenario
from perigrid.scenario.whole import terminals_needed
from tests.scenario.element_texts import as_csv, as_json, message
from tests.scenario.shipped import PRESETS, all_numbers

RING = 'preset = "three-body-12"\n'
SHELL1 = 'preset = "starlink-shell1"\n'
STATION = 'stations = ["Svalbard"]\n'
OWN = STATION + '[[shell]]\nname = "one"\naltitude_km = 550\n'
HOME = '[[station]]\nname = "Home"\nlatitude_deg = 50\nlongitude_deg = 10\n'
EPOCH = "epoch = 2026-01-03T00:00:00Z\n"
SKY = EPOCH + RING + '[[catalogue]]\nfile = "near.json"\n'

FILES = {
    "near.json": as_json(message(NORAD_CAT_ID=25544), message(NORAD_CAT_ID=400_000_001, OBJECT_NAME="PERI")),
    "same.csv": as_csv(message(NORAD_CAT_ID=25544)),
    "old.json": as_json(message(NORAD_CAT_ID=7, OBJECT_NAME="OLD", EPOCH="2025-11-01T00:00:00")),
    "bad.json": as_json(message(BSTAR="x")),
    "many.json": as_json(*(message(NORAD_CAT_ID=number) for number in range(1, 7))),
}


def load(text: str) -> Scenario:
    return parse(text, "my.toml", PRESETS, FILES.__getitem__)


def refusal(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load(text)
    assert str(caught.value).startswith("my.toml: ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "inclination_deg", "planes", "sats_per_plane", "spread_deg", "phasing"),
    [
        ('walker_delta = "53:1584/72/1"', 53.0, 72, 22, 360.0, 1 / 72),
        ('walker_delta = "53 : 1584 / 72 / 39"', 53.0, 72, 22, 360.0, 39 / 72),
        ('walker_star = "86.4:66/6/2"', 86.4, 6, 11, 180.0, 2 / 6),
        ('walker_delta = ".5:12/1/0"', 0.5, 1, 12, 360.0, 0.0),
    ],
)
def test_walkers_notation_is_five_keys(
    line: str, inclination_deg: float, planes: int, sats_per_plane: int, spread_deg: float, phasing: float
) -> None:
    scenario = load(OWN + line)
    (shell,) = scenario.shells
    assert (shell.inclination_deg, shell.planes, shell.sats_per_plane) == (inclination_deg, planes, sats_per_plane)
    assert (shell.raan_spread_deg, shell.phasing) == (spread_deg, phasing)
    assert shell.topology == ("ring" if planes == 1 else "grid")
    assert scenario.provenance["shell.one.phasing"].kind == "user"
    assert [key for key in all_numbers(scenario) if key not in scenario.provenance] == []


def test_a_notation_goes_over_the_presets_keys() -> None:
    (shell,) = load(SHELL1 + '[[shell]]\nname = "550"\nwalker_delta = "60:12/3/1"').shells
    assert (shell.altitude_km, shell.inclination_deg, shell.planes, shell.phasing) == (550, 60, 3, 1 / 3)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 60))
def test_every_notation_with_a_possible_phasing_is_taken(planes: int, each: int, phasing: int) -> None:
    text = OWN + f'walker_delta = "53:{planes * each}/{planes}/{phasing}"'
    if phasing < planes:
        (shell,) = load(text).shells
        assert (shell.planes, shell.sats_per_plane) == (planes, each)
        assert round(shell.phasing * planes) == phasing
    else:
        assert "shell.one.walker_delta" in refusal(text)


def test_a_node_by_local_time_overrules_a_node_by_angle_and_the_other_way_round() -> None:
    by_time = load(RING + '[[shell]]\nname = "ring"\nltan_h = 10.5')
    assert (by_time.shells[0].ltan_h, by_time.shells[0].raan_deg) == (10.5, 0.0)
    assert by_time.provenance["shell.ring.raan_deg"].source.startswith("overruled")
    by_angle = load(RING + '[[shell]]\nname = "ring"\nraan_deg = 20')
    assert (by_angle.shells[0].ltan_h, by_angle.shells[0].raan_deg) == (None, 20.0)


def test_stations_have_one_antenna_and_optical_ones_clouds() -> None:
    scenario = load(RING + HOME + "mask_deg = [[0, 10], [90, 20.5], [270, 0]]\nantennas = 3\n")
    home = scenario.stations[0]
    assert (home.antennas, home.mask_deg, home.availability) == (3, ((0, 10), (90, 20.5), (270, 0)), 1.0)
    assert scenario.optical_link is None
    assert not [key for key in scenario.provenance if key.startswith("optical_link")]
    optical = load(RING + HOME + 'kind = "optical"\n')
    assert optical.stations[0].availability == 0.65
    assert optical.provenance["station.Home.availability"].kind == "sourced"
    assert optical.optical_link is not None
    assert optical.optical_link.rate_bps == 10e9
    assert load(RING + HOME + 'kind = "optical"\navailability = 0.4\n').stations[0].availability == 0.4
    assert load(RING).stations[0].antennas == 1


def test_who_gives_a_links_rate_alone_means_both_directions() -> None:
    assert load(RING).ground_link.uplink_bps == 220e6
    own = load(RING + "[ground_link]\nrate_bps = 1e9\n")
    assert own.ground_link.uplink_bps is None
    assert "ground_link.uplink_bps" not in own.provenance
    assert load(RING + "[ground_link]\nrate_bps = 1e9\nuplink_bps = 1e6\n").ground_link.uplink_bps == 1e6


def test_chance_and_the_earths_lead_are_of_the_scenario() -> None:
    scenario = load(RING.replace("\n", "\nut1_utc_s = -0.1\nseed = 7\n"))
    assert (scenario.ut1_utc_s, scenario.seed) == (-0.1, 7)
    assert scenario.provenance["seed"].kind == "user"
    assert load(RING).provenance["ut1_utc_s"].kind == "assumed"
    assert scenario.digest() != load(RING).digest()


def test_a_catalogue_flies_behind_the_shells_under_its_numbers() -> None:
    scenario = load(
        SKY + 'name = "others"\n[[laser]]\na = "25544"\nb = "400000001"\n[[fault]]\nat_s = 1\n'
        'action = "kill"\na = "25544"\n'
    )
    assert scenario.satellite_count == 14
    assert scenario.satellite_names[10:] == ("sat-11", "sat-12", "25544", "400000001")
    assert scenario.catalogues[0].elements[1].name == "PERI"
    assert scenario.catalogues[0].topology == "nearest"
    assert (scenario.laser_pairs[0].a, scenario.laser_pairs[0].b) == ("25544", "400000001")
    assert scenario.provenance["catalogue.others.file"].kind == "user"
    assert load(SKY).catalogues[0].name == "near"


def test_a_catalogue_may_be_all_there_is_and_may_be_cut() -> None:
    text = EPOCH + STATION + '[lasers]\nterminals = 3\n[[catalogue]]\nfile = "many.json"\nfirst = 2\n'
    scenario = load(text)
    assert scenario.satellite_names == ("1", "2")
    assert scenario.provenance["catalogue.many.first"].kind == "user"


def test_a_file_of_element_sets_is_a_scenario_of_its_own() -> None:
    elements = read_elements(
        as_json(message(NORAD_CAT_ID=1), message(NORAD_CAT_ID=2, EPOCH="2026-01-05T00:00:00")), "x/sky.json"
    )
    scenario = scenario_of_elements(elements, "sky", "x/sky.json", PRESETS)
    assert scenario.epoch == datetime(2026, 1, 5, tzinfo=UTC)
    assert "object 2" in scenario.provenance["epoch"].source
    assert scenario.satellite_names == ("1", "2")
    assert (scenario.shells, scenario.preset, scenario.name) == ((), "", "sky")
    assert (scenario.catalogues[0].file, scenario.catalogues[0].topology) == ("sky.json", "nearest")
    assert scenario.lasers.terminals == 4
    assert len(scenario.stations) > 3
    assert [key for key in ["epoch", *all_numbers(scenario)] if key not in scenario.provenance] == []
    with pytest.raises(ScenarioError, match="no objects"):
        scenario_of_elements((), "sky", "x/sky.json", PRESETS)


def test_lasers_between_shells_are_explicit_and_counted() -> None:
    text = SHELL1 + '[lasers]\nterminals = {}\n[[laser]]\na = "sat-0001"\nb = "sat-0100"\n'
    assert load(text.format(5)).lasers.terminals == 5
    assert "sat-0001 needs 4 for the topology of shell.550 and 1" in refusal(text.format(4))


@pytest.mark.parametrize(
    ("topology", "planes", "each", "needed"),
    [
        ("ring", 1, 12, 2),
        ("ring", 1, 2, 1),
        ("ring", 1, 1, 0),
        ("motif", 6, 11, 3),
        ("grid", 6, 11, 4),
        ("grid", 2, 11, 3),
        ("grid", 1, 11, 2),
        ("none", 6, 11, 0),
        ("nearest", 6, 11, 0),
    ],
)
def test_how_many_terminals_a_topology_takes(topology: str, planes: int, each: int, needed: int) -> None:
    shell = Shell(
        name="x",
        altitude_km=550,
        inclination_deg=53,
        planes=planes,
        sats_per_plane=each,
        topology=topology,  # type: ignore[arg-type]
    )
    assert terminals_needed(shell) == needed


def test_outages_last_as_long_as_the_figures_say() -> None:
    lasers = preset_scenario("starlink-shell1", PRESETS).lasers
    assert 86_400 * (1 - lasers.availability) / lasers.acquisitions_per_day == pytest.approx(29, abs=0.5)
    told = refusal(RING + "[lasers]\navailability = 0.999\n")
    assert "lasers.availability 0.999" in told
    assert "at most 5.76 acquisitions a day" in told
    assert load(RING + "[lasers]\navailability = 0.999\nacquisitions_per_day = 5.76\n").lasers.availability == 0.999


def test_the_default_radio_link_carries_its_published_mean_over_passes() -> None:
    link = preset_scenario("three-body-12", PRESETS).ground_link
    assert link.full_rate_km is not None
    earth_km, orbit_km = 6371.0, 6371.0 + 535
    horizon = math.radians(90 - 10) - math.asin(earth_km * math.cos(math.radians(10)) / orbit_km)
    weighed = rates = 0.0
    for step in range(20_000):
        # A satellite is as often in any part of the cap that a station sees: the time average over all passes.
        angle = horizon * (step + 0.5) / 20_000
        range_km = math.sqrt(earth_km**2 + orbit_km**2 - 2 * earth_km * orbit_km * math.cos(angle))
        rates += math.sin(angle) * link.rate_bps * min(1.0, (link.full_rate_km / range_km) ** 2)
        weighed += math.sin(angle)
    assert rates / weighed == pytest.approx(160e6, rel=1e-3)
    assert 20 * math.log10(range_km / 535) == pytest.approx(10.4, abs=0.1)


MISTAKES = {
    OWN + 'walker_delta = "53:1584/71/1"': ["shell.one.walker_delta", "shared evenly by 71", "1562 or 1633"],
    OWN + 'walker_delta = "53:1584/72/72"': ["shell.one.walker_delta", "phasing 72", "at most 71"],
    OWN + 'walker_delta = "53:1584/0/0"': ["shell.one.walker_delta", "at least one plane"],
    OWN + 'walker_delta = "53:0/1/0"': ["shell.one.walker_delta", "at least one plane"],
    OWN + 'walker_star = "66/6/2"': ["shell.one.walker_star is '66/6/2'", '"86.4:66/6/2"'],
    OWN + "walker_star = 5": ["shell.one.walker_star is 5"],
    OWN + 'walker_delta = "190:12/1/0"': ["shell.one.inclination_deg is 190"],
    OWN + 'walker_delta = "53:12/1/0"\nplanes = 1': ["both walker_delta and planes"],
    OWN + 'walker_delta = "53:12/1/0"\nwalker_star = "53:12/1/0"': ["both walker_delta and walker_star"],
    OWN + 'walker_dleta = "53:12/1/0"': ["shell.one.walker_dleta is not known", "'walker_delta'"],
    RING + '[[shell]]\nname = "ring"\nltan_h = 10\nraan_deg = 5': ["shell.ring has both ltan_h and raan_deg"],
    RING + '[[shell]]\nname = "ring"\nltan_h = 25': ["shell.ring.ltan_h is 25", "at most 24"],
    RING + '[[shell]]\nname = "ring"\naltitude_km = 119': ["shell.ring.altitude_km is 119", "at least 120"],
    SKY + '[[shell]]\nname = "a"\naltitude_km = 500\ninclination_deg = 53\nplanes = 0\nsats_per_plane = 3': [
        "shell.a.planes is 0",
        "at least one plane",
    ],
    RING + '[[shell]]\nname = "ring"\nplanes = 0': ["shell.ring.planes is 0"],
    RING + HOME.replace("50", "91"): ["station.Home.latitude_deg is 91"],
    RING + HOME + "mask_deg = [[90, 5], [0, 5]]": ["station.Home.mask_deg.1 has azimuth 0 behind 90", "rising order"],
    RING + HOME + "mask_deg = [[90, 5], [90, 5]]": ["station.Home.mask_deg.1 has azimuth 90 behind 90"],
    RING + HOME + "mask_deg = [[90, 91]]": ["station.Home.mask_deg.0 has elevation 91", "0 to 90"],
    RING + HOME + "mask_deg = [[90, nan]]": ["station.Home.mask_deg.0 has elevation nan"],
    RING + HOME + "mask_deg = [[360, 1]]": ["station.Home.mask_deg.0 has azimuth 360", "below 360"],
    RING + HOME + "mask_deg = [[1, 2, 3]]": ["station.Home.mask_deg"],
    RING + HOME + "mask_deg = 5": ["station.Home.mask_deg"],
    RING + HOME + f"mask_deg = {[[at / 4, 1] for at in range(721)]}": ["station.Home.mask_deg has 721 points"],
    RING + HOME + "antennas = 0": ["station.Home.antennas is 0", "at least one antenna"],
    RING + HOME + 'kind = "optical"\navailability = 0': ["station.Home.availability is 0", "above 0"],
    RING + HOME + 'kind = "optical"\navailability = 1.1': ["station.Home.availability is 1.1"],
    RING + HOME + "availability = 0.5": ["station.Home.availability is 0.5", 'kind = "optical"'],
    RING + HOME + 'kind = "laser"': ["station.Home.kind", "laser"],
    RING + "[lasers]\navailability = 0": ["lasers.availability is 0"],
    RING + "[lasers]\navailability = 1.5": ["lasers.availability is 1.5"],
    RING + "[lasers]\nterminals = 1": ["lasers.terminals is 1", "shell.ring needs 2", '"ring"'],
    SHELL1 + "[lasers]\nterminals = 3": ["lasers.terminals is 3", "shell.550 needs 4", '"grid"'],
    SHELL1.replace('1"', '1-3lasers"') + "[lasers]\nterminals = 2": ["shell.550 needs 3", '"motif"'],
    RING + "[lasers]\nburst_share = 2": ["lasers.burst_share is 2"],
    RING + "[clock]\norbit_rate = 0": ["clock.orbit_rate is 0", "above 0"],
    RING + "[clock]\norbit_rate = 1001": ["clock.orbit_rate is 1001", "at most 1000"],
    RING + "[ground_link]\nuplink_bps = 0": ["ground_link.uplink_bps is 0"],
    RING + '[ground_link]\npolicy = "nearest"': ["ground_link.policy", "nearest"],
    RING + "[optical_link]\nrate_bps = 0": ["optical_link.rate_bps is 0"],
    RING + "optical_link = 5": ["optical_link is 5"],
    "ut1_utc_s = 2\n" + RING: ["ut1_utc_s is 2"],
    'ut1_utc_s = "x"\n' + RING: ["ut1_utc_s is 'x'"],
    "seed = 1.5\n" + RING: ["seed is 1.5", "whole number"],
    "seed = true\n" + RING: ["seed is True"],
    "seed = -1\n" + RING: ["seed is -1"],
    RING + '[[laser]]\na = "sat-1"\nb = "sat-02"': ["laser.0.a is 'sat-1'", "did you mean"],
    RING + '[[laser]]\na = "sat-01"\nb = "Svalbard"': ["laser.0.b is 'Svalbard'", "no satellite"],
    RING + '[[laser]]\na = "sat-01"\nb = "SAT-01"': ["laser.0 joins 'sat-01' with itself"],
    RING + '[lasers]\nterminals = 4\n[[laser]]\na = "sat-01"\nb = "sat-06"\n[[laser]]\na = "sat-06"\nb = "sat-01"': [
        "laser.1 joins sat-06 and sat-01 as laser.0 does"
    ],
    RING + '[[laser]]\na = "sat-01"': ["laser.0.b is missing"],
    SKY.replace(EPOCH, ""): ["epoch is missing", "2026-01-02T03:04:05Z"],
    SKY.replace("2026-01-03", "2026-02-03"): [
        "epoch is 2026-02-03",
        "31.9 days after",
        "object 25544",
        "catalogue.near",
    ],
    SKY + '[[catalogue]]\nfile = "old.json"': [
        "63.0 days after",
        "object 7 (OLD)",
        "catalogue.old",
    ],
    SKY + '[[catalogue]]\nfile = "same.csv"': ["object 25544 (PERI [+]) is in catalogue.same and in catalogue.near"],
    SKY + '[[catalogue]]\nfile = "near.json"': ["catalogue.near appears twice"],
    SKY + '[[catalogue]]\nfile = "bad.json"': ["catalogue.bad.file 'bad.json': record 1", "BSTAR is 'x'"],
    SKY + "first = 0": ["catalogue.near.first is 0"],
    SKY + 'topology = "grid"': ["catalogue.near.topology"],
    SKY + "elements = []": ["catalogue.near.elements is not known"],
    SKY + '[[station]]\nname = "25544"\nlatitude_deg = 1\nlongitude_deg = 1': ["station.25544", "another node"],
    SKY + "[lasers]\nterminals = 0": ["lasers.terminals is 0"],
    EPOCH + RING + "[[catalogue]]\nfirst = 3": ["catalogue.catalogue-1.file is missing"],
    EPOCH + RING + "[[catalogue]]\nfile = 5": ["catalogue.5.file", "str"],
    EPOCH + STATION: ["no shell", "[[catalogue]]"],
}


@pytest.mark.parametrize("text", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_named_with_its_place_and_remedy(text: str) -> None:
    told = refusal(text)
    assert [part for part in MISTAKES[text] if part not in told] == []


def test_a_text_alone_has_no_files_to_read() -> None:
    with pytest.raises(ScenarioError, match=r"catalogue\.near\.file 'near\.json' cannot be read here"):
        parse(SKY, "my.toml", PRESETS)
