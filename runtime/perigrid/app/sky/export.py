"""How does a sky become a file?"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from perigrid.app.shell import Shell
from perigrid.app.sky.lists import Asked, check_positions, contacts_of, contacts_table, positions_table
from perigrid.app.sky.view import Sky
from perigrid.errors import UsageError
from perigrid.mesh.survey.overview import groups_of, shell_view
from perigrid.mesh.topology import LinkKind
from perigrid.report.sky.czml import MARGIN_SAMPLES, Colour, Document, Line, Place, Track, write_czml
from perigrid.report.sky.head import Head, brief_lines, head_lines, moment_at
from perigrid.report.sky.style import colour_of
from perigrid.report.tables import (
    Table,
    cannot_write,
    check_suffix,
    opened,
    pyarrow,
    write_csv,
    write_parquet,
)

SUFFIXES = {"csv": (".csv",), "parquet": (".parquet",), "czml": (".czml",)}

MAX_NAMED = 100
"""Satellites of a larger constellation have no names in Cesium."""

MAX_PATHS = 12
"""With more planes no paths are shown."""

MAX_LINKS_SHOWN = 1_000
"""Lasers that Cesium is given unless more are asked for: it draws each anew in every frame."""

MAX_CZML_STEP_S = 180.0
"""With more seconds between samples the curves through them stray by kilometres."""

CHUNK_SATELLITES = 200
"""Satellites that are written at once."""


@dataclass(frozen=True, slots=True)
class Export:
    """What is to be written, as it was asked for; `links` None leaves it to their number."""

    what: str
    form: str
    output: Path
    hours: float
    step_s: float
    every: int
    links: bool | None


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: how many of `what` to which file, and what all of it rests on."""

    file: str
    what: str
    count: int
    satellites: int
    links: int | None
    head: Head


def export_sky(shell: Shell, sky: Sky, asked: Export) -> None:
    """Write the file that was asked for, and say what is in it."""
    check_suffix(asked.output, SUFFIXES[asked.form], asked.form)
    if asked.form == "czml":
        _say(shell, _czml(sky, asked))
        return
    if asked.form == "parquet":
        pyarrow("pyarrow")
    if asked.what == "positions":
        table = positions_table(sky, asked.hours, asked.step_s, asked.every)
    else:
        plan = sky.plan(asked.hours)
        table = contacts_table(sky, plan, contacts_of(sky, plan, asked.hours, "all", Asked()))
        kept = set(sky.scenario.satellite_names[:: asked.every]) | {place.name for place in sky.scenario.stations}
        rows = np.array([a in kept and b in kept for a, b in zip(table["a"], table["b"], strict=True)], np.bool_)
        table = {name: _some(column, rows) for name, column in table.items()}
    count = _write(sky.head, table, asked.form, asked.output, asked.what)
    satellites = len(sky.scenario.satellite_names[:: asked.every])
    _say(shell, Written(str(asked.output), asked.what, count, satellites, None, sky.head))


def write_list(shell: Shell, head: Head, what: str, table: Table, form: str, output: Path | None) -> None:
    """Write a list to a file, or as CSV to standard output with what it rests on beside it."""
    if output is None:
        if form == "parquet":
            raise UsageError("--format parquet is no text: name a file with --output FILE.parquet.")
        for line in brief_lines(head):
            shell.say(line)
        write_csv(sys.stdout, table)
        return
    form = "parquet" if form == "table" and output.suffix == ".parquet" else "csv" if form == "table" else form
    check_suffix(output, SUFFIXES[form], form)
    _say(shell, Written(str(output), what, _write(head, table, form, output, what), head.satellites, None, head))


def _write(head: Head, table: Table, form: str, output: Path, what: str) -> int:
    if form == "csv":
        with opened(output, f"the {what}") as file:
            return write_csv(file, table)
    notes = {"perigrid.head": msgspec.json.encode(head).decode()}
    try:
        return write_parquet(output, table, notes)
    except OSError as error:
        raise cannot_write(output, f"the {what}", error) from error


def _say(shell: Shell, written: Written) -> None:
    links = "" if written.links is None else f", {written.links} links"
    shell.show(
        written,
        [
            *brief_lines(written.head),
            f"{written.file}: {written.count} {written.what} of {written.satellites} satellites{links}",
        ],
    )


def _some(column: Any, rows: npt.NDArray[np.bool_]) -> Any:
    if isinstance(column, np.ndarray):
        return column[rows]
    return [each for each, keep in zip(column, rows.tolist(), strict=True) if keep]


