"""What does a satellite know of one model, and how much of it may it ask for at a time?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from perigrid.node.blobs import Blob
from perigrid.node.frames import ModelStateWord
from perigrid.node.manifest import Manifest, Order
from perigrid.units import MIB, NodeId

FLASH_BYTES = 2048 * MIB
"""What a satellite sets aside for models, where its device does not say (assumed)."""

SCRUB_S = 600.0
"""How often a held model is hashed again, on average, emulated seconds."""

MAX_MODELS_HELD = 64
MAX_MODELS_KNOWN = 256
"""Models that a satellite remembers, held or not; of those not held the oldest is forgotten first."""

WINDOW_S = 0.25
MIN_WINDOW_PIECES, MAX_WINDOW_BYTES = 4, 16 * MIB
"""Pieces asked of one source that have not come: what its link carries in WINDOW_S, within these bounds."""

PATIENCE_S, GROUND_PATIENCE_S = 3.0, 20.0
"""After so long without a piece from a source, what was asked of it is asked again, of whoever has it."""

WANTED: tuple[ModelStateWord, ...] = ("arriving", "corrupt")
WHOLE: tuple[ModelStateWord, ...] = ("held", "loaded")
Fields = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class ShelfConfig:
    """What a shelf is told: its satellite, the ground, room for models, when to scrub, and the links' slowest rates."""

    node: NodeId
    ground: NodeId
    laser_rate_bps: float
    ground_rate_bps: float
    flash_bytes: int = FLASH_BYTES
    scrub_s: float = SCRUB_S
    seed: int = 0


@dataclass(slots=True)
class Copy:
    """One model here. `missing` are pieces that are neither here nor being written nor asked of anybody.

    `asked` says whom a piece was asked of, `keeping` from whom one came that is being written; `peers` are what
    neighbours have said that they have. Times without a word are the node's own.
    """

    order: Order
    state: ModelStateWord = "arriving"
    root: bool = False
    blobs: dict[int, Blob] = field(default_factory=dict)
    missing: dict[int, None] = field(default_factory=dict)
    asked: dict[int, NodeId] = field(default_factory=dict)
    keeping: dict[int, NodeId] = field(default_factory=dict)
    heard_s: dict[NodeId, float] = field(default_factory=dict)
    peers: dict[NodeId, frozenset[int]] = field(default_factory=dict)
    told_s: dict[NodeId, float] = field(default_factory=dict)
    wrong: dict[NodeId, int] = field(default_factory=dict)
    shunned_s: dict[NodeId, float] = field(default_factory=dict)
    rehashing: bool = False
    report_rehash: bool = False
    untold: bool = False
    rounds: int = 0
    scrubs: int = 0
    scrub_s: float = float("inf")
    used_s: float = 0.0
    reported_s: float = float("-inf")
    reported_pieces: int = -1
    rehashed_sky_s: float = -1.0
    cause: str = ""
    found: bytes = b""

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        return self.order.manifest

    @property
    def on_flash(self) -> bool:
        """Does it take room?"""
        return self.state in WANTED or self.state in WHOLE

    def lacks(self, indices: Iterable[int]) -> None:
        """These pieces are neither here nor on their way any more."""
        self.missing = dict.fromkeys(sorted([*self.missing, *indices]))

    def give_up(self, source: NodeId) -> None:
        """What was asked of a source is missing again."""
        again = [index for index, asked in self.asked.items() if asked == source]
        for index in again:
            del self.asked[index]
        self.lacks(again)


def names(copy: Copy) -> Fields:
    """What notes about a copy begin with."""
    return {"model": copy.manifest.name, "sha256": copy.manifest.digest.hex()}


def window_pieces(config: ShelfConfig, copy: Copy, source: NodeId) -> int:
    """So many pieces may be asked of a source that have not come."""
    rate_bps = config.ground_rate_bps if source == config.ground else config.laser_rate_bps
    size = min(MAX_WINDOW_BYTES, int(rate_bps / 8 * WINDOW_S))
    return max(MIN_WINDOW_PIECES, size // copy.manifest.piece_bytes)


def patience_s(config: ShelfConfig, copy: Copy, source: NodeId) -> float:
    """After so long without a piece from a source, it is taken for one that does not answer."""
    from_ground = source == config.ground
    rate_bps = config.ground_rate_bps if from_ground else config.laser_rate_bps
    window_bytes = window_pieces(config, copy, source) * copy.manifest.piece_bytes
    return max(GROUND_PATIENCE_S if from_ground else PATIENCE_S, 4 * 8 * window_bytes / rate_bps)
