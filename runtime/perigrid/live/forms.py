"""Under which names is a model served, and what goes in and out?

Each model `m` is served bare; where it has one input, as `m.tiles`: a stack of tiles in, each output stacked, one
inference a tile; and where it gives masks, as `m.mask`: capture and windows in, packed masks out. Workers and the
gateway serve the same names, so both answer from here what needs no inference.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc

import perigrid
from perigrid.errors import (
    DataError,
    DeadlinePassed,
    EnvironmentProblem,
    LinkBroken,
    MissingFile,
    NameInUse,
    NotOffered,
    Overloaded,
    PerigridError,
    UsageError,
)
from perigrid.job.masks import PIXELS_PER_BYTE
from perigrid.job.spec import MASK_SUFFIX, TILES_SUFFIX
from perigrid.live.models import ModelEntry, Tensor
from perigrid.live.serving.limits import Limits
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

MAX_MESSAGE_BYTES = Limits().max_message_bytes
"""Largest request or response unless the environment says otherwise, bytes."""

MAX_BATCH = 32
"""Largest batch of a bare model."""

MODEL_VERSION = "1"
PLATFORM, BACKEND, COMPOSED = "onnxruntime_onnx", "onnxruntime", "ensemble"
READY, LOADING, UNAVAILABLE = "READY", "LOADING", "UNAVAILABLE"
"""States of a model in a repository's index, in Triton's words."""

MAX_SAID = 1_000
"""Longest text of a refusal, characters."""

_DATA_TYPES = {"BYTES": "TYPE_STRING"}
"""Where the name in a model's configuration is not TYPE_ and the name in its metadata."""


class Form(enum.Enum):
    """How a model is asked: bare, with a stack of tiles, or for the masks of a capture's windows."""

    BARE = "bare"
    TILES = "tiles"
    MASKS = "masks"


