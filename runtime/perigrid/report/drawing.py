"""What did the constellation look like to the job?

A drawing of its satellites, their lasers by what they carried, what was cut and who was lost; beside it a legend, and
in words what colours say. The layout is in `layout.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.report.layout import EARTH_RADIUS_PX, RING_PX, Layout, Place, layout_of
from perigrid.report.markup import Html, join, tag
from perigrid.report.outcome import amount
from perigrid.report.story import LinkLoad, Story
from perigrid.report.words import count, named
from perigrid.scenario.model import Scenario
from perigrid.units import NodeId

LOAD_CLASSES = 4
NAMES_SHOWN = 12
MAX_LABELLED_RING = 24
"""A ring of more satellites has no names beside them; a pointer still shows each one's."""

RING_TOP_PX = 10.0
"""What is left out above and below a ring: beside it there are names, which are wider than high."""

EARTH_NAME_SHARE = 0.5
"""How far from its middle the Earth's name stands, away from the stations, as a share of its radius."""

STUB_PX = 11.0
"""Length of the ends of a link that goes around the edge of the drawing."""

INVOLVED, BROKEN = 1.0, 1e18
"""What a satellite weighs, beside its bytes, that took part, or that was broken: broken ones are drawn in any case."""


@dataclass(frozen=True, slots=True)
class _World:
    """What the drawing needs to know, by node id."""

    mesh: Mesh
    story: Story
    layout: Layout
    lasers: Mapping[Link, LinkLoad]
    radios: Mapping[Link, LinkLoad]
    cut: frozenset[Link]
    ever_cut: frozenset[Link]
    dead: frozenset[NodeId]
    ever_dead: frozenset[NodeId]
    computed: Mapping[NodeId, int]
    catalogued: bool

    @property
    def drawn(self) -> list[Link]:
        """Lasers that always point at the same satellite, and of the others those that were used or cut."""
        return sorted({*self.mesh.lasers, *self.lasers, *(k for k in self.ever_cut if k.kind == LinkKind.LASER)})

    @property
    def most_bytes(self) -> int:
        """What the busiest laser carried."""
        return max((load.size_bytes for load in self.lasers.values()), default=0)


def drawing(scenario: Scenario, mesh: Mesh, story: Story) -> Html:
    """The drawing with its legend."""
    world = _world(scenario, mesh, story)
    layout = world.layout
    description = _description(world)
    top_px = RING_TOP_PX if layout.ring else 0.0
    svg = tag(
        "svg",
        tag("title", f"The constellation {scenario.name}", id="constellation-title"),
        tag("desc", description, id="constellation-desc"),
        *(_earth(world) if layout.ring else ()),
        *(tag("text", text, x=x, y=y, class_="block") for (x, y), text in layout.titles),
        *(_laser(world, link) for link in world.drawn if link.a in layout.places and link.b in layout.places),
        *(_ground(world) if layout.ring else ()),
        *(_satellite(world, node) for node in layout.places),
        role="img",
        aria_labelledby="constellation-title constellation-desc",
        viewBox=f"0 {top_px:g} {layout.width_px:g} {layout.height_px - 2 * top_px:g}",
        width=f"{layout.width_px:g}",
        height=f"{layout.height_px - 2 * top_px:g}",
        class_="ring" if layout.ring else "planes",
    )
    if not layout.ring:
        svg = tag("div", svg, class_="scroll tall", tabindex="0", role="region", aria_label="Drawing of the planes")
    side = tag("div", _legend(world), tag("p", description), tag("p", _scope(world), class_="note"), class_="side")
    return tag("div", svg, side, class_="beside" if layout.ring else "below")


