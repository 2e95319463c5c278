"""Is work given to who holds the data, and the same way everywhere?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perigrid.job.placement import place
from perigrid.units import NodeId

NODES = st.integers(0, 9).map(NodeId)
HOLDERS = st.lists(NODES, min_size=1, max_size=6, unique=True)
QUEUES = st.dictionaries(NODES, st.integers(0, 64))


@given(NODES, HOLDERS, st.sets(NODES), st.sets(NODES), QUEUES, st.randoms())
def test_the_place_is_a_holder_that_can_be_reached_whatever_the_order(
    owner: NodeId, holders: list[NodeId], reached: set[NodeId], suspects: set[NodeId], queues: dict, random
) -> None:
    def ask(order: list[NodeId]) -> NodeId | None:
        return place(owner, order, reached.__contains__, suspects, lambda n: queues.get(n, 0))

    chosen = ask(holders)
    if not reached & set(holders):
        assert chosen is None
        return
    assert chosen in reached and chosen in holders
    if (reached & set(holders)) - suspects:
        assert chosen not in suspects
    if owner in holders and owner in reached and owner not in suspects:
        assert chosen == owner
    shuffled = list(holders)
    random.shuffle(shuffled)
    assert ask(shuffled) == chosen


def test_a_trusted_replica_comes_before_a_suspected_owner() -> None:
    holders = [NodeId(1), NodeId(2)]
    assert place(NodeId(1), holders, lambda n: True, {NodeId(1)}, lambda n: 0) == 2
    assert place(NodeId(1), holders, lambda n: True, {NodeId(1), NodeId(2)}, lambda n: 0) == 1


def test_of_two_replicas_the_one_with_less_to_do_is_asked_and_of_equal_ones_the_first() -> None:
    holders = [NodeId(5), NodeId(4), NodeId(3)]
    queues = {NodeId(3): 2, NodeId(4): 1, NodeId(5): 1}
    assert place(NodeId(9), holders, lambda n: True, (), queues.__getitem__) == 4
