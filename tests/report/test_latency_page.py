"""Does the latency report say what the summary says, loudly where nothing is decided, and nothing that a name wrote?"""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.bench.latency.rows import Arm, Mode, Origin, Stratum, World
from perigrid.bench.latency.statistics import Percentile
from perigrid.bench.latency.summary import LatencyRun, RatePiece, Span, Summary, summarise
from perigrid.report.latency.orbit import short, window_of
from perigrid.report.latency.page import groups_of, members, page
from perigrid.report.latency.plot import LABEL_GAP_PX, MAX_POINTS, Ending, Scale, spread_labels, thinned, tick_text
from perigrid.report.latency.words import between, percent, stated
from perigrid.report.words import seconds
from tests.bench.latency_runs import Wish, made_run
from tests.report.reading import Page

WISH = Wish(rate_per_s=3.0)


@pytest.fixture(scope="module")
def run() -> LatencyRun:
    """All arms, from a sensor and from the ground."""
    return made_run(WISH)


@pytest.fixture(scope="module")
def summary(run: LatencyRun) -> Summary:
    """What it comes to."""
    return summarise(run)


@pytest.fixture(scope="module")
def read(summary: Summary) -> Page:
    """Its page, as a parser reads it: every element is closed."""
    return Page(page(summary))


def test_each_group_has_its_parts(read: Page, summary: Summary) -> None:
    assert groups_of(summary) == [(Mode.SERVER, Origin.BOARD), (Mode.SERVER, Origin.GROUND)]
    for name in ("server-board", "server-ground", "searches", "measured", "world", "again"):
        assert read.of("section", id=name), name
    for part in ("Distribution", "Stages", "Ratios and verdicts", "Over the orbit", "Bytes over ground links"):
        assert read.text.count(f" {part} ") >= 2, part
    assert "MLPerf-style, unverified" in read.text
    assert "Server, from a sensor on board" in read.text


def test_the_bare_model_stands_in_every_group(summary: Summary) -> None:
    for key in groups_of(summary):
        assert members(summary, key)[-1].whole.arm == Arm.BARE


def test_numbers_stand_there_with_world_and_dagger(read: Page, summary: Summary) -> None:
    for configuration in summary.configurations:
        median = configuration.whole.statistic("p50")
        assert median.value_s is not None
        assert seconds(median.value_s) in read.text
    assert read.of("span", class_="world live") and read.of("span", class_="world bare")
    assert read.of("sup", title="rests on assumed values")
    assert "p99 takes 10,000" in read.text
    assert "no value found" in read.text and "MALLOC_TOP_PAD_ 67108864" in read.text


def test_the_pipes_win_is_said_and_so_is_the_break_even(read: Page, summary: Summary) -> None:
    assert "The bent pipe wins here." in read.text
    for one in summary.break_evens:
        assert one.even.sentence() in read.text


def test_invalid_and_undecided_are_loud() -> None:
    summary = summarise(made_run(replace(WISH, invalid=("server board in-orbit",), repeats=("a",))))
    read = Page(page(summary))
    badges = [one["class"] for one in read.of("strong")]
    assert "badge bad" in badges and "badge unsure" in badges
    assert "INVALID FOR LATENCY: server board in-orbit" in read.text
    assert f"{len([r for r in summary.ratios if r.verdict == 'UNDECIDED'])} of" in read.text
    assert "✕ INVALID FOR LATENCY" in " ".join(read.text.split())
    assert read.of("li", class_="complaint grave")


def test_virtual_time_is_said(run: LatencyRun) -> None:
    read = Page(page(summarise(made_run(replace(WISH, world=World.SIM)))))
    assert read.of("span", class_="world sim")
    assert "reckoned by the same machines in virtual time" in read.text


def test_two_worlds_of_one_arm_are_told_apart() -> None:
    summary = summarise(made_run(replace(WISH, also_virtual=(Arm.IN_ORBIT, Arm.CASCADE))))
    read = Page(page(summary))
    assert "in orbit, live" in read.text and "in orbit, sim" in read.text
    assert "cascade, sim" in read.text and "sharded, live" not in read.text
    assert read.of("polyline", class_="curve in-orbit virtual") and read.of("polyline", class_="curve in-orbit")


def test_the_bare_model_stands_at_no_place_of_the_orbit(run: LatencyRun, summary: Summary) -> None:
    far = tuple(
        msgspec.structs.replace(one, strata=(Stratum(0, -1e6, 1e6),)) if one.arm == Arm.BARE else one
        for one in run.series
    )
    window = window_of(summarise(msgspec.structs.replace(run, series=far)))
    assert window is not None and window == window_of(summary)


