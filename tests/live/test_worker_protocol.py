"""Does an unmodified tritonclient find each method of Triton's service at a worker? Are health and reflection there?"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from perigrid.app.inference_client import InferenceClient
from perigrid.errors import MissingFile
from perigrid.job.masks import pack
from perigrid.live.models import ModelStore
from perigrid.live.pipeline import DTYPES, LoadedModel, load_model
from perigrid.live.worker import OpenGate, Worker, serve
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc
from tests.live import test_worker
from tests.live.own_models import KINDS, write_identities, write_model
from tests.live.worker_process import Served, serving

BOUND_S = 30.0
WINDOWS = test_worker.WINDOWS
tritonclient_python = test_worker.tritonclient_python
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def bare(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A worker's process; `late` is there to be loaded."""
    folder = tmp_path_factory.mktemp("p")
    write_model(folder / "late.onnx")
    tensors: dict[str, tuple[str, tuple[int | str, ...]]] = {kind.lower(): (kind, (3,)) for kind in KINDS}
    types = write_identities(folder / "types.onnx", {**tensors, "scalar": ("INT64", ())})
    with serving(folder, "tinycloud", str(types)) as found:
        yield found


@pytest.fixture(scope="module")
def arrays(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, and what onnxruntime makes of them bare."""
    random = np.random.default_rng(5)
    capture = random.random((6, 300, 320)).astype(np.float32)
    made = {"capture": capture, "windows": WINDOWS, "rows": random.standard_normal((5, 4)).astype(np.float32)}
    made["tile"] = np.ascontiguousarray(capture[None, :4, :256, :256])
    tinycloud = bare(ModelStore().resolve("tinycloud"))
    made["scores"] = tinycloud.run(None, {"input": made["tile"]})[0]
    crops = [np.ascontiguousarray(capture[None, :4, r : r + 256, c : c + 256]) for r, c in WINDOWS.tolist()]
    made["mask"] = np.stack(
        [pack(tinycloud.run(None, {"input": crop})[0][0].argmax(axis=0).astype(np.uint8)) for crop in crops]
    )
    late = bare(Path(served.address.removeprefix("unix:")).with_name("late.onnx"))
    made["scaled"], made["shifted"] = late.run(None, {"x": made["rows"]})
    folder = tmp_path_factory.mktemp("arrays")
    for name, array in made.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.mark.live
@pytest.mark.parametrize("way", ["sync", "aio"])
def test_an_unmodified_tritonclient_works(served: Served, arrays: Path, tritonclient_python: Path, way: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    probe = Path(__file__).with_name("tritonclient_probe.py")
    command = [str(tritonclient_python), str(probe), served.address, str(arrays), way]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "all checks held" in ended.stdout


def test_reflection_tells_the_services_and_the_wire_s_numbers(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {
            "inference.GRPCInferenceService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("inference.GRPCInferenceService")
        assert len(service.methods) == 20
        infer = service.FindMethodByName("ModelStreamInfer")
        assert infer.client_streaming and infer.server_streaming
        # From Triton's model_config.proto and grpc_service.proto.
        numbers = {
            "ModelConfig": {"max_batch_size": 4, "input": 5, "instance_group": 7, "parameters": 14, "backend": 17},
            "ModelOutput": {"name": 1, "data_type": 2, "dims": 3},
            "ModelInput": {"name": 1, "data_type": 2, "dims": 4},
            "InferStatistics": {"success": 1, "fail": 2, "queue": 3, "compute_infer": 5, "cache_miss": 8},
            "ModelInferRequest": {"model_name": 1, "parameters": 4, "inputs": 5, "outputs": 6, "raw_input_contents": 7},
        }
        for message, fields in numbers.items():
            found = pool.FindMessageTypeByName(f"inference.{message}").fields_by_name
            assert {name: found[name].number for name in fields} == fields


def test_perigrid_s_own_client_speaks_text_and_every_number(served: Served) -> None:
    given = {
        "bytes": np.array(["", "orbit", "ü"]),
        "fp16": np.array([1, 2, 3], np.float16),
        "bool": np.array([True, False, True]),
        "scalar": np.int64(5),
    }
    rest = {kind.lower(): np.zeros(3, DTYPES[kind]) for kind in KINDS if kind.lower() not in given}
    with InferenceClient("sat-01", served.address) as client:
        answer = client.infer("types", {**rest, **given})
        assert [t.dtype for t in client.metadata("types").inputs if t.name == "bytes"] == ["BYTES"]
    for name, array in given.items():
        assert answer.outputs[f"{name}_out"].tolist() == array.tolist()


class Fetching:
    """Gives a model when it is let, or says that there is none."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.asked, self.go = threading.Event(), threading.Event()

    def __call__(self, name: str) -> LoadedModel:
        self.asked.set()
        assert self.go.wait(BOUND_S)
        if name == "gone":
            raise MissingFile("there is no model 'gone' on board; push it")
        return self._model


def test_health_is_not_serving_while_there_is_no_model_or_one_is_being_loaded(tmp_path: Path) -> None:
    fetching = Fetching(load_model(ModelStore(), str(write_model(tmp_path / "mine.onnx"))))
    worker = Worker("sat-01", {}, None, OpenGate(), fetching)
    server = serve(f"unix:{tmp_path}/w", worker)
    try:
        with grpc.insecure_channel(f"unix:{tmp_path}/w") as channel:
            health, stub = health_pb2_grpc.HealthStub(channel), protocol_grpc.GRPCInferenceServiceStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService"))
            assert next(watch).status == NOT_SERVING, "there is no model"
            call = stub.RepositoryModelLoad.future(protocol.RepositoryModelLoadRequest(model_name="mine"))
            assert fetching.asked.wait(BOUND_S)
            assert states(stub) == {"mine": ("LOADING", "being loaded")}
            assert stub.ServerReady(protocol.ServerReadyRequest()).ready, "it answers all the same"
            fetching.go.set()
            call.result(BOUND_S)
            while next(watch).status != SERVING:
                pass
            assert health.Check(health_pb2.HealthCheckRequest()).status == SERVING
            assert states(stub) == {"mine": ("READY", ""), "mine.tiles": ("READY", "")}
            with pytest.raises(MissingFile):
                worker.load("gone")
            assert next(watch).status == NOT_SERVING, "another is being loaded"
            assert next(watch).status == SERVING
            assert states(stub)["gone"] == ("UNAVAILABLE", "there is no model 'gone' on board; push it")
            worker.unload("mine")
            assert next(watch).status == NOT_SERVING
            worker.load("mine")
            assert stub.ModelReady(protocol.ModelReadyRequest(name="mine.tiles")).ready
            watch.cancel()
    finally:
        fetching.go.set()
        assert server.stop(grace=None).wait(BOUND_S)


def states(stub: Any) -> dict[str, tuple[str, str]]:
    index = stub.RepositoryIndex(protocol.RepositoryIndexRequest())
    ready = {one.name for one in stub.RepositoryIndex(protocol.RepositoryIndexRequest(ready=True)).models}
    found = {one.name: (one.state, one.reason) for one in index.models}
    assert ready == {name for name, (state, _) in found.items() if state == "READY"}
    return found


def test_names_that_were_never_there_are_not_remembered_for_ever(tmp_path: Path) -> None:
    def fetch(name: str) -> LoadedModel:
        raise MissingFile(f"there is no model {name!r}")

    worker = Worker("sat-01", {}, None, OpenGate(), fetch)
    for number in range(200):
        with pytest.raises(MissingFile):
            worker.load(f"name-{number}")
    listed = worker.repository.index(ready=False)
    assert len(listed) == 64 and listed[-1].name == "name-199"
