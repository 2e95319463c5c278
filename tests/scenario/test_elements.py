"""Is an element file read as its format says, whoever wrote it, and is a malformed one refused with its place?"""

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sgp4
from hypothesis import given
from hypothesis import strategies as st
from sgp4.api import Satrec
from sgp4.conveniences import sat_epoch_datetime

from perigrid.errors import ScenarioError
from perigrid.scenario import elements as room
from perigrid.scenario.elements import read_elements
from perigrid.scenario.model import Elements
from tests.scenario.element_texts import FIELDS, TLE, as_csv, as_json, as_kvn, as_xml, changed, message, summed

VERIFICATION = Path(sgp4.__path__[0]) / "SGP4-VER.TLE"

EXPECTED = Elements(
    number=400_000_001,
    name="PERI [+]",
    epoch=datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC),
    mean_motion_rev_day=15.20467281,
    eccentricity=0.00055903,
    inclination_deg=97.4593,
    raan_deg=154.097,
    argument_of_perigee_deg=270.5113,
    mean_anomaly_deg=89.5482,
    bstar=0.00022159168,
    mean_motion_dot=0.0000477,
    mean_motion_ddot=0.0,
    designator="2026-001A",
)


def read(text: str) -> tuple[Elements, ...]:
    return read_elements(text, "sky.txt")


@pytest.mark.parametrize(
    "text",
    [
        as_json(FIELDS),
        as_json({key: str(value) for key, value in FIELDS.items()}),
        as_json(FIELDS | {"TLE_LINE1": None, "COMMENT": "x", "USER_DEFINED_A": [1], "REF_FRAME": "TEME"}),
        as_json(FIELDS)[1:-1],
        "\ufeff" + as_json(FIELDS),
        as_csv(FIELDS),
        as_csv(FIELDS).replace("\n", "\r\n") + "\r\n",
        as_csv(FIELDS).replace("PERI [+]", '"PERI [+]"'),
        as_kvn(FIELDS),
        as_kvn(FIELDS | {"USER_DEFINED_A": "1", "CENTER_NAME": "earth", "MEAN_ELEMENT_THEORY": "SGP/SGP4"}),
        as_kvn(FIELDS).replace("89.5482", "89.5482 [deg]").replace("INCLINATION", "COMMENT a b = c\nINCLINATION"),
        as_xml(FIELDS),
        as_xml(FIELDS, space=' xmlns="urn:ccsds:schema:ndmxml"'),
        as_xml(FIELDS).replace("<BSTAR>", '<BSTAR units="1/ER">').replace("<data>", "<data><!-- x -->"),
        as_xml(FIELDS).replace("</data>", '</data><USER_DEFINED parameter="A">1</USER_DEFINED>'),
    ],
)
def test_one_object_in_every_notation(text: str) -> None:
    assert read(text) == (EXPECTED,)


def test_a_two_line_set_says_the_same_with_fewer_digits() -> None:
    (one,) = read(TLE)
    assert (one.number, one.name, one.designator) == (100_000, "PERI", "2026-001A")
    assert one.epoch == datetime(2026, 1, 2, 3, 4, 5, 678_400, UTC)
    assert (one.bstar, one.eccentricity, one.mean_motion_dot) == (0.00022159, 0.000559, 0.0000477)


@pytest.mark.parametrize(
    "text",
    [
        TLE.partition("\n")[2],
        "0 " + TLE,
        TLE.replace("\n", "\r\n"),
        "# a remark\n\n" + TLE + "\n",
        TLE.replace("15911\n", "15911     0.00      4320.0        360.00\n"),
    ],
)
def test_sets_with_and_without_names_and_with_more_behind_them(text: str) -> None:
    (one,) = read(text)
    assert (one.number, one.mean_anomaly_deg, one.name in ("", "PERI")) == (100_000, 89.5482, True)


