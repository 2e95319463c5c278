"""Does a run give the same results when it is repeated?

A run's directory holds all that it takes: the scenario, copies of the user's own models and data, and the event log, in
which the jobs and the user's faults stand with the sky times at which they came. A new run is brought up from that, and
everything is done again: the first job is admitted at the sky time of the original, where that does not take too long,
and everything else as much earlier or later than it as then. What came on board while the original was up is there from
the start. Then `comparing.py` holds the results against each other. The original is only read.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from perigrid.app.comparing import Change, JobComparison, change_lines, compare, count, version_changes
from perigrid.app.job_handle import Job, Order
from perigrid.app.jobs import RunEvent, settled
from perigrid.app.launching import bring_up
from perigrid.app.past import Deed, Past, read_past
from perigrid.app.progress import SETTLING
from perigrid.app.reducers import Reduction
from perigrid.app.scenarios import Say, model_store
from perigrid.errors import (
    CorruptFile,
    MissingFile,
    ModelError,
    NotRunning,
    PerigridError,
    ProtocolError,
    UsageError,
)
from perigrid.live.clients import MAX_JOB_S, JobClient, SupervisorClient
from perigrid.live.clock import ClockPage
from perigrid.live.config import InputFile, ModelFile, RunConfig, read_config
from perigrid.live.launch import LaunchOptions, down
from perigrid.live.models import ModelStore, file_sha256
from perigrid.live.modelstore import GROUND_FOLDER, GroundModels
from perigrid.live.rundir import MAX_NAME_LENGTH, RunDirectory
from perigrid.live.scenes import SceneSearch, load_scene
from perigrid.report.outcome import turning_sky
from perigrid.scenario.model import DataSource, Scenario

SUFFIX = "-rerun"
"""What the new run's name has behind the original's."""

MAX_LEAD_S = 120.0
"""Longest that the first job waits, seconds of the wall, for the sky time of its original. Where the scenario has
faults of its own it waits as long as it takes: they come at their sky times, and are to meet the same work."""

LOOK_S, LEAST_LOOK_S = 0.05, 0.001
"""Longest sleep while a time or a job's end is waited for, seconds of the wall."""

LINES_A_JOB = 10
"""How many lines say how far a job is."""


