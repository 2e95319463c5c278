"""Is the latency report a page that people can read, in a real browser, on any screen?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from perigrid.bench.latency.rows import Arm, Origin
from perigrid.bench.latency.summary import summarise
from perigrid.report.latency.page import page
from tests.bench.latency_runs import Wish, made_run
from tests.report.browser import browser, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

WIDTHS_PX = (400, 1280)
SCHEMES = ("light", "dark")
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
OPEN_ALL = "() => document.querySelectorAll('details').forEach(d => { d.open = true })"
SMALL_TEXT = """() => [...document.querySelectorAll('svg text')].filter(t => t.getBoundingClientRect().height > 0
    && t.getBoundingClientRect().height < 9).map(t => t.textContent)"""
CUT_TEXT = """() => [...document.querySelectorAll('.ends text, .bar-line text, svg.ticks text, .in-bar')].filter(t => {
    const box = t.getBoundingClientRect(), svg = t.ownerSVGElement;
    const visible = getComputedStyle(svg).overflow === 'visible';
    const room = (visible ? document.documentElement : svg).getBoundingClientRect();
    return box.width > 0 && (box.right > room.right + 1 || box.left < room.left - 1);
}).map(t => t.textContent)"""
CURVES = "() => [...document.querySelectorAll('polyline')].map(c => c.getBoundingClientRect().width)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all pages."""
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all arms, faults, an invalid series and a searched rate."""
    path = tmp_path_factory.mktemp("latency") / "report.html"
    wish = Wish(
        rate_per_s=2.0,
        origins=(Origin.BOARD,),
        invalid=("server board cascade",),
        also_virtual=(Arm.IN_ORBIT, Arm.CASCADE),
    )
    path.write_text(page(summarise(made_run(wish))), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_it_fits_the_screen_and_can_be_read(chromium: Browser, report: Path, width_px: int, scheme: str) -> None:
    """No overflow, no request, no complaint on the console; curves that are drawn, and letters that can be read."""
    with opened(chromium, report, width_px, scheme) as page:
        assert page.evaluate(OVERFLOW) <= 0
        page.evaluate(OPEN_ALL)
        assert page.evaluate(OVERFLOW) <= 0
        assert page.evaluate(SMALL_TEXT) == []
        assert page.evaluate(CUT_TEXT) == []
        widths = page.evaluate(CURVES)
        assert len(widths) > 15
        assert max(widths) > 0.3 * width_px


@pytest.mark.parametrize(("width_px", "scheme"), list(zip(WIDTHS_PX, SCHEMES, strict=True)))
def test_nobody_is_kept_from_reading_it(chromium: Browser, report: Path, width_px: int, scheme: str) -> None:
    """No violation that axe-core calls serious or critical, with all that can be unfolded unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(chromium, report, width_px, scheme) as page:
        page.evaluate(OPEN_ALL)
        found = Axe().run(page).response["violations"]
    grave = [
        (v["id"], [node["html"][:200] for node in v["nodes"][:3]])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert grave == []


def test_light_and_dark_differ(chromium: Browser, report: Path) -> None:
    colours = []
    for scheme in SCHEMES:
        with opened(chromium, report, WIDTHS_PX[1], scheme) as page:
            colours.append(page.evaluate("() => getComputedStyle(document.querySelector('polyline')).stroke"))
    assert len(set(colours)) == 2
