"""How do a job's endings become one result, each counted once?

Endings are taken as they arrive, in any order; what is handed on twice is counted and not merged, since the client does
not trust the service that hands it on. Two mergers share that bookkeeping: a scene's tiles vote for one mask, and a
stack's tiles each have their own tensors. Which it is, the captures say.

`result_sha256` names the merged result. For a mask it is that of `VoteReducer.sha256`. For a stack it is the sha256
over the tiles in order of their ids, each as its id (little-endian int32) and its output digest (32 bytes); tiles
without a result are left out. A tile's output digest is the sha256 of its packed mask; or, over the model's outputs in
their order, of name, a zero byte, datatype, a zero byte, number of dimensions and dimensions (little-endian int32) of
the tile's own part, and that part's bytes.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perigrid.errors import DataError, ProtocolError
from perigrid.job.masks import PIXELS_PER_BYTE, unpack
from perigrid.job.reduce import NAMED_TILES_MAX, VoteReducer
from perigrid.job.spec import Capture
from perigrid.live.clients import Delivered
from perigrid.node.records import ShardAccepted, ShardFailed
from perigrid.report.outcome import Handed

Arrays = dict[str, NDArray[Any]]
"""Arrays by name: a tile's outputs, without the axis of the batch."""

MASK = "mask"
"""Name of the one output that a tile of a scene has: its mask, uint8 [tile_px,tile_px]."""


@dataclass(frozen=True, slots=True)
class TileOutput:
    """What came down of one tile: its digest, and how to read its arrays from the shard's bytes."""

    tile: int
    digest: bytes
    read: Callable[[], Arrays]


class Merger(ABC):
    """Gathers a job's endings; `endings` by shard with the number of their tiles, `repeated` those that came twice."""

    def __init__(self) -> None:
        self.endings: dict[int, tuple[ShardAccepted | ShardFailed, int]] = {}
        self.repeated = 0

    def take(self, delivered: Delivered) -> tuple[TileOutput, ...] | None:
        """Take one ending: what came of its tiles, nothing where it failed, None where it had come before.

        ProtocolError for bytes that cannot be its tiles' results.
        """
        ending, tiles = delivered.row.ending, delivered.row.tiles
        if ending.shard in self.endings:
            self.repeated += 1
            return None
        self.endings[ending.shard] = (ending, len(tiles))
        if isinstance(ending, ShardFailed):
            return ()
        return self._read(ending, tiles, delivered.result)

    def handed(self, elapsed_s: float) -> Handed:
        """What was handed on within so many seconds, and the merged result's facts."""
        return Handed(
            endings=tuple(self.endings.values()),
            repeated=self.repeated,
            result_sha256=self.result_sha256(),
            coverage_error=self.coverage_error(),
            elapsed_s=elapsed_s,
        )

    @abstractmethod
    def result_sha256(self) -> str:
        """The merged result's digest, in hexadecimal digits."""

    @abstractmethod
    def coverage_error(self) -> str | None:
        """What is missing or doubled; None when each tile is in the result once."""

    @abstractmethod
    def _read(self, ending: ShardAccepted, tiles: tuple[int, ...], result: bytes) -> tuple[TileOutput, ...]:
        """Merge a shard's bytes, and give what they hold tile by tile."""


class MaskMerger(Merger):
    """Merges the packed masks of a scene's tiles by their votes, in `reducer`."""

    def __init__(self, captures: Sequence[Capture]) -> None:
        super().__init__()
        places = {
            tile: (capture.first_row + row, column)
            for capture in captures
            for tile, row, column in zip(capture.tiles, capture.rows, capture.columns, strict=True)
        }
        # Tiles are numbered from 0 over a whole dataset, so their places in order are the reducer's windows.
        self._places = [places[tile] for tile in sorted(places)]
        self._tile_px = tile_px(captures[0])
        height = max(capture.first_row + capture.height_px for capture in captures)
        windows = np.array(self._places, np.int32)
        self.reducer = VoteReducer(height, captures[0].width_px, self._tile_px, windows)

    def result_sha256(self) -> str:
        return self.reducer.sha256()

    def coverage_error(self) -> str | None:
        return self.reducer.coverage_error()

    def _read(self, ending: ShardAccepted, tiles: tuple[int, ...], result: bytes) -> tuple[TileOutput, ...]:
        size = self._tile_px**2 // PIXELS_PER_BYTE
        if len(result) != size * len(tiles) or max(tiles) >= len(self._places):
            raise ProtocolError(
                f"shard {ending.shard} of job {ending.job} came with {len(result)} bytes for tiles "
                f"{tiles}: {size} a tile were expected; see ground/ in the run directory."
            )
        packed = np.frombuffer(result, np.uint8).reshape(len(tiles), size)
        outputs = []
        for tile, mask in zip(tiles, packed, strict=True):
            self.reducer.add(tile, self._places[tile], mask)
            outputs.append(
                TileOutput(tile, hashlib.sha256(mask.tobytes()).digest(), partial(_unpacked, mask, self._tile_px))
            )
        return tuple(outputs)


