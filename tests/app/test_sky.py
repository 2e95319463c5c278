"""Does `perigrid sky` answer for every preset, in figures that hold, and say what is wrong with a question?"""

from __future__ import annotations

import csv
import importlib
import json
import struct
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from czml3 import Packet

from perigrid.app.cli import run_command
from perigrid.app.scenarios import shipped_presets
from perigrid.app.sky.view import open_sky
from perigrid.report.sky import land, style

PRESETS = shipped_presets().names
RING_KM, LIGHT_KM_S = 6378.137 + 535.0, 299_792.458
CHORD_KM = 2 * RING_KM * np.sin(np.radians(15.0))

Ask = Callable[..., dict[str, Any]]


@lru_cache(maxsize=1)
def shared_land() -> land.Land:
    return READ_LAND()


READ_LAND = land.read_land


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own without a network; land is read once, and pictures have few dots."""
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(land, "read_land", shared_land)
    monkeypatch.setattr(style, "DOTS_AN_INCH", 40)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Asks `perigrid sky ... --json` and reads the answer."""

    def asked(*words: str) -> dict[str, Any]:
        assert run_command(["sky", *words, "--json"]) == 0
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return asked


def check_head(head: dict[str, Any], preset: str) -> None:
    """What every answer rests on is said."""
    assert head["scenario"] == preset
    assert head["patterns"] and all(pattern["topology"] for pattern in head["patterns"])
    assert all(pattern["phasing_slots"] is not None for pattern in head["patterns"])
    assert "WGS84" in head["earth"] and head["epoch_utc"].endswith("Z") and head["orbit_rate"] == 1.0
    assert all(each["source"] for each in head["assumptions"])


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_shown(preset: str, ask: Ask) -> None:
    found = ask("show", preset, "--hours", "1")
    check_head(found["head"], preset)
    assert sum(report["shell"]["satellites"] for report in found["shells"]) == found["head"]["satellites"]
    lasers = found["lasers"]["up"]
    assert lasers == sum(report["lasers_up"] for report in found["shells"])
    for report in found["shells"]:
        assert 80 < report["shell"]["period_min"]["median"] < 130
        assert 0.25 < report["light"]["eclipse_share_beta0"] < 0.42
        assert report["light"]["eclipse_share"]["highest"] <= report["light"]["eclipse_share_beta0"] + 0.01
    if lasers:
        assert found["mesh"][0]["hops"] >= 1 and found["mesh"][0]["delay_ms"] > 0
    assert len(found["ground"]) == found["head"]["stations"] + (found["head"]["stations"] > 1)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_drawn(preset: str, ask: Ask) -> None:
    found = ask("plot", preset, "--output", "map.png")
    check_head(found["head"], preset)
    content = Path("map.png").read_bytes()
    assert content.startswith(b"\x89PNG") and struct.unpack(">II", content[16:24]) == (512, 304)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_exported(preset: str, ask: Ask) -> None:
    satellites = len(open_sky(preset, None, lambda _: None).scenario.satellite_names)
    every = max(1, satellites // 20)
    found = ask(
        *("export", preset, "--format", "czml", "--output", "sky.czml"), "--hours", "0.1", "--every", str(every)
    )
    check_head(found["head"], preset)
    packets = json.loads(Path("sky.czml").read_text())
    assert found["count"] == len(packets) and found["satellites"] == -(-satellites // every)
    for packet in packets:
        Packet.model_validate(packet)
    ids = {packet["id"] for packet in packets}
    for packet in packets:
        for reference in packet.get("polyline", {}).get("positions", {}).get("references", ()):
            assert reference.removesuffix("#position") in ids


def test_the_ring_s_figures(ask: Ask) -> None:
    found = ask("show", "three-body-12")
    (report,) = found["shells"]
    (neighbours,) = report["neighbours"]
    assert neighbours["range_km"]["median"] == pytest.approx(3_579, abs=1)
    assert neighbours["delay_ms"]["median"] == pytest.approx(11.9, abs=0.05)
    assert (found["mesh"][0]["hops"], found["mesh"][0]["delay_ms"]) == (6, pytest.approx(71.6, abs=0.05))
    svalbard = next(each for each in found["ground"] if each["station"] == "Svalbard")
    assert svalbard["satellite_share"] == pytest.approx(0.052, rel=0.02)
    assert found["hours"] == 24.0 and found["step_s"] == 10.0


def test_shells_that_are_islands_are_called_so(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(ask("show", "kuiper", "--hours", "0.1")["islands"]) == 3
    run_command(["sky", "show", "kuiper", "--hours", "0.1"])
    assert "islands: no laser joins 630; 610; 590" in capsys.readouterr().out


def test_passes_are_where_an_observer_sees_them(ask: Ask) -> None:
    found = ask("passes", "three-body-12", "--hours", "3", "--station", "svalbard", "--satellite", "sat-03")["passes"]
    assert found and {(each["station"], each["satellite"]) for each in found} == {("Svalbard", "sat-03")}
    sky = open_sky("three-body-12", None, lambda _: None)
    place = sky.geometry.sites.position_km[0]
    up = place / [1.0, 1.0, (1 - 1 / 298.257223563) ** 2]
    up /= np.linalg.norm(up)
    for each in found:
        t_s = np.array([each["rise_s"], each["culmination_s"], each["set_s"]])
        away = sky.geometry.positions_ecef_km(t_s)[:, 2] - place
        elevation = np.degrees(np.arcsin(away @ up / np.linalg.norm(away, axis=1)))
        if not each["began_before"]:
            assert elevation[0] == pytest.approx(10.0, abs=0.01)
        assert elevation[1] == pytest.approx(each["max_elevation_deg"], abs=0.01)
        assert elevation[2] == pytest.approx(10.0, abs=0.01)
        assert np.linalg.norm(away[1]) == pytest.approx(each["range_km"], abs=0.01)
        assert each["duration_s"] == pytest.approx(each["set_s"] - each["rise_s"])
        assert each["rise_utc"] < each["culmination_utc"] < each["set_utc"]


def test_a_path_round_the_ring(ask: Ask) -> None:
    found = ask("path", "three-body-12", "sat-01", "sat-04")
    near, far = found["ways"]
    assert (near["hops"], far["hops"]) == (3, 9)
    assert near["delay_ms"] == pytest.approx(3 * CHORD_KM / LIGHT_KM_S * 1e3, abs=1e-3)
    assert near["rtt_ms"] == pytest.approx(2 * near["delay_ms"])
    assert near["nodes"] == ["sat-01", "sat-02", "sat-03", "sat-04"]
    assert near["rate_bps"] == 100e9
    assert "only 2 ways" in found["fewer"]
    # Three hops of a megabyte at 100 Gbit/s, each received whole before it is sent on.
    assert found["delivery"]["after_s"] == pytest.approx(3 * (CHORD_KM / LIGHT_KM_S + 8e6 / 100e9), abs=1e-5)


def test_a_path_that_is_cut_says_by_what(ask: Ask) -> None:
    cut = ("--without", "sat-01-sat-02", "--without", "sat-12-SAT-01")
    found = ask("path", "three-body-12", "sat-01", "sat-06", *cut, "--hours", "1")
    assert found["ways"] == [] and found["no_way"]["until_utc"] is None
    assert found["no_way"]["blocked_by"] == ["sat-01 - sat-02", "sat-01 - sat-12"]
    assert "both cut" in found["no_way"]["reason"]
    # Lasers do not lead there, but a station that sees one satellite and later another does.
    assert {"radio"} <= {hop["kind"] for hop in found["delivery"]["hops"]}
    assert found["delivery"]["after_s"] > 60.0
    hops = found["delivery"]["hops"]
    assert all(hop["start_s"] < hop["end_s"] < hop["arrival_s"] for hop in hops)
    assert all(before["arrival_s"] <= after["start_s"] + 1e-9 for before, after in pairwise(hops))
    assert hops[-1]["arrival_s"] == pytest.approx(found["delivery"]["after_s"])
    assert [hop["arrival_utc"] for hop in hops] == sorted(hop["arrival_utc"] for hop in hops)
    assert len(ask("path", "three-body-12", "sat-01", "sat-06", *cut[:2])["ways"]) == 1


def test_a_path_that_is_not_yet_says_until_when_in_sky_time(ask: Ask) -> None:
    found = ask("path", "three-body-12", "Sanya", "sat-07", "--at", "2025-05-15T05:20:00Z", "--hours", "12")
    until_s = found["no_way"]["until_s"]
    assert until_s > 5.33 * 3600 and f"t = {until_s:.1f} s" in found["no_way"]["reason"]
    assert found["delivery"]["arrival_utc"] > found["no_way"]["until_utc"]
    later = ask("path", "three-body-12", "Sanya", "sat-07", "--at", found["delivery"]["arrival_utc"])
    assert later["ways"]


def test_a_path_between_places_leads_over_the_sky_and_not_over_fibre(ask: Ask) -> None:
    sky = ask("path", "starlink-shell1", "Madrid", "52.5,13.4", "--k", "1", "--hours", "0.1")
    assert {leg["kind"] for leg in sky["ways"][0]["legs"]} == {"radio", "laser"}
    assert sky["b"] == "52.5,13.4"
    assert ask("path", "three-body-12", "Miyun", "Kashgar", "--hours", "0.1")["ways"] == []
    cable = ask("path", "three-body-12", "Miyun", "Kashgar", "--hours", "0.1", "--fibre")
    assert [leg["kind"] for leg in cable["ways"][0]["legs"]] == ["fibre", "fibre"]
    centre = ask("path", "three-body-12", "ground", "Svalbard", "--k", "1", "--hours", "0.1")
    assert centre["fibre"] and centre["ways"][0]["hops"] == 1


def test_contacts_are_the_same_in_every_form(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ask("contacts", "three-body-12", "--hours", "1", "--kind", "radio")["contacts"]
    assert len(rows) > 10 and all(row["kind"] == "radio" and row["least_km"] < row["most_km"] for row in rows)
    assert run_command(["sky", "contacts", "three-body-12", "--hours", "1", "--kind", "radio", "--format", "csv"]) == 0
    captured = capsys.readouterr()
    listed = list(csv.DictReader(captured.out.splitlines()))
    assert [row["a"] for row in listed] == [row["a"] for row in rows]
    assert [float(row["least_km"]) for row in listed] == [row["least_km"] for row in rows]
    assert "phasing" in captured.err
    one = ask("contacts", "three-body-12", "--hours", "1", "--satellite", "sat-05", "--kind", "laser")["contacts"]
    assert {(row["a"], row["b"]) for row in one} == {("sat-04", "sat-05"), ("sat-05", "sat-06")}
    found = ask("contacts", "three-body-12", "--hours", "1", "--output", "list.parquet")
    table = importlib.import_module("pyarrow.parquet").read_table("list.parquet")
    assert found["count"] == table.num_rows == len(rows) + 12
    assert json.loads(table.schema.metadata[b"perigrid.head"])["scenario"] == "three-body-12"


def test_a_moment_long_after_the_epoch_is_the_same_sky(ask: Ask) -> None:
    late = ("--at", "2025-07-01T00:10:00Z", "--hours", "0.5", "--kind", "laser")
    found = ask("contacts", "three-body-12", *late)
    assert len(found["contacts"]) == 12
    assert all(row["least_km"] == pytest.approx(CHORD_KM, abs=1.0) for row in found["contacts"])
    assert found["contacts"][0]["start_utc"] == "2025-07-01T00:10:00.000Z"
    assert any("afresh" in note for note in found["head"]["notes"])
    exact = ask("contacts", "three-body-12", "--at", "2025-05-15T03:00:00Z", "--hours", "1", "--kind", "radio")
    whole = ask("contacts", "three-body-12", "--hours", "4", "--kind", "radio")["contacts"]
    assert not exact["head"]["notes"]
    inside = [row for row in whole if row["start_s"] > 3 * 3600]
    again = [row for row in exact["contacts"] if not row["began_before"]]
    assert [(row["a"], row["b"], row["start_s"]) for row in again] == [
        (row["a"], row["b"], row["start_s"]) for row in inside
    ]


def test_positions_agree_with_themselves(ask: Ask) -> None:
    found = ask(
        *("export", "iridium-next", "--format", "csv", "--output", "p.csv", "--hours", "0.2"),
        "--step",
        "120",
        "--every",
        "7",
    )
    rows = list(csv.DictReader(Path("p.csv").read_text().splitlines()))
    assert found["count"] == len(rows) == 10 * 7
    flattening = 1 / 298.257223563
    for row in rows:
        x, y, z = (float(row[f"{axis}_km"]) for axis in "xyz")
        assert np.hypot(np.hypot(x, y), z) == pytest.approx(6378.137 + 780.0, abs=1e-6)
        latitude, longitude = (np.radians(float(row[name])) for name in ("latitude_deg", "longitude_deg"))
        normal = 6378.137 / np.sqrt(1 - flattening * (2 - flattening) * np.sin(latitude) ** 2)
        height = float(row["altitude_km"])
        assert (normal + height) * np.cos(latitude) * np.cos(longitude) == pytest.approx(x, abs=1e-3)
        assert (normal * (1 - flattening) ** 2 + height) * np.sin(latitude) == pytest.approx(z, abs=1e-3)


def test_exported_contacts_join_exported_satellites(ask: Ask) -> None:
    found = ask(
        *("export", "iridium-next", "--what", "contacts", "--format", "csv", "--output", "c.csv"),
        *("--hours", "0.5", "--every", "2"),
    )
    rows = list(csv.DictReader(Path("c.csv").read_text().splitlines()))
    assert found["count"] == len(rows) > 0
    names = {f"sat-{number:02d}" for number in range(1, 67, 2)} | {"Svalbard", "Fairbanks", "Punta Arenas"}
    assert all(row["a"] in names and row["b"] in names for row in rows)


def test_round_trips_and_bars_are_drawn(ask: Ask) -> None:
    found = ask(
        *("plot", "three-body-12", "--kind", "rtt", "--pair", "sat-01", "sat-07", "--hours", "0.5"),
        *("--step", "60", "--output", "r.png"),
    )["round_trips"]
    assert len(found["rtt_ms"]) == 31 and found["median_ms"] == pytest.approx(143.2, abs=0.1)
    assert set(found["hops"]) == {6}
    ask("plot", "three-body-12", "--kind", "gantt", "--hours", "3", "--output", "g.png")
    ask("plot", "iridium-next", "--kind", "gantt", "--satellite", "sat-07", "--hours", "1", "--output", "l.png")
    assert all(Path(name).read_bytes().startswith(b"\x89PNG") for name in ("r.png", "g.png", "l.png"))


def test_a_run_s_faster_sky_is_told_and_the_orbits_keep_their_own_time(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("fast.toml").write_text('preset = "three-body-12"\nname = "fast"\n[clock]\norbit_rate = 10\n')
    slow = ask("passes", "three-body-12", "--hours", "1")["passes"]
    fast = ask("passes", "fast.toml", "--hours", "1")
    assert fast["head"]["orbit_rate"] == 10.0
    assert fast["passes"] == slow
    assert run_command(["sky", "contacts", "fast.toml", "--hours", "0.1"]) == 0
    assert "turn 10 times as fast as time passes in a run; times here are their own" in capsys.readouterr().out


def test_a_file_of_element_sets_has_a_sky(ask: Ask) -> None:
    records = [
        {
            "OBJECT_NAME": f"MADE UP {number}",
            "OBJECT_ID": f"2026-001{letter}",
            "EPOCH": "2026-02-01T00:00:00.000000",
            "MEAN_MOTION": 15.0,
            "ECCENTRICITY": 0.0005,
            "INCLINATION": 53.0,
            "RA_OF_ASC_NODE": 10.0,
            "ARG_OF_PERICENTER": 90.0,
            "MEAN_ANOMALY": 20.0 * number,
            "EPHEMERIS_TYPE": 0,
            "CLASSIFICATION_TYPE": "U",
            "NORAD_CAT_ID": 799_500_000 + number,
            "ELEMENT_SET_NO": 999,
            "REV_AT_EPOCH": 1,
            "BSTAR": 0.0001,
            "MEAN_MOTION_DOT": 0.00001,
            "MEAN_MOTION_DDOT": 0.0,
        }
        for number, letter in enumerate("ABCDEF", 1)
    ]
    # The last one flies so low that the air brings it down within a day.
    records[-1] |= {"MEAN_MOTION": 16.4, "BSTAR": 0.05, "MEAN_MOTION_DOT": 0.1}
    Path("made.json").write_text(json.dumps(records))
    found = ask("show", "made.json", "--hours", "2")
    (report,) = found["shells"]
    assert report["shell"]["satellites"] == 6 and report["shell"]["notation"] == ""
    assert report["shell"]["period_min"]["median"] == pytest.approx(96.0, abs=0.1)
    assert "SGP4" in found["head"]["earth"]
    later = ask("show", "made.json", "--hours", "2", "--at", "2026-02-02T00:00:00Z")
    assert (report["decayed"], later["shells"][0]["decayed"]) == (0, 1)
    assert later["shells"][0]["light"]["in_shadow_now"] <= 5
    ask("plot", "made.json", "--output", "made.png", "--at", "2026-02-02T00:00:00Z")
    ask("export", "made.json", "--format", "csv", "--output", "made.csv", "--hours", "24", "--step", "600")
    rows = list(csv.DictReader(Path("made.csv").read_text().splitlines()))
    counts = [sum(row["satellite"] == f"{799_500_000 + number}" for row in rows) for number in (5, 6)]
    assert counts[0] == 145 and 0 < counts[1] < 145
    assert all(float(row["altitude_km"]) > 50 for row in rows)
    ask("export", "made.json", "--format", "czml", "--output", "made.czml", "--hours", "0.2")
    assert "799500001" in Path("made.czml").read_text()


@pytest.mark.parametrize(
    ("words", "code", "needles"),
    [
        (("show", "three-body-21"), 2, ("three-body-12", "kuiper")),
        (("show", "gone.toml"), 3, ("gone.toml",)),
        (("show", "three-body-12", "--at", "yesterday"), 2, ("--at", "2026-01-01T00:00:00Z")),
        (("show", "three-body-12", "--at", "2025-05-14T00:00:00Z"), 2, ("1.0 days before the epoch",)),
        (("show", "three-body-12", "--at", "2027-05-14T00:00:00Z"), 2, ("after the epoch", "366 days")),
        (("show", "three-body-12", "--hours", "0"), 2, ("--hours",)),
        (("show", "three-body-12", "--hours", "169"), 2, ("--hours", "168")),
        (("passes", "three-body-12", "--station", "Svalbord"), 2, ("did you mean 'Svalbard'",)),
        (("passes", "three-body-12", "--satellite", "Svalbard"), 2, ("not a satellite", "sat-01 to sat-12")),
        (("passes", "three-body-12", "--satellite", "sat-99"), 2, ("sat-99", "sat-09")),
        (("contacts", "starlink-gen1", "--hours", "168"), 2, ("--hours", "hours at most")),
        (("contacts", "three-body-12", "--format", "parquet"), 2, ("--output",)),
        (("contacts", "three-body-12", "--format", "csv", "--output", "a.txt"), 2, (".csv",)),
        (("contacts", "three-body-12", "--format", "csv", "--output", "no/a.csv"), 3, ("no/a.csv",)),
        (("path", "three-body-12", "sat-01", "Svalbord"), 2, ("did you mean 'Svalbard'",)),
        (("path", "three-body-12", "sat-01", "sat-01"), 2, ("both ends",)),
        (("path", "three-body-12", "sat-01", "91,0"), 2, ("latitude,longitude",)),
        (("path", "three-body-12", "sat-01", "sat-02", "--without", "sat-01"), 2, ("sat-01-sat-02",)),
        (("path", "three-body-12", "sat-01", "sat-02", "--without", "sat-01-sat-05"), 2, ("no link between",)),
        (("export", "starlink-gen1", "--format", "csv", "--output", "a.csv", "--step", "1"), 2, ("--every",)),
        (("export", "three-body-12", "--format", "czml", "--output", "a.json"), 2, (".czml",)),
        (("export", "three-body-12", "--format", "czml", "--output", "a.czml", "--step", "600"), 2, ("180",)),
        (("export", "three-body-12", "--format", "gif", "--output", "a.gif"), 2, ("czml",)),
        (("plot", "three-body-12", "--output", "a.jpg"), 2, (".png",)),
        (("plot", "three-body-12", "--output", "a.png", "--hours", "2"), 2, ("--kind map",)),
        (("plot", "three-body-12", "--kind", "rtt", "--output", "a.png"), 2, ("--pair",)),
        (("plot", "three-body-12", "--kind", "gantt", "--output", "no/a.png"), 3, ("no/a.png",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_a_question_that_cannot_be_answered(
    words: tuple[str, ...], code: int, needles: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["sky", *words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(needle in captured.err for needle in needles)


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("pyarrow", ("export", "three-body-12", "--format", "parquet", "--output", "a.parquet"), "parquet"),
        ("matplotlib.figure", ("plot", "three-body-12", "--output", "a.png"), "plot"),
    ],
)
def test_without_an_extra_the_command_that_brings_it_is_named(
    module: str, words: tuple[str, ...], extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name == module:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    assert run_command(["sky", *words]) == 3
    assert f"pip install 'perigrid[{extra}]'" in capsys.readouterr().err


def test_errors_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["sky", "passes", "three-body-12", "--station", "Svalbord", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)
    assert error["kind"] == "UsageError" and "Svalbard" in error["error"]
