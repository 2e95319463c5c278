"""Does HTTP give what gRPC gives, also to an unmodified tritonclient? Is what it cannot take refused, and said?"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perigrid.errors import DataError, EnvironmentProblem
from perigrid.live.models import ModelStore
from perigrid.live.pipeline import load_model
from perigrid.live.serving import web
from perigrid.live.serving.limits import Limits
from perigrid.live.worker import OpenGate, Worker
from tests.live.own_models import KINDS, write_identities, write_model
from tests.live.test_worker_types import raw_of, values

ROOT = Path(__file__).parents[2]
BOUND_S = 20.0
LENGTH = "Inference-Header-Content-Length"
INFER = "/v2/models/all/infer"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web.Front]:
    folder = tmp_path_factory.mktemp("w")
    paths = [
        write_identities(folder / "all.onnx", {kind.lower(): (kind, (2, 3)) for kind in KINDS}),
        write_identities(folder / "one.onnx", {"x": ("FP32", ("n",))}),
        write_model(folder / "late.onnx"),
    ]
    models = {path.stem: load_model(ModelStore(), str(path)) for path in paths}
    worker = Worker("sat-01", models, None, OpenGate(), limits=Limits(max_message_bytes=1 << 20))
    found = web.start("127.0.0.1:0", worker)
    yield found
    found.stop()


def ask(front: web.Front, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
    """Status, JSON and the bytes behind it, by Python's own client."""
    connection = http.client.HTTPConnection(front.address, timeout=BOUND_S)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        size = int(answer.headers.get(LENGTH) or len(data))
        return answer.status, json.loads(data[:size]) if size else None, data[size:]
    finally:
        connection.close()


def said_by(front: web.Front, request: bytes) -> bytes:
    """What comes back for these bytes until the server hangs up."""
    host, _, port = front.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=BOUND_S) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def infer(front: web.Front, path: str, asked: dict[str, Any], tail: bytes = b"") -> Any:
    head = json.dumps(asked).encode()
    return ask(front, "POST", path, head + tail, {LENGTH: str(len(head))} if tail else {})


def one(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [3], **changes}


def test_every_type_comes_back_as_bytes(front: web.Front) -> None:
    raw = [raw_of(kind, values(kind, (2, 3))) for kind in KINDS]
    inputs = [
        {"name": k.lower(), "datatype": k, "shape": [2, 3], "parameters": {"binary_data_size": len(data)}}
        for k, data in zip(KINDS, raw, strict=True)
    ]
    asked = {"id": "seven", "inputs": inputs, "parameters": {"binary_data_output": True}}
    for padding in range(5):
        status, said, tail = infer(front, INFER, {**asked, "unknown": "x" * padding}, b"".join(raw))
        assert status == 200 and said["id"] == "seven"
        assert [o["name"] for o in said["outputs"]] == [f"{kind.lower()}_out" for kind in KINDS]
        assert tail == b"".join(raw)
        assert said["parameters"]["cpu_s"] >= 0


def test_numbers_and_texts_may_be_json_both_ways(front: web.Front) -> None:
    plain: dict[str, list[Any]] = {k: [[0, 1, 2], [3, 4, 5]] for k in KINDS}
    plain |= {"BOOL": [[True, False, True], [False, False, True]], "BYTES": [["", "a", "ü"], ["b", "c", "d"]]}
    inputs = [{"name": k.lower(), "datatype": k, "shape": [2, 3], "data": plain[k]} for k in KINDS]
    status, said, tail = infer(front, INFER, {"inputs": inputs})
    assert (status, tail) == (200, b"")
    for kind, output in zip(KINDS, said["outputs"], strict=True):
        assert output["data"] == [value for row in plain[kind] for value in row], kind
    wanted = {"inputs": inputs, "outputs": [{"name": "int32_out", "parameters": {"binary_data": True}}]}
    assert infer(front, INFER, wanted)[2] == raw_of("INT32", np.arange(6, dtype=np.int32))


@pytest.mark.parametrize(
    ("asked", "tail", "status", "named"),
    [
        ({}, b"", 400, "inputs"),
        ({"inputs": [one()]}, b"", 400, "contents"),
        ({"inputs": [one(data=[1, 2])]}, b"", 400, "8 bytes"),
        ({"inputs": [one(data=["a", 1, 2])]}, b"", 400, "'x'"),
        ({"inputs": [one(data=[True, 1, 2])]}, b"", 400, "'x'"),
        ({"inputs": [one(shape=[-3], data=[1, 2, 3])]}, b"", 400, "shape"),
        ({"inputs": [one(shape=[1 << 70], data=[1])]}, b"", 400, "shape|int"),
        ({"inputs": [one(datatype="FP12", data=[1, 2, 3])]}, b"", 400, "FP12"),
        ({"inputs": [one(data=[0] * 65_537)]}, b"", 400, "binary_data_size"),
        ({"inputs": [one(parameters={"binary_data_size": 13})]}, bytes(12), 400, "binary_data_size"),
        ({"inputs": [one(parameters={"binary_data_size": 8})]}, bytes(12), 400, "belong to no input"),
        ({"inputs": [one(parameters={"binary_data_size": True})]}, bytes(12), 400, "binary_data_size"),
        ({"inputs": [one(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 12})]}, b"", 404, "'r'"),
        ({"inputs": [one(data=[1, 2, 3])], "parameters": {"sequence_id": 4}}, b"", 400, "sequence_id"),
        ({"inputs": [one(data=[1, 2, 3])], "parameters": {"priority": 1 << 70}}, b"", 400, "priority"),
        ({"inputs": [one(data=[1, 2, 3])], "outputs": [{"name": "z"}]}, b"", 400, "'z'"),
        ({"inputs": [one(data=[1, 2, 3])], "parameters": {"timeout": 1}}, b"", 504, "deadline"),
    ],
)
def test_bad_requests_are_refused_with_what_they_are_about(
    front: web.Front, asked: dict[str, Any], tail: bytes, status: int, named: str
) -> None:
    found, said, _ = infer(front, "/v2/models/one/infer", asked, tail)
    assert found == status, said
    assert any(word in said["error"] for word in named.split("|")), said


