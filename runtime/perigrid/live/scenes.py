"""Which imagery is there, and what is in a capture?

A scene is real imagery as reflectance, float32 [C,H,W], bands in the standard order (blue, green, red, near
infrared, short wave infrared 1.6 and 2.2 um; all or the first few). Known scenes are named by scenes.toml and
used only when their sha256 is right; a user's own is an .npz file. What cannot be worked on is refused here,
before anything is sent into orbit.
"""

import difflib
import os
import tempfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from perigrid.errors import CorruptFile, DataError, MissingFile
from perigrid.job.masks import relabel
from perigrid.live.models import (
    STANDARD_BANDS,
    check_sha256,
    default_cache,
    file_sha256,
    locate_in_package,
    shipped_folder,
)

SCENES_FILE = "scenes.toml"
SCENES_VERSION = 1
MAX_CAPTURE_BYTES = 512 * 1024**2
"""Largest capture as float32, and largest scene file, bytes."""

MIN_SIDE_PX = 256
"""Shortest side of a capture, pixels: the tile of every model that ships."""

CONNECT_TIMEOUT_S = 5.0
"""Longest time without an answer while a scene is fetched, seconds."""

BLOCK_BYTES = 256 * 1024

Progress = Callable[[int, int], None]
"""Called with the bytes fetched so far and in all (0 when the server does not say)."""


class SceneEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What scenes.toml says of one scene: `shape` is of the file, `scale` divides it into reflectance."""

    name: str
    title: str
    file: str
    format: str
    sha256: str
    shape: tuple[int, int, int]
    bands: tuple[str, ...]
    scale: float
    licence: str
    source: str
    package: str = ""
    version: str = ""
    url: str = ""
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """Imagery in memory: reflectance float32 [C,H,W] and, where known, classes uint8 [H,W] (0 clear, 1 cloud,
    2 shadow).

    `sha256` is the file's that it was read from, `source` says where that was found.
    """

    name: str
    bands: NDArray[np.float32]
    band_names: tuple[str, ...]
    labels: NDArray[np.uint8] | None
    sha256: str
    source: str


@dataclass(frozen=True, slots=True)
class SceneSearch:
    """Where to look: the manifest's folder, folders with data, then the cache, where fetched ones go too."""

    manifest_directory: Path
    data: tuple[Path, ...]
    cache: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "SceneSearch":
        """PERIGRID_DATA and its scenes/ subfolder, then PERIGRID_CACHE or ~/.cache/perigrid."""
        named = environment.get("PERIGRID_DATA")
        data = (Path(named), Path(named) / "scenes") if named else ()
        return cls(shipped_folder(), data, default_cache(environment))

    def known(self) -> dict[str, SceneEntry]:
        """Name -> entry of scenes.toml; MissingFile or CorruptFile when that cannot be read."""
        return _read_scenes(self.manifest_directory / SCENES_FILE)


