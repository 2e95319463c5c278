"""What can Prometheus read of a run?

Counters that the processes keep anyway, as text in Prometheus' exposition format (version 0.0.4), over HTTP: each host
process on `sockets/<process>.metrics`, and the supervisor, which asks all of them, on a port of 127.0.0.1. Only where
it is asked for; nothing is counted for its sake alone. Times are emulated seconds unless a name says otherwise.

The format is a dozen lines of code; a library would bring a registry of its own beside counters that exist already.
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from perigrid.errors import EnvironmentProblem
from perigrid.live.lateness import LATE_BUCKETS_S

if TYPE_CHECKING:
    from perigrid.live.host import Host
    from perigrid.live.supervisor import Supervisor

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ASK_LIMIT_S = 2.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
RESENDS = "custody-resend"

Kind = Literal["counter", "gauge", "histogram"]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: samples are (suffix of the name, labels, value)."""

    name: str
    kind: Kind
    meaning: str
    samples: tuple[tuple[str, Labels, float], ...]

    def lines(self) -> list[str]:
        """The metric in Prometheus' exposition format."""
        head = [f"# HELP {self.name} {_escaped(self.meaning, quote=False)}", f"# TYPE {self.name} {self.kind}"]
        return head + [
            f"{self.name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in self.samples
        ]


def one(name: str, kind: Kind, meaning: str, value: float, **labels: str) -> Family:
    """A metric with one sample."""
    return Family(name, kind, meaning, (("", labels, value),))


def histogram(
    name: str, meaning: str, edges: Iterable[float], counts: Iterable[int], total: float, **labels: str
) -> Family:
    """Counts between upper edges (the last one has none) as a histogram, whose buckets add up."""
    sums = list(accumulate(counts))
    bounds = [*(_number(edge) for edge in edges), "+Inf"]
    buckets = [("_bucket", {**labels, "le": bound}, float(count)) for bound, count in zip(bounds, sums, strict=True)]
    return Family(name, "histogram", meaning, (*buckets, ("_sum", labels, total), ("_count", labels, float(sums[-1]))))


def exposition(families: Iterable[Family]) -> str:
    """Metrics as one text."""
    return "".join(f"{line}\n" for family in families for line in family.lines())


