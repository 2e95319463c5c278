"""Triton, as the package nvidia-pytriton brings it: the real server's front, its Python backend, models in functions.

    pytriton_server.py PORT NAME=FILE=IN=OUT...

The package holds no backend for onnxruntime; what that would cost is not measured by this.
"""

from __future__ import annotations

import signal
import sys

import numpy as np
from common import CORES, given, session
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def bound(triton: Triton, name: str, path: str, put: str, got: str) -> None:
    runs = session(path)

    def function():  # type: ignore
        own = session(path)

        @batch
        def infer(**inputs: np.ndarray) -> dict[str, np.ndarray]:
            return {got: own.run(None, {put: inputs[put]})[0]}

        return infer

    def shape(value) -> tuple[int, ...]:  # type: ignore
        return tuple(size if isinstance(size, int) else -1 for size in value.shape[1:])

    triton.bind(
        model_name=name,
        infer_func=[function() for _ in range(CORES)],
        inputs=[Tensor(name=put, dtype=np.float32, shape=shape(runs.get_inputs()[0]))],
        outputs=[Tensor(name=got, dtype=np.float32, shape=shape(runs.get_outputs()[0]))],
        config=ModelConfig(max_batch_size=1, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
    )


def main() -> None:
    port, models = given()
    # The end of the standard input is the end; killed at once, it would leave its shared memory behind.
    signal.signal(signal.SIGTERM, lambda *_: None)
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port + 1, grpc_address="127.0.0.1", grpc_port=port, allow_metrics=False
    )
    with Triton(config=config) as triton:
        for one in models:
            bound(triton, *one)
        triton.run()
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    sys.exit(main())
