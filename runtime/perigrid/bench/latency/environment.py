"""On which machine, with which software and settings, was it measured?

What a latency may depend on and a reader cannot see: processor, cores, versions, threads, the allocator. No name of the
machine or its user is taken down.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

PACKAGES = ("perigrid", "numpy", "onnxruntime", "grpcio", "protobuf", "pyzmq", "msgspec", "scipy")
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ALLOCATOR_PREFIXES = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "PYTHONMALLOC")
KIB = 1024


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and its software. `cores` are those that this process may use; `threads` and `allocator` are what was
    set for the processes that compute, "" where nothing was. `load` is the machine's load average when it was asked.
    """

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    governor: str
    hypervisor: bool
    load: tuple[float, float, float]
    versions: dict[str, str]
    threads: dict[str, str]
    allocator: dict[str, str]

    def differences(self, other: Environment) -> tuple[str, ...]:
        """What is not the same there, a sentence each; the load is no part of it."""
        said = []
        for name in ("processor", "cores", "memory_bytes", "system", "python", "governor", "hypervisor"):
            one, two = getattr(self, name), getattr(other, name)
            if one != two:
                said.append(f"{name.removesuffix('_bytes')}: {one or 'not known'} and {two or 'not known'}")
        for part in ("versions", "threads", "allocator"):
            ours, theirs = getattr(self, part), getattr(other, part)
            said += [
                f"{key}: {ours.get(key, '') or 'not set'} and {theirs.get(key, '') or 'not set'}"
                for key in sorted(ours.keys() | theirs.keys())
                if ours.get(key, "") != theirs.get(key, "")
            ]
        return tuple(said)


def environment_here(
    settings: Mapping[str, str], threads: Mapping[str, str] | None = None, allocator: Mapping[str, str] | None = None
) -> Environment:
    """This machine now. `settings` is the process's environment; `threads` and `allocator` are what workers are started
    with beyond it.
    """
    found = {name: settings.get(name, "") for name in THREAD_SETTINGS}
    memory = {name: value for name, value in settings.items() if name.startswith(ALLOCATOR_PREFIXES)}
    return Environment(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        governor=_text(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip(),
        hypervisor=" hypervisor" in _text(Path("/proc/cpuinfo")),
        load=os.getloadavg(),
        versions={name: _version(name) for name in PACKAGES},
        threads={**found, **(threads or {})},
        allocator={**memory, **(allocator or {})},
    )


def _processor() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * KIB
    return 0


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
