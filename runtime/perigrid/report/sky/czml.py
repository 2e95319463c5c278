"""How does a constellation move in Cesium?

CZML 1.0 is a JSON array of packets, which Cesium's CzmlDataSource reads (github.com/AnalyticalGraphicsInc/czml-writer,
wiki "CZML Guide"). Positions are sampled in the Earth-fixed frame and interpolated there: what Cesium calls INERTIAL
is either TEME or ICRF, depending on whether it has loaded its Earth orientation data, and the two differ by 40 km at
these heights. Links are polylines between the nodes' positions that are shown while they are up. A document asks for
nothing: nodes are points and text, without pictures or addresses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from perigrid.report.sky.head import utc_text

DEGREE = 5
"""Degree of the Lagrange polynomials through the samples: with a minute between them they err by less than a metre."""

MARGIN_SAMPLES = 3
"""Samples before the window and after it, so that polynomials are centred at its ends too."""

MULTIPLIER = 60
"""Seconds of orbit a second of the viewer."""

Colour = tuple[int, int, int, int]
"""Red, green, blue and opacity, 0 to 255."""

LASER: Colour = (213, 94, 0, 150)
RADIO: Colour = (0, 158, 115, 220)
STATION: Colour = (240, 228, 66, 255)


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A satellite: seconds `t_s` [T] after the start of the document, and ECEF positions `positions_km` [T, 3].

    `present` are its intervals of being there, in the same seconds; `period_s` draws one orbit of its path, None none.
    """

    number: int
    name: str
    about: str
    colour: Colour
    t_s: npt.NDArray[np.float64]
    positions_km: npt.NDArray[np.float64]
    present: Sequence[tuple[float, float]]
    period_s: float | None = None
    labelled: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A station on the ellipsoid."""

    number: int
    name: str
    latitude_deg: float
    longitude_deg: float


@dataclass(frozen=True, slots=True)
class Line:
    """A link between two nodes by number, and the seconds after the start in which it is up."""

    a: int
    b: int
    name: str
    radio: bool
    intervals: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Document:
    """What a CZML file is about: from `start`, an aware moment, for `length_s`; `notes` say what is assumed."""

    name: str
    notes: Sequence[str]
    start: datetime
    length_s: float


def write_czml(
    file: TextIO, document: Document, tracks: Iterable[Track], places: Iterable[Place], lines: Iterable[Line]
) -> int:
    """Write a document packet by packet; the number of packets. Links must name satellites and stations given."""
    count = 0
    for packet in packets(document, tracks, places, lines):
        file.write("[\n" if count == 0 else ",\n")
        file.write(json.dumps(packet, separators=(",", ":"), ensure_ascii=False, allow_nan=False))
        count += 1
    file.write("\n]\n")
    return count


def packets(
    document: Document, tracks: Iterable[Track], places: Iterable[Place], lines: Iterable[Line]
) -> Iterator[dict[str, Any]]:
    """All packets of a document, its own first."""
    yield _document(document)
    yield _about(document)
    for place in places:
        yield _place(place)
    for track in tracks:
        yield _track(document, track)
    for line in lines:
        if line.intervals:
            yield _line(document, line)


def node_id(number: int) -> str:
    """The id of a node's packet, which has no character that a reference would have to escape."""
    return f"node-{number}"


def _document(document: Document) -> dict[str, Any]:
    return {
        "id": "document",
        "name": document.name,
        "version": "1.0",
        "clock": {
            "interval": _interval(document, 0.0, document.length_s),
            "currentTime": utc_text(document.start),
            "multiplier": MULTIPLIER,
            "range": "LOOP_STOP",
            "step": "SYSTEM_CLOCK_MULTIPLIER",
        },
    }


def _about(document: Document) -> dict[str, Any]:
    """An entity without a place that a viewer lists, and that says what the figures rest on."""
    text = "".join(f"<p>{escape(note)}</p>" for note in document.notes)
    return {"id": "about", "name": f"About {document.name}", "description": text}


def _track(document: Document, track: Track) -> dict[str, Any]:
    samples = np.column_stack([track.t_s, np.round(track.positions_km * 1000.0, 1)])
    packet: dict[str, Any] = {
        "id": node_id(track.number),
        "name": track.name,
        "description": f"<p>{escape(track.about)}</p>",
        "availability": _intervals(document, track.present),
        "position": {
            "epoch": utc_text(document.start),
            "referenceFrame": "FIXED",
            "interpolationAlgorithm": "LAGRANGE",
            "interpolationDegree": DEGREE,
            "cartesian": [_short(value) for value in samples.ravel().tolist()],
        },
        "point": {
            "pixelSize": 6 if track.labelled else 3,
            "color": {"rgba": list(track.colour)},
            "outlineColor": {"rgba": [0, 0, 0, 160]},
            "outlineWidth": 1,
        },
    }
    if track.labelled:
        packet["label"] = _label(track.name)
    if track.period_s is not None:
        packet["path"] = {
            "width": 1,
            "leadTime": track.period_s,
            "trailTime": 0,
            "resolution": 60,
            "material": {"solidColor": {"color": {"rgba": [*track.colour[:3], 110]}}},
        }
    return packet


def _place(place: Place) -> dict[str, Any]:
    return {
        "id": node_id(place.number),
        "name": place.name,
        "position": {"cartographicDegrees": [place.longitude_deg, place.latitude_deg, 0.0]},
        "point": {
            "pixelSize": 8,
            "color": {"rgba": list(STATION)},
            "outlineColor": {"rgba": [0, 0, 0, 255]},
            "outlineWidth": 1,
        },
        "label": _label(place.name),
    }


def _label(text: str) -> dict[str, Any]:
    return {
        "text": text,
        "font": "12px sans-serif",
        "fillColor": {"rgba": [255, 255, 255, 255]},
        "outlineColor": {"rgba": [0, 0, 0, 255]},
        "outlineWidth": 3,
        "style": "FILL_AND_OUTLINE",
        "horizontalOrigin": "LEFT",
        "pixelOffset": {"cartesian2": [8, 0]},
    }


def _line(document: Document, line: Line) -> dict[str, Any]:
    return {
        "id": f"link-{line.a}-{line.b}",
        "name": line.name,
        "availability": _intervals(document, line.intervals),
        "polyline": {
            "positions": {"references": [f"{node_id(line.a)}#position", f"{node_id(line.b)}#position"]},
            "arcType": "NONE",
            "width": 2 if line.radio else 1,
            "material": {"solidColor": {"color": {"rgba": list(RADIO if line.radio else LASER)}}},
        },
    }


def _intervals(document: Document, intervals: Sequence[tuple[float, float]]) -> str | list[str]:
    texts = [_interval(document, start_s, end_s) for start_s, end_s in intervals]
    return texts[0] if len(texts) == 1 else texts


def _interval(document: Document, start_s: float, end_s: float) -> str:
    moments = (document.start + timedelta(seconds=second) for second in (start_s, end_s))
    return "/".join(utc_text(moment) for moment in moments)


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() else value
