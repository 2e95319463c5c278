"""What do tensors look like in the protocol's JSON, and as the same messages that gRPC has?

Numbers stand as JSON in `data`, flat or nested, or as bytes behind the JSON (`binary_data_size`), in the order of the
inputs. Everything else of a request, also its places in shared memory, is copied into a ModelInferRequest, which the
worker checks. The other way an output goes as bytes where the request says so, by itself or for all of its outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from perigrid.errors import DataError
from perigrid.live.pipeline import DTYPES
from perigrid.live.serving import texts
from perigrid.live.serving.messages import MAX_FIELDS, Raw, Request, Response
from perigrid.wire.generated import open_inference_pb2 as protocol

SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
MAX_JSON_ELEMENTS = 65_536
"""Most elements of one tensor in JSON, as in typed contents of gRPC."""

Parameters = dict[str, bool | int | float | str]


class _Input(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = {}
    data: list[Any] | None = None


class _Output(msgspec.Struct, frozen=True):
    name: str
    parameters: Parameters = {}


class _Asked(msgspec.Struct, frozen=True):
    inputs: list[_Input]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[_Output] = []


class Binary(msgspec.Struct, frozen=True):
    """Which outputs go as bytes: those that are named, and the others if `rest`."""

    named: dict[str, bool]
    rest: bool


_DECODER = msgspec.json.Decoder(_Asked)


def read(name: str, version: str, said: Raw, tail: memoryview) -> tuple[Request, Binary]:
    """A request from its JSON and the bytes behind it, of which tensors stay views; DataError for what is none."""
    try:
        asked = _DECODER.decode(said)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"the body is no request for inference ({error}): see the protocol's REST form") from error
    if len(asked.inputs) + len(asked.outputs) + len(asked.parameters) > MAX_FIELDS:
        raise DataError(f"the request has more than {MAX_FIELDS} inputs, outputs and parameters: send fewer")
    message = protocol.ModelInferRequest(model_name=name, model_version=version, id=asked.id)
    _fill(message.parameters, asked.parameters, (ALL_BINARY,))
    raw: list[Raw] = []
    place = 0
    for tensor in asked.inputs:
        _described(message, tensor)
        size = tensor.parameters.get(SIZE)
        if size is None:
            if tensor.data is not None:
                raw.append(_bytes_of(tensor, tensor.data))
            continue
        if type(size) is not int or not 0 <= size <= len(tail) - place or tensor.data is not None:
            raise DataError(
                f"input {tensor.name!r} has {SIZE} {size!r}, and {len(tail) - place} bytes are left behind the JSON: "
                "give each input's bytes there, and no data beside them"
            )
        raw.append(tail[place : place + size])
        place += size
    if place != len(tail):
        raise DataError(f"{len(tail) - place} bytes behind the JSON belong to no input: give each its {SIZE}")
    for output in asked.outputs:
        _fill(message.outputs.add(name=output.name).parameters, output.parameters, (BINARY,))
    named = {output.name: output.parameters[BINARY] is True for output in asked.outputs if BINARY in output.parameters}
    return Request(message, raw, len(said) + len(tail)), Binary(named, asked.parameters.get(ALL_BINARY) is True)


def write(response: Response, binary: Binary) -> tuple[bytes, list[Raw]]:
    """A response's JSON, and the bytes that go behind it."""
    message, tail, outputs = response.message, list[Raw](), list[dict[str, Any]]()
    for tensor, raw in zip(message.outputs, response.raw, strict=True):
        parameters = _plain(tensor.parameters)
        output = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if "shared_memory_region" in parameters:
            output["parameters"] = parameters
        elif binary.named.get(tensor.name, binary.rest):
            output["parameters"] = {**parameters, SIZE: len(raw)}
            tail.append(raw)
        else:
            output["data"] = _values(tensor, raw)
        outputs.append(output)
    said = {"model_name": message.model_name, "model_version": message.model_version, "outputs": outputs}
    if message.id:
        said["id"] = message.id
    return msgspec.json.encode({**said, "parameters": _plain(message.parameters)}), tail


def _described(message: Any, tensor: _Input) -> None:
    try:
        described = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    except ValueError as error:
        raise DataError(f"input {tensor.name!r} has shape {tensor.shape}: give sizes of 64 bits") from error
    _fill(described.parameters, tensor.parameters, (SIZE,))


def _fill(parameters: Any, given: Parameters, own: tuple[str, ...]) -> None:
    for key, value in given.items():
        if key in own:
            continue
        try:
            match value:
                case bool():
                    parameters[key].bool_param = value
                case int():
                    parameters[key].int64_param = value
                case float():
                    parameters[key].double_param = value
                case str():
                    parameters[key].string_param = value
        except ValueError as error:
            raise DataError(f"the parameter {key} is {value}: give a number of 64 bits") from error


def _plain(parameters: Any) -> dict[str, Any]:
    return {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in parameters.items()}


def _bytes_of(tensor: _Input, data: list[Any]) -> bytes:
    flat = list(_flat(data, tensor.name))
    if tensor.datatype == texts.DATATYPE:
        if not all(isinstance(value, str) for value in flat):
            raise DataError(f"input {tensor.name!r} has data that is not text: {texts.DATATYPE} takes strings")
        return texts.encode(np.array(flat, np.object_))
    kind = DTYPES.get(tensor.datatype)
    if kind is None:
        raise DataError(f"input {tensor.name!r} has datatype {tensor.datatype!r}: there are {', '.join(DTYPES)}")
    fits = bool if kind is np.bool_ else int if np.issubdtype(kind, np.integer) else (int, float)
    if not all(isinstance(value, fits) and (kind is np.bool_ or not isinstance(value, bool)) for value in flat):
        raise DataError(f"input {tensor.name!r} has data that is no {tensor.datatype}: give numbers of that type")
    try:
        return np.array(flat, kind).tobytes()
    except OverflowError as error:
        raise DataError(f"input {tensor.name!r} holds a number outside {tensor.datatype}: {error}") from error


def _flat(data: list[Any], name: str) -> Iterator[Any]:
    """The elements, row-major, of lists in lists."""
    waiting, count = [iter(data)], 0
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, list):
                waiting.append(iter(value))
                break
            count += 1
            if count > MAX_JSON_ELEMENTS:
                raise DataError(f"input {name!r} has more than {MAX_JSON_ELEMENTS} elements in JSON: use {SIZE}")
            yield value
        else:
            waiting.pop()


def _values(tensor: Any, raw: Raw) -> list[Any]:
    if tensor.datatype == texts.DATATYPE:
        count = int(np.prod(list(tensor.shape), dtype=np.int64))
        return list(texts.decode(raw, count, f"output {tensor.name!r}"))
    values = np.frombuffer(raw, DTYPES[tensor.datatype])
    if tensor.datatype.startswith("FP") and not np.isfinite(values).all():
        raise DataError(f"output {tensor.name!r} holds what JSON has no word for: ask for it with {BINARY}")
    return list(values.tolist())
