"""How is a worker asked over HTTP?

The Open Inference Protocol's REST form with Triton's extension for binary tensors: a body is a head in JSON, of
`Inference-Header-Content-Length` bytes, and the tensors' bytes behind it. It is a second front of the same worker: a
request becomes the ModelInferRequest that it would be over gRPC, so it is checked, queued and refused alike. A small
request costs a fraction of what gRPC takes, as one thread reads, computes and writes.

    GET  /v2, /v2/health/live, /v2/health/ready, /v2/models/NAME, /v2/models/NAME/ready
    POST /v2/models/NAME/infer                               all of models also as /v2/models/NAME/versions/VERSION

Connections are bounded, each has a thread, and none may be silent for longer than IDLE_S. A client that hangs up, or
closes its half of the connection, while it waits in the line is noticed when its turn comes. Chunked and compressed
bodies are refused; so is whatever is not HTTP/1.1 by the book, as two readers of an ambiguous head may differ on where
the next request begins.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

import grpc
import msgspec

import perigrid
from perigrid.errors import DataError, EnvironmentProblem, PerigridError
from perigrid.live.forms import MODEL_VERSION, code_of, said_of
from perigrid.live.serving import tensors_json
from perigrid.live.serving.line import Listener
from perigrid.live.serving.messages import SMALL_BYTES, Raw

if TYPE_CHECKING:
    from perigrid.live.worker import Worker

MAX_HEAD_BYTES = 16 * 1024
"""Longest request line and headers together."""

KEPT_BYTES = 4 * 1024**2
"""A connection keeps the memory of a body up to this size for the next one."""

ALIGNMENT_BYTES = 64
IDLE_S = 60.0
DRAIN_S, DRAINED_READS = 0.5, 64
BACKLOG = 64
END = b"\r\n\r\n"
JSON_LENGTH = "inference-header-content-length"
EXTENSIONS = ("binary_tensor_data",)

_STATUSES = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}


class _Refused(Exception):
    """What is answered with a status and ends the connection, as it is unknown where the next request begins."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class _Hanging:
    """The caller behind a connection: fulfils `Caller`, without a deadline of its own."""

    __slots__ = ("_connection", "_poll")

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def is_alive(self) -> bool:
        """Whether the client has not hung up."""
        if not self._poll.poll(0):
            return True
        try:
            # There is something to be read, the next request or the end.
            return self._connection.recv(1, socket.MSG_PEEK) != b""
        except OSError:
            return False

    def remaining_s(self) -> float:
        """For ever; a request's own `timeout` is in its parameters."""
        return math.inf

    def listen(self, listener: Listener | None) -> bool:
        """Nobody is told of a client that hangs up: it is asked for when its turn comes."""
        return True


class _Head(msgspec.Struct, frozen=True):
    """A request's line and headers, names in lower case."""

    method: str
    path: str
    headers: dict[str, str]

    def number(self, name: str) -> int:
        """A header that is a whole number; 0 where it is not given."""
        text = self.headers.get(name, "0")
        if not (text.isascii() and text.isdecimal()) or len(text) > 18:
            raise _Refused(400, f"the header {name} is {text!r}: give a whole number")
        return int(text)


