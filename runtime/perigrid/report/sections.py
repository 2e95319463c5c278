"""What does each part of the page say?

The parts that are made of the job's figures: the head, the latency breakdown, the bytes, and how to run it again. What
stands in them comes from the outcome, the same value that `perigrid run --json` prints, wherever it has the figure.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from perigrid.report.breakdown import Breakdown, Line
from perigrid.report.markup import Html, join, tag
from perigrid.report.outcome import Outcome, amount, at_rate, turning_sky
from perigrid.report.story import LinkLoad, Story
from perigrid.report.words import count, figure, seconds, sentence

MAX_CAUSES = 10
MAX_CAUSE_LETTERS = 500
MAX_LINKS = 60

PARTS = {
    "waiting": ("Waiting", "held on the ground, on board or without a link, and in attempts that came to nothing"),
    "uplink": ("Uplink", "radio and fibre on the way up"),
    "lasers": ("Lasers", "both ways: in front of each laser, on it, and as light"),
    "queue": ("Queue", "on board, in front of the computer"),
    "inference": ("Inference", "the model, on the satellite's computer"),
    "downlink": ("Downlink", "radio and fibre on the way down"),
    "whole": ("Whole", "from the job's admission to the shard's settling"),
}
"""What the parts of a shard's time are called, and what is in them."""


def verdict(outcome: Outcome | None) -> tuple[str, str, str]:
    """May times be believed? A style, the words of the badge, and a sentence or two."""
    style, words, told = _verdict(outcome)
    return style, words, told if outcome is None else f"{told}{_turning(outcome.orbit_rate)}"


def _turning(orbit_rate: float) -> str:
    """A sentence on a sky that does not turn as fast as time passes, with the blank before it; "" for one that does."""
    clause = turning_sky(orbit_rate)
    return f" {clause[0].upper()}{clause[1:]}." if clause else ""


def _verdict(outcome: Outcome | None) -> tuple[str, str, str]:
    if outcome is None or (outcome.mode != "free" and outcome.valid_for_latency is None):
        return (
            "neutral",
            "NO VERDICT YET",
            "No client has written the job's outcome, so nothing says whether its times count.",
        )
    late = outcome.lateness
    if outcome.mode == "free":
        return "neutral", "THROUGHPUT, NOT LATENCY", "The clock ran free: times are this machine's, not an orbit's."
    counted = f"{100 * late.share_late:.3g} % of all frames and inferences were more than {late.tolerance_ms:g} ms late"
    at = at_rate(outcome).replace("at", "At", 1)
    if outcome.valid_for_latency:
        return "good", "VALID FOR LATENCY", f"{at} this desk kept up: {counted}."
    holds = late.rate_that_holds
    remedy = "" if holds is None or outcome.governed else f" With --rate {holds:.2g} it would have."
    told = f"{at} this desk did not keep up: {counted}. No time below is an orbit's.{remedy}"
    return "bad", "INVALID FOR LATENCY", told


def badge(outcome: Outcome | None) -> Html:
    """The verdict in two or three words."""
    style, words, _ = verdict(outcome)
    sign = {"good": "✓ ", "bad": "✕ "}.get(style, "")
    return tag("strong", tag("span", sign, aria_hidden="true"), words, class_=f"badge {style}")


def head(story: Story, outcome: Outcome | None) -> Html:
    """The outcome in a sentence, whether its times count, and the figures."""
    parts: list[str] = []
    if outcome is None:
        state = (
            "has ended, and no client has merged its result" if story.ended else "had not ended when this was written"
        )
        done = f"{len(story.accepted):,} of {count(story.job.shards, 'shard')} were accepted"
        turning = _turning(story.run.orbit_rate)
        text = f"The job, {story.job.model} on {story.job.dataset}, {state}: {done}.{turning}"
        parts.append(tag("p", text, class_="lead"))
    else:
        parts.append(tag("p", sentence(story, outcome), class_="lead"))
    parts.append(tag("p", badge(outcome), " ", verdict(outcome)[2], class_="verdict"))
    if story.log_full:
        parts.append(
            tag("p", "The event log was full before the end: what came after is missing here.", class_="warning")
        )
    if outcome is not None:
        parts += [_tiles(outcome), _failures(outcome), _more_figures(outcome)]
    return join(parts)


