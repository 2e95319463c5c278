"""What does a client send, and what does a tile cost without any runtime?

A sample is one tile of a real scene, asked for through the model's mask form, or seeded numbers where a model has none.
`bare` runs the same tiles through onnxruntime alone, in a process of its own with the same allocator and niceness as a
satellite's worker.

Usage of the module itself: payloads MODEL SCENE TILES; prints seconds a tile as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from perigrid.errors import DataError, EnvironmentProblem
from perigrid.job.masks import PIXELS_PER_BYTE, windows
from perigrid.job.spec import MASK_SUFFIX
from perigrid.live.launch import ALLOCATOR_SETTINGS
from perigrid.live.models import ModelStore, default_cache
from perigrid.live.pipeline import DTYPES, load_model, service_time
from perigrid.live.scenes import Scene, SceneSearch, load_scene
from perigrid.wire.generated import open_inference_pb2 as protocol

REQUESTS = 8
"""How many different samples a client sends in turn."""

BARE_LIMIT_S = 600.0
WARM_UPS = 3
SEED = 0
NICENESS = 19


def requests_of(store: ModelStore, model: str, scene: Scene) -> list[Any]:
    """ModelInferRequests of one sample each."""
    entry = store.entry(model) if store.knows(model) else load_model(store, model).entry
    if entry.mask is None:
        return [_numbers(entry, number) for number in range(REQUESTS)]
    if scene.bands.shape[0] < len(entry.bands):
        raise DataError(
            f"the scene {scene.name} has {scene.bands.shape[0]} bands, and {model} needs {len(entry.bands)}: give "
            f"--model {model}-4b if there is one, or a scenario with other data."
        )
    side = entry.mask.tile_px
    corners = windows(scene.bands.shape[1], scene.bands.shape[2], side, side)
    found = []
    for number in range(min(REQUESTS, len(corners))):
        row, column = corners[number]
        tile = np.ascontiguousarray(scene.bands[: len(entry.bands), row : row + side, column : column + side])
        request = protocol.ModelInferRequest(model_name=entry.name + MASK_SUFFIX)
        request.inputs.add(name="capture", datatype="FP32", shape=tile.shape)
        request.inputs.add(name="windows", datatype="INT32", shape=[1, 2])
        request.raw_input_contents.extend([tile.tobytes(), np.zeros((1, 2), np.int32).tobytes()])
        found.append(request)
    return found


def sizes_of(store: ModelStore, model: str, requests: list[Any]) -> tuple[int, int]:
    """Bytes of a sample's request, and of its response, as they cross links."""
    entry = store.entry(model) if store.knows(model) else load_model(store, model).entry
    response = protocol.ModelInferResponse(model_name=model, model_version="1")
    if entry.mask is not None:
        size = entry.mask.tile_px**2 // PIXELS_PER_BYTE
        response.outputs.add(name="mask", datatype="UINT8", shape=[1, size])
        response.raw_output_contents.append(bytes(size))
    else:
        for output in entry.outputs:
            shape = [1 if size < 0 else size for size in output.shape]
            response.outputs.add(name=output.name, datatype=output.dtype, shape=shape)
            dtype = np.dtype(DTYPES[output.dtype])
            response.raw_output_contents.append(bytes(int(np.prod(shape)) * dtype.itemsize))
    return int(requests[0].ByteSize()), int(response.ByteSize())


def measured_s(store: ModelStore, models: tuple[str, ...]) -> dict[str, float]:
    """CPU seconds a tile of each model on this machine; models without masks are left out."""
    found = {}
    for name in models:
        loaded = load_model(store, name)
        if loaded.tile_px is not None:
            with loaded.pipeline() as pipeline:
                found[name] = service_time(pipeline, repeats=7)
    return found


def bare(model: str, scene: str, tiles: int, environment: Mapping[str, str]) -> list[float]:
    """Wall seconds of each of so many tiles through onnxruntime alone, one after the other, in a process of its own."""
    command = [sys.executable, "-m", "perigrid.bench.latency.payloads", model, scene, str(tiles)]
    settings = {**environment, **ALLOCATOR_SETTINGS}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=BARE_LIMIT_S, check=False, env=settings)
    if done.returncode:
        raise EnvironmentProblem("bare onnxruntime did not run; see its message above.")
    return [float(value) for value in json.loads(done.stdout.splitlines()[-1])]


def main() -> None:
    """Be the bare process."""
    model, label, tiles = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.nice(NICENESS)
    store = ModelStore(cache=default_cache(os.environ))
    scene = load_scene(label, SceneSearch.from_environment(os.environ))
    loaded = load_model(store, model)
    with loaded.pipeline() as pipeline:
        side = pipeline.tile_px
        corners = windows(scene.bands.shape[1], scene.bands.shape[2], side, side).tolist()
        bands = np.ascontiguousarray(scene.bands)
        times_s = []
        for number in range(tiles + WARM_UPS):
            row, column = corners[number % len(corners)]
            began_s = time.perf_counter()
            pipeline.tile(bands, row, column)
            times_s.append(time.perf_counter() - began_s)
    print(json.dumps(times_s[WARM_UPS:]))


def _numbers(entry: Any, number: int) -> Any:
    random = np.random.default_rng([SEED, number])
    request = protocol.ModelInferRequest(model_name=entry.name)
    for tensor in entry.inputs:
        shape = [1 if size < 0 else size for size in tensor.shape]
        dtype = np.dtype(DTYPES[tensor.dtype])
        values = random.random(shape) if dtype.kind == "f" else random.integers(0, 2, shape)
        request.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=shape)
        request.raw_input_contents.append(np.asarray(values).astype(dtype).tobytes())
    return request


if __name__ == "__main__":
    main()
