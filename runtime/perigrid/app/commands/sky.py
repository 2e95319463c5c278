"""Look at a constellation's sky: what it is, who passes where, which way leads from A to B, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perigrid.app.completion import scenarios
from perigrid.app.shell import Function, Shell, json_option, pass_shell

if TYPE_CHECKING:
    from perigrid.report.sky.head import Head
    from perigrid.report.tables import Table

MAX_HOURS = 168.0
"""A week: the longest window that a command looks at."""

MAX_ALTERNATIVES = 16
"""Ways beside each other that `path` looks for at most."""

MIN_STEP_S, MAX_STEP_S = 0.1, 3600.0
"""Steps between samples, seconds."""


def hours_option(default: float) -> Callable[[Function], Function]:
    """--hours with a default of the command's own."""
    return click.option(
        "--hours",
        type=click.FloatRange(min=0, min_open=True, max=MAX_HOURS),
        default=default,
        show_default=True,
        help="How long to look.",
    )


def step_option(default: float | None, helps: str) -> Callable[[Function], Function]:
    """--step with a default of the command's own."""
    return click.option(
        "--step",
        "step_s",
        type=click.FloatRange(MIN_STEP_S, MAX_STEP_S),
        default=default,
        show_default=default is not None,
        help=helps,
    )


def target_options(function: Function) -> Function:
    """The SCENARIO that a command is on, with --at and --json."""
    at = click.option("--at", metavar="MOMENT", help="When, such as 2026-01-01T06:00:00Z; the epoch by default.")
    return click.argument("scenario", shell_complete=scenarios)(at(json_option(function)))


satellites_option = click.option(
    "--satellite", "satellites", multiple=True, metavar="NAME", help="Only this satellite; may be repeated."
)
stations_option = click.option(
    "--station", "stations", multiple=True, metavar="NAME", help="Only this station; may be repeated."
)


@click.group("sky")
def command() -> None:
    """Who reaches whom, when, how fast and by which way?

    SCENARIO is a preset, a scenario file, or a file of element sets (OMM as .json, .csv, .xml or .kvn, or .tle).
    Nothing has to be up. What is assumed is printed with every answer.
    """


@command.command("show")
@target_options
@hours_option(24.0)
@pass_shell
def show(shell: Shell, scenario: str, at: str | None, hours: float) -> None:
    """What SCENARIO is: shells, neighbours, light, the laser mesh, contact with the ground (over --hours), rates."""
    from perigrid.app.sky.show import show as look
    from perigrid.app.sky.show import show_lines
    from perigrid.app.sky.view import open_sky

    sky = open_sky(scenario, at, shell.say)
    found = look(sky, hours)
    shell.show(found, show_lines(found))


@command.command("passes")
@target_options
@hours_option(24.0)
@satellites_option
@stations_option
@pass_shell
def passes(
    shell: Shell, scenario: str, at: str | None, hours: float, satellites: tuple[str, ...], stations: tuple[str, ...]
) -> None:
    """Passes of satellites over stations: rise, culmination and set, elevation, azimuths and range."""
    from perigrid.app.sky.lists import Asked, passes_for_reader, passes_table
    from perigrid.app.sky.view import open_sky

    sky = open_sky(scenario, at, shell.say)
    table = passes_table(sky, hours, Asked(satellites, stations))
    _list(shell, sky.head, "passes", table, passes_for_reader)


@command.command("path")
@target_options
@click.argument("a")
@click.argument("b")
@click.option(
    "--k",
    "count",
    type=click.IntRange(1, MAX_ALTERNATIVES),
    default=3,
    show_default=True,
    help="Link-disjoint ways to look for.",
)
@click.option("--without", multiple=True, metavar="A-B", help="As if this link were cut; may be repeated.")
@click.option(
    "--volume",
    "volume_bytes",
    type=click.FloatRange(min=1),
    default=1e6,
    show_default=True,
    help="Bytes to carry, as one whole, where they may be stored on the way; such as 5e9.",
)
@click.option("--fibre", is_flag=True, help="Let ways lead over the fibre between stations and the ground centre.")
@hours_option(2.0)
@pass_shell
def path(
    shell: Shell,
    /,
    scenario: str,
    at: str | None,
    a: str,
    b: str,
    count: int,
    without: tuple[str, ...],
    volume_bytes: float,
    fibre: bool,
    hours: float,
) -> None:
    """The way from A to B: satellites, stations, or places as latitude,longitude (after -- where one is negative).

    The shortest way in light and link-disjoint ones beside it; where there is none, why, and until when (looked for
    over --hours). And the earliest arrival where every node may store what it carries.
    """
    from perigrid.app.sky.path import Question, find_path, path_lines

    found = find_path(scenario, at, Question(a, b, count, without, int(volume_bytes), fibre, hours), shell.say)
    shell.show(found, path_lines(found))


