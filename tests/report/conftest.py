"""What do the report's tests share? One made-up run, whose page nobody changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.made_runs import Wish, made_run


@pytest.fixture(scope="session")
def calm_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one job of 73 shards, a cut laser and a lost satellite; not to be changed."""
    return made_run(tmp_path_factory.mktemp("calm"), Wish())
