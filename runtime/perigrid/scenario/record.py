"""What makes the elements of one catalogued object, whatever the format of its file?

The fields are those of a CCSDS Orbit Mean-elements Message (OMM, CCSDS 502.0-B-3, section 4): Space-Track's and
CelesTrak's JSON, CSV, XML and KVN all use its keywords. Values come as text, or as JSON's numbers.

Only what SGP4 can move is taken: mean elements of SGP4 in the frame TEME and in UTC, with BSTAR. What a message leaves
out because it is always the same (centre, frame, time system, theory: CelesTrak's CSV and JSON) is taken to be that;
what it says otherwise is refused. Epochs are rounded to whole microseconds, in which a satellite moves 8 mm. A leap
second, 23:59:60, is the midnight that follows it, for SGP4's days have 86,400 s. Unknown keywords are passed over.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from perigrid.errors import ScenarioError
from perigrid.scenario.bounds import Bound
from perigrid.scenario.model import Elements

Fields = Mapping[str, object]
"""Keywords of one object's message -> their values: text, or JSON's numbers and null."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that cannot be taken: where it stands in its file, what is wrong and what to do; `number` is its
    catalogue number as it is written, "" where there is none.
    """

    place: str
    problem: str
    number: str = ""


Found = Elements | Refused

MAX_MEAN_MOTION_REV_DAY = 17.1
"""An orbit that is faster lies within the Earth."""

MAX_NUMBER_DIGITS = 9
"""CCSDS 502.0-B-3, table 4-3: NORAD_CAT_ID is "an integer of up to nine digits"."""

MAX_OBJECT_NAME_LETTERS = 128

WITHOUT_NUMBER = 0
"""Number of an object whose message has none, as the standard allows; one object of a scenario may do without."""

FIXED = {
    "CENTER_NAME": ("EARTH",),
    "REF_FRAME": ("TEME", "TEMEOFDATE"),
    "TIME_SYSTEM": ("UTC",),
    "MEAN_ELEMENT_THEORY": ("SGP4", "SGP/SGP4"),
}
"""Keywords that may have only these values, or be absent."""

EPHEMERIS_TYPES = (0, 2, 3)
"""0 is what is published, SGP4; 2 and 3 are SGP4 and its part for deep space, by name."""

SGP4_XP = 4
"""Ephemeris type of elements for SGP4-XP: read as SGP4's they are kilometres off."""

_ANGLE = Bound(-360, 360, "give degrees")
_DRAG = Bound(-1e6, 1e6, "give it in 1/Earth radii, or in rev/day^2 and rev/day^3")

NUMBERS: dict[str, tuple[str, Bound, str]] = {
    "MEAN_MOTION": (
        "mean_motion_rev_day",
        Bound(1e-6, MAX_MEAN_MOTION_REV_DAY, "give revolutions a day, not minutes a revolution"),
        "rev/day",
    ),
    "ECCENTRICITY": ("eccentricity", Bound(0, 1, "SGP4 moves closed orbits alone", below_high=True), ""),
    "INCLINATION": ("inclination_deg", Bound(0, 180, "give degrees"), "deg"),
    "RA_OF_ASC_NODE": ("raan_deg", _ANGLE, "deg"),
    "ARG_OF_PERICENTER": ("argument_of_perigee_deg", _ANGLE, "deg"),
    "MEAN_ANOMALY": ("mean_anomaly_deg", _ANGLE, "deg"),
    "BSTAR": ("bstar", _DRAG, "1/ER"),
    "MEAN_MOTION_DOT": ("mean_motion_dot", _DRAG, "rev/day**2"),
    "MEAN_MOTION_DDOT": ("mean_motion_ddot", _DRAG, "rev/day**3"),
}
"""Keyword -> field of `Elements`, possible values, unit."""

OPTIONAL = ("MEAN_MOTION_DOT", "MEAN_MOTION_DDOT")
"""Numbers that SGP4 does not use, and that a message may leave out."""

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
WHOLE = re.compile(r"\+?\d+", re.ASCII)
MOMENT = re.compile(r"(\d{4})-(?:(\d{2})-(\d{2})|(\d{3}))T(\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?Z?", re.ASCII)


def elements_of(fields: Fields) -> Elements:
    """The elements that a message's fields describe; ScenarioError names the field and the remedy."""
    for key, allowed in FIXED.items():
        said = text_of(fields, key)
        if said and said.upper() not in allowed:
            raise ScenarioError(
                f"{key} is {shown(said)}: SGP4's elements have {' or '.join(allowed)}; convert them, or leave the "
                "object out."
            )
    check_ephemeris_type(text_of(fields, "EPHEMERIS_TYPE"))
    values: dict[str, float] = {}
    for key, (name, bound, _) in NUMBERS.items():
        value = fields.get(key)
        if is_absent(value):
            if key in OPTIONAL:
                continue
            raise ScenarioError(f"{key} is missing: SGP4 needs it; fetch the record again.")
        values[name] = number_of(value, key, bound)
    if not text_of(fields, "EPOCH"):
        raise ScenarioError("EPOCH is missing: elements hold at a moment; fetch the record again.")
    return Elements(
        number=catalogue_number(fields.get("NORAD_CAT_ID")),
        name=object_name(text_of(fields, "OBJECT_NAME"), "OBJECT_NAME"),
        designator=object_name(text_of(fields, "OBJECT_ID"), "OBJECT_ID"),
        epoch=epoch_of(fields.get("EPOCH")),
        **values,
    )


