"""Does a server say by grpc.health whether it takes requests, and which services it has?

SERVING once a model can be asked and none is being loaded, else NOT_SERVING. Watch tells each change. Watchers are
bounded, and so are the streams of reflection, as each holds a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

SERVICE = "inference.GRPCInferenceService"
_WATCHED = ("", SERVICE)


class Health(health.HealthServicer):  # type: ignore[misc]
    """grpc.health of one server: not serving until it is said that it is.

    Args:
        max_watchers: calls of Watch that are open; the next is refused with RESOURCE_EXHAUSTED.
    """

    def __init__(self, max_watchers: int) -> None:
        super().__init__()
        self._places = Places(max_watchers, "calls of Watch")
        self.say(False)

    def say(self, serving: bool) -> None:
        """Tell who asks and who watches."""
        status = health_pb2.HealthCheckResponse
        for service in _WATCHED:
            self.set(service, status.SERVING if serving else status.NOT_SERVING)

    def Watch(self, request: Any, context: Any, send_response_callback: Any = None) -> Any:  # noqa: N802
        """Each change of a service's status, from now on."""
        self._places.take(context)
        if request.service not in _WATCHED:
            # It will never be known: nothing is remembered of it, and the call lasts as long as its client likes.
            send_response_callback(
                health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            )
            context.add_callback(lambda: send_response_callback(None))
            return None
        return super().Watch(request, context, send_response_callback)


class Places:
    """So many calls of a kind may be open at once."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._lock = threading.Lock()
        self._taken = 0

    def take(self, context: Any) -> None:
        """Take a place until the call ends; RESOURCE_EXHAUSTED, which ends it, where there is none."""
        self._take(context)
        if not context.add_callback(self._give_back):
            self._give_back()

    @contextmanager
    def taken(self, context: Any) -> Iterator[None]:
        """A place for as long as a call's own thread works on it, refused in the same way."""
        self._take(context)
        try:
            yield
        finally:
            self._give_back()

    def _take(self, context: Any) -> None:
        with self._lock:
            free = self._taken < self._most
            self._taken += free
        if not free:
            said = f"{self._most} {self._what} are open here, and no more may be: end one"
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, said)

    def _give_back(self) -> None:
        with self._lock:
            self._taken -= 1


class _Reflection(reflection.ReflectionServicer):  # type: ignore[misc]
    """Server reflection whose open streams are bounded."""

    def __init__(self, names: tuple[str, ...], places: Places) -> None:
        super().__init__(names)
        self._places = places

    def ServerReflectionInfo(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        """Answer questions about the services."""
        with self._places.taken(context):
            yield from super().ServerReflectionInfo(request_iterator, context)


def add_health(server: grpc.Server, max_watchers: int, streams: Places) -> Health:
    """Let a server of the protocol answer grpc.health and reflection too."""
    found = Health(max_watchers)
    health_pb2_grpc.add_HealthServicer_to_server(found, server)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_Reflection(names, streams), server)
    return found
