"""What does it cost to write down where time goes?

Rounds of requests through the gateway of one constellation, traced and untraced in turn, on a free clock: what counts
is CPU seconds a request of all the run's processes, and requests a second. Each kind is taken twice a round, so that
the spread of the same thing stands beside the ratio; a difference under twice that spread is UNDECIDED.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import grpc

from perigrid.bench.accounting import run_cpu_s
from perigrid.bench.arena import arena, preset, say
from perigrid.bench.latency.payloads import requests_of
from perigrid.bench.latency.statistics import SPREAD_FACTOR
from perigrid.errors import EnvironmentProblem
from perigrid.live.launch import LaunchOptions
from perigrid.live.models import ModelStore, default_cache
from perigrid.live.rundir import RunDirectory
from perigrid.live.scenes import SceneSearch, load_scene
from perigrid.scenario.model import GroundLink
from perigrid.wire.generated import open_inference_pb2_grpc as protocol_grpc

MODEL = "tinycloud"
SATELLITE = "sat-04"
ROUNDS, REQUESTS = 7, 60
FAST_GROUND_BPS = 10e9
CALL_LIMIT_S = 60.0
KINDS = ("traced", "untraced", "traced again", "untraced again")


def round_of(stub: Any, requests: list[Any], kind: str, number: int, run: RunDirectory) -> tuple[float, float]:
    """One round: CPU seconds a request, and requests a second."""
    flags = "00" if kind.startswith("untraced") else "01"
    before_s, began_s = run_cpu_s(run.path), time.monotonic()
    for place in range(REQUESTS):
        trace = f"{number + 1:016x}{place + 1:016x}"
        request = requests[place % len(requests)]
        metadata = (("traceparent", f"00-{trace}-{trace[16:]}-{flags}"),)
        response = stub.ModelInfer(request, timeout=CALL_LIMIT_S, metadata=metadata)
        if ("breakdown" in response.parameters) is (flags == "00"):
            raise EnvironmentProblem("a request was not traced as it was asked to be; see the run's log folder.")
    return (run_cpu_s(run.path) - before_s) / REQUESTS, REQUESTS / (time.monotonic() - began_s)


def summary(rounds: list[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    """Medians over rounds of traced over untraced, with the spread of each beside itself."""
    found: dict[str, Any] = {"rounds": len(rounds), "requests_a_round": REQUESTS}
    for place, what in ((0, "cpu"), (1, "rate")):
        both = [
            statistics.mean((r["traced"][place], r["traced again"][place]))
            / statistics.mean((r["untraced"][place], r["untraced again"][place]))
            for r in rounds
        ]
        same = [abs(r[kind][place] / r[f"{kind} again"][place] - 1) for r in rounds for kind in ("traced", "untraced")]
        ratio, spread = statistics.median(both), statistics.median(same)
        verdict = "UNDECIDED" if abs(ratio - 1) < SPREAD_FACTOR * spread else f"{ratio - 1:+.1%}"
        found[what] = {"ratio": round(ratio, 4), "spread": round(spread, 4), "verdict": verdict}
    found["cpu_ms_a_request"] = {kind: round(1e3 * statistics.median(r[kind][0] for r in rounds), 3) for kind in KINDS}
    return found


def main(arguments: list[str]) -> int:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(prog="perigrid bench tracing", description="What does tracing cost?")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--root", type=Path, default=Path("runs"))
    given = parser.parse_args(arguments)
    store = ModelStore(cache=default_cache(os.environ))
    scene = load_scene("spyndex", SceneSearch.from_environment(os.environ))
    requests = requests_of(store, MODEL, scene)
    scenario = preset("three-body-12", models=(MODEL,), data=(), ground_link=GroundLink(rate_bps=FAST_GROUND_BPS))
    given.root.mkdir(parents=True, exist_ok=True)
    rounds = []
    with (
        arena(scenario, given.root, "tracing", LaunchOptions(mode="free")) as (run, info),
        grpc.insecure_channel(info.gateway) as channel,
    ):
        make: Any = protocol_grpc.GRPCInferenceServiceStub
        stub = make(channel)
        for request in requests:
            request.parameters["satellite"].string_param = SATELLITE
        round_of(stub, requests, KINDS[0], 0, run)
        for number in range(given.rounds):
            turn = number % len(KINDS)
            order = (*KINDS[turn:], *KINDS[:turn])
            rounds.append({kind: round_of(stub, requests, kind, number, run) for kind in order})
            say(f"round {number + 1}: {', '.join(f'{k} {1e3 * v[0]:.2f} ms' for k, v in rounds[-1].items())}")
    found = summary(rounds)
    if given.json:
        print(json.dumps(found))
        return 0
    for what in ("cpu", "rate"):
        one = found[what]
        print(f"{what}: traced over untraced {one['ratio']}, A/A spread {one['spread']}: {one['verdict']}")
    return 0
