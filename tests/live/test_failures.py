"""Does a job end with the same result when lasers, satellites or the controller fail under it?

One constellation for the file, one test after the other: each breaks something in the middle of a job and mends it
before it ends.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.live.conftest import (
    GONE_LIMIT_S,
    JOB_LIMIT_S,
    SATELLITES,
    TILES,
    UP_LIMIT_S,
    Constellation,
    Launcher,
    alive,
    wait_until,
)
from tests.live.test_lifecycle import health

pytestmark = pytest.mark.live

RING = [f"sat-{n:02d}" for n in range(1, SATELLITES + 1)]
BEHIND = RING[3:9]
"""The satellites that the two cuts below part from the rest, which the station's is among."""

CUTS = ((RING[2], RING[3]), (RING[8], RING[9]))


@pytest.fixture(scope="module")
def constellation(launcher: Launcher) -> Iterator[Constellation]:
    """Twelve satellites at real time, whose shards last long enough to be caught at work."""
    found = launcher.up("failing", rate=1.0, service_s=0.25)
    yield found
    launcher.end(found.run)


@pytest.fixture(autouse=True)
def mended(constellation: Constellation) -> Iterator[None]:
    """Whatever a test broke and could not mend is mended, so that the next one fails of its own."""
    yield
    for (a, b), state in constellation.link_states().items():
        if state == "cut":
            constellation.heal(a, b)
    for name in constellation.status()["satellites_lost"]:
        constellation.reboot(name)
    wait_until(lambda: all_up(constellation), UP_LIMIT_S, "every laser acquired again")


def all_up(constellation: Constellation) -> bool:
    states = constellation.link_states()
    return {state for (a, b), state in states.items() if a in RING and b in RING} == {"up"}


def held_by(constellation: Constellation, name: str) -> set[str]:
    """The captures in a satellite's flash, as its host says."""
    names = [held for state in constellation.states().values() for held in state.captures]
    return {held.partition(":")[2] for held in names if held.startswith(f"{name}:")}


def test_two_cuts_make_shards_wait_say_why_and_end_after_heal(
    constellation: Constellation, expected_sha256: str
) -> None:
    radio = [link for link in constellation.status()["links"] if link["kind"] == "radio" and link["state"] == "up"]
    assert radio and not {link["a"] for link in radio} & set(BEHIND), "the cuts must leave the station outside"
    for a, b in CUTS:
        constellation.cut(a, b)
    some_rows = threading.Event()

    def hear(rows: int) -> None:
        some_rows.set()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(constellation.job, "parted", hear)
        try:
            assert some_rows.wait(JOB_LIMIT_S)

            def waiting() -> dict[str, Any] | None:
                # What was leased before the cuts waits once its lease has run out.
                told = constellation.command("why", RING[5])
                return told if told["shards_waiting"] > 0 else None

            told = wait_until(waiting, JOB_LIMIT_S, "shards behind the cuts waiting")
            assert told["reachable"] is False
            for a, b in CUTS:
                assert f"{a} - {b}" in told["reason"]
            # Behind the cuts another satellite meets the station in half an hour.
            assert told["until_sky_s"] > constellation.now_s() and told["until_utc"].endswith("Z")
            assert constellation.command("why", RING[0])["reachable"] is True
            status = constellation.status()
            assert status["links_cut"] == 2 and status["satellites_lost"] == []
            assert not running.done()
        finally:
            for a, b in CUTS:
                constellation.heal(a, b)
        job = running.result(timeout=JOB_LIMIT_S)
    assert job.sha256 == expected_sha256 and len(job.rows) == TILES


def test_a_killed_satellite_s_shards_finish_on_its_replica_and_it_rejoins(
    constellation: Constellation, expected_sha256: str
) -> None:
    victim = RING[6]
    node = constellation.mesh().id_of(victim)
    had = held_by(constellation, victim)
    pids = {s["name"]: s["pid"] for s in constellation.status()["satellites"]}

    def kill(rows: int) -> None:
        if rows == 1:
            constellation.kill(victim)

    job = constellation.job("lost", kill)
    assert job.sha256 == expected_sha256
    born_there = {row.ending.satellite for row in job.rows if row.tiles[0] in tiles_of(constellation, victim)}
    assert born_there & {constellation.mesh().id_of(RING[7])}, "its replica did what it had not done"
    assert constellation.status()["satellites_lost"] == [victim]
    wait_until(lambda: not alive(pids[victim]), GONE_LIMIT_S, "the end of the lost host's process")

    constellation.reboot(victim)
    worker = next(s["worker"] for s in constellation.status()["satellites"] if s["name"] == victim)
    wait_until(lambda: health(worker) == health_pb2.HealthCheckResponse.SERVING, UP_LIMIT_S, "its worker serving again")
    assert held_by(constellation, victim) == had
    wait_until(lambda: all_up(constellation), UP_LIMIT_S, "its lasers acquired again")
    wait_until(lambda: constellation.command("why", victim)["reachable"], UP_LIMIT_S, "a way from the ground to it")
    again = constellation.job("rejoined")
    assert again.sha256 == expected_sha256
    assert node in again.satellites(), "it gets work again"


