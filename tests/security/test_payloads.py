"""The payloads themselves: that there are enough, and that they are live ammunition. A page that escapes nothing is hit by all."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser

from tests.security import payloads
from tests.security.canary import Canary
from tests.security.payloads import BY_ITSELF, CONTEXTS, VECTORS, WRITINGS, Payload
from tests.support.browser import chromium

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_there_are_enough_and_no_two_are_the_same() -> None:
    assert len(payloads.fitting(payloads.sample(), 100_000)) >= 300
    assert len(payloads.fitting(payloads.product(), 100_000)) >= 3000
    used = {one.name.split("/")[2] for one in payloads.sample() if not one.name.startswith("whole")}
    assert used == set(WRITINGS)


EVERY = [
    (context, vector)
    for context in CONTEXTS
    for vector in VECTORS
    if vector in BY_ITSELF and context != "Markdown list"
]


@pytest.mark.parametrize(
    "pairs",
    [
        [(c, v) for c, v in EVERY if c == "text" or v == "image"],
        pytest.param(EVERY, marks=pytest.mark.deep),
    ],
    ids=["some", "all"],
)
def test_where_nothing_is_escaped_every_one_is_noticed(pairs: list[tuple[str, str]]) -> None:
    """Each in a frame of its own, in a document of its context."""
    wanted = [payloads.payload(context, vector, "plain") for context, vector in pairs]
    with chromium() as browser:
        seen = fired(browser, wanted)
    assert [one.name for one in wanted if payloads.number(one.name) not in seen] == []


def fired(browser: Browser, wanted: list[Payload]) -> set[int]:
    """The numbers of those that were noticed."""
    context, canary = browser.new_context(), Canary()
    canary.watch(context)
    context.route(
        "http://127.0.0.1:1/", lambda route: route.fulfill(body="<!doctype html><body>", content_type="text/html")
    )
    page = context.new_page()
    for at in range(0, len(wanted), 40):
        page.goto("http://127.0.0.1:1/")
        page.evaluate(FRAMES, json.dumps([document(one) for one in wanted[at : at + 40]]))
        page.wait_for_timeout(700)
    context.close()
    return canary.ran


FRAMES = """
(documents) => { for (const text of JSON.parse(documents)) {
  const frame = document.createElement("iframe");
  frame.srcdoc = text;
  document.body.append(frame);
} }
"""


def document(one: Payload) -> str:
    return "<!doctype html>" + CONTEXTS[one.name.split("/", maxsplit=1)[0]][1].format(p=one.text)
