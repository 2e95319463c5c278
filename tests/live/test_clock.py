"""Does the clock page map the wall to emulated time, without a jump, for every reader?"""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.errors import CorruptFile
from perigrid.live.clock import AT_ONCE_S, NOTICE_S, SLOT, SLOTS_AT, ClockPage, Piece, Reading

RATES = st.floats(1e-3, 1e3)


@given(RATES, RATES, st.floats(0.0, 1e4))
def test_wall_and_emulated_time_are_each_other_s_inverse(first: float, second: float, wall_s: float) -> None:
    now = Piece(100.0, 0.0, first)
    reading = Reading(now, Piece(200.0, now.emulated_at(200.0), second), free=False)
    emulated_s = reading.emulated_at(100.0 + wall_s)
    assert reading.wall_at(emulated_s) == pytest.approx(100.0 + wall_s, abs=1e-6)


def test_time_stands_until_it_is_set_and_a_change_is_announced(tmp_path: Path) -> None:
    page = ClockPage.create(tmp_path / "page", free=False)
    reader = ClockPage(tmp_path / "page")
    assert reader.now_s() == 0.0
    assert reader.reading().wall_at(1.0) == float("inf")
    page.set_rate(0.5)
    reading = reader.reading()
    start_s = reading.next.wall_s
    assert reading.emulated_at(start_s - NOTICE_S / 2) == 0.0
    assert reading.emulated_at(start_s + 2.0) == pytest.approx(1.0)
    assert reading.wall_at(1.0) == pytest.approx(start_s + 2.0)
    assert (reading.rate_at(start_s - 0.1), reading.rate_at(start_s + 0.1)) == (0.0, 0.5)


def test_a_second_change_takes_the_place_of_one_that_is_still_to_come(tmp_path: Path) -> None:
    page = ClockPage.create(tmp_path / "page", free=False)
    page.set_rate(1.0)
    page.await_rate()
    first = page.reading()
    page.set_rate(2.0)
    announced = page.reading()
    page.set_rate(3.0)
    second = page.reading()
    assert second.now == announced.now == first.next
    assert second.next.wall_s >= announced.next.wall_s
    wall_s = second.next.wall_s
    assert second.emulated_at(wall_s) == pytest.approx(first.emulated_at(wall_s))
    assert second.emulated_at(wall_s + 1.0) == pytest.approx(first.emulated_at(wall_s) + 3.0)


def running(tmp_path: Path, rate: float = 1.0) -> ClockPage:
    page = ClockPage.create(tmp_path / "page", free=False)
    page.set_rate(rate)
    page.await_rate()
    return page


def test_a_lower_rate_comes_at_once_and_wakes_sleepers_early(tmp_path: Path) -> None:
    page = running(tmp_path)
    before = page.reading()
    page.set_rate(0.1)
    after = page.reading()
    assert after.next.wall_s - time.monotonic() <= AT_ONCE_S
    due_s = after.next.emulated_s + 1.0
    # Whoever sleeps until the wall time of the old page wakes before it is due, and looks again.
    woken_s = before.wall_at(due_s)
    assert after.emulated_at(woken_s) < due_s
    assert after.wall_at(due_s) > woken_s


def test_time_runs_to_its_stop_stands_there_and_goes_on_from_there(tmp_path: Path) -> None:
    page = running(tmp_path)
    reader = ClockPage(tmp_path / "page")
    stop_s = reader.now_s() + 0.05
    assert page.stop_at(stop_s) is False
    while reader.now_s() < stop_s:
        assert reader.now_s() <= stop_s
    wall_s, reading = reader.look()
    assert reading.stands_at(wall_s) and reading.emulated_at(wall_s + 10.0) == stop_s
    # Whoever waits for something behind the stop is armed as if there were none: waking early is harmless.
    assert reading.wall_at(stop_s + 1.0) == pytest.approx(reading.wall_at(stop_s) + 1.0)
    assert page.stop_at(float("inf")) is True
    wall_s, reading = reader.look()
    assert reading.emulated_at(reading.next.wall_s) == stop_s
    assert reading.emulated_at(reading.next.wall_s + 1.0) == pytest.approx(stop_s + 1.0)


def test_a_stop_in_the_past_is_now_and_time_never_goes_back(tmp_path: Path) -> None:
    page = running(tmp_path)
    before_s = page.now_s()
    page.stop_at(before_s - 1.0)
    stop_s = page.reading().stop_s
    assert before_s <= stop_s <= page.now_s() + 2 * AT_ONCE_S
    while page.now_s() < stop_s:
        pass
    # Where time stands, an earlier stop changes nothing, and a later one lets it go on.
    assert page.stop_at(stop_s - 0.5) is False and page.now_s() == stop_s
    assert page.stop_at(stop_s + 0.5) is True


def test_a_rate_that_is_set_while_time_stands_is_the_one_that_it_goes_on_at(tmp_path: Path) -> None:
    page = running(tmp_path)
    page.stop_at(0.0)
    stop_s = page.reading().stop_s
    while page.now_s() < stop_s:
        pass
    page.set_rate(0.25)
    assert page.reading().emulated_at(time.monotonic() + 10.0) == stop_s
    page.stop_at(stop_s + 100.0)
    reading = page.reading()
    assert reading.emulated_at(reading.next.wall_s + 1.0) == pytest.approx(stop_s + 0.25)


@given(st.lists(st.sampled_from(["raise", "lower", "stop", "go", "pause"]), min_size=1, max_size=12))
def test_time_never_goes_back_whatever_its_writer_does(
    tmp_path_factory: pytest.TempPathFactory, does: list[str]
) -> None:
    page = ClockPage.create(tmp_path_factory.mktemp("clock") / "page", free=False)
    reader = ClockPage(page.path)
    page.set_rate(1.0)
    last_s = reader.now_s()
    for deed in does:
        match deed:
            case "raise":
                page.set_rate(page.rate * 2)
            case "lower":
                page.set_rate(page.rate / 2)
            case "stop":
                page.stop_at(reader.now_s())
            case "go":
                page.stop_at(float("inf"))
        for _ in range(200 if deed == "pause" else 3):
            now_s = reader.now_s()
            # A change is put a millisecond ahead; a writer that loses its core for longer may be that much behind.
            assert now_s >= last_s - 1e-9, does
            last_s = now_s


def test_a_writer_that_dies_in_the_middle_leaves_a_page_that_can_be_read(tmp_path: Path) -> None:
    page = running(tmp_path)
    version = struct.unpack_from("<Q", page._page, 8)[0]
    SLOT.pack_into(page._page, SLOTS_AT[(version + 1) % 2], *[float("nan")] * 7)
    assert ClockPage(tmp_path / "page").reading() == page.reading()


def test_a_file_that_is_no_clock_page_is_named(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"x" * 4096)
    with pytest.raises(CorruptFile, match="clock page"):
        ClockPage(tmp_path / "page")
    (tmp_path / "short").write_bytes(b"")
    with pytest.raises(CorruptFile, match="too short"):
        ClockPage(tmp_path / "short")
