"""Does a worker answer the Open Inference Protocol truly, and refuse what does not fit with its code?"""

import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from perigrid.errors import EnvironmentProblem, LinkBroken, NameInUse
from perigrid.job.masks import pack
from perigrid.live import shared_regions
from perigrid.live import worker as worker_module
from perigrid.live.forms import MAX_BATCH
from perigrid.live.models import ModelStore
from perigrid.live.pipeline import LoadedModel, load_model
from perigrid.live.serving.limits import Limits
from perigrid.live.serving.line import Patient
from perigrid.live.serving.service import EXTENSIONS
from perigrid.live.worker import OpenGate, Worker, serve
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

ROOT = Path(__file__).resolve().parent.parent.parent
TILE = 256
BOUND_S = 30
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
WINDOWS = np.array([[0, 0], [44, 64], [13, 7]], np.int32)


class CountingGate:
    """A gate without a limit that counts; `wait_for` makes the first caller wait until it is set."""

    def __init__(self, wait_for: threading.Event | None = None) -> None:
        self.taken: list[float] = []
        self.given_back = 0
        self.asked = threading.Event()
        self.idle = threading.Event()
        self._wait_for = wait_for

    def acquire(self, due_s: float) -> None:
        self.asked.set()
        if self._wait_for is not None:
            assert self._wait_for.wait(BOUND_S)
        self.taken.append(due_s)

    def release(self) -> None:
        self.given_back += 1
        if self.given_back == len(self.taken):
            self.idle.set()


@pytest.fixture(scope="module")
def loaded():
    return load_model(ModelStore(), "tinycloud")


@pytest.fixture(scope="module")
def bare():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = str(ModelStore().resolve("tinycloud"))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def capture():
    return np.random.default_rng(5).random((6, 300, 320)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(bare, capture):
    """Packed masks of WINDOWS by the bare model."""
    rows = []
    for row, column in WINDOWS.tolist():
        crop = np.ascontiguousarray(capture[:4, row : row + TILE, column : column + TILE])[None]
        rows.append(pack(bare.run(None, {"input": crop})[0][0].argmax(axis=0).astype(np.uint8)))
    return np.stack(rows)


@pytest.fixture(scope="module")
def flash(tmp_path_factory, capture):
    """A folder of regions with one capture in it."""
    folder = tmp_path_factory.mktemp("flash")
    capture.tofile(folder / "capture.f32")
    return folder


@pytest.fixture(scope="module")
def gate():
    return CountingGate()


@pytest.fixture(scope="module")
def address(tmp_path_factory, loaded, flash, gate):
    """A real server on a unix socket."""
    path = tmp_path_factory.mktemp("s") / "sat-01.worker"
    server = serve(f"unix:{path}", Worker("sat-01", {"tinycloud": loaded}, flash, gate))
    yield f"unix:{path}"
    assert server.stop(grace=None).wait(BOUND_S)


@pytest.fixture(scope="module")
def channel(address):
    limit = Limits().max_message_bytes
    options = [("grpc.max_send_message_length", limit), ("grpc.max_receive_message_length", limit)]
    with grpc.insecure_channel(address, options) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    made = protocol_grpc.GRPCInferenceServiceStub(channel)
    yield made
    made.SystemSharedMemoryUnregister(protocol.SystemSharedMemoryUnregisterRequest(), timeout=BOUND_S)


def give(request, name, array, dtype, raw=True):
    """Add an input, its bytes in the message."""
    tensor = request.inputs.add(name=name, datatype=dtype, shape=array.shape)
    if raw:
        request.raw_input_contents.append(array.tobytes())
    return tensor


def place(tensor, region, byte_size, offset=0):
    """Say that a tensor lies in a region."""
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = byte_size
    tensor.parameters["shared_memory_offset"].int64_param = offset


def bare_request(array, **fields):
    request = protocol.ModelInferRequest(model_name="tinycloud", **fields)
    give(request, "input", array, "FP32")
    return request


def mask_request(capture, windows=WINDOWS):
    request = protocol.ModelInferRequest(model_name="tinycloud.mask")
    give(request, "capture", capture, "FP32")
    give(request, "windows", windows, "INT32")
    return request


def region_request(capture, windows=WINDOWS):
    """The capture lies in the region `capture`, the windows are in the message."""
    request = protocol.ModelInferRequest(model_name="tinycloud.mask")
    place(give(request, "capture", capture, "FP32", raw=False), "capture", capture.nbytes)
    give(request, "windows", windows, "INT32")
    return request


def register(stub, name, key, byte_size, offset=0):
    request = protocol.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=offset, byte_size=byte_size)
    stub.SystemSharedMemoryRegister(request, timeout=BOUND_S)


