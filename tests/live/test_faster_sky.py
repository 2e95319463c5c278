"""Does a sky that turns faster than time passes change contacts, and neither delays nor results?

The twelve-ring passes over its station at 60 times its speed: each satellite is in sight for seconds. What the run says
of ranges is held against orbits that are computed here, and its results against those of one process.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perigrid.live.config import read_config
from perigrid.live.rundir import RunDirectory
from perigrid.sky.walker import Walker
from tests.live.conftest import (
    COMMAND,
    JOB_LIMIT_S,
    STRIDE_PX,
    UP_LIMIT_S,
    Constellation,
    Launcher,
    environment,
    wait_until,
)

pytestmark = pytest.mark.live

ORBIT_RATE = 60.0
LIGHT_KM_S = 299_792.458
TURNING = "the sky turns 60 times as fast as time passes: contacts are 60 times as short, delays are not"
LONGEST_PASS_S = 9.0
"""A pass above 10 degrees lasts 7.5 minutes at 535 km, from horizon to horizon over the zenith."""


@pytest.fixture(scope="module")
def faster(launcher: Launcher) -> Iterator[Constellation]:
    """The ring in real time, its sky at sixty times that."""
    found = launcher.up("faster", "--orbit-rate", str(ORBIT_RATE), rate=1.0, service_s=0.05, acquire_s=0.2)
    yield found
    launcher.end(found.run)


def events(constellation: Constellation) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (constellation.directory / "events.jsonl").read_text().splitlines()]


def radio(constellation: Constellation) -> set[str]:
    """The satellites that the station serves now."""
    return {link["a"] for link in constellation.status()["links"] if link["kind"] == "radio" and link["state"] == "up"}


def test_delays_are_those_of_the_places_where_satellites_stand(faster: Constellation) -> None:
    status = faster.status()
    shells = read_config(faster.directory).scenario.shells
    places = Walker.from_shells(shells).positions_eci_km(np.array([ORBIT_RATE * status["sky_s"]]))[0]
    names = faster.mesh().names
    lasers = [link for link in status["links"] if link["kind"] == "laser"]
    assert len(lasers) == 12
    for link in lasers:
        one, two = (places[names.index(link[end])] for end in ("a", "b"))
        assert link["range_km"] == pytest.approx(float(np.linalg.norm(one - two)), abs=0.1)
    for link in status["links"]:
        if link["kind"] != "fibre":
            assert link["delay_ms"] == pytest.approx(1e3 * link["range_km"] / LIGHT_KM_S, abs=1e-3)
            assert (link["rate_bps"] > 0) == (link["back_bps"] > 0) == (link["state"] == "up")


def test_contacts_come_and_go_and_results_stay(faster: Constellation, expected_sha256: str) -> None:
    first = wait_until(lambda: radio(faster), UP_LIMIT_S, "the first contact")
    jobs = 0

    def has_passed() -> bool:
        nonlocal jobs
        jobs += 1
        assert faster.job(f"passing-{jobs}").sha256 == expected_sha256
        return bool(radio(faster) - first)

    wait_until(has_passed, JOB_LIMIT_S, "another satellite over the station")
    station = int(faster.mesh().station_ids[0])
    seen = [e for e in events(faster) if e["what"] in ("link-up", "link-down") and e["b"] == station]
    assert all(event["planned"] == 1 for event in seen if event["what"] == "link-down")
    downs = [e for e in seen if e["what"] == "link-down" and e["node"] == "below"]
    assert downs
    for down in downs:
        up = max(e["t"] for e in seen if e["what"] == "link-up" and e["a"] == down["a"] and e["t"] < down["t"])
        assert down["t"] - up < LONGEST_PASS_S


def test_it_is_said_wherever_results_are(faster: Constellation, expected_sha256: str) -> None:
    assert faster.info["orbit_rate"] == ORBIT_RATE
    assert faster.command("status")["orbit_rate"] == ORBIT_RATE
    outcome = faster.command("run", "--job", "told")
    assert outcome["orbit_rate"] == ORBIT_RATE and outcome["result_sha256"] == expected_sha256
    first = events(faster)[0]
    assert first["what"] == "run" and first["orbit_rate"] == ORBIT_RATE
    page = faster.directory / "told.html"
    faster.command("report", "--job", "told", "--out", str(page))
    text = page.read_text()
    assert TURNING[1:] in text and 'data-figure="orbit_rate"' in text
    provenance = read_config(faster.directory).scenario.provenance["clock.orbit_rate"]
    assert provenance.kind == "user"


def test_a_run_is_repeated_under_the_same_sky(launcher: Launcher, faster: Constellation) -> None:
    launcher.end(faster.run)
    again = RunDirectory((launcher.root / "again").resolve())
    launcher.started.append(again)
    done = subprocess.run(
        [*COMMAND, "rerun", str(faster.directory), "--root", str(launcher.root), "--name", "again", "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * UP_LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    repetition = json.loads(done.stdout)
    assert repetition["equal"] and repetition["orbit_rate"] == ORBIT_RATE
    assert again.read().orbit_rate == ORBIT_RATE
    assert read_config(again.path).scenario.clock.orbit_rate == ORBIT_RATE


# --- catalogued satellites, which point at whoever is nearest


CATALOGUED = 12
FIRST_NUMBER = 400_001
"""More than the six digits that element sets once had room for."""

STATIONS = ((75.9, -116.6), (51.1, -140.5), (25.0, -148.0), (-1.3, -153.5), (-27.6, -159.0), (-53.6, -167.0))
"""Below the path of a satellite in the middle, 7 s at the faster sky apart: for 40 s one of them sees somebody."""


def elements_json() -> str:
    """Four satellites on each of three planes, shortly before the planes cross near the pole."""
    records = [
        {
            "OBJECT_NAME": f"TEST-{number}",
            "OBJECT_ID": "2026-001A",
            "EPOCH": "2026-03-20T12:00:00",
            "MEAN_MOTION": 15.1,
            "ECCENTRICITY": 0.0002,
            "INCLINATION": 97.5,
            "RA_OF_ASC_NODE": 30.0 * (number % 3),
            "ARG_OF_PERICENTER": 0.0,
            "MEAN_ANOMALY": 88.0 + 10.0 * (number // 3) + 4.0 * (number % 3),
            "EPHEMERIS_TYPE": 0,
            "NORAD_CAT_ID": FIRST_NUMBER + number,
            "BSTAR": 0.0001,
            "MEAN_MOTION_DOT": 0.0,
            "MEAN_MOTION_DDOT": 0.0,
        }
        for number in range(CATALOGUED)
    ]
    return json.dumps(records)


def catalogue_toml(scene: Path) -> str:
    """The catalogued satellites, three lasers each, over the stations."""
    stations = "".join(
        f'[[station]]\nname = "station-{n}"\nlatitude_deg = {latitude}\nlongitude_deg = {longitude}\n'
        "min_elevation_deg = 5\n"
        for n, (latitude, longitude) in enumerate(STATIONS)
    )
    return f"""
