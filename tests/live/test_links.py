"""Do frames cross a laser as light and a line of its rate would carry them, and not at all where nothing shines?

What is asserted is the book-keeping in emulated time (when a frame left, when it is due), which does not depend on how
busy this machine is; how late frames are let go is a matter for benchmarks.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zmq

from perigrid.live.config import open_plan, read_config
from perigrid.mesh.topology import Link
from perigrid.node.frames import Frame, Priority, Probe
from perigrid.wire.codec import Stamp, encode
from tests.live.conftest import JOB_LIMIT_S, TILES, UP_LIMIT_S, Constellation, Launcher, wait_until

pytestmark = pytest.mark.live

RATE_BPS = 100e6
BULK_BYTES = 10_000_000
SOON_S = 0.3
"""Emulated seconds ahead for which probes are ordered, so that the order is there before they are due."""

ARRIVAL_LIMIT_S = 20.0
MARGIN = 0.005


@pytest.fixture(scope="module")
def constellation(launcher: Launcher) -> Iterator[Constellation]:
    """A ring at half of real time with lasers of 100 Mbit/s; each capture is on its owner alone."""
    found = launcher.up("links", rate=0.5, service_s=0.02, laser_rate_bps=RATE_BPS, replicas=1)
    yield found
    launcher.end(found.run)


def host_of(constellation: Constellation, name: str) -> str:
    config = read_config(constellation.directory)
    return config.host_of()[constellation.mesh().id_of(name)]


def collect(constellation: Constellation, name: str, count: int) -> list[Any]:
    """That many arrivals of probes at a satellite, in the order in which they were let go."""
    return collect_all(constellation, {name: count})[name]


def collect_all(constellation: Constellation, counts: dict[str, int]) -> dict[str, list[Any]]:
    """Arrivals at several satellites: hosts hand theirs out once, all at the same time."""
    found: dict[str, list[Any]] = {name: [] for name in counts}

    def enough() -> bool:
        states = constellation.states()
        for name, arrivals in found.items():
            arrivals.extend(states[host_of(constellation, name)].arrivals)
        return all(len(found[name]) >= count for name, count in counts.items())

    wait_until(enough, ARRIVAL_LIMIT_S, f"arrivals of {counts}")
    assert {name: len(arrivals) for name, arrivals in found.items()} == counts
    return found


def frames_of(payload_bytes: int) -> int:
    """How many frames a payload is cut into on these lasers."""
    from perigrid.node.transfers import chunk_bytes

    return -(-payload_bytes // chunk_bytes(RATE_BPS))


def delay_s(constellation: Constellation, a: str, b: str) -> float:
    """The light's time from one satellite to its neighbour, from the plan."""
    config, mesh = read_config(constellation.directory), constellation.mesh()
    plan = open_plan(constellation.directory, config, mesh)
    return plan.state(mesh.link_between(mesh.id_of(a), mesh.id_of(b)), constellation.now_s()).delay_s


def line_time_s(arrivals: list[Any]) -> float:
    """From the first bit's departure to the last bit's, if the delay is the same for all."""
    own_s = arrivals[0].bytes * 8 / RATE_BPS
    return max(a.due_s for a in arrivals) - (arrivals[0].due_s - own_s)


def test_a_frame_takes_its_own_length_and_the_light_s_way(constellation: Constellation) -> None:
    start_s = constellation.now_s() + SOON_S
    constellation.probe("sat-02", "sat-03", start_s, count=20, interval_s=0.01, payload_bytes=1000)
    arrivals = collect(constellation, "sat-03", 20)
    light_s = delay_s(constellation, "sat-02", "sat-03")
    assert 0.011 < light_s < 0.013, "3,579 km of vacuum"
    for number, arrival in enumerate(sorted(arrivals, key=lambda a: a.number)):
        assert arrival.number == number
        assert arrival.sent_s >= start_s + 0.01 * number
        assert arrival.due_s - arrival.sent_s == pytest.approx(arrival.bytes * 8 / RATE_BPS + light_s, abs=1e-6)
        assert arrival.arrived_s >= arrival.due_s