def _world(scenario: Scenario, mesh: Mesh, story: Story) -> _World:
    ids = {name: NodeId(number) for number, name in enumerate(mesh.names)}
    loads = {"laser": {}, "radio": {}}  # type: dict[str, dict[Link, LinkLoad]]
    weight: Counter[NodeId] = Counter()
    for load in story.loads:
        link = _link(mesh, ids, (load.a, load.b))
        if link is not None and load.kind in loads:
            loads[load.kind][link] = load
            weight.update({link.a: load.size_bytes, link.b: load.size_bytes})
    during = [i for i in story.incidents if i.at_s >= story.admitted_s]
    cut = _links(mesh, ids, story.cut)
    ever_cut = cut | _links(mesh, ids, (i.nodes for i in during if i.what == "cut"))
    dead = frozenset(ids[name] for name in story.dead if name in ids)
    ever_dead = dead | {ids[i.nodes[0]] for i in during if i.what == "kill" and i.nodes[0] in ids}
    computed = Counter(ids[a.satellite] for a in story.accepted if a.satellite in ids)
    weight.update(dict.fromkeys(computed, INVOLVED))
    weight.update(dict.fromkeys((*ever_dead, *(end for link in ever_cut for end in link[:2])), BROKEN))
    layout = layout_of(scenario, mesh, weight)
    return _World(
        mesh=mesh,
        story=story,
        layout=layout,
        lasers=loads["laser"],
        radios=loads["radio"],
        cut=cut,
        ever_cut=ever_cut,
        dead=dead,
        ever_dead=ever_dead,
        computed=computed,
        catalogued=bool(scenario.catalogues),
    )


def _link(mesh: Mesh, ids: Mapping[str, NodeId], ends: Iterable[str]) -> Link | None:
    """The laser or radio link between two nodes by name; None for others, and for names that are unknown."""
    nodes = sorted(ids[name] for name in ends if name in ids)
    if len(nodes) != 2 or not mesh.is_satellite(nodes[0]):
        return None
    kind = LinkKind.LASER if mesh.is_satellite(nodes[1]) else LinkKind.RADIO
    return Link(nodes[0], nodes[1], kind)


def _links(mesh: Mesh, ids: Mapping[str, NodeId], pairs: Iterable[Iterable[str]]) -> frozenset[Link]:
    found = (_link(mesh, ids, pair) for pair in pairs)
    return frozenset(link for link in found if link is not None)


def _earth(world: _World) -> tuple[Html, ...]:
    """The Earth, and its name where the stations leave room for it."""
    centre = RING_PX / 2
    towards = [world.layout.places[link.a] for link in world.radios if link.a in world.layout.places]
    dx = sum(x - centre for x, _ in towards)
    dy = sum(y - centre for _, y in towards)
    away = EARTH_NAME_SHARE * EARTH_RADIUS_PX / (math.hypot(dx, dy) or 1.0)
    at = (centre - away * dx, centre - away * dy)
    return (
        tag("circle", cx=centre, cy=centre, r=EARTH_RADIUS_PX, class_="earth"),
        tag("text", "Earth", x=f"{at[0]:.1f}", y=f"{at[1] + 5:.1f}", text_anchor="middle", class_="earth-name"),
    )


def load_class(size_bytes: int, most_bytes: int) -> int:
    """0 for nothing, else 1 to LOAD_CLASSES by the share of the busiest."""
    return math.ceil(LOAD_CLASSES * size_bytes / most_bytes) if size_bytes > 0 else 0


def _laser(world: _World, link: Link) -> Html:
    load = world.lasers.get(link)
    size = 0 if load is None else load.size_bytes
    style = f"laser load-{load_class(size, world.most_bytes)}"
    state = ""
    if link in world.cut:
        style, state = "laser cut", ", cut"
    elif link in world.ever_cut:
        style, state = f"{style} healed", ", cut for a time"
    title = tag("title", f"{world.mesh.label(link)}: {amount(size)}{state}")
    a, b = world.layout.places[link.a], world.layout.places[link.b]
    if world.layout.is_short(link.a, link.b):
        lines = [_line(a, b, style)]
        middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
        crosses = [_cross(middle, 6.0, "cut-mark")] if link in world.cut else []
    else:
        lines = [_stub(a, b, style), _stub(b, a, style)]
        crosses = [_cross(a, 6.0, "cut-mark"), _cross(b, 6.0, "cut-mark")] if link in world.cut else []
    return tag("g", title, *lines, *crosses)


def _line(a: Place, b: Place, style: str) -> Html:
    return tag("line", x1=f"{a[0]:.1f}", y1=f"{a[1]:.1f}", x2=f"{b[0]:.1f}", y2=f"{b[1]:.1f}", class_=style)


