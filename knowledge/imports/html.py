"""HTML to Markdown. Only text, structure and web links remain: no scripts, styles, frames, forms, images or event handlers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any, Final

from bs4 import BeautifulSoup, Comment, Doctype, ProcessingInstruction, XMLParsedAsHTMLWarning
from markdownify import MarkdownConverter

from knowledge.imports.limits import Limits
from knowledge.imports.markdown import heading
from knowledge.imports.refusal import Refused
from knowledge.imports.text import Draft, stem, tidy_title

_DROPPED: Final = (
    "script", "style", "noscript", "template", "iframe", "frame", "frameset", "object", "embed", "applet", "svg", "math", "canvas",
    "video", "audio", "form", "input", "button", "select", "textarea", "nav", "link", "meta", "base",
)  # fmt: skip
_CHARSET: Final = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([A-Za-z0-9_.:\-]{1,40})"
    rb"|<\?xml[^>]{0,100}encoding=[\"']([A-Za-z0-9_.:\-]{1,40})",
    re.IGNORECASE,
)
_HIDDEN: Final = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_WEB: Final = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
_ENTITY: Final = re.compile(r"<!ENTITY\b", re.IGNORECASE)
_TAG: Final = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_VOID: Final = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
_DEPTH: Final = 1000  # the parser's time grows with the square of it
_BLANK: Final = re.compile(r"\n{3,}")


def declared_charset(data: bytes) -> str:
    found = _CHARSET.search(data[:2048])
    return (found[1] or found[2]).decode() if found else ""


def read(text: str, name: str, limits: Limits) -> Iterator[Draft]:
    """One draft."""
    if _ENTITY.search(text[:100_000]):
        raise Refused("The page declares XML entities, which are not read.")
    if _depth(text) > _DEPTH:
        raise Refused("The page is nested too deeply.")
    soup = _parsed(text)
    title = tidy_title(soup.title.get_text() if soup.title else "", limits.title_chars)
    content = to_markdown(soup)
    if not content:
        raise Refused("The page holds no text.")
    yield {"title": title or heading(content, limits.title_chars) or stem(name), "content": content}


def _depth(text: str) -> int:
    """How deeply tags are nested, at most."""
    depth = deepest = 0
    for end, name in _TAG.findall(text):
        if name.lower() not in _VOID:
            depth = max(0, depth + (-1 if end else 1))
            deepest = max(deepest, depth)
    return deepest


def from_fragment(markup: str) -> str:
    return to_markdown(_parsed(markup))


def to_markdown(soup: BeautifulSoup) -> str:
    _clean(soup)
    root: Any = soup.body or soup
    try:
        text = MarkdownConverter(heading_style="ATX", bullets="-", strip=["img"]).convert_soup(root)
    except RecursionError as error:
        raise Refused("The page is nested too deeply.") from error
    return _BLANK.sub("\n\n", "\n".join(line.rstrip() for line in text.splitlines())).strip()


def _parsed(text: str) -> BeautifulSoup:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        try:
            return BeautifulSoup(text, "html.parser")
        except (RecursionError, AssertionError) as error:
            raise Refused("The page cannot be read as HTML.") from error


def _clean(soup: BeautifulSoup) -> None:
    for node in soup.find_all(string=lambda text: isinstance(text, Comment | Doctype | ProcessingInstruction)):
        node.extract()
    for tag in soup.find_all(_DROPPED):
        tag.decompose()
    for tag in soup.find_all(True):
        if tag.decomposed:
            continue
        if tag.has_attr("hidden") or _HIDDEN.search(str(tag.get("style", ""))) or tag.name == "head":
            tag.decompose()
        elif tag.name == "a" and not _WEB.match(str(tag.get("href", "")).strip()):
            del tag["href"]
