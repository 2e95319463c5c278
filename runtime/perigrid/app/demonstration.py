"""Does a job survive a cut laser and a lost satellite, with each result exactly once?

The demo brings up twelve satellites and submits a job. When a quarter of its shards is settled it cuts one laser and
kills one satellite that has shards leased to it; towards the job's end it starts a plain process on the same tiles.
In the end it compares what the client was handed with what the plain process computed. Whatever happens,
the constellation is taken down.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import perigrid.app.reference
from perigrid.app.jobs import RunEvent, Started, complete, perform
from perigrid.app.launching import bring_up, cores
from perigrid.app.progress import JobDisplay, job_display
from perigrid.app.reducers import find_reduction
from perigrid.app.scenarios import PACKAGED_SCENE, demo_scenario
from perigrid.app.shell import Shell
from perigrid.errors import Bug, EnvironmentProblem
from perigrid.job.masks import NO_VOTE
from perigrid.job.reduce import cohens_kappa
from perigrid.job.spec import JobSpec
from perigrid.live.clients import Delivered, JobClient, SupervisorClient
from perigrid.live.config import read_config
from perigrid.live.launch import LaunchOptions, down
from perigrid.live.rundir import RunDirectory, RunInfo
from perigrid.live.scenes import Scene, SceneSearch, load_scene
from perigrid.report.outcome import Outcome, lines_of
from perigrid.report.page import write_report
from perigrid.scenario.model import DataSource, Scenario

CUT = ("sat-03", "sat-04")
"""The laser that is cut: with sat-07 dead the ring is in two parts, and each has a station in sight."""

VICTIMS = ("sat-07", "sat-06", "sat-08", "sat-12", "sat-11", "sat-09", "sat-05")
"""Who may be killed, in this order of preference: none of these is one that a station sees."""

FAULTS_AT_SHARE = 0.25
"""Share of the shards that are settled when the faults come."""

REFERENCE_AT_SHARE = 0.8
"""Share of the shards after which the plain process starts: earlier it would make inferences late, later all would wait
for it; when so many are settled, the job mostly waits for the lost satellite's lease to run out."""

TILES_PER_SHARD = 4

PACKAGED_STRIDE_PX = 2
"""The packaged scene is small and its model quick: 529 crops keep the satellites busy long enough."""

PACKAGED_RATE = 0.05

JOB_LIMIT_S = 240.0
"""Longest that the demo's job may take, seconds of the wall."""

REFERENCE_LIMIT_S = 240.0
"""Longest that the plain process may take after the job's end, seconds."""

DESK_SHARE = 0.6
"""Part of the cores that the constellation is meant to use; the rest is the plain process's."""


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What was broken, and what was under way then; `shards_leased` counts all that satellites had."""

    settled: int
    laser: tuple[str, str]
    satellite: str
    shards_leased: int
    shards_on_satellite: int


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo showed. `kappa` is the agreement with the scene's labels, where it has some."""

    outcome: Outcome
    faults: Faults | None
    reference_sha256: str
    reference_s: float
    kappa: float | None

    @property
    def holds(self) -> bool:
        """Whether the faults met shards in flight, and all results arrived once and equal the reference."""
        return (
            self.outcome.complete
            and self.faults is not None
            and self.faults.shards_on_satellite > 0
            and self.outcome.result_sha256 == self.reference_sha256
        )

    def lines(self) -> list[str]:
        """The proof for a reader; the last lines are what it is about."""
        o = self.outcome
        lines = lines_of(o)
        if self.kappa is not None:
            lines.append(f"  kappa against the scene's labels {self.kappa:.3f}")
        if self.faults is None or not self.faults.shards_on_satellite:
            lines.append("the faults came too late: nothing was in flight on the lost satellite")
        equal = "equals" if o.result_sha256 == self.reference_sha256 else "DIFFERS FROM"
        return [
            *lines,
            f"reference: one plain process, {o.tiles} tiles one by one in {self.reference_s:.1f} s",
            f"shards accepted: {o.accepted} of {o.shards}",
            f"duplicates given to the client: {o.duplicates_to_client}",
            f"result_sha256 {equal} the reference {self.reference_sha256}",
        ]


