"""What does a client do next?

It submits its job, watches it from a cursor, and hands each ending on once, in order, whatever happens to the
connection or to the controller in between. The cursor is the client's own: rows at or below it are not handed on again.
"""

from __future__ import annotations

from dataclasses import dataclass

from perigrid.job.spec import JobSpec
from perigrid.node.records import JobEnded
from perigrid.node.replies import Admitted, Ended, Refused, Reply, Row

FIRST_RETRY_S = 0.1
MAX_RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Connected:
    """The job service answers."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, or was never made."""


@dataclass(frozen=True, slots=True)
class Said:
    """The controller said something."""

    reply: Reply


ClientEvent = Connected | Disconnected | Said


@dataclass(frozen=True, slots=True)
class AskSubmit:
    """Submit the job; submitting again is the same job."""

    spec: JobSpec


@dataclass(frozen=True, slots=True)
class AskWatch:
    """Watch the job from this cursor."""

    job: str
    cursor: int


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Try to connect again after so many seconds of the wall (the client is no part of the orbit)."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Begin:
    """Tell the user that the job is admitted."""

    admitted: Admitted


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand this ending to the user: once."""

    row: Row


@dataclass(frozen=True, slots=True)
class Finish:
    """The job has ended and everything was handed on."""

    ending: JobEnded


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The job was refused."""

    cause: str


ClientAction = AskSubmit | AskWatch | Reconnect | Begin | Deliver | Finish | GiveUp


class Client:
    """The machine of one client with one job."""

    def __init__(self, spec: JobSpec, cursor: int = 0) -> None:
        self.spec = spec
        self.cursor = cursor
        self.repeated_rows = 0
        self.finished = False
        self._begun = False
        self._retry_s = FIRST_RETRY_S

    def handle(self, event: ClientEvent) -> list[ClientAction]:
        """Take one event; the actions that follow from it, in order."""
        if self.finished:
            return []
        match event:
            case Connected():
                return [AskSubmit(self.spec)]
            case Disconnected():
                after_s, self._retry_s = self._retry_s, min(MAX_RETRY_S, 2 * self._retry_s)
                return [Reconnect(after_s)]
            case Said(Admitted() as admitted):
                self._retry_s = FIRST_RETRY_S
                first: list[ClientAction] = [] if self._begun else [Begin(admitted)]
                self._begun = True
                return [*first, AskWatch(self.spec.job, self.cursor)]
            case Said(Row() as row):
                return self._row(row)
            case Said(Ended(ending)):
                self.finished = True
                return [Finish(ending)]
            case Said(Refused(_, cause)):
                self.finished = True
                return [GiveUp(cause)]
            case _:
                return []

    def _row(self, row: Row) -> list[ClientAction]:
        if row.cursor <= self.cursor:
            self.repeated_rows += 1
            return []
        if row.cursor != self.cursor + 1:
            # A gap cannot happen on one stream; should it, the watch is asked anew from where we stand.
            return [AskWatch(self.spec.job, self.cursor)]
        self.cursor = row.cursor
        return [Deliver(row)]