class RepeatedDeed(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done again: when then and now, emulated seconds after the first job's admission.

    `now_s` is None where it was not done, and `refused` says why.
    """

    deed: str
    then_s: float
    now_s: float | None
    refused: str = ""

    def __str__(self) -> str:
        if self.now_s is None:
            return f"{self.then_s:+.3f} s  {self.deed}: not done, {self.refused}"
        return f"{self.then_s:+.3f} s  {self.deed} ({self.now_s:+.3f} s now)"


class Repetition(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a repetition; `changes` are what was recorded and is otherwise now, whether it mattered or not."""

    original: str
    run: str
    directory: str
    equal: bool
    jobs: tuple[JobComparison, ...]
    deeds: tuple[RepeatedDeed, ...]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    orbit_rate: float = 1.0

    def lines(self) -> list[str]:
        """The repetition for a reader; the last line is what it is about."""
        equal = sum(job.equal for job in self.jobs)
        turning = turning_sky(self.orbit_rate)
        return [
            f"{self.original} was repeated as {self.run}, which is kept in {self.directory}",
            *([f"  in both {turning}"] if turning else []),
            *(f"  {deed}" for deed in self.deeds),
            *(f"  note: {note}" for note in self.notes),
            *(f"  {line}" for line in change_lines(self.changes)),
            *(line for job in self.jobs for line in job.lines()),
            f"{equal} of {count(len(self.jobs), 'job')} gave an equal result"
            + ("" if self.equal else ": THE RUNS DIFFER"),
        ]


@dataclass(frozen=True, slots=True)
class Original:
    """A run that is to be repeated."""

    run: RunDirectory
    config: RunConfig
    past: Past

    @property
    def first_s(self) -> float:
        """Sky time of the first job's admission."""
        return next(iter(self.past.jobs.values())).admitted_s


def rerun(
    original: RunDirectory, root: Path, name: str | None, keep: bool, environment: Mapping[str, str], say: Say
) -> Repetition:
    """Repeat a run as a new one under `root`, NAME-rerun unless told otherwise, and compare their results.

    The new run is taken down at the end, unless `keep` says otherwise; its directory stays. UsageError where there is
    nothing to repeat or the new run would replace the original, MissingFile naming every model and dataset that is not
    there, before anything starts; else what bringing up raises.
    """
    found = read_original(original)
    new = name or f"{original.name[: MAX_NAME_LENGTH - len(SUFFIX)]}{SUFFIX}"
    if (root / new).resolve() == original.path.resolve():
        raise UsageError(f"the new run would take the place of the original in {original.path}; give another --name.")
    scenario, changes = restored(found, environment)
    for line in change_lines(changes):
        say(line)
    options = LaunchOptions(
        rate="auto" if found.config.governed else found.config.rate,
        mode="free" if found.config.free else "dilated",
        satellites_per_process=found.config.satellites_per_process,
        attached=not keep,
    )
    say(f"repeating {original.name} as {new}: {_span(found)}")
    try:
        run, _ = bring_up(scenario, root, new, options, environment, say)
    except (UsageError, CorruptFile) as error:
        if not changes:
            raise
        changed = "; ".join(str(change) for change in changes)
        raise CorruptFile(f"{original.name} cannot be repeated: {changed}; and now: {error}") from error
    repeating = Repeating(run, found, say)
    try:
        repeating.perform()
    except BaseException:
        down(run)
        raise
    if not keep:
        down(run)
    return _repetition(found, run, repeating, changes)


def read_original(run: RunDirectory) -> Original:
    """A run's past and what it was made from; UsageError where it had no jobs, which leaves nothing to compare."""
    original = Original(run, read_config(run.path), read_past(run.path))
    if not original.past.jobs:
        raise UsageError(
            f"{run.name} had no jobs, so there is nothing to repeat and to compare; requests through the gateway are "
            "not repeated."
        )
    return original


def restored(original: Original, environment: Mapping[str, str]) -> tuple[Scenario, list[Change]]:
    """The scenario with everything that came on board, read from the run's own copies, and what was changed since.

    MissingFile that names everything which is not there.
    """
    config = original.config
    inputs = _Inputs(original.run, config, environment)
    found = [(file, *inputs.find(file)) for file in config.inputs]
    if inputs.missing:
        raise MissingFile(f"{original.run.name} cannot be repeated: {'; '.join(inputs.missing)}")
    changes = [
        Change(kind=file.kind, name=file.name, then=file.sha256, now=sha256, path=str(path))
        for file, path, sha256 in found
        if sha256 != file.sha256
    ]
    changes += inputs.other_entries()
    digest, recorded = config.scenario.digest(), str(original.past.first.get("scenario_digest", ""))
    if digest != recorded:
        path = str(original.run.path)
        changes.append(Change(kind="scenario", name=config.scenario.name, then=recorded, now=digest, path=path))
    models = (*(inputs.model_word(file) for file in config.models), *inputs.pushed_words())
    data = tuple(inputs.data_word(source) for source in (*config.scenario.data, *config.loaded))
    return msgspec.structs.replace(config.scenario, models=models, data=data), changes


class _Inputs:
    """A run's models and data as they are now: its own copies of the user's, and those that are known by name."""

    def __init__(self, run: RunDirectory, config: RunConfig, environment: Mapping[str, str]) -> None:
        self.missing: list[str] = []
        self._folder = run.path / "inputs"
        self._config = config
        self._store: ModelStore = model_store(environment)
        self._search = SceneSearch.from_environment(environment)
        self._named = {s.name: s for s in (*config.scenario.data, *config.loaded) if s.file is None}
        self._files = {(file.kind, file.name): file for file in config.inputs}

    def find(self, file: InputFile) -> tuple[Path, str]:
        """Where an input is, and its sha256 now; what is not there is added to `missing`."""
        path = Path()
        try:
            if not self._is_own(file):
                return self._known(file)
            path = self._copy_of(file)
            return path, file_sha256(path)
        except OSError as error:
            self.missing.append(f"{file.kind} {file.name} should be in {path} ({error.strerror}); put it back there")
        except (MissingFile, ModelError) as error:
            self.missing.append(str(error).rstrip("."))
        return path, ""

    def model_word(self, file: ModelFile) -> str:
        """What a model is named by for the new run: its name, or the path of the copy."""
        known = self._files["model", file.entry.name]
        return str(self._copy_of(known)) if self._is_own(known) else known.name

    def pushed_words(self) -> Iterator[str]:
        """What models are named by that crossed links then; now they are preloaded."""
        ground = GroundModels(self._folder.parent / GROUND_FOLDER)
        for file in ground.files():
            yield file.entry.name if self._store.knows(file.entry.name) else str(ground.named(file.entry))

    def data_word(self, source: DataSource) -> DataSource:
        """A data source for the new run: the same, but a file's is the copy."""
        known = self._files["data", source.name]
        return msgspec.structs.replace(source, file=str(self._copy_of(known))) if self._is_own(known) else source

    def other_entries(self) -> Iterator[Change]:
        """Models by name of which the manifest says something else now, such as their normalisation."""
        for file in self._config.models:
            name = file.entry.name
            if self._is_own(self._files["model", name]):
                continue
            entry = msgspec.structs.replace(self._store.entry(name), sha256=file.entry.sha256)
            if entry != file.entry:
                digests = [hashlib.sha256(msgspec.json.encode(each)).hexdigest() for each in (file.entry, entry)]
                yield Change(
                    kind="model", name=name, then=digests[0], now=digests[1], path="its entry in manifest.toml"
                )

    def _is_own(self, file: InputFile) -> bool:
        return not self._store.knows(file.label) if file.kind == "model" else file.name not in self._named

    def _copy_of(self, file: InputFile) -> Path:
        # The directory may have been moved since: only the file's own name is taken from what was recorded.
        return self._folder / Path(file.path).name

    def _known(self, file: InputFile) -> tuple[Path, str]:
        if file.kind == "model":
            return self._store.resolve(file.name), self._store.entry(file.name).sha256
        scene = load_scene(file.label, self._search)
        return Path(scene.source), scene.sha256


@dataclass(slots=True)
class Repeating:
    """Does a run's deeds again, each when its time has come, and waits for the ends of its jobs.

    `deeds` is what was done so far, and `refusals` says of a job why it could not be.
    """

    run: RunDirectory
    original: Original
    say: Say
    deeds: list[RepeatedDeed] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    waited: bool = True
    _jobs: dict[str, Job] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)
    _left: set[str] = field(default_factory=set)
    _shift_s: float = 0.0
    _clock: ClockPage = field(init=False)
    _supervisor: SupervisorClient = field(init=False)

    def perform(self) -> None:
        """Do everything; NotRunning where the new run ends before its jobs."""
        past = self.original.past
        self._clock = ClockPage(self.run.path / "clock.page")
        try:
            with SupervisorClient(self.run) as self._supervisor:
                settled(self._supervisor, self._hear)
                self._align()
                waiting = past.deeds()
                self._left = set(past.jobs)
                while waiting and self._until(waiting[0].at_s + self._shift_s):
                    self._do(waiting.pop(0))
                for deed in waiting:
                    self._note(deed, None, "every job had ended before")
                self._until(float("inf"))
        finally:
            for job in self._jobs.values():
                job.leave()
            self._clock.close()

    def _hear(self, event: RunEvent) -> None:
        self.say(SETTLING)

    def _align(self) -> None:
        """Decide how much later than the original everything comes."""
        wait_s = (self.original.first_s - self._clock.now_s()) / self.original.config.rate
        self.waited = wait_s <= MAX_LEAD_S or bool(self.original.config.scenario.faults)
        if not self.waited:
            self._shift_s = self._clock.now_s() - self.original.first_s
        elif wait_s > 1.0:
            self.say(f"waiting {wait_s:.0f} s for the sky time at which the first job came")

    def _until(self, sky_s: float) -> bool:
        """Wait for a sky time; False where all jobs have ended before."""
        while self._clock.now_s() < sky_s:
            if not self.run.is_up():
                raise NotRunning(f"{self.run.name} went down before its jobs had ended; see {self.run.path / 'log'}.")
            self._look()
            if not self._left:
                return False
            due_s = self._clock.reading().wall_at(sky_s)
            # Where time stands before it, the moment that was reckoned has passed.
            time.sleep(max(LEAST_LOOK_S, min(LOOK_S, due_s - time.monotonic())))
        return True

    def _look(self) -> None:
        """Say how far the jobs are, and take note of those that have ended."""
        over = self._clock.now_s() > self.original.past.last_s + self._shift_s
        for name, job in self._jobs.items():
            if name not in self._left:
                continue
            if job.done:
                self._left.discard(name)
                self._conclude(name, job)
            elif over and not self.original.past.jobs[name].outcome:
                # The original did not live to see its end either.
                self._left.discard(name)
                job.leave()
            else:
                tenth = LINES_A_JOB * job.shards_done // max(1, job.shards)
                if tenth > self._told.get(name, 0):
                    self._told[name] = tenth
                    self.say(f"job {name}: {job.shards_done} of {job.shards} shards")

    def _conclude(self, name: str, job: Job) -> None:
        try:
            job.result()
        except (UsageError, ProtocolError) as error:
            # With another model or other data it may be impossible; that is an answer too.
            self.refusals[name] = str(error)

    def _do(self, deed: Deed) -> None:
        if deed.action == "submit":
            self._submit(deed)
            return
        now_s = self._clock.now_s()
        try:
            self._break_or_mend(deed)
        except PerigridError as error:
            if not self.run.is_up():
                raise
            self._note(deed, None, str(error).rstrip("."))
            return
        self._note(deed, now_s, "")

    def _submit(self, deed: Deed) -> None:
        job = Job(self.run, Order(self.original.past.jobs[deed.a].spec, Reduction(""), None, MAX_JOB_S))
        is_first = not self._jobs and not self.refusals
        try:
            job.start()
        except UsageError as error:
            self.refusals[deed.a] = str(error)
            self._left.discard(deed.a)
            return
        job.leave()
        self._jobs[deed.a] = job
        if is_first:
            self._shift_s = self._clock.now_s() - deed.at_s
        self.say(f"job {deed.a} is admitted: {count(job.shards, 'shard')}")

    def _break_or_mend(self, deed: Deed) -> None:
        supervisor = self._supervisor
        match deed.action:
            case "cut":
                supervisor.cut(deed.a, deed.b, deed.one_way)
            case "heal":
                supervisor.heal(deed.a, deed.b)
            case "kill":
                supervisor.kill(deed.a)
            case "reboot":
                supervisor.reboot(deed.a, deed.lose_flash)
            case "cancel":
                with JobClient(self.run.read().jobs, self.run.is_up) as client:
                    client.cancel(deed.a)

    def _note(self, deed: Deed, now_s: float | None, refused: str) -> None:
        since_s = None if now_s is None else round(now_s - self._shift_s - self.original.first_s, 6)
        done = RepeatedDeed(
            deed=str(deed), then_s=round(deed.at_s - self.original.first_s, 6), now_s=since_s, refused=refused
        )
        self.deeds.append(done)
        self.say(str(done))


