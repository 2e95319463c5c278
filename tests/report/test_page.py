"""Does the page say what happened, escape what it was told, and stay within its bounds?"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from perigrid.errors import CorruptFile, EnvironmentProblem, MissingFile, UsageError
from perigrid.live.config import read_config
from perigrid.report import layout
from perigrid.report.page import publish, write_report
from perigrid.report.timeline import MAX_ROWS
from perigrid.scenario.model import Shell
from tests.conftest import ring_scenario
from tests.report.made_runs import CUT, JOB, LOST, Wish, append, job_events, made_mask, made_run
from tests.report.reading import Page

MAX_PAGE_BYTES = 5_000_000


def page_of(run: Path, tmp_path: Path, job: str | None = None) -> Page:
    return Page(write_report(run, job, tmp_path / "page.html").read_text(encoding="utf-8"))


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A value's leaves by their dotted names."""
    if not isinstance(value, dict):
        return {prefix.rstrip("."): value}
    return {name: leaf for key, one in value.items() for name, leaf in flat(one, f"{prefix}{key}.").items()}


def test_the_page_lies_in_the_run_unless_told_otherwise(tmp_path: Path) -> None:
    run = made_run(tmp_path, Wish(shards=5, faults=False))
    assert write_report(run, None, None) == run / "report.html"
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_figures_are_those_of_the_outcome(calm_run: Path, tmp_path: Path) -> None:
    page = page_of(calm_run, tmp_path)
    outcome = json.loads((calm_run / "results" / JOB / "outcome.json").read_bytes())
    assert page.outcome == outcome
    leaves = flat(outcome)
    assert len(page.figures) >= 25
    for name, text in page.figures.items():
        assert (text if isinstance(leaves[name], str) else json.loads(text)) == leaves[name], name
    assert (page.shown["accepted"], page.shown["shards"], page.shown["duplicates_to_client"]) == ("73", "73", "0")


def test_a_sky_that_turns_faster_is_told_wherever_times_are_judged(tmp_path: Path, calm_run: Path) -> None:
    page = page_of(made_run(tmp_path, Wish(shards=24, orbit_rate=60.0)), tmp_path)
    told = "The sky turns 60 times as fast as time passes: contacts are 60 times as short, delays are not."
    assert page.text.count(told) == 2
    assert page.shown["orbit_rate"] == "60" and page.outcome["orbit_rate"] == 60.0
    assert "sky turns" not in page_of(calm_run, tmp_path).text


def test_the_outcome_in_a_sentence(calm_run: Path, tmp_path: Path) -> None:
    text = page_of(calm_run, tmp_path).text
    assert (
        "All 73 shards of the job, tinycloud on 292 tiles of scene, came down from a constellation of 12 satellites"
        in text
    )
    assert f"although the link {CUT[0]} – {CUT[1]} was cut and {LOST} was lost" in text
    assert "VALID FOR LATENCY" in text
    assert "INVALID" not in text


@pytest.mark.parametrize(
    ("valid", "badge", "remark"),
    [
        (True, "VALID FOR LATENCY", "this desk kept up"),
        (False, "INVALID FOR LATENCY", "No time below is an orbit's. With --rate 0.04 it would have."),
        (None, "THROUGHPUT, NOT LATENCY", "The clock ran free"),
    ],
)
def test_the_verdict_stands_at_the_head_and_beside_the_times(
    tmp_path: Path, valid: bool | None, badge: str, remark: str
) -> None:
    page = page_of(made_run(tmp_path, Wish(shards=24, valid=valid)), tmp_path)
    assert page.text.count(badge) == 2
    assert page.text.count(remark) == 2


def test_what_failed_and_why(tmp_path: Path) -> None:
    page = page_of(made_run(tmp_path, Wish(shards=24, failing=3, faults=False)), tmp_path)
    assert "21 of 24 shards of the job" in page.text
    assert "3 failed" in page.text
    assert "3 shards: POISON" in page.text


