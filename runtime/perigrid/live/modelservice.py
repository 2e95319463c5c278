"""How do clients bring models up, and learn where they are?

A service of the ground beside the job service, on the same address. A call becomes an event for the controller's
machine; what it answers is told together with what was preloaded, which no link carried.
"""

from __future__ import annotations

import itertools
import queue
from pathlib import Path
from typing import Any

import grpc
import msgspec

from perigrid.errors import PerigridError
from perigrid.live.host import Host
from perigrid.live.modelstore import GROUND_FOLDER, GroundModels
from perigrid.node.events import ListModels, ModelRequest, PushModel
from perigrid.node.replies import Models, PushedModel, Refused, Reply
from perigrid.wire.generated import models_pb2 as protocol
from perigrid.wire.generated import models_pb2_grpc as protocol_grpc

ANSWER_LIMIT_S = 30.0
FIRST_CLIENT = 1 << 40
"""Clients are numbered from here, so that no job's client has the same."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A model on one satellite. `state` is "loaded" where its worker serves it.

    `pieces` are how many are there; sky times are when it last said so and when all its bytes were last found right
    (None: never); `found` is the hash of bytes that were wrong.
    """

    satellite: str
    state: str
    pieces: int = 0
    heard_sky_s: float | None = None
    rehashed_sky_s: float | None = None
    cause: str = ""
    found: str = ""


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a run: preloaded on every satellite, or pushed, and where it is."""

    name: str
    sha256: str
    bytes: int
    preloaded: bool
    pieces: int = 0
    pinned: bool = False
    targets: tuple[str, ...] = ()
    ordered_sky_s: float = 0.0
    uplinked_bytes: int = 0
    places: tuple[Place, ...] = ()


class ModelTable(msgspec.Struct, frozen=True):
    """All models of a run, at a sky time."""

    sky_s: float
    models: tuple[ModelRow, ...]


class ModelService(protocol_grpc.ModelServiceServicer):
    """The model service of one ground process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._ground = GroundModels(GROUND_FOLDER)
        self._numbers = itertools.count(FIRST_CLIENT)
        self._queues: dict[int, queue.SimpleQueue[Reply]] = {}
        host.tellers.append(self._tell)

    def Push(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Bring a model up whose file lies on the ground."""
        mesh = self._host.mesh
        try:
            manifest, pieces = self._ground.read(request.sha256)
            targets = tuple(sorted(mesh.id_of(name) for name in set(request.satellites)))
        except PerigridError as error:
            return context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if manifest.digest.hex() != request.sha256:
            cause = f"{manifest.name} on the ground has sha256 {manifest.digest.hex()}, not {request.sha256}"
            return context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{cause}: it is not sent up; push its file again.")
        wrong = [mesh.names[node] for node in targets if not mesh.is_satellite(node)]
        if wrong:
            return context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{wrong[0]} is no satellite; name satellites.")
        self._host.loop.soon(self._host.learn_pushed)
        return self._answer(context, lambda client: PushModel(client, manifest, pieces, targets, request.pinned))

    def List(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Where the models are."""
        return self._answer(context, lambda client: ListModels(client, request.rehash))

    def _answer(self, context: grpc.ServicerContext, make: Any) -> Any:
        client = next(self._numbers)
        replies = self._queues[client] = queue.SimpleQueue()
        event: ModelRequest = make(client)
        driver = self._host.drivers[self._host.mesh.ground]
        self._host.loop.soon(lambda: driver.feed(event))
        try:
            reply = replies.get(timeout=ANSWER_LIMIT_S)
        except queue.Empty:
            cause = f"the controller did not answer in {ANSWER_LIMIT_S:g} s"
            return context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, cause)
        finally:
            self._queues.pop(client, None)
        if not isinstance(reply, Models):
            cause = reply.cause if isinstance(reply, Refused) else f"an unexpected answer: {type(reply).__name__}"
            return context.abort(grpc.StatusCode.FAILED_PRECONDITION, cause)
        return protocol.ModelTable(json=msgspec.json.encode(self._table(reply)).decode())

    def _tell(self, client: int, reply: Reply) -> None:
        replies = self._queues.get(client)
        if replies is not None:
            replies.put(reply)

    def _table(self, models: Models) -> ModelTable:
        rows = [_preloaded(file.entry.name, file.entry.sha256, file.path) for file in self._host.config.models]
        return ModelTable(models.sky_s, (*rows, *(self._row(model) for model in models.models)))

    def _row(self, model: PushedModel) -> ModelRow:
        names, manifest = self._host.mesh.names, model.manifest
        places = tuple(
            Place(
                satellite=names[at.satellite],
                state=at.state,
                pieces=at.pieces,
                heard_sky_s=_time(at.heard_sky_s),
                rehashed_sky_s=_time(at.rehashed_sky_s),
                cause=at.cause,
                found=at.found.hex(),
            )
            for at in model.places
        )
        return ModelRow(
            name=manifest.name,
            sha256=manifest.digest.hex(),
            bytes=manifest.length,
            preloaded=False,
            pieces=len(manifest.pieces),
            pinned=model.pinned,
            targets=tuple(names[node] for node in model.targets),
            ordered_sky_s=model.ordered_sky_s,
            uplinked_bytes=model.uplinked_bytes,
            places=places,
        )


def _preloaded(name: str, sha256: str, path: str) -> ModelRow:
    return ModelRow(name=name, sha256=sha256, bytes=Path(path).stat().st_size, preloaded=True)


def _time(sky_s: float) -> float | None:
    return None if sky_s < 0 else sky_s


def add_models(host: Host, server: grpc.Server) -> None:
    """Serve models beside jobs."""
    register: Any = protocol_grpc.add_ModelServiceServicer_to_server
    register(ModelService(host), server)
