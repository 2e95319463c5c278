"""Is the event log whole, bounded and readable, whoever writes it and however they end?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perigrid.errors import CorruptFile, MissingFile
from perigrid.live import eventlog
from perigrid.live.eventlog import (
    EVENT_LOG_FILE,
    EVENT_LOG_VERSION,
    MAX_LINE_BYTES,
    EventLog,
    append_event,
    follow_events,
    follow_lines,
    read_events,
)
from perigrid.live.traffic import Traffic
from tests.live.conftest import SATELLITES, TILES, Constellation, Launcher, environment, wait_until

LIMIT_S = 60.0
WRITERS, EVENTS = 6, 3000
LOG_BYTES = 200_000

WRITER = """
import sys
from pathlib import Path
from perigrid.live import eventlog

folder, process, events, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
eventlog.MAX_LOG_BYTES = limit or eventlog.MAX_LOG_BYTES
log = eventlog.EventLog(Path(folder), process)
number = 0
while number != events:
    log.add(float(number), process, "count", {"number": number, "pad": "x" * (number * 37 % 900)})
    number += 1
    if number % 7 == 0:
        log.flush()
        if number == 7:
            print("writing", flush=True)
log.close()
"""


def writers(folder: Path, count: int, events: int, limit_bytes: int = 0) -> list[subprocess.Popen[str]]:
    """Processes that append to one log; with -1 events, until they are killed."""
    return [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), f"p{number}", str(events), str(limit_bytes)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a log that has just begun."""
    append_event(tmp_path, 0.0, "launcher", "run", {"version": EVENT_LOG_VERSION})
    return tmp_path


# --- many writers


def test_lines_of_many_processes_stay_whole_and_each_one_s_in_order(folder: Path) -> None:
    for process in writers(folder, WRITERS, EVENTS):
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0
    events = list(read_events(folder))
    assert len(events) == 1 + WRITERS * EVENTS
    for number in range(WRITERS):
        assert [e["number"] for e in events if e["node"] == f"p{number}"] == list(range(EVENTS))
    order = [e["node"] for e in events[1:]]
    assert sum(a != b for a, b in pairwise(order)) > WRITERS, "they wrote one after the other"


def test_whoever_is_killed_in_the_middle_leaves_only_whole_events_to_the_reader(folder: Path) -> None:
    processes = writers(folder, 3, -1)
    for process in processes:
        assert process.stdout is not None and process.stdout.readline()
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=LIMIT_S)
    append_event(folder, 1.0, "client", "outcome", {"job": "last"})
    events = list(read_events(folder))
    assert events[-1]["what"] == "outcome"
    for number in range(3):
        numbers = [e["number"] for e in events if e["node"] == f"p{number}"]
        assert numbers == list(range(len(numbers))) != []


def test_a_full_log_says_so_once_a_process_and_grows_no_more(folder: Path) -> None:
    for process in writers(folder, 3, EVENTS, LOG_BYTES):
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0
    events = list(read_events(folder))
    full = Counter(event["node"] for event in events if event["what"] == "log-full")
    assert full == {"p0": 1, "p1": 1, "p2": 1}
    assert {event["limit_bytes"] for event in events if event["what"] == "log-full"} == {LOG_BYTES}
    size = (folder / EVENT_LOG_FILE).stat().st_size
    # What a process has asked for and not written yet may come on top, once.
    assert LOG_BYTES / 2 < size < LOG_BYTES + 3 * 8_000
    writers(folder, 1, EVENTS, LOG_BYTES)[0].communicate(timeout=LIMIT_S)
    assert (folder / EVENT_LOG_FILE).stat().st_size - size < 200


def test_an_event_that_is_too_long_for_a_line_keeps_its_head(folder: Path) -> None:
    append_event(folder, 2.0, "client", "outcome", {"failures": {str(n): n for n in range(100_000)}})
    append_event(folder, 3.0, "client", "outcome", {"job": "short"})
    _, long, short = read_events(folder)
    assert (long["t"], long["node"], long["what"]) == (2.0, "client", "outcome")
    assert "failures" not in long and long["left_out_bytes"] > MAX_LINE_BYTES
    assert short["job"] == "short"


# --- reading


def test_a_last_line_that_was_cut_short_is_not_read_until_it_is_whole(folder: Path) -> None:
    with (folder / EVENT_LOG_FILE).open("a") as file:
        file.write('{"t":1.0,"wall":2.0,"node":"x","wh')
    assert [event["what"] for event in read_events(folder)] == ["run"]
    with (folder / EVENT_LOG_FILE).open("a") as file:
        file.write('at":"whole"}\n')
    assert [event["what"] for event in read_events(folder)] == ["run", "whole"]


