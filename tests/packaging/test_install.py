"""Does a stranger's machine get from nothing to a demo that holds, and does the doctor name what it lacks?

One environment is built up step by step, since to install it is what takes long: first without the packages that
perigrid needs, then with them, then with the extra `eo`. The tests of this file therefore run in its order.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from perigrid.app.doctor import MIN_OPEN_FILES, MIN_SHARED_MIB, PACKAGES
from tests.packaging.conftest import Machine

pytestmark = pytest.mark.live

ENVIRONMENT_EXIT = 3


@pytest.fixture(scope="module")
def without_packages(machine: Machine, wheel: Path) -> Machine:
    """perigrid and click alone."""
    machine.install("--no-deps", str(wheel), "click")
    return machine


@pytest.fixture(scope="module")
def installed(without_packages: Machine, wheel: Path) -> Machine:
    """What `pip install perigrid` gives."""
    without_packages.install(str(wheel))
    return without_packages


@pytest.fixture(scope="module")
def with_eo(installed: Machine, wheel: Path) -> Machine:
    """What `pip install 'perigrid[eo]'` gives."""
    installed.install(f"{wheel}[eo]")
    return installed


def examine(
    machine: Machine, *words: str, prefix: tuple[str, ...] = (), **changes: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    """What `perigrid doctor` says: its exit code, and its checks by what they looked at."""
    done = machine.perigrid("doctor", "--json", *words, prefix=prefix, **changes)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] is (done.returncode == 0)
    return done.returncode, {check["what"]: check for check in answer["checks"]}


def test_every_package_that_is_missing_is_named_with_the_command_that_helps(without_packages: Machine) -> None:
    code, found = examine(without_packages)
    assert code == ENVIRONMENT_EXIT
    for name in set(PACKAGES) - {"click"}:
        assert not found[name]["ok"]
        assert found[name]["required"]
        assert found[name]["remedy"] == f"pip install {name}"
    assert found["click"]["ok"]
    assert not found["models"]["ok"]
    done = without_packages.perigrid("doctor")
    assert done.returncode == ENVIRONMENT_EXIT
    assert "MISSING onnxruntime: not installed -> pip install onnxruntime" in done.stdout.splitlines()


def test_a_plain_installation_is_fit_and_names_its_extras(installed: Machine) -> None:
    code, found = examine(installed)
    assert code == 0
    assert found["model tinycloud"]["ok"]
    assert str(installed.packages) in found["model tinycloud"]["detail"]
    for what in ("model cloudmask", "scene spyndex"):
        assert not found[what]["ok"]
        assert not found[what]["required"]
        assert "pip install 'perigrid[eo]'" in found[what]["detail"]
    assert "perigrid[parquet]" in found["extra parquet"]["remedy"]
    assert not found["pip"]["ok"]
    assert "ensurepip" in found["pip"]["remedy"]


def test_without_the_extra_the_demo_says_what_to_install(installed: Machine) -> None:
    done = installed.perigrid("demo")
    assert done.returncode == ENVIRONMENT_EXIT
    assert "pip install 'perigrid[eo]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_a_model_that_is_gone_or_changed_is_required(installed: Machine, harm: str) -> None:
    path = installed.packages / "perigrid" / "_models" / "tinycloud.onnx"
    kept = path.read_bytes()
    try:
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes(kept + b"more")
        code, found = examine(installed)
    finally:
        path.write_bytes(kept)
    assert code == ENVIRONMENT_EXIT
    assert not found["model tinycloud"]["ok"]
    assert "reinstall perigrid" in found["model tinycloud"]["detail"]


def test_a_package_that_does_not_load_is_named(installed: Machine) -> None:
    path = next((installed.packages / "onnxruntime" / "capi").glob("onnxruntime_pybind11_state*.so"))
    kept = path.rename(path.with_suffix(".kept"))
    path.write_bytes(b"this is no library")
    try:
        code, found = examine(installed)
    finally:
        kept.replace(path)
    assert code == ENVIRONMENT_EXIT
    assert "cannot be imported" in found["onnxruntime"]["detail"]
    assert found["onnxruntime"]["remedy"] == "pip install --force-reinstall onnxruntime"


def test_a_run_folder_that_is_a_file_is_named(installed: Machine) -> None:
    (installed.work / "file").write_text("no folder")
    code, found = examine(installed, "--root", "file/runs")
    assert code == ENVIRONMENT_EXIT
    assert "is no folder" in found["run folder"]["detail"]
    assert "--root" in found["run folder"]["remedy"]


def test_too_few_open_files_are_named(installed: Machine) -> None:
    code, found = examine(installed, prefix=("sh", "-c", 'ulimit -n 256; exec "$@"', "sh"))
    assert code == 0
    assert not found["open files"]["ok"]
    assert found["open files"]["remedy"] == f"ulimit -n {MIN_OPEN_FILES}"


def namespaces(*what: str) -> tuple[str, ...]:
    """The words before a command that runs apart from this machine; the test is skipped where that is not allowed."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", *what, "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no namespaces of one's own")
    return ("unshare", *what)


def test_little_shared_memory_is_named(installed: Machine) -> None:
    small = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    _, found = examine(installed, prefix=(*namespaces("-rm"), "sh", "-c", small, "sh"))
    assert not found["shared memory"]["ok"]
    assert f"--shm-size {MIN_SHARED_MIB}m" in found["shared memory"]["remedy"]


def test_a_run_folder_that_may_not_be_written_to_is_named(installed: Machine) -> None:
    # Permissions do not bind whoever may do everything; a file system that is read-only does.
    (installed.work / "theirs").mkdir()
    read_only = 'mount -t tmpfs -o ro tmpfs theirs && exec "$@"'
    prefix = (*namespaces("-rm"), "sh", "-c", read_only, "sh")
    code, found = examine(installed, "--root", "theirs/runs", prefix=prefix)
    assert code == ENVIRONMENT_EXIT
    assert found["run folder"]["detail"].endswith("theirs may not be written to")
    assert found["run folder"]["remedy"] == "name a writable folder with --root"


def test_a_machine_without_loopback_is_named(installed: Machine) -> None:
    code, found = examine(installed, prefix=namespaces("-rn"))
    assert code == ENVIRONMENT_EXIT
    assert not found["loopback"]["ok"]
    assert found["loopback"]["remedy"] == "ip link set lo up"


def test_the_demo_holds_in_an_empty_folder(with_eo: Machine) -> None:
    code, found = examine(with_eo)
    assert code == 0
    assert found["model cloudmask"]["ok"]
    assert found["scene spyndex"]["ok"]
    assert not found["scene sentinel2"]["ok"]
    shutil.rmtree(with_eo.work)
    with_eo.work.mkdir()
    done = with_eo.perigrid("demo")
    assert done.returncode == 0, done.stderr
    assert "with the packaged scene spyndex instead of sentinel2" in done.stderr
    assert re.search(r"^result_sha256 equals the reference [0-9a-f]{64}$", done.stdout, re.MULTILINE)
    assert "duplicates given to the client: 0" in done.stdout
    assert [path.name for path in with_eo.work.iterdir()] == ["runs"]
    outcome = json.loads(next(with_eo.work.glob("runs/demo/results/*/outcome.json")).read_text())
    assert outcome["accepted"] == outcome["shards"]
