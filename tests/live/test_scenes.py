"""Is imagery found where it should be, read as reflectance, and refused when it cannot be worked on?"""

import hashlib
import http.server
import io
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from perigrid.errors import CorruptFile, DataError, MissingFile
from perigrid.live import scenes
from perigrid.live.models import STANDARD_BANDS, locate_in_package
from perigrid.live.scenes import SceneSearch, load_scene

ENTRY = """
scenes_version = 1
[scene.probe]
title = "random numbers"
file = "probe.npz"
format = "npz"
url = "{url}"
sha256 = "{digest}"
shape = [256, 260, 4]
bands = ["blue", "green", "red", "nir"]
scale = 2.0
licence = "none"
source = "this test"
labels = [2, 0, 0, 0, 1]
"""


def saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).random((256, 260, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def labelled(image):
    labels = np.random.default_rng(2).integers(0, 5, (256, 260, 1)).astype(np.uint8)
    return saved(img=image, msk=labels), labels


def search_in(tmp_path: Path, content: bytes, url: str = "http://127.0.0.1:9/probe.npz") -> SceneSearch:
    folder = tmp_path / "manifest"
    folder.mkdir(exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "scenes.toml").write_text(ENTRY.format(url=url, digest=digest))
    return SceneSearch(folder, (tmp_path / "data",), tmp_path / "cache")


def own_file(tmp_path: Path, **arrays: np.ndarray) -> str:
    path = tmp_path / "own.npz"
    path.write_bytes(saved(**arrays))
    return str(path)


@pytest.fixture
def search(tmp_path):
    return search_in(tmp_path, b"")


@pytest.mark.parametrize("place", ["data", "cache/scenes"])
def test_a_known_scene_is_found_scaled_and_labelled(tmp_path, image, labelled, place):
    content, labels = labelled
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "probe.npz").write_bytes(content)
    scene = load_scene("probe", search_in(tmp_path, content))
    assert np.array_equal(scene.bands, image.transpose(2, 0, 1) / np.float32(2))
    assert scene.bands.flags["C_CONTIGUOUS"]
    assert scene.band_names == STANDARD_BANDS[:4]
    assert np.array_equal(scene.labels, np.array([2, 0, 0, 0, 1])[labels[:, :, 0]])
    assert scene.sha256 == hashlib.sha256(content).hexdigest()
    assert scene.source == str(tmp_path / place / "probe.npz")


def test_a_changed_file_is_refused(tmp_path, labelled):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "probe.npz").write_bytes(labelled[0] + b" ")
    with pytest.raises(CorruptFile, match="sha256"):
        load_scene("probe", search_in(tmp_path, labelled[0]))


def test_a_scene_that_is_not_here_says_how_to_get_it(tmp_path, labelled):
    with pytest.raises(MissingFile, match="PERIGRID_DATA"):
        load_scene("probe", search_in(tmp_path, labelled[0]))


def test_an_unknown_scene_is_answered_with_the_nearest(search):
    with pytest.raises(DataError, match="did you mean 'probe'"):
        load_scene("prob", search)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A web server on loopback that serves a folder."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/probe.npz"
        server.shutdown()
        thread.join(timeout=10)


def test_a_scene_is_fetched_into_the_cache_with_progress(tmp_path, site, labelled):
    folder, url = site
    content = labelled[0]
    (folder / "probe.npz").write_bytes(content)
    search, told = search_in(tmp_path, content, url), []
    scene = load_scene("probe", search, download=True, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(content), len(content))
    (folder / "probe.npz").unlink()
    assert np.array_equal(load_scene("probe", search).bands, scene.bands)


def test_what_is_fetched_is_checked_and_nothing_stays(tmp_path, site, labelled):
    folder, url = site
    (folder / "probe.npz").write_bytes(b"something else")
    with pytest.raises(CorruptFile, match="another file"):
        load_scene("probe", search_in(tmp_path, labelled[0], url), download=True)
    (folder / "probe.npz").unlink()
    with pytest.raises(MissingFile, match="404"):
        load_scene("probe", search_in(tmp_path, labelled[0], url), download=True)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_fetching_is_bounded(tmp_path, site, labelled, monkeypatch):
    folder, url = site
    (folder / "probe.npz").write_bytes(labelled[0])
    monkeypatch.setattr(scenes, "MAX_CAPTURE_BYTES", len(labelled[0]) - 1)
    with pytest.raises(CorruptFile, match="is more than"):
        load_scene("probe", search_in(tmp_path, labelled[0], url), download=True)


