"""Are the small parts of the page right: markup, words, pictures, places?"""

from __future__ import annotations

import struct
import zlib
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perigrid.job.masks import NO_VOTE
from perigrid.job.spec import Capture
from perigrid.mesh.topology import Mesh
from perigrid.report.drawing import LOAD_CLASSES, load_class
from perigrid.report.layout import CATALOGUE_SLOTS, MAX_SATELLITES, layout_of, planes_of
from perigrid.report.markup import Html, join, tag
from perigrid.report.origins import KINDS, value_at
from perigrid.report.picture import MAX_SIDE_PX, PNG_SIGNATURE, png, read_mask, scene_of, shares_of, step_of, stretched
from perigrid.report.story import Accepted, Attempt, Incident, ShardStory
from perigrid.report.timeline import MAX_ROWS, Axis, grouped, rows_of
from perigrid.report.words import linked, seconds, value_of
from perigrid.scenario.model import Catalogue, DataSource, Elements, Fault, ProvenanceKind, Scenario, Shell
from perigrid.units import NodeId
from tests.conftest import ring_scenario
from tests.report.reading import Page

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


# --- markup


@given(st.text(), st.text())
def test_text_comes_out_as_it_went_in(text: str, attribute: str) -> None:
    page = Page(tag("p", text, title=attribute))
    normal = {"\r\n": "\n", "\r": "\n", "\0": "\ufffd"}
    assert [name for name, _ in page.elements] == ["p"]
    if not any(letter in attribute for letter in normal):
        assert page.elements[0][1]["title"] == attribute
    if not any(letter in text for letter in normal):
        assert page.text == " ".join(text.split())


def test_attributes_that_are_nothing_are_left_out() -> None:
    assert tag("a", class_=None, hidden=True, open=False, aria_label='"') == '<a hidden aria-label="&quot;"></a>'
    assert tag("rect", x=1) == '<rect x="1"/>'
    assert join([Html("<b>"), "<b>"], " ") == "<b> &lt;b&gt;"


# --- words


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0.0, "0 s"),
        (4.2e-6, "4.2 µs"),
        (0.000_999_6, "1 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (9.994, "9.99 s"),
        (42.04, "42.0 s"),
        (99.96, "100 s"),
        (599.0, "599 s"),
        (3599.6, "1 h 0 min"),
        (725.0, "12 min 5 s"),
        (-0.002, "-2 ms"),
    ],
)
def test_seconds_for_a_reader(value_s: float, text: str) -> None:
    assert seconds(value_s) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("lasers.rate_bps", 100e9, "100 Gbit/s"),
        ("ground_link.rate_bps", 160e6, "160 Mbit/s"),
        ("x.rate_bps", 12.5, "12.5 bit/s"),
        ("shell.a.altitude_km", 535.0, "535 km"),
        ("station.b.latitude_deg", -77.85, "-77.85°"),
        ("lasers.max_range_km", None, "none"),
        ("data.s.preload_replicas", True, "yes"),
        ("shell.a.planes", 1584, "1,584"),
        ("models", ("cloudmask", "tinycloud"), "cloudmask, tinycloud"),
        ("device.watts", 7.5, "7.5 W"),
    ],
)
def test_values_with_their_units(name: str, value: object, text: str) -> None:
    assert value_of(name, value) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("see https://example.com/a.", "https://example.com/a"),
        ("dx.dexunzhenggu.cn/archives/21782.html", "https://dx.dexunzhenggu.cn/archives/21782.html"),
        ("quoted (wiki.hearn.me/x)", "https://wiki.hearn.me/x"),
        ("celestial/shell.py, own.toml and newsx.com 2025", None),
        ("javascript:alert(1)//a.b", None),
    ],
)
def test_addresses_become_links(text: str, address: str | None) -> None:
    page = Page(tag("p", linked(text)))
    assert [a["href"] for a in page.of("a")] == ([] if address is None else [address])
    assert page.text.replace(" ", "") == text.replace(" ", "")


# --- pictures


