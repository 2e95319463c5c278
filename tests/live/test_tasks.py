"""Is what a worker is asked what was wanted, and is equal work equal bytes, however it was computed?"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from perigrid.errors import DataError, ProtocolError
from perigrid.job.spec import Capture, Shard
from perigrid.live import gateway as gateway_module
from perigrid.live.blobs import held
from perigrid.live.forms import Served, forms_of
from perigrid.live.gateway import HeldBytes, _input_of, _priority
from perigrid.live.models import ModelEntry, ModelStore, Tensor
from perigrid.live.serving.messages import of_message
from perigrid.live.serving.parameters import DEFAULT_PRIORITY
from perigrid.live.tasks import items_of, mask_bytes, request_task, response_bytes, scene_task, stack_task
from perigrid.node.actions import Infer
from perigrid.node.blobs import Piece, whole
from perigrid.units import NodeId
from perigrid.wire.generated import open_inference_pb2 as protocol

REQUEST_SHARD = Shard(index=0, capture="", tiles=(0,), rows=(0,), columns=(0,))


def capture(**changes: object) -> Capture:
    values = {"name": "c", "dataset": "d", "owner": NodeId(0), "replicas": (), "tiles": (7, 8, 9), "rows": (0, 1, 2)}
    return Capture(**{**values, "columns": (0, 0, 0), **changes})  # type: ignore[arg-type]


def requested(data: bytes, pieces: tuple[Piece, ...] | None = None, digest: bytes | None = None) -> Infer:
    """A request's task with this input."""
    found = (whole(held(data)),) if pieces is None else pieces
    right = hashlib.sha256(data).digest() if digest is None else digest
    return Infer(5, "request.1.1", "mine", REQUEST_SHARD, found, right)


def served(name: str, entry: ModelEntry | None = None) -> Served:
    known = ModelStore().entry("tinycloud") if entry is None else entry
    return next(form for form in forms_of(known) if form.name == name)


