"""Markdown of people, packs and models as HTML that may stand on our pages: an allowlist by construction.

The text is parsed (CommonMark, tables, strike-through), and the tokens are written anew from the tables below: every tag that comes
out is spelled here, and everything between tags is escaped. What the tables do not know (HTML, images, whatever a later version of
the parser adds) is shown as the text that it is. So there is no HTML to be cleaned, and no cleaner that could be fooled.

- Links lead to absolute http and https addresses with a plain host, and say so (``rel``). Every other one stays as it was written.
- There are no images and nothing else that a browser would load by itself; an image is its description.
- Reference definitions are not read, so that ``[1]`` stays the mark of a source.
- Headings begin below the page's own; ``headings=0`` makes them bold paragraphs, where one could pose as ours.

Line breaks are kept. Texts above ``LONGEST`` characters are shown as they are written, to bound the time that a page takes, and so
are those that nest more deeply than the parser follows, which would leave out what is inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from django.utils.html import escape
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.token import Token

LONGEST: Final = (
    40_000  # the worst that was tried takes a second or two at this length on a busy core, and grows with its square
)
NESTING: Final = 20
REL: Final = "noopener noreferrer nofollow ugc"
# A host and a port, nothing that a reader could take for the host, and no character that browsers read differently from us.
_ADDRESS = re.compile(r"https?://[a-z0-9.\-]+(:\d{1,5})?([/?#][^\s\\<>\"'`\x00-\x20\x7f]*)?", re.IGNORECASE)

_PLAIN = {
    "paragraph": "p",
    "blockquote": "blockquote",
    "bullet_list": "ul",
    "list_item": "li",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
    "em": "em",
    "strong": "strong",
    "s": "s",
}
_ALONE = {"softbreak": "<br>", "hardbreak": "<br>", "hr": "<hr>"}


def rendered(text: str, *, headings: int = 2, links: bool = True) -> SafeString:
    """``headings``: the level of ``#``, 0 for none. Without ``links``, their addresses stand behind them as text."""
    tokens = _reader().parse(text) if len(text) <= LONGEST else []
    if len(text) > LONGEST or any(token.level >= NESTING - 1 for token in tokens):
        return SafeString(f"<pre>{escape(text)}</pre>")
    return SafeString(_Writer(headings, links).blocks(tokens))


def leads_out(address: str) -> bool:
    """Whether a link may lead there."""
    return len(address) <= 2000 and _ADDRESS.fullmatch(address) is not None


@cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "maxNesting": NESTING})
    reader.enable(["table", "strikethrough"]).disable(["reference", "html_block", "html_inline"])
    reader.validateLink = leads_out  # type: ignore[method-assign, assignment]  # as its documentation has it
    return reader


class _Writer:
    def __init__(self, headings: int, links: bool) -> None:
        self._headings = headings
        self._links = links
        self._targets: list[str] = []  # of the links that are open

    def blocks(self, tokens: Sequence[Token]) -> str:
        return "".join(self._written(tokens))

    def _written(self, tokens: Sequence[Token]) -> Iterable[str]:
        for token in tokens:
            if token.type == "inline":
                yield from self._written(token.children or [])
            elif not token.hidden:  # paragraphs of tight lists
                yield self._one(token)

    def _one(self, token: Token) -> str:
        name, _, end = token.type.rpartition("_")
        if name in _PLAIN and end in {"open", "close"}:
            return f"<{'/' * (end == 'close')}{_PLAIN[name]}>"
        if name in {"heading", "link", "ordered_list"}:
            return str(getattr(self, f"_{name}_{end}")(token))
        if token.type in _ALONE:
            return _ALONE[token.type]
        if token.type in {"fence", "code_block"}:
            return f"<pre><code>{escape(token.content)}</code></pre>"
        if token.type == "code_inline":
            return f"<code>{escape(token.content)}</code>"
        return escape(token.content)

    def _heading_open(self, token: Token) -> str:
        return f"<{self._level(token)}>" if self._headings else "<p><strong>"

    def _heading_close(self, token: Token) -> str:
        return f"</{self._level(token)}>" if self._headings else "</strong></p>"

    def _level(self, token: Token) -> str:
        return f"h{min(6, int(token.tag[1]) + self._headings - 1)}"

    def _ordered_list_open(self, token: Token) -> str:
        first = int(token.attrGet("start") or 1)
        return f'<ol start="{first}">' if first != 1 else "<ol>"

    def _ordered_list_close(self, _: Token) -> str:
        return "</ol>"

    def _link_open(self, token: Token) -> str:
        target = str(token.attrGet("href") or "")
        self._targets.append(target)
        shown = self._links and leads_out(target)
        return f'<a href="{escape(target)}" rel="{REL}">' if shown else ""

    def _link_close(self, _: Token) -> str:
        target = self._targets.pop()
        return "</a>" if self._links and leads_out(target) else f" ({escape(target)})"
