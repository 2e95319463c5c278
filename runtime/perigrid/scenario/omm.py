"""Which objects does a file of Orbit Mean-elements Messages hold?

The four notations in use: JSON (an array of objects, or one object) and CSV with a header as CelesTrak and Space-Track
serve them, XML (`ndm` or `omm`, with or without a name space) and KVN (`KEYWORD = value`, a message from each
CCSDS_OMM_VERS on) as CCSDS 502.0-B-3 has them. Each is read to the messages' fields; `record.py` says what they mean.
A malformed message does not hide the others: it comes back as `Refused`, and who reads decides.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from perigrid.errors import ScenarioError
from perigrid.scenario.record import NUMBERS, OPTIONAL, Fields, Found, Refused, elements_of, shown, text_of

VERSION = "CCSDS_OMM_VERS"
"""Keyword that begins a message in KVN."""

KEYWORD = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)
COMMENT = re.compile(r"\s*COMMENT(\s|$)")
IN_UNIT = re.compile(r"([^\[\]]*)\[([^\[\]]*)\]")

MAX_COLUMNS = 1_000
"""A line of CSV with more is refused: the public catalogue's have 17 to 40."""

CUT_SHORT = "it ends too early, or is not what it says: fetch it again"

TWICE = "\0twice"
"""Key under which a message keeps a keyword that it has more than once; no keyword has a zero byte."""


def read_json(text: str) -> Iterator[Found]:
    """The objects of a JSON text; ScenarioError where it is none."""
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"this is not JSON ({error or 'nested too deeply'}): {CUT_SHORT}.") from error
    messages = document if isinstance(document, list) else [document]
    for number, message in enumerate(messages, 1):
        place = f"record {number}"
        if isinstance(message, dict):
            yield _elements(place, message)
        else:
            yield Refused(place, f"it is {shown(message)}: write an object of OMM keywords.")


