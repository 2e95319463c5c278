"""How do tests read a page? As a browser's parser would, without one."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

VOID = frozenset({"br", "hr", "img", "link", "meta"})


class Page(HTMLParser):
    """What stands in a page: its text outside of styles and scripts, its elements, its figures."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.figures: dict[str, str] = {}
        self.shown: dict[str, str] = {}
        self.machine = ""
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []
        self.feed(markup)
        self.close()
        assert not self._open, f"never closed: {[name for name, _ in self._open]}"

    @property
    def text(self) -> str:
        """All text that a reader sees, single spaces between words."""
        return " ".join(" ".join(self._texts).split())

    @property
    def outcome(self) -> Any:
        """The figures for machines."""
        return json.loads(self.machine)

    def of(self, name: str, **attributes: str) -> list[dict[str, str | None]]:
        """Attributes of the elements of that name that have these ones."""
        found = (a for n, a in self.elements if n == name)
        return [a for a in found if all(a.get(key.rstrip("_")) == value for key, value in attributes.items())]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append((tag, attributes))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        name, attributes = self._open[-1] if self._open else ("", {})
        if name == "script":
            self.machine += data
        elif name != "style":
            self._texts.append(data)
            figure = attributes.get("data-figure")
            if name == "data" and figure is not None:
                self.figures[figure] = attributes["value"] or ""
                self.shown[figure] = data
