"""The plain page in a real browser, against the real stack: sign in, search, convene, watch seats write, read the decision."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings, global_settings
from django.conf import settings as project
from playwright.sync_api import Browser, BrowserContext, Page, expect

from accounts.models import User
from council import services
from council.models import CouncilSession
from knowledge.models import KnowledgePack
from knowledge.services import add_entries, create_pack
from tests.support.browser import Complaints, chromium
from tests.support.stack import LiveStack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("browser"),
]

PASSWORD = "correct horse battery"
TEXTS = {
    "Night ferries": "The night ferry to Fernhaven carried 412 passengers a week in 2023, half of what the harbour had expected.",
    "Winter storms": "In winter the ferry stays in port on one day in five, because the harbour mouth silts up after storms.",
    "What a boat costs": "A second boat would cost 3.2 million and needs a crew of eleven, says the harbour's own estimate.",
}
# The same parts of the page, drawn by the server and by the scripts, must say the same.
DRAWN = ("#badge", "#sentence", "#usage", "#stages", "#decisions", "#seats", "#counts", "#messages")


@pytest.fixture
def reader(user: User, settings: LazySettings) -> User:
    """Somebody whose password the server's processes can check: they use the real hasher."""
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def pack(reader: User) -> KnowledgePack:
    pack = create_pack(reader, name="Ferries", description="What is known about the ferries of Fernhaven.")
    add_entries(pack, reader, [{"title": title, "content": content} for title, content in TEXTS.items()])
    return pack


@pytest.fixture
def stack(shared_stack: LiveStack, pack: KnowledgePack) -> Iterator[LiveStack]:
    """The one stack of this module, at rest again afterwards: the next test begins with empty tables."""
    yield shared_stack
    for session in CouncilSession.objects.filter(status="running").select_related("owner"):
        services.stop(session.owner, session.pk)
    time.sleep(2 * project.TURN_HEARTBEAT_S)  # by then the workers have noticed


