"""What did each traced request and frame spend its time on, in OpenTelemetry's words?

A run's traces, made from its event log, as OTLP/JSON: the mapping that collectors, Jaeger and others read
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), where ids are hex, enumerations numbers and 64-bit
integers text. A line is a `TracesData`, as in a file of the collector's own
(https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/).

A request or a frame is one span, from its asking or its exposure to its answer. Below it are its stages in the order of
time, and below the stages of its way a span a link crossing, on the node that sent. Times are emulated, counted from
the scenario's epoch. Stages follow one another, so that their lengths add up; what a frame waited for a way is shown
in front of the crossing that came of it, as `contact_wait`. Ids of spans follow from the trace and the request, so that
the same log gives the same spans again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import perigrid
from perigrid.errors import CorruptFile, EnvironmentProblem, UsageError
from perigrid.live.eventlog import read_events
from perigrid.live.tracing import SPAN_ID_BYTES, TRACE_PARENT, begins_here
from perigrid.node.stages import STAGES

SPANS_A_LINE = 10_000
"""A line holds at most one trace more than so many spans, some MB: less than what a collector takes at a time."""

MAX_OPEN = 4_096
"""Requests whose answer has not come yet; the ground has far fewer under way, the oldest are forgotten."""

GROUND = "ground"
GROUND_STAGES = ("gateway", "ground_queue", "ground_inference", "settle")


INTERNAL, SERVER = 1, 2
ERROR = 2
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200
"""Numbers of `Span.SpanKind`, `Status.StatusCode` and `SpanFlags` in opentelemetry/proto/trace/v1/trace.proto."""

LEG_PARTS = ("queue_s", "serialisation_s", "propagation_s", "processing_s")
Attributes = Mapping[str, str | int | float]
Part = TypeVar("Part", bound=msgspec.Struct)


class _Run(msgspec.Struct, frozen=True):
    """Of the log's first line, what traces are about."""

    run: str
    epoch: datetime
    perigrid: str = ""
    scenario_digest: str = ""
    orbit_rate: float = 1.0


class _Leg(msgspec.Struct, frozen=True, rename={"sender": "from", "receiver": "to"}):
    """One link crossing; emulated seconds."""

    sender: str
    receiver: str
    kind: str
    here_s: float
    due_s: float
    held_s: float
    queue_s: float
    serialisation_s: float
    propagation_s: float
    processing_s: float


class _Asked(msgspec.Struct, frozen=True):
    """What a `request` event says."""

    request: str = ""
    model: str = ""
    bytes: int = 0


class _Traced(msgspec.Struct, frozen=True, kw_only=True):
    """What a `traced` and an `observation` event have in common."""

    satellite: str
    hops: int
    bytes: int
    answered_s: float
    stages: dict[str, float]
    up: tuple[_Leg, ...]
    down: tuple[_Leg, ...]
    traceparent: str
    desk_wait_s: float = 0.0
    cpu_s: float = 0.0


class _Request(_Traced, frozen=True, kw_only=True):
    """A request through the gateway."""

    request: str
    attempt: int
    asked_s: float


