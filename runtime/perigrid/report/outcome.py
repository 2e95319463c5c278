"""What became of a job, and may its times be believed?

An outcome is one flat value, the same in outcome.json, in `run --json` and in the lines for a reader. Counts
come from what the client was handed and from the job's own ending; the state of the world around it from two
statuses of the run, one from before the job and one from after it. Stage times are medians over the accepted
shards.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from perigrid.job.spec import JobSpec
from perigrid.live.clients import LatenessStatus, RunStatus
from perigrid.node.records import JobEnded, ShardAccepted, ShardFailed
from perigrid.node.replies import Admitted

ASSUMPTIONS = (
    "Orbits are circular (J2 secular); what is assumed among the scenario's numbers is marked so in its provenance."
)

MAX_CAUSES_SHOWN = 3
"""How many different causes of failed shards the lines for a reader name."""

MS_PER_S = 1000.0


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over a job's accepted shards, seconds; the last two a tile.

    `queue_s`, `inference_s` and `return_s` (from the inference's end to the settling on the ground) are
    emulated; `desk_wait_s` (for a core of this machine) and `cpu_s` are this desk's own.
    """

    queue_s: float
    inference_s: float
    return_s: float
    desk_wait_s: float
    cpu_s: float
    inference_per_tile_s: float
    cpu_per_tile_s: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is said of a finished job.

    `elapsed_s` is of the wall and `emulated_s` of the orbit, from submission to the job's end;
    `bytes_over_lasers` counts what all traffic put on lasers in between, `bytes_of_replicas` what copies of
    the data took since the run came up. `duplicates` were settled and dropped on the ground,
    `duplicates_to_client` were handed on twice. `links_cut` and `satellites_lost` are those at the job's
    end, and `valid_for_latency` is None in free mode. `rate` is emulated seconds a second of the wall, where the clock
    was `governed` on average; and the sky turns `orbit_rate` times as fast as emulated time passes.
    """

    job: str
    outcome: str
    model: str
    dataset: str
    tiles: int
    shards: int
    accepted: int
    duplicates: int
    duplicates_to_client: int
    conflicts: int
    failed: int
    failures: dict[str, int]
    attempts: int
    coverage_ok: bool
    result_sha256: str
    elapsed_s: float
    emulated_s: float
    tiles_per_s: float
    stages: Stages | None
    satellites: int
    links_cut: int
    satellites_lost: int
    mode: str
    rate: float
    valid_for_latency: bool | None
    lateness: LatenessStatus
    bytes_over_lasers: int
    bytes_over_ground_links: int
    bytes_of_replicas: int
    preloaded: tuple[str, ...]
    event_log_full: bool = False
    orbit_rate: float = 1.0
    governed: bool = False
    assumptions: str = ASSUMPTIONS

    @property
    def complete(self) -> bool:
        """Whether every shard has its result, handed on once, and the mask covers what it should."""
        return self.accepted == self.shards and self.failed == 0 and self.duplicates_to_client == 0 and self.coverage_ok


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """What a client was handed of one job: endings with their tiles' number, and the merged mask's facts."""

    endings: tuple[tuple[ShardAccepted | ShardFailed, int], ...]
    repeated: int
    result_sha256: str
    coverage_error: str | None
    elapsed_s: float


def outcome_of(
    spec: JobSpec,
    admitted: Admitted,
    ending: JobEnded,
    handed: Handed,
    satellites: int,
    before: RunStatus,
    after: RunStatus,
) -> Outcome:
    """Put a job's outcome together; `satellites` is how many the scenario has."""
    accepted = [(e, tiles) for e, tiles in handed.endings if isinstance(e, ShardAccepted)]
    emulated_s = max(0.0, ending.ended_sky_s - admitted.admitted_sky_s)
    failed = [e for e, _ in handed.endings if isinstance(e, ShardFailed)]
    failures: dict[str, int] = {}
    for failure in failed:
        failures[failure.cause] = failures.get(failure.cause, 0) + 1
    return Outcome(
        job=spec.job,
        outcome=ending.outcome,
        model=spec.model,
        dataset=spec.dataset,
        tiles=admitted.tiles,
        shards=admitted.shards,
        accepted=len(accepted),
        duplicates=ending.duplicates,
        duplicates_to_client=handed.repeated,
        conflicts=ending.conflicts,
        failed=len(failed),
        failures=failures,
        attempts=ending.attempts,
        coverage_ok=handed.coverage_error is None,
        result_sha256=handed.result_sha256,
        elapsed_s=round(handed.elapsed_s, 3),
        emulated_s=round(emulated_s, 6),
        tiles_per_s=round(sum(tiles for _, tiles in accepted) / max(handed.elapsed_s, 1e-9), 3),
        stages=stage_medians(accepted),
        satellites=satellites,
        links_cut=after.links_cut,
        satellites_lost=len(after.satellites_lost),
        mode=after.mode,
        rate=round(emulated_s / max(handed.elapsed_s, 1e-9), 6) if after.governed else after.rate,
        governed=after.governed,
        valid_for_latency=after.valid_for_latency,
        lateness=after.lateness,
        bytes_over_lasers=after.bytes_over_lasers - before.bytes_over_lasers,
        bytes_over_ground_links=after.bytes_over_ground_links - before.bytes_over_ground_links,
        bytes_of_replicas=after.bytes_of_replicas,
        preloaded=after.preloaded,
        event_log_full=after.event_log_full,
        orbit_rate=after.orbit_rate,
    )


