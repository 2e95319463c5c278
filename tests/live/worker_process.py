"""How do tests have a worker of its own process, on a unix socket? A module for them, and the script of that process.

Script: worker_process.py <address> <folder> <model> ...: it serves the models (names of the manifest, or paths), loads
<folder>/<name>.onnx when it is asked to, and maps files of the folder. It says `ready` once it answers and ends when
its standard input does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOTS_VARIABLE = "PERIGRID_TEST_SLOTS"
READY_LINE = "ready\n"


def main() -> None:
    from perigrid.live.models import ModelStore, default_cache
    from perigrid.live.pipeline import LoadedModel, load_model
    from perigrid.live.worker import OpenGate, Worker, environment_limits, serve

    address, folder, *names = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    store = ModelStore(None, default_cache(os.environ))

    def fetch(name: str) -> LoadedModel:
        return load_model(store, str(folder / f"{name}.onnx"))

    loaded = [load_model(store, name) for name in names]
    models = {model.entry.name: model for model in loaded}
    slots = int(os.environ.get(SLOTS_VARIABLE, "1"))
    server = serve(address, Worker("sat-01", models, folder, OpenGate(), fetch, environment_limits(), slots))
    print(READY_LINE, end="", flush=True)
    sys.stdin.read()
    server.stop(grace=None).wait()


@dataclass(frozen=True, slots=True)
class Served:
    """A worker's process, from outside."""

    process: subprocess.Popen[str]
    address: str

    def resident_bytes(self) -> int:
        """Its memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", text)[1])  # type: ignore[index]

    def threads(self) -> int:
        """How many threads it has."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))


@contextmanager
def serving(folder: Path, *models: str, **environment: str) -> Iterator[Served]:
    """A worker that serves these models, for a while; its environment as a run's processes have it."""
    from perigrid.live.launch import ALLOCATOR_SETTINGS

    address = f"unix:{folder}/worker"
    source = Path(__file__).resolve().parents[2] / "runtime"
    command: list[Any] = [sys.executable, __file__, address, str(folder), *models]
    variables = {**os.environ, **ALLOCATOR_SETTINGS, "PYTHONPATH": str(source), **environment}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=variables) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == READY_LINE
            yield Served(process, address)
        finally:
            process.stdin.close()
            process.wait()


if __name__ == "__main__":
    main()
