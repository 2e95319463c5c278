"""Which constellations ship with perigrid, and where does each of their numbers come from?

The data files `presets.toml` and `stations.toml` hold values as `{ value, kind, source }`; a number without
them is refused, so that every figure in a result can be traced. Reading the files is left to the caller:
this room is pure.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from perigrid.errors import ScenarioError
from perigrid.scenario.draft import (
    GROUPS,
    SINGLE,
    Draft,
    Leaf,
    assemble,
    convert,
    grow,
    names,
    overlay,
    plain,
    provenance_of,
    refuse_unknown,
)
from perigrid.scenario.model import Device, Provenance, Scenario
from perigrid.scenario.walker import NOTATIONS, of_notation
from perigrid.scenario.whole import check_whole, nearest

PRESETS_FILE, STATIONS_FILE = "presets.toml", "stations.toml"
"""Names of the data files, which lie beside this module."""

PRESET_KEYS = (
    "title",
    "epoch",
    "ut1_utc_s",
    "seed",
    "stations",
    "min_elevation_deg",
    "models",
    *SINGLE,
    *GROUPS,
)
"""What a preset, or a user's file, may say at its top."""

DEVICES = ("device", "ground_device")
HOST = "host"
"""The computer that a scenario has where it names none: this machine."""

_LEAF_KEYS = {"value", "kind", "source"}


@dataclass(frozen=True, slots=True)
class ComputeProfile:
    """What is known of a computer: numbers by name, such as `watts` or `tops_int8`, with their provenance, and the
    seconds a tile of each model, as leaves.
    """

    name: str
    values: Mapping[str, float]
    provenance: Mapping[str, Provenance]
    service_s: Mapping[str, Leaf]

    def device(self) -> Draft:
        """The table of a scenario whose computer this is: assumed, where one of its times is."""
        kinds = {leaf.provenance.kind for leaf in self.service_s.values() if leaf.provenance is not None}
        origin = Provenance(kind="general", source=f"the profile {self.name} of {PRESETS_FILE}")
        table: Draft = {
            "name": Leaf(self.name, None),
            "kind": Leaf("cited" if kinds == {"sourced"} else "assumed", None),
            "source": Leaf(origin.source, None),
            "slots": Leaf(1, Provenance(kind="assumed", source="one inference at a time")),
            "service_s": dict(self.service_s),
        }
        known = ("slots", "watts")
        return {**table, **{key: Leaf(self.values[key], self.provenance[key]) for key in known if key in self.values}}


@dataclass(frozen=True, slots=True)
class Presets:
    """Everything that ships: the defaults under every scenario, constellations, stations and computers.

    Each constellation's draft has the defaults below it already, and so has `bare`, which makes a file of
    element sets a scenario. Stations are drafts of [[station]] tables by name.
    """

    defaults: Draft
    bare: Draft
    constellations: Mapping[str, Draft]
    stations: Mapping[str, Draft]
    compute: Mapping[str, ComputeProfile]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the constellations, in the file's order."""
        return tuple(self.constellations)

    def draft(self, name: str, where: str) -> Draft:
        """The draft of a constellation; ScenarioError lists what there is."""
        if name not in self.constellations:
            raise ScenarioError(
                f"{where}: preset {name!r} is not known: {nearest(name, self.names)}Known: {', '.join(self.names)}."
            )
        return self.constellations[name]


def parse_presets(presets_text: str, stations_text: str) -> Presets:
    """Read the texts of `presets.toml` and `stations.toml`; ScenarioError for a number without provenance."""
    document = tomllib.loads(presets_text)
    refuse_unknown(document, ("defaults", "bare", "preset", "compute"), PRESETS_FILE, "")
    stations = {table["name"]: _station(table) for table in tomllib.loads(stations_text)["station"]}
    profiles = {name: _profile(name, table) for name, table in document["compute"].items()}
    defaults = grow(document["defaults"], _stated)
    constellations = {}
    for name, table in document["preset"].items():
        refuse_unknown(table, PRESET_KEYS, PRESETS_FILE, f"preset.{name}")
        top = grow(by_label(table, PRESETS_FILE), _stated)
        constellations[name] = overlay(defaults, resolved(top, stations, profiles, PRESETS_FILE))
    bare = resolved(grow(by_label(document.get("bare", {}), PRESETS_FILE), _stated), stations, profiles, PRESETS_FILE)
    return Presets(defaults, overlay(defaults, bare), constellations, stations, profiles)


