"""Does work queue in front of a satellite's computer as queueing theory says?"""

from __future__ import annotations

import heapq
import itertools
import random

import pytest

from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.routes import Routes
from perigrid.mesh.topology import Mesh
from perigrid.node.actions import Infer
from perigrid.node.blobs import Blob
from perigrid.node.cameras import tiles_of
from perigrid.node.events import Event, Exposed, InferenceEnded, Now
from perigrid.node.satellite import Satellite, SatelliteConfig
from perigrid.scenario.model import Sensor
from perigrid.units import NodeId
from tests.conftest import ring_catalogue, ring_scenario

SERVICE_S = 0.1
CAMERA = Sensor(name="camera", width_px=256, height_px=256, bands=1, bits_per_pixel=8, gsd_m=10.0, model="tinycloud")
ARRIVALS = {0.3: 12_000, 0.6: 24_000, 0.8: 60_000}
"""So many that the mean of the waits, which hang together, is known well within 5 % at each load."""


def satellite() -> Satellite:
    scenario = ring_scenario()
    mesh = Mesh(scenario)
    plan = ContactPlan(scenario, mesh)
    plan.add(compute_segment(scenario, mesh, 0))
    config = SatelliteConfig(NodeId(0), mesh.ground, ("tinycloud",), 1, 1e9, 1e8)
    return Satellite(config, 1, ring_catalogue(scenario), plan, Routes(plan))


def waits_of(arrivals_s: list[float]) -> list[float]:
    """How long each frame waited for the computer, by the machine's own account."""
    machine, blob, shard = satellite(), Blob(bytes(32), 65_536), tiles_of(CAMERA)
    # What goes down is no part of this: nothing is sent.
    machine.relay.submit = lambda now, frames: []  # type: ignore[method-assign]
    count = itertools.count()
    queue: list[tuple[float, int, Event]] = [
        (t, next(count), Exposed("camera", n, "tinycloud", "in-orbit", blob, shard, float("inf")))
        for n, t in enumerate(arrivals_s)
    ]
    waits: list[float] = []
    computed = machine.sensing.computed

    def note(now: Now, name: str, index: int, stages, event):  # type: ignore[no-untyped-def]
        waits.append(stages.queue_s)
        return computed(now, name, index, stages, event)

    machine.sensing.computed = note  # type: ignore[method-assign]
    while queue:
        t, _, event = heapq.heappop(queue)
        for action in machine.handle(Now(t, 0.0), event):
            if isinstance(action, Infer):
                ended = InferenceEnded(action.task, blob, SERVICE_S, 0.0, SERVICE_S)
                heapq.heappush(queue, (t + SERVICE_S, next(count), ended))
    return waits


@pytest.mark.parametrize("load", list(ARRIVALS))
def test_poisson_arrivals_at_constant_service_wait_as_in_m_d_1(load: float) -> None:
    chance = random.Random(7)
    arrivals_s = list(itertools.accumulate(chance.expovariate(load / SERVICE_S) for _ in range(ARRIVALS[load])))
    waits_s = waits_of(arrivals_s)
    # One at a time, in the order of arrival: Lindley's recursion (1952) gives each wait from the one before it.
    expected_s, wait_s = [0.0], 0.0
    for before, after in itertools.pairwise(arrivals_s):
        wait_s = max(0.0, wait_s + SERVICE_S - (after - before))
        expected_s.append(wait_s)
    assert waits_s == pytest.approx(expected_s, abs=1e-6)
    # Pollaczek and Khinchine's mean wait for constant service.
    assert sum(waits_s) / len(waits_s) == pytest.approx(load * SERVICE_S / (2 * (1 - load)), rel=0.05)
