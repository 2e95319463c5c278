"""Which trace does a request belong to, in the words of W3C Trace Context?

A client may name its trace in the call's metadata (`traceparent: 00-<trace id>-<parent id>-<flags>`). One that does not
gets a trace of its own. Flags whose last bit is 0 ask not to be sampled: then nothing is written down on the way. What
cannot be understood is treated as absent, as the recommendation wants it
(https://www.w3.org/TR/trace-context/#traceparent-header).

A trace that begins here has no parent. It names the last half of its own id as one, by which it is known again: see
`begins_here`.
"""

from __future__ import annotations

import os
import re
from typing import Any

import msgspec

from perigrid.live.eventlog import EventLog
from perigrid.live.loop import Loop
from perigrid.mesh.topology import Mesh
from perigrid.mesh.way import Leg
from perigrid.node.replies import Answered, Reply
from perigrid.node.stages import request_stages

TRACE_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
SAMPLED = 1
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8

MAX_TRACES = 50_000
"""Traces that one life of the ground's process writes down, some kB each: the log keeps room for what else happens."""


def trace_parent_of(metadata: Any) -> bytes:
    """The 25 bytes that frames carry, from a call's metadata; empty where it is not to be traced."""
    said = next((value for key, value in metadata or () if key == "traceparent"), None)
    match = TRACE_PARENT.fullmatch(said) if isinstance(said, str) else None
    if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        trace_id = _random_id()
        return trace_id + trace_id[-SPAN_ID_BYTES:] + bytes([SAMPLED])
    if not int(match[3], 16) & SAMPLED:
        return b""
    return bytes.fromhex(match[1] + match[2] + match[3])


def _random_id() -> bytes:
    """A trace id; neither half of it is all zeros, which no id may be."""
    while True:
        found = os.urandom(TRACE_ID_BYTES)
        if any(found[:SPAN_ID_BYTES]) and any(found[SPAN_ID_BYTES:]):
            return found


def begins_here(trace_parent: bytes) -> bool:
    """Whether no client named this trace, so that what it calls its parent is nobody's span."""
    end = TRACE_ID_BYTES + SPAN_ID_BYTES
    return trace_parent[TRACE_ID_BYTES:end] == trace_parent[TRACE_ID_BYTES - SPAN_ID_BYTES : TRACE_ID_BYTES]


def trace_parent_text(trace_parent: bytes) -> str:
    """As the header has it; empty for what is not traced."""
    if not trace_parent:
        return ""
    return f"00-{trace_parent[:16].hex()}-{trace_parent[16:24].hex()}-{trace_parent[24:].hex()}"


def legs_as_words(legs: tuple[Leg, ...], mesh: Mesh) -> list[dict[str, Any]]:
    """A way with the names of its nodes; emulated seconds."""
    words = []
    for leg in legs:
        times = {field: round(getattr(leg, field), 9) for field in LEG_TIMES}
        ends = {"from": mesh.names[leg.sender], "to": mesh.names[leg.link.other(leg.sender)]}
        words.append({**ends, "kind": leg.link.kind.name.lower(), **times})
    return words


def breakdown(answer: Answered, mesh: Mesh) -> dict[str, Any]:
    """Where an answered request's time went: its stages, and the links of its way up and down."""
    return {
        "stages": request_stages(answer),
        "asked_s": answer.asked_sky_s,
        "answered_s": answer.answered_sky_s,
        "up": legs_as_words(answer.stages.up, mesh),
        "down": legs_as_words(answer.down, mesh),
    }


def breakdown_text(answer: Answered, mesh: Mesh) -> str:
    """The same as JSON."""
    return msgspec.json.encode(breakdown(answer, mesh)).decode()


class Tracer:
    """Writes into the event log where the time of traced requests went; on the ground.

    What is not to be traced is not written down. Past `limit` traces it says so once, and writes no more.
    """

    def __init__(self, mesh: Mesh, loop: Loop, log: EventLog, limit: int = MAX_TRACES) -> None:
        self._mesh = mesh
        self._loop = loop
        self._log = log
        self._limit = limit
        self._count = 0

    def tell(self, client: int, reply: Reply) -> None:
        """Take a reply, if it is a traced request's answer."""
        if not isinstance(reply, Answered) or not reply.trace_parent or self._count > self._limit:
            return
        self._count += 1
        now_s = self._loop.now_s()
        if self._count > self._limit:
            self._log.add(now_s, "ground", "traces-full", {"limit": self._limit})
            return
        fields = {
            "request": reply.request,
            "satellite": reply.satellite,
            "attempt": reply.attempt,
            "hops": reply.hops,
            "bytes": reply.blob.length,
            **breakdown(reply, self._mesh),
            "desk_wait_s": reply.stages.desk_wait_s,
            "cpu_s": reply.stages.cpu_s,
            "traceparent": trace_parent_text(reply.trace_parent),
        }
        self._log.add(now_s, "ground", "traced", fields)


LEG_TIMES = tuple(f.name for f in msgspec.structs.fields(Leg) if f.name not in ("link", "sender"))
"""The numbers of a leg: sky times of coming and arriving, and the five parts between."""
