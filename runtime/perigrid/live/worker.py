"""How does a satellite's on-board computer answer a request for inference?

One gRPC server per satellite speaks the Open Inference Protocol. Each model `m` is served bare; where it has one
input, as `m.tiles`: a stack of tiles in, each output stacked, one inference a tile; and where it gives masks, as
`m.mask`: capture and windows in, packed masks out, tile by tile.

A request waits in its model's line (`serving/line.py`), by priority, until it has a place of the model's budget. Every
tile is computed under a core token as well, so that no more run at once than the machine has cores. Both waits are
counted (`desk_wait_s`, of which `queue_s` in the line) and are no part of the inference (`cpu_s`); all three come back
as parameters of the response. A request whose caller is gone, or whose deadline has passed, is never computed.

What a bare model or a stack is given is its own business: NaN and infinities pass, as some models take them for what is
missing. A mask would hide them, so a capture that holds one is refused.

Status codes: NOT_FOUND for a model, version or region that is not here; INVALID_ARGUMENT for a tensor or
parameter that does not fit; ALREADY_EXISTS for a region's name in use; RESOURCE_EXHAUSTED past a bound;
DEADLINE_EXCEEDED and CANCELLED where nobody waits; UNIMPLEMENTED for what needs CUDA.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np
from numpy.typing import NDArray

from perigrid.errors import DataError
from perigrid.job.masks import PIXELS_PER_BYTE
from perigrid.live.forms import MODEL_VERSION, Form, Served, has_batch_axis, items_in
from perigrid.live.pipeline import LoadedModel
from perigrid.live.scenes import first_not_finite
from perigrid.live.serving import texts
from perigrid.live.serving.counters import Counters, Times
from perigrid.live.serving.limits import Limits, limits_from
from perigrid.live.serving.line import Caller, Claim, Line
from perigrid.live.serving.messages import Request, Response, of_message
from perigrid.live.serving.parameters import read_wishes
from perigrid.live.serving.repository import Fetch, Offer, Repository
from perigrid.live.shared_regions import Inputs, SharedRegions, read_inputs, read_outputs, write_output
from perigrid.wire.generated import open_inference_pb2 as protocol

MAX_WINDOWS = 2_048
"""Most tiles of one mask request: their packed masks take half of a message."""

MAX_CHECKED_CAPTURES = 1_024
"""How many captures in read-only regions are remembered as free of NaN; past it all are forgotten."""

MESSAGE_MARGIN_BYTES = 64 * 1024
"""What a response has besides its tensors' bytes: names, shapes, parameters."""

QUANTUM_S = 0.15
"""A token held longer than this is given back between two tiles, wall seconds."""


WAITED_S = 1e-3
"""After a longer wait for a token it is asked once more whether anybody still waits for the answer."""


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
    """One request's hold on a place in the line and a core token: taken for the first tile, lent on between tiles.

    Raises what `Line.enter` raises.
    """

    __slots__ = ("_claim", "_gate", "_held_since_s", "_line", "desk_wait_s", "queue_s")

    def __init__(self, line: Line, gate: CoreGate, claim: Claim) -> None:
        self._line = line
        self._gate = gate
        self._claim = claim
        self._held_since_s: float | None = None
        self.queue_s = 0.0
        self.desk_wait_s = 0.0

    def next(self) -> None:
        """Hold a token for the next piece of work; LinkBroken when nobody waits for the answer any more."""
        start_s = time.monotonic()
        if self._held_since_s is not None and start_s - self._held_since_s > QUANTUM_S:
            self._give_back()
        if self._held_since_s is not None:
            self._claim.check()
            return
        if self._claim.seated:
            self._line.lend(self._claim)
        else:
            self._line.enter(self._claim)
        seated_s = time.monotonic()
        self._gate.acquire(self._claim.due_s)
        self._held_since_s = time.monotonic()
        self.queue_s += seated_s - start_s
        self.desk_wait_s += self._held_since_s - start_s
        if self._held_since_s - seated_s > WAITED_S:
            self._claim.check()

    def end(self) -> None:
        """Give the token and the place back, if they are held."""
        self._give_back()
        self._line.leave(self._claim)

    def _give_back(self) -> None:
        if self._held_since_s is not None:
            self._held_since_s = None
            self._gate.release()


