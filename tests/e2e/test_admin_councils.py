"""The admin's screens about councils in a real browser, against the real stack: a council is followed while it runs, read down to a
turn's words, and stopped; nothing on them may be refused or fail.

With ``QUORUM_SCREENSHOTS`` set to a folder, each screen is kept there, in light and in dark.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings, global_settings
from django.urls import reverse
from playwright.sync_api import Page, expect

from accounts.models import User
from council import profiles, services
from council.models import CouncilSession
from council.templates import save_template
from knowledge import services as knowledge
from tests.e2e.test_admin_screens import PASSWORD, refused, show
from tests.support.browser import Complaints, chromium
from tests.support.stack import LiveStack

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

QUESTION = "Should the night ferry of Fernhaven sail in winter?"
TEXTS = {
    "Night ferries": "The night ferry of Fernhaven carried 412 passengers a week in 2023, half of what was expected.",
    "Winter storms": "In winter the ferry stays in port on one day in five, because the harbour mouth silts up.",
    "What a boat costs": "A second boat would cost 3.2 million and needs a crew of eleven people.",
}


@pytest.fixture
def curator(settings: LazySettings) -> User:
    """Somebody whose password the server's processes can check: they use the real hasher."""
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
    return User.objects.create_superuser("ada@example.org", PASSWORD, name="Ada")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LiveStack]:
    with LiveStack(tmp_path, model="fake-tools-2-latency-200", env={"LLM_TOOLS": "true"}) as stack:
        yield stack


@pytest.fixture
def sessions(curator: User, stack: LiveStack) -> dict[str, CouncilSession]:
    """A short council that will conclude, and one with a seat that fails and one that keeps its round open."""
    pack = knowledge.create_pack(curator, name="Ferries")
    knowledge.add_entries(pack, curator, [{"title": title, "content": text} for title, text in TEXTS.items()])
    save_template(None, slug="pair", agents=[{"name": "Owl"}, {"name": "Fox"}], title="A pair", packs=[pack])
    profiles.save_profile(
        "house", {"base_url": "https://93.184.215.14/v1", "model": "m", "price_in": 1, "price_out": 2}
    )
    plan: dict[str, Any] = {"question": QUESTION, "options": ["Sail", "Stay"], "packs": [pack.pk]}
    short = services.create_session(curator, services.Plan(**plan))
    agents: Any = [{"name": "Owl"}, {"name": "Fox", "model": "fake-400"}, {"name": "Elk", "model": "fake-hang"}]
    agents.append({"name": "Chair", "chair": True})
    stuck = services.create_session(curator, services.Plan(**plan | {"agents": agents, "title": "Stuck"}))
    return {"short": short, "stuck": stuck}


@pytest.fixture
def page(stack: LiveStack, sessions: dict[str, CouncilSession]) -> Iterator[Page]:
    """Signed in, at the size of a small laptop. Fails the test for anything on the console and for any request that fails."""
    with chromium() as browser:
        context = browser.new_context(base_url=stack.url, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(20_000)
        page, complaints = context.new_page(), Complaints()
        complaints.watch(page)
        page.on("response", lambda response: refused(response, complaints))
        page.goto("/admin/")
        page.locator("input[name=username]").fill("ada@example.org")
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("button[type=submit]").click()
        expect(page).to_have_url(re.compile(r"/admin/$"))
        yield page
        assert complaints.lines == []


def keep(page: Page, name: str) -> None:
    folder = os.environ.get("QUORUM_SCREENSHOTS")
    if not folder:
        return
    for scheme in ("light", "dark"):
        page.evaluate("scheme => document.documentElement.classList.toggle('dark', scheme === 'dark')", scheme)
        page.screenshot(path=Path(folder) / f"{name}-{scheme}.png", full_page=True)
    page.evaluate("document.documentElement.classList.remove('dark')")


def start(page: Page, session: CouncilSession) -> None:
    """Over the API, as the browser's person: Playwright's loop runs in this thread, in which the ORM does not work."""
    token = page.evaluate("document.cookie.match(/csrftoken=([^;]+)/)?.[1]") or page.locator(
        "input[name=csrfmiddlewaretoken]"
    ).first.get_attribute("value")
    headers = {"X-CSRFToken": token or "", "Referer": page.url, "Origin": page.url.partition("/admin")[0]}
    answer = page.request.post(f"/api/council-sessions/{session.pk}/start", headers=headers)
    assert answer.status == 202, answer.text()


def test_a_council_is_followed_read_and_stopped(page: Page, sessions: dict[str, CouncilSession]) -> None:
    main, short, stuck = page.locator("#main"), sessions["short"], sessions["stuck"]
    change = reverse("admin:council_councilsession_change", args=[short.pk])
    show(page, change, "draft", "Not started yet.")
    start(page, short)
    page.goto(change)
    expect(main).to_contain_text("Stop this council")
    keep(page, "session-running")
    expect(page.get_by_role("status").first).to_have_text("completed", timeout=60_000)  # nothing here loads it again
    expect(main).to_contain_text("decided by")
    keep(page, "session")
    page.locator(".q-table").get_by_role("link", name="answer").first.click()
    for text in ("Its own searches", "Passages that it was shown", "Attempt 1", "search_packs("):
        expect(main).to_contain_text(text)
    page.get_by_text("Prompt", exact=True).first.click()
    expect(main).to_contain_text("packs that you may search")
    keep(page, "turn")

    start(page, stuck)
    page.goto(reverse("admin:council_councilsession_change", args=[stuck.pk]))
    expect(main).to_contain_text("bad_request")
    page.locator("tr", has_text="bad_request").get_by_role("link", name="answer").click()
    keep(page, "turn-failed")
    page.get_by_role("button", name="Ask this seat again").click()
    expect(main).to_contain_text("Attempt 2")
    page.get_by_role("link", name="Stuck").first.click()
    page.get_by_role("button", name="Stop this council").click()
    expect(page.get_by_role("status").first).to_have_text("stopped")

    for name, path, text in (
        ("sessions", reverse("admin:council_councilsession_changelist"), "Stuck"),
        ("turns", reverse("admin:council_turn_changelist"), "Elk"),
        ("spend", reverse("admin:council_llmcall_spend"), "By day and model"),
        ("templates", reverse("admin:council_counciltemplate_changelist"), "A pair"),
        ("profiles", reverse("admin:council_modelprofile_changelist"), "house"),
    ):
        show(page, path, text)
        keep(page, name)
    for name in ("counciltemplate", "modelprofile"):
        page.goto(reverse(f"admin:council_{name}_changelist"))
        page.locator("#result_list th a[href*=change]").first.click()
        expect(page).to_have_url(re.compile("/change/"))
        keep(page, name)
