"""Which scenario does the user mean, and can this machine run it?

A preset is named; a file ends in .toml or as files of element sets do (.json, .csv, .xml, .kvn, .omm, .tle,
.txt), or has a "/" in it. What a scenario file asks for has to be there. A preset, and a file of element
sets alone, asks for the models and scenes that perigrid can fetch, not for what the user insists on, so here
what is missing is left out or replaced, and a line says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import msgspec

import perigrid.app
import perigrid.scenario
from perigrid.errors import MissingFile, UsageError
from perigrid.live.models import ModelStore, default_cache
from perigrid.live.scenes import SceneSearch, load_scene
from perigrid.scenario.draft import utc
from perigrid.scenario.elements import read_elements
from perigrid.scenario.load import parse, scenario_of_elements
from perigrid.scenario.model import DataSource, Provenance, Scenario
from perigrid.scenario.presets import (
    PRESETS_FILE,
    STATIONS_FILE,
    Presets,
    parse_presets,
    preset_scenario,
    with_device,
)
from perigrid.scenario.whole import check_epoch

DEMO_FILE = "demo.toml"

PACKAGED_SCENE = "spyndex"
"""The scene that comes with the extra `eo`, which a preset's missing scene is replaced by."""

MAX_FILE_BYTES = 16_000_000
"""A larger scenario file is not read."""

MAX_ELEMENTS_BYTES = 128_000_000
"""A larger file of element sets is not read."""

ELEMENTS_SUFFIXES = (".json", ".csv", ".xml", ".kvn", ".omm", ".tle", ".txt")
"""How files of element sets end; which format they have is seen in their content."""

Say = Callable[[str], None]
"""Takes one line on what is going on."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A scenario with what was changed in it for want of a model or a scene, a sentence each."""

    scenario: Scenario
    changes: tuple[str, ...] = ()


def shipped_presets() -> Presets:
    """The presets and stations that come with perigrid."""
    folder = files(perigrid.scenario)
    return parse_presets(
        folder.joinpath(PRESETS_FILE).read_text(encoding="utf-8"),
        folder.joinpath(STATIONS_FILE).read_text(encoding="utf-8"),
    )


def is_file(target: str) -> bool:
    """Whether a user's word for a scenario means a file, not a preset."""
    return target.casefold().endswith((".toml", *ELEMENTS_SUFFIXES)) or "/" in target


def choose(target: str, environment: Mapping[str, str], say: Say) -> Chosen:
    """The scenario that `target` names, ready for this machine.

    ScenarioError for an unknown preset or a file that says something wrong, MissingFile where a file, a model
    or a scene is not there.
    """
    if is_file(target):
        return from_file(Path(target), environment, say)
    return fit(preset_scenario(target, shipped_presets()), environment, say)


def from_file(path: Path, environment: Mapping[str, str], say: Say) -> Chosen:
    """The scenario of a scenario file, whose catalogues lie beside it, or of a file of element sets alone.

    Raises as `choose` does.
    """
    if path.suffix.casefold() in ELEMENTS_SUFFIXES:
        elements = read_elements(read_text(path, MAX_ELEMENTS_BYTES, "a file of element sets"), str(path))
        return fit(scenario_of_elements(elements, path.stem, str(path), shipped_presets()), environment, say)

    def beside(file: str) -> str:
        return read_text(path.parent / file, MAX_ELEMENTS_BYTES, "a file of element sets", f"the folder of {path}")

    return Chosen(parse(read_text(path), str(path), shipped_presets(), beside))


def demo_scenario(environment: Mapping[str, str], say: Say) -> Chosen:
    """The scenario of `perigrid demo`; MissingFile where there is no scene to work on."""
    text = files(perigrid.app).joinpath(DEMO_FILE).read_text(encoding="utf-8")
    chosen = fit(parse(text, DEMO_FILE, shipped_presets()), environment, say)
    if not chosen.scenario.data:
        raise MissingFile(f"the demo has no scene to work on: {chosen.changes[-1]}.")
    return chosen


