"""Does the report of a job that was really run state the figures that `perigrid run --json` printed?"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from perigrid.report.page import publish
from tests.live.conftest import SATELLITES, TILES, Constellation, launching
from tests.report.made_runs import made_scene
from tests.report.reading import Page

pytestmark = pytest.mark.live

CUT, LOST = ("sat-06", "sat-07"), "sat-06"
"""A ring has two ways round a lost satellite; a laser cut elsewhere would leave some satellites none."""


def at(outcome: dict[str, Any], name: str) -> Any:
    """The figure of that dotted name."""
    value: Any = outcome
    for part in name.split("."):
        value = value[part]
    return value


def test_the_report_of_a_job_over_a_cut_laser_and_without_a_satellite(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tmp_path = tmp_path_factory.mktemp("live")
    scene = tmp_path / "scene.npz"
    np.savez(scene, img=made_scene())
    with launching(tmp_path, scene) as launcher:
        constellation: Constellation = launcher.up("reported", rate=0.5, service_s=0.1)
        constellation.cut(*CUT)
        constellation.kill(LOST)
        said = constellation.command("run", "--tiles-per-shard", "1")
        # While the run is up as well as after it: both times from its files alone.
        first = publish(constellation.directory, None, tmp_path / "up.html")
        constellation.heal(*CUT)
    published = publish(constellation.directory, said["job"], None)
    page = Page(published.path.read_text(encoding="utf-8"))

    assert page.outcome == said == first.figures
    assert page.figures
    for name, text in page.figures.items():
        value = at(said, name)
        assert (text if isinstance(value, str) else json.loads(text)) == value, name

    story = published.story
    assert (len(story.shards), len(story.accepted)) == (TILES, TILES)
    assert sum(len(shard.attempts) for shard in story.shards) == said["attempts"]
    assert (story.dead, story.cut) == ({LOST}, {frozenset(CUT)})
    assert {load.kind for load in story.loads} == {"laser", "radio", "fibre"}
    for accepted in story.accepted:
        assert story.admitted_s <= accepted.sent_s <= accepted.arrived_s <= accepted.settled_s <= story.ended_s

    assert f"All {TILES} shards of the job" in page.text
    assert f"although the link {' – '.join(CUT)} was cut and {LOST} was lost" in page.text
    assert f"{SATELLITES} satellites, 12 lasers." in page.text
    assert len(page.of("img")) == 2
