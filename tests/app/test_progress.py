"""Do people hear what matters, and not more?"""

from __future__ import annotations

import io
import sys

import msgspec
import pytest

from perigrid.app.commands.status import link_line
from perigrid.app.display import status_html
from perigrid.app.handles import Status
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
from perigrid.app.rerun import Repetition
from perigrid.job.spec import JobSpec
from perigrid.live.clients import ConnectionLost, Delivered, JobSummary, LinkStatus
from perigrid.node.frames import Stages
from perigrid.node.records import ShardAccepted
from perigrid.node.replies import Admitted, Row
from perigrid.units import NodeId
from tests.app.test_outcome import status

SPEC = JobSpec(job="a", model="tinycloud", dataset="scene")
SHARDS = 50


def started(waits_for: str = "", until_sky_s: float | None = None, **changes: object) -> Started:
    return Started(SPEC, Admitted("a", 200, SHARDS, False, waits_for, until_sky_s), status(10.0, 0, **changes))


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


def test_moments_are_those_of_a_sky_that_turns_faster() -> None:
    line = waiting_line(started("no station sees a satellite", 70.0, orbit_rate=60.0))
    assert line is not None
    # 70 s of emulated time after the epoch the sky stands where it is 70 minutes after it.
    assert "at 2025-05-15T01:10:00Z in orbit: in 60 s there, 600 s here" in line
    rows = dict(status_rows(status(10.0, 0, orbit_rate=60.0, links_out=2), 12, []))
    assert rows["in orbit"].startswith("2025-05-15T00:10:00Z, 10.0 s after the epoch, rate 0.1, orbit rate 60")
    assert rows["links up"].endswith("1 cut, 2 out")
    assert "the sky turns 60 times as fast" in rows["times"]


def test_a_state_in_rows() -> None:
    rows = dict(status_rows(status(10.0, 0), 12, [JobSummary("a", "running", 2, 6, 3, 0)]))
    assert rows["satellites up"] == "12 of 12, lost: sat-07"
    assert rows["job a"] == "running, 2 of 6 shards, 3 attempts"
    assert rows["times"].startswith("VALID FOR LATENCY")
    assert rows["in orbit"].startswith("2025-05-15T00:00:10Z")


def test_links_that_are_not_as_they_should_be_are_shown_with_their_state() -> None:
    states = {"sat-01": "up", "sat-02": "out", "sat-03": "cut", "sat-04": "dead", "sat-05": "down"}
    links = tuple(
        LinkStatus(
            a=a, b="sat-09", kind="laser", state=state, range_km=2997.92, delay_ms=10.0, rate_bps=1e9, back_bps=2e6
        )
        for a, state in states.items()
    )
    fields = msgspec.structs.asdict(status(10.0, 0, links=links, links_out=1))
    page = status_html(Status(satellites=(), **fields))
    assert [f"{a} - sat-09" in page for a in states] == [False, True, True, True, False]
    assert link_line(links[0]) == "  laser  sat-01 - sat-09: up, 2998 km, 10.00 ms, 1 Gbit/s there, 2 Mbit/s back"
    assert link_line(links[1]) == "  laser  sat-02 - sat-09: out"
    alike = msgspec.structs.replace(links[0], back_bps=1e9)
    assert link_line(alike).endswith("10.00 ms, 1 Gbit/s")


def test_a_repetition_says_under_which_sky() -> None:
    lines = Repetition(
        original="a", run="a-rerun", directory="d", equal=True, jobs=(), deeds=(), changes=(), notes=(), orbit_rate=60.0
    ).lines()
    assert "  in both the sky turns 60 times as fast as time passes" in lines[1]


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
