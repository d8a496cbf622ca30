"""Markdown on our pages: what comes out is spelled by us, however it is written, and what goes in is not lost."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from knowledge import services
from knowledge.prose import LONGEST, REL, leads_out, rendered

TAGS = frozenset(
    [
        "p",
        "blockquote",
        "ul",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "em",
        "strong",
        "s",
        "br",
        "hr",
        "pre",
        "code",
        "a",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    ]
)
PIECES = [
    "<",
    ">",
    "&",
    '"',
    "'",
    "`",
    "*",
    "_",
    "[",
    "]",
    "(",
    ")",
    "!",
    "#",
    "|",
    "-",
    "\n",
    "\n\n",
    " ",
    "    ",
    "\\",
    "~~",
    ">",
    "a",
    "1. ",
    "&lt;",
    "&#60;",
    "&#x6a;",
    "javascript:",
    "http://a.example",
    "https://a.example/?a=b&c",
    "//evil.example",
    "data:,x",
    "<script>",
    "<img src=x onerror=f()>",
    "```",
    "[1]: ",
    "<!--",
    "-->",
    "<a href='",
    "\t",
    "\r",
    "\x00",
    "{{",
    "}}",
    "\u202e",
]


class Reader(HTMLParser):
    """What a browser makes of it: tags with their attributes, and whether they are closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str]]] = []
        self.odd: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in {"br", "hr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.odd.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.odd.append(f"<!--{data}")

    def handle_decl(self, decl: str) -> None:
        self.odd.append(decl)

    def handle_pi(self, data: str) -> None:
        self.odd.append(data)


def assert_allowed(markup: str) -> None:
    read = Reader(markup)
    assert read.odd == []
    assert read.open == []
    for tag, attributes in read.found:
        assert tag in TAGS
        if tag == "a":
            assert set(attributes) == {"href", "rel"}
            assert attributes["rel"] == REL
            assert re.match(r"https?://[a-z0-9]", attributes["href"], re.IGNORECASE)
        elif tag == "ol":
            assert set(attributes) <= {"start"}
        else:
            assert attributes == {}


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_whatever_is_written_only_what_is_allowed_comes_out(text: str) -> None:
    assert_allowed(rendered(text))
    plain = rendered(text, headings=0, links=False)
    assert_allowed(plain)
    assert {tag for tag, _ in Reader(plain).found}.isdisjoint({"a", "h2", "h3", "h4", "h5", "h6"})


@given(st.text(alphabet="abc *_`#>-1.[]()!\n", max_size=120))
def test_no_word_is_lost(text: str) -> None:
    shown = Counted(Reader(rendered(text)).text)
    assert shown.has_letters_of(text)


class Counted:
    def __init__(self, shown: str) -> None:
        self._shown = shown

    def has_letters_of(self, text: str) -> bool:
        """Addresses of links and descriptions of code are markup."""
        text = re.sub(r"\]\([^)\n]*\)|^ {0,3}`{3,}.*$", "", text, flags=re.MULTILINE)
        return all(self._shown.count(letter) >= text.count(letter) for letter in "abc") or "](" in text


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example/a",
        "/\\evil.example",
        "\\\\evil.example",
        "/councils",
        "#a",
        "?a",
        "a",
        "",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "\x01javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "blob:https://a.example/x",
        "file:///etc/passwd",
        "mailto:a@a.example",
        "ftp://a.example",
        "https:evil.example",
        "https:/evil.example",
        "https:///evil.example",
        "https://a.example@evil.example",
        "https://a.example\\@evil.example",
        "https:\\\\evil.example",
        "http://[::1]/",
        "view-source:https://a.example",
    ],
)
def test_links_that_lead_elsewhere_stay_text(address: str) -> None:
    assert not leads_out(address)
    for text in (f"[a]({address})", f"[a](<{address}>)", f"<{address}>", f"[a]\n\n[a]: {address}", f"![a]({address})"):
        read = Reader(rendered(text))
        assert [attributes for tag, attributes in read.found if tag == "a"] == []


def test_links_images_and_marks() -> None:
    assert (
        rendered("[x](https://a.example/?b=1&c)") == f'<p><a href="https://a.example/?b=1&amp;c" rel="{REL}">x</a></p>'
    )
    assert rendered("![a cat](https://a.example/c.png)") == "<p>a cat</p>"
    assert rendered("So [1].\n\n[1]: https://evil.example") == "<p>So [1].</p><p>[1]: https://evil.example</p>"
    assert rendered("[x](https://a.example)", links=False) == "<p>x (https://a.example)</p>"


def test_headings_stay_below_the_pages_own() -> None:
    assert rendered("# a\n###### b") == "<h2>a</h2><h6>b</h6>"
    assert rendered("# a", headings=0) == "<p><strong>a</strong></p>"


@pytest.mark.parametrize(
    "deep", ["> " * 60 + "inside", "".join(f"{'  ' * n}- item {n}\n" for n in range(60)) + "inside"]
)
def test_what_nests_too_deeply_is_shown_as_written(deep: str) -> None:
    assert "inside" in rendered(deep)


AWKWARD = {
    "brackets": "[",
    "images": "![",
    "emphasis": "_**a ",
    "links": "[a](",
    "less than": "<",
    "table rows": "|x\n",
    "lines": "a\n",
    "strikes": "~~a",
    "ticks": "`a``",
    "entities": "&#",
    "autolinks": "<http:",
    "quotations": "> ",
    "titles": '[a](b "',
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_text_takes_bounded_time(name: str) -> None:
    """Process time: others may be busy. The bound is generous; what is measured is printed."""
    text = ("|a|b|\n|-|-|\n" if name == "table rows" else "") + AWKWARD[name] * LONGEST
    for length in (LONGEST, LONGEST + 1):
        began = time.process_time()
        assert_allowed(rendered(text[:length]))
        took = time.process_time() - began
        print(f"{name}, {length} characters: {took:.2f} s")
        assert took < 5


def test_an_entry_is_formatted_and_its_quotation_is_as_it_was_written(user: User, client: Client) -> None:
    pack = services.create_pack(user, name="Ferries")
    [made] = services.add_entries(pack, user, [{"title": "A", "content": "# Head\n\nA **bold** word <b>x</b>"}])
    assert made.entry
    client.force_login(user)
    page = client.get(f"/entries/{made.entry.pk}").content.decode()
    assert "<h2>Head</h2><p>A <strong>bold</strong> word &lt;b&gt;x&lt;/b&gt;</p>" in page
    quoted = client.get(f"/entries/{made.entry.pk}?start=10&end=18").content.decode()
    assert '<mark id="quote">**bold**</mark> word &lt;b&gt;' in quoted
    assert "A **bold** word" in client.get(f"/entries/{made.entry.pk}?source").content.decode()