class TensorMerger(Merger):
    """Keeps the digest of each tile's tensors; a shard's bytes are a ModelInferResponse with a row a tile."""

    def __init__(self, captures: Sequence[Capture]) -> None:
        super().__init__()
        self._tiles = sorted(tile for capture in captures for tile in capture.tiles)
        self._digests: dict[int, bytes] = {}

    def result_sha256(self) -> str:
        hasher = hashlib.sha256()
        for tile in sorted(self._digests):
            hasher.update(tile.to_bytes(4, "little", signed=True) + self._digests[tile])
        return hasher.hexdigest()

    def coverage_error(self) -> str | None:
        missing = [tile for tile in self._tiles if tile not in self._digests]
        if not missing:
            return None
        named = ", ".join(str(tile) for tile in missing[:NAMED_TILES_MAX])
        more = " and more" if len(missing) > NAMED_TILES_MAX else ""
        return f"{len(missing)} of {len(self._tiles)} tiles are missing: {named}{more}"

    def _read(self, ending: ShardAccepted, tiles: tuple[int, ...], result: bytes) -> tuple[TileOutput, ...]:
        tensors = read_tensors(result, f"shard {ending.shard} of job {ending.job}")
        for name, (_, array) in tensors.items():
            if array.shape[:1] != (len(tiles),):
                raise ProtocolError(
                    f"shard {ending.shard} of job {ending.job}: output {name!r} has shape {list(array.shape)} for "
                    f"{len(tiles)} tiles, a row a tile was expected; see ground/ in the run directory."
                )
        outputs = []
        for row, tile in enumerate(tiles):
            if tile in self._digests:
                raise ProtocolError(
                    f"tile {tile} of job {ending.job} came with shard {ending.shard} and with another; see ground/ in "
                    "the run directory."
                )
            self._digests[tile] = _tensor_digest(tensors, row)
            arrays = {name: array[row] for name, (_, array) in tensors.items()}
            outputs.append(TileOutput(tile, self._digests[tile], partial(dict, arrays)))
        return tuple(outputs)


def merger_of(captures: Sequence[Capture]) -> MaskMerger | TensorMerger:
    """The merger that fits a dataset's captures."""
    return TensorMerger(captures) if captures[0].is_stack else MaskMerger(captures)


def tile_px(capture: Capture) -> int:
    """Side of the tiles of a scene's capture: its lowest tile ends where it ends."""
    return capture.height_px - max(capture.rows)


def read_tensors(result: bytes, where: str) -> dict[str, tuple[str, NDArray[Any]]]:
    """Datatype and array of each output in a serialized ModelInferResponse, read-only views of its bytes.

    ProtocolError, naming `where`, for bytes that are none.
    """
    from google.protobuf.message import DecodeError

    from perigrid.wire.generated import open_inference_pb2

    response = open_inference_pb2.ModelInferResponse()
    try:
        response.ParseFromString(result)
    except DecodeError as error:
        raise ProtocolError(f"{where}: {len(result)} bytes are no ModelInferResponse ({error}).") from error
    return tensors_of(response, where)


def tensors_of(response: Any, where: str) -> dict[str, tuple[str, NDArray[Any]]]:
    """Datatype and array of each output of a ModelInferResponse with raw contents; ProtocolError naming `where`.

    Text is an array of objects.
    """
    from perigrid.live.pipeline import DTYPES
    from perigrid.live.serving import texts

    if len(response.outputs) != len(response.raw_output_contents):
        raise ProtocolError(
            f"{where}: {len(response.outputs)} outputs came with {len(response.raw_output_contents)} raw contents: "
            "one each was expected."
        )
    tensors = {}
    for described, content in zip(response.outputs, response.raw_output_contents, strict=True):
        shape = tuple(described.shape)
        if described.datatype == texts.DATATYPE and min(shape, default=0) >= 0:
            try:
                strings = texts.decode(content, math.prod(shape), f"{where}: output {described.name!r}")
            except DataError as error:
                raise ProtocolError(f"as {texts.DATATYPE}, {error}") from error
            tensors[described.name] = (described.datatype, strings.reshape(shape))
            continue
        dtype = DTYPES.get(described.datatype)
        if dtype is None or len(content) != math.prod(shape) * np.dtype(dtype).itemsize or min(shape, default=0) < 0:
            raise ProtocolError(
                f"{where}: output {described.name!r} came with {len(content)} bytes as {described.datatype} "
                f"{list(shape)}, which they are not."
            )
        array: NDArray[Any] = np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(shape)
        tensors[described.name] = (described.datatype, array)
    return tensors


def _unpacked(packed: NDArray[np.uint8], tile_px: int) -> Arrays:
    return {MASK: unpack(packed, tile_px, tile_px)}


def _tensor_digest(tensors: dict[str, tuple[str, NDArray[Any]]], row: int) -> bytes:
    hasher = hashlib.sha256()
    for name, (datatype, array) in tensors.items():
        part = array[row]
        hasher.update(f"{name}\0{datatype}\0".encode())
        hasher.update(np.array([part.ndim, *part.shape], "<i4").tobytes())
        hasher.update(part.tobytes())
    return hasher.digest()
