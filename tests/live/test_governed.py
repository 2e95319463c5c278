"""Does time wait for this machine where the clock is governed, and for nobody who is gone?

Inferences here take a hundredth of what this machine needs for them, so a run could not be in time at any rate without
holds. How late a noisy machine's frames are is left to the run to say; what is asserted does not depend on it.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import pytest

from perigrid.live.eventlog import read_events
from perigrid.live.metrics import ask
from perigrid.report.page import write_report
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc
from tests.live.conftest import Constellation, Launcher, wait_until

pytestmark = pytest.mark.live

SERVICE_S = 0.0002
LIMIT_S = 60.0
SAMPLE = re.compile(r'[a-z_:]+(?:\{[a-z_]+="[^"\n]*"(?:,[a-z_]+="[^"\n]*")*\})? [0-9.e+-]+')


@pytest.fixture(scope="module")
def governed(launcher: Launcher) -> Iterator[Constellation]:
    """Twelve satellites at `--rate auto`, with metrics."""
    yield launcher.up("governed", "--rate", "auto", "--metrics-port", "0", service_s=SERVICE_S, acquire_s=0.1)


def scrape(governed: Constellation) -> dict[str, float]:
    with urllib.request.urlopen(governed.info["metrics"], timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in lines if not SAMPLE.fullmatch(line)] == []
    described = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(described) == len(set(described))
    samples = [line.rpartition(" ") for line in lines]
    assert len({name for name, _, _ in samples}) == len(samples), "a sample stands twice"
    return {name: float(value) for name, _, value in samples}


def total(samples: dict[str, float], name: str) -> float:
    return sum(value for key, value in samples.items() if key.partition("{")[0] == name)


def test_results_are_those_of_any_other_clock_and_time_waited(governed: Constellation, expected_sha256: str) -> None:
    job = governed.job("first")
    assert job.ending.outcome == "complete" and job.sha256 == expected_sha256
    status = governed.status()
    assert status["governed"] is True and status["valid_for_latency"] is not None
    assert status["pace"]["holds"] > 0 and status["pace"]["forgiven"] == 0
    assert status["lateness"]["inferences"] >= len(job.rows)
    # It moved: from the settling, over its start, to what the machine bears.
    wait_until(lambda: len({one["allowed"] for one in governed.status()["pace"]["stretches"]}) > 2, 20.0, "a climb")
    allowed = [one["allowed"] for one in governed.status()["pace"]["stretches"]]
    assert all(0.0 <= rate <= 1.0 for rate in allowed)


def test_the_pace_is_in_the_event_log(governed: Constellation) -> None:
    events = list(read_events(governed.directory))
    paces = [event for event in events if event["what"] == "pace"]
    assert paces and events[0]["governed"] is True
    for before, after in pairwise(paces):
        assert before["t"] <= after["t"] and after["from_s"] == pytest.approx(before["t"], abs=0.05)
    assert write_report(governed.directory, "first", governed.directory / "r.html").stat().st_size > 0


def test_metrics_of_the_run_are_the_sums_of_its_processes(governed: Constellation) -> None:
    samples, status = scrape(governed), governed.status()
    assert samples['perigrid_satellites{state="up"}'] == 12
    assert 0 < total(samples, "perigrid_frames_released_total") <= status["lateness"]["frames"]
    assert total(samples, "perigrid_inferences_total") == status["lateness"]["inferences"]
    assert total(samples, "perigrid_link_bytes_total") > 0
    assert samples["perigrid_clock_holds_total"] > 0 and samples["perigrid_clock_standing_seconds_total"] > 0
    assert 0 < samples["perigrid_clock_emulated_seconds"] <= status["sky_s"]
    infinite = {
        k: v for k, v in samples.items() if k.startswith("perigrid_frame_lateness_seconds_bucket") and "+Inf" in k
    }
    assert sum(infinite.values()) == total(samples, "perigrid_frame_lateness_seconds_count")
    own = ask(governed.directory / "sockets" / "host-01.metrics")
    assert 'perigrid_inferences_total{process="host-01"}' in own and "host-02" not in own
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(governed.info["metrics"] + "/nothing", timeout=30)


def test_a_request_lets_time_go_on_however_it_ends(governed: Constellation) -> None:
    good = protocol.ModelInferRequest(model_name="tinycloud")
    tile = np.zeros((1, 4, 256, 256), np.float32)
    good.inputs.add(name="input", datatype="FP32", shape=tile.shape)
    good.raw_input_contents.append(tile.tobytes())
    unknown, refused, small = (protocol.ModelInferRequest() for _ in range(3))
    for one in (unknown, refused, small):
        one.CopyFrom(good)
    unknown.model_name = "nothing"
    refused.parameters["satellite"].string_param = "ground"
    small.raw_input_contents[0] = b"\0"

    def passes() -> None:
        start_s = governed.now_s()
        wait_until(lambda: governed.now_s() > start_s + 0.1, LIMIT_S, "time goes on")

    with grpc.insecure_channel(governed.info["gateway"]) as channel:
        stub: Any = protocol_grpc.GRPCInferenceServiceStub(channel)
        for bad in (unknown, refused, small):
            with pytest.raises(grpc.RpcError):
                stub.ModelInfer(bad, timeout=LIMIT_S)
            passes()
        for limit_s in (0.001, 0.01, 0.05):
            late = stub.ModelInfer.future(good, timeout=limit_s)
            late.exception(timeout=LIMIT_S)
            passes()
        cancelled = stub.ModelInfer.future(good, timeout=LIMIT_S)
        cancelled.cancel()
        passes()
        calls = [stub.ModelInfer.future(good, timeout=LIMIT_S) for _ in range(8)]
        assert all(call.result(timeout=LIMIT_S).parameters["satellite"].string_param for call in calls)
        passes()


def test_nobody_waits_for_a_satellite_that_is_gone(governed: Constellation, expected_sha256: str) -> None:
    killed: list[str] = []

    def kill_one(rows: int) -> None:
        if rows == 2 and not killed:
            killed.append("sat-07")
            governed.kill("sat-07")

    job = governed.job("second", on_row=kill_one)
    assert killed and job.ending.outcome == "complete" and job.sha256 == expected_sha256
    before_s = governed.now_s()
    wait_until(lambda: governed.now_s() > before_s, 10.0, "time goes on")
    samples = scrape(governed)
    assert samples['perigrid_satellites{state="dead"}'] == 1
    governed.reboot("sat-07")
    third = governed.job("third")
    assert third.sha256 == expected_sha256
    assert json.loads((governed.directory / "run.json").read_text())["governed"] is True
