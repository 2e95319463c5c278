"""Does the break-even follow from bytes, rates, ranges and waits by hand?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.bench.latency.break_even import Way, bytes_even, of_plan, of_series, way_s
from perigrid.bench.latency.rows import Arm, Mode, Origin, Row, Series, World
from perigrid.errors import UsageError

CAPTURE_BYTES = 512 * 512 * 6 * 2
RESULT_BYTES = 512 * 512 * 2 // 8
RATE_BPS = 160e6
RANGE_KM = 1499.0
ON_BOARD_S, ON_GROUND_S = 0.31, 0.08


def series_of(arm: Arm, latencies: list[tuple[float, float]], repeat: str = "a", outcome: str = "ok") -> Series:
    """Rows of (contact wait, all the rest)."""
    rows = tuple(
        Row(
            number=number,
            world=World.SIM,
            arm=arm,
            origin=Origin.BOARD,
            mode=Mode.SERVER,
            stratum=0,
            intended_s=0.0,
            sent_s=0.0,
            ended_s=wait_s + rest_s,
            latency_s=wait_s + rest_s,
            outcome=outcome,
            stages={"contact_wait": wait_s, "downlink": rest_s},
        )
        for number, (wait_s, rest_s) in enumerate(latencies)
    )
    return Series(
        name=arm.value,
        world=World.SIM,
        arm=arm,
        origin=Origin.BOARD,
        mode=Mode.SERVER,
        repeat=repeat,
        rows=rows,
        strata=(),
    )


def test_a_capture_of_six_bands_by_hand() -> None:
    """3,145,728 bytes at 160 Mbit/s are 157.29 ms, 1,499 km are 5 ms of light, 65,536 bytes are 3.28 ms."""
    pipe = Way(size_bytes=CAPTURE_BYTES, rate_bps=RATE_BPS, range_km=RANGE_KM, wait_s=600.0, others_s=ON_GROUND_S)
    orbit = Way(size_bytes=RESULT_BYTES, rate_bps=RATE_BPS, range_km=RANGE_KM, others_s=ON_BOARD_S + 0.0119)
    assert way_s(pipe) == pytest.approx(600.0 + 0.1572864 + 0.0050001 + 0.08, abs=1e-6)
    assert way_s(orbit) == pytest.approx(0.0032768 + 0.0050001 + 0.3219, abs=1e-6)
    even = of_plan(pipe, orbit)
    assert even.wait_s == pytest.approx((0.0032768 + 0.3219) - (0.1572864 + 0.08), abs=1e-6)
    assert even.pipe_wait_s == 600.0
    assert "would be faster than in orbit while its contact wait is below 87.9 ms" in even.sentence()


def test_the_example_of_the_documentation() -> None:
    pipe = Way(size_bytes=CAPTURE_BYTES, rate_bps=RATE_BPS, range_km=1500.0, others_s=0.08)
    orbit = Way(size_bytes=RESULT_BYTES, rate_bps=RATE_BPS, range_km=1500.0, others_s=0.31)
    assert (way_s(pipe), way_s(orbit)) == pytest.approx((0.2423, 0.3183), abs=5e-5)
    assert of_plan(pipe, orbit).wait_s == pytest.approx(0.076, abs=5e-5)


def test_a_question_from_the_ground_crosses_twice() -> None:
    once = Way(size_bytes=0, rate_bps=1.0, range_km=299_792.458)
    assert way_s(once) == 1.0
    assert way_s(Way(size_bytes=0, rate_bps=1.0, range_km=299_792.458, crossings=2)) == 2.0


def test_rows_that_follow_the_plan_have_the_plans_break_even() -> None:
    waits_s = [0.0, 30.0, 600.0, 1200.0]
    ways = [
        Way(size_bytes=CAPTURE_BYTES, rate_bps=RATE_BPS, range_km=RANGE_KM, wait_s=w, others_s=ON_GROUND_S)
        for w in waits_s
    ]
    orbit = Way(size_bytes=RESULT_BYTES, rate_bps=RATE_BPS, range_km=RANGE_KM, others_s=ON_BOARD_S)
    pipe_rows = series_of(Arm.BENT_PIPE, [(w.wait_s, way_s(w) - w.wait_s) for w in ways])
    orbit_rows = series_of(Arm.IN_ORBIT, [(0.0, way_s(orbit))] * 4)
    found, planned = of_series([pipe_rows], [orbit_rows]), of_plan(ways[0], orbit)
    assert found is not None
    assert found.wait_s == pytest.approx(planned.wait_s, abs=1e-9)
    assert found.pipe_wait_s == pytest.approx(sum(waits_s) / 4)
    assert (found.pairs, found.pipe_faster) == (4, 1)
    assert "It was faster for 1 of 4 captures." in found.sentence()


@given(st.floats(1e6, 1e9), st.floats(200, 3000), st.floats(0.001, 10), st.floats(0.001, 10), st.integers(1, 10**7))
def test_at_the_break_even_both_take_the_same(
    rate_bps: float, range_km: float, on_board_s: float, on_ground_s: float, capture_bytes: int
) -> None:
    pipe = Way(size_bytes=capture_bytes, rate_bps=rate_bps, range_km=range_km, others_s=on_ground_s)
    orbit = Way(size_bytes=1000, rate_bps=rate_bps, range_km=range_km, others_s=on_board_s)
    even = of_plan(pipe, orbit)
    waiting = Way(
        size_bytes=capture_bytes, rate_bps=rate_bps, range_km=range_km, others_s=on_ground_s, wait_s=even.wait_s
    )
    assert way_s(waiting) == pytest.approx(way_s(orbit), rel=1e-9, abs=1e-9)
    size = bytes_even(pipe, orbit)
    if size >= 1:
        resized = Way(size_bytes=round(size), rate_bps=rate_bps, range_km=range_km, others_s=on_ground_s)
        assert way_s(resized) == pytest.approx(way_s(orbit), abs=8 / rate_bps)


def test_a_pipe_that_is_never_faster_is_said_so() -> None:
    pipe = Way(size_bytes=CAPTURE_BYTES, rate_bps=1e6, range_km=RANGE_KM, others_s=ON_GROUND_S)
    orbit = Way(size_bytes=RESULT_BYTES, rate_bps=1e6, range_km=RANGE_KM, others_s=ON_BOARD_S)
    even = of_plan(pipe, orbit)
    assert even.wait_s < 0
    assert even.sentence() == (
        "The bent pipe is never faster than in orbit: even without a contact wait it takes 25.3 s against 839 ms."
    )


def test_a_pipe_in_contact_wins_and_that_is_said() -> None:
    even = of_series([series_of(Arm.BENT_PIPE, [(0.0, 0.24)] * 3)], [series_of(Arm.IN_ORBIT, [(0.0, 0.33)] * 3)])
    assert even is not None
    assert "The bent pipe is faster than in orbit while its contact wait is below 90 ms" in even.sentence()
    assert "It was faster for 3 of 3 captures." in even.sentence()


def test_captures_that_met_a_contact_say_what_the_pipe_takes_without_a_wait() -> None:
    """Those that waited together queue behind each other when the pass comes: that is no part of it."""
    rows = [(0.0, 0.24)] * 10 + [(600.0, 0.24 + 0.16 * n) for n in range(10)]
    orbit = series_of(Arm.IN_ORBIT, [(0.0, 0.33)] * 20)
    found = of_series([series_of(Arm.BENT_PIPE, rows)], [orbit])
    assert found is not None
    assert (found.pipe_without_wait_s, found.wait_s, found.in_contact) == pytest.approx((0.24, 0.09, 10))
    fewer = of_series([series_of(Arm.BENT_PIPE, rows[1:])], [orbit])
    assert fewer is not None and fewer.in_contact == 9
    assert fewer.pipe_without_wait_s == pytest.approx(sum(rest for _, rest in rows[1:]) / 19)


def test_pairs_are_of_one_repeat_and_what_has_no_answer_has_no_part() -> None:
    pipe = [series_of(Arm.BENT_PIPE, [(0.0, 1.0)], repeat) for repeat in "ab"]
    orbit = [series_of(Arm.IN_ORBIT, [(0.0, 2.0)], "a"), series_of(Arm.IN_ORBIT, [(0.0, 0.5)], "b")]
    found = of_series(pipe, orbit)
    assert found is not None and (found.pairs, found.pipe_faster) == (2, 1)
    assert of_series(pipe, [series_of(Arm.IN_ORBIT, [(0.0, 2.0)], outcome="dropped")]) is None


def test_a_link_without_a_rate_is_refused() -> None:
    with pytest.raises(UsageError, match="above 0"):
        way_s(Way(size_bytes=1, rate_bps=0.0, range_km=1.0))
