"""What is a cloud mask, and how does it travel?

A mask holds one class a pixel: clear, cloud or shadow. It crosses lasers packed, four pixels a byte (pixel 0
in the two lowest bits), row-major: a 256-pixel tile is 16 KiB, which a ground link can carry and a byte a
pixel could not. A capture is cut into windows named by their top left corners; overlapping windows of one
capture are crops of one scene.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perigrid.errors import DataError, ProtocolError

CLEAR, CLOUD, SHADOW = 0, 1, 2
CLASSES = 3
"""Number of classes a pixel can have; the fourth value of two bits is not in the protocol."""

PIXELS_PER_BYTE = 4
NO_VOTE = 255
"""Value of a mask's pixel that no tile has covered."""

SCENE_PX_MAX = 32_768
"""Longest side of a capture, pixels: its windows fit in int32 and its votes in memory."""

_UNPACKED = ((np.arange(256)[:, None] >> np.array([0, 2, 4, 6])) & 3).astype(np.uint8)


def pack(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack a mask uint8 [H,W] of classes below 3 into uint8 [H*W/4]; DataError when it does not fit."""
    if classes.dtype != np.uint8 or classes.ndim != 2 or classes.size == 0 or classes.size % PIXELS_PER_BYTE:
        raise DataError(
            f"a mask of dtype {classes.dtype} and shape {classes.shape} cannot be packed: give uint8 [H,W] "
            f"with a number of pixels that divides by {PIXELS_PER_BYTE}"
        )
    if int(classes.max()) >= CLASSES:
        raise DataError(f"a mask holds class {int(classes.max())}: only classes 0 to {CLASSES - 1} can be packed")
    pixels = classes.reshape(-1, PIXELS_PER_BYTE)
    packed = pixels[:, 3] << np.uint8(2)
    for column in (2, 1):
        packed |= pixels[:, column]
        packed <<= np.uint8(2)
    packed |= pixels[:, 0]
    return packed


def unpack(packed: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Unpack uint8 [height*width/4] into a mask uint8 [height,width].

    ProtocolError when the length is not that of the shape, or a pixel holds the value 3, which is no class.
    """
    if packed.dtype != np.uint8 or packed.ndim != 1 or packed.size * PIXELS_PER_BYTE != height * width:
        raise ProtocolError(
            f"a packed mask of dtype {packed.dtype} and shape {packed.shape} does not hold {height} x "
            f"{width} pixels: expected uint8 [{height * width // PIXELS_PER_BYTE}]"
        )
    # Both bits of a pixel are set only for the value 3.
    if (packed & (packed >> np.uint8(1)) & np.uint8(0x55)).any():
        raise ProtocolError("a packed mask holds the value 3, which is no class: it was damaged or is not a mask")
    mask: NDArray[np.uint8] = _UNPACKED[packed].reshape(height, width)
    return mask


def classify(scores: NDArray[Any]) -> NDArray[np.uint8]:
    """Class with the highest score per pixel: [3,H,W] of any real dtype -> uint8 [H,W]; ties go to the lower
    class.

    The same as `scores.argmax(0)` for finite scores, by two comparisons: argmax over so short an axis costs
    thirty times as much. Scores that are NaN give a meaningless class, so keep them out before.
    """
    if scores.ndim != 3 or scores.shape[0] != CLASSES:
        raise DataError(f"scores of shape {scores.shape} cannot be classified: expected [{CLASSES},H,W]")
    clear, cloud, shadow = scores
    classes: NDArray[np.uint8] = (cloud > clear).view(np.uint8)
    shadows: NDArray[np.uint8] = (shadow > np.maximum(clear, cloud)).view(np.uint8)
    shadows <<= np.uint8(1)
    np.maximum(classes, shadows, out=classes)
    return classes


def windows(height: int, width: int, tile_px: int, stride_px: int) -> NDArray[np.int32]:
    """Top left corners int32 [N,2] (row, column) of the tiles that cover a capture, row-major.

    Corners are `stride_px` apart; where that leaves a margin, a last row or column of tiles lies flush with
    the edge, so that each pixel is covered. DataError for a tile larger than the capture, or a stride that
    would leave gaps.
    """
    for name, size in (("height", height), ("width", width)):
        if size > SCENE_PX_MAX:
            raise DataError(f"a capture has a {name} of {size} pixels, more than {SCENE_PX_MAX}: cut it first")
    if tile_px < 1 or min(height, width) < tile_px:
        raise DataError(
            f"a tile of {tile_px} pixels does not fit in a capture of {height} x {width}: use a smaller tile"
        )
    if not 1 <= stride_px <= tile_px:
        raise DataError(f"a stride of {stride_px} pixels cannot cover a capture: use 1 to the tile's {tile_px}")
    rows, columns = _starts(height, tile_px, stride_px), _starts(width, tile_px, stride_px)
    corners = np.meshgrid(rows, columns, indexing="ij")
    return np.stack(corners, axis=-1).reshape(-1, 2).astype(np.int32)


def _starts(size_px: int, tile_px: int, stride_px: int) -> list[int]:
    last = size_px - tile_px
    starts = list(range(0, last + 1, stride_px))
    return starts if starts[-1] == last else [*starts, last]


def relabel(labels: NDArray[np.uint8], class_of_label: Mapping[int, int]) -> NDArray[np.uint8]:
    """Translate a scene's own labels uint8 [H,W] into classes; DataError for a label without a class."""
    table = np.full(256, NO_VOTE, np.uint8)
    for label, value in class_of_label.items():
        if not (0 <= label < 256 and 0 <= value < CLASSES):
            raise DataError(f"label {label} -> class {value} is no translation: labels are 0 to 255, classes 0 to 2")
        table[label] = value
    classes = table[labels]
    if (classes == NO_VOTE).any():
        unknown = sorted({int(label) for label in np.unique(labels)} - set(class_of_label))
        raise DataError(f"the labels {unknown} have no class: name them in the scene's label map")
    return classes
