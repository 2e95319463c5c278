"""What happened, for whoever asks later?

One append-only file a run, `events.jsonl`, a JSON line an event: what machines decided and what was done to the
world, with the sky time, and the trace that ties a frame's hops together. docs/events.md describes every kind. All
processes of a run append to it, whole lines at a time, which the kernel keeps apart (O_APPEND); so the lines of one
process are in order, and those of different processes nearly. Reports and later pages are derived from it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from perigrid.errors import CorruptFile, MissingFile
from perigrid.node.actions import Note

EVENT_LOG_FILE = "events.jsonl"
EVENT_LOG_VERSION = 2
MAX_LOG_BYTES = 256 * 1024 * 1024
"""Past this the log says once a process that it is full, and drops what comes: a run's disk use stays bounded."""

MAX_LINE_BYTES = 1024 * 1024
FLUSH_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
FOLLOW_BYTES = 4 * MAX_LINE_BYTES
"""Read at a time by who goes on from a place: more than a line can have, with what a killed process left before it."""

FOLLOW_LOOK_S = 0.1

EVENT_BEGINS = b'{"t":'
"""What every event's line begins with."""

Value = str | int | float | bool | None


class EventLog:
    """One process's hold on its run's event log. `flush` is called once a turn of its loop."""

    def __init__(self, folder: Path, process: str) -> None:
        self.process = process
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(folder / EVENT_LOG_FILE, flags, 0o600)
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self._full = False
        self.counts: dict[str, int] = {}
        """Events since this process began by their kind, those that had no room in the file too."""

    def note(self, sky_s: float, node: str, note: Note) -> None:
        """Append what a machine noted."""
        self.add(sky_s, node, note.what, note.fields, note.trace)

    def add(self, sky_s: float, node: str, what: str, fields: Mapping[str, Any], trace: int = 0) -> None:
        """Append an event; it is in the file after the next `flush`."""
        self.counts[what] = self.counts.get(what, 0) + 1
        if self._full:
            return
        line: dict[str, Any] = {"t": round(sky_s, 6), "wall": round(time.time(), 4), "node": node, "what": what}
        if trace:
            line["trace"] = trace
        line.update(fields)
        encoded = self._encoder.encode(line)
        if len(encoded) > MAX_LINE_BYTES:
            encoded = self._encoder.encode({**_head(line), "left_out_bytes": len(encoded)})
        self._buffer += encoded + b"\n"
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered, whole lines in one call, unless the file is full."""
        if not self._buffer:
            return
        if os.fstat(self._descriptor).st_size + len(self._buffer) > MAX_LOG_BYTES:
            self._full = True
            full = {
                "t": 0.0,
                "wall": time.time(),
                "node": self.process,
                "what": "log-full",
                "limit_bytes": MAX_LOG_BYTES,
            }
            self._buffer = bytearray(self._encoder.encode(full) + b"\n")
        try:
            os.write(self._descriptor, self._buffer)
        except OSError:
            # The disk is full: what happens goes on without being written down.
            self._full = True
        self._buffer.clear()

    def close(self) -> None:
        """Write what has gathered, and close the file."""
        self.flush()
        os.close(self._descriptor)


def _head(line: dict[str, Any]) -> dict[str, Any]:
    """What of an event stays when the rest is too long for a line."""
    return {key: line[key] for key in ("t", "wall", "node", "what", "trace") if key in line}


def append_event(folder: Path, sky_s: float, node: str, what: str, fields: Mapping[str, Any]) -> None:
    """Append one event from outside of the run's processes: the launcher's first line, a client's outcome."""
    log = EventLog(folder, node)
    try:
        log.add(sky_s, node, what, fields)
    finally:
        log.close()


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of a run that are in its file now, in the file's order.

    MissingFile where the run has no event log, CorruptFile where it is of another version or is not one.
    """
    return _events(folder, lambda: False)


def follow_events(folder: Path, goes_on: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """As `read_events`, and then those to come, as long as `goes_on` says so."""
    return _events(folder, goes_on)


def follow_lines(folder: Path, place: int) -> tuple[list[dict[str, Any]], int]:
    """Events from a place of the file on, in bytes, and the place behind them, where there may be more.

    None where there is no file, or nothing new.
    """
    try:
        with (folder / EVENT_LOG_FILE).open("rb") as file:
            file.seek(place)
            text = file.read(FOLLOW_BYTES)
    except FileNotFoundError:
        return [], place
    whole = text[: text.rfind(b"\n") + 1]
    return [_event(line) for line in whole.splitlines()], place + len(whole)


def _events(folder: Path, goes_on: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    path = folder / EVENT_LOG_FILE
    first = True
    for line in _lines(path, goes_on):
        try:
            event = _event(line)
        except msgspec.MsgspecError as error:
            raise CorruptFile(f"{path} holds a line that is no event ({error}); the file was changed.") from error
        if first and (event.get("what") != "run" or event.get("version") != EVENT_LOG_VERSION):
            raise CorruptFile(
                f"{path} does not begin as an event log of version {EVENT_LOG_VERSION}; read it with the perigrid "
                "that wrote it."
            )
        first = False
        yield event


def _event(line: bytes) -> dict[str, Any]:
    """The event of a line; msgspec's error where it is none.

    A process that was killed while it wrote may have left the beginning of an event without its end. Whoever wrote next
    stands behind it on the same line, and is the event then.
    """
    begins = 0
    while True:
        try:
            return msgspec.json.decode(line[begins:], type=dict[str, Any])
        except msgspec.MsgspecError:
            begins = line.find(EVENT_BEGINS, begins + 1)
            if begins < 0:
                raise


def _lines(path: Path, goes_on: Callable[[], bool]) -> Iterator[bytes]:
    """Whole lines, as they come; what a crash left of a last one is not among them."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise MissingFile(f"there is no event log at {path} ({error.strerror}); name a run's directory.") from error
    with file:
        text = b""
        while True:
            # Asked before reading: what was written until then is read in any case.
            more = goes_on()
            data = file.read(READ_BYTES)
            if data:
                *lines, text = (text + data).split(b"\n")
                yield from lines
                if len(text) > MAX_LINE_BYTES:
                    raise CorruptFile(f"{path} has a line of more than {MAX_LINE_BYTES} bytes; the file was changed.")
            elif more:
                time.sleep(FOLLOW_LOOK_S)
            else:
                return
