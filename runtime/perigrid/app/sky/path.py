"""What does `perigrid sky path` answer: which way leads from A to B, how fast is it, and if there is none, why?

Beside the shortest way in light stand ways that share no link with it, and the earliest arrival of a volume that may
wait on board for contacts yet to come. Ways do not lead over the fibre between stations unless that is asked for, or
one end is the ground centre: who asks for the sky's way from Madrid to Tokyo does not mean a cable.
"""

from __future__ import annotations

from dataclasses import dataclass

from perigrid.app.sky.show import rate_text
from perigrid.app.sky.view import Say, Sky, sky_scenario, sky_time, with_places
from perigrid.errors import UsageError
from perigrid.mesh.earliest import Transfer
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.routes import Arrival, NoPath, Path, Routes
from perigrid.mesh.topology import Link, LinkKind
from perigrid.report.sky.head import Head, brief_lines, moment_at, utc_text
from perigrid.scenario.model import GROUND_NAME

WAITED_S = 0.5
"""Whoever sends on later than this after arrival has waited for a contact."""

LEGS_SHOWN = 40
"""Legs of a way, or hops of a transfer, that a reader is shown at most."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as it was typed."""

    a: str
    b: str
    count: int
    without: tuple[str, ...]
    volume_bytes: int
    fibre: bool
    hours: float


@dataclass(frozen=True, slots=True)
class Leg:
    """One link of a way, from `a` to `b`, at the moment asked about."""

    a: str
    b: str
    kind: str
    range_km: float
    delay_ms: float
    rate_bps: float


