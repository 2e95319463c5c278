"""Does a run's folder hold all of it, and is a broken one refused by name?"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from perigrid.bench.latency.environment import Environment, environment_here
from perigrid.bench.latency.results import (
    COLUMNS,
    PARQUET_FILE,
    REPORT_FILE,
    REQUESTS_FILE,
    SUMMARY_FILE,
    read_results,
    read_summary,
    write_results,
)
from perigrid.bench.latency.rows import Arm
from perigrid.bench.latency.summary import SCHEMA, LatencyRun, summarise
from perigrid.errors import CorruptFile, EnvironmentProblem, MissingFile
from tests.bench.latency_runs import ENVIRONMENT, Wish, made_run

WISH = Wish(arms=(Arm.BENT_PIPE, Arm.IN_ORBIT, Arm.BARE), rate_per_s=3.0)


@pytest.fixture(scope="module")
def run() -> LatencyRun:
    """A small run."""
    return made_run(WISH)


@pytest.fixture
def folder(run: LatencyRun, tmp_path: Path) -> Path:
    """Its folder, to be broken."""
    write_results(tmp_path / "run", run)
    return tmp_path / "run"


def test_what_was_written_is_read_back_to_the_bit(run: LatencyRun, folder: Path) -> None:
    assert read_results(folder) == run
    assert read_summary(folder) == summarise(run)
    assert sorted(path.name for path in folder.iterdir()) == sorted([SUMMARY_FILE, REQUESTS_FILE, REPORT_FILE])


def test_the_table_has_a_row_a_request_in_its_columns(run: LatencyRun, folder: Path) -> None:
    with (folder / REQUESTS_FILE).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert tuple(reader.fieldnames or ()) == COLUMNS
    assert len(rows) == sum(len(series.rows) for series in run.series)
    first, row = rows[0], run.series[0].rows[0]
    assert float(first["latency_s"]) == row.latency_s
    stages = sum(float(value) for name, value in first.items() if name.startswith("stage_") and value)
    assert stages == pytest.approx(row.latency_s)
    orbit = next(line for line in rows if line["arm"] == "in-orbit")
    assert float(orbit["light_down_s"]) == pytest.approx(0.0119)
    assert orbit["lasers_down"] == "1"
    assert json.loads(orbit["way_down"])[0][:3] == ["sat-01", "sat-02", "laser"]


def test_parquet_says_the_same(run: LatencyRun, tmp_path: Path) -> None:
    import pyarrow.parquet

    write_results(tmp_path, run, parquet=True)
    table = pyarrow.parquet.read_table(tmp_path / PARQUET_FILE)
    assert tuple(table.column_names) == COLUMNS
    assert table.column("latency_s").to_pylist() == [row.latency_s for series in run.series for row in series.rows]
    assert table.schema.metadata[b"digest"] == run.facts.digest.encode()


def test_numbers_out_of_arrays_are_written_too(run: LatencyRun, tmp_path: Path) -> None:
    row = run.series[0].rows[0]
    odd = msgspec.structs.replace(row, latency_s=np.float64(row.latency_s), ended_s=np.float64(row.ended_s))
    series = msgspec.structs.replace(run.series[0], rows=(odd, *run.series[0].rows[1:]), share_late=np.float64(0.0))
    write_results(tmp_path, msgspec.structs.replace(run, series=(series,)))
    assert read_results(tmp_path).series[0].rows == run.series[0].rows


def test_the_summary_is_versioned(folder: Path) -> None:
    path = folder / SUMMARY_FILE
    table = json.loads(path.read_text())
    assert table["schema"] == SCHEMA
    path.write_text(json.dumps({**table, "schema": SCHEMA + 1}))
    with pytest.raises(CorruptFile, match=f"schema {SCHEMA + 1} and this perigrid reads {SCHEMA}"):
        read_summary(folder)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        (SUMMARY_FILE, None, MissingFile),
        (SUMMARY_FILE, "", CorruptFile),
        (SUMMARY_FILE, "{}", CorruptFile),
        (SUMMARY_FILE, '{"schema": 1}', CorruptFile),
        (SUMMARY_FILE, "[1, 2]", CorruptFile),
        (REQUESTS_FILE, None, MissingFile),
        (REQUESTS_FILE, "", CorruptFile),
        (REQUESTS_FILE, "series,repeat\nx,y\n", CorruptFile),
    ],
)
def test_a_broken_folder_is_refused_by_name(
    folder: Path, name: str, content: str | None, error: type[Exception]
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(error, match=name.replace(".", r"\.")):
        read_results(folder)


@pytest.mark.parametrize(("column", "cell"), [("latency_s", "soon"), ("arm", "sideways"), ("way_down", "[[1,2]]")])
def test_a_broken_cell_is_refused_with_its_line(folder: Path, column: str, cell: str) -> None:
    path = folder / REQUESTS_FILE
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[4][column] = cell
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(CorruptFile, match=r"line 6 of .*requests\.csv"):
        read_results(folder)


def test_a_table_that_lost_a_row_is_refused(folder: Path) -> None:
    path = folder / REQUESTS_FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(CorruptFile, match="counts"):
        read_results(folder)


def test_where_nothing_can_be_written_it_is_said(run: LatencyRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="name another folder"):
        write_results(tmp_path / "file" / "run", run)
    assert not list(tmp_path.rglob("*.part"))


def test_the_environment_is_taken_down_without_names() -> None:
    settings = {"OMP_NUM_THREADS": "1", "MALLOC_TOP_PAD_": "64", "HOME": "/home/somebody", "USER": "somebody"}
    here = environment_here(settings, threads={"intra_op": "1"}, allocator={"MALLOC_TRIM_THRESHOLD_": "1"})
    assert here.cores == len(os.sched_getaffinity(0)) > 0
    assert here.processor and here.memory_bytes > 0 and here.versions["onnxruntime"]
    assert here.threads["OMP_NUM_THREADS"] == here.threads["intra_op"] == "1"
    assert here.allocator == {"MALLOC_TOP_PAD_": "64", "MALLOC_TRIM_THRESHOLD_": "1"}
    assert "somebody" not in msgspec.json.encode(here).decode()
    assert msgspec.json.decode(msgspec.json.encode(here), type=Environment) == here


def test_differences_of_environments_are_named() -> None:
    other = msgspec.structs.replace(
        ENVIRONMENT, cores=4, load=(9.0, 9.0, 9.0), versions={"onnxruntime": "1.33.0"}, allocator={}
    )
    said = ENVIRONMENT.differences(other)
    assert said == (
        "cores: 2 and 4",
        "onnxruntime: 1.32.0 and 1.33.0",
        "perigrid: 0.1.0 and not set",
        "MALLOC_TOP_PAD_: 67108864 and not set",
    )
    assert ENVIRONMENT.differences(ENVIRONMENT) == ()
    assert replace(WISH, seed=1) != WISH
