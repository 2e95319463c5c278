"""What does a request cost where nothing is inferred?

The same gRPC, threads and limits as perigrid's worker, the same bytes in and out; the answer is made before the race.
"messages" takes each request apart into a ModelInferRequest, as everyone does who uses the generated code; "bytes" does
not look at it at all: no server of this gRPC can be faster.

    null_server.py ADDRESS messages|bytes NAME=OUTPUT_BYTES...
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from perigrid.wire.generated import open_inference_pb2 as protocol

THREADS = 4
MAX_CONCURRENT = 64
MAX_MESSAGE_BYTES = 64 * 1024**2
SERVICE = "inference.GRPCInferenceService"


def answer(name: str, size: int) -> Any:
    """A ModelInferResponse with so many bytes of output."""
    said = protocol.ModelInferResponse(model_name=name, model_version="1")
    said.outputs.add(name="output", datatype="FP32", shape=[1, size // 4])
    said.raw_output_contents.append(bytes(size))
    return said


def main() -> None:
    """Serve until the standard input ends."""
    address, kind, *named = sys.argv[1:]
    answers = {name: answer(name, int(size)) for name, size in (one.split("=") for one in named)}
    whole = {name: said.SerializeToString() for name, said in answers.items()}
    # The model's name is the request's first field, and short: a byte of tag, a byte of length, the name.
    if kind == "bytes":
        handler = grpc.unary_unary_rpc_method_handler(lambda data, _: whole[data[2 : 2 + data[1]].decode()])
    else:
        handler = grpc.unary_unary_rpc_method_handler(
            lambda request, _: answers[request.model_name],
            protocol.ModelInferRequest.FromString,
            protocol.ModelInferResponse.SerializeToString,
        )
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    server = grpc.server(ThreadPoolExecutor(THREADS), options=options, maximum_concurrent_rpcs=MAX_CONCURRENT)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler}),))
    server.add_insecure_port(address)
    server.start()
    print("ready", address, flush=True)
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main()
