"""Small worlds for the tests of the mesh."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import Backbone, Device, GroundLink, Lasers, Scenario, Shell, Station

HOST = Device(name="host", kind="host")
SVALBARD = Station(name="Svalbard", latitude_deg=78.23, longitude_deg=15.41, min_elevation_deg=10.0)
SANYA = Station(name="Sanya", latitude_deg=18.31, longitude_deg=109.31, min_elevation_deg=10.0)


def shell(**changes: Any) -> Shell:
    """A sun-synchronous ring of twelve at 535 km, unless changed."""
    ring = Shell(
        name="ring",
        altitude_km=535.0,
        inclination_deg=97.54,
        planes=1,
        sats_per_plane=12,
        raan_deg=15.0,
        raan_spread_deg=0.0,
    )
    return msgspec.structs.replace(ring, **changes)


def world(*shells: Shell, stations: tuple[Station, ...] = (SVALBARD, SANYA), **changes: Any) -> Scenario:
    """A scenario of these shells over Svalbard and Sanya."""
    scenario = Scenario(
        name="world",
        title="a small world",
        epoch=datetime(2025, 5, 15, tzinfo=UTC),
        shells=shells,
        stations=stations,
        lasers=Lasers(rate_bps=100e9, acquire_s=15.0),
        ground_link=GroundLink(rate_bps=160e6),
        backbone=Backbone(rate_bps=10e9, factor=1.3),
        device=HOST,
        ground_device=HOST,
        models=("tinycloud",),
    )
    return msgspec.structs.replace(scenario, **changes)


def planned(scenario: Scenario, hours: int = 1) -> ContactPlan:
    """The scenario's contact plan with that many hours."""
    mesh = Mesh(scenario)
    plan = ContactPlan(scenario, mesh)
    for index in range(hours):
        plan.add(compute_segment(scenario, mesh, index, plan.last_segment()))
    return plan
