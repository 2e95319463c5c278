"""Is everything in the wheel and in the sdist, and does the sdist build the same wheel?"""

from __future__ import annotations

import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from perigrid.app.doctor import PACKAGES
from perigrid.live.models import shipped_folder
from tests.packaging.conftest import ROOT, build

RUNTIME = ROOT / "runtime" / "perigrid"
SHIPPED_MODELS = ("manifest.toml", "scenes.toml", "tinycloud.onnx")
MAX_WHEEL_BYTES = 3_000_000
"""More would mean that weights or scenes of others had come in."""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    return build(tmp_path_factory.mktemp("sdist"))


def contents(wheel: Path) -> dict[str, bytes]:
    """Name -> bytes of a wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: Path) -> Message:
    """A wheel's metadata."""
    return message_from_bytes(next(b for name, b in contents(wheel).items() if name.endswith(".dist-info/METADATA")))


def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path) -> None:
    (again,) = sdist.glob("*.whl")
    first, second = contents(wheel), contents(again)
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_the_wheel_has_the_package_and_its_data(wheel: Path) -> None:
    found = contents(wheel)
    expected = {
        path.relative_to(RUNTIME.parent).as_posix()
        for path in RUNTIME.rglob("*")
        if path.is_file() and path.suffix in {".py", ".pyi", ".toml", ".typed"}
    }
    assert expected <= set(found)
    assert "perigrid/py.typed" in found
    assert not [name for name in found if "__pycache__" in name or name.endswith(".pyc")]
    models = {name.removeprefix("perigrid/_models/"): b for name, b in found.items() if "/_models/" in name}
    assert models == {name: (shipped_folder() / name).read_bytes() for name in SHIPPED_MODELS}
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def test_the_metadata_is_complete(wheel: Path) -> None:
    found = metadata(wheel)
    assert found["Name"] == "perigrid"
    assert found["Author"] == "perigrid contributors"
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Requires-Python"] == ">=3.11"
    assert found["Keywords"]
    assert "Typing :: Typed" in found.get_all("Classifier", [])
    assert {"eo", "parquet", "dev"} <= set(found.get_all("Provides-Extra", []))
    assert str(found.get_payload()).startswith("# perigrid")


def test_the_doctor_looks_for_every_package_that_is_required(wheel: Path) -> None:
    required = metadata(wheel).get_all("Requires-Dist", [])
    names = {line.split(">=")[0] for line in required if "extra ==" not in line}
    assert names == set(PACKAGES)


def test_the_sdist_has_what_the_checkout_has(sdist: Path) -> None:
    (archive,) = sdist.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for folder in ("runtime", "models", "protos", "tests", "tools", "deploy", "docs"):
        files = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and "runs" not in path.parts
        }
        assert files - names == set()
    assert {"pyproject.toml", "Makefile", "README.md", "LICENSE", "mkdocs.yml", "CHANGELOG.md"} <= names
    assert not [name for name in names if name.startswith((".venv", "runs", "dist", "site")) or "__pycache__" in name]
