"""Are a run's traces what OpenTelemetry's own messages can be read from, and do they say what the event log says?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perigrid.app.commands.report import command
from perigrid.app.shell import Shell
from perigrid.errors import CorruptFile, EnvironmentProblem, UsageError
from perigrid.live.eventlog import EVENT_LOG_FILE, EVENT_LOG_VERSION
from perigrid.live.tracing import Tracer, begins_here, trace_parent_of
from perigrid.mesh.topology import Mesh
from perigrid.mesh.way import Leg
from perigrid.node.frames import Stages
from perigrid.node.replies import Answered, Declined
from perigrid.report import otel
from perigrid.report.otel import lines_of, write_traces
from perigrid.scenario.model import Scenario
from perigrid.units import NodeId
from tests.report.made_runs import Wish, made_run
from tests.report.otlp import Read, check_tree, children, read

EPOCH_NS = 1_774_008_000 * 10**9
"""2026-03-20T12:00:00Z, by `date -u -d 2026-03-20T12:00 +%s`."""

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RUN: dict[str, Any] = {
    "what": "run",
    "version": EVENT_LOG_VERSION,
    "run": "made",
    "perigrid": "0.1.0",
    "epoch": "2026-03-20T12:00:00+00:00",
    "scenario_digest": "d" * 64,
    "orbit_rate": 1.0,
}
Event = dict[str, Any]


def leg(sender: str, receiver: str, kind: str, here_s: float, *parts_s: float) -> Event:
    """A leg whose held, queue, serialisation, propagation and processing last so long."""
    names = ("held_s", "queue_s", "serialisation_s", "propagation_s", "processing_s")
    times = dict(zip(names, parts_s, strict=True))
    return {"from": sender, "to": receiver, "kind": kind, "here_s": here_s, "due_s": here_s + sum(parts_s), **times}


UP = [
    leg("ground", "below", "fibre", 10.003, 0.0, 0.0, 0.001, 0.004, 0.0),
    leg("below", "sat-01", "radio", 10.008, 0.0, 0.010, 0.020, 0.002, 0.0),
    leg("sat-01", "sat-02", "laser", 10.040, 0.5, 0.0, 0.001, 0.009, 0.0),
    leg("sat-02", "sat-03", "laser", 10.550, 0.0, 0.0, 0.001, 0.009, 0.0),
]
DOWN = [
    leg("sat-03", "sat-02", "laser", 10.665, 0.0, 0.0, 0.001, 0.009, 0.0),
    leg("sat-02", "below", "radio", 10.675, 0.25, 0.0, 0.005, 0.002, 0.0),
]
STAGES = {
    "gateway": 0.001,
    "ground_queue": 0.002,
    "contact_wait": 0.75,
    "uplink": 0.037,
    "lasers_up": 0.020,
    "satellite_queue": 0.040,
    "inference": 0.060,
    "keep": 0.005,
    "lasers_down": 0.010,
    "downlink": 0.007,
    "settle": 0.003,
}
"""As they follow from the legs, by hand; 0.935 s in all."""

TOTAL_NS = 935_000_000


def asked(name: str, **changes: Any) -> Event:
    return {"t": 10.0, "node": "ground", "what": "request", "request": name, "model": "m", "bytes": 1000, **changes}


def traced(name: str, **changes: Any) -> Event:
    found = {
        "what": "traced",
        "request": name,
        "satellite": "sat-03",
        "attempt": 1,
        "hops": 2,
        "bytes": 300,
        "stages": STAGES,
        "asked_s": 10.0,
        "answered_s": 10.935,
        "up": UP,
        "down": DOWN,
        "desk_wait_s": 0.0,
        "cpu_s": 0.01,
        "traceparent": f"00-{TRACE}-{PARENT}-01",
    }
    return {"t": 10.935, "node": "ground", **found, **changes}


def frame(**changes: Any) -> Event:
    found = {
        "what": "observation",
        "frame": "sat-02/camera/7",
        "sensor": "camera",
        "number": 7,
        "satellite": "sat-02",
        "treatment": "in-orbit",
        "outcome": "ok",
        "taken_s": 10.6,
        "answered_s": 10.94,
        "deadline_s": None,
        "tiles": 4,
        "bytes": 300,
        "hops": 1,
        "stages": {"satellite_queue": 0.01, "inference": 0.06, "keep": 0.005, "downlink": 0.007, "settle": 0.008},
        "desk_wait_s": 0.0,
        "cpu_s": 0.01,
        "up": [],
        "down": DOWN[1:],
        "traceparent": f"00-{TRACE[::-1]}-{PARENT}-01",
    }
    return {"t": 10.94, "node": "ground", **found, **changes}


def log(folder: Path, *events: Event) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"t": 0.0, "wall": 0.0, "node": "launcher", **event}) for event in (RUN, *events)]
    (folder / EVENT_LOG_FILE).write_text("\n".join(lines) + "\n")
    return folder


def spans_of(folder: Path, *events: Event) -> list[Read]:
    out = folder / "traces.json"
    written = write_traces(log(folder / "made", *events), out)
    spans = read(out)
    assert written.spans == len(spans) and written.traces == sum(one.parent == "" or known(one) for one in spans)
    check_tree(spans)
    return spans


def known(span: Read) -> bool:
    return span.parent == PARENT


# --- what is in a trace


def test_a_request_is_a_span_with_its_stages_and_crossings(tmp_path: Path) -> None:
    spans = spans_of(tmp_path, asked("request.1.1"), traced("request.1.1"))
    (root,) = [one for one in spans if one.parent == PARENT]
    assert {one.trace for one in spans} == {TRACE}
    assert (root.service, root.start_ns, root.end_ns) == ("ground", EPOCH_NS + 10 * 10**9, EPOCH_NS + 10_935_000_000)
    assert root.attributes["perigrid.request"] == "request.1.1" and root.attributes["perigrid.model"] == "m"
    assert (root.attributes["perigrid.bytes_up"], root.attributes["perigrid.bytes_down"]) == (1000, 300)
    stages = children(spans, root)
    assert [(one.name, one.service) for one in stages] == [
        ("gateway", "ground"),
        ("ground_queue", "ground"),
        ("uplink", "ground"),
        ("contact_wait", "sat-01"),
        ("lasers_up", "sat-01"),
        ("satellite_queue", "sat-03"),
        ("inference", "sat-03"),
        ("keep", "sat-03"),
        ("lasers_down", "sat-03"),
        ("contact_wait", "sat-02"),
        ("downlink", "sat-02"),
        ("settle", "ground"),
    ]
    lengths_ns: dict[str, int] = {}
    for one in stages:
        lengths_ns[one.name] = lengths_ns.get(one.name, 0) + one.end_ns - one.start_ns
    assert lengths_ns == {name: pytest.approx(1e9 * length_s, abs=2) for name, length_s in STAGES.items()}
    assert sum(lengths_ns.values()) == pytest.approx(TOTAL_NS, abs=2)
    for before, after in pairwise(stages):
        assert after.start_ns == pytest.approx(before.end_ns, abs=1)
    crossings = [one for one in spans if one.name.endswith("crossing")]
    for one, said in zip(sorted(crossings, key=lambda one: one.start_ns), [*UP, *DOWN], strict=True):
        assert (one.service, one.attributes["perigrid.to"]) == (said["from"], said["to"])
        assert one.attributes["perigrid.link"] == said["kind"]
        assert one.attributes["perigrid.bytes"] == (1000 if said in UP else 300)
        parts = ("queue_s", "serialisation_s", "propagation_s", "processing_s")
        assert {part: one.attributes[f"perigrid.{part}"] for part in parts} == {part: said[part] for part in parts}
        assert one.end_ns - one.start_ns == pytest.approx(1e9 * sum(said[part] for part in parts), abs=2)


def test_a_frame_begins_on_its_satellite_and_has_no_parent(tmp_path: Path) -> None:
    spans = spans_of(
        tmp_path, frame(), frame(frame="sat-02/camera/8", outcome="failed", traceparent=f"00-{'8' * 32}-{PARENT}-01")
    )
    roots = [one for one in spans if one.parent == ""]
    assert [one.service for one in roots] == ["sat-02", "sat-02"]
    assert [one.span.status.code for one in roots] == [0, 2]
    names = [one.name for one in children(spans, roots[0])]
    assert names == ["satellite_queue", "inference", "keep", "contact_wait", "downlink", "settle"]


def test_who_names_no_trace_has_a_root_without_a_parent(tmp_path: Path) -> None:
    own = trace_parent_of(())
    assert begins_here(own) and len(own) == 25
    assert not begins_here(trace_parent_of((("traceparent", f"00-{TRACE}-{PARENT}-01"),)))
    text = f"00-{own[:16].hex()}-{own[16:24].hex()}-01"
    (root, *_) = spans_of(tmp_path, traced("request.1.1", traceparent=text))
    assert root.parent == "" and root.trace == own[:16].hex()


def test_two_requests_of_one_trace_and_parent_are_told_apart(tmp_path: Path) -> None:
    spans = spans_of(tmp_path, traced("request.1.1"), traced("request.1.2"))
    assert len([one for one in spans if one.parent == PARENT]) == 2


def test_without_the_links_of_its_way_stages_lie_in_turn(tmp_path: Path) -> None:
    spans = spans_of(tmp_path, traced("request.1.1", up=[], down=[]))
    root = spans[0]
    stages = children(spans, root)
    assert {one.name for one in stages} == set(STAGES)
    assert stages[0].start_ns == root.start_ns and stages[-1].end_ns == pytest.approx(root.end_ns, abs=2)


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = log(tmp_path / "made", asked("request.1.1"), traced("request.1.1"), frame())
    for name in ("a", "b"):
        write_traces(folder, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_many_traces_are_many_lines_of_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "SPANS_A_LINE", 50)
    monkeypatch.setattr(otel, "MAX_OPEN", 4)

    def events() -> Iterator[Event]:
        yield RUN
        for number in range(40):
            # One in two is never answered, and does not stay in memory.
            yield asked(f"request.1.{number}", bytes=number)
            if number % 2:
                yield traced(f"request.1.{number}")

    lines = list(lines_of(events()))
    assert sum(line.traces for line in lines) == 20 and len(lines) > 4
    assert max(line.spans for line in lines) < 50 + 20
    assert b'{"key":"perigrid.bytes_up","value":{"intValue":"39"}}' in lines[-1].text


# --- what cannot be


def test_a_run_without_traces_leaves_no_file(tmp_path: Path) -> None:
    folder = log(tmp_path / "made", asked("request.1.1"), traced("request.1.1", traceparent=""))
    with pytest.raises(UsageError, match="made has no traced request"):
        write_traces(folder, tmp_path / "out.json")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["made"]


@pytest.mark.parametrize("broken", [{"up": 7}, {"stages": {"gateway": "soon"}}, {"down": [{"from": "x"}]}])
def test_an_event_that_is_not_as_documented(tmp_path: Path, broken: Event) -> None:
    folder = log(tmp_path / "made", traced("request.1.1", **broken))
    with pytest.raises(CorruptFile, match="'traced' event"):
        write_traces(folder, tmp_path / "out.json")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["made"]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    folder = log(tmp_path / "made", traced("request.1.1"))
    with pytest.raises(EnvironmentProblem, match="--otlp"):
        write_traces(folder, tmp_path / "nowhere" / "out.json")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = made_run(tmp_path, Wish(shards=1, faults=False)), tmp_path / "out.json"
    with (folder / EVENT_LOG_FILE).open("a") as file:
        file.write(json.dumps({"t": 10.9, "wall": 0.0, "node": "ground", **traced("request.1.1")}) + "\n")

    def report(*arguments: str) -> None:
        command.main(args=[str(folder), "--otlp", str(out), *arguments], obj=Shell(), standalone_mode=False)

    report("--json")
    assert json.loads(capsys.readouterr().out) == {"otlp": str(out), "traces": 1, "spans": len(read(out))}
    with pytest.raises(UsageError, match="--job and --out"):
        report("--job", "job-1")


# --- what the ground writes down


def answered(mesh: Mesh, number: int, trace_parent: bytes) -> Answered:
    link = mesh.link_between(NodeId(0), NodeId(1))
    crossing = Leg(link, NodeId(0), 1.0, 1.1, 0.0, 0.02, 0.03, 0.05, 0.0)
    stages = Stages(
        **{name: 0.0 for name in Stages.__struct_fields__ if name != "up"},
        up=(crossing,),
    )
    blob: Any = SimpleNamespace(length=5)
    name = f"request.1.{number}"
    return Answered(name, blob, "sat-02", 1, 2, stages, 0.0, 0.0, 0.9, 1.3, (crossing,), 0.0, trace_parent)


def test_only_traced_answers_are_written_down_and_only_so_many(scenario: Scenario) -> None:
    mesh, found = Mesh(scenario), []
    loop: Any = SimpleNamespace(now_s=lambda: 2.0)
    book: Any = SimpleNamespace(add=lambda t, node, what, fields: found.append((what, fields)))
    tracer = Tracer(mesh, loop, book, limit=3)
    sampled = bytes.fromhex(TRACE + PARENT + "01")
    tracer.tell(-1, Declined("full", "too much"))
    tracer.tell(-1, answered(mesh, 0, b""))
    assert found == []
    for number in range(1, 7):
        tracer.tell(-number, answered(mesh, number, sampled))
    assert [what for what, _ in found] == ["traced"] * 3 + ["traces-full"]
    assert [fields["request"] for _, fields in found[:3]] == [f"request.1.{n}" for n in (1, 2, 3)]
    assert found[0][1]["traceparent"] == f"00-{TRACE}-{PARENT}-01" and found[-1][1] == {"limit": 3}
