"""What do pages say that nobody writes by hand? A hook of mkdocs, which adds them to the documentation.

The reference of commands and scenario files, the list of decisions, and the pages that stand at the top of the
repository. All are made from what is in the checkout, so the same checkout always gives the same pages.
"""

from __future__ import annotations

import re
from pathlib import Path

import docs_cli
import docs_python
import docs_scenario
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

REPEATED = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "CHANGELOG.md": "changes.md",
    "models/README.md": "reference/models.md",
}
"""Pages that stand elsewhere in the repository -> where they stand in the documentation."""

DECISION = re.compile(r"^# (\d{4}): (.+)$", re.MULTILINE)

DECISIONS_HEAD = """# Decisions

Where something else was possible: what was chosen, what was not, and why. A decision is not changed later; a new one
replaces it.

"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every decision into the menu, behind their list."""
    listed = [entry["Decisions"] for part in config.nav for entry in part.get("Project", []) if "Decisions" in entry]
    if len(listed) != 1:
        raise SystemExit("mkdocs.yml: the menu has no one part `Decisions` under `Project`, where decisions belong.")
    listed[0] += [f"decisions/{path.name}" for path in decision_pages()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {
        "reference/cli.md": docs_cli.page(),
        "reference/python.md": docs_python.page(),
        "reference/scenario.md": docs_scenario.page(),
        "decisions/index.md": decisions(),
        **{target: (ROOT / source).read_text(encoding="utf-8") for source, target in REPEATED.items()},
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def decision_pages() -> list[Path]:
    """The pages of decisions, in the order of their numbers."""
    return sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def decisions() -> str:
    """The list of decisions, as Markdown."""
    lines = []
    for path in decision_pages():
        found = DECISION.search(path.read_text(encoding="utf-8"))
        if found is None:
            raise SystemExit(f"{path} does not begin with `# NNNN: what was decided`; write that line.")
        lines.append(f"- [{found[1]}]({path.name}): {found[2]}")
    return DECISIONS_HEAD + "\n".join(lines) + "\n"