def is_absent(value: object) -> bool:
    """Whether a message leaves a value out: JSON's null and empty text say so too."""
    return value is None or (isinstance(value, str) and not value.strip())


def text_of(fields: Fields, key: str) -> str:
    """A field as text, "" where it is absent."""
    value = fields.get(key)
    return "" if value is None else str(value).strip()


def object_name(text: str, key: str) -> str:
    """A name with single spaces; ScenarioError where it is too long, or cannot be printed as it stands."""
    name = " ".join(text.split())
    if not name.isprintable():
        raise ScenarioError(f"{key} is {shown(name)}, with letters that cannot be printed: remove them.")
    if len(name) > MAX_OBJECT_NAME_LETTERS:
        raise ScenarioError(f"{key} has {len(name)} letters: at most {MAX_OBJECT_NAME_LETTERS} are possible.")
    return name


def number_of(value: object, key: str, bound: Bound) -> float:
    """A finite number within its bound; ScenarioError names `key`."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        number = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) < 1e300 else float("inf")
    else:
        raise ScenarioError(f"{key} is {shown(value)}: write a decimal number.")
    if not bound.holds(number):
        raise ScenarioError(f"{key} is {shown(value)} and must be {bound}: {bound.advice}.")
    return number


def catalogue_number(value: object) -> int:
    """NORAD_CAT_ID, a whole number of up to nine digits; 0 where the message leaves it out."""
    if value is None:
        return WITHOUT_NUMBER
    text = str(value).strip()
    if isinstance(value, bool | float) or not WHOLE.fullmatch(text) or len(text.lstrip("+")) > MAX_NUMBER_DIGITS:
        raise ScenarioError(
            f"NORAD_CAT_ID is {shown(value)}: write a whole number of up to {MAX_NUMBER_DIGITS} digits (letters stand "
            "in TLE lines alone)."
        )
    return int(text)


def check_ephemeris_type(text: str) -> None:
    """Raise ScenarioError where elements are not for SGP4; "" is the usual type."""
    number = int(text) if WHOLE.fullmatch(text) and len(text) <= MAX_NUMBER_DIGITS else None
    if not text or number in EPHEMERIS_TYPES:
        return
    if number == SGP4_XP:
        raise ScenarioError(
            f"EPHEMERIS_TYPE is {SGP4_XP}, elements for SGP4-XP, which is not public and whose elements SGP4 puts "
            "kilometres off: take elements of type 0."
        )
    raise ScenarioError(f"EPHEMERIS_TYPE is {text!r}: elements for SGP4 have type 0.")


def epoch_of(value: object) -> datetime:
    """A CCSDS time code in UTC (CCSDS 502.0-B-3, 7.5.10), by calendar or by day of the year, as an aware moment.

    Fractions are rounded to whole microseconds. ScenarioError where it is none.
    """
    found = MOMENT.fullmatch(value.strip()) if isinstance(value, str) else None
    advice = "write a moment in UTC such as 2026-01-31T12:00:00.123456"
    if found is None:
        raise ScenarioError(f"EPOCH is {shown(value)}: {advice}.")
    year, month, day, of_year, hour, minute, second, fraction = found.groups()
    leap = (hour, minute, second) == ("23", "59", "60")
    try:
        date = (int(year), int(month or 1), int(day or 1))
        whole = datetime(*date, int(hour), int(minute), 59 if leap else int(second), tzinfo=UTC)
        moment = whole + timedelta(days=int(of_year) - 1 if of_year else 0, seconds=int(leap))
        if of_year and (of_year == "000" or (moment - timedelta(seconds=int(leap))).year != int(year)):
            raise ValueError(f"{year} has no day {of_year}")
        return moment + timedelta(microseconds=round(float(f"0.{fraction}") * 1e6) if fraction else 0)
    except (ValueError, OverflowError) as error:
        raise ScenarioError(f"EPOCH is {shown(value)}, which is no moment ({error}): {advice}.") from error


def shown(value: object) -> str:
    """A value as a message has it, not endless."""
    return cut(repr(value))


def cut(text: str) -> str:
    """The text, or its beginning where it is long."""
    return text if len(text) <= MAX_OBJECT_NAME_LETTERS else f"{text[:MAX_OBJECT_NAME_LETTERS]}..."
