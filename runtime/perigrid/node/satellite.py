"""What does a satellite do next?

It relays frames, keeps captures, computes the shards that the ground assigns on captures that it holds, stores each
result in flash before it sends it, and forgets it when the ground says that it is durable there. It goes on with what
it has when nobody can be reached. A shard that it has computed is never computed again: asked anew, it sends again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from perigrid.job.spec import JOB_ID_CHARACTERS, REQUEST_PREFIX, Catalogue, Shard, plain_model
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.routes import Routes
from perigrid.mesh.way import Leg
from perigrid.node.actions import (
    AbandonInference,
    Action,
    ForgetResults,
    Infer,
    KeepCapture,
    KeepResult,
    Note,
    WakeAt,
)
from perigrid.node.blobs import Blob, Piece, whole
from perigrid.node.copies import FLASH_BYTES, SCRUB_S, ShelfConfig
from perigrid.node.events import (
    Event,
    Exposed,
    FrameArrived,
    InferenceEnded,
    InferenceFailed,
    Kept,
    LinkDown,
    LinkUp,
    Loaded,
    ModelRehashed,
    ModelServed,
    Now,
    PieceKept,
    SatelliteBooted,
    Woken,
)
from perigrid.node.frames import (
    Alive,
    Assign,
    Body,
    Failed,
    Hello,
    ModelAsk,
    ModelHave,
    ModelOffer,
    ModelPiece,
    ModelQuery,
    Part,
    Priority,
    Probe,
    Replica,
    Result,
    Settled,
    Stages,
    Withdraw,
)
from perigrid.node.intake import Intake
from perigrid.node.models import MODELS_PREFIX, Shelf
from perigrid.node.relay import Relay
from perigrid.node.sensing import FRAME_PREFIX, FRAME_PRIORITY, BoardWork, Sensing, SensingConfig
from perigrid.node.sensing import KEY_PREFIX as FRAME_KEY_PREFIX
from perigrid.node.transfers import Assembler, Message, chunk_bytes
from perigrid.scenario.model import NO_PROCESSING, Processing
from perigrid.units import NodeId

WAKE_INTAKE = "satellite/intake"
WAKE_ALIVE = "satellite/alive"
WAKE_DEADLINES = "satellite/deadlines"
ALIVES_PER_LEASE = 4
LEASES_FOR_A_RESULT = 2
"""For so many leases after a shard was computed it is still said to be in hand; by then parts of it have arrived."""

MAX_PAYLOAD_KILLS = 3
"""After so many deaths of the payload under one shard, the shard is POISON."""

MAX_QUEUED_SHARDS = 4096
MAX_RESULTS_HELD = 4096
MAX_WITHDRAWN_REMEMBERED = 4096
"""Requests remembered as over: word of that overtakes their inputs, which are bulk. The oldest is forgotten first."""

DEADLINE_SLACK_S = 1e-3
"""How much after a deadline it is looked at: at its very time, rounding could set the same wake-up for ever."""


@dataclass(frozen=True, slots=True)
class SatelliteConfig:
    """What a satellite is told when it is built: its place, its models, its slots, and the links' rates.

    `model_bytes` is its room for models that are pushed to it, `scrub_s` how often they are hashed again, from `seed`.
    """

    node: NodeId
    ground: NodeId
    models: tuple[str, ...]
    slots: int
    laser_rate_bps: float
    ground_rate_bps: float
    processing: Processing = NO_PROCESSING
    model_bytes: int = FLASH_BYTES
    scrub_s: float = SCRUB_S
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """How an assignment came up: when the ground sent it, and what it spent for lasers and for radio and fibre.

    A traced one has its legs as well.
    """

    sent_sky_s: float
    laser_s: float
    ground_s: float
    legs: tuple[Leg, ...] = ()
    trace_parent: bytes = b""


@dataclass(frozen=True, slots=True)
class Task:
    """A shard in hand; a request's has its input with it."""

    job: str
    model: str
    shard: Shard
    attempt: int
    priority: int
    order: int
    arrived: Now
    way: Way
    deadline_sky_s: float
    input: tuple[Piece, ...]
    digest: bytes
    started_s: float = 0.0
    discard_share: float | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A computed shard, in flash until the ground has it; computed at `since_s` of this boot."""

    blob: Blob
    attempt: int
    stages: Stages
    since_s: float = float("-inf")
    trace_parent: bytes = b""


class Satellite:
    """The machine of one satellite, from one boot to the next."""

    def __init__(
        self, config: SatelliteConfig, boot: int, catalogue: Catalogue, plan: ContactPlan, routes: Routes
    ) -> None:
        self.config = config
        self.relay = Relay(config.node, boot, config.ground, plan, routes)
        self.catalogue = catalogue
        self.models = config.models
        self.captures: dict[str, Blob] = {}
        self.queued: dict[tuple[str, int], Task] = {}
        self.running: dict[int, Task] = {}
        self.finished: dict[tuple[str, int], Finished] = {}
        self.kills: dict[tuple[str, int], int] = {}
        self.withdrawn: dict[str, None] = {}
        self.epoch = 0
        self.lease_s = 0.0
        self._tasks = 0
        self._keeping: dict[tuple[str, int], Finished] = {}
        self._alive_wake_s = float("-inf")
        self._assembler = Assembler()
        shelf = ShelfConfig(
            config.node,
            config.ground,
            config.laser_rate_bps,
            config.ground_rate_bps,
            config.model_bytes,
            config.scrub_s,
            config.seed,
        )
        self.shelf = Shelf(shelf, self.relay, self._say, lambda name: name in self.models, self._is_needed)
        self.sensing = Sensing(SensingConfig(config.ground, config.laser_rate_bps, config.ground_rate_bps), self.relay)
        self._intake: Intake[tuple[Now, Assign, Message]] = Intake(WAKE_INTAKE, config.processing.intake_s)

    def handle(self, now: Now, event: Event) -> list[Action]:
        """Take one event; the actions that follow from it, in order."""
        match event:
            case FrameArrived(link, frame):
                actions, mine = self.relay.arrived(now, link, frame)
                message = self._assembler.add(mine) if mine is not None else None
                return actions + self._message(now, message) if message is not None else actions
            case InferenceEnded():
                return self._inferred(now, event)
            case Exposed():
                work, actions = self.sensing.exposed(now, event)
                return [*actions, *self._queue(now, work)]
            case InferenceFailed():
                return self._inference_failed(now, event)
            case Kept():
                return self._kept(now, event)
            case PieceKept() | ModelRehashed() | ModelServed():
                return self.shelf.done(now, event)
            case LinkUp(link):
                return self.relay.link_up(now, link) + self.shelf.link_up(now, link)
            case LinkDown(link, planned):
                return self.relay.link_down(now, link, planned) + self.shelf.link_down(now, link)
            case Woken(key):
                return self._woken(now, key)
            case Loaded():
                return self._loaded(now, event)
            case SatelliteBooted():
                return self._booted(now, event)
            case _:
                return []

    def _woken(self, now: Now, key: str) -> list[Action]:
        if key == WAKE_ALIVE:
            return self._alive_due(now)
        if key == WAKE_INTAKE:
            return self._taken_in(now)
        if key.startswith(MODELS_PREFIX):
            return self.shelf.woken(now, key)
        return self._deadlines_due(now) if key == WAKE_DEADLINES else self.relay.woken(now, key)

    def _loaded(self, now: Now, event: Loaded) -> list[Action]:
        """Models and captures came on board; copies of the own captures set out for those who shall hold them."""
        self.models = (*self.models, *(m for m in event.models if m not in self.models))
        self.catalogue = self.catalogue.plus(event.captures)
        self.captures |= dict(event.held)
        actions = self._say_alive(now) if event.held else []
        for name in event.copies:
            actions += self.replicate(now, name)
        return actions

    def _booted(self, now: Now, event: SatelliteBooted) -> list[Action]:
        self.captures = dict(event.captures)
        for held in event.results:
            self.finished[held.job, held.shard] = Finished(held.blob, 0, held.stages)
        actions: list[Action] = [Note("booted", 0, {"captures": len(event.captures), "results": len(event.results)})]
        actions += self.shelf.booted(now, event.models)
        actions += self._say_alive(now)
        for key, finished in self.finished.items():
            actions += self._send_result(now, key, finished)
        return actions

    def replicate(self, now: Now, name: str) -> list[Action]:
        """Send copies of a capture that was born here to those who shall hold one."""
        capture, blob = self.catalogue.named(name), self.captures.get(name)
        if capture is None or blob is None:
            return []
        actions: list[Action] = []
        for target in capture.replicas:
            frames = self.relay.sender.frames(
                target,
                Replica(name, blob.digest),
                priority=Priority.BULK,
                payload=blob,
                chunk=chunk_bytes(self.config.laser_rate_bps),
            )
            fields: dict[str, str | int | float] = {"capture": name, "to": int(target), "bytes": blob.length}
            actions.append(Note("replicate", frames[0].trace, fields))
            actions += self.relay.submit(now, frames)
        return actions

    def _message(self, now: Now, message: Message) -> list[Action]:
        if message.source == self.config.ground:
            # Only controllers have epochs; one that was replaced has no say any more.
            if message.epoch < self.epoch:
                return [Note("old-epoch", message.trace, {"epoch": message.epoch})]
            begun = message.epoch > self.epoch > 0
            self.epoch = message.epoch
            return [*(self._forget_requests(now) if begun else []), *self._told(now, message)]
        if isinstance(message.body, Replica):
            return self._offered(message, message.body)
        if isinstance(message.body, Part):
            work = self.sensing.helped(now, message.body, message)
            refused = Note("part-refused", message.trace, {"frame": message.body.frame, "from": int(message.source)})
            return self._queue(now, work) if work else [refused]
        if isinstance(message.body, ModelOffer | ModelHave | ModelAsk | ModelPiece):
            return self.shelf.message(now, message)
        if isinstance(message.body, Probe):
            return []
        return [Note("not-from-the-ground", message.trace, {"source": int(message.source)})]

    def _told(self, now: Now, message: Message) -> list[Action]:
        """What the controller says."""
        match message.body:
            case Assign() as assign if self._intake.delay_s > 0:
                return [*self._intake.put(now, (now, assign, message))]
            case Assign() as assign:
                return self._assigned(now, assign, message, now)
            case Settled(job, shards):
                for shard in shards:
                    self.finished.pop((job, shard), None)
                    self.kills.pop((job, shard), None)
                return [ForgetResults(job, shards)]
            case Withdraw(job):
                return self._withdrawn(now, job)
            case Hello():
                return self._say_alive(now)
            case ModelOffer() | ModelQuery() | ModelPiece():
                return self.shelf.message(now, message)
            case _:
                return []

    def _offered(self, message: Message, replica: Replica) -> list[Action]:
        """Keep a copy of a capture, if its owner sends it to where it shall be and it is not here."""
        capture = self.catalogue.named(replica.capture)
        wanted = capture is not None and message.source == capture.owner and self.config.node in capture.replicas
        if capture is None or not wanted or capture.name in self.captures:
            return [Note("unwanted-copy", message.trace, {"from": int(message.source)})]
        return [KeepCapture(f"capture/{capture.name}", capture.name, message.pieces, replica.digest)]

    def _taken_in(self, now: Now) -> list[Action]:
        """Assignments are through the equipment: they queue now, and have waited since they arrived."""
        through, wakes = self._intake.due(now)
        actions: list[Action] = [*wakes]
        for arrived, assign, message in through:
            actions += self._assigned(now, assign, message, arrived)
        return actions

    def _assigned(self, now: Now, assign: Assign, message: Message, arrived: Now) -> list[Action]:
        if not set(assign.job) <= JOB_ID_CHARACTERS:
            # The job's name will name files of this flash.
            return [Note("bad-job-name", message.trace, {"source": int(message.source)})]
        if assign.job in self.withdrawn:
            return []
        actions: list[Action] = []
        self.lease_s = assign.lease_s
        in_hand = {(t.job, t.shard.index): n for n, t in self.running.items()}
        way = Way(assign.sent_sky_s, message.laser_s, message.ground_s, message.way, message.trace_parent)
        for shard, attempt in zip(assign.shards, assign.attempts, strict=True):
            key = (assign.job, shard.index)
            if key in self.finished:
                actions += self._send_result(now, key, self.finished[key])
            elif key not in in_hand and key not in self.queued and key not in self._keeping:
                refusal = self._refusal(assign, shard)
                if refusal is not None:
                    actions += self._say_failed(now, assign.job, shard.index, attempt, refusal, final=False)
                    continue
                self._tasks += 1
                self.shelf.used(now, plain_model(assign.model))
                self.queued[key] = Task(
                    assign.job,
                    assign.model,
                    shard,
                    attempt,
                    assign.priority,
                    self._tasks,
                    arrived,
                    way,
                    float("inf") if assign.deadline_sky_s is None else assign.deadline_sky_s,
                    message.pieces,
                    message.digest,
                )
        if not self._alive_wake_s > now.local_s and (self.queued or self.running):
            actions.append(self._arm_alive(now))
        if assign.deadline_sky_s is not None:
            actions += self._arm_deadlines(now)
        return actions + self._start(now)

    def _queue(self, now: Now, works: list[BoardWork]) -> list[Action]:
        """Work that began on board, or on a neighbour's, enters the queue."""
        actions: list[Action] = []
        for work in works:
            fields: dict[str, str | int | float] = {"frame": work.job, "model": work.model}
            if plain_model(work.model) not in self.models or len(self.queued) >= MAX_QUEUED_SHARDS:
                actions += [Note("frame-refused", 0, fields), *self.sensing.missed(work.job, work.shard.index)]
                continue
            self._tasks += 1
            self.queued[work.job, work.shard.index] = Task(
                work.job,
                work.model,
                work.shard,
                1,
                FRAME_PRIORITY,
                self._tasks,
                work.arrived,
                Way(0.0, 0.0, 0.0, work.legs, work.trace_parent),
                work.deadline_sky_s,
                work.input,
                work.digest,
                discard_share=work.discard_share,
            )
        return [*actions, *self._arm_deadlines(now), *self._start(now)]

    def _refusal(self, assign: Assign, shard: Shard) -> str | None:
        if not shard.is_request and shard.capture not in self.captures:
            return f"capture {shard.capture} is not in this satellite's flash"
        name = plain_model(assign.model)
        if name not in self.models and not self.shelf.serves(name):
            return f"model {assign.model} is not on this satellite"
        if len(self.queued) >= MAX_QUEUED_SHARDS or len(self.finished) >= MAX_RESULTS_HELD:
            return "this satellite's queue is full"
        return None

    def _withdrawn(self, now: Now, job: str) -> list[Action]:
        """Drop what is in hand of a job, or of a request, that has ended."""
        if job.startswith(REQUEST_PREFIX):
            self.withdrawn[job] = None
            if len(self.withdrawn) > MAX_WITHDRAWN_REMEMBERED:
                del self.withdrawn[next(iter(self.withdrawn))]
        self.kills = {key: count for key, count in self.kills.items() if key[0] != job}
        actions = self._drop(lambda task: task.job == job)
        gone = tuple(shard for owner, shard in self.finished if owner == job)
        for shard in gone:
            del self.finished[job, shard]
        if gone:
            actions.append(ForgetResults(job, gone))
        return actions + self._start(now)

    def _forget_requests(self, now: Now) -> list[Action]:
        """A new controller leads: the requests of the old one ended with it, and nobody will ask for their results."""
        tasks = [*self.running.values(), *self.queued.values()]
        names = dict.fromkeys(t.job for t in tasks if t.shard.is_request)
        names |= dict.fromkeys(job for job, _ in [*self._keeping, *self.finished] if job.startswith(REQUEST_PREFIX))
        return [action for name in names for action in self._withdrawn(now, name)]

    def _drop(self, unwanted: Callable[[Task], bool]) -> list[Action]:
        """Forget tasks, and stop those that run: their slots are free at once."""
        self.queued = {k: t for k, t in self.queued.items() if not unwanted(t)}
        stopped = [number for number, task in self.running.items() if unwanted(task)]
        for number in stopped:
            del self.running[number]
        return [AbandonInference(number) for number in stopped]

    def _deadlines_due(self, now: Now) -> list[Action]:
        late = [t for t in [*self.queued.values(), *self.running.values()] if t.deadline_sky_s <= now.sky_s]
        actions = self._drop(lambda task: task.deadline_sky_s <= now.sky_s)
        actions += [a for t in late if _is_frame(t.job) for a in self.sensing.missed(t.job, t.shard.index)]
        return [*actions, *self._arm_deadlines(now), *self._start(now)]

    def _arm_deadlines(self, now: Now) -> list[Action]:
        due_s = min((t.deadline_sky_s for t in [*self.queued.values(), *self.running.values()]), default=float("inf"))
        if due_s == float("inf"):
            return []
        return [WakeAt(WAKE_DEADLINES, now.local_s + max(0.0, due_s - now.sky_s) + DEADLINE_SLACK_S)]

    def _start(self, now: Now) -> list[Action]:
        actions: list[Action] = []
        while self.queued and len(self.running) < self.config.slots:
            task = min(self.queued.values(), key=lambda t: (-t.priority, t.order))
            del self.queued[task.job, task.shard.index]
            running = replace(task, started_s=now.local_s)
            self.running[task.order] = running
            extra_s = self.config.processing.inference_s
            work = (task.order, task.job, task.model, task.shard, task.input, task.digest)
            actions.append(Infer(*work, extra_s, task.discard_share))
        return actions

    def _inferred(self, now: Now, event: InferenceEnded) -> list[Action]:
        task = self.running.pop(event.task, None)
        if task is None:
            return []
        stages = Stages(
            arrived_sky_s=task.arrived.sky_s,
            queue_s=task.started_s - task.arrived.local_s,
            inference_s=event.inference_s,
            desk_wait_s=event.desk_wait_s,
            cpu_s=event.cpu_s,
            sent_sky_s=task.way.sent_sky_s,
            up_laser_s=task.way.laser_s,
            up_ground_s=task.way.ground_s,
            up=task.way.legs,
        )
        job, index = task.job, task.shard.index
        if _is_frame(job):
            actions = self.sensing.computed(now, job, index, stages, event)
            work, more = self.sensing.next_work(now, job)
            return [*actions, *more, *self._queue(now, work)]
        self._keeping[job, index] = Finished(event.blob, task.attempt, stages, now.local_s, task.way.trace_parent)
        pieces = (whole(event.blob),)
        keep = KeepResult(f"result/{job}/{index}", job, index, pieces, event.blob.digest, stages)
        return [keep, *self._start(now)]

    def _inference_failed(self, now: Now, event: InferenceFailed) -> list[Action]:
        task = self.running.pop(event.task, None)
        if task is None:
            return []
        key = (task.job, task.shard.index)
        cause, final = event.cause, False
        if event.payload_died:
            self.kills[key] = self.kills.get(key, 0) + 1
            if self.kills[key] < MAX_PAYLOAD_KILLS:
                self.queued[key] = task
                note = Note("payload-died", 0, {"job": task.job, "shard": task.shard.index})
                return [note, *self._start(now)]
            del self.kills[key]
            cause, final = (
                f"POISON: the payload died {MAX_PAYLOAD_KILLS} times under it ({event.cause})",
                True,
            )
        final = final or event.final
        if _is_frame(task.job):
            note = Note("frame-failed", 0, {"frame": task.job, "cause": cause})
            return [note, *self.sensing.missed(task.job, task.shard.index), *self._start(now)]
        actions = self._say_failed(now, task.job, task.shard.index, task.attempt, cause, final)
        return actions + self._start(now)

    def _kept(self, now: Now, event: Kept) -> list[Action]:
        if event.key.startswith("capture/"):
            capture = event.key.removeprefix("capture/")
            if not event.intact:
                return [Note("corrupt-capture", 0, {"capture": capture})]
            self.captures[capture] = event.blob
            return [Note("holds", 0, {"capture": capture}), *self._say_alive(now)]
        if event.key.startswith(FRAME_KEY_PREFIX):
            return self.sensing.joined(now, event)
        _, job, index = event.key.split("/")
        key = (job, int(index))
        finished = self._keeping.pop(key, None)
        if finished is None:
            return []
        self.finished[key] = finished
        return self._send_result(now, key, finished)

    def _send_result(self, now: Now, key: tuple[str, int], finished: Finished) -> list[Action]:
        frames = self.relay.sender.frames(
            self.config.ground,
            Result(key[0], key[1], finished.attempt, finished.blob.digest, finished.stages),
            priority=Priority.BULK,
            payload=finished.blob,
            chunk=chunk_bytes(min(self.config.laser_rate_bps, self.config.ground_rate_bps)),
            epoch=self.epoch,
            trace_parent=finished.trace_parent,
        )
        return self.relay.submit(now, frames)

    def _say_failed(self, now: Now, job: str, shard: int, attempt: int, cause: str, final: bool) -> list[Action]:
        body = Failed(job, shard, attempt, cause, final)
        return self.relay.submit(now, self.relay.sender.frames(self.config.ground, body, epoch=self.epoch))

    def _say_alive(self, now: Now) -> list[Action]:
        working: dict[str, list[int]] = {}
        for job, shard in self._in_hand(now):
            working.setdefault(job, []).append(shard)
        parts = tuple((job, tuple(shards)) for job, shards in working.items())
        return self._say(now, Alive(tuple(self.captures), parts, self.shelf.on_flash()))

    def _say(self, now: Now, body: Body) -> list[Action]:
        return self.relay.submit(now, self.relay.sender.frames(self.config.ground, body, epoch=self.epoch))

    def _is_needed(self, model: str) -> bool:
        """Does work in hand need a model?"""
        return any(plain_model(task.model) == model for task in [*self.running.values(), *self.queued.values()])

    def _in_hand(self, now: Now) -> list[tuple[str, int]]:
        """What runs or waits here, and what was computed just now: its result has only set out.

        Not what was computed long ago: should its result be lost with a node on the way, the ground must ask again.
        """
        tasks = [
            (t.job, t.shard.index) for t in [*self.running.values(), *self.queued.values()] if not _is_frame(t.job)
        ]
        since_s = now.local_s - LEASES_FOR_A_RESULT * self.lease_s
        fresh = [key for key, f in [*self._keeping.items(), *self.finished.items()] if f.since_s > since_s]
        return tasks + fresh

    def _alive_due(self, now: Now) -> list[Action]:
        if not self._in_hand(now):
            return []
        return [*self._say_alive(now), self._arm_alive(now)]

    def _arm_alive(self, now: Now) -> WakeAt:
        self._alive_wake_s = now.local_s + self.lease_s / ALIVES_PER_LEASE
        return WakeAt(WAKE_ALIVE, self._alive_wake_s, lazy=True)


def _is_frame(name: str) -> bool:
    """Is this work a sensor's, or a part of it?"""
    return name.startswith(FRAME_PREFIX)
