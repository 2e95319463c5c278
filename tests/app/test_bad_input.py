"""Is bad input refused before anything is started, with one paragraph, a remedy and the right exit code?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perigrid.app.cli import run_command
from perigrid.app.scenarios import parse, shipped_presets
from perigrid.errors import CorruptFile
from perigrid.live.launch import LaunchOptions
from perigrid.live.models import ModelStore, shipped_folder
from perigrid.live.prepare import prepare
from perigrid.live.rundir import RunDirectory

HEAD = 'preset = "three-body-12"\n'
TINY = HEAD + 'models = ["tinycloud"]\n'
DARK_PROXY = "http://127.0.0.1:9"
"""Nothing listens on the discard port: whatever would be fetched fails at once."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, without scenes, cache or network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERIGRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PERIGRID_DATA", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, DARK_PROXY)


def refused(text: str, code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one paragraph of an `up` that is refused with that exit code, and left nothing behind."""
    Path("mine.toml").write_text(text)
    assert run_command(["up", "mine.toml", "--detach", "--name", "t"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert not Path("runs/t").exists()
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("perigrid: ")
    return last


def own_scene(image: object, **changes: object) -> str:
    """A scenario on a scene of one's own."""
    np.savez("mine.npz", img=image)
    keys = "".join(f"{key} = {value}\n" for key, value in changes.items())
    return f'{TINY}[[data]]\nfile = "mine.npz"\n{keys}'


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        (HEAD + 'modles = ["tinycloud"]\n', "'models'"),
        (HEAD + "[lasers]\nrate = 5\n", "rate_bps"),
        ('preset = "three-body-21"\n', "three-body-12"),
        (HEAD + "[clock]\nrate = -1\n", "clock.rate"),
        (HEAD + "models = [\n", "TOML"),
        (HEAD + 'models = ["cloudmusk"]\n', "cloudmask"),
        (TINY + '[[data]]\ndataset = "sentinel3"\n', "sentinel2"),
    ],
)
def test_a_scenario_that_says_something_wrong(text: str, needle: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert needle in refused(text, 2, capsys)


def test_a_missing_model_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone.onnx" in refused(HEAD + 'models = ["gone.onnx"]\n[[data]]\ndataset = "spyndex"\n', 3, capsys)


def test_a_corrupt_model_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.onnx").write_bytes(b"this is no model")
    text = HEAD + 'models = ["broken.onnx"]\n[[data]]\ndataset = "spyndex"\n'
    assert "broken.onnx" in refused(text, 3, capsys)


def test_a_model_that_is_not_what_the_manifest_says(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    manifest = (shipped_folder() / "manifest.toml").read_text()
    (folder / "manifest.toml").write_text(manifest)
    (folder / "tinycloud.onnx").write_bytes((shipped_folder() / "tinycloud.onnx").read_bytes()[:-1] + b"x")
    scenario = parse(TINY + '[[data]]\ndataset = "spyndex"\n', "t.toml", shipped_presets())
    run = RunDirectory.create(tmp_path / "runs", "t")
    with pytest.raises(CorruptFile, match="sha256"):
        prepare(scenario, run, ModelStore(folder), {}, LaunchOptions(), lambda _: None)
    assert CorruptFile.exit_code == 3


@pytest.mark.parametrize("shape", [(300, 300), (300, 300, 9), (100, 100, 4), (2, 300, 300, 4)])
def test_a_scene_of_the_wrong_shape(shape: tuple[int, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "mine.npz" in refused(own_scene(np.zeros(shape, np.float32)), 2, capsys)


def test_a_scene_that_holds_nan(capsys: pytest.CaptureFixture[str]) -> None:
    image = np.zeros((4, 300, 300), np.float32)
    image[1, 7, 9] = np.nan
    error = refused(own_scene(image), 2, capsys)
    assert "row 7, column 9" in error


def test_a_tile_larger_than_the_scene(capsys: pytest.CaptureFixture[str]) -> None:
    scene = own_scene(np.zeros((4, 300, 300), np.float32), tile_px=512)
    assert "512" in refused(scene, 2, capsys)


def test_missing_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert "PERIGRID_DATA" in refused(TINY + '[[data]]\ndataset = "sentinel2"\n', 3, capsys)
    assert "gone.npz" in refused(TINY + '[[data]]\nfile = "gone.npz"\n', 3, capsys)


def test_data_that_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERIGRID_DATA", str(tmp_path))
    (tmp_path / "sentinel2.npz").write_bytes(b"something else")
    assert "sha256" in refused(TINY + '[[data]]\ndataset = "sentinel2"\n', 3, capsys)


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["up", "gone.toml"]) == 3
    assert "gone.toml" in capsys.readouterr().err
    Path("binary.toml").write_bytes(b"\xff\xfe\x00")
    assert run_command(["up", "binary.toml"]) == 2
    assert "UTF-8" in capsys.readouterr().err
    Path("root").write_text("a file, not a folder")
    assert run_command(["up", "three-body-12", "--root", "root"]) == 2