class _Frame(_Traced, frozen=True, kw_only=True):
    """A sensor's frame."""

    frame: str
    sensor: str
    number: int
    treatment: str
    outcome: str
    taken_s: float
    tiles: int


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of emulated time on a node, and those within it."""

    name: str
    node: str
    start_s: float
    end_s: float
    attributes: Attributes = field(default_factory=dict)
    children: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """A tree of spans under its trace's id; `key` tells it from others of the same trace. `parent` is a client's span,
    8 bytes, or empty.
    """

    trace_id: bytes
    parent: bytes
    key: str
    root: Span
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    path: Path
    traces: int
    spans: int


def write_traces(run_directory: Path, path: Path) -> Written:
    """Write a run's traces as OTLP/JSON.

    UsageError where the run has none, MissingFile or CorruptFile where its event log is not there or is not what it
    should be, EnvironmentProblem where the file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    traces = spans = 0
    try:
        with part.open("wb") as file:
            for line in lines_of(read_events(run_directory)):
                file.write(line.text + b"\n")
                traces, spans = traces + line.traces, spans + line.spans
        if not traces:
            raise UsageError(
                f"{run_directory.name} has no traced request and no frame of a sensor yet: ask its gateway for an "
                "inference, with a traceparent that is sampled or with none."
            )
        part.replace(path)
    except OSError as error:
        raise EnvironmentProblem(
            f"the traces could not be written to {path} ({error.strerror}); name another file with --otlp."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return Written(path, traces, spans)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file."""

    text: bytes
    traces: int
    spans: int


def lines_of(events: Iterable[Mapping[str, Any]]) -> Iterator[Line]:
    """The lines of a log's events; CorruptFile where an event is not as documented."""
    events = iter(events)
    first = next(events, None)
    if first is None:
        return
    run = _part(_Run, first)
    spans: dict[str, list[dict[str, Any]]] = {}
    traces = count = 0
    for trace in traces_of(events):
        traces += 1
        for node, span in _spans(trace, run):
            spans.setdefault(node, []).append(span)
            count += 1
        if count >= SPANS_A_LINE:
            yield Line(_line(run, spans), traces, count)
            spans, traces, count = {}, 0, 0
    if traces:
        yield Line(_line(run, spans), traces, count)


def traces_of(events: Iterable[Mapping[str, Any]]) -> Iterator[Trace]:
    """The traces in a log, in its order."""
    asked: dict[str, _Asked] = {}
    for event in events:
        what = event.get("what")
        if what == "request":
            request = _part(_Asked, event)
            asked[request.request] = request
            if len(asked) > MAX_OPEN:
                del asked[next(iter(asked))]
        elif what == "declined":
            asked.pop(str(event.get("request")), None)
        elif what == "traced":
            found = _part(_Request, event)
            yield from _trace(found, found.request, _request(found, asked.pop(found.request, _Asked())))
        elif what == "observation":
            frame = _part(_Frame, event)
            yield from _trace(frame, frame.frame, _frame(frame), frame.outcome == "failed")


def _part(kind: type[Part], event: Mapping[str, Any]) -> Part:
    try:
        return msgspec.convert(event, kind)
    except msgspec.ValidationError as error:
        raise CorruptFile(
            f"the event log has a {str(event.get('what'))!r} event that is not as documented ({error}); read it with "
            "the perigrid that wrote it."
        ) from error


def _trace(traced: _Traced, key: str, root: Span, failed: bool = False) -> Iterator[Trace]:
    match = TRACE_PARENT.fullmatch(traced.traceparent)
    if match is None:
        # Its flags asked for no trace.
        return
    trace_id, parent = bytes.fromhex(match[1]), bytes.fromhex(match[2])
    # A frame is nobody's call: what stands for a parent in its trace is no span.
    known = isinstance(traced, _Request) and not begins_here(trace_id + parent)
    yield Trace(trace_id, parent if known else b"", key, root, failed)


# --- from events to spans


def _request(traced: _Request, asked: _Asked) -> Span:
    gateway_s = traced.asked_s + traced.stages.get("gateway", 0.0)
    if traced.up and traced.down:
        children: tuple[Span, ...] = (
            Span("gateway", GROUND, traced.asked_s, gateway_s),
            Span("ground_queue", GROUND, gateway_s, traced.up[0].here_s),
            *_way(traced.up, "uplink", "lasers_up", asked.bytes),
            *_board(traced, traced.up[-1].due_s),
            *_way(traced.down, "downlink", "lasers_down", traced.bytes),
            Span("settle", GROUND, traced.down[-1].due_s, traced.answered_s),
        )
    else:
        children = _in_turn(traced, traced.asked_s)
    attributes = {
        "perigrid.request": traced.request,
        "perigrid.model": asked.model,
        "perigrid.attempt": traced.attempt,
        "perigrid.bytes_up": asked.bytes,
        **_common(traced),
    }
    return Span("inference in orbit", GROUND, traced.asked_s, traced.answered_s, attributes, children)


def _frame(frame: _Frame) -> Span:
    if frame.down:
        ended_s = frame.down[-1].due_s
        queued_s = ended_s + frame.stages.get("ground_queue", 0.0)
        inferred_s = queued_s + frame.stages.get("ground_inference", 0.0)
        children = (
            *_way(frame.up, "uplink", "lasers_up", 0),
            *_board(frame, frame.up[-1].due_s if frame.up else frame.taken_s),
            *_way(frame.down, "downlink", "lasers_down", frame.bytes),
            *_unless_empty(Span("ground_queue", GROUND, ended_s, queued_s)),
            *_unless_empty(Span("ground_inference", GROUND, queued_s, inferred_s)),
            Span("settle", GROUND, inferred_s, frame.answered_s),
        )
    else:
        children = _in_turn(frame, frame.taken_s)
    attributes = {
        "perigrid.frame": frame.frame,
        "perigrid.sensor": frame.sensor,
        "perigrid.number": frame.number,
        "perigrid.treatment": frame.treatment,
        "perigrid.outcome": frame.outcome,
        "perigrid.tiles": frame.tiles,
        **_common(frame),
    }
    return Span("frame of a sensor", frame.satellite, frame.taken_s, frame.answered_s, attributes, children)


def _common(traced: _Traced) -> dict[str, str | int | float]:
    return {
        "perigrid.satellite": traced.satellite,
        "perigrid.hops": traced.hops,
        "perigrid.bytes_down": traced.bytes,
        "perigrid.desk_wait_s": traced.desk_wait_s,
        "perigrid.cpu_s": traced.cpu_s,
    }


def _board(traced: _Traced, from_s: float) -> tuple[Span, ...]:
    """On board, until the result sets out."""
    queued_s = from_s + traced.stages.get("satellite_queue", 0.0)
    inferred_s = queued_s + traced.stages.get("inference", 0.0)
    return (
        Span("satellite_queue", traced.satellite, from_s, queued_s),
        Span("inference", traced.satellite, queued_s, inferred_s),
        Span("keep", traced.satellite, inferred_s, traced.down[0].here_s),
    )


def _way(legs: Iterable[_Leg], ground: str, lasers: str, size_bytes: int) -> Iterator[Span]:
    """The stages of a way, and its crossings in them; what was held in front of one is a stage of its own."""
    crossings: list[Span] = []
    for leg in legs:
        name = lasers if leg.kind == "laser" else ground
        if leg.held_s > 0:
            yield from _stage(crossings)
            crossings = []
            yield Span("contact_wait", leg.sender, leg.here_s, leg.here_s + leg.held_s)
        elif crossings and crossings[-1].name != name:
            yield from _stage(crossings)
            crossings = []
        parts = {f"perigrid.{part}": getattr(leg, part) for part in LEG_PARTS}
        ends = {"perigrid.from": leg.sender, "perigrid.to": leg.receiver}
        attributes = {**ends, "perigrid.link": leg.kind, "perigrid.bytes": size_bytes, **parts}
        crossings.append(Span(name, leg.sender, leg.here_s + leg.held_s, leg.due_s, attributes))
    yield from _stage(crossings)


def _stage(crossings: list[Span]) -> Iterator[Span]:
    if crossings:
        first, last = crossings[0], crossings[-1]
        named = (replace(one, name=f"{one.attributes['perigrid.link']} crossing") for one in crossings)
        yield Span(first.name, first.node, first.start_s, last.end_s, {}, tuple(named))


def _in_turn(traced: _Traced, from_s: float) -> tuple[Span, ...]:
    """Stages laid one behind the other, where the links of the way are not known."""
    found: list[Span] = []
    for name in STAGES:
        until_s = from_s + traced.stages.get(name, 0.0)
        node = GROUND if name in GROUND_STAGES else traced.satellite
        found += _unless_empty(Span(name, node, from_s, until_s))
        from_s = until_s
    return tuple(found)


def _unless_empty(span: Span) -> tuple[Span, ...]:
    return (span,) if span.end_s > span.start_s else ()


# --- from spans to OTLP


def _line(run: _Run, spans: Mapping[str, list[dict[str, Any]]]) -> bytes:
    """A TracesData: each node is a service, so that a viewer tells them apart."""
    scope = {"name": "perigrid", "version": perigrid.__version__}
    resources = []
    for node, found in spans.items():
        attributes: dict[str, str | int | float] = {
            "service.name": node,
            "service.namespace": "perigrid",
            "service.instance.id": f"{run.run}/{node}",
            "service.version": run.perigrid,
            "perigrid.run": run.run,
            "perigrid.scenario_digest": run.scenario_digest,
            "perigrid.orbit_rate": run.orbit_rate,
        }
        resource = {"attributes": _attributes(attributes)}
        resources.append({"resource": resource, "scopeSpans": [{"scope": scope, "spans": found}]})
    return msgspec.json.encode({"resourceSpans": resources})


def _spans(trace: Trace, run: _Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every span with its node, parents first."""
    epoch = run.epoch if run.epoch.tzinfo else run.epoch.replace(tzinfo=UTC)
    epoch_ns = (epoch - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    numbers = itertools.count()

    def walk(span: Span, parent: str, root: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        identity = _span_id(trace, next(numbers))
        found: dict[str, Any] = {"traceId": trace.trace_id.hex(), "spanId": identity}
        if parent:
            found["parentSpanId"] = parent
        found |= {
            "flags": 1 | HAS_IS_REMOTE | (IS_REMOTE if parent and root else 0),
            "name": span.name,
            "kind": SERVER if root else INTERNAL,
            "startTimeUnixNano": str(epoch_ns + round(span.start_s * 1e9)),
            # Rounded sums of seconds may end a nanosecond before they begin.
            "endTimeUnixNano": str(epoch_ns + round(max(span.start_s, span.end_s) * 1e9)),
        }
        if span.attributes:
            found["attributes"] = _attributes(span.attributes)
        if root and trace.failed:
            found["status"] = {"code": ERROR}
        yield span.node, found
        for child in span.children:
            yield from walk(child, identity, root=False)

    return walk(trace.root, trace.parent.hex(), root=True)


def _span_id(trace: Trace, number: int) -> str:
    """Eight bytes that no other span of the trace has, but for one chance in 2^64; never all zeros."""
    name = f"{trace.key}/{trace.parent.hex()}/{number}".encode()
    found = blake2b(name, digest_size=SPAN_ID_BYTES, key=trace.trace_id).digest()
    return (found if any(found) else b"\1" * SPAN_ID_BYTES).hex()


def _attributes(values: Attributes) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: str | int | float) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"doubleValue": value}
