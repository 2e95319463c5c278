"""How do tensors get through protobuf without being copied at each step?

A message's tensors are top-level fields of bytes, `raw_input_contents` and `raw_output_contents`. Protobuf would copy
each into its own memory and again into Python's. So a request's bytes are looked through field by field, its tensors
stay views of what gRPC received, and only the rest is parsed; a response's tensors are put behind the rest once, when
it is written. What is not as a writer would write it is left to protobuf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from perigrid.errors import DataError
from perigrid.wire.generated import open_inference_pb2 as protocol

RAW_INPUT = protocol.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
RAW_OUTPUT = protocol.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
STREAMED = protocol.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER
MAX_FIELDS = 4_096
"""Most top-level fields of a request: tensors, parameters, outputs. Each costs more memory than it has bytes."""

SMALL_BYTES = 2 * MAX_FIELDS
"""A request up to this size cannot have more fields, and protobuf's copies of it cost less than looking through it."""

_BYTES = 2
_FIXED = {1: 8, 5: 4}
MAX_VARINT_BYTES = 10

Raw = bytes | memoryview


class Request(msgspec.Struct, frozen=True):
    """A ModelInferRequest, with or without its tensors' bytes, and those; `fault` says why nothing is made of it."""

    message: Any
    raw: Sequence[Raw]
    size_bytes: int
    fault: str = ""

    def check(self) -> None:
        """DataError for a message that is refused before it is looked at."""
        if self.fault:
            raise DataError(self.fault)


class Response(msgspec.Struct, frozen=True):
    """A ModelInferResponse without its tensors' bytes, and those, in order; `size_bytes` is theirs alone."""

    message: Any
    raw: list[Raw]
    size_bytes: int

    def whole(self) -> Any:
        """As one message of protobuf's; changes `message`."""
        self.message.raw_output_contents.extend(map(bytes, self.raw))
        return self.message


def of_message(message: Any) -> Request:
    """A request that was parsed already."""
    return Request(message, message.raw_input_contents, message.ByteSize())


def read_request(data: bytes) -> Request:
    """A request from its bytes; its tensors are views of them."""
    rest, raw, fields = _split(data, RAW_INPUT) if len(data) > SMALL_BYTES else (data, None, 0)
    if fields > MAX_FIELDS:
        fault = f"the request has more than {MAX_FIELDS} inputs, outputs, parameters and tensors: send fewer"
        return Request(protocol.ModelInferRequest(), (), len(data), fault)
    try:
        message = protocol.ModelInferRequest.FromString(bytes(rest))
    except DecodeError as error:
        return Request(protocol.ModelInferRequest(), (), len(data), f"the message is no ModelInferRequest ({error})")
    return Request(message, message.raw_input_contents if raw is None else raw, len(data))


def write_request(message: Any, raw: Sequence[Raw]) -> bytes:
    """The bytes of a request whose tensors' bytes are not in the message: those that protobuf would write."""
    return b"".join([message.SerializeToString(deterministic=True), *_tensors(RAW_INPUT, raw)])


def read_response(data: bytes | memoryview) -> Response:
    """A response from its bytes; its tensors are views of them."""
    rest, raw, fields = _split(data, RAW_OUTPUT) if len(data) > SMALL_BYTES else (data, None, 0)
    if raw is None or fields > MAX_FIELDS:
        rest, raw = data, None
    message = protocol.ModelInferResponse.FromString(bytes(rest))
    if raw is None:
        raw = list(message.raw_output_contents)
        del message.raw_output_contents[:]
    return Response(message, raw, sum(map(len, raw)))


def write_response(response: Response) -> bytes:
    """A response's bytes."""
    if response.size_bytes <= SMALL_BYTES:
        return bytes(response.whole().SerializeToString())
    return b"".join(_parts(response))


def write_streamed(response: Any) -> bytes:
    """A streamed response's bytes: a Response that is wrapped, or a ModelStreamInferResponse as it is."""
    if not isinstance(response, Response):
        return bytes(response.SerializeToString())
    parts = _parts(response)
    return b"".join([_varint(STREAMED << 3 | _BYTES), _varint(sum(map(len, parts))), *parts])


def _parts(response: Response) -> list[Raw]:
    if response.size_bytes <= SMALL_BYTES:
        return [response.whole().SerializeToString()]
    return [response.message.SerializeToString(), *_tensors(RAW_OUTPUT, response.raw)]


def _tensors(field: int, contents: Sequence[Raw]) -> list[Raw]:
    """A field of bytes, repeated."""
    parts: list[Raw] = []
    for raw in contents:
        parts += [_varint(field << 3 | _BYTES) + _varint(len(raw)), raw]
    return parts


def _split(data: Raw, tensors: int) -> tuple[Raw, list[Raw] | None, int]:
    """The bytes without the field of the tensors, those of the tensors, and how many fields there are.

    All bytes and None for what is no message, or one with what nobody writes any more: protobuf knows.
    """
    view, rest = memoryview(data), []
    raw: list[Raw] = []
    place = start = fields = 0
    try:
        while place < len(data) and fields <= MAX_FIELDS:
            fields += 1
            tag_place = place
            tag, place = _read_varint(data, place)
            place, content = _skip(data, place, tag & 7)
            if place > len(data):
                return data, None, fields
            if tag == tensors << 3 | _BYTES:
                rest.append(view[start:tag_place])
                raw.append(view[content:place])
                start = place
    except (IndexError, ValueError):
        return data, None, fields
    rest.append(view[start:])
    return b"".join(rest), raw, fields


def _skip(data: Raw, place: int, kind: int) -> tuple[int, int]:
    """Where a field ends and where its content starts, behind its tag."""
    if kind == _BYTES:
        length, place = _read_varint(data, place)
        return place + length, place
    if kind == 0:
        return _read_varint(data, place)[1], place
    return place + _FIXED.get(kind, len(data) + 1), place


def _read_varint(data: Raw, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * MAX_VARINT_BYTES, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a varint of more than ten bytes")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
