"""Does this machine have what perigrid needs, and what is to be done where it does not?

Each check looks at one thing and changes nothing. A required one that fails keeps perigrid from running at
all; the others only keep it from running something.
"""

from __future__ import annotations

import importlib.metadata
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from perigrid.app.launching import cores
from perigrid.errors import PerigridError
from perigrid.live.models import ModelStore
from perigrid.live.rundir import RunDirectory
from perigrid.live.scenes import SceneSearch, load_scene
from perigrid.units import MIB

MIN_PYTHON = (3, 11)
PACKAGES = (
    "click",
    "grpcio",
    "grpcio-health-checking",
    "msgspec",
    "numpy",
    "onnxruntime",
    "protobuf",
    "pyzmq",
    "rich",
)

MIN_MEMORY_MIB = 1024
"""What twelve satellites with both models take, with room, MiB."""

MIN_OPEN_FILES = 1024
"""What one supervisor with twelve satellites opens, with room."""

MIN_SHARED_MIB = 64
"""Room in /dev/shm for tensors that clients of a worker share with it, MiB."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at: `remedy` says what to do where it is not ok."""

    what: str
    ok: bool
    required: bool
    detail: str
    remedy: str = ""

    def line(self) -> str:
        """The check for a reader."""
        state = "ok     " if self.ok else "MISSING" if self.required else "missing"
        remedy = "" if self.ok or not self.remedy else f" -> {self.remedy}"
        return f"{state} {self.what}: {self.detail}{remedy}"


def examine(root: Path, environment: Mapping[str, str]) -> list[Check]:
    """Look at everything, in the order in which it would be missed."""
    return [
        _python(),
        *(_package(name) for name in PACKAGES),
        _cores(),
        _memory(),
        _open_files(),
        _shared_memory(),
        _writable(root),
        *_models(),
        *_scenes(environment),
        _runs(root),
    ]


def _python() -> Check:
    found = ".".join(str(n) for n in sys.version_info[:3])
    return Check(
        what="python",
        ok=sys.version_info[:2] >= MIN_PYTHON and sys.platform == "linux",
        required=True,
        detail=f"{found} on {sys.platform}",
        remedy="use Python 3.11 or later on Linux",
    )


def _package(name: str) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(what=name, ok=False, required=True, detail="not installed", remedy=f"pip install {name}")
    return Check(what=name, ok=True, required=True, detail=version)


def _cores() -> Check:
    return Check(what="cores", ok=True, required=False, detail=f"{cores()} may be used")


def _memory() -> Check:
    free_mib = _meminfo_mib("MemAvailable")
    return Check(
        what="memory",
        ok=free_mib >= MIN_MEMORY_MIB,
        required=False,
        detail=f"{free_mib} MiB available",
        remedy=f"twelve satellites want {MIN_MEMORY_MIB} MiB; more --satellites-per-process takes less",
    )


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Check(
        what="open files",
        ok=soft >= MIN_OPEN_FILES,
        required=False,
        detail=f"{soft} allowed, {hard} possible",
        remedy=f"ulimit -n {MIN_OPEN_FILES}",
    )


def _shared_memory() -> Check:
    try:
        state = os.statvfs("/dev/shm")
    except OSError as error:
        detail, ok = f"/dev/shm: {error.strerror}", False
    else:
        free_mib = state.f_bavail * state.f_frsize // MIB
        detail, ok = f"{free_mib} MiB free in /dev/shm", free_mib >= MIN_SHARED_MIB
    return Check(
        what="shared memory",
        ok=ok,
        required=False,
        detail=detail,
        remedy="only clients of a worker that share tensors with it need /dev/shm",
    )


def _writable(root: Path) -> Check:
    folder = next(p for p in (root.resolve(), *root.resolve().parents) if p.exists())
    return Check(
        what="run folder",
        ok=os.access(folder, os.W_OK),
        required=True,
        detail=str(root.resolve()),
        remedy="name a writable folder with --root",
    )


def _models() -> list[Check]:
    """The models that ship; without a cache, so that nothing is fetched. Our own one is required."""
    checks = []
    try:
        store = ModelStore()
    except PerigridError as error:
        return [Check(what="models", ok=False, required=True, detail=str(error), remedy="reinstall perigrid")]
    for name in store.names():
        required = not store.entry(name).package
        try:
            detail, ok = str(store.resolve(name)), True
        except PerigridError as error:
            detail, ok = str(error), False
        checks.append(Check(what=f"model {name}", ok=ok, required=required, detail=detail))
    return checks


def _scenes(environment: Mapping[str, str]) -> list[Check]:
    checks = []
    search = SceneSearch.from_environment(environment)
    try:
        names = list(search.known())
    except PerigridError as error:
        return [Check(what="scenes", ok=False, required=True, detail=str(error), remedy="reinstall perigrid")]
    for name in names:
        try:
            detail, ok = load_scene(name, search).source, True
        except PerigridError as error:
            detail, ok = str(error), False
        checks.append(Check(what=f"scene {name}", ok=ok, required=False, detail=detail))
    return checks


def _runs(root: Path) -> Check:
    up = [run.name for run in RunDirectory.all(root) if run.is_up()]
    return Check(what="constellations", ok=True, required=False, detail=f"up under {root}: {', '.join(up) or 'none'}")


def _meminfo_mib(key: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) // 1024
    return 0