def unpacked(data: bytes) -> tuple[Bytes, bytes]:
    """Pixels and palette of a PNG, by the standard's own words (ISO/IEC 15948, 9.2): filters none and up."""
    assert data.startswith(PNG_SIGNATURE)
    chunks: dict[bytes, bytes] = {}
    at = len(PNG_SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert depth == 8
    channels = {2: 3, 3: 1}[colour]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + channels * width)
    rows = np.zeros((height, channels * width), np.uint8)
    for number, line in enumerate(lines):
        above = rows[number - 1] if number else np.zeros_like(rows[0])
        rows[number] = line[1:] + (above if line[0] == 2 else 0)
        assert line[0] in (0, 2)
    return rows.reshape((height, width, 3) if channels == 3 else (height, width)), chunks.get(b"PLTE", b"")


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_coloured_png_holds_its_pixels(pixels: Bytes) -> None:
    assert np.array_equal(unpacked(png(pixels))[0], pixels)


def test_a_png_with_a_palette_holds_its_indices() -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    found, palette = unpacked(png(indices, [(1, 2, 3), (4, 5, 6), (7, 8, 9)]))
    assert np.array_equal(found, indices)
    assert palette == bytes(range(1, 10))


@pytest.mark.parametrize(("side", "step"), [(1, 1), (MAX_SIDE_PX, 1), (MAX_SIDE_PX + 1, 2), (32_768, 43)])
def test_large_scenes_are_thinned_out(side: int, step: int) -> None:
    assert step_of(10, side) == step
    assert -(-side // step) <= MAX_SIDE_PX


def test_stretching_keeps_the_order_and_survives_what_is_no_number() -> None:
    values = np.array([np.nan, *np.linspace(0.0, 1.0, 500), np.inf], np.float32)
    shown = stretched(values)
    assert shown[0] == shown[1] == 0
    assert (np.diff(shown[1:-1].astype(int)) >= 0).all()
    assert shown[-2] == 255
    assert not stretched(np.full(4, np.nan, np.float32)).any()
    assert len(set(stretched(np.full(4, 0.3, np.float32)).tolist())) == 1


def capture(owner: int, first_row: int, height: int, width: int, bands: int = 4) -> Capture:
    place = {"tiles": (0,), "rows": (0,), "columns": (0,)}
    return Capture(
        name=f"c@{owner}",
        dataset="c",
        owner=NodeId(owner),
        replicas=(NodeId(owner + 1),),
        first_row=first_row,
        bands=bands,
        height_px=height,
        width_px=width,
        **place,
    )


@pytest.mark.parametrize("side", [300, 2 * MAX_SIDE_PX + 5])
def test_a_scene_is_put_together_from_captures_that_overlap(tmp_path: Path, side: int) -> None:
    generator = np.random.default_rng(1)
    whole = generator.random((4, side, 40), np.float32)
    cut = side // 3
    captures = (capture(0, 0, 2 * cut, 40), capture(1, cut + 1, side - cut - 1, 40))
    for one, holder in zip(captures, ("a", "c"), strict=True):
        folder = tmp_path / "flash" / holder / "captures"
        folder.mkdir(parents=True)
        part = whole[:, one.first_row : one.first_row + one.height_px]
        (folder / f"{one.name}.f32").write_bytes(part.tobytes())
    scene = scene_of(tmp_path, captures, ("a", "b", "c"))
    step = step_of(side, 40)
    assert (scene.step_px, scene.missing) == (step, ())
    expected = stretched(whole[2::-1, ::step, ::step]).transpose(1, 2, 0)
    assert np.array_equal(scene.pixels, expected)


def test_a_truncated_capture_counts_as_missing(tmp_path: Path) -> None:
    folder = tmp_path / "flash" / "a" / "captures"
    folder.mkdir(parents=True)
    (folder / "c@0.f32").write_bytes(b"short")
    scene = scene_of(tmp_path, (capture(0, 0, 20, 20, bands=1),), ("a", "b"))
    assert scene.missing == ("c@0",)
    assert scene.pixels.shape == (20, 20, 3)
    assert not scene.pixels.any()


def test_shares_of_a_mask_count_every_value() -> None:
    mask = np.array([[0, 0, 1, 2], [0, 0, 1, 2]], np.uint8)
    assert [(name, share) for name, _, share in shares_of(mask)] == [("clear", 0.5), ("cloud", 0.25), ("shadow", 0.25)]
    mask[0, 0] = NO_VOTE
    assert shares_of(mask)[-1][0] == "no result"


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut short", None])
def test_a_mask_that_cannot_be_read_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mask.npz"
    if content is not None:
        path.write_bytes(content)
    assert read_mask(path) is None
    np.savez(path, mask=np.array([[7]], np.uint8))
    assert read_mask(path) is None
    np.savez(path, other=np.zeros((2, 2), np.uint8))
    assert read_mask(path) is None
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 2), np.uint8))
    assert read_mask(path) is None
    np.savez(path, mask=np.full((2, 2), 2, np.uint8))
    assert read_mask(path) is not None


