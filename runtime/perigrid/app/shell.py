"""How does a command speak, and which run does it mean?

Every command has --json, --name and --root; `shared_options` adds them, and puts them on the `Shell` that
click hands through. A shell prints data on stdout, as JSON or as lines, and everything else on stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from perigrid.live.rundir import RunDirectory

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_ROOT = Path("runs")
"""Where runs lie unless --root says otherwise, relative to the current folder."""


@dataclass(slots=True)
class Shell:
    """What the shared options of one invocation say, and its output."""

    json: bool = False
    name: str | None = None
    root: Path = field(default=DEFAULT_ROOT)

    @property
    def terminal(self) -> bool:
        """Whether progress goes to a terminal, where it may be drawn."""
        return sys.stderr.isatty()

    def say(self, line: str) -> None:
        """One line of progress."""
        print(line, file=sys.stderr, flush=True)

    def show(self, value: object, lines: Iterable[str]) -> None:
        """The command's result: `value` as one JSON object with --json, else the lines."""
        if self.json:
            print(to_json(value), flush=True)
            return
        for line in lines:
            print(line, flush=True)

    def failed(self, message: str, kind: str) -> None:
        """What went wrong: a paragraph on stderr, and with --json an object on stdout as well."""
        if self.json:
            self.show_error(message, kind)
        print(f"perigrid: {message}", file=sys.stderr, flush=True)

    def show_error(self, message: str, kind: str) -> None:
        """An error as a JSON object on stdout."""
        print(json.dumps({"error": message, "kind": kind}), flush=True)

    def run(self) -> RunDirectory:
        """The run that is meant: the one of --name, or the only one that is up. NotRunning without one."""
        from perigrid.live.rundir import RunDirectory

        return RunDirectory.find(self.root, self.name)


pass_shell = click.make_pass_decorator(Shell)


def to_json(value: object) -> str:
    """Plain values, msgspec structs among them, as JSON text."""
    import msgspec

    return msgspec.json.encode(value).decode()


def shared_options(function: Function) -> Function:
    """Add --json, --name and --root to a command, and hand it the shell as its first argument."""
    for option in (
        click.option(
            "--root",
            type=click.Path(path_type=Path, file_okay=False),
            default=DEFAULT_ROOT,
            show_default=True,
            expose_value=False,
            callback=_keep("root"),
            help="Folder that holds the runs.",
        ),
        click.option(
            "--name",
            default=None,
            expose_value=False,
            callback=_keep("name"),
            help="The run's name; may be left out where only one is up.",
            shell_complete=_runs,
        ),
        json_option,
    ):
        function = option(function)
    return function


def json_option(function: Function) -> Function:
    """Add --json alone, to a command that needs no run."""
    return click.option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_keep("json"),
        help="Print one JSON object instead of lines.",
    )(function)


def _runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Completions of --name; this file is imported before every command, so theirs is imported late."""
    from perigrid.app.completion import runs

    return runs(context, parameter, incomplete)


def _keep(field_name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        setattr(context.find_object(Shell), field_name, value)

    return callback
