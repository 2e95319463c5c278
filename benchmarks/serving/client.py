"""What does a client cost that does nothing but ask?

One process, one request under way at a time. The request is made once, before the race, and sent as the same bytes
again and again; answers are counted, and only the first is taken apart and compared with what onnxruntime itself
gave. All servers of the Open Inference Protocol are asked by the same lines.

A specification as JSON is the only argument: protocol ("grpc", "shm", "http", "v2"), address, model, input, output,
shape, sample and expected (paths of .npy files; expected may be null), path (of HTTP). It writes "ready", then takes
lines of seconds from standard input and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

INFER = "/inference.GRPCInferenceService/ModelInfer"
REGISTER = "/inference.GRPCInferenceService/SystemSharedMemoryRegister"
UNREGISTER = "/inference.GRPCInferenceService/SystemSharedMemoryUnregister"
MAX_MESSAGE_BYTES = 64 * 1024**2
CALL_LIMIT_S = 60.0
WARM_UPS = 5
READ_BYTES = 1 << 20
TOLERANCE = 1e-3
Call = Callable[[], Any]


class GrpcAsk:
    """ModelInfer with raw bytes in and out of the message."""

    def __init__(self, spec: dict[str, Any], sample: np.ndarray) -> None:
        import grpc

        limits = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(spec["address"], options=limits)
        grpc.channel_ready_future(self._channel).result(CALL_LIMIT_S)
        self._infer = self._channel.unary_unary(INFER, None, None)
        self._data = self._request(spec, sample)

    def _request(self, spec: dict[str, Any], sample: np.ndarray) -> bytes:
        from perigrid.wire.generated import open_inference_pb2 as protocol

        request = protocol.ModelInferRequest(model_name=spec["model"])
        request.inputs.add(name=spec["input"], datatype="FP32", shape=sample.shape)
        request.raw_input_contents.append(sample.tobytes())
        return request.SerializeToString()

    def call(self) -> bytes:
        """One answer's bytes."""
        data: bytes = self._infer(self._data, timeout=CALL_LIMIT_S)
        return data

    def values(self, answer: bytes) -> np.ndarray:
        """The output's numbers."""
        from perigrid.wire.generated import open_inference_pb2 as protocol

        response = protocol.ModelInferResponse.FromString(answer)
        if response.raw_output_contents:
            return np.frombuffer(response.raw_output_contents[0], np.float32)
        return np.array(response.outputs[0].contents.fp32_contents, np.float32)

    def refresh(self) -> None:
        """gRPC keeps its connection itself."""

    def end(self) -> None:
        """Hang up."""
        self._channel.close()


class SharedAsk(GrpcAsk):
    """ModelInfer with input and output in shared memory; the input is copied there for each request, as by a camera."""

    def _request(self, spec: dict[str, Any], sample: np.ndarray) -> bytes:
        from perigrid.wire.generated import open_inference_pb2 as protocol

        expected = np.load(spec["expected"])
        self._input = sample.tobytes()
        self._size = expected.nbytes
        key = f"perigrid-serving-{os.getpid()}"
        self._path = Path("/dev/shm") / key
        total = len(self._input) + self._size
        with self._path.open("w+b") as file:
            file.truncate(total)
            self._memory = mmap.mmap(file.fileno(), total)
        self._key = key
        asked = protocol.SystemSharedMemoryRegisterRequest(name=key, key=key, byte_size=total)
        self._channel.unary_unary(REGISTER, None, None)(asked.SerializeToString(), timeout=CALL_LIMIT_S)
        request = protocol.ModelInferRequest(model_name=spec["model"])
        put = request.inputs.add(name=spec["input"], datatype="FP32", shape=sample.shape)
        got = request.outputs.add(name=spec["output"])
        for tensor, size, offset in ((put, len(self._input), 0), (got, self._size, len(self._input))):
            tensor.parameters["shared_memory_region"].string_param = key
            tensor.parameters["shared_memory_byte_size"].int64_param = size
            tensor.parameters["shared_memory_offset"].int64_param = offset
        return request.SerializeToString()

    def call(self) -> bytes:
        """One answer, its numbers in the region."""
        self._memory[: len(self._input)] = self._input
        return super().call()

    def values(self, answer: bytes) -> np.ndarray:
        """The output's numbers."""
        return np.frombuffer(self._memory[len(self._input) :], np.float32)

    def end(self) -> None:
        """Give the region back and hang up."""
        from perigrid.wire.generated import open_inference_pb2 as protocol

        asked = protocol.SystemSharedMemoryUnregisterRequest(name=self._key)
        self._channel.unary_unary(UNREGISTER, None, None)(asked.SerializeToString(), timeout=CALL_LIMIT_S)
        self._path.unlink(missing_ok=True)
        super().end()


