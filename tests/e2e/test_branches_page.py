"""What grows out of a council, in a real browser: a question to one seat, a reconsideration, a fork."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from django.conf import LazySettings
from playwright.sync_api import Page, expect

from accounts.models import User
from council import services
from council.models import CouncilSession
from knowledge.models import Entry, KnowledgePack
from knowledge.services import revise_entry
from tests.e2e.test_page import (  # noqa: F401  # fixtures
    browser,
    context,
    drawn,
    pack,
    page,
    reader,
    sign_in,
    stack,
)
from tests.support.stack import LiveStack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture
def stale(
    reader: User,  # noqa: F811
    pack: KnowledgePack,  # noqa: F811
    stack: LiveStack,  # noqa: F811
    settings: LazySettings,
) -> CouncilSession:
    """A council that has concluded, and one of its sources revised since. Made before the browser is opened."""
    settings.LLM_BASE_URL, settings.LLM_MODEL = stack.fake.url, "fake"  # of this process, which starts it
    plan = services.Plan("What would a second ferry cost?", options=["Much", "Little"], packs=[pack.pk])
    session = services.create_session(reader, plan)
    services.start(reader, session.pk)
    until = time.monotonic() + 60
    while session.status != "completed" and time.monotonic() < until:
        time.sleep(0.5)
        session.refresh_from_db()
    assert session.status == "completed"
    for entry in Entry.objects.filter(pack=pack).select_related("revision"):
        revise_entry(entry.pk, reader, {"content": entry.revision.content + " So it was read in 2024."})
    return session


def test_ask_reconsider_and_fork(stale: CouncilSession, page: Page, tmp_path: Path) -> None:  # noqa: F811
    sign_in(page)
    page.goto(f"/councils/{stale.pk}")
    ask(page)
    page.screenshot(path=tmp_path / "asked.png", full_page=True)
    fork(page)
    page.screenshot(path=tmp_path / "fork.png", full_page=True)
    page.goto(f"/councils/{stale.pk}")
    page.get_by_role("button", name="Reconsider").click()
    expect(page.locator("#badge")).to_have_text("Concluded", timeout=60_000)
    expect(page.locator("#decisions .notice")).to_contain_text("Reconsidered after run 1")
    # Read as it is now, under its old number.
    expect(page.locator("#seats .source").first).to_contain_text("What a boat costs")
    page.screenshot(path=tmp_path / "reconsidered.png", full_page=True)


def ask(page: Page) -> None:  # noqa: F811
    form = page.locator("#ask-form")
    form.get_by_label("Seat").select_option(index=0)
    form.get_by_label("Question").fill("What does a crew cost?")
    form.get_by_role("button", name="Ask").click()
    replied = page.locator("#seats .seat").first
    expect(replied).to_contain_text("Asked: What does a crew cost?", timeout=30_000)
    live = drawn(page)
    page.reload()  # drawn by the server
    expect(page.locator("#session")).to_have_attribute("data-connection", "open")
    assert drawn(page)["#seats"] == live["#seats"]


def fork(page: Page) -> None:  # noqa: F811
    form = page.locator("#fork-form")
    form.get_by_label("Keep rounds up to").fill("99")
    form.get_by_role("button", name="Fork").click()
    expect(page.get_by_text(re.compile(r"The run has \d rounds"))).to_be_visible()
    form.get_by_label("Keep rounds up to").fill("1")
    form.get_by_label("Without").select_option(index=1)
    form.get_by_role("button", name="Fork").click()
    expect(page.get_by_text("what begins with round 2 is new")).to_be_visible()
    expect(page.locator("#badge")).to_have_text("Draft")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#badge")).to_have_text("Concluded", timeout=60_000)
    expect(page.locator("#seats")).to_contain_text("Opening answer (carried over)")
