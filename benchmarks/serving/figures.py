"""What do the rounds of a race say?

One stretch is one server asked for one model by so many clients for a second or so. A round holds one stretch of
everybody; ratios are taken within a round, between stretches that are seconds apart, and the median over rounds is
reported, beside the spread of two servers that are the same program (A/A). A difference under twice that spread is no
difference.

The bound (`of bound`). With one client nothing overlaps: a request takes the time of an RPC of the same bytes that
infers nothing (`null`) and the time of the inference (`bare`), so throughput <= 1 / (null_s + bare_s). With several
clients both are taken with all cores in use: bare in as many processes as there are cores, null with as many clients.

The bound on the cores in use (`of bound, CPU`). However many requests are under way, each needs the CPU seconds of an
inference and of an RPC, server's and client's: so throughput <= cores in use / (bare_cpu_s + null_cpu_s), where the
cores in use are those that server and clients held. It leaves out what no server can help: cores that stand idle
while a closed loop of so few clients waits for wake-ups, in null's stretches as much as in others'.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BARE, NULL, OURS, AGAIN = "bare", "null", "perigrid", "perigrid again"
OVER_HTTP = "perigrid, HTTP"
"""The same worker asked by a client with a plain socket, as peers that speak HTTP are."""

MAX_OTHERS_CORES = 0.2
"""Cores that other processes may hold in a stretch that counts."""

AIMS = {
    ("conv", 1, "bound"): 0.85,
    ("conv", 4, "bound_cpu"): 0.85,
    ("cloudmask", 1, "bare"): 0.95,
}
WORDS = {"bound": "the bound", "bound_cpu": "the bound on the cores in use", "bare": "bare"}
MAX_FAULTS, MAX_SMALL_CPU_US = 10.0, 500.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one server did for one model and so many clients; CPU in seconds, of the server's and clients' processes."""

    requests: int
    rate_hz: float
    server_cpu_s: float
    client_cpu_s: float
    faults: int
    others_cores: float
    p50_s: float
    p99_s: float

    @property
    def valid(self) -> bool:
        """Whether it had the machine to itself."""
        return self.others_cores <= MAX_OTHERS_CORES


@dataclass(frozen=True, slots=True)
class Key:
    """Whose stretch it is."""

    server: str
    model: str
    clients: int


Round = Mapping[Key, Stretch]


def bound_hz(here: Round, model: str, clients: int) -> float | None:
    """The most that a server of these RPCs can do, requests a second; None where bare or null is missing."""
    bare, null = here.get(Key(BARE, model, clients)), here.get(Key(NULL, model, clients))
    if bare is None or null is None:
        return None
    return 1 / (1 / bare.rate_hz + 1 / null.rate_hz)


def bound_cpu_s(here: Round, model: str, clients: int) -> float | None:
    """CPU seconds that a request cannot do without, server's and client's; None where bare or null is missing."""
    bare, null = here.get(Key(BARE, model, clients)), here.get(Key(NULL, model, clients))
    if bare is None or null is None:
        return None
    return bare.server_cpu_s / bare.requests + (null.server_cpu_s + null.client_cpu_s) / null.requests


