"""Who may compute now?

A machine has so many cores, and a constellation many more computers. Each inference holds one of as many tokens as
there are cores, so that twelve busy satellites on two cores do not slow each other down sixfold. The one that is due
first gets the next token. A token is held by a connection: when its holder dies, the kernel closes that, and the token
is free again. Waiting for one is `desk_wait`, a stage of the desk's, never of the orbit's.
"""

from __future__ import annotations

import heapq
import os
import selectors
import socket
import struct
import threading
import time
from pathlib import Path

ASK = struct.Struct("<d")
GRANT = b"G"
RELEASE = b"R"
BACKLOG = 256
HANG_LIMIT_S = 60.0
"""A token held longer than this in one go means that the model hangs: its payload process ends itself."""

HANG_EXIT_STATUS = 70


class CoreServer:
    """Gives out the tokens; runs in a thread of the supervisor's."""

    def __init__(self, path: Path, cores: int) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(os.fspath(path))
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self._free = cores
        self._waiting: list[tuple[float, int, socket.socket]] = []
        self._holders: set[socket.socket] = set()
        self._count = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        threading.Thread(target=self._run, name="cores", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many wait for a token."""
        return len(self._waiting)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                connection = key.fileobj
                if connection is self._listener:
                    self._accept()
                elif isinstance(connection, socket.socket):
                    self._read(connection)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        try:
            message = connection.recv(64)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if len(message) == ASK.size:
            self._count += 1
            heapq.heappush(self._waiting, (ASK.unpack(message)[0], self._count, connection))
        else:
            if connection in self._holders:
                self._holders.discard(connection)
                self._free += 1
            if message != RELEASE:
                self._selector.unregister(connection)
                connection.close()
        self._grant()

    def _grant(self) -> None:
        while self._free and self._waiting:
            _, _, connection = heapq.heappop(self._waiting)
            try:
                connection.send(GRANT)
            except OSError:
                continue
            self._holders.add(connection)
            self._free -= 1


class CoreClient:
    """One process's side: a connection for each of its threads. Fulfils the worker's CoreGate."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._local = threading.local()
        self._held_since: dict[int, float] = {}
        threading.Thread(target=self._watch_for_hangs, name="hangs", daemon=True).start()

    def acquire(self, due_s: float) -> None:
        """Wait for a token; the earliest due (monotonic wall seconds) gets the next one."""
        connection = self._connection()
        connection.send(ASK.pack(due_s))
        if connection.recv(1) != GRANT:
            raise ConnectionError("the server of core tokens is gone")
        self._held_since[threading.get_ident()] = time.monotonic()

    def release(self) -> None:
        """Give the token back."""
        self._held_since.pop(threading.get_ident(), None)
        self._connection().send(RELEASE)

    def _connection(self) -> socket.socket:
        connection: socket.socket | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.connect(self._path)
            self._local.connection = connection
        return connection

    def _watch_for_hangs(self) -> None:
        while True:
            time.sleep(HANG_LIMIT_S / 10)
            now_s = time.monotonic()
            if any(now_s - since_s > HANG_LIMIT_S for since_s in list(self._held_since.values())):
                os._exit(HANG_EXIT_STATUS)