def test_nobody_at_the_url_is_said_so(tmp_path, labelled, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(MissingFile, match="check the network"):
        load_scene("probe", search_in(tmp_path, labelled[0]), download=True)


@pytest.mark.parametrize("bands", [1, 4, 6])
def test_own_files_may_have_bands_first_or_last(tmp_path, search, bands):
    image = np.random.default_rng(3).random((256, 300, bands))
    expected = image.transpose(2, 0, 1).astype(np.float32)
    for form in (image, image.transpose(2, 0, 1), image.astype(np.float32)):
        scene = load_scene(own_file(tmp_path, img=form), search)
        assert np.array_equal(scene.bands, expected)
        assert scene.band_names == STANDARD_BANDS[:bands]
        assert scene.labels is None
        assert scene.name == "own"


def poisoned(value: float) -> np.ndarray:
    image = np.zeros((4, 256, 256), np.float64)
    image[2, 7, 9] = value
    image[3, 1, 1] = np.nan
    return image


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (poisoned(np.nan), "band red holds nan at row 7, column 9"),
        (poisoned(np.inf), "band red holds inf at row 7, column 9"),
        (poisoned(1e300), "band red holds inf at row 7, column 9"),
        (np.zeros((256, 256)), "2 dimensions"),
        (np.zeros((7, 256, 256)), "7 bands"),
        (np.zeros((4, 255, 256)), "less than a tile"),
        (np.zeros((4, 256, 256), np.complex64), "no real numbers"),
        (np.full((4, 256, 256), "a"), "no real numbers"),
        (np.full((4, 256, 256), None), "Python objects"),
    ],
    ids=["nan", "inf", "overflow", "flat", "bands", "small", "complex", "text", "objects"],
)
def test_what_is_no_capture_is_refused(tmp_path, search, image, error):
    with pytest.raises(DataError, match=error):
        load_scene(own_file(tmp_path, img=image), search)


def test_a_file_without_the_key_names_what_it_has(tmp_path, search):
    with pytest.raises(DataError, match=r"no array 'img' \(it has: picture\)"):
        load_scene(own_file(tmp_path, picture=np.zeros(3)), search)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, search, content):
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"own\.npz is not an \.npz file"):
        load_scene(str(path), search)


def test_a_header_that_promises_too_much_is_refused_before_it_is_unpacked(tmp_path, search):
    header = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": (6, 2**20, 2**20)}
    np.lib.format.write_array_header_1_0(header, description)
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("img.npy", header.getvalue())
    with pytest.raises(DataError, match="cut it first"):
        load_scene(str(path), search)


def test_the_size_of_a_capture_is_bounded(tmp_path, search, monkeypatch):
    image = np.zeros((4, 256, 256), np.float32)
    path = own_file(tmp_path, img=image)
    monkeypatch.setattr(scenes, "MAX_CAPTURE_BYTES", image.nbytes)
    load_scene(path, search)
    monkeypatch.setattr(scenes, "MAX_CAPTURE_BYTES", image.nbytes - 1)
    with pytest.raises(DataError, match="cut"):
        load_scene(path, search)


def test_a_missing_own_file_is_said_so(tmp_path, search):
    with pytest.raises(MissingFile, match=r"nowhere\.npz"):
        load_scene(str(tmp_path / "nowhere.npz"), search)


def test_the_environment_names_the_folders(tmp_path):
    named = SceneSearch.from_environment({"PERIGRID_DATA": "/d", "PERIGRID_CACHE": "/c"})
    assert named.data == (Path("/d"), Path("/d/scenes"))
    assert named.cache == Path("/c")
    assert SceneSearch.from_environment({"HOME": "/home/someone"}).data == ()


def test_a_list_of_another_version_is_refused(tmp_path, search):
    (tmp_path / "manifest" / "scenes.toml").write_text("scenes_version = 2")
    with pytest.raises(CorruptFile, match="scenes_version 2"):
        load_scene("probe", search)


def test_the_scene_of_the_package_is_reflectance():
    search = SceneSearch.from_environment({"HOME": "/nonexistent"})
    entry = search.known()["spyndex"]
    if locate_in_package(entry.package, entry.file) is None:
        pytest.skip("spyndex is not installed: pip install 'perigrid[eo]'")
    scene = load_scene("spyndex", search)
    assert scene.bands.shape == (4, 300, 300)
    assert 0 < scene.bands.min() < scene.bands.max() < 1
    assert scene.labels is None


@pytest.mark.scenes
@pytest.mark.parametrize(
    ("name", "shares"), [("sentinel2", [183964, 49597, 28583]), ("landsat5", [115727, 85929, 60488])]
)
def test_the_labelled_scenes(name, shares):
    search = SceneSearch.from_environment(os.environ)
    if not any((folder / f"{name}.npz").is_file() for folder in search.data):
        pytest.skip("the labelled scenes are not on this machine: name their folder in PERIGRID_DATA")
    scene = load_scene(name, search)
    assert scene.bands.shape == (6, 512, 512)
    assert np.bincount(scene.labels.ravel()).tolist() == shares
