"""Is a client's trace kept from its call to the export, and nothing written down of one who asks for none?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest

from perigrid.live.eventlog import EVENT_LOG_FILE, read_events
from perigrid.node.stages import REQUEST_STAGES
from perigrid.wire.generated import open_inference_pb2 as protocol
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc
from tests.live.conftest import Constellation, wait_until
from tests.report.otlp import check_tree, children, read

pytestmark = pytest.mark.live

BOUND_S = 60.0
KEPT, UNWANTED, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "77b34da6a3ce929d0e0e47364bf92f35", "00f067aa0ba902b7"
SATELLITE = "sat-02"
"""Not the one above the station, so that lasers are crossed."""


@pytest.fixture(scope="module")
def answers(slow: Constellation) -> list[Any]:
    """Of three clients: one who is traced, one who wants no trace, one who says nothing."""
    request = protocol.ModelInferRequest(model_name="tinycloud")
    request.parameters["satellite"].string_param = SATELLITE
    tile = np.zeros((1, 4, 256, 256), np.float32)
    request.inputs.add(name="input", datatype="FP32", shape=tile.shape)
    request.raw_input_contents.append(tile.tobytes())
    headers = ((("traceparent", f"00-{KEPT}-{PARENT}-01"),), (("traceparent", f"00-{UNWANTED}-{PARENT}-00"),), ())
    with grpc.insecure_channel(slow.info["gateway"]) as channel:
        stub: Any = protocol_grpc.GRPCInferenceServiceStub(channel)
        return [stub.ModelInfer(request, timeout=BOUND_S, metadata=metadata) for metadata in headers]


def test_a_trace_is_kept_from_the_call_to_the_export(answers: list[Any], slow: Constellation, tmp_path: Path) -> None:
    kept, unwanted, own = (answer.parameters for answer in answers)
    assert kept["traceparent"].string_param == f"00-{KEPT}-{PARENT}-01"
    assert "traceparent" not in unwanted and "breakdown" not in unwanted
    other = own["traceparent"].string_param.split("-")[1]
    assert other not in (KEPT, UNWANTED)

    def written() -> set[str]:
        return {event["traceparent"][3:35] for event in read_events(slow.directory) if event["what"] == "traced"}

    wait_until(lambda: {KEPT, other} <= written(), BOUND_S, "both traces in the log")
    assert UNWANTED.encode() not in (slow.directory / EVENT_LOG_FILE).read_bytes()
    out = tmp_path / "traces.json"
    slow.command("report", "--otlp", str(out))
    spans = read(out)
    check_tree(spans)
    assert {KEPT, other} <= {one.trace for one in spans} and UNWANTED not in {one.trace for one in spans}
    (alone,) = [one for one in spans if one.trace == other and one.parent == ""]
    assert alone.service == "ground"

    (root,) = [one for one in spans if one.trace == KEPT and one.parent == PARENT]
    words = msgspec.json.decode(kept["breakdown"].string_param)
    assert (root.end_ns - root.start_ns) / 1e9 == pytest.approx(kept["total_s"].double_param, abs=1e-6)
    lengths_s = dict.fromkeys(REQUEST_STAGES, 0.0)
    for one in children(spans, root):
        lengths_s[one.name] += (one.end_ns - one.start_ns) / 1e9
    assert lengths_s == {name: pytest.approx(words["stages"][name], abs=1e-6) for name in REQUEST_STAGES}
    crossings = sorted(
        (one for one in spans if one.name.endswith("crossing") and one.trace == KEPT), key=lambda c: c.start_ns
    )
    ways = [(one.service, one.attributes["perigrid.to"]) for one in crossings]
    assert ways == [(leg["from"], leg["to"]) for leg in (*words["up"], *words["down"])]
    assert ("sat-01", SATELLITE) in ways and (SATELLITE, "sat-01") in ways
    assert all(one.attributes["perigrid.bytes"] > 0 for one in crossings)
