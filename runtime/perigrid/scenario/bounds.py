"""Which values are possible, and what should stand instead?

A table of bounds for every number of a scenario; what needs more than one value is in `whole.py`. Messages
name the file, the dotted key and the remedy. Bounds are wide: they refuse what cannot be, not what is
unusual.
"""

import math
from dataclasses import dataclass

import msgspec

from perigrid.errors import ScenarioError

MAX_SATELLITES = 20_000
"""Beyond every preset by far; node ids, plans and names would hold more, nobody has measured it."""

MAX_STATIONS = 256
MAX_FAULTS = 10_000
MAX_LASER_PAIRS = 40_000
MAX_SENSORS = 64
MAX_FRAME_TILES = 4096
MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Raw bytes of one frame of a sensor: what satellites hold of many at a time, and links carry whole."""

MAX_MASK_POINTS = 720


@dataclass(frozen=True, slots=True)
class Bound:
    """A number lies between `low` and `high`, both allowed unless `above_low` or `below_high`; `advice` says what to
    write.
    """

    low: float
    high: float
    advice: str
    above_low: bool = False
    below_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value is possible; NaN and infinities never are."""
        return (
            math.isfinite(value)
            and self.low <= value <= self.high
            and not (self.above_low and value == self.low)
            and not (self.below_high and value == self.high)
        )

    def __str__(self) -> str:
        lowest = f"{'above' if self.above_low else 'at least'} {self.low:g}"
        if self.high == math.inf:
            return lowest
        return f"{lowest} and {'below' if self.below_high else 'at most'} {self.high:g}"


_RATE = Bound(0, 1e15, "give the rate in bit/s, such as 100e9", above_low=True)
_SECONDS = Bound(0, 86_400, "give seconds")
_LOSS = Bound(0, 0.5, "give the probability that a frame is lost, such as 0.001")
_SLOTS = Bound(1, 1024, "give how many inferences run at once")
_FULL_RATE = Bound(0, 1e6, "1e6 is one rate at any range", above_low=True)
_SHARE = Bound(0, 1, "give the share of time that it is there, such as 0.99", above_low=True)
_MODEL_BYTES = Bound(0, 1 << 50, "give bytes of flash for models that are pushed", above_low=True)
_WATTS = Bound(0, 1e9, "give watts", above_low=True)
_PIXELS = Bound(1, 1_000_000, "give pixels")
_TILE = Bound(16, 4096, "the shipped models take 256")

