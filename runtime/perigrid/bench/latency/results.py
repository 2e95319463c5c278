"""What is kept of a latency run, in one folder?

- `summary.json`: everything that is stated, in the form of `summary.Summary`, with its version.
- `requests.csv`: a row a request, in the columns of `COLUMNS`; `requests.parquet` too where asked for. Numbers are
  written in full, so that the run can be read back and summed up again.
- `report.html`: the same for a reader, one page that needs nothing else.

Files are written beside their place and moved there, so that a folder has whole files or none.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from perigrid.bench.latency.rows import Hop, Row, Series
from perigrid.bench.latency.summary import SCHEMA, LatencyRun, Summary, summarise
from perigrid.errors import CorruptFile, EnvironmentProblem, MissingFile
from perigrid.node.stages import STAGES
from perigrid.report.latency.page import page
from perigrid.report.tables import write_parquet

SUMMARY_FILE = "summary.json"
REQUESTS_FILE = "requests.csv"
PARQUET_FILE = "requests.parquet"
REPORT_FILE = "report.html"

TEXTS = ("series", "repeat", "world", "arm", "origin", "mode", "outcome", "cause", "satellite", "trace")
INTEGERS = ("number", "stratum", "attempt", "items", "bytes_up", "bytes_down")
SECONDS = ("intended_s", "sent_s", "ended_s", "latency_s", "desk_wait_s", "cpu_s")
STAGE_COLUMNS = tuple(f"stage_{name}_s" for name in STAGES)
WAYS = ("way_up", "way_down")
HOP_FIELDS = Hop.__struct_fields__

COLUMNS = (
    *TEXTS[:6],
    "number",
    "stratum",
    "warm_up",
    *TEXTS[6:],
    *INTEGERS[2:],
    *SECONDS,
    "rate",
    *STAGE_COLUMNS,
    "light_up_s",
    "light_down_s",
    "lasers_up",
    "lasers_down",
    *WAYS,
)
"""The columns of `requests.csv`, in order; further ones may come behind them. An empty stage is one that a request did
not have; `way_up` and `way_down` are JSON, a list a link in the order of `HOP_FIELDS`. `light_*_s` is the sum of the
links' propagation, `lasers_*` how many of them were lasers.
"""

LASER = "laser"


def write_results(folder: Path, run: LatencyRun, parquet: bool = False) -> Summary:
    """Write a run's folder; what it states. MissingFile without pyarrow, EnvironmentProblem without room."""
    summary = summarise(run)
    table = requests_table(run.series)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if parquet:
            notes = {"perigrid": "latency requests", "schema": str(SCHEMA), "digest": run.facts.digest}
            _placed(folder / PARQUET_FILE, lambda path: write_parquet(path, table, notes))
        _placed(folder / REQUESTS_FILE, lambda path: _write_csv(path, table))
        _placed(folder / SUMMARY_FILE, lambda path: path.write_bytes(_formatted(summary)))
        _placed(folder / REPORT_FILE, lambda path: path.write_text(page(summary), encoding="utf-8"))
    except OSError as error:
        raise EnvironmentProblem(
            f"the results cannot be written to {folder} ({error.strerror}): name another folder, or make room."
        ) from error
    return summary


def read_summary(folder: Path) -> Summary:
    """What a run's folder states. MissingFile where there is none, CorruptFile for one that is not as documented."""
    path = folder / SUMMARY_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingFile(
            f"{folder} has no {SUMMARY_FILE} ({error.strerror}); name a folder that `perigrid bench latency` wrote."
        ) from error
    try:
        schema = msgspec.json.decode(content, type=_Versioned).schema
        if schema != SCHEMA:
            raise CorruptFile(
                f"{path} has schema {schema} and this perigrid reads {SCHEMA}; use the perigrid that wrote it."
            )
        return msgspec.json.decode(content, type=Summary)
    except msgspec.MsgspecError as error:
        raise CorruptFile(
            f"{path} is not as documented ({error}); take the folder as it was written, or measure again."
        ) from error


def read_results(folder: Path) -> LatencyRun:
    """The run that `write_results` wrote, rows and all. Errors as of `read_summary`."""
    summary = read_summary(folder)
    rows = _read_rows(folder / REQUESTS_FILE)
    series = tuple(
        Series(
            name=one.name,
            world=one.world,
            arm=one.arm,
            origin=one.origin,
            mode=one.mode,
            repeat=one.repeat,
            rows=tuple(rows.get((one.name, one.repeat), ())),
            strata=one.strata,
            valid=one.valid,
            share_late=one.share_late,
            slo_s=None if one.goodput is None else one.goodput.slo_s,
            offered_per_s=one.offered_per_s,
        )
        for one in summary.series
    )
    _check_counts(folder, summary, series)
    return LatencyRun(
        facts=summary.facts,
        environment=summary.environment,
        series=series,
        spans=summary.spans,
        rate_history=summary.rate_history,
        searches=summary.searches,
    )


