"""Does our telemetry job survive what happens to links and satellites, with each result exactly once?

Run it with `pytest` in this folder; the fixtures come with perigrid. All tests share one constellation, which each
finds mended. Telemetry is 240 windows of 64 samples; most are of sensors that sleep.
"""

import time
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
LIMIT_S = 30.0
SHARDS = 60


def telemetry() -> np.ndarray:
    """Windows of samples, float32 [240, 64]; three of four sensors sleep."""
    windows = np.random.default_rng(1).standard_normal((240, 64)).astype(np.float32)
    windows[np.arange(240) % 16 >= 4] = 0.0
    return windows


DATA = telemetry()

pytestmark = pytest.mark.constellation(HERE / "world.toml", scope="module", models=[HERE / "anomaly.onnx"], data=DATA)


def submit(constellation):
    """The job that all tests run."""
    return constellation.submit(model="anomaly", tiles_per_shard=4, limit_s=LIMIT_S)


def take(job, count):
    """Wait until so many shards have come down."""
    results = iter(job)
    return [next(results) for _ in range(count)]


def wait_for(constellation, what, job):
    """Wait until the event log says that this has happened to the job."""
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        for event in constellation.events():
            if event["what"] == what and event.get("job") == job.id:
                return event
        time.sleep(0.05)
    raise TimeoutError(f"no {what} of {job.id} within {LIMIT_S:g} s")


@pytest.fixture(scope="module")
def expected():
    """The scores by one plain process."""
    import onnxruntime

    session = onnxruntime.InferenceSession(HERE / "anomaly.onnx", providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"window": window[None]})[0] for window in DATA])


@pytest.fixture
def check(assert_exactly_once, expected):
    """What every test asks in the end: each shard once, and the bits of the plain process."""

    def checked(job):
        result = assert_exactly_once(job, limit_s=LIMIT_S)
        assert result.outcome.shards == SHARDS
        assert np.array_equal(result.outputs["scores"], expected)
        return result.outcome

    return checked


def test_a_calm_day(constellation, check):
    outcome = check(submit(constellation))
    assert outcome.attempts == SHARDS


def test_one_laser_is_cut(constellation, check):
    job = submit(constellation)
    take(job, 5)
    constellation.cut("sat-05", "sat-06")
    outcome = check(job)
    assert outcome.links_cut == 1


def test_the_ring_is_parted_and_heals(constellation, check):
    job = submit(constellation)
    constellation.cut("sat-04", "sat-05")
    constellation.cut("sat-07", "sat-08")
    take(job, 5)
    assert not constellation.why("sat-06").reachable
    constellation.heal("sat-04", "sat-05")
    check(job)


def test_a_satellite_is_lost(constellation, check):
    job = submit(constellation)
    take(job, 1)
    busiest = max(constellation.satellites, key=lambda name: constellation.why(name).shards_leased)
    constellation.kill(busiest)
    outcome = check(job)
    assert outcome.satellites_lost == 1
    # Else nothing was on it when it was lost, and this test has shown nothing.
    assert outcome.attempts > SHARDS


def test_the_controller_is_killed(constellation, check):
    job = submit(constellation)
    take(job, 5)
    constellation.kill("ground")
    check(job)


def test_results_come_twice(constellation, check):
    """Satellites that were cut off finish what they had; meanwhile others did it too."""
    job = submit(constellation)
    constellation.cut("sat-05", "sat-06")
    constellation.cut("sat-06", "sat-07")
    assert wait_for(constellation, "lease-expired", job)["satellite"] == "sat-06"
    constellation.heal("sat-05", "sat-06")
    outcome = check(job)
    assert outcome.attempts > SHARDS
