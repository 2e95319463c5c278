"""Where is land?

Outlines for maps come from the package `global-land-mask` (MIT; NOAA's GLOBE elevations at 30 arc seconds), which is
part of the extra `plot`: nothing is fetched, and no data of others is in perigrid. Importing that package would unpack
933 MB; here its file is read as a stream, and one cell in so many is kept.
"""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perigrid.errors import CorruptFile, MissingFile

PACKAGE = "global_land_mask"
FILE = "globe_combined_mask_compressed.npz"
MEMBER = "mask.npy"
SHAPE = (21_600, 43_200)
"""Rows from 90 degrees north, columns from 180 degrees west, each 1/120 degree; true is sea."""

THIN = 30
"""One cell in so many is kept: a quarter of a degree, about a pixel of a map."""

REMEDY = "pip install 'perigrid[plot]'"


@dataclass(frozen=True, slots=True, eq=False)
class Land:
    """The `share` [R, C] of land around rows `latitude_deg` [R] and columns `longitude_deg` [C], both ascending."""

    latitude_deg: npt.NDArray[np.float64]
    longitude_deg: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]


def read_land() -> Land:
    """The land of the whole Earth; MissingFile where the package is not there, CorruptFile where it is another."""
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(places[0]) / FILE if places else None
    if path is None or not path.is_file():
        raise MissingFile(f"land outlines come with the package global-land-mask, which is not installed: {REMEDY}.")
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CorruptFile(
            f"{path} is not the land mask of global-land-mask 1.0 ({error}): reinstall it, {REMEDY}."
        ) from error


def _read(path: Path) -> Land:
    rows, columns = SHAPE[0] // THIN, SHAPE[1] // THIN
    share = np.empty((rows, columns))
    with zipfile.ZipFile(path) as archive, archive.open(MEMBER) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"its array has format {version}")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if shape != SHAPE or by_columns or dtype != np.bool_:
            raise ValueError(f"its array is {shape} of {dtype}")
        for row in range(rows):
            block = file.read(SHAPE[1] * THIN)
            if len(block) != SHAPE[1] * THIN:
                raise ValueError("it is cut short")
            # Rows and columns at the middle of each cell; more of them would not show at this size.
            lines = np.frombuffer(block, np.uint8).reshape(THIN, columns, THIN)[THIN // 4 :: THIN // 2]
            share[row] = 1.0 - lines[:, :, THIN // 4 :: THIN // 2].mean(axis=(0, 2))
    cell_deg = 180.0 / rows
    latitude = -90.0 + cell_deg * np.arange(0.5, rows, dtype=np.float64)
    longitude = -180.0 + cell_deg * np.arange(0.5, columns, dtype=np.float64)
    return Land(latitude, longitude, share[::-1].copy())
