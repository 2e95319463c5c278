"""Is the documentation whole, and does a page of it ask nothing of the network?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from perigrid.app.cli import COMMANDS
from perigrid.scenario.presets import PRESET_KEYS
from tests.docs.runner import ROOT

BUILD_LIMIT_S = 120.0
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""Tags that make a browser fetch something -> the attribute that says what."""

HARMLESS = {"canonical", "prev", "next"}
"""Kinds of <link> that nothing is fetched for."""

URL_IN_STYLE = re.compile(r"url\(\s*['\"]?(https?:)?//|@import\s+['\"]?(https?:)?//")


class Requests(HTMLParser):
    """Collects what a page makes a browser fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        address = values.get(LOADING.get(tag, "")) or ""
        if values.get("rel") not in HARMLESS and re.match(r"(https?:)?//", address):
            self.found.append(f"{tag} {address}")


def build(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the documentation of a checkout as `make docs` does."""
    # Not --quiet: what is not logged is not counted as a warning, and --strict lets it pass.
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=source,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "runtime")},
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


@pytest.mark.parametrize(
    ("page", "text", "named"),
    [
        ("index.md", "[nowhere](nowhere.md)", "nowhere.md"),
        ("index.md", "[no such part](tutorial.md#no-such-part)", "no-such-part"),
        ("forgotten.md", "# A page that is in no menu", "forgotten.md"),
        ("index.md", "::: perigrid.app.nowhere", "perigrid.app.nowhere"),
    ],
)
def test_a_warning_stops_the_build(page: str, text: str, named: str, tmp_path: Path) -> None:
    source = tmp_path / "checkout"
    source.mkdir()
    for path in ROOT.iterdir():
        if path.name != "docs":
            (source / path.name).symlink_to(path)
    shutil.copytree(ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    with (source / "docs" / page).open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")
    done = build(source, tmp_path / "site")
    assert done.returncode != 0
    assert named in done.stderr


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        reader = Requests()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.found == [], page
    for style in site.rglob("*.css"):
        assert not URL_IN_STYLE.search(style.read_text(encoding="utf-8")), style


def test_every_command_and_every_table_has_its_place(site: Path) -> None:
    commands = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f'id="perigrid-{name}"' not in commands] == []
    scenario = (site / "reference" / "scenario.html").read_text(encoding="utf-8")
    assert [key for key in PRESET_KEYS if f">{key}<" not in scenario and f'id="{key}"' not in scenario] == []
    assert "number, km" in scenario


def test_every_decision_is_listed(site: Path) -> None:
    listed = (site / "decisions" / "index.html").read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "decisions").glob("*.md"):
        assert f'href="{path.stem}.html"' in listed