def read_head(data: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, path and headers (names in lower case) of a request's head; `ValueError` for what is not by the book."""
    first, *lines = data.decode("ascii").split("\r\n")
    method, path, version = first.split(" ")
    if version != "HTTP/1.1" or not path.startswith("/"):
        raise ValueError(f"the request line is {first[:80]!r}: send HTTP/1.1 and a path")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        key = name.lower()
        if not colon or not name or not name.replace("-", "").replace("_", "").isalnum() or "\n" in line:
            raise ValueError(f"the header {line[:80]!r} is none")
        if key in headers and key in ("content-length", JSON_LENGTH):
            raise ValueError(f"the header {name} came twice")
        headers[key] = value.strip()
    return method, path, headers


class _Connection:
    """One client's requests, one after the other."""

    def __init__(self, worker: Worker, connection: socket.socket) -> None:
        self._worker = worker
        self._connection = connection
        self._caller = _Hanging(connection)
        self._read = bytearray(MAX_HEAD_BYTES)
        self._have = 0
        self._body = bytearray()

    def run(self) -> None:
        """Until it ends, is silent for too long, or sends what cannot be understood."""
        try:
            while (head := self._head()) is not None:
                body, json_bytes = self._content(head)
                status, said, raw, headers = self._answered(head, body, json_bytes)
                self._send(status, said, raw, headers)
                if head.headers.get("connection", "").lower() == "close":
                    return
        except _Refused as error:
            with contextlib.suppress(OSError):
                self._send(error.status, _said(str(error)), [], "Connection: close\r\n")
                self._drain()
        except OSError:
            return

    def _drain(self) -> None:
        """Closing while a client still sends would take the answer away from it, so a little more is read."""
        self._connection.shutdown(socket.SHUT_WR)
        self._connection.settimeout(DRAIN_S)
        for _ in range(DRAINED_READS):
            if not self._connection.recv(MAX_HEAD_BYTES):
                return

    def _head(self) -> _Head | None:
        while (end := self._read.find(END, 0, self._have)) < 0:
            if self._have == MAX_HEAD_BYTES:
                raise _Refused(431, f"the request line and headers have more than {MAX_HEAD_BYTES} bytes")
            if not self._more():
                return None
        try:
            head = _Head(*read_head(bytes(memoryview(self._read)[:end])))
        except ValueError as error:
            raise _Refused(400, f"this is no request of HTTP/1.1: {error}") from error
        self._drop(end + len(END))
        return head

    def _more(self) -> int:
        got = self._connection.recv_into(memoryview(self._read)[self._have :])
        self._have += got
        return got

    def _drop(self, count: int) -> None:
        self._read[: self._have - count] = self._read[count : self._have]
        self._have -= count

    def _content(self, head: _Head) -> tuple[memoryview, int]:
        """A body, and how many of its bytes are JSON; valid until the next one is read."""
        if "transfer-encoding" in head.headers or head.headers.get("content-encoding", "identity") != "identity":
            raise _Refused(501, "a body that is chunked or compressed is not taken: send it as it is, with its length")
        size, limit = head.number("content-length"), self._worker.limits.max_message_bytes
        if size > limit:
            raise _Refused(413, f"the body has {size} bytes, and {limit} may be: send less a request")
        json_bytes = head.number(JSON_LENGTH) if JSON_LENGTH in head.headers else size
        if json_bytes > size:
            raise _Refused(400, f"{JSON_LENGTH} is {json_bytes}, and the body has {size} bytes")
        if head.headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        # So that the tensors behind the JSON begin where numbers may, and need no copy.
        start = -json_bytes % ALIGNMENT_BYTES
        if len(self._body) < start + size or len(self._body) > max(KEPT_BYTES, start + size):
            self._body = bytearray(start + size)
        body = memoryview(self._body)[start : start + size]
        got = min(self._have, size)
        body[:got] = memoryview(self._read)[:got]
        self._drop(got)
        while got < size:
            more = self._connection.recv_into(body[got:])
            if not more:
                raise ConnectionResetError
            got += more
        return body, json_bytes

    def _answered(self, head: _Head, body: memoryview, json_bytes: int) -> tuple[int, bytes, list[Raw], str]:
        try:
            match [head.method, *(unquote(part) for part in head.path.partition("?")[0].split("/")[1:])]:
                case ["POST", "v2", "models", name, "infer"]:
                    return self._infer(name, "", body, json_bytes)
                case ["POST", "v2", "models", name, "versions", version, "infer"]:
                    return self._infer(name, version, body, json_bytes)
                case ["GET", "v2", *rest]:
                    return self._asked(rest)
        except PerigridError as error:
            return _STATUSES.get(code_of(error), 500), _said(said_of(error)), [], ""
        return 404, _said(f"there is no {head.method} {head.path[:200]} here: see /v2"), [], ""

    def _infer(self, name: str, version: str, body: memoryview, json_bytes: int) -> tuple[int, bytes, list[Raw], str]:
        request, binary = tensors_json.read(name, version, body[:json_bytes], body[json_bytes:])
        said, raw = tensors_json.write(self._worker.answer(request, self._caller), binary)
        return 200, said, raw, f"Inference-Header-Content-Length: {len(said)}\r\n" if raw else ""

    def _asked(self, rest: list[str]) -> tuple[int, bytes, list[Raw], str]:
        worker = self._worker
        match rest:
            case [] | [""]:
                server = {"name": worker.name, "version": perigrid.__version__, "extensions": EXTENSIONS}
                return 200, msgspec.json.encode(server), [], ""
            case ["health", "live" | "ready"]:
                return 200, b"", [], ""
            case ["models", name, "ready"] | ["models", name, "versions", _, "ready"]:
                worker.find(name, rest[3] if len(rest) == 5 else "")
                return 200, b"", [], ""
            case ["models", name] | ["models", name, "versions", _]:
                served = worker.find(name, rest[3] if len(rest) == 4 else "")
                model: dict[str, object] = {
                    "name": served.name,
                    "versions": [MODEL_VERSION],
                    "platform": served.platform,
                }
                for key, tensors in (("inputs", served.inputs), ("outputs", served.outputs)):
                    model[key] = [{"name": t.name, "datatype": t.dtype, "shape": t.shape} for t in tensors]
                return 200, msgspec.json.encode(model), [], ""
        return 404, _said(f"there is no GET /v2/{'/'.join(rest)[:200]} here: see /v2"), [], ""

    def _send(self, status: int, said: bytes, raw: list[Raw], headers: str) -> None:
        size = len(said) + sum(map(len, raw))
        kind = "octet-stream" if raw else "json"
        first = f"HTTP/1.1 {status} \r\nContent-Type: application/{kind}\r\n{headers}Content-Length: {size}\r\n\r\n"
        parts = [first.encode(), said, *raw]
        for part in [b"".join(parts)] if size <= SMALL_BYTES else parts:
            self._connection.sendall(part)


def _said(text: str) -> bytes:
    return msgspec.json.encode({"error": text})


class Front:
    """A worker's HTTP server, which `start` gives.

    `address` is where it listens, with the port that it was given.
    """

    def __init__(self, worker: Worker, listening: socket.socket, address: str) -> None:
        self.address = address
        self._worker = worker
        self._listening = listening
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name=f"{worker.name}-http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more, and hang up."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(IDLE_S)
            with self._lock:
                free = len(self._open) < self._worker.limits.calls
                if free:
                    self._open.add(connection)
            self._begin(connection, self._serve if free else _turn_away)

    def _begin(self, connection: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        if serve is _turn_away:
            serve(connection)
            return
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), name=f"{self._worker.name}-http", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            _Connection(self._worker, connection).run()
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _turn_away(connection: socket.socket) -> None:
    said = _said("as many connections are open here as may be: close one")
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 503 \r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
    connection.close()


def start(address: str, worker: Worker) -> Front:
    """Listen on `unix:PATH` or on the loopback's `127.0.0.1:PORT`, 0 for a free one.

    DataError for another address, EnvironmentProblem when it cannot be listened on. The caller stops it.
    """
    try:
        if address.startswith("unix:"):
            with contextlib.ExitStack() as failing:
                listening = failing.enter_context(socket.socket(socket.AF_UNIX))
                listening.bind(address.removeprefix("unix:"))
                listening.listen(BACKLOG)
                failing.pop_all()
            return Front(worker, listening, address)
        host, _, port = address.rpartition(":")
        if host not in ("127.0.0.1", "localhost") or not port.isdecimal():
            raise DataError(f"address {address!r}: give unix:PATH or 127.0.0.1:PORT, as requests are not encrypted")
        listening = socket.create_server((host, int(port)), backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise EnvironmentProblem(f"worker {worker.name!r} cannot listen on {address} ({error})") from error
    return Front(worker, listening, f"127.0.0.1:{listening.getsockname()[1]}")
