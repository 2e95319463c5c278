"""Are tables, land and map lines what they should be?"""

from __future__ import annotations

import builtins
import importlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perigrid.errors import CorruptFile, EnvironmentProblem, MissingFile, UsageError
from perigrid.report import tables
from perigrid.report.sky import land as land_module
from perigrid.report.sky.land import read_land
from perigrid.report.sky.map import BEARINGS_DEG, footprint, unwrapped

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def table() -> tables.Table:
    return {
        "name": ["a", "b", "c"],
        "start_utc": tables.moments(EPOCH, np.array([0.0, 0.0014, 86_399.9996])),
        "range_km": np.array([1.5, np.nan, 3.25]),
        "up": np.array([True, False, True]),
    }


def test_csv_keeps_every_value(table: tables.Table) -> None:
    file = io.StringIO()
    assert tables.write_csv(file, table) == 3
    assert file.getvalue().splitlines() == [
        "name,start_utc,range_km,up",
        "a,2026-01-01T00:00:00.000Z,1.5,True",
        "b,2026-01-01T00:00:00.001Z,,False",
        "c,2026-01-02T00:00:00.000Z,3.25,True",
    ]


def test_parquet_has_types_and_notes(table: tables.Table, tmp_path: Path) -> None:
    parquet = importlib.import_module("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    assert tables.write_parquet(path, table, {"perigrid.head": "{}"}) == 3
    read = parquet.read_table(path)
    assert [str(kind) for kind in read.schema.types] == ["string", "timestamp[us, tz=UTC]", "double", "bool"]
    assert read.schema.metadata[b"perigrid.head"] == b"{}"
    assert read["start_utc"][1].as_py() == datetime(2026, 1, 1, 0, 0, 0, 1400, tzinfo=UTC)


def test_a_reader_s_table_counts_what_it_leaves_out(table: tables.Table) -> None:
    lines = tables.text_table(table, 2)
    assert len(lines) == 4 and lines[-1].startswith("and 1 more")
    assert len(tables.text_table(table, 3)) == 4


def test_without_an_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingFile, match=r"pip install 'perigrid\[parquet\]'"):
        tables.pyarrow("pyarrow")
    monkeypatch.setattr(land_module, "PACKAGE", "no_such_package")
    with pytest.raises(MissingFile, match=r"pip install 'perigrid\[plot\]'"):
        read_land()


def refuse(name: str) -> Any:
    raise builtins.ImportError(f"No module named {name!r}")


def test_a_file_has_to_be_called_what_it_is_and_to_be_writable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.csv"):
        tables.check_suffix(Path("a.txt"), (".csv",), "csv")
    with pytest.raises(EnvironmentProblem, match="another file"):
        tables.opened(tmp_path / "gone" / "a.csv", "the list")


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "land"),
    [(52.0, 13.0, True), (0.0, -30.0, False), (-80.0, 0.0, True), (40.45, 116.86, True), (10.0, 179.0, False)],
)
def test_land_is_where_it_is(latitude_deg: float, longitude_deg: float, land: bool) -> None:
    found = shared_land()
    row = int(np.abs(found.latitude_deg - latitude_deg).argmin())
    column = int(np.abs(found.longitude_deg - longitude_deg).argmin())
    assert (found.share[row, column] > 0.5) == land


def test_a_third_of_the_earth_is_land() -> None:
    found = shared_land()
    weight = np.cos(np.radians(found.latitude_deg))
    assert np.average(found.share.mean(axis=1), weights=weight) == pytest.approx(0.292, abs=0.01)


def shared_land() -> land_module.Land:
    if not hasattr(shared_land, "found"):
        shared_land.found = read_land()  # type: ignore[attr-defined]
    found: land_module.Land = shared_land.found  # type: ignore[attr-defined]
    return found


def test_a_land_mask_that_is_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_mask"
    package.mkdir()
    (package / "__init__.py").write_text("")
    np.savez(package / land_module.FILE, mask=np.zeros((3, 4), np.bool_))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(land_module, "PACKAGE", "some_mask")
    with pytest.raises(CorruptFile, match="global-land-mask"):
        read_land()


def test_lines_over_the_date_line_are_drawn_on_both_sides() -> None:
    longitude = np.array([[170.0, 178.0, -174.0, -166.0], [10.0, 12.0, 14.0, 16.0]])
    copies = list(unwrapped(longitude))
    # Once as it goes on beyond 180 east, once as it comes in from beyond 180 west; what does not cross once.
    over = [copy[0] for copy in copies if np.isfinite(copy[0, 0])]
    assert sorted(tuple(line) for line in over) == [(-190.0, -182.0, -174.0, -166.0), (170.0, 178.0, 186.0, 194.0)]
    assert sum(bool(np.isfinite(copy[1, 0])) for copy in copies) == 1


def test_no_line_jumps_across_the_map() -> None:
    random = np.random.default_rng(5)
    steps = random.uniform(-120.0, 120.0, (200, 12))
    longitude = (np.cumsum(steps, axis=1) + 180.0) % 360.0 - 180.0
    for copy in unwrapped(longitude):
        assert np.nanmax(np.abs(np.diff(copy, axis=1))) <= 120.0 + 1e-9


def test_a_footprint_is_a_circle_around_the_station() -> None:
    latitude, longitude = footprint(78.23, 15.41, np.full(len(BEARINGS_DEG), 10.0), 535.0)
    north, east = np.radians(latitude), np.radians(longitude)
    here, there = np.radians(78.23), np.radians(15.41)
    away = np.arccos(np.sin(here) * np.sin(north) + np.cos(here) * np.cos(north) * np.cos(east - there))
    # Below a satellite at 535 km that stands at 10 degrees: 14.6 degrees of the Earth's centre.
    assert np.degrees(away) == pytest.approx(np.full(len(away), 14.66), abs=0.05)
    assert latitude.max() > 87.0
