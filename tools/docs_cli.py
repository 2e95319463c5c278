"""Which commands are there, and what do they take? The page is made from the commands themselves."""

from __future__ import annotations

import inspect

import click

from perigrid.app.cli import COMMANDS, commands
from perigrid.app.shell import Shell

SHARED = ("root", "name", "json")
"""Options of every command, said once."""

HEAD = """# Commands

Made from the commands; `perigrid COMMAND --help` says the same. Data goes to standard output, progress and errors to
standard error. Exit codes are on [a page of their own](exit-codes.md).

## Options of every command

"""


def page() -> str:
    """The reference of the command line, as Markdown."""
    context = click.Context(commands, info_name="perigrid", obj=Shell())
    lines = [HEAD, *_table(_context("status", context), only=SHARED), ""]
    for name in COMMANDS:
        lines += _section(_context(name, context), level=2)
    return "\n".join(lines) + "\n"


def _context(name: str, parent: click.Context) -> click.Context:
    group = parent.command
    if not isinstance(group, click.Group):
        raise TypeError(f"{parent.command_path} is no group of commands")
    command = group.get_command(parent, name)
    if command is None:
        raise TypeError(f"{parent.command_path} has no command {name}")
    return click.Context(command, info_name=name, parent=parent)


def _section(context: click.Context, level: int) -> list[str]:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    anchor = context.command_path.replace(" ", "-")
    lines = [f"{'#' * level} `{context.command_path}` {{#{anchor}}}", "", "```text", usage, "```", "", text, ""]
    table = _table(context, without=SHARED)
    if table:
        lines += [*table, ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            lines += _section(_context(name, context), level + 1)
    return lines


def _table(context: click.Context, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> list[str]:
    rows = []
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or isinstance(parameter, click.Argument) or "--help" in parameter.opts:
            continue
        if parameter.name in without or (only and parameter.name not in only):
            continue
        rows.append(f"| `{record[0]}` | {_escaped(record[1])} |")
    return ["| option | |", "|---|---|", *rows] if rows else []


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("[", "\\[").replace("<", "&lt;")
