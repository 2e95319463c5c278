"""Does a client of the Open Inference Protocol have its inference done in orbit, once and truly, whatever breaks?

One constellation for the file, one test after the other; whoever breaks something mends it. The client is an unmodified
tritonclient in a virtual environment of its own, and for a thousand calls at once this process's own stub.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from numpy.typing import NDArray

from perigrid.app.loading import ensure
from perigrid.job.masks import pack
from perigrid.live.clients import JobClient
from perigrid.live.eventlog import read_events
from perigrid.live.gateway import MAX_STREAMS, REFUSING_THREADS
from perigrid.live.models import ModelStore
from perigrid.node.requests import MAX_REQUESTS
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc
from tests.live import test_worker
from tests.live.conftest import UP_LIMIT_S, Constellation, Launcher, alive, wait_until
from tests.live.own_models import write_model

pytestmark = pytest.mark.live

BOUND_S = 60.0
RATE, SERVICE_S = 0.25, 0.02
"""Slow enough that a thousand calls on a busy machine do not make the desk late, and with it the links."""

RING = [f"sat-{n:02d}" for n in range(1, 13)]
LONG_TILES = 30
"""Tiles of a request that lasts long enough to be caught in the middle."""

ENDLESS_TILES = 2_000
"""Tiles, or windows, of a request that lasts longer than its test."""

BUSY_TICKS, IDLE_LOOKS = 20, 50
CROWD = 1_000
CROWD_WIDTH = 1 << 16
COPIES = 4
"""How often a call's input and output may be in the ground's memory at once: as gRPC's bytes, parsed, as a blob on its
way, and once more while one becomes the other."""

tritonclient_python = test_worker.tritonclient_python


@dataclass(slots=True)
class Triton:
    """The probe's process, with the answers that have come."""

    process: subprocess.Popen[str]
    answers: dict[int, queue.Queue[dict[str, Any]]] = field(default_factory=dict)
    count: int = 0

    def send(self, **command: Any) -> int:
        """Start something; its number."""
        self.count += 1
        self.answers[self.count] = queue.Queue()
        self._say({"n": self.count, **command})
        return self.count

    def infer(self, model: str, file: str, way: str, **named: Any) -> int:
        inputs = {"tiles" if model.endswith(".tiles") else "x": file}
        return self.send(way=way, model=model, inputs=inputs, named=named)

    def cancel(self, number: int) -> None:
        self._say({"cancel": number})

    def wait(self, number: int) -> dict[str, Any]:
        return self.answers[number].get(timeout=BOUND_S)

    def listen(self) -> None:
        """In a thread of its own."""
        for line in self.process.stdout or ():
            answer = json.loads(line)
            self.answers[answer["n"]].put(answer)

    def _say(self, command: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the user's own."""
    return write_model(tmp_path_factory.mktemp("model") / "mine.onnx")


@pytest.fixture(scope="module")
def constellation(launcher: Launcher, model: Path) -> Iterator[Constellation]:
    """Twelve satellites, with tinycloud and a model that is put on board now."""
    extra = "[ground_link]\nrate_bps = 4e9\n"
    found = launcher.up("gateway", rate=RATE, service_s=SERVICE_S, acquire_s=0.05, extra=extra)
    assert ensure(found.run, model, None, lambda text: None) == ("mine", None)
    wait_until(lambda: found.status()["settled"], UP_LIMIT_S, "the own model in place")
    yield found
    launcher.end(found.run)


@pytest.fixture(autouse=True)
def mended(constellation: Constellation) -> Iterator[None]:
    """Whatever a test broke and could not mend is mended, so that the next one fails of its own."""
    yield
    for (a, b), state in constellation.link_states().items():
        if state == "cut":
            constellation.heal(a, b)
    for name in constellation.status()["satellites_lost"]:
        constellation.reboot(name)
    wait_until(lambda: ready(constellation), UP_LIMIT_S, "every laser acquired again, and the controller leading")
    await_ways(constellation, *RING)


def await_ways(constellation: Constellation, *names: str) -> None:
    """Wait until the ground knows a way to each of these satellites."""
    with JobClient(constellation.run.read().jobs) as client:
        for name in names:
            wait_until(lambda name=name: client.explain(name).reachable, UP_LIMIT_S, f"a way to {name}")


def ready(constellation: Constellation) -> bool:
    states = constellation.link_states()
    lasers = {state for (a, b), state in states.items() if a in RING and b in RING}
    with stub_of(constellation.info["gateway"]) as stub:
        request = protocol.ServerReadyRequest()
        return lasers == {"up"} and bool(stub.ServerReady(request, timeout=UP_LIMIT_S, wait_for_ready=True).ready)


class stub_of:  # noqa: N801
    """A stub of the protocol on an address, for a while."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])

    def __enter__(self) -> Any:
        return protocol_grpc.GRPCInferenceServiceStub(self._channel)

    def __exit__(self, *_: object) -> None:
        self._channel.close()


@pytest.fixture(scope="module")
def arrays(model: Path) -> dict[str, NDArray[Any]]:
    """Inputs, and what onnxruntime makes of them bare, in one thread of this process."""
    random = np.random.default_rng(3)
    made = {
        "capture": random.random((6, 300, 320), dtype=np.float32),
        "windows": np.array([[0, 0], [44, 64], [13, 7]], np.int32),
        "stack": random.standard_normal((7, 5)).astype(np.float32),
        "long": random.standard_normal((LONG_TILES, 5)).astype(np.float32),
        "endless": np.ones((ENDLESS_TILES, 1), np.float32),
        "everywhere": np.zeros((ENDLESS_TILES, 2), np.int32),
        "row": random.standard_normal((1, 9)).astype(np.float32),
    }
    made["tile"] = np.ascontiguousarray(made["capture"][None, :4, :256, :256])
    tinycloud, own = bare(ModelStore().resolve("tinycloud")), bare(model)
    made["scores"] = tinycloud.run(None, {"input": made["tile"]})[0]
    crops = [made["capture"][None, :4, r : r + 256, c : c + 256] for r, c in made["windows"].tolist()]
    classes = [tinycloud.run(None, {"input": np.ascontiguousarray(crop)})[0][0].argmax(axis=0) for crop in crops]
    made["mask"] = np.stack([pack(found.astype(np.uint8)) for found in classes])
    rows = [own.run(None, {"x": row[None]}) for row in made["stack"]]
    made["scaled"], made["shifted"] = (np.concatenate([row[n] for row in rows]) for n in range(2))
    return made


def bare(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def expected(model: Path, tiles: NDArray[Any]) -> dict[str, str]:
    """The digests of what the own model gives for each tile alone."""
    rows = [bare(model).run(None, {"x": tile[None]}) for tile in tiles]
    outputs = [np.concatenate([row[n] for row in rows]).tobytes() for n in range(2)]
    return {n: hashlib.sha256(data).hexdigest() for n, data in zip(("scaled", "shifted"), outputs, strict=True)}


@pytest.fixture(scope="module")
def triton(
    constellation: Constellation,
    arrays: dict[str, NDArray[Any]],
    tritonclient_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Triton]:
    """An unmodified tritonclient in a process of its own, talking to the gateway."""
    folder = tmp_path_factory.mktemp("arrays")
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    probe = Path(__file__).with_name("tritonclient_gateway_probe.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(tritonclient_python), str(probe), constellation.info["gateway"], str(folder)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
    found = Triton(process)
    listener = threading.Thread(target=found.listen)
    listener.start()
    yield found
    process.kill()
    process.wait()
    listener.join()
    for end in (process.stdin, process.stdout):
        assert end is not None
        end.close()


def events(constellation: Constellation, what: str) -> list[dict[str, Any]]:
    return [event for event in read_events(constellation.directory) if event["what"] == what]


@dataclass(slots=True)
class Assignments:
    """The assignments of requests that the event log has had since this was made."""

    constellation: Constellation
    before: int = 0

    def __post_init__(self) -> None:
        self.before = len(self._all())

    def _all(self) -> list[dict[str, Any]]:
        return [event for event in events(self.constellation, "assign") if event["job"].startswith("request.")]

    def wait(self, count: int = 1) -> list[str]:
        """The satellites of the next ones, once there are so many."""
        found = wait_until(lambda: self._all()[self.before + count - 1 :], BOUND_S, f"{count} assignments")
        assert found
        return [event["satellite"] for event in self._all()[self.before :]]


def lasers_of(name: str) -> list[tuple[str, str]]:
    n = RING.index(name)
    return [(RING[n - 1], name), (name, RING[(n + 1) % len(RING)])]


def slot_is_free(triton: Triton, constellation: Constellation, name: str) -> None:
    """A request for that very satellite does not queue, and its worker answers who asks it directly."""
    answer = triton.wait(triton.infer("mine", "row.npy", "aio", parameters={"satellite": name}, client_timeout=BOUND_S))
    assert answer["status"] == "OK", answer
    assert (answer["parameters"]["satellite"], answer["parameters"]["queue_s"]) == (name, 0.0)
    worker = next(s["worker"] for s in constellation.status()["satellites"] if s["name"] == name)
    with stub_of(f"unix:{worker}") as stub:
        request = protocol.ModelInferRequest(model_name="mine")
        request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
        request.raw_input_contents.append(np.ones((1, 2), np.float32).tobytes())
        assert stub.ModelInfer(request, timeout=BOUND_S).outputs


# --- what it answers


@pytest.mark.parametrize("way", ["sync", "aio"])
def test_an_unmodified_tritonclient_works(triton: Triton, way: str) -> None:
    answer = triton.wait(triton.send(checks=way))
    assert answer["status"] == "OK", answer["said"]


def test_health_and_reflection_are_there(constellation: Constellation) -> None:
    with grpc.insecure_channel(constellation.info["gateway"]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService"), timeout=BOUND_S)
        assert any(said.status == health_pb2.HealthCheckResponse.SERVING for said in watch)
        watch.cancel()
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(services)


def test_busy_satellites_are_spared(triton: Triton) -> None:
    calls = [triton.infer("mine.tiles", "long.npy", "callback") for _ in RING]
    answers = [triton.wait(call) for call in calls]
    assert sorted(answer["parameters"]["satellite"] for answer in answers) == RING


# --- what breaks in the middle


def test_a_request_whose_satellite_is_cut_off_ends_on_another(
    triton: Triton, constellation: Constellation, arrays: dict[str, NDArray[Any]], model: Path
) -> None:
    assignments = Assignments(constellation)
    # Only sat-01 sees the station, so that it cannot be the one that is cut off: it is kept busy.
    first = triton.infer("mine.tiles", "long.npy", "callback", parameters={"satellite": "sat-01"})
    assignments.wait(1)
    call = triton.infer("mine.tiles", "long.npy", "aio")
    name = assignments.wait(2)[1]
    assert name != "sat-01"
    for a, b in lasers_of(name):
        constellation.cut(a, b)
    answer = triton.wait(call)
    assert answer["status"] == "OK", answer
    assert answer["parameters"]["satellite"] != name and answer["parameters"]["attempt"] == 2
    assert answer["sha256"] == expected(model, arrays["long"])
    assert triton.wait(first)["status"] == "OK"


@pytest.mark.parametrize("way", ["sync", "aio"])
def test_a_deadline_that_comes_first_ends_the_call_and_frees_the_slot(
    triton: Triton, constellation: Constellation, way: str
) -> None:
    name = "sat-06"
    assignments = Assignments(constellation)
    call = triton.infer("mine.tiles", "endless.npy", way, parameters={"satellite": name}, client_timeout=1.5)
    assert assignments.wait() == [name]
    for a, b in lasers_of(name):
        constellation.cut(a, b)
    answer = triton.wait(call)
    assert answer["status"] == "DEADLINE_EXCEEDED", answer
    for a, b in lasers_of(name):
        constellation.heal(a, b)
    await_ways(constellation, name)
    slot_is_free(triton, constellation, name)


def test_a_deadline_in_orbit_ends_the_call_and_frees_the_slot(triton: Triton, constellation: Constellation) -> None:
    call = triton.infer("mine.tiles", "endless.npy", "aio", parameters={"satellite": "sat-03"}, timeout=300_000)
    answer = triton.wait(call)
    assert answer["status"] == "DEADLINE_EXCEEDED" and "0.3" in answer["said"]
    slot_is_free(triton, constellation, "sat-03")


def cpu_ticks(pid: int) -> int:
    """The processor's time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("way", ["callback", "aio"])
def test_a_cancelled_call_stops_the_worker_and_frees_the_slot(
    triton: Triton, constellation: Constellation, way: str
) -> None:
    name = "sat-09"
    pid = next(s.payload_pid for s in constellation.run.read().satellites if s.name == name)
    before = cpu_ticks(pid)
    inputs = {"capture": "capture.npy", "windows": "everywhere.npy"}
    named = {"parameters": {"satellite": name}}
    call = triton.send(way=way, model="tinycloud.mask", inputs=inputs, named=named)
    wait_until(lambda: cpu_ticks(pid) > before + BUSY_TICKS, BOUND_S, "the worker at work")
    triton.cancel(call)
    assert triton.wait(call)["status"] == "CANCELLED"
    seen = [cpu_ticks(pid)]

    def idle() -> bool:
        # Many looks in a row without a tick: a worker that waits for a core would get one meanwhile.
        now = cpu_ticks(pid)
        seen[:] = [*seen, now] if now == seen[-1] else [now]
        return len(seen) > IDLE_LOOKS

    wait_until(idle, BOUND_S, "the worker at rest")
    slot_is_free(triton, constellation, name)


def test_a_request_whose_satellite_is_lost_ends_on_another(
    triton: Triton, constellation: Constellation, arrays: dict[str, NDArray[Any]], model: Path
) -> None:
    assignments = Assignments(constellation)
    first = triton.infer("mine.tiles", "long.npy", "callback", parameters={"satellite": "sat-01"})
    assignments.wait(1)
    call = triton.infer("mine.tiles", "long.npy", "sync")
    name = assignments.wait(2)[1]
    constellation.kill(name)
    answer = triton.wait(call)
    assert answer["status"] == "OK" and answer["parameters"]["satellite"] != name, answer
    assert answer["sha256"] == expected(model, arrays["long"])
    assert triton.wait(first)["status"] == "OK"


def test_a_controller_that_is_lost_takes_the_call_with_it_and_a_repeat_works(
    triton: Triton, constellation: Constellation, arrays: dict[str, NDArray[Any]], model: Path
) -> None:
    assignments = Assignments(constellation)
    call = triton.infer("mine.tiles", "endless.npy", "aio", parameters={"satellite": "sat-04"})
    assert assignments.wait() == ["sat-04"]
    pid = ground_pid(constellation)
    constellation.kill("ground")
    assert triton.wait(call)["status"] == "UNAVAILABLE"
    wait_until(lambda: not alive(pid), BOUND_S, "the old controller's end")
    wait_until(lambda: ready(constellation), UP_LIMIT_S, "the new controller, at the same address")
    await_ways(constellation, "sat-04")
    slot_is_free(triton, constellation, "sat-04")
    answer = triton.wait(triton.infer("mine.tiles", "stack.npy", "sync"))
    assert answer["status"] == "OK" and answer["sha256"] == expected(model, arrays["stack"])


# --- what is too much


def ground_pid(constellation: Constellation) -> int:
    return int(constellation.run.read().controller_pid)


def memory_bytes(pid: int, line: str) -> int:
    """VmRSS or VmHWM of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(text.split(f"{line}:")[1].split()[0])


def test_a_thousand_calls_at_once_are_answered_once_or_refused_in_bounded_memory(
    constellation: Constellation, triton: Triton, model: Path
) -> None:
    pid = ground_pid(constellation)
    before = memory_bytes(pid, "VmRSS")
    answered = len(events(constellation, "answered"))
    values = np.random.default_rng(8).standard_normal((1, CROWD_WIDTH)).astype(np.float32)
    scaled, shifted = bare(model).run(None, {"x": values})
    request = protocol.ModelInferRequest(model_name="mine")
    request.inputs.add(name="x", datatype="FP32", shape=values.shape)
    request.raw_input_contents.append(values.tobytes())
    codes: Counter[Any] = Counter()
    with stub_of(constellation.info["gateway"]) as stub:
        calls = [stub.ModelInfer.future(request, timeout=BOUND_S) for _ in range(CROWD)]
        for call in calls:
            error = call.exception(timeout=BOUND_S)
            codes["OK" if error is None else error.code()] += 1
            if error is None:
                assert list(call.result().raw_output_contents) == [scaled.tobytes(), shifted.tobytes()]
    assert codes.total() == CROWD and set(codes) == {"OK", grpc.StatusCode.RESOURCE_EXHAUSTED}, codes
    assert codes["OK"] >= MAX_REQUESTS // 2, "what there is room for is not refused"
    ends = [event["request"] for event in events(constellation, "answered")[answered:]]
    assert len(ends) == len(set(ends)) == codes["OK"]
    in_and_out = values.nbytes + scaled.nbytes + shifted.nbytes
    bound = before + (MAX_REQUESTS + REFUSING_THREADS + MAX_STREAMS) * COPIES * in_and_out
    assert bound < before + CROWD * in_and_out, "a bound that all calls at once would break"
    assert memory_bytes(pid, "VmHWM") < bound
    assert ground_pid(constellation) == pid and alive(pid)
    answer = triton.wait(triton.infer("mine", "row.npy", "sync", client_timeout=BOUND_S))
    assert answer["status"] == "OK"
