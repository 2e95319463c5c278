"""What does the equipment at a link's ends take for each frame?

Modems and terminals code, interleave and buffer. A scenario states it as seconds (`[processing]`); what they take is
added behind the light's time, and is a part of its own wherever times are broken down.
"""

from __future__ import annotations

from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import Scenario
from perigrid.units import NodeId


def processing_s(scenario: Scenario, mesh: Mesh, link: Link, sender: NodeId) -> float:
    """Seconds that a frame spends in the equipment of this direction of a link."""
    if link.kind is LinkKind.LASER:
        return scenario.processing.laser_s
    if link.kind is LinkKind.FIBRE:
        return 0.0
    return scenario.processing.downlink_s if mesh.is_satellite(sender) else scenario.processing.uplink_s
