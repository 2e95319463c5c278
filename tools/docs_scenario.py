"""Which keys may a scenario have, in which unit, within which bounds, and what do they mean?

The page is made from the structs in `scenario/model.py`, the bounds beside them and the defaults that ship; only the
meanings stand here. A key without a meaning, or a meaning without a key, stops the build of the documentation.
"""

from __future__ import annotations

import inspect
import types
from datetime import datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from perigrid.app.scenarios import shipped_presets
from perigrid.scenario import model
from perigrid.scenario.bounds import BOUNDS, MAX_FAULTS, MAX_SATELLITES, MAX_STATIONS
from perigrid.scenario.draft import GROUPS, NOT_WRITTEN, SINGLE, Leaf
from perigrid.scenario.load import parse
from perigrid.scenario.presets import PRESET_KEYS, Presets
from perigrid.scenario.walker import NOTATIONS

PROVENANCE = """\
Numbers carry their unit as the last word of their key. What a file gives has the provenance `user`; every other number
says whether it was `sourced` (published), `computed`, `general` (common knowledge) or `assumed`, and a report repeats
it. A list of tables replaces the preset's, but a shell or station with a known name takes the keys that it leaves out
from the preset or the list that ships. Unknown keys are refused, with the nearest known one."""

UNITS = {
    "km": "km",
    "deg": "degrees",
    "s": "s",
    "h": "hours",
    "bps": "bit/s",
    "px": "pixels",
    "watts": "W",
}
"""The last word of a key -> its unit."""

SHARED_DEFAULTS = {"shell": "each_shell", "station": "each_station", "data": "each_data"}
"""Lists of tables whose tables start from a table of the shipped defaults."""

REQUIRED = "required"

TOP = {
    "preset": ("text", "none", "A constellation that ships; what the file says goes over it."),
    "name": ("text", "the preset's, else `scenario`", "The run's name, unless `--name` gives another."),
    "title": ("text", "the name", "What it is, for a reader."),
    "epoch": ("moment with its zone", "", "The moment of sky time 0: orbits are laid from it."),
    "ut1_utc_s": ("number", "", "By how much the Earth is ahead of the clock; 0.1 s turns the equator by 46 m."),
    "seed": ("whole number", "", "Starts everything that is left to chance in the sky: outages of lasers, clouds."),
    "models": ("list of text", "", "Models on every satellite: names that ship, or paths of .onnx files."),
    "stations": ("list of text", "none", "Ground stations by their names in the list that ships."),
    "min_elevation_deg": ("number", "", "For stations that do not say their own."),
}
"""Keys at the top of a file: type, default ("" where one ships), meaning."""

NOTATION_MEANINGS = {
    "walker_delta": "`i:t/p/f` in place of inclination, planes, satellites, spread and phasing: inclination in "
    "degrees, satellites in all, planes, and phasing f from 0 to p - 1; planes are spread over 360 degrees.",
    "walker_star": "The same, with planes spread over 180 degrees.",
}
"""Keys of a shell that stand in place of others: they have no field of their own."""

