"""How does a model get into orbit over the links, and how do people see where it is?

A model by name, or a user's own file, is checked here, put on the ground under its SHA-256, and ordered up. The ground
sends it up once; satellites pass it on. Who waits looks at the ground's table until every satellite that shall have it
has said that its worker serves it, or why not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from perigrid.app.scenarios import model_store
from perigrid.errors import CorruptFile, EnvironmentProblem, ModelError, UsageError
from perigrid.job.spec import plain_model
from perigrid.live.config import RunConfig, read_config
from perigrid.live.modelclient import ModelClient
from perigrid.live.models import ModelEntry, file_sha256
from perigrid.live.modelservice import ModelRow, ModelTable, Place
from perigrid.live.modelstore import GROUND_FOLDER, GroundModels, PushedFile
from perigrid.live.pipeline import LoadedModel, Session, own_entry, service_time
from perigrid.live.rundir import RunDirectory
from perigrid.live.service_times import MEASURED_TILES, check_device, write_service_times

LOOK_WALL_S = 0.25
DEFAULT_LIMIT_S = 600.0
ENDED = ("loaded", "refused", "no-room", "evicted")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying found: the table, and of how many satellites' copies how many were hashed anew and are right.

    `mended` are those of them that were wrong when they were looked at.
    """

    table: ModelTable
    copies: int
    right: int
    wrong: tuple[str, ...]
    mended: tuple[str, ...]


def push(
    run: RunDirectory,
    what: str,
    satellites: Sequence[str] = (),
    *,
    pinned: bool = False,
    sha256: str | None = None,
    limit_s: float | None = DEFAULT_LIMIT_S,
    say: Say = lambda line: None,
) -> ModelRow:
    """Bring a model up over the links; what became of it. Doing so again moves no bytes.

    Args:
        run: the constellation, which is up.
        what: a model's name, or the path of an .onnx file.
        satellites: who shall have it; all where it is empty.
        pinned: it is never evicted.
        sha256: what its bytes must hash to.
        limit_s: wait so long for all to have it, seconds of the wall; None does not wait.
        say: hears how it goes.

    Raises what ModelStore.resolve raises, CorruptFile where its bytes hash otherwise, ModelError for a name that cannot
    be, ScenarioError for a device that states no time of it, UsageError for what the ground refuses, and
    EnvironmentProblem where it is not there in time.
    """
    config = read_config(run.path)
    path, entry = _checked(what, sha256)
    preloaded = next((file for file in config.models if file.entry.name == entry.name), None)
    if preloaded is not None and preloaded.entry.sha256 == entry.sha256:
        say(f"{entry.name} is preloaded on every satellite; nothing moves")
        return _row(_table(run), entry.sha256)
    check_device(config.scenario.device, (entry.name,))
    _measure(run, config, path, entry)
    ground = GroundModels(run.path / GROUND_FOLDER)
    if not _lies_there(ground, entry.sha256):
        ground.stow(path, PushedFile(entry, what))
    with ModelClient(run) as client:
        row = _row(client.push(entry.sha256, satellites, pinned), entry.sha256)
        if limit_s is None:
            return row
        return _wait(client, entry.sha256, satellites, limit_s, say)


def _checked(what: str, sha256: str | None) -> tuple[Path, ModelEntry]:
    """A model's file and what is known of it; its bytes are those that were promised."""
    store = model_store(os.environ)
    path = store.resolve(what).resolve()
    found = file_sha256(path)
    if sha256 is not None and sha256.lower() != found:
        raise CorruptFile(f"{path} has sha256 {found}, not {sha256.lower()} as was said: it is not sent up.")
    if store.knows(what):
        return path, msgspec.structs.replace(store.entry(what), sha256=found)
    entry = msgspec.structs.replace(own_entry(path), sha256=found, file=path.name)
    if plain_model(entry.name) != entry.name:
        raise ModelError(f"{what}: a model named {entry.name!r} would be taken for a form of another; rename the file.")
    return path, entry


def _lies_there(ground: GroundModels, sha256: str) -> bool:
    known = next((file for file in ground.files() if file.entry.sha256 == sha256), None)
    return known is not None and Path(known.path).is_file() and file_sha256(Path(known.path)) == sha256


def _measure(run: RunDirectory, config: RunConfig, path: Path, entry: ModelEntry) -> None:
    """Where the satellites' computer is this machine: what a tile of a model that gives masks costs here."""
    if entry.mask is None or config.free:
        return
    measured_s: dict[str, float] = {}
    if config.scenario.device.kind == "host":
        with LoadedModel(entry, Session(path, entry)).pipeline() as pipeline:
            measured_s[entry.name] = service_time(pipeline, MEASURED_TILES)
    write_service_times(run.path, config.scenario.device, measured_s)


def _table(run: RunDirectory) -> ModelTable:
    with ModelClient(run) as client:
        return client.table()


def _row(table: ModelTable, sha256: str) -> ModelRow:
    return next(row for row in table.models if row.sha256 == sha256)


def _wait(client: ModelClient, sha256: str, satellites: Sequence[str], limit_s: float, say: Say) -> ModelRow:
    end_s, said = time.monotonic() + limit_s, ""
    while True:
        row = _row(client.table(), sha256)
        wanted = [place for place in row.places if not satellites or place.satellite in satellites]
        line = progress(row, wanted)
        if line != said:
            say(line)
            said = line
        if all(_has_ended(place) for place in wanted):
            return row
        if time.monotonic() > end_s:
            raise EnvironmentProblem(
                f"after {limit_s:g} s {line}; it goes on without this command: look with `perigrid model list`."
            )
        time.sleep(LOOK_WALL_S)


