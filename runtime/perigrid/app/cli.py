"""What does `perigrid` do with the words behind it?

The group below imports click and nothing heavier, so that `perigrid --help` answers at once; a command's
module is imported when it is asked for. Data goes to stdout, progress and errors to stderr. Exit codes are 0
for success, 1 for a job that failed, 2 for wrong usage, 3 for what the machine lacks and 130 for an
interruption.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

import click

from perigrid.app.shell import Shell
from perigrid.errors import PerigridError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

INTERRUPTED = 130
"""Exit code after Ctrl-C or a request to end."""

COMMANDS = {
    "demo": "Twelve satellites, a cut laser and a lost satellite: see a job survive.",
    "up": "Bring up a constellation: a preset or a scenario file.",
    "run": "Run a job on the constellation and merge its result.",
    "model": "Bring models up over the links, and see where they are.",
    "status": "What is up, what is down, and do its times count?",
    "events": "What happened in a run, as it happens or afterwards?",
    "rerun": "Repeat a run from its directory, and compare the results.",
    "report": "Write what became of a job as one page to show a colleague.",
    "why": "What do a satellite's shards wait for, and until when?",
    "cut": "Cut a link between two nodes.",
    "heal": "Mend a link that was cut.",
    "kill": "Let a satellite die.",
    "reboot": "Start a dead satellite again.",
    "down": "Take the constellation down.",
    "sky": "Who reaches whom, when, how fast and by which way? Needs nothing that is up.",
    "doctor": "Does this machine have what perigrid needs?",
    "completion": "Print what makes bash, zsh or fish complete perigrid's words.",
    "sim": "What would requests take? The same machines in virtual time, hours in seconds.",
    "bench": "Measure latency in orbit; links, efficiency and the sky on this machine.",
}
"""Each command with what it does, in the order of --help; its module in app/commands/ has the same name."""


class Commands(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of --help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"perigrid.app.commands.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"perigrid.app.commands.{cmd_name} has no click command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete the commands from the table above, which needs no import, and the options as usual."""
        from perigrid.app.completion import commands

        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return commands(COMMANDS, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above, which needs no import."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="perigrid")
def commands() -> None:
    """An orbital edge-compute runtime: real inference behind real links, on this machine."""


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say (those of the process by default); the exit code."""
    shell = Shell()
    try:
        result = commands.main(
            args=None if arguments is None else list(arguments),
            prog_name="perigrid",
            obj=shell,
            standalone_mode=False,
        )
    except PerigridError as error:
        shell.failed(str(error), type(error).__name__)
        return error.exit_code
    except click.ClickException as error:
        if shell.json:
            shell.show_error(error.format_message(), "UsageError")
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        shell.failed("interrupted", "Interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the `perigrid` command."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    sys.exit(run_command())


def _end(number: int, frame: FrameType | None) -> None:
    """A request to end is an interruption: what was brought up is taken down on the way out."""
    raise KeyboardInterrupt
