"""How do layers of values become a scenario?

A draft is a tree of tables whose leaves carry their provenance. Drafts are laid over each other (defaults,
preset, user's file), so that every value keeps its origin wherever it ends up; `assemble` turns the last
one into a checked `Scenario`. All messages name the file, the dotted key and the remedy.

A draft's keys are those of a scenario file, with its lists as tables: `shell`, `catalogue` and `station` by
name, `data` by dataset or file, `laser` and `fault` by number. `each_shell`, `each_station` and `each_data`
hold what every shell, station and data source starts from, `each_optical_station` what the optical ones do,
`min_elevation_deg` what every station does.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from perigrid.errors import ScenarioError
from perigrid.scenario.bounds import BOUNDS, check_number, check_numbers
from perigrid.scenario.model import (
    Backbone,
    Catalogue,
    Clock,
    DataSource,
    Device,
    Elements,
    Fault,
    GroundLink,
    LaserPair,
    Lasers,
    Processing,
    Provenance,
    Scenario,
    Sensor,
    Shell,
    Station,
)
from perigrid.scenario.walker import NOTATIONS
from perigrid.scenario.whole import check_whole, nearest

Part = TypeVar("Part", bound=msgspec.Struct)

SINGLE: dict[str, type[msgspec.Struct]] = {
    "lasers": Lasers,
    "ground_link": GroundLink,
    "optical_link": GroundLink,
    "backbone": Backbone,
    "device": Device,
    "ground_device": Device,
    "clock": Clock,
    "processing": Processing,
}
"""Tables that a scenario has once, with what they become."""

GROUPS: dict[str, type[msgspec.Struct]] = {
    "shell": Shell,
    "catalogue": Catalogue,
    "laser": LaserPair,
    "station": Station,
    "data": DataSource,
    "fault": Fault,
    "sensor": Sensor,
}
"""Lists of tables, with what each of them becomes."""

NOT_WRITTEN = {"Catalogue": ("elements",)}
"""Fields of a part that no file gives: they are filled in from other files."""

INSTEAD = {"ltan_h": "raan_deg", "raan_deg": "ltan_h"}
"""Keys of a shell that stand in each other's place: the upper draft's overrules the lower's."""

OVERRULED = Provenance(kind="computed", source="overruled by ltan_h, which gives the node at the epoch")
ONE_PLANE = Provenance(kind="computed", source="one plane has neither spread nor phasing")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value and where it comes from; text in a preset may do without."""

    value: Any
    provenance: Provenance | None


Draft = dict[str, Any]
"""Keys to leaves or to further drafts."""


def refuse_unknown(table: Iterable[str], known: Iterable[str], where: str, key: str) -> None:
    """Raise ScenarioError for a key that is not known, with the nearest one that is."""
    names = list(known)
    for name in table:
        if name not in names:
            place = f"{key}.{name}" if key else name
            raise ScenarioError(f"{where}: {place} is not known: {nearest(name, names)}Known here: {', '.join(names)}.")


def grow(table: Mapping[str, Any], leaf: Callable[[str, Any], Leaf | None], key: str = "") -> Draft:
    """A draft of a table read from TOML.

    `leaf(dotted key, value)` makes the leaf of a value, or None for a table that is to be descended into.
    """
    draft: Draft = {}
    for name, value in table.items():
        dotted = f"{key}.{name}" if key else name
        made = leaf(dotted, value)
        draft[name] = grow(value, leaf, dotted) if made is None else made
    return draft


def plain(draft: Draft) -> dict[str, Any]:
    """The values of a draft without their provenance."""
    return {key: item.value if isinstance(item, Leaf) else plain(item) for key, item in draft.items()}


def provenance_of(draft: Draft, key: str = "") -> dict[str, Provenance]:
    """The provenance of a draft's values by their dotted keys."""
    found: dict[str, Provenance] = {}
    for name, item in draft.items():
        dotted = f"{key}.{name}" if key else name
        if not isinstance(item, Leaf):
            found.update(provenance_of(item, dotted))
        elif item.provenance is not None:
            found[dotted] = item.provenance
    return found