def test_nothing_from_a_file_becomes_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"&'<!--"
    run = made_run(tmp_path, Wish(shards=12, failing=2, faults=False, cause=evil))
    append(run, [{"t": 12.01, "wall": 0.0, "node": evil, "what": "kill", "satellite": evil, "by": evil}])
    text = write_report(run, None, tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.of("script")) == 1
    assert not page.of("img", src="x")
    assert page.outcome["failures"] == {evil: 2}
    assert "".join(f"2 shards: {evil}".split()) in "".join(page.text.split())


def test_nothing_is_loaded_from_anywhere(calm_run: Path, tmp_path: Path) -> None:
    page = page_of(calm_run, tmp_path)
    sources = [a["src"] for _, a in page.elements if "src" in a]
    assert len(sources) == 2
    assert all(source is not None and source.startswith("data:image/png;base64,") for source in sources)
    assert {a["href"] for a in page.of("link")} == {"data:,"}
    assert [a["type"] for a in page.of("script")] == ["application/json"]
    (policy,) = [a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy


def test_every_value_with_an_origin_is_listed(calm_run: Path, tmp_path: Path) -> None:
    page = page_of(calm_run, tmp_path)
    text = "".join(page.text.split())
    for name, origin in read_config(calm_run).scenario.provenance.items():
        assert name in text, name
        assert "".join(origin.source.split()) in text, name
    for value in ("1 Gbit/s", "535 km", "97.54°", "10°", "2026-03-20 12:00:00 UTC"):
        assert value in page.text, value
    links = {a["href"] for a in page.of("a", rel="noreferrer noopener")}
    assert "https://example.org/article/id/68bab39c" in links
    assert "https://example.com/a?b=1" in links


def test_the_command_that_runs_it_again(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a folder; of mine", Wish(shards=4, faults=False))
    assert f"perigrid rerun {shlex.quote(str(run))}" in page_of(run, tmp_path).text


def test_ten_thousand_shards_stay_small_and_it_says_what_it_leaves_out(tmp_path: Path) -> None:
    run = made_run(tmp_path, Wish(shards=10_000, failing=20))
    path = write_report(run, None, tmp_path / "page.html")
    assert path.stat().st_size < MAX_PAGE_BYTES
    page = Page(path.read_text(encoding="utf-8"))
    assert f"Showing {MAX_ROWS} of 10,000 shards" in page.text
    assert page.outcome["shards"] == 10_000


@pytest.mark.parametrize(
    ("shards", "said"), [(MAX_ROWS, "Showing all 400 shards"), (MAX_ROWS + 1, "Showing 400 of 401")]
)
def test_rows_at_the_bound_and_past_it(tmp_path: Path, shards: int, said: str) -> None:
    page = page_of(made_run(tmp_path, Wish(shards=shards, faults=False)), tmp_path)
    assert said in page.text
    (table,) = (i for i, (_, a) in enumerate(page.elements) if a.get("aria-label") == "Table of the shards")
    following = page.elements[table:]
    end = next(i for i, (name, _) in enumerate(following) if name == "section")
    assert sum(name == "tr" for name, _ in following[:end]) == 1 + MAX_ROWS


@pytest.mark.parametrize("extra", [0, 1])
def test_satellites_at_the_bound_and_past_it(tmp_path: Path, extra: int) -> None:
    slots = 20
    planes = layout.MAX_SATELLITES // slots + extra
    shell = Shell(
        name="s",
        altitude_km=550.0,
        inclination_deg=53.0,
        planes=planes,
        sats_per_plane=slots,
        raan_spread_deg=360.0,
        topology="grid",
    )
    run = made_run(tmp_path, Wish(shards=24), ring_scenario(shells=(shell,)))
    page = page_of(run, tmp_path)
    satellites = [a for a in page.of("circle") if "satellite" in (a.get("class") or "") and a.get("r") == "7.0"]
    assert len(satellites) == layout.MAX_SATELLITES
    said = f"Showing 400 of {slots * planes} satellites: the 20 of {planes} planes"
    assert (said in page.text) == bool(extra)


def test_a_capture_that_nobody_holds_and_a_mask_that_is_elsewhere(tmp_path: Path) -> None:
    run = made_run(tmp_path, Wish(shards=12, faults=False))
    (run / "results" / JOB / "mask.npz").unlink()
    for path in (run / "flash").glob("*/captures/*@sat-05.f32"):
        path.unlink()
    page = page_of(run, tmp_path)
    assert len(page.of("img")) == 1
    assert "There is no merged mask in" in page.text
    assert "Black stands where a capture is in no satellite's flash any more: scene@sat-05." in page.text


def test_shares_of_the_mask(calm_run: Path, tmp_path: Path) -> None:
    page = page_of(calm_run, tmp_path)
    share = np.mean(made_mask() == 1)
    (alt,) = [a["alt"] for a in page.of("img") if (a["alt"] or "").startswith("The merged mask")]
    assert f"cloud {share:.1%}" in (alt or "")
    assert f"cloud {share:.1%}" in page.text


def test_tiles_of_ones_own_have_a_table_of_outputs(tmp_path: Path) -> None:
    run = made_run(tmp_path, Wish(shards=12, faults=False))
    config = msgspec.json.decode((run / "config.json").read_bytes())
    for capture in config["catalogue"]["captures"]:
        capture.update(is_stack=True, dtype="FP32", item_shape=[4, 8, 8])
    (run / "config.json").write_bytes(msgspec.json.encode(config))
    results = run / "results" / JOB
    (results / "mask.npz").unlink()
    scores = np.array([[0.5, -2.0], [4.25, np.nan]], np.float32)
    np.savez(results / "outputs.npz", scores=scores, failed=np.array([False, True]), names=np.array(["a", "b"]))
    page = page_of(run, tmp_path)
    assert not page.of("img")
    assert "scores outputs.npz float32 2 × 2 -2 0.916667 4.25" in page.text
    assert "failed outputs.npz bool 2" in page.text
    assert "names outputs.npz <U1 2" in page.text


def test_a_job_that_has_not_ended(calm_run: Path, tmp_path: Path) -> None:
    run = made_run(tmp_path, Wish(shards=6, faults=False))
    other = job_events(Wish(shards=30, faults=False, job="job-2"), admitted_s=40.0)
    append(run, [event for event in other.events if event["t"] < 40.15])
    page = page_of(run, tmp_path, "job-2")
    assert "had not ended when this was written" in page.text
    assert "NO VERDICT YET" in page.text
    assert page.outcome is None
    assert page_of(run, tmp_path).outcome["job"] == JOB


def test_the_last_outcome_is_the_job_of_the_page(tmp_path: Path) -> None:
    run = made_run(tmp_path, Wish(shards=6, faults=False))
    assert publish(run, None, tmp_path / "page.html").story.job.job == JOB


@pytest.mark.parametrize("job", ["nosuch", "../../etc", ".hidden", ""])
def test_a_job_that_is_not_there(calm_run: Path, tmp_path: Path, job: str) -> None:
    with pytest.raises(UsageError):
        write_report(calm_run, job, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_run_without_its_files(tmp_path: Path) -> None:
    run = made_run(tmp_path, Wish(shards=4, faults=False))
    (run / "events.jsonl").unlink()
    with pytest.raises(MissingFile, match="no event log"):
        write_report(run, None, None)
    (run / "config.json").unlink()
    with pytest.raises(CorruptFile, match=r"config\.json"):
        write_report(run, None, None)


def test_a_page_that_cannot_be_written(calm_run: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="--out"):
        write_report(calm_run, None, tmp_path / "nosuch" / "page.html")


def test_the_same_run_gives_the_same_page(calm_run: Path, tmp_path: Path) -> None:
    one = write_report(calm_run, None, tmp_path / "one.html").read_bytes()
    assert write_report(calm_run, None, tmp_path / "two.html").read_bytes() == one
