"""Does an unmodified tritonclient work against a worker? A script, run by the Python of an environment of its own.

Usage: tritonclient_probe.py <address> <folder> sync|aio; the folder holds the inputs and the outputs to expect as .npy
files. It ends with 0 when each check held.
"""

import asyncio
import inspect
import os
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import shared_memory
from tritonclient_table import (
    Arrays,
    Asker,
    check_models,
    check_no_device,
    check_server,
    check_statistics,
    check_stream,
    tensor,
)


async def check_inference(ask: Asker, arrays: Arrays) -> None:
    """ModelInfer: tensors in the message, for the bare model and for its masks."""
    answer = await ask("infer", "tinycloud", [tensor("input", arrays["tile"])], request_id="seven")
    assert np.array_equal(answer.as_numpy("output"), arrays["scores"])
    assert answer.get_response().id == "seven"
    assert answer.get_response().parameters["cpu_s"].double_param > 0
    inputs = [tensor("capture", arrays["capture"]), tensor("windows", arrays["windows"])]
    answer = await ask("infer", "tinycloud.mask", inputs, outputs=[triton.InferRequestedOutput("mask")])
    assert np.array_equal(answer.as_numpy("mask"), arrays["mask"])
    answer = await ask("infer", "tinycloud.mask", inputs, priority=1, timeout=30_000_000, client_timeout=30)
    assert np.array_equal(answer.as_numpy("mask"), arrays["mask"])
    await ask.expect("DEADLINE_EXCEEDED", "infer", "tinycloud.mask", inputs, timeout=1)


async def check_types(ask: Asker) -> None:
    """ModelInfer of thirteen types at once, scalars among them, as tritonclient writes and reads them."""
    random = np.random.default_rng(3)
    given: Arrays = {"bytes": np.array(["", "orbit", "Umlaufbahn ü"], np.object_)}
    for sign in ("", "u"):
        for bits in (8, 16, 32, 64):
            given[f"{sign}int{bits}"] = random.integers(0, 100, 3).astype(f"{sign}int{bits}")
    for name, kind in (("fp16", "float16"), ("fp32", "float32"), ("fp64", "float64"), ("bool", "bool")):
        given[name] = random.integers(0, 2, 3).astype(kind)
    given["scalar"] = np.array(16_000, np.int64)
    answer = await ask("infer", "types", [tensor(name, array) for name, array in given.items()])
    for name, array in given.items():
        found = answer.as_numpy(f"{name}_out")
        if name == "bytes":
            assert [text.decode() for text in found] == array.tolist()
        else:
            assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes()), name


async def check_repository(ask: Asker) -> None:
    """RepositoryIndex, RepositoryModelLoad, RepositoryModelUnload."""

    async def states() -> dict[str, tuple[str, str]]:
        index = await ask("get_model_repository_index")
        return {model.name: (model.state, model.reason) for model in index.models}

    assert (await states())["tinycloud.tiles"] == ("READY", "")
    assert "late.tiles" not in await states() and not await ask("is_model_ready", "late")
    await ask("load_model", "late")
    await ask("load_model", "late")
    assert await ask("is_model_ready", "late") and (await states())["late.tiles"] == ("READY", "")
    row = tensor("x", np.ones((1, 3), np.float32))
    assert (await ask("infer", "late", [row])).as_numpy("scaled").tolist() == [[2.5, 2.5, 2.5]]
    await ask("unload_model", "late")
    assert not await ask("is_model_ready", "late") and not await ask("is_model_ready", "late.tiles")
    assert (await states())["late"] == ("UNAVAILABLE", "unloaded")
    assert "load it first" in await ask.expect("NOT_FOUND", "infer", "late", [row])
    await ask.expect("NOT_FOUND", "load_model", "nowhere")
    assert (await states())["nowhere"][0] == "UNAVAILABLE"
    await ask.expect("INVALID_ARGUMENT", "load_model", "late", config="{}")
    await ask.expect("NOT_FOUND", "unload_model", "late")


