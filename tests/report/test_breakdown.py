"""Do the parts of a shard's time add up, and are the figures over all shards right?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.node.frames import Stages
from perigrid.node.records import ShardAccepted
from perigrid.report.breakdown import PART_NAMES, breakdown_of, parts_of, quantile
from perigrid.report.outcome import stage_medians
from perigrid.report.story import Accepted
from perigrid.units import NodeId

times = st.floats(min_value=0.0, max_value=1e6, allow_nan=False)


@st.composite
def accepted_shards(draw: st.DrawFn) -> Accepted:
    names = ("queue_s", "inference_s", "up_laser_s", "up_ground_s", "down_laser_s", "down_ground_s")
    stages = {name: draw(times) for name in names}
    return Accepted(
        shard=0,
        attempt=1,
        satellite="sat-01",
        hops=1,
        sent_s=0.0,
        arrived_s=0.0,
        desk_wait_s=0.0,
        cpu_s=0.0,
        settled_s=draw(times),
        **stages,
    )


@given(accepted_shards(), times)
def test_the_parts_add_up_to_the_time_from_admission_to_settling(accepted: Accepted, admitted_s: float) -> None:
    parts = parts_of(accepted, admitted_s)
    assert parts.total_s == pytest.approx(accepted.settled_s - admitted_s, abs=1e-6)
    assert sum(getattr(parts, name) for name in PART_NAMES) == pytest.approx(parts.total_s, abs=1e-6)


@given(st.lists(accepted_shards(), min_size=1, max_size=20), times)
def test_the_means_add_up_to_the_whole(shards: list[Accepted], admitted_s: float) -> None:
    breakdown = breakdown_of(shards, admitted_s)
    assert breakdown is not None
    assert breakdown.shards == len(shards)
    assert sum(line.mean_s for line in breakdown.parts) == pytest.approx(breakdown.whole.mean_s, abs=1e-5)
    for line in (*breakdown.parts, breakdown.whole):
        assert line.median_s <= line.tail_s + 1e-9


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_a_quantile_is_the_least_value_that_enough_do_not_exceed(values: list[int], share: float) -> None:
    found = quantile(values, share)
    needed = math.ceil(share * len(values))
    assert found in values
    assert sum(value <= found for value in values) >= needed
    assert all(sum(value <= lower for value in values) < needed for lower in values if lower < found)


def test_the_99th_percentile_of_a_hundred_leaves_one_out() -> None:
    assert quantile(list(range(100)), 0.99) == 98
    assert quantile(list(range(101)), 0.99) == 99
    assert quantile([5.0], 0.99) == 5.0


def test_nothing_accepted_has_no_breakdown() -> None:
    assert breakdown_of([], 0.0) is None


def test_medians_are_those_of_the_outcome() -> None:
    """The log's figures and the client's are two ways to the same medians."""
    queues = (0.3, 0.1, 0.7, 0.2)
    logged, handed = [], []
    for shard, queue_s in enumerate(queues):
        inference_s = 0.05 * (shard + 1)
        way = {"up_laser_s": 0.0, "up_ground_s": 0.0, "down_laser_s": 0.0, "down_ground_s": 0.0}
        desk = {"desk_wait_s": 0.0, "cpu_s": 0.0}
        place = {"shard": shard, "attempt": 1, "satellite": "sat-01", "hops": 1, "sent_s": 0.0, "arrived_s": 0.0}
        logged.append(Accepted(queue_s=queue_s, inference_s=inference_s, settled_s=3.0, **way, **desk, **place))
        stages = Stages(0.0, queue_s, inference_s, 0.0, 0.0)
        handed.append((ShardAccepted("a", shard, b"", 1, NodeId(0), 1, 1, 3.0, stages), 4))
    breakdown, medians = breakdown_of(logged, 0.0), stage_medians(handed)
    assert breakdown is not None
    assert medians is not None
    by_name = {line.name: line for line in breakdown.parts}
    assert by_name["queue"].median_s == medians.queue_s
    assert by_name["inference"].median_s == medians.inference_s