def _tiles(o: Outcome) -> Html:
    """The figures that a reader looks for first."""
    accepted = join(
        [figure("accepted", o.accepted, f"{o.accepted:,}"), " of ", figure("shards", o.shards, f"{o.shards:,}")]
    )
    broken = join(
        [
            figure("links_cut", o.links_cut, count(o.links_cut, "link")),
            " cut, ",
            figure("satellites_lost", o.satellites_lost, count(o.satellites_lost, "satellite")),
            " lost",
        ]
    )
    ground = amount(o.bytes_over_ground_links)
    entries = [
        ("shards accepted", accepted),
        (
            "given to the client twice",
            figure("duplicates_to_client", o.duplicates_to_client, f"{o.duplicates_to_client:,}"),
        ),
        ("in orbit", figure("emulated_s", o.emulated_s, seconds(o.emulated_s))),
        ("on this desk", figure("elapsed_s", o.elapsed_s, seconds(o.elapsed_s))),
        ("tiles a second, here", figure("tiles_per_s", o.tiles_per_s, f"{o.tiles_per_s:,.4g}")),
        ("over lasers", figure("bytes_over_lasers", o.bytes_over_lasers, amount(o.bytes_over_lasers))),
        ("over ground links", figure("bytes_over_ground_links", o.bytes_over_ground_links, ground)),
        ("at the job's end", broken),
    ]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", shown)) for name, shown in entries), class_="tiles")


def _more_figures(o: Outcome) -> Html:
    """The other figures of the outcome, and what proves the result."""
    coverage = "every tile is in it once" if o.coverage_ok else "COVERAGE IS NOT COMPLETE"
    rows = [
        ("outcome", figure("outcome", o.outcome, o.outcome)),
        ("tiles", figure("tiles", o.tiles, f"{o.tiles:,}")),
        ("attempts", figure("attempts", o.attempts, f"{o.attempts:,}")),
        ("duplicates dropped on the ground", figure("duplicates", o.duplicates, f"{o.duplicates:,}")),
        ("conflicting results", figure("conflicts", o.conflicts, f"{o.conflicts:,}")),
        ("failed shards", figure("failed", o.failed, f"{o.failed:,}")),
        ("satellites", figure("satellites", o.satellites, f"{o.satellites:,}")),
        ("clock", _clock(o)),
        ("released late", figure("lateness.share_late", o.lateness.share_late, f"{100 * o.lateness.share_late:.3g} %")),
        ("coverage", figure("coverage_ok", o.coverage_ok, coverage)),
        (
            "sha256 of the result",
            tag("code", figure("result_sha256", o.result_sha256, o.result_sha256), class_="digest"),
        ),
    ]
    body = [tag("tr", tag("th", name, scope="row"), tag("td", shown)) for name, shown in rows]
    table = tag("table", tag("caption", "All figures of the job", class_="hidden"), tag("tbody", *body))
    return tag("details", tag("summary", "All figures"), table)


def _clock(o: Outcome) -> Html:
    """How time passed, and how fast the sky turned in it where that was not as fast."""
    parts = [figure("mode", o.mode, o.mode), ", rate ", figure("rate", o.rate, f"{o.rate:.4g}")]
    if o.orbit_rate != 1.0:
        parts += [", orbit rate ", figure("orbit_rate", o.orbit_rate, f"{o.orbit_rate:.6g}")]
    return join(parts)


