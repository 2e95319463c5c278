"""Which frames do the sensors of a process's satellites take, and what is on them?

At the scenario's seeded instants each satellite that carries a sensor is handed a frame. What the frame would show is
not known here: tiles of a capture in the satellite's flash, its share of a real scene, stand for it in turn, so that
each inference is a real one on real pixels. The frame's raw bytes, which a cascade sends down, are those tiles as
unsigned numbers of the sensor's depth.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from perigrid.errors import DataError, ScenarioError
from perigrid.job.masks import CLOUD
from perigrid.job.spec import Capture, Catalogue, Shard
from perigrid.live.blobs import HeldBlob, held
from perigrid.live.eventlog import EventLog
from perigrid.live.flash import Flash
from perigrid.live.loop import Loop
from perigrid.live.tracing import legs_as_words, trace_parent_text
from perigrid.mesh.planning.exposures import Exposures
from perigrid.mesh.topology import Mesh
from perigrid.node.cameras import exposed
from perigrid.node.events import Exposed
from perigrid.node.observing import OBSERVERS
from perigrid.node.replies import Observed, Reply
from perigrid.node.stages import observed_stages
from perigrid.scenario.model import Scenario, Sensor, Treatment
from perigrid.units import NodeId

LIVE_TREATMENTS: tuple[Treatment, ...] = ("in-orbit", "cascade")
"""What real processes do with frames; the others need a computer on the ground, or raw tiles at a neighbour's, which
virtual time alone has."""

AHEAD_S = 60.0
"""Frames are scheduled so many emulated seconds at a time."""

REFLECTANCE_STEPS = 10_000
"""Raw numbers a unit of reflectance, as Sentinel-2's products have them; what is larger than the depth holds is cut."""


def check_sensors(scenario: Scenario) -> None:
    """ScenarioError for a sensor that real processes cannot serve."""
    for sensor in scenario.sensors:
        if sensor.treatment not in LIVE_TREATMENTS:
            raise ScenarioError(
                f"sensor.{sensor.name}.treatment is {sensor.treatment!r}, which runs in virtual time alone: use "
                f"{' or '.join(LIVE_TREATMENTS)}, or `perigrid bench latency` for all of them."
            )
        if not scenario.data:
            raise ScenarioError(
                f"sensor.{sensor.name} needs pixels: add a [[data]] table with a scene, whose tiles stand for frames."
            )


def check_pixels(scenario: Scenario, mesh: Mesh, catalogue: Catalogue) -> None:
    """ScenarioError for a sensor on a satellite without a capture of a scene, whose tiles could stand for frames."""
    owners = {capture.owner for capture in catalogue.captures if not capture.is_stack and capture.bands}
    for sensor in scenario.sensors:
        carriers = sensor.satellites or mesh.names[: mesh.satellite_count]
        bare = [name for name in carriers if mesh.id_of(name) not in owners]
        if bare:
            raise ScenarioError(
                f"sensor.{sensor.name}: {bare[0]} holds no tile of a scene that could stand for its frames: give the "
                "scenario data with at least a tile for each satellite, such as a smaller stride_px."
            )


