"""What came out of a job that merges no mask?

A small table of the arrays in its outputs: name, type, shape, and the range of the values where that is cheap to know.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perigrid.report.markup import Html, join, tag
from perigrid.report.picture import UNREADABLE

OUTPUT_FILES = ("outputs.npz", "reduced.npz")
MAX_ARRAYS = 20
MAX_VALUES = 64_000_000
"""Arrays of more values are listed without their range."""


@dataclass(frozen=True, slots=True)
class Output:
    """One array of a file; `low`, `mean` and `high` are None where they are not known."""

    file: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float | None = None
    mean: float | None = None
    high: float | None = None


def outputs_of(folder: Path) -> list[Output]:
    """The arrays in a job's folder; none where it has no such file, and none of a file that is broken."""
    found = []
    for name in OUTPUT_FILES:
        if (folder / name).is_file():
            try:
                found += _arrays(folder / name)
            except UNREADABLE:
                continue
    return found


def _arrays(path: Path) -> list[Output]:
    found = []
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            name = entry.removesuffix(".npy")
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                old = version == (1, 0)
                read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            found.append(Output(path.name, name, str(dtype), shape))
    return [_with_range(path, output) for output in found[:MAX_ARRAYS]] + found[MAX_ARRAYS:]


def _with_range(path: Path, output: Output) -> Output:
    dtype = np.dtype(output.dtype)
    size = int(np.prod(output.shape, dtype=object)) if output.shape else 1
    if dtype.kind not in "biuf" or not 0 < size <= MAX_VALUES:
        return output
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        values = arrays[output.name].astype(np.float64, copy=False)
    known = values[np.isfinite(values)]
    if known.size == 0:
        return output
    low, mean, high = float(known.min()), float(known.mean()), float(known.max())
    return Output(output.file, output.name, output.dtype, output.shape, low, mean, high)


def outputs_table(outputs: list[Output], folder: Path) -> Html:
    """The arrays as a table, or a sentence where there are none."""
    if not outputs:
        return tag(
            "p", f"There are no outputs in {folder}; they may have been written elsewhere, with --out.", class_="note"
        )
    heads = ("array", "type", "shape", "least", "mean", "greatest")
    head = tag("tr", *(tag("th", name, scope="col") for name in heads))
    rows = [_row(output) for output in outputs[:MAX_ARRAYS]]
    caption = tag("caption", f"Arrays in {folder}")
    table = tag("table", caption, tag("thead", head), tag("tbody", *rows))
    parts = [tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Outputs of the job")]
    if len(outputs) > MAX_ARRAYS:
        parts.append(tag("p", f"Showing {MAX_ARRAYS} of {len(outputs):,} arrays.", class_="note"))
    return join(parts)


def _row(output: Output) -> Html:
    shape = " × ".join(f"{side:,}" for side in output.shape) or "one value"
    numbers = ("–" if value is None else f"{value:.6g}" for value in (output.low, output.mean, output.high))
    return tag(
        "tr",
        tag("th", f"{output.name} ", tag("small", output.file), scope="row"),
        tag("td", output.dtype),
        tag("td", shape),
        *(tag("td", text, class_="number") for text in numbers),
    )
