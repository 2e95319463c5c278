"""Which objects does a file of two-line element sets hold?

Sets of two lines, or of three with the name before them (with or without Space-Track's leading "0 "). The columns are
those of Space-Track's and CelesTrak's description of the format; the catalogue number is five digits, or Alpha-5: a
letter for 10 to 33, without I and O, and four digits. Years from 57 are of the last century (T. S. Kelso, "Frequently
Asked Questions: Two-Line Element Set Format", Satellite Times, January 1998). A line is 69 columns wide, its last is a
checksum, the digits' sum and one for each minus sign, modulo ten. What follows after a blank is passed over, as the
verification file of SGP4 has it, and so are lines that begin with "#".

A malformed set does not hide the others: it comes back as `Refused`, and who reads decides.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from perigrid.errors import ScenarioError
from perigrid.scenario.bounds import Bound
from perigrid.scenario.model import Elements
from perigrid.scenario.record import NUMBERS, Found, Refused, check_ephemeris_type, number_of, object_name, shown

LINE_COLUMNS = 69
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Alpha-5's letters, for 10 to 33."""

CENTURY_PIVOT = 57
"""Two-digit years from here on are of the 20th century."""

BLANK = {"1": (2, 9, 18, 33, 44, 53, 62, 64), "2": (2, 8, 17, 26, 34, 43, 52)}
"""Columns of each line, counted from 1, that are always blank; another letter there is a sign of shifted columns."""

DAY_MICROSECONDS = 86_400_000_000
EXPONENT_FORM = re.compile(r"([ +-])(\d{5})([+-]\d)", re.ASCII)
EPOCH = re.compile(r"(\d{2})(\d{3}| \d{2}| {2}\d)\.(\d{8})", re.ASCII)
ALPHA_5 = re.compile(r"([0-9A-Z])(\d{4})", re.ASCII)
SEVEN_DIGITS = re.compile(r"\d{7}", re.ASCII)
LAUNCH = re.compile(r"(\d{2})(\d{3})([A-Z]{1,3})", re.ASCII)

NO_SECOND = "a line 1 without a line 2 after it: the set is cut short; fetch it again."
NO_FIRST = "a line 2 without a line 1 before it: the set is cut short; fetch it again."
NO_SET = "which is no line of a set and has no set after it: remove it, or fetch the file again."


