"""What can be done from Python? The page lists what `import perigrid` offers, and takes the words from there."""

from __future__ import annotations

from itertools import groupby

import perigrid

ERRORS = "perigrid.errors"

OPTIONS = """\
    options:
      heading: "perigrid.{name}"
      toc_label: "{name}"
      heading_level: 3
"""

PLUGIN = """\
    options:
      heading: "perigrid.app.pytest_plugin"
      toc_label: "The plugin"
      heading_level: 3
      members: [constellation, assert_exactly_once]
"""

HEAD = """# Python

What stands here is reached from the top, as `perigrid.launch`, and imported when it is first asked for. The calls wait
for their results. There is no asynchronous twin: a job hands its results on as they come, and all else is short.

"""

TITLES = {
    "perigrid.app.api": "Launching",
    "perigrid.app.exactly_once": "Asserting",
    "perigrid.app.handles": "A constellation",
    "perigrid.app.job_handle": "A job",
    "perigrid.app.results": "Results",
    "perigrid.app.inference_client": "Single inferences",
    "perigrid.app.sky.view": "A sky",
    "perigrid.scenario.model": "Scenarios",
    ERRORS: "Errors",
}
"""Modules that the names come from -> what a reader looks for; a new one stops the build until it has a title."""


def page() -> str:
    """The reference of the Python interface, as Markdown for mkdocstrings."""
    lines = [HEAD]
    for home, names in groupby(perigrid.HOMES.items(), key=lambda item: item[1]):
        if home not in TITLES:
            raise SystemExit(f"tools/docs_python.py has no title for {home}, which perigrid.HOMES names; add one.")
        lines.append(f"## {TITLES[home]}\n")
        if home == ERRORS:
            lines.append("Raised on purpose; `exit_code` is what the command line ends with.\n")
        lines += [f"::: {home}.{name}\n{OPTIONS.format(name=name)}" for name, _ in names]
    lines.append("## In pytest\n\n::: perigrid.app.pytest_plugin\n" + PLUGIN)
    lines.append("## Event logs\n\n::: perigrid.live.eventlog.read_events\n    options:\n      heading_level: 3\n")
    return "\n".join(lines)
