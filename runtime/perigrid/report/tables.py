"""How do columns become a file or lines: CSV, Parquet, JSON, or a table for a reader?

A table is a dict of columns of one length: lists of text, or arrays. Numbers are written as they are, not rounded to
what looks nice; moments are ISO 8601 in CSV and JSON and timestamps in Parquet.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from perigrid.errors import EnvironmentProblem, MissingFile, UsageError

Column = Sequence[str] | npt.NDArray[Any]
Table = Mapping[str, Column]

CHUNK_ROWS = 100_000
"""Rows that become Python values at once."""

TIME_SUFFIX = "_utc"
"""How a column of moments is called; it holds microseconds since 1970, UTC."""


def moments(start: datetime, t_s: npt.NDArray[np.float64]) -> npt.NDArray[np.datetime64]:
    """Moments [K], to the microsecond, of seconds [K] after an aware moment."""
    base = np.datetime64(start.astimezone(UTC).replace(tzinfo=None), "us")
    return np.asarray(base + np.round(np.asarray(t_s) * 1e6).astype("timedelta64[us]"))


def iso(values: npt.NDArray[np.datetime64]) -> list[str]:
    """Moments [K] as text in ISO 8601, to the millisecond."""
    rounded = (values + np.timedelta64(500, "us")).astype("datetime64[ms]")
    return [f"{text}Z" for text in np.datetime_as_string(rounded).tolist()]


def rows_of(table: Table) -> Iterator[tuple[Any, ...]]:
    """The table's rows as plain Python values."""
    count = length(table)
    for first in range(0, count, CHUNK_ROWS):
        part = [_plain(column[first : first + CHUNK_ROWS]) for column in table.values()]
        yield from zip(*part, strict=True)


def length(table: Table) -> int:
    """How many rows there are."""
    return len(next(iter(table.values()), ()))


def write_csv(file: TextIO, table: Table) -> int:
    """A header and a row a line; the number of rows."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(rows_of(table))
    return length(table)


def write_parquet(path: Path, table: Table, notes: Mapping[str, str]) -> int:
    """The table with typed columns, and `notes` in the file's metadata; the number of rows.

    MissingFile where pyarrow is not installed.
    """
    arrow, parquet = pyarrow("pyarrow"), pyarrow("pyarrow.parquet")
    columns = {}
    for name, column in table.items():
        kind = arrow.timestamp("us", tz="UTC") if name.endswith(TIME_SUFFIX) else None
        columns[name] = arrow.array(column, type=kind)
    made = arrow.table(columns).replace_schema_metadata(dict(notes))
    parquet.write_table(made, path)
    return length(table)


def pyarrow(module: str, instead: str = "or ask for csv") -> Any:
    """The module; MissingFile, with what to do instead, where pyarrow is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingFile(
            f"tables as Parquet need pyarrow, which is not installed here ({error}): pip install 'perigrid[parquet]', "
            f"{instead}."
        ) from error


def opened(path: Path, made: str) -> TextIO:
    """A new text file in place of whatever was there; EnvironmentProblem where it cannot be written."""
    try:
        return path.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, made, error) from error


def cannot_write(path: Path, made: str, error: OSError) -> EnvironmentProblem:
    """What to say where a file cannot be written."""
    return EnvironmentProblem(f"{made} cannot be written to {path} ({error.strerror}): name another file.")


def check_suffix(path: Path, suffixes: Sequence[str], made: str) -> None:
    """UsageError where a file is not called what it is, so that no program takes it for something else."""
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"--output {path}: {made} is written to a file that ends in {' or '.join(suffixes)}.")


def text_table(table: Table, most: int) -> list[str]:
    """At most `most` rows for a reader, numbers to the right, and how many more there are."""
    shown = [[_cell(value) for value in row] for row, _ in zip(rows_of(table), range(most), strict=False)]
    names = list(table)
    widths = [max([len(name), *(len(row[place]) for row in shown)]) for place, name in enumerate(names)]
    right = [not (isinstance(column, list) or np.asarray(column).dtype.kind in "UMO") for column in table.values()]
    lines = [_aligned(names, widths, right), *(_aligned(row, widths, right) for row in shown)]
    left_out = length(table) - len(shown)
    return [*lines, f"and {left_out} more: --json, or a file, has them all"] if left_out > 0 else lines


def _aligned(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = [
        cell.rjust(w) if to_right else cell.ljust(w) for cell, w, to_right in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) < 1e6 else f"{value:.3g}"
    return str(value)


def _plain(column: Column) -> list[Any]:
    """Python values; moments as text, and what is not a number as None."""
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "M":
            return iso(column)
        values = column.tolist()
        return [None if value != value else value for value in values] if column.dtype.kind == "f" else values
    return list(column)
