"""What is known of one request of a latency run, and of the run?

One row a request, whatever became of it; all times are emulated seconds of the run's clock. The stages of a row that
was answered add up to its latency, which counts from the moment at which it was to be sent. CSV, report and comparison
are made of rows.
"""

from __future__ import annotations

import enum

import msgspec


class Mode(enum.StrEnum):
    """MLPerf Inference's four scenarios (MLPerf-style, unverified)."""

    SINGLE_STREAM = "single-stream"
    MULTI_STREAM = "multi-stream"
    SERVER = "server"
    OFFLINE = "offline"


class Origin(enum.StrEnum):
    """Where requests come from: a client on the ground, or a sensor on board."""

    GROUND = "ground"
    BOARD = "board"


class Arm(enum.StrEnum):
    """What is done with a capture. All arms of a run have the same captures, links and contacts."""

    BENT_PIPE = "bent-pipe"
    BENT_PIPE_LASERS = "bent-pipe-lasers"
    IN_ORBIT = "in-orbit"
    SHARDED = "sharded"
    CASCADE = "cascade"
    BARE = "bare"


class World(enum.StrEnum):
    """How rows came about: real processes, the same machines in virtual time, or one plain process."""

    LIVE = "live"
    SIM = "sim"
    BARE = "bare"


class Hop(msgspec.Struct, frozen=True):
    """One link on the way of the part of a message that came last: seconds held without a way, in front of the line, on
    it, as light, and in the equipment at its end.
    """

    sender: str
    receiver: str
    kind: str
    held_s: float
    queue_s: float
    serialisation_s: float
    propagation_s: float
    processing_s: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `outcome` is "ok", or why there is no answer: "dropped", "deadline", "failed", "refused".

    `warm_up` rows are kept apart. `sent_s` minus `intended_s` is the generator's own lateness. `latency_s` counts from
    `intended_s`. `desk_wait_s` and `cpu_s` are this machine's own, and no part of the stages. `attempt` counts from 1.
    """

    number: int
    world: World
    arm: Arm
    origin: Origin
    mode: Mode
    stratum: int
    intended_s: float
    sent_s: float
    ended_s: float
    latency_s: float
    outcome: str = "ok"
    cause: str = ""
    warm_up: bool = False
    satellite: str = ""
    attempt: int = 1
    trace: str = ""
    items: int = 1
    bytes_up: int = 0
    bytes_down: int = 0
    stages: dict[str, float] = {}
    up: tuple[Hop, ...] = ()
    down: tuple[Hop, ...] = ()
    desk_wait_s: float = 0.0
    cpu_s: float = 0.0
    rate: float = 1.0


class Stratum(msgspec.Struct, frozen=True):
    """One instant of the orbit at which requests were sent: from `start_s` to `end_s` of emulated time."""

    number: int
    start_s: float
    end_s: float


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of one configuration; `repeat` is "a" or "b" of the same configuration twice (A/A).

    `valid` is whether the desk kept the orbit's time while they were taken; `share_late` is what was late of it.
    """

    name: str
    world: World
    arm: Arm
    origin: Origin
    mode: Mode
    repeat: str
    rows: tuple[Row, ...]
    strata: tuple[Stratum, ...]
    valid: bool = True
    share_late: float = 0.0
    slo_s: float | None = None
    offered_per_s: float | None = None