def medians(rounds: Sequence[Round], server: str, model: str, clients: int) -> dict[str, Any]:
    """One row: medians over the rounds in which this server's stretch counts; empty where none does."""
    key = Key(server, model, clients)
    mine = [(here, here[key]) for here in rounds if key in here]
    if not mine:
        return {}
    found: dict[str, Any] = {
        "rounds": len(mine),
        "rate_hz": round(statistics.median(s.rate_hz for _, s in mine), 2),
        "p50_ms": round(statistics.median(s.p50_s for _, s in mine) * 1e3, 3),
        "p99_ms": round(statistics.median(s.p99_s for _, s in mine) * 1e3, 3),
        "server_cpu_us": round(statistics.median(s.server_cpu_s / s.requests for _, s in mine) * 1e6, 1),
        "client_cpu_us": round(statistics.median(s.client_cpu_s / s.requests for _, s in mine) * 1e6, 1),
        "faults": round(statistics.median(s.faults / s.requests for _, s in mine), 2),
    }
    bares = [(s, here[Key(BARE, model, clients)]) for here, s in mine if Key(BARE, model, clients) in here]
    if bares:
        found["of_bare"] = round(statistics.median(s.rate_hz / bare.rate_hz for s, bare in bares), 4)
        beside = [s.server_cpu_s / s.requests - bare.server_cpu_s / bare.requests for s, bare in bares]
        found["beside_us"] = round(statistics.median(beside) * 1e6, 1)
    bounds = [s.rate_hz / bound for here, s in mine if (bound := bound_hz(here, model, clients)) is not None]
    if bounds and server not in (BARE, NULL):
        found["of_bound"] = round(statistics.median(bounds), 4)
        found["of_bound_range"] = [round(min(bounds), 4), round(max(bounds), 4)]
    shares = [
        least_s / ((s.server_cpu_s + s.client_cpu_s) / s.requests)
        for here, s in mine
        if (least_s := bound_cpu_s(here, model, clients)) is not None
    ]
    if shares and server not in (BARE, NULL):
        found["of_bound_cpu"] = round(statistics.median(shares), 4)
    ours = [
        here[Key(OURS, model, clients)].rate_hz / s.rate_hz for here, s in mine if Key(OURS, model, clients) in here
    ]
    if ours and server not in (OURS, BARE):
        found["perigrid_over"] = round(statistics.median(ours), 4)
    http = Key(OVER_HTTP, model, clients)
    others = [here[http].rate_hz / s.rate_hz for here, s in mine if http in here]
    if others and server not in (OVER_HTTP, BARE):
        found["http_over"] = round(statistics.median(others), 4)
    return found


def spread(rounds: Sequence[Round], model: str, clients: int) -> float | None:
    """How far two of the same differ: the median over rounds of |one / other - 1|; None where it was not measured."""
    one, two = Key(OURS, model, clients), Key(AGAIN, model, clients)
    apart = [abs(here[one].rate_hz / here[two].rate_hz - 1) for here in rounds if one in here and two in here]
    return round(statistics.median(apart), 4) if apart else None


def bare_drift(pairs: Iterable[tuple[Stretch, Stretch]]) -> float | None:
    """How far bare at a round's end is from bare at its beginning, the median of |after / before - 1|."""
    apart = [abs(after.rate_hz / before.rate_hz - 1) for before, after in pairs]
    return round(statistics.median(apart), 4) if apart else None


def joined(before: Stretch, after: Stretch) -> Stretch:
    """Bare of a round: before and after together."""
    both = (before, after)
    return Stretch(
        sum(s.requests for s in both),
        2 / sum(1 / s.rate_hz for s in both),
        sum(s.server_cpu_s for s in both),
        0.0,
        sum(s.faults for s in both),
        max(s.others_cores for s in both),
        statistics.mean(s.p50_s for s in both),
        statistics.mean(s.p99_s for s in both),
    )


def verdict(value: float, aim: float, apart: float | None, at_least: bool = True) -> str:
    """met, missed, or UNDECIDED where value and aim are nearer than twice the A/A spread (a share of the value)."""
    margin = 2 * (apart or 0.0) * value
    if abs(value - aim) < margin:
        return "UNDECIDED"
    return "met" if (value >= aim) == at_least else "missed"


def summary(rounds: Sequence[Round], servers: Sequence[str], drift: Mapping[str, float | None]) -> dict[str, Any]:
    """All figures: a list of rows, spreads, and what the aims come to."""
    cases = sorted({(key.model, key.clients) for here in rounds for key in here})
    rows = []
    for model, clients in cases:
        for server in servers:
            found = medians(rounds, server, model, clients)
            if found:
                rows.append({"model": model, "clients": clients, "server": server, **found})
    spreads = {f"{model}/{clients}": spread(rounds, model, clients) for model, clients in cases}
    return {
        "rounds": len(rounds),
        "rows": rows,
        "aa_spread": spreads,
        "bare_drift": dict(drift),
        "aims": aims(rows, spreads),
    }


