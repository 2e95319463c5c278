"""Does a CZML document say what the sky does, to somebody who reads it by its own rules?"""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from czml3 import Packet

from perigrid.report.sky.czml import DEGREE, MARGIN_SAMPLES, Document, Line, Place, Track, node_id, write_czml

START = datetime(2026, 1, 1, 6, 30, 0, 250_000, tzinfo=UTC)
STEP_S, LENGTH_S, RADIUS_KM, RATE_RAD_S = 60.0, 1800.0, 6900.0, 1.1e-3


def place_at(t_s: Any) -> Any:
    """A circle that no polynomial follows exactly."""
    angle = RATE_RAD_S * np.asarray(t_s)
    return RADIUS_KM * np.stack([np.cos(angle), np.sin(angle) * 0.6, np.sin(angle) * 0.8], axis=-1)


def made(**changes: Any) -> tuple[str, list[dict[str, Any]]]:
    """A document of one satellite, one station and a link, as text and read as JSON."""
    t_s = np.arange(-MARGIN_SAMPLES, LENGTH_S / STEP_S + MARGIN_SAMPLES + 1) * STEP_S
    track = Track(
        number=3,
        name="sat-04",
        about="a <shell>",
        colour=(0, 114, 178, 255),
        t_s=t_s,
        positions_km=place_at(t_s),
        present=[(0.0, LENGTH_S)],
        period_s=5700.0,
        labelled=True,
    )
    document = Document("a sky & more", ["assumed: <nothing>"], START, LENGTH_S)
    lines = [Line(3, 12, "sat-04 - Here", True, changes.get("intervals", [(0.0, 60.5), (600.0, 1800.0)]))]
    file = io.StringIO()
    count = write_czml(file, document, [track], [Place(12, "Here", 10.0, -170.5)], lines)
    packets = json.loads(file.getvalue())
    assert count == len(packets)
    return file.getvalue(), packets


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_an_independent_reader_takes_every_packet() -> None:
    _, packets = made()
    for packet in packets:
        assert Packet.model_validate(packet).id == packet["id"]
    assert [packet["id"] for packet in packets] == ["document", "about", "node-12", "node-3", "link-3-12"]


def test_the_clock_is_the_window() -> None:
    clock = made()[1][0]["clock"]
    low, high = map(moment, clock["interval"].split("/"))
    assert (low, high) == (START, START + timedelta(seconds=LENGTH_S))
    assert moment(clock["currentTime"]) == low


def test_positions_between_samples_are_those_of_the_sky() -> None:
    position = made()[1][3]["position"]
    assert position["referenceFrame"] == "FIXED"
    assert (position["interpolationAlgorithm"], position["interpolationDegree"]) == ("LAGRANGE", DEGREE)
    assert moment(position["epoch"]) == START
    samples = np.array(position["cartesian"]).reshape(-1, 4)
    # As Cesium does: a polynomial through the DEGREE + 1 samples around the moment.
    for t_s in np.linspace(0.0, LENGTH_S, 97):
        after = int(np.searchsorted(samples[:, 0], t_s, side="right"))
        first = min(max(after - (DEGREE + 1) // 2, 0), len(samples) - DEGREE - 1)
        near = samples[first : first + DEGREE + 1]
        weights = [
            np.prod([(t_s - other) / (one - other) for other in near[:, 0] if other != one]) for one in near[:, 0]
        ]
        metres = np.array(weights) @ near[:, 1:]
        assert np.linalg.norm(metres - place_at(t_s) * 1000.0) < 1.0


def test_a_link_is_shown_while_it_is_up() -> None:
    line = made()[1][4]
    spans = [tuple(map(moment, text.split("/"))) for text in line["availability"]]
    assert spans == [
        (START, START + timedelta(seconds=60.5)),
        (START + timedelta(seconds=600), START + timedelta(seconds=1800)),
    ]
    assert line["polyline"]["positions"]["references"] == [f"{node_id(3)}#position", f"{node_id(12)}#position"]
    assert line["polyline"]["arcType"] == "NONE"


def test_a_link_that_is_never_up_is_left_out() -> None:
    assert [packet["id"] for packet in made(intervals=[])[1]][-1] == "node-3"


def test_a_document_asks_for_nothing_and_escapes_what_it_shows() -> None:
    text, packets = made()
    assert "http" not in text and "://" not in text and "image" not in text
    assert packets[1]["description"] == "<p>assumed: &lt;nothing&gt;</p>"
    assert packets[3]["description"] == "<p>a &lt;shell&gt;</p>"


def test_a_station_stands_at_its_longitude_and_latitude() -> None:
    assert made()[1][2]["position"]["cartographicDegrees"] == [-170.5, 10.0, 0.0]


def test_what_is_not_a_number_is_never_written() -> None:
    track = Track(0, "x", "", (0, 0, 0, 255), np.array([0.0]), np.full((1, 3), np.nan), [(0.0, 1.0)])
    with pytest.raises(ValueError, match="JSON compliant"):
        write_czml(io.StringIO(), Document("x", [], START, 1.0), [track], [], [])
