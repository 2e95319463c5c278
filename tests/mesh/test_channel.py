"""Does a channel carry what is pushed into it: all of it, in order, and never faster than its line?"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.errors import Bug
from perigrid.mesh import channel as channel_module
from perigrid.mesh.channel import Channel, Departure, loss_seed, lost
from perigrid.mesh.topology import Link, LinkKind
from perigrid.units import NodeId

RATE_BPS = 8000.0
"""One byte takes a millisecond."""

LINK = Link(NodeId(0), NodeId(1), LinkKind.LASER)


def channel(delay_s: float = 0.01) -> Channel:
    return Channel(lambda _: RATE_BPS, lambda _: delay_s)


class Pushed:
    """A frame of a generated sequence: when it was pushed, how large it is, and its class."""

    def __init__(self, number: int, since_s: float, size_bytes: int, control: bool) -> None:
        self.number, self.since_s, self.size_bytes, self.control = number, since_s, size_bytes, control


FRAMES = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 100), st.booleans()), max_size=40)


def sequence(steps: list[tuple[int, int, bool]]) -> list[Pushed]:
    frames, now_s = [], 0.0
    for number, (wait_ms, size_bytes, control) in enumerate(steps):
        now_s += wait_ms / 1000
        frames.append(Pushed(number, now_s, size_bytes, control))
    return frames


def carried(frames: list[Pushed], pump_every: int, lookahead_s: float = 0.0) -> list[Departure]:
    """Push the frames at their times, pumping after every few, and once at the end of time."""
    line = channel()
    gone: list[Departure] = []
    for frame in frames:
        line.push(frame, frame.size_bytes, frame.control, frame.since_s)
        if frame.number % pump_every == 0:
            gone += line.pump(frame.since_s, lookahead_s)
    gone += line.pump(1e9, 0.0)
    assert (line.queued_frames, line.queued_bytes, line.next_pump_s) == (0, 0, math.inf)
    return gone


@given(FRAMES, st.integers(1, 7), st.sampled_from([0.0, 0.005, 1.0]))
def test_everything_leaves_once_and_never_faster_than_the_line(
    steps: list[tuple[int, int, bool]], pump_every: int, lookahead_s: float
) -> None:
    frames = sequence(steps)
    gone = carried(frames, pump_every, lookahead_s)
    assert sorted(departure.frame.number for departure in gone) == [frame.number for frame in frames]
    free_s = 0.0
    for departure in gone:
        assert departure.start_s >= max(free_s, departure.frame.since_s)
        assert departure.end_s == pytest.approx(departure.start_s + departure.frame.size_bytes * 8 / RATE_BPS)
        assert departure.due_s == pytest.approx(departure.end_s + 0.01)
        free_s = departure.end_s


@given(FRAMES, st.integers(1, 7), st.sampled_from([0.0, 0.005, 1.0]))
def test_within_a_class_first_come_is_first_out(
    steps: list[tuple[int, int, bool]], pump_every: int, lookahead_s: float
) -> None:
    gone = carried(sequence(steps), pump_every, lookahead_s)
    for control in (True, False):
        numbers = [departure.frame.number for departure in gone if departure.frame.control == control]
        assert numbers == sorted(numbers)


@given(FRAMES, st.integers(1, 7))
def test_how_late_pump_is_called_changes_nothing(steps: list[tuple[int, int, bool]], pump_every: int) -> None:
    frames = sequence(steps)
    assert carried(frames, 1) == carried(frames, pump_every) == carried(frames, 10**6)


@given(FRAMES)
def test_control_goes_before_all_bulk_that_waits(steps: list[tuple[int, int, bool]]) -> None:
    gone = carried(sequence(steps), 10**6)
    for index, departure in enumerate(gone):
        if not departure.frame.control:
            waiting = [later.frame for later in gone[index:] if later.frame.control]
            starting = (departure.start_s, departure.frame.number)
            assert all((frame.since_s, frame.number) > starting for frame in waiting)


@given(FRAMES)
def test_the_line_is_never_idle_while_something_waits(steps: list[tuple[int, int, bool]]) -> None:
    free_s = -math.inf
    gone = carried(sequence(steps), 10**6)
    for index, departure in enumerate(gone):
        earliest = min(later.frame.since_s for later in gone[index:])
        assert departure.start_s == max(free_s, earliest)
        free_s = departure.end_s


def test_two_flows_share_the_line() -> None:
    line = channel()
    for number in range(100):
        line.push(("one", number), 10, False, 0.0)
        line.push(("two", number), 10, False, 0.0)
    half = line.pump(0.999, 0.0)
    assert sum(departure.frame[0] == "one" for departure in half) == len(half) / 2 == 50
    assert half[-1].end_s == pytest.approx(1.0)


def test_flows_take_turns_however_they_were_pushed() -> None:
    line = channel()
    for flow in ("one", "two"):
        for number in range(100):
            line.push((flow, number), 10, False, 0.0, flow)
    half = line.pump(0.999, 0.0)
    assert abs(sum(departure.frame[0] == "one" for departure in half) - len(half) / 2) <= 1
    numbers = [departure.frame[1] for departure in half if departure.frame[0] == "two"]
    assert numbers == list(range(len(numbers)))


def test_a_frame_leaves_only_within_the_lookahead() -> None:
    line = channel()
    line.push("first", 100, False, 5.0)
    line.push("second", 100, False, 5.0)
    assert line.next_pump_s == 5.0
    assert line.pump(4.98, 0.01) == []
    assert [departure.frame for departure in line.pump(4.98, 0.02)] == ["first"]
    assert line.next_pump_s == line.free_s == pytest.approx(5.1)
    assert line.pump(5.05, 0.04) == []
    assert [departure.frame for departure in line.pump(5.05, 0.06)] == ["second"]


def test_a_started_frame_is_not_interrupted_and_what_waits_can_be_taken_back() -> None:
    line = channel()
    for name in ("running", "waiting", "last"):
        line.push(name, 1000, False, 0.0)
    (running,) = line.pump(0.0, 0.0)
    line.push("urgent", 1, True, 0.5)
    assert line.next_pump_s == running.end_s == 1.0
    assert line.clear() == ["urgent", "waiting", "last"]
    assert (line.queued_frames, line.queued_bytes, line.next_pump_s) == (0, 0, math.inf)
    line.push("after", 1, False, 0.6)
    assert line.pump(2.0, 0.0)[0].start_s == 1.0


def test_delay_is_that_of_the_moment_of_departure() -> None:
    line = Channel(lambda _: RATE_BPS, lambda t_s: t_s / 10)
    line.push("a", 1000, False, 1.0)
    line.push("b", 1000, False, 1.0)
    assert [departure.due_s for departure in line.pump(9.0, 0.0)] == pytest.approx([2.1, 3.2])


def test_bounds_are_kept_at_them_and_past_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_QUEUED_FRAMES", 3)
    monkeypatch.setattr(channel_module, "MAX_QUEUED_BYTES", 100)
    line = channel()
    line.push("on the line", 1, False, 0.0)
    line.push("a", 60, False, 0.0)
    line.push("b", 40, True, 0.0)
    with pytest.raises(Bug, match="2 frames with 100 bytes wait"):
        line.push("c", 1, True, 0.0)
    line.pump(0.001, 0.0)
    line.push("c", 1, True, 0.0)
    line.push("d", 1, True, 0.0)
    with pytest.raises(Bug, match="Senders must hold back"):
        line.push("e", 1, True, 0.0)


@pytest.mark.parametrize("rate_bps", [0.0, -1.0, math.inf, math.nan])
def test_a_channel_without_a_rate_is_a_bug(rate_bps: float) -> None:
    line = Channel(lambda _: rate_bps, lambda _: 0.0)
    line.push("frame", 1, False, 0.0)
    with pytest.raises(Bug, match="rate"):
        line.pump(0.0, 1.0)


def test_an_empty_frame_is_a_bug() -> None:
    with pytest.raises(Bug, match="at least one byte"):
        channel().push("a", 0, False, 0.0)


def test_losses_are_as_many_as_they_should_be_and_the_same_each_time() -> None:
    seed = loss_seed(7, LINK, NodeId(0))
    outcome = [lost(number, seed, 0.1) for number in range(20_000)]
    assert outcome == [lost(number, seed, 0.1) for number in range(20_000)]
    # 2,000 are expected and the standard deviation is 42.
    assert 1800 < sum(outcome) < 2200
    assert not any(lost(number, seed, 0.0) for number in range(100))
    assert all(lost(number, seed, 1.0) for number in range(100))


def test_directions_links_and_runs_lose_different_frames() -> None:
    other = Link(NodeId(0), NodeId(2), LinkKind.LASER)
    seeds = [
        loss_seed(7, LINK, NodeId(0)),
        loss_seed(7, LINK, NodeId(1)),
        loss_seed(7, other, NodeId(0)),
        loss_seed(8, LINK, NodeId(0)),
    ]
    outcomes = [tuple(lost(number, seed, 0.5) for number in range(64)) for seed in seeds]
    assert len(set(outcomes)) == 4
