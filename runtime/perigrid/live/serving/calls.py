"""What do a gRPC call and a stream of requests mean to who computes?

A call is a caller: it is alive, has a deadline, and says when it ends. A stream is a row of requests that are answered
one after the other, each with its response or its cause; gRPC holds back a client that sends faster than that, and one
that does not read keeps one response in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from perigrid.errors import PerigridError
from perigrid.live.forms import code_of, said_of
from perigrid.live.serving.health import Places
from perigrid.live.serving.line import Listener
from perigrid.live.serving.parameters import seconds_of
from perigrid.wire.generated import open_inference_pb2 as protocol

STATUS_HEADER = ("triton_grpc_error", "true")
"""Metadata of a client that wants a stream to end with the status of the first request that fails, as in Triton."""

FINAL = "triton_final_response"
"""The parameter that says, as in Triton, that a streamed response is its request's last one: here there is only one."""


class CallerOf:
    """The caller behind a gRPC call: fulfils `Caller`.

    gRPC keeps each callback of a call until the call has ended, so there is one, however many requests a stream has.
    """

    __slots__ = ("_context", "_ended", "_listener", "_lock", "_registered")

    def __init__(self, context: Any) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._registered = False
        self._ended = False

    def is_alive(self) -> bool:
        """Whether the client still waits."""
        return bool(self._context.is_active())

    def remaining_s(self) -> float:
        """Wall seconds until the call's deadline; infinite without one."""
        return seconds_of(self._context.time_remaining())

    def metadata(self) -> tuple[tuple[str, Any], ...]:
        """The metadata that the call came with."""
        return tuple(self._context.invocation_metadata())

    def listen(self, listener: Listener | None) -> bool:
        """Whom to call when the call ends, however it does; False where it has ended."""
        with self._lock:
            if self._ended:
                return False
            self._listener = listener
            if listener is None or self._registered:
                return True
            self._registered = True
        if not self._context.add_callback(self._end):
            self._ended = True
            return False
        return True

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            listener, self._listener = self._listener, None
        if listener is not None:
            listener()


def stream(
    requests: Iterable[Any],
    context: Any,
    places: Places,
    infer: Callable[[Any, CallerOf], Any],
    identity: Callable[[Any], str],
) -> Iterator[Any]:
    """Answer a stream's requests; `infer` gives what is sent back, `identity` a request's id.

    A request that fails is answered with its cause, the name of its status before it, and the stream goes on; where the
    client asked for statuses, the stream ends with that.
    """
    with places.taken(context):
        caller = CallerOf(context)
        with_status = STATUS_HEADER in caller.metadata()
        for request in requests:
            try:
                yield infer(request, caller)
            except PerigridError as error:
                code, said = code_of(error), said_of(error)
                if with_status:
                    context.abort(code, said)
                failed = protocol.ModelStreamInferResponse(error_message=f"{code.name}: {said}")
                failed.infer_response.id = identity(request)
                yield failed