def test_what_a_killed_process_left_of_a_line_hides_nothing_that_came_after(folder: Path) -> None:
    whole = folder / EVENT_LOG_FILE
    torn = ['{"t":1.0,"wall":2.0,"node":"x","wh', '{"t":', '{"t":1.0,"what":"a cause with {\\"t\\":1}']
    for left in torn:
        with whole.open("a") as file:
            file.write(left)
        append_event(folder, 5.0, "client", "outcome", {"job": left})
    events = list(read_events(folder))
    assert [event.get("job") for event in events[1:]] == torn
    assert follow_lines(folder, 0) == (events, whole.stat().st_size)


def test_going_on_from_a_place_reads_a_long_log_piece_by_piece(folder: Path) -> None:
    log = EventLog(folder, "sat-01")
    for number in range(60):
        log.add(float(number), "sat-01", "long", {"number": number, "text": "x" * (MAX_LINE_BYTES // 6)})
    log.close()
    found, place, pieces = list[int](), 0, 0
    while (step := follow_lines(folder, place))[1] > place:
        place, pieces = step[1], pieces + 1
        found += [event["number"] for event in step[0] if event["what"] == "long"]
    assert found == list(range(60)) and pieces > 1


def test_following_hands_on_each_event_once_and_the_last_ones_before_the_end(folder: Path) -> None:
    looks = 0

    def goes_on() -> bool:
        nonlocal looks
        looks += 1
        if looks < 4:
            append_event(folder, float(looks), "x", "look", {"number": looks})
        return looks < 4

    numbers = [event.get("number") for event in follow_events(folder, goes_on)]
    assert numbers == [None, 1, 2, 3]


@pytest.mark.parametrize(
    "first",
    [
        {"what": "run", "version": EVENT_LOG_VERSION + 1},
        {"what": "run"},
        {"what": "process", "version": EVENT_LOG_VERSION},
    ],
)
def test_what_does_not_begin_as_a_log_of_this_version_is_refused(first: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / EVENT_LOG_FILE).write_text(json.dumps(first) + "\n")
    with pytest.raises(CorruptFile, match="read it with the perigrid that wrote it"):
        list(read_events(tmp_path))


def test_what_is_no_log_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(MissingFile, match="name a run's directory"):
        list(read_events(tmp_path_factory.mktemp("none")))
    with (folder / EVENT_LOG_FILE).open("a") as file:
        file.write("x" * (MAX_LINE_BYTES + eventlog.READ_BYTES + 1))
    with pytest.raises(CorruptFile, match="the file was changed"):
        list(read_events(folder))


# --- the log of a run


@pytest.fixture(scope="module")
def logged(launcher: Launcher) -> Iterator[Constellation]:
    """A run with a job, every kind of fault, and its end. What is broken leaves the rest of the ring a way down."""
    constellation = launcher.up("logged", "--satellites-per-process", "4", service_s=0.05)
    constellation.cut("sat-02", "sat-03")
    constellation.ask("Cut", _one_way("sat-03", "sat-04"))
    constellation.kill("sat-03")
    constellation.job("told")
    constellation.heal("sat-02", "sat-03")
    constellation.reboot("sat-03", lose_flash=True)
    launcher.end(constellation.run)
    yield constellation


def _one_way(a: str, b: str) -> Any:
    from perigrid.wire.generated import control_pb2

    return control_pb2.LinkRequest(a=a, b=b, one_way=True)


@pytest.mark.live
def test_a_run_s_log_begins_with_what_it_was_made_from(logged: Constellation) -> None:
    first = next(read_events(logged.directory))
    assert (first["what"], first["version"], first["node"]) == ("run", EVENT_LOG_VERSION, "launcher")
    assert first["run"] == "logged" and first["satellites"] == SATELLITES
    assert first["scenario_digest"] == logged.info["scenario_digest"]
    assert (first["rate"], first["mode"], first["epoch"]) == (
        logged.info["rate"],
        logged.info["mode"],
        logged.info["epoch"],
    )
    assert set(first["inputs"]) == {"tinycloud", "waves"}
    assert first["preloaded"] == logged.info["preloaded"]


@pytest.mark.live
def test_a_job_s_story_is_whole_and_each_shard_accepted_once(logged: Constellation) -> None:
    of_job = [event for event in read_events(logged.directory) if event.get("job") == "told"]
    (admitted,) = [event for event in of_job if event["what"] == "job-admitted"]
    (ended,) = [event for event in of_job if event["what"] == "job-ended"]
    assert (admitted["shards"], admitted["tiles"], admitted["model"]) == (TILES, TILES, "tinycloud")
    assert ended["outcome"] == "complete"
    accepted = {event["shard"]: event for event in of_job if event["what"] == "accepted"}
    assert Counter(event["what"] for event in of_job)["accepted"] == len(accepted) == TILES
    assigned = {(e["shard"], e["attempt"], e["satellite"]) for e in of_job if e["what"] == "assign"}
    assert ended["attempts"] == len(assigned)
    for shard, event in accepted.items():
        assert len(bytes.fromhex(event["digest"])) == 32 and event["hops"] >= 1
        # A note's time is when it was written, a little after what it tells of.
        assert (shard, event["attempt"], event["satellite"]) in assigned
        assert event["sent_s"] <= event["arrived_s"] <= event["t"] <= ended["t"]
        known_s = sum(
            event[stage]
            for stage in ("up_ground_s", "up_laser_s", "queue_s", "inference_s", "down_laser_s", "down_ground_s")
        )
        assert 0 < known_s <= event["t"] - event["sent_s"] + 1e-6


@pytest.mark.live
def test_what_was_done_to_the_world_and_to_its_processes_is_there(logged: Constellation) -> None:
    events = list(read_events(logged.directory))
    done = [event for event in events if event["what"] in ("cut", "heal", "kill", "reboot")]
    assert all(event["by"] == "user" and event["node"] == "supervisor" for event in done)
    assert [
        (e["what"], e.get("a") or e["satellite"], e.get("b"), e.get("one_way"), e.get("lose_flash")) for e in done
    ] == [
        ("cut", "sat-02", "sat-03", False, None),
        ("cut", "sat-03", "sat-04", True, None),
        ("kill", "sat-03", None, None, None),
        ("heal", "sat-02", "sat-03", False, None),
        ("reboot", "sat-03", None, None, True),
    ]
    started = {e["process"] for e in events if e["what"] == "process" and e["state"] == "started"}
    assert {"ground", "host-1", "host-2", "host-3"} <= started
    assert {f"payload-host-{number}" for number in (1, 2, 3)} <= started
    assert all(e["pid"] > 0 for e in events if e["what"] == "process")
    assert any(e["what"] == "settled" for e in events) and any(e["what"] == "clock" for e in events)
    assert any(e["what"] == "traffic" and e["kind"] == "laser" and e["bytes"] > 0 for e in events)


@pytest.mark.live
def test_ends_of_processes_are_noted_while_the_run_goes_on(launcher: Launcher) -> None:
    constellation = launcher.up("ending", "--satellites-per-process", "12", service_s=0.05)
    try:
        before = constellation.info["controller_pid"]
        constellation.kill("ground")

        def noted() -> list[dict[str, Any]]:
            return [
                e for e in read_events(constellation.directory) if e["what"] == "process" and e["process"] == "ground"
            ]

        wait_until(lambda: len(noted()) >= 3, LIMIT_S, "the controller's end and its new start in the log")
        first, end, second = noted()[:3]
        assert (first["state"], first["pid"]) == ("started", before)
        assert (end["state"], end["pid"], end["status"]) == ("ended", before, -signal.SIGKILL)
        assert second["state"] == "started" and second["pid"] != before
    finally:
        launcher.end(constellation.run)


def test_the_sums_over_links_count_dead_processes_and_say_when_the_log_is_full(tmp_path: Path) -> None:
    traffic = Traffic(tmp_path)
    traffic.read()
    assert (traffic.bytes_over("laser"), traffic.full) == (0, False)
    for pid, size in ((1, 100), (1, 300), (2, 50)):
        fields = {"a": "x", "b": "y", "kind": "laser", "bytes": size, "replica_bytes": 20, "process": "h", "pid": pid}
        append_event(tmp_path, 1.0, "x", "traffic", fields)
        traffic.read()
    # The first process carried 300 bytes before it died, the one in its place 50.
    assert (traffic.bytes_over("laser"), traffic.bytes_over("radio"), traffic.replica_bytes()) == (350, 0, 40)
    append_event(tmp_path, 2.0, "h", "log-full", {})
    traffic.read()
    assert traffic.full
