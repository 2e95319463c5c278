"""What becomes of an inference that a client asks the ground for?

A request is a shard of one: it is leased to a satellite, computed, settled by the same ledger, and answered once. Its
input goes up with the assignment instead of lying on board. Unlike a job it is not in the journal: it lives as long as
its client's call, which ends with this process, so there is nobody to answer after a restart; satellites that still
hold its result are told to forget it.

Bounds: so many requests, and so many bytes of their inputs, at a time; beyond, a request is declined at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from perigrid.job.ledger import Ledger, Verdict
from perigrid.job.spec import REQUEST_PREFIX, JobSpec, Shard, plain_model
from perigrid.node.actions import Action, JoinPieces, Note, Recall, Tell
from perigrid.node.dispatch import MAX_INPUT_BYTES, Work
from perigrid.node.events import AckDue, Ask, Kept, Now
from perigrid.node.frames import Failed, Result, Withdraw
from perigrid.node.relay import Relay
from perigrid.node.replies import Answered, Declined, Reason
from perigrid.node.transfers import Message
from perigrid.units import NodeId

MAX_REQUESTS = 128
MAX_FAILURES = 3
KEY_PREFIX = "request:"
"""Before the keys of requests' results; no job's id has a colon."""


@dataclass(slots=True)
class Request:
    """One request in the controller's hands."""

    work: Work
    client: int
    epoch: int
    asked_sky_s: float
    failures: int = 0
    results: dict[str, Message] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its id, which no job has."""
        return self.work.ledger.spec.job

    @property
    def size_bytes(self) -> int:
        """The bytes of its input."""
        return self.work.input.length if self.work.input is not None else 0


class Requests:
    """The requests under way; part of the controller's machine."""

    def __init__(self, relay: Relay, names: tuple[str, ...], gateway_s: float = 0.0) -> None:
        self.active: dict[str, Request] = {}
        self._relay = relay
        self._names = names
        self._gateway_s = gateway_s
        self._count = 0
        self._input_bytes = 0

    def works(self) -> list[Work]:
        """What the dispatcher is to place."""
        return [request.work for request in self.active.values()]

    def ledger(self, name: str) -> Ledger | None:
        """The ledger of a request that is under way."""
        request = self.active.get(name)
        return None if request is None else request.work.ledger

    def next_deadline_sky_s(self) -> float:
        """When the first request's time is over; infinite where none has a deadline."""
        return min((_deadline_sky_s(r) for r in self.active.values()), default=float("inf"))

    def asked(self, asked: Now, ask: Ask, epoch: int, models: tuple[str, ...]) -> list[Action]:
        """Take a request that was asked for then, or decline it at once."""
        if plain_model(ask.model) not in models:
            there = ", ".join(models) or "none"
            return [
                self._decline(ask.client, "refused", f"model {ask.model!r} is not on the satellites (there: {there})")
            ]
        if len(self.active) >= MAX_REQUESTS or self._input_bytes + ask.input.length > MAX_INPUT_BYTES:
            cause = (
                f"{len(self.active)} requests with {self._input_bytes} bytes are under way, and the limits are "
                f"{MAX_REQUESTS} and {MAX_INPUT_BYTES}; wait for answers before asking for more"
            )
            return [self._decline(ask.client, "full", cause)]
        self._count += 1
        spec = JobSpec(job=f"{REQUEST_PREFIX}{epoch}.{self._count}", model=ask.model, dataset="", priority=ask.priority)
        shard = Shard(index=0, capture="", tiles=(0,), rows=(0,), columns=(0,))
        work = Work(
            Ledger(spec, (shard,)),
            ask.deadline_sky_s,
            ask.input,
            ask.satellite,
            ask.nearest,
            trace_parent=ask.trace_parent,
        )
        request = Request(work, ask.client, epoch, asked.sky_s)
        self.active[spec.job] = request
        self._input_bytes += request.size_bytes
        fields: dict[str, str | int | float] = {"request": spec.job, "model": ask.model, "bytes": ask.input.length}
        return [Note("request", 0, fields)]

    def gave_up(self, now: Now, client: int, epoch: int) -> list[Action]:
        """A client hung up: its request's satellite need not go on."""
        found = [r for r in self.active.values() if r.client == client]
        return [action for request in found for action in self._end(now, request, epoch, "cancelled by its client")]

    def overdue(self, now: Now, epoch: int) -> list[Action]:
        """Decline what is past its deadline."""
        actions: list[Action] = []
        for request in [r for r in self.active.values() if _deadline_sky_s(r) <= now.sky_s]:
            cause = f"no answer from orbit within {_deadline_sky_s(request) - request.asked_sky_s:.3f} emulated seconds"
            actions += self._end(now, request, epoch, cause)
            actions.append(self._decline(request.client, "deadline", cause))
        return actions

    def result(self, result: Result, message: Message) -> list[Action]:
        """A result came down: look at its bytes before it counts."""
        request = self.active[result.job]
        key = f"{KEY_PREFIX}{result.job}/{message.source}/{message.trace}"
        request.results[key] = message
        return [JoinPieces(key, message.pieces, result.digest)]

    def kept(self, now: Now, event: Kept) -> list[Action]:
        """A result's bytes are together: settle it, and answer."""
        name, source, _ = event.key.removeprefix(KEY_PREFIX).split("/")
        request = self.active.get(name)
        if request is None:
            # It ended meanwhile: its satellite may forget what it has computed.
            return [Recall(AckDue(name, 0, NodeId(int(source))))]
        message = request.results.pop(event.key, None)
        if message is None or not isinstance(message.body, Result):
            return []
        result, satellite = message.body, self._names[message.source]
        fields: dict[str, str | int | float] = {"request": request.name, "satellite": satellite, "hops": message.hops}
        if not event.intact:
            return [Note("corrupt-result", message.trace, fields)]
        if request.work.ledger.settle(0, result.digest) is not Verdict.ACCEPTED:
            return [Recall(AckDue(request.name, 0, message.source))]
        self._forget(request)
        request.work.asked.pop(message.source, None)
        answer = Answered(
            request.name,
            event.blob,
            satellite,
            result.attempt,
            message.hops,
            result.stages,
            message.laser_s,
            message.ground_s,
            request.asked_sky_s,
            now.sky_s,
            message.way,
            self._gateway_s,
            request.work.trace_parent,
        )
        acknowledge = Recall(AckDue(request.name, 0, message.source))
        note = Note("answered", message.trace, fields)
        return [note, Tell(request.client, answer), acknowledge, *self._withdraw(now, request)]

    def failed(self, now: Now, failed: Failed, satellite: NodeId, epoch: int) -> list[Action]:
        """A satellite could not: another is asked, unless none could or this very one was wanted."""
        request = self.active[failed.job]
        ledger = request.work.ledger
        lease = ledger.leases.get(0)
        if lease is None or (lease.satellite, lease.attempt) != (satellite, failed.attempt):
            return []
        request.failures += 1
        if failed.final or request.failures >= MAX_FAILURES or request.work.satellite is not None:
            reason: Reason = "refused" if failed.final else "failed"
            return [*self._end(now, request, epoch, failed.cause), self._decline(request.client, reason, failed.cause)]
        request.work.refused[satellite] = None
        request.work.asked.pop(satellite, None)
        ledger.reopen(0)
        return []

    def spent(self, now: Now, ledger: Ledger, cause: str, epoch: int) -> list[Action]:
        """All attempts of a request are used up."""
        request = self.active[ledger.spec.job]
        return [*self._end(now, request, epoch, cause), self._decline(request.client, "failed", cause)]

    def _end(self, now: Now, request: Request, epoch: int, cause: str) -> list[Action]:
        """End a request without an answer; whoever was asked is told to drop it."""
        request.work.ledger.fail(0, cause)
        self._forget(request)
        fields: dict[str, str | int | float] = {"request": request.name, "cause": cause}
        return [Note("declined", 0, fields), *self._withdraw(now, request)]

    def _withdraw(self, now: Now, request: Request) -> list[Action]:
        """Tell all who may still have it in hand, those of former attempts too, that it is over."""
        actions: list[Action] = []
        for satellite in request.work.asked:
            frames = self._relay.sender.frames(satellite, Withdraw(request.name), epoch=request.epoch)
            actions += self._relay.submit(now, frames)
        return actions

    def _forget(self, request: Request) -> None:
        del self.active[request.name]
        self._input_bytes -= request.size_bytes

    def _decline(self, client: int, reason: Reason, cause: str) -> Tell:
        return Tell(client, Declined(reason, cause))


def _deadline_sky_s(request: Request) -> float:
    return float("inf") if request.work.deadline_sky_s is None else request.work.deadline_sky_s
