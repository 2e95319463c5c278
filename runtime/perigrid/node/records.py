"""What must the controller remember for ever?

Journal records, oldest first, are all that a restarted controller has. They only go forward: nothing is ever changed
or taken out. Leases are not among them: a new epoch gives new ones.
"""

from __future__ import annotations

import msgspec

from perigrid.job.spec import JobSpec
from perigrid.node.frames import Stages
from perigrid.node.manifest import Order
from perigrid.units import NodeId


class EpochStarted(msgspec.Struct, frozen=True, tag=True):
    """A controller began; durable before it assigns anything."""

    epoch: int


class JobAdmitted(msgspec.Struct, frozen=True, tag=True):
    """A job was accepted; its deadline as sky time, or None."""

    spec: JobSpec
    admitted_sky_s: float


class ShardAccepted(msgspec.Struct, frozen=True, tag=True):
    """A shard's one result; its bytes lie in the results file under `digest`.

    `down_laser_s` and `down_ground_s` are what it spent for lasers, and for radio and fibre, on its way to the ground.
    """

    job: str
    shard: int
    digest: bytes
    length: int
    satellite: NodeId
    attempt: int
    hops: int
    settled_sky_s: float
    stages: Stages
    down_laser_s: float = 0.0
    down_ground_s: float = 0.0


class ShardFailed(msgspec.Struct, frozen=True, tag=True):
    """A shard ended in a named error."""

    job: str
    shard: int
    cause: str
    settled_sky_s: float


class JobEnded(msgspec.Struct, frozen=True, tag=True):
    """Every shard of a job has ended."""

    job: str
    outcome: str
    ended_sky_s: float
    attempts: int
    duplicates: int
    conflicts: int


class ModelOrdered(msgspec.Struct, frozen=True, tag=True):
    """A model is to be brought up; its bytes lie on the ground under its hash."""

    order: Order
    ordered_sky_s: float


Record = EpochStarted | JobAdmitted | ShardAccepted | ShardFailed | JobEnded | ModelOrdered
