"""Is a job's story what the event log says, and no more?"""

from __future__ import annotations

from typing import Any

import pytest

from perigrid.errors import CorruptFile, UsageError
from perigrid.report.story import MAX_INCIDENTS, TRAFFIC_TAIL_S, Story, last_job, tell
from tests.report.made_runs import CUT, JOB, LOST, Wish, job_events

RUN = {
    "t": 0.0,
    "what": "run",
    "version": 2,
    "run": "r",
    "perigrid": "0.1.0",
    "epoch": "2026-03-20T12:00:00+00:00",
    "scenario_digest": "ab",
    "rate": 0.1,
    "mode": "dilated",
    "satellites": 12,
}
Event = dict[str, Any]


def event(t_s: float, what: str, **fields: Any) -> Event:
    return {"t": t_s, "wall": 1000.0 + t_s, "node": "ground", "what": what, **fields}


def admitted(t_s: float = 1.0, job: str = "a", shards: int = 1) -> Event:
    return event(t_s, "job-admitted", job=job, model="m", dataset="d", shards=shards, tiles=4 * shards)


def assign(t_s: float, attempt: int, satellite: str, job: str = "a") -> Event:
    return event(t_s, "assign", job=job, shard=0, attempt=attempt, satellite=satellite)


def accepted(t_s: float, attempt: int, satellite: str, job: str = "a", **changes: Any) -> Event:
    stages = dict.fromkeys(("queue_s", "desk_wait_s", "cpu_s"), 0.0)
    ways = dict.fromkeys(("up_laser_s", "up_ground_s", "down_laser_s", "down_ground_s"), 0.1)
    place = {"job": job, "shard": 0, "attempt": attempt, "satellite": satellite, "hops": 2}
    times = {"sent_s": 1.0, "arrived_s": 1.2, "inference_s": 0.5}
    return event(t_s, "accepted", **{**place, **times, **stages, **ways, **changes})


def ended(t_s: float, job: str = "a") -> Event:
    return event(t_s, "job-ended", job=job, outcome="complete", attempts=1, duplicates=0, conflicts=0)


def told(*events: Event, job: str = "a") -> Story:
    return tell([RUN, *events], job)


def test_a_smooth_shard() -> None:
    story = told(admitted(), assign(1.1, 1, "sat-01"), accepted(2.0, 1, "sat-01"), ended(2.1))
    (shard,) = story.shards
    assert shard.smooth
    assert shard.accepted is not None
    assert (shard.accepted.settled_s, shard.accepted.satellite) == (2.0, "sat-01")
    (attempt,) = shard.attempts
    assert (attempt.from_s, attempt.to_s, attempt.end) == (1.1, 2.0, "accepted")
    assert (story.admitted_s, story.ended_s, story.ended) == (1.0, 2.1, True)


def test_a_lease_that_ran_out_and_the_next_attempt() -> None:
    story = told(
        admitted(),
        assign(1.1, 1, "sat-01"),
        event(3.0, "lease-expired", job="a", shard=0, satellite="sat-01"),
        assign(3.0, 2, "sat-02"),
        accepted(4.0, 2, "sat-02"),
        ended(4.0),
    )
    (shard,) = story.shards
    assert not shard.smooth
    assert [(a.satellite, a.to_s, a.end) for a in shard.attempts] == [
        ("sat-01", 3.0, "lease expired"),
        ("sat-02", 4.0, "accepted"),
    ]


def test_a_result_that_comes_after_its_lease_is_the_accepted_one() -> None:
    story = told(
        admitted(),
        assign(1.1, 1, "sat-01"),
        event(3.0, "lease-expired", job="a", shard=0, satellite="sat-01"),
        assign(3.0, 2, "sat-02"),
        accepted(3.5, 1, "sat-01"),
        ended(4.0),
    )
    assert [(a.to_s, a.end) for a in story.shards[0].attempts] == [(3.5, "accepted"), (3.5, "overtaken")]


def test_a_second_result_changes_nothing() -> None:
    once = [admitted(), assign(1.1, 1, "sat-01"), accepted(2.0, 1, "sat-01")]
    assert told(*once, accepted(2.5, 1, "sat-09"), ended(3.0)).shards == told(*once, ended(3.0)).shards


def test_a_shard_that_failed_keeps_its_cause() -> None:
    story = told(
        admitted(),
        assign(1.1, 1, "sat-01"),
        event(2.0, "shard-failed", job="a", shard=0, cause="POISON"),
        ended(2.0),
    )
    assert story.shards[0].cause == "POISON"
    assert [a.end for a in story.shards[0].attempts] == ["failed"]
    assert story.accepted == ()


def test_what_is_open_when_the_log_ends_is_open() -> None:
    story = told(admitted(), assign(1.1, 1, "sat-01"))
    assert not story.ended
    assert [(a.end, a.to_s) for a in story.shards[0].attempts] == [("open", 1.1)]


