"""How long do other people's programs take for the step that `perigrid bench sky` measures?

Each peer is installed from PyPI, at the version stated in `requirements/`, into an environment of its own under a
temporary folder (or `--folder`, which keeps them for the next time), and runs in a process of its own: a world as JSON
goes in, seconds a step come out. Rounds of all peers, of the plain script and of perigrid take turns. A peer that does
not install on this machine is named with the reason. What is not like for like stands in docs/measured.md.

    python benchmarks/peers.py [--json] [--rounds 3] [--folder FOLDER] [--python PATH]...
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from perigrid.bench.sky import PLACES
from perigrid.bench.sky_script import Script
from perigrid.bench.sky_step import WGS72_KM, WGS72_MU_KM3_S2, Constellation, SkyStep

HERE = Path(__file__).parent
STEP_S = 15.0
LIMIT_S = 900.0
"""A peer's round that takes longer is given up."""

DAY_S = 86_400.0
PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")


@dataclass(frozen=True, slots=True)
class Peer:
    """A package that takes part, and the oldest Python that it runs on."""

    name: str
    python: tuple[int, int]


PEERS = (Peer("cosmica", (3, 13)), Peer("leopath", (3, 9)), Peer("satgenpy", (3, 8)))


def world() -> dict[str, object]:
    """Starlink's shell 1 over a hundred cities."""
    shell = Constellation(PLACES)
    motion_rad_s = math.sqrt(WGS72_MU_KM3_S2 / (WGS72_KM + shell.altitude_km) ** 3)
    return {
        "planes": shell.planes,
        "slots": shell.slots,
        "altitude_km": shell.altitude_km,
        "inclination_deg": shell.inclination_deg,
        "elevation_deg": shell.elevation_deg,
        "slant_km": shell.slant_limit_km(),
        "rev_day": motion_rad_s * DAY_S / (2 * math.pi),
        "places": shell.places,
    }


def version_of(python: str) -> tuple[int, int] | None:
    """An interpreter's version; None where it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = done.stdout.split()
    return int(major), int(minor)


def installed(peer: Peer, folder: Path, pythons: list[str]) -> str:
    """The interpreter of the peer's environment, made where it is not there yet; RuntimeError says why not."""
    inside = folder / peer.name / "bin" / "python"
    if inside.exists():
        return str(inside)
    fitting = [python for python in pythons if (version_of(python) or (0, 0)) >= peer.python]
    if not fitting:
        raise RuntimeError(f"needs Python {peer.python[0]}.{peer.python[1]}, and none was found: give one by --python")
    wanted = HERE / "requirements" / f"{peer.name}.txt"
    for command in (
        [fitting[0], "-m", "venv", str(folder / peer.name)],
        [str(inside), "-m", "pip", "install", "-q", "-r", str(wanted)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder / peer.name, ignore_errors=True)
            raise RuntimeError(f"does not install: {done.stderr.strip().splitlines()[-1]}")
    return str(inside)


def peer_step(peer: Peer, python: str, t_s: float) -> dict[str, float]:
    """One step in the peer's own process; its first step, as it comes: setting up is not counted."""
    asked = json.dumps({**world(), "times_s": [t_s]})
    done = subprocess.run(
        [python, str(HERE / f"peer_{peer.name}.py")],
        input=asked,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    if done.returncode:
        raise RuntimeError(f"failed: {done.stderr.strip().splitlines()[-1]}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return {"seconds": answer["steps_s"][0], **{key: answer[key] for key in answer if key != "steps_s"}}


def own_step_s(side: SkyStep | Script, t_s: float) -> float:
    """Seconds of one of our steps; the steps before it were a step apart."""
    start_s = time.perf_counter()
    if isinstance(side, SkyStep):
        side.at(t_s)
    else:
        side.step(t_s)
    return time.perf_counter() - start_s


def race(folder: Path, pythons: list[str], rounds: int) -> dict[str, object]:
    """Everybody in turn; medians, and how many times longer than perigrid each took in the same round."""
    running: dict[str, str] = {}
    missing: dict[str, str] = {}
    for peer in PEERS:
        try:
            running[peer.name] = installed(peer, folder, pythons)
        except RuntimeError as error:
            missing[peer.name] = str(error)
    ours, script = SkyStep(Constellation(PLACES)), Script(list(PLACES))
    own_step_s(ours, 0.0)
    own_step_s(script, 0.0)
    took_s: dict[str, list[float]] = {name: [] for name in ("perigrid", "script", *running)}
    extras: dict[str, dict[str, float]] = {}
    for number in range(rounds):
        t_s = STEP_S * (number + 1)
        took_s["perigrid"].append(own_step_s(ours, t_s))
        took_s["script"].append(own_step_s(script, t_s))
        for peer in PEERS:
            if peer.name not in running:
                continue
            try:
                extras[peer.name] = peer_step(peer, running[peer.name], t_s)
                took_s[peer.name].append(extras[peer.name].pop("seconds"))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                missing[peer.name] = str(error)
                del running[peer.name], took_s[peer.name]
        shown = ", ".join(f"{name} {all_s[-1]:.3f}" for name, all_s in took_s.items() if all_s)
        print(f"round {number + 1}: {shown} s", file=sys.stderr, flush=True)
    return {
        "rounds": rounds,
        "seconds": {name: round(statistics.median(all_s), 5) for name, all_s in took_s.items()},
        "times_perigrid": {
            name: round(statistics.median(one / own for one, own in zip(all_s, took_s["perigrid"], strict=True)), 1)
            for name, all_s in took_s.items()
        },
        "said": extras,
        "missing": missing,
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the peers' environments are kept")
    parser.add_argument("--python", action="append", default=[], help="an interpreter that peers may be given")
    chosen = parser.parse_args()
    pythons = [*chosen.python, sys.executable, *PYTHONS]
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = race(folder.resolve(), pythons, chosen.rounds)
    if chosen.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(key, value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