def _failures(outcome: Outcome) -> Html:
    """Why shards failed, the most frequent causes first."""
    if not outcome.failures:
        return Html("")
    ranked = sorted(outcome.failures.items(), key=lambda item: (-item[1], item[0]))
    items = [
        tag("li", f"{count(shards, 'shard')}: {cause[:MAX_CAUSE_LETTERS]}") for cause, shards in ranked[:MAX_CAUSES]
    ]
    parts = [tag("h3", "Why shards failed"), tag("ul", *items)]
    if len(ranked) > MAX_CAUSES:
        parts.append(tag("p", f"Showing {MAX_CAUSES} of {len(ranked):,} causes.", class_="note"))
    return tag("div", *parts, class_="failures")


def latency(breakdown: Breakdown | None, outcome: Outcome | None) -> Html:
    """Where the shards' time went, and whether that is the orbit's or this desk's."""
    parts: list[str] = [tag("p", badge(outcome), " ", verdict(outcome)[2], class_="verdict")]
    if breakdown is None:
        return join([*parts, tag("p", "No shard was accepted, so there are no times.", class_="note")])
    parts += [_bar(breakdown), _parts_table(breakdown)]
    if outcome is not None and outcome.stages is not None:
        s = outcome.stages
        told = [
            "Medians of the outcome: inference ",
            figure("stages.inference_per_tile_s", s.inference_per_tile_s, seconds(s.inference_per_tile_s)),
            " a tile; from the inference's end to the settling ",
            figure("stages.return_s", s.return_s, seconds(s.return_s)),
            ". On this desk, no part of the orbit's time: waiting for a core ",
            figure("stages.desk_wait_s", s.desk_wait_s, seconds(s.desk_wait_s)),
            ", CPU ",
            figure("stages.cpu_per_tile_s", s.cpu_per_tile_s, seconds(s.cpu_per_tile_s)),
            " a tile.",
        ]
        parts.append(tag("p", *told, class_="note"))
    return join(parts)


def _bar(breakdown: Breakdown) -> Html:
    """The mean shard as one bar of its parts."""
    whole_s = breakdown.whole.mean_s
    rects, left = [], 0.0
    for line in breakdown.parts:
        share = max(0.0, 100 * line.mean_s / whole_s) if whole_s > 0 else 0.0
        title = tag("title", f"{PARTS[line.name][0]}: {seconds(line.mean_s)}, {share:.1f} %")
        rects.append(
            tag("rect", title, x=f"{left:.3f}%", y=0, width=f"{share:.3f}%", height=30, class_=f"p-{line.name}")
        )
        left += share
    told = ", ".join(f"{PARTS[line.name][0].lower()} {seconds(line.mean_s)}" for line in breakdown.parts)
    svg = tag(
        "svg",
        tag("title", "The mean shard's time by part", id="parts-title"),
        tag("desc", told, id="parts-desc"),
        *rects,
        role="img",
        aria_labelledby="parts-title parts-desc",
        width="100%",
        height=30,
        class_="parts",
    )
    caption = f"The mean of {count(breakdown.shards, 'shard')}, {seconds(whole_s)} from admission to settling, by part."
    return tag("figure", svg, tag("figcaption", caption))


def _parts_table(breakdown: Breakdown) -> Html:
    heads = ("part", "median", "p99", "mean", "what is in it")
    body = [_part_row(line) for line in (*breakdown.parts, breakdown.whole)]
    caption = "Emulated time of a shard by part. p99: 99 % took no longer. Of these figures only the means add up."
    head_row = tag(
        "tr",
        *(tag("th", name, scope="col", class_="number" if i in (1, 2, 3) else None) for i, name in enumerate(heads)),
    )
    table = tag("table", tag("caption", caption), tag("thead", head_row), tag("tbody", *body), class_="parts-table")
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Latency by part")


