"""What did the satellites see, and what did the job make of it?

The scene is put together from the captures in the satellites' flash, with the bands that people see; the mask is the
merged one. Both are drawn with the same pixels: a scene with a side of more than MAX_SIDE_PX is thinned out evenly.
PNG is written here, since one filter and zlib are all of it that is wanted.
"""

from __future__ import annotations

import base64
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perigrid.job.masks import CLEAR, CLOUD, NO_VOTE, SHADOW
from perigrid.job.spec import Capture
from perigrid.live.flash import CAPTURE_SUFFIX
from perigrid.report.markup import Html, join, tag
from perigrid.report.words import named

MAX_SIDE_PX = 768
"""Longest side of a picture in the page: three bytes a pixel stay below 2.4 MB as base64, however noisy."""

LOW_PERCENT, HIGH_PERCENT = 1.0, 98.0
"""What is drawn black and white: the percentiles of all three bands together, so that clouds stay white."""

BRIGHTENING = 0.6
"""Exponent of what lies between: land is much darker than clouds, and is to be seen too."""

CLASSES: Mapping[int, tuple[str, tuple[int, int, int]]] = {
    CLEAR: ("clear", (94, 138, 92)),
    CLOUD: ("cloud", (244, 246, 248)),
    SHADOW: ("shadow", (45, 55, 110)),
    NO_VOTE: ("no result", (196, 30, 58)),
}
"""Names and colours of a mask's values."""

NAMES_SHOWN = 6
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE = 0, 2, 3
"""PNG's colour types (ISO/IEC 15948)."""

FILTER_NONE, FILTER_UP = 0, 2