@pytest.fixture
def browser(stack: LiveStack) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser, stack: LiveStack) -> BrowserContext:
    context = browser.new_context(base_url=stack.url)
    context.set_default_timeout(20_000)
    return context


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that fails the test when the browser complains about anything."""
    page, complaints = context.new_page(), Complaints()
    complaints.watch(page)
    yield page
    assert complaints.lines == []


def sign_in(page: Page) -> None:
    page.goto("/")
    expect(page).to_have_url(re.compile(r"/accounts/login\?next=/$"))
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Your councils")).to_be_visible()


def convene(page: Page, question: str = "Should Fernhaven buy a second ferry?", options: str = "") -> None:
    """With the keyboard alone: the question has the focus, and Enter in it convenes."""
    page.goto("/councils/new")
    page.get_by_label("Options").fill(options)
    page.get_by_label("Ferries").check()
    page.get_by_label("Question").focus()
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    expect(page.locator("#badge")).to_have_text("In session")


def drawn(page: Page) -> dict[str, Any]:
    """Text (without white space: where lines break is not what matters), elements and classes of each part."""
    return {part: [_text(page, part), page.eval_on_selector_all(f"{part}, {part} *", OUTLINE)] for part in DRAWN}


OUTLINE = "nodes => nodes.map(node => `${node.localName}.${node.className}`)"


def _text(page: Page, part: str) -> str:
    return "".join((page.text_content(part) or "").split())


def test_from_signing_in_to_a_cited_decision(page: Page, context: BrowserContext, browser: Browser) -> None:
    sign_in(page)
    read_and_search(page)
    convene(page, options="Buy it\nWait a year\nDo not buy it")
    watch(page)
    read_the_decision(page)
    read_it_without_scripts(page, context, browser)
    follow_up(page)


def read_and_search(page: Page) -> None:
    page.get_by_role("link", name="Ferries").click()
    expect(page.locator("#entries li")).to_have_count(len(TEXTS))
    expect(page.locator("#entries .badge.ready")).to_have_count(len(TEXTS), timeout=60_000)
    page.get_by_label("Search this pack").fill("winter storms")
    expect(page.locator("#results mark").first).to_have_text(re.compile("winter|storm", re.IGNORECASE))
    first = page.locator("#results li").first
    expect(first).to_contain_text("Winter storms")
    expect(first).to_contain_text(re.compile(r"words \d+\.\d+ · meaning 0\.\d+"))
    expect(page).to_have_url(re.compile(r"\?q=winter"))


def watch(page: Page) -> None:
    """Text arrives in pieces, in several seats at once; ballots are sealed until their round closes."""
    page.evaluate(NOTE_WHAT_GROWS)
    expect(page.locator("#counts")).to_contain_text("They stay sealed until the round closes.", timeout=60_000)
    lengths: dict[str, list[int]] = page.evaluate("window.lengths")
    assert len(lengths) == 3
    for seen in lengths.values():
        assert seen == sorted(seen)
        assert len(set(seen)) > 5
    assert page.evaluate("window.together") == 3
    expect(page.locator("#counts tbody tr")).to_have_count(3)


NOTE_WHAT_GROWS = """
() => {
  window.lengths = {};
  window.together = 0;
  new MutationObserver(() => {
    const live = [...document.querySelectorAll(".seat .said.live")];
    window.together = Math.max(window.together, live.length);
    for (const said of live)
      (window.lengths[said.closest(".seat").getAttribute("aria-labelledby")] ??= []).push(said.innerText.length);
  }).observe(document.getElementById("seats"), { subtree: true, childList: true, characterData: true });
}
"""


def read_the_decision(page: Page) -> None:
    decision = page.locator(".decision")
    expect(decision).to_be_visible(timeout=60_000)
    expect(page.locator("#badge")).to_have_text("Concluded")
    decision.locator("a.mark.verified").first.click()
    source = decision.locator(".source.verified").first
    expect(source.locator("blockquote")).to_be_visible()
    assert source.locator("blockquote").inner_text().strip() in " ".join(TEXTS.values())
    source.get_by_role("link", name="Read the entry as it was cited").click()
    expect(page.locator("mark#quote")).to_be_visible()
    page.go_back()
    expect(decision).to_be_visible()


def read_it_without_scripts(page: Page, context: BrowserContext, browser: Browser) -> None:
    expect(page.locator("#session[data-connection=open]")).to_be_visible()
    plain = browser.new_context(storage_state=context.storage_state(), java_script_enabled=False)
    other = plain.new_page()
    other.goto(page.url)
    assert drawn(other) == drawn(page)
    plain.close()


def follow_up(page: Page) -> None:
    page.get_by_label("Say something to the council").fill("Assume that the harbour is dredged.")
    page.get_by_label("What it is").select_option("constraint")
    page.get_by_role("button", name="Send and start a follow-up").click()
    expect(page.locator("#messages")).to_contain_text("Assume that the harbour is dredged.")
    expect(page.locator("#badge")).to_have_text("In session")
    expect(page.get_by_text("Earlier decisions of this council")).to_be_visible()
    expect(page.get_by_label("Say something to the council")).to_have_value("")


def test_the_scripts_keep_the_same_state_as_the_server(page: Page, context: BrowserContext) -> None:
    """reducer.js: the log of a whole council, reduced from nothing, is the server's snapshot."""
    sign_in(page)
    convene(page, options="Buy it\nDo not buy it")
    page.get_by_role("button", name="Stop").wait_for()
    page.get_by_label("Say something to the council").fill("Mind the crew.")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".decision")).to_be_visible(timeout=90_000)
    session = page.url.rsplit("/", 1)[1]
    compared: Any = page.evaluate(COMPARE, session)
    assert compared["events"] > 20
    assert compared["reduced"] == compared["snapshot"]


COMPARE = """
async (session) => {
  const { empty, reduce } = await import("/static/js/reducer.js");
  const answer = await fetch(`/api/council-sessions/${session}/events?after=0&limit=500`);
  const { results } = await answer.json();
  const { live, reason, ...reduced } = results.reduce(reduce, empty());
  await new Promise((resolve) => setTimeout(resolve, 2200)); // joiners within two seconds share a snapshot, and this one is to be new
  const snapshot = await new Promise((resolve) => {
    const socket = new WebSocket(`ws://${location.host}/ws/council-sessions/${session}`);
    socket.onopen = () => socket.send(JSON.stringify({ t: "hello", v: 1, last_seq: null }));
    socket.onmessage = ({ data }) => { socket.close(); resolve(JSON.parse(data).snapshot); };
  });
  for (const state of [reduced, snapshot])
    for (const round of state.rounds) round.turns.sort((a, b) => (a.turn < b.turn ? -1 : 1));
  return { events: results.length, reduced, snapshot };
}
"""