def read_text(
    path: Path, max_bytes: int = MAX_FILE_BYTES, noun: str = "a TOML file", start: str = "the current folder"
) -> str:
    """A user's file as text; MissingFile where there is none, UsageError where it is none of text."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise UsageError(f"{path} is larger than {max_bytes} bytes; name {noun}.")
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8 ({error}); name {noun}.") from error
    except OSError as error:
        raise MissingFile(
            f"{path} cannot be read ({error.strerror}); check the path, which is relative to {start}."
        ) from error


def model_store(environment: Mapping[str, str]) -> ModelStore:
    """The models that ship, and those that may be fetched."""
    return ModelStore(cache=default_cache(environment))


def fit(scenario: Scenario, environment: Mapping[str, str], say: Say) -> Chosen:
    """A preset without the models and scenes that this machine lacks; MissingFile where no model is left.

    Without a scene it holds no data; the user's own may be brought on board.
    """
    changes: list[str] = []
    # Without a cache nothing is fetched: a preset's models are worth a line, not a download of 145 MB.
    store = ModelStore()
    models = []
    for name in scenario.models:
        try:
            store.resolve(name)
            models.append(name)
        except MissingFile as error:
            changes.append(f"without the model {name}: {error}")
    if not models:
        raise MissingFile(f"none of the scenario's models is on this machine: {changes[0]}.")
    found = (_found(source, environment, say, changes) for source in scenario.data)
    data = tuple(source for source in found if source is not None)
    return Chosen(msgspec.structs.replace(scenario, models=tuple(models), data=data), tuple(changes))


def at_epoch(scenario: Scenario, epoch: str) -> Scenario:
    """The scenario with another epoch, an ISO 8601 moment with its zone; ScenarioError where it is none, or too far
    from the elements of a catalogued satellite.
    """
    provenance = {**scenario.provenance, "epoch": Provenance(kind="user", source="--epoch")}
    moved = msgspec.structs.replace(scenario, epoch=utc(epoch, "--epoch"), provenance=provenance)
    check_epoch(moved, "--epoch")
    return moved


def with_computers(scenario: Scenario, device: str | None, ground_device: str | None) -> Scenario:
    """The scenario with these profiles' computers on board and on the ground, None for its own; ScenarioError for an
    unknown one, and for one that states no time of one of the scenario's models.
    """
    for key, name in (("device", device), ("ground_device", ground_device)):
        if name is not None:
            scenario = with_device(scenario, name, shipped_presets(), f"--{key.replace('_', '-')}", key)
    return scenario


def utc_at(epoch: datetime, sky_s: float) -> str:
    """A sky time as a moment in UTC, ISO 8601, to the second."""
    moment = epoch.astimezone(UTC) + timedelta(seconds=sky_s)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _found(source: DataSource, environment: Mapping[str, str], say: Say, changes: list[str]) -> DataSource | None:
    """The source itself where its scene is or can be had, else the packaged scene in its stead, else None."""
    if source.dataset is None or source.dataset == PACKAGED_SCENE:
        return source
    search = SceneSearch.from_environment(environment)
    try:
        load_scene(source.dataset, search)
        return source
    except MissingFile:
        pass
    told = _Told(say, source.dataset)
    try:
        say(f"fetching the scene {source.dataset}")
        load_scene(source.dataset, search, download=True, progress=told)
        return source
    except MissingFile as missing:
        try:
            load_scene(PACKAGED_SCENE, search)
        except MissingFile as error:
            changes.append(f"without data: {missing}; and the packaged scene: {error}")
            return None
        changes.append(f"with the packaged scene {PACKAGED_SCENE} instead of {source.dataset}: {missing}")
        return msgspec.structs.replace(source, dataset=PACKAGED_SCENE)


class _Told:
    """Says how far a download is, at every tenth of it."""

    def __init__(self, say: Say, name: str) -> None:
        self._say = say
        self._name = name
        self._tenths = 0

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 * done // total if total else 0
        if tenths > self._tenths:
            self._tenths = tenths
            self._say(f"fetching the scene {self._name}: {10 * tenths} % of {total / 1e6:.1f} MB")
