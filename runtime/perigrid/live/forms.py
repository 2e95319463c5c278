"""Under which names is a model served, and what goes in and out?

Each model `m` is served bare; where it has one input, as `m.tiles`: a stack of tiles in, each output stacked, one
inference a tile; and where it gives masks, as `m.mask`: capture and windows in, packed masks out. Workers and the
gateway serve the same names, so both answer from here what needs no inference.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import perigrid
from perigrid.errors import (
    DataError,
    EnvironmentProblem,
    LinkBroken,
    MissingFile,
    NameInUse,
    PerigridError,
    UsageError,
)
from perigrid.job.masks import PIXELS_PER_BYTE
from perigrid.job.spec import MASK_SUFFIX, TILES_SUFFIX
from perigrid.live.models import ModelEntry, Tensor
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

MAX_MESSAGE_BYTES = 64 * 1024**2
"""Largest request or response, bytes; gRPC's own default of 4 MiB is less than a batch of tiles."""

MAX_BATCH = 32
"""Largest batch of a bare model."""

MODEL_VERSION = "1"


class Form(enum.Enum):
    """How a model is asked: bare, with a stack of tiles, or for the masks of a capture's windows."""

    BARE = "bare"
    TILES = "tiles"
    MASKS = "masks"


@dataclass(frozen=True, slots=True)
class Served:
    """A name that clients can ask for: a model in one of its forms. `max_batch` is of a bare one."""

    name: str
    platform: str
    model: str
    form: Form
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int = 1

    def check_batch(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """DataError where the inputs' shapes, by name, are a batch that a bare model is not asked for."""
        batch = max((shapes[t.name][0] for t in self.inputs if t.shape and t.shape[0] == -1), default=1)
        if self.form is not Form.BARE or batch <= self.max_batch:
            return
        if self.max_batch == MAX_BATCH:
            raise DataError(f"a batch of {batch} is more than {MAX_BATCH}: send it in several requests")
        tiles = f", or ask {self.model + TILES_SUFFIX!r}, which takes them one by one" if len(self.inputs) == 1 else ""
        raise DataError(
            f"model {self.name!r} may give other bits in other batches: send {self.max_batch} a request{tiles}"
        )


def forms_of(entry: ModelEntry) -> tuple[Served, ...]:
    """All forms of a model, the bare one last: whoever finds that finds the others."""
    max_batch = MAX_BATCH if entry.batch_invariant else entry.canonical_batch
    forms = [Served(entry.name, "onnxruntime_onnx", entry.name, Form.BARE, entry.inputs, entry.outputs, max_batch)]
    if len(entry.inputs) == 1:
        forms.append(_tiles(entry))
    if entry.mask is not None:
        inputs = (Tensor("capture", "FP32", (-1, -1, -1)), Tensor("windows", "INT32", (-1, 2)))
        outputs = (Tensor("mask", "UINT8", (-1, entry.mask.tile_px**2 // PIXELS_PER_BYTE)),)
        forms.append(Served(entry.name + MASK_SUFFIX, "ensemble", entry.name, Form.MASKS, inputs, outputs))
    return tuple(reversed(forms))


def has_batch_axis(tensor: Tensor) -> bool:
    """Whether a model's input takes several items along its first axis: one that is free, or of size 1 before others.

    An input of one axis is an item itself.
    """
    return len(tensor.shape) > 1 and tensor.shape[0] in (-1, 1)


def item_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of one item of a model's input; -1 is any size."""
    return tensor.shape[1:] if has_batch_axis(tensor) else tensor.shape


def _tiles(entry: ModelEntry) -> Served:
    tensor = entry.inputs[0]
    outputs = tuple(
        Tensor(o.name, o.dtype, (-1, *(o.shape[1:] if o.shape and o.shape[0] in (-1, 1) else o.shape)))
        for o in entry.outputs
    )
    tiles = (Tensor("tiles", tensor.dtype, (-1, *item_shape(tensor))),)
    return Served(entry.name + TILES_SUFFIX, "ensemble", entry.name, Form.TILES, tiles, outputs)


def find(served: dict[str, Served], where: str, name: str, version: str) -> Served:
    """What is served under a name; MissingFile for an unknown name or version."""
    found = served.get(name)
    if found is None:
        raise MissingFile(f"{where} has no model {name!r}: it serves {', '.join(served)}")
    if version not in ("", MODEL_VERSION):
        raise MissingFile(f"model {name!r} has no version {version!r}: ask for {MODEL_VERSION!r} or for none")
    return found


_CODES = (
    (MissingFile, grpc.StatusCode.NOT_FOUND),
    (NameInUse, grpc.StatusCode.ALREADY_EXISTS),
    (LinkBroken, grpc.StatusCode.CANCELLED),
    (UsageError, grpc.StatusCode.INVALID_ARGUMENT),
    (EnvironmentProblem, grpc.StatusCode.UNAVAILABLE),
    (PerigridError, grpc.StatusCode.INTERNAL),
)

Answer = TypeVar("Answer")


def answer(context: Any, make: Callable[[], Answer]) -> Answer:
    """Answer a call; an error of ours becomes its status code, with its text."""
    try:
        return make()
    except PerigridError as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        context.abort(code, str(error))
        raise


class MetadataService(protocol_grpc.GRPCInferenceServiceServicer):
    """The protocol's questions that need no inference; what is not here answers UNIMPLEMENTED.

    `look_up` gives what is served under a name and version, and raises MissingFile for what is not.
    """

    def __init__(self, name: str, extensions: tuple[str, ...], look_up: Callable[[str, str], Served]) -> None:
        self._name = name
        self._extensions = extensions
        self._look_up = look_up

    def ready(self) -> bool:
        """Whether inferences can be asked for."""
        return True

    def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether the server answers at all."""
        return protocol.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether inferences can be asked for."""
        return protocol.ServerReadyResponse(ready=self.ready())

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether a model can be asked; False for an unknown one, as the Triton server answers."""
        try:
            self._look_up(request.name, request.version)
        except MissingFile:
            return protocol.ModelReadyResponse(ready=False)
        return protocol.ModelReadyResponse(ready=self.ready())

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The server's name, perigrid's version, the protocol's extensions."""
        return protocol.ServerMetadataResponse(
            name=self._name, version=perigrid.__version__, extensions=self._extensions
        )

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """A model's inputs and outputs."""
        served = answer(context, lambda: self._look_up(request.name, request.version))
        said = protocol.ModelMetadataResponse(name=served.name, versions=[MODEL_VERSION], platform=served.platform)
        for tensors, described in ((served.inputs, said.inputs), (served.outputs, said.outputs)):
            for tensor in tensors:
                described.add(name=tensor.name, datatype=tensor.dtype, shape=tensor.shape)
        return said


def add_health(server: grpc.Server) -> None:
    """Let a server of the protocol answer grpc.health too."""
    healthy = health.HealthServicer()
    for service in ("", "inference.GRPCInferenceService"):
        healthy.set(service, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
