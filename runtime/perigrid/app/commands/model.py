"""Bring models up over the links, and see where they are."""

from __future__ import annotations

import click

from perigrid.app.completion import satellites
from perigrid.app.shell import Shell, pass_shell, shared_options


@click.group("model")
def command() -> None:
    """Bring models up over the links, and see where they are."""


@command.command("list")
@shared_options
@pass_shell
def list_models(shell: Shell) -> None:
    """Show the models, and for each satellite which it holds, in which state, and when it was last hashed."""
    from perigrid.app.models import table_lines
    from perigrid.live.modelclient import ModelClient

    run = shell.run()
    with ModelClient(run) as client:
        table = client.table()
    shell.show({"run": run.name, "sky_s": table.sky_s, "models": table.models}, table_lines(table))


@command.command("push")
@click.argument("model")
@click.option("--to", "to", metavar="SAT,...", default="", help="Only these satellites.", shell_complete=satellites)
@click.option("--pin", is_flag=True, help="Never evict it.")
@click.option("--sha256", metavar="HEX", default=None, help="What its bytes must hash to.")
@click.option(
    "--limit-s",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="How long to wait until every satellite has it.",
)
@click.option("--no-wait", is_flag=True, help="Order it, and do not wait.")
@shared_options
@pass_shell
def push_model(shell: Shell, model: str, to: str, pin: bool, sha256: str | None, limit_s: float, no_wait: bool) -> int:
    """Bring MODEL up over one ground link, and from there over lasers to every satellite.

    MODEL is a model's name or the path of an .onnx file. Pushing again moves no bytes. The exit code is 1 where a
    satellite has refused it.
    """
    from perigrid.app.models import place_line, push, where

    run = shell.run()
    names = [name.strip() for name in to.split(",") if name.strip()]
    row = push(run, model, names, pinned=pin, sha256=sha256, limit_s=None if no_wait else limit_s, say=shell.say)
    wanted = [place for place in row.places if not names or place.satellite in names]
    without = [place for place in wanted if place.state != "loaded" and place.cause]
    how = "preloaded on every satellite" if row.preloaded else where(row)
    lines = [f"{row.name} {row.sha256}: {how}", *(place_line(row, place) for place in without)]
    shell.show({"run": run.name, "model": row}, lines)
    return 1 if without else 0


@command.command("verify")
@click.argument("model", required=False)
@click.option(
    "--limit-s",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="How long to wait for the satellites' word.",
)
@shared_options
@pass_shell
def verify_models(shell: Shell, model: str | None, limit_s: float) -> int:
    """Let every satellite hash its copies again, of MODEL or of all; exit code 1 where one is not right."""
    from perigrid.app.models import verify

    run = shell.run()
    verdict = verify(run, model, limit_s)
    lines = [f"{verdict.right} of {verdict.copies} copies are right"]
    lines += [f"  {line}" for line in (*verdict.wrong, *verdict.mended)]
    value = {"run": run.name, "copies": verdict.copies, "right": verdict.right, "wrong": verdict.wrong}
    shell.show({**value, "mended": verdict.mended, "models": verdict.table.models}, lines)
    return 1 if verdict.wrong else 0
