"""Does a repeated run give equal results, faults and all, and is it said what was changed where it does not?

The runs here are short and real. One has every kind of fault, and is repeated whole; another has a model and data of
the user's own, which are then changed or lost. What cannot be had from a short run is compared without one.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import perigrid
from perigrid.app.cli import run_command
from perigrid.app.comparing import Change, compare, version_changes
from perigrid.app.past import past_of, read_past
from perigrid.errors import CorruptFile
from perigrid.live.config import read_config, write_config
from perigrid.live.eventlog import EVENT_LOG_FILE, append_event, read_events
from perigrid.live.models import shipped_folder
from perigrid.live.rundir import RunDirectory
from tests.app.test_live_errors import scenario_text
from tests.live.conftest import launching, wait_until
from tests.report.made_runs import JOB, Wish, job_events

LIMIT_S = 60.0
RING = [f"sat-{n:02d}" for n in range(1, 13)]
PARTED = ((RING[2], RING[3]), (RING[8], RING[9]))
"""Two cuts that part half of the ring from the half that the station sees."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs lie."""
    return tmp_path_factory.mktemp("rerun")


@pytest.fixture(scope="module")
def scene(root: Path) -> Path:
    """A scene of the user's own, with something in it."""
    generator = np.random.default_rng(17)
    rows, columns = np.mgrid[0:512, 0:512]
    waves = 0.35 + 0.25 * np.sin(rows / 29.0) * np.cos(columns / 41.0)
    bands = [waves * (1 - 0.1 * band) + 0.03 * generator.standard_normal(waves.shape) for band in range(4)]
    path = root / "waves.npz"
    np.savez(path, img=np.stack(bands).astype(np.float32))
    return path


