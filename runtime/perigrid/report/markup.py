"""How does text become a page without becoming markup by accident?

Names, causes and paths in a report come from files that anybody may have written. So text is escaped unless it is
`Html`, and only `tag` and `join` make that: to forget the escaping is not possible, only to ask for raw markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

VOID = frozenset({"br", "hr", "img", "link", "meta", "rect", "line", "circle", "path", "use", "wbr"})
"""Elements without content."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: object) -> Html:
    """An element: children that are no `Html` are escaped, and so are the attributes.

    In an attribute's name a "_" stands for "-", or at its end for nothing (`aria_label`, `class_`). Attributes that are
    None or False are left out, True ones have no value.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        parts.append(written if value is True else f'{written}="{escape(str(value))}"')
    start = " ".join(parts)
    if name in VOID and not children:
        return Html(f"<{start}/>")
    return Html(f"<{start}>{join(children)}</{name}>")


def join(children: Iterable[str], between: str = "") -> Html:
    """Children one after the other with `between` in between, all that is no `Html` escaped."""
    return Html(_safe(between).join(map(_safe, children)))


def _safe(text: str) -> str:
    return text if isinstance(text, Html) else escape(text, quote=False)


POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a page may load: nothing but what is in it."""


def document(title: str, styles: Iterable[str], body: Iterable[str]) -> Html:
    """A whole page that needs nothing else: its head with these style sheets, and its body."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html("\n".join(styles))),
    )
    return join([Html("<!doctype html>\n"), tag("html", head, tag("body", *body), lang="en"), Html("\n")])
