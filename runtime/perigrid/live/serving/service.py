"""Which calls does a worker's server answer?

The methods of the protocol, each a few lines around the worker; and the server itself, with its health and reflection.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

from perigrid.errors import DataError, EnvironmentProblem
from perigrid.live.forms import MODEL_VERSION, MetadataService, answer
from perigrid.live.serving import messages
from perigrid.live.serving.calls import FINAL, CallerOf, stream
from perigrid.live.serving.health import SERVICE, Places, add_health
from perigrid.live.serving.line import Caller
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

if TYPE_CHECKING:
    from perigrid.live.worker import Worker

MAX_SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket (sun_path of Linux without its final zero)."""

EXTENSIONS = ("system_shared_memory", "model_repository", "model_configuration", "statistics", "binary_tensor_data")
"""The protocol's extensions, in Triton's words."""

UNLOAD_PARAMETERS = ("unload_dependents",)
"""What may come with unloading: a model's forms go with it, and nothing else depends on it."""


class InferenceService(MetadataService):
    """The protocol's methods for one worker."""

    def __init__(self, worker: Worker, streams: Places) -> None:
        super().__init__(worker.name, EXTENSIONS, worker.find)
        self._worker = worker
        self._streams = streams

    def ModelInfer(self, request: messages.Request, context: Any) -> messages.Response:  # noqa: N802
        """Run a model."""
        return answer(context, lambda: self._worker.answer(request, CallerOf(context)))

    def ModelStreamInfer(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Run models, one request of the stream after the other."""

        def infer(request: messages.Request, caller: Caller) -> messages.Response:
            response = self._worker.answer(request, caller)
            response.message.parameters[FINAL].bool_param = True
            return response

        return stream(request_iterator, context, self._streams, infer, lambda request: str(request.message.id))

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        """A model's configuration, with its budget on this computer."""
        said = super().ModelConfig(request, context)
        for group in said.config.instance_group:
            group.count = self._worker.budget(self._worker.find(request.name, request.version))
        return said

    def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What models have done, one or all that are served."""
        if request.name:
            answer(context, lambda: self._worker.find(request.name, request.version))
        names = [request.name] if request.name else self._worker.repository.names()
        return self._worker.counters.response(names, MODEL_VERSION)

    def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The models that can be asked, and those that cannot with the reason."""
        answer(context, lambda: check_repository(request))
        said = protocol.RepositoryIndexResponse()
        for listed in self._worker.repository.index(request.ready):
            said.models.add(name=listed.name, version=MODEL_VERSION, state=listed.state, reason=listed.reason)
        return said

    def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Serve one model more, which the run's configuration names."""
        answer(context, lambda: check_repository(request, ()))
        answer(context, lambda: self._worker.load(request.model_name))
        return protocol.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Serve a model no more."""
        answer(context, lambda: check_repository(request, UNLOAD_PARAMETERS))
        answer(context, lambda: self._worker.unload(request.model_name))
        return protocol.RepositoryModelUnloadResponse()

    def SystemSharedMemoryStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The registered regions."""
        said = protocol.SystemSharedMemoryStatusResponse()
        for region in answer(context, lambda: self._worker.regions.status(request.name)):
            described = said.regions[region.name]
            described.name, described.key = region.name, region.key
            described.offset, described.byte_size = region.offset, region.byte_size
        return said

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Map a region under a name."""
        place = (request.name, request.key, request.offset, request.byte_size)
        answer(context, lambda: self._worker.regions.register(*place))
        return protocol.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Forget a region, or all."""
        self._worker.regions.unregister(request.name)
        return protocol.SystemSharedMemoryUnregisterResponse()


def check_repository(request: Any, known: tuple[str, ...] | None = None) -> None:
    """DataError for a repository by name, as there is one, and for a parameter that is not among the known."""
    if request.repository_name:
        raise DataError(f"repository {request.repository_name!r}: there is one, which has no name; leave it out")
    for key in () if known is None else request.parameters:
        if known is not None and key not in known:
            raise DataError(
                f"the parameter {key!r} of model {request.model_name!r} is not taken: its file and configuration are "
                "what the run was given; leave it out"
            )


class _Handlers:
    """Catches the handlers that generated code adds to a server, so that some can be given other ways with bytes."""

    def __init__(self) -> None:
        self.found: dict[str, grpc.RpcMethodHandler] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Left out: the same handlers come by their names."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        """Keep them."""
        self.found |= handlers


def add_inference(server: grpc.Server, service: Any) -> None:
    """Add the protocol's methods to a server; the inferences get and give messages whose tensors are not copied."""
    handlers = _Handlers()
    register: Any = protocol_grpc.add_GRPCInferenceServiceServicer_to_server
    register(service, handlers)
    handlers.found["ModelInfer"] = grpc.unary_unary_rpc_method_handler(
        service.ModelInfer, messages.read_request, messages.write_response
    )
    handlers.found["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
        service.ModelStreamInfer, messages.read_request, messages.write_streamed
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers.found),))
    server.add_registered_method_handlers(SERVICE, handlers.found)


def start(address: str, worker: Worker) -> grpc.Server:
    """Start a worker's server; EnvironmentProblem when the address cannot be listened on."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
            raise EnvironmentProblem(
                f"the socket path {path} has {len(path.encode())} bytes, more than Linux's {MAX_SOCKET_PATH_BYTES}: "
                "use a path relative to the run directory"
            )
    limits = worker.limits
    options = [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        # Two workers on one port would share its requests silently.
        ("grpc.so_reuseport", 0),
    ]
    # A thread for each call that there may be, made when it is first needed: those that wait do not hold up the others.
    threads = ThreadPoolExecutor(limits.calls, thread_name_prefix=worker.name)
    server = grpc.server(threads, options=options, maximum_concurrent_rpcs=limits.calls)
    streams = Places(limits.max_streams, "streams")
    add_inference(server, InferenceService(worker, streams))
    health = add_health(server, limits.max_watchers, streams)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise EnvironmentProblem(f"worker {worker.name!r} cannot listen on {address} ({error})") from error
    worker.repository.watch(health.say)
    server.start()
    return server