def test_ten_megabytes_take_what_the_line_takes(constellation: Constellation) -> None:
    constellation.probe("sat-03", "sat-04", constellation.now_s() + SOON_S, payload_bytes=BULK_BYTES, bulk=True)
    arrivals = collect(constellation, "sat-04", frames_of(BULK_BYTES))
    on_line = sum(a.bytes for a in arrivals)
    assert on_line >= BULK_BYTES
    # Headers are charged too, so 10 MB of payload are a little more than 10 MB on the line.
    assert line_time_s(arrivals) == pytest.approx(on_line * 8 / RATE_BPS, rel=MARGIN)
    assert line_time_s(arrivals) * BULK_BYTES / on_line == pytest.approx(0.8, rel=MARGIN)


def test_two_flows_over_one_laser_share_its_rate(constellation: Constellation) -> None:
    start_s = constellation.now_s() + SOON_S
    half = BULK_BYTES // 4
    constellation.probe("sat-04", "sat-05", start_s, payload_bytes=half, bulk=True)
    alone = line_time_s(collect(constellation, "sat-05", frames_of(half)))
    start_s = constellation.now_s() + SOON_S
    for _ in range(2):
        constellation.probe("sat-04", "sat-05", start_s, payload_bytes=half, bulk=True)
    together = line_time_s(collect(constellation, "sat-05", 2 * frames_of(half)))
    assert together == pytest.approx(2 * alone, rel=4 * MARGIN)


def test_the_two_directions_of_a_laser_do_not_share_a_rate(constellation: Constellation) -> None:
    start_s = constellation.now_s() + SOON_S
    half = BULK_BYTES // 4
    constellation.probe("sat-05", "sat-06", start_s, payload_bytes=half, bulk=True)
    constellation.probe("sat-06", "sat-05", start_s, payload_bytes=half, bulk=True)
    both = collect_all(constellation, dict.fromkeys(("sat-05", "sat-06"), frames_of(half)))
    for arrivals in both.values():
        alone_s = sum(a.bytes for a in arrivals) * 8 / RATE_BPS
        assert line_time_s(arrivals) < 1.5 * alone_s, "a shared line would take twice as long"


def test_a_control_frame_overtakes_a_bulk_transfer(constellation: Constellation) -> None:
    start_s = constellation.now_s() + SOON_S
    constellation.probe("sat-06", "sat-07", start_s, payload_bytes=BULK_BYTES, bulk=True)
    constellation.probe("sat-06", "sat-07", start_s + 0.1, payload_bytes=0)
    arrivals = collect(constellation, "sat-07", frames_of(BULK_BYTES) + 1)
    smallest = min(arrivals, key=lambda a: a.bytes)
    place = sorted(a.due_s for a in arrivals).index(smallest.due_s)
    assert place < len(arrivals) / 4
    largest = max(a.bytes for a in arrivals)
    light_s = delay_s(constellation, "sat-06", "sat-07")
    # It waits for the one frame that is on the line, and for what was handed over a millisecond ahead.
    assert smallest.due_s - (start_s + 0.1) < light_s + 3 * largest * 8 / RATE_BPS + 0.1


class Intruder:
    """Somebody on the same machine who writes to a host's bus as its neighbours do."""

    def __init__(self, constellation: Constellation, victim: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.LINGER, 0)
        bus = constellation.directory / "sockets" / f"{host_of(constellation, victim)}.bus"
        self._socket.connect(f"ipc://{os.path.relpath(bus)}")

    def send(self, *parts: bytes) -> None:
        self._socket.send_multipart(parts)

    def close(self) -> None:
        self._context.destroy(linger=0)


def forged(link: Link, from_node: int, to_node: int, number: int, sent_s: float) -> bytes:
    """A probe's header, stamped as if it had left at that time."""
    frame = Frame(
        source=from_node, destination=to_node, priority=Priority.CONTROL, body=Probe(number), transfer=number, trace=0
    )
    return encode(frame, Stamp(link, from_node, sent_s, sent_s + 0.012, number), b"")


