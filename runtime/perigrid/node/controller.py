"""What does the controller do next?

It admits jobs, places their shards on satellites that hold the data, leases them out, settles what comes back, and
tells each client each ending once, in the order of the journal. Nothing is acknowledged, to a satellite or a client,
before it is durable. A restarted controller begins a new epoch from its journal, and asks satellites what they hold.

The controller is a role: this machine runs wherever a driver hosts it, on the ground centre by default.
"""

from __future__ import annotations

from dataclasses import dataclass

from perigrid.errors import UsageError
from perigrid.job.ledger import Ledger, Verdict
from perigrid.job.shards import cut
from perigrid.job.spec import Capture, Catalogue, JobSpec
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.routes import Routes
from perigrid.node.actions import Action, KeepResult, Note, Persist, Recall, Tell, WakeAt
from perigrid.node.dispatch import WAKE_LEASES, DispatchConfig, Dispatcher, Work
from perigrid.node.events import (
    AckDue,
    Ask,
    Cancel,
    ClientRequest,
    ControllerBooted,
    Event,
    Explain,
    FrameArrived,
    HangUp,
    InferenceEnded,
    InferenceFailed,
    JobDurable,
    Kept,
    LinkDown,
    LinkUp,
    ListJobs,
    ListModels,
    Loaded,
    Now,
    PushDurable,
    PushModel,
    RowDurable,
    Submit,
    Unwatch,
    Watch,
    Woken,
)
from perigrid.node.frames import (
    Alive,
    Failed,
    Hello,
    LinkAdvert,
    ModelAsk,
    ModelState,
    Observation,
    Result,
    Settled,
    Withdraw,
)
from perigrid.node.intake import Intake
from perigrid.node.jobs import Job, explanation, stage_fields, waits_for_contact
from perigrid.node.observing import KEY_PREFIX as OBSERVATION_PREFIX
from perigrid.node.observing import WAKE_PARTS, Observing
from perigrid.node.pushes import WAKE_PUSHES, Pushes
from perigrid.node.records import (
    EpochStarted,
    JobAdmitted,
    JobEnded,
    ModelOrdered,
    Record,
    ShardAccepted,
    ShardFailed,
)
from perigrid.node.relay import Relay
from perigrid.node.replies import Admitted, Ended, Jobs, Refused
from perigrid.node.requests import KEY_PREFIX, Requests
from perigrid.node.transfers import Assembler, Message, chunk_bytes
from perigrid.scenario.model import NO_PROCESSING, Processing
from perigrid.units import NodeId

MAX_ACTIVE_JOBS = 64
MAX_FAILURES_PER_SHARD = 3
SETTLED_DELAY_S = 0.2
"""How long the controller gathers acknowledgements of results for one satellite into one message."""

WAKE_ASKS = "controller/asks"
WAKE_ANSWERS = "controller/answers"
WAKE_SETTLED = "controller/settled"
WAKE_DEADLINES = "controller/deadlines"


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """What a controller is told when it is built. `models` are those on the satellites; names are the nodes'.

    `slowest_rate_bps` is the slowest link's on the way to a satellite.
    """

    node: NodeId
    satellites: tuple[NodeId, ...]
    names: tuple[str, ...]
    models: tuple[str, ...]
    lease_s: float
    slowest_rate_bps: float = 100e6
    processing: Processing = NO_PROCESSING
    ground_slots: int = 1


