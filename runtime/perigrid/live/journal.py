"""What does the ground remember through a crash?

The journal is a SQLite database (WAL, synchronous=FULL) of records, oldest first. Batches are committed in groups by a
thread of their own: 64 records a commit are 31 times faster than one. Results' bytes go to an append-only file beside
it, flushed before the commit that names them; the journal holds their hashes.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from perigrid.errors import CorruptFile
from perigrid.live.blobs import HeldBlob, held, view_of
from perigrid.node.blobs import Piece
from perigrid.node.records import Record

JOURNAL_VERSION = 1
MAX_GROUP = 256
"""Batches committed together at most."""

ENTRY = struct.Struct("<4s32sI")
ENTRY_MAGIC = b"PGR1"

Done = Callable[[], None]


class ResultsFile:
    """Results' bytes, appended; each entry names its hash and length, so that the file explains itself."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._places: dict[bytes, tuple[int, int]] = {}
        self._end = self._scan()
        self._flushed = self._end

    def append(self, pieces: Sequence[Piece], digest: bytes) -> HeldBlob:
        """Append a result unless it is there; its handle. Not durable before `flush`."""
        body = b"".join(view_of(piece) for piece in pieces)
        blob = held(body)
        if blob.digest != digest or digest in self._places:
            return blob
        entry = ENTRY.pack(ENTRY_MAGIC, digest, len(body)) + body
        os.pwrite(self._descriptor, entry, self._end)
        self._places[digest] = (self._end + ENTRY.size, len(body))
        self._end += len(entry)
        return blob

    def flush(self) -> None:
        """Make what was appended durable."""
        end = self._end
        if end > self._flushed:
            os.fdatasync(self._descriptor)
            self._flushed = end

    def read(self, digest: bytes) -> bytes:
        """A result's bytes; CorruptFile where they are not there."""
        place = self._places.get(digest)
        if place is None:
            raise CorruptFile(f"the results file has no entry {digest.hex()}; it was truncated or replaced.")
        return os.pread(self._descriptor, place[1], place[0])

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _scan(self) -> int:
        """Find the entries; what a crash left half written at the end is cut off."""
        size, offset = os.fstat(self._descriptor).st_size, 0
        while offset + ENTRY.size <= size:
            magic, digest, length = ENTRY.unpack(os.pread(self._descriptor, ENTRY.size, offset))
            if magic != ENTRY_MAGIC or offset + ENTRY.size + length > size:
                break
            self._places[digest] = (offset + ENTRY.size, length)
            offset += ENTRY.size + length
        os.ftruncate(self._descriptor, offset)
        return offset


class Journal:
    """The journal and its committing thread. `on_durable` runs in that thread, once a batch is durable, in order."""

    def __init__(self, path: Path, results: ResultsFile, on_error: Callable[[Exception], None]) -> None:
        self._results = results
        self._on_error = on_error
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._open(path)
        self._batches: queue.SimpleQueue[tuple[tuple[Record, ...], Done] | None] = queue.SimpleQueue()
        self._encoder = msgspec.json.Encoder()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def records(self) -> tuple[Record, ...]:
        """Everything that is durable, oldest first. Called before the first append."""
        decoder = msgspec.json.Decoder(Record)
        rows = self._connection.execute("SELECT body FROM journal ORDER BY number").fetchall()
        return tuple(decoder.decode(body) for (body,) in rows)

    def boots(self) -> int:
        """How often this journal was opened, this time included."""
        self._connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'boots'")
        return int(self._connection.execute("SELECT value FROM meta WHERE name = 'boots'").fetchone()[0])

    def append(self, records: tuple[Record, ...], on_durable: Done) -> None:
        """Queue a batch. An empty one only waits for those before it."""
        self._batches.put((records, on_durable))

    def close(self) -> None:
        """Commit what is queued, and end the thread."""
        self._batches.put(None)
        self._thread.join(timeout=10)
        self._connection.close()

    def _open(self, path: Path) -> None:
        run = self._connection.execute
        try:
            run("PRAGMA journal_mode = WAL")
            run("PRAGMA synchronous = FULL")
            run("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
            run("CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY KEY, body BLOB NOT NULL)")
            run("INSERT OR IGNORE INTO meta VALUES ('version', ?), ('boots', 0)", (JOURNAL_VERSION,))
            version = run("SELECT value FROM meta WHERE name = 'version'").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise CorruptFile(f"journal {path} cannot be read ({error}); bring the run up again.") from error
        if version != JOURNAL_VERSION:
            raise CorruptFile(f"journal {path} has version {version}, this is {JOURNAL_VERSION}.")

    def _run(self) -> None:
        ended = False
        while not ended:
            group = [self._batches.get()]
            while len(group) < MAX_GROUP and not self._batches.empty():
                group.append(self._batches.get())
            ended = None in group
            try:
                self._commit([batch for batch in group if batch is not None])
            except Exception as error:
                # Whoever hosts the journal decides; nothing of the group is acknowledged.
                self._on_error(error)
                return

    def _commit(self, group: list[tuple[tuple[Record, ...], Done]]) -> None:
        bodies = [(self._encoder.encode(record),) for records, _ in group for record in records]
        if bodies:
            self._results.flush()
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO journal (body) VALUES (?)", bodies)
            self._connection.execute("COMMIT")
        for _, on_durable in group:
            on_durable()
