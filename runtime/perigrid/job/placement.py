"""Which satellite computes a shard?

Work goes to the data: only a holder of the shard's capture can compute it. Among the holders that can be reached, one
that is trusted comes before one that let a lease run out, fewer queued tiles before more, the owner before a replica;
node ids break ties, so that equal inputs place equally in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from perigrid.units import NodeId


def place_request(
    satellites: Iterable[NodeId],
    reachable: Callable[[NodeId], bool],
    suspects: Collection[NodeId],
    queued: Callable[[NodeId], int],
    delay_s: Callable[[NodeId], float],
    nearest: bool,
) -> NodeId | None:
    """The satellite for a request, which any of these could compute, or None when none can be reached now.

    One that is trusted comes first; then the least busy, and of equals the nearest in light; with `nearest`, the
    nearest.
    """
    candidates = [s for s in satellites if reachable(s)]
    if not candidates:
        return None
    if nearest:
        return min(candidates, key=lambda s: (s in suspects, delay_s(s), s))
    return min(candidates, key=lambda s: (s in suspects, queued(s), delay_s(s), s))


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