def test_names_are_text_and_never_markup(run: LatencyRun) -> None:
    evil = "<script>alert(1)</script>\"'&"
    facts = msgspec.structs.replace(run.facts, scenario=evil, title=evil, model=evil, command=evil, notes=(evil,))
    series = tuple(msgspec.structs.replace(one, name=evil + one.name) for one in run.series)
    spans = (*run.spans, Span(kind="contact", name=evil, start_s=1.0, end_s=2.0))
    markup = page(summarise(msgspec.structs.replace(run, facts=facts, series=series, spans=spans)))
    read = Page(markup)
    assert not read.of("script")
    assert evil in read.text
    assert "<script" not in markup


def test_it_asks_for_nothing(summary: Summary) -> None:
    markup = page(summary)
    read = Page(markup)
    [policy] = read.of("meta", http_equiv="Content-Security-Policy") or read.of(
        "meta", **{"http-equiv": "Content-Security-Policy"}
    )
    assert policy["content"] is not None and policy["content"].startswith("default-src 'none'")
    assert {one["href"] for one in read.of("link")} == {"data:,"}
    assert not read.of("img") and not read.of("script") and "@import" not in markup and "url(" not in markup


@pytest.mark.parametrize(
    "wish",
    [
        replace(WISH, failing=1.0),
        replace(WISH, arms=(Arm.BARE,)),
        replace(WISH, arms=(Arm.IN_ORBIT,), repeats=("a",), slo_s=None),
        replace(WISH, rate_per_s=0.05, length_s=2.0),
    ],
    ids=("no answer", "bare alone", "one arm once", "hardly any request"),
)
def test_a_poor_run_has_a_page_too(wish: Wish) -> None:
    run = made_run(wish)
    bare = msgspec.structs.replace(run, spans=(), rate_history=(), searches={})
    for one in (run, bare):
        assert Page(page(summarise(one))).of("section", id="measured")


def test_a_large_run_has_a_bounded_page(run: LatencyRun) -> None:
    spans = tuple(
        Span(kind="contact", name=f"station {n % 40}", start_s=10.0 * n, end_s=10.0 * n + 5) for n in range(20_000)
    )
    rates = tuple(RatePiece(float(n), 0.1 + n % 7) for n in range(5000))
    markup = page(summarise(msgspec.structs.replace(run, spans=spans, rate_history=rates)))
    assert len(markup) < 1_500_000
    assert "32 further lanes of contacts not shown" in Page(markup).text


@given(st.lists(st.floats(1e-7, 1e6), min_size=1, max_size=20))
def test_a_scale_holds_its_values_with_round_ticks(values: list[float]) -> None:
    scale = Scale.around(values)
    places = [scale.share(value) for value in sorted(values)]
    assert all(0 < place < 1 for place in places) and places == sorted(places)
    ticks = scale.ticks_s()
    assert len(ticks) <= 8
    assert all(scale.low_s <= tick <= scale.high_s for tick in ticks)


@given(st.lists(st.floats(0, 300), min_size=1, max_size=12))
def test_labels_do_not_meet_and_stay_inside(heights: list[float]) -> None:
    placed = spread_labels([Ending(str(n), y, "bare") for n, y in enumerate(heights)], 300)
    ys = [y for y, _ in placed]
    assert [one.y_px for _, one in placed] == sorted(heights)
    assert all(0 <= y <= 300 for y in ys)
    assert all(after - before >= LABEL_GAP_PX - 1e-6 for before, after in itertools.pairwise(ys))


def test_contacts_of_one_satellite_are_called_by_their_station() -> None:
    def spans(*names: str) -> list[Span]:
        return [Span(kind="contact", name=name, start_s=0.0, end_s=1.0) for name in names]

    assert short("sat-01 over Inuvik", spans("sat-01 over Inuvik", "sat-01 over Svalbard")) == "Inuvik"
    assert short("sat-01 over Inuvik", spans("sat-01 over Inuvik", "sat-02 over Svalbard")) == "sat-01 over Inuvik"
    assert short("Inuvik", spans("Inuvik", "Svalbard")) == "Inuvik"


def test_curves_are_thinned_and_keep_their_ends() -> None:
    points = [(n / 1e5, (n / 1e5) ** 2) for n in range(100_001)]
    kept = thinned(points)
    assert len(kept) <= 2 * MAX_POINTS and kept[0] == points[0] and kept[-1] == points[-1]


def test_words_of_figures() -> None:
    assert (tick_text(0.02), tick_text(1000.0), tick_text(5e-5)) == ("20 ms", "1,000 s", "50 µs")
    assert between("12.1 ms", "12.6 ms") == "12.1–12.6 ms"
    assert between("900 ms", "1.20 s") == "900 ms – 1.20 s"
    assert between("13 min 14 s", "13 min 36 s") == "13 min 14 s – 13 min 36 s"
    assert (percent(0.5), percent(1e-6), percent(None), percent(0.0)) == ("50 %", "under 0.01 %", "–", "0 %")
    few = Percentile(share=0.99, samples=10, needed=10_000)
    assert "needs 10,000" in stated(few, False)