def overlay(base: Draft, top: Draft) -> Draft:
    """Lay one draft over another.

    Tables are merged key by key. A group of the upper draft replaces the lower one as a whole, but its
    tables take the keys that they leave out from the lower table of the same name.
    """
    merged = dict(base)
    for key, item in top.items():
        lower = base.get(key)
        if key in GROUPS and isinstance(lower, dict):
            merged[key] = {label: _laid(lower.get(label, {}), table) for label, table in item.items()}
        elif isinstance(lower, dict) and isinstance(item, dict):
            merged[key] = overlay(lower, item)
            if "rate_bps" in item and "uplink_bps" not in item:
                # Whoever states a link's rate alone means both directions, not another link's uplink.
                merged[key].pop("uplink_bps", None)
        else:
            merged[key] = item
    return merged


def assemble(
    draft: Draft, name: str, preset: str, where: str, elements: Mapping[str, tuple[Elements, ...]] | None = None
) -> Scenario:
    """The checked scenario that a draft describes; ScenarioError names what is wrong in `where`.

    `elements` are those of the catalogues' files, by the catalogues' names.
    """
    whole = _filled(draft, where)
    values = plain(whole)
    parts = {key: convert(kind, values[key], where, key) for key, kind in SINGLE.items() if key in values}
    groups: dict[str, Any] = {
        key: tuple(convert(kind, table, where, f"{key}.{label}") for label, table in values.get(key, {}).items())
        for key, kind in GROUPS.items()
    }
    return check_whole(
        Scenario(
            name=name,
            title=text(values.get("title", name), where, "title"),
            preset=preset,
            epoch=utc(values["epoch"], where),
            models=names(values["models"], where, "models"),
            ut1_utc_s=float(_number(values, "ut1_utc_s", (int, float), where)),
            seed=_number(values, "seed", (int,), where),
            shells=groups["shell"],
            catalogues=tuple(_with_elements(one, elements or {}) for one in groups["catalogue"]),
            laser_pairs=groups["laser"],
            stations=groups["station"],
            data=groups["data"],
            faults=groups["fault"],
            sensors=groups["sensor"],
            provenance=dict(sorted(provenance_of(whole).items())),
            **parts,  # type: ignore[arg-type]
        ),
        where,
    )


def _filled(draft: Draft, where: str) -> Draft:
    """The draft with what each table of a list starts from in it, and without what no scenario has."""
    whole = dict(draft)
    whole["shell"] = {label: _shell(draft, label, where) for label in draft.get("shell", {})}
    whole["station"] = {label: _station(draft, table) for label, table in draft.get("station", {}).items()}
    whole["data"] = {label: {**draft["each_data"], **table} for label, table in draft.get("data", {}).items()}
    if not any(_is_optical(table) for table in whole["station"].values()):
        # What no station uses is no assumption of the scenario, but what the user wrote is checked all the same.
        unused = plain({"optical_link": whole.pop("optical_link")})
        convert(GroundLink, unused["optical_link"], where, "optical_link")
    for key in ("each_shell", "each_station", "each_optical_station", "each_data", "min_elevation_deg"):
        whole.pop(key, None)
    return whole


def convert(kind: type[Part], table: object, where: str, key: str) -> Part:
    """One part of a scenario, its fields' names, types and bounds checked."""
    if not isinstance(table, dict):
        raise ScenarioError(f"{where}: {key} is {table!r}: write a table, [{key}], with keys of its own.")
    fields = [field for field in msgspec.structs.fields(kind) if field.name not in NOT_WRITTEN.get(kind.__name__, ())]
    known = [field.name for field in fields] + (list(NOTATIONS) if kind is Shell else [])
    refuse_unknown(table, known, where, key)
    for field in fields:
        if field.required and field.name not in table:
            raise ScenarioError(f"{where}: {key}.{field.name} is missing: add {field.name} = ... to it.")
    try:
        part = msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise ScenarioError(f"{where}: {key}{place.rstrip('`')}: {problem}: write that type.") from error
    check_numbers(part, where, key)
    return part


