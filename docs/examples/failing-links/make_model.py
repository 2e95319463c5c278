"""How was anomaly.onnx made? Run this with `onnx` and `numpy` installed; the tests do not need it.

One linear layer with seeded weights stands for a classifier of telemetry: 64 samples in, three scores out.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SAMPLES, CLASSES = 64, 3

random = np.random.default_rng(7)
weights = random.standard_normal((SAMPLES, CLASSES)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["window", "weights"], ["raw"]), helper.make_node("Softmax", ["raw"], ["scores"])],
    "anomaly",
    [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["batch", SAMPLES])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])],
    [numpy_helper.from_array(weights, "weights")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "anomaly.onnx")
