"""What can only the whole scenario show: do its parts fit each other?

Names and references, counts, what a device has to state, skylines, epochs of catalogued objects, and the
budget of lasers: a satellite needs a terminal for each link of its topology and for each explicit one.
Messages name the file, the dotted key and the remedy.
"""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from perigrid.errors import ScenarioError
from perigrid.scenario.bounds import (
    MAX_FAULTS,
    MAX_FRAME_BYTES,
    MAX_FRAME_TILES,
    MAX_LASER_PAIRS,
    MAX_MASK_POINTS,
    MAX_SATELLITES,
    MAX_SENSORS,
    MAX_STATIONS,
)
from perigrid.scenario.model import GROUND_NAME, Elements, Lasers, Scenario, Shell, Station, model_name

MAX_NAME_LETTERS = 64

MAX_EPOCH_DAYS = 30
"""Elements further than this from the scenario's epoch are refused: in low orbit SGP4 is good to about a kilometre
within a few days of them (T. S. Kelso, AAS 07-127) and loses kilometres a day beyond, so that after a month contacts
and ranges are those of another orbit.
"""

FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Years that an epoch may lie in: theories of the Sun and of the Earth's turn are good around 2000, and dates end."""

DAY_S = 86_400
FULL_CIRCLE_DEG, RIGHT_ANGLE_DEG = 360.0, 90.0
ROUNDING = 1e-9

PLANE_LINKS, MOTIF_LINKS, GRID_LINKS = 2, 1, 2
"""Lasers of a satellite within its plane, and to neighbouring planes in a motif and in a grid."""


def check_whole(scenario: Scenario, where: str) -> Scenario:
    """The scenario itself; ScenarioError for what only the whole can show: names, counts, references."""
    _check_counts(scenario, where)
    _check_data(scenario, where)
    _check_names([shell.name for shell in scenario.shells], "shell", where)
    _check_names([catalogue.name for catalogue in scenario.catalogues], "catalogue", where)
    _check_names([station.name for station in scenario.stations], "station", where)
    _check_names([model_name(model) for model in scenario.models], "models", where)
    _check_names([source.name for source in scenario.data], "data", where)
    satellites = {name.casefold(): node for node, name in enumerate(scenario.satellite_names)}
    _check_numbers_once(scenario, where)
    for station in scenario.stations:
        _check_station(station, satellites, where)
    check_epoch(scenario, where)
    _check_lasers(scenario, satellites, where)
    for part, dotted in ((scenario.device, "device"), (scenario.ground_device, "ground_device")):
        _check_device(part.kind, part.service_s, part.source, scenario.models, f"{where}: {dotted}")
    _check_centre(scenario, where)
    _check_faults(scenario, where)
    _check_sensors(scenario, where)
    return scenario


def check_epoch(scenario: Scenario, where: str) -> None:
    """Raise ScenarioError where the epoch is beyond what the theories know, or, naming the object, where a catalogued
    one's elements are too far from it.
    """
    if not FIRST_YEAR <= scenario.epoch.year <= LAST_YEAR:
        raise ScenarioError(
            f"{where}: epoch is {scenario.epoch.isoformat()}, and sky and orbits are known from {FIRST_YEAR} to "
            f"{LAST_YEAR}: choose a moment in between."
        )
    for catalogue in scenario.catalogues:
        if not catalogue.elements:
            raise ScenarioError(f"{where}: catalogue.{catalogue.name} has no objects: name a file that holds some.")
        far = max(catalogue.elements, key=lambda one: abs(one.epoch - scenario.epoch))
        if abs(far.epoch - scenario.epoch) > timedelta(days=MAX_EPOCH_DAYS):
            days = (scenario.epoch - far.epoch) / timedelta(days=1)
            side = "after" if days > 0 else "before"
            raise ScenarioError(
                f"{where}: epoch is {moment(scenario.epoch)}, {abs(days):,.1f} days {side} the elements of "
                f"{label_of(far)} in catalogue.{catalogue.name}, and at most {MAX_EPOCH_DAYS} are possible: SGP4 loses "
                f"kilometres a day. {span_of(catalogue.elements)} Choose an epoch among them, or newer elements."
            )


def span_of(elements: Iterable[Elements]) -> str:
    """A sentence on the epochs of elements."""
    epochs = sorted(one.epoch for one in elements)
    return f"The elements' own epochs are {moment(epochs[0])} to {moment(epochs[-1])}."


def moment(epoch: datetime) -> str:
    """A moment in UTC as a scenario file has it, to the second."""
    return epoch.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def label_of(one: Elements) -> str:
    """A catalogued object in words: its number, and its name where it has one."""
    return f"object {one.number} ({one.name})" if one.name else f"object {one.number}"


