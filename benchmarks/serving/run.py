"""What does serving cost, and whose server costs least?

The same models, bytes, clients and machine, in the same minutes: onnxruntime in a loop (`bare`), a server of the same
gRPC that infers nothing (`null`; `null, unread` does not even take the request apart), perigrid's worker (twice, for
the A/A spread, and once each with the tensors in shared memory, over HTTP, and kept to one core), and the servers that
others publish, each installed at the version in `requirements/` into an environment of its own. In a round each of
them is started, asked for each model by one client and by four, and ended; the order is turned by one place from round
to round. What is read out of it is in figures.py.

    python benchmarks/serving/run.py [--json] [--rounds 5] [--only perigrid,bare,null] [--quick] [--folder FOLDER]

A stretch in which other processes held more than a fifth of a core is void: it is done again, twice at most.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import AGAIN, BARE, NULL, OURS, OVER_HTTP, Key, Stretch, bare_drift, joined, summary, table
from models import Model, models
from peers import PEERS, Peer, installed
from racing import HERE, Bare, Clients, RaceError, Server, measured, started, tree, wait_quiet

from perigrid.live.launch import ALLOCATOR_SETTINGS

CLIENTS = (1, 4)
TRIES = 3
QUICK = 0.5
UNREAD, SHARED = "null, unread", "perigrid, shared memory"
ONE_CORE, NULL_ONE_CORE = "perigrid, one core", "null, one core"
HTTP_ADDRESS = "127.0.0.1:18181"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "perigrid-serving"


def say(text: str) -> None:
    """Progress goes to standard error; data goes to standard output."""
    print(text, file=sys.stderr, flush=True)


class Race:
    """A folder with everything that the racers need, and what has been seen so far."""

    def __init__(self, folder: Path, wanted: Sequence[str] | None, chosen: argparse.Namespace) -> None:
        known = models(chosen.folder / "models")
        self.folder, self.cache = folder, chosen.folder
        self.scale = QUICK if chosen.quick else 1.0
        self.models = [known[name] for name in chosen.models.split(",")]
        self.wanted = wanted
        self.patience_s = float(chosen.patience)
        self.rounds: list[dict[Key, Stretch]] = []
        self.drift: dict[str, list[tuple[Stretch, Stretch]]] = {}
        self.missing: dict[str, str] = {}
        self.void = 0
        self._outputs()

    def _outputs(self) -> None:
        """What onnxruntime itself answers: everybody's first answer is compared with it."""
        import onnxruntime

        for model in self.models:
            sample = model.sample()
            np.save(self.folder / f"{model.name}.npy", sample)
            session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
            np.save(self.folder / f"{model.name}-out.npy", session.run([model.output], {model.input: sample})[0])

    def size_of(self, model: Model) -> int:
        """Bytes of the model's answer."""
        return int(np.load(self.folder / f"{model.name}-out.npy", mmap_mode="r").nbytes)

    def wants(self, name: str) -> bool:
        """Whether a racer was asked for."""
        return self.wanted is None or name.partition(",")[0].partition(" ")[0] in self.wanted

    def own(self) -> list[Server]:
        """Null and perigrid, which need no environment of their own."""
        files = [f"{model.name}={model.path}" for model in self.models]
        sizes = [f"{model.name}={self.size_of(model)}" for model in self.models]
        found = []
        for name, script, given in (
            (NULL, "null_server.py", ["messages", *sizes]),
            (UNREAD, "null_server.py", ["bytes", *sizes]),
            (NULL_ONE_CORE, "null_server.py", ["messages", *sizes]),
            (OURS, "perigrid_server.py", [HTTP_ADDRESS, *files]),
            (AGAIN, "perigrid_server.py", [HTTP_ADDRESS, *files]),
            (ONE_CORE, "perigrid_server.py", [HTTP_ADDRESS, *files]),
        ):
            address = f"unix:{self.folder / name.replace(' ', '-').replace(',', '')}"
            kept = ["taskset", "--cpu-list", "0"] if name in (ONE_CORE, NULL_ONE_CORE) else []
            command = [*kept, sys.executable, str(HERE / "servers" / script), address, *given]
            found.append(Server(name, command, "grpc", address, ALLOCATOR_SETTINGS, checked=script[0] == "p"))
        return [server for server in found if self.wants(server.name)]

    def peers(self) -> list[Server]:
        """Those of others that install here; the reasons of the rest are kept."""
        found = []
        for peer in PEERS:
            if not self.wants(peer.name):
                continue
            try:
                python = installed(peer, self.cache)
            except RaceError as error:
                self.missing[peer.name] = str(error)
                continue
            found.append(self._peer(peer, python))
        return found

    def _peer(self, peer: Peer, python: str) -> Server:
        # What the environment brings as programs (ray, mlserver) is found by its scripts through the path.
        environment = {"PATH": f"{Path(python).parent}:{os.environ['PATH']}", **peer.environment}
        files = [f"{m.name}={m.path}={m.input}={m.output}" for m in self.models]
        command = [python, str(HERE / "servers" / peer.script), str(peer.port), *files]
        address = f"127.0.0.1:{peer.port}"
        folder = self.folder / peer.name
        folder.mkdir(exist_ok=True)
        return Server(peer.name, command, peer.protocol, address, environment, peer.namespace, folder)

    def round(self, servers: Sequence[Server]) -> None:
        """Everybody once; what was seen counts, though the round be interrupted."""
        here = self._bare()
        before = dict(here)
        self.rounds.append(here)
        for server in servers:
            if server.name in self.missing:
                continue
            try:
                self._turn(server, here)
            except RaceError as error:
                self.missing[server.name] = str(error)
                say(f"{server.name}: {error}")
        after = self._bare()
        for key, last in after.items():
            if key in before:
                here[key] = joined(before[key], last)
                self.drift.setdefault(f"{key.model}/{key.clients}", []).append((before[key], last))
            else:
                here[key] = last

    def _bare(self) -> dict[Key, Stretch]:
        """Loops of onnxruntime: one for one client, one a core for more."""
        if not self.wants(BARE):
            return {}
        given = [f"{m.name}={m.path}={self.folder / m.name}.npy" for m in self.models]
        bare, found = Bare(given, os.cpu_count() or 1, self.folder / "bare.log"), {}
        try:
            for model in self.models:
                for clients in CLIENTS:
                    loops = min(clients, os.cpu_count() or 1)

                    def once(model: Model = model, loops: int = loops) -> Stretch:
                        return bare.round(model.name, loops, model.seconds * self.scale)

                    self._keep(found, Key(BARE, model.name, clients), once, bare.pids())
        finally:
            bare.end()
        return found

    def _turn(self, server: Server, here: dict[Key, Stretch]) -> None:
        """One server from its start to its end."""
        log = self.folder / f"{server.name.replace(' ', '-')}.log"
        with started(server, log) as process:
            inside = process.pid if server.namespace else None
            for model in self.models:
                self._model(server.name, server.protocol, server, model, process.pid, inside, here)
                if server.name == OURS:
                    self._model(SHARED, "shm", server, model, process.pid, inside, here)
                    self._model(OVER_HTTP, "v2", server, model, process.pid, inside, here)

    def _model(
        self,
        name: str,
        protocol: str,
        server: Server,
        model: Model,
        pid: int,
        inside: int | None,
        here: dict[Key, Stretch],
    ) -> None:
        """One model of one server, by one client and by several."""
        spec = {
            "protocol": protocol,
            "address": HTTP_ADDRESS if protocol == "v2" else server.address,
            "path": f"/v2/models/{model.name}/infer" if protocol == "v2" else f"/{model.name}",
            "model": model.name,
            "input": model.input,
            "output": model.output,
            "sample": str(self.folder / f"{model.name}.npy"),
            "expected": str(self.folder / f"{model.name}-out.npy") if server.checked else None,
        }
        clients = Clients(spec, max(CLIENTS), self.folder / "clients.log", inside)
        try:
            for asking in CLIENTS:

                def once(asking: int = asking) -> Stretch:
                    return measured(pid, clients, asking, model.seconds * self.scale)

                self._keep(here, Key(name, model.name, asking), once, [*tree(pid), *clients.pids()])
        finally:
            clients.end()

    def _keep(self, here: dict[Key, Stretch], key: Key, once: Callable[[], Stretch], pids: Sequence[int]) -> None:
        """A stretch that counts, where there is one within the tries."""
        for _ in range(TRIES):
            stretch = once()
            if stretch.valid:
                here[key] = stretch
                return
            self.void += 1
            say(f"{key.server} {key.model}/{key.clients}: void, others held {stretch.others_cores:.2f} cores")
            self.patience_s -= wait_quiet(pids, self.patience_s) if self.patience_s > 0 else 0.0

    def found(self, names: Sequence[str]) -> dict[str, Any]:
        """All that was seen."""
        drift = {case: bare_drift(pairs) for case, pairs in self.drift.items()}
        found = summary(self.rounds, names, drift)
        return {**found, "void_stretches": self.void, "missing": self.missing, "environment": environment()}