def test_a_satellite_without_links_gets_nothing_by_any_way(constellation: Constellation, expected_sha256: str) -> None:
    lonely, before, after = "sat-09", "sat-08", "sat-10"
    mesh = constellation.mesh()
    node, neighbour = mesh.id_of(lonely), mesh.id_of(before)
    link = mesh.link_between(neighbour, node)
    uncut_s = constellation.now_s()
    constellation.cut(before, lonely)
    constellation.cut(lonely, after)
    intruder = Intruder(constellation, lonely)
    some_rows = threading.Event()
    try:
        quiet = constellation.states()[host_of(constellation, lonely)]
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(constellation.job, "lonely", lambda rows: some_rows.set())
            try:
                assert some_rows.wait(JOB_LIMIT_S)
                start_s = constellation.now_s() + SOON_S
                for other in (before, after):
                    constellation.probe(other, lonely, start_s, count=3, interval_s=0.01)
                wait_until(lambda: constellation.now_s() > start_s + 0.2, UP_LIMIT_S, "the probes' time")
                wait_until(lambda: waiting(constellation, lonely) > 0, UP_LIMIT_S, "its shards waiting")
                assert not running.done()
                # Straight into its socket, past the cut: no light, no frame.
                for number in range(1, 4):
                    intruder.send(forged(link, neighbour, node, number, constellation.now_s()))
                # What left before the cut lands. It came last, so the host has looked at the others.
                intruder.send(forged(link, neighbour, node, 99, uncut_s))
                assert [a.number for a in collect(constellation, lonely, 1)] == [99]
                state = constellation.states()[host_of(constellation, lonely)]
                assert (state.pid, state.frames) == (quiet.pid, quiet.frames + 1)
                assert list(state.captures) == list(quiet.captures)
                assert not running.done()
            finally:
                constellation.heal(before, lonely)
                constellation.heal(lonely, after)
            job = running.result(timeout=JOB_LIMIT_S)
    finally:
        intruder.close()
    assert job.sha256 == expected_sha256 and len(job.rows) == TILES
    assert int(node) in job.satellites()


def reachable(constellation: Constellation, name: str) -> bool:
    return bool(constellation.command("why", name)["reachable"])


def waiting(constellation: Constellation, name: str) -> int:
    return int(constellation.command("why", name)["shards_waiting"])


def test_what_was_sent_before_its_sender_died_still_lands(slow: Constellation) -> None:
    sender, receiver = "sat-08", "sat-09"
    pid = next(s["pid"] for s in slow.status()["satellites"] if s["name"] == sender)
    slow.states()
    start_s = slow.now_s() + 0.1
    slow.probe(sender, receiver, start_s)
    try:
        # A tenth of real time: the light is under way for 120 ms of the wall, of which a quarter has passed now.
        wait_until(lambda: slow.now_s() >= start_s + 0.003, UP_LIMIT_S, "the probe's departure")
        os.kill(pid, signal.SIGKILL)
        killed_s = slow.now_s()
        arrival = collect(slow, receiver, 1)[0]
        assert arrival.sent_s < killed_s < arrival.due_s
    finally:
        wait_until(lambda: not reachable(slow, sender), UP_LIMIT_S, "word of the loss at the ground")
        slow.reboot(sender)
        wait_until(lambda: reachable(slow, sender), UP_LIMIT_S, "a way from the ground to it")


def test_what_shone_on_a_dead_satellite_does_not_reach_it_in_its_next_life(constellation: Constellation) -> None:
    victim, before = "sat-11", "sat-10"
    pid = next(s["pid"] for s in constellation.status()["satellites"] if s["name"] == victim)
    start_s = constellation.now_s() + SOON_S
    # A dense stream, so that some of it leaves before anybody can have noticed the death.
    constellation.probe(before, victim, start_s, count=4000, interval_s=1e-4)
    wait_until(lambda: constellation.now_s() > start_s + 0.2, UP_LIMIT_S, "the middle of the stream")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: constellation.status()["satellites_lost"] == [victim], UP_LIMIT_S, "the loss being noticed")
    constellation.reboot(victim)
    booted_s = constellation.now_s()
    # Its terminals and its neighbour's need a second for each other.
    constellation.probe(before, victim, booted_s + 1.5)
    (arrival,) = collect(constellation, victim, 1)
    assert arrival.sent_s > booted_s
    state = constellation.states()[host_of(constellation, victim)]
    assert state.worst_frame_late_s < 1.0, "a frame of the former life would be seconds late"
