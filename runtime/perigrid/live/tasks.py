"""How is a task put to a satellite's worker, and its answer to the ground?

Both are messages of the Open Inference Protocol. A shard of a scene asks for masks of windows of a capture that the
worker has mapped, and its result is those masks' bytes. A shard of a stack asks for one inference a tile; a request is
what a client of the gateway sent. The result of these two is the response as bytes, without what differs from one
execution to the next: times and names belong to the stages, so that equal work has equal bytes.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from perigrid.errors import DataError, ProtocolError
from perigrid.job.spec import ITEM_BYTES, MASK_SUFFIX, TILES_SUFFIX, Capture
from perigrid.live.blobs import view_of
from perigrid.live.serving.parameters import ITEMS, LAST_PRIORITY
from perigrid.node.actions import Infer
from perigrid.wire.generated import open_inference_pb2 as protocol


def scene_task(action: Infer, capture: Capture) -> protocol.ModelInferRequest:
    """Ask for the masks of a shard's windows."""
    shard = action.shard
    request = _bulk(action, MASK_SUFFIX)
    image = request.inputs.add(name="capture", datatype="FP32", shape=capture.shape)
    image.parameters["shared_memory_region"].string_param = capture.name
    image.parameters["shared_memory_byte_size"].int64_param = capture.size_bytes
    request.inputs.add(name="windows", datatype="INT32", shape=[len(shard.tiles), 2])
    windows = np.array([shard.rows, shard.columns], dtype=np.int32).T
    request.raw_input_contents.append(np.ascontiguousarray(windows).tobytes())
    return request


def stack_task(action: Infer, capture: Capture) -> protocol.ModelInferRequest:
    """Ask for one inference a tile of a shard, which is a run of the capture's tiles."""
    shard = action.shard
    item_bytes = ITEM_BYTES[capture.dtype] * math.prod(capture.item_shape)
    request = _bulk(action, TILES_SUFFIX)
    tiles = request.inputs.add(name="tiles", datatype=capture.dtype, shape=[len(shard.tiles), *capture.item_shape])
    tiles.parameters["shared_memory_region"].string_param = capture.name
    tiles.parameters["shared_memory_offset"].int64_param = shard.rows[0] * item_bytes
    tiles.parameters["shared_memory_byte_size"].int64_param = len(shard.rows) * item_bytes
    return request


def _bulk(action: Infer, suffix: str) -> protocol.ModelInferRequest:
    """A shard of a job: whoever asks this satellite for one inference goes first, at the latest between two tiles."""
    request = protocol.ModelInferRequest(model_name=f"{action.model}{suffix}", id=str(action.task))
    request.parameters["priority"].int64_param = LAST_PRIORITY
    return request


def request_task(action: Infer) -> protocol.ModelInferRequest:
    """What a client of the gateway asked for.

    ProtocolError where it did not arrive as it was sent, DataError where it is no request.
    """
    data = b"".join(view_of(piece) for piece in action.input)
    if hashlib.sha256(data).digest() != action.digest:
        raise ProtocolError(f"the input of {action.job} did not arrive as it was sent")
    try:
        request = protocol.ModelInferRequest.FromString(data)
    except DecodeError as error:
        raise DataError(f"the input of {action.job} is no request ({error})") from error
    request.id = str(action.task)
    return request


def items_of(request: Any) -> int:
    """How many items a task computes: its tiles, its windows, or what the gateway says of a bare model's batch."""
    if ITEMS in request.parameters:
        return max(1, int(request.parameters[ITEMS].int64_param))
    return int(request.inputs[-1].shape[0])


def mask_bytes(response: Any) -> bytes:
    """The packed masks of a scene's shard."""
    return bytes(response.raw_output_contents[0])


def response_bytes(response: Any) -> bytes:
    """A response without what differs from one execution to the next; it is changed in place."""
    response.ClearField("parameters")
    response.ClearField("id")
    return bytes(response.SerializeToString(deterministic=True))
