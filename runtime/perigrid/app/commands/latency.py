"""Measure what inference in orbit really costs, beside the bent pipe and bare onnxruntime."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from perigrid.app.commands.up import rate_of
from perigrid.app.completion import scenarios
from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.errors import UsageError

MODES = ("single-stream", "multi-stream", "server", "offline")
ORIGINS = ("ground", "board")
ARMS = ("in-orbit", "sharded", "cascade", "bent-pipe", "bent-pipe-lasers", "bare")
WORLDS = ("live", "sim", "bare")


def several(known: tuple[str, ...]) -> Any:
    """An option's words, separated by commas, each of them known."""

    def convert(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
        words = tuple(word.strip() for word in value.split(",") if word.strip())
        unknown = [word for word in words if word not in known]
        if unknown or not words:
            raise click.BadParameter(f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(known)}", ctx, param)
        return words

    return convert


OPTIONS = (
    click.option(
        "--scenario",
        "modes",
        default="single-stream,server",
        show_default=True,
        callback=several(MODES),
        help=f"MLPerf Inference's scenarios, of {', '.join(MODES)} (MLPerf-style, unverified).",
    ),
    click.option(
        "--from",
        "origins",
        default="ground,board",
        show_default=True,
        callback=several(ORIGINS),
        help="Where requests come from: a client on the ground, a sensor on board.",
    ),
    click.option(
        "--arms", default=",".join(ARMS), show_default=True, callback=several(ARMS), help="What is done with a capture."
    ),
    click.option("--model", default="cloudmask", show_default=True, help="A model of the manifest, or an .onnx file."),
    click.option(
        "--duration",
        "duration_s",
        default=60.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="Emulated seconds of each series.",
    ),
    click.option(
        "--instants",
        default=20,
        show_default=True,
        type=click.IntRange(min=20),
        help="Instants of the orbit over which they are spread.",
    ),
    click.option(
        "--warm-up",
        "warm_up_s",
        default=0.0,
        show_default=True,
        type=click.FloatRange(min=0),
        help="Emulated seconds before each instant that are kept apart.",
    ),
    click.option(
        "--satellite", default="", help="Who carries the sensor (by default the first), and whom a client asks."
    ),
    click.option(
        "--slo",
        "slo_s",
        type=click.FloatRange(min=0, min_open=True),
        help="Server's bound on latency, seconds; later answers and drops are misses.",
    ),
    click.option(
        "--qps",
        "offered_per_s",
        type=click.FloatRange(min=0, min_open=True),
        help="Requests a second of Server; by default half of what one computer can do.",
    ),
    click.option(
        "--find-rate", is_flag=True, help="Seek the highest rate of Server that keeps --slo (in virtual time)."
    ),
    click.option("--device", help="The computer on board, as in `perigrid up`."),
    click.option("--ground-device", help="The computer on the ground."),
    click.option("--seed", default=1, show_default=True, help="Starts send times and instants."),
    click.option("--out", type=click.Path(path_type=Path), help="Where results go; by default runs/latency-<time>."),
    click.option("--parquet", is_flag=True, help="Write requests.parquet too (needs the extra `tables`)."),
)
"""What every measurement of latency takes, in whichever worlds."""


def latency_options(function: Any) -> Any:
    """Add them to a command."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.command("latency")
@click.option(
    "--constellation",
    default="three-body-12",
    show_default=True,
    shell_complete=scenarios,
    help="A preset, or a scenario file; its faults happen while it is measured.",
)
@click.option(
    "--worlds",
    default=",".join(WORLDS),
    show_default=True,
    callback=several(WORLDS),
    help="live: real processes; sim: virtual time; bare: onnxruntime alone.",
)
@click.option(
    "--rate", metavar="RATE|auto", default="auto", callback=rate_of, help="Of the clock, as in `perigrid up`."
)
@click.option("--untraced", is_flag=True, help="Write no way down: there is no breakdown then, and no cost of it.")
@latency_options
@shared_options
@pass_shell
def command(shell: Shell, /, constellation: str, **given: Any) -> int | None:
    """Measure latency in orbit, bent pipe and bare, where each millisecond goes, and write a report."""
    measure(shell, constellation, given)
    return None


def measure(shell: Shell, constellation: str, given: dict[str, Any]) -> None:
    """Measure what the options say, write the results and show them."""
    from perigrid.app.scenarios import choose, with_computers
    from perigrid.bench.latency.results import write_results
    from perigrid.bench.latency.rows import Arm, Mode, Origin, World
    from perigrid.bench.latency.run import LatencyBench, LatencyOptions
    from perigrid.report.latency.text import lines

    if given["find_rate"] and given["slo_s"] is None:
        raise UsageError("--find-rate seeks the highest rate that keeps a bound: give --slo, seconds.")
    if given["slo_s"] is not None and "server" not in given["modes"]:
        raise UsageError("--slo bounds the latency of Server: add it to --scenario, or leave --slo out.")
    folder = given["out"] or shell.root / f"latency-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already and holds something: name another --out, or move it away.")
    scenario = choose(constellation, os.environ, shell.say).scenario
    scenario = with_computers(scenario, given["device"], given["ground_device"])
    options = LatencyOptions(
        model=given["model"],
        modes=tuple(Mode(word) for word in given["modes"]),
        origins=tuple(Origin(word) for word in given["origins"]),
        arms=tuple(Arm(word) for word in given["arms"]),
        worlds=tuple(World(word) for word in given["worlds"]),
        duration_s=given["duration_s"],
        strata=given["instants"],
        warm_up_s=given["warm_up_s"],
        satellite=given["satellite"],
        slo_s=given["slo_s"],
        offered_per_s=given["offered_per_s"],
        find_rate=given["find_rate"],
        seed=given["seed"],
        rate=given["rate"],
        traced=not given["untraced"],
    )
    root = shell.root
    root.mkdir(parents=True, exist_ok=True)
    run = LatencyBench(scenario, options, root, shell.say).measure()
    summary = write_results(folder, run, given["parquet"])
    if shell.json:
        print((folder / "summary.json").read_text())
    else:
        for line in lines(summary):
            print(line)
        shell.say(f"written to {folder}: summary.json, requests.csv, report.html")
