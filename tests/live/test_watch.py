"""Does the supervisor see who has fallen behind, from marks alone?"""

from __future__ import annotations

from pathlib import Path

import pytest

from perigrid.live.clock import NEVER_S
from perigrid.live.watch import LOST_WALL_S, SLACK_S, Marks, Watch, create_page

NAMES = ("host-1", "host-2", "ground")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    create_page(tmp_path, len(NAMES))
    return tmp_path


def everyone(page: Path) -> tuple[Watch, list[Marks]]:
    watch = Watch.open(page, len(NAMES))
    for host in range(len(NAMES)):
        watch.there(host, True)
    return watch, [Marks(page, NAMES, name) for name in NAMES]


def test_hosts_with_nothing_to_release_keep_nobody_waiting(page: Path) -> None:
    watch, _ = everyone(page)
    assert watch.limit_s(1.0, 5.0) == NEVER_S


def test_time_runs_little_past_what_is_due_next(page: Path) -> None:
    watch, (one, two, _) = everyone(page)
    one.turn(7.0)
    two.turn(6.0)
    assert watch.limit_s(1.0, 5.0) == 6.0 + SLACK_S
    watch.there(1, False)
    assert watch.limit_s(1.1, 5.0) == 7.0 + SLACK_S


def test_a_frame_that_lies_unread_stops_time_until_it_is_taken(page: Path) -> None:
    watch, (one, two, ground) = everyone(page)
    one.sent("host-2")
    assert watch.limit_s(1.0, 5.0) == NEVER_S
    # It was on its way at the last look, and still is.
    assert watch.limit_s(1.01, 5.1) == 5.1
    ground.turn(NEVER_S)
    assert watch.limit_s(1.02, 5.1) == 5.1
    two.taken()
    # It has come, but nobody knows yet when it is due.
    assert watch.limit_s(1.03, 5.1) == 5.1
    two.turn(5.2)
    assert watch.limit_s(1.04, 5.1) == 5.2 + SLACK_S


def test_frames_that_keep_coming_stop_nothing_as_long_as_they_are_taken(page: Path) -> None:
    watch, (one, two, _) = everyone(page)
    for number in range(50):
        one.sent("host-2")
        one.sent("host-2")
        assert watch.limit_s(1.0 + 0.01 * number, 5.0) == NEVER_S
        two.taken()
        two.taken()
        two.turn(NEVER_S)


def test_a_frame_that_never_comes_is_given_up(page: Path) -> None:
    watch, (one, two, _) = everyone(page)
    one.sent("host-2")
    watch.limit_s(1.0, 5.0)
    two.turn(NEVER_S)
    two.turn(NEVER_S)
    assert watch.limit_s(1.0 + LOST_WALL_S / 2, 5.0) == 5.0
    assert watch.limit_s(1.0 + LOST_WALL_S, 5.0) == NEVER_S
    # It came after all: the next one is watched for as the first was.
    two.taken()
    two.turn(NEVER_S)
    assert watch.limit_s(1.9, 6.0) == NEVER_S
    one.sent("host-2")
    watch.limit_s(2.0, 6.0)
    assert watch.limit_s(2.01, 6.0) == 6.0


def test_what_was_on_its_way_to_a_host_that_died_is_waited_for_no_more(page: Path) -> None:
    watch, (one, _, _) = everyone(page)
    one.sent("host-2")
    watch.limit_s(1.0, 5.0)
    watch.there(1, False)
    assert watch.limit_s(1.01, 5.0) == NEVER_S
    reborn = Marks(page, NAMES, "host-2")
    watch.there(1, True)
    assert watch.limit_s(1.02, 5.0) == NEVER_S
    one.sent("host-2")
    watch.limit_s(1.03, 5.0)
    assert watch.limit_s(1.04, 5.0) == 5.0
    reborn.taken()
    reborn.turn(NEVER_S)
    assert watch.limit_s(1.05, 5.0) == NEVER_S


def test_a_frame_may_be_taken_before_its_sender_has_counted_it(page: Path) -> None:
    watch, (one, two, _) = everyone(page)
    two.taken()
    two.turn(NEVER_S)
    assert watch.limit_s(1.0, 5.0) == NEVER_S
    one.sent("host-2")
    assert watch.limit_s(1.01, 5.0) == NEVER_S
    assert watch.limit_s(1.02, 5.0) == NEVER_S