class Demonstration:
    """One performance of the demo, in the run directory that the shell's options name."""

    def __init__(self, shell: Shell, environment: Mapping[str, str]) -> None:
        self._shell = shell
        self._environment = environment
        self._reference: subprocess.Popen[bytes] | None = None

    def perform(self) -> Proof:
        """Do it all; whatever happens, no process is left."""
        shell = self._shell
        chosen = demo_scenario(self._environment, shell.say)
        for change in chosen.changes:
            shell.say(change)
        scenario = for_scene(chosen.scenario)
        options = LaunchOptions(rate=demo_rate(scenario), attached=True)
        run, info = bring_up(scenario, shell.root, shell.name, options, self._environment, shell.say)
        try:
            proof = self._show(scenario, run, info)
            shell.say(f"report: {write_report(run.path, proof.outcome.job, None)}")
            return proof
        finally:
            if self._reference is not None:
                self._reference.kill()
                self._reference.wait()
            down(run)

    def _show(self, scenario: Scenario, run: RunDirectory, info: RunInfo) -> Proof:
        say = self._shell.say
        spec = complete({"tiles_per_shard": TILES_PER_SHARD}, run)
        search = SceneSearch.from_environment(self._environment)
        scene = load_scene(scenario.data[0].label, search)
        crops = sum(len(capture.tiles) for capture in read_config(run.path).catalogue.of(spec.dataset))
        say(f"{len(info.satellites)} satellites are up, each a process of its own; rate {info.rate:.3g}")
        say(f"{crops} overlapping crops of one scene, {scene.name} ({scene.source})")
        task = reference_task(run, spec, scenario.data[0], scene, search)
        display = job_display(self._shell.terminal, say)
        saboteur = Saboteur(run, info, spec, display, self._shell)

        def hear(event: RunEvent) -> None:
            saboteur.show(event)
            if self._reference is None and saboteur.share_settled >= REFERENCE_AT_SHARE:
                self._reference = start_reference(task)

        try:
            result = perform(run, spec, hear, find_reduction("votes"), limit_s=JOB_LIMIT_S)
        finally:
            display.close()
            saboteur.close()
        if self._reference is None:
            raise Bug("a job has ended, and not all of its shards were told")
        if self._reference.poll() is None:
            say("waiting for the plain process")
        answer = finish_reference(self._reference)
        return Proof(
            outcome=result.outcome,
            faults=saboteur.faults,
            reference_sha256=answer["result_sha256"],
            reference_s=answer["elapsed_s"],
            kappa=kappa_of(result.mask, scene),
        )


class Saboteur:
    """Passes a job's events on to its display, and breaks things once enough shards are settled."""

    def __init__(self, run: RunDirectory, info: RunInfo, spec: JobSpec, display: JobDisplay, shell: Shell) -> None:
        self.faults: Faults | None = None
        self._supervisor = SupervisorClient(run)
        self._client = JobClient(info.jobs, run.is_up)
        self._satellites = [satellite.name for satellite in info.satellites]
        self._spec = spec
        self._display = display
        self._shell = shell
        self._shards = 0
        self._settled = 0

    def show(self, event: RunEvent) -> None:
        """Something happened to the job."""
        self._display.show(event)
        if isinstance(event, Started):
            self._shards = event.admitted.shards
        elif isinstance(event, Delivered):
            self._settled += 1
            if self.faults is None and self.share_settled >= FAULTS_AT_SHARE:
                self.faults = self._break()

    @property
    def share_settled(self) -> float:
        """Share of the job's shards that have ended."""
        return self._settled / self._shards if self._shards else 0.0

    def close(self) -> None:
        """Drop the connections."""
        self._supervisor.close()
        self._client.close()

    def _break(self) -> Faults:
        """Cut the laser and kill the first of the victims that has shards leased and not done."""
        leased = {name: self._client.explain(name).shards_leased for name in self._satellites}
        victim = next((name for name in VICTIMS if leased[name] > 0), VICTIMS[0])
        self._supervisor.kill(victim)
        self._supervisor.cut(*CUT)
        faults = Faults(
            settled=self._settled,
            laser=CUT,
            satellite=victim,
            shards_leased=sum(leased.values()),
            shards_on_satellite=leased[victim],
        )
        self._shell.say(
            f"{faults.settled} shards are settled and {faults.shards_leased} in flight: laser {CUT[0]} - "
            f"{CUT[1]} is cut, and {victim} is killed with {faults.shards_on_satellite} shards on it"
        )
        return faults


