"""mosec: a front in Rust, workers in Python; the tensor's bytes are the body.

mosec_server.py PORT NAME=FILE=IN=OUT...
"""

from __future__ import annotations

import os
import sys

import numpy as np
from common import CORES, as_sent, given, session, tell_when
from mosec import Runtime, Server, Worker

if "SERVING_MODELS" not in os.environ:
    # Workers are spawned and read this file again, when the command line is mosec's.
    os.environ["SERVING_MODELS"] = " ".join(sys.argv[1:])
sys.argv[1:] = os.environ["SERVING_MODELS"].split(" ")
PORT, MODELS = given()


class Model(Worker):
    """One model; `path` and names are set below."""

    path = put = ""

    def __init__(self) -> None:
        super().__init__()
        self.session = session(self.path)

    def deserialize(self, data: bytes) -> np.ndarray:
        return as_sent(data, self.session)

    def forward(self, data: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.put: data})[0]

    def serialize(self, data: np.ndarray) -> bytes:
        return data.tobytes()


for name, path, put, _ in MODELS:
    globals()[name] = type(name, (Model,), {"path": path, "put": put, "__module__": __name__})

if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(PORT), "--timeout", "60000", "--log-level", "error"]
    server = Server()
    server.register_runtime({f"/{name}": [Runtime(globals()[name], num=CORES)] for name, *_ in MODELS})
    tell_when(PORT, "/")
    server.run()
