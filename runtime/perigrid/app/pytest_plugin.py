"""How does a user test her own job over failing links?

pytest loads this plugin wherever perigrid is installed. A test that takes the fixture `constellation` gets one that is
up and whole; the marker of the same name says which, and how long it is shared:

    @pytest.mark.constellation("three-body-12", scope="module", data="tiles.npy")
    def test_a_cut_laser_changes_nothing(constellation, assert_exactly_once):
        job = constellation.submit()
        constellation.cut("sat-03", "sat-04")
        assert_exactly_once(job, limit_s=30)

Tests that share one find it mended: cuts healed, lost satellites rebooted. When a test has failed, the event log and
the report of its constellation are kept in a folder of the test's name.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEFAULT_SCENARIO = "three-body-12"
DEFAULT_ARTEFACTS = "perigrid-failures"
SCOPES = ("function", "class", "module", "session")
MAX_SHARED = 4
"""Constellations that are up at once; the one that was used longest ago makes room."""

MAX_FOLDER_LETTERS = 120
"""A test whose name is longer is told from others by the digest of the rest: no file system takes any name."""

MARKER = (
    'constellation(scenario="three-body-12", *, scope="function", **options): which constellation the fixture '
    "`constellation` brings up (a preset, a .toml file or a Scenario; options are those of perigrid.launch), and how "
    "long it is shared: function, class, module or session."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where the artefacts of failed tests go."""
    parser.addini("perigrid_artefacts", "folder for event logs and reports of failed tests", default=DEFAULT_ARTEFACTS)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep what happened while it is there: a failed test's constellation may be gone a moment later."""
    outcome: Any = yield
    report = outcome.get_result()
    constellation = getattr(item, "funcargs", {}).get("constellation")
    # Another fixture may have that name too.
    if report.when == "call" and report.failed and type(constellation).__module__.startswith("perigrid."):
        folder = item.config.rootpath / item.config.getini("perigrid_artefacts") / _folder_name(item.nodeid)
        report.sections.append(("perigrid", keep_artefacts(constellation, folder)))


@pytest.fixture
def constellation(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A constellation that is up and whole, as the marker `constellation` says; a perigrid.Constellation."""
    shared = Shared.of(request.config)
    found = shared.give(request.node)
    yield found
    if _wish(request.node)[1] != "function":
        shared.mend(found)


@pytest.fixture
def assert_exactly_once() -> Callable[..., Any]:
    """The function perigrid.assert_exactly_once."""
    from perigrid.app.exactly_once import assert_exactly_once

    return assert_exactly_once


class Shared:
    """The constellations that are up for tests, by what their markers say and whom they are shared by."""

    KEY = pytest.StashKey["Shared"]()

    def __init__(self) -> None:
        self._up: dict[tuple[str, str], Any] = {}

    @classmethod
    def of(cls, config: pytest.Config) -> Shared:
        """The one of a test session."""
        if cls.KEY not in config.stash:
            config.stash[cls.KEY] = cls()
        return config.stash[cls.KEY]

    def give(self, item: pytest.Item) -> Any:
        """The constellation of a test, brought up where it is not up yet."""
        scenario, scope, options = _wish(item)
        owner = _owner(item, scope)
        key = (owner.nodeid, repr((scenario, sorted(options.items(), key=lambda pair: pair[0]))))
        found = self._up.pop(key, None)
        if found is None:
            while len(self._up) >= MAX_SHARED:
                self._end(next(iter(self._up)))
            found = self._launch(item, scenario, options)
            owner.addfinalizer(lambda: self._end(key))
        self._up[key] = found
        return found

    def mend(self, found: Any) -> None:
        """Make a constellation whole for the next test; one that cannot be is not given to another."""
        import perigrid

        try:
            found.restore()
        except perigrid.PerigridError:
            for key in [key for key, each in self._up.items() if each is found]:
                self._end(key)

    def _launch(self, item: pytest.Item, scenario: Any, options: dict[str, Any]) -> Any:
        import perigrid

        factory: pytest.TempPathFactory = item.config._tmp_path_factory  # type: ignore[attr-defined]
        root = factory.mktemp("constellation")
        return perigrid.launch(scenario, **{"root": root, **options})

    def _end(self, key: tuple[str, str]) -> None:
        found = self._up.pop(key, None)
        if found is not None:
            found.down()


def keep_artefacts(constellation: Any, folder: Path) -> str:
    """Copy a run's event log into a folder and write its report there; what is said of it in the test's report."""
    import perigrid

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kept = []
    log = constellation.directory / "events.jsonl"
    if log.is_file():
        shutil.copyfile(log, folder / log.name)
        kept.append(log.name)
    try:
        kept.append(constellation.report(folder / "report.html").name)
    except perigrid.PerigridError as error:
        (folder / "no-report.txt").write_text(f"{error}\n")
        kept.append("no-report.txt")
    return f"kept in {folder}: {', '.join(kept)}"


def _wish(item: pytest.Item) -> tuple[Any, str, dict[str, Any]]:
    """What the nearest marker says: scenario, scope, options of perigrid.launch."""
    marker = item.get_closest_marker("constellation")
    if marker is None:
        return DEFAULT_SCENARIO, "function", {}
    options = dict(marker.kwargs)
    scope = options.pop("scope", "function")
    if scope not in SCOPES:
        raise pytest.UsageError(f"{item.nodeid}: marker constellation: scope {scope!r}; there are {', '.join(SCOPES)}.")
    if len(marker.args) > 1 or (marker.args and "scenario" in options):
        raise pytest.UsageError(f"{item.nodeid}: marker constellation: give one scenario, and options by name.")
    scenario = marker.args[0] if marker.args else options.pop("scenario", DEFAULT_SCENARIO)
    return scenario, scope, options


def _owner(item: pytest.Item, scope: str) -> pytest.Item | pytest.Collector:
    """The node whose end is a constellation's end."""
    kinds: dict[str, type[pytest.Item] | type[pytest.Collector]] = {
        "class": pytest.Class,
        "module": pytest.Module,
        "session": pytest.Session,
    }
    if scope == "function":
        return item
    # A test that is in no class shares with itself alone.
    return item.getparent(kinds[scope]) or item


def _folder_name(nodeid: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", nodeid).strip("-")
    if len(name) <= MAX_FOLDER_LETTERS:
        return name
    return f"{name[:MAX_FOLDER_LETTERS]}-{hashlib.sha256(nodeid.encode(errors='replace')).hexdigest()[:8]}"