class Worker:
    """The models and regions of one satellite, and the rules for asking them.

    Args:
        name: the satellite's name, given as the server's.
        models: name -> model; each is served bare under its name and as `<name>.mask` where it gives masks.
        regions_root: folder for `file:` regions; None refuses them.
        cores: the machine's core tokens.
        fetch: gives a model that is asked to be loaded, by its name; None loads none.
        limits: bounds on what waits, and on messages.
        slots: inferences that its computer does at once; a model may do so many, or as many as its entry's `cores`
            where that is more.
        now_s: the emulated time. A request that does not say when it is due is due when it comes, so that it is not
            starved by what comes later. Without a clock such requests come last.
    """

    def __init__(
        self,
        name: str,
        models: Mapping[str, LoadedModel],
        regions_root: Path | None,
        cores: CoreGate,
        fetch: Fetch | None = None,
        limits: Limits | None = None,
        slots: int = 1,
        now_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self.name = name
        self.limits = limits or Limits()
        self.regions = SharedRegions(regions_root)
        self.repository = Repository(f"worker {name!r}", models, fetch)
        self.line = Line(self.limits.max_waiting, self.limits.max_waiting_bytes)
        self.counters = Counters()
        self._cores = cores
        self._slots = slots
        self._now_s = now_s
        self._checked: set[tuple[int, int, tuple[int, ...]]] = set()

    def load(self, name: str) -> None:
        """Serve one model more; one that is served already stays. What `fetch` raises, and UsageError without it."""
        self.repository.load(name)

    def unload(self, name: str) -> None:
        """Serve a model no more; what is under way with it ends. MissingFile for one that is not served."""
        self.repository.unload(name)

    def find(self, name: str, version: str) -> Served:
        """What is served under a name; MissingFile for an unknown name or version."""
        return self.repository.find(name, version).served

    def budget(self, served: Served) -> int:
        """How many requests of a model are computed at once."""
        return max(self._slots, served.entry.cores)

    def infer(self, message: Any, caller: Caller) -> Any:
        """Answer a ModelInferRequest with a ModelInferResponse; raises what `answer` raises."""
        return self.answer(of_message(message), caller).whole()

    def answer(self, request: Request, caller: Caller) -> Response:
        """Answer a request.

        Raises MissingFile, UsageError, Overloaded, DeadlinePassed and LinkBroken, which stand for NOT_FOUND,
        INVALID_ARGUMENT, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED and CANCELLED.
        """
        start_s = time.monotonic()
        request.check()
        offer = self.repository.find(request.message.model_name, request.message.model_version)
        try:
            return self._answer(request, offer, caller, start_s)
        except BaseException:
            self.counters.failed(offer.served.name, time.monotonic() - start_s)
            raise

    def _answer(self, request: Request, offer: Offer, caller: Caller, start_s: float) -> Response:
        start_cpu_s = time.thread_time()
        message, served = request.message, offer.served
        wishes = read_wishes(message.parameters)
        inputs = read_inputs(message, offer.inputs, self.regions, request.raw)
        outputs = read_outputs(message, offer.outputs, self.regions)
        claim = Claim(
            model=served.model,
            budget=self.budget(served),
            caller=caller,
            priority=wishes.priority,
            due_s=self._now_s() if math.isinf(wishes.due_s) else wishes.due_s,
            end_s=min(start_s + wishes.timeout_s, time.monotonic() + caller.remaining_s()),
            size_bytes=request.size_bytes,
        )
        read_s = time.monotonic()
        turn = Turn(self.line, self._cores, claim)
        try:
            shapes = {name: array.shape for name, array in inputs.arrays.items()}
            served.check_batch(shapes)
            arrays = self._run(served, offer.model, inputs, turn)
        finally:
            turn.end()
        run_s = time.monotonic()
        answered = protocol.ModelInferResponse(model_name=served.name, model_version=MODEL_VERSION, id=message.id)
        raw = [write_output(answered, output, arrays[output.name]) for output in outputs]
        size_bytes = sum(map(len, raw))
        self._check_size(size_bytes)
        said = answered.parameters
        said["queue_s"].double_param, said["desk_wait_s"].double_param = turn.queue_s, turn.desk_wait_s
        said["cpu_s"].double_param = time.thread_time() - start_cpu_s
        end_s = time.monotonic()
        times = Times(turn.desk_wait_s, read_s - start_s, run_s - read_s - turn.desk_wait_s, end_s - run_s)
        self.counters.succeeded(served.name, items_in(served, shapes), served.batch(shapes), end_s - start_s, times)
        return Response(answered, raw, size_bytes)

    def _check_size(self, size_bytes: int) -> None:
        limit_bytes = self.limits.max_message_bytes - MESSAGE_MARGIN_BYTES
        if size_bytes > limit_bytes:
            raise DataError(
                f"the outputs have {size_bytes} bytes, and a message may have {limit_bytes}: ask for fewer "
                "outputs or items, or let them be written to shared memory"
            )

    def _run(self, served: Served, model: LoadedModel, inputs: Inputs, turn: Turn) -> dict[str, NDArray[Any]]:
        match served.form:
            case Form.BARE:
                return self._bare(served, model, inputs, turn)
            case Form.TILES:
                return self._tiles(served, model, inputs, turn)
            case Form.MASKS:
                return self._masks(model, inputs, turn)

    def _bare(self, served: Served, model: LoadedModel, inputs: Inputs, turn: Turn) -> dict[str, NDArray[Any]]:
        turn.next()
        values = model.session.run(inputs.arrays)
        return {tensor.name: value for tensor, value in zip(served.outputs, values, strict=True)}

    def _tiles(self, served: Served, model: LoadedModel, inputs: Inputs, turn: Turn) -> dict[str, NDArray[Any]]:
        """One inference a tile, alone, so that its bits do not depend on its neighbours in the request."""
        session, tiles = model.session, inputs.arrays["tiles"]
        limit_bytes = self.limits.max_message_bytes - MESSAGE_MARGIN_BYTES
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
                size += _size_bytes(value)
            if size > limit_bytes:
                raise DataError(
                    f"the outputs of {len(tiles)} tiles are more than {limit_bytes} bytes: send fewer tiles a "
                    "request (a job's tiles_per_shard)"
                )
        return {name: np.stack(values) for name, values in outputs.items()}

    def _masks(self, model: LoadedModel, inputs: Inputs, turn: Turn) -> dict[str, NDArray[Any]]:
        capture, windows = inputs.arrays["capture"], inputs.arrays["windows"]
        if len(windows) > MAX_WINDOWS:
            raise DataError(f"{len(windows)} windows are more than {MAX_WINDOWS}: send them in several requests")
        tile_px = model.tile_px or 0
        _check_windows(windows, capture.shape, tile_px)
        masks = np.empty((len(windows), tile_px**2 // PIXELS_PER_BYTE), np.uint8)
        for number, (row, column) in enumerate(windows.tolist()):
            turn.next()
            if number == 0:
                self._check_finite(capture, inputs.places.get("capture"))
            # Borrowed under the token only, so that there are no more pipelines than tokens.
            with model.pipeline() as pipeline:
                masks[number] = pipeline.tile(capture, row, column)
        return {"mask": masks}

    def _check_finite(self, capture: NDArray[Any], place: tuple[int, int] | None) -> None:
        """DataError for NaN and infinities: a model would answer them with a mask that looks like any other.

        What lies in a read-only region is looked at once a registration; memory that its client may write,
        each time.
        """
        key = None if place is None else (*place, capture.shape)
        if key in self._checked:
            return
        bad = first_not_finite(capture)
        if bad is not None:
            band, row, column = bad
            raise DataError(
                f"the capture holds {capture[band, row, column]} in band {band} at row {row}, column {column}: "
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
            f"the window at row {row}, column {column} lies outside the capture of {height} x {width} pixels: keep its "
            f"{tile_px} pixels inside"
        )


def _size_bytes(value: NDArray[Any]) -> int:
    return len(texts.encode(value)) if value.dtype == np.object_ else value.nbytes


def serve(address: str, worker: Worker) -> grpc.Server:
    """Start a worker's server and give it back; the caller stops it.

    Args:
        address: gRPC's, for instance `unix:sockets/sat-01.worker` or `127.0.0.1:0`.
        worker: what it serves, within its limits.

    Raises EnvironmentProblem when the address cannot be listened on.
    """
    # The service needs the worker's type, and whoever starts a worker looks for this here.
    from perigrid.live.serving.service import start

    return start(address, worker)


def environment_limits() -> Limits:
    """The bounds that this process's environment asks for; UsageError for a value that is none."""
    return limits_from(os.environ)
