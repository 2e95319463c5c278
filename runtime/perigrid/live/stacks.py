"""What is in a stack of tiles of the user's own?

A stack is one array [N, ...]: N tiles of one shape and type, each the input of one inference. It is a .npy file, or a
folder of .npy files with one tile each, in the order of their names. What cannot be worked on is refused here, before
anything is sent into orbit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perigrid.errors import DataError, MissingFile
from perigrid.job.spec import ITEM_BYTES

MAX_STACK_BYTES = 1024**3
"""Largest stack, bytes."""

MAX_TILES = 1_000_000
MAX_DIMENSIONS = 8
NAMES = {np.dtype(name.lower().replace("fp", "float")): name for name in ITEM_BYTES if name != "BOOL"} | {
    np.dtype(bool): "BOOL"
}
"""numpy's types, and the Open Inference Protocol's names of them."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Tiles [N, ...] and where each came from (empty for one file); `dtype` in the protocol's words."""

    name: str
    tiles: NDArray[Any]
    dtype: str
    sources: tuple[str, ...]

    def sha256(self) -> str:
        """Hex digest of the tiles' bytes, with their type and shape before them."""
        digest = hashlib.sha256(f"{self.dtype} {self.tiles.shape} ".encode())
        for tile in self.tiles:
            digest.update(np.ascontiguousarray(tile).data)
        return digest.hexdigest()


def is_stack(path: str) -> bool:
    """Whether a user's path for data means a stack of tiles, not a scene: a .npy file or a folder."""
    return path.endswith(".npy") or Path(path).is_dir()


def load_stack(path: Path) -> Stack:
    """A stack from a .npy file [N, ...] or from a folder of .npy files.

    MissingFile where there is none, DataError naming file and remedy for what is no stack.
    """
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise MissingFile(f"the folder {path} holds no .npy file; save each tile there with numpy.save.")
        return _checked(path, _read_folder(path, files), tuple(file.name for file in files))
    if not path.is_file():
        raise MissingFile(f"there are no tiles at {path}; check the path, which is relative to the current folder.")
    return _checked(path, _read(path, mapped=True), ())


def _read_folder(path: Path, files: list[Path]) -> NDArray[Any]:
    """One file after the other: mapped, each would keep a descriptor, of which a process has about a thousand."""
    _check_count(path, len(files))
    _check_size(path, len(files) * files[0].stat().st_size)
    first = _read(files[0], mapped=False)
    tiles = np.empty((len(files), *first.shape), first.dtype)
    for number, file in enumerate(files):
        tile = _read(file, mapped=False)
        if tile.shape != first.shape or tile.dtype != first.dtype:
            raise DataError(
                f"{file} holds {tile.dtype} {list(tile.shape)}, but {files[0].name} holds {first.dtype} "
                f"{list(first.shape)}; all tiles of a folder have one type and shape."
            )
        tiles[number] = tile
    return tiles


def _read(path: Path, mapped: bool) -> NDArray[Any]:
    # Not numpy.load: that takes archives and pickled objects as well, and leaves the files of bad ones open.
    try:
        if mapped:
            return np.lib.format.open_memmap(path, mode="r")
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is not a .npy file of numbers ({error}); save it with numpy.save.") from error
    return array


def _checked(path: Path, tiles: NDArray[Any], sources: tuple[str, ...]) -> Stack:
    if tiles.ndim < 1 or tiles.ndim > MAX_DIMENSIONS or tiles.size == 0:
        raise DataError(
            f"{path} holds an array of shape {list(tiles.shape)}; give [N, ...] with N tiles, none of them empty, and "
            f"at most {MAX_DIMENSIONS} dimensions."
        )
    dtype = NAMES.get(tiles.dtype.newbyteorder("="))
    if dtype is None:
        raise DataError(f"{path} holds {tiles.dtype}, which no model takes; save numbers, for instance as float32.")
    _check_count(path, len(tiles))
    _check_size(path, tiles.nbytes)
    little = tiles.astype(tiles.dtype.newbyteorder("<"), copy=False)
    return Stack(path.stem, little, dtype, sources)


def _check_count(path: Path, tiles: int) -> None:
    if tiles > MAX_TILES:
        raise DataError(f"{path} holds {tiles} tiles, the limit is {MAX_TILES}; split it into several.")


def _check_size(path: Path, size_bytes: int) -> None:
    if size_bytes > MAX_STACK_BYTES:
        raise DataError(f"{path} holds {size_bytes} bytes, the limit is {MAX_STACK_BYTES}; split it into several.")