def infer(stub, request):
    return stub.ModelInfer(request, timeout=BOUND_S)


def masks_of(response):
    assert [output.name for output in response.outputs] == ["mask"]
    return np.frombuffer(response.raw_output_contents[0], np.uint8).reshape(response.outputs[0].shape)


def refused(code, match, call, *arguments):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    assert caught.value.code() == code, caught.value.details()
    assert match in caught.value.details()


@pytest.mark.parametrize("batch", [1, 3])
def test_the_bare_model_gives_the_bits_of_onnxruntime(stub, bare, batch):
    images = np.random.default_rng(batch).random((batch, 4, TILE, TILE)).astype(np.float32)
    response = infer(stub, bare_request(images, id="seven"))
    assert (response.model_name, response.model_version, response.id) == ("tinycloud", "1", "seven")
    scores = bare.run(None, {"input": images})[0]
    assert list(response.outputs[0].shape) == list(scores.shape)
    assert response.raw_output_contents[0] == scores.tobytes()


def test_masks_of_a_capture_in_the_message(stub, capture, expected):
    response = infer(stub, mask_request(capture))
    assert np.array_equal(masks_of(response), expected)
    assert response.parameters["cpu_s"].double_param > 0
    assert response.parameters["desk_wait_s"].double_param >= 0


def test_masks_of_a_capture_in_a_file(stub, capture, expected):
    register(stub, "capture", "file:capture.f32", capture.nbytes)
    for _ in range(2):
        assert np.array_equal(masks_of(infer(stub, region_request(capture))), expected)


def test_a_part_of_a_region_is_a_capture_too(stub, capture, expected):
    # The region starts inside the file and the tensor inside the region, off any page.
    band = capture[0].nbytes
    register(stub, "capture", "file:capture.f32", capture.nbytes - band, offset=band)
    request = protocol.ModelInferRequest(model_name="tinycloud.mask")
    place(give(request, "capture", capture[2:], "FP32", raw=False), "capture", 4 * band, offset=band)
    give(request, "windows", WINDOWS, "INT32")
    assert np.array_equal(masks_of(infer(stub, request)), masks_of(infer(stub, mask_request(capture[2:]))))


def test_small_tensors_may_be_typed(stub, capture, expected):
    register(stub, "capture", "file:capture.f32", capture.nbytes)
    request = protocol.ModelInferRequest(model_name="tinycloud.mask")
    place(give(request, "capture", capture, "FP32", raw=False), "capture", capture.nbytes)
    tensor = give(request, "windows", WINDOWS, "INT32", raw=False)
    tensor.contents.int_contents.extend(WINDOWS.ravel().tolist())
    assert np.array_equal(masks_of(infer(stub, request)), expected)
    del tensor.contents.int_contents[-1]
    refused(INVALID, "5 elements", infer, stub, request)


def test_typed_tensors_are_bounded(stub):
    request = protocol.ModelInferRequest(model_name="tinycloud")
    tensor = request.inputs.add(name="input", datatype="FP32", shape=(1, 4, TILE, TILE))
    tensor.contents.fp32_contents.extend([0.5] * (4 * TILE * TILE))
    refused(INVALID, "raw_input_contents", infer, stub, request)


