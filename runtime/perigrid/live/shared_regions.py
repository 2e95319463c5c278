"""How do tensors reach a worker without being copied through a socket?

System shared memory, as the Open Inference Protocol's extension has it: a client registers a region of
memory under a name and its requests name places in it. Two kinds of key are understood:

    file:<path>   a file below the worker's own folder of regions, for reading only: a satellite's captures
    <key>         POSIX shared memory, /dev/shm/<key>, as tritonclient makes it: for reading and for results

Regions are mapped here with `os.open` and `mmap`. Python's SharedMemory class is left out on purpose: in
Python 3.11 it deletes regions that others own when the process ends. Nothing here ever deletes a region. A
file that its owner shortens while it is mapped ends the worker with SIGBUS, as a model that crashes does;
the payload process is started again.
"""

import math
import mmap
import os
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perigrid.errors import DataError, MissingFile, NameInUse
from perigrid.live.models import Tensor
from perigrid.live.pipeline import DTYPES

FILE_PREFIX = "file:"
SHARED_MEMORY_FOLDER = Path("/dev/shm")
MAX_REGIONS = 256
"""Most regions one worker has mapped at once."""

MAX_NAME_BYTES = 255
"""Longest name or key of POSIX shared memory, bytes (NAME_MAX of Linux)."""

MAX_TYPED_ELEMENTS = 65_536
"""Most elements of one tensor in typed contents, which cost a thousand times what raw bytes cost."""

_TYPED_FIELD = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


@dataclass(frozen=True, slots=True)
class Region:
    """A mapped region; `generation` differs after each registration, so that checks of it can be kept."""

    name: str
    key: str
    offset: int
    byte_size: int
    generation: int
    read_only: bool
    memory: memoryview


@dataclass(frozen=True, slots=True)
class Input:
    """An input as numpy sees it, without a copy; `place` says where it lies if that is a read-only region."""

    array: NDArray[Any]
    place: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Output:
    """A wanted output and, where the client said so, the region and its bytes that it goes to."""

    name: str
    region: Region | None
    memory: memoryview | None
    offset: int


class SharedRegions:
    """The regions registered with one worker; safe to use from several threads.

    Args:
        root: folder that `file:` keys are relative to; None refuses them.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = None if root is None else root.resolve()
        self._lock = threading.Lock()
        self._regions: dict[str, Region] = {}
        self._generation = 0

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Map a region and give it a name; the same name, key and place again maps it anew.

        NameInUse when the name is another region's, MissingFile when there is no such file or shared
        memory, DataError for a key that leads outside the root, a size beyond the file's, or too many
        regions.
        """
        if not name or len(name.encode()) > MAX_NAME_BYTES:
            raise DataError(f"a region's name has {len(name.encode())} bytes: give 1 to {MAX_NAME_BYTES}")
        memory, read_only = self._map(key, offset, byte_size)
        with self._lock:
            known = self._regions.get(name)
            if known is not None and (known.key, known.offset, known.byte_size) != (key, offset, byte_size):
                raise NameInUse(f"region {name!r} is registered with key {known.key!r}: unregister it first")
            if known is None and len(self._regions) >= MAX_REGIONS:
                raise DataError(f"{MAX_REGIONS} regions are registered: unregister one before the next")
            self._generation += 1
            self._regions[name] = Region(name, key, offset, byte_size, self._generation, read_only, memory)

    def unregister(self, name: str) -> None:
        """Forget a region, or all of them when `name` is empty; an unknown name is no error.

        The memory stays mapped until the last request that uses it has ended.
        """
        with self._lock:
            if name:
                self._regions.pop(name, None)
            else:
                self._regions.clear()

    def status(self, name: str) -> list[Region]:
        """The region of that name, or all of them when `name` is empty; MissingFile for an unknown name."""
        with self._lock:
            if not name:
                return list(self._regions.values())
        return [self.find(name)]

    def find(self, name: str) -> Region:
        """The region of that name; MissingFile for an unknown one."""
        with self._lock:
            region = self._regions.get(name)
        if region is None:
            raise MissingFile(f"there is no shared memory region {name!r} here: register it first")
        return region

    def place(self, name: str, offset: int, byte_size: int) -> tuple[Region, memoryview]:
        """A region and `byte_size` bytes of it from `offset`; DataError when they are not all inside it."""
        region = self.find(name)
        if offset < 0 or byte_size < 0 or offset + byte_size > region.byte_size:
            raise DataError(
                f"bytes {offset} to {offset + byte_size} are outside region {name!r}, which has {region.byte_size}"
            )
        return region, region.memory[offset : offset + byte_size]

    def _map(self, key: str, offset: int, byte_size: int) -> tuple[memoryview, bool]:
        read_only = key.startswith(FILE_PREFIX)
        path = self._file_path(key) if read_only else _posix_path(key)
        flags = os.O_RDONLY if read_only else os.O_RDWR
        try:
            # Without O_NONBLOCK the opening of a pipe would wait for its other end.
            descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise MissingFile(f"key {key!r} names no shared memory: {path} is not there; create it first") from error
        except OSError as error:
            raise DataError(f"key {key!r} cannot be opened ({error}): check who may read and write {path}") from error
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise DataError(f"key {key!r} is not a file of bytes: {path} cannot be mapped")
            if byte_size < 1 or offset + byte_size > found.st_size:
                raise DataError(
                    f"key {key!r} has {found.st_size} bytes, so a region from {offset} of {byte_size} bytes "
                    "is not in it"
                )
            # A mapping starts at a page; the whole beginning is mapped, which costs addresses but no memory.
            access = mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE
            mapped = mmap.mmap(descriptor, offset + byte_size, access=access)
        finally:
            os.close(descriptor)
        return memoryview(mapped)[offset:], read_only

    def _file_path(self, key: str) -> Path:
        if self._root is None:
            raise DataError(f"key {key!r}: this worker has no folder of regions; use POSIX shared memory")
        relative = key.removeprefix(FILE_PREFIX)
        if not relative or "\0" in relative:
            raise DataError(f"key {key!r} names no file: write {FILE_PREFIX}<path relative to the worker's folder>")
        try:
            path = (self._root / relative).resolve()
        except (OSError, RuntimeError) as error:
            raise DataError(f"key {key!r} cannot be followed ({error}): check its symbolic links") from error
        # Symbolic links are followed above, so that none leads out of the folder unseen.
        if not path.is_relative_to(self._root) or path == self._root:
            raise DataError(f"key {key!r} leads outside the worker's folder of regions: use a path inside it")
        return path


