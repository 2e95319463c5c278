"""Element sets of one object in every notation, for the tests of the readers: an object that does not exist, as no
catalogue number of 2026 has nine digits and begins with 4.
"""

import json
from typing import Any

FIELDS: dict[str, Any] = {
    "OBJECT_NAME": "PERI [+]",
    "OBJECT_ID": "2026-001A",
    "EPOCH": "2026-01-02T03:04:05.678901",
    "MEAN_MOTION": 15.20467281,
    "ECCENTRICITY": 0.00055903,
    "INCLINATION": 97.4593,
    "RA_OF_ASC_NODE": 154.097,
    "ARG_OF_PERICENTER": 270.5113,
    "MEAN_ANOMALY": 89.5482,
    "EPHEMERIS_TYPE": 0,
    "CLASSIFICATION_TYPE": "U",
    "NORAD_CAT_ID": 400000001,
    "ELEMENT_SET_NO": 999,
    "REV_AT_EPOCH": 1591,
    "BSTAR": 0.00022159168,
    "MEAN_MOTION_DOT": 0.0000477,
    "MEAN_MOTION_DDOT": 0,
}

TLE = (
    "PERI\n"
    "1 A0000U 26001A   26002.12784350  .00004770  00000+0  22159-3 0  9998\n"
    "2 A0000  97.4593 154.0970 0005590 270.5113  89.5482 15.20467281 15911\n"
)


def message(**changed: object) -> dict[str, Any]:
    """The object's fields with some changed; None leaves one out."""
    return {key: value for key, value in (FIELDS | changed).items() if value is not None}


def as_json(*messages: dict[str, Any]) -> str:
    """An array of objects."""
    return json.dumps(list(messages))


def as_csv(*messages: dict[str, Any]) -> str:
    """A header, and a row each."""
    return "\n".join(",".join(map(str, row)) for row in (FIELDS, *(one.values() for one in messages))) + "\n"


def as_kvn(*messages: dict[str, Any]) -> str:
    """A message from each version line on."""
    return "".join(
        "CCSDS_OMM_VERS = 3.0\n" + "".join(f"{key} = {value}\n" for key, value in one.items()) for one in messages
    )


def as_xml(*messages: dict[str, Any], space: str = "") -> str:
    """An `ndm` of `omm` messages."""
    segments = (
        "<omm><body><segment><metadata/><data>"
        + "".join(f"<{key}>{value}</{key}>" for key, value in one.items())
        + "</data></segment></body></omm>"
        for one in messages
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><ndm{space}>{"".join(segments)}</ndm>'


def summed(line: str) -> str:
    """A line of a set with the checksum that its columns make."""
    total = sum(int(letter) if letter.isdecimal() else letter == "-" for letter in line[:68])
    return f"{line[:68]}{total % 10}{line[69:]}"


def changed(line: int, at: int, columns: str) -> str:
    """The set with columns of a line replaced, `at` counted from 1, its checksum right."""
    lines = TLE.splitlines()
    old = lines[line]
    lines[line] = summed(old[: at - 1] + columns + old[at - 1 + len(columns) :])
    return "\n".join(lines) + "\n"
