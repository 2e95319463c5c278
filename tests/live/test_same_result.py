"""Is a result the same, bit by bit, whatever the clock's rate and however satellites share processes?"""

from __future__ import annotations

import pytest

from tests.live.conftest import SATELLITES, TILES, Constellation, Launcher, processes_in, wait_until

pytestmark = pytest.mark.live

COPY_LIMIT_S = 15.0


def test_at_a_tenth_of_real_time_with_a_process_each(slow: Constellation, expected_sha256: str) -> None:
    assert slow.info["rate"] == 0.1 and slow.info["mode"] == "dilated"
    job = slow.job("one-each")
    assert job.sha256 == expected_sha256
    assert len(job.rows) == TILES and len(job.satellites()) == SATELLITES
    assert (job.ending.duplicates, job.ending.conflicts) == (0, 0)


def test_the_cut_into_shards_changes_nothing(slow: Constellation, expected_sha256: str) -> None:
    job = slow.job("two-tiles-each", tiles_per_shard=2)
    assert job.sha256 == expected_sha256 and len(job.rows) < TILES


@pytest.mark.parametrize(
    ("per_process", "hosts", "clock"),
    [(4, 3, ("--rate", "1")), (SATELLITES, 1, ("--clock", "free"))],
    ids=["four-a-process-at-rate-1", "twelve-a-process-on-a-free-clock"],
)
def test_shared_processes_at_other_rates(
    launcher: Launcher, expected_sha256: str, per_process: int, hosts: int, clock: tuple[str, ...]
) -> None:
    options = ("--satellites-per-process", str(per_process), *clock)
    constellation = launcher.up(f"by-{per_process}", *options, service_s=0.05)
    try:
        assert len({s["pid"] for s in constellation.info["satellites"]}) == hosts
        # A host and a payload process for each group, the ground, the supervisor and its zygote.
        assert len(processes_in(constellation.directory)) == 2 * hosts + 3
        job = constellation.job("shared")
        assert job.sha256 == expected_sha256
        assert len(job.rows) == TILES and len(job.satellites()) == SATELLITES
        status = constellation.status()
        assert (status["valid_for_latency"] is None) == (clock[-1] == "free")
        assert status["bytes_of_replicas"] == 0, "the copies were preloaded, and said to be"
        assert any("copies" in item for item in constellation.info["preloaded"])
    finally:
        launcher.end(constellation.run)


def test_copies_of_captures_cross_lasers_and_are_counted(launcher: Launcher, expected_sha256: str) -> None:
    constellation = launcher.up("copying", settled=False, preload=False, laser_rate_bps=1e9, service_s=0.05)
    try:

        def held() -> set[str]:
            return {capture for state in constellation.states().values() for capture in state.captures}

        captures = {name.partition(":")[2] for name in held()}
        assert len(captures) == SATELLITES
        # Each with its owner and on one neighbour.
        wait_until(lambda: len(held()) == 2 * SATELLITES, COPY_LIMIT_S, "every copy in its place")
        flash = (constellation.directory / "flash").glob("*/captures/*.f32")
        born = sum(path.stat().st_size for path in flash) // 2
        assert constellation.status()["bytes_of_replicas"] >= born
        assert constellation.job("copied").sha256 == expected_sha256
    finally:
        launcher.end(constellation.run)
