"""Bring up a constellation, and stay with it until Ctrl-C or let it run alone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perigrid.app.completion import scenarios
from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.errors import LinkBroken, NotRunning

if TYPE_CHECKING:
    from perigrid.live.rundir import RunDirectory, RunInfo
    from perigrid.scenario.model import Scenario

LOOK_S = 1.0
"""How often an attached `up` looks at its constellation, seconds of the wall."""

MAX_PORT = 65_535


def rate_of(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """A rate above 0, or the word auto, as an option has it; click's own error for anything else."""
    if value is None or value == "auto":
        return value
    return click.FloatRange(min=0, min_open=True)(value, param, ctx)


@click.command("up")
@click.argument("scenario", shell_complete=scenarios)
@click.option(
    "--rate",
    metavar="RATE|auto",
    callback=rate_of,
    help="Emulated seconds a second of the wall; by default what this machine can keep, at most 1. auto: as fast as it "
    "keeps up with, from moment to moment.",
)
@click.option(
    "--orbit-rate",
    type=float,
    help="How many times as fast as emulated time the sky turns, at most 1000; by default the scenario's. Contacts "
    "come and go that much sooner, delays stay what they are.",
)
@click.option(
    "--clock",
    type=click.Choice(["dilated", "free"]),
    help="free: inference takes what it takes here; times are throughput, not latency.",
)
@click.option("--device", help="The computer on board: the name of a profile, such as jetson-agx-orin, or host.")
@click.option("--ground-device", help="The computer on the ground, likewise.")
@click.option(
    "--satellites-per-process",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Satellites that share a process.",
)
@click.option(
    "--port",
    type=click.IntRange(0, MAX_PORT),
    default=0,
    help="Port of the job service on 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--gateway-port",
    type=click.IntRange(0, MAX_PORT),
    default=0,
    help="Port of the gateway for inference on 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, MAX_PORT),
    help="Serve metrics for Prometheus on this port of 127.0.0.1, 0 for any free one, and on a socket a process.",
)
@click.option("--detach", is_flag=True, help="Return once it is up, and let it run.")
@click.option("--epoch", help="Another epoch, such as 2026-01-01T00:00:00Z.")
@shared_options
@pass_shell
def command(
    shell: Shell,
    scenario: str,
    rate: Any,
    orbit_rate: float | None,
    clock: str | None,
    device: str | None,
    ground_device: str | None,
    satellites_per_process: int,
    port: int,
    gateway_port: int,
    metrics_port: int | None,
    detach: bool,
    epoch: str | None,
) -> None:
    """Bring up SCENARIO: the name of a preset, a scenario file (it ends in .toml or has a / in it), or a file of
    element sets (.json, .csv, .xml, .kvn, .tle).

    Presets: iridium-next, kepler-odc, kuiper, kuiper-270, oneweb-gen1, spacex-ai1, starcloud-1, starlink-gen1,
    starlink-shell1, starlink-shell1-3lasers, telesat-2020, telesat-lightspeed-2025, three-body-12, three-body-2800.
    """
    from perigrid.app.launching import bring_up
    from perigrid.app.scenarios import at_epoch, choose, with_computers
    from perigrid.app.worlds import at_orbit_rate
    from perigrid.live.launch import LaunchOptions, down

    chosen = choose(scenario, os.environ, shell.say)
    for change in chosen.changes:
        shell.say(change)
    wanted = chosen.scenario if epoch is None else at_epoch(chosen.scenario, epoch)
    wanted = wanted if orbit_rate is None else at_orbit_rate(wanted, orbit_rate)
    wanted = with_computers(wanted, device, ground_device)
    options = LaunchOptions(
        rate=rate,
        mode=clock,
        satellites_per_process=satellites_per_process,
        port=port,
        gateway_port=gateway_port,
        metrics_port=metrics_port,
        attached=not detach,
    )
    began_s = time.monotonic()
    run, info = bring_up(wanted, shell.root, shell.name, options, os.environ, shell.say)
    try:
        took_s = time.monotonic() - began_s
        shell.show(facts(info, chosen.changes), [*lines(info, took_s), *computers(wanted)])
        if not detach:
            stay(shell, run, info)
    except BaseException:
        if not detach:
            shell.say("taking the constellation down")
            down(run)
        raise


def facts(info: RunInfo, changes: tuple[str, ...]) -> dict[str, Any]:
    """What `up --json` prints."""
    import msgspec

    table: dict[str, Any] = msgspec.to_builtins(info)
    return {"run": table.pop("name"), **table, "changes": changes}


def lines(info: RunInfo, took_s: float) -> list[str]:
    """What is said once a constellation is up."""
    from perigrid.report.outcome import turning_sky

    rate = "free" if info.mode == "free" else "auto" if info.governed else f"{info.rate:.3g}"
    turning = turning_sky(info.orbit_rate)
    return [
        f"{info.name} is up: {len(info.satellites)} satellites after {took_s:.1f} s, rate {rate}",
        *([f"  {turning}"] if turning else []),
        f"  directory {_short(Path(info.directory))}, job service {info.jobs}, gateway {info.gateway}",
        *([f"  metrics {info.metrics}"] if info.metrics else []),
        f"  preloaded: {', '.join(info.preloaded) or 'nothing'}",
    ]


def computers(scenario: Scenario) -> list[str]:
    """Which computers have times that were not measured here, and whether anybody has published them."""
    named = (("on board", scenario.device), ("on the ground", scenario.ground_device))
    return [
        f"  computer {place}: {device.name}, its times are {device.kind}"
        for place, device in named
        if device.kind != "host"
    ]


def stay(shell: Shell, run: RunDirectory, info: RunInfo) -> None:
    """Show the constellation's state until it is gone."""
    from perigrid.app.progress import run_display, status_rows
    from perigrid.live.clients import JobClient, SupervisorClient

    display = run_display(shell.terminal, shell.say)
    try:
        with SupervisorClient(run) as supervisor, JobClient(info.jobs) as client:
            while run.is_up():
                try:
                    jobs = client.jobs()
                except LinkBroken:
                    # The controller is being restarted; the supervisor still answers.
                    jobs = ()
                display.show(status_rows(supervisor.status(), len(info.satellites), jobs))
                time.sleep(LOOK_S)
    except NotRunning:
        shell.say(f"{run.name} was taken down")
    finally:
        display.close()


def _short(path: Path) -> Path:
    """The path as seen from here, where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
