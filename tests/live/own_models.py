"""How do tests get a small .onnx file of their own, without the packages that write such files?

The few messages that an elementwise model takes, written field by field (onnx.proto3, IR version 8, opset 17).
"""

from __future__ import annotations

import struct
from pathlib import Path

FLOAT = 1
KINDS = {
    "FP32": 1,
    "UINT8": 2,
    "INT8": 3,
    "UINT16": 4,
    "INT16": 5,
    "INT32": 6,
    "INT64": 7,
    "BYTES": 8,
    "BOOL": 9,
    "FP16": 10,
    "FP64": 11,
    "UINT32": 12,
    "UINT64": 13,
}
"""The Open Inference Protocol's names of types, and ONNX's numbers (TensorProto.DataType)."""

GAIN, SHIFT = 2.5, -0.75


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes | str) -> bytes:
    """One field of a message: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def constant(name: str, value: float) -> bytes:
    return field(2, FLOAT) + field(8, name) + field(9, struct.pack("<f", value))


def tensor(name: str, axes: tuple[int | str, ...], kind: int = FLOAT) -> bytes:
    """A model's input or output; an axis is a size, or the name of a free one."""
    sizes = b"".join(field(1, field(1, axis) if isinstance(axis, int) else field(2, axis)) for axis in axes)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sizes)))


def node(kind: str, inputs: tuple[str, ...], output: str) -> bytes:
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, kind)


def write_model(path: Path, axes: tuple[int | str, ...] = ("batch", "width"), gain: float = GAIN) -> Path:
    """A model with input x, float32, and outputs scaled = x * gain and shifted = scaled + SHIFT of its shape."""
    graph = [
        field(1, node("Mul", ("x", "gain"), "scaled")),
        field(1, node("Add", ("scaled", "shift"), "shifted")),
        field(2, "own"),
        field(5, constant("gain", gain)),
        field(5, constant("shift", SHIFT)),
        field(11, tensor("x", axes)),
        field(12, tensor("scaled", axes)),
        field(12, tensor("shifted", axes)),
    ]
    path.write_bytes(field(1, 8) + field(7, b"".join(graph)) + field(8, field(2, 17)))
    return path


def write_identities(
    path: Path, tensors: dict[str, tuple[str, tuple[int | str, ...]]], metadata: dict[str, str] | None = None
) -> Path:
    """A model that gives each input NAME, of a type and axes, back as the output NAME_out."""
    graph = [field(2, "own")]
    for name, (kind, axes) in tensors.items():
        graph.append(field(1, node("Identity", (name,), f"{name}_out")))
        graph.append(field(11, tensor(name, axes, KINDS[kind])))
        graph.append(field(12, tensor(f"{name}_out", axes, KINDS[kind])))
    said = [field(14, field(1, key) + field(2, value)) for key, value in (metadata or {}).items()]
    path.write_bytes(field(1, 8) + field(7, b"".join(graph)) + field(8, field(2, 17)) + b"".join(said))
    return path
