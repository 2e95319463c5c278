"""What does a user's scenario file say?

A scenario is one TOML file: a preset, a user's own shells and stations, or a preset with some values
changed.

    preset = "three-body-12"            one of the constellations that ship; optional with shells of one's own
    name, title, epoch                  the epoch with its time zone
    models = ["tinycloud"]
    stations = ["Svalbard", "Miyun"]    by name from the catalogue
    min_elevation_deg = 10              for stations that do not say their own
    ut1_utc_s, seed                     the Earth's lead on the clock, the start of all chance in the sky
    [[shell]] [[catalogue]] [[laser]] [[station]] [[data]] [[sensor]] [[fault]]
    [lasers] [ground_link] [optical_link] [backbone] [device] [ground_device] [processing] [clock]

Keys and units are those of `model.py`, and a shell may have walker_delta = "53:1584/72/1" or walker_star in
place of five of them (`walker.py`). A list of tables replaces the preset's, but a shell or station with
a known name takes the keys that it leaves out from the preset or the list that ships. What the file gives
has provenance "user". A [[catalogue]] names a file of element sets (`elements.py`), which the caller reads.
A file of element sets alone is a scenario too: `scenario_of_elements`.
"""

import tomllib
from collections.abc import Callable

from perigrid.errors import ScenarioError
from perigrid.scenario.draft import Draft, Leaf, assemble, grow, overlay, refuse_unknown
from perigrid.scenario.draft import text as as_text
from perigrid.scenario.elements import read_elements
from perigrid.scenario.model import Elements, Provenance, Scenario
from perigrid.scenario.presets import PRESET_KEYS, Presets, by_label, resolved
from perigrid.scenario.whole import MAX_NAME_LETTERS, label_of, moment, span_of

MAX_SCENARIO_LETTERS = 4_000_000
"""A longer file is refused: a scenario with as many faults as possible is much shorter."""


ReadFile = Callable[[str], str]
"""Takes the file of a catalogue, as the scenario writes it, and gives its text."""


def parse(text: str, where: str, presets: Presets, read_file: ReadFile | None = None) -> Scenario:
    """The scenario that a TOML text describes; `where` names its file in messages.

    `read_file` gives the text of the files that catalogues name; without it a catalogue is refused. Raises
    ScenarioError with file, dotted key and remedy for anything that cannot be, and what `read_file` raises.
    """
    if len(text) > MAX_SCENARIO_LETTERS:
        raise ScenarioError(f"{where}: a scenario has at most {MAX_SCENARIO_LETTERS} letters, not {len(text)}.")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits and endless brackets are no error of TOML's own.
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ScenarioError(f"{where}: this is not TOML: {problem}: mend that line.") from error
    refuse_unknown(document, ("preset", "name", *PRESET_KEYS), where, "")
    preset = as_text(document.pop("preset", ""), where, "preset")
    name = as_text(document.pop("name", preset or "scenario"), where, "name")
    base = presets.draft(preset, where) if preset else presets.defaults

    origin = Provenance(kind="user", source=where)

    def given(_: str, value: object) -> Leaf | None:
        return None if isinstance(value, dict) else Leaf(value, origin)

    top = resolved(grow(by_label(document, where), given), presets.stations, presets.compute, where)
    draft = overlay(base, top)
    elements = _catalogued(draft, where, read_file)
    if elements and "epoch" not in document:
        every = [one for listed in elements.values() for one in listed]
        newest = max(one.epoch for one in every)
        raise ScenarioError(
            f"{where}: epoch is missing: catalogued satellites have elements of a moment, so sky time 0 has to be "
            f"stated. {span_of(every)} Write one among them, such as epoch = {moment(newest)}."
        )
    return assemble(draft, name, preset, where, elements)


def scenario_of_elements(elements: tuple[Elements, ...], name: str, where: str, presets: Presets) -> Scenario:
    """The scenario of catalogued objects alone, such as `read_elements` gives them.

    The epoch is that of the newest elements; stations and terminals are those that `presets` has for a bare
    file, lasers go to the nearest in view. Raises ScenarioError as `parse` does.
    """
    if not elements:
        raise ScenarioError(f"{where}: there are no objects: name a file that holds some.")
    newest = max(elements, key=lambda one: one.epoch)
    origin = Provenance(kind="user", source=where)
    label = name.strip()[:MAX_NAME_LETTERS] or "catalogue"
    catalogue: Draft = {
        "name": Leaf(label, origin),
        "file": Leaf(where.replace("\\", "/").rpartition("/")[2], origin),
        "topology": Leaf("nearest", Provenance(kind="assumed", source="element sets do not say who points at whom")),
    }
    top: Draft = {
        "title": Leaf(f"{len(elements):,} catalogued objects of {where}", None),
        "epoch": Leaf(newest.epoch, Provenance(kind="computed", source=f"the newest elements', {label_of(newest)}")),
        "catalogue": {label: catalogue},
    }
    return assemble(overlay(presets.bare, top), label, "", where, {label: elements})


def _catalogued(draft: Draft, where: str, read_file: ReadFile | None) -> dict[str, tuple[Elements, ...]]:
    """The objects of each catalogue's file, by the catalogue's name."""
    found: dict[str, tuple[Elements, ...]] = {}
    for label, table in draft.get("catalogue", {}).items():
        leaf = table.get("file")
        if not isinstance(leaf, Leaf) or not isinstance(leaf.value, str):
            continue
        place = f"{where}: catalogue.{label}.file {leaf.value!r}"
        if read_file is None:
            raise ScenarioError(f"{place} cannot be read here, where the scenario is text alone: give it as a file.")
        found[label] = read_elements(read_file(leaf.value), place)
    return found
