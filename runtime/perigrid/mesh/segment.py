"""What is one hour of contact plan as numbers, and as bytes?

A segment is a bundle of arrays that every process of a host maps from one file, so `from_buffer` copies
nothing. The bytes are a fixed header followed by the arrays in the order of `Segment`'s fields, each
starting at a multiple of eight bytes, all little-endian:

    magic "PERIPLAN"   version u32   scenario digest 32 bytes   index u32   orbit rate f64
    knots u32   links P u32   lasers u32   intervals K u32   seeking Q u32   checksum u32

The checksum is the CRC-32 of all other bytes. The version changes with the layout and with the geometry behind it. A
segment is an hour of the orbits; where the scenario turns the sky `orbit_rate` times as fast as time passes, its times
are that much closer.

Ranges are kept as squares at knots `KNOT_S` apart, one knot before the hour and one after it, so that a cubic
through four knots holds everywhere. The square of a range is smooth where the range itself has a bend (a satellite
passing over a station). The cubic errs by metres as a rule. Where low orbits meet head on, at 15 km/s, its square
errs by up to 50 km^2, at any distance: 70 m (0.2 us of light) of a range of 350 km, 0.25 km of 100 km, and up to 6 km
(20 us) in the seconds in which two satellites pass within some kilometres of each other.

Intervals are in compressed rows: those of link r are `intervals[offsets[r]:offsets[r + 1]]`, each (start_s,
end_s) in sky time, in order and apart. An interval that reaches the segment's edge may go on in the next. What is being
acquired as the hour ends has no interval yet; who computes the next hour finds it in `seeking`.
"""

import struct
import zlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from perigrid.errors import CorruptFile, ScenarioError

SEGMENT_S = 3600
"""Length of a segment, seconds of the orbits' time."""

KNOT_S = 30
"""Spacing of the knots, seconds of the orbits' time."""

STEPS = SEGMENT_S // KNOT_S
KNOTS = STEPS + 3
"""Knots of a segment: both edges, and one beyond each."""

PLAN_VERSION = 3
"""Version of the bytes; one that is unknown is refused."""

