"""How do a user's model and data come on board of a constellation that is up?

What is on board is used as it is. What is not is put into the run directory and announced to the supervisor; copies of
the data then cross the lasers, as they do at a start. All of it is preloaded, and listed so in every result.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from perigrid.app.models import pushed_name
from perigrid.app.scenarios import model_store
from perigrid.app.worlds import data_source
from perigrid.live.cargo import is_on_board, model_on_board, stow
from perigrid.live.clients import SupervisorClient
from perigrid.live.config import RunConfig, read_config
from perigrid.live.rundir import RunDirectory
from perigrid.live.scenes import SceneSearch
from perigrid.live.service_times import check_device
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import DataSource


def _known_model(run: RunDirectory, config: RunConfig, wanted: str) -> str | None:
    """What a model is called that is on board, or was pushed."""
    return pushed_name(run, config, wanted) or model_on_board(config, wanted)


def ensure(
    run: RunDirectory, model: str | Path | None, data: str | Path | DataSource | None, say: Callable[[str], None]
) -> tuple[str | None, str | None]:
    """Have a model and data on board; what they are called there (None for what was not named).

    Raises what `stow` raises for files that are not there or cannot be worked on, UsageError for a name that something
    else on board has.
    """
    config = read_config(run.path)
    models: list[str] = []
    sources: list[DataSource] = []
    model_name = None if model is None else _known_model(run, config, str(model))
    if model is not None and model_name is None:
        models.append(str(model))
    source = data if data is None or isinstance(data, DataSource) else data_source(data, os.environ)
    dataset = None if source is None else source.name
    if source is not None and not is_on_board(config, source):
        sources.append(source)
    if models or sources:
        store = model_store(os.environ)
        for name in models:
            store.resolve(name)
        check_device(config.scenario.device, tuple(Path(name).stem for name in models))
        what = ", ".join([*models, *(source.label for source in sources)])
        say(f"putting on board: {what}")
        search = SceneSearch.from_environment(os.environ)
        cargo = stow(run, Mesh(config.scenario), models, sources, store, search, say)
        with SupervisorClient(run) as supervisor:
            supervisor.load(cargo)
        if cargo.models:
            model_name = cargo.models[0].entry.name
    return model_name, dataset
