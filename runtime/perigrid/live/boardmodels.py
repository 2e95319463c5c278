"""Who does what a satellite's machine wants done with models? Its flash, beside the loop, and its worker, by calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from perigrid.live.devices import Device
from perigrid.live.loop import Loop
from perigrid.live.modelstore import FlashModels
from perigrid.node.actions import DropModel, KeepPiece, OpenModel, RehashModel, ServeModel, WithdrawModel
from perigrid.node.events import Event, ModelServed

FileAction = OpenModel | KeepPiece | RehashModel | DropModel
ModelAction = FileAction | ServeModel | WithdrawModel


class BoardModels:
    """The models of one satellite that is up. `writer` is the one thread that writes its flash, in order."""

    def __init__(self, files: FlashModels, device: Device, writer: Executor, loop: Loop) -> None:
        self.files = files
        self._device = device
        self._writer = writer
        self._loop = loop
        self._asks: deque[Callable[[], None]] = deque()

    def do(self, action: ModelAction, feed: Callable[[Event], None]) -> None:
        """Carry an action out; `feed` gets its answer, in the loop's thread."""
        match action:
            case ServeModel(model, name):
                self._ask(lambda: self._device.load_model(name, lambda cause: self._loaded(model, cause, feed)))
            case WithdrawModel(name):
                self._submit(lambda: self.files.withdrawn(name))
                self._ask(lambda: self._device.unload_model(name, self._asked))
            case _:
                self._submit(lambda: self._write(action, feed))

    def _ask(self, call: Callable[[], None]) -> None:
        """Ask the worker for one thing after the other: a load that overtook an unload would be undone by it."""
        self._asks.append(call)
        if len(self._asks) == 1:
            call()

    def _asked(self) -> None:
        self._asks.popleft()
        if self._asks:
            self._asks[0]()

    def _loaded(self, model: bytes, cause: str, feed: Callable[[Event], None]) -> None:
        if not cause:
            self._submit(lambda: self.files.serves(model))
        self._asked()
        feed(ModelServed(model, cause))

    def _submit(self, call: Callable[[], None]) -> None:
        self._loop.must_not_fail(self._writer.submit(call))

    def _write(self, action: FileAction, feed: Callable[[Event], None]) -> None:
        answer: Event | None = None
        match action:
            case OpenModel(order):
                self.files.open(order)
            case KeepPiece():
                answer = self.files.keep(action)
            case RehashModel(model):
                answer = self.files.rehash(model)
            case DropModel(model):
                self.files.drop(model)
        if answer is not None:
            said = answer
            self._loop.soon(lambda: feed(said))