def stage_medians(accepted: Sequence[tuple[ShardAccepted, int]]) -> Stages | None:
    """Medians of the stage times of accepted shards with their numbers of tiles; None without any."""
    if not accepted:
        return None
    stages = [(ending.stages, tiles, ending.settled_sky_s) for ending, tiles in accepted]
    return Stages(
        queue_s=statistics.median(s.queue_s for s, _, _ in stages),
        inference_s=statistics.median(s.inference_s for s, _, _ in stages),
        return_s=statistics.median(
            settled_s - s.arrived_sky_s - s.queue_s - s.inference_s for s, _, settled_s in stages
        ),
        desk_wait_s=statistics.median(s.desk_wait_s for s, _, _ in stages),
        cpu_s=statistics.median(s.cpu_s for s, _, _ in stages),
        inference_per_tile_s=statistics.median(s.inference_s / tiles for s, tiles, _ in stages),
        cpu_per_tile_s=statistics.median(s.cpu_s / tiles for s, tiles, _ in stages),
    )


def validity(facts: Outcome | RunStatus) -> str:
    """One line on whether a run's times may be taken for the orbit's."""
    line = _validity(facts.mode, at_rate(facts), facts.valid_for_latency, facts.lateness, facts.governed)
    turning = turning_sky(facts.orbit_rate)
    return f"{line}; {turning}" if turning else line


def turning_sky(orbit_rate: float) -> str:
    """What a sky that does not turn as fast as time passes changes, in a clause; "" for one that does."""
    if orbit_rate == 1.0:
        return ""
    contacts = f"{orbit_rate:.6g} times as short" if orbit_rate > 1.0 else f"{1 / orbit_rate:.6g} times as long"
    return f"the sky turns {orbit_rate:.6g} times as fast as time passes: contacts are {contacts}, delays are not"


def at_rate(facts: Outcome | RunStatus) -> str:
    """How fast time passed here, in words."""
    return f"at rate {facts.rate:.3g}" if not facts.governed else f"at --rate auto, here {facts.rate:.3g}"


def _validity(mode: str, at: str, valid: bool | None, lateness: LatenessStatus, governed: bool) -> str:
    if mode == "free":
        return "free clock: throughput of this machine, not latency in orbit"
    if valid:
        return f"VALID FOR LATENCY {at} ({100 * lateness.share_late:.3g} % late)"
    holds = lateness.rate_that_holds
    remedy = "" if holds is None or governed else f"; --rate {holds:.2g} would have held"
    return (
        f"INVALID FOR LATENCY: {100 * lateness.share_late:.3g} % were late by more than "
        f"{lateness.tolerance_ms:g} ms {at}{remedy}"
    )


def lines_of(outcome: Outcome) -> list[str]:
    """The outcome for a reader, a few lines."""
    o = outcome
    lines = [
        f"job {o.job}: {o.outcome}, {o.accepted} of {o.shards} shards accepted, {o.tiles} tiles, "
        f"{o.model} on {o.dataset}",
        f"  {o.attempts} attempts, {o.duplicates} duplicates dropped on the ground, {o.duplicates_to_client} "
        f"given to the client, {o.conflicts} conflicts, {o.failed} failed",
    ]
    for cause, count in sorted(o.failures.items(), key=lambda item: -item[1])[:MAX_CAUSES_SHOWN]:
        lines.append(f"  failed, {count} shards: {cause}")
    lines.append(f"  {o.elapsed_s:.1f} s here, {o.emulated_s:.2f} s in orbit, {o.tiles_per_s:.1f} tiles/s here")
    if o.stages is not None and o.mode != "free":
        s = o.stages
        lines.append(
            f"  a shard, median: queue {MS_PER_S * s.queue_s:.1f} ms, inference "
            f"{MS_PER_S * s.inference_s:.1f} ms ({MS_PER_S * s.inference_per_tile_s:.1f} a tile), return "
            f"{MS_PER_S * s.return_s:.1f} ms"
        )
    lines.append(
        f"  {amount(o.bytes_over_lasers)} over lasers, {amount(o.bytes_over_ground_links)} over ground "
        f"links, replicas {amount(o.bytes_of_replicas)}, preloaded: {', '.join(o.preloaded) or 'nothing'}"
    )
    if o.event_log_full:
        lines.append("  the event log is full: bytes are counted up to then")
    if o.links_cut or o.satellites_lost:
        lines.append(f"  {o.links_cut} links cut, {o.satellites_lost} of {o.satellites} satellites lost")
    lines.append(f"  {validity(o)}")
    coverage = "every tile is in it once" if o.coverage_ok else "COVERAGE IS NOT COMPLETE"
    lines.append(f"  result_sha256 {o.result_sha256} ({coverage})")
    return lines


def amount(size_bytes: int) -> str:
    """Bytes for a reader, in decimal units."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