BOUNDS: dict[str, dict[str, Bound]] = {
    "Shell": {
        "altitude_km": Bound(120, 50_000, "below 120 km air ends an orbit within a turn; give km"),
        "inclination_deg": Bound(0, 180, "0 is equatorial, 90 polar, about 97.5 sun-synchronous"),
        "planes": Bound(1, 1000, "a shell has at least one plane"),
        "sats_per_plane": Bound(1, 1000, "a plane has at least one satellite"),
        "raan_deg": Bound(-360, 360, "give degrees"),
        "ltan_h": Bound(0, 24, "give hours of local mean solar time, such as 10.5 for half past ten"),
        "raan_spread_deg": Bound(0, 360, "360 is a Walker delta, 180 a star, 0 one plane"),
        "phasing": Bound(0, 1, "give the fraction of a slot: 0.5 is half a slot, F / planes is Walker's F"),
        "polar_cutoff_deg": Bound(0, 90, "give degrees of latitude"),
    },
    "Catalogue": {"first": Bound(1, MAX_SATELLITES, "leave it out for all objects of the file")},
    "Station": {
        "latitude_deg": Bound(-90, 90, "north is positive; latitude and longitude may be swapped"),
        "longitude_deg": Bound(-180, 360, "east is positive"),
        "min_elevation_deg": Bound(0, 89, "5 to 10 is common, 25 to 40 for broadband"),
        "antennas": Bound(1, 1024, "a station has at least one antenna"),
        "availability": _SHARE,
        "closure_s": Bound(1, 1e7, "give how long clouds close it on average, in seconds"),
    },
    "Lasers": {
        "rate_bps": _RATE,
        "acquire_s": _SECONDS,
        "grazing_altitude_km": Bound(0, 1000, "80 keeps beams out of the atmosphere"),
        "loss": _LOSS,
        "max_range_km": Bound(0, 1e6, "leave it out for line of sight alone", above_low=True),
        "terminals": Bound(0, 64, "leave it out for as many as the topology needs"),
        "full_rate_km": _FULL_RATE,
        "availability": _SHARE,
        "acquisitions_per_day": Bound(0, 86_400, "give how often a day a terminal loses its link", above_low=True),
        "burst_share": Bound(0, 1, "give the share of outages that all terminals of a satellite have together"),
    },
    "GroundLink": {
        "rate_bps": _RATE,
        "acquire_s": _SECONDS,
        "loss": _LOSS,
        "uplink_bps": _RATE,
        "full_rate_km": _FULL_RATE,
    },
    "Backbone": {
        "rate_bps": _RATE,
        "factor": Bound(1, 10, "a fibre is at least as long as the great circle"),
    },
    "Device": {"slots": _SLOTS, "watts": _WATTS, "model_bytes": _MODEL_BYTES},
    "DataSource": {
        "tile_px": _TILE,
        "stride_px": Bound(1, 4096, "a stride as large as the tile cuts without overlap"),
        "replicas": Bound(1, 100, "1 is the owner's copy alone"),
        "tiles": Bound(1, 100_000_000, "leave it out for all tiles"),
    },
    "Sensor": {
        "width_px": _PIXELS,
        "height_px": _PIXELS,
        "bands": Bound(1, 1024, "a sensor has at least one band"),
        "bits_per_pixel": Bound(1, 64, "8 to 16 is common"),
        "gsd_m": Bound(0, 1e6, "give the ground sample distance in metres", above_low=True),
        "tile_px": _TILE,
        "duty_cycle": Bound(0, 1, "give the share of the time that it takes frames", above_low=True),
        "stretch_s": Bound(0, 86_400, "give how long it takes frames at a time, in seconds", above_low=True),
        "period_s": Bound(1e-4, 86_400, "leave it out for the time that the ground track takes for a frame"),
        "deadline_s": Bound(0, 86_400, "leave it out for the time to the next frame", above_low=True),
        "discard_share": Bound(0, 1, "0.7 discards tiles with 70 % of cloud and more"),
    },
    "Processing": dict.fromkeys(
        (
            "gateway_s",
            "dispatch_s",
            "uplink_s",
            "laser_s",
            "intake_s",
            "inference_s",
            "downlink_s",
            "settle_s",
        ),
        Bound(0, 10, "give seconds; 0 is equipment that takes no time"),
    ),
    "Fault": {"at_s": Bound(0, math.inf, "give seconds after the epoch")},
    "Clock": {
        "rate": Bound(0, 10_000, "1 is real time, below 1 is slower", above_low=True),
        "orbit_rate": Bound(0, 1000, "1 turns the sky as it is, 60 an hour a minute", above_low=True),
    },
    "Scenario": {
        "ut1_utc_s": Bound(-1, 1, "the Earth is kept within a second of the clock"),
        "seed": Bound(0, 2**63 - 1, "any whole number starts another sky of chance"),
    },
}

_SERVICE = Bound(0, 86_400, "give seconds a tile", above_low=True)


def check_numbers(part: msgspec.Struct, where: str, key: str) -> None:
    """Raise ScenarioError where a number of this part is not finite or beyond its bounds."""
    bounds = BOUNDS.get(type(part).__name__, {})
    for name, bound in bounds.items():
        check_number(getattr(part, name), bound, where, f"{key}.{name}")
    for model, service_s in getattr(part, "service_s", {}).items():
        check_number(service_s, _SERVICE, where, f"{key}.service_s.{model}")


def check_number(value: float | str | None, bound: Bound, where: str, dotted: str) -> None:
    """Raise ScenarioError where a number is not finite or beyond its bound; None and words are no numbers and pass."""
    if value is not None and not isinstance(value, str) and not bound.holds(value):
        raise ScenarioError(f"{where}: {dotted} is {value:g} and must be {bound}: {bound.advice}.")
