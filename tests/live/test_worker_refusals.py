"""Does what cannot be end with the right status, with words that name what is wrong, and leave everybody else in peace?

The worker is a process of its own on a unix socket, asked over gRPC by good clients and bad ones.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc
from tests.live.own_models import write_identities
from tests.live.worker_process import Served, serving

BOUND_S = 30.0
MESSAGE_MIB, STREAMS = 8, 4
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
Codes = grpc.StatusCode
INVALID, NOT_FOUND, EXHAUSTED = Codes.INVALID_ARGUMENT, Codes.NOT_FOUND, Codes.RESOURCE_EXHAUSTED
UNIMPLEMENTED, LATE = Codes.UNIMPLEMENTED, Codes.DEADLINE_EXCEEDED
SERVICE = "/inference.GRPCInferenceService/"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker's folder: a capture with a NaN in it, and one without."""
    path = tmp_path_factory.mktemp("w")
    clean = np.random.default_rng(2).random((4, 256, 256), dtype=np.float32)
    clean.tofile(path / "capture.f32")
    clean[1, 2, 3] = np.nan
    clean.tofile(path / "poisoned.f32")
    (path / "damaged.onnx").write_bytes(b"no model")
    write_identities(path / "late.onnx", {"x": ("FP32", ("n",))})
    return path


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    wide = write_identities(folder / "wide.onnx", {"x": ("FP32", ("n",)), "k": ("INT8", (2,)), "s": ("BYTES", (2,))})
    echo = write_identities(folder / "echo.onnx", {"x": ("FP32", ("n",))})
    bounds = {"PERIGRID_MAX_MESSAGE_MIB": str(MESSAGE_MIB), "PERIGRID_MAX_STREAMS": str(STREAMS)}
    with serving(folder, str(wide), str(echo), "tinycloud", **bounds) as found:
        yield found