MAGIC = b"PERIPLAN"
_HEADER = struct.Struct("<8sI32sIdIIIII")
_CHECKSUM = struct.Struct("<I")
_ALIGNMENT_BYTES = 8
_ARRAYS_OFFSET = _HEADER.size + _CHECKSUM.size
"""Where the arrays begin, which is a multiple of the alignment."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The contacts of one hour over P links: `lasers` of them between satellites, the others with stations.

    `digest` names the scenario and `index` the hour. Every laser that always points at the same satellite has a
    row, even while it is down; of the others those have one that meet within the hour.
    """

    digest: str
    index: int
    orbit_rate: float
    pairs: npt.NDArray[np.int32]
    """[P, 2] node ids, the smaller one first; lasers first, each part sorted"""
    lasers: int
    squared_km2: npt.NDArray[np.float32]
    """[P, KNOTS] squared range, km^2"""
    offsets: npt.NDArray[np.int64]
    """[P + 1]"""
    intervals: Floats
    """[K, 2] seconds of sky time"""
    seeking: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2), np.int32))
    """[Q, 2] node ids, as in `pairs`, of those that choose each other and are still being acquired as the hour ends"""
    since_s: Floats = field(default_factory=lambda: np.empty(0))
    """[Q] sky times since when those point at each other"""

    @property
    def start_s(self) -> float:
        """Sky time of the first moment of the segment."""
        return segment_start_s(self.index, self.orbit_rate)

    @property
    def end_s(self) -> float:
        """Sky time at which the next segment starts."""
        return segment_start_s(self.index + 1, self.orbit_rate)

    def to_bytes(self) -> bytes:
        """Header and arrays, as described above."""
        links, intervals, seeking = len(self.pairs), len(self.intervals), len(self.seeking)
        header = _HEADER.pack(
            MAGIC,
            PLAN_VERSION,
            bytes.fromhex(self.digest),
            self.index,
            self.orbit_rate,
            KNOTS,
            links,
            self.lasers,
            intervals,
            seeking,
        )
        arrays = b"".join(
            _padded(np.ascontiguousarray(getattr(self, name), dtype).tobytes())
            for name, (dtype, _) in _layout(links, intervals, seeking).items()
        )
        return header + _CHECKSUM.pack(zlib.crc32(arrays, zlib.crc32(header))) + arrays

    @classmethod
    def from_buffer(cls, buffer: bytes | bytearray | memoryview) -> "Segment":
        """Views into the buffer, which must outlive the segment.

        Raises CorruptFile for bytes that are no plan, are cut short or were changed, ScenarioError for another version.
        """
        data = memoryview(buffer).cast("B")
        if len(data) < _ARRAYS_OFFSET or bytes(data[: len(MAGIC)]) != MAGIC:
            raise CorruptFile("These bytes are not a segment of a contact plan: remove the file and start again.")
        version = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
        _, _, digest, index, orbit_rate, knots, links, lasers, intervals, seeking = _HEADER.unpack_from(data)
        if version != PLAN_VERSION or knots != KNOTS:
            raise ScenarioError(
                f"The contact plan has version {version}; this perigrid reads version {PLAN_VERSION} with {KNOTS} "
                "knots an hour: compute the plan again with this version."
            )
        layout = _layout(links, intervals, seeking)
        offset = _ARRAYS_OFFSET
        needed = offset + sum(_aligned(dtype.itemsize * rows * columns) for dtype, (rows, columns) in layout.values())
        if len(data) != needed:
            raise CorruptFile(
                f"Segment {index} of the contact plan has {len(data)} bytes where its header asks for "
                f"{needed}: remove the file and start again."
            )
        checksum = zlib.crc32(data[offset:], zlib.crc32(data[: _HEADER.size]))
        if checksum != _CHECKSUM.unpack_from(data, _HEADER.size)[0]:
            raise CorruptFile(
                f"Segment {index} of the contact plan is not what was written, by its checksum: remove the file and "
                "start again."
            )
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        for name, (dtype, (rows, columns)) in layout.items():
            array = np.frombuffer(data, dtype, rows * columns, offset)
            arrays[name] = array if columns == 1 else array.reshape(rows, columns)
            offset += _aligned(array.nbytes)
        return cls(digest=digest.hex(), index=index, orbit_rate=orbit_rate, lasers=lasers, **arrays)  # type: ignore[arg-type]


def segment_start_s(index: int, orbit_rate: float) -> float:
    """Sky time at which segment `index` starts; every user reckons it so, as neighbours are joined by equality."""
    return index * SEGMENT_S / orbit_rate


def squared_at(knots_km2: Floats, position: Floats) -> Floats:
    """Squared ranges [K] at positions [K] in (0..1) between the middle two of four knots [K, 4].

    The cubic through the four, in Newton's form.
    """
    before, here, after, later = knots_km2.T
    u = position
    bend, twist = (before - 2 * here + after) / 2, (later - before + 3 * (here - after)) / 6
    return np.asarray(here + u * (after - here + (u - 1) * (bend + (u + 1) * twist)))


def _layout(links: int, intervals: int, seeking: int) -> dict[str, tuple[np.dtype[np.generic], tuple[int, int]]]:
    """Type and shape of every array, in the order in which they are written."""
    return {
        "pairs": (np.dtype("<i4"), (links, 2)),
        "squared_km2": (np.dtype("<f4"), (links, KNOTS)),
        "offsets": (np.dtype("<i8"), (links + 1, 1)),
        "intervals": (np.dtype("<f8"), (intervals, 2)),
        "seeking": (np.dtype("<i4"), (seeking, 2)),
        "since_s": (np.dtype("<f8"), (seeking, 1)),
    }


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _padded(data: bytes) -> bytes:
    return data.ljust(_aligned(len(data)), b"\0")