@command.command("contacts")
@target_options
@hours_option(2.0)
@click.option(
    "--kind",
    type=click.Choice(["laser", "radio", "all"]),
    default="all",
    show_default=True,
    help="Between satellites, or with the ground (optical stations are among those).",
)
@satellites_option
@stations_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "parquet"]),
    default="table",
    show_default=True,
    help="How to write the list; csv goes to standard output without --output.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write the list to.")
@pass_shell
def contacts(
    shell: Shell,
    /,
    scenario: str,
    at: str | None,
    hours: float,
    kind: str,
    satellites: tuple[str, ...],
    stations: tuple[str, ...],
    form: str,
    output: Path | None,
) -> None:
    """Planned contacts: from when to when, how far, how fast, and how much each could carry."""
    from perigrid.app.sky.export import write_list
    from perigrid.app.sky.lists import Asked, contacts_for_reader, contacts_of, contacts_table
    from perigrid.app.sky.view import open_sky

    sky = open_sky(scenario, at, shell.say)
    plan = sky.plan(hours)
    table = contacts_table(sky, plan, contacts_of(sky, plan, hours, kind, Asked(satellites, stations)))
    if form == "table" and output is None:
        _list(shell, sky.head, "contacts", table, contacts_for_reader)
    else:
        write_list(shell, sky.head, "contacts", table, form, output)


@command.command("export")
@target_options
@hours_option(2.0)
@click.option(
    "--what",
    type=click.Choice(["positions", "contacts"]),
    default="positions",
    show_default=True,
    help="What csv and parquet hold; czml holds both.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "parquet", "czml"]),
    required=True,
    help="czml opens in Cesium; parquet needs pyarrow.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@step_option(60.0, "Seconds between positions.")
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Only every so manieth satellite, and the links between those.",
)
@click.option(
    "--links/--no-links",
    "links",
    default=None,
    help="Whether czml shows links; by default where there are few enough for a viewer.",
)
@pass_shell
def export(
    shell: Shell,
    /,
    scenario: str,
    at: str | None,
    hours: float,
    what: str,
    form: str,
    output: Path,
    step_s: float,
    every: int,
    links: bool | None,
) -> None:
    """Write positions or contacts to a file: csv, parquet, or czml for Cesium."""
    from perigrid.app.sky.export import Export, export_sky
    from perigrid.app.sky.view import open_sky

    export_sky(shell, open_sky(scenario, at, shell.say), Export(what, form, output, hours, step_s, every, links))


@command.command("plot")
@target_options
@click.option(
    "--kind",
    type=click.Choice(["map", "rtt", "gantt"]),
    default="map",
    show_default=True,
    help="The Earth at a moment; a pair's round trip; contacts as bars.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="PNG file to write.")
@click.option("--pair", nargs=2, metavar="A B", help="rtt: the pair, names or latitude,longitude.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True, max=MAX_HOURS),
    default=None,
    help="How long: 2 by default for rtt, 6 for gantt.",
)
@step_option(None, "rtt: seconds between moments; by default 300 moments in all.")
@satellites_option
@stations_option
@pass_shell
def plot(
    shell: Shell,
    /,
    scenario: str,
    at: str | None,
    kind: str,
    output: Path,
    pair: tuple[str, str] | None,
    hours: float | None,
    step_s: float | None,
    satellites: tuple[str, ...],
    stations: tuple[str, ...],
) -> None:
    """Draw the sky as a picture: needs matplotlib and land outlines, pip install 'perigrid[plot]'."""
    from perigrid.app.sky.lists import Asked
    from perigrid.app.sky.plot import Plot, plot_sky

    plot_sky(shell, scenario, at, Plot(kind, output, pair, hours, step_s, Asked(satellites, stations)))


def _list(shell: Shell, head: Head, what: str, table: Table, for_reader: Callable[[Table], Table]) -> None:
    """Rows for a reader below what they rest on, or all of them as JSON."""
    from perigrid.app.sky.lists import MAX_ROWS_SHOWN, as_rows
    from perigrid.report.sky.head import brief_lines
    from perigrid.report.tables import length, text_table

    if shell.json:
        shell.show({"head": head, what: as_rows(table)}, ())
        return
    rows = text_table(for_reader(table), MAX_ROWS_SHOWN) if length(table) else [f"no {what} in this window"]
    shell.show(None, [*brief_lines(head), *rows])