async def check_shared_memory(ask: Asker, arrays: Arrays) -> None:
    """SystemSharedMemory: inputs and outputs in it; what tritonclient made is still there after it is unregistered."""
    tile, scores = arrays["tile"], arrays["scores"]
    keys = [f"perigrid-probe-{os.getpid()}-{end}" for end in ("in", "out")]
    given = shared_memory.create_shared_memory_region("given", keys[0], tile.nbytes, create_only=True)
    taken = shared_memory.create_shared_memory_region("taken", keys[1], scores.nbytes + 8, create_only=True)
    try:
        shared_memory.set_shared_memory_region(given, [tile])
        await ask("register_system_shared_memory", "given", keys[0], tile.nbytes)
        await ask("register_system_shared_memory", "taken", keys[1], scores.nbytes + 8)
        assert set((await ask("get_system_shared_memory_status")).regions) == {"given", "taken"}
        source = triton.InferInput("input", list(tile.shape), "FP32")
        source.set_shared_memory("given", tile.nbytes)
        sink = triton.InferRequestedOutput("output")
        sink.set_shared_memory("taken", scores.nbytes, offset=8)
        answer = await ask("infer", "tinycloud", [source], outputs=[sink])
        assert answer.get_output("output").parameters["shared_memory_region"].string_param == "taken"
        found = shared_memory.get_contents_as_numpy(taken, np.float32, scores.shape, offset=8)
        assert np.array_equal(found, scores)
        await ask("unregister_system_shared_memory", "given")
        await ask("unregister_system_shared_memory")
        assert not (await ask("get_system_shared_memory_status")).regions
        await ask.expect("NOT_FOUND", "infer", "tinycloud", [source])
        assert all((Path("/dev/shm") / key).exists() for key in keys)
        # The views on the region must be gone before tritonclient can close it.
        del found
    finally:
        shared_memory.destroy_shared_memory_region(given)
        shared_memory.destroy_shared_memory_region(taken)


async def check_refusals(ask: Asker, arrays: Arrays) -> None:
    """The status codes of what cannot be."""
    tile = arrays["tile"]
    whole = [tensor("input", tile)]
    await ask.expect("NOT_FOUND", "infer", "nothing", whole)
    await ask.expect("NOT_FOUND", "infer", "tinycloud", whole, model_version="2")
    narrow = [tensor("input", np.ascontiguousarray(tile[:, :3]))]
    await ask.expect("INVALID_ARGUMENT", "infer", "tinycloud", narrow)
    await ask.expect("INVALID_ARGUMENT", "infer", "tinycloud", [tensor("input", tile.astype(np.float64))])
    said = await ask.expect("INVALID_ARGUMENT", "infer", "tinycloud", whole, sequence_id=7, sequence_start=True)
    assert "sequence" in said


async def check_streams(ask: Asker, arrays: Arrays) -> None:
    """ModelStreamInfer."""
    await ask("load_model", "late")
    rows = arrays["rows"]
    await check_stream(ask, "late", rows, {"scaled": arrays["scaled"], "shifted": arrays["shifted"]})
    await ask("unload_model", "late")


async def check(address: str, arrays: Arrays, way: str) -> None:
    """Run all checks."""
    client = (triton_aio if way == "aio" else triton).InferenceServerClient(address)
    ask = Asker(client)
    await check_server(ask, "sat-01")
    await check_models(ask)
    await check_inference(ask, arrays)
    await check_types(ask)
    await check_statistics(ask, "tinycloud", [tensor("input", arrays["tile"])], compute_ns=100_000)
    await check_repository(ask)
    await check_streams(ask, arrays)
    await check_shared_memory(ask, arrays)
    await check_no_device(ask)
    await check_refusals(ask, arrays)
    closing = client.close()
    if inspect.isawaitable(closing):
        await closing


def main() -> None:
    """What the command line asks for."""
    arrays = {path.stem: np.load(path) for path in Path(sys.argv[2]).glob("*.npy")}
    asyncio.run(check(sys.argv[1], arrays, sys.argv[3]))
    print("tritonclient: all checks held")


if __name__ == "__main__":
    main()
