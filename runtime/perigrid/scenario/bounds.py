"""Which values are possible, and what should stand instead?

A table of bounds for every number of a scenario, and the checks that need more than one value. Messages
name the file, the dotted key and the remedy. Bounds are wide: they refuse what cannot be, not what is
unusual.
"""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from perigrid.errors import ScenarioError
from perigrid.scenario.model import GROUND_NAME, Scenario, model_name

MAX_SATELLITES = 20_000
"""Beyond every preset by far; node ids, plans and names would hold more, nobody has measured it."""

MAX_STATIONS = 256
MAX_FAULTS = 10_000
MAX_NAME_LETTERS = 64


@dataclass(frozen=True, slots=True)
class Bound:
    """A number lies between `low` and `high`, both allowed unless `above_low`; `advice` says what to
    write.
    """

    low: float
    high: float
    advice: str
    above_low: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value is possible."""
        return self.low <= value <= self.high and not (self.above_low and value == self.low)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.above_low else 'at least'} {self.low:g}"
        return f"{'above' if self.above_low else 'at least'} {self.low:g} and at most {self.high:g}"


_RATE = Bound(0, 1e15, "give the rate in bit/s, such as 100e9", above_low=True)
_SECONDS = Bound(0, 86_400, "give seconds")
_LOSS = Bound(0, 0.5, "give the probability that a frame is lost, such as 0.001")
_SLOTS = Bound(1, 1024, "give how many inferences run at once")
_WATTS = Bound(0, 1e9, "give watts", above_low=True)
_TILE = Bound(16, 4096, "the shipped models take 256")

BOUNDS: dict[str, dict[str, Bound]] = {
    "Shell": {
        "altitude_km": Bound(120, 50_000, "below 120 km air ends an orbit within a turn; give km"),
        "inclination_deg": Bound(0, 180, "0 is equatorial, 90 polar, about 97.5 sun-synchronous"),
        "planes": Bound(1, 1000, "a shell has at least one plane"),
        "sats_per_plane": Bound(1, 1000, "a plane has at least one satellite"),
        "raan_deg": Bound(-360, 360, "give degrees"),
        "raan_spread_deg": Bound(0, 360, "360 is a Walker delta, 180 a star, 0 one plane"),
        "phasing": Bound(0, 1, "give the fraction of a slot: 0.5 is half a slot, F / planes is Walker's F"),
        "polar_cutoff_deg": Bound(0, 90, "give degrees of latitude"),
    },
    "Station": {
        "latitude_deg": Bound(-90, 90, "north is positive; are latitude and longitude swapped?"),
        "longitude_deg": Bound(-180, 360, "east is positive"),
        "min_elevation_deg": Bound(0, 89, "5 to 10 is common, 25 to 40 for broadband"),
    },
    "Lasers": {
        "rate_bps": _RATE,
        "acquire_s": _SECONDS,
        "grazing_altitude_km": Bound(0, 1000, "80 keeps beams out of the atmosphere"),
        "loss": _LOSS,
        "max_range_km": Bound(0, 1e6, "leave it out for line of sight alone", above_low=True),
    },
    "GroundLink": {"rate_bps": _RATE, "acquire_s": _SECONDS, "loss": _LOSS},
    "Backbone": {
        "rate_bps": _RATE,
        "factor": Bound(1, 10, "a fibre is at least as long as the great circle"),
    },
    "Device": {"slots": _SLOTS, "watts": _WATTS},
    "DataSource": {
        "tile_px": _TILE,
        "stride_px": Bound(1, 4096, "a stride as large as the tile cuts without overlap"),
        "replicas": Bound(1, 100, "1 is the owner's copy alone"),
        "tiles": Bound(1, 100_000_000, "leave it out for all tiles"),
    },
    "Fault": {"at_s": Bound(0, math.inf, "give seconds after the epoch")},
    "Clock": {"rate": Bound(0, 10_000, "1 is real time, below 1 is slower", above_low=True)},
}

_SERVICE = Bound(0, 86_400, "give seconds a tile", above_low=True)


def check_numbers(part: msgspec.Struct, where: str, key: str) -> None:
    """Raise ScenarioError where a number of this part is not finite or beyond its bounds."""
    bounds = BOUNDS.get(type(part).__name__, {})
    numbers = {f"{key}.{name}": (getattr(part, name), bound) for name, bound in bounds.items()}
    for model, service_s in getattr(part, "service_s", {}).items():
        numbers[f"{key}.service_s.{model}"] = (service_s, _SERVICE)
    for dotted, (value, bound) in numbers.items():
        if value is not None and not (math.isfinite(value) and bound.holds(value)):
            raise ScenarioError(f"{where}: {dotted} is {value:g} and must be {bound}: {bound.advice}.")


def check_whole(scenario: Scenario, where: str) -> Scenario:
    """The scenario itself; ScenarioError for what only the whole can show: names, counts, references."""
    _check_counts(scenario, where)
    _check_data(scenario, where)
    _check_names([shell.name for shell in scenario.shells], "shell", where)
    _check_names([station.name for station in scenario.stations], "station", where)
    _check_names([model_name(model) for model in scenario.models], "models", where)
    _check_names([source.name for source in scenario.data], "data", where)
    taken = {name.casefold() for name in (*scenario.satellite_names, GROUND_NAME)}
    for station in scenario.stations:
        if station.name.casefold() in taken:
            raise ScenarioError(
                f"{where}: station.{station.name} bears the name of another node: satellites are sat-01 and "
                f"so on, and {GROUND_NAME!r} is the ground centre. Choose another name."
            )
    for part, dotted in ((scenario.device, "device"), (scenario.ground_device, "ground_device")):
        _check_device(part.kind, part.service_s, part.source, scenario.models, f"{where}: {dotted}")
    _check_centre(scenario, where)
    _check_faults(scenario, where)
    return scenario


def _check_counts(scenario: Scenario, where: str) -> None:
    if not scenario.shells:
        raise ScenarioError(f'{where}: there is no shell: add preset = "three-body-12" or a [[shell]] table.')
    if not scenario.stations:
        raise ScenarioError(f'{where}: there is no station: add stations = ["Svalbard"] or a [[station]] table.')
    if not scenario.models:
        raise ScenarioError(f'{where}: models is empty: name at least one, such as models = ["tinycloud"].')
    for count, bound, noun in (
        (scenario.satellite_count, MAX_SATELLITES, "satellites"),
        (len(scenario.stations), MAX_STATIONS, "stations"),
        (len(scenario.faults), MAX_FAULTS, "faults"),
    ):
        if count > bound:
            raise ScenarioError(f"{where}: there are {count} {noun} and at most {bound} are possible.")


def _check_names(names: Iterable[str], key: str, where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if not name.strip() or len(name) > MAX_NAME_LETTERS:
            raise ScenarioError(f"{where}: {key} has the name {name!r}: names have 1 to {MAX_NAME_LETTERS} letters.")
        if name.casefold() in seen:
            raise ScenarioError(f"{where}: {key}.{name} appears twice: give each its own name.")
        seen.add(name.casefold())


def _check_device(kind: str, service_s: dict[str, float], source: str, models: tuple[str, ...], place: str) -> None:
    if kind == "host":
        if service_s:
            raise ScenarioError(
                f'{place}.service_s is given, but kind is "host", whose times are measured on this machine: '
                'remove it, or set kind = "cited" or "assumed".'
            )
        return
    missing = [name for name in map(model_name, models) if name not in service_s]
    if missing:
        raise ScenarioError(
            f"{place}.service_s.{missing[0]} is missing: a device of kind {kind!r} states the seconds a tile "
            "of every model in `models`."
        )
    if kind == "cited" and not source:
        raise ScenarioError(
            f'{place}.source is missing: a cited device says where its times are published; else set kind = "assumed".'
        )


def _check_data(scenario: Scenario, where: str) -> None:
    for source in scenario.data:
        if (source.dataset is None) == (source.file is None):
            raise ScenarioError(
                f'{where}: data.{source.label} needs either dataset, such as "sentinel2", or file, the path '
                "of a .npz file with a scene, or of a .npy file or a folder of them with tiles."
            )


def _check_centre(scenario: Scenario, where: str) -> None:
    stations = [station.name for station in scenario.stations]
    centre = scenario.backbone.centre_station
    if centre is not None and centre not in stations:
        raise ScenarioError(
            f"{where}: backbone.centre_station is {centre!r}, which is no station of this scenario: choose "
            f"one of {', '.join(stations)}."
        )


def _check_faults(scenario: Scenario, where: str) -> None:
    names = [*scenario.satellite_names, *(station.name for station in scenario.stations), GROUND_NAME]
    known = {name.casefold() for name in names}
    for number, fault in enumerate(scenario.faults):
        key = f"{where}: fault.{number}"
        if (fault.b is not None) != (fault.action in ("cut", "heal")):
            raise ScenarioError(
                f"{key} ({fault.action}): cut and heal name both ends of a link in a and b, kill and reboot "
                "name one node in a."
            )
        for end, name in (("a", fault.a), ("b", fault.b)):
            if name is not None and name.casefold() not in known:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ScenarioError(
                    f"{key}.{end} is {name!r}, which is no node of this scenario: {hint}Satellites are "
                    f"{names[0]} to {names[scenario.satellite_count - 1]}."
                )