MEANINGS: dict[str, dict[str, str]] = {
    "Shell": {
        "name": "Names the shell in messages and in provenance.",
        "altitude_km": "Height of the circular orbits above the equator's radius.",
        "inclination_deg": "Angle between the orbits and the equator.",
        "planes": "Orbital planes.",
        "sats_per_plane": "Satellites in each plane, evenly spread.",
        "raan_deg": "Right ascension of the first plane's ascending node at the epoch.",
        "ltan_h": "In place of `raan_deg`: local mean solar time at the first plane's ascending node.",
        "raan_spread_deg": "Angle over which the planes are spread: 360 is a Walker delta, 180 a star. "
        "With more than one plane it has to be stated.",
        "phasing": "By which fraction of a slot a plane is ahead of the one before; Walker's F / planes. "
        "With more than one plane it has to be stated.",
        "topology": "`ring`: lasers to the satellites before and behind; `grid`: to both neighbouring planes too; "
        "`motif`: to one of them; `nearest`: to the nearest in view; `none`: no lasers.",
        "polar_cutoff_deg": "Latitude above which lasers between planes are off.",
    },
    "Catalogue": {
        "name": "Names the catalogue in messages and in provenance.",
        "file": "OMM (JSON, CSV, XML, KVN) or TLE; from the scenario file's folder.",
        "topology": "`nearest`: each free laser to the nearest satellite in view; `none`: the explicit ones alone.",
        "first": "At most this many objects, in the file's order.",
    },
    "LaserPair": {"a": "A satellite by its name.", "b": "Another one."},
    "Station": {
        "name": "Its name; with a name from the list that ships, what is left out comes from there.",
        "latitude_deg": "North is positive.",
        "longitude_deg": "East is positive.",
        "min_elevation_deg": "It sees what stands this high above its horizon.",
        "mask_deg": "Points of the skyline, `[[azimuth, elevation], ...]`, with rising azimuths from north over east; "
        "straight lines join them.",
        "antennas": "How many satellites it serves at once; 1000 is as good as any number.",
        "kind": "`optical` stations use `[optical_link]`, and clouds close them.",
        "availability": "Of an optical station: the share of time without clouds; 0.65 where it is left out.",
        "closure_s": "How long clouds close an optical station on average.",
        "provider": "Who runs it; the emulation does not use it.",
        "bands": "Radio bands; the emulation does not use it.",
    },
    "Lasers": {
        "rate_bps": "Rate of each direction of a link.",
        "acquire_s": "Time from when the ends may see each other, or a cut is healed, until the link carries frames.",
        "grazing_altitude_km": "A beam must not dip below this height above the Earth.",
        "loss": "Probability that a frame is lost.",
        "max_range_km": "Longest link; line of sight alone where it is left out.",
        "terminals": "Lasers that a satellite has; as many as its topology needs where it is left out, four for "
        "`nearest`.",
        "full_rate_km": "Range up to which a link has its whole rate, which falls with the square of the range from "
        "there; 1e6 is one rate at any range.",
        "availability": "Share of time that a terminal holds its link; below 1 there are outages.",
        "acquisitions_per_day": "Outages of a terminal in a day, after each of which the link is acquired again.",
        "burst_share": "Share of the outages that come in bursts, to all terminals of a satellite together.",
    },
    "GroundLink": {
        "rate_bps": "Rate of the downlink.",
        "uplink_bps": "Rate of the uplink; the downlink's where the file gives that alone.",
        "full_rate_km": "Slant range up to which a link has its whole rate, which falls with the square of the range "
        "from there; 1e6 is one rate at any range.",
        "policy": "Whom an antenna serves next.",
        "acquire_s": "Time from a satellite's rise until the link carries frames.",
        "loss": "Probability that a frame is lost.",
    },
    "Backbone": {
        "rate_bps": "Rate of the fibres between stations and ground centre.",
        "factor": "Length of a fibre over that of the great circle.",
        "centre_station": "Station at which the ground centre stands; the first where it is left out.",
    },
    "Device": {
        "name": "Name of the computer; one of a profile that ships takes its watts from there.",
        "kind": "`host`: inference lasts the CPU time that was measured here; `cited` and `assumed`: `service_s` says.",
        "slots": "Inferences that run at once.",
        "service_s": "Model -> seconds a tile; for every model of the scenario, unless the kind is `host`.",
        "watts": "Power; the emulation does not use it.",
        "model_bytes": "Flash that a satellite sets aside for models that are pushed; unless stated, 2 GiB (assumed).",
        "source": "Where the times are published; required of the kind `cited`.",
    },
    "DataSource": {
        "dataset": "A scene that perigrid knows. Give this or `file`.",
        "file": "Path of a .npz with a scene as `img`, or of a .npy file or a folder of them with tiles of your own.",
        "tile_px": "Side of the tiles that a scene is cut into.",
        "stride_px": "Distance of neighbouring tiles; less than `tile_px` makes them overlap.",
        "replicas": "Copies of each capture, the owner's included.",
        "tiles": "At most this many tiles; all where it is left out.",
        "preload_replicas": "Whether copies are there from the start instead of crossing lasers; results list it.",
    },
    "Sensor": {
        "name": "What it is called.",
        "width_px": "Pixels of a frame across the track.",
        "height_px": "Pixels of a frame along the track.",
        "bands": "Bands of a frame.",
        "bits_per_pixel": "Bits of each pixel and band, as they cross links.",
        "gsd_m": "Side of a pixel on the ground.",
        "model": "Works on each frame; one of `models`.",
        "satellites": "Who carries it; all where it is left out.",
        "tile_px": "Side of the tiles that a frame is cut into.",
        "duty_cycle": "Share of the stretches in which it takes frames.",
        "stretch_s": "How long it takes frames, or does not, at a time.",
        "daylight": "Whether it takes frames only where the Sun stands above the horizon below.",
        "period_s": "From one frame to the next; what the ground track takes for a frame where it is left out.",
        "deadline_s": "From exposure to answer; the time to the next frame where it is left out.",
        "treatment": "What becomes of a frame.",
        "filter_model": "With `cascade`: looks at each tile first.",
        "discard_share": "With `cascade`: tiles with this share of cloud and more are discarded.",
    },
    "Processing": {
        "gateway_s": "Gateway, for each request.",
        "dispatch_s": "Controller, for each request before it is placed.",
        "uplink_s": "Modems of an uplink, for each frame.",
        "laser_s": "Terminals of a laser link, for each frame and hop.",
        "intake_s": "Satellite, from a request's last bit until it is queued.",
        "inference_s": "Satellite, on top of each inference.",
        "downlink_s": "Modems of a downlink, for each frame.",
        "settle_s": "Ground, from a result's last bit until the client is told.",
    },
    "Fault": {
        "at_s": "When, after the epoch.",
        "action": "What happens.",
        "a": "A node: one end of the link, or whom it happens to.",
        "b": "The other end, with `cut` and `heal` alone.",
    },
    "Clock": {
        "rate": "Emulated seconds a second of the wall; what this machine can keep, at most 1, where it is left out.",
        "mode": "`dilated`: an inference lasts its device's time; `free`: what it takes here, which is no latency.",
        "orbit_rate": "Seconds of orbit a second of emulated time; delays stay those of the geometry.",
    },
}