def load_scene(
    name_or_path: str, search: SceneSearch, *, download: bool = False, progress: Progress | None = None
) -> Scene:
    """A known scene by its name, or a user's own .npz file by its path.

    Args:
        name_or_path: a name of scenes.toml, or a path ending in .npz with the key `img`, [H,W,C] or [C,H,W],
        reflectance. search: where to look. download: whether a scene that is not on this machine may be
        fetched from its URL into the cache. progress: told how far fetching is.

    Raises DataError for an unknown name or a file that is no capture, MissingFile when the scene is not here,
    CorruptFile when its sha256 is wrong.
    """
    known = search.known()
    if name_or_path in known:
        return _load_known(known[name_or_path], search, download, progress)
    path = Path(name_or_path)
    if path.suffix != ".npz":
        near = difflib.get_close_matches(name_or_path, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(
            f"there is no scene {name_or_path!r}: {hint}known are {', '.join(known)}; a file of your own is "
            "named by its "
            "path, ending in .npz"
        )
    if not path.is_file():
        raise MissingFile(f"there is no scene file at {path}: check the path; it is relative to the current folder")
    bands = to_capture(_read_npz(path, "img"), str(path))
    digest = file_sha256(path)
    return Scene(path.stem, bands, STANDARD_BANDS[: len(bands)], None, digest, str(path))


def to_capture(image: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Check an image [H,W,C] or [C,H,W] and give it as float32 [C,H,W]; DataError naming `where` when it is
    no capture.

    The shorter of the first and the last axis is taken for the bands.
    """
    if image.ndim != 3:
        raise DataError(
            f"{where}: an image of shape {image.shape} has {image.ndim} dimensions: give [H,W,C] or [C,H,W]"
        )
    if image.dtype.kind not in "fiu":
        raise DataError(f"{where}: an image of dtype {image.dtype} holds no real numbers: give reflectance as float32")
    bands_last = image.shape[2] < image.shape[0]
    turned = image.transpose(2, 0, 1) if bands_last else image
    count, height, width = turned.shape
    if not 1 <= count <= len(STANDARD_BANDS):
        order = ", ".join(STANDARD_BANDS)
        raise DataError(f"{where}: an image of shape {image.shape} has {count} bands: give the first 1 to 6 of {order}")
    if min(height, width) < MIN_SIDE_PX:
        raise DataError(
            f"{where}: {height} x {width} pixels are less than a tile of {MIN_SIDE_PX}: give a larger image"
        )
    size = 4 * count * height * width
    if size > MAX_CAPTURE_BYTES:
        raise DataError(
            f"{where}: {size} bytes as float32 are more than {MAX_CAPTURE_BYTES}: cut the image into several"
        )
    # A value too large for float32 becomes infinite here, which the check below names.
    with np.errstate(over="ignore"):
        capture = np.ascontiguousarray(turned, dtype=np.float32)
    bad = first_not_finite(capture)
    if bad is not None:
        band, row, column = bad
        value = capture[band, row, column]
        raise DataError(
            f"{where}: band {STANDARD_BANDS[band]} holds {value} at row {row}, column {column}: replace what "
            "is not a "
            "finite number"
        )
    return capture


def first_not_finite(capture: NDArray[np.float32]) -> tuple[int, int, int] | None:
    """Band, row and column of the first value of [C,H,W] that is NaN or infinite; None when there is none."""
    for number, band in enumerate(capture):
        finite = np.isfinite(band)
        if not finite.all():
            row, column = np.unravel_index(int(np.argmin(finite)), finite.shape)
            return number, int(row), int(column)
    return None


def _load_known(entry: SceneEntry, search: SceneSearch, download: bool, progress: Progress | None) -> Scene:
    path = _find(entry, search, download, progress)
    image: NDArray[Any]
    labels = None
    if entry.format == "json":
        image = np.array(msgspec.json.decode(path.read_bytes()), dtype=np.float32)
    else:
        image = _read_npz(path, "img")
        if entry.labels:
            own = np.ascontiguousarray(_read_npz(path, "msk")[:, :, 0])
            labels = relabel(own, dict(enumerate(entry.labels)))
    if image.shape != entry.shape:
        raise CorruptFile(f"{path} holds an image of shape {image.shape}, but scenes.toml says {entry.shape}")
    bands = to_capture(image, entry.name)
    if entry.scale != 1.0:
        bands /= np.float32(entry.scale)
    return Scene(entry.name, bands, entry.bands, labels, entry.sha256, str(path))


def _find(entry: SceneEntry, search: SceneSearch, download: bool, progress: Progress | None) -> Path:
    if entry.package:
        path = locate_in_package(entry.package, entry.file)
        if path is None:
            raise MissingFile(
                f"scene {entry.name!r} is {entry.file} of {entry.package}=={entry.version}, which is not "
                "installed: "
                "pip install 'perigrid[eo]'"
            )
        return check_sha256(path, entry.sha256, f"pip install --force-reinstall {entry.package}=={entry.version}")
    cached = search.cache / "scenes" / entry.file
    for path in (*(folder / entry.file for folder in search.data), cached):
        if path.is_file():
            return check_sha256(path, entry.sha256, "delete the file and fetch the scene again")
    if not download:
        raise MissingFile(
            f"scene {entry.name!r} is not on this machine: allow its download ({entry.url}), or put "
            f"{entry.file} into a "
            "folder and name that in PERIGRID_DATA"
        )
    _fetch(entry, cached, progress)
    return cached


def _fetch(entry: SceneEntry, path: Path, progress: Progress | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / entry.file
        try:
            with urllib.request.urlopen(entry.url, timeout=CONNECT_TIMEOUT_S) as answer:
                total = int(answer.headers.get("Content-Length") or 0)
                _save(answer, part, total, progress)
        # HTTPException is not an OSError: an answer that is cut short or is not HTTP raises it.
        except (OSError, HTTPException) as error:
            raise MissingFile(
                f"scene {entry.name!r} could not be fetched from {entry.url} ({error}): check the network, "
                f"or put {entry.file} into a folder and name that in PERIGRID_DATA"
            ) from error
        check_sha256(part, entry.sha256, f"{entry.url} sent another file; get the scene from {entry.source}")
        os.replace(part, path)


def _save(answer: IO[bytes], part: Path, total: int, progress: Progress | None) -> None:
    done = 0
    with part.open("wb") as file:
        while block := answer.read(BLOCK_BYTES):
            done += len(block)
            if done > MAX_CAPTURE_BYTES:
                raise CorruptFile(f"{part.name} is more than {MAX_CAPTURE_BYTES} bytes: that is not the scene")
            file.write(block)
            if progress is not None:
                progress(done, total)


def _read_npz(path: Path, key: str) -> NDArray[Any]:
    """One array of an .npz file; its size is read from its header before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{key}.npy" not in archive.namelist():
                names = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "none"
                raise DataError(
                    f"{path} has no array {key!r} (it has: {names}): save it with np.savez(path, {key}=...)"
                )
            with archive.open(f"{key}.npy") as file:
                _check_header(file, path, key)
        with np.load(path, allow_pickle=False) as arrays:
            array: NDArray[Any] = arrays[key]
            return array
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is not an .npz file of numbers ({error}): save it with np.savez") from error


def _check_header(file: Any, path: Path, key: str) -> None:
    version = np.lib.format.read_magic(file)
    reads = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reads(file)
    if dtype.hasobject:
        raise DataError(f"{path}: array {key!r} holds Python objects: save numbers, for instance as float32")
    items = int(np.prod(shape, dtype=object)) if shape else 1
    # The bound is on float32, the form that the capture takes; a file of doubles may be twice that.
    if 4 * items > MAX_CAPTURE_BYTES or dtype.itemsize * items > 2 * MAX_CAPTURE_BYTES:
        raise DataError(f"{path}: array {key!r} of shape {shape} is more than {MAX_CAPTURE_BYTES} bytes: cut it first")


def _read_scenes(path: Path) -> dict[str, SceneEntry]:
    if not path.is_file():
        raise MissingFile(f"there is no list of scenes at {path}: reinstall perigrid")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        if content.get("scenes_version") != SCENES_VERSION:
            raise CorruptFile(
                f"{path} has scenes_version {content.get('scenes_version')!r}, but this perigrid reads "
                f"{SCENES_VERSION}: "
                "use the list that came with it"
            )
        tables = msgspec.convert(content.get("scene", {}), dict[str, dict[str, Any]])
        return {name: msgspec.convert({"name": name, **table}, SceneEntry) for name, table in tables.items()}
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError, TypeError) as error:
        raise CorruptFile(f"{path} is not a list of scenes ({error}): restore the one that ships") from error