def _stub(here: Place, there: Place, style: str) -> Html:
    """The start of a link that goes off the drawing's edge and comes back on the other side."""
    dx, dy = here[0] - there[0], here[1] - there[1]
    length = math.hypot(dx, dy) or 1.0
    return _line(here, (here[0] + STUB_PX * dx / length, here[1] + STUB_PX * dy / length), style)


def _cross(at: Place, size: float, style: str) -> Html:
    x, y = at
    return tag(
        "path",
        d=f"M{x - size:.1f} {y - size:.1f}l{2 * size:g} {2 * size:g}m0 {-2 * size:g}l{-2 * size:g} {2 * size:g}",
        class_=style,
    )


def _satellite(world: _World, node: NodeId) -> Html:
    x, y = world.layout.places[node]
    radius = world.layout.node_px
    name, done = world.mesh.names[node], world.computed.get(node, 0)
    state = "dead" if node in world.dead else "revived" if node in world.ever_dead else "idle" if not done else "busy"
    if node not in world.dead and any(link.a == node for link in world.radios):
        state += " ground-contact"
    told = {"dead": ", lost", "revived": ", lost for a time"}.get(state.split()[0], "")
    parts = [
        tag("title", f"{name}: {count(done, 'shard')} accepted{told}"),
        tag("circle", cx=x, cy=y, r=f"{radius:.1f}", class_=f"satellite {state}"),
    ]
    if done and radius >= 10 and node not in world.dead:
        parts.append(tag("text", str(done), x=x, y=y + 4, text_anchor="middle", class_=f"done {state}"))
    if node in world.dead:
        parts.append(_cross((x, y), radius + 2, "dead-mark"))
    if world.layout.ring and world.mesh.satellite_count <= MAX_LABELLED_RING:
        parts.append(_outside(name, (x, y)))
    return tag("g", *parts)


def _outside(name: str, place: Place) -> Html:
    """A satellite's name, on the ring's outer side."""
    dx, dy = place[0] - RING_PX / 2, place[1] - RING_PX / 2
    length = math.hypot(dx, dy) or 1.0
    x, y = place[0] + 22 * dx / length, place[1] + 22 * dy / length
    anchor = "start" if dx > 0.3 * length else "end" if dx < -0.3 * length else "middle"
    return tag("text", name, x=f"{x:.1f}", y=f"{y + 4:.1f}", text_anchor=anchor, class_="name")


def _ground(world: _World) -> list[Html]:
    """Stations at the Earth's edge, below the middle of the satellites that they talked to."""
    parts: list[Html] = []
    for station in world.mesh.station_ids:
        links = [link for link in world.radios if link.b == station and link.a in world.layout.places]
        if not links:
            continue
        centre = RING_PX / 2
        dx = sum((world.layout.places[link.a][0] - centre) * world.radios[link].size_bytes for link in links)
        dy = sum((world.layout.places[link.a][1] - centre) * world.radios[link].size_bytes for link in links)
        length = math.hypot(dx, dy) or 1.0
        at = (centre + EARTH_RADIUS_PX * dx / length, centre + EARTH_RADIUS_PX * dy / length)
        parts += [_radio(world, link, at) for link in links]
        parts.append(_station(world.mesh.names[station], at, (dx / length, dy / length)))
    return parts


def _radio(world: _World, link: Link, at: Place) -> Html:
    state = ", cut" if link in world.cut else ""
    title = tag("title", f"{world.mesh.label(link)}: {amount(world.radios[link].size_bytes)}{state}")
    return tag("g", title, _line(at, world.layout.places[link.a], "radio cut" if state else "radio"))


def _station(name: str, at: Place, direction: Place) -> Html:
    x, y = at[0] - 14 * direction[0], at[1] - 14 * direction[1]
    anchor = "end" if direction[0] > 0.3 else "start" if direction[0] < -0.3 else "middle"
    text = tag("text", name, x=f"{x:.1f}", y=f"{y + 4:.1f}", text_anchor=anchor, class_="station-name")
    return tag(
        "g", tag("rect", x=f"{at[0] - 6:.1f}", y=f"{at[1] - 6:.1f}", width=12, height=12, class_="station"), text
    )


