"""Which catalogued objects does a file of element sets hold, and can each be moved by SGP4?

The format is recognised by the content, never by the file's name: JSON, XML, CSV and KVN messages (`omm.py`), or
two-line element sets (`tle.py`). A file is taken as a whole or not at all: the first malformed record is named with
file, record, line and field, and how many more there are. Reading files is left to the caller: this room is pure.
"""

from collections.abc import Iterator

from perigrid.errors import ScenarioError
from perigrid.scenario.model import Elements
from perigrid.scenario.omm import VERSION, read_csv, read_json, read_kvn, read_xml
from perigrid.scenario.record import WITHOUT_NUMBER, Found, Refused, cut, shown
from perigrid.scenario.tle import read_tle

MAX_OBJECTS = 200_000
"""More records are refused: three times the public catalogue of 2026."""

MAX_LETTERS = 128_000_000
"""A longer text is refused: three times the public catalogue as JSON, with Space-Track's further columns."""

CSV_COLUMNS = {"EPOCH", "MEAN_MOTION", "NORAD_CAT_ID"}
"""A first line with one of these is the header of a CSV text."""

MAX_HEADER_LETTERS = 20_000
"""What makes a text CSV is looked for in so much of its first line: ten times the longest header that is served."""

BYTE_ORDER_MARK = "\ufeff"

SHOWN_LETTERS = 60


def read_elements(text: str, where: str, lenient: bool = False) -> tuple[Elements, ...]:
    """The objects of a text of element sets, in its order; `where` names its file in messages.

    `lenient` takes TLE lines with a wrong checksum and numbers that come again, as the verification file of SGP4 has
    them (SGP4-VER.TLE of Vallado, Crawford, Hujsak and Kelso, AIAA 2006-6753). Raises ScenarioError with file, record,
    line where there is one, field and remedy.
    """
    found = read_records(text, where, lenient)
    refused = [one for one in found if isinstance(one, Refused)]
    if refused:
        first, more = refused[0], len(refused) - 1
        further = f" {more} more of its {len(found)} records cannot be read either." if more else ""
        raise ScenarioError(f"{where}: {first.place}{_of(first.number)}: {first.problem}{further}")
    objects = tuple(one for one in found if isinstance(one, Elements))
    if not lenient:
        _check_once(objects, where)
    return objects


def read_records(text: str, where: str, lenient: bool = False) -> tuple[Found, ...]:
    """Each record of a text of element sets: its elements, or why they cannot be taken.

    Raises ScenarioError where the text as a whole is none of the formats, or beyond the bounds.
    """
    if len(text) > MAX_LETTERS:
        raise ScenarioError(f"{where}: a file of element sets has at most {MAX_LETTERS} letters, not {len(text)}.")
    found: list[Found] = []
    try:
        for one in _records(text.removeprefix(BYTE_ORDER_MARK), lenient):
            found.append(one)
            if len(found) > MAX_OBJECTS:
                raise ScenarioError(f"a file of element sets has at most {MAX_OBJECTS} records: take a part of it.")
    except ScenarioError as error:
        raise ScenarioError(f"{where}: {error}") from error
    if not found:
        raise ScenarioError(f"{where}: there are no element sets in it: fetch the file again, with objects.")
    return tuple(found)


def _records(text: str, lenient: bool) -> Iterator[Found]:
    start = text.lstrip()
    if not start:
        raise ScenarioError("it is empty: fetch the file again, or name another.")
    first = start.split("\n", 1)[0].strip()
    if start[0] in "[{":
        return read_json(text)
    if start[0] == "<":
        return read_xml(start)
    if first.startswith(VERSION):
        return read_kvn(text)
    if CSV_COLUMNS & {cell.strip(' "').upper() for cell in first[:MAX_HEADER_LETTERS].split(",")}:
        return read_csv(text)
    if any(line.startswith(("1 ", "2 ")) for line in text.splitlines()):
        return read_tle(text, lenient)
    raise ScenarioError(
        f"it begins with {shown(first[:SHOWN_LETTERS])}, which is none of the formats of element sets: OMM as JSON, "
        "XML, CSV or KVN, or two-line element sets. Objects with numbers above 99,999 have no TLE at CelesTrak: ask "
        "for FORMAT=JSON."
    )


def _check_once(objects: tuple[Elements, ...], where: str) -> None:
    seen: dict[int, int] = {}
    for record, one in enumerate(objects, 1):
        if one.number in seen:
            what = (
                "has no NORAD_CAT_ID, and neither has"
                if one.number == WITHOUT_NUMBER
                else f"is of object {one.number}, as is"
            )
            raise ScenarioError(
                f"{where}: record {record} {what} record {seen[one.number]}: satellites are called by their numbers, "
                "so keep one record of each."
            )
        seen[one.number] = record


def _of(number: str) -> str:
    called = number.strip()
    return f" (object {cut(called) if called.isprintable() else shown(called)})" if called else ""
