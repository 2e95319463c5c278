"""What does the user want to exist?

A scenario is one frozen value: shells of satellites, ground stations, links, computers, models, data,
faults and a clock. It is made from a preset, from a user's TOML file (`load.py`), or directly in Python.
Everything that a run needs to know about the world is in it, and `digest()` names it: two hosts with the
same digest emulate one world.

Times in faults and plans are sky time: seconds since `Scenario.epoch`. Every number carries its unit as the
last word of its name. `Scenario.provenance` says of each number whether it was published, computed, general
knowledge, assumed, or chosen by the user, keyed by the dotted name a user would write
(`shell.ring.altitude_km`).
"""

from datetime import datetime
from hashlib import sha256
from typing import Literal

import msgspec

GROUND_NAME = "ground"
"""Name of the ground centre, the node that controls jobs; no station may bear it."""

NAME_DIGITS = 2
"""Satellite names have at least this many digits, so that `sat-01` sorts before `sat-10`."""

ProvenanceKind = Literal["sourced", "computed", "general", "assumed", "user"]
Topology = Literal["ring", "grid", "motif", "nearest", "none"]
StationKind = Literal["radio", "optical"]
AntennaPolicy = Literal["longest_backlog", "round_robin", "highest_elevation"]
FaultAction = Literal["cut", "heal", "kill", "reboot"]
Treatment = Literal["in-orbit", "bent-pipe", "bent-pipe-lasers", "sharded", "cascade"]


def model_name(label: str) -> str:
    """What a model of a scenario is called on board: its name, or that of its .onnx file."""
    return label.rpartition("/")[2].removesuffix(".onnx")


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the scenario's parts: immutable, named fields only, unknown fields refused."""


class Provenance(Value, frozen=True):
    """Where a number comes from.

    `sourced` was published, `computed` follows from other values, `general` is approximate common knowledge,
    `assumed` stands where no public value was found, and `user` was written by the user.
    """

    kind: ProvenanceKind
    source: str


class Shell(Value, frozen=True):
    """Satellites on circular orbits of one altitude and inclination, evenly spread over planes.

    `raan_deg` is the right ascension of the ascending node of the first plane at the epoch, and plane p
    stands at `raan_deg + p * raan_spread_deg / planes`. `phasing` is the fraction of an in-plane slot by
    which plane p + 1 is ahead of plane p, taken modulo one slot: 0.5 moves odd planes by half a slot, F /
    planes is Walker's F. At the epoch the first satellite of the first plane crosses the equator
    northwards.

    `ltan_h`, the local mean solar time of the first plane's ascending node in hours, may stand in place of
    `raan_deg`, which it then overrules.

    `ring` links each plane's satellites in a ring; `grid` adds one link to each neighbouring plane (+Grid, four
    terminals); `motif` adds one link to one neighbouring plane only, ahead from even slots and back from odd
    ones (three terminals); `nearest` points each free terminal to the nearest satellite in view; `none` has no
    lasers. Links between planes are planned down while either end is above `polar_cutoff_deg` of latitude.
    """

    name: str
    altitude_km: float
    inclination_deg: float
    planes: int
    sats_per_plane: int
    raan_deg: float = 0.0
    ltan_h: float | None = None
    raan_spread_deg: float = 360.0
    phasing: float = 0.0
    topology: Topology = "ring"
    polar_cutoff_deg: float | None = None


class Elements(Value, frozen=True):
    """Mean elements of one catalogued object at its own epoch, for SGP4: mean equinox, true equator (TEME).

    `number` is the catalogue number, of any length; `bstar` is in 1 / Earth radii; the mean motion's
    derivatives (halved and divided by six, as in element sets) are in rev/day^2 and rev/day^3.
    """

    number: int
    name: str
    epoch: datetime
    mean_motion_rev_day: float
    eccentricity: float
    inclination_deg: float
    raan_deg: float
    argument_of_perigee_deg: float
    mean_anomaly_deg: float
    bstar: float = 0.0
    mean_motion_dot: float = 0.0
    mean_motion_ddot: float = 0.0
    designator: str = ""


class Catalogue(Value, frozen=True):
    """Catalogued satellites from a file of element sets (OMM or TLE), moved by SGP4.

    They follow the shells in node order, in the file's order, at most `first` of them. `nearest` points each
    free terminal to the nearest satellite in view; `none` leaves lasers to the explicit ones.
    """

    name: str
    file: str
    topology: Literal["nearest", "none"] = "nearest"
    first: int | None = None
    elements: tuple[Elements, ...] = ()


class LaserPair(Value, frozen=True):
    """One explicit laser link between two satellites, of one shell or of two."""

    a: str
    b: str