def environment() -> dict[str, Any]:
    """On what it was measured."""
    import grpc
    import onnxruntime

    said = Path("/proc/cpuinfo").read_text()
    processor = next(
        (line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("model name")), ""
    )
    return {
        "cores": os.cpu_count(),
        "processor": processor,
        "system": platform.platform(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "onnxruntime": onnxruntime.__version__,
        "allocator": ALLOCATOR_SETTINGS,
        "onnxruntime_threads": 1,
    }


def race(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All rounds."""
    wanted = chosen.only.split(",") if chosen.only else None
    run = Race(folder, wanted, chosen)
    servers = [*run.own(), *run.peers()]
    try:
        for number in range(chosen.rounds):
            start_s = time.monotonic()
            turned = servers[number % len(servers) :] + servers[: number % len(servers)]
            run.round(turned)
            say(f"round {number + 1} of {chosen.rounds}: {time.monotonic() - start_s:.0f} s")
    except KeyboardInterrupt:
        say(f"interrupted in round {len(run.rounds)}: what was seen so far follows")
    shown = [BARE, *(server.name for server in servers)]
    if OURS in shown:
        shown[shown.index(OURS) + 1 : shown.index(OURS) + 1] = [SHARED, OVER_HTTP]
    return run.found(shown)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="of bare, null, perigrid and the peers, separated by commas")
    parser.add_argument("--models", default="conv,mlp,cloudmask")
    parser.add_argument("--quick", action="store_true", help="stretches of half the length")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds in all to wait for a quiet machine")
    parser.add_argument("--folder", type=Path, default=CACHE, help="where models and the peers' environments are kept")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        found = race(chosen, Path(name))
    print(json.dumps(found) if chosen.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
