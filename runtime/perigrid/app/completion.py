"""What could the word be that a shell wants completed?

Nodes of the runs that are there, their names, presets and files: read from run directories and shipped files
without gRPC or numpy, since a shell asks at each press of a key. What cannot be read completes to nothing: a
completion is a help, and never an error in the middle of somebody's line.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from perigrid.app.shell import DEFAULT_ROOT, Shell

if TYPE_CHECKING:
    from perigrid.live.rundir import RunDirectory

MAX_RUN_FILE_BYTES = 16_000_000
"""A larger file of a run is not read for a completion."""

MAX_ITEMS = 3000
"""Candidates that are given to a shell at most: all nodes of the largest preset."""

PRESETS = "presets.toml"


def nodes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Satellites, stations and the ground centre of the run that is meant, without those named before."""
    taken = {value for value in context.params.values() if isinstance(value, str)}
    names = (name for run in _meant(context) for name in (*_satellites(run), *_stations(run), "ground"))
    return _matching((name for name in names if name not in taken), incomplete)


def satellites(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Satellites of the run that is meant."""
    return _matching((name for run in _meant(context) for name in _satellites(run)), incomplete)


def victims(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Who may be killed: satellites, and the ground's controller."""
    return _matching((name for run in _meant(context) for name in (*_satellites(run), "ground")), incomplete)


def runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Names of the runs under --root."""
    return _matching((run.name for run in _runs(_root(context))), incomplete)


def scenarios(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Presets, and whatever file the shell finds."""
    if "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    with suppress(OSError, tomllib.TOMLDecodeError):
        text = files("perigrid.scenario").joinpath(PRESETS).read_text(encoding="utf-8")
        table = tomllib.loads(text)["preset"]
        found = _matching(table, incomplete, {name: preset.get("title", "") for name, preset in table.items()})
        return found or [CompletionItem(incomplete, type="file")]
    return []


def commands(table: dict[str, str], incomplete: str) -> list[CompletionItem[str]]:
    """Commands of a group whose modules are not imported to list them; `table` has each with what it does."""
    return _matching(table, incomplete, table)


def _matching(names: Iterable[str], incomplete: str, helps: dict[str, str] | None = None) -> list[CompletionItem[str]]:
    """Each name once that goes on from what is there, capital letters aside."""
    found = dict.fromkeys(name for name in names if name.casefold().startswith(incomplete.casefold()))
    return [CompletionItem(name, help=(helps or {}).get(name)) for name in list(found)[:MAX_ITEMS]]


def _root(context: click.Context) -> Path:
    shell = context.find_object(Shell)
    return DEFAULT_ROOT if shell is None else Path(shell.root)


def _runs(root: Path) -> list[RunDirectory]:
    """Runs under `root`, up or not."""
    from perigrid.live.rundir import RunDirectory

    with suppress(OSError):
        return RunDirectory.all(root)
    return []


def _meant(context: click.Context) -> list[Path]:
    """The run that --name means where it was typed, else those that are up, else all that there are."""
    shell = context.find_object(Shell)
    found = _runs(_root(context))
    if shell is not None and shell.name is not None:
        return [run.path for run in found if run.name == shell.name]
    return [run.path for run in found if run.is_up()] or [run.path for run in found]


def _satellites(run: Path) -> list[str]:
    return _names(_read(run / "run.json").get("satellites"))


def _stations(run: Path) -> list[str]:
    scenario = _read(run / "config.json").get("scenario")
    return _names(scenario.get("stations")) if isinstance(scenario, dict) else []


def _names(entries: object) -> list[str]:
    """The names in a list of tables, as far as it is one."""
    tables = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [table["name"] for table in tables if isinstance(table.get("name"), str)]


def _read(path: Path) -> dict[str, Any]:
    """A file of a run as JSON; nothing where it is none, or too large to be read between two key presses."""
    with suppress(OSError, ValueError):
        if path.stat().st_size <= MAX_RUN_FILE_BYTES:
            table = json.loads(path.read_bytes())
            return table if isinstance(table, dict) else {}
    return {}