def read_tle(text: str, lenient: bool = False) -> Iterator[Found]:
    """The objects of a text of two-line element sets; `lenient` takes lines whose checksum is wrong."""
    lines = [(number, line.rstrip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    record, at, name = 0, 0, (0, "")
    while at < len(lines):
        number, line = lines[at]
        following = lines[at + 1][1] if at + 1 < len(lines) else ""
        at += 1
        if line[:2] not in ("1 ", "2 "):
            if name[1]:
                record += 1
                yield Refused(f"record {record}, line {name[0]}", f"it is {shown(name[1])}, {NO_SET}")
            name = (number, line)
            continue
        record += 1
        place = f"record {record}, line {number}"
        if line[0] == "2":
            yield Refused(place, f"it is {NO_FIRST}", line[2:7])
        elif not following.startswith("2 "):
            yield Refused(place, f"it is {NO_SECOND}", line[2:7])
        else:
            at += 1
            yield _elements(place, name[1], line, following, lenient)
        name = (0, "")
    if name[1]:
        yield Refused(f"record {record + 1}, line {name[0]}", f"it is {shown(name[1])}, {NO_SET}")


def from_alpha_5(field: str) -> int:
    """The catalogue number of a set's five columns; ScenarioError where they are none."""
    found = ALPHA_5.fullmatch(field)
    if found is None or found[1] in "IO":
        raise ScenarioError(
            f"the catalogue number is {field!r}: it has five digits, or a capital letter other than I and O and four "
            "digits."
        )
    first = LETTERS.index(found[1]) + 10 if found[1] in LETTERS else int(found[1])
    return first * 10_000 + int(found[2])


def checksum(line: str) -> int:
    """What column 69 of a line should be."""
    columns = line[: LINE_COLUMNS - 1]
    return (sum(int(letter) for letter in columns if letter in "0123456789") + columns.count("-")) % 10


def full_year(two_digits: int) -> int:
    """The year that two digits mean."""
    return two_digits + (1900 if two_digits >= CENTURY_PIVOT else 2000)


def _elements(place: str, name: str, first: str, second: str, lenient: bool) -> Found:
    try:
        _check_line(first, "1", lenient)
        _check_line(second, "2", lenient)
        if first[2:7] != second[2:7]:
            raise ScenarioError(
                f"line 1 is of {first[2:7]!r} and line 2 of {second[2:7]!r}: both lines of a set have one number."
            )
        check_ephemeris_type(first[62].strip())
        return Elements(
            number=from_alpha_5(first[2:7]),
            name=object_name(name.removeprefix("0 "), "the name"),
            designator=_designator(first[9:17].strip()),
            epoch=_epoch(first[18:32]),
            mean_motion_dot=_number(first[33:43], "MEAN_MOTION_DOT"),
            mean_motion_ddot=_with_exponent(first[44:52], "MEAN_MOTION_DDOT"),
            bstar=_with_exponent(first[53:61], "BSTAR"),
            inclination_deg=_number(second[8:16], "INCLINATION"),
            raan_deg=_number(second[17:25], "RA_OF_ASC_NODE"),
            eccentricity=_eccentricity(second[26:33]),
            argument_of_perigee_deg=_number(second[34:42], "ARG_OF_PERICENTER"),
            mean_anomaly_deg=_number(second[43:51], "MEAN_ANOMALY"),
            mean_motion_rev_day=_number(second[52:63], "MEAN_MOTION"),
        )
    except ScenarioError as error:
        return Refused(place, str(error), first[2:7])


def _check_line(line: str, which: str, lenient: bool) -> None:
    if len(line) < LINE_COLUMNS:
        raise ScenarioError(f"line {which} has {len(line)} columns, not {LINE_COLUMNS}: it is cut; fetch it again.")
    if line[LINE_COLUMNS : LINE_COLUMNS + 1].strip():
        raise ScenarioError(
            f"line {which} goes on after column {LINE_COLUMNS} without a blank: its columns are shifted; fetch it "
            "again."
        )
    for column in BLANK[which]:
        if line[column - 1] != " ":
            raise ScenarioError(
                f"line {which} has {line[column - 1]!r} in column {column}, which is always blank: its columns are "
                "shifted; fetch it again."
            )
    written = line[LINE_COLUMNS - 1]
    if not lenient and written != str(checksum(line)):
        raise ScenarioError(
            f"line {which} has the checksum {written!r}, and its columns make {checksum(line)}: it was changed; fetch "
            "it again."
        )


def _number(columns: str, key: str) -> float:
    return number_of(columns.strip(), key, _bound(key))


def _bound(key: str) -> Bound:
    return NUMBERS[key][1]


def _eccentricity(columns: str) -> float:
    if not SEVEN_DIGITS.fullmatch(columns):
        raise ScenarioError(f"ECCENTRICITY is {columns!r}: it has seven digits, those behind the point.")
    return number_of(f"0.{columns}", "ECCENTRICITY", _bound("ECCENTRICITY"))


def _with_exponent(columns: str, key: str) -> float:
    """A number such as " 28098-4", which is 0.28098e-4."""
    found = EXPONENT_FORM.fullmatch(columns)
    if found is None:
        raise ScenarioError(f"{key} is {columns!r}: it has a sign or blank, five digits and an exponent with its sign.")
    return number_of(f"{found[1].strip()}.{found[2]}e{found[3]}", key, _bound(key))


def _epoch(columns: str) -> datetime:
    """The moment of a year and a day of it with fraction, such as "00179.78495062"."""
    found = EPOCH.fullmatch(columns)
    day = int(found[2]) if found else 0
    if found is None or not 1 <= day <= 366:
        raise ScenarioError(
            f"EPOCH is {columns!r}: it has two digits of the year, and the day of it, 1 to 366, with eight decimals."
        )
    # A hundred-millionth of a day is a whole number of microseconds.
    microseconds = int(found[3]) * (DAY_MICROSECONDS // 10**8)
    return datetime(full_year(int(found[1])), 1, 1, tzinfo=UTC) + timedelta(days=day - 1, microseconds=microseconds)


def _designator(columns: str) -> str:
    """The international designator as OMM has it, 1998-067A; as it stands where it has another form."""
    found = LAUNCH.fullmatch(columns)
    return f"{full_year(int(found[1]))}-{found[2]}{found[3]}" if found else columns
