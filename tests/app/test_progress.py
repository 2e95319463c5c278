"""Do people hear what matters, and not more?"""

from __future__ import annotations

import io
import sys

import pytest

from perigrid.app.jobs import Started
from perigrid.app.progress import (
    LINES_A_JOB,
    DrawnJob,
    DrawnRun,
    PlainJob,
    PlainRun,
    status_rows,
    waiting_line,
)
from perigrid.job.spec import JobSpec
from perigrid.live.clients import ConnectionLost, Delivered, JobSummary
from perigrid.node.frames import Stages
from perigrid.node.records import ShardAccepted
from perigrid.node.replies import Admitted, Row
from perigrid.units import NodeId
from tests.app.test_outcome import status

SPEC = JobSpec(job="a", model="tinycloud", dataset="scene")
SHARDS = 50


def started(waits_for: str = "", until_sky_s: float | None = None) -> Started:
    return Started(SPEC, Admitted("a", 200, SHARDS, False, waits_for, until_sky_s), status(10.0, 0))


def delivered(shard: int) -> Delivered:
    ending = ShardAccepted("a", shard, b"", 4, NodeId(0), 1, 2, 3.0, Stages(0, 0, 0, 0, 0))
    return Delivered(Row(shard + 1, (shard,), ending), b"")


def test_a_job_in_plain_lines() -> None:
    said: list[str] = []
    display = PlainJob(said.append)
    display.show(started())
    for shard in range(SHARDS):
        display.show(delivered(shard))
    display.show(ConnectionLost("gone", 0.1))
    display.close()
    assert said[0] == "job a: tinycloud on scene, 200 tiles in 50 shards"
    assert len(said) == 1 + LINES_A_JOB + 1
    assert said[-2].startswith("50 of 50 shards, 50 attempts, ")
    assert "gone" in said[-1]


def test_a_job_that_waits_says_for_what_and_until_when() -> None:
    assert waiting_line(started()) is None
    line = waiting_line(started("no station sees a satellite", 70.0))
    assert line is not None
    assert "no station sees a satellite" in line
    assert "2025-05-15T00:01:10Z" in line
    assert "in 60 s there, 600 s here" in line
    never = waiting_line(started("all links are cut"))
    assert never is not None
    assert "no contact is planned" in never


def test_a_state_in_rows() -> None:
    rows = dict(status_rows(status(10.0, 0), 12, [JobSummary("a", "running", 2, 6, 3, 0)]))
    assert rows["satellites up"] == "12 of 12, lost: sat-07"
    assert rows["job a"] == "running, 2 of 6 shards, 3 attempts"
    assert rows["times"].startswith("VALID FOR LATENCY")
    assert rows["in orbit"].startswith("2025-05-15T00:00:10Z")


def test_plain_lines_say_only_what_changed() -> None:
    said: list[str] = []
    display = PlainRun(said.append)
    display.show(status_rows(status(10.0, 0), 12, []))
    display.show(status_rows(status(11.0, 0), 12, []))
    display.show(status_rows(status(12.0, 0, links_up=9), 12, []))
    display.close()
    assert len(said) == 2
    assert said[1] == "2025-05-15T00:00:12Z: links up 9 of 0, 1 cut"


def test_drawn_displays_draw_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = DrawnJob()
    bar.show(started("the sun", None))
    for shard in range(SHARDS):
        bar.show(delivered(shard))
    bar.show(ConnectionLost("gone", 0.1))
    bar.close()
    table = DrawnRun()
    table.show(status_rows(status(10.0, 0), 12, []))
    table.close()
    text = screen.getvalue()
    assert "job a waits: the sun" in text
    assert "50/50" in text
    assert "satellites up" in text