# --- drawings


@pytest.mark.parametrize(("size", "found"), [(0, 0), (1, 1), (25, 1), (26, 2), (100, LOAD_CLASSES)])
def test_lasers_have_a_class_by_their_share_of_the_busiest(size: int, found: int) -> None:
    assert load_class(size, 100) == found


def grid(planes: int, slots: int) -> Scenario:
    shell = Shell(
        name="s", altitude_km=550, inclination_deg=53, planes=planes, sats_per_plane=slots, phasing=0.5, topology="grid"
    )
    return ring_scenario(shells=(shell,), stations=())


def test_the_planes_that_mattered_are_drawn_first() -> None:
    scenario = grid(30, 20)
    busy = planes_of(scenario)[25].nodes
    found = layout_of(scenario, Mesh(scenario), dict.fromkeys(busy, 5.0))
    assert set(busy) <= set(found.places)
    assert len(found.places) == MAX_SATELLITES
    assert (found.planes_drawn, found.planes) == (20, 30)
    assert all(0 <= x <= found.width_px and 0 <= y <= found.height_px for x, y in found.places.values())


def catalogue(satellites: int) -> Scenario:
    """Catalogued satellites alone, which seek the nearest."""
    epoch = datetime(2026, 3, 20, tzinfo=UTC)
    shape = {"eccentricity": 0.0, "inclination_deg": 53.0, "argument_of_perigee_deg": 0.0, "mean_anomaly_deg": 0.0}
    elements = tuple(
        Elements(number=400_000 + n, name=f"S-{n}", epoch=epoch, mean_motion_rev_day=15.0, raan_deg=5.0 * n, **shape)
        for n in range(satellites)
    )
    found = Catalogue(name="own", file="own.json", elements=elements)
    return ring_scenario(shells=(), stations=(), catalogues=(found,))


def test_catalogued_satellites_stand_in_the_order_of_their_file() -> None:
    few, many = catalogue(CATALOGUE_SLOTS), catalogue(CATALOGUE_SLOTS + 7)
    ring = layout_of(few, Mesh(few), {})
    assert ring.ring and list(ring.places) == list(Mesh(few).satellite_ids)
    columns = layout_of(many, Mesh(many), {})
    assert not columns.ring and list(columns.places) == list(Mesh(many).satellite_ids)
    assert [text for _, text in columns.titles] == ["catalogue own, columns 1 to 2"]


def test_a_ring_larger_than_the_drawing_keeps_those_that_mattered() -> None:
    scenario = ring_scenario(MAX_SATELLITES + 100)
    found = layout_of(scenario, Mesh(scenario), {NodeId(450): 1.0})
    assert len(found.places) == MAX_SATELLITES
    assert NodeId(450) in found.places


def test_only_links_around_an_edge_are_long() -> None:
    scenario = grid(6, 11)
    mesh = Mesh(scenario)
    found = layout_of(scenario, mesh, {})
    long = [link for link in mesh.lasers if not found.is_short(link.a, link.b)]
    around_a_plane = 6
    between_last_and_first = 11
    assert len(long) >= around_a_plane + between_last_and_first
    assert len(long) < len(mesh.lasers) / 3


