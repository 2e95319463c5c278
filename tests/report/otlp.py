"""How do tests read OTLP/JSON as its own messages do?

By the `TracesData` of opentelemetry-proto. OTLP/JSON is protobuf's mapping to JSON but for ids of traces and spans,
which are hex there and base64 in protobuf's; so they are turned before its own parser has the rest.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.trace.v1 import trace_pb2

IDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


@dataclass(frozen=True, slots=True)
class Read:
    """A span with its resource's service; times in nanoseconds."""

    service: str
    span: Any
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.span.name)

    @property
    def trace(self) -> str:
        return str(self.span.trace_id.hex())

    @property
    def identity(self) -> str:
        return str(self.span.span_id.hex())

    @property
    def parent(self) -> str:
        return str(self.span.parent_span_id.hex())

    @property
    def start_ns(self) -> int:
        return int(self.span.start_time_unix_nano)

    @property
    def end_ns(self) -> int:
        return int(self.span.end_time_unix_nano)


def read(path: Path) -> list[Read]:
    """All spans of a file; an assertion, or protobuf's ParseError, for what no OTLP receiver would take."""
    found = []
    for line in path.read_bytes().splitlines():
        data = json_format.ParseDict(turned(json.loads(line)), trace_pb2.TracesData())
        for resource in data.resource_spans:
            service = values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                found += [Read(service, span, values(span.attributes)) for span in scope.spans]
    return found


def turned(value: Any) -> Any:
    """The same with ids as protobuf's mapping has them."""
    if isinstance(value, list):
        return [turned(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, one in value.items():
        if key in IDS:
            data = bytes.fromhex(one)
            assert len(data) == IDS[key] and any(data), f"{key} {one!r}"
            found[key] = base64.b64encode(data).decode()
        else:
            found[key] = turned(one)
    return found


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a table; no key comes twice."""
    found = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
    assert len(found) == len(attributes)
    return found


def children(spans: list[Read], parent: Read) -> list[Read]:
    """Those right below a span, in the order of time."""
    below = [one for one in spans if one.parent == parent.identity and one.trace == parent.trace]
    return sorted(below, key=lambda one: (one.start_ns, one.end_ns))


def check_tree(spans: list[Read]) -> None:
    """No id twice in a trace, every parent is there but for roots', and every span is within its parent."""
    known = {(one.trace, one.identity): one for one in spans}
    assert len(known) == len(spans)
    for one in spans:
        assert one.start_ns <= one.end_ns
        parent = known.get((one.trace, one.parent))
        if parent is not None:
            assert parent.start_ns <= one.start_ns and one.end_ns <= parent.end_ns, (parent.name, one.name)