class Station(Value, frozen=True):
    """A ground station on the WGS84 ellipsoid; it sees what stands at least `min_elevation_deg` above its
    horizon, and above its mask.

    `mask_deg` are points (azimuth from north over east, elevation) of the skyline, joined by straight lines.
    `antennas` is how many satellites it can serve at once, None for any number. An `optical` station uses the
    scenario's `optical_link`, and clouds close it: it is open for the share `availability` of the time, in
    closures of `closure_s` on average.
    """

    name: str
    latitude_deg: float
    longitude_deg: float
    min_elevation_deg: float
    mask_deg: tuple[tuple[float, float], ...] = ()
    antennas: int | None = None
    kind: StationKind = "radio"
    availability: float = 1.0
    closure_s: float = 7200.0
    provider: str = ""
    bands: tuple[str, ...] = ()


class Lasers(Value, frozen=True):
    """Laser links between satellites: `loss` is the probability that a frame is lost.

    `terminals` is how many lasers a satellite can hold at once; None takes as many as its topology needs.
    `acquire_s` is slew and acquisition together, which every new pointing costs. Up to `full_rate_km` a link
    has its whole rate, beyond it falls with the square of the range, as received power does; None is one rate
    at any range.

    `availability` is the share of time that a terminal holds its link, lost in `acquisitions_per_day` outages
    (each lasts until the link is acquired again); `burst_share` of them come in bursts that all terminals of a
    satellite share.
    """

    rate_bps: float
    acquire_s: float
    grazing_altitude_km: float = 80.0
    loss: float = 0.0
    max_range_km: float | None = None
    terminals: int | None = None
    full_rate_km: float | None = None
    availability: float = 1.0
    acquisitions_per_day: float = 29.6
    burst_share: float = 0.5


class GroundLink(Value, frozen=True):
    """Links between satellites and stations: `loss` is the probability that a frame is lost.

    `rate_bps` is the downlink's, `uplink_bps` the uplink's, None for the same. Up to `full_rate_km` of slant
    range a link has its whole rate, beyond it falls with the square of the range, as received power does;
    None is one rate at any range. `policy` says whom an antenna serves next.
    """

    rate_bps: float
    acquire_s: float = 0.0
    loss: float = 0.0
    uplink_bps: float | None = None
    full_rate_km: float | None = None
    policy: AntennaPolicy = "longest_backlog"


class Backbone(Value, frozen=True):
    """Fibre between the stations and the ground centre.

    A fibre is `factor` times as long as the great circle. The centre stands at `centre_station`, by default
    at the scenario's first station.
    """

    rate_bps: float
    factor: float
    centre_station: str | None = None


class Device(Value, frozen=True):
    """A computer: `slots` inferences at once, `service_s` seconds a tile of each model.

    Kind `host` takes the CPU time measured on this machine and has no `service_s`; `cited` and `assumed`
    state it. `model_bytes` is the flash that a satellite sets aside for models that are pushed, None for 2 GiB.
    """

    name: str
    kind: Literal["host", "cited", "assumed"]
    slots: int = 1
    service_s: dict[str, float] = {}
    watts: float | None = None
    source: str = ""
    model_bytes: int | None = None


class DataSource(Value, frozen=True):
    """What the satellites have captured: a known dataset or a .npz file with a scene, cut into tiles; or tiles of the
    user's own, a .npy file [N, ...] or a folder of .npy files, which are taken as they are.

    Each capture is born on one satellite; `replicas` copies of it are kept in all. With `preload_replicas`
    the copies exist at the start and are listed as preloaded, otherwise they cross the lasers.
    """

    dataset: str | None = None
    file: str | None = None
    tile_px: int = 256
    stride_px: int = 256
    replicas: int = 2
    tiles: int | None = None
    preload_replicas: bool = False

    @property
    def label(self) -> str:
        """The dataset's name or the file's path, whichever is given."""
        return self.dataset or self.file or ""

    @property
    def name(self) -> str:
        """What the data are called on board: the dataset's name, or the file's without folder and ending."""
        last = self.label.rstrip("/").rpartition("/")[2]
        return last.rpartition(".")[0] or last


class Fault(Value, frozen=True):
    """Something that is to go wrong (or right again) at a sky time.

    `cut` and `heal` name the two ends of a link; `kill` and `reboot` name one node in `a`.
    """

    at_s: float
    action: FaultAction
    a: str
    b: str | None = None


