"""How does a shell in Walker's notation i:t/p/f become the keys of a shell?

`i:t/p/f` is inclination in degrees, total number of satellites, number of planes, and phasing f from 0 to
p - 1: a satellite is f * 360 / t degrees ahead of its neighbour in the plane to the west, which is the
fraction f / p of the spacing within a plane. A delta spreads its planes over 360 degrees of right ascension,
a star over 180. Source: J. G. Walker, "Satellite constellations", Journal of the British Interplanetary
Society 37 (1984), pages 559 to 571.
"""

import re
from collections.abc import Iterable

from perigrid.errors import ScenarioError

NOTATIONS = {"walker_delta": 360.0, "walker_star": 180.0}
"""Keys that hold a notation -> angle in degrees over which the planes are spread."""

WRITES = ("inclination_deg", "planes", "sats_per_plane", "raan_spread_deg", "phasing")
"""Keys that a notation stands in place of."""

NOTATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*:\s*(\d{1,9})\s*/\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", re.ASCII)


def of_notation(text: object, key: str, where: str, stated: Iterable[str]) -> dict[str, float]:
    """The values of `WRITES` that a notation means.

    `key` is the dotted key that holds it, whose last word is one of `NOTATIONS`; `stated` are the keys beside
    it. Raises ScenarioError for what is no notation, planes that do not divide the satellites, a phasing
    beyond the planes, and a key that says the same again.
    """
    shell, _, notation = key.rpartition(".")
    twice = [name for name in (*WRITES, *NOTATIONS) if name in stated and name != notation]
    if twice:
        raise ScenarioError(f"{where}: {shell} has both {notation} and {twice[0]}, which it says already: keep one.")
    example = f'{notation} = "53:1584/72/1"' if notation == "walker_delta" else f'{notation} = "86.4:66/6/2"'
    found = NOTATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ScenarioError(
            f"{where}: {key} is {text!r}: write inclination:satellites/planes/phasing, such as {example}."
        )
    total, planes, phasing = (int(found[group]) for group in (2, 3, 4))
    if total == 0 or planes == 0:
        raise ScenarioError(f"{where}: {key} is {text!r}: a shell has at least one plane and one satellite in each.")
    if total % planes:
        raise ScenarioError(
            f"{where}: {key} is {text!r}: {total} satellites cannot be shared evenly by {planes} planes; "
            f"{total - total % planes} or {total - total % planes + planes} can."
        )
    if phasing >= planes:
        raise ScenarioError(
            f"{where}: {key} is {text!r}: its phasing {phasing} must be at least 0 and at most {planes - 1}, one less "
            "than the planes."
        )
    return {
        "inclination_deg": float(found[1]),
        "planes": planes,
        "sats_per_plane": total // planes,
        "raan_spread_deg": NOTATIONS[notation],
        "phasing": phasing / planes,
    }