def merged(texts: Iterable[str]) -> str:
    """Several processes' texts as one, in which each metric is described once and its samples stand together."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for text in texts:
        name = ""
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                samples.setdefault(name, [])
            if line.startswith("# "):
                head = heads.setdefault(name, [])
                if line not in head:
                    head.append(line)
            elif line:
                samples[name].append(line)
    return "".join(f"{line}\n" for name in samples for line in (*heads[name], *samples[name]))


def host_families(host: Host) -> list[Family]:
    """What a host process tells. Called beside its loop: counters are read as they are."""
    late, counts, meter = host.meter.total(), host.bus.counts, host.meter
    of = {"process": host.name}
    totals = (
        ("frames_released", late.frames, "frames that arrived and were released at their due time"),
        ("frames_late", late.frames_late, "frames released too late for a run that is valid"),
        ("frames_lost", counts.lost, "frames that a link's own loss took"),
        ("frames_dropped", counts.dropped, "frames sent into a cut, to the dead, or past a bound"),
        ("frames_refused", counts.bad, "frames that were none of this world"),
        ("inferences", late.inferences, "inferences released at their due time"),
        ("inferences_late", late.inferences_late, "inferences released too late for a run that is valid"),
        ("retransmissions", host.log.counts.get(RESENDS, 0), "frames that a custodian sent again"),
    )
    families = [one(f"perigrid_{name}_total", "counter", meaning, value, **of) for name, value, meaning in totals]
    families.append(
        histogram(
            "perigrid_frame_lateness_seconds",
            "how long after their due time frames were released",
            LATE_BUCKETS_S,
            meter.late_buckets,
            meter.late_sum_s,
            **of,
        )
    )
    running = host.running
    families.append(one("perigrid_inferences_running", "gauge", "inferences under way on board", running, **of))
    families.append(
        one(
            "perigrid_process_cpu_seconds_total",
            "counter",
            "CPU time of the process, seconds of the wall",
            time.process_time(),
            **of,
        )
    )
    return [*families, *_events(host.log.counts, of), *_links(host, of)]


def _events(counts: Mapping[str, int], of: Labels) -> list[Family]:
    samples = tuple(("", {**of, "what": what}, float(count)) for what, count in sorted(dict(counts).items()))
    return [Family("perigrid_events_total", "counter", "events of the event log by their kind", samples)]


def _links(host: Host, of: Labels) -> list[Family]:
    loads = host.bus.loads()
    labels = [{**of, "from": load.sender, "to": load.receiver, "kind": load.kind} for load in loads]
    told: tuple[tuple[str, Kind, str, list[int]], ...] = (
        ("bytes_total", "counter", "bytes put on a link", [load.size_bytes for load in loads]),
        ("frames_total", "counter", "frames put on a link", [load.frames for load in loads]),
        ("queued_frames", "gauge", "frames that wait for a link's line", [load.queued_frames for load in loads]),
    )
    return [
        Family(
            f"perigrid_link_{name}",
            kind,
            meaning,
            tuple(("", label, float(value)) for label, value in zip(labels, values, strict=True)),
        )
        for name, kind, meaning, values in told
    ]


def run_families(supervisor: Supervisor) -> list[Family]:
    """What the supervisor tells of the whole run."""
    constellation, config = supervisor.constellation, supervisor.config
    wall_s, reading = supervisor.clock.look()
    standing_s, holds = supervisor.standing(wall_s)
    dead = len(constellation.dead_satellites)
    up = constellation.mesh.satellite_count - dead
    return [
        one("perigrid_run_info", "gauge", "the run", 1, run=config.name, scenario_digest=config.scenario.digest()),
        one("perigrid_clock_emulated_seconds", "gauge", "emulated time since the epoch", reading.emulated_at(wall_s)),
        one(
            "perigrid_clock_rate",
            "gauge",
            "emulated seconds a second of the wall, between holds",
            supervisor.clock.rate,
        ),
        one(
            "perigrid_clock_standing_seconds_total",
            "counter",
            "seconds of the wall in which time stood for a hold",
            standing_s,
        ),
        one("perigrid_clock_holds_total", "counter", "how often time stood for a hold", holds),
        one(
            "perigrid_core_tokens_waiting",
            "gauge",
            "inferences that wait for a core of this machine",
            supervisor.waiting,
        ),
        Family(
            "perigrid_satellites",
            "gauge",
            "satellites by their state",
            (("", {"state": "up"}, float(up)), ("", {"state": "dead"}, float(dead))),
        ),
    ]


def serve_host(host: Host) -> None:
    """Serve one host process's metrics on its socket, in a thread of its own."""
    path = Path("sockets") / f"{host.name}.metrics"
    path.unlink(missing_ok=True)
    _start(_UnixServer(os.fspath(path), _handler(lambda: exposition(host_families(host)))))


def serve_run(supervisor: Supervisor, port: int) -> str:
    """Serve the whole run's metrics on a port of 127.0.0.1, in a thread of its own; where that is.

    EnvironmentProblem where the port cannot be had.
    """

    def text() -> str:
        hosts = [name for name, process in supervisor.constellation.processes.items() if process.ready]
        asked = (ask(Path("sockets") / f"{name}.metrics") for name in hosts)
        return merged([exposition(run_families(supervisor)), *(told for told in asked if told)])

    try:
        server = _LoopbackServer(("127.0.0.1", port), _handler(text))
    except OSError as error:
        raise EnvironmentProblem(
            f"port {port} of 127.0.0.1 cannot be had for metrics ({error.strerror}); give another --metrics-port, or 0."
        ) from error
    _start(server)
    return f"http://127.0.0.1:{server.server_address[1]}/metrics"


def ask(path: Path) -> str:
    """The metrics behind a unix socket; "" where nobody answers in `ASK_LIMIT_S`."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ASK_LIMIT_S)
        connection.connect(os.fspath(path))
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = bytearray()
        while len(answer) < MAX_ANSWER_BYTES and (part := connection.recv(65536)):
            answer += part
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        if b" 200 " in head.partition(b"\r\n")[0]:
            return body.decode()
    return ""


def _handler(text: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = ASK_LIMIT_S

        def do_GET(self) -> None:
            """Answer with the metrics of now."""
            if self.path.partition("?")[0] not in ("/", "/metrics"):
                self.send_error(404, "metrics are at /metrics")
                return
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: a run's logs are its own."""

    return Handler


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class _LoopbackServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _start(server: socketserver.BaseServer) -> None:
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels.items()) + "}"


def _escaped(text: str, quote: bool) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
