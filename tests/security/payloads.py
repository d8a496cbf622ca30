"""Hostile texts by rule: what runs (``VECTORS``), where a text may come to stand (``CONTEXTS``), how it is written (``WRITINGS``).

Each does one of two things when a browser takes it for more than text: it calls ``__q("name")``, or it asks for an address below
``BEACON``. ``tests.security.canary`` sees both. Nothing listens at the address, and the browser may not reach it either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Final
from urllib.parse import quote

BEACON: Final = "//127.0.0.1:9/qcanary"

# By name, HTML that acts by itself; ``{c}`` is the call.
VECTORS: Final[Mapping[str, str]] = {
    "script": "<script>{c}</script>",
    "script from elsewhere": "<script src={b}></script>",
    "module": "<script type=module>{c}</script>",
    "image": "<img src=x: onerror={c}>",
    "beacon": "<img src={b}>",
    "picture": "<picture><source srcset={b}><img></picture>",
    "drawing": "<svg onload={c}>",
    "script in a drawing": "<svg><script>{c}</script></svg>",
    "details": "<details open ontoggle={c}>",
    "frame": "<iframe src=javascript:parent.{c}></iframe>",
    "frame of text": "<iframe srcdoc='<script>parent.{c}</script>'></iframe>",
    "focus": "<input autofocus onfocus={c}>",
    "media": "<video><source onerror={c}></video>",
    "audio": "<audio src=x: onerror={c}></audio>",
    "style": "<style onload={c}></style>",
    "imported style": '<style>@import "{b}";</style>',
    "style sheet": "<link rel=stylesheet href={b}>",
    "styled": '<p style="background:url({b})">x</p>',
    "object": "<object data={b}></object>",
    "embed": "<embed src={b}>",
    "reload": "<meta http-equiv=refresh content='0;url={b}'>",
    "animation": "<svg><animate onbegin={c} attributeName=x dur=1s></svg>",
    "alpine": "<div x-data x-init={c}></div>",
    "htmx": "<div hx-get={b} hx-trigger=load></div>",
}
# What a browser runs or asks for by itself, without a library of ours (the rest is there for Alpine and htmx), however many there are
# on a page: the focus goes to one alone.
BY_ITSELF: Final = frozenset(VECTORS) - {"alpine", "htmx", "focus"}

# By name: how to get out of a place, and a document with such a place (``{p}``) in which nothing is escaped.
CONTEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "text": ("{v}", "<p>{p}</p>"),
    "double quotes": ('">{v}', '<input value="{p}">'),
    "single quotes": ("'>{v}", "<input value='{p}'>"),
    "no quotes": ("x>{v}", "<input value={p}>"),
    "title": ("</title>{v}", "<title>{p}</title>"),
    "text area": ("</textarea>{v}", "<textarea>{p}</textarea>"),
    "comment": ("-->{v}", "<!-- {p} -->"),
    "style sheet": ("</style>{v}", "<style>p:after {{ content: '{p}' }}</style>"),
    "json in a page": ('"</script>{v}', '<script type="application/json">{{"a": "{p}"}}</script>'),
    "noscript": ("</noscript></template>{v}", "<template>{p}</template>"),
    "Markdown block": ("\n\n{v}\n\n", "<div>{p}</div>"),
    "Markdown list": ("- [a](/ '{v}')\n", "<div>{p}</div>"),
}

# Whole texts that need no vector: places in which a call stands by itself.
WHOLE: Final[tuple[str, ...]] = (
    "';{c};//",
    '";{c};//',
    "`;${{{c}}}`",
    "\\';{c};//",
    "</script><script>{c}</script>",
    "\u2028{c}//",
    "${{{c}}}",
    "#{{{c}}}",
    "{{{{constructor.constructor('{c}')()}}}}",
    "{{{{ {c} }}}}",
    "{{% debug %}}{c}",
    "<%= {c} %>",
    '" onfocus={c} autofocus x="',
    "' onfocus={c} autofocus x='",
    " onfocus={c} autofocus ",
    '" style="background:url({b})',
    '" x-init="{c}',
    '" hx-on::load="{c}',
    '"@click="{c}',
    "javascript:{c}",
    "JaVaScRiPt:{c}",
    "java\tscript:{c}",
    "\x0bjavascript:{c}",
    "&#106;avascript:{c}",
    "javascript&colon;{c}",
    "data:text/html,<script>{c}</script>",
    "vbscript:{c}",
    "{b}",
    "https:{b}",
    "/\\127.0.0.1:9/qcanary",
    "[a](javascript:{c})",
    "[a](JAVASCRIPT&colon;{c})",
    "[a](<javascript:{c}>)",
    "<javascript:{c}>",
    "![a]({b})",
    "![a](https:{b})",
    "[a]({b})",
    "[![a]({b})](javascript:{c})",
    "[a]: javascript:{c}\n\n[a]",
    "![a][b]\n\n[b]: {b}",
    '[a](https://a.example/"onmouseover={c}//)',
    "[a](https://a.example '\"onfocus={c} autofocus')",
    '``` "onfocus={c}\n</code></pre><script>{c}</script>\n```',
    "    </code><script>{c}</script>",
    "`</code><script>{c}</script>`",
    "| <script>{c}</script> |\n|-|\n| <img src=x: onerror={c}> |",
    "> <svg onload={c}>",
    "# <svg onload={c}>",
    '<https://a.example/"onload={c}>',
    "[1]: <script>{c}</script>",
    "[[1]](javascript:{c})",
    "]]><script>{c}</script>",
    "<![CDATA[<script>{c}</script>]]>",
    "<?xml version='1.0'?><svg onload={c}>",
    "<!--><script>{c}</script>-->",
)

_LT = re.compile(r"<(?=[a-z/!?])", re.IGNORECASE)
WRITINGS: Final[Mapping[str, Callable[[str], str]]] = {
    "plain": lambda text: text,
    "cases": lambda text: re.sub(r"</?[a-z]+", lambda tag: tag.group().swapcase(), text),
    "slashes": lambda text: re.sub(r"(?<=<[a-z]{3}) (?=src|onload)", "/", text),
    "new lines": lambda text: re.sub(r"(?<=<[a-z]{3}) ", "\n", text),
    "decimal entities": lambda text: text.replace("<", "&#60;").replace('"', "&#34;"),
    "hexadecimal entities": lambda text: text.replace("<", "&#x3c").replace("'", "&#x27"),
    "named entities": lambda text: text.replace("<", "&lt;").replace(">", "&gt;"),
    "entities of entities": lambda text: text.replace("<", "&amp;lt;").replace(">", "&amp;gt;"),
    "percent": quote,
    "percent of percent": lambda text: quote(quote(text)),
    "unicode escapes": lambda text: text.replace("<", "\\u003c").replace(">", "\\u003e"),
    "byte escapes": lambda text: text.replace("<", "\\x3c").replace('"', "\\x22"),
    "wide signs": lambda text: text.replace("<", "\uff1c").replace(">", "\uff1e"),
    "invisible signs": lambda text: _LT.sub("<\u200b", text),
    "one in another": lambda text: text.replace("<script", "<scr<script>ipt").replace("<img", "<im<img>g"),
    "direction": lambda text: f"\u202e{text}\u202c",
}


@dataclass(frozen=True)
class Payload:
    name: str
    text: str


def payload(context: str, vector: str, writing: str) -> Payload:
    name = f"{context}/{vector}/{writing}"
    whole = CONTEXTS[context][0].format(v=filled(VECTORS[vector], name))
    return Payload(name, WRITINGS[writing](whole))


def filled(template: str, name: str) -> str:
    """The call names what it stands in without a sign that any context would end at."""
    return template.format(c=f"__q({number(name)})", b=f"{BEACON}/{number(name)}")


_numbers: dict[str, int] = {}


def number(name: str) -> int:
    return _numbers.setdefault(name, len(_numbers) + 1000)


def name_of(wanted: int) -> str:
    return next((name for name, one in _numbers.items() if one == wanted), str(wanted))


def whole() -> list[Payload]:
    return [Payload(f"whole/{at}", filled(text, f"whole/{at}")) for at, text in enumerate(WHOLE)]


def product() -> list[Payload]:
    """Every one."""
    return [*whole(), *(payload(c, v, w) for c in CONTEXTS for v in VECTORS for w in WRITINGS)]


def sample() -> list[Payload]:
    """Every context with every vector once, each in the next writing: no two of the three lists have lengths that divide each other
    all the way, so that a vector is met in many writings."""
    writings = cycle(WRITINGS)
    return [*whole(), *(payload(c, v, next(writings)) for c in CONTEXTS for v in VECTORS)]


def fitting(payloads: list[Payload], most: int) -> list[str]:
    """Their texts, those that fit."""
    return list(dict.fromkeys(one.text for one in payloads if len(one.text) <= most))
