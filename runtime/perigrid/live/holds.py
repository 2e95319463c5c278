"""Who asks emulated time to wait, and how does everybody hear that it goes on?

A host process says up to which emulated moment time may run: the least due time of what is computed for its satellites
and is not there yet, or the arrival of a request that its gateway has in hand. The supervisor hears all of them over
sockets of their own and stops the clock at the least (`governor.py` decides, `ClockPage.stop_at` does it). When time
that has stood goes on, each host gets a byte, since its loop may sleep until something that was far away. A hold
belongs to a connection: when a process dies, the kernel closes that, and nothing waits for it any more.

Time is granted for some milliseconds of the wall at a time. Where this whole machine stops for a moment, as virtual
ones do, nobody could ask for a hold; but nobody grants more time either.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Hashable
from pathlib import Path

from perigrid.live.clock import AT_ONCE_S, NEVER_S, ClockPage
from perigrid.live.governor import Action, Ceiling, Event, Gone, Governor, Limit, Released, SetRate, Skip, StopAt, Tick
from perigrid.live.lateness import TOLERANCE_S, LatenessMeter
from perigrid.live.watch import Watch

HOLDS_SOCKET = "sockets/holds"
MESSAGE = struct.Struct("<cQQd")
"""Kind; which host this is, or a ceiling, or how many releases there were, how many were late, and the worst by the
wall."""

HERE, CEILING, RELEASED = b"H", b"C", b"R"
NOBODY = -1
GOES_ON = b"!"
BACKLOG = 512
TICK_S = 0.1
GRANT_TOLERANCE = 0.5
"""The part of the tolerance that is granted ahead of now, within these bounds in seconds of the wall."""

LEAST_GRANT_S, MOST_GRANT_S = 0.005, 0.05
GRANTS_AHEAD = 2
"""A grant is renewed so many times while it lasts."""

STANDING_LOOK_S = 0.001
"""How often it is looked, seconds of the wall, while time waits for a process that is behind."""

STALLED_S = 0.01
"""A renewal that comes this much too late, seconds of the wall, means that the machine stood still: whatever was due
meanwhile is given as long to catch up before time goes on."""

REPORT_S = 0.1
"""How often a host tells of its releases, seconds of the wall, while there are some."""


class HoldServer:
    """Hears the holds of all hosts and governs the clock; runs in a thread of the supervisor's."""

    def __init__(self, path: Path, clock: ClockPage, governor: Governor, watch: Watch) -> None:
        self.governor = governor
        self._watch = watch
        self._clock = clock
        self._deciding = threading.Lock()
        self._numbers: dict[socket.socket, int] = {}
        self._ceiling_s = NEVER_S
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(os.fspath(path))
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Govern no more; the clock goes on as it does."""
        self._closing.set()
        self._thread.join()
        for opened in (*self._numbers, self._listener):
            opened.close()
        self._selector.close()

    def limit(self, rate: float) -> None:
        """No rate above this one from now on; may be said from any thread."""
        self._take(Limit(rate))

    def skip(self, rate: float) -> None:
        """Let time pass at this rate where nothing holds it; 0 ends that. May be said from any thread."""
        self._take(Skip(rate))

    def _run(self) -> None:
        tick_s = renew_s = time.monotonic()
        while not self._closing.is_set():
            for key, _ in self._selector.select(max(0.0, renew_s - time.monotonic())):
                connection = key.fileobj
                if connection is self._listener:
                    self._accept()
                elif isinstance(connection, socket.socket):
                    self._read(connection)
            wall_s = time.monotonic()
            if wall_s >= tick_s:
                tick_s = wall_s + TICK_S
                self._take(Tick())
            if wall_s >= renew_s:
                with self._deciding:
                    granted_s = self._grant(wall_s > renew_s + STALLED_S)
                renew_s = wall_s + granted_s / GRANTS_AHEAD

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._numbers[connection] = NOBODY
            self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        host = self._numbers[connection]
        try:
            message = connection.recv(MESSAGE.size)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if len(message) != MESSAGE.size:
            self._selector.unregister(connection)
            del self._numbers[connection]
            connection.close()
            self._gone(host)
            return
        kind, count, late, value = MESSAGE.unpack(message)
        if kind == HERE:
            self._numbers[connection] = count
            self._watch.there(count, True)
            return
        self._take(Ceiling(host, value) if kind == CEILING else Released(count, late, value))

    def _gone(self, host: int) -> None:
        # One that was started anew may be here already.
        if host != NOBODY and host not in self._numbers.values():
            self._watch.there(host, False)
            self._take(Gone(host))

    def _take(self, event: Event) -> None:
        with self._deciding:
            wall_s, reading = self._clock.look()
            self._do(self.governor.handle(wall_s, reading.stands_at(wall_s), event))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case StopAt(stop_s):
                    self._ceiling_s = stop_s
                    self._grant(stalled=False)
                case SetRate(rate):
                    self._clock.set_rate(rate)

    def _grant(self, stalled: bool) -> float:
        """Let time run up to the least ceiling, but only for a moment; how long that is, seconds of the wall."""
        grant_s = LEAST_GRANT_S
        if self._clock.rate > 0:
            grant_s = min(MOST_GRANT_S, max(LEAST_GRANT_S, GRANT_TOLERANCE * TOLERANCE_S / self._clock.rate))
        wall_s, reading = self._clock.look()
        now_s = reading.emulated_at(wall_s)
        self.governor.look(wall_s, reading.stands_at(wall_s))
        watched_s = self._watch.limit_s(wall_s, now_s)
        stop_s = min(self._ceiling_s, watched_s, now_s + grant_s * self._clock.rate)
        if self._clock.stop_at(stop_s, STALLED_S if stalled else AT_ONCE_S):
            self._wake_all()
        return STANDING_LOOK_S * GRANTS_AHEAD if watched_s <= now_s else grant_s

    def _wake_all(self) -> None:
        for connection in list(self._numbers):
            # A full buffer is full of the same word.
            with contextlib.suppress(OSError):
                connection.send(GOES_ON)


class Holds:
    """One host process's side. Keys are whatever tells one hold from another; may be used from any thread."""

    def __init__(self, path: str, host: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(path)
        self._socket.send(MESSAGE.pack(HERE, host, 0, 0.0))
        self._ceilings: dict[Hashable, float] = {}
        self._said_s = NEVER_S
        self._lock = threading.Lock()
        self._report_s = 0.0

    @property
    def descriptor(self) -> int:
        """Can be read when time goes on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hold nothing any more."""
        self._socket.close()

    def hold(self, key: Hashable, due_s: float) -> None:
        """Time is not to pass this emulated moment."""
        with self._lock:
            self._ceilings[key] = due_s
            self._say()

    def lift(self, key: Hashable) -> None:
        """For this, time may go on; also where it was never held."""
        with self._lock:
            if self._ceilings.pop(key, None) is not None:
                self._say()

    def report(self, meter: LatenessMeter) -> None:
        """Tell of the releases since the last time, unless that was just now."""
        wall_s = time.monotonic()
        if wall_s < self._report_s:
            return
        self._report_s = wall_s + REPORT_S
        releases, late, worst_s = meter.recent()
        if releases:
            self._send(MESSAGE.pack(RELEASED, releases, late, worst_s))

    def hear(self) -> None:
        """Take note of what woke this process."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self._socket.recv(16, socket.MSG_DONTWAIT):
                pass

    def _say(self) -> None:
        least_s = min(self._ceilings.values(), default=NEVER_S)
        if least_s != self._said_s:
            self._said_s = least_s
            self._send(MESSAGE.pack(CEILING, 0, 0, least_s))

    def _send(self, message: bytes) -> None:
        # Where the supervisor is gone, this process is about to be.
        with contextlib.suppress(OSError):
            self._socket.send(message)
