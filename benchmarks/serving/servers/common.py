"""What do the scripts of all peers have in common? Run by the peers' own interpreters: nothing of perigrid is here."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import threading
import time

import numpy as np
import onnxruntime

CORES = os.cpu_count() or 1
LOOK_S = 0.05


def given() -> tuple[int, list[tuple[str, str, str, str]]]:
    """The port, and name, file, input and output of each model, from the command line."""
    named = [one.split("=") for one in sys.argv[2:]]
    return int(sys.argv[1]), [(name, path, put, got) for name, path, put, got in named]


def session(path: str) -> onnxruntime.InferenceSession:
    """As perigrid has it: one thread, no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def tell_when(port: int, path: str | None = None) -> None:
    """Say "ready" as soon as the port is listened on, or answers 200 to a GET of the path."""

    def wait() -> None:
        while not _answers(port, path):
            time.sleep(LOOK_S)
        print("ready", flush=True)

    threading.Thread(target=wait, daemon=True).start()


def _answers(port: int, path: str | None) -> bool:
    try:
        if path is None:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False


def as_sent(data: bytes, runs: onnxruntime.InferenceSession) -> np.ndarray:
    """The bytes of a body as the model's input; the batch is one."""
    shape = [size if isinstance(size, int) else 1 for size in runs.get_inputs()[0].shape]
    return np.frombuffer(data, np.float32).reshape(shape)
