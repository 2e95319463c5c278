"""During which spans of time is a number positive?

Each of R rows (a satellite, or a satellite over a station) has a continuous number that depends on time. It is
sampled at equal steps; where its sign changes between two samples the moment is found by bisection. A peak between
two samples that are both negative is not missed: wherever three samples have their largest in the middle, and the
fall to its neighbours leaves room for it, the peak is climbed by halving the step. A dip between two positive samples
is missed on purpose: nothing that is asked here has one shorter than a step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.sky.frames import Floats

Indices = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

Sample = Callable[[Floats], Floats]
"""Numbers [T, R] of all rows at times [T]."""

At = Callable[[Indices, Floats], Floats]
"""Numbers [K] of rows [K], each at its own time [K]."""

TOLERANCE_S = 0.01
"""Moments are found to this, unless the caller's time runs at another pace."""

CHUNK_NUMBERS = 2_000_000
"""Numbers that are sampled at once, 16 megabytes of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """K spans in which row `row` [K] is positive, sorted by row, then by time; cut to the window asked about.

    `cut_start` and `cut_end` [K] say which were under way at the window's start and at its end.
    """

    row: Indices
    start_s: Floats
    end_s: Floats
    cut_start: Truths
    cut_end: Truths

    def __len__(self) -> int:
        return len(self.row)

    def of(self, some: Indices, row: Indices) -> "Spans":
        """Some of the spans [J], with other numbers [J] for their rows."""
        kept = (self.start_s[some], self.end_s[some], self.cut_start[some], self.cut_end[some])
        return Spans(row, *kept)

    def within(self, low_s: float, high_s: float) -> "Spans":
        """The spans that overlap (low_s, high_s), cut to it."""
        kept = (self.start_s < high_s) & (self.end_s > low_s)
        start_s, end_s = self.start_s[kept], self.end_s[kept]
        return Spans(
            self.row[kept],
            np.maximum(start_s, low_s),
            np.minimum(end_s, high_s),
            self.cut_start[kept] | (start_s < low_s),
            self.cut_end[kept] | (end_s > high_s),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Brackets:
    """Rows [K] and times [K] between which each changes its sign from negative to positive (`rising`) or back."""

    row: Indices
    low_s: Floats
    high_s: Floats
    rising: Truths


def positive_spans(
    sample: Sample,
    at: At,
    rows: int,
    start_s: float,
    end_s: float,
    step_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> Spans:
    """The spans within [start_s, end_s] in which each of `rows` rows is positive, sampled every `step_s` at most."""
    # A step more on either side tells what was under way from what begins there.
    steps = max(2, int(np.ceil((end_s - start_s) / step_s))) + 2
    step_s = (end_s - start_s) / (steps - 2)
    times_s = start_s + step_s * np.arange(-1.0, steps)
    brackets, first, last = _scan(sample, at, rows, times_s, tolerance_s)
    edges_s = bisect(at, brackets.row, brackets.low_s, brackets.high_s, brackets.rising, tolerance_s)

    rising = brackets.rising
    start_rows = np.concatenate([first, brackets.row[rising]])
    starts_s = np.concatenate([np.full(len(first), times_s[0]), edges_s[rising]])
    end_rows = np.concatenate([brackets.row[~rising], last])
    ends_s = np.concatenate([edges_s[~rising], np.full(len(last), times_s[-1])])
    # Within a row starts and ends alternate, so sorting both by row and time pairs each start with its end.
    by_start, by_end = np.lexsort((starts_s, start_rows)), np.lexsort((ends_s, end_rows))
    row, starts_s, ends_s = start_rows[by_start], starts_s[by_start], ends_s[by_end]
    inside = (ends_s > start_s) & (starts_s < end_s)
    row, starts_s, ends_s = row[inside], starts_s[inside], ends_s[inside]
    return Spans(row, np.maximum(starts_s, start_s), np.minimum(ends_s, end_s), starts_s < start_s, ends_s > end_s)


def highest(at: At, row: Indices, low_s: Floats, high_s: Floats, looks: int) -> Floats:
    """When, in [low_s, high_s] [K], rows [K] are at their highest: the best of `looks` moments, then refined."""
    if len(row) == 0:
        return low_s.copy()
    moments_s = low_s[:, None] + (high_s - low_s)[:, None] * np.linspace(0.0, 1.0, looks)
    numbers = at(np.repeat(row, looks), moments_s.reshape(-1)).reshape(moments_s.shape)
    best_s = moments_s[np.arange(len(row)), np.argmax(numbers, axis=1)]
    best = numbers.max(axis=1)
    step_s = (high_s - low_s) / (looks - 1)
    while np.any(step_s > TOLERANCE_S):
        step_s = step_s / 2
        for beside_s in (np.maximum(best_s - step_s, low_s), np.minimum(best_s + step_s, high_s)):
            number = at(row, beside_s)
            better = number > best
            best_s, best = np.where(better, beside_s, best_s), np.where(better, number, best)
    return np.asarray(best_s)


def bisect(at: At, row: Indices, low_s: Floats, high_s: Floats, rising: Truths, tolerance_s: float) -> Floats:
    """The moments [K] at which rows [K] change their sign between `low_s` and `high_s` [K]."""
    while len(low_s) and float(np.max(high_s - low_s)) > tolerance_s:
        middle_s = (low_s + high_s) / 2
        after = (at(row, middle_s) > 0.0) == rising
        low_s, high_s = np.where(after, low_s, middle_s), np.where(after, middle_s, high_s)
    return (low_s + high_s) / 2


def covered_s(row: Indices, start_s: Floats, end_s: Floats) -> tuple[Indices, Floats, Floats]:
    """Spans [K] of rows, of which some may overlap, as spans [J] that do not: row, start and end, sorted."""
    order = np.lexsort((start_s, row))
    row, start_s, end_s = row[order], start_s[order], end_s[order]
    if len(row) == 0:
        return row, start_s, end_s
    # Rows are laid end to end on one line, so that one running maximum serves all of them.
    length = max(float(end_s.max() - start_s.min()), 1.0) * 2
    reached = np.maximum.accumulate(end_s + row * length)
    fresh = np.concatenate([[True], (start_s + row * length)[1:] > reached[:-1]])
    firsts = np.flatnonzero(fresh)
    return row[firsts], start_s[firsts], np.maximum.reduceat(end_s, firsts)


def _scan(sample: Sample, at: At, rows: int, times_s: Floats, tolerance_s: float) -> tuple[_Brackets, Indices, Indices]:
    """Brackets of all changes of sign, and the rows that are positive at the first and at the last time."""
    found: list[_Brackets] = []
    chunk = max(3, CHUNK_NUMBERS // max(rows, 1))
    before = np.empty((0, rows))
    first = last = np.empty(0, np.int64)
    for start in range(0, len(times_s), chunk):
        fresh = sample(times_s[start : start + chunk])
        numbers = np.concatenate([before, fresh])
        lead = len(before)
        chunk_s = times_s[start - lead : start + len(fresh)]
        if start == 0:
            first = np.flatnonzero(numbers[0] > 0.0)
        found.append(_changes(numbers, chunk_s, max(lead - 1, 0)))
        found.extend(_peaks(numbers, chunk_s, at, tolerance_s))
        # Two samples are carried over: a change needs one before it, a peak two.
        before, last = numbers[-2:], np.flatnonzero(numbers[-1] > 0.0)
    fields = ([getattr(one, name) for one in found] for name in _Brackets.__slots__)
    return _Brackets(*(np.concatenate(field) for field in fields)), first, last


def _changes(numbers: Floats, times_s: Floats, skip: int) -> _Brackets:
    """Brackets between neighbouring samples of opposite sign; the first `skip` pairs were looked at before."""
    up = numbers[skip:] > 0.0
    step, row = np.nonzero(up[1:] != up[:-1])
    return _Brackets(row, times_s[skip + step], times_s[skip + step + 1], up[step + 1, row])


def _peaks(numbers: Floats, times_s: Floats, at: At, tolerance_s: float) -> list[_Brackets]:
    """Brackets on both sides of peaks above zero between samples that are all below it."""
    left, middle, right = numbers[:-2], numbers[1:-1], numbers[2:]
    # A smooth peak rises above its largest sample by less than that sample stands above the lower neighbour.
    hopeful = (middle <= 0.0) & (middle >= left) & (middle > right) & (2 * middle > np.minimum(left, right))
    step, row = np.nonzero(hopeful)
    low_s, high_s, peak_s = times_s[step], times_s[step + 2], times_s[step + 1]
    best = middle[step, row]
    sides = np.stack([left[step, row], right[step, row]])
    reached: list[_Brackets] = []
    width_s = float(times_s[1] - times_s[0])
    while len(row) and width_s > tolerance_s:
        width_s /= 2
        near = np.stack([at(row, peak_s - width_s), at(row, peak_s + width_s)])
        back, ahead = near[0] > best, (near[1] > best) & (near[1] > near[0])
        left_of = np.where(ahead, best, np.where(back, sides[0], near[0]))
        right_of = np.where(ahead, sides[1], np.where(back, best, near[1]))
        peak_s = np.where(ahead, peak_s + width_s, np.where(back, peak_s - width_s, peak_s))
        best = np.where(ahead, near[1], np.where(back, near[0], best))
        sides = np.stack([left_of, right_of])
        over = best > 0.0
        reached.append(_Brackets(row[over], low_s[over], peak_s[over], np.ones(over.sum(), np.bool_)))
        reached.append(_Brackets(row[over], peak_s[over], high_s[over], np.zeros(over.sum(), np.bool_)))
        keep = ~over & (2 * best > np.minimum(left_of, right_of))
        row, low_s, high_s, peak_s, best = row[keep], low_s[keep], high_s[keep], peak_s[keep], best[keep]
        sides = sides[:, keep]
    return reached
