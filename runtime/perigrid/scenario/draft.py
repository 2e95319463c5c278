"""How do layers of values become a scenario?

A draft is a tree of tables whose leaves carry their provenance. Drafts are laid over each other (defaults,
preset, user's file), so that every value keeps its origin wherever it ends up; `assemble` turns the last
one into a checked `Scenario`. All messages name the file, the dotted key and the remedy.

A draft's keys are those of a scenario file, with its lists as tables: `shell` and `station` by name, `data`
by dataset or file, `fault` by number. `each_shell` and `each_data` hold what every shell and data source
starts from, `min_elevation_deg` what every station does.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from perigrid.errors import ScenarioError
from perigrid.scenario.bounds import check_numbers, check_whole
from perigrid.scenario.model import (
    Backbone,
    Clock,
    DataSource,
    Device,
    Fault,
    GroundLink,
    Lasers,
    Provenance,
    Scenario,
    Shell,
    Station,
)

Part = TypeVar("Part", bound=msgspec.Struct)

SINGLE: dict[str, type[msgspec.Struct]] = {
    "lasers": Lasers,
    "ground_link": GroundLink,
    "backbone": Backbone,
    "device": Device,
    "ground_device": Device,
    "clock": Clock,
}
"""Tables that a scenario has once, with what they become."""

GROUPS: dict[str, type[msgspec.Struct]] = {
    "shell": Shell,
    "station": Station,
    "data": DataSource,
    "fault": Fault,
}
"""Lists of tables, with what each of them becomes."""

ONE_PLANE = Provenance(kind="computed", source="one plane has neither spread nor phasing")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value and where it comes from; text in a preset may do without."""

    value: Any
    provenance: Provenance | None


Draft = dict[str, Any]
"""Keys to leaves or to further drafts."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the most similar known word, ending in a space, or "" where none is similar."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {found[0]!r}? " if found else ""


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
            merged[key] = {label: {**lower.get(label, {}), **table} for label, table in item.items()}
        elif isinstance(lower, dict) and isinstance(item, dict):
            merged[key] = overlay(lower, item)
        else:
            merged[key] = item
    return merged


def assemble(draft: Draft, name: str, preset: str, where: str) -> Scenario:
    """The checked scenario that a draft describes; ScenarioError names what is wrong in `where`."""
    whole = dict(draft)
    whole["shell"] = {label: _shell(draft, label, where) for label in draft.get("shell", {})}
    whole["station"] = {
        label: {"min_elevation_deg": draft["min_elevation_deg"], **table}
        for label, table in draft.get("station", {}).items()
    }
    whole["data"] = {label: {**draft["each_data"], **table} for label, table in draft.get("data", {}).items()}
    for key in ("each_shell", "each_data", "min_elevation_deg"):
        whole.pop(key, None)
    values = plain(whole)
    parts = {key: convert(kind, values.get(key, {}), where, key) for key, kind in SINGLE.items()}
    groups = {
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
            shells=groups["shell"],  # type: ignore[arg-type]
            stations=groups["station"],  # type: ignore[arg-type]
            data=groups["data"],  # type: ignore[arg-type]
            faults=groups["fault"],  # type: ignore[arg-type]
            provenance=dict(sorted(provenance_of(whole).items())),
            **parts,  # type: ignore[arg-type]
        ),
        where,
    )


def convert(kind: type[Part], table: object, where: str, key: str) -> Part:
    """One part of a scenario, its fields' names, types and bounds checked."""
    if not isinstance(table, dict):
        raise ScenarioError(f"{where}: {key} is {table!r}: write a table, [{key}], with keys of its own.")
    fields = msgspec.structs.fields(kind)
    refuse_unknown(table, [field.name for field in fields], where, key)
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
    return value.astimezone(UTC)


def _shell(draft: Draft, label: str, where: str) -> Draft:
    """A shell's table with what it left out; one of many planes has to state their spread and phasing
    itself.
    """
    table: Draft = {**draft["each_shell"], **draft["shell"][label]}
    stated = table.get("planes")
    planes = stated.value if isinstance(stated, Leaf) else None
    table.setdefault("topology", Leaf("ring" if planes == 1 else "grid", None))
    for key in ("raan_spread_deg", "phasing"):
        if planes == 1:
            table.setdefault(key, Leaf(0.0, ONE_PLANE))
        elif planes is not None and key not in table:
            raise ScenarioError(
                f"{where}: shell.{label}.{key} is missing: with more than one plane it changes every delay, "
                "so it has to be stated. A Walker delta has raan_spread_deg = 360 and phasing = F / planes."
            )
    return table
