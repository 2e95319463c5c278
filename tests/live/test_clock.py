"""Does the clock page map the wall to emulated time, without a jump, for every reader?"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.errors import CorruptFile
from perigrid.live.clock import NOTICE_S, ClockPage, Piece, Reading

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


def test_a_second_change_goes_on_from_the_first_without_a_jump(tmp_path: Path) -> None:
    page = ClockPage.create(tmp_path / "page", free=False)
    page.set_rate(1.0)
    first = page.reading()
    page.set_rate(2.0)
    second = page.reading()
    assert second.now == first.next
    assert second.emulated_at(second.now.wall_s) == 0.0
    wall_s = second.next.wall_s
    assert second.emulated_at(wall_s) == pytest.approx(first.emulated_at(wall_s))
    assert second.emulated_at(wall_s + 1.0) == pytest.approx(first.emulated_at(wall_s) + 2.0)


def test_a_file_that_is_no_clock_page_is_named(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"x" * 4096)
    with pytest.raises(CorruptFile, match="clock page"):
        ClockPage(tmp_path / "page")
    (tmp_path / "short").write_bytes(b"")
    with pytest.raises(CorruptFile, match="too short"):
        ClockPage(tmp_path / "short")