def test_infinity_has_no_word_in_json(front: web.Front) -> None:
    asked = {"inputs": [one(parameters={"binary_data_size": 12})]}
    data = np.array([np.inf, 0, 1], np.float32).tobytes()
    status, said, _ = infer(front, "/v2/models/one/infer", asked, data)
    assert status == 400 and "binary_data" in said["error"]
    assert infer(front, "/v2/models/one/infer", {**asked, "parameters": {"binary_data_output": True}}, data)[2] == data


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/models/all", 200),
        ("GET", "/v2/models/all/versions/1", 200),
        ("GET", "/v2/models/all/versions/2", 404),
        ("GET", "/v2/models/all/ready", 200),
        ("GET", "/v2/models/none/ready", 404),
        ("GET", "/v2/models/all/infer", 404),
        ("POST", "/v2/models/none/infer", 400),
        ("DELETE", "/v2/models/all", 404),
        ("GET", "/", 404),
        ("GET", "/v2/../etc/passwd", 404),
    ],
)
def test_questions(front: web.Front, method: str, path: str, status: int) -> None:
    assert ask(front, method, path)[0] == status


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.0\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\n folded: yes\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nna me: x\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nx: a\nContent-Length: 3\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\n\xff: x\r\n\r\n", 400),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n1", 400),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n", 413),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n1", 501),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\nContent-Length: 1\r\n" + LENGTH.encode() + b": 2\r\n\r\n1", 400),
        (b"GET /v2 HTTP/1.1\r\nx: " + b"a" * web.MAX_HEAD_BYTES + b"\r\n\r\n", 431),
    ],
)
def test_what_is_not_by_the_book_ends_the_connection(front: web.Front, head: bytes, status: int) -> None:
    said = said_by(front, head)
    assert said.startswith(b"HTTP/1.1 %d " % status) and b"Connection: close" in said
    assert said.count(b"HTTP/1.1 %d " % status) == 1


def test_requests_may_follow_each_other_at_once_and_end_in_the_middle(front: web.Front) -> None:
    body = json.dumps({"inputs": [one(data=[1, 2, 3])]}).encode()
    lines = b"POST /v2/models/one/infer HTTP/1.1\r\nContent-Length: %d\r\n" % len(body)
    request = lines + b"\r\n" + body
    host, _, port = front.address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(request[:-5])
    said = said_by(front, request * 2 + lines + b"Connection: close\r\n\r\n" + body + request)
    assert said.count(b'"data":[1.0,2.0,3.0]') == 3


def test_connections_are_bounded_and_end_when_it_stops(tmp_path: Path) -> None:
    path = write_identities(tmp_path / "one.onnx", {"x": ("FP32", ("n",))})
    limits = Limits(max_waiting=1, max_streams=0)
    worker = Worker("sat-01", {"one": load_model(ModelStore(), str(path))}, None, OpenGate(), limits=limits)
    with pytest.raises(DataError, match="not encrypted"):
        web.start("0.0.0.0:0", worker)
    front = web.start(f"unix:{tmp_path}/http", worker)
    with pytest.raises(EnvironmentProblem, match="cannot listen"):
        web.start(f"unix:{tmp_path}/http", worker)
    clients = []
    for _ in range(limits.calls + 1):
        clients.append(socket.socket(socket.AF_UNIX))
        clients[-1].settimeout(BOUND_S)
        clients[-1].connect(f"{tmp_path}/http")
    assert clients[-1].recv(4_096).startswith(b"HTTP/1.1 503 ")
    front.stop()
    assert clients[0].recv(4_096) == b""
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def tritonclient_python() -> Path:
    """The Python of an environment with tritonclient's HTTP, made once beside the repository's own."""
    folder = ROOT / ".venv-tritonclient-http"
    python = folder / "bin" / "python"
    if not (folder / ".installed").is_file():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
            wanted = ["tritonclient[http]==2.73.*", "numpy"]
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
            subprocess.run(command, check=True, capture_output=True, timeout=600)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"tritonclient cannot be installed here: {error}")
        (folder / ".installed").touch()
    return python


def test_an_unmodified_tritonclient_works(front: web.Front, tritonclient_python: Path) -> None:
    probe = Path(__file__).with_name("tritonclient_http_probe.py")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(tritonclient_python), str(probe), front.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all well\n"