def aims(rows: Sequence[Mapping[str, Any]], spreads: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """What was wanted of perigrid, what came out, and whether that is enough."""
    found = []
    for row in rows:
        model, clients, server = row["model"], row["clients"], row["server"]
        apart = spreads.get(f"{model}/{clients}")
        name = f"{model}, {clients} client{'s' if clients > 1 else ''}"
        if server == OURS:
            found += _own_aims(row, name, apart)
        elif server in RIVALS.get(model, ()) and "perigrid_over" in row:
            # A peer over HTTP is asked by the same client as perigrid over HTTP, not as perigrid over gRPC.
            value = row.get("http_over", row["perigrid_over"]) if server in HTTP_PEERS else row["perigrid_over"]
            found.append(_aim(f"{name}: over {server}", value, 1.0, verdict(value, 1.0, apart)))
    return found


def _own_aims(row: Mapping[str, Any], name: str, apart: float | None) -> list[dict[str, Any]]:
    found = []
    for against, words in WORDS.items():
        aim = AIMS.get((row["model"], row["clients"], against))
        if aim is not None and f"of_{against}" in row:
            value = row[f"of_{against}"]
            found.append(_aim(f"{name}: of {words}", value, aim, verdict(value, aim, apart)))
    faults = row["faults"]
    found.append(_aim(f"{name}: page faults", faults, MAX_FAULTS, verdict(faults, MAX_FAULTS, None, at_least=False)))
    if row["model"] == "mlp":
        value = row["server_cpu_us"]
        said = verdict(value, MAX_SMALL_CPU_US, apart, at_least=False)
        found.append(_aim(f"{name}: server CPU us", value, MAX_SMALL_CPU_US, said))
    return found


def _aim(name: str, value: float, aim: float, said: str) -> dict[str, Any]:
    return {"what": name, "value": value, "aim": aim, "verdict": said}


HTTP_PEERS = ("mosec", "ray")
"""Peers that are asked over plain HTTP."""

RIVALS = {
    "conv": ("mlserver", "kserve", "mosec", "ray"),
    "cloudmask": ("mlserver", "kserve", "mosec", "ray"),
    "mlp": ("mlserver", "kserve", "ray"),
}
"""Whom perigrid is meant to be ahead of; mosec, with a front in Rust over plain HTTP, on tensors over 100 kB."""

COLUMNS = (
    ("server", "server", "{}"),
    ("rate_hz", "req/s", "{:.1f}"),
    ("of_bare", "of bare", "{:.3f}"),
    ("of_bound", "of bound", "{:.3f}"),
    ("of_bound_cpu", "of bound, CPU", "{:.3f}"),
    ("perigrid_over", "perigrid over", "{:.2f}"),
    ("http_over", "HTTP over", "{:.2f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
    ("server_cpu_us", "server CPU us", "{:.0f}"),
    ("beside_us", "beside us", "{:.0f}"),
    ("client_cpu_us", "client CPU us", "{:.0f}"),
    ("faults", "faults", "{:.1f}"),
    ("rounds", "rounds", "{}"),
)


def table(found: Mapping[str, Any]) -> str:
    """The summary as text, a block for each model and number of clients."""
    lines: list[str] = []
    for case in dict.fromkeys((row["model"], row["clients"]) for row in found["rows"]):
        rows = [row for row in found["rows"] if (row["model"], row["clients"]) == case]
        apart = found["aa_spread"][f"{case[0]}/{case[1]}"]
        lines += ["", f"{case[0]}, {case[1]} client{'s' if case[1] > 1 else ''} (A/A spread {apart})"]
        cells = [[head for _, head, _ in COLUMNS]]
        cells += [[form.format(row[key]) if key in row else "-" for key, _, form in COLUMNS] for row in rows]
        widths = [max(len(line[number]) for line in cells) for number in range(len(COLUMNS))]
        for line in cells:
            rest = (cell.rjust(wide) for cell, wide in zip(line[1:], widths[1:], strict=True))
            lines.append("  ".join((line[0].ljust(widths[0]), *rest)))
    lines += ["", *(f"{aim['what']} {aim['value']:g} (aim {aim['aim']:g}): {aim['verdict']}" for aim in found["aims"])]
    lines += [f"{name}: unmeasured: {reason}" for name, reason in found.get("missing", {}).items()]
    return "\n".join(lines)