def requests_table(series: Sequence[Series]) -> dict[str, Any]:
    """All rows as columns of one length, lists of text or arrays, in the order of COLUMNS."""
    rows = [(one, row) for one in series for row in one.rows]
    plain = [row for _, row in rows]
    table: dict[str, Any] = {
        "series": [one.name for one, _ in rows],
        "repeat": [one.repeat for one, _ in rows],
        **{name: [str(getattr(row, name)) for row in plain] for name in TEXTS[2:]},
        **{name: np.array([getattr(row, name) for row in plain], np.int64) for name in INTEGERS},
        "warm_up": np.array([row.warm_up for row in plain], np.bool_),
        **{name: np.array([getattr(row, name) for row in plain], np.float64) for name in (*SECONDS, "rate")},
    }
    for stage, column in zip(STAGES, STAGE_COLUMNS, strict=True):
        table[column] = np.array([row.stages.get(stage, np.nan) for row in plain], np.float64)
    for way, hops in (("up", [row.up for row in plain]), ("down", [row.down for row in plain])):
        table[f"light_{way}_s"] = np.array([sum(hop.propagation_s for hop in one) for one in hops], np.float64)
        table[f"lasers_{way}"] = np.array([sum(hop.kind == LASER for hop in one) for one in hops], np.int64)
        table[f"way_{way}"] = [_hops_text(one) for one in hops]
    return {name: table[name] for name in COLUMNS}


class _Versioned(msgspec.Struct):
    schema: int


def _formatted(summary: Summary) -> bytes:
    return msgspec.json.format(msgspec.json.encode(summary, enc_hook=_plain), indent=1) + b"\n"


def _plain(value: object) -> object:
    """Numbers that came out of an array, as Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value)} has no place in a summary")


def _placed(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write_csv(path: Path, table: Mapping[str, Any]) -> None:
    columns = [_cells(column) for column in table.values()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*columns, strict=True))


def _cells(column: Any) -> Iterable[Any]:
    """Cells as they are written: repr of numbers, nothing for what is not there, 0 and 1 for no and yes."""
    if isinstance(column, list):
        return column
    if column.dtype.kind == "f":
        return ["" if value != value else repr(value) for value in column.tolist()]
    return (column.astype(np.int64) if column.dtype.kind == "b" else column).tolist()  # type: ignore[no-any-return]


def _hops_text(hops: Sequence[Hop]) -> str:
    if not hops:
        return ""
    return json.dumps([[getattr(hop, name) for name in HOP_FIELDS] for hop in hops], separators=(",", ":"))


def _read_rows(path: Path) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    number = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for cells in csv.DictReader(file):
                number += 1
                found.setdefault((cells["series"], cells["repeat"]), []).append(_row(cells))
    except OSError as error:
        raise MissingFile(
            f"{path} cannot be read ({error.strerror}); take the folder as `perigrid bench latency` wrote it."
        ) from error
    except (KeyError, ValueError, TypeError, csv.Error, msgspec.MsgspecError) as error:
        raise CorruptFile(
            f"line {number} of {path} is not as documented ({error}); take the file as it was written."
        ) from error
    return found


def _row(cells: Mapping[str, str]) -> Row:
    table: dict[str, Any] = {name: cells[name] for name in TEXTS[2:]}
    table |= {name: int(cells[name]) for name in INTEGERS}
    table |= {name: float(cells[name]) for name in (*SECONDS, "rate")}
    table["warm_up"] = cells["warm_up"] == "1"
    table["stages"] = {
        stage: float(cells[column]) for stage, column in zip(STAGES, STAGE_COLUMNS, strict=True) if cells[column]
    }
    table["up"], table["down"] = (_hops(cells[way]) for way in WAYS)
    return msgspec.convert(table, Row)


def _hops(text: str) -> tuple[Hop, ...]:
    if not text:
        return ()
    return tuple(msgspec.convert(dict(zip(HOP_FIELDS, one, strict=True)), Hop) for one in json.loads(text))


def _check_counts(folder: Path, summary: Summary, series: Sequence[Series]) -> None:
    for stated, one in zip(summary.series, series, strict=True):
        wanted = stated.requests + stated.warm_up
        if len(one.rows) != wanted:
            raise CorruptFile(
                f"{folder / REQUESTS_FILE} has {len(one.rows):,} requests of {stated.key} where {SUMMARY_FILE} counts "
                f"{wanted:,}; take the folder as it was written."
            )
