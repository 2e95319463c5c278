"""Did a run that was repeated give the same results, and where it did not, why?

Results are equal where their sha256 is: it names what a client was handed, whoever computed it and whenever. Where a
client never merged a job's results, the digests of its shards are compared instead. What may explain a difference is
what was recorded and is otherwise now: models, data, the scenario, versions; or shards that failed in one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from perigrid.app.past import JobPast

VERSIONS = ("perigrid", "onnxruntime", "processor", "seed")
"""What the log's first line says beside the scenario and the inputs, as far as results may depend on it."""

MAX_SHARDS_NAMED = 5
DIGITS = 12
"""How much of a sha256 the lines for a reader show, where it is not the result itself."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it was recorded; `then` and `now` are sha256 or versions, `path` is an input's file."""

    kind: Literal["model", "data", "scenario", "version"]
    name: str
    then: str
    now: str
    path: str = ""

    def __str__(self) -> str:
        if self.kind == "version":
            return f"{self.name} was {self.then} and is {self.now}"
        if self.kind == "scenario":
            return f"the scenario in {self.path} was changed: its digest was {self.then} and is {self.now}"
        return f"{self.kind} {self.name} was changed: {self.path} had sha256 {self.then} and has {self.now}"


class JobComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One job, then and now. `why` says what a difference may come from, one sentence each.

    `result_sha256_then` and `_now` are "" where no client merged the results. `shards_equal` of the shards that both
    runs have a result of are the same; `shards_differing` are those that are not.
    """

    job: str
    model: str
    dataset: str
    equal: bool
    outcome_then: str
    outcome_now: str
    result_sha256_then: str
    result_sha256_now: str
    shards_then: int
    shards_now: int
    shards_equal: int
    shards_differing: tuple[int, ...]
    why: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The comparison for a reader."""
        name = f"job {self.job}, {self.model} on {self.dataset}"
        if self.equal:
            sha256 = self.result_sha256_now or "not merged then"
            return [f"{name}: equal, {self.shards_equal} of {count(self.shards_then, 'shard')}, result_sha256 {sha256}"]
        sha256 = f"result_sha256 {self.result_sha256_then or 'none'} then, {self.result_sha256_now or 'none'} now"
        return [f"{name}: DIFFERS, {sha256}", *(f"  because {reason}" for reason in self.why)]


def compare(then: JobPast, now: JobPast | None, changes: Sequence[Change], refusal: str = "") -> JobComparison:
    """Hold a job against its repetition; `refusal` is why there is none, where there is none."""
    again = now or JobPast(then.spec, 0.0, 0.0, 0, outcome="refused")
    both = sorted(then.digests.keys() & again.digests.keys())
    differing = tuple(shard for shard in both if then.digests[shard] != again.digests[shard])
    if then.result_sha256 and again.result_sha256:
        equal = then.result_sha256 == again.result_sha256
    else:
        equal = len(then.digests) == then.shards and then.digests == again.digests
    return JobComparison(
        job=then.spec.job,
        model=then.spec.model,
        dataset=then.spec.dataset,
        equal=equal,
        outcome_then=then.outcome or "not ended",
        outcome_now=again.outcome or "not ended",
        result_sha256_then=then.result_sha256,
        result_sha256_now=again.result_sha256,
        shards_then=then.shards,
        shards_now=again.shards,
        shards_equal=len(both) - len(differing),
        shards_differing=differing,
        why=() if equal else tuple(_reasons(then, again, differing, changes, refusal)),
    )


def version_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What the first lines of two logs say differently of software and machine; what one does not say is left out."""
    return [
        Change(kind="version", name=name, then=str(then[name]), now=str(now[name]))
        for name in VERSIONS
        if None not in (then.get(name), now.get(name)) and then[name] != now[name]
    ]


def _reasons(
    then: JobPast, now: JobPast, differing: tuple[int, ...], changes: Sequence[Change], refusal: str
) -> list[str]:
    inputs = {("model", then.spec.model), ("data", then.spec.dataset)}
    named = [c for c in changes if c.kind in ("scenario", "version") or (c.kind, c.name) in inputs]
    reasons = [str(change) for change in named]
    if refusal:
        return [*reasons, f"it could not be repeated: {refusal}"]
    if then.shards != now.shards:
        reasons.append(f"it was cut into {count(then.shards, 'shard')} then, and into {now.shards} now")
    reasons += _lost(then, "then") + _lost(now, "now")
    if not reasons:
        reasons.append("of something that was not recorded: models, data, scenario and versions are as they were")
    if differing:
        reasons.append(_named(then, now, differing))
    return reasons


def _lost(job: JobPast, when: str) -> list[str]:
    """What of a job has no result, a sentence each."""
    lost = []
    if job.failures:
        cause = next(iter(job.failures.values()))
        lost.append(f"{len(job.failures)} of {count(job.shards, 'shard')} failed {when} ({cause})")
    missing = job.shards - len(job.failures) - len(job.digests)
    if missing > 0:
        lost.append(f"{missing} of {count(job.shards, 'shard')} had not ended {when}")
    return lost


def _named(then: JobPast, now: JobPast, differing: tuple[int, ...]) -> str:
    named = ", ".join(
        f"{shard} ({then.digests[shard][:DIGITS]} of {then.satellites[shard]} then, {now.digests[shard][:DIGITS]} of "
        f"{now.satellites[shard]} now)"
        for shard in differing[:MAX_SHARDS_NAMED]
    )
    more = f" and {len(differing) - MAX_SHARDS_NAMED} more" if len(differing) > MAX_SHARDS_NAMED else ""
    return f"{count(len(differing), 'shard')} gave another result: {named}{more}"


def count(number: int, thing: str) -> str:
    """So many of a thing, in words that fit one as well as several."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def change_lines(changes: Sequence[Change]) -> list[str]:
    """Changes for a reader."""
    return [f"not as it was: {change}" for change in changes]
