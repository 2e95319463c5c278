"""What happened to a job, as the run's event log tells it?

A story is one frozen value, made from events in the order of the log; it reads no file and no clock. All times are
emulated seconds since the scenario's epoch. Events of other jobs, and kinds that are not known here, are passed over.

What each link carried is counted from the difference of the counters in the log, which nodes write about once a
second while they change: traffic of the last second before the job may be in it, and what goes on besides the job is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from perigrid.errors import CorruptFile, UsageError

MAX_INCIDENTS = 1000
"""Breaks and repairs that a story keeps; it counts the others."""

TRAFFIC_TAIL_S = 1.5
"""How long after a job's end, in seconds of the wall, counters of traffic are still taken for its own."""

STANDING_WALL_S = 1.0
"""How long a stretch without any emulated time took, seconds of the wall: they are written about once a second."""

JOBS_NAMED = 8
"""A message names at most so many jobs."""

BREAKS = frozenset({"cut", "heal", "kill", "reboot"})
AttemptEnd = Literal["accepted", "lease expired", "refused", "overtaken", "failed", "open"]
Part = TypeVar("Part", bound=msgspec.Struct)


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the log's first line says of the run. `inputs` are the sha256 of models and data by name; `command` is what
    brought it up, where that is known. The sky turns `orbit_rate` times as fast as emulated time passes.
    """

    run: str
    perigrid: str
    epoch: str
    scenario_digest: str
    rate: float
    orbit_rate: float = 1.0
    mode: str
    satellites: int | tuple[str, ...]
    inputs: dict[str, str] = {}
    preloaded: tuple[str, ...] = ()
    command: str | tuple[str, ...] = ""


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was admitted."""

    job: str
    model: str
    dataset: str
    shards: int
    tiles: int
    tiles_per_shard: int = 0
    priority: int = 0
    deadline_s: float | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A shard's one result. `settled_s` is when the ground had it; the others are as docs/events.md says."""

    shard: int
    attempt: int
    satellite: str
    hops: int
    sent_s: float
    arrived_s: float
    queue_s: float
    inference_s: float
    desk_wait_s: float
    cpu_s: float
    up_laser_s: float
    up_ground_s: float
    down_laser_s: float
    down_ground_s: float
    settled_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that a shard was given to a satellite, until its result came or somebody knew that none would."""

    number: int
    satellite: str
    from_s: float
    to_s: float
    end: AttemptEnd


@dataclass(frozen=True, slots=True)
class ShardStory:
    """A shard's attempts and its ending: accepted, failed with a cause, or neither yet."""

    shard: int
    attempts: tuple[Attempt, ...]
    accepted: Accepted | None
    cause: str | None

    @property
    def smooth(self) -> bool:
        """Whether its first attempt brought its result."""
        return self.accepted is not None and len(self.attempts) == 1


@dataclass(frozen=True, slots=True)
class Incident:
    """Something was broken or mended: a link (two names) or a node (one name)."""

    at_s: float
    what: str
    nodes: tuple[str, ...]
    by: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of emulated time and how long it took here: `wall_s`, in the share `standing` of which time stood."""

    from_s: float
    to_s: float
    wall_s: float
    standing: float

    @property
    def rate(self) -> float:
        """Emulated seconds a second of the wall."""
        return (self.to_s - self.from_s) / self.wall_s if self.wall_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class LinkLoad:
    """What a link carried while the job ran, in either direction; `a` comes before `b` by name."""

    a: str
    b: str
    kind: str
    forth_bytes: int
    back_bytes: int

    @property
    def size_bytes(self) -> int:
        """Both directions together."""
        return self.forth_bytes + self.back_bytes


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that the log says of one job and of the world around it.

    `ended_s` is the last that was heard of the job where it has not `ended`. `cut` and `dead` are what was broken at
    the end, `outcome` is what the client wrote when it had the whole job, or None.
    """

    run: RunFacts
    job: JobFacts
    admitted_s: float
    ended_s: float
    ended: bool
    shards: tuple[ShardStory, ...]
    incidents: tuple[Incident, ...]
    incidents_left_out: int
    cut: frozenset[frozenset[str]]
    dead: frozenset[str]
    loads: tuple[LinkLoad, ...]
    outcome: Mapping[str, Any] | None
    log_full: bool
    stretches: tuple[Stretch, ...] = ()

    @property
    def accepted(self) -> tuple[Accepted, ...]:
        """The results, in the order of their shards."""
        return tuple(shard.accepted for shard in self.shards if shard.accepted is not None)


