"""What is one hour of contact plan as numbers, and as bytes?

A segment is a bundle of arrays that every process of a host maps from one file, so `from_buffer` copies
nothing. The bytes are a fixed header followed by the arrays in the order of `Segment`'s fields, each
starting at a multiple of eight bytes, all little-endian. The header's version changes with the layout and
with the geometry behind it.

Lists of intervals are in compressed rows: the intervals of row r are `intervals[offsets[r]:offsets[r +
1]]`, each (start_s, end_s) in sky time, in order and apart. An interval that reaches the segment's edge may
go on in the next.
"""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.errors import CorruptFile, ScenarioError

SEGMENT_S = 3600
"""Length of a segment, seconds of sky time."""

STEP_S = 10
"""Spacing of the range samples, seconds. Linear interpolation between them errs by less than 1.5 km (5 us of
light) where a satellite passes over a station at 500 km, and by nothing where neighbours fly in one plane.
"""

STEPS = SEGMENT_S // STEP_S
"""Steps in a segment; there are STEPS + 1 samples, as both edges are sampled."""

PLAN_VERSION = 1
"""Version of the bytes; one that is unknown is refused."""

MAGIC = b"PERIPLAN"
_HEADER = struct.Struct("<8sI32sIIIIII")
_ALIGNMENT_BYTES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The contacts of one hour; L lasers in the mesh's order, P pairs of a satellite and a station that meet.

    `digest` names the scenario and `index` the hour. Ranges are in km, intervals in seconds of sky time.
    """

    digest: str
    index: int
    laser_range_km: npt.NDArray[np.float32]
    """[L, STEPS + 1]"""
    laser_offsets: npt.NDArray[np.int64]
    """[L + 1]"""
    laser_intervals: npt.NDArray[np.float64]
    """[K, 2]"""
    radio_pairs: npt.NDArray[np.int32]
    """[P, 2] node ids of satellite and station, sorted"""
    radio_range_km: npt.NDArray[np.float32]
    """[P, STEPS + 1]"""
    radio_offsets: npt.NDArray[np.int64]
    """[P + 1]"""
    radio_intervals: npt.NDArray[np.float64]
    """[M, 2]"""

    @property
    def start_s(self) -> float:
        """Sky time of the first moment of the segment."""
        return float(self.index * SEGMENT_S)

    @property
    def end_s(self) -> float:
        """Sky time at which the next segment starts."""
        return float((self.index + 1) * SEGMENT_S)

    def to_bytes(self) -> bytes:
        """Header and arrays, as described above."""
        header = _HEADER.pack(
            MAGIC,
            PLAN_VERSION,
            bytes.fromhex(self.digest),
            self.index,
            STEPS,
            len(self.laser_range_km),
            len(self.laser_intervals),
            len(self.radio_pairs),
            len(self.radio_intervals),
        )
        parts = [_padded(header)]
        for name, (dtype, _) in _layout(len(self.laser_range_km), 0, 0, 0).items():
            parts.append(_padded(np.ascontiguousarray(getattr(self, name), dtype).tobytes()))
        return b"".join(parts)

    @classmethod
    def from_buffer(cls, buffer: bytes | bytearray | memoryview) -> "Segment":
        """Views into the buffer, which must outlive the segment.

        Raises CorruptFile for bytes that are no plan or are cut short, ScenarioError for another version.
        """
        data = memoryview(buffer).cast("B")
        if len(data) < _HEADER.size or bytes(data[: len(MAGIC)]) != MAGIC:
            raise CorruptFile("These bytes are not a segment of a contact plan: remove the file and start again.")
        _, version, digest, index, steps, *sizes = _HEADER.unpack_from(data)
        if (version, steps) != (PLAN_VERSION, STEPS):
            raise ScenarioError(
                f"The contact plan has version {version} with {steps} steps an hour; this perigrid reads "
                f"version {PLAN_VERSION} with {STEPS}: compute the plan again with this version."
            )
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        offset = _aligned(_HEADER.size)
        layout = _layout(*sizes)
        needed = offset
        for dtype, (rows, columns) in layout.values():
            needed += _aligned(dtype.itemsize * rows * columns)
        if len(data) != needed:
            raise CorruptFile(
                f"Segment {index} of the contact plan has {len(data)} bytes where its header asks for "
                f"{needed}: remove the file and start again."
            )
        for name, (dtype, (rows, columns)) in layout.items():
            array = np.frombuffer(data, dtype, rows * columns, offset)
            arrays[name] = array if name.endswith("offsets") else array.reshape(rows, columns)
            offset += _aligned(array.nbytes)
        return cls(digest=digest.hex(), index=index, **arrays)  # type: ignore[arg-type]


def _layout(
    lasers: int, laser_intervals: int, pairs: int, radio_intervals: int
) -> dict[str, tuple[np.dtype[np.generic], tuple[int, int]]]:
    """Type and shape of every array, in the order in which they are written."""
    return {
        "laser_range_km": (np.dtype("<f4"), (lasers, STEPS + 1)),
        "laser_offsets": (np.dtype("<i8"), (lasers + 1, 1)),
        "laser_intervals": (np.dtype("<f8"), (laser_intervals, 2)),
        "radio_pairs": (np.dtype("<i4"), (pairs, 2)),
        "radio_range_km": (np.dtype("<f4"), (pairs, STEPS + 1)),
        "radio_offsets": (np.dtype("<i8"), (pairs + 1, 1)),
        "radio_intervals": (np.dtype("<f8"), (radio_intervals, 2)),
    }


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _padded(data: bytes) -> bytes:
    return data.ljust(_aligned(len(data)), b"\0")
