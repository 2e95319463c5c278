"""What was asked of a run, and what came of it, as its event log tells it?

Deeds are what was done to the constellation from outside, in the order of time: jobs that were submitted or cancelled,
and faults that its user made; those of the scenario come with the scenario. Of each job it is kept which shards had
which result, so that two runs can be held against each other. Times are emulated seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from perigrid.app.tables import OUTCOME_FILE
from perigrid.errors import CorruptFile
from perigrid.job.spec import JobSpec, is_job_id
from perigrid.live.constellation import BY_USER
from perigrid.live.eventlog import EVENT_LOG_FILE, read_events

LEFT_OUT = "left_out_bytes"
CANCELLED = "cancelled"
"""The outcome of a job that its client gave up."""

Action = Literal["submit", "cancel", "cut", "heal", "kill", "reboot"]


class Admitted(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="job-admitted"):
    """A job was taken on."""

    t: float
    wall: float
    job: str
    model: str
    dataset: str
    shards: int
    tiles_per_shard: int
    priority: int
    deadline_s: float | None = None

    @property
    def spec(self) -> JobSpec:
        """The job as its client stated it."""
        return JobSpec(
            job=self.job,
            model=self.model,
            dataset=self.dataset,
            tiles_per_shard=self.tiles_per_shard,
            priority=self.priority,
            deadline_s=self.deadline_s,
        )


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="accepted"):
    """A shard's one result."""

    job: str
    shard: int
    satellite: str
    digest: str


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="shard-failed"):
    """A shard's end without a result."""

    job: str
    shard: int
    cause: str


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="job-ended"):
    """A job's end."""

    t: float
    wall: float
    job: str
    outcome: str


class Merged(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="outcome"):
    """What a client made of a job's results."""

    job: str
    result_sha256: str


class Kept(msgspec.Struct, frozen=True):
    """What is read of an outcome in a job's folder of results."""

    result_sha256: str


class LinkBreak(msgspec.Struct, frozen=True, kw_only=True, tag_field="what"):
    """What was done to a link."""

    t: float
    wall: float
    a: str
    b: str
    by: str
    one_way: bool = False


class Cut(LinkBreak, frozen=True, kw_only=True, tag="cut"):
    """It was cut."""


class Heal(LinkBreak, frozen=True, kw_only=True, tag="heal"):
    """It was mended."""


class NodeBreak(msgspec.Struct, frozen=True, kw_only=True, tag_field="what"):
    """What was done to a satellite, or to the controller."""

    t: float
    wall: float
    satellite: str
    by: str
    lose_flash: bool = False


class Kill(NodeBreak, frozen=True, kw_only=True, tag="kill"):
    """It died."""


class Reboot(NodeBreak, frozen=True, kw_only=True, tag="reboot"):
    """It started again."""


class Requested(msgspec.Struct, frozen=True, tag_field="what", tag="request"):
    """An inference through the gateway."""


class Full(msgspec.Struct, frozen=True, tag_field="what", tag="log-full"):
    """The log says no more."""


