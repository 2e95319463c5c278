"""How far, and by which next step, is everybody from many destinations, moment after moment?

An analysis asks for the ways of all nodes to a hundred cities, every few seconds of a day. From one moment to the next
every weight changes a little, links come and go, but few of the trees of shortest ways do. So the trees of the last
moment are taken up again:

1.  The old trees under the new weights give each node a length, from the destination outwards: not the shortest, but
    that of a way that exists. Nodes whose way lost a link have none yet.
2.  Every link is looked at once: does it shorten the way of the node at its near end?
3.  What became shorter makes its neighbours look again, the nearest to the destination first, a band of distance at a
    time (delta-stepping: Meyer and Sanders, J. Algorithms 49, 2003), until nothing changes.

All of it is done for all destinations at once, in arrays with a row a node and a column a destination. The lengths that
come out are those of Dijkstra's algorithm to the last bit: both are the least sums over all ways, added up from the
destination, whatever the order in which they are found; the trees of before cost or save time and nothing else. So a
first moment, without trees, is a right answer too.

Weights may be any positive numbers, of any graph: links in one direction only are arcs, others two of them.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from perigrid.errors import Bug

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Scalar = TypeVar("Scalar", np.float64, np.int32)

NO_STEP = -1
"""Stands for the next step where there is none: at the destination, and where no way leads."""

MAX_BANDS = 1024
"""The trees are taken up in at most this many bands of distance; finer ones would cost more than they order."""

BAND_SLACK = 0.999
"""A band is a little narrower than the least weight, so that rounding never puts a node and its next step into one."""

STEPS_AHEAD = 4.0
"""What became shorter is passed on in bands of so many least weights: wider ones are fewer, but go over more twice."""

MAX_DEGREE = 2**16 - 2
"""More arcs than that may not leave one node."""

BLOCK_PAIRS = 200_000
"""So many pairs of node and destination are worked on together: what they need in passing is used again for the next
ones, while it is in the processor's cache.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Towards G destinations from N nodes: `length` [N, G] in the weights' unit, infinite where no way leads, and
    `step` [N, G], the next node. Of equal steps it is the one with the smallest id.
    """

    length: Floats
    step: npt.NDArray[np.int32]


@dataclass(slots=True, eq=False)
class _Block:
    """Some destinations, and what the last moment left of them: `length` [P + 1], row by row, and `ranks` [P].

    The rows' order and what ranks mean is the graph's. Behind the lengths is the zero that direct ways start from.
    Blocks are of one width; the last destination stands again where there are too few, and `count` are meant.
    """

    targets: Indices
    count: int
    length: Floats
    ranks: npt.NDArray[np.generic]


class Sweep:
    """Shortest ways from N nodes to G destinations, one moment after the other."""

    def __init__(self, node_count: int, targets: Indices) -> None:
        """Takes the destinations' node ids [G]; the same one twice is refused (Bug)."""
        if len(np.unique(targets)) != len(targets):
            raise Bug("A destination stands twice among those of a sweep: give each of them once.")
        self._node_count = node_count
        self._target_count = len(targets)
        parts = max(1, -(-node_count * len(targets) // BLOCK_PAIRS))
        self._columns = max(1, -(-len(targets) // parts))
        size = node_count * self._columns
        nothing = np.empty(0, np.int64)
        self._graph = _Arcs(node_count, self._columns, nothing, nothing)
        self._blocks = [
            self._block(np.asarray(targets[first : first + self._columns], np.int64))
            for first in range(0, len(targets), self._columns)
        ]
        self._least = 1.0
        self._pairs = np.arange(size)
        self._column = np.tile(np.arange(self._columns), node_count)
        self._row = np.repeat(np.arange(node_count), self._columns)
        # What is large and needed in every step is allocated once: fresh pages cost more than the sums in them.
        self._queued = np.zeros(size, np.bool_)
        self._mark = np.empty(size, np.int64)
        self._direct = np.empty(size)
        self._one, self._two = np.empty(size), np.empty(size)
        self._from, self._at = np.empty(size, np.int64), np.empty(size, np.int64)
        self._table = np.empty((node_count, self._columns))
        self._fits = np.empty((node_count, self._columns), np.bool_)

    def _block(self, targets: Indices) -> _Block:
        size = self._node_count * self._columns
        padded = np.concatenate([targets, np.full(self._columns - len(targets), targets[-1])])
        length = np.append(np.full(size, np.inf), 0.0)
        return _Block(padded, len(targets), length, np.full(size, self._graph.no_rank, self._graph.kind))

    def advance(self, tails: Indices, heads: Indices, weights: Floats) -> Reach:
        """The ways at the next moment, over A arcs from `tails` [A] to `heads` [A]; no two have the same ends.

        Raises Bug where a weight is not positive and finite. The arrays are the caller's to keep.
        """
        if len(weights) and not (weights.min() > 0.0 and weights.max() < np.inf):
            raise Bug(f"An arc's weight is {weights.min():g} or {weights.max():g}: weights are positive and finite.")
        # A node that nothing leaves is no part of any way but as its end: its arcs matter to its own column only.
        ends_here = (np.bincount(tails, minlength=self._node_count) == 0)[heads]
        inner = ~ends_here
        if not self._graph.same(tails[inner], heads[inner]):
            self._take_over(_Arcs(self._node_count, self._columns, tails[inner], heads[inner]))
        ordered = weights[inner][self._graph.order]
        least = float(weights.min()) if len(weights) else 1.0
        length = np.empty((self._node_count, self._target_count))
        step = np.empty((self._node_count, self._target_count), np.int32)
        for number, block in enumerate(self._blocks):
            entries = self._enter(block, tails[ends_here], heads[ends_here], weights[ends_here])
            changed = self._revised(block, ordered, entries)
            self._settle(block, changed, ordered, least)
            first = number * self._columns
            columns = slice(first, first + block.count)
            length[:, columns], step[:, columns] = self._reach(block, ordered, entries)
        self._least = least
        return Reach(length, step)

    def _enter(self, block: _Block, tails: Indices, heads: Indices, weights: Floats) -> Indices:
        """Note the direct ways in `_direct`, those of the destinations themselves included; says which pairs."""
        column_of = np.full(self._node_count, -1)
        column_of[block.targets[: block.count]] = np.arange(block.count)
        mine = column_of[heads] >= 0
        entries = self._graph.row_of[tails[mine]] * self._columns + column_of[heads[mine]]
        own = self._own(block)
        self._direct.fill(np.inf)
        self._direct[entries] = weights[mine]
        self._direct[own] = 0.0
        return np.concatenate([entries, own])

    def _own(self, block: _Block) -> Indices:
        """The pairs of a destination and itself."""
        return self._graph.row_of[block.targets] * self._columns + np.arange(self._columns)

    def _take_over(self, graph: "_Arcs") -> None:
        """Bring lengths and trees of the last moment into the rows and arcs of this one."""
        rows = self._graph.row_of[graph.node_of]
        for block in self._blocks:
            table = block.length[:-1].reshape(self._node_count, -1)
            block.length[:-1] = table[rows].ravel()
            block.ranks = graph.adopted(self._graph, rows, block.ranks)
        self._graph = graph

    def _revised(self, block: _Block, weights: Floats, entries: Indices) -> Indices:
        """The old trees under new weights, and the pairs that a look at every arc made shorter."""
        graph, length, ranks = self._graph, block.length[:-1], block.ranks
        # Where a direct way is shorter than the old way was it is tried first, with all that hangs on it.
        ranks[entries[self._direct[entries] < length[entries]]] = graph.no_rank
        order, ends = self._bands(block)
        np.add(graph.first_of, ranks, out=self._at)
        np.take(graph.head_start, self._at, out=self._from, mode="clip")
        np.add(self._from, self._column, out=self._from)
        np.take(np.append(weights, np.inf), self._at, out=self._one, mode="clip")
        direct = np.flatnonzero(ranks == graph.no_rank)
        self._from[direct], self._one[direct] = len(length), self._direct[direct]
        np.take(self._from, order, out=self._at, mode="clip")
        np.take(self._one, order, out=self._two, mode="clip")
        length.fill(np.inf)
        low = 0
        for high in ends:
            sums = self._one[low:high]
            np.take(block.length, self._at[low:high], out=sums, mode="clip")
            np.add(sums, self._two[low:high], out=sums)
            length[order[low:high]] = sums
            low = high
        shorter = entries[self._direct[entries] < length[entries]]
        length[shorter] = self._direct[shorter]
        return self._unqueued(np.concatenate([shorter, *self._shortened(block, weights)]))

    def _bands(self, block: _Block) -> tuple[Indices, list[int]]:
        """All pairs in bands of their last lengths, and where each band ends: next steps come before who takes them."""
        lengths = block.length[:-1]
        # Nodes that nothing leaves come last, and are reached by nobody but themselves.
        graph = self._graph
        top = float(lengths[: graph.leaving * self._columns].max(initial=0.0))
        if top == np.inf:
            top = float(np.max(lengths, initial=0.0, where=np.isfinite(lengths)))
        width = max(self._least * BAND_SLACK, top / (MAX_BANDS - 1), np.finfo(np.float64).tiny)
        count = min(int(top / width) + 2, MAX_BANDS)
        np.multiply(lengths, 1 / width, out=self._one)
        np.minimum(self._one, count - 1, out=self._one)
        bands = self._one.astype(np.uint8 if count <= 256 else np.uint16)
        sizes = np.bincount(bands)
        return np.argsort(bands, kind="stable"), np.cumsum(sizes)[sizes > 0].tolist()

    def _shortened(self, block: _Block, weights: Floats) -> list[Indices]:
        """Try every arc once; the pairs that it made shorter, arc after arc of each row."""
        graph = self._graph
        lengths, found = block.length[:-1].reshape(self._node_count, -1), []
        for arcs, rows, heads in graph.layers:
            sums, fits = self._table[:rows], self._fits[:rows]
            np.take(lengths, heads, axis=0, out=sums, mode="clip")
            np.add(sums, weights[arcs, None], out=sums)
            np.less(sums, lengths[:rows], out=fits)
            shorter = np.flatnonzero(fits)
            if len(shorter):
                block.length[shorter] = sums.ravel()[shorter]
                found.append(shorter)
        return found

    def _unqueued(self, pairs: Indices) -> Indices:
        """Each pair once."""
        # One pair may be found over each of its arcs, so there may be more than there are pairs.
        count = len(pairs)
        places = self._pairs[:count] if count <= len(self._pairs) else np.arange(count)
        self._mark[pairs] = places
        first: Indices = pairs[self._mark[pairs] == places]
        return first

    def _settle(self, block: _Block, waiting: Indices, weights: Floats, least: float) -> None:
        """Pass on what became shorter until nothing does."""
        graph, length, queued = self._graph, block.length, self._queued
        queued[waiting] = True
        width = STEPS_AHEAD * least
        inward = weights[graph.inward]
        while len(waiting):
            known = length.take(waiting)
            near = known < known.min() + width
            pairs, known = waiting.compress(near), known.compress(near)
            waiting = waiting.compress(~near)
            queued[pairs] = False
            pairs, sums = graph.behind(self._row.take(pairs), self._column.take(pairs), known, inward)
            shorter = np.flatnonzero(sums < length.take(pairs))
            if not len(shorter):
                continue
            pairs = pairs.take(shorter)
            np.minimum.at(length, pairs, sums.take(shorter))
            pairs = self._unqueued(pairs.compress(~queued.take(pairs)))
            queued[pairs] = True
            waiting = np.concatenate([waiting, pairs])

    def _reach(self, block: _Block, weights: Floats, entries: Indices) -> tuple[Floats, npt.NDArray[np.int32]]:
        """Lengths and steps of the destinations that are meant; the steps are kept as the next moment's trees."""
        graph, ranks = self._graph, block.ranks
        shape = (self._node_count, self._columns)
        lengths = block.length[:-1].reshape(shape)
        # The first arc that fits has the highest count of arcs from it to the row's last place.
        best = np.zeros(shape, ranks.dtype)
        places = np.empty(shape, ranks.dtype)
        top = len(graph.layers)
        for rank, (arcs, rows, heads) in enumerate(graph.layers):
            sums, fits = self._table[:rows], self._fits[:rows]
            np.take(lengths, heads, axis=0, out=sums, mode="clip")
            np.add(sums, weights[arcs, None], out=sums)
            np.equal(sums, lengths[:rows], out=fits)
            np.multiply(fits.view(np.uint8), best.dtype.type(top - rank), out=places[:rows])
            np.maximum(best[:rows], places[:rows], out=best[:rows])
        np.subtract(top, best.ravel(), out=ranks)
        np.copyto(ranks, graph.no_rank, where=best.ravel() == 0)
        np.add(graph.first_of, ranks, out=self._at)
        steps = graph.head_nodes.take(self._at, mode="clip").reshape(shape)
        # Where no way leads, any arc is as good as another: they stay in the tree, and are no step.
        np.copyto(steps, NO_STEP, where=np.isinf(lengths))
        direct = entries[block.length[entries] == self._direct[entries]]
        ends, others = block.targets[self._column[direct]], steps.ravel()[direct]
        steps.ravel()[direct] = np.where(best.ravel()[direct] == 0, ends, np.minimum(ends, others))
        steps.ravel()[self._own(block)] = NO_STEP
        ranks[direct] = graph.no_rank
        return graph.by_node(lengths)[:, : block.count], graph.by_node(steps)[:, : block.count]


class _Arcs:
    """A graph's arcs in rows of their tails, the node with the most arcs first.

    So the k-th arcs of all nodes that have so many belong to the first rows: a layer is worked on as one array. What
    is per pair has a row a node, in this order, and a column a destination. Trees are ranks: which of its row's arcs a
    pair takes, or `no_rank` for a direct way and for none.
    """

    def __init__(self, node_count: int, columns: int, tails: Indices, heads: Indices) -> None:
        self._tails, self._heads = tails, heads
        degree = np.bincount(tails, minlength=node_count)
        if len(degree) and degree.max() > MAX_DEGREE:
            raise Bug(f"{degree.max()} arcs leave one node: at most {MAX_DEGREE} may.")
        self.node_of = np.argsort(-degree, kind="stable")
        self._plain = bool((self.node_of == np.arange(node_count)).all())
        self.row_of = np.empty(node_count, np.int64)
        self.row_of[self.node_of] = np.arange(node_count)
        rows = self.row_of[tails]
        self.order = np.lexsort((heads, rows))
        rows, heads = rows[self.order], heads[self.order]
        counts = degree[self.node_of]
        self.first = np.concatenate([[0], np.cumsum(counts)])
        self.keys = self.node_of[rows] * node_count + heads
        self.rows, self.head_rows = rows, self.row_of[heads]
        # One more than there are arcs, so that looking up is possible where there are none.
        self.head_nodes = np.append(heads, NO_STEP).astype(np.int32)
        self.head_start = np.append(self.head_rows * columns, 0)
        self.first_of = np.repeat(self.first[:-1], columns)
        top = int(counts.max(initial=0))
        self.kind = np.dtype(np.uint8 if top < 255 else np.uint16)
        self.no_rank = 255 if self.kind.itemsize == 1 else 65535
        self.leaving = int(np.count_nonzero(counts))
        self.layers: list[tuple[Indices, int, Indices]] = []
        for rank in range(top):
            reaching = int(np.searchsorted(-counts, -rank, side="left"))
            arcs = self.first[:reaching] + rank
            self.layers.append((arcs, reaching, self.head_rows[arcs]))
        self._columns = columns
        self._index_inward(node_count)

    def _index_inward(self, node_count: int) -> None:
        """Arcs by the row that they lead to."""
        self.inward = np.argsort(self.head_rows, kind="stable")
        counts = np.bincount(self.head_rows, minlength=node_count)
        self._inward_first = np.concatenate([[0], np.cumsum(counts)])
        self._inward_count = counts
        self._inward_tails = self.rows[self.inward] * self._columns
        # Where as many arcs lead to each node, they make a table, which is faster to look up.
        used = counts[counts > 0]
        self._width = int(used[0]) if len(used) and (used == used[0]).all() else 0
        if self._width:
            self._table_row = np.cumsum(counts > 0) - 1
            self._table_tails = self._inward_tails.reshape(-1, self._width)

    def same(self, tails: Indices, heads: Indices) -> bool:
        """Whether these are the graph's arcs, in the same order."""
        return np.array_equal(tails, self._tails) and np.array_equal(heads, self._heads)

    def adopted(self, before: "_Arcs", rows: Indices, ranks: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The trees of another graph, whose rows for this one's are `rows`, as ranks here; lost arcs leave no way."""
        found = np.full(len(ranks), self.no_rank, self.kind)
        if len(self.keys) and len(before.keys):
            order = np.argsort(self.keys)
            places = order[np.minimum(np.searchsorted(self.keys[order], before.keys), len(order) - 1)]
            now = np.where(self.keys[places] == before.keys, places - self.first[self.rows[places]], self.no_rank)
            old = ranks.reshape(-1, self._columns)[rows].ravel()
            known = np.flatnonzero(old != before.no_rank)
            found[known] = now[np.repeat(before.first[:-1][rows], self._columns)[known] + old[known]]
        return found

    def behind(self, rows: Indices, columns: Indices, lengths: Floats, weights: Floats) -> tuple[Indices, Floats]:
        """The pairs from which an arc leads to given ones, and how long the ways over these are.

        `weights` are those of the arcs in the order of `inward`.
        """
        if self._width:
            led_to = self._inward_count.take(rows) > 0
            if not led_to.all():
                rows, columns, lengths = rows[led_to], columns[led_to], lengths[led_to]
            at = self._table_row.take(rows)
            pairs = self._table_tails.take(at, axis=0)
            pairs += columns[:, None]
            sums = weights.reshape(-1, self._width).take(at, axis=0)
            sums += lengths[:, None]
            return pairs.ravel(), sums.ravel()
        counts = self._inward_count[rows]
        each = np.repeat(np.arange(len(rows)), counts)
        start = self._inward_first[rows] - (np.cumsum(counts) - counts)
        arcs = np.arange(len(each)) + start[each]
        return self._inward_tails[arcs] + columns[each], weights[arcs] + lengths[each]

    def by_node(self, table: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """A table with its rows in the order of node ids."""
        return table if self._plain else table[self.row_of]
