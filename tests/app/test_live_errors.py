"""Does the command line hold its promises while a constellation is really up?

Each test starts processes of its own, on as few satellites as it needs, and leaves none.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perigrid.app.demonstration import finish_reference, start_reference
from perigrid.app.scenarios import shipped_presets
from perigrid.live.models import ModelStore
from perigrid.live.scenes import SceneSearch, load_scene
from perigrid.scenario.load import parse
from perigrid.sky.frames import earth_angle_rad, eci_to_ecef, sidereal_angle_rad
from perigrid.sky.walker import Walker

pytestmark = pytest.mark.live

LIMIT_S = 120.0
LOOK_S = 0.05
STRIDE_PX = 11

SCENARIO = """
preset = "three-body-12"
models = ["tinycloud"]
[clock]
rate = 0.2
[lasers]
acquire_s = 0.5
[[shell]]
name = "ring"
sats_per_plane = {satellites}
[[data]]
dataset = "spyndex"
stride_px = {stride_px}
replicas = 1
"""

STATION = """
[[station]]
name = "below-{number}"
latitude_deg = {latitude_deg}
longitude_deg = {longitude_deg}
min_elevation_deg = 5
"""


def scenario_text(satellites: int) -> str:
    """A ring of so many satellites, with a station below each: a small ring's lasers would pass through the Earth."""
    text = SCENARIO.format(satellites=satellites, stride_px=STRIDE_PX)
    scenario = parse(text, "t", shipped_presets())
    t_s = np.array([60.0])
    positions = Walker.from_shells(scenario.shells).positions_eci_km(t_s)
    below = eci_to_ecef(positions, earth_angle_rad(sidereal_angle_rad(scenario.epoch), t_s))[0]
    for number, (x, y, z) in enumerate(below):
        latitude_deg = float(np.degrees(np.arctan2(z, np.hypot(x, y))))
        longitude_deg = float(np.degrees(np.arctan2(y, x)))
        text += STATION.format(number=number, latitude_deg=latitude_deg, longitude_deg=longitude_deg)
    return text


def start(*arguments: str) -> subprocess.Popen[str]:
    script = "from perigrid.app.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def perigrid(*arguments: str) -> tuple[int, str, str]:
    """Run a command to its end; exit code, stdout and stderr."""
    process = start(*arguments)
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except BaseException:
        process.kill()
        raise
    return process.returncode, out, err


def answer(*arguments: str) -> dict[str, Any]:
    """The JSON object of a command that succeeds."""
    code, out, err = perigrid(*arguments, "--json")
    assert code == 0, err
    table: dict[str, Any] = json.loads(out)
    return table


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that are there and not zombies."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def gone(pids: list[int]) -> bool:
    """Whether the processes end within a bound."""
    end_s = time.monotonic() + LIMIT_S
    while alive(pids) and time.monotonic() < end_s:
        time.sleep(LOOK_S)
    return not alive(pids)


