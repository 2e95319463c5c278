"""Is a model's file found wherever it may be, and refused when it is not the one that the manifest names?"""

import hashlib
import zipfile
from pathlib import Path

import msgspec
import pytest

from perigrid.errors import CorruptFile, MissingFile, ModelError
from perigrid.live import models as models_module
from perigrid.live.models import STANDARD_BANDS, ModelStore, default_cache, locate_in_package, shipped_folder
from perigrid.live.pipeline import Session, load_model

WEIGHTS = b"these bytes stand for weights"
FILE = "perigrid_probe_weights/model.onnx"
OWN_ENTRY = """
manifest_version = 1
[model.probe]
title = "bytes that no runtime loads"
{place}
sha256 = "{digest}"
inputs = [{{ name = "x", dtype = "FP32", shape = [-1, 1] }}]
outputs = [{{ name = "y", dtype = "FP32", shape = [-1, 1] }}]
"""
IN_PACKAGE = f'package = "perigrid-probe-weights"\nversion = "1.0"\nfile = "{FILE}"'
BESIDE = 'file = "model.onnx"'


def store(folder: Path, place: str, content: bytes = WEIGHTS, cache: Path | None = None) -> ModelStore:
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "manifest.toml").write_text(OWN_ENTRY.format(place=place, digest=digest))
    return ModelStore(folder, cache)


