"""Did each shard of a job end once, and did its client get that ending once?

What a client says of itself proves little, so three witnesses are asked: the result that the client merged, the run's
event log, and the ground's journal, which is what survives a crash. They must agree shard by shard.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

import msgspec

from perigrid.app.job_handle import Job
from perigrid.app.results import JobResult
from perigrid.live.eventlog import read_events
from perigrid.node.records import Record, ShardAccepted, ShardFailed

ENDINGS = ("accepted", "shard-failed")
"""The events that end a shard."""

MAX_SHARDS_NAMED = 5


def assert_exactly_once(job: Job | JobResult, limit_s: float | None = None) -> JobResult:
    """Assert that every shard of a job has one result, given to the client once; the job's result.

    A Job is waited for, at most `limit_s` seconds of the wall. AssertionError names what is lost, doubled or different;
    raises what `Job.result` raises.
    """
    result = job.result(limit_s) if isinstance(job, Job) else job
    outcome = result.outcome
    problems: list[str] = []
    if outcome.failed:
        problems.append(f"{outcome.failed} shards failed: {outcome.failures}")
    if outcome.accepted != outcome.shards - outcome.failed:
        problems.append(f"the client was given {outcome.accepted} of {outcome.shards} shards")
    if outcome.duplicates_to_client:
        problems.append(f"{outcome.duplicates_to_client} endings were given to the client twice")
    if outcome.conflicts:
        problems.append(f"{outcome.conflicts} shards came with other bytes than before")
    if not outcome.coverage_ok:
        problems.append("the merged result has tiles that are missing or doubled")
    run = result.directory.parent.parent
    shards = range(outcome.shards)
    problems += _not_once(_logged(run, outcome.job), shards, "the event log")
    problems += _not_once(Counter(_journalled(run, outcome.job)), shards, "the journal")
    if problems:
        raise AssertionError(f"job {outcome.job} is not exactly once: " + "; ".join(problems))
    return result


def _logged(run: Path, job: str) -> Counter[int]:
    """How often each shard of a job ended by the event log, at most in one life of the controller.

    An ending is noted before it is in the journal. A controller that was killed in between did not have it, and the
    next one takes it, rightly; had the journal had it, that would have it twice.
    """
    life, counted = 0, Counter[tuple[int, int]]()
    for event in read_events(run):
        if event["what"] == "epoch":
            life += 1
        elif event["what"] in ENDINGS and event.get("job") == job:
            counted[life, event["shard"]] += 1
    most = Counter[int]()
    for (_, shard), times in counted.items():
        most[shard] = max(most[shard], times)
    return most


def _journalled(run: Path, job: str) -> list[int]:
    """The shards of a job that ended, by the ground's journal, each time."""
    decoder = msgspec.json.Decoder(Record)
    journal = sqlite3.connect(f"{(run / 'ground' / 'journal.sqlite').resolve().as_uri()}?mode=ro", uri=True)
    try:
        bodies = journal.execute("SELECT body FROM journal ORDER BY number").fetchall()
    finally:
        journal.close()
    records = [decoder.decode(body) for (body,) in bodies]
    return [r.shard for r in records if isinstance(r, ShardAccepted | ShardFailed) and r.job == job]


def _not_once(counted: Counter[int], shards: range, witness: str) -> list[str]:
    found = []
    for word, wrong in (
        ("no ending", [s for s in shards if counted[s] == 0]),
        ("several endings", [s for s in shards if counted[s] > 1]),
    ):
        if wrong:
            named = ", ".join(str(shard) for shard in wrong[:MAX_SHARDS_NAMED])
            more = " and more" if len(wrong) > MAX_SHARDS_NAMED else ""
            found.append(f"{witness} has {word} of {len(wrong)} shards ({named}{more})")
    return found