def pids_of(info: dict[str, Any]) -> list[int]:
    satellites = info["satellites"]
    both = [s["pid"] for s in satellites] + [s["payload_pid"] for s in satellites]
    return [info["supervisor_pid"], info["controller_pid"], *both]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own with scenario files, in which nothing is left running."""
    monkeypatch.chdir(tmp_path)
    source_root = Path(__file__).resolve().parents[2] / "runtime"
    monkeypatch.setenv("PYTHONPATH", str(source_root))
    for satellites in (1, 2, 3):
        Path(f"ring-{satellites}.toml").write_text(scenario_text(satellites))
    yield
    for path in Path("runs").glob("*/run.json"):
        perigrid("down", "--name", path.parent.name)


@pytest.fixture(scope="module")
def expected_sha256() -> str:
    """What one plain process makes of the same tiles."""
    search = SceneSearch.from_environment(dict(os.environ))
    scene, entry = load_scene("spyndex", search), ModelStore().entry("tinycloud")
    known = search.known()["spyndex"]
    task = {
        "scene_file": scene.source,
        "scene_format": known.format,
        "scale": known.scale,
        "model_file": str(ModelStore().resolve("tinycloud")),
        "input_name": entry.inputs[0].name,
        "bands": len(entry.bands),
        "mean": None,
        "std": None,
        "channels": [0, 1, 2],
        "tile_px": 256,
        "stride_px": STRIDE_PX,
    }
    return str(finish_reference(start_reference(task))["result_sha256"])


@pytest.mark.parametrize("satellites", [1, 2, 3])
def test_small_constellations_work(satellites: int, expected_sha256: str) -> None:
    up = answer("up", f"ring-{satellites}.toml", "--detach", "--name", "small")
    assert len(up["satellites"]) == satellites
    assert {"run", "directory", "jobs", "controller_pid"} <= set(up)
    outcome = answer("run", "--tiles-per-shard", "2")
    assert outcome["result_sha256"] == expected_sha256
    assert (outcome["accepted"], outcome["failed"]) == (outcome["shards"], 0)
    assert outcome["duplicates_to_client"] == 0
    folder = Path("runs/small/results") / outcome["job"]
    assert np.load(folder / "mask.npz")["mask"].shape == (300, 300)
    assert json.loads((folder / "outcome.json").read_text())["job"] == outcome["job"]
    assert answer("down")["down"] is True
    assert gone(pids_of(up))
    assert not list(Path("runs/small/sockets").iterdir())


def test_every_command_on_one_constellation(expected_sha256: str) -> None:
    up = answer("up", "ring-3.toml", "--detach", "--name", "one")
    code, _, err = perigrid("up", "ring-3.toml", "--detach", "--name", "one")
    assert (code, "is up" in err) == (3, True)
    status = answer("status")
    assert status["satellites_up"] == 3
    assert {"a", "b", "kind", "state", "range_km"} <= set(status["links"][0])
    code, out, _ = perigrid("status")
    assert (code, "satellites up" in out) == (0, True)

    for arguments, needle in (
        (("why", "sat-99"), "sat-99"),
        (("cut", "sat-01", "sat-99"), "sat-99"),
        (("heal", "sat-01", "Svalbard"), "Svalbard"),
        (("kill", "sat-99"), "sat-99"),
        (("reboot", "sat-01"), "sat-01"),
        (("run", "--model", "cloudmusk"), "cloudmusk"),
        (("run", "--dataset", "sentinel2"), "sentinel2"),
    ):
        code, _, err = perigrid(*arguments)
        assert (code, needle in err) == (2, True), err
    assert answer("why", "sat-02")["reachable"] is True

    answer("kill", "sat-02")
    assert answer("why", "sat-02")["dead"] is True
    assert answer("status")["satellites_lost"] == ["sat-02"]
    code, _, err = perigrid("kill", "sat-02")
    assert code == 2, err
    answer("reboot", "sat-02")
    assert answer("status")["satellites_lost"] == []

    assert answer("run", "--job", "mine")["result_sha256"] == expected_sha256
    assert answer("run", "--job", "mine")["result_sha256"] == expected_sha256
    code, _, err = perigrid("run", "--job", "mine", "--priority", "3")
    assert (code, "another specification" in err) == (2, True)
    code, out, _ = perigrid("run", "--deadline", "0.001", "--json")
    assert (code, json.loads(out)["failed"] > 0) == (1, True)
    answer("down")
    assert gone(pids_of(up))
    assert perigrid("run")[0] == 3


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = perigrid("up", "ring-1.toml", "--detach", "--port", str(port), "--json")
    assert code == 3, err
    assert str(port) in json.loads(out)["error"]
    assert perigrid("status")[0] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_attached_constellation_goes_with_its_command(number: signal.Signals) -> None:
    process = start("up", "ring-1.toml", "--json", "--name", "mine")
    assert process.stdout is not None
    up = json.loads(process.stdout.readline())
    process.send_signal(number)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert gone(pids_of(up))
    assert not list(Path("runs/mine/sockets").iterdir())


def test_a_job_without_contact_says_so_before_it_waits() -> None:
    text = SCENARIO.format(satellites=1, stride_px=STRIDE_PX) + STATION.format(
        number=0, latitude_deg=0.0, longitude_deg=-38.0
    )
    Path("dark.toml").write_text(text)
    up = answer("up", "dark.toml", "--detach", "--name", "dark")
    process = start("run", "--job", "patient")
    assert process.stderr is not None
    said = ""
    while "waits" not in said:
        line = process.stderr.readline()
        assert line, f"it ended without saying that it waits: {said}"
        said += line
    assert "the next contact is at 2025-05-15T" in said
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert "goes on without us" in rest
    why = answer("why", "sat-01")
    assert why["reachable"] is False
    assert why["until_utc"].startswith("2025-05-15T")
    answer("down")
    assert gone(pids_of(up))
