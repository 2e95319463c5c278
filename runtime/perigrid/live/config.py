"""What is every process of a run told?

`prepare` writes it, `config.json`; every process reads it. While the run is up only models and data are added to it, by
the supervisor, which tells every process to read it again.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Literal

import msgspec

from perigrid.errors import CorruptFile, UsageError
from perigrid.job.spec import Capture, Catalogue
from perigrid.live.models import ModelEntry
from perigrid.mesh.plan import ContactPlan, Segment
from perigrid.mesh.topology import Mesh
from perigrid.node.terminals import Overlay
from perigrid.scenario.model import DataSource, Scenario
from perigrid.units import NodeId

CONFIG_VERSION = 1
CONFIG_FILE = "config.json"
OVERLAY_FILE = "overlay.json"
GROUND_HOST = "ground"
MAX_PLAN_BYTES = 1 << 31


class HostSpec(msgspec.Struct, frozen=True):
    """One host process: its name and the nodes in it."""

    name: str
    nodes: tuple[NodeId, ...]


class ModelFile(msgspec.Struct, frozen=True):
    """A model of this run: what the manifest says of it, and where its checked file lies."""

    entry: ModelEntry
    path: str


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was given: a model or data, as its user named it, its sha256, and the file that this run read.

    Files of the user's own are copied into the run directory, so that the run can be repeated; a folder of tiles
    becomes one file there, and `sources` are its tiles' file names.
    """

    kind: Literal["model", "data"]
    name: str
    label: str
    sha256: str
    path: str
    sources: tuple[str, ...] = ()


class Cargo(msgspec.Struct, frozen=True, kw_only=True):
    """Models and data that were put into a run directory; `preloaded` lists what did not cross a link."""

    models: tuple[ModelFile, ...] = ()
    captures: tuple[Capture, ...] = ()
    inputs: tuple[InputFile, ...] = ()
    preloaded: tuple[str, ...] = ()
    sources: tuple[DataSource, ...] = ()


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of a run.

    `rate` and `free` are the clock's, which never passes faster than `rate`, and where it is `governed` as fast as this
    machine keeps up with; metrics are served where `metrics_port` is not None; `preloaded` lists what was put in place
    instead of crossing a link; `seed` decides which frames are lost; `loaded` are the data sources that came on board
    while the run was up.
    """

    version: int
    name: str
    scenario: Scenario
    catalogue: Catalogue
    models: tuple[ModelFile, ...]
    hosts: tuple[HostSpec, ...]
    rate: float
    free: bool
    port: int
    gateway_port: int
    seed: int
    cores: int
    satellites_per_process: int
    lease_s: float
    preloaded: tuple[str, ...]
    inputs: tuple[InputFile, ...] = ()
    loaded: tuple[DataSource, ...] = ()
    governed: bool = False
    metrics_port: int | None = None

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models on board, in the order in which they came."""
        return tuple(file.entry.name for file in self.models)

    def plus(self, cargo: Cargo) -> RunConfig:
        """This configuration with more on board. UsageError for a model or dataset whose name is taken."""
        for taken, new in (
            (set(self.model_names), [file.entry.name for file in cargo.models]),
            ({c.dataset for c in self.catalogue.captures}, [c.dataset for c in cargo.captures]),
        ):
            double = sorted(taken & set(new))
            if double:
                raise UsageError(f"{double[0]!r} is on board already; rename the file, or use what is there.")
        return msgspec.structs.replace(
            self,
            catalogue=self.catalogue.plus(cargo.captures),
            models=(*self.models, *cargo.models),
            inputs=(*self.inputs, *cargo.inputs),
            preloaded=(*self.preloaded, *cargo.preloaded),
            loaded=(*self.loaded, *cargo.sources),
        )

    def host_of(self) -> dict[NodeId, str]:
        """Which host process each node is in."""
        return {node: host.name for host in self.hosts for node in host.nodes}


def write_config(folder: Path, config: RunConfig) -> None:
    """Write the configuration into a run directory."""
    part = folder / f"{CONFIG_FILE}.part"
    part.write_bytes(msgspec.json.encode(config))
    part.replace(folder / CONFIG_FILE)


def read_config(folder: Path) -> RunConfig:
    """Read a run directory's configuration; CorruptFile where it is none of this version."""
    try:
        config = msgspec.json.decode((folder / CONFIG_FILE).read_bytes(), type=RunConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise CorruptFile(f"{folder / CONFIG_FILE} cannot be read ({error}); bring the run up again.") from error
    if config.version != CONFIG_VERSION:
        raise CorruptFile(f"{folder / CONFIG_FILE} has version {config.version}, this is {CONFIG_VERSION}.")
    return config


def write_overlay(folder: Path, overlay: Overlay) -> None:
    """Leave word of what is broken now for processes that start later."""
    part = folder / f"{OVERLAY_FILE}.part"
    cuts = [(a, b, since_s) for (a, b), since_s in overlay.cuts.items()]
    part.write_bytes(msgspec.json.encode((overlay.version, cuts, list(overlay.dead.items()))))
    part.replace(folder / OVERLAY_FILE)


def read_overlay(folder: Path) -> Overlay:
    """What is broken now; nothing, where nobody has left word."""
    try:
        text = (folder / OVERLAY_FILE).read_bytes()
    except FileNotFoundError:
        return Overlay()
    kinds = tuple[int, list[tuple[NodeId, NodeId, float]], list[tuple[NodeId, float]]]
    version, cuts, dead = msgspec.json.decode(text, type=kinds)
    return Overlay(version, {(a, b): since_s for a, b, since_s in cuts}, dict(dead))


def segment_path(folder: Path, index: int) -> Path:
    """Where an hour of the contact plan lies."""
    return folder / "plan" / f"hour-{index:05d}.plan"


def open_plan(folder: Path, config: RunConfig, mesh: Mesh) -> ContactPlan:
    """The contact plan of a run, its hours memory-mapped."""
    plan = ContactPlan(config.scenario, mesh)
    index = 0
    while segment_path(folder, index).exists():
        plan.add(map_segment(folder, index))
        index += 1
    return plan


def map_segment(folder: Path, index: int) -> Segment:
    """Map one hour of the plan; the mapping lives as long as its arrays."""
    descriptor = os.open(segment_path(folder, index), os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if not 0 < size <= MAX_PLAN_BYTES:
            raise CorruptFile(f"{segment_path(folder, index)} has {size} bytes, which is no hour of a plan.")
        return Segment.from_buffer(memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)))
    finally:
        os.close(descriptor)
