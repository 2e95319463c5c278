"""What do answers of either world look like as rows?

A request of a client's ends as Answered, a frame of a sensor's as Observed, in the live world and in virtual time
alike; here both become rows, with the names of the nodes on their way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from perigrid.bench.latency.rows import Arm, Hop, Mode, Origin, Row, Series, Stratum, World
from perigrid.bench.latency.schedule import Planned, offline_times, server_times
from perigrid.mesh.way import Leg
from perigrid.node.replies import Answered, Observed
from perigrid.node.stages import observed_stages, request_stages
from perigrid.scenario.model import Scenario, Sensor, Treatment

TREATMENTS: Mapping[Arm, Treatment] = {
    Arm.BENT_PIPE: "bent-pipe",
    Arm.BENT_PIPE_LASERS: "bent-pipe-lasers",
    Arm.IN_ORBIT: "in-orbit",
    Arm.SHARDED: "sharded",
    Arm.CASCADE: "cascade",
}
"""What each arm does with a sensor's frame; `bare` has none."""

DEFAULT_SENSOR = Sensor(
    name="camera",
    width_px=512,
    height_px=512,
    bands=6,
    bits_per_pixel=16,
    gsd_m=10.0,
    model="cloudmask",
    daylight=False,
)
"""The sensor of a scenario that has none (assumed): frames of 512 x 512 pixels in six bands of 16 bits, 10 m a pixel as
in Sentinel-2's finest bands."""

FRAME_ENDS: Mapping[str, tuple[str, str]] = {
    "frame-missed": ("deadline", "not done by its deadline"),
    "frame-failed": ("failed", "its inference failed"),
    "frame-refused": ("dropped", "its satellite had no room for it, or not its model"),
}
"""Notes of satellites that end a frame without a word to the ground, with outcome and cause; the first one counts."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What work costs, the same in every arm: emulated seconds a tile by model on board and on the ground, and bytes of
    a tile's result by model. `input_bytes` and `output_bytes` are those of a client's request.
    """

    board_s: Mapping[str, float]
    ground_s: Mapping[str, float]
    tile_bytes: Mapping[str, int]
    input_bytes: int
    output_bytes: int


SAMPLES_A_QUERY = 1_000
QUERIES_A_STRATUM = 1_000_000
"""Numbers of a query's samples, and of a stratum's queries."""

