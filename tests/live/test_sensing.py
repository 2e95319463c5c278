"""Do real processes take frames, answer requests, and say where the time of each went?

A constellation with a camera on one satellite, measured as `perigrid bench latency` measures it, from outside: its
gateway, its supervisor, its event log.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from perigrid.bench.latency.live import LiveRun
from perigrid.bench.latency.payloads import requests_of
from perigrid.bench.latency.rows import Arm, Mode, Origin, Row, Series, Stratum, World
from perigrid.bench.latency.worlds import Configuration
from perigrid.live.config import open_plan, read_config
from perigrid.live.eventlog import read_events
from perigrid.live.models import ModelStore
from perigrid.live.scenes import Scene
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import Sensor
from tests.live.conftest import COMMAND, UP_LIMIT_S, Constellation, Launcher, environment, wait_until

pytestmark = pytest.mark.live

RATE, SERVICE_S, INTAKE_S, SETTLE_S = 0.5, 0.05, 0.02, 0.03
LIMIT_S = 60.0
CLOCK_ERROR_S = 2e-4
ROUNDING_S = 1e-9
CAMERA = Sensor(
    name="camera",
    width_px=512,
    height_px=512,
    bands=4,
    bits_per_pixel=12,
    gsd_m=10.0,
    model="tinycloud",
    daylight=False,
    deadline_s=5.0,
    filter_model="tinycloud",
    discard_share=0.999,
)
EXTRA = f"""
[processing]
intake_s = {INTAKE_S}
settle_s = {SETTLE_S}
[[sensor]]
name = "camera"
width_px = 512
height_px = 512
bands = 4
bits_per_pixel = 12
gsd_m = 10.0
model = "tinycloud"
daylight = false
period_s = 0.5
deadline_s = 5.0
satellites = ["sat-02"]
"""


@pytest.fixture(scope="module")
def sensing(launcher: Launcher) -> Constellation:
    return launcher.up("sensing", rate=RATE, service_s=SERVICE_S, extra=EXTRA)


@pytest.fixture(scope="module")
def plan(sensing: Constellation) -> ContactPlan:
    config = read_config(sensing.directory)
    return open_plan(sensing.directory, config, Mesh(config.scenario))


@pytest.fixture(scope="module")
def live(sensing: Constellation) -> Iterator[LiveRun]:
    generator = np.random.default_rng(3)
    scene = Scene("noise", generator.random((6, 512, 512), dtype=np.float32), (), None, "", "made up")
    requests = requests_of(ModelStore(), "tinycloud", scene)
    run = LiveRun(sensing.run, sensing.info["gateway"], requests, CAMERA)
    yield run
    run.close()


def measured(live: LiveRun, mode: Mode, origin: Origin, satellite: str, **changes: object) -> Series:
    """A short series, two instants half a minute apart."""
    configuration = Configuration(World.LIVE, Arm.IN_ORBIT, origin, mode, "a", 1, satellite, None, 8.0)
    start_s = live.now_s() + 30.0
    strata = [Stratum(n, start_s + 30.0 * n, start_s + 30.0 * n + 0.5) for n in range(2)]
    return live.measure([replace(configuration, **changes)], strata, 0.0, lambda text: None)[0]


def check_sums_and_light(rows: tuple[Row, ...], plan: ContactPlan) -> None:
    """Stages add up to the latency, and light takes range / c of the contact plan."""
    assert rows and all(row.outcome == "ok" for row in rows)
    for row in rows:
        assert sum(row.stages.values()) == pytest.approx(row.latency_s, abs=CLOCK_ERROR_S)
        assert row.up or row.down
        for hop in (*row.up, *row.down):
            link = plan.mesh.link_between(plan.mesh.id_of(hop.sender), plan.mesh.id_of(hop.receiver))
            light_s = plan.state(link, row.intended_s).delay_s
            assert hop.propagation_s == pytest.approx(light_s, abs=CLOCK_ERROR_S)


def test_requests_over_lasers_say_where_their_time_went(live: LiveRun, plan: ContactPlan) -> None:
    series = measured(live, Mode.SINGLE_STREAM, Origin.GROUND, "sat-04")
    check_sums_and_light(series.rows, plan)
    for row in series.rows:
        assert row.satellite == "sat-04" and row.attempt == 1 and len(row.trace) == 32
        assert row.stages["satellite_queue"] >= INTAKE_S - ROUNDING_S
        assert row.stages["settle"] >= SETTLE_S - ROUNDING_S
        assert row.stages["inference"] >= SERVICE_S - ROUNDING_S
        assert {hop.kind for hop in row.up} == {"laser", "radio", "fibre"}
    assert len({row.trace for row in series.rows}) == len(series.rows)
    assert {row.stratum for row in series.rows} == {0, 1}


def test_an_untraced_request_writes_nothing_down(live: LiveRun) -> None:
    series = measured(live, Mode.SERVER, Origin.GROUND, "sat-04", traced=False)
    assert series.rows and all(row.outcome == "ok" for row in series.rows)
    assert not any(row.stages or row.up or row.down for row in series.rows)


def test_frames_on_board_are_inferred_and_come_down_as_masks(live: LiveRun, plan: ContactPlan) -> None:
    series = measured(live, Mode.SERVER, Origin.BOARD, "sat-03")
    check_sums_and_light(series.rows, plan)
    for row in series.rows:
        assert row.satellite == "sat-03" and row.bytes_down == 4 * 256 * 256 // 4
        assert row.stages["inference"] >= 4 * SERVICE_S - ROUNDING_S and not row.up


def test_a_cascade_sends_down_what_its_filter_kept(live: LiveRun) -> None:
    series = measured(live, Mode.SINGLE_STREAM, Origin.BOARD, "sat-03", arm=Arm.CASCADE)
    assert series.rows and all(row.outcome == "ok" for row in series.rows)
    tile_bytes, mask_bytes = CAMERA.frame_bytes // 4, 256 * 256 // 4
    expected = {kept * tile_bytes + (4 + kept) * mask_bytes if kept else 0 for kept in range(5)}
    assert {row.bytes_down for row in series.rows} <= expected
    assert all(row.stages["inference"] >= 4 * SERVICE_S - ROUNDING_S for row in series.rows)


def test_the_scenarios_own_sensor_takes_its_frames(sensing: Constellation) -> None:
    def seen() -> list[dict[str, object]]:
        events = read_events(sensing.directory)
        return [e for e in events if e["what"] == "observation" and e["satellite"] == "sat-02"]

    frames = wait_until(lambda: len(seen()) >= 2 and seen(), LIMIT_S, "two frames of the scenario's own sensor")
    assert {frame["outcome"] for frame in frames} == {"ok"}


def test_sensors_that_need_a_ground_computer_are_refused_before_anything_starts(launcher: Launcher) -> None:
    path = launcher.scenario("bent", rate=RATE, service_s=SERVICE_S, extra=EXTRA + 'treatment = "bent-pipe"\n')
    arguments = [*COMMAND, "up", str(path), "--root", str(launcher.root), "--detach"]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=UP_LIMIT_S)
    assert done.returncode == 2 and "sensor.camera.treatment" in done.stderr and "bench latency" in done.stderr
    assert not (launcher.root / "bent").exists()