def _legend(world: _World) -> Html:
    entries: list[Html] = []
    most = world.most_bytes
    for number in range(1, LOAD_CLASSES + 1) if most else ():
        text = f"laser, up to {amount(most * number // LOAD_CLASSES)}"
        entries.append(_entry(tag("line", x1=1, x2=27, y1=8, y2=8, class_=f"laser load-{number}"), text))
    entries.append(_entry(tag("line", x1=1, x2=27, y1=8, y2=8, class_="laser load-0"), "laser, nothing carried"))
    if world.ever_cut:
        cut = [tag("line", x1=1, x2=27, y1=8, y2=8, class_="laser cut"), _cross((14, 8), 5, "cut-mark")]
        entries.append(_entry(join(cut), "cut at the job's end" if world.cut else "cut for a time"))
    if world.layout.ring:
        entries.append(_entry(tag("line", x1=1, x2=27, y1=8, y2=8, class_="radio"), "radio link to a station"))
        text = "satellite, with its accepted shards"
    else:
        circle = tag("circle", cx=14, cy=8, r=6, class_="satellite busy ground-contact")
        entries.append(_entry(circle, "talked to a ground station"))
        text = "satellite with accepted shards"
    entries.append(_entry(tag("circle", cx=14, cy=8, r=6, class_="satellite busy"), text))
    if world.ever_dead:
        dead = [tag("circle", cx=14, cy=8, r=6, class_="satellite dead"), _cross((14, 8), 7, "dead-mark")]
        entries.append(_entry(join(dead), "lost at the job's end" if world.dead else "lost for a time"))
    return tag("ul", *entries, class_="legend column")


def _entry(sample: Html, text: str) -> Html:
    return tag("li", tag("svg", sample, width=28, height=16, aria_hidden="true"), text)


def _description(world: _World) -> str:
    """What the drawing shows, in words."""
    mesh = world.mesh
    satellites = count(mesh.satellite_count, "satellite")
    if any(group >= 0 for group in mesh.roaming):
        # How many there are has no answer: any two that see each other may have one.
        parts = [f"{satellites}, whose lasers point at whoever is nearest."]
        parts += [f"{count(len(world.lasers), 'laser')} carried something."] if world.lasers else []
    else:
        parts = [f"{satellites}, {count(len(mesh.lasers), 'laser')}."]
    busy = [load for load in world.story.loads if load.kind == "laser"][:1]
    parts += [f"The busiest laser, {load.a} – {load.b}, carried {amount(load.size_bytes)}." for load in busy]
    parts += _state("Cut", (mesh.label(link) for link in sorted(world.cut)))
    parts += _state("Cut for a time", (mesh.label(link) for link in sorted(world.ever_cut - world.cut)))
    parts += _state("Lost", (mesh.names[node] for node in sorted(world.dead)))
    parts += _state("Lost for a time", (mesh.names[node] for node in sorted(world.ever_dead - world.dead)))
    stations = {link.b for link in world.radios}
    parts += _state("Ground stations in use", (mesh.names[node] for node in sorted(stations)))
    return " ".join(parts)


def _state(what: str, names: Iterable[str]) -> list[str]:
    listed: Sequence[str] = list(names)
    return [f"{what}: {named(listed, NAMES_SHOWN)}."] if listed else []


def _scope(world: _World) -> str:
    """What the drawing leaves out."""
    layout = world.layout
    drawn, total = len(layout.places), world.mesh.satellite_count
    text = (
        "Places are those of the pattern, not of the sky, and not to scale. Bytes are of all traffic while the job ran."
    )
    if world.catalogued:
        text += (
            " Catalogued satellites stand in the order of their file; of their lasers those that were used are drawn."
        )
    if drawn < total:
        planes = f"the {layout.planes_drawn:,} of {count(layout.planes, 'plane')} that had most to do with the job"
        which = planes if layout.planes > 1 else "those that had most to do with the job"
        text += f" Showing {drawn:,} of {count(total, 'satellite')}: {which}."
    return text
