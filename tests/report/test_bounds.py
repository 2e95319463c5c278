"""Does every list of the page end at its bound, and say so only past it?"""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perigrid.report.outputs import MAX_ARRAYS, outputs_of, outputs_table
from perigrid.report.page import MAX_CAUSES_KEPT, write_report
from perigrid.report.picture import MAX_SIDE_PX, png
from perigrid.report.sections import MAX_CAUSES, MAX_LINKS, traffic
from perigrid.report.story import Incident, LinkLoad, Story, tell
from perigrid.report.timeline import MAX_INCIDENTS_DRAWN, timeline
from tests.report.made_runs import JOB, Wish, append, job_events, made_run
from tests.report.reading import Page
from tests.report.test_story import RUN

MAX_PICTURE_BYTES = 2_400_000


@pytest.fixture
def story() -> Story:
    return tell([RUN, *job_events(Wish(shards=12, faults=False)).events], JOB)


@pytest.mark.parametrize("extra", [0, 1])
def test_breaks_that_are_drawn(story: Story, extra: int) -> None:
    at_s = np.linspace(story.admitted_s, story.ended_s, MAX_INCIDENTS_DRAWN + extra).tolist()
    broken = replace(story, incidents=tuple(Incident(t_s, "kill", ("sat-01",), "user") for t_s in at_s))
    page = Page(timeline(broken))
    assert len(page.of("line", class_="incident")) == MAX_INCIDENTS_DRAWN
    assert ("1 more break or repair not shown." in page.text) == bool(extra)


@pytest.mark.parametrize("extra", [0, 1])
def test_links_that_are_listed(story: Story, extra: int) -> None:
    loads = tuple(LinkLoad(f"a-{n}", f"b-{n}", "laser", 1000 - n, 0) for n in range(MAX_LINKS + extra))
    page = Page(traffic(replace(story, loads=loads), None, ()))
    assert f"a-{MAX_LINKS - 1} –" in page.text
    assert (f"Showing the busiest {MAX_LINKS} of {MAX_LINKS + 1} links" in page.text) == bool(extra)


@pytest.mark.parametrize("extra", [0, 1])
def test_arrays_that_are_listed(tmp_path: Path, extra: int) -> None:
    np.savez(tmp_path / "outputs.npz", **{f"array-{n:02d}": np.zeros(2) for n in range(MAX_ARRAYS + extra)})
    page = Page(outputs_table(outputs_of(tmp_path), tmp_path))
    assert len(page.of("th", scope="row")) == MAX_ARRAYS
    assert (f"Showing {MAX_ARRAYS} of {MAX_ARRAYS + 1} arrays." in page.text) == bool(extra)


@pytest.mark.parametrize("causes", [MAX_CAUSES, MAX_CAUSES + 1, MAX_CAUSES_KEPT, MAX_CAUSES_KEPT + 1])
def test_causes_of_failed_shards(tmp_path: Path, causes: int) -> None:
    run = made_run(tmp_path, Wish(shards=6, faults=False))
    figures = Page(write_report(run, None, tmp_path / "before.html").read_text()).outcome
    failures = {f"POISON: number {n}": 1 for n in range(causes)}
    outcome = {"t": 99.0, "wall": 0.0, "node": "client", "what": "outcome", **figures, "failures": failures}
    append(run, [outcome])
    page = Page(write_report(run, None, tmp_path / "page.html").read_text())
    assert (f"Showing {MAX_CAUSES} of" in page.text) == (causes > MAX_CAUSES)
    assert len(page.outcome["failures"]) == min(causes, MAX_CAUSES_KEPT)
    assert page.outcome.get("failures_left_out") == (1 if causes > MAX_CAUSES_KEPT else None)


def test_the_noisiest_picture_leaves_room_for_the_rest() -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (MAX_SIDE_PX, MAX_SIDE_PX, 3), np.uint8)
    assert len(base64.b64encode(png(pixels))) < MAX_PICTURE_BYTES