@contextmanager
def stub_of(served: Served) -> Iterator[Any]:
    # A channel of its own, not a share of another's connection.
    with grpc.insecure_channel(served.address, [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield protocol_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def stub(served: Served) -> Iterator[Any]:
    with stub_of(served) as found:
        found.SystemSharedMemoryRegister(
            protocol.SystemSharedMemoryRegisterRequest(name="kept", key="file:capture.f32", byte_size=4 * 4 * 65_536)
        )
        yield found


def echo(array: Any, model: str = "echo") -> Any:
    request = protocol.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    return request


def wide() -> Any:
    """A good request of three inputs."""
    request = echo(np.ones(3, np.float32), "wide")
    request.inputs.add(name="k", datatype="INT8", shape=[2])
    request.inputs.add(name="s", datatype="BYTES", shape=[2])
    request.raw_input_contents.extend([b"\1\2", b"\1\0\0\0a\0\0\0\0"])
    return request


def mask(**changes: Any) -> Any:
    request = protocol.ModelInferRequest(model_name="tinycloud.mask")
    capture = request.inputs.add(name="capture", datatype="FP32", shape=[4, 256, 256])
    place(capture, changes.pop("region", "kept"), changes.pop("byte_size", 4 * 4 * 65_536), changes.pop("offset", 0))
    request.inputs.add(name="windows", datatype="INT32", shape=[1, 2])
    request.raw_input_contents.append(bytes(8))
    return request


def place(tensor: Any, region: str, byte_size: int, offset: int) -> None:
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = byte_size
    tensor.parameters["shared_memory_offset"].int64_param = offset


Change = Callable[[Any], object]


def bad(change: Change, make: Callable[[], Any] = wide) -> Callable[[Any], Any]:
    """One inference with a good request that was changed."""

    def call(stub: Any) -> Any:
        request = make()
        change(request)
        return stub.ModelInfer(request, timeout=BOUND_S)

    return call


def shaped(number: int, *shape: int) -> Change:
    def change(request: Any) -> None:
        request.inputs[number].shape[:] = shape

    return change


def raw(number: int, data: bytes) -> Change:
    def change(request: Any) -> None:
        request.raw_input_contents[number] = data

    return change


def wish(key: str, **value: Any) -> Change:
    def change(request: Any) -> None:
        for kind, given in value.items():
            setattr(request.parameters[key], kind, given)
        request.parameters[key].SetInParent()

    return change


def attribute(number: int, **fields: Any) -> Change:
    def change(request: Any) -> None:
        for name, value in fields.items():
            setattr(request.inputs[number], name, value)

    return change


def typed(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.extend([1.0] * 3)


def only_typed(count: int, field: str = "fp32_contents", value: Any = 1.0) -> Change:
    def change(request: Any) -> None:
        del request.inputs[1:], request.raw_input_contents[:]
        getattr(request.inputs[0].contents, field).extend([value] * count)

    return change


def output(name: str, **parameters: Any) -> Change:
    def change(request: Any) -> None:
        wanted = request.outputs.add(name=name)
        for key, (kind, value) in parameters.items():
            setattr(wanted.parameters[key], kind, value)

    return change


def twice(request: Any) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def ask(method: str, kind: str, **fields: Any) -> Callable[[Any], Any]:
    """A call of another method than inference."""
    request = getattr(protocol, f"{kind}Request")(**fields)
    return lambda stub: getattr(stub, method)(request, timeout=BOUND_S)


def register(**fields: Any) -> Callable[[Any], Any]:
    values = {"name": "n", "key": "file:capture.f32", "byte_size": 16, **fields}
    return ask("SystemSharedMemoryRegister", "SystemSharedMemoryRegister", **values)


def load_with(**fields: Any) -> Callable[[Any], Any]:
    request = protocol.RepositoryModelLoadRequest(model_name="late")
    request.parameters["config"].string_param = "{}"
    return lambda stub: stub.RepositoryModelLoad(request, timeout=BOUND_S)


BAD: dict[str, tuple[Callable[[Any], Any], grpc.StatusCode, str]] = {
    "unknown model": (bad(lambda r: setattr(r, "model_name", "nothing")), NOT_FOUND, "'nothing'"),
    "no model": (bad(lambda r: r.ClearField("model_name")), NOT_FOUND, "no model ''"),
    "unknown version": (bad(lambda r: setattr(r, "model_version", "2")), NOT_FOUND, "version '2'"),
    "wrong type": (bad(attribute(1, datatype="UINT8")), INVALID, "input 'k' has datatype 'UINT8'"),
    "no such type": (bad(attribute(1, datatype="BF16")), INVALID, "input 'k' has datatype 'BF16'"),
    "wrong size": (bad(shaped(1, 3)), INVALID, "input 'k' has shape [3]"),
    "too many axes": (bad(shaped(0, 1, 3)), INVALID, "input 'x' has shape [1, 3]"),
    "no axes": (bad(shaped(0)), INVALID, "input 'x' has shape []"),
    "negative size": (bad(shaped(0, -3)), INVALID, "input 'x' has shape [-3]"),
    "empty": (bad(shaped(0, 0)), INVALID, "input 'x' has shape [0]"),
    "huge size": (bad(shaped(0, 2**62)), INVALID, "takes 18446744073709551616"),
    "overflowing product": (
        bad(shaped(0, 2**40, 2**40, 2**40), lambda: changed_to_mask()),
        INVALID,
        str(2**120 * 4),
    ),
    "a million axes": (bad(shaped(0, *[1] * 1_000_000)), INVALID, "input 'x' has shape [1, 1"),
    "truncated": (bad(raw(0, bytes(11))), INVALID, "input 'x' has 11 bytes"),
    "surplus bytes": (bad(raw(0, bytes(13))), INVALID, "input 'x' has 13 bytes"),
    "no bytes": (bad(raw(0, b"")), INVALID, "input 'x' has 0 bytes"),
    "a tensor too few": (bad(lambda r: r.raw_input_contents.pop()), INVALID, "input 's' has no bytes"),
    "a tensor too many": (bad(lambda r: r.raw_input_contents.append(b"")), INVALID, "1 of raw_input_contents"),
    "raw and typed": (bad(typed), INVALID, "input 'x' has contents and raw_input_contents"),
    "neither": (bad(lambda r: r.ClearField("raw_input_contents")), INVALID, "input 'x' has 0 elements"),
    "typed, too few": (bad(only_typed(2)), INVALID, "2 elements in fp32_contents"),
    "typed in another type's field": (bad(only_typed(3, "int_contents", 1)), INVALID, "0 elements in fp32_contents"),
    "region and typed": (
        bad(lambda r: r.inputs[0].contents.fp32_contents.append(1.0), mask),
        INVALID,
        "'capture' has contents and a shared memory region",
    ),
    "missing input": (bad(lambda r: (r.inputs.pop(), r.raw_input_contents.pop())), INVALID, "inputs s are missing"),
    "unknown input": (bad(attribute(0, name="y")), INVALID, "input 'y' is unknown"),
    "double input": (bad(twice), INVALID, "input 'x' came twice"),
    "unknown output": (bad(output("y")), INVALID, "output 'y'"),
    "double output": (
        bad(lambda r: [output("x_out")(r) for _ in range(2)]),
        INVALID,
        "output 'x_out' is unknown or asked for twice",
    ),
    "classification": (
        bad(output("x_out", classification=("int64_param", 3))),
        INVALID,
        "'x_out': classification is not offered",
    ),
    "unknown tensor parameter": (
        bad(lambda r: setattr(r.inputs[0].parameters["colour"], "string_param", "red")),
        INVALID,
        "input 'x': the parameter 'colour'",
    ),
    "strings cut off": (bad(raw(2, b"\1\0\0\0a\1\0\0\0")), INVALID, "input 's' ends inside string 1"),
    "strings with a rest": (bad(raw(2, b"\0\0\0\0\0\0\0\0a")), INVALID, "input 's' has 1 bytes behind"),
    "strings without lengths": (bad(raw(2, b"ab")), INVALID, "input 's' has 2 bytes"),
    "a string of 4 GiB": (bad(raw(2, b"\xff\xff\xff\xffaaaa")), INVALID, "input 's' ends inside string 0"),
    "strings that are not UTF-8": (bad(raw(2, b"\1\0\0\0\xff\0\0\0\0")), INVALID, "input 's': string 0 is not UTF-8"),
    "NaN in a capture": (bad(lambda r: None, lambda: poisoned()), INVALID, "nan in band 1 at row 2, column 3"),
    "window outside": (bad(raw(0, b"\1\0\0\0\0\0\0\0"), mask), INVALID, "window at row 1, column 0"),
    "unknown region": (bad(lambda r: None, lambda: mask(region="gone")), NOT_FOUND, "region 'gone'"),
    "offset past its end": (bad(lambda r: None, lambda: mask(offset=2**40)), INVALID, "'capture': bytes 1099511627776"),
    "negative offset": (bad(lambda r: None, lambda: mask(offset=-4)), INVALID, "tensor 'capture': bytes -4"),
    "negative byte size": (bad(lambda r: None, lambda: mask(byte_size=-4)), INVALID, "tensor 'capture': bytes 0 to -4"),
    "byte size left out": (
        bad(lambda r: r.inputs[0].parameters.pop("shared_memory_byte_size"), mask),
        INVALID,
        "tensor 'capture': a region without shared_memory_byte_size",
    ),
    "byte size as text": (
        bad(lambda r: setattr(r.inputs[0].parameters["shared_memory_byte_size"], "string_param", "many"), mask),
        INVALID,
        "tensor 'capture': the parameter shared_memory_byte_size",
    ),
    "output to a file": (
        bad(
            output(
                "mask", shared_memory_region=("string_param", "kept"), shared_memory_byte_size=("int64_param", 16_384)
            ),
            mask,
        ),
        INVALID,
        "output 'mask' cannot go to region 'kept'",
    ),
    "unknown parameter": (bad(wish("colour", string_param="red")), INVALID, "parameter 'colour'"),
    "priority as text": (bad(wish("priority", string_param="high")), INVALID, "parameter priority"),
    "negative priority": (bad(wish("priority", int64_param=-1)), INVALID, "parameter priority"),
    "timeout as a fraction": (bad(wish("timeout", double_param=1.5)), INVALID, "parameter timeout"),
    "timeout without a value": (bad(wish("timeout")), INVALID, "parameter timeout"),
    "due is no number": (bad(wish("due_s", bool_param=True)), INVALID, "parameter due_s"),
    "due is NaN": (bad(wish("due_s", double_param=float("nan"))), INVALID, "parameter due_s is NaN"),
    "sequence": (bad(wish("sequence_id", int64_param=5)), INVALID, "parameter sequence_id"),
    "timeout that has passed": (bad(wish("timeout", int64_param=1)), LATE, "deadline"),
    "too large a message": (
        bad(lambda r: None, lambda: echo(np.zeros(MESSAGE_MIB * 2**18 + 100, np.float32))),
        EXHAUSTED,
        str(MESSAGE_MIB * 2**20),
    ),
    "too large an answer": (
        bad(lambda r: None, lambda: echo(np.zeros(MESSAGE_MIB * 2**18 - 100, np.float32))),
        INVALID,
        "the outputs have 8388208 bytes",
    ),
    "a region outside": (register(key="file:../etc/passwd"), INVALID, "'file:../etc/passwd' leads outside"),
    "a region without a file": (register(key="file:gone"), NOT_FOUND, "'file:gone'"),
    "a region beyond its file": (register(byte_size=2**63), INVALID, "is not in it"),
    "a region without a name": (register(name=""), INVALID, "region's name"),
    "another region's name": (register(name="kept"), Codes.ALREADY_EXISTS, "region 'kept'"),
    "status of an unknown region": (
        ask("SystemSharedMemoryStatus", "SystemSharedMemoryStatus", name="gone"),
        NOT_FOUND,
        "region 'gone'",
    ),
    "memory of a device": (
        ask("CudaSharedMemoryRegister", "CudaSharedMemoryRegister", name="gpu", raw_handle=b"h", byte_size=8),
        UNIMPLEMENTED,
        "region 'gpu'",
    ),
    "traces": (ask("TraceSetting", "TraceSetting"), UNIMPLEMENTED, "event log"),
    "logs": (ask("LogSettings", "LogSettings"), UNIMPLEMENTED, "log/"),
    "metadata of an unknown model": (ask("ModelMetadata", "ModelMetadata", name="no"), NOT_FOUND, "model 'no'"),
    "configuration of an unknown model": (ask("ModelConfig", "ModelConfig", name="no"), NOT_FOUND, "model 'no'"),
    "statistics of an unknown model": (ask("ModelStatistics", "ModelStatistics", name="no"), NOT_FOUND, "model 'no'"),
    "another repository": (
        ask("RepositoryIndex", "RepositoryIndex", repository_name="other"),
        INVALID,
        "repository 'other'",
    ),
    "loading what is not there": (
        ask("RepositoryModelLoad", "RepositoryModelLoad", model_name="gone"),
        NOT_FOUND,
        "gone.onnx",
    ),
    "loading what is no model": (
        ask("RepositoryModelLoad", "RepositoryModelLoad", model_name="damaged"),
        Codes.UNAVAILABLE,
        "damaged.onnx",
    ),
    "loading with a configuration": (load_with(), INVALID, "parameter 'config' of model 'late'"),
    "unloading what is not there": (
        ask("RepositoryModelUnload", "RepositoryModelUnload", model_name="gone"),
        NOT_FOUND,
        "model 'gone'",
    ),
    "unloading a form": (
        ask("RepositoryModelUnload", "RepositoryModelUnload", model_name="tinycloud.mask"),
        INVALID,
        "'tinycloud.mask' is a form",
    ),
}


def changed_to_mask() -> Any:
    """A capture in the message, whose three axes may have any size."""
    request = protocol.ModelInferRequest(model_name="tinycloud.mask")
    request.inputs.add(name="capture", datatype="FP32", shape=[4, 256, 256])
    request.inputs.add(name="windows", datatype="INT32", shape=[1, 2])
    request.raw_input_contents.extend([bytes(4 * 4 * 65_536), bytes(8)])
    return request


def poisoned() -> Any:
    request = changed_to_mask()
    capture = np.zeros((4, 256, 256), np.float32)
    capture[1, 2, 3] = np.nan
    request.raw_input_contents[0] = capture.tobytes()
    return request


class GoodClient:
    """Asks the same again and again from a thread of its own, and compares the bits of what it gets."""

    def __init__(self, served: Served) -> None:
        self._stop = threading.Event()
        self.answers: Counter[bytes] = Counter()
        self.failures: list[grpc.RpcError] = []
        self._thread = threading.Thread(target=self._ask, args=(served,))

    def _ask(self, served: Served) -> None:
        tile = np.random.default_rng(1).random((1, 4, 256, 256), dtype=np.float32)
        request = echo(tile, "tinycloud")
        request.inputs[0].name = "input"
        with stub_of(served) as stub:
            while not self._stop.is_set():
                try:
                    self.answers[stub.ModelInfer(request, timeout=BOUND_S).raw_output_contents[0]] += 1
                except grpc.RpcError as error:
                    self.failures.append(error)

    def __enter__(self) -> GoodClient:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(BOUND_S)

    def check(self, at_least: int) -> None:
        assert not self.failures
        assert len(self.answers) == 1 and self.answers.total() >= at_least


@pytest.fixture(scope="module")
def good_client(served: Served) -> Iterator[GoodClient]:
    """Under way while everything else of this file happens."""
    with GoodClient(served) as found:
        yield found
    found.check(at_least=20)


def test_there_are_enough_kinds_of_bad_requests() -> None:
    assert len(BAD) >= 32


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_is_refused(stub: Any, good_client: GoodClient, kind: str) -> None:
    call, code, said = BAD[kind]
    with pytest.raises(grpc.RpcError) as caught:
        call(stub)
    assert (caught.value.code(), said in caught.value.details()) == (code, True), caught.value.details()
    assert stub.ModelInfer(wide(), timeout=BOUND_S).raw_output_contents[1] == b"\1\2"


def test_bytes_that_are_no_message_and_methods_that_are_none_are_refused(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:

        def send(method: str, data: bytes) -> grpc.RpcError:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(f"{SERVICE}{method}", _registered_method=False)(data, timeout=BOUND_S)
            return caught.value

        error = send("ModelInfer", b"\xff" * 40)
        assert (error.code(), "no ModelInferRequest" in error.details()) == (INVALID, True)
        assert send("ModelInfer", b"").code() is NOT_FOUND
        assert send("ModelMetadata", b"\xff" * 40).code() is Codes.INTERNAL
        assert send("ModelTrain", b"").code() is UNIMPLEMENTED


def test_a_stream_answers_each_request_or_says_why_not(stub: Any) -> None:
    requests = [echo(np.full(2, number, np.float32)) for number in range(4)]
    requests[2].model_name, requests[2].id = "nothing", "third"
    answers = list(stub.ModelStreamInfer(iter(requests), timeout=BOUND_S))
    assert [bool(answer.error_message) for answer in answers] == [False, False, True, False]
    for number in (0, 1, 3):
        response = answers[number].infer_response
        assert response.raw_output_contents[0] == np.full(2, number, np.float32).tobytes()
        assert response.parameters["triton_final_response"].bool_param
    assert answers[2].error_message.startswith("NOT_FOUND: ") and "'nothing'" in answers[2].error_message
    assert answers[2].infer_response.id == "third"
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ModelStreamInfer(iter(requests), timeout=BOUND_S, metadata=[("triton_grpc_error", "true")]))
    assert caught.value.code() is NOT_FOUND


def test_streams_and_watchers_are_bounded(served: Served, stub: Any) -> None:
    with ExitStack() as stack:
        ended = threading.Event()
        stack.callback(ended.set)

        def one_and_wait() -> Iterator[Any]:
            yield echo(np.ones(1, np.float32))
            ended.wait(BOUND_S)

        calls = [stub.ModelStreamInfer(one_and_wait(), timeout=BOUND_S) for _ in range(STREAMS)]
        for call in calls:
            assert next(call).infer_response.outputs
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ModelStreamInfer(iter([]), timeout=BOUND_S))
        assert (caught.value.code(), f"{STREAMS} streams" in caught.value.details()) == (EXHAUSTED, True)
    for call in calls:
        assert list(call) == []
    with grpc.insecure_channel(served.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(service="any" * n)) for n in range(65)]
        codes = Counter[Any]()
        for watch in watches:
            try:
                codes[next(watch).status] += 1
            except grpc.RpcError as error:
                codes[error.code()] += 1
        for watch in watches:
            watch.cancel()
    assert codes == {
        health_pb2.HealthCheckResponse.SERVING: 1,
        health_pb2.HealthCheckResponse.SERVICE_UNKNOWN: 63,
        EXHAUSTED: 1,
    }


# --- memory

WARM, REQUESTS, IDLE, AT_ONCE = 3_000, 10_000, 200, 24
WIDTH = 4_000
GROWTH_BYTES = 12 * 2**20
"""What the process may grow by over all requests: a thousandth of what they carry in and out is 640 kB."""


def crowd(stub: Any, count: int, seed: int) -> Counter[Any]:
    """So many requests, some at a time, of which many are cancelled at random moments; how they ended."""
    chance = random.Random(seed)
    places = threading.Semaphore(AT_ONCE)
    codes: Counter[Any] = Counter()
    request = echo(np.ones(WIDTH, np.float32))
    under_way: list[Any] = []
    for number in range(count):
        places.acquire()
        request.id = str(number)
        call = stub.ModelInfer.future(request, timeout=BOUND_S)
        call.add_done_callback(lambda _: places.release())
        under_way.append(call)
        if chance.random() < 0.3:
            chance.choice(under_way[-AT_ONCE:]).cancel()
        if len(under_way) > 500 or number == count - 1:
            for ended in under_way:
                codes[Codes.CANCELLED if ended.cancelled() else ended.code()] += 1
            under_way.clear()
    return codes


def never_read(stub: Any, stop: threading.Event) -> Any:
    """A stream whose client sends and sends, and takes no answer."""

    def requests() -> Iterator[Any]:
        while not stop.is_set():
            yield echo(np.ones(50_000, np.float32))

    return stub.ModelStreamInfer(requests())


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
def test_clients_that_misbehave_leave_its_memory_as_it_is(served: Served, stub: Any) -> None:
    stop = threading.Event()
    with ExitStack() as stack:
        idle = [stack.enter_context(stub_of(served)) for _ in range(IDLE)]
        for one in idle:
            assert one.ServerLive(protocol.ServerLiveRequest(), timeout=BOUND_S).live
        unread = never_read(stack.enter_context(stub_of(served)), stop)
        stack.callback(unread.cancel)
        stack.callback(stop.set)
        crowd(stub, WARM, seed=1)
        before = served.resident_bytes()
        codes = crowd(stub, REQUESTS, seed=2)
        after = served.resident_bytes()
        assert all(one.ServerLive(protocol.ServerLiveRequest(), timeout=BOUND_S).live for one in idle)
    assert codes.total() == REQUESTS and set(codes) == {Codes.OK, Codes.CANCELLED}, codes
    assert codes[Codes.CANCELLED] > REQUESTS // 20
    assert after - before < GROWTH_BYTES, f"{(after - before) / 2**20:.1f} MiB more"
    assert served.threads() < 200
