"""Does what the README and the documentation show do what they say, in the order in which they show it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from perigrid.app.cli import COMMANDS
from tests.docs.runner import NOT_RUN, ROOT, TRITONCLIENT, Reader, blocks, is_tried, pages
from tests.live import test_worker

tritonclient_python = test_worker.tritonclient_python
TRIED = [page for page in pages() if is_tried(page)]
USES = ("launch", "sky", "own-work", "gateway", "measure", "failing-links")
MAX_TEXT_BLOCKS = 2
"""Blocks of commands that are not run, on one page: a reader should not have to guess which ones work."""


@pytest.mark.live
@pytest.mark.parametrize("page", TRIED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_does_what_it_shows(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    needs_tritonclient = any(block.text.startswith(TRITONCLIENT) for block in blocks(page))
    reader = Reader(tmp_path, request.getfixturevalue("tritonclient_python") if needs_tritonclient else None)
    try:
        reader.follow(page)
    finally:
        reader.tidy()


def test_the_pages_for_each_use_are_tried() -> None:
    tried = {page.relative_to(ROOT).as_posix() for page in TRIED}
    uses = {f"docs/howto/{name}.md" for name in USES}
    assert {"README.md", "docs/tutorial.md", *uses} <= tried


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_few_commands_are_shown_that_nobody_runs(page: Path) -> None:
    hidden = [b for b in blocks(page) if b.language == "text" and b.text.startswith(("perigrid ", "$ "))]
    assert len(hidden) <= MAX_TEXT_BLOCKS


def test_what_is_not_run_has_a_reason() -> None:
    assert all(NOT_RUN.values())
    assert {start.split()[1] for start in NOT_RUN if start.startswith("perigrid ")} <= set(COMMANDS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```sh\nfalse\n```\n", "exit code 1"),
        ("```sh\nperigrid nonsense\n```\n", "exit code 2"),
        ("```\nperigrid nonsense\nand what it prints\n```\n", "exit code 2"),
        ('```python\nraise SystemExit("no")\n```\n', "exit code 1"),
        ('```toml title="a.toml"\nname = "a"\n```\n', "no line of the page uses"),
        ("```ruby\nputs 1\n```\n", "say sh, or text"),
    ],
)
def test_what_does_not_work_is_found(text: str, complaint: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError, match=complaint):
        Reader(tmp_path).follow(page)
