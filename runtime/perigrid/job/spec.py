"""What work does a client ask for, and on which data?

A job names a model and a dataset; the dataset's captures lie on satellites, each on the one that took it. The
catalogue below is what a mission's ground knows of them: where each was born, its size, and the tiles cut from it.
No pixel is in here.
"""

from __future__ import annotations

import math

import msgspec

from perigrid.errors import UsageError
from perigrid.units import NodeId

MAX_JOB_ID_LENGTH = 64
MAX_TILES_PER_SHARD = 64
DEFAULT_TILES_PER_SHARD = 4
REQUEST_PREFIX = "request."
"""What the ids of the gateway's requests begin with; no user's job may."""

ITEM_BYTES = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
}
"""Bytes of one element, by the Open Inference Protocol's name of its type."""

MASK_SUFFIX, TILES_SUFFIX = ".mask", ".tiles"
"""The forms of a model besides its bare self: masks of a scene's windows, and one inference a tile of a stack."""

JOB_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def is_job_id(job: str) -> bool:
    """May a job, or a request, be called that? It names files."""
    return 0 < len(job) <= MAX_JOB_ID_LENGTH and set(job) <= JOB_ID_CHARACTERS and not job.startswith(".")


def plain_model(name: str) -> str:
    """A model's own name, whichever of its forms was asked for."""
    return name.removesuffix(MASK_SUFFIX).removesuffix(TILES_SUFFIX)


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One job as its client states it. `job` is the client's own id: submitting it twice is one job.

    `deadline_s` counts in emulated seconds from admission; `priority` is higher first.
    """

    job: str
    model: str
    dataset: str
    tiles_per_shard: int = DEFAULT_TILES_PER_SHARD
    priority: int = 0
    deadline_s: float | None = None

    def check(self) -> None:
        """Raise UsageError where the job cannot be."""
        if not is_job_id(self.job):
            raise UsageError(
                f"job id {self.job!r}: use 1 to {MAX_JOB_ID_LENGTH} letters, digits, '-', '_' or '.', not beginning "
                "with '.', since it names a folder of the run."
            )
        if self.job.startswith(REQUEST_PREFIX):
            raise UsageError(
                f"job id {self.job!r}: {REQUEST_PREFIX!r} is for the gateway's requests; name it otherwise."
            )
        if not 1 <= self.tiles_per_shard <= MAX_TILES_PER_SHARD:
            raise UsageError(
                f"job {self.job}: tiles_per_shard is {self.tiles_per_shard}; give 1 to {MAX_TILES_PER_SHARD}."
            )
        if self.deadline_s is not None and not self.deadline_s > 0:
            raise UsageError(f"job {self.job}: deadline_s is {self.deadline_s}; give seconds above 0.")


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """One satellite's share of a dataset: a piece of a scene, or some of a stack's tiles.

    `owner` is where it was born, `replicas` who shall hold a copy; `tiles` are the ids of its tiles in the dataset.

    A piece of a scene is float32 [bands, height_px, width_px]; `rows` and `columns` are its tiles' upper left corners
    inside it, in pixels, and `first_row` its own place in the scene. Of a stack it is an array [tiles, *item_shape] of
    `dtype`; `rows` are the tiles' places in it, and `columns` are 0.
    """

    name: str
    dataset: str
    owner: NodeId
    replicas: tuple[NodeId, ...]
    tiles: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    first_row: int = 0
    bands: int = 0
    height_px: int = 0
    width_px: int = 0
    is_stack: bool = False
    dtype: str = "FP32"
    item_shape: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return (len(self.tiles), *self.item_shape) if self.is_stack else (self.bands, self.height_px, self.width_px)

    @property
    def size_bytes(self) -> int:
        """Size of the array in bytes."""
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """Several tiles of one capture: the unit that is placed, leased, computed and settled, under one id for ever."""

    index: int
    capture: str
    tiles: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def is_request(self) -> bool:
        """Is this a request's one shard? Its input comes with its assignment, and lies in no capture."""
        return not self.capture


class Catalogue(msgspec.Struct, frozen=True):
    """All captures of a constellation, in the order of their names."""

    captures: tuple[Capture, ...]

    def plus(self, captures: tuple[Capture, ...]) -> Catalogue:
        """This catalogue with more captures behind those that it has; one of a known name is not added."""
        known = {capture.name for capture in self.captures}
        return Catalogue((*self.captures, *(c for c in captures if c.name not in known)))

    def of(self, dataset: str) -> tuple[Capture, ...]:
        """The captures of one dataset; UsageError with the names there are when it has none."""
        found = tuple(c for c in self.captures if c.dataset == dataset)
        if not found:
            names = ", ".join(sorted({c.dataset for c in self.captures})) or "none"
            raise UsageError(
                f"dataset {dataset!r} is not on this constellation (it holds: {names}); name one of these, or add a "
                "[[data]] table to the scenario and bring it up again."
            )
        return found

    def named(self, name: str) -> Capture | None:
        """The capture of that name, if there is one."""
        return next((c for c in self.captures if c.name == name), None)
