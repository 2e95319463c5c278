"""Ray Serve: a proxy in front of replicas, HTTP. `ray_server.py PORT NAME=FILE=IN=OUT...`

Ray listens beyond the loopback whatever it is told, so it is only run in a network of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))

import ray
from common import CORES, as_sent, given, session
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=CORES, ray_actor_options={"num_cpus": 0})
class OnnxModel:
    """One model."""

    def __init__(self, path: str, put: str) -> None:
        self._session = session(path)
        self._put = put

    async def __call__(self, request: Request) -> Response:
        array = as_sent(await request.body(), self._session)
        found = self._session.run(None, {self._put: array})[0]
        return Response(found.tobytes(), media_type="application/octet-stream")


def main() -> None:
    port, models = given()
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        ray.init(
            include_dashboard=False,
            num_cpus=CORES,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
            object_store_memory=128 * 1024**2,
            logging_level="ERROR",
            log_to_driver=False,
        )
        serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"enable_access_log": False})
        for name, path, put, _ in models:
            serve.run(OnnxModel.bind(path, put), name=name, route_prefix=f"/{name}")
        print("ready", flush=True)
        ended.wait()
        ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