def test_several_objects_keep_their_order() -> None:
    messages = [message(NORAD_CAT_ID=number, OBJECT_NAME=None) for number in (7, 123_456_789, 25_544)]
    for write in (as_json, as_kvn, as_xml):
        assert [one.number for one in read(write(*messages))] == [7, 123_456_789, 25_544]
    first, second = TLE.splitlines()[1:]
    another = "\n".join(summed(f"{line[:2]}99999{line[7:]}") for line in (first, second))
    assert [one.number for one in read(TLE + another)] == [100_000, 99_999]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-002T03:04:05.5Z", datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
        ("2024-366T00:00:00", datetime(2024, 12, 31, tzinfo=UTC)),
        ("2016-12-31T23:59:60", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60.25", datetime(2017, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)),
        ("2016-366T23:59:60", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2026-01-01T00:00:00.12345649", datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-01-01T00:00:00.12345651", datetime(2026, 1, 1, 0, 0, 0, 123_457, tzinfo=UTC)),
        ("2025-12-31T23:59:59.99999951", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_epochs_are_rounded_to_microseconds_and_leap_seconds_are_the_midnight(text: str, moment: datetime) -> None:
    assert read(as_json(message(EPOCH=text)))[0].epoch == moment


def test_what_sgp4_does_not_use_may_be_absent_and_so_may_one_number() -> None:
    bare = message(MEAN_MOTION_DOT=None, MEAN_MOTION_DDOT=None, EPHEMERIS_TYPE=None, OBJECT_ID=None, NORAD_CAT_ID=None)
    (one,) = read(as_json(bare))
    assert (one.number, one.mean_motion_dot, one.designator) == (0, 0.0, "")


def test_the_verification_file_is_read_as_the_package_sgp4_reads_it() -> None:
    text = VERIFICATION.read_text()
    read_ones = read_elements(text, "SGP4-VER.TLE", lenient=True)
    lines = [line for line in text.splitlines() if line and line[0] in "12"]
    assert len(read_ones) == len(lines) // 2 == 33
    for one, first, second in zip(read_ones, lines[::2], lines[1::2], strict=True):
        theirs = Satrec.twoline2rv(first, second)
        assert one.number == theirs.satnum
        assert abs((one.epoch - sat_epoch_datetime(theirs)).total_seconds()) < 2e-5
        turns = math.tau / 1440
        assert one.eccentricity == theirs.ecco
        assert math.isclose(one.bstar, theirs.bstar, rel_tol=1e-15)
        for ours, radians in (
            (one.inclination_deg, theirs.inclo),
            (one.raan_deg, theirs.nodeo),
            (one.argument_of_perigee_deg, theirs.argpo),
            (one.mean_anomaly_deg, theirs.mo),
            (one.mean_motion_rev_day * turns * 180 / math.pi, theirs.no_kozai),
            (one.mean_motion_dot * turns / 1440 * 180 / math.pi, theirs.ndot),
            (one.mean_motion_ddot * turns / 1440**2 * 180 / math.pi, theirs.nddot),
        ):
            assert math.isclose(math.radians(ours), radians, rel_tol=1e-14, abs_tol=1e-300)


def test_the_verification_file_is_refused_where_it_is_not_asked_for() -> None:
    text = VERIFICATION.read_text()
    with pytest.raises(
        ScenarioError, match=r"record 30, line \d+ \(object 33333\): line 1 has the checksum '4'.*2 more"
    ):
        read(text)
    without_edited = text.replace("3333", "####")
    with pytest.raises(ScenarioError, match="object 20413"):
        read("\n".join(line for line in without_edited.splitlines() if "####" not in line))


MISTAKES = {
    "": ["it is empty"],
    " \n": ["it is empty"],
    "No GP data found": ["none of the formats", "FORMAT=JSON"],
    "<!DOCTYPE html><html></html>": ["DOCTYPE", "fetch the file again"],
    '<!DOCTYPE a [<!ENTITY b "c">]><ndm>&b;</ndm>': ["DOCTYPE"],
    "<ndm></ndm>": ["no element sets"],
    "[]": ["no element sets"],
    as_csv(): ["no element sets"],
    as_json(FIELDS)[:-1]: ["not JSON", "char", "fetch it again"],
    as_json(FIELDS)[:-40]: ["not JSON"],
    as_json(FIELDS).replace("97.4593", "NaN"): ["NaN is no number"],
    as_json(FIELDS).replace("97.4593", "1e999"): ["record 1 (object 400000001): INCLINATION is inf"],
    as_json(FIELDS).replace("97.4593", '"nan"'): ["INCLINATION is 'nan'", "decimal number"],
    as_json(FIELDS).replace("97.4593", "9" * 400): ["INCLINATION is 999"],
    as_json(FIELDS).replace("97.4593", "9" * 5000): ["not JSON"],
    as_json(FIELDS).replace("97.4593", "true"): ["INCLINATION is True"],
    as_json(FIELDS).replace('"BSTAR"', '"INCLINATION"'): ["INCLINATION is given twice"],
    "[" * 100_000: ["not JSON"],
    "[1]": ["record 1: it is 1"],
    as_json(FIELDS, message(EPOCH=None)): ["record 2 (object 400000001): EPOCH is missing"],
    as_json(message(EPOCH=5)): ["EPOCH is 5"],
    as_json(message(EPOCH="2026-02-30T00:00:00")): ["EPOCH is '2026-02-30T00:00:00'", "no moment"],
    as_json(message(EPOCH="2025-366T00:00:00")): ["EPOCH is '2025-366"],
    as_json(message(EPOCH="2025-000T00:00:00")): ["EPOCH is '2025-000"],
    as_json(message(EPOCH="2025-01-01T00:00:60")): ["EPOCH is '2025-01-01T00:00:60'"],
    as_json(message(EPOCH="9999-12-31T23:59:60")): ["EPOCH is '9999-12-31T23:59:60'"],
    as_json(message(EPOCH="2026-01-01T00:00:00+01:00")): ["EPOCH is"],
    as_json(message(MEAN_MOTION=None)): ["MEAN_MOTION is missing"],
    as_json(message(BSTAR=" ")): ["BSTAR is missing"],
    as_json(message(MEAN_MOTION=0)): ["MEAN_MOTION is 0 and must be at least 1e-06"],
    as_json(message(MEAN_MOTION=-1)): ["MEAN_MOTION is -1"],
    as_json(message(ECCENTRICITY=1)): ["ECCENTRICITY is 1", "below 1"],
    as_json(message(ECCENTRICITY=-0.1)): ["ECCENTRICITY is -0.1"],
    as_json(message(INCLINATION=181)): ["INCLINATION is 181"],
    as_json(message(BSTAR="1_0")): ["BSTAR is '1_0'"],
    as_json(message(BSTAR="٣")): ["BSTAR is"],
    as_json(message(MEAN_ELEMENT_THEORY="DSST")): ["MEAN_ELEMENT_THEORY is 'DSST'", "SGP4"],
    as_json(message(TIME_SYSTEM="TAI")): ["TIME_SYSTEM is 'TAI'", "UTC"],
    as_json(message(REF_FRAME="EME2000")): ["REF_FRAME is 'EME2000'", "TEME"],
    as_json(message(CENTER_NAME="MARS")): ["CENTER_NAME is 'MARS'"],
    as_json(message(EPHEMERIS_TYPE=4)): ["EPHEMERIS_TYPE is 4", "SGP4-XP"],
    as_json(message(EPHEMERIS_TYPE="x")): ["EPHEMERIS_TYPE is 'x'"],
    as_json(message(NORAD_CAT_ID="A0000")): ["NORAD_CAT_ID is 'A0000'", "TLE"],
    as_json(message(NORAD_CAT_ID=10**9)): ["NORAD_CAT_ID is 1000000000", "9 digits"],
    as_json(message(NORAD_CAT_ID=-1)): ["NORAD_CAT_ID is -1"],
    as_json(message(NORAD_CAT_ID=25544.0)): ["NORAD_CAT_ID is 25544.0"],
    as_json(message(OBJECT_NAME="x" * 1000)): ["OBJECT_NAME has 1000 letters"],
    as_json(FIELDS, FIELDS): ["record 2 is of object 400000001, as is record 1"],
    as_json(message(NORAD_CAT_ID=None), message(NORAD_CAT_ID=None)): ["record 2 has no NORAD_CAT_ID", "record 1"],
    as_json(message(BSTAR="a"), message(BSTAR="b")): ["record 1", "1 more of its 2 records"],
    as_csv(FIELDS)[:-20]: ["record 1, line 2 (object 400000001): it has 15 columns and the header 17"],
    as_csv(FIELDS, message(BSTAR="x")): ["record 2, line 3 (object 400000001): BSTAR is 'x'"],
    as_csv(FIELDS).replace("PERI", '"PERI'): ["record 1, line 2", "not CSV"],
    as_csv(FIELDS).replace("BSTAR", "EPOCH"): ["names the column 'EPOCH' twice"],
    as_kvn(FIELDS).rpartition("BSTAR")[0]: ["record 1, from line 1 (object 400000001): BSTAR is missing"],
    as_kvn(FIELDS, FIELDS).rpartition("MEAN_ANOMALY")[0]: ["record 2, from line 19", "MEAN_ANOMALY is missing"],
    as_kvn(FIELDS) + "BSTAR = 1\n": ["line 19 gives BSTAR again"],
    as_kvn(FIELDS) + "what is this\n": ["line 19 is 'what is this'", "KEYWORD = value"],
    as_kvn(FIELDS).replace("97.4593", "1.7 [rad]"): ["INCLINATION is in 'rad'", "deg"],
    as_xml(FIELDS)[:-10]: ["not XML", "line 1"],
    as_xml(FIELDS).replace("<BSTAR>", '<BSTAR units="m">'): ["BSTAR is in 'm'"],
    as_xml(FIELDS).replace("</data>", "<BSTAR>1</BSTAR></data>"): ["record 1: BSTAR is given twice"],
    as_xml(FIELDS, message(BSTAR=None)): ["record 2 (object 400000001): BSTAR is missing"],
    as_xml(FIELDS).replace("97.4593", "&x;"): ["not XML"],
    TLE[:-3]: ["record 1, line 2 (object A0000): line 2 has 67 columns", "cut"],
    TLE[:75]: ["record 1, line 2 (object A0000): it is a line 1 without a line 2"],
    TLE[5:75] + TLE[:75]: ["record 1, line 1", "without a line 2", "1 more of its 2 records"],
    TLE.partition("\n")[2].partition("\n")[2] + TLE: ["record 1, line 1", "a line 2 without a line 1"],
    "PERI\n" + TLE: ["record 1, line 1: it is 'PERI', which is no line of a set"],
    TLE + "PERI\n": ["record 2, line 4: it is 'PERI'"],
    TLE.replace("9998\n", "9994\n"): ["line 1 has the checksum '4', and its columns make 8"],
    TLE.replace("15911\n", "1591X\n"): ["line 2 has the checksum 'X'"],
    TLE.replace("15911\n", "159110\n"): ["line 2 goes on after column 69"],
    TLE.replace("2 A0000", "2 A0001").replace("15911\n", "15912\n"): ["both lines of a set have one number"],
    changed(1, 3, "I0000").replace("2 A0000", "2 I0000"): ["the catalogue number is 'I0000'"],
    changed(1, 3, "a0000").replace("2 A0000", "2 a0000"): ["the catalogue number is 'a0000'"],
    changed(1, 19, "26367.12784350"): ["EPOCH is '26367.12784350'"],
    changed(1, 19, "26000.12784350"): ["EPOCH is '26000.12784350'"],
    changed(1, 54, " 22159 3"): ["BSTAR is ' 22159 3'"],
    changed(1, 34, " .0000A770"): ["MEAN_MOTION_DOT is '.0000A770'"],
    changed(1, 63, "4"): ["EPHEMERIS_TYPE is 4", "SGP4-XP"],
    changed(1, 33, "0"): ["line 1 has '0' in column 33", "shifted"],
    changed(2, 9, "197.4593"): ["INCLINATION is '197.4593'"],
    changed(2, 27, " 005590"): ["ECCENTRICITY is ' 005590'"],
    changed(2, 53, " 0.00000000"): ["MEAN_MOTION is '0.00000000' and must be at least 1e-06"],
    changed(1, 19, "260 2.12784350"): ["EPOCH is '260 2.12784350'"],
    as_json(message(OBJECT_NAME="\x1b[2J")): ["OBJECT_NAME is '\\x1b[2J'", "cannot be printed"],
    as_json(message(OBJECT_NAME="\ud800")): ["OBJECT_NAME is '\\ud800'", "cannot be printed"],
    as_kvn(FIELDS).partition("BSTAR = 0.0002")[0] + "BSTAR = 0.0002": ["BSTAR may be cut short", "end the line"],
    "EPOCH,MEAN_MOTION,BSTAR\n2026-01-01T00:00:00,15,0.000": ["record 1, line 2: its last line has no end", "BSTAR"],
}

MANY = 100_000
TIRING = {
    as_json(message(BSTAR="1" * MANY + "x")): "BSTAR is '111",
    as_json(message(NORAD_CAT_ID="1" * MANY)): "NORAD_CAT_ID is '111",
    "[{" + ",".join(f'"k{number}": 1' for number in range(MANY)) + ', "k99999": 2}]': "k99999 is given twice",
    "EPOCH," + ",".join(f"k{number}" for number in range(MANY)) + "\n": "line 1 has more than 1000 columns",
    as_csv(FIELDS) + "," * MANY + "\n": "line 3 has more than 1000 columns",
    as_kvn(FIELDS) + "A = x" + " " * MANY + "y\nBSTAR = 1": "line 20 gives BSTAR again",
    as_kvn(FIELDS).replace("97.4593", "1" + " " * MANY + "x"): "INCLINATION is '1 ",
    "<omm>" * MANY + "<segment/>" + "</omm>" * MANY: "no element sets",
}
"""Texts that a pattern or a loop over pairs would never be done with."""


@pytest.mark.parametrize("text", TIRING, ids=range(len(TIRING)))
def test_a_text_made_to_tire_the_reader_is_refused_at_once(text: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(text)
    assert TIRING[text] in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("text", MISTAKES, ids=range(len(MISTAKES)))
def test_a_malformed_file_is_refused_with_record_field_and_remedy(text: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(text)
    message_text = str(caught.value)
    assert message_text.startswith("sky.txt: ")
    assert [part for part in MISTAKES[text] if part not in message_text] == []
    assert "\n" not in message_text
    assert len(message_text) < 600


def test_files_beyond_the_bounds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_LETTERS", 100)
    with pytest.raises(ScenarioError, match="at most 100 letters"):
        read(as_json(FIELDS))
    monkeypatch.undo()
    monkeypatch.setattr(room, "MAX_OBJECTS", 2)
    with pytest.raises(ScenarioError, match="at most 2 records"):
        read(as_json(*(message(NORAD_CAT_ID=number) for number in range(1, 4))))


PIECES = st.sampled_from([as_json(FIELDS), as_csv(FIELDS), as_kvn(FIELDS), as_xml(FIELDS), TLE])


@given(PIECES, st.integers(0, 700), st.integers(0, 30), st.text(max_size=8))
def test_whatever_is_done_to_a_file_it_is_read_or_refused(text: str, at: int, cut: int, put: str) -> None:
    try:
        found = read(text[:at] + put + text[at + cut :])
    except ScenarioError as error:
        assert str(error).startswith("sky.txt: ")
    else:
        assert all(math.isfinite(one.mean_motion_rev_day) and 0 <= one.eccentricity < 1 for one in found)
