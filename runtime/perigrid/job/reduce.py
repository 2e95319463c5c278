"""How do tiles become one mask, and how is it known that none was lost or doubled?

Each tile votes for one class a pixel; votes are integers, so their sum does not depend on the order in which
tiles arrive nor on who computed them. Two checks stand on it: the mask's sha256 equals that of a single
process that did the same tiles, and the votes of each pixel equal the number of windows that cover it. Tile
ids are kept beside the sums, because a lost tile and a doubled one of the same window would cancel in them.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from perigrid.errors import Bug, DataError, ProtocolError
from perigrid.job.masks import CLASSES, NO_VOTE, classify, unpack

TILES_MAX = 2**31 - 1
"""Most tiles a reducer takes: votes are int32."""

NAMED_TILES_MAX = 5
"""How many missing tiles a message names before it only counts them."""


class VoteReducer:
    """Sums the class votes of a capture's tiles. Not thread-safe; one per job and capture.

    Args:
        height, width: size of the capture, pixels.
        tile_px: side of the square tiles, pixels.
        windows: int32 [N,2], top left corner (row, column) of each tile; the row's number is the tile's id.
    """

    def __init__(self, height: int, width: int, tile_px: int, windows: NDArray[np.int32]) -> None:
        if windows.ndim != 2 or windows.shape[1:] != (2,) or not 1 <= len(windows) <= TILES_MAX:
            raise DataError(f"windows of shape {windows.shape} name no tiles: expected int32 [N,2] with N from 1")
        lowest, highest = windows.min(axis=0), windows.max(axis=0)
        if lowest.min() < 0 or highest[0] + tile_px > height or highest[1] + tile_px > width:
            raise DataError(f"a window of {tile_px} pixels lies outside the capture of {height} x {width} pixels")
        self._tile_px = tile_px
        self._windows = [(int(row), int(column)) for row, column in windows]
        self._seen: set[int] = set()
        self._votes = np.zeros((CLASSES, height, width), np.int32)

    def add(self, tile_id: int, window: tuple[int, int], packed: NDArray[np.uint8]) -> None:
        """Count the votes of one tile: its id, its top left corner, its packed mask uint8
        [tile_px*tile_px/4].

        ProtocolError for an unknown id, a corner that is not that tile's, or a packed mask that is none: a
        peer said it. Bug for a tile that was added before: whoever hands tiles over settles each one once.
        The sums stay as they were.
        """
        if not 0 <= tile_id < len(self._windows):
            raise ProtocolError(f"tile {tile_id} is unknown: this capture has tiles 0 to {len(self._windows) - 1}")
        row, column = self._windows[tile_id]
        if (int(window[0]), int(window[1])) != (row, column):
            raise ProtocolError(f"tile {tile_id} came with window {tuple(window)}, but it lies at {(row, column)}")
        if tile_id in self._seen:
            raise Bug(f"tile {tile_id} was added twice: a settled tile must reach the reducer once")
        classes = unpack(packed, self._tile_px, self._tile_px)
        self._seen.add(tile_id)
        place = self._votes[:, row : row + self._tile_px, column : column + self._tile_px]
        for value in range(CLASSES):
            place[value] += classes == value

    @property
    def tiles_added(self) -> int:
        """How many tiles have voted."""
        return len(self._seen)

    def coverage_error(self) -> str | None:
        """None when each tile voted once and each pixel has a vote per window over it; else what is wrong."""
        missing = [tile for tile in range(len(self._windows)) if tile not in self._seen]
        if missing:
            named = ", ".join(str(tile) for tile in missing[:NAMED_TILES_MAX])
            more = " and more" if len(missing) > NAMED_TILES_MAX else ""
            return f"{len(missing)} of {len(self._windows)} tiles are missing: {named}{more}"
        wrong = self._votes.sum(axis=0) != self._expected_coverage()
        if not wrong.any():
            return None
        row, column = np.argwhere(wrong)[0]
        return f"{int(wrong.sum())} pixels have a wrong number of votes, the first at row {row}, column {column}"

    def mask(self) -> NDArray[np.uint8]:
        """Class with the most votes per pixel, uint8 [H,W]; ties go to the lower class, NO_VOTE where no tile
        voted.
        """
        classes = classify(self._votes)
        classes[~self._votes.any(axis=0)] = NO_VOTE
        return classes

    def sha256(self) -> str:
        """Hex digest of the mask: its height and width as little-endian int32, then its pixels, row-major."""
        mask = self.mask()
        return hashlib.sha256(np.array(mask.shape, "<i4").tobytes() + mask.tobytes()).hexdigest()

    def _expected_coverage(self) -> NDArray[np.int64]:
        # Each window adds one at its first corner and takes it away past its edges; two running sums spread
        # that out.
        _, height, width = self._votes.shape
        steps = np.zeros((height + 1, width + 1), np.int64)
        corners = np.array(self._windows)
        for rows, columns, sign in ((0, 0, 1), (0, 1, -1), (1, 0, -1), (1, 1, 1)):
            places = (corners[:, 0] + rows * self._tile_px, corners[:, 1] + columns * self._tile_px)
            np.add.at(steps, places, sign)
        coverage: NDArray[np.int64] = steps.cumsum(axis=0).cumsum(axis=1)[:height, :width]
        return coverage


def cohens_kappa(mask: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Agreement of two masks uint8 [H,W] beyond chance (Cohen, Educ. Psychol. Meas. 20, 1960): 1 is equal, 0
    is chance.

    Both hold classes (use `masks.relabel` on a scene's own labels). Two constant, equal masks give 1.
    DataError for different shapes or for a value that is no class, NO_VOTE included.
    """
    if mask.shape != reference.shape or mask.size == 0:
        raise DataError(f"masks of shapes {mask.shape} and {reference.shape} cannot be compared: give equal shapes")
    if max(int(mask.max()), int(reference.max())) >= CLASSES:
        raise DataError(f"a mask holds a value beyond {CLASSES - 1}: compare whole masks of classes only")
    pairs = reference.astype(np.int64).ravel() * CLASSES + mask.ravel()
    table = np.bincount(pairs, minlength=CLASSES * CLASSES).reshape(CLASSES, CLASSES) / mask.size
    observed = float(np.trace(table))
    chance = float(table.sum(axis=0) @ table.sum(axis=1))
    return 1.0 if chance == 1.0 else (observed - chance) / (1.0 - chance)