def last_job(events: Iterable[Mapping[str, Any]]) -> str:
    """The job whose outcome was written last, or the one admitted last where none was; UsageError without any."""
    admitted = finished = None
    for event in events:
        if event.get("what") == "job-admitted":
            admitted = event.get("job")
        elif event.get("what") == "outcome":
            finished = event.get("job")
    job = finished or admitted
    if job is None:
        raise UsageError("this run has had no job yet: start one with `perigrid run`, then ask for its report.")
    return str(job)


def tell(events: Iterable[Mapping[str, Any]], job: str) -> Story:
    """The story of a job; UsageError where the log has no such job, CorruptFile where an event is not as documented."""
    teller = _Teller(job)
    for event in events:
        teller.hear(event)
    return teller.story()


@dataclass(slots=True)
class _Try:
    """An attempt as it is being told."""

    number: int
    satellite: str
    from_s: float
    to_s: float | None = None
    end: AttemptEnd = "open"

    def close(self, at_s: float, end: AttemptEnd) -> None:
        self.to_s, self.end = at_s, end


class _Teller:
    """Takes events one by one and remembers what belongs to one job."""

    def __init__(self, job: str) -> None:
        self._name = job
        self._others: dict[str, None] = {}
        self._run: RunFacts | None = None
        self._job: JobFacts | None = None
        self._admitted_s = self._last_s = 0.0
        self._ended_s: float | None = None
        self._ended_wall_s = 0.0
        self._tries: dict[int, list[_Try]] = {}
        self._accepted: dict[int, Accepted] = {}
        self._causes: dict[int, str] = {}
        self._incidents: list[Incident] = []
        self._left_out = 0
        self._cut: set[frozenset[str]] = set()
        self._dead: set[str] = set()
        self._traffic = _Traffic()
        self._outcome: Mapping[str, Any] | None = None
        self._log_full = False
        self._stretches: list[Stretch] = []

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        what, t_s = event.get("what"), float(event.get("t", 0.0))
        if what == "run":
            self._run = _read(event, RunFacts)
        elif what == "log-full":
            self._log_full = True
        elif what == "pace" and self._job is not None:
            self._hear_pace(t_s, event)
        elif what in BREAKS:
            self._hear_break(str(what), t_s, event)
        elif what == "traffic":
            self._hear_traffic(event)
        elif "job" in event:
            self._hear_of_job(str(what), t_s, event)

    def _hear_break(self, what: str, t_s: float, event: Mapping[str, Any]) -> None:
        if self._ended_s is not None:
            return
        if what in ("cut", "heal"):
            nodes: tuple[str, ...] = (str(event.get("a")), str(event.get("b")))
            (self._cut.add if what == "cut" else self._cut.discard)(frozenset(nodes))
        else:
            nodes = (str(event.get("satellite")),)
            (self._dead.add if what == "kill" else self._dead.discard)(nodes[0])
        if len(self._incidents) < MAX_INCIDENTS:
            self._incidents.append(Incident(t_s, what, nodes, str(event.get("by", ""))))
        else:
            self._left_out += 1

    def _hear_pace(self, t_s: float, event: Mapping[str, Any]) -> None:
        from_s, rate = float(event.get("from_s", t_s)), float(event.get("rate", 0.0))
        # Written when it is over, the first stretch begins before the job, and the last one ends after it.
        if self._ended_s is not None and from_s >= self._ended_s:
            return
        wall_s = (t_s - from_s) / rate if rate > 0 else STANDING_WALL_S
        self._stretches.append(Stretch(from_s, t_s, wall_s, float(event.get("standing", 0.0))))

    def _hear_traffic(self, event: Mapping[str, Any]) -> None:
        late = self._ended_s is not None and float(event.get("wall", 0.0)) > self._ended_wall_s + TRAFFIC_TAIL_S
        if not late:
            link = (str(event.get("a")), str(event.get("b")), str(event.get("kind")))
            self._traffic.count(link, int(event.get("pid", 0)), int(event.get("bytes", 0)))

    def _hear_of_job(self, what: str, t_s: float, event: Mapping[str, Any]) -> None:
        if event["job"] != self._name:
            if what == "job-admitted" and len(self._others) < JOBS_NAMED:
                self._others[str(event["job"])] = None
            return
        if what == "outcome":
            self._outcome = {key: value for key, value in event.items() if key not in ("t", "wall", "node", "what")}
            return
        self._last_s = max(self._last_s, t_s)
        # A controller that was restarted may say again that it knows the job; the first time counts.
        if what == "job-admitted" and self._job is None:
            self._job = _read(event, JobFacts)
            self._admitted_s = t_s
            self._traffic.begin()
        elif what == "job-ended":
            self._ended_s, self._ended_wall_s = t_s, float(event.get("wall", 0.0))
        elif "shard" in event:
            self._hear_of_shard(what, t_s, int(event["shard"]), event)

    def _hear_of_shard(self, what: str, t_s: float, shard: int, event: Mapping[str, Any]) -> None:
        tries = self._tries.setdefault(shard, [])
        satellite = str(event.get("satellite", ""))
        if what == "assign":
            _close_open(tries, t_s, "overtaken")
            tries.append(_Try(int(event["attempt"]), satellite, t_s))
        elif what == "accepted" and shard not in self._accepted:
            accepted = msgspec.structs.replace(_read(event, Accepted), settled_s=t_s)
            self._accepted[shard] = accepted
            for attempt in tries:
                # A result may come after its lease has run out: then that attempt was the good one after all.
                if attempt.number == accepted.attempt:
                    attempt.close(t_s, "accepted")
            _close_open(tries, t_s, "overtaken")
        elif what in ("lease-expired", "shard-refused"):
            ending: AttemptEnd = "lease expired" if what == "lease-expired" else "refused"
            _close_open([t for t in tries if t.satellite == satellite], t_s, ending)
        elif what == "shard-failed":
            self._causes[shard] = str(event.get("cause", ""))
            _close_open(tries, t_s, "failed")

    def story(self) -> Story:
        """What was heard."""
        if self._job is None:
            known = ", ".join(self._others) or "none"
            raise UsageError(f"this run's event log has no job {self._name!r}; it has: {known}.")
        if self._run is None:
            raise CorruptFile("the event log does not begin with the run it is of; read it as it was written.")
        ended_s = self._last_s if self._ended_s is None else self._ended_s
        return Story(
            run=self._run,
            job=self._job,
            admitted_s=self._admitted_s,
            ended_s=ended_s,
            ended=self._ended_s is not None,
            shards=tuple(self._shard(index, ended_s) for index in sorted(self._tries)),
            incidents=tuple(self._incidents),
            incidents_left_out=self._left_out,
            cut=frozenset(self._cut),
            dead=frozenset(self._dead),
            loads=self._traffic.loads(),
            outcome=self._outcome,
            log_full=self._log_full,
            stretches=tuple(self._stretches),
        )

    def _shard(self, index: int, ended_s: float) -> ShardStory:
        attempts = tuple(
            Attempt(t.number, t.satellite, t.from_s, ended_s if t.to_s is None else t.to_s, t.end)
            for t in self._tries[index]
        )
        return ShardStory(index, attempts, self._accepted.get(index), self._causes.get(index))


