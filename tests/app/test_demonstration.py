"""Is the demo's world one in which its proof can hold, and does the proof say when it does not?"""

from __future__ import annotations

import msgspec
import pytest

from perigrid.app.demonstration import (
    CUT,
    PACKAGED_STRIDE_PX,
    VICTIMS,
    Faults,
    Proof,
    demo_rate,
    for_scene,
)
from perigrid.app.scenarios import demo_scenario
from perigrid.live.clients import LatenessStatus
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.routes import NoPath, Routes
from perigrid.mesh.topology import Link, Mesh
from perigrid.report.outcome import Outcome
from perigrid.scenario.model import Scenario

CONTACT_S = 300
"""How long the demo's contact has to last, emulated seconds: ten times what a slow machine's demo takes."""

DARK_PROXY = "http://127.0.0.1:9"


@pytest.fixture
def scenario(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, DARK_PROXY)
    folder = str(tmp_path_factory.mktemp("cache"))
    return demo_scenario({"PERIGRID_CACHE": folder, "HOME": folder}, lambda _: None).scenario


def test_every_satellite_stays_in_reach_with_the_laser_cut_and_any_victim_dead(scenario: Scenario) -> None:
    mesh = Mesh(scenario)
    plan = ContactPlan(scenario, mesh)
    plan.add(compute_segment(scenario, mesh, 0))
    routes = Routes(plan)
    cut = {mesh.link_between(mesh.id_of(CUT[0]), mesh.id_of(CUT[1]))}
    for victim in VICTIMS:
        lost = mesh.id_of(victim)
        dead: frozenset[Link] = frozenset(cut | {link for link in plan.links if lost in (link.a, link.b)})
        for t_s in range(0, CONTACT_S + 1, 20):
            for satellite in mesh.satellite_ids:
                path = routes.path(mesh.ground, satellite, float(t_s), dead)
                assert satellite == lost or not isinstance(path, NoPath), (victim, t_s, satellite)


def test_the_packaged_scene_gets_more_crops_and_a_slower_clock(scenario: Scenario) -> None:
    assert scenario.data[0].dataset == "spyndex"
    fitted = for_scene(scenario)
    assert fitted.data[0].stride_px == PACKAGED_STRIDE_PX
    assert demo_rate(fitted) <= 0.05
    labelled = msgspec.structs.replace(scenario, data=(msgspec.structs.replace(scenario.data[0], dataset="sentinel2"),))
    assert for_scene(labelled) == labelled
    assert 0 < demo_rate(labelled) <= 0.1


def proof(**changes: object) -> Proof:
    outcome = Outcome(
        job="a",
        outcome="complete",
        model="m",
        dataset="d",
        tiles=8,
        shards=2,
        accepted=2,
        duplicates=1,
        duplicates_to_client=0,
        conflicts=0,
        failed=0,
        failures={},
        attempts=3,
        coverage_ok=True,
        result_sha256="ab",
        elapsed_s=1.0,
        emulated_s=0.1,
        tiles_per_s=8.0,
        stages=None,
        satellites=12,
        links_cut=1,
        satellites_lost=1,
        mode="dilated",
        rate=0.1,
        valid_for_latency=True,
        lateness=LatenessStatus(),
        bytes_over_lasers=1,
        bytes_over_ground_links=1,
        bytes_of_replicas=1,
        preloaded=(),
    )
    values: dict[str, object] = {
        "outcome": outcome,
        "faults": Faults(settled=1, laser=CUT, satellite="sat-07", shards_leased=9, shards_on_satellite=4),
        "reference_sha256": "ab",
        "reference_s": 1.0,
        "kappa": 0.8,
    }
    for key in list(changes):
        if key in Outcome.__struct_fields__:
            values["outcome"] = msgspec.structs.replace(values["outcome"], **{key: changes.pop(key)})  # type: ignore[type-var]
    return Proof(**{**values, **changes})  # type: ignore[arg-type]


def test_the_last_lines_say_what_the_demo_is_about() -> None:
    assert proof().holds
    assert proof().lines()[-3:] == [
        "shards accepted: 2 of 2",
        "duplicates given to the client: 0",
        "result_sha256 equals the reference ab",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"reference_sha256": "cd"},
        {"faults": None},
        {"faults": Faults(settled=1, laser=CUT, satellite="x", shards_leased=9, shards_on_satellite=0)},
        {"accepted": 1},
        {"duplicates_to_client": 1},
        {"coverage_ok": False},
    ],
)
def test_a_proof_that_does_not_hold(changes: dict[str, object]) -> None:
    broken = proof(**changes)
    assert not broken.holds
    assert broken.lines()


def test_a_different_hash_is_said_aloud() -> None:
    assert "DIFFERS FROM" in proof(reference_sha256="cd").lines()[-1]