def repeated(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """What `perigrid rerun` says: its exit code, and what it prints as JSON."""
    capsys.readouterr()
    code = run_command(["rerun", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file of a run with its size and when it was changed."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


# --- a run with every kind of fault


def during(c: perigrid.Constellation, job: str, done: int, break_it: Callable[[], None]) -> perigrid.JobResult:
    """Run a job, and break something when so many shards are done."""
    running = c.submit(job=job, tiles_per_shard=1)
    for count, _ in enumerate(running, 1):
        if count == done:
            break_it()
    return running.result(LIMIT_S)


def part_for_a_while(c: perigrid.Constellation) -> None:
    for a, b in PARTED:
        c.cut(a, b)

    def mend() -> None:
        for a, b in PARTED:
            c.heal(a, b)

    timer = threading.Timer(1.0, mend)
    timer.daemon = True
    timer.start()


def heals(folder: Path) -> list[dict[str, Any]]:
    return [event for event in read_events(folder) if event["what"] == "heal"]


@pytest.fixture(scope="module")
def faulty(root: Path, scene: Path) -> Iterator[RunDirectory]:
    """A run with a calm job, and one each under a one-way cut, a loss and a return, a dead controller, a partition."""
    with launching(root, scene) as launcher:
        up = launcher.up("faulty", "--satellites-per-process", "4", service_s=0.15)
        c = perigrid.attach("faulty", root)
        results = [c.run(job="calm", tiles_per_shard=2)]
        c.cut(RING[1], RING[2], one_way=True)
        results.append(c.run(job="one-way", tiles_per_shard=1))
        c.heal(RING[1], RING[2])
        results.append(during(c, "lost", 2, lambda: c.kill(RING[6])))
        c.reboot(RING[6])
        results.append(during(c, "headless", 2, lambda: c.kill("ground")))
        results.append(during(c, "parted", 2, lambda: part_for_a_while(c)))
        wait_until(lambda: len(heals(up.directory)) == 1 + len(PARTED), LIMIT_S, "every link mended")
        assert all(result.complete for result in results)
        assert len({result.outcome.result_sha256 for result in results}) == 1
        launcher.end(up.run)
        yield up.run


@pytest.mark.live
def test_a_run_with_every_kind_of_fault_repeats_with_equal_results(
    faulty: RunDirectory, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fingerprint(faulty.path)
    code, said = repeated(capsys, "faulty", "--root", str(root))
    assert (code, said["equal"]) == (0, True)
    assert [job["job"] for job in said["jobs"]] == ["calm", "one-way", "lost", "headless", "parted"]
    for job in said["jobs"]:
        assert job["equal"] and job["result_sha256_now"] == job["result_sha256_then"] != ""
        assert job["shards_equal"] == job["shards_then"] == job["shards_now"] > 0
        assert job["why"] == []
    assert said["changes"] == [] and said["notes"] == []
    assert fingerprint(faulty.path) == before, "the original is only read"

    again = RunDirectory(root / "faulty-rerun")
    assert Path(said["directory"]) == again.path.resolve() and not again.is_up()
    then, now = read_past(faulty.path), read_past(again.path)
    assert [(d.action, d.a, d.b, d.one_way) for d in now.faults] == [
        (d.action, d.a, d.b, d.one_way) for d in then.faults
    ]
    assert {(d.action, d.a) for d in then.faults} >= {
        ("cut", RING[1]),
        ("heal", RING[1]),
        ("kill", RING[6]),
        ("reboot", RING[6]),
        ("kill", "ground"),
        ("cut", RING[2]),
        ("heal", RING[2]),
    }
    assert [deed["deed"] for deed in said["deeds"]] == [str(deed) for deed in then.faults]
    assert [job.spec for job in now.jobs.values()] == [job.spec for job in then.jobs.values()]
    # Nothing comes before its time; how much later it may come is this machine's affair.
    for deed in said["deeds"]:
        assert deed["refused"] == "" and deed["now_s"] >= deed["then_s"] - 1e-6
    old, new = read_config(faulty.path), read_config(again.path)
    assert (new.rate, new.free, new.seed, new.hosts) == (old.rate, old.free, old.seed, old.hosts)
    assert (again.path / "results" / "parted" / "outcome.json").is_file()


# --- models and data of the user's own


@pytest.fixture(scope="module")
def own(root: Path, scene: Path) -> RunDirectory:
    """A run of three satellites that was up with one model and brought a scene, tiles and another model on board."""
    folder = root / "files"
    (folder / "stack").mkdir(parents=True)
    (folder / "my.onnx").write_bytes((shipped_folder() / "tinycloud.onnx").read_bytes())
    (folder / "ring.toml").write_text(scenario_text(3))
    for number, tile in enumerate(np.random.default_rng(5).random((6, 4, 256, 256), dtype=np.float32)):
        np.save(folder / "stack" / f"{number}.npy", tile)
    with perigrid.launch(folder / "ring.toml", models="tinycloud", data=scene, root=root, name="own") as c:
        assert c.run(job="seen").complete
        assert c.run(model=folder / "my.onnx", data=folder / "stack", job="stacked").complete
        assert c.run(model="tinycloud", data="waves", job="again", reduce=lambda tiles: len(tiles)).complete
        with c.client("ground") as ground:
            (tensor,) = ground.metadata("tinycloud").inputs
            assert ground.infer("tinycloud", {tensor.name: np.zeros((1, 4, 256, 256), np.float32)}).outputs
    # A run is repeated from its directory alone.
    shutil.rmtree(folder)
    return RunDirectory(root / "own")


def copy_of(run: RunDirectory, to: Path) -> Path:
    """A run's directory, moved elsewhere, where a test may spoil it."""
    shutil.copytree(run.path, to / run.name, ignore=shutil.ignore_patterns("sockets", "flash", "plan"))
    return to / run.name


@pytest.mark.live
def test_own_models_and_data_come_from_the_run_itself_wherever_it_lies(
    own: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = copy_of(own, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    code, said = repeated(capsys, str(moved), "--name", "new")
    assert (code, said["run"], said["equal"]) == (0, "new", True)
    assert [job["job"] for job in said["jobs"]] == ["seen", "stacked", "again"]
    later, requests = said["notes"]
    assert later.startswith("on board from the start now") and later.endswith(": my, stack")
    assert requests == "1 request through the gateway not repeated"
    copies = {Path(file.path) for file in read_config(Path(said["directory"])).inputs if file.name != "tinycloud"}
    assert {path.parent for path in copies} == {tmp_path / "runs" / "new" / "inputs"}


def spoil_model(path: Path) -> None:
    """Other weights in the middle of a model that can still be loaded."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 512] = bytes(512)
    path.write_bytes(content)


def spoil_scene(path: Path) -> None:
    with np.load(path) as arrays:
        image = arrays["img"]
    np.savez(path, img=1 - image)


@pytest.mark.live
def test_a_changed_model_and_scene_are_named_with_both_digests_for_the_jobs_that_used_them(
    own: RunDirectory, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = copy_of(own, tmp_path)
    spoil_model(moved / "inputs" / "my.onnx")
    spoil_scene(moved / "inputs" / "waves.npz")
    code, said = repeated(capsys, str(moved), "--root", str(tmp_path))
    assert (code, said["equal"]) == (1, False)
    recorded = {file.name: file.sha256 for file in read_config(own.path).inputs}
    changes = {change["name"]: change for change in said["changes"]}
    assert set(changes) == {"my", "waves"}
    jobs = {job["job"]: job for job in said["jobs"]}
    for name, job in (("my", "stacked"), ("waves", "seen"), ("waves", "again")):
        change, compared = changes[name], jobs[job]
        assert change["then"] == recorded[name] != change["now"]
        assert not compared["equal"] and compared["shards_differing"]
        reason = compared["why"][0]
        assert change["then"] in reason and change["now"] in reason and change["path"] in reason
        assert change["path"].startswith(str(moved / "inputs"))
    assert not any("waves" in reason for reason in jobs["stacked"]["why"]), "only what a job used explains it"


def test_missing_inputs_are_all_named_before_anything_starts(
    own: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = copy_of(own, tmp_path)
    for name in ("my.onnx", "stack.npy"):
        (moved / "inputs" / name).unlink()
    code, said = repeated(capsys, str(moved), "--root", str(tmp_path))
    assert (code, said["kind"]) == (3, "MissingFile")
    assert str(moved / "inputs" / "my.onnx") in said["error"] and str(moved / "inputs" / "stack.npy") in said["error"]
    assert "waves" not in said["error"]
    assert not (tmp_path / "own-rerun").exists()


def test_an_input_that_was_changed_into_nothing_usable_is_named_too(
    own: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = copy_of(own, tmp_path)
    (moved / "inputs" / "my.onnx").write_bytes(b"no model")
    code, said = repeated(capsys, str(moved), "--root", str(tmp_path))
    assert (code, said["kind"]) == (3, "CorruptFile")
    assert "model my was changed" in said["error"]
    assert not (tmp_path / "own-rerun").exists()


def test_a_run_does_not_take_its_original_s_place(
    own: RunDirectory, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fingerprint(own.path)
    code, said = repeated(capsys, "own", "--root", str(root), "--name", "own")
    assert (code, said["kind"]) == (2, "UsageError")
    assert fingerprint(own.path) == before


def test_a_changed_scenario_is_named(own: RunDirectory, tmp_path: Path) -> None:
    from perigrid.app.rerun import read_original, restored

    moved = copy_of(own, tmp_path)
    assert restored(read_original(RunDirectory(moved)), {})[1] == []
    config = read_config(moved)
    lasers = msgspec.structs.replace(config.scenario.lasers, loss=0.25)
    scenario = msgspec.structs.replace(config.scenario, lasers=lasers)
    write_config(moved, msgspec.structs.replace(config, scenario=scenario))
    (change,) = restored(read_original(RunDirectory(moved)), {})[1]
    assert (change.kind, change.then) == ("scenario", config.scenario.digest())
    assert change.now == scenario.digest() != change.then


def test_a_run_without_jobs_has_nothing_to_compare(
    own: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = copy_of(own, tmp_path)
    first = (moved / EVENT_LOG_FILE).read_text().splitlines(keepends=True)[0]
    (moved / EVENT_LOG_FILE).write_text(first)
    code, said = repeated(capsys, str(moved), "--root", str(tmp_path))
    assert (code, said["kind"]) == (2, "UsageError")
    assert "had no jobs" in said["error"]


@pytest.mark.parametrize("name", ["other", "own-rerun-of-nothing"])
def test_a_run_that_is_not_there_is_3(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = repeated(capsys, name, "--root", str(root))
    assert (code, said["kind"]) == (3, "MissingFile")


# --- pasts, and what is said of two


def logged(**changes: Any) -> list[dict[str, Any]]:
    """The events of a made-up job, with results and an outcome."""
    events = job_events(Wish(shards=8, satellites=4, **changes)).events
    accepted = [event for event in events if event["what"] == "accepted"]
    for event in accepted:
        event["digest"] = f"{event['shard']:064x}"
    done = {"t": events[-1]["t"], "wall": 0.0, "node": "client", "what": "outcome", "job": JOB, "result_sha256": "ab"}
    return [{"t": 0.0, "wall": 0.0, "node": "launcher", "what": "run", "version": 2}, *events, done]


def test_deeds_are_in_the_order_of_orbit_and_where_its_clock_stood_of_the_wall() -> None:
    admitted = {
        "what": "job-admitted",
        "node": "ground",
        "model": "m",
        "dataset": "d",
        "shards": 1,
        "tiles": 1,
        "tiles_per_shard": 1,
        "priority": 3,
    }
    cut = {"what": "cut", "node": "supervisor", "a": "sat-01", "b": "sat-02", "one_way": True, "by": "user"}
    kill = {"what": "kill", "node": "supervisor", "satellite": "sat-03", "by": "user"}
    past = past_of(
        [
            {"t": 0.0, "wall": 5.0, "what": "run", "version": 2},
            {"t": 0.0, "wall": 7.0, **admitted, "job": "first"},
            {"t": 0.0, "wall": 6.0, **cut},
            {"t": 2.0, "wall": 9.0, "what": "job-ended", "node": "ground", "job": "first", "outcome": "cancelled"},
            {"t": 1.0, "wall": 8.0, **kill},
            {"t": 1.5, "wall": 8.5, **kill, "by": "scenario"},
            {"t": 0.5, "wall": 7.5, "what": "request", "node": "ground", "request": "request.1"},
            {"t": 3.0, "wall": 9.5, **admitted, "job": "second", "deadline_s": 4.5},
            {"t": 4.0, "wall": 9.9, "what": "something-new"},
        ]
    )
    assert [str(deed) for deed in past.deeds()] == [
        "cut sat-01 to sat-02",
        "submit first",
        "kill sat-03",
        "cancel first",
        "submit second",
    ]
    assert past.requests == 1 and past.last_s == 4.0 and past.is_whole
    spec = past.jobs["second"].spec
    assert (spec.priority, spec.deadline_s, past.jobs["first"].spec.deadline_s) == (3, 4.5, None)


def test_a_result_s_digest_is_taken_from_the_job_s_folder_where_the_log_had_no_room(
    own: RunDirectory, tmp_path: Path
) -> None:
    recorded = {name: job.result_sha256 for name, job in read_past(own.path).jobs.items()}
    assert all(recorded.values())
    moved = copy_of(own, tmp_path)
    lines = (moved / EVENT_LOG_FILE).read_text().splitlines(keepends=True)
    (moved / EVENT_LOG_FILE).write_text("".join(line for line in lines if '"what":"outcome"' not in line))
    append_event(moved, 1.0, "client", "outcome", {"left_out_bytes": 2_000_000})
    assert {name: job.result_sha256 for name, job in read_past(moved).jobs.items()} == recorded
    shutil.rmtree(moved / "results")
    assert not any(job.result_sha256 for job in read_past(moved).jobs.values())


def test_a_log_that_lacks_what_an_event_must_have_is_refused(own: RunDirectory, tmp_path: Path) -> None:
    moved = copy_of(own, tmp_path)
    append_event(moved, 1.0, "supervisor", "cut", {"a": "sat-01", "by": "user"})
    with pytest.raises(CorruptFile, match="cannot be understood"):
        read_past(moved)


def test_equal_results_are_equal_whoever_computed_them() -> None:
    then, now = past_of(logged(faults=True)).jobs[JOB], past_of(logged(faults=False, seed=8)).jobs[JOB]
    compared = compare(then, now, [])
    assert compared.equal and compared.shards_equal == 8 and compared.why == ()
    assert any("equal, 8 of 8 shards, result_sha256 ab" in line for line in compared.lines())


def test_shards_that_failed_in_one_of_two_are_the_reason() -> None:
    then, now = past_of(logged()).jobs[JOB], past_of(logged(failing=2)).jobs[JOB]
    now.result_sha256 = "cd"
    compared = compare(then, now, [])
    assert not compared.equal and compared.shards_equal == 6 and compared.shards_differing == ()
    assert compared.why == (f"2 of 8 shards failed now ({Wish().cause})",)
    assert "DIFFERS" in compared.lines()[0] and "ab then, cd now" in compared.lines()[0]


def test_without_a_client_s_outcome_the_shards_are_compared() -> None:
    then, now = past_of(logged()).jobs[JOB], past_of(logged()).jobs[JOB]
    then.result_sha256 = ""
    assert compare(then, now, []).equal
    now.digests[3] = "f" * 64
    compared = compare(then, now, [])
    assert not compared.equal and compared.shards_differing == (3,)
    assert "not recorded" in compared.why[0] and "3 (000000000000 of" in compared.why[1]
    del then.digests[3]
    compared = compare(then, now, [])
    assert not compared.equal and "1 of 8 shards had not ended then" in compared.why


def test_only_what_may_matter_to_a_job_is_given_as_its_reason() -> None:
    then, now = past_of(logged()).jobs[JOB], past_of(logged()).jobs[JOB]
    now.result_sha256 = "cd"
    spec = then.spec
    used = Change(kind="model", name=spec.model, then="1", now="2", path="p/m.onnx")
    unused = Change(kind="data", name="other", then="3", now="4", path="p/o.npy")
    version = Change(kind="version", name="onnxruntime", then="1.24", now="1.25")
    why = compare(then, now, [used, unused, version]).why
    assert why[:2] == (str(used), "onnxruntime was 1.24 and is 1.25")
    assert not any("other" in reason for reason in why)
    refused = compare(then, None, [used], "the model wants 6 bands")
    assert not refused.equal and refused.outcome_now == "refused"
    assert refused.why == (str(used), "it could not be repeated: the model wants 6 bands")


def test_versions_are_compared_where_both_runs_say_them() -> None:
    then = {"perigrid": "0.1.0", "onnxruntime": "1.24", "rate": 1.0, "seed": 0}
    now = {"perigrid": "0.2.0", "processor": "x", "rate": 0.5, "seed": 1}
    changes = [str(change) for change in version_changes(then, now)]
    assert changes == ["perigrid was 0.1.0 and is 0.2.0", "seed was 0 and is 1"]
    assert version_changes(then, then) == []
