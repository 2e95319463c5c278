"""Which world does a user's own work run on?

A preset, a scenario file or a scenario made in Python, with the user's own models and data in place of its own. What
the user names has to be there; what a preset brings along is fitted to this machine, as `scenarios.py` says.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from perigrid.app.scenarios import Chosen, Say, at_epoch, fit, from_file, is_file, model_store, shipped_presets
from perigrid.errors import DataError
from perigrid.live.scenes import SceneSearch
from perigrid.scenario.bounds import BOUNDS, check_number
from perigrid.scenario.model import DataSource, Provenance, Scenario
from perigrid.scenario.presets import preset_scenario
from perigrid.scenario.whole import check_whole

DEFAULT_WORLD = "three-body-12"
"""The preset that own work runs on where nothing else is said."""

SHIPPED_MODEL = "tinycloud"
"""A model that is there on every machine."""

DATA_SUFFIXES = (".npy", ".npz")
MODEL_SUFFIX = ".onnx"
DIGEST_LETTERS = 12
"""Letters of its digest in the name of an array that has no file."""

ORBIT_RATE = "clock.orbit_rate"
"""How fast the sky turns, by its dotted name in a scenario."""

Model = str | Path
"""A model's name, or the path of an .onnx file."""

Data = str | Path | DataSource | NDArray[Any]
"""A dataset's name, the path of a scene (.npz), of tiles (.npy) or of a folder of them, a source, or tiles [N, ...]."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What goes on board in place of a scenario's own; None keeps that."""

    models: Sequence[str] | None = None
    data: Sequence[DataSource] | None = None
    epoch: str | None = None
    orbit_rate: float | None = None


def world(target: str | Path | Scenario, wanted: Wanted, environment: Mapping[str, str], say: Say) -> Chosen:
    """The scenario of a preset's name, a .toml file or a value, with what is wanted on board.

    ScenarioError for what cannot be, MissingFile for files that are not there.
    """
    if wanted.models is not None:
        store = model_store(environment)
        for name in wanted.models:
            store.resolve(name)
    own: dict[str, Any] = {}
    if wanted.models is not None:
        own["models"] = tuple(wanted.models)
    if wanted.data is not None:
        own["data"] = tuple(wanted.data)
    chosen = _base(target, wanted, environment, say)
    origin = {key: Provenance(kind="user", source="named at the launch") for key in own}
    scenario = msgspec.structs.replace(
        chosen.scenario, **own, provenance={**_kept(chosen.scenario.provenance, own), **origin}
    )
    if wanted.epoch is not None:
        scenario = at_epoch(scenario, wanted.epoch)
    if wanted.orbit_rate is not None:
        scenario = at_orbit_rate(scenario, wanted.orbit_rate)
    return Chosen(check_whole(scenario, scenario.name), chosen.changes)


def at_orbit_rate(scenario: Scenario, orbit_rate: float) -> Scenario:
    """The scenario with a sky that turns so many times as fast as emulated time passes; ScenarioError beyond bounds."""
    check_number(orbit_rate, BOUNDS["Clock"]["orbit_rate"], "--orbit-rate", ORBIT_RATE)
    clock = msgspec.structs.replace(scenario.clock, orbit_rate=float(orbit_rate))
    provenance = {**scenario.provenance, ORBIT_RATE: Provenance(kind="user", source="--orbit-rate")}
    return msgspec.structs.replace(scenario, clock=clock, provenance=provenance)


def data_source(data: str | Path | DataSource, environment: Mapping[str, str]) -> DataSource:
    """The source that a user's word for data means: the name of a known dataset, else a path."""
    if isinstance(data, DataSource):
        return data
    if isinstance(data, str) and data in SceneSearch.from_environment(environment).known():
        return DataSource(dataset=data)
    return DataSource(file=str(data))


def is_data_path(data: object) -> bool:
    """Whether a user's word for data means a file or a folder, not a name on board."""
    text = str(data)
    return isinstance(data, Path) or text.endswith(DATA_SUFFIXES) or "/" in text or Path(text).is_dir()


def is_model_path(model: object) -> bool:
    """Whether a user's word for a model means a file, not a name on board."""
    return isinstance(model, Path) or str(model).endswith(MODEL_SUFFIX)


@contextmanager
def as_files(data: Sequence[Data]) -> Iterator[list[str | Path | DataSource]]:
    """The data with each array as a .npy file, which is there until the context ends: a run keeps its own copy.

    An array's name is made of its bytes, so that the same array again is the same dataset.
    """
    with tempfile.TemporaryDirectory(prefix="perigrid-") as folder:
        yield [_file_of(each, Path(folder)) if isinstance(each, np.ndarray) else each for each in data]


def as_list(items: object) -> list[Any]:
    """One item, or a list or tuple of several, as a list."""
    return list(items) if isinstance(items, list | tuple) else [items]


def _base(target: str | Path | Scenario, wanted: Wanted, environment: Mapping[str, str], say: Say) -> Chosen:
    if isinstance(target, Scenario):
        return Chosen(target)
    if isinstance(target, Path) or is_file(target):
        return from_file(Path(target), environment, say)
    preset = preset_scenario(target, shipped_presets())
    # What is replaced anyway need not be on this machine.
    if wanted.models is not None:
        preset = msgspec.structs.replace(preset, models=(SHIPPED_MODEL,))
    if wanted.data is not None:
        preset = msgspec.structs.replace(preset, data=())
    return fit(preset, environment, say)


def _kept(provenance: Mapping[str, Provenance], own: Mapping[str, Any]) -> dict[str, Provenance]:
    """The provenance of what was not replaced."""
    return {key: origin for key, origin in provenance.items() if key.partition(".")[0] not in own}


def _file_of(array: NDArray[Any], folder: Path) -> Path:
    if array.dtype.hasobject:
        raise DataError("an array of Python objects holds no tiles; give numbers, for instance as float32.")
    whole = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{whole.dtype.str} {whole.shape} ".encode() + whole.tobytes()).hexdigest()
    path = folder / f"array-{digest[:DIGEST_LETTERS]}.npy"
    np.save(path, whole)
    return path
