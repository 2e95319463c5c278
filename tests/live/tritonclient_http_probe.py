"""What does an unmodified tritonclient say of a worker's HTTP? Run by an interpreter that has it; nothing of ours.

tritonclient_http_probe.py HOST:PORT
"""

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def main() -> None:
    """Ask for all that there is, and compare."""
    client = triton.InferenceServerClient(sys.argv[1], concurrency=3)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("one") and client.is_model_ready("one", "1") and not client.is_model_ready("none")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("one")["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1]}]
    sent = np.arange(5, dtype=np.float32)
    for binary in (True, False):
        given = triton.InferInput("x", [5], "FP32")
        given.set_data_from_numpy(sent, binary_data=binary)
        for outputs in (None, *([triton.InferRequestedOutput("x_out", binary_data=way)] for way in (True, False))):
            found = client.infer("one", [given], outputs=outputs, request_id="7", priority=3, timeout=10_000_000)
            assert np.array_equal(found.as_numpy("x_out"), sent) and found.get_response()["id"] == "7"
    waiting = [client.async_infer("one", [given]) for _ in range(6)]
    assert all(np.array_equal(one.get_result().as_numpy("x_out"), sent) for one in waiting)
    for name, status in (("none", "404"), ("all", "400")):
        try:
            client.infer(name, [given])
        except InferenceServerException as error:
            assert error.status() == status, error
        else:
            raise AssertionError(name)
    client.close()
    print("all well")


if __name__ == "__main__":
    main()
