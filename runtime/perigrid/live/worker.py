"""How does a satellite's on-board computer answer a request for inference?

One gRPC server per satellite speaks the Open Inference Protocol. Each model `m` is served bare; where it has one
input, as `m.tiles`: a stack of tiles in, each output stacked, one inference a tile; and where it gives masks, as
`m.mask`: capture and windows in, packed masks out, tile by tile. Every tile is
computed under a core token, so that no more run at once than the machine has cores; waiting for one is
counted by itself (`desk_wait_s`) and is no part of the inference (`cpu_s`). Both come back as parameters of
the response.

Status codes: NOT_FOUND for a model, version or region that is not here; INVALID_ARGUMENT for a tensor or
parameter that does not fit; ALREADY_EXISTS for a region's name in use; RESOURCE_EXHAUSTED past a bound of
the server.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import grpc
import msgspec
import numpy as np
from numpy.typing import NDArray

from perigrid.errors import (
    DataError,
    EnvironmentProblem,
    LinkBroken,
    NameInUse,
    UsageError,
)
from perigrid.job.masks import PIXELS_PER_BYTE
from perigrid.live.forms import (
    MAX_MESSAGE_BYTES,
    MODEL_VERSION,
    Form,
    MetadataService,
    Served,
    add_health,
    answer,
    find,
    forms_of,
    has_batch_axis,
)
from perigrid.live.pipeline import LoadedModel
from perigrid.live.scenes import first_not_finite
from perigrid.live.shared_regions import Input, SharedRegions, read_inputs, read_outputs, write_output
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

SERVER_THREADS = 4
"""Requests handled at once; more than cores, so that health and metadata are answered during an inference."""

MAX_CONCURRENT_REQUESTS = 64
"""Requests handled or waiting; the next is refused with RESOURCE_EXHAUSTED."""

MAX_WINDOWS = 2_048
"""Most tiles of one mask request: their packed masks take half of a message."""

MAX_OUTPUT_BYTES = MAX_MESSAGE_BYTES - 1024**2
"""Most bytes of the outputs of a stack's tiles: they go back in one message."""

MAX_CHECKED_CAPTURES = 1_024
"""How many captures in read-only regions are remembered as free of NaN; past it all are forgotten."""

QUANTUM_S = 0.15
"""A token held longer than this is given back between two tiles, wall seconds."""

MAX_SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket (sun_path of Linux without its final zero)."""

EXTENSIONS = ("system_shared_memory",)

Alive = Callable[[], bool]
"""Whether somebody still waits for the answer."""


class CoreGate(Protocol):
    """Who may compute now, on this machine. One caller holds at most one token at a time."""

    def acquire(self, due_s: float) -> None:
        """Wait for a token; who is due earlier (emulated seconds, infinite when nobody said) goes first."""

    def release(self) -> None:
        """Give the token back."""


class OpenGate:
    """A gate without a limit, for a worker that has its machine to itself."""

    def acquire(self, due_s: float) -> None:
        """Return at once."""

    def release(self) -> None:
        """Do nothing: nobody waits."""


class Turn:
    """One request's hold on a core token: taken for the first tile, lent on between tiles once it is long."""

    def __init__(self, gate: CoreGate, due_s: float, alive: Alive) -> None:
        self._gate = gate
        self._due_s = due_s
        self._alive = alive
        self._held_since_s: float | None = None
        self.desk_wait_s = 0.0

    def next(self) -> None:
        """Hold a token for the next piece of work; LinkBroken when nobody waits for the answer any more."""
        if self._held_since_s is not None and time.monotonic() - self._held_since_s > QUANTUM_S:
            self.end()
        self._check_alive()
        if self._held_since_s is None:
            start_s = time.monotonic()
            self._gate.acquire(self._due_s)
            self._held_since_s = time.monotonic()
            self.desk_wait_s += self._held_since_s - start_s
            self._check_alive()

    def end(self) -> None:
        """Give the token back, if one is held."""
        if self._held_since_s is not None:
            self._held_since_s = None
            self._gate.release()

    def _check_alive(self) -> None:
        if not self._alive():
            raise LinkBroken("the request was cancelled or its deadline has passed: nothing more is computed for it")


