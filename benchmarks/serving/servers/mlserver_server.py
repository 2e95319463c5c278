"""mlserver: its own command, with a runtime of ours for onnxruntime. `mlserver_server.py PORT NAME=FILE=IN=OUT...`"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from common import given, tell_when

PARALLEL_WORKERS = 0
"""Inference in the server's own process: with workers of their own each request is pickled twice, and all is slower."""


def main() -> None:
    port, models = given()
    settings = {
        "host": "127.0.0.1",
        "http_port": port + 1,
        "grpc_port": port,
        "metrics_endpoint": None,
        "parallel_workers": PARALLEL_WORKERS,
        "grpc_max_message_length": 64 * 1024**2,
        "debug": False,
    }
    Path("settings.json").write_text(json.dumps(settings))
    for name, path, put, got in models:
        folder = Path(name)
        folder.mkdir(exist_ok=True)
        parameters = {"uri": path, "extra": {"input": put, "output": got}}
        wanted = {"name": name, "implementation": "mlserver_runtime.OnnxModel", "parameters": parameters}
        (folder / "model-settings.json").write_text(json.dumps(wanted))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(["mlserver", "start", "."], env=environment) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        tell_when(port + 1, "/v2/health/ready")
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
