"""What happened, for whoever asks later?

One append-only file a process, a JSON line an event: the notes that machines decided, with the sky time and the trace
that ties a frame's hops together. The first line names the version. Status, metrics and reports are derived from it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from perigrid.node.actions import Note

EVENT_LOG_VERSION = 1
MAX_LOG_BYTES = 256 * 1024 * 1024
"""Past this the log says once that it is full, and drops what comes: a run's disk use stays bounded."""

FLUSH_BYTES = 64 * 1024


class EventLog:
    """The event log of one process. `flush` is called once a turn of its loop."""

    def __init__(self, path: Path | str, process: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self._written = os.fstat(self._descriptor).st_size
        self._full = self._written >= MAX_LOG_BYTES
        self._add({"version": EVENT_LOG_VERSION, "process": process, "pid": os.getpid()})

    def note(self, sky_s: float, node: str, note: Note) -> None:
        """Append one note."""
        line: dict[str, object] = {"t": round(sky_s, 6), "node": node, "what": note.what}
        if note.trace:
            line["trace"] = note.trace
        if note.fields:
            line.update(note.fields)
        self._add(line)

    def flush(self) -> None:
        """Write what has gathered."""
        if self._buffer:
            os.write(self._descriptor, self._buffer)
            self._written += len(self._buffer)
            self._buffer.clear()

    def _add(self, line: dict[str, object]) -> None:
        if self._full:
            return
        if self._written + len(self._buffer) > MAX_LOG_BYTES:
            self._full = True
            line = {"what": "log-full", "limit_bytes": MAX_LOG_BYTES}
        self._buffer += self._encoder.encode(line) + b"\n"
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()