def _has_ended(place: Place) -> bool:
    return place.state in ENDED or (place.state == "held" and place.cause != "")


def progress(row: ModelRow, places: Sequence[Place]) -> str:
    """How far a push is, in a line."""
    loaded = sum(place.state == "loaded" for place in places)
    without = sum(place.state in ("refused", "no-room", "evicted") for place in places)
    waiting = [place.pieces for place in places if not _has_ended(place)]
    line = f"{row.name}: loaded on {loaded} of {len(places)}"
    if without:
        line += f", {without} without it"
    return f"{line}; every other one has {min(waiting)} of {row.pieces} pieces" if waiting else line


def verify(run: RunDirectory, name: str | None = None, limit_s: float = 60.0) -> Verdict:
    """Let every satellite hash its models again, and say what they found; of preloaded ones the one file is hashed.

    UsageError where there is no model of that name.
    """
    config = read_config(run.path)
    with ModelClient(run) as client:
        table = client.table(rehash=True)
        asked_s = table.sky_s
        if name is not None and all(row.name != name for row in table.models):
            names = ", ".join(row.name for row in table.models) or "none"
            raise UsageError(f"there is no model {name!r} on this constellation (there: {names}); push it first.")
        end_s = time.monotonic() + limit_s
        while True:
            places = _held(table, name)
            open_ones = [place for _, place in places if (place.rehashed_sky_s or -1.0) < asked_s]
            if not open_ones or time.monotonic() > end_s:
                break
            time.sleep(LOOK_WALL_S)
            table = client.table()
    wrong = [_wrong(row, place) for row, place in places if (place.rehashed_sky_s or -1.0) < asked_s]
    preloaded = [file for file in config.models if name is None or file.entry.name == name]
    for file in preloaded:
        found = file_sha256(Path(file.path)) if Path(file.path).is_file() else "no file"
        if found != file.entry.sha256:
            wrong.append(f"{file.entry.name}, preloaded: {file.path} has sha256 {found}, not {file.entry.sha256}")
    copies = len(places) + len(preloaded)
    mended = [f"{row.name} on {place.satellite}: {place.cause}" for row, place in places if place.found]
    return Verdict(table, copies, copies - len(wrong), tuple(wrong), tuple(mended))


def _held(table: ModelTable, name: str | None) -> list[tuple[ModelRow, Place]]:
    """The copies that lie in a flash, or should."""
    rows = [row for row in table.models if not row.preloaded and (name is None or row.name == name)]
    states = ("held", "loaded", "corrupt", "arriving")
    return [(row, place) for row in rows for place in row.places if place.state in states]


def _wrong(row: ModelRow, place: Place) -> str:
    if place.found:
        return f"{row.name} on {place.satellite}: sha256 {place.found}, not {row.sha256}; it is fetched again"
    return f"{row.name} on {place.satellite}: {place.state}, no word of its hash yet; is it reachable?"


def table_lines(table: ModelTable) -> list[str]:
    """The table for a reader: a line a model, and one for each satellite where a model is not simply loaded."""
    lines: list[str] = []
    for row in table.models:
        size = f"{row.bytes / 1e6:.1f} MB"
        if row.preloaded:
            lines.append(f"{row.name:<16} {row.sha256[:12]}  {size:>9}  preloaded on every satellite")
            continue
        pin = ", pinned" if row.pinned else ""
        lines.append(f"{row.name:<16} {row.sha256[:12]}  {size:>9}  {where(row)}{pin}")
        lines += [place_line(row, place) for place in row.places]
    return lines or ["no models"]


def where(row: ModelRow) -> str:
    """On how many of those that shall have it a model is loaded, how many only carry it, and how much went up."""
    wanted = [place for place in row.places if not row.targets or place.satellite in row.targets]
    loaded = sum(place.state == "loaded" for place in wanted)
    carried = f", carried by {len(row.places) - len(wanted)}" if len(row.places) > len(wanted) else ""
    return f"loaded on {loaded} of {len(wanted)}{carried}, {row.uplinked_bytes / 1e6:.1f} MB went up"


def place_line(row: ModelRow, place: Place) -> str:
    """One model on one satellite for a reader."""
    line = f"  {place.satellite:<10} {place.state}"
    if place.state in ("arriving", "corrupt"):
        line += f", {place.pieces} of {row.pieces} pieces"
    if place.rehashed_sky_s is not None:
        line += f", hashed at {place.rehashed_sky_s:.1f} s"
    return f"{line}: {place.cause}" if place.cause else line


def pushed_name(run: RunDirectory, config: RunConfig, wanted: str) -> str | None:
    """The name of a pushed model that a user names, or whose .onnx file; UsageError where another has that name."""
    pushed = {file.entry.name: file for file in GroundModels(run.path / GROUND_FOLDER).files()}
    if wanted in pushed:
        return wanted
    path = Path(wanted)
    if not wanted.endswith(".onnx") or path.stem not in pushed or path.stem in config.model_names:
        return None
    if not path.is_file() or file_sha256(path) != pushed[path.stem].entry.sha256:
        raise UsageError(f"another model named {path.stem!r} was pushed; rename {wanted}.")
    return path.stem
