"""Are requests planned as MLPerf's scenarios say, from the seed alone, over the whole orbit?"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perigrid.bench.latency.rows import Mode, Row, Series, Stratum
from perigrid.bench.latency.schedule import (
    MIN_STRATA,
    RULES,
    Planned,
    first_of_stream,
    length_of,
    next_of_stream,
    offline_times,
    server_times,
    short_of,
    strata_of,
)
from perigrid.errors import UsageError
from tests.bench.latency_runs import Wish, made_run

PERIOD_S = 5700.0


@given(st.integers(0, 999), st.integers(20, 40), st.sampled_from([1, 3, 7]))
def test_each_part_of_the_orbit_has_one_stratum(seed: int, count: int, orbits: int) -> None:
    if np.gcd(count, orbits) != 1:
        with pytest.raises(UsageError, match="divisor"):
            strata_of(50.0, PERIOD_S, 3.0, seed, count, orbits=orbits)
        return
    strata = strata_of(50.0, PERIOD_S, 3.0, seed, count, warm_up_s=2.0, orbits=orbits)
    part_s = PERIOD_S / count
    parts = [int((s.start_s - 2.0 - 50.0) % PERIOD_S // part_s) for s in strata]
    ends = [int((s.end_s - 1e-6 - 50.0) % PERIOD_S // part_s) for s in strata]
    assert sorted(parts) == list(range(count)) == sorted(ends)
    assert all(s.end_s - s.start_s == pytest.approx(3.0) for s in strata)
    assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(strata))
    assert strata == strata_of(50.0, PERIOD_S, 3.0, seed, count, warm_up_s=2.0, orbits=orbits)
    assert strata != strata_of(50.0, PERIOD_S, 3.0, seed + 1, count, warm_up_s=2.0, orbits=orbits)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 19}, "19 strata are too few"),
        ({"length_s": 300.0}, "do not fit"),
        ({"length_s": 0.0}, "do not fit"),
        ({"warm_up_s": 284.0}, "do not fit"),
        ({"orbits": 0}, "orbits"),
    ],
)
def test_strata_that_cannot_be_are_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        strata_of(**{"start_s": 0.0, "period_s": PERIOD_S, "length_s": 3.0, "seed": 1, **change})  # type: ignore[arg-type]


def test_a_duration_is_shared_out_over_the_strata() -> None:
    strata = strata_of(0.0, PERIOD_S, length_of(60.0), 1)
    assert len(strata) == MIN_STRATA
    assert sum(s.end_s - s.start_s for s in strata) == pytest.approx(60.0)


def test_server_is_a_poisson_process_of_its_rate() -> None:
    strata = tuple(Stratum(n, 100.0 * n, 100.0 * n + 40.0) for n in range(20))
    planned = server_times(strata, 25.0, seed=5)
    assert len(planned) == pytest.approx(20_000, abs=5 * np.sqrt(20_000))
    gaps = np.concatenate([np.diff([p.intended_s for p in planned if p.stratum == n]) for n in range(20)])
    assert stats.kstest(gaps, "expon", args=(0, 1 / 25.0)).pvalue > 0.01
    per_stratum = np.bincount([p.stratum for p in planned])
    assert 0.3 < per_stratum.var() / per_stratum.mean() < 2.5


def test_server_is_fixed_by_its_seed_stratum_by_stratum() -> None:
    strata = strata_of(0.0, PERIOD_S, 3.0, 1, warm_up_s=1.0)
    planned = server_times(strata, 10.0, 9, warm_up_s=1.0)
    assert planned == server_times(strata, 10.0, 9, warm_up_s=1.0)
    assert planned != server_times(strata, 10.0, 10, warm_up_s=1.0)
    fewer = server_times(strata[1:], 10.0, 9, warm_up_s=1.0)
    assert [p.intended_s for p in fewer] == [p.intended_s for p in planned if p.stratum != 0]
    assert [p.number for p in planned] == list(range(len(planned)))
    for one in planned:
        stratum = strata[one.stratum]
        assert stratum.start_s - 1.0 <= one.intended_s < stratum.end_s
        assert one.warm_up == (one.intended_s < stratum.start_s)
    assert any(p.warm_up for p in planned) and not all(p.warm_up for p in planned)


@pytest.mark.parametrize("rate_per_s", [0.0, -1.0, float("inf"), float("nan"), 1e9])
def test_rates_that_cannot_be_sent_are_refused(rate_per_s: float) -> None:
    with pytest.raises(UsageError, match="rate"):
        server_times((Stratum(0, 0.0, 10.0),), rate_per_s, 1)


@pytest.mark.parametrize(("mode", "samples"), [(Mode.SINGLE_STREAM, 1), (Mode.MULTI_STREAM, 8)])
def test_a_stream_sends_when_the_last_ended(mode: Mode, samples: int) -> None:
    rule, stratum = RULES[mode], Stratum(3, 10.0, 12.0)
    query: Planned | None = first_of_stream(rule, stratum, 5, warm_up_s=1.0)
    sent = []
    while query is not None:
        sent.append(query)
        query = next_of_stream(rule, stratum, query, query.intended_s + 0.4)
    assert [p.intended_s for p in sent] == pytest.approx([9.0, 9.4, 9.8, 10.2, 10.6, 11.0, 11.4, 11.8])
    assert [p.warm_up for p in sent] == [True] * 3 + [False] * 5
    assert [p.number for p in sent] == list(range(5, 13))
    assert {p.items for p in sent} == {samples}


def test_offline_is_one_query_a_stratum() -> None:
    planned = offline_times((Stratum(0, 10.0, 20.0), Stratum(1, 30.0, 40.0)), 24_576, warm_up_s=2.0)
    assert [(p.intended_s, p.items, p.warm_up) for p in planned] == [
        (8.0, 1, True),
        (10.0, 24_576, False),
        (28.0, 1, True),
        (30.0, 24_576, False),
    ]
    assert len(offline_times((Stratum(0, 10.0, 20.0),), 8)) == 1


def test_what_is_short_of_mlperfs_rules_is_said() -> None:
    series = made_run(Wish()).series[0]
    rule = RULES[Mode.SERVER]
    assert "80 s measured of 600 s" in short_of(rule, series)
    assert any("samples of 662" in text for text in short_of(rule, series))
    row = next(row for row in series.rows if not row.warm_up)
    long = Series(
        **{name: getattr(series, name) for name in series.__struct_fields__ if name not in ("strata", "rows")},
        strata=(Stratum(0, 0.0, 600.0),),
        rows=(row,) * 662,
    )
    assert short_of(rule, long) == ()
    assert isinstance(row, Row)