class Controller:
    """The machine of the ground centre: its relay, and the controller's role."""

    def __init__(
        self, config: ControllerConfig, boot: int, catalogue: Catalogue, plan: ContactPlan, routes: Routes
    ) -> None:
        self.config = config
        self.relay = Relay(config.node, boot, config.node, plan, routes)
        self.catalogue = catalogue
        self.epoch = 0
        self.leading = False
        self.jobs: dict[str, Job] = {}
        self.models = config.models
        dispatch = DispatchConfig(config.satellites, config.names, config.lease_s, config.slowest_rate_bps)
        self.dispatcher = Dispatcher(self.relay, catalogue, dispatch)
        processing = config.processing
        self.requests = Requests(self.relay, config.names, processing.gateway_s)
        self.observing = Observing(config.names, config.ground_slots)
        self._asks: Intake[tuple[Now, Ask]] = Intake(WAKE_ASKS, processing.gateway_s + processing.dispatch_s)
        slowest_bytes = chunk_bytes(config.slowest_rate_bps)
        self.pushes = Pushes(self.relay, config.satellites, config.names, lambda: self.epoch, slowest_bytes)
        self.dispatcher.serves = lambda node, name: name in self.models or self.pushes.serves(node, name)
        self._answers: Intake[Kept] = Intake(WAKE_ANSWERS, processing.settle_s)
        self._assembler = Assembler()
        self._results: dict[str, Message] = {}
        self._to_settle: dict[tuple[NodeId, str], list[int]] = {}

    def handle(self, now: Now, event: Event) -> list[Action]:
        """Take one event; the actions that follow from it, in order."""
        match event:
            case FrameArrived(link, frame):
                actions, mine = self.relay.arrived(now, link, frame)
                message = self._assembler.add(mine) if mine is not None else None
                if message is not None:
                    return actions + self._message(now, message)
                if mine is not None and isinstance(mine.body, Result):
                    # A part of a result: it is on its way, however long that takes.
                    self._renew(now, mine.source, mine.body.job, (mine.body.shard,))
                return actions
            case Kept(key) if key.startswith(OBSERVATION_PREFIX):
                return self.observing.kept(now, event)
            case InferenceEnded():
                return self.observing.inferred(now, event)
            case InferenceFailed():
                return self.observing.failed(now, event)
            case Kept():
                return self._kept(now, event)
            case RowDurable() | AckDue() | JobDurable():
                return self._recalled(now, event)
            case LinkUp(link):
                return self.relay.link_up(now, link) + self._dispatch(now, paths_changed=True)
            case LinkDown(link, planned):
                return self.relay.link_down(now, link, planned) + self._dispatch(now, paths_changed=True)
            case Woken(key):
                return self._woken(now, key)
            case ControllerBooted(records, models):
                actions = self._booted(now, records)
                self.pushes.booted(models)
                return actions
            case PushModel() | ListModels() | PushDurable():
                return self.pushes.handle(now, event, self.models)
            case Submit() | Watch() | Unwatch() | Cancel() | Ask() | HangUp() | ListJobs() | Explain():
                return self._client(now, event)
            case Loaded(models, captures):
                return self._loaded(models, captures)
            case _:
                return []

    def _booted(self, now: Now, records: tuple[Record, ...]) -> list[Action]:
        for record in records:
            self._replay(record)
        self.epoch += 1
        for job in self.jobs.values():
            job.durable = True
            if job.ending is None and job.ledger.done:
                # It crashed between the last shard's ending and the job's own.
                self._end_if_done(now, job)
        endings = [j.ending for j in self.jobs.values() if j.ending is not None and not j.ended]
        then = (
            Recall(JobDurable("", ended=False)),
            *(Recall(JobDurable(e.job, ended=True)) for e in endings),
        )
        return [Note("epoch", 0, {"epoch": self.epoch}), Persist((EpochStarted(self.epoch), *endings), then)]

    def _loaded(self, models: tuple[str, ...], captures: tuple[Capture, ...]) -> list[Action]:
        self.models = (*self.models, *(m for m in models if m not in self.models))
        self.catalogue = self.catalogue.plus(captures)
        self.dispatcher.learn(captures)
        return []

    def _replay(self, record: Record) -> None:
        match record:
            case EpochStarted(epoch):
                self.epoch = max(self.epoch, epoch)
            case JobAdmitted(spec, admitted_sky_s):
                ledger = Ledger(spec, cut(spec, self.catalogue))
                self.jobs[spec.job] = Job(spec, ledger, admitted_sky_s)
            case ShardAccepted():
                self.jobs[record.job].ledger.settle(record.shard, record.digest)
                self.jobs[record.job].add_row(record)
            case ShardFailed():
                self.jobs[record.job].ledger.fail(record.shard, record.cause)
                self.jobs[record.job].add_row(record)
            case ModelOrdered():
                self.pushes.replay(record)
            case JobEnded():
                self.jobs[record.job].ending = record
                self.jobs[record.job].ended = True

    # --- what satellites say

    def _message(self, now: Now, message: Message) -> list[Action]:
        if message.source not in self.config.satellites and not isinstance(message.body, LinkAdvert):
            return [Note("not-a-satellite", message.trace, {"source": int(message.source)})]
        match message.body:
            case Result() as result:
                return self._trusted(now, message.source) + self._result(result, message)
            case Observation() as observation:
                return self.observing.came(now, observation, message)
            case Failed() as failed:
                return self._trusted(now, message.source) + self._failed(now, failed, message.source)
            case Alive(captures, working):
                self.dispatcher.holds(message.source, captures)
                for name, shards in working:
                    self._renew(now, message.source, name, shards)
                actions = self.pushes.alive(now, message.source, message.body.models)
                return actions + self._trusted(now, message.source) + self._dispatch(now)
            case ModelState() | ModelAsk() as body:
                return self.pushes.message(now, message.source, body) + self._dispatch(now)
            case LinkAdvert():
                return self._dispatch(now, paths_changed=True)
            case _:
                return []

    def _ledger(self, name: str) -> Ledger | None:
        """The ledger of a job, or of a request under way."""
        job = self.jobs.get(name)
        return job.ledger if job is not None else self.requests.ledger(name)

    def _renew(self, now: Now, satellite: NodeId, name: str, shards: tuple[int, ...]) -> None:
        ledger = self._ledger(name)
        if ledger is not None:
            self.dispatcher.renew(now, ledger, satellite, shards)

    def _trusted(self, now: Now, satellite: NodeId) -> list[Action]:
        if satellite in self.dispatcher.suspects:
            del self.dispatcher.suspects[satellite]
            return [Note("trusted-again", 0, {"satellite": self.config.names[satellite]})]
        return []

    def _result(self, result: Result, message: Message) -> list[Action]:
        if result.job in self.requests.active:
            return self.requests.result(result, message)
        job = self.jobs.get(result.job)
        if job is None or not job.ledger.knows(result.shard) or job.cancelled:
            return [Recall(AckDue(result.job, result.shard, message.source))]
        if result.shard in job.ledger.accepted or result.shard in job.ledger.failed:
            verdict = job.ledger.settle(result.shard, result.digest)
            fields: dict[str, str | int | float] = {
                "job": result.job,
                "shard": result.shard,
                "satellite": self.config.names[message.source],
                "hops": message.hops,
            }
            note = Note(verdict.value, message.trace, fields)
            # Not before what was accepted is durable: an empty Persist stands behind it in the journal's queue.
            return [note, Persist((), (Recall(AckDue(result.job, result.shard, message.source)),))]
        key = f"{result.job}/{result.shard}/{message.source}/{message.trace}"
        self._results[key] = message
        return [KeepResult(key, result.job, result.shard, message.pieces, result.digest, result.stages)]

    def _kept(self, now: Now, event: Kept) -> list[Action]:
        if event.key.startswith(KEY_PREFIX):
            if self._answers.delay_s > 0:
                return [*self._answers.put(now, event)]
            return [*self.requests.kept(now, event), *self._dispatch(now)]
        message = self._results.pop(event.key, None)
        if message is None or not isinstance(message.body, Result):
            return []
        result, satellite = message.body, message.source
        job = self.jobs.get(result.job)
        fields: dict[str, str | int | float] = {
            "job": result.job,
            "shard": result.shard,
            "satellite": self.config.names[satellite],
            "hops": message.hops,
        }
        if not event.intact or job is None:
            return [Note("corrupt-result", message.trace, fields)]
        verdict = job.ledger.settle(result.shard, result.digest)
        note = Note(verdict.value, message.trace, {**fields, **stage_fields(result, message)})
        acknowledge = Recall(AckDue(result.job, result.shard, satellite))
        if verdict is not Verdict.ACCEPTED:
            return [note, Persist((), (acknowledge,))]
        record = ShardAccepted(
            result.job,
            result.shard,
            result.digest,
            event.blob.length,
            satellite,
            result.attempt,
            message.hops,
            now.sky_s,
            result.stages,
            message.laser_s,
            message.ground_s,
        )
        job.endings[result.shard] = record
        persist = Persist((record,), (Recall(RowDurable(result.job, result.shard)), acknowledge))
        return [note, persist, *self._end_if_done(now, job), *self._dispatch(now)]

    def _failed(self, now: Now, failed: Failed, satellite: NodeId) -> list[Action]:
        if failed.job in self.requests.active:
            return [*self.requests.failed(now, failed, satellite, self.epoch), *self._dispatch(now)]
        job = self.jobs.get(failed.job)
        if job is None or not job.ledger.knows(failed.shard):
            return []
        lease = job.ledger.leases.get(failed.shard)
        if lease is None or lease.satellite != satellite or lease.attempt != failed.attempt:
            return []
        fields: dict[str, str | int | float] = {
            "job": failed.job,
            "shard": failed.shard,
            "cause": failed.cause,
        }
        count = job.failures[failed.shard] = job.failures.get(failed.shard, 0) + 1
        note = Note("shard-refused", 0, {**fields, "satellite": self.config.names[satellite]})
        if failed.final or count >= MAX_FAILURES_PER_SHARD:
            return [note, *self._fail(now, job, failed.shard, failed.cause), *self._end_if_done(now, job)]
        self.dispatcher.refused(job.ledger, failed.shard, satellite)
        return [note, *self._dispatch(now)]

    # --- endings

    def _fail(self, now: Now, job: Job, shard: int, cause: str) -> list[Action]:
        if not job.ledger.fail(shard, cause):
            return []
        record = ShardFailed(job.spec.job, shard, cause, now.sky_s)
        job.endings[shard] = record
        note = Note("shard-failed", 0, {"job": job.spec.job, "shard": shard, "cause": cause})
        return [note, Persist((record,), (Recall(RowDurable(job.spec.job, shard)),))]

    def _fail_rest(self, now: Now, job: Job, cause: str) -> list[Action]:
        actions: list[Action] = []
        for shard in job.ledger.shards:
            actions += self._fail(now, job, shard.index, cause)
        actions += self._end_if_done(now, job)
        for satellite in self.config.satellites:
            frames = self.relay.sender.frames(satellite, Withdraw(job.spec.job), epoch=self.epoch)
            actions += self.relay.submit(now, frames)
        return actions

    def _end_if_done(self, now: Now, job: Job) -> list[Action]:
        if not job.ledger.done or job.ending is not None:
            return []
        ledger = job.ledger
        outcome = "cancelled" if job.cancelled else "failed" if ledger.failed else "complete"
        job.ending = JobEnded(
            job.spec.job, outcome, now.sky_s, ledger.total_attempts, ledger.duplicates, ledger.conflicts
        )
        return [Persist((job.ending,), (Recall(JobDurable(job.spec.job, ended=True)),))]

    def _recalled(self, now: Now, event: RowDurable | AckDue | JobDurable) -> list[Action]:
        if isinstance(event, AckDue):
            waiting = self._to_settle.setdefault((event.satellite, event.job), [])
            waiting.append(event.shard)
            return [WakeAt(WAKE_SETTLED, now.local_s + SETTLED_DELAY_S, lazy=True)] if len(waiting) == 1 else []
        if isinstance(event, RowDurable):
            job = self.jobs[event.job]
            row = job.add_row(job.endings[event.shard])
            return [Tell(client, row) for client, cursor in job.watchers.items() if cursor < row.cursor]
        if event.job == "":
            self.leading = True
            return self._lead(now)
        job = self.jobs[event.job]
        if event.ended and job.ending is not None:
            job.ended = True
            job.ledger.leases.clear()
            fields: dict[str, str | int | float] = {
                "job": event.job,
                "outcome": job.ending.outcome,
                "attempts": job.ending.attempts,
                "duplicates": job.ending.duplicates,
                "conflicts": job.ending.conflicts,
            }
            note = Note("job-ended", 0, fields)
            return [note, *(Tell(client, Ended(job.ending)) for client in job.watchers)]
        job.durable = True
        return self._dispatch(now)

    def _lead(self, now: Now) -> list[Action]:
        actions: list[Action] = []
        for satellite in self.config.satellites:
            frames = self.relay.sender.frames(satellite, Hello(), epoch=self.epoch)
            actions += self.relay.submit(now, frames)
        actions += self.pushes.lead(now)
        return actions + self._arm_deadlines(now) + self._dispatch(now)

    # --- time

    def _woken(self, now: Now, key: str) -> list[Action]:
        if key == WAKE_LEASES:
            return self._dispatch(now)
        if key == WAKE_SETTLED:
            return self._settle_out(now)
        if key == WAKE_DEADLINES:
            return self._deadlines(now)
        if key == WAKE_PUSHES:
            return self.pushes.look(now)
        if key == WAKE_PARTS:
            return self.observing.overdue(now)
        if key == WAKE_ASKS:
            asks, more = self._asks.due(now)
            return [*more, *(action for asked, ask in asks for action in self._asked(now, ask, asked))]
        if key == WAKE_ANSWERS:
            answers, more = self._answers.due(now)
            return [*more, *(a for kept in answers for a in self.requests.kept(now, kept)), *self._dispatch(now)]
        return self.relay.woken(now, key)

    def _settle_out(self, now: Now) -> list[Action]:
        actions: list[Action] = []
        for (satellite, job), shards in self._to_settle.items():
            body = Settled(job, tuple(shards))
            actions += self.relay.submit(now, self.relay.sender.frames(satellite, body, epoch=self.epoch))
        self._to_settle.clear()
        return actions

    def _deadlines(self, now: Now) -> list[Action]:
        actions: list[Action] = []
        for job in self.jobs.values():
            if job.ending is None and job.deadline_sky_s <= now.sky_s:
                cause = f"DEADLINE: {job.spec.deadline_s} s after admission"
                actions += self._fail_rest(now, job, cause)
        actions += self.requests.overdue(now, self.epoch)
        return actions + self._arm_deadlines(now)

    def _arm_deadlines(self, now: Now) -> list[Action]:
        due_s = min((j.deadline_sky_s for j in self.jobs.values() if j.ending is None), default=float("inf"))
        due_s = min(due_s, self.requests.next_deadline_sky_s())
        if due_s == float("inf"):
            return []
        # A little later: rounding must not wake it before the deadline, again and again.
        return [WakeAt(WAKE_DEADLINES, now.local_s + max(0.0, due_s - now.sky_s) + 1e-3)]

    def _dispatch(self, now: Now, paths_changed: bool = False) -> list[Action]:
        if not self.leading:
            return []
        active = [j for j in self.jobs.values() if j.durable and j.ending is None]
        actions: list[Action] = []
        works = [*self.requests.works(), *(Work(j.ledger, j.until_sky_s) for j in active)]
        # Sorting is stable: of equal priorities requests come first, then jobs in the order of their admission.
        works.sort(key=lambda work: -work.ledger.spec.priority)
        spent = self.dispatcher.run(now, works, self.epoch, paths_changed, actions)
        for ledger, index, cause in spent:
            job = self.jobs.get(ledger.spec.job)
            if job is None:
                actions += self.requests.spent(now, ledger, cause, self.epoch)
                continue
            actions += self._fail(now, job, index, cause)
            actions += self._end_if_done(now, job)
        return actions

    # --- what clients say

    def _client(self, now: Now, event: ClientRequest) -> list[Action]:
        match event:
            case Ask() if self._asks.delay_s > 0:
                return [*self._asks.put(now, (now, event))]
            case Ask():
                return self._asked(now, event, now)
            case HangUp(client):
                self._asks.drop(lambda held: held[1].client == client)
                return [*self.requests.gave_up(now, client, self.epoch), *self._dispatch(now)]
            case Submit(client, spec):
                return self._submitted(now, client, spec)
            case Watch(client, name, cursor):
                return self._watched(client, name, cursor)
            case Unwatch(client):
                for job in self.jobs.values():
                    job.watchers.pop(client, None)
                return []
            case Cancel(client, name):
                return self._cancelled(now, client, name)
            case ListJobs(client):
                return [Tell(client, Jobs(tuple(job.summary() for job in self.jobs.values())))]
            case Explain(client, node):
                return [
                    Tell(
                        client,
                        explanation(now, NodeId(node), self.config.names[node], self.jobs.values(), self.dispatcher),
                    )
                ]

    def _asked(self, now: Now, ask: Ask, asked: Now) -> list[Action]:
        """A request that came in at `asked` is through the ground's equipment."""
        taken = self.requests.asked(asked, ask, self.epoch, (*self.models, *self.pushes.names()))
        return [*taken, *self._arm_deadlines(now), *self._dispatch(now)]

    def _submitted(self, now: Now, client: int, spec: JobSpec) -> list[Action]:
        known = self.jobs.get(spec.job)
        if known is not None:
            return [Tell(client, known.again(spec))]
        refusal = self._refusal(spec)
        if refusal is not None:
            return [Tell(client, Refused(spec.job, refusal))]
        ledger = Ledger(spec, cut(spec, self.catalogue))
        job = Job(spec, ledger, now.sky_s)
        self.jobs[spec.job] = job
        waits_for, until_s = waits_for_contact(now, self.dispatcher, self.config.satellites)
        tiles = sum(len(s.tiles) for s in ledger.shards)
        reply = Admitted(spec.job, tiles, len(ledger.shards), False, waits_for, until_s, now.sky_s)
        fields: dict[str, str | int | float] = {
            "job": spec.job,
            "model": spec.model,
            "dataset": spec.dataset,
            "shards": len(ledger.shards),
            "tiles": tiles,
            "tiles_per_shard": spec.tiles_per_shard,
            "priority": spec.priority,
        }
        if spec.deadline_s is not None:
            fields["deadline_s"] = spec.deadline_s
        then = (Tell(client, reply), Recall(JobDurable(spec.job, ended=False)))
        admitted = Persist((JobAdmitted(spec, now.sky_s),), then)
        return [Note("job-admitted", 0, fields), admitted, *self._arm_deadlines(now)]

    def _refusal(self, spec: JobSpec) -> str | None:
        try:
            spec.check()
            cut(spec, self.catalogue)
        except UsageError as error:
            return str(error)
        models = (*self.models, *self.pushes.names())
        if spec.model not in models:
            names = ", ".join(models) or "none"
            return f"model {spec.model!r} is not on the satellites (there: {names}); add it to the scenario's models"
        if spec.model not in self.models:
            captures = self.catalogue.of(spec.dataset)
            cause = self.pushes.refusal(spec.model, (self.dispatcher.holders(c.name) for c in captures))
            if cause:
                return cause
        if sum(j.ending is None for j in self.jobs.values()) >= MAX_ACTIVE_JOBS:
            return f"{MAX_ACTIVE_JOBS} jobs are running, which is the limit; wait for one or cancel one"
        return None

    def _watched(self, client: int, name: str, cursor: int) -> list[Action]:
        job = self.jobs.get(name)
        if job is None:
            return [Tell(client, Refused(name, f"no job {name!r} here; `perigrid status` lists the jobs"))]
        job.watchers[client] = cursor
        actions: list[Action] = [Tell(client, row) for row in job.rows[cursor:]]
        if job.ended and job.ending is not None:
            actions.append(Tell(client, Ended(job.ending)))
        return actions

    def _cancelled(self, now: Now, client: int, name: str) -> list[Action]:
        job = self.jobs.get(name)
        if job is None:
            return [Tell(client, Refused(name, f"no job {name!r} here; `perigrid status` lists the jobs"))]
        if job.ending is None:
            job.cancelled = True
            actions = self._fail_rest(now, job, "CANCELLED by its client")
            return [*actions, Tell(client, Jobs((job.summary(),)))]
        return [Tell(client, Jobs((job.summary(),)))]