def _check_counts(scenario: Scenario, where: str) -> None:
    if not scenario.shells and not scenario.catalogues:
        raise ScenarioError(
            f'{where}: there is no shell: add preset = "three-body-12", a [[shell]] table, or a [[catalogue]] of '
            "element sets."
        )
    if not scenario.stations:
        raise ScenarioError(f'{where}: there is no station: add stations = ["Svalbard"] or a [[station]] table.')
    if not scenario.models:
        raise ScenarioError(f'{where}: models is empty: name at least one, such as models = ["tinycloud"].')
    for count, bound, noun in (
        (scenario.satellite_count, MAX_SATELLITES, "satellites"),
        (len(scenario.stations), MAX_STATIONS, "stations"),
        (len(scenario.laser_pairs), MAX_LASER_PAIRS, "explicit lasers"),
        (len(scenario.faults), MAX_FAULTS, "faults"),
        (len(scenario.sensors), MAX_SENSORS, "sensors"),
    ):
        if count > bound:
            raise ScenarioError(f"{where}: there are {count} {noun} and at most {bound} are possible.")


def _check_numbers_once(scenario: Scenario, where: str) -> None:
    seen: dict[int, str] = {}
    for catalogue in scenario.catalogues:
        for one in catalogue.elements:
            if one.number in seen:
                raise ScenarioError(
                    f"{where}: {label_of(one)} is in catalogue.{catalogue.name} and in catalogue.{seen[one.number]}: "
                    "a satellite flies once, so leave it out of one of the files."
                )
            seen[one.number] = catalogue.name


def _check_station(station: Station, satellites: Mapping[str, int], where: str) -> None:
    key = f"{where}: station.{station.name}"
    if station.name.casefold() in (*satellites, GROUND_NAME):
        raise ScenarioError(
            f"{key} bears the name of another node: satellites are sat-01 and so on or catalogue numbers, and "
            f"{GROUND_NAME!r} is the ground centre. Choose another name."
        )
    if station.kind == "radio" and station.availability < 1:
        raise ScenarioError(
            f'{key}.availability is {station.availability:g}, but kind is "radio", which clouds do not close: set '
            'kind = "optical", or remove it.'
        )
    if len(station.mask_deg) > MAX_MASK_POINTS:
        raise ScenarioError(
            f"{key}.mask_deg has {len(station.mask_deg)} points: at most {MAX_MASK_POINTS} are possible, one each half "
            "degree."
        )
    for number, (azimuth, elevation) in enumerate(station.mask_deg):
        if not 0 <= azimuth < FULL_CIRCLE_DEG:
            raise ScenarioError(
                f"{key}.mask_deg.{number} has azimuth {azimuth:g}: give degrees from north over east, at least 0 and "
                "below 360; the skyline closes from the last point to the first by itself."
            )
        if not 0 <= elevation <= RIGHT_ANGLE_DEG:
            raise ScenarioError(
                f"{key}.mask_deg.{number} has elevation {elevation:g}: give degrees above the horizon, 0 to 90, behind "
                "the azimuth: [azimuth, elevation]."
            )
    for number, ((azimuth, _), (following, _)) in enumerate(pairwise(station.mask_deg), 1):
        if following <= azimuth:
            raise ScenarioError(
                f"{key}.mask_deg.{number} has azimuth {following:g} behind {azimuth:g}: list each azimuth once, in "
                "rising order."
            )


def _check_lasers(scenario: Scenario, satellites: Mapping[str, int], where: str) -> None:
    """Explicit pairs, the budget of terminals, and outages that can be as short as asked for."""
    lasers = scenario.lasers
    pairs = _explicit(scenario, satellites, where)
    needs = _topology_needs(scenario)
    pointing = next((key for key, topology, *_ in needs if topology == "nearest"), None)
    if pointing and lasers.terminals == 0:
        raise ScenarioError(
            f'{where}: lasers.terminals is 0, and {pointing} has the topology "nearest", which points as many lasers '
            "as there are: give it, such as terminals = 4."
        )
    if lasers.terminals is not None:
        _check_terminals(lasers.terminals, needs, pairs, scenario, where)
    if lasers.availability < 1:
        _check_outages(lasers, where)


def _explicit(scenario: Scenario, satellites: Mapping[str, int], where: str) -> list[tuple[int, int]]:
    """The ends of the explicit lasers, the smaller node first."""
    found: dict[tuple[int, int], int] = {}
    for number, pair in enumerate(scenario.laser_pairs):
        key = f"{where}: laser.{number}"
        ends = []
        for end, name in (("a", pair.a), ("b", pair.b)):
            if name.casefold() not in satellites:
                raise ScenarioError(
                    f"{key}.{end} is {name!r}, which is no satellite of this scenario: {nearest(name, satellites)}"
                    f"{_satellites(scenario)}"
                )
            ends.append(satellites[name.casefold()])
        low, high = sorted(ends)
        if low == high:
            raise ScenarioError(f"{key} joins {pair.a!r} with itself: name two satellites.")
        if (low, high) in found:
            raise ScenarioError(
                f"{key} joins {pair.a} and {pair.b} as laser.{found[low, high]} does: list each pair once."
            )
        found[low, high] = number
    return list(found)


