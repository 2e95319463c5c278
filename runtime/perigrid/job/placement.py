"""Which satellite computes a shard?

Work goes to the data: only a holder of the shard's capture can compute it. Among the holders that can be reached, one
that is trusted comes before one that let a lease run out, fewer queued tiles before more, the owner before a replica;
node ids break ties, so that equal inputs place equally in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from perigrid.units import NodeId


def place(
    owner: NodeId,
    holders: Iterable[NodeId],
    reachable: Callable[[NodeId], bool],
    suspects: Collection[NodeId],
    queued_tiles: Callable[[NodeId], int],
) -> NodeId | None:
    """The satellite for a shard, or None when no holder can be reached now."""
    candidates = [h for h in holders if reachable(h)]
    if not candidates:
        return None
    # The owner keeps its own share while it is trusted: moving work to a replica only pays when the owner fails.
    return min(candidates, key=lambda h: (h in suspects, h != owner, queued_tiles(h), h))
