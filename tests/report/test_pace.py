"""Does the report show how fast time passed, where that was not given?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from perigrid.report.pace import MAX_STEPS, decades, pace
from perigrid.report.page import write_report
from perigrid.report.story import Story, Stretch, tell
from perigrid.report.timeline import axis_of
from tests.report.made_runs import JOB, Wish, append, job_events, made_run
from tests.report.reading import Page

RUN = {
    "what": "run",
    "t": 0.0,
    "run": "r",
    "perigrid": "1",
    "epoch": "2026-01-01T00:00:00+00:00",
    "scenario_digest": "d",
    "rate": 1.0,
    "mode": "dilated",
    "satellites": 12,
}


def paces(story: Any, steps: int) -> list[dict[str, Any]]:
    """Events of so many stretches over a job, the first of which begins before it; in the middle time stands."""
    first_s = story.events[0]["t"] - 0.1
    step_s = (story.ended_s - first_s) / steps
    return [
        {
            "what": "pace",
            "t": first_s + (n + 1) * step_s,
            "from_s": first_s + n * step_s,
            "rate": rate,
            "standing": stood,
        }
        for n in range(steps)
        for rate, stood in [(0.5, 0.0) if n % 2 else (0.005, 0.9)]
    ]


def story_of(steps: int) -> Story:
    made = job_events(Wish(shards=24, faults=False))
    events = sorted([*made.events, *paces(made, steps)], key=lambda event: event["t"])
    return tell([RUN, *events], JOB)


def test_stretches_are_those_that_the_job_saw() -> None:
    story = story_of(10)
    assert story.stretches[0].from_s < story.admitted_s < story.stretches[0].to_s
    assert {round(one.rate, 6) for one in story.stretches} == {0.005, 0.5}


@pytest.mark.parametrize("steps", [1, 7, 10 * MAX_STEPS])
def test_the_line_has_a_bound_and_says_the_mean(steps: int) -> None:
    story = story_of(steps)
    html = str(pace(story, axis_of(story)))
    drawn = html.count('class="pace-line"')
    assert 0 < drawn <= 2 * MAX_STEPS
    emulated_s = sum(one.to_s - one.from_s for one in story.stretches)
    wall_s = sum(one.wall_s for one in story.stretches)
    assert f"on average {emulated_s / wall_s:.3g} emulated" in html
    places = [float(value) for value in re.findall(r'x[12]="([0-9.]+)%"', html)]
    assert min(places) >= 0.0 and max(places) <= 100.0


def test_the_scale_has_whole_decades() -> None:
    assert decades([Stretch(0.0, 0.05, 1.0, 0.0), Stretch(0.05, 0.75, 1.0, 0.0)]) == (-2, 0)
    assert decades([Stretch(0.0, 1.0, 1.0, 0.0)]) == (0, 1)
    assert decades([Stretch(0.0, 0.0, 1.0, 1.0)]) == (-4, -3)


def test_a_page_has_the_line_where_the_clock_was_governed_and_else_none(tmp_path: Path, calm_run: Path) -> None:
    assert "pace-title" not in write_report(calm_run, None, tmp_path / "calm.html").read_text()
    run = made_run(tmp_path, Wish(shards=24, faults=False))
    made = job_events(Wish(shards=24, faults=False))
    append(run, [{"wall": 0.0, "node": "supervisor", **event} for event in paces(made, 6)])
    page = Page(write_report(run, None, tmp_path / "governed.html").read_text())
    assert "The clock was governed" in page.text