class Cameras:
    """The sensors of one process's satellites.

    `feed` hands an event to a node that lives; `flash_of` gives a node's flash.
    """

    def __init__(
        self,
        scenario: Scenario,
        mesh: Mesh,
        catalogue: Callable[[], Catalogue],
        loop: Loop,
        feed: Callable[[NodeId, Exposed], None],
    ) -> None:
        self._scenario = scenario
        self._mesh = mesh
        self._catalogue = catalogue
        self._loop = loop
        self._feed = feed
        self._exposures: Exposures | None = None
        self._counts: dict[tuple[str, NodeId], int] = {}
        self._raw: dict[tuple[str, NodeId], HeldBlob] = {}

    def start(self, nodes: tuple[NodeId, ...]) -> None:
        """Take the scenario's frames on these satellites from now on."""
        carried = [
            (sensor, node)
            for sensor in self._scenario.sensors
            for node in nodes
            if self._mesh.is_satellite(node) and (not sensor.satellites or self._mesh.names[node] in sensor.satellites)
        ]
        if carried:
            self._exposures = Exposures(self._scenario)
            self._schedule(carried, self._loop.clock.now_s())

    def _schedule(self, carried: list[tuple[Sensor, NodeId]], from_s: float) -> None:
        exposures = self._exposures
        if exposures is None:
            return
        until_s = (from_s // AHEAD_S + 1) * AHEAD_S
        for sensor, node in carried:
            period_s = exposures.period_s(sensor, int(node))
            for taken_s in exposures.times_s(sensor, int(node), from_s, until_s).tolist():
                number = self._counts[sensor.name, node] = self._counts.get((sensor.name, node), -1) + 1
                self.take(sensor, node, number, taken_s, period_s, traced=True)
        self._loop.at(until_s - AHEAD_S / 2, lambda: self._schedule(carried, until_s), lazy=True)

    def take(self, sensor: Sensor, node: NodeId, number: int, taken_s: float, period_s: float, traced: bool) -> None:
        """Take one frame at a sky time; DataError where its satellite holds no pixels for it."""
        capture = self._pixels(sensor, node)
        name = self._mesh.names[node]

        def expose() -> None:
            shard = shard_of(capture, sensor, number)
            raw = self._raw_of(sensor, node, capture)
            self._feed(node, exposed(sensor, name, number, taken_s, period_s, raw, shard, traced))

        # An order that comes too late is carried out now, and not in the past.
        self._loop.at(max(taken_s, self._loop.clock.now_s()), expose)

    def _pixels(self, sensor: Sensor, node: NodeId) -> Capture:
        """A capture of this satellite's own that has tiles of the sensor's."""
        for capture in self._catalogue().captures:
            if capture.owner == node and not capture.is_stack and capture.bands:
                return capture
        raise DataError(
            f"{self._mesh.names[node]} holds no capture of a scene, whose tiles could stand for frames of "
            f"{sensor.name!r}: give the scenario data with at least a tile for each satellite."
        )

    def _raw_of(self, sensor: Sensor, node: NodeId, capture: Capture) -> HeldBlob:
        """A frame's raw bytes. Nobody reads them but a cascade, so else they are a length without bytes."""
        if sensor.treatment != "cascade":
            return HeldBlob(b"", sensor.frame_bytes, memoryview(b""))
        key = (sensor.name, node)
        if key not in self._raw:
            path = Flash(Path("flash") / self._mesh.names[node]).capture_path(capture.name)
            self._raw[key] = held(raw_bytes(np.fromfile(path, np.float32).reshape(capture.shape), sensor, capture))
        return self._raw[key]


def shard_of(capture: Capture, sensor: Sensor, number: int) -> Shard:
    """The tiles of a capture that stand for the tiles of a sensor's frame of this number."""
    count = len(capture.tiles)
    places = [(number * sensor.tiles + n) % count for n in range(sensor.tiles)]
    return Shard(
        index=0,
        capture=capture.name,
        tiles=tuple(range(sensor.tiles)),
        rows=tuple(capture.rows[place] for place in places),
        columns=tuple(capture.columns[place] for place in places),
    )


def raw_bytes(pixels: np.ndarray[Any, np.dtype[np.float32]], sensor: Sensor, capture: Capture) -> bytes:
    """A frame of `frame_bytes` as its sensor reads it out, from the first tiles of a capture [bands, H, W]."""
    deep = np.uint8 if sensor.bits_per_pixel <= 8 else np.uint16
    most = min(np.iinfo(deep).max, 2**sensor.bits_per_pixel - 1)
    scaled = np.clip(np.nan_to_num(pixels) * REFLECTANCE_STEPS, 0, most).astype(deep)
    side, tiles = sensor.tile_px, shard_of(capture, sensor, 0)
    corners = zip(tiles.rows, tiles.columns, strict=True)
    data = b"".join(scaled[:, row : row + side, column : column + side].tobytes() for row, column in corners)
    return data[: sensor.frame_bytes].ljust(sensor.frame_bytes, b"\0")


def tiles_kept(masks: bytes, tiles: int, discard_share: float) -> tuple[int, ...]:
    """The places of tiles whose packed masks have less of cloud than `discard_share`."""
    packed = np.frombuffer(masks, np.uint8).reshape(tiles, -1)
    bits = (packed[:, :, None] >> np.array([0, 2, 4, 6], np.uint8)) & np.uint8(3)
    shares = (bits == CLOUD).mean(axis=(1, 2))
    return tuple(int(place) for place in np.flatnonzero(shares < discard_share))


class Observatory:
    """Writes into the event log how frames ended; on the ground."""

    def __init__(self, mesh: Mesh, loop: Loop, log: EventLog) -> None:
        self._mesh = mesh
        self._loop = loop
        self._log = log

    def tell(self, client: int, reply: Reply) -> None:
        """Take a reply, if it is to observers."""
        if client != OBSERVERS or not isinstance(reply, Observed):
            return
        fields = {
            "frame": reply.frame,
            "sensor": reply.sensor,
            "number": reply.number,
            "satellite": reply.satellite,
            "treatment": reply.treatment,
            "outcome": reply.outcome,
            "taken_s": reply.taken_sky_s,
            "answered_s": reply.answered_sky_s,
            "deadline_s": reply.deadline_sky_s if reply.deadline_sky_s < float("inf") else None,
            "tiles": reply.tiles,
            "bytes": reply.size_bytes,
            "hops": reply.hops,
            "stages": observed_stages(reply),
            "desk_wait_s": reply.stages.desk_wait_s,
            "cpu_s": reply.stages.cpu_s,
            "up": legs_as_words(reply.stages.up, self._mesh),
            "down": legs_as_words(reply.down, self._mesh),
            "traceparent": trace_parent_text(reply.trace_parent),
        }
        self._log.add(self._loop.now_s(), "ground", "observation", fields)