@dataclass(frozen=True, slots=True)
class Way:
    """A whole way: light one way and there and back, the rate of its slowest link, and link by link."""

    hops: int
    delay_ms: float
    rtt_ms: float
    rate_bps: float
    nodes: tuple[str, ...]
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class NoWay:
    """Why there is none, and until when: None where what was looked at ends before; `blocked_by` are cut links."""

    reason: str
    until_utc: str | None
    until_s: float | None
    blocked_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Carried:
    """One hop of something that may wait: first bit out, last bit out, and there, in sky time and as moments."""

    a: str
    b: str
    kind: str
    start_s: float
    end_s: float
    arrival_s: float
    start_utc: str
    end_utc: str
    arrival_utc: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """When a volume is there at the earliest if every node may store it; `none` says why it never is."""

    volume_bytes: int
    arrival_utc: str | None
    after_s: float | None
    hops: tuple[Carried, ...]
    none: NoWay | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole answer: `ways` share no link; `fewer` says why there are fewer than were asked for."""

    head: Head
    a: str
    b: str
    without: tuple[str, ...]
    fibre: bool
    ways: tuple[Way, ...]
    fewer: str
    no_way: NoWay | None
    delivery: Delivery


def find_path(target: str, at: str | None, question: Question, say: Say) -> Answer:
    """Ways between two nodes or places; UsageError for what is neither, or no link."""
    scenario, names = with_places(sky_scenario(target, say), (question.a, question.b))
    fibre = question.fibre or any(name.casefold() == GROUND_NAME for name in names)
    sky = Sky(scenario, sky_time(scenario, at), say, fibre)
    one, two = (sky.node(name) for name in names)
    if one == two:
        raise UsageError(f"{names[0]} is both ends: name two different nodes or places.")
    dead = frozenset(_link(sky, words) for words in question.without)
    plan = sky.plan(question.hours)
    routes = Routes(plan)
    found = routes.disjoint(one, two, sky.at_s, dead, question.count)
    arrival = routes.arrival(one, two, sky.at_s, float(question.volume_bytes), dead)
    return Answer(
        head=sky.head,
        a=sky.mesh.names[one],
        b=sky.mesh.names[two],
        without=tuple(sky.mesh.label(link) for link in sorted(dead)),
        fibre=fibre,
        ways=tuple(_way(sky, plan, path) for path in found.paths),
        fewer=found.reason if found.paths else "",
        no_way=None if found.missing is None else _no_way(sky, plan, found.missing),
        delivery=_delivery(sky, plan, question.volume_bytes, arrival),
    )


def _link(sky: Sky, words: str) -> Link:
    """The link that `A-B` names, whose names may have a "-" of their own."""
    known = {name.casefold() for name in sky.mesh.names}
    for place, letter in enumerate(words):
        one, two = words[:place], words[place + 1 :]
        if letter == "-" and one.casefold() in known and two.casefold() in known:
            return sky.mesh.link_between(sky.node(one), sky.node(two))
    raise UsageError(
        f"--without {words} names no two nodes of {sky.scenario.name}: write their names with a - between them, such "
        f"as {'-'.join(sky.mesh.names[:2])}."
    )


def _way(sky: Sky, plan: ContactPlan, path: Path) -> Way:
    names = sky.mesh.names
    legs = []
    for sender, link in zip(path.nodes, path.links, strict=False):
        state = plan.state(link, sky.at_s)
        legs.append(
            Leg(
                names[sender],
                names[link.other(sender)],
                _kind(sky, link),
                state.range_km,
                state.delay_s * 1e3,
                state.rate_bps if sender == link.a else state.back_bps,
            )
        )
    return Way(
        hops=len(legs),
        delay_ms=path.delay_s * 1e3,
        rtt_ms=path.delay_s * 2e3,
        rate_bps=min(leg.rate_bps for leg in legs),
        nodes=tuple(names[node] for node in path.nodes),
        legs=tuple(legs),
    )


def _kind(sky: Sky, link: Link) -> str:
    if link.kind == LinkKind.RADIO:
        return sky.scenario.stations[link.b - sky.mesh.satellite_count].kind
    return link.kind.name.lower()


def _no_way(sky: Sky, plan: ContactPlan, found: NoPath) -> NoWay:
    until_s = found.until_s
    return NoWay(
        reason=found.reason,
        until_utc=None if until_s is None else utc_text(moment_at(sky.scenario, until_s)),
        until_s=until_s,
        blocked_by=tuple(sky.mesh.label(link) for link in found.blocked_by),
    )


def _delivery(sky: Sky, plan: ContactPlan, volume_bytes: int, found: Arrival | NoPath) -> Delivery:
    if isinstance(found, NoPath):
        return Delivery(volume_bytes, None, None, (), _no_way(sky, plan, found))

    def carried(hop: Transfer) -> Carried:
        start_s, end_s, arrival_s = hop.start_s, hop.end_s, hop.arrival_s
        return Carried(
            a=sky.mesh.names[hop.sender],
            b=sky.mesh.names[hop.receiver],
            kind=_kind(sky, hop.link),
            start_s=start_s,
            end_s=end_s,
            arrival_s=arrival_s,
            start_utc=utc_text(moment_at(sky.scenario, start_s)),
            end_utc=utc_text(moment_at(sky.scenario, end_s)),
            arrival_utc=utc_text(moment_at(sky.scenario, arrival_s)),
        )

    after_s = found.arrival_s - sky.at_s
    arrival_utc = utc_text(moment_at(sky.scenario, found.arrival_s))
    return Delivery(volume_bytes, arrival_utc, after_s, tuple(map(carried, found.transfers)), None)


def path_lines(found: Answer) -> list[str]:
    """The answer for a reader."""
    lines = brief_lines(found.head)
    cut = f", without {', '.join(found.without)}" if found.without else ""
    lines.append(f"{found.a} to {found.b}{cut}{', fibre allowed' if found.fibre else ''}")
    for number, way in enumerate(found.ways, 1):
        lines.append(
            f"way {number}: {way.hops} hops, {way.delay_ms:.2f} ms one way, {way.rtt_ms:.2f} ms round trip, "
            f"{rate_text(way.rate_bps)}"
        )
        for leg in way.legs[:LEGS_SHOWN]:
            lines.append(
                f"  {leg.a} - {leg.b}  {leg.kind}  {leg.range_km:,.0f} km  {leg.delay_ms:.2f} ms  "
                f"{rate_text(leg.rate_bps)}"
            )
        if len(way.legs) > LEGS_SHOWN:
            lines.append(f"  and {len(way.legs) - LEGS_SHOWN} more: --json has them all")
    if found.fewer:
        lines.append(found.fewer)
    if found.no_way is not None:
        until = found.no_way.until_utc or "beyond what was looked at (--hours)"
        lines.append(f"no way: {found.no_way.reason}; until {until}")
    return [*lines, *_delivery_lines(found)]


def _delivery_lines(found: Answer) -> list[str]:
    delivery, size = found.delivery, f"{found.delivery.volume_bytes:,} bytes"
    if delivery.none is not None:
        return [f"stored and forwarded whole, {size} never arrive: {delivery.none.reason}"]
    # A volume is not split over ways or contacts: whoever wonders why it takes so long has to know.
    there = f"stored and forwarded whole, {size} are there at {delivery.arrival_utc}, after {delivery.after_s:.3f} s"
    nodes = (found.a, *(hop.b for hop in delivery.hops))
    if found.ways and nodes == found.ways[0].nodes:
        return [f"{there}, along way 1"]
    stretches = _stretches(delivery.hops)
    lines = [f"{there}, in {len(delivery.hops)} hops:"]
    for first, last, count in stretches[:LEGS_SHOWN]:
        ends = f"{first.a} - {last.b}" if count == 1 else f"{first.a} ... {last.b} ({count} hops)"
        lines.append(f"  {ends}  {first.kind}  from {first.start_utc}, there {last.arrival_utc}")
    if len(stretches) > LEGS_SHOWN:
        lines.append(f"  and {len(stretches) - LEGS_SHOWN} more: --json has them all")
    return lines


def _stretches(hops: tuple[Carried, ...]) -> list[tuple[Carried, Carried, int]]:
    """First and last hop and number of hops of each stretch of one kind on which nothing waits."""
    found: list[tuple[Carried, Carried, int]] = []
    for hop in hops:
        if found and hop.kind == found[-1][1].kind and hop.start_s - found[-1][1].arrival_s < WAITED_S:
            found[-1] = (found[-1][0], hop, found[-1][2] + 1)
        else:
            found.append((hop, hop, 1))
    return found
