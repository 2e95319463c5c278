"""Which methods of Triton's gRPC service does an unmodified tritonclient find at a server, and do they work?

A module for scripts that are run by the Python of a virtual environment of its own, as tritonclient wants another
protobuf than perigrid. Each check asks one method, by the synchronous client or by the one of asyncio.
"""

import asyncio
import base64
import inspect
import queue
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

Arrays = dict[str, np.ndarray]
BOUND_S = 30.0
DTYPES = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def tensor(name: str, array: np.ndarray) -> triton.InferInput:
    """An input with its bytes in the message."""
    made = triton.InferInput(name, list(array.shape), DTYPES[str(array.dtype)])
    made.set_data_from_numpy(array)
    return made


class Asker:
    """Asks either client in the same way: what can be awaited is awaited."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def __call__(self, method: str, *arguments: Any, **named: Any) -> Any:
        found = getattr(self._client, method)(*arguments, **named)
        return await found if inspect.isawaitable(found) else found

    async def expect(self, code: str, method: str, *arguments: Any, **named: Any) -> str:
        """The call must end with this status code; what the server says."""
        try:
            await self(method, *arguments, **named)
        except InferenceServerException as error:
            assert error.status() == f"StatusCode.{code}", f"{error.status()} instead of {code}: {error}"
            return str(error.message())
        raise AssertionError(f"no error instead of {code} from {method} {arguments} {named}")

    async def stream(self, requests: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
        """Ask all of these in one stream; for each its result and its error, one of which is None."""
        if hasattr(self._client, "start_stream"):
            return await asyncio.to_thread(self._stream, requests)

        async def sent() -> AsyncIterator[dict[str, Any]]:
            for request in requests:
                yield request

        found = [answer async for answer in self._client.stream_infer(sent(), stream_timeout=BOUND_S)]
        assert len(found) == len(requests)
        return found

    def _stream(self, requests: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._client.start_stream(lambda result, error: answers.put((result, error)))
        for request in requests:
            self._client.async_stream_infer(**request)
        found = [answers.get(timeout=BOUND_S) for _ in requests]
        self._client.stop_stream()
        assert answers.empty()
        return found


def summary(metadata: Any) -> tuple[list[tuple[str, str, list[int]]], ...]:
    """Inputs and outputs of a model's metadata."""
    return tuple([(t.name, t.datatype, list(t.shape)) for t in side] for side in (metadata.inputs, metadata.outputs))


async def check_server(ask: Asker, name: str) -> None:
    """ServerLive, ServerReady, ServerMetadata."""
    assert await ask("is_server_live")
    assert await ask("is_server_ready")
    metadata = await ask("get_server_metadata")
    assert metadata.name == name
    assert {"statistics", "model_configuration"} <= set(metadata.extensions)


async def check_models(ask: Asker) -> None:
    """ModelReady, ModelMetadata, ModelConfig: one after the other, they say the same."""
    for model, version, ready in (
        ("tinycloud", "", True),
        ("tinycloud.mask", "1", True),
        ("tinycloud", "2", False),
        ("nothing", "", False),
    ):
        assert await ask("is_model_ready", model, version) is ready
    metadata = await ask("get_model_metadata", "tinycloud")
    assert summary(metadata) == ([("input", "FP32", [-1, 4, 256, 256])], [("output", "FP32", [-1, 3, 256, 256])])
    masks = await ask("get_model_metadata", "tinycloud.mask")
    assert [i.name for i in masks.inputs] == ["capture", "windows"]
    config = (await ask("get_model_config", "tinycloud")).config
    assert (config.name, config.platform, config.backend) == ("tinycloud", "onnxruntime_onnx", "onnxruntime")
    assert config.max_batch_size == 32 and not config.model_transaction_policy.decoupled
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("input", 11, [4, 256, 256])], "TYPE_FP32"
    assert [(o.name, o.data_type, list(o.dims)) for o in config.output] == [("output", 11, [3, 256, 256])]
    assert [(g.kind, g.count) for g in config.instance_group] == [(2, 1)], "KIND_CPU"
    assert config.parameters["batch_invariant"].string_value == "true"
    as_json = await ask("get_model_config", "tinycloud.mask", as_json=True)
    assert [i["dims"] for i in as_json["config"]["input"]] == [["-1", "-1", "-1"], ["-1", "2"]]
    await ask.expect("NOT_FOUND", "get_model_metadata", "nothing")
    await ask.expect("NOT_FOUND", "get_model_config", "nothing")


