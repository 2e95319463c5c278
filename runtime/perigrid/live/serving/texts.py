"""How do strings go over the wire?

The protocol's BYTES tensors: each element is its length, four bytes little-endian, and its bytes, as Triton has it. An
ONNX string is UTF-8, so nothing else is taken. In numpy they are arrays of objects.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perigrid.errors import DataError

DATATYPE = "BYTES"
_LENGTH = struct.Struct("<I")


def decode(data: Any, count: int, where: str) -> NDArray[Any]:
    """`count` strings from their bytes, as an array of one axis; DataError naming `where` for what is not that."""
    if count * _LENGTH.size > len(data):
        raise DataError(
            f"{where} has {len(data)} bytes: {count} strings take at least {count * _LENGTH.size}, four for the length "
            "of each"
        )
    values = np.empty(count, np.object_)
    place = 0
    for number in range(count):
        end = place + _LENGTH.size
        if end <= len(data):
            end += _LENGTH.unpack_from(data, place)[0]
        if place + _LENGTH.size > len(data) or end > len(data):
            raise DataError(
                f"{where} ends inside string {number} of {count}: write each as its length in four bytes, "
                "little-endian, and its bytes"
            )
        values[number] = _text(bytes(data[place + _LENGTH.size : end]), number, where)
        place = end
    if place != len(data):
        raise DataError(f"{where} has {len(data) - place} bytes behind its {count} strings: its shape takes no more")
    return values


def from_elements(elements: Iterable[bytes], where: str) -> NDArray[Any]:
    """Strings that came one by one, in typed contents."""
    texts = [_text(element, number, where) for number, element in enumerate(elements)]
    values = np.empty(len(texts), np.object_)
    values[:] = texts
    return values


def encode(array: NDArray[Any]) -> bytes:
    """The bytes of an array of strings, row-major."""
    parts = []
    for value in array.ravel():
        data = value if isinstance(value, bytes) else str(value).encode()
        parts += [_LENGTH.pack(len(data)), data]
    return b"".join(parts)


def _text(data: bytes, number: int, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: string {number} is not UTF-8 ({error}), which a model's strings are") from error
