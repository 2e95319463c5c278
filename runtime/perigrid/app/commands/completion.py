"""Print what makes a shell complete perigrid's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.errors import UsageError

VARIABLE = "_PERIGRID_COMPLETE"
"""The variable by which a shell asks; click derives it from the program's name."""

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("kind", metavar="|".join(SHELLS), type=click.Choice(SHELLS))
@shared_options
@pass_shell
def command(shell: Shell, kind: str) -> None:
    """Print a script for bash, zsh or fish that completes commands, options, nodes, runs and presets.

    For this session: eval "$(perigrid completion bash)", the same with zsh, and in fish
    perigrid completion fish | source. To keep it, put that line into ~/.bashrc, ~/.zshrc or
    ~/.config/fish/config.fish.
    """
    found = get_completion_class(kind)
    if found is None:
        raise UsageError(f"click {click.__version__} writes no completion for {kind}; pip install --upgrade click.")
    root = click.get_current_context().find_root()
    script = found(root.command, {}, "perigrid", VARIABLE).source()
    shell.show({"shell": kind, "script": script}, [script])
