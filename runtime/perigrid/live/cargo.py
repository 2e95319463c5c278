"""Which models and data go on board, and where do they lie?

Before a run starts, or while it is up, a user's wish for models and data becomes files in the run directory and
words that all processes understand: checked models, captures in the flash of the satellites that took them, and a note
of each input with its sha256. Everything that can be wrong with them is found here, before a process hears of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from perigrid.errors import DataError, EnvironmentProblem, ModelError, ScenarioError, UsageError
from perigrid.job.masks import windows
from perigrid.job.shards import next_in_ring, share_out, share_out_stack
from perigrid.job.spec import Capture, plain_model
from perigrid.live.config import Cargo, InputFile, ModelFile, RunConfig
from perigrid.live.flash import CAPTURE_SUFFIX
from perigrid.live.models import ModelStore, file_sha256
from perigrid.live.pipeline import own_entry
from perigrid.live.rundir import RunDirectory
from perigrid.live.scenes import Scene, SceneSearch, load_scene
from perigrid.live.stacks import Stack, is_stack, load_stack
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import DataSource
from perigrid.units import NodeId

Say = Callable[[str], None]


def stow(
    run: RunDirectory,
    mesh: Mesh,
    models: Sequence[str],
    data: Sequence[DataSource],
    store: ModelStore,
    search: SceneSearch,
    say: Say,
) -> Cargo:
    """Put models and data into a run directory: the names of models, or paths of .onnx files, and data sources.

    Raises what ModelStore.resolve, load_scene and load_stack raise, ScenarioError for two of one name.
    """
    files, inputs, preloaded = _stow_models(run, models, store)
    captures: list[Capture] = []
    for source in data:
        name = source.name
        _check_data_name(name, source.label)
        if any(capture.dataset == name for capture in captures):
            raise ScenarioError(f"data {source.label}: two datasets have the name {name!r}; rename one's file.")
        if source.file is not None and is_stack(source.file):
            stack = load_stack(Path(source.file))
            inputs.append(_keep_stack(run, source, stack))
            shares = _stack_shares(source, stack, mesh)
            _write(run, mesh, shares, source, lambda c, stack=stack: stack.tiles[c.tiles[0] : c.tiles[-1] + 1])  # type: ignore[misc]
        else:
            scene = load_scene(source.label, search)
            say(f"scene {source.label}: {scene.source}")
            inputs.append(_keep_scene(run, source, scene))
            shares = _scene_shares(source, scene, mesh)
            _write(run, mesh, shares, source, lambda c, scene=scene: _rows_of(scene, c))  # type: ignore[misc]
        captures += shares
        if source.preload_replicas:
            preloaded.append(f"copies of the captures of {name} on their replicas")
    return Cargo(
        models=tuple(files),
        captures=tuple(captures),
        inputs=tuple(inputs),
        preloaded=tuple(preloaded),
        sources=tuple(data),
    )


def is_on_board(config: RunConfig, source: DataSource) -> bool:
    """Whether these very data are on board; UsageError where others of that name are."""
    name = source.name
    known = next((file for file in config.inputs if file.kind == "data" and file.name == name), None)
    if known is None:
        return False
    path = Path(source.label)
    if source.file is not None and is_stack(source.file):
        # The run's copy of a folder of tiles is one file, so their tiles are compared.
        same = Path(known.path).is_file() and load_stack(path).sha256() == load_stack(Path(known.path)).sha256()
    else:
        same = source.file is None or (path.is_file() and file_sha256(path) == known.sha256)
    if not same:
        raise UsageError(f"other data named {name!r} are on board (of {known.label}); rename {source.label}.")
    return True


def model_on_board(config: RunConfig, name: str) -> str | None:
    """The name on board of a model that a user names, or whose .onnx file; UsageError where another has that name."""
    if name in config.model_names:
        return name
    if not name.endswith(".onnx"):
        return None
    path = Path(name)
    known = next((file for file in config.inputs if file.kind == "model" and file.name == path.stem), None)
    if known is None:
        return None
    if not path.is_file() or file_sha256(path) != known.sha256:
        raise UsageError(f"another model named {path.stem!r} is on board (of {known.label}); rename {name}.")
    return known.name


def _stow_models(
    run: RunDirectory, names: Sequence[str], store: ModelStore
) -> tuple[list[ModelFile], list[InputFile], list[str]]:
    files: list[ModelFile] = []
    inputs: list[InputFile] = []
    for name in names:
        path = store.resolve(name).resolve()
        if store.knows(name):
            entry = store.entry(name)
        else:
            path = _copy(path, run.path / "inputs" / path.name)
            entry = msgspec.structs.replace(own_entry(path), sha256=file_sha256(path))
            _check_model_name(entry.name, name)
        files.append(ModelFile(entry, str(path)))
        inputs.append(
            InputFile(kind="model", name=entry.name, label=name, sha256=entry.sha256, path=str(path)),
        )
    known = [file.entry.name for file in files]
    if len(set(known)) < len(known):
        raise ScenarioError(f"models {', '.join(known)}: two have the same name; rename one's file.")
    preloaded = [f"models on every satellite: {', '.join(known)}"] if known else []
    return files, inputs, preloaded


def _check_model_name(name: str, label: str) -> None:
    """ModelError for a model that is called like a form of another."""
    if plain_model(name) != name:
        raise ModelError(
            f"{label}: a model named {name!r} would be taken for a form of {plain_model(name)!r}; rename the file."
        )


def _check_data_name(name: str, label: str) -> None:
    """DataError for data whose path has no name to call them by."""
    if not name.strip("."):
        raise DataError(f"data {label}: the path ends without a name; give the folder's own, such as ../tiles.")


def _keep_stack(run: RunDirectory, source: DataSource, stack: Stack) -> InputFile:
    path = run.path / "inputs" / f"{source.name}.npy"
    _guard(lambda: np.save(path, stack.tiles), path)
    return InputFile(
        kind="data",
        name=source.name,
        label=source.label,
        sha256=file_sha256(path),
        path=str(path),
        sources=stack.sources,
    )


def _keep_scene(run: RunDirectory, source: DataSource, scene: Scene) -> InputFile:
    path = Path(scene.source)
    if source.file is not None:
        path = _copy(path, run.path / "inputs" / path.name)
    return InputFile(kind="data", name=source.name, label=source.label, sha256=scene.sha256, path=str(path))


def _scene_shares(source: DataSource, scene: Scene, mesh: Mesh) -> tuple[Capture, ...]:
    bands, height, width = scene.bands.shape
    corners = windows(height, width, source.tile_px, source.stride_px)
    if source.tiles is not None:
        corners = corners[: source.tiles]
    if not len(corners):
        raise DataError(f"data source {source.label}: no tile fits; lower tile_px or raise tiles.")
    pairs = [(int(row), int(column)) for row, column in corners]
    return share_out(
        source.name,
        (bands, height, width),
        pairs,
        source.tile_px,
        mesh.satellite_ids,
        lambda n: next_in_ring(n, mesh.laser_neighbours(n), source.replicas),
        lambda n: mesh.names[n],
    )


def _stack_shares(source: DataSource, stack: Stack, mesh: Mesh) -> tuple[Capture, ...]:
    count = len(stack.tiles) if source.tiles is None else min(source.tiles, len(stack.tiles))
    return share_out_stack(
        source.name,
        count,
        stack.dtype,
        stack.tiles.shape[1:],
        mesh.satellite_ids,
        lambda n: next_in_ring(n, mesh.laser_neighbours(n), source.replicas),
        lambda n: mesh.names[n],
    )


def _rows_of(scene: Scene, capture: Capture) -> NDArray[Any]:
    return scene.bands[:, capture.first_row : capture.first_row + capture.height_px, :]


def _write(
    run: RunDirectory,
    mesh: Mesh,
    shares: tuple[Capture, ...],
    source: DataSource,
    part_of: Callable[[Capture], NDArray[Any]],
) -> None:
    for capture in shares:
        share = np.ascontiguousarray(part_of(capture))
        holders: tuple[NodeId, ...] = (capture.owner, *(capture.replicas if source.preload_replicas else ()))
        for holder in holders:
            folder = run.path / "flash" / mesh.names[holder] / "captures"
            path = folder / f"{capture.name}{CAPTURE_SUFFIX}"

            def write(folder: Path = folder, path: Path = path, share: NDArray[Any] = share) -> None:
                folder.mkdir(parents=True, exist_ok=True)
                share.tofile(path)

            _guard(write, path)


def _copy(source: Path, target: Path) -> Path:
    if source.resolve() != target.resolve():
        _guard(lambda: shutil.copyfile(source, target), target)
    return target


def _guard(call: Callable[[], Any], path: Path) -> None:
    try:
        call()
    except OSError as error:
        raise EnvironmentProblem(
            f"{path} cannot be written ({error.strerror}); free some space, or name another --root."
        ) from error