def ask(model: str, *arrays: tuple[str, np.ndarray], outputs: tuple[str, ...] = ()) -> protocol.ModelInferRequest:
    request = protocol.ModelInferRequest(model_name=model, id="a client's")
    for name, array in arrays:
        dtype = {"float32": "FP32", "int32": "INT32"}[str(array.dtype)]
        request.inputs.add(name=name, datatype=dtype, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    for name in outputs:
        request.outputs.add(name=name)
    return request


# --- jobs' shards


def test_a_scene_s_shard_asks_for_the_masks_of_its_windows() -> None:
    scene = capture(bands=4, height_px=300, width_px=400)
    shard = Shard(index=0, capture="c", tiles=(8, 9), rows=(3, 5), columns=(4, 6))
    request = scene_task(Infer(2, "a", "tinycloud", shard), scene)
    assert (request.model_name, request.id) == ("tinycloud.mask", "2")
    image, windows = request.inputs
    assert (image.datatype, list(image.shape)) == ("FP32", [4, 300, 400])
    assert image.parameters["shared_memory_region"].string_param == "c"
    assert image.parameters["shared_memory_byte_size"].int64_param == 4 * 4 * 300 * 400
    assert list(windows.shape) == [2, 2]
    assert np.frombuffer(request.raw_input_contents[0], np.int32).tolist() == [3, 4, 5, 6]
    assert items_of(request) == 2


@pytest.mark.parametrize(("dtype", "shape", "item_bytes"), [("FP32", (2, 5), 40), ("UINT8", (), 1), ("FP64", (3,), 24)])
def test_a_stack_s_shard_asks_for_its_run_of_tiles(dtype: str, shape: tuple[int, ...], item_bytes: int) -> None:
    stack = capture(is_stack=True, dtype=dtype, item_shape=shape)
    shard = Shard(index=0, capture="c", tiles=(8, 9), rows=(1, 2), columns=(0, 0))
    request = stack_task(Infer(3, "a", "mine", shard), stack)
    (tiles,) = request.inputs
    assert (request.model_name, tiles.datatype, list(tiles.shape)) == ("mine.tiles", dtype, [2, *shape])
    assert tiles.parameters["shared_memory_offset"].int64_param == item_bytes
    assert tiles.parameters["shared_memory_byte_size"].int64_param == 2 * item_bytes
    assert items_of(request) == 2


def test_results_are_bytes_without_what_differs_between_executions() -> None:
    def response(number: int) -> protocol.ModelInferResponse:
        made = protocol.ModelInferResponse(model_name="mine.tiles", model_version="1", id=str(number))
        made.outputs.add(name="y", datatype="FP32", shape=[1])
        made.raw_output_contents.append(b"1234")
        made.parameters["cpu_s"].double_param = float(number)
        made.parameters["desk_wait_s"].double_param = 0.5 * number
        return made

    assert mask_bytes(response(1)) == b"1234"
    first, second = response_bytes(response(1)), response_bytes(response(2))
    assert first == second
    read = protocol.ModelInferResponse.FromString(first)
    assert (read.model_name, read.id, len(read.parameters)) == ("mine.tiles", "", 0)
    assert list(read.raw_output_contents) == [b"1234"]


# --- requests


def test_a_request_reaches_the_worker_as_it_was_sent_from_whatever_pieces() -> None:
    sent = ask("mine", ("x", np.ones((1, 9), np.float32))).SerializeToString()
    blob = held(sent)
    pieces = tuple(Piece(blob, start, min(7, len(sent) - start)) for start in range(0, len(sent), 7))
    request = request_task(requested(sent, pieces))
    assert request.id == "5"
    request.id = "a client's"
    assert request.SerializeToString() == sent


def test_an_input_that_was_damaged_is_nobody_s_fault_and_one_that_is_none_is_its_sender_s() -> None:
    sent = ask("mine", ("x", np.ones((1, 9), np.float32))).SerializeToString()
    with pytest.raises(ProtocolError, match=r"request\.1\.1 did not arrive as it was sent"):
        request_task(requested(sent[:-1] + b"\0", digest=hashlib.sha256(sent).digest()))
    with pytest.raises(DataError, match=r"request\.1\.1 is no request"):
        request_task(requested(b"\xff\xff\xff"))


def test_the_gateway_sends_up_tensors_in_the_model_s_order_and_the_wanted_outputs() -> None:
    windows, image = np.zeros((3, 2), np.int32), np.zeros((4, 256, 256), np.float32)
    request = ask("tinycloud.mask", ("windows", windows), ("capture", image), outputs=("mask",))
    sent = protocol.ModelInferRequest.FromString(bytes(_input_of(of_message(request), served("tinycloud.mask")).data))
    assert [tensor.name for tensor in sent.inputs] == ["capture", "windows"]
    assert list(sent.raw_input_contents) == [image.tobytes(), windows.tobytes()]
    assert [output.name for output in sent.outputs] == ["mask"]
    assert sent.id == "", "what a client calls it does not change its bytes"
    assert items_of(sent) == 3


@pytest.mark.parametrize(
    ("axes", "name", "shape", "items"),
    [
        ((-1, 4), "mine", (6, 4), 6),
        ((-1, 4), "mine.tiles", (5, 4), 5),
        ((1, 4), "mine", (1, 4), 1),
        ((9, 4), "mine", (9, 4), 1),
        ((9, 4), "mine.tiles", (3, 9, 4), 3),
        ((9,), "mine", (9,), 1),
    ],
)
def test_what_lasts_in_orbit_is_an_item_of_the_model(
    axes: tuple[int, ...], name: str, shape: tuple[int, ...], items: int
) -> None:
    entry = ModelEntry(
        name="mine",
        title="",
        file="",
        inputs=(Tensor("x", "FP32", axes),),
        outputs=(Tensor("y", "FP32", axes),),
        batch_invariant=True,
    )
    tensor = "tiles" if name.endswith(".tiles") else "x"
    blob = _input_of(of_message(ask(name, (tensor, np.ones(shape, np.float32)))), served(name, entry))
    assert items_of(request_task(requested(bytes(blob.data)))) == items


def test_triton_s_priorities_count_the_other_way() -> None:
    assert _priority(None) == _priority(0) == DEFAULT_PRIORITY
    assert _priority(1) > _priority(2) > DEFAULT_PRIORITY > _priority(19) > _priority(20) == _priority(10**6) == 0


def test_inputs_are_counted_until_nobody_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "MAX_HELD_BYTES", 100)
    counter = HeldBytes()
    first, second = held(bytes(60)), held(bytes(40))
    assert counter.take(first) and counter.take(second)
    assert not counter.take(held(bytes(1)))
    kept = first
    del first
    assert not counter.take(held(bytes(1))), "whoever holds it, it is counted"
    del kept
    third = held(bytes(60))
    assert counter.take(third)
    assert not counter.take(held(bytes(1)))
    del third, second
    assert counter.take(held(bytes(100)))
