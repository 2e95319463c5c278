"""Are the five parts of a leg the time between coming and arriving, whatever lines its message's chunks were on?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.mesh.topology import Link, LinkKind
from perigrid.mesh.way import Crossing, stage_sums, way_of
from perigrid.units import NodeId

LASER, RADIO = Link(NodeId(0), NodeId(1), LinkKind.LASER), Link(NodeId(1), NodeId(12), LinkKind.RADIO)


def crossing(here_s: float, held_s: float, start_s: float, end_s: float, link: Link = LASER) -> Crossing:
    return Crossing(link, link.a, here_s, held_s, start_s, end_s, end_s + 0.012, 0.002)


def test_what_waits_behind_chunks_of_its_own_message_is_serialisation_from_when_it_was_ready() -> None:
    """By hand: ready at 2, own chunks on the line from 1 to 5, a stranger's from 5 to 6, this one from 6 to 7."""
    others = [crossing(0.0, 0.0, 1.0, 3.0), crossing(0.0, 0.0, 3.0, 5.0)]
    (leg,) = way_of([crossing(1.5, 0.5, 6.0, 7.0)], [[one] for one in (*others, crossing(1.5, 0.5, 6.0, 7.0))])
    assert (leg.held_s, leg.queue_s, leg.serialisation_s) == pytest.approx((0.5, 1.0, 4.0))
    assert (leg.propagation_s, leg.processing_s) == pytest.approx((0.01, 0.002))


def test_a_chunk_that_was_sent_twice_does_not_make_the_line_longer_than_the_wait() -> None:
    """Chunks that a duplicate, or another try, put on the same line at once: no queue is below nothing."""
    twice = [crossing(0.0, 0.0, 0.0, 2.0), crossing(0.0, 0.0, 0.0, 2.0)]
    (leg,) = way_of([crossing(0.0, 0.0, 2.0, 3.0)], [[one] for one in twice])
    assert leg.queue_s == 0.0 and leg.serialisation_s == pytest.approx(3.0)


SPANS = st.tuples(*[st.floats(0.0, 5.0)] * 4)


@given(st.lists(SPANS, min_size=1, max_size=5))
def test_parts_are_never_below_nothing_and_add_up(spans: list[tuple[float, float, float, float]]) -> None:
    chunks = [[crossing(a, b, a + b + c, a + b + c + d)] for a, b, c, d in spans]
    (leg,) = way_of(chunks[-1], chunks)
    parts = (leg.held_s, leg.queue_s, leg.serialisation_s, leg.propagation_s, leg.processing_s)
    assert min(parts) >= -1e-9 and sum(parts) == pytest.approx(leg.due_s - leg.here_s)


def test_what_is_held_on_several_links_is_summed() -> None:
    trail = [crossing(0.0, 1.0, 1.0, 2.0), crossing(2.0, 3.0, 5.0, 6.0, RADIO)]
    legs = way_of(trail, [trail])
    sums = stage_sums((), legs)
    assert sums["contact_wait"] == pytest.approx(4.0)
    assert (sums["lasers_down"], sums["downlink"]) == pytest.approx((1.012, 1.012))
    assert sums["uplink"] == sums["lasers_up"] == 0.0
