"""What would one show a colleague of a latency run?

One HTML file that needs nothing else: no script, no font, no request. It is made of the summary alone, so the page and
`summary.json` cannot differ. A group is what was asked alike (MLPerf's scenario, and from where); each has its
percentiles, curves, stages, the bent pipe beside it, bytes and a timeline. The bare model stands in every group.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import perigrid.report
import perigrid.report.latency
from perigrid.bench.latency.rows import Arm, Mode, Origin
from perigrid.bench.latency.summary import Configuration, Summary, bare_of
from perigrid.report.latency import sections
from perigrid.report.latency.curves import curves
from perigrid.report.latency.orbit import timeline
from perigrid.report.latency.stages import stage_bars
from perigrid.report.latency.versus import assumed_note, traffic, versus
from perigrid.report.latency.words import arm_names, group_title
from perigrid.report.markup import Html, document, join, tag
from perigrid.report.words import count

STYLES = ((perigrid.report, "page.css"), (perigrid.report.latency, "latency.css"))
Group = tuple[Mode, Origin]


def page(summary: Summary) -> Html:
    """The whole page."""
    title = f"Latency of {summary.facts.model} on {summary.facts.title or summary.facts.scenario}"
    parts = [("arms", "What was compared", sections.arms_list(summary))]
    for key in groups_of(summary):
        name = f"{key[0].value}-{key[1].value}"
        parts.append((name, group_title(*key), _group(summary, key)))
    if summary.searches:
        parts.append(("searches", "Highest rate within its bound", sections.searches(summary.searches)))
    parts += [
        ("measured", "How it was measured", sections.measured(summary)),
        ("world", "World, machine and assumptions", sections.world_facts(summary)),
        ("again", "Measure it again", sections.again(summary)),
    ]
    requests = sum(one.requests for one in summary.series)
    header = tag(
        "header",
        tag("p", f"perigrid latency benchmark · {count(requests, 'request')}", class_="eyebrow"),
        tag("h1", title),
        sections.head(summary),
        tag("nav", tag("ul", *(tag("li", tag("a", t, href=f"#{n}")) for n, t, _ in parts)), aria_label="Contents"),
    )
    content = [
        tag("section", tag("h2", t, id=f"{n}-head"), body, id=n, aria_labelledby=f"{n}-head") for n, t, body in parts
    ]
    version = summary.environment.versions.get("perigrid", "")
    footer = tag("footer", tag("p", f"Written by perigrid {version} from summary.json, schema {summary.schema}."))
    return _document(f"{title} · perigrid", [header, tag("main", *content), footer])


def groups_of(summary: Summary) -> list[Group]:
    """What was asked, in the order of the series; the bare model alone makes no group where others are."""
    found = dict.fromkeys(c.group for c in summary.configurations if c.whole.arm != Arm.BARE)
    return list(found) or list(dict.fromkeys(c.group for c in summary.configurations))


def members(summary: Summary, key: Group) -> list[Configuration]:
    """The configurations of a group in the order of the arms, with the bare one that is nearest to them."""
    order = list(Arm)
    found = [c for c in summary.configurations if c.group == key and c.whole.arm != Arm.BARE]
    found.sort(key=lambda c: order.index(c.whole.arm))
    if found:
        bare = bare_of(found[0].whole, summary.configurations)
        return [*found, *(c for c in summary.configurations if c.whole.name == bare)]
    return [c for c in summary.configurations if c.group == key]


def _group(summary: Summary, key: Group) -> Html:
    group = members(summary, key)
    wholes = [one.whole for one in group]
    names = arm_names(wholes)
    known = {one.name for one in wholes}
    evens = [one for one in summary.break_evens if one.pipe in known and one.orbit in known]
    ratios = [one for one in summary.ratios if one.one in known and one.other in known]
    ratio_part = sections.ratio_table(ratios, summary, names)
    parts: Sequence[tuple[str, Html]] = (
        ("", sections.percentile_table(group, names)),
        ("", assumed_note(wholes)),
        ("Distribution", curves(wholes)),
        ("Stages", stage_bars(wholes)),
        ("In orbit against the bent pipe", versus(wholes, evens)),
        ("Ratios and verdicts", ratio_part),
        ("Over the orbit", timeline(summary, wholes)),
        ("Bytes over ground links", traffic(wholes)),
    )
    return join(join([tag("h3", t, class_="arms") if t else "", body]) for t, body in parts if body)


def _document(title: str, body: Sequence[Html]) -> Html:
    styles = (files(package).joinpath(name).read_text(encoding="utf-8") for package, name in STYLES)
    return document(title, styles, body)
