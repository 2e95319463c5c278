"""Does a run know when its times are the desk's, and which rate would have held?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.live.lateness import STEPS, TOLERANCE_S, Lateness, LatenessMeter, rate_of, step_of


@given(st.floats(2.0**-13, 3.9))
def test_a_step_holds_the_rates_that_belong_to_it(rate: float) -> None:
    step = step_of(rate)
    assert rate_of(step) <= rate * (1 + 1e-9)
    assert step == STEPS - 1 or rate < rate_of(step + 1) * (1 + 1e-9)


def test_one_late_release_in_a_thousand_is_tolerated_and_two_are_not() -> None:
    meter = LatenessMeter()
    for number in range(1000):
        meter.frame(2 * TOLERANCE_S if number == 0 else 0.0, rate=0.1)
    assert meter.total().valid
    meter.frame(2 * TOLERANCE_S, rate=0.1)
    assert not meter.total().valid


def test_the_rate_that_holds_is_what_the_slow_inferences_need() -> None:
    meter = LatenessMeter()
    for _ in range(100):
        # 0.3 s of service that took 2 s of the wall: a rate of about 0.15 would have been in time.
        meter.inference(service_s=0.3, taken_wall_s=2.0, late_s=1.7)
    total = meter.total()
    assert not total.valid
    assert total.rate_that_holds == pytest.approx(0.15 * 0.9, rel=0.1)


def test_one_stall_does_not_lower_the_rate_that_holds() -> None:
    meter = LatenessMeter()
    for number in range(2000):
        meter.inference(service_s=0.3, taken_wall_s=100.0 if number == 0 else 2.0, late_s=0.0)
    assert meter.total().rate_that_holds == pytest.approx(0.15 * 0.9, rel=0.1)


def test_counts_of_processes_add_up() -> None:
    one, two = LatenessMeter(), LatenessMeter()
    one.frame(0.0, 1.0)
    two.frame(1.0, 1.0)
    two.inference(1.0, 10.0, 9.0)
    both = one.total().plus(two.total()).plus(Lateness())
    assert (both.frames, both.frames_late, both.inferences, both.inferences_late) == (2, 1, 1, 1)
    assert (both.worst_frame_s, both.worst_inference_s) == (1.0, 9.0)
    assert sum(both.frames_hold) == 2 and sum(both.inferences_hold) == 1
