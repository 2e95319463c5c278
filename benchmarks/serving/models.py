"""Which models are raced, and where do their files come from?

Two are made here with random weights from a fixed seed, because what they compute does not matter, only what it costs;
the third is the cloud mask of perigrid's manifest.

    conv       3 x 224 x 224, 602,112 bytes in, 40 out, about 1 ms: the weight of a camera's image, of a small network
    mlp        768 numbers, 3,072 bytes in, 40 out, some microseconds: nothing but the cost of a request is left
    cloudmask  6 x 256 x 256, 1.57 MB in, 0.79 MB out, some 75 ms: a real network, where inference is nearly all
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perigrid.live.models import ModelStore, default_cache

SEED = 5
OPSET, IR_VERSION = 17, 8
CLASSES = 10
CONV_STRIDES = (2, 1, 2)
CONV_CHANNELS = (16, 32, 32)
MLP_WIDTHS = (768, 64, CLASSES)


@dataclass(frozen=True, slots=True)
class Model:
    """A model in the race: its file, its one input and output by name, the input's shape and a stretch's length."""

    name: str
    path: Path
    input: str
    output: str
    shape: tuple[int, ...]
    seconds: float

    def sample(self) -> NDArray[np.float32]:
        """The one input that everybody infers, float32 of `shape`."""
        return np.random.default_rng(SEED).random(self.shape, dtype=np.float32)


def models(folder: Path) -> dict[str, Model]:
    """The models by name, their files made below `folder` where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("conv", _conv), ("mlp", _mlp)):
        path = folder / f"{name}.onnx"
        if not path.exists():
            path.write_bytes(make())
    return {
        "conv": Model("conv", folder / "conv.onnx", "input", "output", (1, 3, 224, 224), 0.6),
        "mlp": Model("mlp", folder / "mlp.onnx", "input", "output", (1, MLP_WIDTHS[0]), 0.5),
        "cloudmask": Model("cloudmask", _cloudmask(), "input", "output", (1, 6, 256, 256), 1.5),
    }


def _cloudmask() -> Path:
    return ModelStore(cache=default_cache(os.environ)).resolve("cloudmask")


def _conv() -> bytes:
    import onnx
    from onnx import helper

    nodes, weights, last, channels = [], [], "input", 3
    random = np.random.default_rng(SEED)
    for number, (stride, wide) in enumerate(zip(CONV_STRIDES, CONV_CHANNELS, strict=True)):
        weights.append(_weight(random, f"w{number}", (wide, channels, 3, 3)))
        strides, pads = [stride, stride], [1, 1, 1, 1]
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [f"c{number}"], strides=strides, pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        last, channels = f"r{number}", wide
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    weights.append(_weight(random, "head", (channels, CLASSES)))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["output"]))
    model: onnx.ModelProto = _whole("conv", nodes, weights, ["batch", 3, 224, 224])
    return model.SerializeToString()


def _mlp() -> bytes:
    from onnx import helper

    nodes, weights, last = [], [], "input"
    random = np.random.default_rng(SEED)
    for number, shape in enumerate(itertools.pairwise(MLP_WIDTHS)):
        weights.append(_weight(random, f"w{number}", shape))
        name = "output" if number == len(MLP_WIDTHS) - 2 else f"m{number}"
        nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [name]))
        last = name
        if name != "output":
            last = f"r{number}"
            nodes.append(helper.make_node("Relu", [name], [last]))
    encoded: bytes = _whole("mlp", nodes, weights, ["batch", MLP_WIDTHS[0]]).SerializeToString()
    return encoded


def _weight(random, name: str, shape: tuple[int, ...]):  # type: ignore[no-untyped-def]
    from onnx import numpy_helper

    fan_in = np.float32(np.prod(shape[1:]) if len(shape) == 4 else shape[0])
    return numpy_helper.from_array(random.standard_normal(shape, dtype=np.float32) / np.sqrt(fan_in), name)


def _whole(name: str, nodes, weights, shape):  # type: ignore[no-untyped-def]
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    taken = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(nodes, name, [given], [taken], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