def read_csv(text: str) -> Iterator[Found]:
    """The objects of a CSV text whose first line names the columns; ScenarioError where that line cannot be."""
    lines = text.splitlines(keepends=True)
    if wide := next((number for number, line in enumerate(lines, 1) if line.count(",") >= MAX_COLUMNS), 0):
        raise ScenarioError(f"line {wide} has more than {MAX_COLUMNS} columns: {CUT_SHORT}.")
    rows = csv.reader(lines, strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Refused(f"record {number + 1}, line {rows.line_num}", f"it is not CSV ({error}): {CUT_SHORT}.")
            return
        if row is None:
            return
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [cell.strip().upper() for cell in row]
            if twice := _twice(header):
                raise ScenarioError(f"line {rows.line_num} names the column {twice!r} twice: each column stands once.")
            continue
        number += 1
        place = f"record {number}, line {rows.line_num}"
        fields = dict(zip(header, row, strict=False))
        if len(row) != len(header):
            problem = f"it has {len(row)} columns and the header {len(header)}: {CUT_SHORT}."
            yield Refused(place, problem, text_of(fields, "NORAD_CAT_ID"))
        elif rows.line_num == len(lines) and (problem := _cut_in(header[-1], text)):
            yield Refused(place, problem, text_of(fields, "NORAD_CAT_ID"))
        else:
            yield _elements(place, fields)


def read_kvn(text: str) -> Iterator[Found]:
    """The objects of a KVN text."""
    fields: dict[str, str] = {}
    number, began, broken, last = 0, 0, "", ""
    for line_number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or COMMENT.match(line):
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if key == VERSION and equals:
            if number:
                yield _kvn_message(number, began, fields, broken)
            number, began, fields, broken = number + 1, line_number, {}, ""
        if not equals or not KEYWORD.fullmatch(key):
            broken = broken or f"line {line_number} is {shown(line.strip())}: write KEYWORD = value."
        elif key in fields:
            broken = broken or f"line {line_number} gives {key} again: a keyword stands once in a message."
        else:
            fields[key] = value
            last = key
    if number:
        broken = broken or _cut_in(last, text)
        yield _kvn_message(number, began, fields, broken)


def read_xml(text: str) -> Iterator[Found]:
    """The objects of an XML text; ScenarioError where it is none, or declares a document type or entities."""
    # Needed for this notation alone, and not free to import.
    from xml.etree import ElementTree

    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ScenarioError(
            "this declares a DOCTYPE or entities, which messages of element sets never do, and which are not read: "
            "remove the declaration, or fetch the file again (an error page of a web site looks like this)."
        )
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ScenarioError(f"this is not XML ({error}): {CUT_SHORT}.") from error
    # No deeper than the standard has them: messages in messages would be looked through again and again.
    messages = [root] if _name(root) == "omm" else [child for child in root if _name(child) == "omm"]
    bodies = [child for message in messages for child in message if _name(child) == "body"]
    segments = [child for body in bodies for child in body if _name(child) == "segment"]
    for number, segment in enumerate(segments, 1):
        place = f"record {number}"
        try:
            fields = _xml_fields(segment)
        except ScenarioError as error:
            yield Refused(place, str(error))
            continue
        yield _elements(place, fields)


def _xml_fields(segment: Any) -> dict[str, object]:
    fields: dict[str, object] = {}
    for element in segment.iter():
        name = _name(element)
        if len(element) or not name.isupper() or name in ("COMMENT", "USER_DEFINED"):
            continue
        if name in fields:
            raise ScenarioError(f"{name} is given twice: a keyword stands once in a message.")
        fields[name] = element.text or ""
        _check_unit(name, element.get("units", ""))
    return fields


def _name(element: Any) -> str:
    """An element's name without its name space; "" for comments and instructions."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _kvn_message(number: int, began: int, fields: dict[str, str], broken: str) -> Found:
    place = f"record {number}, from line {began}"
    if broken:
        return Refused(place, broken, fields.get("NORAD_CAT_ID", ""))
    plain: dict[str, object] = dict(fields)
    try:
        for key in NUMBERS:
            with_unit = IN_UNIT.fullmatch(fields.get(key, ""))
            if with_unit:
                _check_unit(key, with_unit[2])
                plain[key] = with_unit[1].strip()
    except ScenarioError as error:
        return Refused(place, str(error), fields.get("NORAD_CAT_ID", ""))
    return _elements(place, plain)


def _check_unit(key: str, unit: str) -> None:
    """Raise ScenarioError where a number is not in the unit of the standard."""
    if key in NUMBERS and unit.strip() and unit.strip().casefold() != NUMBERS[key][2].casefold():
        expected = NUMBERS[key][2] or "no unit"
        raise ScenarioError(f"{key} is in {unit.strip()!r}: OMM has it in {expected}; convert it.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one that has a key twice says so under `TWICE`."""
    made = dict(pairs)
    if len(made) < len(pairs):
        made[TWICE] = _twice(key for key, _ in pairs)
    return made


def _twice(names: Iterable[str]) -> str | None:
    """The first of some names that comes more than once."""
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _cut_in(key: str, text: str) -> str:
    """What is wrong where a text breaks off in a line without end, in the value of `key`: half a number may look whole.

    "" where nothing is, or where the value has no part in the motion.
    """
    if text.endswith(("\n", "\r")) or key in OPTIONAL or key not in (*NUMBERS, "EPOCH", "NORAD_CAT_ID"):
        return ""
    return f"its last line has no end, so that {key} may be cut short: fetch the file again, or end the line."


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _elements(place: str, fields: Fields) -> Found:
    try:
        if TWICE in fields:
            raise ScenarioError(f"{fields[TWICE]} is given twice: a keyword stands once in a message.")
        return elements_of(fields)
    except ScenarioError as error:
        return Refused(place, str(error), text_of(fields, "NORAD_CAT_ID"))