class Sensor(Value, frozen=True):
    """A camera on satellites, which takes frames along the ground track and puts each into its satellite's own queue.

    A frame is `width_px` across the track and `height_px` along it, of `bands` with `bits_per_pixel` each; one pixel
    is `gsd_m` on the ground, so the swath is `width_px * gsd_m`. Frames follow each other without a gap over stretches
    of `stretch_s`, of which `duty_cycle` are taken, by the scenario's seed; with `daylight` only where the Sun stands
    above the horizon below. `period_s` overrules the time from one frame to the next.

    `satellites` are those that carry it, all where it is empty. `model` works on each frame, tile by tile (`tile_px`);
    an answer that is not there within `deadline_s` of the exposure (None: the time to the next frame) is a miss.

    `treatment` says what becomes of a frame: `in-orbit` has it inferred on board; `bent-pipe` sends it down in its
    satellite's own passes, `bent-pipe-lasers` by any way, and the ground infers; `sharded` spreads it over the laser
    neighbours; `cascade` lets `filter_model` discard tiles with `discard_share` of cloud and more, and `model` work on
    the rest, which goes down with its result.
    """

    name: str
    width_px: int
    height_px: int
    bands: int
    bits_per_pixel: int
    gsd_m: float
    model: str
    satellites: tuple[str, ...] = ()
    tile_px: int = 256
    duty_cycle: float = 1.0
    stretch_s: float = 60.0
    daylight: bool = True
    period_s: float | None = None
    deadline_s: float | None = None
    treatment: Treatment = "in-orbit"
    filter_model: str = "tinycloud"
    discard_share: float = 0.7

    @property
    def frame_bytes(self) -> int:
        """The raw bytes of a frame."""
        return -(-self.width_px * self.height_px * self.bands * self.bits_per_pixel // 8)

    @property
    def tiles(self) -> int:
        """How many whole tiles a frame has."""
        return (self.width_px // self.tile_px) * (self.height_px // self.tile_px)


class Processing(Value, frozen=True):
    """What equipment takes besides light, lines and inference: seconds that each passage costs.

    `gateway_s` and `dispatch_s` are the ground's for each request, `uplink_s`, `downlink_s` and `laser_s` the
    terminals' for each frame on such a link, `intake_s` and `inference_s` the satellite's, before a shard is queued
    and on top of its inference, `settle_s` the ground's for each result.
    """

    gateway_s: float = 0.0
    dispatch_s: float = 0.0
    uplink_s: float = 0.0
    laser_s: float = 0.0
    intake_s: float = 0.0
    inference_s: float = 0.0
    downlink_s: float = 0.0
    settle_s: float = 0.0


NO_PROCESSING = Processing()
"""Equipment that takes no time."""


class Clock(Value, frozen=True):
    """How emulated time relates to the wall: `rate` emulated seconds a second, None for the launcher's
    choice, "auto" for as fast as the machine keeps up with.

    `dilated` releases inferences at their device's service time; `free` lets them take what this machine
    takes. `orbit_rate` turns the sky faster than emulated time passes: links appear and vanish that much
    sooner, while delays stay those of the geometry.
    """

    rate: float | Literal["auto"] | None = None
    mode: Literal["dilated", "free"] = "dilated"
    orbit_rate: float = 1.0


class Scenario(Value, frozen=True):
    """One world: everything that exists in a run, and when.

    `preset` is the preset it came from, or "". `epoch` is aware and in UTC: the moment of sky time 0.
    `ut1_utc_s` is the Earth's lead on the clock; `seed` starts everything that is left to chance in the sky.
    """

    name: str
    title: str
    epoch: datetime
    shells: tuple[Shell, ...]
    stations: tuple[Station, ...]
    lasers: Lasers
    ground_link: GroundLink
    backbone: Backbone
    device: Device
    ground_device: Device
    models: tuple[str, ...]
    preset: str = ""
    data: tuple[DataSource, ...] = ()
    faults: tuple[Fault, ...] = ()
    sensors: tuple[Sensor, ...] = ()
    processing: Processing = NO_PROCESSING
    clock: Clock = Clock()
    catalogues: tuple[Catalogue, ...] = ()
    laser_pairs: tuple[LaserPair, ...] = ()
    optical_link: GroundLink | None = None
    ut1_utc_s: float = 0.0
    seed: int = 1
    provenance: dict[str, Provenance] = {}

    @property
    def satellite_count(self) -> int:
        """Number of satellites over all shells and catalogues."""
        return self.shell_satellites + sum(len(catalogue.elements) for catalogue in self.catalogues)

    @property
    def shell_satellites(self) -> int:
        """Number of satellites over all shells; they come first."""
        return sum(shell.planes * shell.sats_per_plane for shell in self.shells)

    @property
    def satellite_names(self) -> tuple[str, ...]:
        """Names of the satellites in the order of their node ids: shell by shell, plane by plane, slot by
        slot, and then those of the catalogues, which are called by their numbers.
        """
        count = self.shell_satellites
        digits = max(NAME_DIGITS, len(str(count)))
        catalogued = (str(one.number) for catalogue in self.catalogues for one in catalogue.elements)
        return (*(f"sat-{number:0{digits}d}" for number in range(1, count + 1)), *catalogued)

    def digest(self) -> str:
        """Sha256 of what the scenario says, as 64 hexadecimal digits; the provenance has no part in it.

        Where a value was found changes nothing in the world, and a user's path would differ between machines.
        """
        content = msgspec.structs.replace(self, provenance={})
        return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