def page() -> str:
    """The reference of the scenario file, as Markdown."""
    presets = shipped_presets()
    lines = [
        "# Scenario files",
        "",
        inspect.cleandoc(inspect.getdoc(inspect.getmodule(parse)) or "").partition("\n\n")[2].partition("\n\n")[0],
        "",
        *PROVENANCE.splitlines(),
        "",
        f"A scenario has at most {MAX_SATELLITES:,} satellites, {MAX_STATIONS} stations and {MAX_FAULTS:,} faults. "
        "Satellites are `sat-01` and so on, shell by shell and plane by plane; behind them come catalogued ones, by "
        "their numbers, such as `25544`; the ground centre is `ground`.",
        "",
        "## At the top",
        "",
        *_table(_top_rows(presets)),
        "",
    ]
    for key, kind in (*GROUPS.items(), *SINGLE.items()):
        mark = f"[[{key}]]" if key in GROUPS else f"[{key}]"
        lines += [f"## `{mark}` {{#{key}}}", "", *_about(kind), "", *_table(_rows(key, kind, presets)), ""]
    lines += [
        "## Presets",
        "",
        "Names for `preset` and for `perigrid up`.",
        "",
        "| name | satellites | |",
        "|---|---|---|",
    ]
    lines += [_preset_row(name, presets) for name in presets.names]
    lines += [
        "",
        "## Stations",
        "",
        "Real sites that `stations` can name; where each is from stands in `sky show --json`.",
        "",
    ]
    lines += [", ".join(sorted(presets.stations)) + "."]
    return "\n".join(lines) + "\n"


def _preset_row(name: str, presets: Presets) -> str:
    scenario = parse(f'preset = "{name}"', name, presets)
    return f"| `{name}` | {scenario.satellite_count:,} | {scenario.title} |"