@pytest.fixture
def posix_region():
    """POSIX shared memory, made and deleted by the test as a client would."""
    path = Path("/dev/shm") / f"perigrid-test-{os.getpid()}"
    path.write_bytes(bytes(8 * 16384))
    yield path
    path.unlink()


def test_results_may_go_to_shared_memory_which_stays(stub, capture, expected, posix_region):
    register(stub, "results", posix_region.name, posix_region.stat().st_size)
    request = mask_request(capture)
    place(request.outputs.add(name="mask"), "results", expected.nbytes, offset=16)
    response = infer(stub, request)
    assert response.outputs[0].parameters["shared_memory_region"].string_param == "results"
    assert list(response.raw_output_contents) == [b""]
    content = posix_region.read_bytes()
    assert content[16 : 16 + expected.nbytes] == expected.tobytes()
    assert not any(content[:16] + content[16 + expected.nbytes :])
    request.outputs[0].parameters["shared_memory_byte_size"].int64_param = expected.nbytes - 1
    refused(INVALID, "make that larger", infer, stub, request)
    stub.SystemSharedMemoryUnregister(protocol.SystemSharedMemoryUnregisterRequest(name="results"))
    assert posix_region.exists()


def test_a_file_is_never_written(stub, capture):
    register(stub, "capture", "file:capture.f32", capture.nbytes)
    request = mask_request(capture)
    place(request.outputs.add(name="mask"), "capture", 3 * 16384)
    refused(INVALID, "only for reading", infer, stub, request)


def test_a_region_may_be_registered_again_but_not_under_anothers_name(stub, flash):
    content = np.zeros(16, np.float32)
    content.tofile(flash / "other.f32")
    for _ in range(2):
        register(stub, "region", "file:other.f32", 64)
    refused(grpc.StatusCode.ALREADY_EXISTS, "unregister it first", register, stub, "region", "file:other.f32", 32)
    status = stub.SystemSharedMemoryStatus(protocol.SystemSharedMemoryStatusRequest(name="region"))
    assert [(r.name, r.key, r.offset, r.byte_size) for r in status.regions.values()] == [
        ("region", "file:other.f32", 0, 64)
    ]
    request = protocol.SystemSharedMemoryStatusRequest(name="nothing")
    refused(NOT_FOUND, "nothing", stub.SystemSharedMemoryStatus, request)


def test_a_file_that_was_exchanged_is_seen_anew_when_registered_again(stub, flash, capture):
    path = flash / "changing.f32"
    capture.tofile(path)
    register(stub, "capture", "file:changing.f32", capture.nbytes)
    infer(stub, region_request(capture))
    poisoned = capture.copy()
    poisoned[1, 2, 3] = np.nan
    poisoned.tofile(flash / "next.f32")
    os.replace(flash / "next.f32", path)
    register(stub, "capture", "file:changing.f32", capture.nbytes)
    refused(INVALID, "nan in band 1 at row 2, column 3", infer, stub, region_request(capture))


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("file:../flash-secret", INVALID),
        ("file:link", INVALID),
        ("file:/etc/hostname", INVALID),
        ("file:", INVALID),
        ("file:.", INVALID),
        ("file:folder", INVALID),
        ("file:pipe", INVALID),
        ("file:loop", INVALID),
        ("file:nowhere", NOT_FOUND),
        ("perigrid-nowhere", NOT_FOUND),
        ("", INVALID),
        ("..", INVALID),
        ("a/../../etc/hostname", INVALID),
        ("n" * 256, INVALID),
    ],
)
def test_keys_that_lead_nowhere_or_outside_are_refused(stub, flash, key, code):
    secret = flash.parent / "flash-secret"
    secret.write_bytes(bytes(64))
    for name, target in (("link", secret), ("loop", flash / "loop")):
        if not (flash / name).is_symlink():
            (flash / name).symlink_to(target)
    (flash / "folder").mkdir(exist_ok=True)
    if not (flash / "pipe").exists():
        os.mkfifo(flash / "pipe")
    refused(code, "key", register, stub, "region", key, 16)