def text(value: object, where: str, key: str) -> str:
    """A value that has to be text."""
    if not isinstance(value, str):
        raise ScenarioError(f'{where}: {key} is {value!r}: write text in quotes, such as {key} = "ring".')
    return value


def names(value: object, where: str, key: str) -> tuple[str, ...]:
    """A value that has to be a list of names."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ScenarioError(f'{where}: {key} is {value!r}: write a list of names, such as ["one", "two"].')
    return tuple(value)


def utc(value: object, where: str) -> datetime:
    """The epoch as an aware moment in UTC, from a TOML moment or text."""
    advice = "write a moment with its zone, such as 2026-01-01T00:00:00Z"
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ScenarioError(f"{where}: epoch is {value!r}: {advice}.") from error
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ScenarioError(f"{where}: epoch is {value}, which is no moment in a time zone: {advice}.")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ScenarioError(f"{where}: epoch is {value}, where dates end: {advice}.") from error


def _number(values: Mapping[str, Any], key: str, kinds: tuple[type, ...], where: str) -> Any:
    """A number at the top of a file, its type and bounds checked."""
    value = values[key]
    if isinstance(value, bool) or type(value) not in kinds:
        kind = "number" if float in kinds else "whole number"
        raise ScenarioError(f"{where}: {key} is {value!r}: write a {kind}, such as {key} = 1.")
    check_number(value, BOUNDS["Scenario"][key], where, key)
    return value


def _with_elements(catalogue: Any, elements: Mapping[str, tuple[Elements, ...]]) -> Catalogue:
    """The catalogue with the objects of its file, at most as many as it asks for."""
    found: Catalogue = msgspec.structs.replace(
        catalogue, elements=elements.get(catalogue.name, ())[: catalogue.first or None]
    )
    return found


def _laid(lower: Draft, table: Draft) -> Draft:
    """A table of a list over the lower one of the same name."""
    stale = {other for key, other in INSTEAD.items() if key in table and other not in table}
    return {**{key: item for key, item in lower.items() if key not in stale}, **table}


def _is_optical(table: object) -> bool:
    kind = table.get("kind") if isinstance(table, dict) else None
    return isinstance(kind, Leaf) and kind.value == "optical"


def _station(draft: Draft, table: Draft) -> Draft:
    """A station's table with what it left out."""
    optical = draft["each_optical_station"] if _is_optical(table) else {}
    return {**draft["each_station"], **optical, "min_elevation_deg": draft["min_elevation_deg"], **table}


def _shell(draft: Draft, label: str, where: str) -> Draft:
    """A shell's table with what it left out; one of many planes has to state their spread and phasing
    itself.
    """
    table: Draft = {**draft["each_shell"], **draft["shell"][label]}
    if "ltan_h" in table:
        if "raan_deg" in draft["shell"][label]:
            raise ScenarioError(
                f"{where}: shell.{label} has both ltan_h and raan_deg, which stand in each other's place: keep one."
            )
        table["raan_deg"] = Leaf(0.0, OVERRULED)
    stated = table.get("planes")
    planes = stated.value if isinstance(stated, Leaf) else None
    table.setdefault("topology", Leaf("ring" if planes == 1 else "grid", None))
    for key in ("raan_spread_deg", "phasing"):
        if planes in (0, 1):
            # None at all is refused by its bound, which is what is wrong with it.
            table.setdefault(key, Leaf(0.0, ONE_PLANE))
        elif planes is not None and key not in table:
            raise ScenarioError(
                f"{where}: shell.{label}.{key} is missing: with more than one plane it changes every delay, "
                "so it has to be stated. A Walker delta has raan_spread_deg = 360 and phasing = F / planes."
            )
    return table