def preset_scenario(name: str, presets: Presets) -> Scenario:
    """The constellation of that name as a scenario of its own; ScenarioError lists what there is."""
    return assemble(presets.draft(name, "presets"), name, name, f"preset {name}")


def by_label(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The table with its lists of tables keyed: by name, by dataset or file, or by number."""
    keyed = dict(table)
    for key in GROUPS:
        if key not in table:
            continue
        listed = table[key]
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise ScenarioError(f"{where}: {key} is {listed!r}: write each as a table of its own, [[{key}]].")
        keyed[key] = {}
        for number, entry in enumerate(listed):
            label, entry = _label(key, number, entry)
            if label in keyed[key]:
                raise ScenarioError(f"{where}: {key}.{label} appears twice: give each its own name.")
            keyed[key][label] = entry
    return keyed


def resolved(top: Draft, stations: Mapping[str, Draft], profiles: Mapping[str, ComputeProfile], where: str) -> Draft:
    """The draft with its shells' notations spelled out, its stations' places from the list that ships, and its
    devices' figures from their profiles.
    """
    draft = dict(top)
    if "shell" in draft:
        draft["shell"] = {label: _spelled_out(table, label, where) for label, table in draft["shell"].items()}
    if "stations" in draft or "station" in draft:
        draft["station"] = _placed(draft, stations, where)
    for key in DEVICES:
        if key in draft:
            draft[key] = _computer(draft[key], profiles, where, key)
    return draft


def with_device(scenario: Scenario, profile: str, presets: Presets, where: str, key: str = "device") -> Scenario:
    """The scenario with the computer of a profile (or `host`) on board, or on the ground as `ground_device`.

    ScenarioError for an unknown profile, and for one that states no time of a model of the scenario.
    """
    origin = Provenance(kind="user", source=where)
    table = {"kind": Leaf(HOST, None), **_computer(Leaf(profile, origin), presets.compute, where, key)}
    kept = {name: item for name, item in scenario.provenance.items() if name.partition(".")[0] != key}
    changed = msgspec.structs.replace(
        scenario,
        **{key: convert(Device, plain(table), where, key)},
        provenance=dict(sorted({**kept, **provenance_of({key: table})}.items())),
    )
    return check_whole(changed, where)


def _computer(item: Any, profiles: Mapping[str, ComputeProfile], where: str, key: str) -> Any:
    """A device's table: of the profile that stands in its place or in its key `profile`, with what else it says; of one
    that is only named as a profile, with that one's watts.
    """
    table = {"profile": item} if isinstance(item, Leaf) else dict(item)
    wanted = table.pop("profile", None)
    if wanted is None:
        name = table.get("name")
        profile = profiles.get(str(name.value)) if isinstance(name, Leaf) else None
        if profile is not None and "watts" in profile.values:
            return {"watts": Leaf(profile.values["watts"], profile.provenance["watts"]), **table}
        return table
    name = wanted.value if isinstance(wanted, Leaf) else wanted
    if name == HOST:
        return {"name": Leaf(HOST, wanted.provenance), "kind": Leaf(HOST, None), **table}
    if not isinstance(name, str) or name not in profiles:
        known = (HOST, *profiles)
        raise ScenarioError(
            f"{where}: {key} {name!r} is no computer that is known: {nearest(str(name), known)}Known: "
            f"{', '.join(known)}. Else write a table, [{key}], with name, kind and service_s."
        )
    return overlay(profiles[name].device(), table)


def _spelled_out(table: Draft, label: str, where: str) -> Draft:
    """A shell's table with keys in place of Walker's notation."""
    notation = next((key for key in NOTATIONS if key in table), None)
    if notation is None:
        return table
    leaf = table[notation]
    value = leaf.value if isinstance(leaf, Leaf) else leaf
    origin = leaf.provenance if isinstance(leaf, Leaf) else None
    spelled = of_notation(value, f"shell.{label}.{notation}", where, table)
    if origin is None:
        raise ScenarioError(
            f"{where}: shell.{label}.{notation} does not say where it comes from: write "
            "{ value = ..., kind = ..., source = ... }."
        )
    kept = {key: item for key, item in table.items() if key != notation}
    return {**kept, **{key: Leaf(value, origin) for key, value in spelled.items()}}


def _placed(draft: Draft, stations: Mapping[str, Draft], where: str) -> Draft:
    """The stations that a draft names or describes, with what the catalogue knows of each."""
    own = draft.get("station", {})
    listed = draft.get("stations", Leaf([], None))
    named = names(plain({"stations": listed})["stations"], where, "stations")
    known = {name.casefold(): table for name, table in stations.items()}
    placed: Draft = {}
    for name in (*named, *own):
        entry = known.get(name.casefold(), {})
        if name not in own and not entry:
            raise ScenarioError(
                f"{where}: stations names {name!r}, which is not in the catalogue of {len(stations)}: "
                f"{nearest(name, stations)}Else add a [[station]] with latitude_deg and longitude_deg."
            )
        placed[name] = {**entry, **own.get(name, {})}
    return placed


def _label(key: str, number: int, entry: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a table of a group is called, and the table with its name filled in."""
    if key == "data":
        return str(entry.get("dataset", entry.get("file", number))), entry
    if key in ("fault", "laser"):
        return str(number), entry
    if key == "catalogue" and "name" not in entry:
        last = str(entry.get("file", "")).rpartition("/")[2]
        entry = {"name": last.rpartition(".")[0] or last or f"catalogue-{number + 1}", **entry}
    name = entry.get("name", f"{key}-{number + 1}")
    return str(name), {"name": name, **entry}


def _stated(key: str, value: object) -> Leaf | None:
    """The leaf of a preset's value; ScenarioError for a number that does not say where it comes from."""
    if isinstance(value, dict) and set(value) == _LEAF_KEYS:
        try:
            origin = msgspec.convert({"kind": value["kind"], "source": value["source"]}, Provenance)
        except msgspec.ValidationError as error:
            raise ScenarioError(f"{PRESETS_FILE}: {key}: {error}: see the kinds at the file's top.") from error
        return Leaf(value["value"], origin)
    if isinstance(value, dict):
        return None
    if isinstance(value, int | float | datetime) and not isinstance(value, bool):
        raise ScenarioError(
            f"{PRESETS_FILE}: {key} = {value} does not say where it comes from: "
            "write { value = ..., kind = ..., source = ... }."
        )
    return Leaf(value, None)


def _profile(name: str, table: Mapping[str, Any]) -> ComputeProfile:
    draft = grow(table, _stated, f"compute.{name}")
    service_s = draft.pop("service_s", {})
    return ComputeProfile(name, plain(draft), provenance_of(draft), service_s)


def _station(table: Mapping[str, Any]) -> Draft:
    """A [[station]] table of the catalogue; its kind and source hold for both coordinates."""
    known = ("name", "latitude_deg", "longitude_deg", "provider", "bands", "kind", "source")
    refuse_unknown(table, known, STATIONS_FILE, f"station.{table['name']}")
    origin = Provenance(kind=table["kind"], source=table["source"])
    return {key: Leaf(table[key], origin if key in ("latitude_deg", "longitude_deg") else None) for key in known[:5]}
