"""What does the event log's witness count, where the controller was killed in the middle?"""

from __future__ import annotations

from pathlib import Path

from perigrid.app.exactly_once import _logged
from perigrid.live.eventlog import EVENT_LOG_VERSION, append_event


def logged(folder: Path, kinds: list[tuple[str, int]]) -> dict[int, int]:
    append_event(folder, 0.0, "launcher", "run", {"version": EVENT_LOG_VERSION})
    for what, number in kinds:
        fields = {"epoch": number} if what == "epoch" else {"job": "one", "shard": number}
        append_event(folder, 1.0, "ground", what, fields)
    return dict(_logged(folder, "one"))


def test_what_a_killed_controller_noted_and_had_not_yet_may_come_again(tmp_path: Path) -> None:
    story = [("epoch", 1), ("accepted", 0), ("accepted", 1), ("epoch", 2), ("accepted", 1), ("shard-failed", 2)]
    assert logged(tmp_path, story) == {0: 1, 1: 1, 2: 1}


def test_what_one_controller_takes_twice_counts_twice(tmp_path: Path) -> None:
    assert logged(tmp_path, [("epoch", 1), ("accepted", 0), ("accepted", 0), ("shard-failed", 0)]) == {0: 3}
