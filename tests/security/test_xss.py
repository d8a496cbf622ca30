"""Hostile text in everything that anybody may write, and every page that shows it, in a real browser: nothing runs.

Each page is opened twice: with our security policy, which must have nothing to refuse, and with the policy switched off, so that what
got through would run. ``test_payloads`` shows that the payloads are live and the canary hears them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect

from accounts.models import User
from accounts.services import create_api_key
from council.templates import save_template
from knowledge import services as knowledge
from knowledge.models import Entry, KnowledgePack, SearchLog
from tests.knowledge.conftest import index_all
from tests.security import payloads
from tests.security.canary import Canary
from tests.support.browser import chromium
from tests.support.stack import LiveStack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("xss"),
]


@dataclass
class Site:
    """``texts(most, n)``: the next n payloads of at most that length, so that fields share them out."""

    stack: LiveStack
    http: httpx2.Client
    cookie: str
    all: list[payloads.Payload]
    used: set[str]

    def texts(self, most: int, count: int = 1) -> list[str]:
        fitting = payloads.fitting(self.all, most)
        fresh = [one for one in fitting if one not in self.used] + [one for one in fitting if one in self.used]
        self.used |= set(fresh[:count])
        return fresh[:count]

    def joined(self, most: int = 20_000) -> str:
        """As many as there is room for, in one text."""
        text, parts = "", []
        for one in payloads.fitting(self.all, most):
            if len(text) + len(one) + 2 > most:
                break
            parts.append(one)
            text += f"{one}\n\n"
        self.used |= set(parts)
        return text

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = (
            self.http.request(method, path, json=body, **more)
            if body is not None
            else self.http.request(method, path, **more)
        )
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()


@pytest.fixture(params=["sample", pytest.param("product", marks=pytest.mark.deep)])
def site(request: pytest.FixtureRequest, tmp_path: Path, user: User, client: Client) -> Iterator[Site]:
    user.is_staff = user.is_superuser = True
    user.save()
    client.force_login(user)
    cookie = client.cookies["quorum_session"].value
    key = create_api_key(user, "tests")[1]
    found = payloads.sample() if request.param == "sample" else payloads.product()
    with (
        LiveStack(tmp_path, only=["web", "turns", "control"]) as stack,
        httpx2.Client(base_url=stack.url, timeout=60, headers={"Authorization": f"Bearer {key}"}) as http,
    ):
        yield Site(stack, http, cookie, found, set())


@dataclass
class World:
    pack: str
    entry: str
    council: str


def fill(site: Site, user: User, other: User) -> World:
    """Through the API wherever there is a route."""
    user.name = site.texts(80)[0]
    user.save()
    other.name = site.texts(80)[-1]
    other.save()
    pack = site.send(
        "POST",
        "/api/knowledge-packs",
        {"name": site.texts(200)[0], "description": site.joined(4000), "tags": site.texts(50, 10)},
    )["id"]
    for name in site.texts(190, 8):
        site.send("POST", "/api/knowledge-packs", {"name": name})
    entry = entries(site, pack)
    site.send(
        "PATCH", f"/api/knowledge-packs/{pack}/entries/{entry}", {"content": "zebra " + site.joined(100_000)[-90_000:]}
    )
    name = site.texts(100)[0].replace('"', "%22").replace("\n", " ")
    site.send(
        "POST",
        f"/api/knowledge-packs/{pack}/imports",
        files={"file": (f"{name}.txt", f"{site.joined(3000)}".encode())},
        data={"dry_run": "true"},
    )
    site.send(
        "POST", f"/api/knowledge-packs/{pack}/golden-questions", {"question": site.texts(400)[0], "expected": [entry]}
    )
    aside(site, user, other, pack)
    council = convene(site, pack)
    return World(pack, entry, council)


def aside(site: Site, user: User, other: User, pack: str) -> None:
    """What has no route, or one that needs more than is at hand."""
    found = KnowledgePack.objects.get(pk=pack)
    for name in site.texts(80, 5):
        create_api_key(user, name)
    for text in site.texts(300, 10):
        SearchLog.objects.create(pack=found, user=user, query=text, mode="hybrid", hits=0, took_ms=1)
    theirs = knowledge.create_pack(other, name=site.texts(190)[0])
    knowledge.share(theirs.pk, other, user.email, "viewer")
    knowledge.add_entries(theirs, other, [{"title": site.texts(190)[0], "content": "Short."}])
    index_all(theirs)
    knowledge.publish(theirs.pk, other, site.texts(60)[0], site.texts(300)[0])
    [name, other_name] = site.texts(80, 2)
    save_template(
        None, slug="hostile", agents=[{"name": name}, {"name": other_name}], title=site.texts(190)[0], packs=[found]
    )


def entries(site: Site, pack: str) -> str:
    """Every payload that fits a title stands in one; every one in metadata, names and values; contents hold some each."""
    titles = site.texts(200, 600)
    values = payloads.fitting(site.all, 400)
    items = [
        {
            "title": title,
            "content": f"zebra {title}\n\n{values[at % len(values)]}",
            "tags": site.texts(50, 3),
            "metadata": {values[at % len(values)][:60]: [values[at % len(values)], {"a": title}]},
        }
        for at, title in enumerate(titles)
    ]
    done = []
    for at in range(0, len(items), 300):
        done += site.send("POST", f"/api/knowledge-packs/{pack}/entries", items[at : at + 300])["results"]
    assert {one["status"] for one in done} == {"created"}, [one for one in done if one["status"] != "created"][:3]
    return str(done[-1]["id"])


def convene(site: Site, pack: str) -> str:
    """Models that say nothing but payloads, bit by bit, so that the live page shows them while they are written."""
    options = site.texts(200, 3)
    hostile = site.joined(6000)
    said = {
        "answer": f"{hostile} [1] [9]",
        "option": options[0],
        "confidence": 0.5,
        "would_change": hostile[:500],
        "claims": [{"text": text, "evidence": [1, 9]} for text in site.texts(300, 8)],
    }
    slow = {"token_delay_s": 0.001, "tokens_per_write": 16}
    site.stack.fake.set_rules(
        {"contains": "Choose exactly one", "model": "fake-option-*", "reply": json.dumps(said), **slow},
        {"contains": "Write the decision", "reply": json.dumps({"answer": f"{hostile} [1]"}), **slow},
        {"contains": "minority report", "reply": json.dumps({"text": f"{hostile} [1]"}), **slow},
    )
    *names, chair = [text for text in site.texts(80, 40) if "\n" not in text][:5]
    seats: list[dict[str, Any]] = [
        {"name": name, "role": role, "instructions": role, "model": f"fake-option-{at}"}
        for at, (name, role) in enumerate(zip(names, site.texts(200, 4), strict=True), start=1)
    ]
    seats.append({"name": chair, "model": "fake", "chair": True})
    plan = {
        "title": site.texts(200)[0],
        "question": site.joined(3000),
        "options": options,
        "packs": [pack],
        "agents": seats,
    }
    session = site.send("POST", "/api/council-sessions", plan)["id"]
    site.send("POST", f"/api/council-sessions/{session}/message", {"content": site.joined(3000), "kind": "note"})
    return str(session)


PAGES = [
    "/",
    "/packs/new",
    "/councils/new",
    "/councils/new?template=hostile",
    "/accounts/keys",
    "/accounts/email/",
]
PACK = [
    "/packs/{pack}",
    "/packs/{pack}?page=2",
    "/packs/{pack}?q=zebra",
    "/packs/{pack}?q={query}",
    "/entries/{entry}",
    "/entries/{entry}?source",
    "/entries/{entry}?start=0&end=3000",
]
COUNCIL = ["/councils/{council}/claims"]
DATA = [
    "/api/knowledge-packs/{pack}/entries?limit=100",
    "/api/knowledge-packs/{pack}/entries/search?q=zebra",
    "/api/council-sessions/{council}",
    "/api/me/sessions",
    "/api/no/{query}",
    "/api/knowledge-packs?order={query}",
    "/no/{query}",
    "/api/docs?{query}#{query}",
    "/api/redoc?{query}",
    "/api/council-sessions/{council}/export?format=html",
]
ADMIN = [
    "/admin/",
    "/admin/knowledge/knowledgepack/",
    "/admin/knowledge/knowledgepack/{pack}/change/",
    "/admin/knowledge/entry/",
    "/admin/knowledge/entry/?p=2",
    "/admin/knowledge/entry/?q={query}",
    "/admin/knowledge/entry/{entry}/change/",
    "/admin/knowledge/searchlog/",
    "/admin/knowledge/import/",
    "/admin/knowledge/snapshot/",
    "/admin/knowledge/goldenquestion/",
    "/admin/knowledge/entryrevision/?entry__id__exact={entry}",
    "/admin/council/councilsession/",
    "/admin/council/councilsession/{council}/change/",
    "/admin/council/turn/",
    "/admin/council/message/",
    "/admin/council/llmcall/",
    "/admin/council/counciltemplate/",
    "/admin/accounts/user/",
    "/admin/accounts/apikey/",
    "/admin/accounts/auditentry/",
    "/admin/accounts/signin/",
    *(
        f"/admin/knowledge/knowledgepack/{{pack}}/{tool}/"
        for tool in ("dashboard", "sharing", "manage", "questions", "searches", "review")
    ),
    "/admin/knowledge/knowledgepack/{pack}/hits/?q=zebra&mode=lexical",
]


def test_nothing_that_anybody_writes_runs(site: Site, user: User, other_user: User) -> None:
    world = fill(site, user, other_user)
    used = len(site.used)
    began = time.monotonic()
    with chromium() as browser:
        opened, canaries = visit(browser, site, world)
    print(f"{used} payloads on {opened} pages in {time.monotonic() - began:.1f} s")
    assert used >= 300
    for name, canary in canaries.items():
        assert [payloads.name_of(one) for one in canary.ran] == [], name
        assert [one for one in canary.said if not redocs_own(one)] == [], name
    assert Entry.objects.filter(pack_id=UUID(world.pack)).count() >= 200


def redocs_own(complaint: str) -> bool:
    """Its bundle tries to add two style elements of its own, which our policy refuses, whatever the address says."""
    return "/api/redoc" in complaint and ("style-src" in complaint or "inline style" in complaint)


def visit(browser: Browser, site: Site, world: World) -> tuple[int, dict[str, Canary]]:
    canaries = {}
    opened = 0
    for mode in ("with our policy", "without any"):
        canaries[mode] = canary = Canary()
        context = signed_in(browser, site, canary, bypass=mode == "without any")
        page = context.new_page()
        if mode == "with our policy":
            live(page, canary, site, world)
        names = {"pack": world.pack, "entry": world.entry, "council": world.council, "query": QUERY}
        for path in (f"/councils/{world.council}", *PAGES, *PACK, *COUNCIL, *DATA, *ADMIN, *turn_of(site, world)):
            answer = page.goto(path.format(**names))
            assert answer
            assert answer.status < 500, path
            assert answer.status == 200 or path.startswith(("/api/no", "/no/", "/api/knowledge-packs?order")), (
                f"{path}: {answer.status}"
            )
            canary.look(page)
            opened += 1
        context.close()
    return opened, canaries


QUERY = "zebra%22%3E%3Csvg%20onload%3D__q(1)%3E%27%3C%2Fscript%3E%3Cscript%3E__q(2)%3C%2Fscript%3E"


def signed_in(browser: Browser, site: Site, canary: Canary, *, bypass: bool) -> BrowserContext:
    """By a browser with a name that is hostile too."""
    agent = "Mozilla/5.0 <script>__q(3)</script>\"'><svg onload=__q(4)>"
    context = browser.new_context(base_url=site.stack.url, bypass_csp=bypass, user_agent=agent)
    context.set_default_timeout(30_000)
    context.add_cookies([{"name": "quorum_session", "value": site.cookie, "url": site.stack.url}])
    canary.watch(context)
    return context


def live(page: Page, canary: Canary, site: Site, world: World) -> None:
    """The council's page while its seats write, by the socket alone, until it has concluded; what is folded is unfolded."""
    page.goto(f"/councils/{world.council}")
    expect(page.locator("#session[data-connection=open]")).to_be_visible()
    site.send("POST", f"/api/council-sessions/{world.council}/start")
    expect(page.locator(".seat .said").first).to_be_visible(timeout=60_000)
    canary.look(page)
    expect(page.locator(".decision")).to_be_visible(timeout=120_000)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    canary.look(page)
    assert "__q(" in page.locator("#decisions").inner_text()
    assert "__q(" in page.locator("#seats").inner_text()


def turn_of(site: Site, world: World) -> list[str]:
    """The admin's pages of turns, and of calls."""
    events = site.send("GET", f"/api/council-sessions/{world.council}/events?limit=500")["results"]
    turns = [one["data"]["turn"] for one in events if one["type"] == "turn.completed"]
    return [f"/admin/council/turn/{turn}/change/" for turn in (turns[0], turns[-1])]
