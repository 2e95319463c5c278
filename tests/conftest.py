"""What do the tests of several rooms share? A twelve-satellite ring in sight of one station, and its shares."""

from __future__ import annotations

from datetime import UTC, datetime

import hypothesis
import pytest

from perigrid.job.shards import next_in_ring, share_out
from perigrid.job.spec import Catalogue
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import Backbone, Device, GroundLink, Lasers, Scenario, Shell, Station
from perigrid.units import NodeId

# How long an example takes says more of the machine than of what is tested.
hypothesis.settings.register_profile("perigrid", deadline=None)
hypothesis.settings.load_profile("perigrid")


def ring_scenario(satellites: int = 12, **changes: object) -> Scenario:
    """A ring on one sun-synchronous orbit, over a station below its first satellites."""
    import msgspec

    shell = Shell(
        name="ring",
        altitude_km=535.0,
        inclination_deg=97.54,
        planes=1,
        sats_per_plane=satellites,
        raan_spread_deg=0.0,
        topology="ring",
    )
    # A station under the ascending node at the epoch sees the first satellite for some minutes.
    scenario = Scenario(
        name="ring",
        title="a ring for tests",
        epoch=datetime(2026, 3, 20, 12, tzinfo=UTC),
        shells=(shell,),
        stations=(),
        lasers=Lasers(rate_bps=1e9, acquire_s=1.0),
        ground_link=GroundLink(rate_bps=160e6),
        backbone=Backbone(rate_bps=1e10, factor=1.5),
        device=Device(name="test", kind="assumed", service_s={"tinycloud": 0.05}),
        ground_device=Device(name="test", kind="assumed", service_s={"tinycloud": 0.05}),
        models=("tinycloud",),
    )
    station = _station_below_first(scenario)
    return msgspec.structs.replace(scenario, **{"stations": (station,), **changes})


def _station_below_first(scenario: Scenario) -> Station:
    import math

    import numpy as np

    from perigrid.sky.frames import earth_angle_rad, sidereal_angle_rad
    from perigrid.sky.walker import Walker

    position = Walker.from_shells(scenario.shells).positions_eci_km(np.array([60.0]))[0, 0]
    turned = earth_angle_rad(sidereal_angle_rad(scenario.epoch), np.array([60.0]))[0]
    longitude = math.degrees(math.atan2(position[1], position[0]) - turned)
    latitude = math.degrees(math.asin(position[2] / float(np.linalg.norm(position))))
    return Station(
        name="below",
        latitude_deg=latitude,
        longitude_deg=(longitude + 180) % 360 - 180,
        min_elevation_deg=10.0,
    )


def ring_catalogue(scenario: Scenario, tiles: int = 48) -> Catalogue:
    """A made-up scene of `tiles` tiles, shared out over a scenario's satellites, each copied to its next neighbour."""
    mesh = Mesh(scenario)
    satellites = [NodeId(n) for n in range(mesh.satellite_count)]
    windows = [(16 * (t // 8), 16 * (t % 8)) for t in range(tiles)]
    captures = share_out(
        "scene",
        (4, 512, 512),
        windows,
        256,
        satellites,
        lambda n: next_in_ring(n, mesh.ring_neighbours(n), 2),
        lambda n: mesh.names[n],
    )
    return Catalogue(captures)


@pytest.fixture
def scenario() -> Scenario:
    """The twelve-ring."""
    return ring_scenario()
