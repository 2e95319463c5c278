"""Do the stages of a request say where its time went, all of it, and each in its own place?"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from perigrid.mesh.topology import LinkKind
from perigrid.node.events import Ask
from perigrid.node.replies import Answered
from perigrid.node.stages import REQUEST_STAGES, request_stages
from perigrid.scenario.model import Processing, Scenario
from perigrid.sim.world import SimConfig, World, sim_blob
from perigrid.units import NodeId
from tests.conftest import ring_catalogue, ring_scenario

TRACE = bytes(range(24)) + b"\x01"
SERVICE_S = 0.4


def answered(
    scenario: Scenario,
    size_bytes: int = 300_000,
    trace_parent: bytes = TRACE,
    satellite: int | None = None,
    at_s: float = 5.0,
    before: Callable[[World], None] = lambda world: None,
) -> tuple[World, Answered]:
    """One request, asked at that time, and its answer."""
    world = World(scenario, ring_catalogue(scenario), SimConfig(service_s=SERVICE_S))
    before(world)
    node = None if satellite is None else NodeId(satellite)
    ask = Ask(-1, "tinycloud", sim_blob(bytes(size_bytes)), node, True, 10, None, trace_parent)
    world.at(at_s, lambda: world.request(ask))
    assert world.run_until(60_000.0, lambda: bool(world.replies))
    answer = world.replies[0][2]
    assert isinstance(answer, Answered)
    return world, answer


def total_s(answer: Answered) -> float:
    return answer.answered_sky_s - answer.asked_sky_s


def test_stages_add_up_and_each_link_is_there_with_its_parts() -> None:
    scenario = ring_scenario()
    world, answer = answered(scenario)
    stages = request_stages(answer)
    assert tuple(stages) and set(stages) == set(REQUEST_STAGES)
    assert sum(stages.values()) == pytest.approx(total_s(answer), abs=1e-9)
    assert all(value > -1e-12 for value in stages.values())
    assert stages["inference"] == pytest.approx(SERVICE_S)
    assert len(answer.stages.up) == len(answer.down) == answer.hops
    for leg in (*answer.stages.up, *answer.down):
        state = world.plan.state(leg.link, leg.here_s)
        assert leg.propagation_s == pytest.approx(state.delay_s, abs=1e-6)
        parts = leg.held_s + leg.queue_s + leg.serialisation_s + leg.propagation_s + leg.processing_s
        assert parts == pytest.approx(leg.due_s - leg.here_s, abs=1e-9)
    first = answer.stages.up[0]
    rate_bps = world.plan.line_rate_bps(first.link, first.sender, first.here_s)
    # All of the message's chunks, though the last one's own time on the line is a small part of it.
    assert first.serialisation_s == pytest.approx(8 * 300_000 / rate_bps, rel=0.02)
    assert first.queue_s == pytest.approx(0.0, abs=1e-4)


def test_a_request_that_is_not_traced_has_no_way_and_the_same_total() -> None:
    _, traced = answered(ring_scenario())
    _, plain = answered(ring_scenario(), trace_parent=b"")
    assert not plain.stages.up and not plain.down and not plain.trace_parent
    assert total_s(plain) == pytest.approx(total_s(traced), abs=1e-12)
    assert sum(request_stages(plain).values()) == pytest.approx(total_s(plain), abs=1e-9)


EXPECTED = {
    "gateway_s": ("gateway", 1),
    "dispatch_s": ("ground_queue", 1),
    "uplink_s": ("uplink", 1),
    "laser_s": ("lasers", 0),
    "intake_s": ("satellite_queue", 1),
    "inference_s": ("inference", 1),
    "downlink_s": ("downlink", 1),
    "settle_s": ("settle", 1),
}


@pytest.mark.parametrize("delay_s", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("field", list(EXPECTED))
def test_what_equipment_takes_is_found_in_its_stage_and_in_no_other(field: str, delay_s: float) -> None:
    scenario = ring_scenario()
    target = 6
    calm = request_stages(answered(scenario, satellite=target)[1])
    slow_scenario = msgspec.structs.replace(scenario, processing=Processing(**{field: delay_s}))
    _, answer = answered(slow_scenario, satellite=target)
    slow = request_stages(answer)
    added = {name: slow[name] - calm[name] for name in calm}
    stage, count = EXPECTED[field]
    lasers = {
        way: sum(leg.link.kind is LinkKind.LASER for leg in legs)
        for way, legs in (("lasers_up", answer.stages.up), ("lasers_down", answer.down))
    }
    expected = {name: delay_s * count if name == stage else 0.0 for name in calm}
    if stage == "lasers":
        assert min(lasers.values()) > 0
        expected |= {way: delay_s * hops for way, hops in lasers.items()}
    assert added == pytest.approx(expected, abs=2e-5)


def test_what_waits_for_contact_is_a_stage_of_its_own() -> None:
    scenario = ring_scenario()

    def next_gap(world: World) -> None:
        """Take the only satellites in contact away, so that the request has to wait for a way."""
        for link in world.plan.links_of(world.mesh.ground):
            world.at(4.0, lambda link=link: world.kill(link.other(world.mesh.ground)))  # type: ignore[misc]
            world.at(34.0, lambda link=link: world.reboot(link.other(world.mesh.ground)))  # type: ignore[misc]

    _, answer = answered(scenario, before=next_gap)
    stages = request_stages(answer)
    assert sum(stages.values()) == pytest.approx(total_s(answer), abs=1e-9)
    assert stages["contact_wait"] + stages["ground_queue"] > 25.0