class Worker:
    """The models and regions of one satellite, and the rules for asking them.

    Args:
        name: the satellite's name, given as the server's.
        models: name -> model; each is served bare under its name and as `<name>.mask` where it gives masks.
        regions_root: folder for `file:` regions; None refuses them.
        cores: the machine's core tokens.
        fetch: gives a model that is asked to be loaded, by its name; None loads none.
    """

    def __init__(
        self,
        name: str,
        models: Mapping[str, LoadedModel],
        regions_root: Path | None,
        cores: CoreGate,
        fetch: Callable[[str], LoadedModel] | None = None,
    ) -> None:
        self.name = name
        self.regions = SharedRegions(regions_root)
        self._cores = cores
        self._fetch = fetch
        self._loading = threading.Lock()
        self._served: dict[str, Served] = {}
        self._models: dict[str, LoadedModel] = {}
        self._checked: set[tuple[int, int, tuple[int, ...]]] = set()
        for model_name, model in models.items():
            self._serve(model_name, model)

    def load(self, name: str) -> None:
        """Serve one model more; one that is served already stays. What `fetch` raises, and UsageError without it."""
        if self._fetch is None:
            raise UsageError(f"worker {self.name!r} loads no models while it runs: start it with {name!r}")
        with self._loading:
            if name not in self._served:
                self._serve(name, self._fetch(name))

    def _serve(self, name: str, model: LoadedModel) -> None:
        for served in forms_of(msgspec.structs.replace(model.entry, name=name)):
            if served.name in self._served:
                raise NameInUse(f"two models of worker {self.name!r} are called {served.name!r}: rename one")
            self._models[served.name] = model
            self._served[served.name] = served

    def find(self, name: str, version: str) -> Served:
        """What is served under a name; MissingFile for an unknown name or version."""
        return find(self._served, f"worker {self.name!r}", name, version)

    def infer(self, request: Any, alive: Alive) -> Any:
        """Answer a ModelInferRequest with a ModelInferResponse.

        Raises MissingFile, UsageError and LinkBroken, which stand for NOT_FOUND, INVALID_ARGUMENT and
        CANCELLED.
        """
        start_s = time.thread_time()
        served = self.find(request.model_name, request.model_version)
        due_s = read_due(request.parameters)
        inputs = read_inputs(request, served.inputs, self.regions)
        outputs = read_outputs(request, served.outputs, self.regions)
        turn = Turn(self._cores, due_s, alive)
        try:
            arrays = self._run(served, inputs, turn)
        finally:
            turn.end()
        response = protocol.ModelInferResponse(model_name=served.name, model_version=MODEL_VERSION, id=request.id)
        declared = {tensor.name: tensor for tensor in served.outputs}
        for output in outputs:
            write_output(response, output, declared[output.name], arrays[output.name])
        response.parameters["desk_wait_s"].double_param = turn.desk_wait_s
        response.parameters["cpu_s"].double_param = time.thread_time() - start_s
        return response

    def _run(self, served: Served, inputs: Mapping[str, Input], turn: Turn) -> dict[str, NDArray[Any]]:
        match served.form:
            case Form.BARE:
                return self._bare(served, inputs, turn)
            case Form.TILES:
                return self._tiles(served, inputs, turn)
            case Form.MASKS:
                return self._masks(served, inputs, turn)

    def _bare(self, served: Served, inputs: Mapping[str, Input], turn: Turn) -> dict[str, NDArray[Any]]:
        served.check_batch({name: value.array.shape for name, value in inputs.items()})
        turn.next()
        values = self._models[served.name].session.run({name: value.array for name, value in inputs.items()})
        return {tensor.name: value for tensor, value in zip(served.outputs, values, strict=True)}

    def _tiles(self, served: Served, inputs: Mapping[str, Input], turn: Turn) -> dict[str, NDArray[Any]]:
        """One inference a tile, alone, so that its bits do not depend on its neighbours in the request."""
        session, tiles = self._models[served.name].session, inputs["tiles"].array
        tensor = session.inputs[0]
        alone = has_batch_axis(tensor)
        outputs: dict[str, list[NDArray[Any]]] = {output.name: [] for output in served.outputs}
        size = 0
        for number, tile in enumerate(tiles):
            turn.next()
            values = session.run({tensor.name: tile[None] if alone else tile})
            for output, value in zip(served.outputs, values, strict=True):
                value = value[0] if alone and value.ndim and value.shape[0] == 1 else value
                seen = outputs[output.name]
                if seen and value.shape != seen[0].shape:
                    raise DataError(
                        f"output {output.name!r} has shape {list(value.shape)} for tile {number} and "
                        f"{list(seen[0].shape)} for others: a stack's outputs must have one shape"
                    )
                seen.append(value)
                size += value.nbytes
            if size > MAX_OUTPUT_BYTES:
                raise DataError(
                    f"the outputs of {len(tiles)} tiles are more than {MAX_OUTPUT_BYTES} bytes: send fewer tiles a "
                    "request (a job's tiles_per_shard)"
                )
        return {name: np.stack(values) for name, values in outputs.items()}

    def _masks(self, served: Served, inputs: Mapping[str, Input], turn: Turn) -> dict[str, NDArray[Any]]:
        capture, windows = inputs["capture"], inputs["windows"].array
        if len(windows) > MAX_WINDOWS:
            raise DataError(f"{len(windows)} windows are more than {MAX_WINDOWS}: send them in several requests")
        tile_px = self._models[served.name].tile_px or 0
        _check_windows(windows, capture.array.shape, tile_px)
        masks = np.empty((len(windows), tile_px**2 // PIXELS_PER_BYTE), np.uint8)
        for number, (row, column) in enumerate(windows.tolist()):
            turn.next()
            if number == 0:
                self._check_finite(capture)
            # Borrowed under the token only, so that there are no more pipelines than tokens.
            with self._models[served.name].pipeline() as pipeline:
                masks[number] = pipeline.tile(capture.array, row, column)
        return {"mask": masks}

    def _check_finite(self, capture: Input) -> None:
        """DataError for NaN and infinities: a model would answer them with a mask that looks like any other.

        What lies in a read-only region is looked at once a registration; memory that its client may write,
        each time.
        """
        key = None if capture.place is None else (*capture.place, capture.array.shape)
        if key in self._checked:
            return
        bad = first_not_finite(capture.array)
        if bad is not None:
            band, row, column = bad
            raise DataError(
                f"the capture holds {capture.array[band, row, column]} in band {band} at row {row}, column "
                f"{column}: "
                "replace what is not a finite number"
            )
        if key is not None:
            if len(self._checked) >= MAX_CHECKED_CAPTURES:
                self._checked.clear()
            self._checked.add(key)


def _check_windows(windows: NDArray[np.int32], shape: tuple[int, ...], tile_px: int) -> None:
    _, height, width = shape
    outside = (windows < 0) | (windows.astype(np.int64) + tile_px > (height, width))
    if outside.any():
        row, column = windows[int(np.argmax(outside.any(axis=1)))].tolist()
        raise DataError(
            f"the window at row {row}, column {column} lies outside the capture of {height} x {width} "
            "pixels: keep its "
            f"{tile_px} pixels inside"
        )


def read_due(parameters: Any) -> float:
    """The request parameter `due_s`, emulated seconds; infinite when not given, DataError for no number."""
    if "due_s" not in parameters:
        return math.inf
    parameter = parameters["due_s"]
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in ("double_param", "int64_param", "uint64_param"):
        raise DataError("the parameter due_s is no number: send it as double_param, in seconds")
    due_s = float(getattr(parameter, kind))
    if math.isnan(due_s):
        raise DataError("the parameter due_s is NaN: send the seconds at which the answer is due, or leave it out")
    return due_s


class InferenceService(MetadataService):
    """The protocol's methods, each one call of the worker's; a worker listens only after its models are loaded."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.name, EXTENSIONS, worker.find)
        self._worker = worker

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run a model."""
        return answer(context, lambda: self._worker.infer(request, context.is_active))

    def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Serve one model more, which the run's configuration names."""
        answer(context, lambda: self._worker.load(request.model_name))
        return protocol.RepositoryModelLoadResponse()

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


def serve(address: str, worker: Worker) -> grpc.Server:
    """Start a worker's server and give it back; the caller stops it.

    Args:
        address: gRPC's, for instance `unix:sockets/sat-01.worker` or `127.0.0.1:0`.
        worker: what it serves.

    Raises EnvironmentProblem when the address cannot be listened on.
    """
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
            raise EnvironmentProblem(
                f"the socket path {path} has {len(path.encode())} bytes, more than Linux's "
                f"{MAX_SOCKET_PATH_BYTES}: use a "
                "path relative to the run directory"
            )
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # Two workers on one port would share its requests silently.
        ("grpc.so_reuseport", 0),
    ]
    threads = ThreadPoolExecutor(SERVER_THREADS, thread_name_prefix=worker.name)
    server = grpc.server(threads, options=options, maximum_concurrent_rpcs=MAX_CONCURRENT_REQUESTS)
    register: Any = protocol_grpc.add_GRPCInferenceServiceServicer_to_server
    register(InferenceService(worker), server)
    add_health(server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise EnvironmentProblem(f"worker {worker.name!r} cannot listen on {address} ({error})") from error
    server.start()
    return server
