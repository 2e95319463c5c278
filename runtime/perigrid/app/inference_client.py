"""How does a program ask one satellite, or the ground, for one inference?

By the Open Inference Protocol, which any client of it speaks; this one speaks in numpy arrays. A satellite's worker
answers on its unix socket, as its own on-board computer would be asked: nothing crosses a link. The ground's gateway
carries the request over station and lasers to a satellite and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from perigrid.app.merging import tensors_of
from perigrid.errors import DataError, EnvironmentProblem, LinkBroken, ModelError, PerigridError, ProtocolError
from perigrid.live.clients import CHANNEL_OPTIONS
from perigrid.live.models import Tensor
from perigrid.live.pipeline import DTYPES
from perigrid.live.serving import texts
from perigrid.live.shared_regions import raw_bytes
from perigrid.units import MIB
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

MAX_MESSAGE_BYTES = 64 * MIB
"""Largest request or response, bytes, as the worker has it."""

ASK_TIMEOUT_S = 10.0
"""Longest wait for an answer that computes nothing, seconds."""

INFER_TIMEOUT_S = 60.0
"""Longest wait for an inference unless the caller says otherwise, seconds of the wall."""

Parameter = bool | int | float | str

_ERRORS: dict[grpc.StatusCode, type[PerigridError]] = {
    grpc.StatusCode.NOT_FOUND: ModelError,
    grpc.StatusCode.INVALID_ARGUMENT: DataError,
    grpc.StatusCode.FAILED_PRECONDITION: DataError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: EnvironmentProblem,
    grpc.StatusCode.UNIMPLEMENTED: ProtocolError,
    grpc.StatusCode.INTERNAL: ProtocolError,
}
"""Whose fault a status says that it is; all others mean that nobody answered."""


@dataclass(frozen=True, slots=True)
class Inference:
    """The answer to one request: output arrays by name, and the parameters that came with them.

    A worker tells `desk_wait_s` and `cpu_s`; the gateway tells the satellite, the hops and the stages as well.
    """

    model: str
    outputs: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, Parameter]


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model's inputs and outputs; -1 is any size, the first one of a batch."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class InferenceClient:
    """A client of one server of the Open Inference Protocol; usable from several threads, and a context manager.

    Args:
        name: whom it talks to, for messages: a satellite's name, or "ground".
        address: as gRPC names it: "unix:PATH" or "127.0.0.1:PORT".

    Its methods raise ModelError for a model that is not there, DataError for a tensor that does not fit,
    EnvironmentProblem where the server is too busy, LinkBroken where no answer came in time, ProtocolError for an
    answer that is none.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        sizes = (
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        )
        options = [*(each for each in CHANNEL_OPTIONS if each[0] != sizes[0][0]), *sizes]
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub: Any = protocol_grpc.GRPCInferenceServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> InferenceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self._channel.close()

    def ready(self) -> bool:
        """Whether the server takes requests now; False where nobody answers."""
        try:
            return bool(self._stub.ServerReady(protocol.ServerReadyRequest(), timeout=ASK_TIMEOUT_S).ready)
        except grpc.RpcError:
            return False

    def metadata(self, model: str) -> ModelMetadata:
        """What a model takes and gives."""
        answer = self._ask(self._stub.ModelMetadata, protocol.ModelMetadataRequest(name=model), ASK_TIMEOUT_S)
        inputs, outputs = (
            tuple(Tensor(t.name, t.datatype, tuple(t.shape)) for t in described)
            for described in (answer.inputs, answer.outputs)
        )
        return ModelMetadata(answer.name, inputs, outputs)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        parameters: Mapping[str, Parameter] | None = None,
        timeout_s: float | None = None,
    ) -> Inference:
        """Run a model on arrays by the names of its inputs, a batch first; at most `timeout_s` seconds of the wall.

        `parameters` go with the request as they are. Arrays are sent in the type that they have, str as text.
        """
        request = protocol.ModelInferRequest(model_name=model)
        for name, value in inputs.items():
            array = np.asarray(value)
            datatype = _datatype(array, name)
            request.inputs.add(name=name, datatype=datatype, shape=array.shape)
            little = array if array.dtype == np.object_ else array.astype(array.dtype.newbyteorder("<"), copy=False)
            request.raw_input_contents.append(bytes(raw_bytes(datatype, little)))
        for name, parameter in (parameters or {}).items():
            _set(request.parameters[name], parameter)
        if request.ByteSize() > MAX_MESSAGE_BYTES:
            raise DataError(
                f"a request of {request.ByteSize()} bytes to {self.name} is more than {MAX_MESSAGE_BYTES}; send it in "
                "several."
            )
        answer = self._ask(self._stub.ModelInfer, request, INFER_TIMEOUT_S if timeout_s is None else timeout_s)
        tensors = tensors_of(answer, f"the answer of {self.name}")
        arrays = {name: array for name, (_, array) in tensors.items()}
        return Inference(answer.model_name, arrays, {name: _get(each) for name, each in answer.parameters.items()})

    def _ask(self, method: Any, request: Any, timeout_s: float) -> Any:
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or "no more is known"
            kind = _ERRORS.get(code, LinkBroken)
            if kind is LinkBroken:
                raise LinkBroken(
                    f"{self.name} gave no answer ({code.name}: {details}; the call had {timeout_s:g} s here); look "
                    "at `perigrid status`, and give more time where it only takes longer."
                ) from error
            raise kind(f"{self.name} refused the request ({code.name}): {details}") from error


def _datatype(array: NDArray[Any], name: str) -> str:
    if array.dtype.kind in "UO" and all(isinstance(value, str) for value in array.flat):
        return texts.DATATYPE
    for datatype, dtype in DTYPES.items():
        if array.dtype.newbyteorder("=") == np.dtype(dtype):
            return datatype
    raise DataError(f"input {name!r} is of {array.dtype}, which is not served; send numbers, booleans or text.")


def _set(place: Any, value: Parameter) -> None:
    if isinstance(value, bool):
        place.bool_param = value
    elif isinstance(value, int):
        place.int64_param = value
    elif isinstance(value, float):
        place.double_param = value
    else:
        place.string_param = str(value)


def _get(parameter: Any) -> Parameter:
    value: Parameter = getattr(parameter, parameter.WhichOneof("parameter_choice") or "string_param")
    return value