def _span(original: Original) -> str:
    """What is to be done, and how long it lasts here at least."""
    past = original.past
    last_s = max(deed.at_s for deed in past.deeds() if deed.action == "submit")
    here_s = (last_s - original.first_s) / original.config.rate
    lasts = f", the last {here_s:.0f} s after the first" if len(past.jobs) > 1 else ""
    return f"{count(len(past.jobs), 'job')}{lasts}; {count(len(past.faults), 'fault')} of its user's"


def _repetition(original: Original, run: RunDirectory, repeating: Repeating, changes: list[Change]) -> Repetition:
    past, now = original.past, read_past(run.path)
    changes = [*changes, *version_changes(past.first, now.first)]
    jobs = tuple(
        compare(job, now.jobs.get(name), changes, repeating.refusals.get(name, "")) for name, job in past.jobs.items()
    )
    return Repetition(
        original=original.run.name,
        run=run.name,
        directory=str(run.path),
        equal=all(job.equal for job in jobs),
        jobs=jobs,
        deeds=tuple(repeating.deeds),
        changes=tuple(changes),
        notes=tuple(_notes(original, repeating)),
        orbit_rate=original.config.scenario.clock.orbit_rate,
    )


def _notes(original: Original, repeating: Repeating) -> Iterator[str]:
    """What of the original the new run does not have, or has otherwise."""
    config, past = original.config, original.past
    start = set(config.scenario.models) | {source.name for source in config.scenario.data}
    later = [name for name in (*config.model_names, *(source.name for source in config.loaded)) if name not in start]
    if later:
        yield f"on board from the start now, and brought while it was up then: {', '.join(later)}"
    pushed = [file.entry.name for file in GroundModels(original.run.path / GROUND_FOLDER).files()]
    if pushed:
        yield f"on board from the start now, and pushed over the links then: {', '.join(pushed)}"
    if past.requests:
        yield f"{count(past.requests, 'request')} through the gateway not repeated"
    if not past.is_whole:
        yield "the original's event log was full; what came after that is not known and was not repeated"
    if not repeating.waited:
        yield (
            f"the first job came at {original.first_s:.0f} s of sky time then and earlier now, so satellites stood "
            "elsewhere"
        )