@dataclass(frozen=True, slots=True)
class Served:
    """A name that clients can ask for: a model in one of its forms."""

    name: str
    platform: str
    entry: ModelEntry
    form: Form
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batched: tuple[str, ...] = field(init=False)
    """The inputs of a bare model whose first axis is a batch of any size."""

    def __post_init__(self) -> None:
        names = tuple(t.name for t in self.inputs if _has_free_batch(t)) if self.form is Form.BARE else ()
        object.__setattr__(self, "batched", names)

    @property
    def model(self) -> str:
        """The name of the model whose form this is."""
        return self.entry.name

    def batch(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """How many items are computed at a time for inputs of these shapes, by name."""
        if len(self.batched) == 1:
            return shapes[self.batched[0]][0]
        return max([shapes[name][0] for name in self.batched], default=1)

    def check_batch(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """DataError where the inputs' shapes, by name, are a batch that a bare model is not asked for.

        One whose bits depend on the batch runs at its canonical batch only, neither more nor fewer.
        """
        if not self.batched:
            return
        batch, only = self.batch(shapes), self.entry.canonical_batch
        if self.entry.batch_invariant:
            if batch > MAX_BATCH:
                raise DataError(f"a batch of {batch} is more than {MAX_BATCH}: send it in several requests")
        elif batch != only:
            tiles = self.model + TILES_SUFFIX
            ask = f", or ask {tiles!r}, which takes them one by one" if _has_tiles(self.entry) else ""
            raise DataError(
                f"model {self.name!r} may give other bits in a batch of {batch}: send {only} a request{ask}"
            )

    def max_batch(self) -> int:
        """The largest batch of a model whose tensors all have one as their first axis; 0 for others, as in Triton."""
        batched = all(map(_has_free_batch, (*self.inputs, *self.outputs)))
        if self.form is not Form.BARE or not batched:
            return 0
        return MAX_BATCH if self.entry.batch_invariant else self.entry.canonical_batch


def forms_of(entry: ModelEntry) -> tuple[Served, ...]:
    """All forms of a model, the bare one last: whoever finds that finds the others."""
    forms = [Served(entry.name, PLATFORM, entry, Form.BARE, entry.inputs, entry.outputs)]
    if _has_tiles(entry):
        forms.append(_tiles(entry))
    if entry.mask is not None:
        inputs = (Tensor("capture", "FP32", (-1, -1, -1)), Tensor("windows", "INT32", (-1, 2)))
        outputs = (Tensor("mask", "UINT8", (-1, entry.mask.tile_px**2 // PIXELS_PER_BYTE)),)
        forms.append(Served(entry.name + MASK_SUFFIX, COMPOSED, entry, Form.MASKS, inputs, outputs))
    return tuple(reversed(forms))


def _has_tiles(entry: ModelEntry) -> bool:
    """Whether items may be computed one by one: not where the model's bits are stated for a larger batch."""
    return len(entry.inputs) == 1 and (entry.batch_invariant or entry.canonical_batch == 1)


def has_batch_axis(tensor: Tensor) -> bool:
    """Whether a model's input takes several items along its first axis: one that is free, or of size 1 before others.

    An input of one axis is an item itself.
    """
    return len(tensor.shape) > 1 and tensor.shape[0] in (-1, 1)


def _has_free_batch(tensor: Tensor) -> bool:
    """Whether a tensor's first axis is a batch of any size."""
    return has_batch_axis(tensor) and tensor.shape[0] == -1


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
    return Served(entry.name + TILES_SUFFIX, COMPOSED, entry, Form.TILES, tiles, outputs)


def items_in(served: Served, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many items a request has computed, by its inputs' shapes: windows, tiles, or a batch."""
    tensor = served.inputs[-1] if served.form is Form.MASKS else served.inputs[0]
    counted = served.form is not Form.BARE or has_batch_axis(tensor)
    return shapes[tensor.name][0] if counted else 1


def configuration(served: Served) -> Any:
    """A served name as Triton's ModelConfig."""
    entry, max_batch = served.entry, served.max_batch()
    said = protocol.ModelConfig(name=served.name, platform=served.platform, max_batch_size=max_batch, backend=BACKEND)
    said.default_model_filename = entry.file
    said.model_transaction_policy.decoupled = False
    for tensors, described in ((served.inputs, said.input), (served.outputs, said.output)):
        for tensor in tensors:
            kind = protocol.DataType.Value(_DATA_TYPES.get(tensor.dtype, f"TYPE_{tensor.dtype}"))
            described.add(name=tensor.name, data_type=kind, dims=tensor.shape[1:] if max_batch else tensor.shape)
    group = said.instance_group.add(name=served.model, count=entry.cores)
    group.kind = protocol.ModelInstanceGroup.KIND_CPU
    facts = {
        "batch_invariant": str(entry.batch_invariant).lower(),
        "canonical_batch": str(entry.canonical_batch),
        "cores": str(entry.cores),
        "sha256": entry.sha256,
        "licence": entry.licence,
    }
    for name, value in facts.items():
        if value:
            said.parameters[name].string_value = value
    return said


def find(served: Mapping[str, Served], where: str, name: str, version: str) -> Served:
    """What is served under a name; MissingFile for an unknown name or version."""
    found = served.get(name)
    if found is None:
        raise MissingFile(f"{where} has no model {name!r}: it serves {', '.join(served) or 'none'}")
    if version not in ("", MODEL_VERSION):
        raise MissingFile(f"model {name!r} has no version {version!r}: ask for {MODEL_VERSION!r} or for none")
    return found


_CODES = (
    (MissingFile, grpc.StatusCode.NOT_FOUND),
    (NameInUse, grpc.StatusCode.ALREADY_EXISTS),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlinePassed, grpc.StatusCode.DEADLINE_EXCEEDED),
    (NotOffered, grpc.StatusCode.UNIMPLEMENTED),
    (LinkBroken, grpc.StatusCode.CANCELLED),
    (UsageError, grpc.StatusCode.INVALID_ARGUMENT),
    (EnvironmentProblem, grpc.StatusCode.UNAVAILABLE),
    (PerigridError, grpc.StatusCode.INTERNAL),
)

Answer = TypeVar("Answer")


def code_of(error: PerigridError) -> grpc.StatusCode:
    """The status code of an error of ours."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def said_of(error: PerigridError) -> str:
    """An error's text, cut where what a client sent makes it longer than what gRPC sends back."""
    text = str(error)
    return text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]}..."


def answer(context: Any, make: Callable[[], Answer]) -> Answer:
    """Answer a call; an error of ours becomes its status code, with its text."""
    try:
        return make()
    except PerigridError as error:
        context.abort(code_of(error), said_of(error))
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

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        """A model's configuration, as far as it has one."""
        served = answer(context, lambda: self._look_up(request.name, request.version))
        return protocol.ModelConfigResponse(config=configuration(served))

    def CudaSharedMemoryStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """No region, as there is no CUDA."""
        if request.name:
            return answer(context, lambda: _refuse_cuda(f"there is no region {request.name!r} of a CUDA device here"))
        return protocol.CudaSharedMemoryStatusResponse()

    def CudaSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refused: there is no CUDA."""
        return answer(context, lambda: _refuse_cuda(f"region {request.name!r} cannot be registered"))

    def CudaSharedMemoryUnregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Nothing to forget; an unknown name is no error, as in system shared memory."""
        return protocol.CudaSharedMemoryUnregisterResponse()

    def TraceSetting(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refused: traces are not set here."""
        return answer(context, lambda: _refuse("traces are not set over this protocol: see the run's event log"))

    def LogSettings(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refused: logs are not set here."""
        return answer(context, lambda: _refuse("logs are not set over this protocol: see the run's folder log/"))


def _refuse_cuda(what: str) -> Any:
    return _refuse(f"{what}: this server computes on processors without CUDA; use system shared memory on a worker")


def _refuse(why: str) -> Any:
    raise NotOffered(why)
