"""What does one tile cost, and what comes out of it?

A tile of a capture is cropped, normalised into a buffer that is reused, run through onnxruntime alone (one
item, one thread: batches cost more a tile on a processor), turned into classes and packed. IO binding was
measured against a plain `run` and gained nothing within 1 %, so there is none. A pipeline's buffer belongs
to whoever borrowed it; sessions may be used from several threads.
"""

import os
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

# onnxruntime's telemetry writes into the home and temporary folders and sends what it counts, unless told not to
# before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime
from numpy.typing import NDArray

from perigrid.errors import CorruptFile, DataError, ModelError
from perigrid.job.masks import PIXELS_PER_BYTE, classify, pack
from perigrid.live.config import RunConfig
from perigrid.live.models import STANDARD_BANDS, ModelEntry, ModelStore, Tensor

DTYPES: Mapping[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
"""The Open Inference Protocol's names of the types of numbers, and numpy's; little-endian on the wire. Strings, BYTES,
are in `serving/texts.py`."""

_PROTOCOL_NAME = {
    "tensor(bool)": "BOOL",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
    **{f"tensor({kind}{bits})": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}

OWN_METADATA = {f"perigrid.{name}": name for name in ("batch_invariant", "canonical_batch", "cores")}
"""What the metadata of a user's own .onnx file may say of it, in the manifest's words."""

SERVICE_TIME_SEED = 0
SERVICE_TIME_WARM_UPS = 2


class Session:
    """An onnxruntime session of one model, one thread, no spinning, on the processor. May be run from several
    threads.

    Args:
        path: the .onnx file.
        entry: what the manifest says; None takes inputs and outputs from the file.

    Raises CorruptFile when onnxruntime cannot load the file, ModelError when its inputs or outputs are not
    the entry's or are of a type that is not served.
    """

    def __init__(self, path: Path, entry: ModelEntry | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Errors are raised, so onnxruntime's own warnings on stderr would only say them twice.
        options.log_severity_level = 4
        providers = ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            # onnxruntime's exceptions share no base below Exception.
            raise CorruptFile(f"{path} is not a model that onnxruntime can load ({error}): get it again") from error
        self.inputs = tuple(_tensor(value, path) for value in self._session.get_inputs())
        self.outputs = tuple(_tensor(value, path) for value in self._session.get_outputs())
        self._output_names = [tensor.name for tensor in self.outputs]
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        if entry is not None and (self.inputs, self.outputs) != (entry.inputs, entry.outputs):
            raise ModelError(
                f"{path} has inputs {_shapes(self.inputs)} and outputs {_shapes(self.outputs)}, but the "
                "manifest says "
                f"{_shapes(entry.inputs)} and {_shapes(entry.outputs)}: correct the entry {entry.name!r}"
            )

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs in the file's order; ModelError where onnxruntime refuses the inputs or fails on them."""
        try:
            outputs: list[NDArray[Any]] = self._session.run(self._output_names, dict(inputs))
        except Exception as error:
            raise ModelError(f"the model cannot run on these inputs ({error}): check their shapes") from error
        return outputs


class MaskPipeline:
    """From a capture to packed masks, one tile at a time. Holds a buffer, so one thread at a time may use it.

    ModelError when the model's entry names no mask, or bands that no capture has.
    """

    def __init__(self, session: Session, entry: ModelEntry) -> None:
        if entry.mask is None:
            raise ModelError(f"model {entry.name!r} gives no mask: run it bare, or choose one with a mask")
        unknown = [band for band in entry.bands if band not in STANDARD_BANDS]
        if unknown or not entry.bands:
            raise ModelError(f"model {entry.name!r} wants bands {unknown or 'of no name'}, which no capture has")
        self._session = session
        self._name = entry.name
        self._input = entry.inputs[0].name
        self.tile_px = entry.mask.tile_px
        self.packed_bytes = self.tile_px**2 // PIXELS_PER_BYTE
        order = [STANDARD_BANDS.index(band) for band in entry.bands]
        self.bands_needed = max(order) + 1
        # A slice gives views, a list copies: the models that ship all take the first bands.
        self._bands: slice | list[int] = slice(len(order)) if order == list(range(len(order))) else order
        channels = [entry.mask.clear, entry.mask.cloud, entry.mask.shadow]
        self._channels: slice | list[int] = slice(3) if channels == [0, 1, 2] else channels
        self._buffer = np.empty((1, len(order), self.tile_px, self.tile_px), np.float32)
        self._scaling: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        if entry.normalisation is not None:
            mean = np.array(entry.normalisation.mean, np.float32)[:, None, None]
            self._scaling = mean, np.array(entry.normalisation.std, np.float32)[:, None, None]

    def tile(self, capture: NDArray[np.float32], row: int, column: int) -> NDArray[np.uint8]:
        """Packed mask uint8 [tile_px*tile_px/4] of the tile whose top left corner is (row, column).

        `capture` is reflectance float32 [C,H,W], bands in the standard order, at least `bands_needed` of
        them; it may be a read-only view of mapped memory. DataError for too few bands or a tile outside it.
        """
        count, height, width = capture.shape
        if count < self.bands_needed:
            raise DataError(f"a capture of {count} bands is too few for {self._name!r}: it needs {self.bands_needed}")
        if not (0 <= row <= height - self.tile_px and 0 <= column <= width - self.tile_px):
            raise DataError(
                f"the tile at row {row}, column {column} lies outside a capture of {height} x {width} "
                "pixels: keep its "
                f"{self.tile_px} pixels inside"
            )
        crop = capture[self._bands, row : row + self.tile_px, column : column + self.tile_px]
        if self._scaling is None:
            np.copyto(self._buffer[0], crop)
        else:
            mean, std = self._scaling
            np.subtract(crop, mean, out=self._buffer[0])
            np.divide(self._buffer[0], std, out=self._buffer[0])
        scores = self._session.run({self._input: self._buffer})[0][0]
        return pack(classify(scores[self._channels]))


class LoadedModel:
    """A model that is ready to run: its entry, its session, and as many pipelines as are in use at once.

    Satellites of one process share it. Pipelines go back on a stack, so there are never more than ran at
    the same time.
    """

    def __init__(self, entry: ModelEntry, session: Session) -> None:
        self.entry = entry
        self.session = session
        self._idle: deque[MaskPipeline] = deque()

    @property
    def tile_px(self) -> int | None:
        """Side of the model's tiles; None when it gives no mask."""
        return None if self.entry.mask is None else self.entry.mask.tile_px

    @contextmanager
    def pipeline(self) -> Iterator[MaskPipeline]:
        """Borrow a pipeline, for one thread; ModelError when the model gives no mask."""
        try:
            borrowed = self._idle.pop()
        except IndexError:
            borrowed = MaskPipeline(self.session, self.entry)
        try:
            yield borrowed
        finally:
            self._idle.append(borrowed)


def load_model(store: ModelStore, name: str) -> LoadedModel:
    """Load a model of the manifest, or a user's own .onnx file, which is served bare under its file's name.

    Raises what `ModelStore.resolve` and `Session` raise.
    """
    path = store.resolve(name)
    if store.knows(name):
        entry = store.entry(name)
        return LoadedModel(entry, Session(path, entry))
    entry = own_entry(path)
    return LoadedModel(entry, Session(path, entry))


def load_models(config: RunConfig, known: Mapping[str, LoadedModel]) -> dict[str, LoadedModel]:
    """The models of a run that are not known yet, ready to run; raises what `Session` raises."""
    new = [file for file in config.models if file.entry.name not in known]
    return {file.entry.name: LoadedModel(file.entry, Session(Path(file.path), file.entry)) for file in new}


def own_entry(path: Path) -> ModelEntry:
    """The entry of a user's own .onnx file, named by the file; raises what `Session` raises.

    The file's own metadata may say what a manifest would: OWN_METADATA. ModelError where it says it wrongly.
    """
    session = Session(path)
    said = {name: session.metadata[key] for key, name in OWN_METADATA.items() if key in session.metadata}
    entry = ModelEntry(
        name=path.stem,
        title=f"own file {path.name}",
        file=str(path),
        inputs=session.inputs,
        outputs=session.outputs,
    )
    try:
        return msgspec.convert({**msgspec.to_builtins(entry), **said}, ModelEntry, strict=False)
    except msgspec.ValidationError as error:
        raise ModelError(
            f"{path} has metadata {', '.join(OWN_METADATA)} that cannot be ({error}): write {said} as "
            "numbers, and true or false"
        ) from error


def service_time(pipeline: MaskPipeline, repeats: int) -> float:
    """CPU seconds of this thread for a tile of random reflectance: the median of `repeats` after warm-ups."""
    random = np.random.default_rng(SERVICE_TIME_SEED)
    shape = (pipeline.bands_needed, pipeline.tile_px, pipeline.tile_px)
    capture = random.random(shape, dtype=np.float32)
    for _ in range(SERVICE_TIME_WARM_UPS):
        pipeline.tile(capture, 0, 0)
    times_s = []
    for _ in range(max(1, repeats)):
        start_s = time.thread_time()
        pipeline.tile(capture, 0, 0)
        times_s.append(time.thread_time() - start_s)
    return statistics.median(times_s)


def _tensor(value: Any, path: Path) -> Tensor:
    if value.type not in _PROTOCOL_NAME:
        raise ModelError(
            f"{path}: {value.name!r} is {value.type}, which is not served: use numbers, booleans or strings"
        )
    # A dimension without a number is named by a string or by nothing.
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return Tensor(value.name, _PROTOCOL_NAME[value.type], shape)


def _shapes(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in tensors)
