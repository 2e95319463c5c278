"""Is the report a page that people can read, in a real browser, on any screen?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perigrid.report.page import write_report
from tests.report.browser import browser, chromium_path, opened
from tests.report.made_runs import JOB, Wish, made_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

WIDTHS_PX = (400, 1000, 1600)
SCHEMES = ("light", "dark")

FIGURES = "() => [...document.querySelectorAll('data[data-figure]')].map(e => [e.dataset.figure, e.value, e.innerText])"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
PICTURES = "() => [...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight])"
OPEN_ALL = "() => document.querySelectorAll('details').forEach(d => { d.open = true })"
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all pages."""
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def report(calm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a job with failures."""
    return write_report(calm_run, None, tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_it_fits_any_screen_and_asks_for_nothing(chromium: Browser, report: Path, width_px: int, scheme: str) -> None:
    with opened(chromium, report, width_px, scheme) as page:
        assert page.evaluate(OVERFLOW) <= 0
        assert page.evaluate(PICTURES) == [[True, 512, 512], [True, 512, 512]]
        page.evaluate(OPEN_ALL)
        assert page.evaluate(OVERFLOW) <= 0


def test_light_and_dark_differ(chromium: Browser, report: Path) -> None:
    colours = []
    for scheme in SCHEMES:
        with opened(chromium, report, WIDTHS_PX[1], scheme) as page:
            colours.append(page.evaluate(BACKGROUND))
    assert len(set(colours)) == 2


def test_it_states_the_figures_of_the_outcome(chromium: Browser, report: Path, calm_run: Path) -> None:
    outcome = json.loads((calm_run / "results" / JOB / "outcome.json").read_bytes())
    with opened(chromium, report, WIDTHS_PX[1], "light") as page:
        machine = page.evaluate("() => JSON.parse(document.getElementById('figures').textContent)")
        page.evaluate(OPEN_ALL)
        figures = page.evaluate(FIGURES)
        badge = page.inner_text("header .badge")
    assert machine == outcome
    assert "VALID FOR LATENCY" in badge
    assert "INVALID" not in badge
    shown = {name: text for name, _, text in figures}
    for name, exact, text in figures:
        value: Any = outcome
        for part in name.split("."):
            value = value[part]
        assert (exact if isinstance(value, str) else json.loads(exact)) == value, name
        assert text.strip(), name
    assert (shown["accepted"], shown["shards"]) == (str(outcome["accepted"]), str(outcome["shards"]))
    assert shown["result_sha256"] == outcome["result_sha256"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width_px", (WIDTHS_PX[0], WIDTHS_PX[1]))
def test_nobody_is_kept_from_reading_it(chromium: Browser, report: Path, width_px: int, scheme: str) -> None:
    """No violation that axe-core calls serious or critical, with all that can be unfolded unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(chromium, report, width_px, scheme) as page:
        page.evaluate(OPEN_ALL)
        found = Axe().run(page).response["violations"]
    grave = [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in found if is_grave(v)]
    assert grave == []


def is_grave(violation: dict[str, Any]) -> bool:
    return violation["impact"] in ("serious", "critical")


def test_axe_would_have_found_a_grave_fault(chromium: Browser, report: Path, tmp_path: Path) -> None:
    """The check above can fail: grey on grey and a picture without words are found."""
    from axe_playwright_python.sync_playwright import Axe

    broken = tmp_path / "broken.html"
    text = (
        report.read_text(encoding="utf-8")
        .replace("--soft: #505c69", "--soft: #cccccc")
        .replace(' alt="', ' data-alt="')
    )
    broken.write_text(text, encoding="utf-8")
    with opened(chromium, broken, WIDTHS_PX[1], "light") as page:
        found = Axe().run(page).response["violations"]
    assert {"color-contrast", "image-alt"} <= {v["id"] for v in found if is_grave(v)}


def test_it_is_used_with_the_keyboard(chromium: Browser, report: Path) -> None:
    """Tab reaches the contents, the folded parts and what scrolls; Enter unfolds."""
    with opened(chromium, report, WIDTHS_PX[1], "light") as page:
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            name = page.evaluate("() => document.activeElement.ariaLabel || document.activeElement.innerText")
            reached.add(" ".join(name.split())[:40])
            if name.startswith("Each link"):
                page.keyboard.press("Enter")
                break
        unfolded = page.evaluate("() => document.activeElement.parentElement.open")
    assert {"Constellation", "All figures", "Timeline of the shards", "Latency by part"} <= reached
    assert unfolded


def test_ten_thousand_shards_are_opened(chromium: Browser, tmp_path: Path) -> None:
    path = write_report(made_run(tmp_path, Wish(shards=10_000, failing=5)), None, None)
    with opened(chromium, path, WIDTHS_PX[0], "dark") as page:
        assert page.evaluate(OVERFLOW) <= 0
        assert "Showing 400 of 10,000 shards" in page.inner_text("main")


@pytest.mark.parametrize(("ci", "ending"), [("true", "fail"), ("", "skip")])
def test_without_a_browser_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, ci: str, ending: str) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    outcome = pytest.fail.Exception if ending == "fail" else pytest.skip.Exception
    with pytest.raises(outcome, match="apt-get install chromium"):
        chromium_path()
