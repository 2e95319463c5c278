"""What do requests take on a constellation of real processes?

A generator sends at its times, whatever the system does, from a client on the ground through the gateway, or by letting
a satellite's sensor take frames. Times are emulated, read off the run's clock page by both ends. Between the instants
of the orbit at which it sends, emulated time is skipped; what was late then is no part of the measurement.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import msgspec

from perigrid.bench.latency.rows import Hop, Mode, Origin, Row, Series, Stratum
from perigrid.bench.latency.schedule import RULES, Planned, first_of_stream, next_of_stream
from perigrid.bench.latency.worlds import (
    FRAME_ENDS,
    OFFLINE_SAMPLES,
    QUERIES_A_STRATUM,
    SAMPLES_A_QUERY,
    TREATMENTS,
    Configuration,
    Query,
    blank_row,
)
from perigrid.live.clients import SupervisorClient
from perigrid.live.clock import ClockPage
from perigrid.live.eventlog import follow_lines
from perigrid.live.lateness import MAX_SHARE_LATE, Lateness
from perigrid.live.rundir import RunDirectory
from perigrid.node.stages import STAGES
from perigrid.scenario.model import Sensor
from perigrid.wire.generated import control_pb2 as control
from perigrid.wire.generated import open_inference_pb2 as protocol

LEAD_S = 0.1
"""Emulated seconds between the end of a skip and the first request, or between ordering a frame and its exposure."""

LOOK_WALL_S = 0.25
"""Longest sleep of the generator without a look at the clock, whose rate may change."""

Say = Callable[[str], None]
POLL_WALL_S = 0.002
ANSWER_LIMIT_WALL_S = 180.0
"""Seconds of the wall after a stratum's last request until what has no answer is given up."""

INFER = "/inference.GRPCInferenceService/ModelInfer"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_FAILURES = 10
"""A stream whose queries fail so often in a row ends: what fails at once would be asked again without end."""

QUERIES_A_SERIES = 1_000_000_000
"""Numbers of a series' queries."""

OUTCOMES: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: "dropped",
    grpc.StatusCode.DEADLINE_EXCEEDED: "deadline",
    grpc.StatusCode.INVALID_ARGUMENT: "refused",
    grpc.StatusCode.NOT_FOUND: "refused",
}


