"""Does word of lost links pile up for a node that is dead?"""

from __future__ import annotations

from perigrid.node.frames import LinkAdvert
from perigrid.sim.world import SimConfig, World
from perigrid.units import NodeId
from tests.conftest import ring_catalogue, ring_scenario


def test_word_of_lost_links_does_not_wait_for_ever_for_a_dead_satellite() -> None:
    scenario = ring_scenario()
    world = World(scenario, ring_catalogue(scenario), SimConfig())
    world.keep_notes = False
    world.at(70.0, lambda: world.kill(NodeId(0)))
    held = []
    for until_s in (200.0, 700.0):
        world.run_until(until_s)
        waiting = [w.frame for n in world.nodes if n.machine is not None for w in n.machine.relay.waiting]
        held.append(sum(isinstance(frame.body, LinkAdvert) for frame in waiting))
    # Each of its two neighbours says so every 30 s; after 60 s nobody would remember it.
    assert max(held) <= 12
