"""Does the clock stop for whoever holds it, over real sockets, and go on with everybody awake?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from perigrid.live.clock import ClockPage
from perigrid.live.governor import Governor
from perigrid.live.holds import Holds, HoldServer
from perigrid.live.lateness import TOLERANCE_S, LatenessMeter
from perigrid.live.loop import Loop
from perigrid.live.watch import Marks, Watch, create_page
from tests.live.conftest import wait_until

NAMES = ("host-1", "host-2", "ground")
LIMIT_S = 20.0
LOOKS = 10


@dataclass(frozen=True, slots=True)
class Desk:
    folder: Path
    clock: ClockPage
    server: HoldServer
    reader: ClockPage
    opened: list[Holds] = field(default_factory=list)

    def holds(self, name: str) -> Holds:
        self.opened.append(Holds(os.fspath(self.folder / "holds"), NAMES.index(name)))
        return self.opened[-1]

    def marks(self, name: str) -> Marks:
        return Marks(self.folder, NAMES, name)

    def passes(self) -> None:
        """Wait until time has passed some of its grants."""
        start_s = self.reader.now_s()
        wait_until(lambda: self.reader.now_s() > start_s + 4 * TOLERANCE_S, LIMIT_S, "time passes")

    def stands(self) -> float:
        """Wait until time stands, and see that it does for some looks; where it stands."""

        def standing() -> bool:
            wall_s, reading = self.reader.look()
            return reading.stands_at(wall_s)

        seen: list[float] = []

        def still() -> bool:
            seen.append(self.reader.now_s())
            return len(seen) > LOOKS and seen[-1] == seen[-LOOKS]

        wait_until(standing, LIMIT_S, "time stands")
        # The poll sleeps between its looks: so many last for several grants.
        wait_until(still, LIMIT_S, "time stands still")
        return seen[-1]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    create_page(tmp_path, len(NAMES))
    clock = ClockPage.create(tmp_path / "clock.page", free=False)
    server = HoldServer(tmp_path / "holds", clock, Governor(), Watch.open(tmp_path, len(NAMES)))
    server.limit(1.0)
    found = Desk(tmp_path, clock, server, ClockPage(tmp_path / "clock.page"))
    yield found
    for holds in found.opened:
        holds.close()
    server.close()


def test_time_stands_where_it_is_held_and_goes_on_when_it_is_let_go(desk: Desk) -> None:
    holds = desk.holds("host-1")
    desk.passes()
    due_s = desk.reader.now_s() + 0.2
    holds.hold("task", due_s)
    holds.hold("other", due_s + 1.0)
    assert desk.stands() == pytest.approx(due_s, abs=1e-9)
    holds.lift("task")
    desk.passes()
    holds.lift("other")
    assert desk.server.governor.holds >= 1


def test_a_process_that_dies_lets_time_go_on(desk: Desk) -> None:
    holds = desk.holds("host-1")
    desk.passes()
    holds.hold("task", 0.0)
    desk.stands()
    holds.close()
    desk.passes()


def test_a_host_that_does_not_release_what_is_due_stops_time_within_the_tolerance(desk: Desk) -> None:
    _, marks = desk.holds("host-2"), desk.marks("host-2")
    desk.passes()
    due_s = desk.reader.now_s() + 0.1
    marks.turn(due_s)
    assert due_s <= desk.stands() <= due_s + TOLERANCE_S
    marks.turn(float("inf"))
    desk.passes()


def test_a_loop_is_woken_when_time_goes_on_and_releases_in_time(desk: Desk) -> None:
    loop, other = Loop(ClockPage(desk.folder / "clock.page")), desk.holds("host-2")
    loop.wait_for(desk.holds("host-1"), desk.marks("host-1"))
    desk.passes()
    other.hold("task", desk.reader.now_s() + 0.05)
    late_s: list[float] = []
    start_s = desk.stands()

    def then(due_s: float) -> Callable[[], None]:
        def release() -> None:
            late_s.append(loop.clock.now_s() - due_s)
            if len(late_s) == 3:
                loop.stop()

        return release

    # What is due behind the stop, the loop hears of by a byte on its socket.
    for number in range(1, 4):
        loop.at(start_s + 0.01 * number, then(start_s + 0.01 * number))
    loop.soon(lambda: other.lift("task"))
    loop.run()
    # Its own marks stop time for it, however late this process wakes.
    assert all(0.0 <= one <= TOLERANCE_S for one in late_s)


def test_the_rate_follows_what_hosts_tell(desk: Desk) -> None:
    holds, meter = desk.holds("host-1"), LatenessMeter()
    governor = desk.server.governor
    wait_until(lambda: governor.rate > 0, LIMIT_S, "a rate")
    meter.frame(0.05 * governor.rate, governor.rate)
    holds.report(meter)
    wait_until(lambda: governor.rate <= 0.5 * TOLERANCE_S / 0.05 * 1.1, LIMIT_S, "a lower rate")
    assert desk.clock.rate == governor.rate
