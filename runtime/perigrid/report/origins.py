"""Where does each number of the scenario come from?

Every value that has a provenance, by its dotted name, in a table a kind: what was assumed first, since that is what a
reader has to know before believing a result; then what is general knowledge, computed, published, or the user's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from perigrid.live.config import InputFile, ModelFile
from perigrid.report.markup import Html, join, tag
from perigrid.report.words import count, linked, value_of
from perigrid.scenario.draft import GROUPS
from perigrid.scenario.model import Provenance, Scenario

KINDS: Mapping[str, tuple[str, str]] = {
    "assumed": ("Assumed", "no public value exists or was found"),
    "general": ("General knowledge", "approximate"),
    "computed": ("Computed", "follows from other values"),
    "sourced": ("Published", "the source says where"),
    "user": ("Chosen by the user", "in the file named"),
}
"""How each kind of provenance is headed, in the order of the page."""

MAX_ROWS = 2000
"""Values listed in all; a catalogue of 256 stations has fewer."""


def value_at(scenario: Scenario, name: str) -> Any:
    """The scenario's value of a dotted name such as "shell.ring.altitude_km"; None where it has none.

    Names of shells and stations may have dots of their own.
    """
    group, _, rest = name.partition(".")
    if group in GROUPS and "." in rest:
        label, _, key = rest.rpartition(".")
        return getattr(_entry(scenario, group, label), key, None)
    if group == "stations":
        return tuple(station.name for station in scenario.stations)
    value: Any = scenario
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def _entry(scenario: Scenario, group: str, label: str) -> Any:
    if group in ("fault", "laser"):
        number = int(label) if label.isdecimal() else -1
        listed: Sequence[Any] = scenario.faults if group == "fault" else scenario.laser_pairs
        return listed[number] if 0 <= number < len(listed) else None
    if group == "data":
        return next((source for source in scenario.data if source.label == label), None)
    groups: dict[str, Sequence[Any]] = {"shell": scenario.shells, "catalogue": scenario.catalogues}
    named = groups.get(group, scenario.stations)
    return next((one for one in named if one.name == label), None)


def origins(scenario: Scenario) -> Html:
    """The tables, a kind each."""
    room = MAX_ROWS
    parts = []
    for kind, (title, meaning) in KINDS.items():
        found = [(name, origin) for name, origin in scenario.provenance.items() if origin.kind == kind]
        if not found:
            continue
        shown = found[:room]
        room -= len(shown)
        summary = tag("summary", tag("b", title), f" · {count(len(found), 'value')} · {meaning}")
        content = [_table(scenario, shown, title)]
        if len(shown) < len(found):
            content.append(tag("p", f"Showing {len(shown):,} of {count(len(found), 'value')}.", class_="note"))
        parts.append(tag("details", summary, *content, open=kind == "assumed"))
    if not parts:
        return tag("p", "This scenario was made in a program and says of no value where it comes from.", class_="note")
    return join(parts)


def _table(scenario: Scenario, rows: Sequence[tuple[str, Provenance]], title: str) -> Html:
    head = tag("tr", *(tag("th", name, scope="col") for name in ("value of", "value", "where it comes from")))
    body = [
        tag(
            "tr",
            tag("th", tag("code", breakable(name)), scope="row"),
            tag("td", value_of(name, value_at(scenario, name))),
            tag("td", linked(origin.source)),
        )
        for name, origin in rows
    ]
    table = tag(
        "table", tag("caption", title, class_="hidden"), tag("thead", head), tag("tbody", *body), class_="origins"
    )
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"Values: {title}")


def breakable(name: str) -> Html:
    """A dotted name that may be broken behind its dots and lines, and nowhere else."""
    return join(re.split(r"(?<=[._])", name), tag("wbr"))


def inputs_table(models: Sequence[ModelFile], inputs: Sequence[InputFile]) -> Html:
    """The models and data of the run: whose, under which licence where that is known, and the sha256 of each file."""
    entries = {model.entry.name: model.entry for model in models}
    head = tag(
        "tr", *(tag("th", name, scope="col") for name in ("model or data", "licence", "where it comes from", "sha256"))
    )
    body = [
        tag(
            "tr",
            tag("th", file.name, scope="row"),
            tag("td", getattr(entries.get(file.name), "licence", "") or "not stated"),
            tag("td", linked(getattr(entries.get(file.name), "source", "") or file.label)),
            tag("td", tag("code", file.sha256, class_="digest")),
        )
        for file in inputs[:MAX_ROWS]
    ]
    table = tag("table", tag("caption", "Models and data"), tag("thead", head), tag("tbody", *body), class_="origins")
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Models and data")
