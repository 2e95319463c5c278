"""Does `perigrid events` show a run's log to a reader and to a program, and follow it as long as the run is up?"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from perigrid.app.cli import INTERRUPTED, run_command
from perigrid.app.finding import find_run
from perigrid.errors import MissingFile
from perigrid.live.eventlog import EVENT_LOG_FILE, append_event
from tests.report.made_runs import JOB, Wish, made_run

SOURCE_ROOT = Path(__file__).resolve().parents[2] / "runtime"
COMMAND = (sys.executable, "-c", "from perigrid.app.cli import main; main()")
LIMIT_S = 30.0


SMALL = Wish(shards=2, satellites=3, faults=False)


def over(root: Path, name: str, wish: Wish = SMALL) -> Path:
    """A made-up run of that name that is over."""
    return made_run(root / f"making-{name}", wish).rename(root / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is over, with a job under faults."""
    return over(tmp_path_factory.mktemp("runs"), "made", Wish(shards=12, satellites=6))


def events_of(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What the command prints as JSON lines."""
    capsys.readouterr()
    assert run_command(["events", folder.name, "--root", str(folder.parent), "--json", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / EVENT_LOG_FILE).read_text().splitlines()]


# --- what is shown


def test_json_is_each_event_as_it_is_in_the_order_of_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert events_of(capsys, folder) == written(folder)


def test_a_line_an_event_for_a_reader(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["events", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    events = written(folder)
    assert len(lines) == len(events)
    for line, event in zip(lines, events, strict=True):
        words = line.split()
        assert words[:3] == [f"{event['t']:.6f}", event["node"], event["what"]]
    kill = next(line for line in lines if line.split()[2] == "kill")
    assert "satellite=sat-0" in kill and "by=user" in kill
    accepted = next(line for line in lines if line.split()[2] == "accepted")
    assert f"job={JOB}" in accepted and "satellite=" in accepted and "digest=" not in accepted


def test_a_line_stays_one_whatever_a_cause_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = over(tmp_path, "odd")
    append_event(run, 9.0, "ground", "shard-failed", {"cause": "two\nlines \x1b[31m red", "job": "j", "shard": None})
    assert run_command(["events", str(run), "--what", "shard-failed"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "\x1b" not in line and 'cause="two\\nlines \\u001b[31m red"' in line and "shard=" not in line


def test_kinds_nodes_and_times_are_chosen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = written(folder)
    chosen = events_of(capsys, folder, "--what", "kill", "--what", "cut")
    assert chosen == [event for event in events if event["what"] in ("kill", "cut")] != []
    chosen = events_of(capsys, folder, "--node", "supervisor", "--node", "client")
    assert chosen == [event for event in events if event["node"] in ("supervisor", "client")] != []
    middle_s = sorted(event["t"] for event in events)[len(events) // 2]
    chosen = events_of(capsys, folder, "--since", str(middle_s), "--what", "accepted")
    assert chosen == [e for e in events if e["t"] >= middle_s and e["what"] == "accepted"] != []
    assert events_of(capsys, folder, "--what", "no-such-kind") == []


def test_a_log_of_another_version_is_3_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = over(tmp_path, "old")
    log = run / EVENT_LOG_FILE
    log.write_text(log.read_text().replace('"version":2', '"version":1', 1))
    assert run_command(["events", str(run), "--json"]) == 3
    error = json.loads(capsys.readouterr().out)
    assert error["kind"] == "CorruptFile" and "read it with the perigrid that wrote it" in error["error"]
    log.unlink()
    assert run_command(["events", str(run)]) == 3
    assert str(log) in capsys.readouterr().err


# --- which run


def test_a_run_is_found_by_its_name_by_its_path_or_because_it_is_the_only_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder.parent
    assert find_run(root, "made").path == find_run(tmp_path, str(folder)).path == find_run(root, None).path == folder
    monkeypatch.chdir(root)
    assert find_run(tmp_path, "made").path == folder, "a path from here"
    other = over(root, "other")
    with pytest.raises(MissingFile, match=r"which run\?.*made, other; name one"):
        find_run(root, None)
    with (other / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert find_run(root, None).path == other, "the only one that is up"
    with pytest.raises(MissingFile, match="made, other"):
        find_run(root, "nobody")
    with pytest.raises(MissingFile, match="none"):
        find_run(tmp_path, None)


# --- following


class Follower:
    """`perigrid events --follow --json` in a process of its own, its lines read as they come."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "events", str(folder), "--follow", "--json", *arguments],
            env={**os.environ, "PYTHONPATH": str(SOURCE_ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def until(self, what: str) -> dict[str, Any]:
        """The next event of that kind."""
        while True:
            try:
                event: dict[str, Any] = json.loads(self._lines.get(timeout=LIMIT_S))
            except Empty:
                pytest.fail(f"no event {what!r} within {LIMIT_S:g} s")
            if event["what"] == what:
                return event

    def rest(self) -> list[str]:
        """What it still prints until its end."""
        self.process.wait(timeout=LIMIT_S)
        self._thread.join(timeout=LIMIT_S)
        return list(self._lines.queue)

    def close(self) -> None:
        """End it, however far it is."""
        self.process.kill()
        self._thread.join(timeout=LIMIT_S)
        self.process.communicate()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    """A made-up run whose supervisor's lock is held, as if it were up; whoever closes the lock takes it down."""
    run = over(tmp_path, "up")
    with (run / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield run, lock


def test_following_shows_what_comes_and_ends_with_the_run(up: tuple[Path, Any]) -> None:
    folder, lock = up
    follower = Follower(folder)
    try:
        assert follower.until("run") == written(folder)[0]
        follower.until("outcome")
        append_event(folder, 77.0, "supervisor", "cut", {"a": "sat-01", "b": "sat-02", "by": "user"})
        assert follower.until("cut")["t"] == 77.0
        append_event(folder, 78.0, "supervisor", "heal", {"a": "sat-01", "b": "sat-02", "by": "user"})
        lock.close()
        last = [json.loads(line)["what"] for line in follower.rest()]
        assert last == ["heal"], "what was written before the end is shown"
        assert follower.process.returncode == 0
    finally:
        follower.close()


def test_an_interruption_ends_following_with_130_and_nothing_but_events(up: tuple[Path, Any]) -> None:
    follower = Follower(up[0], "--what", "run")
    try:
        follower.until("run")
        follower.process.send_signal(signal.SIGINT)
        assert follower.rest() == []
        assert follower.process.returncode == INTERRUPTED
    finally:
        follower.close()


def test_a_reader_who_has_gone_is_no_traceback(up: tuple[Path, Any]) -> None:
    folder, _ = up
    process = subprocess.Popen(
        [*COMMAND, "events", str(folder), "--follow"],
        env={**os.environ, "PYTHONPATH": str(SOURCE_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        assert process.stdout.readline()
        process.stdout.close()
        end_s = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < end_s:
            append_event(folder, 80.0, "supervisor", "settled", {})
            time.sleep(0.02)
        assert process.poll() == 1
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