class _Traffic:
    """Bytes a direction and kind since the first event, and how much of it there was when the job began.

    Every process counts from nought; so its first figure, and one that is less than its last, is new in all.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[tuple[str, str, str], int], int] = {}
        self._sum: dict[tuple[str, str, str], int] = {}
        self._before: dict[tuple[str, str, str], int] = {}

    def begin(self) -> None:
        """The job begins now."""
        self._before = dict(self._sum)

    def count(self, link: tuple[str, str, str], pid: int, size_bytes: int) -> None:
        """The counter of a direction (from, to, kind) stands at `size_bytes` in that process."""
        last = self._last.get((link, pid), 0)
        self._sum[link] = self._sum.get(link, 0) + (size_bytes - last if size_bytes >= last else size_bytes)
        self._last[link, pid] = size_bytes

    def loads(self) -> tuple[LinkLoad, ...]:
        """What each link has carried since the job began, the busiest first; idle ones are left out."""
        since = {key: total - self._before.get(key, 0) for key, total in self._sum.items()}
        links = {(*sorted((a, b)), kind) for (a, b, kind), size in since.items() if size}
        loads = [LinkLoad(a, b, k, since.get((a, b, k), 0), since.get((b, a, k), 0)) for a, b, k in links]
        return tuple(sorted(loads, key=lambda load: (-load.size_bytes, load.a, load.b)))


def _close_open(tries: Iterable[_Try], at_s: float, end: AttemptEnd) -> None:
    for attempt in tries:
        if attempt.to_s is None:
            attempt.close(at_s, end)


def _read(event: Mapping[str, Any], kind: type[Part]) -> Part:
    try:
        return msgspec.convert(event, kind)
    except msgspec.ValidationError as error:
        raise CorruptFile(
            f"an event {event.get('what')!r} at t = {event.get('t')} of the event log is not as documented ({error}); "
            "read the log with the perigrid that wrote it."
        ) from error
