"""The bell in the header, in a real browser: live, read on every page at once, and without what is no longer shared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.test import Client
from playwright.sync_api import BrowserContext, expect

from accounts.models import User
from council import services
from council import steps as council_steps
from council.models import Run
from council.states import RunStatus
from knowledge import services as packs
from knowledge.services import imports
from knowledge.states import ImportStatus
from tests.realtime.live import LiveServer
from tests.support.browser import Complaints, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
    # WhiteNoise's files; in production nobody makes an error of it.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]


@pytest.fixture
def cookie(user: User, settings: LazySettings) -> tuple[str, str]:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    return name, client.cookies[name].value


@pytest.fixture
def context(
    server: LiveServer, other_user: User, cookie: tuple[str, str], settings: LazySettings
) -> Iterator[BrowserContext]:
    """Asks for all that the test needs of the database, for nothing can be made there while the browser is open."""
    settings.PUBLIC_URL = server.url
    with chromium() as browser:
        context = browser.new_context(base_url=server.url, viewport={"width": 1100, "height": 700})
        context.set_default_timeout(20_000)
        context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": server.url}])
        yield context
        context.close()


def aside(work: Callable[[], Any]) -> Any:
    """Playwright's loop runs in this thread, where the ORM refuses to work."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return found[0]


def import_fails(owner: User, name: str) -> None:
    pack = packs.create_pack(owner, name=name)
    job = imports.create_import(pack, owner, filename="crossings.csv")
    imports.conclude(*imports.locked_import(job.pk), ImportStatus.FAILED, "The file holds no entries.")


def council_fails(owner: User) -> None:
    session = services.create_session(owner, services.Plan(question="Should Fernhaven buy a second ferry?"))
    services.start(owner, session.pk)
    session.refresh_from_db()
    council_steps.end_run(session, Run.objects.get(session=session), RunStatus.FAILED, "no_quorum")


def in_one(work: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        with transaction.atomic():
            return work()

    return run


@pytest.mark.forges
def test_the_bell_is_live_and_reads_the_same_on_every_page(
    context: BrowserContext, user: User, other_user: User, settings: LazySettings, tmp_path: Any
) -> None:
    settings.LLM_BASE_URL, settings.LLM_MODEL = "http://127.0.0.1:1/v1", "fake"
    first, second, complaints = context.new_page(), context.new_page(), Complaints()
    for page in (first, second):
        complaints.watch(page)
        page.goto("/")
        expect(page.locator("#bell")).to_have_attribute("data-connection", "open")
    expect(first.locator("#bell .count")).to_be_empty()

    pack = aside(lambda: packs.create_pack(other_user, name="Winter timetables"))
    share, _ = aside(lambda: packs.share(pack.pk, other_user, user.email, "viewer"))
    aside(in_one(lambda: import_fails(user, "Ferries")))
    aside(in_one(lambda: council_fails(user)))
    for page in (first, second):
        expect(page.locator("#bell .count")).to_have_text("3")
    first.locator("#bell summary").click()
    rows = first.locator("#bell li")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("“Should Fernhaven buy a second ferry?” has failed")
    expect(rows.first.locator(".detail")).to_have_text("no quorum")
    expect(rows.last.get_by_role("link")).to_have_attribute("href", f"/packs/{pack.pk}")
    first.screenshot(path=str(tmp_path / "bell.png"))

    aside(lambda: packs.unshare(pack.pk, share.pk))
    expect(rows).to_have_count(2)
    first.get_by_role("button", name="Mark all as read").click()
    for page in (first, second):
        expect(page.locator("#bell .count")).to_be_empty()
    expect(first.locator("#bell [data-empty]")).to_be_visible()
    second.reload()
    expect(second.locator("#bell")).to_have_attribute("data-connection", "open")
    expect(second.locator("#bell .count")).to_be_empty()
    assert complaints.lines == []