@pytest.mark.parametrize(("offset", "byte_size"), [(0, 0), (0, 2**63), (2**63, 2**63), (2**62, 8)])
def test_a_region_beyond_its_file_is_refused(stub, offset, byte_size):
    refused(INVALID, "is not in it", register, stub, "region", "file:capture.f32", byte_size, offset)


def test_a_tensor_beyond_its_region_is_refused(stub, capture):
    register(stub, "capture", "file:capture.f32", capture.nbytes)
    for offset, byte_size in ((4, capture.nbytes), (-4, capture.nbytes), (0, -4)):
        request = region_request(capture)
        place(request.inputs[0], "capture", byte_size, offset)
        refused(INVALID, "outside region", infer, stub, request)
    request = region_request(capture)
    place(request.inputs[0], "capture", capture.nbytes - 4)
    refused(INVALID, "bytes", infer, stub, request)


def test_the_number_of_regions_is_bounded(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    regions = shared_regions.SharedRegions(tmp_path)
    for number in range(shared_regions.MAX_REGIONS):
        regions.register(str(number), "file:file", 0, 1)
    with pytest.raises(shared_regions.DataError, match="unregister one"):
        regions.register("more", "file:file", 0, 1)
    regions.register("0", "file:file", 0, 1)
    regions.unregister("1")
    regions.register("more", "file:file", 0, 1)


def test_memory_in_use_outlives_its_registration(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    regions = shared_regions.SharedRegions(tmp_path)
    regions.register("region", "file:file", 0, 7)
    _, memory = regions.place("region", 3, 4)
    regions.unregister("")
    assert bytes(memory) == b"tent"


def without(request, field):
    request.ClearField(field)
    return request


def changed(request, number, **fields):
    for name, value in fields.items():
        if name == "shape":
            del request.inputs[number].shape[:]
            request.inputs[number].shape.extend(value)
        else:
            setattr(request.inputs[number], name, value)
    return request


def doubled(request):
    request.inputs.append(request.inputs[0])
    return request


def wanting(request, *names):
    for name in names:
        request.outputs.add(name=name)
    return request


SMALL = np.zeros((4, TILE, TILE), np.float32)
AT_ZERO = np.zeros((1, 2), np.int32)


@pytest.mark.parametrize(
    ("make", "code", "match"),
    [
        (lambda: bare_request(SMALL[None], model_version="2"), NOT_FOUND, "version '2'"),
        (lambda: protocol.ModelInferRequest(model_name="nothing"), NOT_FOUND, "serves tinycloud"),
        (lambda: bare_request(SMALL), INVALID, "shape [4, 256, 256]"),
        (lambda: bare_request(SMALL[None, :3]), INVALID, "shape [1, 3, 256, 256]"),
        (lambda: changed(bare_request(SMALL[None]), 0, shape=(0, 4, TILE, TILE)), INVALID, "shape [0,"),
        (lambda: changed(bare_request(SMALL[None]), 0, shape=(2, 4, TILE, TILE)), INVALID, "takes 2097152"),
        (lambda: changed(bare_request(SMALL[None]), 0, datatype="FP64"), INVALID, "datatype 'FP64'"),
        (lambda: changed(bare_request(SMALL[None]), 0, name="image"), INVALID, "'image' is unknown"),
        (lambda: without(bare_request(SMALL[None]), "inputs"), INVALID, "missing"),
        (lambda: without(bare_request(SMALL[None]), "raw_input_contents"), INVALID, "elements"),
        (lambda: doubled(bare_request(SMALL[None])), INVALID, "came twice"),
        (lambda: wanting(bare_request(SMALL[None]), "image"), INVALID, "output 'image'"),
        (lambda: wanting(bare_request(SMALL[None]), "output", "output"), INVALID, "asked for twice"),
        (lambda: bare_request(SMALL[None], raw_input_contents=[b""]), INVALID, "has 0 bytes"),
        (lambda: mask_request(SMALL[:3], AT_ZERO), INVALID, "it needs 4"),
        (lambda: mask_request(SMALL, AT_ZERO + 1), INVALID, "row 1, column 1"),
        (lambda: mask_request(SMALL, AT_ZERO - 1), INVALID, "row -1, column -1"),
        (lambda: mask_request(SMALL, AT_ZERO + (2**31 - 1)), INVALID, "row 2147483647"),
        (lambda: mask_request(SMALL, np.zeros((0, 2), np.int32)), INVALID, "shape [0, 2]"),
        (lambda: mask_request(SMALL + np.float32(np.inf), AT_ZERO), INVALID, "inf in band 0"),
        (lambda: region_request(SMALL, AT_ZERO), NOT_FOUND, "region 'capture'"),
    ],
)
def test_what_does_not_fit_is_refused(stub, make, code, match):
    refused(code, match, infer, stub, make())


def test_batches_and_windows_are_bounded(stub, monkeypatch):
    infer(stub, bare_request(np.stack([SMALL] * MAX_BATCH)))
    refused(INVALID, f"a batch of {MAX_BATCH + 1}", infer, stub, bare_request(np.stack([SMALL] * (MAX_BATCH + 1))))
    monkeypatch.setattr(worker_module, "MAX_WINDOWS", 2)
    infer(stub, mask_request(SMALL, np.zeros((2, 2), np.int32)))
    refused(INVALID, "3 windows", infer, stub, mask_request(SMALL, np.zeros((3, 2), np.int32)))


def test_a_model_that_depends_on_its_batch_runs_one_at_a_time(loaded, tmp_path):
    own = load_model(ModelStore(), str(ModelStore().resolve("tinycloud")))
    worker = Worker("sat-01", {"own": own}, None, OpenGate())
    request = bare_request(np.stack([SMALL] * 2))
    request.model_name = "own"
    with pytest.raises(worker_module.DataError, match="send 1 a request"):
        worker.infer(request, Patient())
    request.inputs[0].shape[0] = 1
    request.raw_input_contents[0] = SMALL.tobytes()
    assert len(worker.infer(request, Patient()).outputs) == 1


def test_messages_up_to_the_bound_pass_and_larger_ones_do_not(stub, channel):
    size = Limits().max_message_bytes
    refused(
        INVALID,
        "takes",
        infer,
        stub,
        bare_request(SMALL[None], id="x" * 8 * 1024**2, raw_input_contents=[b"y"]),
    )
    request = bare_request(SMALL[None], raw_input_contents=[bytes(size)])
    with pytest.raises(grpc.RpcError) as caught:
        infer(stub, request)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_gate_hears_when_an_answer_is_due(stub, gate, capture, loaded):
    gate.taken.clear()
    gate.given_back = 0
    request = mask_request(capture)
    request.parameters["due_s"].double_param = 12.5
    infer(stub, request)
    assert set(gate.taken) == {12.5}
    assert 1 <= len(gate.taken) == gate.given_back <= len(WINDOWS)
    infer(stub, mask_request(capture, AT_ZERO))
    assert gate.taken[-1] == math.inf
    clocked = CountingGate()
    with_clock = Worker("sat-01", {"tinycloud": loaded}, None, clocked, now_s=lambda: 7.25)
    with_clock.infer(mask_request(capture, AT_ZERO), Patient())
    assert clocked.taken == [7.25], "due when it came"
    request.parameters["due_s"].double_param = math.nan
    refused(INVALID, "NaN", infer, stub, request)
    request.parameters["due_s"].string_param = "soon"
    refused(INVALID, "no number", infer, stub, request)


def test_a_long_hold_is_lent_on_between_tiles(loaded, capture, monkeypatch):
    gate = CountingGate()
    monkeypatch.setattr(worker_module, "QUANTUM_S", -1.0)
    Worker("sat-01", {"tinycloud": loaded}, None, gate).infer(mask_request(capture), Patient())
    assert len(gate.taken) == gate.given_back == len(WINDOWS)


def test_what_nobody_waits_for_stops_between_tiles(loaded, capture):
    for tiles in range(3):
        gate, runs = CountingGate(), []
        session = loaded.session

        class Watched:
            inputs, outputs = session.inputs, session.outputs

            def run(self, values, runs=runs, session=session):
                runs.append(1)
                return session.run(values)

        worker = Worker("sat-01", {"tinycloud": LoadedModel(loaded.entry, Watched())}, None, gate)

        class Leaving(Patient):
            def is_alive(self, runs=runs, tiles=tiles):
                return len(runs) < tiles

        with pytest.raises(LinkBroken):
            worker.infer(mask_request(capture), Leaving())
        assert len(runs) == tiles
        assert len(gate.taken) == gate.given_back


def test_a_cancelled_request_gives_its_token_back(tmp_path, loaded, capture):
    go = threading.Event()
    gate = CountingGate(go)
    address = f"unix:{tmp_path}/w"
    server = serve(address, Worker("sat-01", {"tinycloud": loaded}, None, gate))
    try:
        with grpc.insecure_channel(address) as channel:
            stub = protocol_grpc.GRPCInferenceServiceStub(channel)
            call = stub.ModelInfer.future(mask_request(capture), timeout=BOUND_S)
            assert gate.asked.wait(BOUND_S)
            call.cancel()
            # Health and metadata are answered while a request waits for its token.
            assert stub.ServerReady(protocol.ServerReadyRequest(), timeout=BOUND_S).ready
            go.set()
            assert gate.idle.wait(BOUND_S)
            assert gate.given_back == len(gate.taken) == 1
    finally:
        go.set()
        assert server.stop(grace=None).wait(BOUND_S)


def test_server_and_models_describe_themselves(stub, channel):
    assert stub.ServerLive(protocol.ServerLiveRequest()).live
    assert stub.ServerReady(protocol.ServerReadyRequest()).ready
    metadata = stub.ServerMetadata(protocol.ServerMetadataRequest())
    assert (metadata.name, list(metadata.extensions)) == ("sat-01", list(EXTENSIONS))
    masks = stub.ModelMetadata(protocol.ModelMetadataRequest(name="tinycloud.mask"))
    assert [(t.name, t.datatype, list(t.shape)) for t in (*masks.inputs, *masks.outputs)] == [
        ("capture", "FP32", [-1, -1, -1]),
        ("windows", "INT32", [-1, 2]),
        ("mask", "UINT8", [-1, 16384]),
    ]
    refused(NOT_FOUND, "nothing", stub.ModelMetadata, protocol.ModelMetadataRequest(name="nothing"))
    for name, version, ready in (("tinycloud", "1", True), ("tinycloud", "2", False), ("nothing", "", False)):
        assert stub.ModelReady(protocol.ModelReadyRequest(name=name, version=version)).ready == ready
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "inference.GRPCInferenceService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=BOUND_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_addresses_that_cannot_be_listened_on_are_refused(tmp_path, loaded):
    worker = Worker("sat-01", {"tinycloud": loaded}, None, OpenGate())
    with pytest.raises(EnvironmentProblem, match="107"):
        serve(f"unix:{tmp_path}/{'n' * 108}", worker)
    with pytest.raises(EnvironmentProblem, match="cannot listen"):
        serve(f"unix:{tmp_path}/nowhere/w", worker)


def test_two_models_of_one_name_are_refused(loaded):
    with pytest.raises(NameInUse, match=r"tinycloud\.mask"):
        Worker("sat-01", {"tinycloud": loaded, "tinycloud.mask": loaded}, None, OpenGate())


@pytest.fixture(scope="session")
def tritonclient_python():
    """The Python of an environment with tritonclient, made once beside the repository's own."""
    folder = ROOT / ".venv-tritonclient"
    python = folder / "bin" / "python"
    if not (folder / ".installed").is_file():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
            wanted = ["tritonclient[grpc]==2.73.*", "numpy"]
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
            subprocess.run(command, check=True, capture_output=True, timeout=600)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"tritonclient cannot be installed here: {error}")
        (folder / ".installed").touch()
    return python
