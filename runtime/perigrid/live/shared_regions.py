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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from perigrid.errors import DataError, MissingFile, NameInUse
from perigrid.live.models import Tensor
from perigrid.live.pipeline import DTYPES
from perigrid.live.serving import texts
from perigrid.live.serving.messages import SMALL_BYTES, Raw
from perigrid.live.serving.parameters import text, whole_number

FILE_PREFIX = "file:"
SHARED_MEMORY_FOLDER = Path("/dev/shm")
MAX_REGIONS = 256
"""Most regions one worker has mapped at once."""

MAX_NAME_BYTES = 255
"""Longest name or key of POSIX shared memory, bytes (NAME_MAX of Linux)."""

MAX_TENSORS = 4_096
"""Most tensors of one request."""

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
    texts.DATATYPE: "bytes_contents",
}
_PLACE = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")


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


class Declared(msgspec.Struct, frozen=True):
    """What a request's tensor is compared with: datatype and shape, and numpy's type, which strings have none of."""

    dtype: str
    shape: tuple[int, ...]
    numpy_type: np.dtype[Any] | None


def declared_inputs(tensors: Iterable[Tensor]) -> dict[str, Declared]:
    """By name, what inputs are compared with: made once, not for each request."""
    return {
        tensor.name: Declared(
            tensor.dtype, tensor.shape, np.dtype(DTYPES[tensor.dtype]) if tensor.dtype in DTYPES else None
        )
        for tensor in tensors
    }


class Inputs(msgspec.Struct, frozen=True):
    """Inputs by name, as numpy sees them without a copy; `places` says where those in read-only regions lie."""

    arrays: dict[str, NDArray[Any]]
    places: dict[str, tuple[int, int]]


class Output(msgspec.Struct, frozen=True):
    """A wanted output and, where the client said so, the region and its bytes that it goes to."""

    name: str
    datatype: str
    region: Region | None = None
    memory: memoryview | None = None
    offset: int = 0


def declared_outputs(tensors: Iterable[Tensor]) -> tuple[Output, ...]:
    """All outputs of a model, for those requests that name none."""
    return tuple(Output(tensor.name, tensor.dtype) for tensor in tensors)


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


def read_inputs(
    request: Any, declared: Mapping[str, Declared], regions: SharedRegions, raw_contents: Sequence[Raw]
) -> Inputs:
    """The inputs of a ModelInferRequest by name, checked against their declarations, without a copy.

    `raw_contents` are its raw_input_contents, which need not be in the message itself. DataError for what does not
    fit, MissingFile for an unknown region.
    """
    count, used = len(raw_contents), 0
    if count > MAX_TENSORS:
        # Looking at each makes a copy of it.
        raise DataError(f"{count} of raw_input_contents are more than {MAX_TENSORS}: give one for each input")
    inputs = Inputs({}, {})
    arrays = inputs.arrays
    for tensor in request.inputs:
        name = tensor.name
        wanted = declared.get(name)
        if wanted is None or name in arrays:
            fault = "is unknown" if wanted is None else "came twice"
            raise DataError(f"input {name!r} {fault}: the model's inputs are {', '.join(declared)}")
        shape = tuple(tensor.shape)
        if tensor.datatype != wanted.dtype or (shape != wanted.shape and not _fits(shape, wanted.shape)):
            raise _misfit(tensor, wanted)
        placed = bool(tensor.parameters) and _is_placed(tensor)
        if (placed or count) and tensor.HasField("contents"):
            other = "a shared memory region" if placed else "raw_input_contents"
            raise DataError(f"input {name!r} has contents and {other} as well: give it in one way")
        if placed:
            region, memory, offset = _region_of(name, tensor.parameters, regions)
            arrays[name] = _from_bytes(memory, name, wanted, shape)
            if region.read_only:
                inputs.places[name] = region.generation, offset
        elif count:
            if used == count:
                raise DataError(f"input {name!r} has no bytes: give one of raw_input_contents for each input")
            arrays[name] = _from_bytes(raw_contents[used], name, wanted, shape)
            used += 1
        else:
            arrays[name] = _from_typed(tensor, shape)
    if len(arrays) < len(declared):
        missing = [name for name in declared if name not in arrays]
        raise DataError(f"the inputs {', '.join(missing)} are missing: give each of {', '.join(declared)}")
    if used < count:
        raise DataError(f"{count - used} of raw_input_contents belong to no input: give one for each input")
    return inputs


def _is_placed(tensor: Any) -> bool:
    """Whether an input with parameters lies in a region; DataError for other parameters."""
    _check_parameters(f"input {tensor.name!r}", tensor.parameters, _PLACE)
    return _PLACE[0] in tensor.parameters


def _check_parameters(where: str, parameters: Any, known: Collection[str]) -> None:
    unknown = [key for key in parameters if key not in known]
    if unknown:
        raise DataError(f"{where}: the parameter {unknown[0]!r} is unknown; a tensor's are {', '.join(known)}")


def _misfit(tensor: Any, declared: Declared) -> DataError:
    if tensor.datatype != declared.dtype:
        return DataError(f"input {tensor.name!r} has datatype {tensor.datatype!r}: it must be {declared.dtype!r}")
    return DataError(
        f"input {tensor.name!r} has shape {list(tensor.shape)}: it must be {list(declared.shape)}, where -1 is any "
        "size from 1"
    )


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    if len(shape) != len(declared):
        return False
    # A loop, as a generator costs a small request more than the comparison itself.
    for size, known in zip(shape, declared, strict=True):  # noqa: SIM110
        if size < 1 or (known != size and known != -1):
            return False
    return True