async def check_statistics(ask: Asker, model: str, inputs: list[Any], compute_ns: int) -> None:
    """ModelStatistics: three requests more, one of them refused, are counted so."""

    async def counted() -> Any:
        (found,) = (await ask("get_inference_statistics", model)).model_stats
        return found

    before = await counted()
    for _ in range(2):
        await ask("infer", model, inputs)
    await ask.expect("INVALID_ARGUMENT", "infer", model, inputs, outputs=[triton.InferRequestedOutput("no")])
    after = await counted()
    assert (after.name, after.version) == (model, "1")
    for said, more in (("success", 2), ("fail", 1), ("queue", 2), ("compute_infer", 2)):
        counts = [getattr(one.inference_stats, said).count for one in (before, after)]
        assert counts[1] - counts[0] == more, said
    assert after.inference_count - before.inference_count == 2 == after.execution_count - before.execution_count
    times = [one.inference_stats.compute_infer.ns for one in (before, after)]
    assert times[1] - times[0] > 2 * compute_ns
    assert after.inference_stats.success.ns >= after.inference_stats.compute_infer.ns
    assert after.last_inference > 1_700_000_000_000, "milliseconds since 1970"
    assert [batch.batch_size for batch in after.batch_stats] == [1]
    every = await ask("get_inference_statistics")
    assert {"tinycloud", "tinycloud.mask", model} <= {one.name for one in every.model_stats}
    await ask.expect("NOT_FOUND", "get_inference_statistics", "nothing")


async def check_stream(ask: Asker, model: str, rows: np.ndarray, expected: Arrays) -> None:
    """ModelStreamInfer: answers in the order of the requests, a cause for one that cannot be, and it goes on."""
    requests = [
        {"model_name": model, "inputs": [tensor("x", row[None])], "request_id": str(number)}
        for number, row in enumerate(rows)
    ]
    requests[1]["inputs"] = [tensor("y", rows[1][None])]
    requests[2]["enable_empty_final_response"] = True
    found = await ask.stream(requests)
    for number, (result, error) in enumerate(found):
        if number == 1:
            assert result is None and "INVALID_ARGUMENT" in error.message() and "'y'" in error.message()
            continue
        assert error is None, error
        response = result.get_response()
        assert response.id == str(number) and response.parameters["triton_final_response"].bool_param
        for name, array in expected.items():
            assert result.as_numpy(name).tobytes() == array[number : number + 1].tobytes()


async def check_no_device(ask: Asker) -> None:
    """CudaSharedMemory, TraceSetting, LogSettings: what is not here says so, and asking for all of nothing is fine."""
    assert not (await ask("get_cuda_shared_memory_status")).regions
    await ask("unregister_cuda_shared_memory")
    said = await ask.expect("UNIMPLEMENTED", "register_cuda_shared_memory", "gpu", base64.b64encode(b"handle"), 0, 64)
    assert "'gpu'" in said and "CUDA" in said
    await ask.expect("UNIMPLEMENTED", "get_trace_settings")
    await ask.expect("UNIMPLEMENTED", "update_trace_settings", settings={"trace_level": "OFF"})
    await ask.expect("UNIMPLEMENTED", "get_log_settings")
    await ask.expect("UNIMPLEMENTED", "update_log_settings", settings={"log_info": True})