def shard(number: int, attempts: int = 1, cause: str | None = None) -> ShardStory:
    tries = tuple(Attempt(n + 1, "sat-01", 0.0, 1.0, "lease expired") for n in range(attempts - 1))
    last = Attempt(attempts, "sat-01", 1.0, 2.0, "accepted" if cause is None else "failed")
    return ShardStory(number, (*tries, last), accepted(number) if cause is None else None, cause)


def accepted(number: int) -> Accepted:
    stages = ("queue_s", "inference_s", "desk_wait_s", "cpu_s")
    ways = ("sent_s", "arrived_s", "up_laser_s", "up_ground_s", "down_laser_s", "down_ground_s")
    return Accepted(shard=number, attempt=1, satellite="sat-01", hops=1, **dict.fromkeys((*stages, *ways), 0.0))


@pytest.mark.parametrize(
    ("failed", "again", "smooth", "kept"),
    [
        (1, 1, 2000, (1, 1, 398)),
        (2000, 5, 2000, (300, 0, 100)),
        (10, 2000, 2000, (10, 290, 100)),
        (10, 2000, 20, (10, 370, 20)),
        (0, 0, 401, (0, 0, 400)),
        (100, 100, 200, (100, 100, 200)),
    ],
)
def test_rows_keep_what_went_wrong_and_some_that_went_well(
    failed: int, again: int, smooth: int, kept: tuple[int, int, int]
) -> None:
    kinds = [("POISON", 1)] * failed + [(None, 2)] * again + [(None, 1)] * smooth
    rows = rows_of([shard(number, attempts, cause) for number, (cause, attempts) in enumerate(kinds)])
    assert len(rows) == MAX_ROWS
    assert [row.shard for row in rows] == sorted({row.shard for row in rows})
    causes = sum(row.cause is not None for row in rows)
    assert (causes, sum(len(row.attempts) > 1 for row in rows), sum(row.smooth for row in rows)) == kept


@given(st.lists(st.floats(0.0, 10.0), max_size=60))
def test_markers_stand_apart_and_none_is_lost(times_s: list[float]) -> None:
    axis = Axis(0.0, 10.0)
    groups = grouped([Incident(t_s, "cut", ("a", "b"), "user") for t_s in times_s], axis)
    assert sorted(i.at_s for group in groups for i in group) == sorted(times_s)
    places = [axis.place(group[0].at_s) for group in groups]
    assert all(later - earlier >= 5.0 - 1e-9 for earlier, later in pairwise(places))


@given(st.floats(1e-6, 1e7), st.floats(0.0, 1e6))
def test_an_axis_has_a_few_round_ticks_and_keeps_places_inside(span_s: float, from_s: float) -> None:
    axis = Axis(from_s, from_s + span_s)
    if axis.to_s - axis.from_s < 1e-9 * max(1.0, from_s):
        return
    ticks = list(axis.ticks_s())
    assert 2 <= len(ticks) <= 8
    for at_s in (from_s - 1, from_s, from_s + span_s / 2, from_s + 2 * span_s):
        assert 0.0 <= axis.place(at_s) <= 100.0


# --- origins


def test_every_kind_of_provenance_has_a_heading() -> None:
    assert set(KINDS) == set(get_args(ProvenanceKind))


def test_values_are_found_by_their_dotted_names() -> None:
    scenario = ring_scenario(
        data=(DataSource(file="/x/a.b.npz"),), faults=(Fault(at_s=3.0, action="kill", a="sat-01"),)
    )
    assert value_at(scenario, "shell.ring.altitude_km") == 535.0
    assert value_at(scenario, "data./x/a.b.npz.replicas") == 2
    assert value_at(scenario, "fault.0.at_s") == 3.0
    assert value_at(scenario, "station.below.min_elevation_deg") == 10.0
    assert value_at(scenario, "stations") == ("below",)
    assert value_at(scenario, "lasers.rate_bps") == 1e9
    assert value_at(scenario, "device.service_s.tinycloud") == 0.05
    for unknown in ("shell.nosuch.altitude_km", "fault.9.at_s", "fault.x.at_s", "nosuch", "lasers.nosuch.x"):
        assert value_at(scenario, unknown) is None
