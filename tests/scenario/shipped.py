"""The presets that ship, read from the files beside their module, for the tests of several rooms."""

from pathlib import Path

import msgspec

import perigrid.scenario
from perigrid.scenario.draft import SINGLE
from perigrid.scenario.model import Scenario
from perigrid.scenario.presets import PRESETS_FILE, STATIONS_FILE, parse_presets

ROOM = Path(perigrid.scenario.__path__[0])
STATIONS_TEXT = (ROOM / STATIONS_FILE).read_text(encoding="utf-8")
PRESETS = parse_presets((ROOM / PRESETS_FILE).read_text(encoding="utf-8"), STATIONS_TEXT)


def all_numbers(scenario: Scenario) -> list[str]:
    """Dotted keys of every number of a scenario, as its provenance should have them."""
    parts = {key: getattr(scenario, key) for key in SINGLE if getattr(scenario, key) is not None}
    parts |= {f"shell.{shell.name}": shell for shell in scenario.shells}
    parts |= {f"station.{station.name}": station for station in scenario.stations}
    parts |= {f"catalogue.{catalogue.name}": catalogue for catalogue in scenario.catalogues}
    parts |= {f"data.{source.label}": source for source in scenario.data}
    inner = [found for key, part in parts.items() for found in _numbers(msgspec.structs.asdict(part), key)]
    return ["ut1_utc_s", "seed", *inner]


def _numbers(value: object, key: str) -> list[str]:
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in _numbers(inner, f"{key}.{name}")]
    return [key] if isinstance(value, int | float) and not isinstance(value, bool) else []
