"""Does MLPerf's own load generator, driving the gateway, come to a valid result? A script, run by the Python of a
virtual environment of its own that has mlcommons-loadgen and tritonclient.

Usage: loadgen_probe.py <address> <folder>; the folder holds the model's inputs as <name>.npy. It reads a test a line
from standard input as JSON, `{"model": ..., "scenario": "Server", "settings": {"server_target_qps": 20}}`, and writes
what came of it as a line of JSON: the load generator's own summary, and of every sample what the system under test saw.
A test may name the `satellite` that is to do all of it.
`settings` are names of mlperf_loadgen.TestSettings; what is left out is as the load generator has it.

The system under test is what anybody would write for any server of the protocol: each sample is a ModelInfer call by
tritonclient's raw stub, completed when its answer is here.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import mlperf_loadgen as loadgen
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

MAX_UNDER_WAY = 64
"""Offline hands over all samples at once, and the gateway takes so many at a time; the others wait here, and that
counts."""

SAMPLES = 8
DTYPES = {"float32": "FP32", "int32": "INT32", "int64": "INT64"}
NUMBERS = ("total_s", "rate", "uplink_s", "lasers_s", "queue_s", "inference_s", "downlink_s", "waiting_s")


class SystemUnderTest:
    """Asks the gateway, and tells the load generator of each answer."""

    def __init__(self, stub: Any, request: Any) -> None:
        self.seen: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self._stub = stub
        self._request = request
        self._room = threading.BoundedSemaphore(MAX_UNDER_WAY)

    def issue(self, samples: list[Any]) -> None:
        """A query's samples, called by the load generator."""
        for sample in samples:
            self._room.acquire()
            sent_ns = time.monotonic_ns()
            call = self._stub.ModelInfer.future(self._request)
            call.add_done_callback(lambda call, identity=sample.id, sent_ns=sent_ns: self._end(call, identity, sent_ns))

    def flush(self) -> None:
        """Nothing is held back."""

    def _end(self, call: Any, identity: int, sent_ns: int) -> None:
        ended_ns = time.monotonic_ns()
        # Told whatever came: the load generator waits for every sample, and has no word for a failed one.
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(identity, 0, 0)])
        self._room.release()
        if call.code() is not grpc.StatusCode.OK:
            self.failed.append(f"{call.code()}: {call.details()}")
            return
        parameters = call.result().parameters
        numbers = {name: parameters[name].double_param for name in NUMBERS}
        satellite = parameters["satellite"].string_param
        self.seen.append({"latency_s": (ended_ns - sent_ns) / 1e9, "satellite": satellite, **numbers})


def run(address: str, folder: Path, test: dict[str, Any]) -> dict[str, Any]:
    """One test from beginning to end."""
    request = service_pb2.ModelInferRequest(model_name=test["model"])
    for path in sorted(folder.glob("*.npy")):
        array = np.load(path)
        request.inputs.add(name=path.stem, datatype=DTYPES[str(array.dtype)], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    if "satellite" in test:
        request.parameters["satellite"].string_param = test["satellite"]
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, test["scenario"])
    settings.mode = loadgen.TestMode.PerformanceOnly
    for name, value in test["settings"].items():
        setattr(settings, name, value)
    with grpc.insecure_channel(address) as channel, tempfile.TemporaryDirectory() as logs:
        system = SystemUnderTest(service_pb2_grpc.GRPCInferenceServiceStub(channel), request)
        output = loadgen.LogOutputSettings()
        output.outdir, output.copy_summary_to_stdout = logs, False
        log = loadgen.LogSettings()
        log.log_output, log.enable_trace = output, False
        sut = loadgen.ConstructSUT(system.issue, system.flush)
        # All samples are the same bytes, and are in memory already.
        library = loadgen.ConstructQSL(SAMPLES, SAMPLES, lambda samples: None, lambda samples: None)
        loadgen.StartTestWithLogSettings(sut, library, settings, log, "")
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)
        text = Path(logs, "mlperf_log_summary.txt").read_text()
    pairs = (line.split(" : ", 1) for line in text.splitlines() if " : " in line)
    summary = {name.strip(" *"): value.strip() for name, value in pairs}
    return {"scenario": test["scenario"], "summary": summary, "seen": system.seen, "failed": system.failed}


def main() -> None:
    """Run what standard input says, until it ends."""
    for line in sys.stdin:
        print(json.dumps(run(sys.argv[1], Path(sys.argv[2]), json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
