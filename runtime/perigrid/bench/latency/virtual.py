"""What do requests take in virtual time?

The machines, links, contacts and bytes of the live world, with inferences that last what they are stated or measured to
last; hours in which a frame waits for its satellite's pass take no time here. Each series has a world of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from perigrid.bench.latency.rows import Arm, Mode, Origin, Row, Series, Stratum
from perigrid.bench.latency.schedule import (
    RULES,
    Planned,
    first_of_stream,
    next_of_stream,
)
from perigrid.bench.latency.worlds import (
    FRAME_ENDS,
    OFFLINE_SAMPLES,
    QUERIES_A_STRATUM,
    SAMPLES_A_QUERY,
    TREATMENTS,
    Configuration,
    Costs,
    Query,
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
        self._queries: dict[int, Query] = {}
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
                first = first_of_stream(rule, stratum, stratum.number * QUERIES_A_STRATUM, warm_up_s)
                self._plan(first)
        else:
            for one in configuration.schedule(strata, warm_up_s, samples):
                self._plan(one)
        end_s = max(stratum.end_s for stratum in strata)
        self.world.run_until(end_s, None)
        self.world.run_until(end_s + PATIENCE_S, lambda: not self._queries and not self._streams)
        cause = f"no answer within {PATIENCE_S / 3600:g} h"
        self._rows += [query.given_up(configuration, self.world.sky_s, cause) for query in self._queries.values()]
        return configuration.series(self._rows, strata)

    # --- sending

    def _plan(self, planned: Planned) -> None:
        self._streams += 1
        self.world.at(max(planned.intended_s, self.world.sky_s), lambda: self._send(planned))

    def _send(self, planned: Planned) -> None:
        self._streams -= 1
        self._queries[planned.number] = Query(planned, self.world.sky_s, planned.items)
        for sample in range(planned.items):
            number = planned.number * SAMPLES_A_QUERY + sample
            if self._configuration.origin is Origin.BOARD:
                self._expose(number)
            else:
                self._ask(number)

    def _expose(self, number: int) -> None:
        node = self._node
        if node is None:
            node = NodeId(number // SAMPLES_A_QUERY % self.world.mesh.satellite_count)
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
        self.world.request(ask)

    # --- what comes back

    def _replied(self, client: int, reply: Reply) -> None:
        match reply:
            case Observed():
                query = self._queries.get(reply.number // SAMPLES_A_QUERY)
                if query is not None:
                    self._ended(query, observed_row(self._configuration, query.planned, reply))
            case Answered():
                query = self._queries.get((-client - 1) // SAMPLES_A_QUERY)
                if query is not None:
                    sizes = (self._costs.input_bytes, reply.blob.length)
                    self._ended(query, answered_row(self._configuration, query.planned, query.sent_s, reply, *sizes))
            case Declined(reason, cause):
                query = self._queries.get((-client - 1) // SAMPLES_A_QUERY)
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
        query = self._queries.get(number // SAMPLES_A_QUERY)
        if query is not None:
            row = blank_row(self._configuration, query.planned, query.sent_s, self.world.sky_s)
            outcome, cause = FRAME_ENDS[note.what]
            cause = str(note.fields.get("cause", cause))
            self._ended(query, msgspec.structs.replace(row, outcome=outcome, cause=cause))

    def _ended(self, query: Query, row: Row) -> None:
        """A sample of a query has ended; a stream goes on with the next query after the last one."""
        whole = query.ended(row)
        if whole is None:
            return
        del self._queries[query.planned.number]
        self._rows.append(whole)
        rule = RULES[self._configuration.mode]
        if rule.closed_loop:
            following = next_of_stream(rule, self._strata[query.planned.stratum], query.planned, self.world.sky_s)
            if following is not None:
                self._plan(following)