OFFLINE_SAMPLES = 64
"""Samples of Offline's one query: fewer than a gateway takes at a time."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One series to measure: an arm, from where, in which of MLPerf's scenarios, and which repeat of it."""

    world: World
    arm: Arm
    origin: Origin
    mode: Mode
    repeat: str
    seed: int
    satellite: str = ""
    slo_s: float | None = None
    offered_per_s: float | None = None
    traced: bool = True
    names: tuple[str, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """What the series is called: the same for each repeat."""
        return f"{self.mode}/{self.origin}/{self.arm}/{self.world}"

    def series(
        self, rows: Iterable[Row], strata: Iterable[Stratum], valid: bool = True, share_late: float = 0.0
    ) -> Series:
        """What was measured of it."""
        return Series(
            name=self.name,
            world=self.world,
            arm=self.arm,
            origin=self.origin,
            mode=self.mode,
            repeat=self.repeat,
            rows=tuple(sorted(rows, key=lambda row: (row.stratum, row.number))),
            strata=tuple(strata),
            valid=valid,
            share_late=share_late,
            slo_s=self.slo_s,
            offered_per_s=self.offered_per_s,
        )

    def schedule(self, strata: Sequence[Stratum], warm_up_s: float, samples: int) -> tuple[Planned, ...]:
        """When an open loop sends: all at once, `samples` of them, or as Server does."""
        if self.mode is Mode.OFFLINE:
            return offline_times(strata, samples, warm_up_s)
        return server_times(strata, self.offered_per_s or 1.0, self.seed, warm_up_s)


@dataclass(slots=True)
class Query:
    """One query under way: how many of its samples have not ended, and the rows of those that have."""

    planned: Planned
    sent_s: float
    left: int
    rows: list[Row] = field(default_factory=list)

    def ended(self, row: Row) -> Row | None:
        """A sample has ended. The query's row once the last one has: it failed where one did."""
        self.left -= 1
        self.rows.append(row)
        if self.left:
            return None
        worst = next((one for one in self.rows if one.outcome != "ok"), row)
        return msgspec.structs.replace(
            max(self.rows, key=lambda one: one.ended_s),
            outcome=worst.outcome,
            cause=worst.cause,
            bytes_up=sum(one.bytes_up for one in self.rows),
            bytes_down=sum(one.bytes_down for one in self.rows),
        )

    def given_up(self, configuration: Configuration, now_s: float, cause: str) -> Row:
        """Its row where no answer is waited for any more."""
        row = blank_row(configuration, self.planned, self.sent_s, now_s)
        return msgspec.structs.replace(row, outcome="failed", cause=cause)


def sensor_of(scenario: Scenario, model: str) -> Sensor:
    """The sensor whose frames are measured: the scenario's first, else DEFAULT_SENSOR with that model."""
    if scenario.sensors:
        return scenario.sensors[0]
    return msgspec.structs.replace(DEFAULT_SENSOR, model=model)


def hops_of(legs: Iterable[Leg], names: tuple[str, ...]) -> tuple[Hop, ...]:
    """Legs with the names of their ends."""
    return tuple(
        Hop(
            names[leg.sender],
            names[leg.link.other(leg.sender)],
            leg.link.kind.name.lower(),
            leg.held_s,
            leg.queue_s,
            leg.serialisation_s,
            leg.propagation_s,
            leg.processing_s,
        )
        for leg in legs
    )


def blank_row(configuration: Configuration, planned: Planned, sent_s: float, ended_s: float) -> Row:
    """What every row of a configuration has, for a request that ended then."""
    return Row(
        number=planned.number,
        world=configuration.world,
        arm=configuration.arm,
        origin=configuration.origin,
        mode=configuration.mode,
        stratum=planned.stratum,
        intended_s=planned.intended_s,
        sent_s=sent_s,
        ended_s=ended_s,
        latency_s=ended_s - planned.intended_s,
        warm_up=planned.warm_up,
        items=planned.items,
    )


def answered_row(
    configuration: Configuration, planned: Planned, sent_s: float, answer: Answered, bytes_up: int, bytes_down: int
) -> Row:
    """The row of a client's request that was answered."""
    stages = request_stages(answer)
    # What passed between the moment at which it was to be sent and the gateway's taking it up.
    stages["gateway"] += answer.asked_sky_s - planned.intended_s
    return msgspec.structs.replace(
        blank_row(configuration, planned, sent_s, answer.answered_sky_s),
        satellite=answer.satellite,
        attempt=answer.attempt,
        trace=answer.trace_parent[:16].hex(),
        bytes_up=bytes_up,
        bytes_down=bytes_down,
        stages=stages,
        up=hops_of(answer.stages.up, configuration.names),
        down=hops_of(answer.down, configuration.names),
        desk_wait_s=answer.stages.desk_wait_s,
        cpu_s=answer.stages.cpu_s,
    )


def observed_row(configuration: Configuration, planned: Planned, answer: Observed) -> Row:
    """The row of a sensor's frame that ended."""
    late = answer.deadline_sky_s < answer.taken_sky_s + answer.stages.queue_s + answer.stages.inference_s
    outcome = {"ok": "deadline" if late else "ok", "discarded": "ok"}.get(answer.outcome, answer.outcome)
    return msgspec.structs.replace(
        blank_row(configuration, planned, planned.intended_s, answer.answered_sky_s),
        outcome=outcome,
        cause="its filter discarded all of it" if answer.outcome == "discarded" else "",
        satellite=answer.satellite,
        trace=answer.trace_parent[:16].hex(),
        bytes_down=answer.size_bytes,
        stages=observed_stages(answer),
        up=hops_of(answer.stages.up, configuration.names),
        down=hops_of(answer.down, configuration.names),
        desk_wait_s=answer.stages.desk_wait_s,
        cpu_s=answer.stages.cpu_s,
    )