def tiles_of(constellation: Constellation, satellite: str) -> set[int]:
    """The tiles of the capture that was born there."""
    from perigrid.live.config import read_config

    captures = read_config(constellation.directory).catalogue.captures
    node = constellation.mesh().id_of(satellite)
    return {tile for capture in captures if capture.owner == node for tile in capture.tiles}


def test_a_satellite_that_lost_its_flash_leaves_its_shards_to_the_replica(
    constellation: Constellation, expected_sha256: str
) -> None:
    victim = RING[4]
    constellation.kill(victim)
    constellation.reboot(victim, lose_flash=True)
    assert held_by(constellation, victim) == set()
    wait_until(lambda: constellation.command("why", victim)["reachable"], UP_LIMIT_S, "a way from the ground to it")
    job = constellation.job("flash-lost")
    assert job.sha256 == expected_sha256
    assert constellation.mesh().id_of(victim) not in job.satellites()


def test_a_satellite_can_be_rebooted_in_the_moment_in_which_it_is_killed(constellation: Constellation) -> None:
    victim = RING[10]
    constellation.kill(victim)
    constellation.reboot(victim)
    satellite = next(s for s in constellation.status()["satellites"] if s["name"] == victim)
    assert health(satellite["worker"]) == health_pb2.HealthCheckResponse.SERVING
    assert alive(satellite["pid"]) and alive(satellite["payload_pid"])


def test_a_killed_controller_comes_back_and_the_client_gets_each_result_once(
    constellation: Constellation, expected_sha256: str
) -> None:
    before = constellation.status()["controller_pid"]

    def kill(rows: int) -> None:
        if rows == 3:
            os.kill(before, signal.SIGKILL)

    job = constellation.job("headless", kill)
    assert job.connections_lost > 0, "the controller died too late to matter"
    assert job.sha256 == expected_sha256
    assert len(job.rows) == TILES and len({row.ending.shard for row in job.rows}) == TILES
    after = constellation.status()["controller_pid"]
    assert after != before and alive(after)
    # Whoever asks later gets the same rows in the same order.
    again = constellation.job("headless")
    assert [row.ending for row in again.rows] == [row.ending for row in job.rows]


def test_killing_the_controller_again_and_again_takes_nothing_else_down(constellation: Constellation) -> None:
    hosts = {s["pid"] for s in constellation.status()["satellites"]}
    for _ in range(5):
        # Between its end and its restart there may be nobody to kill, which may be refused and must hurt nobody.
        try:
            constellation.kill("ground")
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert constellation.run.is_up()
    assert {s["pid"] for s in constellation.status()["satellites"]} == hosts


def test_the_scenario_s_own_faults_come_when_they_are_due(launcher: Launcher, expected_sha256: str) -> None:
    faults = f"""
[[fault]]
at_s = 0.3
action = "cut"
a = "{RING[1]}"
b = "{RING[2]}"
[[fault]]
at_s = 1.0
action = "kill"
a = "{RING[5]}"
[[fault]]
at_s = 1.2
action = "heal"
a = "{RING[1]}"
b = "{RING[2]}"
[[fault]]
at_s = 1.4
action = "reboot"
a = "{RING[5]}"
"""
    constellation = launcher.up("planned", settled=False, service_s=0.25, extra=faults)
    try:
        link = (RING[1], RING[2])
        wait_until(lambda: constellation.link_states()[link] == "cut", UP_LIMIT_S, "the planned cut")
        wait_until(lambda: constellation.status()["satellites_lost"] == [RING[5]], UP_LIMIT_S, "the planned loss")
        wait_until(lambda: constellation.link_states()[link] == "up", UP_LIMIT_S, "the planned mending")
        wait_until(lambda: constellation.status()["satellites_lost"] == [], UP_LIMIT_S, "the planned reboot")
        assert constellation.job("after").sha256 == expected_sha256
    finally:
        launcher.end(constellation.run)
