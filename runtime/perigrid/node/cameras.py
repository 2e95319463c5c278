"""What does a sensor hand to its satellite when it takes a frame?

The same in both worlds: drivers know when (`mesh/planning/exposures.py`) and hold the bytes, this says the rest.
"""

from __future__ import annotations

from hashlib import blake2b

from perigrid.job.spec import Shard
from perigrid.node.blobs import Blob
from perigrid.node.events import Exposed
from perigrid.scenario.model import Sensor

_ID_BYTES = 24
_SAMPLED = b"\x01"


def tiles_of(sensor: Sensor, capture: str = "") -> Shard:
    """All whole tiles of a frame, row by row; `capture` holds their pixels, or the raw bytes do where it is empty."""
    side = sensor.tile_px
    corners = [
        (row, column)
        for row in range(0, sensor.height_px - side + 1, side)
        for column in range(0, sensor.width_px - side + 1, side)
    ]
    return Shard(
        index=0,
        capture=capture,
        tiles=tuple(range(len(corners))),
        rows=tuple(row for row, _ in corners),
        columns=tuple(column for _, column in corners),
    )


def exposed(
    sensor: Sensor, satellite: str, number: int, taken_s: float, period_s: float, raw: Blob, shard: Shard, traced: bool
) -> Exposed:
    """The frame that a satellite's sensor takes at `taken_s`; its trace is named by sensor, satellite and number."""
    until_s = period_s if sensor.deadline_s is None else sensor.deadline_s
    name = f"{sensor.name}/{satellite}/{number}".encode()
    return Exposed(
        sensor.name,
        number,
        sensor.model,
        sensor.treatment,
        raw,
        shard,
        taken_s + until_s,
        sensor.filter_model if sensor.treatment == "cascade" else "",
        sensor.discard_share,
        blake2b(name, digest_size=_ID_BYTES).digest() + _SAMPLED if traced else b"",
    )
