"""How does a job's result become files?

    outcome.json   what became of the job        tiles.csv, tiles.parquet   a row a tile
    mask.npz       the mask merged by votes      outputs.npz                the tiles' outputs, [N, ...], and `failed`
    reduced.npz    arrays of the user's          reduced.json               whatever else it returned
                   function

A folder is a result's own: where it holds anything else, nothing is written, so that no file of the user's is lost to
a wrong word on the command line. What an earlier result left in it goes.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from perigrid.app.reducers import NONE, VOTES
from perigrid.app.results import COLUMNS, TileResult, row_of
from perigrid.errors import EnvironmentProblem, UsageError
from perigrid.report.outcome import Outcome
from perigrid.report.tables import pyarrow

if TYPE_CHECKING:
    from perigrid.app.results import JobResult

OUTCOME_FILE, CSV_FILE, PARQUET_FILE = "outcome.json", "tiles.csv", "tiles.parquet"
MASK_FILE, OUTPUTS_FILE, REDUCED_FILE, TEXT_FILE = "mask.npz", "outputs.npz", "reduced.npz", "reduced.json"
FILES = (OUTCOME_FILE, CSV_FILE, PARQUET_FILE, MASK_FILE, OUTPUTS_FILE, REDUCED_FILE, TEXT_FILE)
"""All that a result may be made of."""

INSTEAD = f"or leave --parquet out and take {CSV_FILE}"
"""What whoever has no pyarrow can do."""

MAX_NAMED = 3
"""How many foreign files a message names."""

EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
"""The date of every member, so that equal arrays make equal files."""


def check_folder(folder: Path, parquet: bool) -> None:
    """Can a result be written there, and as Parquet where asked for? Nothing is written yet.

    UsageError for a folder with files that are no result's, MissingFile where pyarrow is not installed.
    """
    if parquet:
        pyarrow("pyarrow", INSTEAD)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the result.")
    found = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in found if name not in FILES]
    if foreign:
        more = " and more" if len(foreign) > MAX_NAMED else ""
        raise UsageError(
            f"{folder} holds {', '.join(foreign[:MAX_NAMED])}{more}, which no job's result has; name a folder that is "
            "new, empty, or an earlier result's."
        )
    if found and not _is_result(folder):
        raise UsageError(
            f"{folder} holds {', '.join(found[:MAX_NAMED])} and no {OUTCOME_FILE} of a job beside it; name a folder "
            "that is new, empty, or an earlier result's."
        )


def save(folder: Path, result: JobResult, parquet: bool) -> None:
    """Write a result into a folder; EnvironmentProblem where that is not possible."""
    made = result.reduced
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        text = msgspec.json.format(msgspec.json.encode(result.outcome), indent=1)
        # First, since it marks the folder as a result's whatever happens to the rest.
        (folder / OUTCOME_FILE).write_bytes(text + b"\n")
        write_csv(folder / CSV_FILE, result.tiles)
        if parquet:
            write_parquet(folder / PARQUET_FILE, result.tiles)
        if made.arrays is not None:
            write_arrays(folder / {VOTES: MASK_FILE, NONE: OUTPUTS_FILE}.get(made.name, REDUCED_FILE), made.arrays)
        elif made.text is not None:
            (folder / TEXT_FILE).write_bytes(made.text)
    except OSError as error:
        raise EnvironmentProblem(
            f"the result could not be written to {folder} ({error.strerror}); name another folder with "
            f"--out, and run the job again as --job {result.job}."
        ) from error


def write_csv(path: Path, tiles: Sequence[TileResult]) -> None:
    """A header and a row a tile; what is not known is an empty field."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row_of(tile) for tile in tiles)


def write_parquet(path: Path, tiles: Sequence[TileResult]) -> None:
    """The same table with typed columns; what is not known is null. MissingFile where pyarrow is not installed."""
    arrow, parquet = pyarrow("pyarrow", INSTEAD), pyarrow("pyarrow.parquet", INSTEAD)
    kinds = {"tile": arrow.int64(), "shard": arrow.int64(), "attempt": arrow.int32(), "hops": arrow.int32()}
    kinds |= {name: arrow.float64() for name in COLUMNS if name.endswith("_s")}
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in COLUMNS])
    parquet.write_table(arrow.Table.from_pylist([row_of(tile) for tile in tiles], schema=schema), path)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Arrays as a compressed .npz file.

    Not by numpy.savez_compressed, which takes the arrays' names for names of its own arguments and so fails on some.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", EPOCH_OF_ZIP)
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _is_result(folder: Path) -> bool:
    try:
        msgspec.json.decode((folder / OUTCOME_FILE).read_bytes(), type=Outcome)
    except (OSError, msgspec.MsgspecError):
        return False
    return True
