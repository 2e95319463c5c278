"""What do requests take in virtual time?

The machines, links, contacts and bytes of the live world, with inferences that last what they are stated or measured to
last; hours in which a frame waits for its satellite's pass take no time here. Each series has a world of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from perigrid.bench.latency.rows import Arm, Mode, Origin, Row, Series, Stratum
from perigrid.bench.latency.schedule import (
    RULES,
    Planned,
    first_of_stream,
    next_of_stream,
    offline_times,
    server_times,
)
from perigrid.bench.latency.worlds import (
    FRAME_ENDS,
    TREATMENTS,
    Configuration,
    Costs,
    answered_row,
    blank_row,
    observed_row,
)
from perigrid.errors import UsageError
from perigrid.job.spec import Catalogue
from perigrid.node.actions import Note
from perigrid.node.cameras import exposed, tiles_of
from perigrid.node.events import Ask
from perigrid.node.replies import Answered, Declined, Observed, Reply
from perigrid.scenario.model import Scenario, Sensor
from perigrid.sim.blobs import sim_blob
from perigrid.sim.world import SimConfig, World, even_cloud
from perigrid.units import NodeId

PATIENCE_S = 24 * 3600.0
"""How long after the last request an answer is waited for, emulated seconds: a pass comes at least once a day."""

CLIENT_PRIORITY = 10
TRACE = bytes(16)
SAMPLED = b"\x01"
OFFLINE_SAMPLES = 64
STREAM_NUMBERS = 1_000_000
"""Queries that one stratum's stream has numbers for."""

SAMPLE_NUMBERS = 100_000
"""Samples that one query has numbers for."""


@dataclass(slots=True)
class _Query:
    """One query under way: its samples that have not ended, and the row of the one that ended last."""

    planned: Planned
    sent_s: float
    left: int
    bytes_up: int = 0
    bytes_down: int = 0
    failed: str = ""
    rows: list[Row] = field(default_factory=list)