def _about(kind: type[msgspec.Struct]) -> list[str]:
    """The struct's docstring, which is in terms of its keys."""
    return inspect.cleandoc(kind.__doc__ or "").splitlines()


def _top_rows(presets: Presets) -> list[tuple[str, str, str, str]]:
    known = {"preset", "name"} | set(PRESET_KEYS) - set(SINGLE) - set(GROUPS)
    _agree("the top of a file", known, set(TOP))
    rows = []
    for key, (kind, default, meaning) in TOP.items():
        shown = default or _leaf(presets.defaults[key])
        rows.append((key, _with_unit(kind, key), shown, meaning))
    return rows


def _rows(key: str, kind: type[msgspec.Struct], presets: Presets) -> list[tuple[str, str, str, str]]:
    meanings = MEANINGS[kind.__name__]
    unwritten = NOT_WRITTEN.get(kind.__name__, ())
    fields = [field for field in msgspec.structs.fields(kind) if field.name not in unwritten]
    _agree(kind.__name__, {field.name for field in fields}, set(meanings))
    hints = get_type_hints(kind)
    shipped = presets.defaults.get(SHARED_DEFAULTS.get(key, key), {})
    rows = []
    for field in fields:
        bound = BOUNDS.get(kind.__name__, {}).get(field.name)
        meaning = meanings[field.name] + (f" {_sentence(str(bound))}" if bound else "")
        default = _leaf(shipped[field.name]) if field.name in shipped else _own_default(kind, field)
        rows.append((field.name, _with_unit(_type(hints[field.name]), field.name), default, meaning))
    if kind is model.Shell:
        _agree("the notations of a shell", set(NOTATIONS), set(NOTATION_MEANINGS))
        rows += [(name, "text", "none", meaning) for name, meaning in NOTATION_MEANINGS.items()]
    return rows


def _own_default(kind: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> str:
    if field.name == "name" and kind in (model.Shell, model.Station):
        return f"`{kind.__name__.lower()}-1` and so on"
    if kind is model.Catalogue and field.name == "name":
        return "the file's, without its ending"
    if kind is model.Shell and field.name == "topology":
        return "`ring` with one plane, else `grid`"
    if kind is model.Station and field.name == "min_elevation_deg":
        return "that of the top"
    if field.required:
        return REQUIRED
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "none" if value in (None, (), {}, "") else f"`{_toml(value)}`"


def _leaf(leaf: Leaf) -> str:
    """A default that ships, with where it comes from."""
    shown = f"`{_toml(leaf.value)}`"
    return shown if leaf.provenance is None else f"{shown}, {leaf.provenance.kind}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, int | float):
        return _number(f"{value:g}")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"'


def _sentence(text: str) -> str:
    return _number(f"{text[0].upper()}{text[1:]}.")


def _number(text: str) -> str:
    """A number as people write it: 1e+15 is 1e15."""
    return text.replace("e+", "e")


def _type(hint: Any) -> str:
    """A field's type in the words of TOML."""
    origin, arguments = get_origin(hint), [a for a in get_args(hint) if a is not type(None)]
    if origin in (Union, types.UnionType):
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f'`"{choice}"`' for choice in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "table of numbers, s"
    return {float: "number", int: "whole number", str: "text", bool: "`true` or `false`"}[hint]


def _with_unit(kind: str, key: str) -> str:
    unit = UNITS.get(key.rpartition("_")[2])
    return f"{kind}, {unit}" if unit and "number" in kind and not kind.startswith("table") else kind


def _agree(place: str, keys: set[str], meanings: set[str]) -> None:
    """SystemExit where a key has no meaning here, or a meaning no key."""
    if keys != meanings:
        raise SystemExit(
            f"tools/docs_scenario.py: of {place}, keys without a meaning: {sorted(keys - meanings)}; meanings without "
            f"a key: {sorted(meanings - keys)}."
        )


def _table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    lines = ["| key | type and unit | default | meaning |", "|---|---|---|---|"]
    return lines + [f"| `{key}` | {kind} | {default} | {meaning} |" for key, kind, default, meaning in rows]