class LiveRun:
    """Measures configurations on one constellation that is up.

    Args:
        run: its directory.
        gateway: the address of its gateway.
        requests: what a client sends, in turn; for configurations from the ground.
        sensor: whose frames are taken; for configurations on board.
    """

    def __init__(
        self, run: RunDirectory, gateway: str, requests: Sequence[protocol.ModelInferRequest], sensor: Sensor
    ) -> None:
        self._run = run
        self._requests = requests
        self._sensor = sensor
        self._clock = ClockPage(run.path / "clock.page")
        self._supervisor = SupervisorClient(run)
        self._ended: queue.SimpleQueue[tuple[int, int, Row]] = queue.SimpleQueue()
        self._frames: dict[str, int] = {}
        self._asked: dict[str, list[bytes]] = {}
        self._log_place = 0
        self._series = 0
        self._sends = 0
        options = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
        self._channel = grpc.insecure_channel(gateway, options=options)
        # Samples are in memory before they are sent, as bytes.
        self._infer = self._channel.unary_unary(INFER, None, protocol.ModelInferResponse.FromString)

    def close(self) -> None:
        """Drop the connections; the constellation goes on."""
        self._channel.close()
        self._supervisor.close()
        self._clock.close()

    def now_s(self) -> float:
        """Emulated time."""
        return self._clock.now_s()

    def measure(
        self, configurations: Sequence[Configuration], strata: Sequence[Stratum], warm_up_s: float, say: Say
    ) -> list[Series]:
        """One series each. In each stratum, which lie ahead, the configurations take turns, another one first each
        time: so each has the same instants of the orbit, and what this machine does beside falls on all alike.
        """
        series = [_Taken(configuration) for configuration in configurations]
        for stratum in strata:
            length_s = stratum.end_s - stratum.start_s
            self._supervisor.skip(stratum.start_s - warm_up_s - 2 * LEAD_S)
            turn = stratum.number % len(series)
            for taken in (*series[turn:], *series[:turn]):
                start_s = max(stratum.start_s, self.now_s() + 2 * LEAD_S + warm_up_s)
                own = Stratum(stratum.number, start_s, start_s + length_s)
                # What a skip, or the series before, leaves behind has ended by then.
                self.wait_until(start_s - warm_up_s - LEAD_S)
                before = self._lateness()
                taken.rows += self._stratum(taken.configuration, own, warm_up_s)
                taken.late = taken.late.plus(_difference(self._lateness(), before))
                taken.strata.append(own)
            say(f"instant {stratum.number + 1} of {len(strata)}: {sum(len(t.rows) for t in series)} requests so far")
        return [taken.series() for taken in series]

    def _stratum(self, configuration: Configuration, stratum: Stratum, warm_up_s: float) -> list[Row]:
        self._series += 1
        rule, sensor = RULES[configuration.mode], self._sensor
        if configuration.origin is Origin.BOARD:
            sensor = msgspec.structs.replace(sensor, treatment=TREATMENTS[configuration.arm])
            if configuration.mode is not Mode.SERVER:
                sensor = msgspec.structs.replace(sensor, deadline_s=None)
        self._skip_log()
        self._samples(configuration)
        work = _Stratum(self, configuration, sensor, stratum)
        if rule.closed_loop:
            return work.run([], first_of_stream(rule, stratum, stratum.number * QUERIES_A_STRATUM, warm_up_s))
        return work.run(configuration.schedule([stratum], warm_up_s, OFFLINE_SAMPLES), None)

    def _lateness(self) -> Lateness:
        total = Lateness()
        for state in self._supervisor.states():
            total = total.plus(Lateness(state.frames, state.frames_late, state.inferences, state.inferences_late))
        return total

    # --- waiting and sending

    def wait_until(self, emulated_s: float) -> None:
        """Sleep until an emulated moment, looking at the clock again and again: its rate may change."""
        while True:
            wall_s, reading = self._clock.look()
            if reading.emulated_at(wall_s) >= emulated_s:
                return
            time.sleep(max(1e-4, min(LOOK_WALL_S, reading.wall_at(emulated_s) - wall_s)))

    def ask(self, configuration: Configuration, planned: Planned, sample: int) -> None:
        """Send one of a client's requests; its row comes to `ended`."""
        place = self._sends % len(self._requests)
        self._sends += 1
        series = self._series
        # No id may be all zeros.
        trace = f"{series:016x}{planned.number * SAMPLES_A_QUERY + sample + 1:016x}"
        flags = "01" if configuration.traced else "00"
        metadata = (("traceparent", f"00-{trace}-{trace[16:]}-{flags}"),)
        sent_s = self.now_s()
        call = self._infer.future(self._samples(configuration)[place], timeout=ANSWER_LIMIT_WALL_S, metadata=metadata)
        bytes_up = sum(len(part) for part in self._requests[place].raw_input_contents)

        def done(call: Any) -> None:
            ended_s = self.now_s()
            row = _row_of_call(configuration, planned, sent_s, ended_s, call, bytes_up)
            self._ended.put((series, planned.number, row))

        call.add_done_callback(done)

    def _samples(self, configuration: Configuration) -> list[bytes]:
        """What a configuration's client sends, in turn."""
        satellite = configuration.satellite
        if satellite not in self._asked:
            self._asked[satellite] = []
            for request in self._requests:
                copy = protocol.ModelInferRequest()
                copy.CopyFrom(request)
                if satellite:
                    copy.parameters["satellite"].string_param = satellite
                self._asked[satellite].append(copy.SerializeToString())
        return self._asked[satellite]

    def expose(self, configuration: Configuration, sensor: Sensor, planned: Sequence[Planned]) -> None:
        """Order frames: samples of one query are taken at the same instant."""
        for one in planned:
            for sample in range(one.items):
                self._supervisor.expose(
                    control.ExposeRequest(
                        satellite=configuration.satellite,
                        sensor_json=msgspec.json.encode(sensor).decode(),
                        number=(self._series * QUERIES_A_SERIES + one.number) * SAMPLES_A_QUERY + sample,
                        times_s=[one.intended_s],
                        untraced=not configuration.traced,
                    )
                )

    def next_ended(
        self, configuration: Configuration, asked: Mapping[int, Query], wait: bool
    ) -> tuple[int, Row] | None:
        """The row of a sample that has ended, with its query's number; None where there is none, or none comes soon."""
        if configuration.origin is Origin.BOARD:
            self._read_log(configuration, asked)
        try:
            series, number, row = self._ended.get(block=wait, timeout=POLL_WALL_S)
        except queue.Empty:
            return None
        return (number, row) if series == self._series else None

    def _read_log(self, configuration: Configuration, asked: Mapping[int, Query]) -> None:
        events, self._log_place = follow_lines(self._run.path, self._log_place)
        for event in events:
            what = event.get("what")
            if what == "frame":
                self._frames[event["frame"]] = int(event["number"])
            elif what == "observation":
                self._put(int(event["number"]), asked, lambda p, e=event: _row_of_frame(configuration, p, e))
            elif what in FRAME_ENDS:
                # A refused frame, or one that failed, is noted as missed too: it ends once.
                number = self._frames.pop(event["frame"], event.get("number"))
                if number is not None:
                    self._put(int(number), asked, lambda p, e=event: _missed_row(configuration, p, e))

    def _put(self, number: int, asked: Mapping[int, Query], row_of: Any) -> None:
        series, query = divmod(number // SAMPLES_A_QUERY, QUERIES_A_SERIES)
        if series == self._series and query in asked:
            self._ended.put((series, query, row_of(asked[query].planned)))

    def _skip_log(self) -> None:
        while True:
            events, self._log_place = follow_lines(self._run.path, self._log_place)
            if not events:
                return


@dataclass(slots=True)
class _Taken:
    """What one configuration has come to so far."""

    configuration: Configuration
    rows: list[Row] = field(default_factory=list)
    strata: list[Stratum] = field(default_factory=list)
    late: Lateness = field(default_factory=Lateness)

    def series(self) -> Series:
        """All of it."""
        share_late = self.late.share_late
        return self.configuration.series(self.rows, self.strata, share_late <= MAX_SHARE_LATE, share_late)


class _Stratum:
    """Sends what is planned for one stratum, and takes what ends."""

    def __init__(self, live: LiveRun, configuration: Configuration, sensor: Sensor, stratum: Stratum) -> None:
        self._live = live
        self._configuration = configuration
        self._sensor = sensor
        self._stratum = stratum
        self._queries: dict[int, Query] = {}
        self._rows: list[Row] = []
        self._failures = 0

    def run(self, planned: Sequence[Planned], first: Planned | None) -> list[Row]:
        """Open loop with what is planned, or a stream that begins with `first`."""
        if first is not None:
            self._live.wait_until(first.intended_s - LEAD_S)
            self._send(replace(first, intended_s=max(first.intended_s, self._live.now_s() + LEAD_S)))
        elif self._configuration.origin is Origin.BOARD:
            for one in planned:
                self._queries[one.number] = Query(one, one.intended_s, one.items)
            self._live.expose(self._configuration, self._sensor, planned)
        else:
            for one in planned:
                self._live.wait_until(one.intended_s)
                self._take()
                self._send(one)
        self._drain()
        return self._rows

    def _send(self, planned: Planned) -> None:
        configuration, live = self._configuration, self._live
        if configuration.origin is Origin.BOARD:
            self._queries[planned.number] = Query(planned, planned.intended_s, planned.items)
            live.expose(configuration, self._sensor, [planned])
            return
        live.wait_until(planned.intended_s)
        self._queries[planned.number] = Query(planned, live.now_s(), planned.items)
        for sample in range(planned.items):
            live.ask(configuration, planned, sample)

    def _drain(self) -> None:
        end_s = time.monotonic() + ANSWER_LIMIT_WALL_S
        while self._queries:
            if time.monotonic() > end_s:
                self._give_up()
                return
            self._take(wait=True)

    def _take(self, wait: bool = False) -> None:
        """Take what has ended, without waiting for more unless asked to."""
        found = self._live.next_ended(self._configuration, self._queries, wait)
        while found is not None:
            self._end(*found)
            found = self._live.next_ended(self._configuration, self._queries, wait=False)

    def _end(self, number: int, row: Row) -> None:
        query = self._queries.get(number)
        if query is None:
            return
        whole = query.ended(row)
        if whole is None:
            return
        del self._queries[number]
        self._rows.append(whole)
        rule = RULES[self._configuration.mode]
        self._failures = 0 if whole.outcome == "ok" else self._failures + 1
        if rule.closed_loop and self._failures < MAX_FAILURES:
            now_s = self._live.now_s()
            following = next_of_stream(rule, self._stratum, query.planned, now_s)
            if following is not None:
                lead_s = LEAD_S if self._configuration.origin is Origin.BOARD else 0.0
                self._send(replace(following, intended_s=now_s + lead_s))

    def _give_up(self) -> None:
        cause = f"no answer within {ANSWER_LIMIT_WALL_S:g} s of the wall"
        now_s = self._live.now_s()
        self._rows += [query.given_up(self._configuration, now_s, cause) for query in self._queries.values()]
        self._queries.clear()


def _difference(after: Lateness, before: Lateness) -> Lateness:
    return Lateness(
        after.frames - before.frames,
        after.frames_late - before.frames_late,
        after.inferences - before.inferences,
        after.inferences_late - before.inferences_late,
    )


def _row_of_call(
    configuration: Configuration, planned: Planned, sent_s: float, ended_s: float, call: Any, bytes_up: int
) -> Row:
    row = blank_row(configuration, planned, sent_s, ended_s)
    row = msgspec.structs.replace(row, bytes_up=bytes_up)
    error = call.exception()
    if error is not None:
        outcome, cause = OUTCOMES.get(call.code(), "failed"), str(call.details())
        return msgspec.structs.replace(row, outcome=outcome, cause=cause)
    response = call.result()
    parameters = response.parameters
    known = {
        "satellite": parameters["satellite"].string_param,
        "attempt": int(parameters["attempt"].int64_param),
        "bytes_down": sum(len(part) for part in response.raw_output_contents),
        "desk_wait_s": parameters["desk_wait_s"].double_param,
        "cpu_s": parameters["cpu_s"].double_param,
        "rate": parameters["rate"].double_param,
    }
    if "breakdown" not in parameters:
        return msgspec.structs.replace(row, **known)
    words = msgspec.json.decode(parameters["breakdown"].string_param)
    stages = {name: words["stages"][name] for name in STAGES if name in words["stages"]}
    # What passed in the client and on its way to and from the gateway.
    stages["gateway"] += words["asked_s"] - planned.intended_s
    stages["settle"] += ended_s - words["answered_s"]
    return msgspec.structs.replace(
        row,
        **known,
        trace=parameters["traceparent"].string_param[3:35],
        stages=stages,
        up=_hops(words["up"]),
        down=_hops(words["down"]),
    )


def _row_of_frame(configuration: Configuration, planned: Planned, event: Mapping[str, Any]) -> Row:
    planned = replace(planned, intended_s=event["taken_s"])
    discarded = event["outcome"] == "discarded"
    stages, due_s = event["stages"], event["deadline_s"]
    on_board_s = stages.get("satellite_queue", 0.0) + stages.get("inference", 0.0)
    late = due_s is not None and event["taken_s"] + on_board_s > due_s
    outcome = {"discarded": "ok", "ok": "deadline" if late else "ok"}.get(event["outcome"], event["outcome"])
    return msgspec.structs.replace(
        blank_row(configuration, planned, event["taken_s"], event["answered_s"]),
        outcome=outcome,
        cause="its filter discarded all of it" if discarded else "",
        satellite=event["satellite"],
        trace=event["traceparent"][3:35],
        bytes_down=event["bytes"],
        stages={name: stages[name] for name in STAGES if name in stages},
        up=_hops(event["up"]),
        down=_hops(event["down"]),
        desk_wait_s=event["desk_wait_s"],
        cpu_s=event["cpu_s"],
    )


def _missed_row(configuration: Configuration, planned: Planned, event: Mapping[str, Any]) -> Row:
    row = blank_row(configuration, planned, planned.intended_s, event["t"])
    outcome, cause = FRAME_ENDS[event["what"]]
    return msgspec.structs.replace(row, outcome=outcome, cause=event.get("cause", cause))


def _hops(legs: Iterable[Mapping[str, Any]]) -> tuple[Hop, ...]:
    return tuple(
        Hop(
            leg["from"],
            leg["to"],
            leg["kind"],
            leg["held_s"],
            leg["queue_s"],
            leg["serialisation_s"],
            leg["propagation_s"],
            leg["processing_s"],
        )
        for leg in legs
    )