def _czml(sky: Sky, asked: Export) -> Written:
    scenario = sky.scenario
    chosen = np.arange(0, scenario.satellite_count, asked.every)
    if asked.step_s > MAX_CZML_STEP_S:
        raise UsageError(
            f"--step {asked.step_s:g}: between samples of czml Cesium draws polynomials, which need one every "
            f"{MAX_CZML_STEP_S:g} s at least."
        )
    check_positions(int(asked.hours * 3600 / asked.step_s) + 2 * MARGIN_SAMPLES, len(chosen), asked.every)
    lines = _lines(sky, asked, chosen)
    document = Document(
        name=f"{scenario.name} from {sky.head.at_utc}",
        notes=head_lines(sky.head),
        start=moment_at(scenario, sky.at_s),
        length_s=asked.hours * 3600,
    )
    nodes = sky.mesh.satellite_count
    places = [
        Place(nodes + number, station.name, station.latitude_deg, station.longitude_deg)
        for number, station in enumerate(scenario.stations)
    ]
    with opened(asked.output, "the czml") as file:
        count = write_czml(file, document, _tracks(sky, asked, chosen), places, lines)
    return Written(str(asked.output), "packets", count, len(chosen), len(lines), sky.head)


def _tracks(sky: Sky, asked: Export, chosen: npt.NDArray[np.int64]) -> Iterator[Track]:
    """Every chosen satellite with its samples, some before the window and after it."""
    geometry, names = sky.geometry, sky.scenario.satellite_names
    length_s = asked.hours * 3600
    count = max(1, int(np.ceil(length_s / asked.step_s)))
    t_s = np.arange(-MARGIN_SAMPLES, count + MARGIN_SAMPLES + 1, dtype=np.float64) * asked.step_s
    few = len(chosen) <= MAX_NAMED
    groups = groups_of(sky.scenario)
    # In a frame that turns with the Earth all paths of one plane would lie side by side and hide it.
    _, leaders = np.unique(geometry.plane[chosen], return_index=True)
    led = set(chosen[leaders].tolist()) if few and len(leaders) <= MAX_PATHS else set()
    for first in range(0, len(chosen), CHUNK_SATELLITES):
        some = chosen[first : first + CHUNK_SATELLITES]
        ecef = geometry.positions_ecef_km(t_s + sky.at_s)[:, some]
        down = geometry.fleet.decayed((t_s + sky.at_s) * geometry.orbit_rate)[:, some]
        for column, satellite in enumerate(some.tolist()):
            number, group = next((n, g) for n, g in enumerate(groups) if satellite < g.last)
            view = shell_view(group)
            alive = ~down[:, column]
            present = _present(t_s[alive], length_s)
            if not present:
                continue
            yield Track(
                number=satellite,
                name=names[satellite],
                about=f"{view.name} {view.notation}, {view.altitude_km.median:.0f} km",
                colour=_rgba(colour_of(number)),
                t_s=t_s[alive],
                positions_km=ecef[alive, column],
                present=present,
                period_s=view.period_min.median * 60 / geometry.orbit_rate if satellite in led else None,
                labelled=few,
            )


def _present(t_s: npt.NDArray[np.float64], length_s: float) -> list[tuple[float, float]]:
    """When a satellite that is sampled at these seconds is there, within the window: until it comes down."""
    if not len(t_s):
        return []
    low, high = max(0.0, float(t_s[0])), min(length_s, float(t_s[-1]))
    return [(low, high)] if high > low else []


def _lines(sky: Sky, asked: Export, chosen: npt.NDArray[np.int64]) -> Sequence[Line]:
    """Links between chosen satellites, and with the ground."""
    if asked.links is False:
        return []
    plan = sky.plan(asked.hours)
    table = contacts_of(sky, plan, asked.hours, "all", Asked())
    table = table.of(np.isin(table.a, chosen) & (np.isin(table.b, chosen) | (table.b >= sky.mesh.satellite_count)))
    lasers = table.kind == LinkKind.LASER
    if asked.links is None and lasers.sum() > MAX_LINKS_SHOWN:
        table = table.of(~lasers)
    down = _decaying(sky, asked)
    spans: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    for a, b, kind, start_s, end_s in zip(
        *(column.tolist() for column in (table.a, table.b, table.kind, table.start_s, table.end_s)), strict=True
    ):
        if not {a, b} & down:
            spans.setdefault((a, b, kind), []).append((start_s - sky.at_s, end_s - sky.at_s))
    names = sky.mesh.names
    return [
        Line(a, b, f"{names[a]} - {names[b]}", kind == LinkKind.RADIO, sorted(intervals))
        for (a, b, kind), intervals in sorted(spans.items())
    ]


def _decaying(sky: Sky, asked: Export) -> set[int]:
    """Satellites that are down at the window's start: they have no packet that a link could name."""
    orbit_s = np.array([sky.at_s, sky.at_s + asked.hours * 3600]) * sky.geometry.orbit_rate
    return set(np.flatnonzero(sky.geometry.fleet.decayed(orbit_s)[0]).tolist())


def _rgba(colour: str) -> Colour:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16), 255