def _posix_path(key: str) -> Path:
    # Clients in C name their regions with a leading slash, as shm_open wants it; the file has none.
    name = key.removeprefix("/")
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(name.encode()) > MAX_NAME_BYTES:
        raise DataError(f"key {key!r} is no name of shared memory: use one name without a slash inside")
    return SHARED_MEMORY_FOLDER / name


def read_inputs(request: Any, declared: Iterable[Tensor], regions: SharedRegions) -> dict[str, Input]:
    """The inputs of a ModelInferRequest by name, checked against their declarations, without a copy."""
    wanted = {tensor.name: tensor for tensor in declared}
    raw = list(request.raw_input_contents)
    uses_raw = bool(raw)
    inputs: dict[str, Input] = {}
    for tensor in request.inputs:
        if tensor.name not in wanted or tensor.name in inputs:
            fault = "came twice" if tensor.name in inputs else "is unknown"
            raise DataError(f"input {tensor.name!r} {fault}: the model's inputs are {', '.join(wanted)}")
        shape = _check_declared(tensor, wanted[tensor.name])
        if "shared_memory_region" in tensor.parameters:
            inputs[tensor.name] = _from_region(tensor, shape, regions)
        elif uses_raw:
            if not raw:
                raise DataError(f"input {tensor.name!r} has no bytes: give one of raw_input_contents for each input")
            inputs[tensor.name] = Input(_from_bytes(raw.pop(0), tensor, shape), None)
        else:
            inputs[tensor.name] = Input(_from_typed(tensor, shape), None)
    missing = [name for name in wanted if name not in inputs]
    if missing:
        raise DataError(f"the inputs {', '.join(missing)} are missing: give each of {', '.join(wanted)}")
    if raw:
        raise DataError(f"{len(raw)} of raw_input_contents belong to no input: give one for each input")
    return inputs


def _check_declared(tensor: Any, declared: Tensor) -> tuple[int, ...]:
    if tensor.datatype != declared.dtype:
        raise DataError(f"input {tensor.name!r} has datatype {tensor.datatype!r}: it must be {declared.dtype!r}")
    shape = tuple(tensor.shape)
    fits = len(shape) == len(declared.shape) and all(
        size > 0 and known in (-1, size) for size, known in zip(shape, declared.shape, strict=True)
    )
    if not fits:
        raise DataError(
            f"input {tensor.name!r} has shape {list(shape)}: it must be {list(declared.shape)}, where -1 is "
            "any size "
            "from 1"
        )
    return shape


