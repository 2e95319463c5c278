"""What does a user's scenario file say?

A scenario is one TOML file: a preset, a user's own shells and stations, or a preset with some values
changed.

    preset = "three-body-12"            one of the constellations that ship; optional with shells of one's own
    name, title, epoch                  the epoch with its time zone
    models = ["tinycloud"]
    stations = ["Svalbard", "Miyun"]    by name from the catalogue
    min_elevation_deg = 10              for stations that do not say their own
    [[shell]] [[station]] [[data]] [[fault]]
    [lasers] [ground_link] [backbone] [device] [ground_device] [clock]

Keys and units are those of `model.py`. A list of tables replaces the preset's, but a shell or station with
a known name takes the keys that it leaves out from the preset or the catalogue. What the file gives has
provenance "user".
"""

import tomllib

from perigrid.errors import ScenarioError
from perigrid.scenario.draft import Leaf, assemble, grow, overlay, refuse_unknown
from perigrid.scenario.draft import text as as_text
from perigrid.scenario.model import Provenance, Scenario
from perigrid.scenario.presets import PRESET_KEYS, Presets, by_label, resolved

MAX_SCENARIO_LETTERS = 4_000_000
"""A longer file is refused: a scenario with as many faults as possible is much shorter."""


def parse(text: str, where: str, presets: Presets) -> Scenario:
    """The scenario that a TOML text describes; `where` names its file in messages.

    Raises ScenarioError with file, dotted key and remedy for anything that cannot be.
    """
    if len(text) > MAX_SCENARIO_LETTERS:
        raise ScenarioError(f"{where}: a scenario has at most {MAX_SCENARIO_LETTERS} letters, not {len(text)}.")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{where}: this is not TOML: {error}: mend that line.") from error
    refuse_unknown(document, ("preset", "name", *PRESET_KEYS), where, "")
    preset = as_text(document.pop("preset", ""), where, "preset")
    name = as_text(document.pop("name", preset or "scenario"), where, "name")
    base = presets.draft(preset, where) if preset else presets.defaults

    origin = Provenance(kind="user", source=where)

    def given(_: str, value: object) -> Leaf | None:
        return None if isinstance(value, dict) else Leaf(value, origin)

    top = resolved(grow(by_label(document, where), given), presets.stations, presets.compute, where)
    return assemble(overlay(base, top), name, preset, where)
