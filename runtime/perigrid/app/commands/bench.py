"""Measure links, efficiency or the sky; compare latency runs."""

from __future__ import annotations

import importlib
import os

import click

MEASURES = {
    "links": "How exactly do links keep their delay and their rate?",
    "efficiency": "How much of the bare model's speed is left?",
    "sky": "How fast are sky and mesh, beside a plain script?",
    "tracing": "What does it cost to write down where time goes?",
    "compare": "Is one latency run faster than another, and is that more than chance?",
}
"""Each measurement with its question; perigrid.bench has a module of the same name."""

LATENCY = "latency"
"""A command of its own, since it takes a scenario as `perigrid up` does."""

ONE_CORE = {"sky": {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}}
"""What a measurement on one core needs before numpy is loaded: idle threads of a matrix library turn round and round,
and take the time of the one that works.
"""


class Measures(click.Group):
    """A group that imports a measurement only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All measurements."""
        return [LATENCY, *MEASURES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One measurement; its arguments are its own."""
        if cmd_name == LATENCY:
            from perigrid.app.commands.latency import command as latency

            return latency
        if cmd_name not in MEASURES:
            return None

        def measure(arguments: tuple[str, ...]) -> int:
            for name, value in ONE_CORE.get(cmd_name, {}).items():
                os.environ.setdefault(name, value)
            result = importlib.import_module(f"perigrid.bench.{cmd_name}").main(list(arguments))
            return result if isinstance(result, int) else 0

        return click.Command(
            cmd_name,
            params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
            callback=measure,
            help=MEASURES[cmd_name],
            add_help_option=False,
            context_settings={"ignore_unknown_options": True},
        )


@click.group("bench", cls=Measures)
def command() -> None:
    """Measure this machine: links, efficiency or the sky; hold one latency run against another."""
