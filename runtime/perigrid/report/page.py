"""What would one show a colleague?

One HTML file that needs nothing else: no script, no font, no request. It is made from a run's directory alone, while
the run is up or after: the event log tells the job, config.json the world, flash and results the pictures. What is
missing is said, what is too much is cut with a word about it, and what comes from files is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

import perigrid.report
from perigrid.errors import CorruptFile, EnvironmentProblem, UsageError
from perigrid.job.spec import Capture, is_job_id
from perigrid.live.config import RunConfig, read_config
from perigrid.live.eventlog import read_events
from perigrid.mesh.topology import Mesh
from perigrid.report import sections
from perigrid.report.breakdown import breakdown_of
from perigrid.report.drawing import drawing
from perigrid.report.markup import Html, document, join, tag
from perigrid.report.origins import inputs_table, origins
from perigrid.report.outcome import ASSUMPTIONS, Outcome
from perigrid.report.outputs import outputs_of, outputs_table
from perigrid.report.pace import pace
from perigrid.report.picture import pictures, read_mask, scene_of
from perigrid.report.story import Story, last_job, tell
from perigrid.report.timeline import axis_of, timeline

REPORT_FILE = "report.html"
STYLE_FILE = "page.css"
MAX_CAUSES_KEPT = 500
"""Causes of failed shards in the figures for machines."""


@dataclass(frozen=True, slots=True)
class Published:
    """A report that was written: where, what it tells, and the figures in it (None where no client wrote any)."""

    path: Path
    story: Story
    figures: Mapping[str, Any] | None


def write_report(run_directory: Path, job: str | None, out: Path | None) -> Path:
    """Write a report as `publish` does; where it is."""
    return publish(run_directory, job, out).path


def publish(run_directory: Path, job: str | None, out: Path | None) -> Published:
    """Write the report of a run's job as one HTML file: by default of its last job, as report.html in its directory.

    UsageError where there is no such job, MissingFile or CorruptFile where the run's files are not there or are not
    what they should be, EnvironmentProblem where the report cannot be written.
    """
    config = read_config(run_directory)
    chosen = last_job(read_events(run_directory)) if job is None else job
    if not is_job_id(chosen):
        raise UsageError(f"{chosen!r} is no job's id; name one that `perigrid status` lists.")
    story = tell(read_events(run_directory), chosen)
    figures = _figures(story, run_directory)
    outcome = None if figures is None else _outcome(figures, run_directory)
    path = run_directory / REPORT_FILE if out is None else out
    _write(path, _page(config, story, outcome, figures, run_directory))
    return Published(path, story, figures)


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise EnvironmentProblem(
            f"the report could not be written to {path} ({error.strerror}); name another file with --out."
        ) from error


def _figures(story: Story, folder: Path) -> Mapping[str, Any] | None:
    """What the job's client wrote: in the event log, or in the job's own folder."""
    if story.outcome is not None:
        return story.outcome
    try:
        table: dict[str, Any] = msgspec.json.decode(_results(folder, story).joinpath("outcome.json").read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
    return table


def _outcome(figures: Mapping[str, Any], folder: Path) -> Outcome:
    try:
        return msgspec.convert(figures, Outcome)
    except msgspec.ValidationError as error:
        raise CorruptFile(
            f"the outcome in {folder} is not as documented ({error}); use the perigrid that ran the job for its report."
        ) from error


def _results(folder: Path, story: Story) -> Path:
    return folder / "results" / story.job.job


def _page(
    config: RunConfig, story: Story, outcome: Outcome | None, figures: Mapping[str, Any] | None, folder: Path
) -> Html:
    scenario = config.scenario
    mesh = Mesh(scenario)
    captures = tuple(c for c in config.catalogue.captures if c.dataset == story.job.dataset)
    assumptions = ASSUMPTIONS if outcome is None else outcome.assumptions
    preloaded = config.preloaded if outcome is None else outcome.preloaded
    parts = [
        ("scene", "Scene and result", _result(captures, mesh, story, folder)),
        ("constellation", "Constellation", drawing(scenario, mesh, story)),
        ("timeline", "Shards over time", join([timeline(story), pace(story, axis_of(story))])),
        ("latency", "Where the time went", sections.latency(breakdown_of(story.accepted, story.admitted_s), outcome)),
        ("bytes", "Bytes", sections.traffic(story, outcome, preloaded)),
        (
            "assumptions",
            "Assumptions and where the numbers come from",
            join([tag("p", assumptions), origins(scenario), inputs_table(config.models, config.inputs)]),
        ),
        ("again", "Run it again", sections.again(story, folder)),
    ]
    header = tag(
        "header",
        tag("p", "perigrid report · ", scenario.title or scenario.name, class_="eyebrow"),
        tag("h1", "Job ", tag("span", story.job.job, class_="job")),
        sections.head(story, outcome),
        _contents(parts),
    )
    content = [
        tag("section", tag("h2", title, id=f"{name}-head"), body, id=name, aria_labelledby=f"{name}-head")
        for name, title, body in parts
    ]
    footer = tag(
        "footer", tag("p", f"Written by perigrid {story.run.perigrid} from the event log of run {story.run.run}.")
    )
    return _document(f"Job {story.job.job} · perigrid report", figures, [header, tag("main", *content), footer])


def _contents(parts: Sequence[tuple[str, str, Html]]) -> Html:
    items = [tag("li", tag("a", title, href=f"#{name}")) for name, title, _ in parts]
    return tag("nav", tag("ul", *items), aria_label="Contents")


def _result(captures: Sequence[Capture], mesh: Mesh, story: Story, folder: Path) -> Html:
    """Scene and mask for imagery, a table of outputs for tiles."""
    results = _results(folder, story)
    if not captures:
        return tag("p", f"The run's configuration has no data named {story.job.dataset}.", class_="note")
    mask = read_mask(results / "mask.npz")
    if captures[0].is_stack:
        return outputs_table(outputs_of(results), results)
    said = []
    if mask is None:
        said.append(f"There is no merged mask in {results}; it may have been written elsewhere, with --out.")
    shown = pictures(scene_of(folder, captures, mesh.names), mask, said)
    found = [] if mask is not None else outputs_of(results)
    return join([shown, outputs_table(found, results)]) if found else shown


def _document(title: str, figures: Mapping[str, Any] | None, body: Sequence[Html]) -> Html:
    style = files(perigrid.report).joinpath(STYLE_FILE).read_text(encoding="utf-8")
    machine = tag("script", _as_script(figures), type="application/json", id="figures")
    return document(title, [style], [*body, machine])


def _as_script(figures: Mapping[str, Any] | None) -> Html:
    """Figures as JSON that cannot end its element: "<" is written as an escape."""
    kept = None if figures is None else dict(figures)
    if kept is not None and len(kept.get("failures") or {}) > MAX_CAUSES_KEPT:
        ranked = sorted(kept["failures"].items(), key=lambda item: -item[1])
        kept["failures"] = dict(ranked[:MAX_CAUSES_KEPT])
        kept["failures_left_out"] = len(ranked) - MAX_CAUSES_KEPT
    return Html(msgspec.json.encode(kept).decode().replace("<", "\\u003c"))
