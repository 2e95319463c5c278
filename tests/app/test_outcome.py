"""Does an outcome say what happened, and whether its times count?"""

from __future__ import annotations

import json

import msgspec
import pytest

from perigrid.job.spec import JobSpec
from perigrid.live.clients import LatenessStatus, RunStatus
from perigrid.node.frames import Stages
from perigrid.node.records import JobEnded, ShardAccepted, ShardFailed
from perigrid.node.replies import Admitted
from perigrid.report.outcome import Handed, Outcome, amount, lines_of, outcome_of, validity
from perigrid.units import NodeId

PROMISED_KEYS = [
    "job",
    "model",
    "dataset",
    "tiles",
    "shards",
    "accepted",
    "duplicates",
    "conflicts",
    "failed",
    "attempts",
    "result_sha256",
    "elapsed_s",
    "tiles_per_s",
    "satellites",
    "links_cut",
    "satellites_lost",
    "valid_for_latency",
    "lateness",
    "rate",
    "bytes_over_lasers",
    "preloaded",
]


def status(sky_s: float, laser_bytes: int, **changes: object) -> RunStatus:
    values: dict[str, object] = {
        "name": "t",
        "epoch": "2025-05-15T00:00:00+00:00",
        "sky_s": sky_s,
        "rate": 0.1,
        "mode": "dilated",
        "settled": True,
        "satellites_up": 12,
        "links_up": 12,
        "links": (),
        "links_cut": 1,
        "satellites_lost": ("sat-07",),
        "valid_for_latency": True,
        "lateness": LatenessStatus(frames=100),
        "bytes_over_lasers": laser_bytes,
        "bytes_of_replicas": 77,
        "preloaded": ("models",),
        **changes,
    }
    return RunStatus(**values)  # type: ignore[arg-type]


def accepted(shard: int, inference_s: float) -> ShardAccepted:
    stages = Stages(1.0, 0.5, inference_s, 0.01, inference_s)
    return ShardAccepted("a", shard, b"", 4, NodeId(0), 1, 2, 3.0, stages)


def outcome(handed: Handed, after: RunStatus) -> Outcome:
    spec = JobSpec(job="a", model="cloudmask", dataset="sentinel2")
    ending = JobEnded("a", "complete", 12.5, 4, 1, 0)
    return outcome_of(
        spec, Admitted("a", 8, 2, False, admitted_sky_s=10.0), ending, handed, 12, status(10.0, 1000), after
    )


def handed(*endings: tuple[ShardAccepted | ShardFailed, int], error: str | None = None) -> Handed:
    return Handed(endings=endings, repeated=0, result_sha256="ab", coverage_error=error, elapsed_s=2.0)


def test_a_complete_job() -> None:
    both = handed((accepted(0, 0.4), 4), (accepted(1, 0.2), 4))
    o = outcome(both, status(13.0, 5000))
    assert o.complete
    assert (o.accepted, o.failed, o.attempts, o.duplicates, o.duplicates_to_client) == (2, 0, 4, 1, 0)
    assert (o.emulated_s, o.elapsed_s, o.tiles_per_s, o.bytes_over_lasers) == (2.5, 2.0, 4.0, 4000)
    assert (o.links_cut, o.satellites_lost, o.satellites, o.bytes_of_replicas) == (1, 1, 12, 77)
    assert o.stages is not None
    assert o.stages.inference_per_tile_s == pytest.approx(0.075)
    assert o.stages.return_s == pytest.approx(3.0 - 1.0 - 0.5 - 0.3)
    table = json.loads(msgspec.json.encode(o))
    assert set(PROMISED_KEYS) <= set(table)


def test_a_failed_shard_and_its_cause() -> None:
    failed = ShardFailed("a", 1, "DEADLINE: 1 s after admission", 3.0)
    o = outcome(handed((accepted(0, 0.4), 4), (failed, 4), error="4 of 8 tiles are missing"), status(13.0, 0))
    assert not o.complete
    assert (o.accepted, o.failed, o.failures) == (1, 1, {failed.cause: 1})
    text = "\n".join(lines_of(o))
    assert "DEADLINE" in text
    assert "COVERAGE IS NOT COMPLETE" in text


def test_every_output_says_whether_times_count() -> None:
    late = LatenessStatus(share_late=0.02, tolerance_ms=5.0, rate_that_holds=0.04)
    assert validity(status(13.0, 0)).startswith("VALID FOR LATENCY")
    invalid = validity(status(13.0, 0, valid_for_latency=False, lateness=late))
    assert invalid.startswith("INVALID FOR LATENCY")
    assert "--rate 0.04" in invalid
    assert "not latency" in validity(status(13.0, 0, mode="free", rate=1.0, valid_for_latency=None))
    o = outcome(handed((accepted(0, 0.4), 4)), status(13.0, 0, valid_for_latency=False, lateness=late))
    assert any("INVALID FOR LATENCY" in line for line in lines_of(o))


@pytest.mark.parametrize(
    ("orbit_rate", "clause"),
    [(60.0, "turns 60 times as fast as time passes: contacts are 60 times as short"), (0.5, "2 times as long")],
)
def test_every_output_says_how_fast_the_sky_turns_unless_it_is_as_fast_as_time(orbit_rate: float, clause: str) -> None:
    o = outcome(handed((accepted(0, 0.4), 4)), status(13.0, 0, orbit_rate=orbit_rate))
    assert o.orbit_rate == orbit_rate
    assert any("VALID FOR LATENCY" in line and clause in line and "delays are not" in line for line in lines_of(o))
    usual = outcome(handed((accepted(0, 0.4), 4)), status(13.0, 0))
    assert json.loads(msgspec.json.encode(usual))["orbit_rate"] == 1.0
    assert not any("sky turns" in line for line in lines_of(usual))


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (3 * 10**9, "3.0 GB")]
)
def test_amounts(size: int, text: str) -> None:
    assert amount(size) == text
