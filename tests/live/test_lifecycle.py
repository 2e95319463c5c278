"""Does a constellation come up whole, keep to itself, and go without a trace, whoever ends it and how?"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from perigrid.live.rundir import RunDirectory, RunInfo, grpc_address
from tests.live.conftest import (
    COMMAND,
    GONE_LIMIT_S,
    SATELLITES,
    TILES,
    UP_LIMIT_S,
    Constellation,
    Launcher,
    alive,
    environment,
    is_gone,
    processes_in,
    wait_until,
)

pytestmark = pytest.mark.live

INTERRUPTED = 130
LISTENING = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
"""127.0.0.1, ::1 and ::ffff:127.0.0.1 as the kernel's tables write them."""

CALL_LIMIT_S = 5.0


def health(socket_path: str) -> int:
    """What a worker says of itself."""
    with grpc.insecure_channel(grpc_address(Path(socket_path))) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        return stub.Check(request, timeout=CALL_LIMIT_S, wait_for_ready=True).status


def inet_sockets(pids: list[int]) -> list[tuple[str, str, str]]:
    """The internet sockets of some processes: (table, address in hexadecimal, state)."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[9] in inodes:
                found.append((table, parts[1].split(":")[0], parts[3]))
    return found


def test_up_says_where_everything_is(slow: Constellation) -> None:
    info = slow.info
    assert info["run"] == "slow" and Path(info["directory"]) == slow.directory
    assert [s["name"] for s in info["satellites"]] == [f"sat-{n:02d}" for n in range(1, SATELLITES + 1)]
    pids = [info["controller_pid"], *(s["pid"] for s in info["satellites"])]
    pids += [s["payload_pid"] for s in info["satellites"]]
    assert len(set(pids)) == 2 * SATELLITES + 1
    assert set(pids) <= set(processes_in(slow.directory))


def test_every_worker_serves(slow: Constellation) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    assert {health(s["worker"]) for s in slow.info["satellites"]} == {serving}


def test_the_run_directory_is_private(slow: Constellation) -> None:
    assert stat.S_IMODE(slow.directory.stat().st_mode) == 0o700
    for folder in slow.directory.iterdir():
        if folder.is_dir():
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_nothing_listens_beyond_unix_sockets_and_loopback(slow: Constellation) -> None:
    sockets = inet_sockets(list(processes_in(slow.directory)))
    listening = [s for s in sockets if s[0].startswith("tcp") and s[2] == LISTENING]
    assert len(listening) == 2, "the job service and the gateway, and nothing else"
    assert {address for _, address, _ in sockets} <= LOOPBACK
    assert not [s for s in sockets if not s[0].startswith("tcp")]


def test_a_killed_payload_comes_back_and_the_job_ends_alike(slow: Constellation, expected_sha256: str) -> None:
    victim = slow.status()["satellites"][4]

    def kill(rows: int) -> None:
        if rows == 1:
            os.kill(victim["payload_pid"], signal.SIGKILL)

    job = slow.job("payload-killed", kill)
    assert job.sha256 == expected_sha256 and len(job.rows) == TILES

    def replaced() -> bool:
        pid = slow.status()["satellites"][4]["payload_pid"]
        return pid not in (0, victim["payload_pid"]) and alive(pid)

    wait_until(replaced, UP_LIMIT_S, "a new payload process")
    assert slow.status()["satellites"][4]["pid"] == victim["pid"], "links do not die with the payload"
    assert health(victim["worker"]) == health_pb2.HealthCheckResponse.SERVING


def test_an_interrupted_run_command_leaves_the_constellation_and_the_job_alone(
    slow: Constellation, expected_sha256: str
) -> None:
    where = ["--root", str(slow.directory.parent), "--name", slow.run.name]
    process = subprocess.Popen(
        [*COMMAND, "run", "--job", "left", "--tiles-per-shard", "1", *where],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        admitted = lambda: "left" in slow.jobs() or process.poll() is not None  # noqa: E731
        wait_until(admitted, UP_LIMIT_S, "the job's admission")
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=UP_LIMIT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == INTERRUPTED, text
    assert slow.run.is_up()
    job = slow.job("left")
    assert job.sha256 == expected_sha256


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Every folder that a program might write to without being told: empty ones, for what is started now."""
    folders = [tmp_path / name for name in ("home", "tmp", "cwd", "cache", "config", "state")]
    for folder in folders:
        folder.mkdir()
    names = ("HOME", "TMPDIR", None, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
    for name, folder in zip(names, folders, strict=True):
        if name is not None:
            monkeypatch.setenv(name, str(folder))
    for name in ("PERIGRID_CACHE", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path / "cwd")
    yield folders


def wait_up(process: subprocess.Popen[str], run: RunDirectory) -> RunInfo:
    """The run's own word that it is up, of a command that goes on."""

    def up() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return run.run_json.exists() and len(run.run_json.read_bytes()) > len("{}")

    wait_until(up, UP_LIMIT_S, "run.json")
    return run.read()


def test_an_attached_constellation_writes_nowhere_else_and_ends_with_ctrl_c(
    launcher: Launcher, elsewhere: list[Path]
) -> None:
    process, run = launcher.attach("attached")
    wait_up(process, run)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=UP_LIMIT_S)
    assert process.returncode == INTERRUPTED, text
    wait_until(lambda: is_gone(run.path), GONE_LIMIT_S, "the end of every process and socket")
    assert [path for folder in elsewhere for path in folder.rglob("*")] == []


def test_ctrl_c_in_the_middle_of_launch_leaves_nothing(launcher: Launcher) -> None:
    process, run = launcher.attach("early")
    assert process.stdout is not None
    for line in process.stdout:
        if "starting satellites" in line:
            break
    assert processes_in(run.path)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=UP_LIMIT_S)
    assert process.returncode == INTERRUPTED, text
    wait_until(lambda: is_gone(run.path), GONE_LIMIT_S, "the end of every process and socket")


def test_a_killed_launcher_takes_its_constellation_along_in_the_middle_of_a_job(launcher: Launcher) -> None:
    process, run = launcher.attach("orphaned")
    info = wait_up(process, run)
    watching = subprocess.Popen(
        [*COMMAND, "run", "--json", "--root", str(run.path.parent), "--name", run.name],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        orphaned = Constellation(run, {"jobs": info.jobs})
        wait_until(lambda: orphaned.jobs() or watching.poll() is not None, UP_LIMIT_S, "the job's admission")
        process.kill()
        process.wait()
        wait_until(lambda: is_gone(run.path), GONE_LIMIT_S, "the end of every process and socket")
        # Whoever watches the job is told, and waits no longer.
        text, _ = watching.communicate(timeout=UP_LIMIT_S)
    finally:
        watching.kill()
        watching.wait()
    assert watching.returncode == 3 and json.loads(text)["kind"] == "NotRunning"


def test_a_killed_supervisor_takes_everything_along(launcher: Launcher) -> None:
    constellation = launcher.up("headless", settled=False)
    os.kill(constellation.info["supervisor_pid"], signal.SIGKILL)
    wait_until(lambda: is_gone(constellation.directory), GONE_LIMIT_S, "the end of every process and socket")
    assert not constellation.run.is_up()


def test_down_leaves_nothing_and_the_name_is_free_again(launcher: Launcher) -> None:
    constellation = launcher.up("twice", settled=False)
    assert constellation.command("down")["down"] is True
    wait_until(lambda: is_gone(constellation.directory), GONE_LIMIT_S, "the end of every process and socket")
    again = launcher.up("twice", settled=False)
    assert again.info["supervisor_pid"] != constellation.info["supervisor_pid"]
