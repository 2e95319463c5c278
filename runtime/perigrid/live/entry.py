"""What does each process of a run do from its first moment on?

The zygote forks, and calls one of these. A process that is ready says so with a line on the descriptor that it was
given; one that cannot be says why on its standard error, which is the run's log, and exits with 3.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from perigrid.errors import MissingFile, PerigridError
from perigrid.live.config import GROUND_HOST
from perigrid.live.cores import CoreClient
from perigrid.live.pipeline import LoadedModel, load_models, service_time
from perigrid.live.service_times import SERVICE_FILE

if TYPE_CHECKING:
    from perigrid.live.modelstore import FlashModels
    from perigrid.live.serving import web
    from perigrid.live.worker import Worker

PR_SET_PDEATHSIG = 1
PAYLOAD_NICENESS = 19
PAYLOAD_PREFIX = "payload-"
CORES_SOCKET = "sockets/cores"
CLOCK_FILE = "clock.page"
MEASURED_LIMIT_S = 60.0
MEASURED_LOOK_S = 0.05
SWITCH_INTERVAL_S = 1e-4
PORT_FILE = Path("ground/ports")
HTTP_SETTING = "PERIGRID_WORKER_HTTP"
"""Set to 1, it lets each worker speak the protocol over HTTP too, on `sockets/<satellite>.http`."""

Ready = Callable[[str], None]


def die_with_parent(parent: int, sign: int = signal.SIGKILL) -> None:
    """Be killed when the parent ends, whatever ends it (linux prctl(2)); end at once where it has already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sign)
    if os.getppid() != parent:
        os._exit(0)


def run_process(name: str, models: Mapping[str, LoadedModel], ready_descriptor: int, first: bool) -> None:
    """Be the process of that name until the end."""

    def ready(text: str) -> None:
        os.write(ready_descriptor, f"ready {name} {text}\n".encode())

    try:
        if name.startswith(PAYLOAD_PREFIX):
            run_payload(name, models, ready, ready_descriptor)
        else:
            run_host(name, ready, first)
    except PerigridError as error:
        os.write(2, f"{name}: {error}\n".encode())
        text = f"failed {name} {error.exit_code} {error}".replace("\n", " ")
        os.write(ready_descriptor, text.encode() + b"\n")
        os._exit(error.exit_code)


def run_payload(name: str, models: Mapping[str, LoadedModel], ready: Ready, ready_descriptor: int) -> None:
    """The on-board computers of a host's satellites: one gRPC worker each."""
    from perigrid.live.clock import ClockPage
    from perigrid.live.config import read_config
    from perigrid.live.modelstore import FlashModels
    from perigrid.live.serving import web
    from perigrid.live.worker import Worker, environment_limits, serve
    from perigrid.mesh.topology import Mesh

    os.nice(PAYLOAD_NICENESS)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    config = read_config(Path())
    mesh = Mesh(config.scenario)
    host = name.removeprefix(PAYLOAD_PREFIX)
    spec = next(h for h in config.hosts if h.name == host)
    cores = CoreClient(CORES_SOCKET)
    shared, loading = dict(models), threading.Lock()

    def fetch(model: str) -> LoadedModel:
        """A model that came on board since, loaded once for all satellites of this process."""
        with loading:
            if model not in shared:
                shared.update(load_models(read_config(Path()), shared))
            if model not in shared:
                raise MissingFile(f"model {model!r} is not on board; load it first")
            return shared[model]

    fronts: list[web.Front] = []
    servers, limits, slots, clock = [], environment_limits(), config.scenario.device.slots, ClockPage(CLOCK_FILE)
    for node in spec.nodes:
        satellite = mesh.names[node]
        path = Path("sockets") / f"{satellite}.worker"
        path.unlink(missing_ok=True)
        on_flash = FlashModels(Path("flash") / satellite / "models")

        def fetch_here(model: str, on_flash: FlashModels = on_flash) -> LoadedModel:
            """A model that was pushed to this satellite, or one that all have."""
            return on_flash.load(model) or fetch(model)

        worker = Worker(satellite, models, Path(), cores, fetch_here, limits, slots, clock.now_s)
        _load_pushed(worker, on_flash)
        servers.append(serve(f"unix:{path}", worker))
        if os.environ.get(HTTP_SETTING) == "1":
            over_http = path.with_suffix(".http")
            over_http.unlink(missing_ok=True)
            fronts.append(web.start(f"unix:{over_http}", worker))
    ready("")
    _warm_up(models, cores)
    os.write(ready_descriptor, f"warm {name}\n".encode())
    threading.Event().wait()


def _load_pushed(worker: Worker, on_flash: FlashModels) -> None:
    """Serve what a former process of this satellite did; what cannot be loaded its machine will find out."""
    for model in on_flash.served():
        try:
            worker.load(model)
        except PerigridError as error:
            os.write(2, f"{worker.name}: {error}\n".encode())


def _warm_up(models: Mapping[str, LoadedModel], cores: CoreClient) -> None:
    """Compute once with every model, so that no capture pays for the first use of this process's memory."""
    end_s = time.monotonic() + MEASURED_LIMIT_S
    while not Path(SERVICE_FILE).exists() and time.monotonic() < end_s:
        # The machine is being measured: not a cycle is taken from it.
        time.sleep(MEASURED_LOOK_S)
    for model in models.values():
        if model.tile_px is not None:
            cores.acquire(0.0)
            with model.pipeline() as pipeline:
                service_time(pipeline, repeats=1)
            cores.release()


def _ports(*wanted: int) -> tuple[int, ...]:
    """The ports of job service and gateway: restarted, they listen where their clients look for them."""
    return tuple(int(port) for port in PORT_FILE.read_text().split()) if PORT_FILE.exists() else wanted


def run_host(name: str, ready: Ready, first: bool) -> None:
    """The nodes of one host process, or of the ground."""
    from perigrid.live.control import serve_control
    from perigrid.live.driver import Ground
    from perigrid.live.gateway import serve_gateway
    from perigrid.live.holds import HOLDS_SOCKET, Holds
    from perigrid.live.host import Host
    from perigrid.live.jobservice import serve_jobs
    from perigrid.live.watch import Marks

    # gRPC's threads must not keep the loop waiting for the interpreter: its frames have due times.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    for leftover in (Path("sockets") / f"{name}.bus", Path("sockets") / f"{name}.control"):
        leftover.unlink(missing_ok=True)
    host = Host(name, Path())
    if host.config.governed:
        marks = Marks(Path(), tuple(spec.name for spec in host.config.hosts), name)
        holds = Holds(HOLDS_SOCKET, marks.index)
        host.loop.wait_for(holds, marks)
        host.loop.after_turn.append(lambda: holds.report(host.meter))
    host.start(first)
    control = serve_control(host)
    addresses: list[str] = []
    servers = [control]
    if name == GROUND_HOST:
        ground = host.drivers[host.mesh.ground].equipment
        if isinstance(ground, Ground):
            port, gateway_port = _ports(host.config.port, host.config.gateway_port)
            for server, address in (serve_jobs(host, ground, port), serve_gateway(host, gateway_port)):
                servers.append(server)
                addresses.append(address)
            PORT_FILE.write_text(" ".join(address.rpartition(":")[2] for address in addresses))
    if host.config.metrics_port is not None:
        from perigrid.live.metrics import serve_host

        serve_host(host)
    # What was made before the fork and at the start stays for good: no collection need look at it again.
    gc.collect()
    gc.freeze()
    ready(" ".join(addresses))
    try:
        host.loop.run()
    finally:
        host.log.flush()
        for server in servers:
            server.stop(grace=None)
