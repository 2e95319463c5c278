"""Does an unmodified tritonclient work against a worker? A script, run by the Python of a virtual environment
of its own.

tritonclient wants another protobuf than perigrid, so no test imports it. Usage: tritonclient_probe.py
<address> <folder>; the folder holds the inputs and the outputs to expect as .npy files. It ends with 0 when
each check held.
"""

import os
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, shared_memory


def tensor(name: str, array: np.ndarray, dtype: str) -> triton.InferInput:
    """An input with its bytes in the message."""
    made = triton.InferInput(name, list(array.shape), dtype)
    made.set_data_from_numpy(array)
    return made


def expect(code: str, call) -> None:
    """The call must end with this status code."""
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{code}", f"{error.status()} instead of {code}: {error}"
        return
    raise AssertionError(f"no error instead of {code}")


def check_metadata(client: triton.InferenceServerClient) -> None:
    """Live, ready, metadata."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tinycloud")
    assert client.is_model_ready("tinycloud.mask", "1")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata().name == "sat-01"
    assert "system_shared_memory" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("tinycloud")
    assert [(i.name, i.datatype, list(i.shape)) for i in metadata.inputs] == [("input", "FP32", [-1, 4, 256, 256])]
    assert [(o.name, o.datatype, list(o.shape)) for o in metadata.outputs] == [("output", "FP32", [-1, 3, 256, 256])]
    masks = client.get_model_metadata("tinycloud.mask")
    assert [i.name for i in masks.inputs] == ["capture", "windows"]
    assert [(o.name, o.datatype, list(o.shape)) for o in masks.outputs] == [("mask", "UINT8", [-1, 16384])]


def check_inference(client: triton.InferenceServerClient, arrays: dict[str, np.ndarray]) -> None:
    """Tensors in the message, for the bare model and for its masks."""
    answer = client.infer("tinycloud", [tensor("input", arrays["tile"], "FP32")], request_id="seven")
    assert np.array_equal(answer.as_numpy("output"), arrays["scores"])
    assert answer.get_response().id == "seven"
    assert answer.get_response().parameters["cpu_s"].double_param > 0
    inputs = [tensor("capture", arrays["capture"], "FP32"), tensor("windows", arrays["windows"], "INT32")]
    answer = client.infer("tinycloud.mask", inputs, outputs=[triton.InferRequestedOutput("mask")])
    assert np.array_equal(answer.as_numpy("mask"), arrays["mask"])


def check_shared_memory(client: triton.InferenceServerClient, arrays: dict[str, np.ndarray]) -> None:
    """Inputs and outputs in system shared memory; what tritonclient made is still there after it is
    unregistered.
    """
    tile, scores = arrays["tile"], arrays["scores"]
    keys = [f"perigrid-probe-{os.getpid()}-{end}" for end in ("in", "out")]
    given = shared_memory.create_shared_memory_region("given", keys[0], tile.nbytes, create_only=True)
    taken = shared_memory.create_shared_memory_region("taken", keys[1], scores.nbytes + 8, create_only=True)
    try:
        shared_memory.set_shared_memory_region(given, [tile])
        client.register_system_shared_memory("given", keys[0], tile.nbytes)
        client.register_system_shared_memory("taken", keys[1], scores.nbytes + 8)
        assert set(client.get_system_shared_memory_status().regions) == {"given", "taken"}
        source = triton.InferInput("input", list(tile.shape), "FP32")
        source.set_shared_memory("given", tile.nbytes)
        sink = triton.InferRequestedOutput("output")
        sink.set_shared_memory("taken", scores.nbytes, offset=8)
        answer = client.infer("tinycloud", [source], outputs=[sink])
        assert answer.get_output("output").parameters["shared_memory_region"].string_param == "taken"
        found = shared_memory.get_contents_as_numpy(taken, np.float32, scores.shape, offset=8)
        assert np.array_equal(found, scores)
        client.unregister_system_shared_memory("given")
        client.unregister_system_shared_memory()
        assert not client.get_system_shared_memory_status().regions
        expect("NOT_FOUND", lambda: client.infer("tinycloud", [source]))
        assert all((Path("/dev/shm") / key).exists() for key in keys)
        # The views on the region must be gone before tritonclient can close it.
        del found
    finally:
        shared_memory.destroy_shared_memory_region(given)
        shared_memory.destroy_shared_memory_region(taken)


def check_refusals(client: triton.InferenceServerClient, arrays: dict[str, np.ndarray]) -> None:
    """The status codes of what cannot be."""
    tile = arrays["tile"]
    whole = [tensor("input", tile, "FP32")]
    expect("NOT_FOUND", lambda: client.infer("nothing", whole))
    expect("NOT_FOUND", lambda: client.infer("tinycloud", whole, model_version="2"))
    expect("NOT_FOUND", lambda: client.get_model_metadata("nothing"))
    narrow = [tensor("input", np.ascontiguousarray(tile[:, :3]), "FP32")]
    expect("INVALID_ARGUMENT", lambda: client.infer("tinycloud", narrow))
    double = [tensor("input", tile.astype(np.float64), "FP64")]
    expect("INVALID_ARGUMENT", lambda: client.infer("tinycloud", double))
    expect("UNIMPLEMENTED", lambda: client.get_model_config("tinycloud"))


def main() -> None:
    """Run all checks."""
    address, folder = sys.argv[1], Path(sys.argv[2])
    arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    with triton.InferenceServerClient(address) as client:
        check_metadata(client)
        check_inference(client, arrays)
        check_shared_memory(client, arrays)
        check_refusals(client, arrays)
    print("tritonclient: all checks held")


if __name__ == "__main__":
    main()
