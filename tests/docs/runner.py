"""How is what a page shows tried? Its blocks are taken one by one, in a folder of their own, as a reader would.

- A block of `sh` is typed line by line into bash; each line has to end with exit code 0.
- A block without a language is the same for its lines that begin with `perigrid`; the rest is what they print.
- A block with a title is a file of that name; a later line of the page has to use it.
- A block of `python` without a title is run as a script, one of `toml` has to be a scenario or part of one.
- A block of `text` or `json` is only looked at by readers.

What is not run although it could be stands in `NOT_RUN`, each with its reason. A reader brings what is in `BROUGHT`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from perigrid.app.scenarios import parse, shipped_presets
from perigrid.live.launch import down
from perigrid.live.rundir import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
COMMAND_LIMIT_S = 120.0
READ_ONLY = {"text", "json"}
FENCE = re.compile(r"^```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
SNIPPET = re.compile(r'^--8<-- "([^"]+)"$', re.MULTILINE)

NOT_RUN = {
    "perigrid bench": "takes minutes, and a test that times anything would pass or fail by luck",
    "perigrid demo": "is run from an installed wheel by tests/packaging",
    "python3.11 -m venv": "is done by tests/packaging, in an empty environment",
    ". .venv/bin/activate": "is done by tests/packaging, in an empty environment",
    "pip install": "is done by tests/packaging, in an empty environment",
    "make ": "is what runs the tests",
}
"""Beginnings of lines -> why the tests of pages do not run them."""

BROUGHT = {"my.onnx": ROOT / "docs" / "examples" / "failing-links" / "anomaly.onnx"}
"""Files that pages take for granted, as something that a reader has of his own -> what stands for them."""

PROGRAMS = {
    "perigrid": '-c "from perigrid.app.cli import main; main()"',
    "python": "",
    "pytest": "-m pytest -p no:cacheprovider",
}
"""Programs that a reader has on the path -> what the Python of the tests is told in their stead."""

TRITONCLIENT = "import tritonclient"
"""How a script begins that needs an environment with tritonclient, which wants another protobuf than perigrid."""

PRESET = re.compile(r"^preset *=", re.MULTILINE)
ENDLESS = "--follow"
"""An option with which a command goes on until it is interrupted; a line with it is not run."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: its language, its title or "", its text, and the line on which it begins."""

    language: str
    title: str
    text: str
    line: int

    def commands(self) -> list[str]:
        """The lines that are to be typed, those that go on with a backslash joined."""
        lines = [line.strip() for line in self.text.replace("\\\n", " ").splitlines()]
        if not self.language:
            return [line for line in lines if line.startswith("perigrid ")]
        return [line for line in lines if line and not line.startswith("#")]


def pages() -> list[Path]:
    """The README and every page of the documentation that stands as a file."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """A page's fenced blocks, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        title = TITLE.search(match["rest"])
        content = SNIPPET.sub(lambda snippet: (ROOT / snippet[1]).read_text(encoding="utf-8").rstrip(), match["text"])
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(match["language"], title[1] if title else "", content, line))
    return found


def reason_not_run(command: str) -> str:
    """Why a line is not run; "" where it is."""
    if ENDLESS in command.split():
        return "goes on until it is interrupted"
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), "")


def uses(command: str, name: str) -> bool:
    """Whether a line uses a file: it names it, or a function of it as module:function."""
    return name in command or f" {name.removesuffix('.py')}:" in command


def is_tried(page: Path) -> bool:
    """Whether anything of a page is run."""
    return any(
        block.language in ("python", "toml") or any(not reason_not_run(line) for line in block.commands())
        for block in blocks(page)
        if block.language not in READ_ONLY
    )


class Reader:
    """Somebody who follows a page in a folder, with perigrid on the path.

    `tritonclient_python` is the Python of an environment with tritonclient; without it, no script that needs it is run.
    """

    def __init__(self, folder: Path, tritonclient_python: Path | None = None) -> None:
        self._tritonclient_python = tritonclient_python
        self.work = folder / "work"
        self.work.mkdir()
        for name, source in BROUGHT.items():
            shutil.copyfile(source, self.work / name)
        programs = folder / "bin"
        programs.mkdir()
        for name, words in PROGRAMS.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            program.chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "runtime"),
        }

    def follow(self, page: Path) -> None:
        """Try all blocks of a page; AssertionError names the line that does not do what it should."""
        unused: dict[str, str] = {}
        for block in blocks(page):
            place = f"{page.name}, line {block.line}"
            if block.language in READ_ONLY:
                continue
            if block.title:
                (self.work / block.title).write_text(block.text, encoding="utf-8")
                unused[block.title] = place
            elif block.language == "python":
                self._script(block.text, place)
            elif block.language == "toml":
                head = "" if PRESET.search(block.text) else 'preset = "three-body-12"\n'
                parse(head + block.text, place, shipped_presets())
            else:
                assert block.language in ("", "sh"), f"{place}: a block of {block.language!r}: say sh, or text"
                for command in block.commands():
                    unused = {name: where for name, where in unused.items() if not uses(command, name)}
                    if not reason_not_run(command):
                        self._run(["bash", "-c", command], f"{place}: {command}")
        assert not unused, f"no line of the page uses {unused}"
        left = self.running()
        assert not left, f"{page.name} leaves {[run.name for run in left]} up: end it with `perigrid down`"

    def running(self) -> list[RunDirectory]:
        """The constellations that are up in the folder."""
        return [run for run in RunDirectory.all(self.work / "runs") if run.is_up()]

    def tidy(self) -> None:
        """Take down whatever is up."""
        for run in self.running():
            down(run)

    def _script(self, text: str, place: str) -> None:
        if not text.startswith(TRITONCLIENT):
            self._run([sys.executable, "-c", text], place)
        elif self._tritonclient_python is not None:
            self._run([str(self._tritonclient_python), "-c", text], place)

    def _run(self, command: list[str], place: str) -> None:
        done = subprocess.run(
            command,
            cwd=self.work,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{place}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