UNREADABLE = (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What numpy and zip raise for a file that is damaged, or is none of theirs."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene as drawn: uint8 [h,w,3], the step between the pixels drawn, and captures that were not there."""

    pixels: NDArray[np.uint8]
    step_px: int
    missing: tuple[str, ...]


def step_of(height_px: int, width_px: int) -> int:
    """Every how many pixels one is drawn."""
    return max(1, -(-max(height_px, width_px) // MAX_SIDE_PX))


def scene_of(folder: Path, captures: Sequence[Capture], names: Sequence[str]) -> Scene:
    """The scene of a dataset's captures, from the flash in a run's directory; `names` are the nodes' by id.

    What is nowhere in flash stays black and is named.
    """
    height = max(capture.first_row + capture.height_px for capture in captures)
    width = captures[0].width_px
    step = step_of(height, width)
    bands = min(3, captures[0].bands)
    values = np.full((bands, -(-height // step), -(-width // step)), np.nan, np.float32)
    missing = []
    for capture in captures:
        path = _held(folder, capture, names)
        if path is None:
            missing.append(capture.name)
            continue
        array = np.memmap(path, np.float32, "r", shape=(capture.bands, capture.height_px, capture.width_px))
        skip = -capture.first_row % step
        part = array[:bands, skip::step, ::step]
        row = (capture.first_row + skip) // step
        values[:, row : row + part.shape[1]] = part
    # A scene of one or two bands has no colour: its first band stands for all three. Bands come as blue, green, red.
    shown = values[::-1] if bands == 3 else np.repeat(values[:1], 3, axis=0)
    return Scene(stretched(shown).transpose(1, 2, 0), step, tuple(missing))


def stretched(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Reflectance of any shape as 0 to 255 between its percentiles, brightened; what is no number becomes 0."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(known, (LOW_PERCENT, HIGH_PERCENT))
    span = max(float(high - low), 1e-9)
    scaled = np.clip((values - low) / span, 0.0, 1.0)
    return np.asarray(np.nan_to_num(scaled**BRIGHTENING * 255.0 + 0.5), np.uint8)


def _held(folder: Path, capture: Capture, names: Sequence[str]) -> Path | None:
    """Where a whole copy of the capture lies."""
    for node in (capture.owner, *capture.replicas):
        path = folder / "flash" / names[node] / "captures" / f"{capture.name}{CAPTURE_SUFFIX}"
        if path.is_file() and path.stat().st_size == capture.size_bytes:
            return path
    return None


def png(pixels: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]] | None = None) -> bytes:
    """A PNG of uint8 [h,w,3] (red, green, blue), or of indices uint8 [h,w] into a palette."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    chunks = []
    if palette is None:
        # The difference to the row above packs much better than what a camera sees.
        lines = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
        colour, filtered = RGB, FILTER_UP
    else:
        lines = rows
        colour, filtered = PALETTE, FILTER_NONE
        chunks.append(_chunk(b"PLTE", bytes(channel for entry in palette for channel in entry)))
    data = np.concatenate([np.full((height, 1), filtered, np.uint8), lines], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = (_chunk(b"IHDR", header), *chunks, _chunk(b"IDAT", zlib.compress(data, 9)), _chunk(b"IEND", b""))
    return PNG_SIGNATURE + b"".join(body)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pictures(scene: Scene | None, mask: NDArray[np.uint8] | None, said: Sequence[str]) -> Html:
    """Scene and mask beside each other, with the legend; `said` is what there is to say of what is missing."""
    figures = []
    notes = list(said)
    step = 1 if mask is None else step_of(*mask.shape)
    if scene is not None:
        text = "The scene in red, green and blue"
        figures.append(
            _figure(png(scene.pixels), scene.pixels.shape, text, "The scene, in the colours that people see")
        )
        if scene.missing:
            lost = named(scene.missing, NAMES_SHOWN)
            notes.append(f"Black stands where a capture is in no satellite's flash any more: {lost}.")
        step = max(step, scene.step_px)
    if mask is not None:
        shares = shares_of(mask)
        told = ", ".join(f"{name} {share:.1%}" for name, _, share in shares)
        drawn = np.searchsorted(np.array(sorted(CLASSES)), mask[::step, ::step]).astype(np.uint8)
        data = png(drawn, [CLASSES[value][1] for value in sorted(CLASSES)])
        figures.append(
            _figure(data, drawn.shape, f"The merged mask: {told}", "The mask that the job merged", _legend(shares))
        )
    if step > 1:
        notes.append(f"Every {step}th pixel of a row and a column is drawn.")
    return join([tag("div", *figures, class_="pair"), *(tag("p", note, class_="note") for note in notes)])


def shares_of(mask: NDArray[np.uint8]) -> list[tuple[str, tuple[int, int, int], float]]:
    """Name, colour and share of each value that a mask may hold; `no result` only where there is some."""
    counts = np.bincount(mask.ravel(), minlength=NO_VOTE + 1)
    values = [value for value in CLASSES if value != NO_VOTE or counts[value]]
    return [(*CLASSES[value], float(counts[value] / mask.size)) for value in values]


def _figure(data: bytes, shape: Sequence[int], alt: str, caption: str, *below: str) -> Html:
    source = "data:image/png;base64," + base64.b64encode(data).decode()
    image = tag("img", src=source, alt=alt, width=shape[1], height=shape[0])
    return tag("figure", image, tag("figcaption", caption, *below))


def _legend(shares: Sequence[tuple[str, tuple[int, int, int], float]]) -> Html:
    items = []
    for name, (red, green, blue), share in shares:
        swatch = tag("span", class_="swatch", style=f"background:rgb({red},{green},{blue})", aria_hidden="true")
        items.append(tag("li", swatch, f"{name} {share:.1%}"))
    return tag("ul", *items, class_="legend")


def read_mask(path: Path) -> NDArray[np.uint8] | None:
    """The merged mask uint8 [H,W] of a job's folder; None where there is none that can be read."""
    try:
        # Opened here, since numpy leaves a file that is no archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            mask: NDArray[Any] = arrays["mask"]
    except UNREADABLE:
        return None
    good = mask.ndim == 2 and mask.dtype == np.uint8 and mask.size > 0
    return mask if good and set(np.unique(mask).tolist()) <= set(CLASSES) else None
