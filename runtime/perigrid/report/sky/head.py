"""What has to be known of a sky before any figure of it is believed?

Phasing and topology change answers by tens of milliseconds, and what is assumed is no fact: so every output on a sky
says both, with the moments and the Earth model behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from perigrid.mesh.survey.overview import groups_of, shell_view
from perigrid.scenario.model import ProvenanceKind, Scenario

PARTS = ("shell", "catalogue", "laser", "station", "lasers", "ground_link", "optical_link", "backbone")
"""Parts of a scenario that the sky is made of."""

SINGLE = ("epoch", "stations", "min_elevation_deg", "ut1_utc_s", "clock.orbit_rate", "seed")
"""Single values that it is made of."""

SHOWN_KINDS: tuple[ProvenanceKind, ...] = ("assumed",)
NAMES_SHOWN = 3
"""How many names a line gathers before it counts them."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """One value that no source states: its dotted key, the value as text, and why it stands there."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """How the satellites of one shell are arranged; `notation` and `phasing_slots` are empty for a catalogue."""

    shell: str
    notation: str
    arrangement: str
    phasing_slots: float | None
    topology: str


@dataclass(frozen=True, slots=True)
class Head:
    """What stands over every output on a sky."""

    scenario: str
    title: str
    satellites: int
    stations: int
    epoch_utc: str
    at_utc: str
    at_s: float
    orbit_rate: float
    earth: str
    notes: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    assumptions: tuple[Assumption, ...]


def head_of(scenario: Scenario, at_s: float, notes: tuple[str, ...] = (), orbit_rate: float = 1.0) -> Head:
    """The head of an output on a scenario at a sky time; `notes` are sentences on what was done otherwise.

    `orbit_rate` is how fast a run of it turns the sky; the output itself is in the orbits' own time.
    """
    return Head(
        scenario=scenario.name,
        title=scenario.title,
        satellites=scenario.satellite_count,
        stations=len(scenario.stations),
        epoch_utc=utc_text(scenario.epoch),
        at_utc=utc_text(moment_at(scenario, at_s)),
        at_s=at_s,
        orbit_rate=orbit_rate,
        earth=earth_model(scenario),
        notes=notes,
        patterns=patterns_of(scenario),
        assumptions=assumptions_of(scenario),
    )


def moment_at(scenario: Scenario, t_s: float) -> datetime:
    """The moment of a sky time."""
    return scenario.epoch.astimezone(UTC) + timedelta(seconds=t_s)


def utc_text(moment: datetime) -> str:
    """A moment in ISO 8601, to the millisecond where it has a fraction."""
    moment = moment.astimezone(UTC)
    fraction = round(moment.microsecond / 1000)
    if fraction == 1000:
        moment, fraction = moment + timedelta(seconds=1), 0
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction:03d}Z" if fraction else "Z")


def earth_model(scenario: Scenario) -> str:
    """What moves the satellites, and what they are seen from, in words."""
    movers = []
    if scenario.shells:
        movers.append("circular orbits with the secular effects of J2")
    if scenario.catalogues:
        movers.append("SGP4 (WGS72) for catalogued objects")
    return (
        f"{' and '.join(movers) or 'no satellites'}; WGS84 ellipsoid, turned by mean sidereal time with UT1-UTC = "
        f"{scenario.ut1_utc_s:g} s; no polar motion, no refraction"
    )


def patterns_of(scenario: Scenario) -> tuple[Pattern, ...]:
    """The arrangement of every shell and catalogue."""
    views = [shell_view(group) for group in groups_of(scenario)]
    return tuple(Pattern(view.name, view.notation, view.pattern, view.phasing_slots, view.topology) for view in views)


def assumptions_of(scenario: Scenario) -> tuple[Assumption, ...]:
    """Values of the sky that are assumed and that make a difference, in the order of their keys."""
    found = []
    for key, origin in sorted(scenario.provenance.items()):
        part = key in SINGLE or key.partition(".")[0] in PARTS
        if origin.kind in SHOWN_KINDS and part and _matters(scenario, key):
            found.append(Assumption(key, _value_text(scenario, key), origin.source))
    return tuple(found)


def _matters(scenario: Scenario, key: str) -> bool:
    """Whether another value would change anything, as the others stand."""
    field = key.rpartition(".")[2]
    clouds = any(station.availability < 1.0 for station in scenario.stations)
    outages = scenario.lasers.availability < 1.0
    if key == "clock.orbit_rate":
        return scenario.clock.orbit_rate != 1.0
    if key == "seed":
        return clouds or outages
    if key.startswith("station.") and field in ("closure_s", "availability"):
        name = key.removeprefix("station.").rpartition(".")[0]
        return clouds and any(one.name == name and one.kind == "optical" for one in scenario.stations)
    if field in ("acquisitions_per_day", "burst_share"):
        return outages
    return True


def head_lines(head: Head) -> list[str]:
    """The head for a reader."""
    lines = [
        f"{head.scenario}: {head.title}",
        f"  epoch      {head.epoch_utc}; shown {head.at_utc}, t = {head.at_s:.12g} s",
    ]
    if head.orbit_rate != 1.0:
        lines.append(
            f"  orbits     turn {head.orbit_rate:g} times as fast as time passes in a run; times here are their own"
        )
    lines += [f"  shell      {pattern_text(pattern)}" for pattern in head.patterns]
    lines += [f"  note       {note}" for note in head.notes]
    return [*lines, f"  earth      {head.earth}", *(f"  assumed    {line}" for line in assumption_lines(head))]


def brief_lines(head: Head) -> list[str]:
    """The head for a reader who wants rows: the assumptions by key alone."""
    assumed = [line.partition(": ")[0] for line in assumption_lines(head)]
    kept = [line for line in head_lines(head) if not line.startswith("  assumed ")]
    return [*kept, f"  assumed    {'; '.join(assumed)} (`perigrid sky show` says why)"] if assumed else kept


def pattern_text(pattern: Pattern) -> str:
    """A shell's arrangement in a few words."""
    if pattern.phasing_slots is None:
        return f"{pattern.shell}: {pattern.arrangement}, topology {pattern.topology}"
    return (
        f"{pattern.shell}: {pattern.notation}, {pattern.arrangement}, phasing {pattern.phasing_slots:.4g} of a slot, "
        f"topology {pattern.topology}"
    )


def assumption_lines(head: Head) -> list[str]:
    """Assumptions, those with one reason and one value on one line."""
    together: dict[tuple[str, str, str], list[str]] = {}
    for each in head.assumptions:
        part, _, rest = each.key.partition(".")
        name, _, field = rest.rpartition(".")
        label = f"{part}.*.{field}" if name else each.key
        together.setdefault((label, each.value, each.source), []).append(name or each.key)
    lines = []
    for (label, value, source), names in together.items():
        key = label
        if ".*." in label:
            key = label.replace("*", names[0]) if len(names) == 1 else f"{label} ({_listed(names)})"
        lines.append(f"{key}{f' = {value}' if value else ''}: {source}")
    return lines


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _value_text(scenario: Scenario, key: str) -> str:
    """The value of a dotted key as text, "" where it is none that a reader would want."""
    part, _, rest = key.partition(".")
    name, _, field = rest.rpartition(".")
    groups = {"shell": scenario.shells, "catalogue": scenario.catalogues, "station": scenario.stations}
    owner: object = scenario
    if part in groups:
        owner = next((one for one in groups[part] if getattr(one, "name", "") == name), None)
    elif rest:
        owner = getattr(scenario, part, None)
    value = getattr(owner, field or part, None)
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return value if isinstance(value, str) else f"{value:g}"
