"""Which servers of others take part, and how do they get here?

Each is installed from PyPI, as `requirements/` has it, into an environment of its own that is kept for the next time.
Each is driven by a small script of its own, `servers/<name>_server.py`, as its documentation would have a model of
onnxruntime served: one thread an inference, and as many workers as there are cores where the server knows of workers.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from racing import HERE, RaceError

INSTALL_LIMIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that takes part; `namespace` for one that would listen beyond the loopback."""

    name: str
    script: str
    protocol: str
    port: int
    namespace: bool = False
    pythons: tuple[str, ...] = (sys.executable,)
    environment: dict[str, str] = field(default_factory=dict)


PYTRITON_PYTHONS = ("/usr/bin/python3.11", "/usr/bin/python3.12", "/usr/bin/python3.10", sys.executable)
"""Triton's Python backend brings an interpreter of its own, an early 3.11, that works with the standard library that it
finds: that of 3.11.2 does, that of 3.11.7 does not (`_thread.RLock` lacks what its multiprocessing wants)."""

PEERS = (
    Peer("mlserver", "mlserver_server.py", "grpc", 18081),
    Peer("kserve", "kserve_server.py", "grpc", 18181, namespace=True),
    Peer("mosec", "mosec_server.py", "http", 18281),
    Peer("ray", "ray_server.py", "http", 18381, namespace=True),
    Peer("pytriton", "pytriton_server.py", "grpc", 18481, namespace=True, pythons=PYTRITON_PYTHONS),
)


def installed(peer: Peer, cache: Path) -> str:
    """The interpreter of the peer's environment, made where it is not there yet; RaceError says why not."""
    folder = cache / peer.name
    inside, wanted = folder / "bin" / "python", HERE / "requirements" / f"{peer.name}.txt"
    if (folder / "whole").exists():
        return str(inside)
    shutil.rmtree(folder, ignore_errors=True)
    python = next(name for name in peer.pythons if shutil.which(name))
    for command in (
        [python, "-m", "venv", str(folder)],
        [str(inside), "-m", "pip", "install", "-q", "-r", str(wanted)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise RaceError(f"does not install: still at it after {INSTALL_LIMIT_S:g} s") from error
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise RaceError(f"does not install: {done.stderr.strip().splitlines()[-1]}")
    (folder / "whole").touch()
    return str(inside)
