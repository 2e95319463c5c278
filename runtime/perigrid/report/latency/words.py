"""What do arms, worlds, verdicts and figures look like to a reader?

Each arm has one name, one colour and one pattern of dashes on the whole page; each number that rests on something
assumed bears a dagger; a world is a badge. Where a percentile has too few requests the cell says how many it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from perigrid.bench.latency.rows import Arm, Mode, Origin, World
from perigrid.bench.latency.schedule import RULES
from perigrid.bench.latency.statistics import Mean, Percentile, Verdict
from perigrid.bench.latency.summary import SeriesSummary
from perigrid.report.markup import Html, join, tag
from perigrid.report.words import seconds

ARM_NAMES = {
    Arm.BENT_PIPE: "bent pipe",
    Arm.BENT_PIPE_LASERS: "pipe + lasers",
    Arm.IN_ORBIT: "in orbit",
    Arm.SHARDED: "sharded",
    Arm.CASCADE: "cascade",
    Arm.BARE: "bare",
}
ARM_MEANINGS = {
    Arm.BENT_PIPE: "the capture goes down at its satellite's own next pass, and the ground infers",
    Arm.BENT_PIPE_LASERS: "the capture goes over lasers to whoever has a pass, and the ground infers",
    Arm.IN_ORBIT: "the satellite that took the capture infers; the result comes down",
    Arm.SHARDED: "the satellite's laser neighbours infer parts of it; the results come down",
    Arm.CASCADE: "a small model discards on board; what is left is refined and comes down",
    Arm.BARE: "the model alone in one process, no link and no server: the limit",
}
WORLD_NAMES = {World.LIVE: "live", World.SIM: "virtual time", World.BARE: "bare"}
WORLD_MEANINGS = {
    World.LIVE: "measured with real processes",
    World.SIM: "reckoned by the same machines in virtual time (sim)",
    World.BARE: "measured in one plain process",
}
ORIGIN_NAMES = {Origin.GROUND: "from the ground", Origin.BOARD: "from a sensor on board"}
STAGE_NAMES = {
    "gateway": "gateway",
    "ground_queue": "ground queue",
    "contact_wait": "contact wait",
    "uplink": "uplink",
    "lasers_up": "lasers up",
    "satellite_queue": "satellite queue",
    "inference": "inference",
    "keep": "flash",
    "lasers_down": "lasers down",
    "downlink": "downlink",
    "ground_inference": "ground inference",
    "settle": "settle",
}
VERDICT_STYLES = {
    Verdict.FASTER: "good",
    Verdict.SLOWER: "neutral",
    Verdict.UNDECIDED: "unsure",
    Verdict.INVALID: "bad",
}
DASH = "–"
LEAST_SHARE = 1e-4
"""A smaller share is only said to be smaller."""


def arm_names(group: Sequence[SeriesSummary]) -> dict[str, str]:
    """Series name -> what it is called in a drawing: its arm, with its world where two share an arm, else its name."""
    arms = Counter(one.arm for one in group)
    worlds = Counter((one.arm, one.world) for one in group)
    names = {}
    for one in group:
        arm = ARM_NAMES[one.arm]
        alone = arm if arms[one.arm] == 1 else f"{arm}, {one.world.value}"
        names[one.name] = alone if worlds[one.arm, one.world] == 1 else one.name
    return names


def line_style(one: SeriesSummary, group: Sequence[SeriesSummary]) -> str:
    """The style of a series in drawings: its arm's, and finer where virtual time stands beside what was measured."""
    beside = any(other.arm == one.arm and other.world != one.world for other in group)
    return f"{one.arm.value} virtual" if beside and one.world == World.SIM else one.arm.value


def group_title(mode: Mode, origin: Origin) -> str:
    """What a group of arms was asked."""
    return f"{RULES[mode].name}, {ORIGIN_NAMES[origin]}"


def world_badge(world: World) -> Html:
    """Where a number comes from, in a word."""
    return tag("span", WORLD_NAMES[world], class_=f"world {world.value}", title=WORLD_MEANINGS[world])


def verdict_badge(verdict: Verdict, reason: str = "") -> Html:
    """A verdict, loud where nothing is decided."""
    return tag("strong", verdict.value, class_=f"badge {VERDICT_STYLES[verdict]}", title=reason or None)


def validity_badge(valid: bool) -> Html:
    """Whether the desk kept the orbit's time."""
    sign = tag("span", "✓ " if valid else "✕ ", aria_hidden="true")
    words = "VALID FOR LATENCY" if valid else "INVALID FOR LATENCY"
    return tag("strong", sign, words, class_=f"badge {'good' if valid else 'bad'}")


def swatch(style: str) -> Html:
    """A piece of a line of that style."""
    line = tag("line", x1=1, x2=25, y1=6, y2=6, class_=f"curve {style}")
    return tag("svg", line, width=26, height=12, class_="swatch-line", aria_hidden="true")


def dagger(assumed: bool) -> Html:
    """The mark of what rests on assumed values."""
    return tag("sup", "†", title="rests on assumed values") if assumed else Html("")


def is_assumed(one: SeriesSummary, without: str = "") -> bool:
    """Whether any stage of a series, but for one, rests on an assumed value."""
    return any(stage.assumed and stage.name != without for stage in one.stages)


def stated(value: Percentile | Mean, assumed: bool) -> Html:
    """A value with its interval below, or how many requests it takes."""
    if value.value_s is None:
        few = f"needs {value.needed:,}" if isinstance(value, Percentile) else "none"
        return join([DASH, tag("small", few)])
    parts: list[str] = [seconds(value.value_s), dagger(assumed)]
    if value.low_s is not None or value.high_s is not None:
        low = "…" if value.low_s is None else seconds(value.low_s)
        high = "…" if value.high_s is None else seconds(value.high_s)
        parts.append(tag("small", between(low, high)))
    return join(parts)


def between(low: str, high: str) -> str:
    """A range with its unit once, where both ends have the same."""
    low_number, _, low_unit = low.rpartition(" ")
    high_unit = high.rpartition(" ")[2]
    plain = low.count(" ") == high.count(" ") == 1
    return f"{low_number}{DASH}{high}" if plain and low_unit == high_unit else f"{low} {DASH} {high}"


def percent(share: float | None) -> str:
    """A share for a reader."""
    if share is None:
        return DASH
    return "under 0.01 %" if 0 < share < LEAST_SHARE else f"{100 * share:.3g} %"


def cells(texts: Sequence[str]) -> Html:
    """Numbers of a row."""
    return join(tag("td", text, class_="number") for text in texts)


def head_row(names: Sequence[str], texts: int = 1, last: int = 0) -> Html:
    """The head of a table whose first and last columns are words and the others numbers."""
    ends = len(names) - last
    styles = ["number" if texts <= place < ends else None for place in range(len(names))]
    return tag(
        "thead",
        tag("tr", *(tag("th", name, scope="col", class_=style) for name, style in zip(names, styles, strict=True))),
    )


def frame(table: Html, label: str, tall: bool = False) -> Html:
    """A table that scrolls by itself on a narrow screen."""
    return tag("div", table, class_="scroll tall" if tall else "scroll", tabindex="0", role="region", aria_label=label)
