"""What does a satellite keep through a crash?

Its flash is a folder: captures as raw float32 arrays, which the worker maps to feed the model, finished results
until the ground has them, and models that were pushed (`modelstore.py`). A file appears under its name only when it is
whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from perigrid.live.blobs import HeldBlob, held, mapped, view_of
from perigrid.live.modelstore import FlashModels
from perigrid.node.blobs import Piece
from perigrid.node.events import HeldResult
from perigrid.node.frames import Stages

CAPTURE_SUFFIX = ".f32"
RESULT_SUFFIX = ".result"


class _ResultHeader(msgspec.Struct, frozen=True):
    job: str
    shard: int
    digest: bytes
    stages: Stages


class Flash:
    """One satellite's flash, in its folder of the run directory (a path relative to it)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._captures = folder / "captures"
        self._results = folder / "results"
        self._captures.mkdir(parents=True, exist_ok=True)
        self._results.mkdir(exist_ok=True)
        self.models = FlashModels(folder / "models")
        for leftover in folder.glob("*/*.part"):
            leftover.unlink()

    def capture_path(self, name: str) -> Path:
        """Where a capture lies, held or not."""
        return self._captures / f"{name}{CAPTURE_SUFFIX}"

    def holds(self, name: str) -> bool:
        """Whether a capture is there."""
        return self.capture_path(name).is_file()

    def captures(self) -> tuple[tuple[str, HeldBlob], ...]:
        """The captures held, by name."""
        files = sorted(self._captures.glob(f"*{CAPTURE_SUFFIX}"))
        return tuple((path.name.removesuffix(CAPTURE_SUFFIX), mapped(path)) for path in files)

    def keep_capture(self, name: str, pieces: tuple[Piece, ...], digest: bytes) -> tuple[HeldBlob, bool]:
        """Write a capture; whether its bytes are what the digest says. What is not is not kept."""
        views = [view_of(piece) for piece in pieces]
        if _sha256(views) != digest:
            return held(b""), False
        path = self.capture_path(name)
        _write_whole(path, views)
        return mapped(path, digest), True

    def keep_result(self, job: str, shard: int, pieces: tuple[Piece, ...], digest: bytes, stages: Stages) -> None:
        """Write a finished result."""
        header = msgspec.msgpack.encode(_ResultHeader(job, shard, digest, stages))
        views = [view_of(piece) for piece in pieces]
        _write_whole(
            self._result_path(job, shard),
            [memoryview(len(header).to_bytes(4, "little")), memoryview(header), *views],
        )

    def results(self) -> tuple[HeldResult, ...]:
        """The finished results held; one that cannot be read, or whose hash is wrong, is deleted."""
        found = []
        for path in sorted(self._results.glob(f"*{RESULT_SUFFIX}")):
            result = _read_result(path.read_bytes())
            if result is None:
                path.unlink()
            else:
                found.append(result)
        return tuple(found)

    def forget_results(self, job: str, shards: tuple[int, ...]) -> None:
        """Delete results that the ground has."""
        for shard in shards:
            self._result_path(job, shard).unlink(missing_ok=True)

    def lose(self) -> None:
        """Everything is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _result_path(self, job: str, shard: int) -> Path:
        return self._results / f"{job}+{shard}{RESULT_SUFFIX}"


def _read_result(data: bytes) -> HeldResult | None:
    length = int.from_bytes(data[:4], "little")
    try:
        header = msgspec.msgpack.decode(data[4 : 4 + length], type=_ResultHeader)
    except msgspec.MsgspecError:
        return None
    body = memoryview(data)[4 + length :]
    if hashlib.sha256(body).digest() != header.digest:
        return None
    return HeldResult(header.job, header.shard, held(body, header.digest), header.stages)


def _sha256(views: list[memoryview]) -> bytes:
    digest = hashlib.sha256()
    for view in views:
        digest.update(view)
    return digest.digest()


def _write_whole(path: Path, views: list[memoryview]) -> None:
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for view in views:
            while view:
                view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
    part.replace(path)