def _from_bytes(data: Raw, name: str, declared: Declared, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array as onnxruntime wants it: aligned, though a tensor may begin anywhere in a region or a message."""
    numbers = declared.numpy_type
    if numbers is None:
        return texts.decode(data, math.prod(shape), f"input {name!r}").reshape(shape)
    expected = math.prod(shape) * numbers.itemsize
    if len(data) != expected:
        raise DataError(f"input {name!r} has {len(data)} bytes: {declared.dtype} {list(shape)} takes {expected}")
    array: NDArray[Any] = np.frombuffer(data, numbers).reshape(shape)
    # Bytes of Python's own begin where any number may.
    return array if type(data) is bytes or array.flags.aligned else array.copy()


def _region_of(name: str, parameters: Any, regions: SharedRegions) -> tuple[Region, memoryview, int]:
    try:
        region_name, offset = text(parameters, _PLACE[0]) or "", _int64(parameters, _PLACE[2]) or 0
        byte_size = _int64(parameters, _PLACE[1])
        if byte_size is None:
            raise DataError("a region without shared_memory_byte_size: give its bytes")
        region, memory = regions.place(region_name, offset, byte_size)
    except DataError as error:
        raise DataError(f"tensor {name!r}: {error}") from error
    return region, memory, offset


def _int64(parameters: Any, key: str) -> int | None:
    """A number that may be negative, which is then outside of any region."""
    if key in parameters and parameters[key].WhichOneof("parameter_choice") == "int64_param":
        return int(parameters[key].int64_param)
    return whole_number(parameters, key)


def _from_typed(tensor: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    field = _TYPED_FIELD.get(tensor.datatype)
    if field is None:
        raise DataError(f"input {tensor.name!r}: {tensor.datatype} has no typed contents; use raw_input_contents")
    count = math.prod(shape)
    values = getattr(tensor.contents, field)
    if count > MAX_TYPED_ELEMENTS:
        raise DataError(
            f"input {tensor.name!r} has {count} elements, more than {MAX_TYPED_ELEMENTS} for typed contents: use "
            "raw_input_contents"
        )
    if len(values) != count:
        raise DataError(f"input {tensor.name!r} has {len(values)} elements in {field}: its shape takes {count}")
    if tensor.datatype == texts.DATATYPE:
        return texts.from_elements(values, f"input {tensor.name!r}").reshape(shape)
    try:
        array: NDArray[Any] = np.array(list(values), DTYPES[tensor.datatype]).reshape(shape)
    except OverflowError as error:
        raise DataError(f"input {tensor.name!r} holds a number outside {tensor.datatype}: {error}") from error
    return array


def read_outputs(request: Any, declared: Sequence[Output], regions: SharedRegions) -> Sequence[Output]:
    """The outputs that a ModelInferRequest wants, all when it names none, with their places in regions."""
    if not request.outputs:
        return declared
    known = {output.name: output.datatype for output in declared}
    outputs: list[Output] = []
    for wanted in request.outputs:
        if wanted.name not in known or any(output.name == wanted.name for output in outputs):
            raise DataError(f"output {wanted.name!r} is unknown or asked for twice: there are {', '.join(known)}")
        if "classification" in wanted.parameters:
            raise DataError(f"output {wanted.name!r}: classification is not offered here; ask for the tensor")
        _check_parameters(f"output {wanted.name!r}", wanted.parameters, _PLACE)
        if "shared_memory_region" not in wanted.parameters:
            outputs.append(Output(wanted.name, known[wanted.name]))
            continue
        region, memory, offset = _region_of(wanted.name, wanted.parameters, regions)
        if region.read_only:
            raise DataError(f"output {wanted.name!r} cannot go to region {region.name!r}, which is only for reading")
        outputs.append(Output(wanted.name, known[wanted.name], region, memory, offset))
    return outputs


def write_output(response: Any, output: Output, array: NDArray[Any]) -> Raw:
    """Add one output to a response, and give its bytes that go behind it in the message; none where it is in a region.

    DataError when it does not fit into its region.
    """
    described = response.outputs.add(name=output.name, datatype=output.datatype, shape=array.shape)
    content = raw_bytes(output.datatype, array)
    if output.region is None or output.memory is None:
        return content
    if len(content) > len(output.memory):
        raise DataError(
            f"output {output.name!r} has {len(content)} bytes, but its place in region {output.region.name!r} has "
            f"{len(output.memory)}: make that larger"
        )
    output.memory[: len(content)] = content
    described.parameters["shared_memory_region"].string_param = output.region.name
    described.parameters["shared_memory_byte_size"].int64_param = len(content)
    if output.offset:
        described.parameters["shared_memory_offset"].int64_param = output.offset
    # Clients find an output's bytes by its number, so a place is kept for those that are elsewhere.
    return b""


def raw_bytes(datatype: str, array: NDArray[Any]) -> Raw:
    """An array as the protocol has it, row-major and little-endian: its own memory where that is so already."""
    if datatype == texts.DATATYPE:
        return texts.encode(array)
    if array.nbytes <= SMALL_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).data.cast("B")
