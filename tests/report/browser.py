"""Where does a real browser come from?

A report is a page, so it is tested in the browser that people use. Chromium is the distribution's: where it is missing,
and this is a Debian machine that we may change, it is installed once; else the tests say what to do. In CI they fail
without it, on a desk they are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL_LIMIT_S = 600
HEIGHT_PX = 900
LIMIT_MS = 30_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REMEDY = (
    "install it with `apt-get install chromium fonts-dejavu-core`, or leave these tests out with `-m 'not browser'`"
)


def chromium_path() -> str:
    """The browser's executable, installed first where it is missing; else the test is skipped, or fails in CI."""
    found = _find() or _install()
    if found is None:
        message = f"there is no Chromium on this machine: {REMEDY}."
        if os.environ.get("CI", "").casefold() in ("1", "true"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium, which is gone at the end."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def opened(chromium: Browser, path: Path, width_px: int, scheme: Any) -> Iterator[Page]:
    """The page, as it is on such a screen; it asks for nothing but itself, and nothing is amiss on the console."""
    said: list[str] = []
    asked: list[str] = []
    context = chromium.new_context(viewport={"width": width_px, "height": HEIGHT_PX}, color_scheme=scheme)
    try:
        context.set_default_timeout(LIMIT_MS)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        yield page
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    finally:
        context.close()


def _find() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _install() -> str | None:
    """Chromium from the distribution; None where that cannot be done here."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = ("chromium", "fonts-dejavu-core")
    for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *packages]):
        try:
            subprocess.run(
                ["apt-get", *command], check=True, capture_output=True, env=environment, timeout=INSTALL_LIMIT_S
            )
        except (subprocess.SubprocessError, OSError):
            return None
    return _find()
