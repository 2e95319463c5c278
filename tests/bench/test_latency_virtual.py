"""Do measurements in virtual time come to what the contact plan and the numbers of a scenario give by hand?"""

from __future__ import annotations

import functools
import os

import msgspec
import pytest

from perigrid.bench.arena import preset
from perigrid.bench.latency.break_even import Way, of_plan, of_series
from perigrid.bench.latency.environment import environment_here
from perigrid.bench.latency.rows import Arm, Mode, Origin, Row, Series, Stratum, World
from perigrid.bench.latency.schedule import strata_of
from perigrid.bench.latency.summary import LatencyRun, RunFacts, summarise
from perigrid.bench.latency.virtual import VirtualRun
from perigrid.bench.latency.worlds import DEFAULT_SENSOR, Configuration, Costs
from perigrid.errors import UsageError
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.topology import LinkKind, Mesh
from perigrid.scenario.model import GroundLink, Scenario
from perigrid.units import NodeId

TILE_S, GROUND_TILE_S, FILTER_S = 0.09, 0.02, 0.01
RATE_BPS = 160e6
FRAME_BYTES, MASK_BYTES = 512 * 512 * 6 * 2, 512 * 512 // 4
COSTS = Costs(
    {"cloudmask": TILE_S, "tinycloud": FILTER_S},
    {"cloudmask": GROUND_TILE_S},
    {"cloudmask": MASK_BYTES // 4, "tinycloud": MASK_BYTES // 4},
    1_573_000,
    16_500,
)
PERIOD_S = 5_700.0
HEADER_SHARE = 64 / 16_384
"""What headers add to chunks, which at this rate are 20,000 bytes; a bound on it."""


@functools.cache
def scenario() -> Scenario:
    """The ring over ground links of one rate at any range."""
    link = GroundLink(rate_bps=RATE_BPS, full_rate_km=1e6)
    return preset("three-body-12", models=("cloudmask", "tinycloud"), ground_link=link)


@functools.cache
def plan() -> ContactPlan:
    mesh = Mesh(scenario())
    found = ContactPlan(scenario(), mesh)
    found.add(compute_segment(scenario(), mesh, 0))
    for index in range(1, 6):
        found.add(compute_segment(scenario(), mesh, index, found.last_segment()))
    return found


def measured(
    arm: Arm, origin: Origin = Origin.BOARD, mode: Mode = Mode.OFFLINE, satellite: str = "sat-01", **changes: object
) -> Series:
    """One series of single samples, or of what the changes say."""
    strata = changes.pop("strata", None) or strata_of(10.0, PERIOD_S, 1.0, 1, 20)
    samples = changes.pop("samples", 1)
    one = Configuration(World.SIM, arm, origin, mode, "a", 1, satellite, None, 2.0)
    run = VirtualRun(scenario(), DEFAULT_SENSOR, "cloudmask", COSTS, one)
    return run.measure(strata, samples=samples)  # type: ignore[arg-type]


@functools.cache
def alone(arm: Arm) -> Series:
    """One capture at each of twenty instants of the orbit."""
    return measured(arm)


def contact_wait_s(satellite: NodeId, at_s: float) -> float:
    """How long until a satellite's own next contact, by the plan alone."""
    links = [link for link in plan().links_of(satellite) if link.kind is LinkKind.RADIO]
    t_s = at_s
    while not any(plan().state(link, t_s).up for link in links):
        t_s = min(plan().next_change(link, t_s) for link in links) + 1e-6
    return t_s - at_s


def by_hand(row: Row, size_bytes: int, others_s: float) -> float:
    """The time to answer: wait for the pass, bits over the rate, light over its ranges, computers."""
    light_s = sum(hop.propagation_s for hop in row.down)
    return row.stages["contact_wait"] + 8 * size_bytes / RATE_BPS + light_s + others_s


def test_bent_pipe_and_in_orbit_follow_from_the_plan_by_hand() -> None:
    pipe, orbit = alone(Arm.BENT_PIPE), alone(Arm.IN_ORBIT)
    assert len(pipe.rows) == len(orbit.rows) == 20
    node, first_of_pass = NodeId(0), set()
    for row in pipe.rows:
        assert row.bytes_down == FRAME_BYTES and [hop.kind for hop in row.down] == ["radio", "fibre"]
        wait_s = contact_wait_s(node, row.intended_s)
        assert row.stages["contact_wait"] == pytest.approx(wait_s, abs=1e-3)
        if (round(row.intended_s + wait_s, 3)) in first_of_pass:
            continue
        # A pass that serves several captures shares its line among them; those that have it alone are as by hand.
        first_of_pass.add(round(row.intended_s + wait_s, 3))
        sharing = [r for r in pipe.rows if abs(r.intended_s + r.stages["contact_wait"] - row.intended_s - wait_s) < 1.0]
        if len(sharing) == 1:
            hand_s = by_hand(row, FRAME_BYTES, 4 * GROUND_TILE_S)
            assert row.latency_s == pytest.approx(hand_s, abs=8 * FRAME_BYTES * HEADER_SHARE / RATE_BPS + 1e-3)
            for hop in row.down:
                link = plan().mesh.link_between(plan().mesh.id_of(hop.sender), plan().mesh.id_of(hop.receiver))
                delay_s = plan().state(link, row.intended_s + wait_s).delay_s
                assert hop.propagation_s == pytest.approx(delay_s, abs=2e-4)
    for row in orbit.rows:
        assert row.bytes_down == MASK_BYTES
        others_s = 4 * TILE_S + row.stages["lasers_down"] - sum(h.propagation_s for h in row.down if h.kind == "laser")
        assert row.latency_s == pytest.approx(by_hand(row, MASK_BYTES, others_s), abs=3e-3)


def test_the_break_even_of_a_run_is_that_of_its_plan() -> None:
    """A faster computer on the ground: in contact the bent pipe wins, and the report says so."""
    even = of_series([alone(Arm.BENT_PIPE)], [alone(Arm.IN_ORBIT)])
    assert even is not None and even.pairs == 20 and 0 < (even.pipe_faster or 0) < 20
    row = next(r for r in alone(Arm.BENT_PIPE).rows if r.stages["contact_wait"] == 0.0)
    same = next(r for r in alone(Arm.IN_ORBIT).rows if r.number == row.number)
    ranges_km = [299_792.458 * sum(hop.propagation_s for hop in one.down) for one in (row, same)]
    down = Way(size_bytes=FRAME_BYTES, rate_bps=RATE_BPS, range_km=ranges_km[0], others_s=4 * GROUND_TILE_S)
    board = Way(size_bytes=MASK_BYTES, rate_bps=RATE_BPS, range_km=ranges_km[1], others_s=4 * TILE_S)
    hand = of_plan(down, board)
    assert hand.wait_s == pytest.approx(same.latency_s - row.latency_s, abs=2e-3)
    assert hand.wait_s > 0.05


def test_a_report_states_bytes_and_times_with_the_contact_wait_apart() -> None:
    facts = RunFacts(
        scenario="three-body-12",
        digest="",
        phasing="",
        model="cloudmask",
        seed=1,
        started_utc="",
        orbit_period_s=PERIOD_S,
    )
    series = (alone(Arm.BENT_PIPE), alone(Arm.IN_ORBIT))
    summary = summarise(LatencyRun(facts=facts, environment=environment_here(os.environ), series=series))
    for one, size in zip(series, (FRAME_BYTES, MASK_BYTES), strict=True):
        whole = summary.configuration(one.name).whole
        assert whole.bytes_down == 20 * size and whole.answered == 20
        waits = {stage.name: stage.mean.value_s for stage in whole.stages}
        assert waits.get("contact_wait", 0.0) == pytest.approx(sum(r.stages["contact_wait"] for r in one.rows) / 20)
        assert whole.unexplained_s < 1e-9


def test_the_opposite_satellite_of_the_ring_is_71_6_ms_of_lasers_away() -> None:
    seen = 0
    for satellite in ("sat-01", "sat-04", "sat-07", "sat-10"):
        for row in measured(Arm.IN_ORBIT, Origin.GROUND, Mode.OFFLINE, satellite).rows:
            lasers_s = [hop.propagation_s for hop in row.up if hop.kind == "laser"]
            if len(lasers_s) == 6:
                seen += 1
                assert sum(lasers_s) == pytest.approx(0.0716, rel=0.01)
    assert seen


def test_the_same_arm_of_the_same_seed_has_the_same_captures_and_times() -> None:
    rows = [measured(Arm.IN_ORBIT, mode=Mode.SERVER).rows for _ in range(2)]
    assert rows[0] == rows[1] and rows[0]
    cascade = measured(Arm.CASCADE, mode=Mode.SERVER).rows
    assert [row.intended_s for row in cascade] == [row.intended_s for row in rows[0]]


@pytest.mark.parametrize("mode", [Mode.MULTI_STREAM, Mode.OFFLINE])
def test_a_query_of_several_samples_ends_with_its_last(mode: Mode) -> None:
    strata = [Stratum(0, 20.0, 21.0)]
    row = measured(Arm.IN_ORBIT, Origin.GROUND, mode, strata=strata, samples=8).rows[0]
    one = measured(Arm.IN_ORBIT, Origin.GROUND, Mode.OFFLINE, strata=strata).rows[0]
    assert row.items == 8 and row.outcome == "ok"
    # Inputs take turns on the uplink, and the computer takes them one by one.
    assert row.latency_s >= one.latency_s + 7 * 8 * COSTS.input_bytes / RATE_BPS


def test_late_frames_on_board_are_misses_and_count_against_a_bound() -> None:
    sensor = msgspec.structs.replace(DEFAULT_SENSOR, deadline_s=0.5)
    one = Configuration(World.SIM, Arm.IN_ORBIT, Origin.BOARD, Mode.SERVER, "a", 1, "sat-01", None, 4.0)
    series = VirtualRun(scenario(), sensor, "cloudmask", COSTS, one).measure([Stratum(0, 20.0, 40.0)])
    outcomes = {row.outcome for row in series.rows}
    assert outcomes == {"ok", "deadline"}
    on_board = [row.stages["satellite_queue"] + row.stages["inference"] for row in series.rows if row.outcome == "ok"]
    assert max(on_board) <= 0.5


def test_a_client_on_the_ground_has_no_bent_pipe() -> None:
    with pytest.raises(UsageError, match="on the ground already"):
        measured(Arm.BENT_PIPE, Origin.GROUND)