Told = Admitted | Accepted | Failed | Ended | Merged | Cut | Heal | Kill | Reboot | Requested | Full
KINDS = {
    "job-admitted",
    "accepted",
    "shard-failed",
    "job-ended",
    "outcome",
    "cut",
    "heal",
    "kill",
    "reboot",
    "request",
    "log-full",
}


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was done from outside: `a` is a job, a node, or one end of a link and `b` the other.

    `wall_s` is seconds since 1970: the clock of the orbit stands still while a constellation comes up.
    """

    at_s: float
    wall_s: float
    action: Action
    a: str
    b: str = ""
    one_way: bool = False
    lose_flash: bool = False

    def __str__(self) -> str:
        words = [self.action, self.a]
        if self.b:
            words += ["to" if self.one_way else "-", self.b]
        if self.lose_flash:
            words.append("with its flash lost")
        return " ".join(words)


@dataclass(slots=True)
class JobPast:
    """One job: by shard the digest of its result and who computed it, or why there is none.

    `outcome` is "" where it has not ended, and `result_sha256` is "" where no client has merged its results.
    """

    spec: JobSpec
    admitted_s: float
    admitted_wall_s: float
    shards: int
    outcome: str = ""
    result_sha256: str = ""
    digests: dict[int, str] = field(default_factory=dict)
    satellites: dict[int, str] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Past:
    """A run's past: its log's first line, jobs in the order of their admission, and the faults that its user made.

    `requests` counts inferences through the gateway, `last_s` is the time of the last event, and `is_whole` says
    whether the log had room for everything.
    """

    first: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, JobPast] = field(default_factory=dict)
    faults: list[Deed] = field(default_factory=list)
    cancelled: list[Deed] = field(default_factory=list)
    requests: int = 0
    last_s: float = 0.0
    is_whole: bool = True

    def deeds(self) -> list[Deed]:
        """All that was done, in the order of time."""
        submitted = [Deed(job.admitted_s, job.admitted_wall_s, "submit", name) for name, job in self.jobs.items()]
        return sorted([*submitted, *self.faults, *self.cancelled], key=lambda deed: (deed.at_s, deed.wall_s))


def read_past(folder: Path) -> Past:
    """A run's past from its directory; MissingFile and CorruptFile as `read_events`."""
    try:
        past = past_of(read_events(folder))
    except msgspec.ValidationError as error:
        raise CorruptFile(
            f"{folder / EVENT_LOG_FILE} has an event that cannot be understood ({error}); read it with the perigrid "
            "that wrote it."
        ) from error
    for name, job in past.jobs.items():
        if not job.result_sha256 and is_job_id(name):
            job.result_sha256 = _kept_sha256(folder / "results" / name / OUTCOME_FILE)
    return past


def past_of(events: Iterable[dict[str, Any]]) -> Past:
    """A run's past from its events; msgspec's ValidationError for one that lacks what its kind has."""
    past = Past()
    for event in events:
        if not past.first:
            past.first = event
        past.last_s = max(past.last_s, event.get("t", 0.0))
        # An event that was too long for a line is there without its fields.
        if event.get("what") in KINDS and LEFT_OUT not in event:
            _take(past, msgspec.convert(event, Told))
    return past


def _kept_sha256(path: Path) -> str:
    """The result's digest in an outcome that a client kept; "" where there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept).result_sha256
    except (OSError, msgspec.MsgspecError):
        return ""


def _take(past: Past, told: Told) -> None:
    match told:
        case Admitted():
            # A second time only where the controller died before the first was durable: then only this one counts.
            past.jobs[told.job] = JobPast(told.spec, told.t, told.wall, told.shards)
        case Accepted() | Failed() | Ended() | Merged():
            if told.job in past.jobs:
                _take_of_job(past, past.jobs[told.job], told)
        case LinkBreak() if told.by == BY_USER:
            action: Action = "cut" if isinstance(told, Cut) else "heal"
            past.faults.append(Deed(told.t, told.wall, action, told.a, told.b, one_way=told.one_way))
        case NodeBreak() if told.by == BY_USER:
            action = "kill" if isinstance(told, Kill) else "reboot"
            past.faults.append(Deed(told.t, told.wall, action, told.satellite, lose_flash=told.lose_flash))
        case Requested():
            past.requests += 1
        case Full():
            past.is_whole = False


def _take_of_job(past: Past, job: JobPast, told: Accepted | Failed | Ended | Merged) -> None:
    match told:
        case Accepted():
            job.digests[told.shard], job.satellites[told.shard] = told.digest, told.satellite
        case Failed():
            job.failures[told.shard] = told.cause
        case Ended():
            job.outcome = told.outcome
            if told.outcome == CANCELLED:
                past.cancelled.append(Deed(told.t, told.wall, "cancel", told.job))
        case Merged():
            job.result_sha256 = told.result_sha256