def wheel(folder: Path, content: bytes, file: str = FILE) -> None:
    """A wheel by hand: pip needs no more than these files."""
    folder.mkdir(parents=True, exist_ok=True)
    info = "perigrid_probe_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / "perigrid_probe_weights-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(file, content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: perigrid-probe-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that pip takes wheels from, instead of any index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


def test_the_manifest_that_ships_is_whole():
    shipped = ModelStore()
    load_only = {"squeezenet", "densenet121", "resnet50", "vgg19"}
    assert set(shipped.names()) == {"cloudmask", "cloudmask-4b", "tinycloud", "vad", "filetype"} | load_only
    for name in shipped.names():
        entry = shipped.entry(name)
        assert entry.name == name
        assert len(entry.sha256) == 64
        assert entry.licence
        assert entry.bands == STANDARD_BANDS[: len(entry.bands)]
        assert (entry.mask is None) == (not entry.bands)
        assert entry.source.startswith("https://") or not entry.package
        if entry.normalisation is not None:
            assert len(entry.normalisation.mean) == len(entry.normalisation.std) == len(entry.bands)
            assert entry.normalisation.source


def test_our_own_model_is_the_one_in_the_manifest_and_small():
    path = ModelStore().resolve("tinycloud")
    assert path.parent == shipped_folder()
    assert path.stat().st_size <= 50_000


@pytest.mark.parametrize("name", ["cloudmask", "cloudmask-4b"])
def test_a_model_of_an_installed_package_is_found(name):
    entry = ModelStore().entry(name)
    if locate_in_package(entry.package, entry.file) is None:
        pytest.skip(f"{entry.package} is not installed: pip install 'perigrid[eo]'")
    assert ModelStore().resolve(name).name == Path(entry.file).name


def test_an_unknown_name_is_answered_with_the_nearest_and_all():
    with pytest.raises(ModelError, match=r"did you mean 'tinycloud'\? known are cloudmask, "):
        ModelStore().resolve("tinyclout")


def test_own_files_are_named_by_their_path(tmp_path):
    path = tmp_path / "mine.onnx"
    with pytest.raises(MissingFile, match=r"mine\.onnx"):
        ModelStore().resolve(str(path))
    path.write_bytes(WEIGHTS)
    assert ModelStore().resolve(str(path)) == path


def test_a_file_beside_the_manifest_is_checked(tmp_path):
    models = store(tmp_path, BESIDE)
    with pytest.raises(MissingFile, match=r"model\.onnx"):
        models.resolve("probe")
    (tmp_path / "model.onnx").write_bytes(WEIGHTS)
    assert models.resolve("probe") == tmp_path / "model.onnx"
    (tmp_path / "model.onnx").write_bytes(WEIGHTS + b"!")
    with pytest.raises(CorruptFile) as caught:
        models.resolve("probe")
    for content in (WEIGHTS, WEIGHTS + b"!"):
        assert hashlib.sha256(content).hexdigest() in str(caught.value)


def test_a_package_that_is_missing_is_named_with_the_remedy(tmp_path):
    with pytest.raises(MissingFile, match=r"pip install --no-deps perigrid-probe-weights==1\.0"):
        store(tmp_path, IN_PACKAGE).resolve("probe")


def test_a_package_of_an_extra_is_named_with_that(monkeypatch):
    monkeypatch.setattr(models_module, "locate_in_package", lambda package, file: None)
    with pytest.raises(MissingFile, match=r"pip install 'perigrid\[eo\]', or pip install --no-deps ukis-csmask==1"):
        ModelStore().resolve("cloudmask")


def test_a_wheel_is_fetched_once_and_its_file_kept(tmp_path, shelf):
    wheel(shelf, WEIGHTS)
    models = store(tmp_path / "manifest", IN_PACKAGE, cache=tmp_path / "cache")
    path = models.resolve("probe")
    assert path.read_bytes() == WEIGHTS
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == [path]
    next(shelf.iterdir()).unlink()
    assert models.resolve("probe") == path
    path.write_bytes(b"rotten")
    with pytest.raises(CorruptFile, match="delete the file"):
        models.resolve("probe")


@pytest.mark.parametrize(
    ("content", "file", "error"),
    [(b"other weights", FILE, "holds another file"), (WEIGHTS, "elsewhere.onnx", "has no ")],
)
def test_a_wheel_with_another_file_leaves_nothing_behind(tmp_path, shelf, content, file, error):
    wheel(shelf, content, file)
    models = store(tmp_path / "manifest", IN_PACKAGE, cache=tmp_path / "cache")
    with pytest.raises(CorruptFile, match=error):
        models.resolve("probe")
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_a_wheel_that_cannot_be_fetched_says_so(tmp_path, shelf):
    models = store(tmp_path / "manifest", IN_PACKAGE, cache=tmp_path / "cache")
    with pytest.raises(MissingFile, match="could not be fetched"):
        models.resolve("probe")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("manifest_version = 2", "manifest_version 2"),
        ("manifest_version = [", "not a model manifest"),
        ('manifest_version = 1\n[model.a]\ntitle = "t"', "not a model manifest"),
        ("manifest_version = 1\nmodel = 3", "not a model manifest"),
    ],
    ids=["version", "toml", "fields", "table"],
)
def test_a_manifest_that_cannot_be_understood_is_refused(tmp_path, text, error):
    (tmp_path / "manifest.toml").write_text(text)
    with pytest.raises(CorruptFile, match=error):
        ModelStore(tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(MissingFile, match=r"manifest\.toml"):
        ModelStore(tmp_path)


def test_bytes_that_are_no_model_are_refused_by_name(tmp_path):
    (tmp_path / "model.onnx").write_bytes(WEIGHTS)
    with pytest.raises(CorruptFile, match=r"model\.onnx is not a model"):
        load_model(store(tmp_path, BESIDE), "probe")


def test_a_file_with_other_tensors_than_the_manifest_is_refused():
    shipped = ModelStore()
    entry = shipped.entry("tinycloud")
    other = msgspec.structs.replace(entry, outputs=entry.inputs)
    with pytest.raises(ModelError, match="correct the entry 'tinycloud'"):
        Session(shipped.resolve("tinycloud"), other)


def test_the_cache_is_named_by_the_environment():
    assert default_cache({"PERIGRID_CACHE": "/a/b"}) == Path("/a/b")
    assert default_cache({"HOME": "/home/someone"}) == Path("/home/someone/.cache/perigrid")
