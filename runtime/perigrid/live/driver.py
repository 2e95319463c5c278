"""Who carries out what a machine decides, in the real world?

One driver for each node of a process: it feeds events to the node's machine and does the actions that come out, in
order, in the loop's thread. The driver decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

from perigrid.errors import Bug
from perigrid.live.blobs import held, view_of
from perigrid.live.boardmodels import BoardModels
from perigrid.live.bus import Bus
from perigrid.live.devices import Device
from perigrid.live.eventlog import EventLog
from perigrid.live.flash import Flash
from perigrid.live.journal import Journal, ResultsFile
from perigrid.live.loop import Loop
from perigrid.node.actions import (
    AbandonInference,
    Action,
    DropModel,
    DropQueued,
    ForgetResults,
    Infer,
    JoinPieces,
    KeepCapture,
    KeepPiece,
    KeepResult,
    Note,
    OpenModel,
    Persist,
    Recall,
    RehashModel,
    Send,
    ServeModel,
    Tell,
    WakeAt,
    WithdrawModel,
)
from perigrid.node.blobs import Piece
from perigrid.node.controller import Controller
from perigrid.node.events import Event, FrameArrived, Kept, Now, Woken
from perigrid.node.replies import Reply
from perigrid.node.satellite import Satellite
from perigrid.node.station import Station
from perigrid.node.terminals import Terminals
from perigrid.units import NodeId

Machine = Satellite | Station | Controller


@dataclass(frozen=True, slots=True)
class Ground:
    """What only the ground centre has: a journal, results, and clients to tell."""

    journal: Journal
    results: ResultsFile
    tell: Callable[[int, Reply], None]


@dataclass(frozen=True, slots=True)
class Board:
    """What only a satellite has: flash and a computer. `writer` is the one thread that writes flashes, in order."""

    flash: Flash
    device: Device
    writer: Executor
    models: BoardModels


class NodeDriver:
    """Drives one node's machine from one boot to the next."""

    def __init__(
        self,
        node: NodeId,
        name: str,
        machine: Machine,
        loop: Loop,
        bus: Bus,
        log: EventLog,
        terminals: Terminals,
        equipment: Ground | Board | None,
    ) -> None:
        self.node = node
        self.name = name
        self.machine = machine
        self.terminals = terminals
        self.equipment = equipment
        self._loop = loop
        self._bus = bus
        self._log = log
        self._born_s = self._now_s = loop.now_s()
        self._wakes: dict[str, int] = {}
        self._wake_count = 0
        self._look_s = float("inf")
        self._alive = True

    def start(self, booted: Event | None) -> None:
        """Join the mesh and boot the machine."""
        self._bus.attach(self.node, lambda link, frame: self.feed(FrameArrived(link, frame)))
        self.look()
        if booted is not None:
            self.feed(booted)

    def crash(self) -> None:
        """The node is gone: nothing that it had in memory is left, and nothing that was under way comes back."""
        self._alive = False
        self._bus.detach(self.node)
        if isinstance(self.equipment, Board):
            self.equipment.device.close()

    def feed(self, event: Event) -> None:
        """Give one event to the machine and do what follows."""
        if self._alive:
            self.do(self.machine.handle(self.now(), event))

    def now(self) -> Now:
        """This node's time: what its process is doing now was due then. It never goes back."""
        sky_s = self._now_s = max(self._now_s, self._loop.now_s())
        return Now(sky_s - self._born_s, sky_s)

    def look(self) -> None:
        """Let the terminals see what changed, and look again when the next planned change comes."""
        if not self._alive:
            return
        sky_s = self.now().sky_s
        for event in self.terminals.update(sky_s, self._bus.overlay):
            self.feed(event)
        next_s = self.terminals.next_change_s(sky_s)
        if next_s < self._look_s or self._look_s <= sky_s:
            self._look_s = next_s
            self._loop.at(next_s, self.look)

    def do(self, actions: Iterable[Action]) -> None:
        """Carry out actions in order."""
        for action in actions:
            self._act(action)

    def _act(self, action: Action) -> None:
        match action:
            case Send(link, frame):
                if link in self.terminals.up:
                    self._bus.send(self.node, link, frame, self.now().sky_s)
            case WakeAt(key, local_s, lazy):
                self._wake_at(key, local_s, lazy)
            case Note():
                self._log.note(self.now().sky_s, self.name, action)
            case DropQueued(link):
                self._bus.drop_queued(self.node, link)
            case Infer():
                self._board().device.infer(action, self.now().sky_s, self.feed)
            case AbandonInference(task):
                self._board().device.abandon(task)
            case JoinPieces(key, pieces, digest):
                blob = held(b"".join(view_of(piece) for piece in pieces))
                self.feed(Kept(key, blob, blob.digest == digest))
            case KeepResult():
                self._keep_result(action)
            case KeepCapture(key, capture, pieces, digest):
                self._write(lambda: self._keep_capture(key, capture, pieces, digest))
            case OpenModel() | KeepPiece() | RehashModel() | ServeModel() | WithdrawModel() | DropModel():
                self._board().models.do(action, self.feed)
            case ForgetResults(job, shards):
                self._write(lambda: self._board().flash.forget_results(job, shards))
            case Persist(records, then):
                done = lambda: self._loop.soon(lambda: self._durable(then))  # noqa: E731
                self._ground().journal.append(records, done)
            case Recall(event):
                self.feed(event)
            case Tell(client, reply):
                self._ground().tell(client, reply)

    def _durable(self, then: tuple[Action, ...]) -> None:
        if self._alive:
            self.do(then)

    def _keep_result(self, action: KeepResult) -> None:
        if isinstance(self.equipment, Ground):
            blob = self.equipment.results.append(action.pieces, action.digest)
            self.feed(Kept(action.key, blob, blob.digest == action.digest))
            return
        self._write(lambda: self._keep_result_in_flash(action))

    def _write(self, call: Callable[[], None]) -> None:
        """Write flash beside the loop: a file system may stop for milliseconds, and frames have due times."""
        if self._alive:
            self._loop.must_not_fail(self._board().writer.submit(call))

    def _keep_result_in_flash(self, action: KeepResult) -> None:
        board = self._board()
        board.flash.keep_result(action.job, action.shard, action.pieces, action.digest, action.stages)
        self._loop.soon(lambda: self.feed(Kept(action.key, action.pieces[0].blob, True)))

    def _keep_capture(self, key: str, capture: str, pieces: tuple[Piece, ...], digest: bytes) -> None:
        blob, intact = self._board().flash.keep_capture(capture, pieces, digest)
        self._loop.soon(lambda: self.feed(Kept(key, blob, intact)))

    def _wake_at(self, key: str, local_s: float, lazy: bool) -> None:
        self._wake_count += 1
        token = self._wakes[key] = self._wake_count

        def wake() -> None:
            if self._alive and self._wakes.get(key) == token:
                del self._wakes[key]
                now = self.now()
                # Rounding must not wake a machine before its time: it would ask for the same wake-up for ever.
                now = Now(max(now.local_s, local_s), now.sky_s)
                self.do(self.machine.handle(now, Woken(key)))

        self._loop.at(self._born_s + local_s, wake, lazy)

    def _board(self) -> Board:
        if not isinstance(self.equipment, Board):
            raise Bug(f"{self.name} was asked for what only a satellite has")
        return self.equipment

    def _ground(self) -> Ground:
        if not isinstance(self.equipment, Ground):
            raise Bug(f"{self.name} was asked for what only the ground centre has")
        return self.equipment