def test_other_jobs_and_unknown_kinds_are_passed_over() -> None:
    mine = [admitted(), assign(1.1, 1, "sat-01"), accepted(2.0, 1, "sat-01"), ended(2.1)]
    others = [
        admitted(job="b"),
        assign(1.1, 1, "sat-05", job="b"),
        accepted(1.5, 1, "sat-05", job="b"),
        ended(1.9, job="b"),
        event(1.4, "never-heard-of", job="a", anything=[1, 2]),
        event(1.4, "link-up", a=1, b=2),
    ]
    assert told(*mine[:1], *others, *mine[1:]) == told(*mine)


def test_breaks_and_repairs_and_what_is_left_of_them() -> None:
    story = told(
        event(0.5, "cut", a="sat-01", b="sat-02", by="scenario"),
        admitted(),
        event(1.2, "cut", a="sat-03", b="sat-04", by="user"),
        event(1.3, "kill", satellite="sat-07", by="user"),
        event(1.4, "heal", a="sat-04", b="sat-03", by="user"),
        event(1.5, "kill", satellite="sat-08", by="user"),
        event(1.6, "reboot", satellite="sat-08", by="user"),
        ended(2.0),
        event(2.1, "kill", satellite="sat-09", by="user"),
    )
    assert story.cut == {frozenset(("sat-01", "sat-02"))}
    assert story.dead == {"sat-07"}
    assert [i.what for i in story.incidents] == ["cut", "cut", "kill", "heal", "kill", "reboot"]
    assert story.incidents[0].by == "scenario"


@pytest.mark.parametrize("extra", [0, 1])
def test_incidents_are_bounded_and_the_rest_is_counted(extra: int) -> None:
    kills = [event(1.5, "kill", satellite=f"s{n}", by="user") for n in range(MAX_INCIDENTS + extra)]
    story = told(admitted(), *kills, ended(2.0))
    assert (len(story.incidents), story.incidents_left_out) == (MAX_INCIDENTS, extra)
    assert len(story.dead) == MAX_INCIDENTS + extra


def traffic(t_s: float, size: int, a: str = "x", b: str = "y", pid: int = 1) -> Event:
    return event(t_s, "traffic", a=a, b=b, kind="laser", bytes=size, frames=1, pid=pid)


def test_traffic_is_what_was_added_while_the_job_ran() -> None:
    story = told(
        traffic(0.5, 1000),
        admitted(),
        traffic(1.5, 1500),
        traffic(1.6, 70, a="y", b="x"),
        ended(2.0),
        traffic(2.0 + TRAFFIC_TAIL_S, 1700),
        traffic(2.1 + TRAFFIC_TAIL_S, 9000),
    )
    (load,) = story.loads
    assert (load.a, load.b, load.forth_bytes, load.back_bytes, load.size_bytes) == ("x", "y", 700, 70, 770)


def test_a_counter_begins_again_with_its_process() -> None:
    fallen = told(admitted(), traffic(1.1, 1000), traffic(1.2, 300), ended(2.0))
    grown = told(admitted(), traffic(1.1, 1000), traffic(1.2, 1300, pid=2), ended(2.0))
    assert fallen.loads[0].forth_bytes == 1300
    assert grown.loads[0].forth_bytes == 2300


def test_a_link_that_carried_nothing_in_the_job_is_not_listed() -> None:
    assert told(traffic(0.5, 1000), admitted(), traffic(1.1, 1000), ended(2.0)).loads == ()


def test_the_outcome_is_kept_as_it_was_written() -> None:
    figures = {"job": "a", "outcome": "complete", "accepted": 1}
    story = told(admitted(), ended(2.0), event(2.0, "outcome", **figures))
    assert story.outcome == figures


def test_a_job_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"no job 'nosuch'; it has: a, b\."):
        told(admitted(), admitted(job="b"), job="nosuch")


def test_an_event_that_is_not_as_documented_is_named() -> None:
    with pytest.raises(CorruptFile, match=r"'accepted' at t = 2.0.*hops"):
        told(admitted(), assign(1.1, 1, "sat-01"), accepted(2.0, 1, "sat-01", hops="many"))


def test_a_log_without_its_first_line_is_refused() -> None:
    with pytest.raises(CorruptFile, match="does not begin with the run"):
        tell([admitted(), ended(2.0)], "a")


def test_a_full_log_says_so() -> None:
    assert told(admitted(), event(1.5, "log-full", limit_bytes=1)).log_full


def test_the_last_job_is_the_one_whose_outcome_came_last() -> None:
    events = [admitted(job="a"), admitted(job="b"), event(3.0, "outcome", job="a"), admitted(job="c")]
    assert last_job(events) == "a"
    assert last_job(events[:2]) == "b"
    with pytest.raises(UsageError, match="no job yet"):
        last_job([RUN])


def test_a_made_up_job_is_told_whole() -> None:
    wish = Wish(shards=73)
    made = job_events(wish)
    story = tell([RUN, *made.events], JOB)
    assert len(story.shards) == len(story.accepted) == 73
    assert sum(len(shard.attempts) for shard in story.shards) == made.attempts
    assert story.dead == {LOST}
    assert story.cut == {frozenset(CUT)}
    again = [shard for shard in story.shards if not shard.smooth]
    assert again
    assert all(shard.attempts[0].satellite == LOST for shard in again)