def test_the_published_script_misses_nothing_however_often_it_is_cut(page: Page) -> None:
    """quorum-stream.js: events once each and in order, and in the end the state that the log gives."""
    sign_in(page)
    convene(page)
    heard: Any = page.evaluate(CUT, page.url.rsplit("/", 1)[1])
    assert heard["cuts"] > 3
    assert heard["events"] == heard["log"]
    assert heard["state"] == heard["reduced"]


CUT = """
async (session) => {
  const { empty, follow, reduce } = await import("/static/js/quorum-stream.js");
  const begun = { ...empty() }, events = [], sockets = [];
  const Real = window.WebSocket;
  window.WebSocket = class extends Real { constructor(url) { super(url); sockets.push(this); } };
  const url = `ws://${location.host}/ws/council-sessions/${session}`;
  const state = await new Promise((resolve) => {
    let stream;
    const cutting = setInterval(() => sockets.at(-1)?.readyState === 1 && sockets.at(-1).close(), 200 + Math.random() * 300);
    stream = follow(url, {
      state: begun,
      changed: (state) => state.decisions.length && state.session.status === "completed" && setTimeout(() => {
        clearInterval(cutting); resolve(stream.state); stream.close();
      }),
      happened: (event) => events.push(event.seq),
    });
  });
  window.WebSocket = Real;
  const answer = await fetch(`/api/council-sessions/${session}/events?after=0&limit=500`);
  const { results } = await answer.json();
  const plain = ({ live, ...rest }) => JSON.stringify(rest);
  return {
    cuts: sockets.length, events, log: results.map((one) => one.seq),
    state: plain(state), reduced: plain(results.reduce(reduce, empty())),
  };
}
"""


def test_the_page_heals_by_itself_when_the_server_comes_back(page: Page, stack: LiveStack) -> None:
    """The browser reports the failed reconnects on its console, so this page is not asked to be silent."""
    quiet = page.context.new_page()
    sign_in(quiet)
    convene(quiet)
    expect(quiet.locator(".seat.writing").first).to_be_visible()
    stack.kill_worker("web")
    expect(quiet.locator("#connection")).to_contain_text("The connection is lost")
    stack.start_worker("web")
    expect(quiet.locator("#connection")).to_be_hidden(timeout=30_000)
    expect(quiet.locator(".decision")).to_be_visible(timeout=90_000)
    before = drawn(quiet)
    quiet.reload()
    expect(quiet.locator("#session[data-connection=open]")).to_be_visible()
    assert drawn(quiet) == before


def test_stop_ends_the_writing_at_once(page: Page) -> None:
    sign_in(page)
    convene(page)
    expect(page.locator(".seat.writing").first).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#badge")).to_have_text("Stopped")
    expect(page.locator(".seat.writing, .seat.thinking")).to_have_count(0)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_everything_fits_a_narrow_screen(context: BrowserContext, page: Page, pack: KnowledgePack) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    sign_in(page)
    convene(page, question="Fernhaven" * 30, options="Buy\n" + "W" * 60)
    expect(page.locator(".decision")).to_be_visible(timeout=90_000)
    council = page.url
    for path in (council, "/", "/packs/new", f"/packs/{pack.pk}?q=ferry", "/councils/new", "/accounts/keys"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_untrusted_text_stays_text(page: Page) -> None:
    """Markup in a question, an option or a message is neither run nor drawn, by the server or by the scripts."""
    nasty = '<img src=x onerror="document.title=1"><b>bold</b>'
    sign_in(page)
    convene(page, question=f"{nasty}?", options=f"{nasty}\nPlain")
    page.get_by_label("Say something to the council").fill(nasty)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#messages")).to_contain_text(nasty)
    expect(page.locator(".decision")).to_be_visible(timeout=90_000)
    assert page.locator("main img, main b").count() == 0
    assert "Quorum" in page.title()
