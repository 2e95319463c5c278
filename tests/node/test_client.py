"""Does a client hand each ending on once and in order, whatever the connection does?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perigrid.job.spec import JobSpec
from perigrid.node.client import (
    FIRST_RETRY_S,
    MAX_RETRY_S,
    AskSubmit,
    AskWatch,
    Begin,
    Client,
    ClientAction,
    Connected,
    Deliver,
    Disconnected,
    Finish,
    GiveUp,
    Reconnect,
    Said,
)
from perigrid.node.records import JobEnded, ShardFailed
from perigrid.node.replies import Admitted, Ended, Refused, Row

SPEC = JobSpec(job="a", model="m", dataset="d")
ADMITTED = Said(Admitted("a", 8, 8, False))
ENDED = Said(Ended(JobEnded("a", "complete", 9.0, 8, 0, 0)))


def row(cursor: int) -> Said:
    return Said(Row(cursor, (cursor,), ShardFailed("a", cursor - 1, "why", 1.0)))


class Service:
    """A job service with some rows, whose stream breaks, repeats and skips as it is told."""

    def __init__(self, rows: int, mischief: list[str]) -> None:
        self.rows = rows
        self.mischief = mischief
        self.delivered: list[int] = []
        self.finished = 0
        self.begun = 0

    def run(self, client: Client) -> None:
        """Drive the client to its end."""
        todo: list[ClientAction] = client.handle(Connected())
        for _ in range(10_000):
            if not todo:
                return
            todo = [*todo[1:], *self._answer(client, todo[0])]
        raise AssertionError("the client never ends")

    def _answer(self, client: Client, action: ClientAction) -> list[ClientAction]:
        match action:
            case AskSubmit():
                return client.handle((self._next() == "break" and Disconnected()) or ADMITTED)
            case AskWatch(_, cursor):
                return self._stream(client, cursor)
            case Reconnect():
                return client.handle(Connected())
            case Deliver(given_row):
                self.delivered.append(given_row.cursor)
            case Finish():
                self.finished += 1
            case Begin():
                self.begun += 1
        return []

    def _next(self) -> str:
        return self.mischief.pop(0) if self.mischief else "none"

    def _stream(self, client: Client, cursor: int) -> list[ClientAction]:
        place = cursor + 1
        while place <= self.rows:
            mischief = self._next()
            if mischief == "break":
                return client.handle(Disconnected())
            if mischief == "repeat":
                place = max(1, place - 2)
            elif mischief == "skip":
                place = min(self.rows, place + 1)
            for action in client.handle(row(place)):
                if isinstance(action, AskWatch):
                    return [action]
                self._answer(client, action)
            place += 1
        for action in client.handle(ENDED):
            self._answer(client, action)
        return []


@given(rows=st.integers(0, 12), mischief=st.lists(st.sampled_from(["none", "break", "repeat", "skip"]), max_size=40))
def test_each_row_is_handed_on_once_and_in_order(rows: int, mischief: list[str]) -> None:
    service, client = Service(rows, list(mischief)), Client(SPEC)
    service.run(client)
    assert service.delivered == list(range(1, rows + 1))
    assert (service.finished, service.begun) == (1, 1)
    assert client.cursor == rows and client.finished


def test_a_client_that_starts_from_a_cursor_gets_what_lies_beyond() -> None:
    service, client = Service(5, []), Client(SPEC, cursor=3)
    service.run(client)
    assert service.delivered == [4, 5]


def test_the_wait_before_a_new_connection_doubles_up_to_a_bound_and_begins_anew() -> None:
    client = Client(SPEC)
    waits = [client.handle(Disconnected())[0].after_s for _ in range(8)]  # type: ignore[union-attr]
    assert waits[0] == FIRST_RETRY_S and waits[1] == 2 * FIRST_RETRY_S
    assert waits[-1] == MAX_RETRY_S == max(waits)
    client.handle(ADMITTED)
    assert client.handle(Disconnected()) == [Reconnect(FIRST_RETRY_S)]


def test_a_refusal_ends_it_and_nothing_comes_after_the_end() -> None:
    client = Client(SPEC)
    assert client.handle(Said(Refused("a", "no such model"))) == [GiveUp("no such model")]
    for event in (Connected(), Disconnected(), ADMITTED, row(1), ENDED):
        assert client.handle(event) == []


def test_a_reader_can_follow_one_life() -> None:
    client = Client(SPEC)
    assert client.handle(Connected()) == [AskSubmit(SPEC)]
    assert client.handle(ADMITTED) == [Begin(ADMITTED.reply), AskWatch("a", 0)]  # type: ignore[arg-type]
    assert client.handle(row(1)) == [Deliver(row(1).reply)]  # type: ignore[arg-type]
    assert client.handle(Disconnected()) == [Reconnect(FIRST_RETRY_S)]
    assert client.handle(Connected()) == [AskSubmit(SPEC)]
    assert client.handle(ADMITTED) == [AskWatch("a", 1)]
    assert client.handle(row(1)) == []
    assert client.handle(row(3)) == [AskWatch("a", 1)]
    assert client.handle(row(2)) == [Deliver(row(2).reply)]  # type: ignore[arg-type]
    assert client.handle(ENDED) == [Finish(ENDED.reply.ending)]  # type: ignore[union-attr]
    assert client.repeated_rows == 1