def for_scene(scenario: Scenario) -> Scenario:
    """The demo's scenario, its crops and its rate fitting the scene that was found."""
    source = scenario.data[0]
    if source.dataset != PACKAGED_SCENE:
        return scenario
    data = (msgspec.structs.replace(source, stride_px=PACKAGED_STRIDE_PX),)
    clock = msgspec.structs.replace(scenario.clock, rate=PACKAGED_RATE)
    return msgspec.structs.replace(scenario, data=data, clock=clock)


def demo_rate(scenario: Scenario) -> float:
    """The scenario's rate, or less where this machine has too few cores for it."""
    rate = scenario.clock.rate
    wanted = rate if isinstance(rate, float | int) else 1.0
    return min(wanted, DESK_SHARE * cores() / scenario.satellite_count)


def reference_task(
    run: RunDirectory, spec: JobSpec, source: DataSource, scene: Scene, search: SceneSearch
) -> dict[str, Any]:
    """What the plain process is told: files and numbers, nothing of the constellation."""
    file = next(file for file in read_config(run.path).models if file.entry.name == spec.model)
    scene_entry, entry = search.known()[scene.name], file.entry
    if entry.mask is None:
        raise Bug(f"model {entry.name} gives no mask and was chosen for a job")
    normalisation = entry.normalisation
    return {
        "scene_file": scene.source,
        "scene_format": scene_entry.format,
        "scale": scene_entry.scale,
        "model_file": file.path,
        "input_name": entry.inputs[0].name,
        "bands": len(entry.bands),
        "mean": None if normalisation is None else normalisation.mean,
        "std": None if normalisation is None else normalisation.std,
        "channels": [entry.mask.clear, entry.mask.cloud, entry.mask.shadow],
        "tile_px": source.tile_px,
        "stride_px": source.stride_px,
    }


def start_reference(task: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start the plain process; it computes at idle priority and ends with us."""
    script = Path(perigrid.app.reference.__file__)
    process = subprocess.Popen(
        [sys.executable, "-I", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if process.stdin is not None:
        process.stdin.write(json.dumps(task).encode())
        process.stdin.close()
        process.stdin = None
    return process


def finish_reference(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The plain process's answer; EnvironmentProblem where it has none."""
    try:
        answer, complaint = process.communicate(timeout=REFERENCE_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise EnvironmentProblem(
            f"the reference was not done {REFERENCE_LIMIT_S:g} s after the job; this machine is too busy for "
            "the demo: run it again when it is not."
        ) from error
    if process.returncode != 0:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise EnvironmentProblem(f"the reference failed ({' '.join(last)}); see `perigrid doctor`.")
    table: dict[str, Any] = json.loads(answer)
    return table


def kappa_of(mask: NDArray[np.uint8], scene: Scene) -> float | None:
    """Agreement of the merged mask with the scene's labels; None without labels or with uncovered pixels."""
    if scene.labels is None or mask.shape != scene.labels.shape or bool(np.any(mask == NO_VOTE)):
        return None
    return cohens_kappa(mask, scene.labels)