class VirtualRun:
    """Measures one configuration in a world of its own."""

    def __init__(
        self,
        scenario: Scenario,
        sensor: Sensor,
        model: str,
        costs: Costs,
        configuration: Configuration,
        cloud_of: Callable[[str, int], float] = even_cloud,
    ) -> None:
        if configuration.origin is Origin.BOARD:
            sensor = msgspec.structs.replace(sensor, treatment=TREATMENTS[configuration.arm])
        elif configuration.arm not in (Arm.IN_ORBIT,):
            raise UsageError(
                f"a client on the ground has no {configuration.arm} arm: its data are on the ground already."
            )
        self._sensor: Sensor = sensor
        self._model = model
        self._costs = costs
        config = SimConfig(
            seed=configuration.seed,
            model_s=costs.board_s,
            ground_s=costs.ground_s,
            answer_bytes=costs.tile_bytes if configuration.origin is Origin.BOARD else {model: costs.output_bytes},
            cloud_of=cloud_of,
        )
        models = tuple(dict.fromkeys((*scenario.models, model, *costs.board_s)))
        self.world = World(msgspec.structs.replace(scenario, models=models, sensors=()), Catalogue(()), config)
        # A day of a constellation says more than fits into memory.
        self.world.keep_notes = self.world.keep_replies = False
        self.world.on_note = self._noted
        self._frames: dict[str, int] = {}
        self._names = self.world.mesh.names
        self._configuration = replace(configuration, names=self._names)
        self._node = self.world.mesh.id_of(configuration.satellite) if configuration.satellite else None
        self._queries: dict[int, _Query] = {}
        self._rows: list[Row] = []
        self._strata: dict[int, Stratum] = {}
        self._streams = 0
        self.world.on_reply = self._replied
        self._raw = sim_blob(bytes(sensor.frame_bytes))
        self._input = sim_blob(bytes(costs.input_bytes))

    def measure(self, strata: Sequence[Stratum], warm_up_s: float = 0.0, samples: int = OFFLINE_SAMPLES) -> Series:
        """Send what the configuration's scenario sends, in these strata, and wait for the answers."""
        configuration, rule = self._configuration, RULES[self._configuration.mode]
        self._strata = {stratum.number: stratum for stratum in strata}
        if rule.closed_loop:
            for stratum in strata:
                first = first_of_stream(rule, stratum, stratum.number * STREAM_NUMBERS, warm_up_s)
                self._plan(first)
        else:
            if configuration.mode is Mode.OFFLINE:
                planned = offline_times(strata, samples, warm_up_s)
            else:
                planned = server_times(strata, configuration.offered_per_s or 1.0, configuration.seed, warm_up_s)
            for one in planned:
                self._plan(one)
        end_s = max(stratum.end_s for stratum in strata)
        self.world.run_until(end_s, None)
        self.world.run_until(end_s + PATIENCE_S, lambda: not self._queries and not self._streams)
        for query in self._queries.values():
            self._rows.append(
                msgspec.structs.replace(
                    blank_row(configuration, query.planned, query.sent_s, self.world.sky_s),
                    outcome="failed",
                    cause=f"no answer within {PATIENCE_S / 3600:g} h",
                )
            )
        rows = tuple(sorted(self._rows, key=lambda row: row.number))
        return Series(
            name=configuration.name,
            world=configuration.world,
            arm=configuration.arm,
            origin=configuration.origin,
            mode=configuration.mode,
            repeat=configuration.repeat,
            rows=rows,
            strata=tuple(strata),
            slo_s=configuration.slo_s,
            offered_per_s=configuration.offered_per_s,
        )

    # --- sending

    def _plan(self, planned: Planned) -> None:
        self._streams += 1
        self.world.at(max(planned.intended_s, self.world.sky_s), lambda: self._send(planned))

    def _send(self, planned: Planned) -> None:
        self._streams -= 1
        self._queries[planned.number] = _Query(planned, self.world.sky_s, planned.items)
        for sample in range(planned.items):
            number = planned.number * SAMPLE_NUMBERS + sample
            if self._configuration.origin is Origin.BOARD:
                self._expose(number)
            else:
                self._ask(number)

    def _expose(self, number: int) -> None:
        node = self._node
        if node is None:
            node = NodeId(number // SAMPLE_NUMBERS % self.world.mesh.satellite_count)
        shard, name = tiles_of(self._sensor), self._names[node]
        deadline_s = self._sensor.deadline_s if self._configuration.mode is Mode.SERVER else None
        sensor = msgspec.structs.replace(self._sensor, deadline_s=deadline_s)
        period_s = float("inf")
        event = exposed(sensor, name, number, self.world.sky_s, period_s, self._raw, shard, self._configuration.traced)
        self.world.tell(node, event)

    def _ask(self, number: int) -> None:
        trace_parent = TRACE[:8] + number.to_bytes(16, "big") + SAMPLED if self._configuration.traced else b""
        # As the gateway places a request that says nothing of it: the least busy, of equals the nearest.
        ask = Ask(-number - 1, self._model, self._input, self._node, False, CLIENT_PRIORITY, None, trace_parent)
        self._queries[number // SAMPLE_NUMBERS].bytes_up += self._costs.input_bytes
        self.world.request(ask)

    # --- what comes back

    def _replied(self, client: int, reply: Reply) -> None:
        match reply:
            case Observed():
                query = self._queries.get(reply.number // SAMPLE_NUMBERS)
                if query is not None:
                    self._ended(query, observed_row(self._configuration, query.planned, reply))
            case Answered():
                query = self._queries.get((-client - 1) // SAMPLE_NUMBERS)
                if query is not None:
                    sizes = (self._costs.input_bytes, reply.blob.length)
                    self._ended(query, answered_row(self._configuration, query.planned, query.sent_s, reply, *sizes))
            case Declined(reason, cause):
                query = self._queries.get((-client - 1) // SAMPLE_NUMBERS)
                if query is not None:
                    row = blank_row(self._configuration, query.planned, query.sent_s, self.world.sky_s)
                    outcome = "dropped" if reason == "full" else reason
                    self._ended(query, msgspec.structs.replace(row, outcome=outcome, cause=cause))

    def _noted(self, node: NodeId, note: Note) -> None:
        """Frames that end without a word to the ground: their satellite says so to itself alone."""
        if note.what == "frame":
            self._frames[str(note.fields["frame"])] = int(note.fields["number"])
        elif note.what in FRAME_ENDS:
            number = self._frames.pop(str(note.fields["frame"]), None)
            if number is None and "number" in note.fields:
                number = int(note.fields["number"])
            if number is not None:
                self._missed(number, note)

    def _missed(self, number: int, note: Note) -> None:
        query = self._queries.get(number // SAMPLE_NUMBERS)
        if query is not None:
            row = blank_row(self._configuration, query.planned, query.sent_s, self.world.sky_s)
            outcome, cause = FRAME_ENDS[note.what]
            cause = str(note.fields.get("cause", cause))
            self._ended(query, msgspec.structs.replace(row, outcome=outcome, cause=cause))

    def _ended(self, query: _Query, row: Row) -> None:
        """A sample of a query has ended; a query ends with its last sample, and has failed where one did."""
        query.left -= 1
        query.rows.append(row)
        if query.left:
            return
        del self._queries[query.planned.number]
        worst = next((one for one in query.rows if one.outcome != "ok"), row)
        whole = msgspec.structs.replace(
            row,
            outcome=worst.outcome,
            cause=worst.cause,
            bytes_up=sum(one.bytes_up for one in query.rows),
            bytes_down=sum(one.bytes_down for one in query.rows),
        )
        self._rows.append(whole)
        rule = RULES[self._configuration.mode]
        if rule.closed_loop:
            following = next_of_stream(rule, self._strata[query.planned.stratum], query.planned, self.world.sky_s)
            if following is not None:
                self._plan(following)