epoch = 2026-03-20T12:00:00Z
models = ["tinycloud"]
[[catalogue]]
file = "catalogue.json"
topology = "nearest"
{stations}
[lasers]
rate_bps = 10e9
acquire_s = 0.2
terminals = 3
[device]
name = "computer of the tests"
kind = "assumed"
service_s = {{ tinycloud = 0.05 }}
[clock]
rate = 1.0
[[data]]
file = "{scene}"
stride_px = {STRIDE_PX}
replicas = 1
"""


def lasers(constellation: Constellation) -> set[tuple[str, str]]:
    """The lasers that are up now."""
    return {pair for pair, state in constellation.link_states().items() if state == "up" and is_laser(pair)}


def is_laser(pair: tuple[str, str]) -> bool:
    return all(name.isdecimal() for name in pair)


def test_catalogued_satellites_compute_while_their_lasers_roam(launcher: Launcher, expected_sha256: str) -> None:
    (launcher.root / "catalogue.json").write_text(elements_json())
    file = launcher.root / "catalogue.toml"
    file.write_text(catalogue_toml(launcher.scene))
    options = ("--orbit-rate", str(ORBIT_RATE), "--satellites-per-process", "4")
    constellation = launcher.up("catalogued", *options, file=file)
    try:
        assert [each["name"] for each in constellation.info["satellites"]] == [
            str(FIRST_NUMBER + number) for number in range(CATALOGUED)
        ]
        before = lasers(constellation)
        assert constellation.job("at-first").sha256 == expected_sha256
        new = wait_until(lambda: lasers(constellation) - before, JOB_LIMIT_S, "another pair of satellites")
        job = constellation.job("later")
        assert job.sha256 == expected_sha256 and len(job.satellites()) == CATALOGUED
        names = constellation.mesh().names
        locked = {
            (names[e["a"]], names[e["b"]]) for e in events(constellation) if e["what"] == "link-up" and e["t"] > 0.0
        }
        assert new <= locked
        done_s = max(e["t"] for e in events(constellation) if e["what"] == "job-ended")

        def counted() -> bool:
            """Nodes note about once a second what their links carried."""
            return any(
                e["what"] == "traffic" and e["kind"] == "laser" and e["t"] > done_s for e in events(constellation)
            )

        wait_until(counted, UP_LIMIT_S, "the job's traffic in the log")
        page = constellation.directory / "later.html"
        constellation.command("report", "--job", "later", "--out", str(page))
        text = page.read_text()
        assert "12 satellites, whose lasers point at whoever is nearest." in text
        carried = re.search(r"(\d+) lasers carried something", text)
        assert carried is not None and int(carried[1]) >= CATALOGUED - 2
        assert text.count('class="laser load-') >= int(carried[1])
    finally:
        launcher.end(constellation.run)
