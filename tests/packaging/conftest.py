"""What is built from this checkout, and an empty environment to install it in."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_LIMIT_S = 120.0
INSTALL_LIMIT_S = 600.0
COMMAND_LIMIT_S = 300.0
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
"""A proxy that does not answer: nothing is fetched, so every machine sees the same."""


def build(folder: Path, *what: str, source: Path = ROOT) -> Path:
    """Run `python -m build` on a folder with the tools that are installed; the folder of what it made."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *what, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@dataclass(frozen=True, slots=True)
class Machine:
    """An environment without anything of ours: a Python of its own, a home of its own, an empty working folder."""

    folder: Path

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where packages are installed."""
        return next((self.folder / "venv" / "lib").glob("python3.*")) / "site-packages"

    @property
    def work(self) -> Path:
        """The folder that commands run in."""
        return self.folder / "work"

    def install(self, *requirements: str) -> None:
        """Install with the pip of whoever runs the tests; the environment has none."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
        command = [*pip, "--disable-pip-version-check", "--no-warn-script-location", *requirements]
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr

    def environment(self) -> dict[str, str]:
        """All variables that a command gets: none of the machine's own but what is named here."""
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.folder / "home"), "LANG": "C.UTF-8", **NO_NETWORK}

    def perigrid(self, *words: str, prefix: tuple[str, ...] = (), **changes: str) -> subprocess.CompletedProcess[str]:
        """Run the installed command in the empty folder; `prefix` is put before it."""
        return self.run([*prefix, str(self.python.parent / "perigrid"), *words], changes)

    def run(self, command: list[str], changes: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run any command as this machine would."""
        return subprocess.run(
            command,
            cwd=self.work,
            env={**self.environment(), **changes},
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the checkout."""
    (found,) = build(tmp_path_factory.mktemp("wheel"), "--wheel").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """An empty environment, without pip even."""
    found = Machine(tmp_path_factory.mktemp("machine"))
    venv.create(found.folder / "venv", with_pip=False, symlinks=True)
    for name in ("home", "work"):
        (found.folder / name).mkdir()
    return found