def _from_bytes(data: Any, tensor: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = np.dtype(DTYPES[tensor.datatype])
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise DataError(
            f"input {tensor.name!r} has {len(data)} bytes: {tensor.datatype} {list(shape)} takes {expected}"
        )
    array: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
    return array


def _from_region(tensor: Any, shape: tuple[int, ...], regions: SharedRegions) -> Input:
    region, memory, offset = _region_of(tensor.name, tensor.parameters, regions)
    # An offset that is no multiple of the element's size is allowed, but onnxruntime wants aligned arrays.
    array = np.require(_from_bytes(memory, tensor, shape), requirements=["A", "C"])
    return Input(array, (region.generation, offset) if region.read_only else None)


def _region_of(name: str, parameters: Any, regions: SharedRegions) -> tuple[Region, memoryview, int]:
    offset = parameters["shared_memory_offset"].int64_param if "shared_memory_offset" in parameters else 0
    if "shared_memory_byte_size" not in parameters:
        raise DataError(f"tensor {name!r} names a region without shared_memory_byte_size: give its bytes")
    byte_size = parameters["shared_memory_byte_size"].int64_param
    region, memory = regions.place(parameters["shared_memory_region"].string_param, offset, byte_size)
    return region, memory, offset


def _from_typed(tensor: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    field = _TYPED_FIELD.get(tensor.datatype)
    if field is None:
        raise DataError(f"input {tensor.name!r}: {tensor.datatype} has no typed contents; use raw_input_contents")
    count = math.prod(shape)
    values = getattr(tensor.contents, field)
    if count > MAX_TYPED_ELEMENTS:
        raise DataError(
            f"input {tensor.name!r} has {count} elements, more than {MAX_TYPED_ELEMENTS} for typed contents: "
            "use "
            "raw_input_contents"
        )
    if len(values) != count:
        raise DataError(f"input {tensor.name!r} has {len(values)} elements in {field}: its shape takes {count}")
    try:
        array: NDArray[Any] = np.array(list(values), DTYPES[tensor.datatype]).reshape(shape)
    except OverflowError as error:
        raise DataError(f"input {tensor.name!r} holds a number outside {tensor.datatype}: {error}") from error
    return array


def read_outputs(request: Any, declared: Iterable[Tensor], regions: SharedRegions) -> list[Output]:
    """The outputs that a ModelInferRequest wants, all when it names none, with their places in regions."""
    names = [tensor.name for tensor in declared]
    if not request.outputs:
        return [Output(name, None, None, 0) for name in names]
    outputs: list[Output] = []
    for wanted in request.outputs:
        if wanted.name not in names or any(output.name == wanted.name for output in outputs):
            raise DataError(f"output {wanted.name!r} is unknown or asked for twice: there are {', '.join(names)}")
        if "classification" in wanted.parameters:
            raise DataError(f"output {wanted.name!r}: classification is not offered here; ask for the tensor")
        if "shared_memory_region" not in wanted.parameters:
            outputs.append(Output(wanted.name, None, None, 0))
            continue
        region, memory, offset = _region_of(wanted.name, wanted.parameters, regions)
        if region.read_only:
            raise DataError(f"output {wanted.name!r} cannot go to region {region.name!r}, which is only for reading")
        outputs.append(Output(wanted.name, region, memory, offset))
    return outputs


def write_output(response: Any, output: Output, declared: Tensor, array: NDArray[Any]) -> None:
    """Add one output, its bytes in the message or in its region; DataError when they do not fit there."""
    described = response.outputs.add(name=output.name, datatype=declared.dtype, shape=array.shape)
    if output.region is None or output.memory is None:
        response.raw_output_contents.append(array.tobytes())
        return
    if array.nbytes > len(output.memory):
        raise DataError(
            f"output {output.name!r} has {array.nbytes} bytes, but its place in region "
            f"{output.region.name!r} has "
            f"{len(output.memory)}: make that larger"
        )
    np.frombuffer(output.memory, array.dtype, array.size)[:] = array.ravel()
    described.parameters["shared_memory_region"].string_param = output.region.name
    described.parameters["shared_memory_byte_size"].int64_param = array.nbytes
    if output.offset:
        described.parameters["shared_memory_offset"].int64_param = output.offset
    # Clients find an output's bytes by its number, so a place is kept for those that are elsewhere.
    response.raw_output_contents.append(b"")