class HttpAsk:
    """POST of the tensor's bytes over one kept connection, by hand: cheaper than any client that one would use."""

    def __init__(self, spec: dict[str, Any], sample: np.ndarray) -> None:
        host, _, port = spec["address"].rpartition(":")
        self._place = host, int(port)
        self._socket = self._connected()
        head, body = self._request(spec, sample)
        self._data = (
            f"POST {spec['path']} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
            f"{head}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def _request(self, spec: dict[str, Any], sample: np.ndarray) -> tuple[str, bytes]:
        """Headers of its own, and the body."""
        return "", sample.tobytes()

    def call(self) -> bytes:
        """One answer's body."""
        self._socket.sendall(self._data)
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._read()
        head = bytes(data[:end]).lower()
        if b" 200 " not in head[:16]:
            raise RuntimeError(head[:200].decode(errors="replace") + bytes(data[end:][:400]).decode(errors="replace"))
        # Not the length of another header, which the protocol's extension calls inference-header-content-length.
        size = int(head.partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])
        whole = end + 4 + size
        while len(data) < whole:
            data += self._read()
        return bytes(data[end + 4 :])

    def refresh(self) -> None:
        """A new connection: servers hang up on those that were idle between two stretches."""
        self._socket.close()
        self._socket = self._connected()

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(self._place, timeout=CALL_LIMIT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _read(self) -> bytes:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise RuntimeError("the server hung up")
        return data

    def values(self, answer: bytes) -> np.ndarray:
        """The output's numbers."""
        return np.frombuffer(answer, np.float32)

    def end(self) -> None:
        """Hang up."""
        self._socket.close()


class V2Ask(HttpAsk):
    """The same by the Open Inference Protocol's REST form, tensors as bytes behind the JSON."""

    def _request(self, spec: dict[str, Any], sample: np.ndarray) -> tuple[str, bytes]:
        data = sample.tobytes()
        tensor = {"name": spec["input"], "datatype": "FP32", "shape": sample.shape}
        asked = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}]}
        said = json.dumps({**asked, "parameters": {"binary_data_output": True}}).encode()
        return f"Inference-Header-Content-Length: {len(said)}\r\n", said + data

    def values(self, answer: bytes) -> np.ndarray:
        """The output's numbers, which end the body."""
        said, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
        size = said["outputs"][0]["parameters"]["binary_data_size"]
        if end + size != len(answer):
            raise RuntimeError(f"{len(answer)} bytes are not {end} of JSON and {size} of the tensor")
        return np.frombuffer(answer[end:], np.float32)


def stretch(call: Call, seconds: float) -> dict[str, Any]:
    """Ask again and again for so long."""
    took_s: list[float] = []
    clock, cpu_s = time.perf_counter, time.process_time()
    start_s = last_s = clock()
    end_s = start_s + seconds
    while last_s < end_s:
        call()
        now_s = clock()
        took_s.append(now_s - last_s)
        last_s = now_s
    return {
        "requests": len(took_s),
        "wall_s": last_s - start_s,
        "cpu_s": time.process_time() - cpu_s,
        "p50_s": float(np.percentile(took_s, 50)),
        "p99_s": float(np.percentile(took_s, 99)),
    }


def main() -> int:
    """Get ready, then answer each line of seconds."""
    spec = json.loads(sys.argv[1])
    sample = np.load(spec["sample"])
    ask = {"grpc": GrpcAsk, "shm": SharedAsk, "http": HttpAsk, "v2": V2Ask}[spec["protocol"]](spec, sample)
    try:
        answer = ask.call()
        if spec["expected"] is not None:
            values, expected = ask.values(answer), np.load(spec["expected"]).ravel()
            if values.shape != expected.shape or not np.allclose(values, expected, rtol=TOLERANCE, atol=TOLERANCE):
                raise RuntimeError(f"the answer is wrong: {values[:4]} instead of {expected[:4]}")
        for _ in range(WARM_UPS):
            ask.call()
        print("ready", flush=True)
        for line in sys.stdin:
            ask.refresh()
            print(json.dumps(stretch(ask.call, float(line))), flush=True)
    finally:
        ask.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
