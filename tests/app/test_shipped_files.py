"""Do the scenarios that ship say what they mean to say?"""

from __future__ import annotations

from pathlib import Path

import pytest

from perigrid.app.scenarios import parse, shipped_presets
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.routes import NoPath, Routes
from perigrid.mesh.topology import Mesh

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "scenarios"
FILES = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_that_ships_has_contact_at_its_epoch(path: Path) -> None:
    scenario = parse(path.read_text(), path.name, shipped_presets())
    assert scenario.name == path.stem
    mesh = Mesh(scenario)
    plan = ContactPlan(scenario, mesh)
    plan.add(compute_segment(scenario, mesh, 0))
    routes = Routes(plan)
    for satellite in mesh.satellite_ids:
        assert not isinstance(routes.path(mesh.ground, satellite, 0.0, frozenset()), NoPath)


def test_every_file_is_listed() -> None:
    text = (FOLDER / "README.md").read_text()
    assert all(f"`{path.name}`" in text for path in FILES)