def _topology_needs(scenario: Scenario) -> list[tuple[str, str, int, int]]:
    """For each shell and catalogue: its key, its topology, lasers a satellite needs for that, satellites."""
    needs: list[tuple[str, str, int, int]] = [
        (f"shell.{shell.name}", shell.topology, terminals_needed(shell), shell.planes * shell.sats_per_plane)
        for shell in scenario.shells
    ]
    return needs + [
        (f"catalogue.{catalogue.name}", catalogue.topology, 0, len(catalogue.elements))
        for catalogue in scenario.catalogues
    ]


def terminals_needed(shell: Shell) -> int:
    """How many lasers the satellites of a shell need at most for its topology; 0 for nearest and none."""
    if shell.topology in ("nearest", "none"):
        return 0
    across = {"ring": 0, "motif": MOTIF_LINKS, "grid": GRID_LINKS}[shell.topology]
    return min(PLANE_LINKS, shell.sats_per_plane - 1) + min(across, shell.planes - 1)


def _check_terminals(
    terminals: int,
    needs: list[tuple[str, str, int, int]],
    pairs: list[tuple[int, int]],
    scenario: Scenario,
    where: str,
) -> None:
    explicit = Counter(node for pair in pairs for node in pair)
    names = scenario.satellite_names if explicit else ()
    first = 0
    for key, topology, needed, count in needs:
        if needed > terminals:
            raise ScenarioError(
                f'{where}: lasers.terminals is {terminals}, and {key} needs {needed} for its topology "{topology}": '
                "give as many, or choose another topology (ring takes 2, motif 3, grid 4, nearest any number)."
            )
        for node in range(first, first + count):
            if explicit[node] and needed + explicit[node] > terminals:
                raise ScenarioError(
                    f"{where}: lasers.terminals is {terminals}, and {names[node]} needs {needed} for the topology of "
                    f"{key} and {explicit[node]} for the explicit lasers: give as many, or remove a [[laser]]."
                )
        first += count


def _check_outages(lasers: Lasers, where: str) -> None:
    mean_s = DAY_S * (1 - lasers.availability) / lasers.acquisitions_per_day
    if mean_s < lasers.acquire_s * (1 - ROUNDING):
        raise ScenarioError(
            f"{where}: lasers.availability {lasers.availability:g} with lasers.acquisitions_per_day "
            f"{lasers.acquisitions_per_day:g} makes an outage last {mean_s:.3g} s on average, and acquiring the link "
            f"again takes lasers.acquire_s = {lasers.acquire_s:g}: give at most "
            f"{_floor(DAY_S * (1 - lasers.availability) / lasers.acquire_s)} acquisitions a day, or a lower "
            "availability."
        )


def _floor(value: float) -> str:
    """The number, rounded down to three digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.floor(value / step * (1 + ROUNDING)) * step:g}"


def _satellites(scenario: Scenario) -> str:
    names = scenario.satellite_names
    return f"Satellites are {names[0]} to {names[-1]}."


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the most similar known word, ending in a space, or "" where none is similar."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {found[0]!r}? " if found else ""


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


def _check_sensors(scenario: Scenario, where: str) -> None:
    _check_names([sensor.name for sensor in scenario.sensors], "sensor", where)
    models = tuple(map(model_name, scenario.models))
    names = scenario.satellite_names
    for sensor in scenario.sensors:
        key = f"{where}: sensor.{sensor.name}"
        used = (sensor.model, sensor.filter_model) if sensor.treatment == "cascade" else (sensor.model,)
        for name in used:
            if name not in models:
                raise ScenarioError(f"{key} uses the model {name!r}: {nearest(name, models)}Add it to `models`.")
        unknown = [name for name in sensor.satellites if name not in names]
        if unknown:
            raise ScenarioError(
                f"{key}.satellites has {unknown[0]!r}, which is no satellite of this scenario: "
                f"{nearest(unknown[0], names)}{_satellites(scenario)}"
            )
        if sensor.tiles == 0:
            raise ScenarioError(
                f"{key} takes frames of {sensor.width_px} x {sensor.height_px} pixels, which hold no tile of "
                f"{sensor.tile_px}: make the frames larger, or tile_px smaller."
            )
        if sensor.tiles > MAX_FRAME_TILES:
            raise ScenarioError(
                f"{key} takes frames of {sensor.tiles:,} tiles, and at most {MAX_FRAME_TILES:,} are possible: make "
                "tile_px larger."
            )
        if sensor.frame_bytes > MAX_FRAME_BYTES:
            raise ScenarioError(
                f"{key} takes frames of {sensor.frame_bytes:,} bytes, and at most {MAX_FRAME_BYTES:,} are possible: "
                "make them less high, so that there are more of them."
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
                raise ScenarioError(
                    f"{key}.{end} is {name!r}, which is no node of this scenario: {nearest(name, names)}"
                    f"{_satellites(scenario)}"
                )