def _part_row(line: Line) -> Html:
    title, meaning = PARTS[line.name]
    swatch = Html("") if line.name == "whole" else tag("span", class_=f"swatch p-{line.name}", aria_hidden="true")
    times = (line.median_s, line.tail_s, line.mean_s)
    return tag(
        "tr",
        tag("th", swatch, title, scope="row"),
        *(tag("td", tag("data", seconds(time_s), value=time_s), class_="number") for time_s in times),
        tag("td", meaning, class_="meaning"),
        class_="whole" if line.name == "whole" else None,
    )


def traffic(story: Story, outcome: Outcome | None, preloaded: Sequence[str]) -> Html:
    """What crossed lasers and ground links, and what was put in place instead of crossing."""
    rows: list[tuple[str, str]] = []
    if outcome is not None:
        o = outcome
        rows = [
            (
                "over lasers, while the job ran",
                figure("bytes_over_lasers", o.bytes_over_lasers, amount(o.bytes_over_lasers)),
            ),
            (
                "over ground links, while the job ran",
                figure("bytes_over_ground_links", o.bytes_over_ground_links, amount(o.bytes_over_ground_links)),
            ),
            (
                "copies of the data over lasers, since the run came up",
                figure("bytes_of_replicas", o.bytes_of_replicas, amount(o.bytes_of_replicas)),
            ),
        ]
    rows.append(("preloaded: in place at the start, over no link", "; ".join(preloaded) or "nothing"))
    body = [tag("tr", tag("th", name, scope="row"), tag("td", shown)) for name, shown in rows]
    totals = tag("table", tag("caption", "Bytes in all", class_="hidden"), tag("tbody", *body))
    return join([totals, _links(story.loads)])


def _links(loads: Sequence[LinkLoad]) -> Html:
    if not loads:
        return tag("p", "The event log has no traffic of single links.", class_="note")
    shown = loads[:MAX_LINKS]
    heads = ("link", "kind", "one way", "the other way", "together")
    head_row = tag(
        "tr", *(tag("th", name, scope="col", class_="number" if i > 1 else None) for i, name in enumerate(heads))
    )
    body = [
        tag(
            "tr",
            tag("th", f"{load.a} – {load.b}", scope="row"),
            tag("td", load.kind),
            *(
                tag("td", amount(size), class_="number")
                for size in (load.forth_bytes, load.back_bytes, load.size_bytes)
            ),
        )
        for load in shown
    ]
    table = tag(
        "table", tag("caption", "Bytes by link, while the job ran"), tag("thead", head_row), tag("tbody", *body)
    )
    limits = f"Showing the busiest {len(shown):,} of {count(len(loads), 'link')}. " if len(shown) < len(loads) else ""
    note = f"{limits}From counters that each node writes about once a second; so near the totals, not equal to them."
    return tag(
        "details",
        tag("summary", f"Each link ({len(loads):,})"),
        tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Bytes by link"),
        tag("p", note, class_="note"),
    )


def again(story: Story, folder: Path) -> Html:
    """How to run it again, and how it was brought up."""
    parts = [tag("pre", tag("code", f"perigrid rerun {shlex.quote(str(folder))}"), tabindex="0")]
    command = story.run.command
    written = command if isinstance(command, str) else shlex.join(command)
    if written:
        parts.append(tag("p", "It was brought up by ", tag("code", written), ".", class_="note"))
    satellites = story.run.satellites
    number = satellites if isinstance(satellites, int) else len(satellites)
    facts = [
        ("run", story.run.run),
        ("directory", str(folder)),
        ("epoch", story.run.epoch),
        ("orbit rate", f"{story.run.orbit_rate:.6g}"),
        ("satellites", f"{number:,}"),
        ("scenario's digest", story.run.scenario_digest),
        ("perigrid", story.run.perigrid),
    ]
    body = [
        tag("tr", tag("th", name, scope="row"), tag("td", tag("code", value, class_="digest"))) for name, value in facts
    ]
    return join([*parts, tag("table", tag("caption", "The run", class_="hidden"), tag("tbody", *body))])
