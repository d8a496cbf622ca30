"""A person takes a seat in a real browser: the form comes by itself, the keyboard is enough, and the gate is three buttons."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings, global_settings
from playwright.sync_api import Page, expect

from accounts.models import User
from council import services
from council.models import CouncilSession
from knowledge.models import KnowledgePack
from knowledge.services import add_entries, create_pack
from tests.e2e.test_page import COMPARE, PASSWORD, TEXTS, sign_in
from tests.support.browser import Complaints, chromium
from tests.support.stack import LiveStack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("browser"),
]


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
def session(reader: User, pack: KnowledgePack) -> CouncilSession:
    agents = [
        {"name": "Analyst", "model": "fake-option-1"},
        {"name": "Skeptic", "model": "fake-option-2"},
        {"name": "Ada", "model": "human", "role": "harbour master"},
        {"name": "Chair", "model": "fake", "chair": True},
    ]
    plan = services.Plan(
        question="Should Fernhaven buy a second ferry?",
        options=["Buy it", "Wait a year", "Do not buy it"],
        packs=[pack.pk],
        agents=agents,  # type: ignore[arg-type]  # literals
        protocol={"gate": "before_synthesis"},
    )
    return services.create_session(reader, plan)


@pytest.fixture
def page(shared_stack: LiveStack, session: CouncilSession) -> Iterator[Page]:
    with chromium() as browser:
        context = browser.new_context(base_url=shared_stack.url)
        context.set_default_timeout(20_000)
        page, complaints = context.new_page(), Complaints()
        complaints.watch(page)
        yield page
        refused = [
            line for line in complaints.lines if "400 (Bad Request)" in line
        ]  # the ballot that is sent on purpose
        assert (len(refused), len(complaints.lines)) == (1, 1), complaints.lines


def keep(page: Page, name: str) -> None:
    """A picture to look at, where one is wanted."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_person_sits_at_the_table(page: Page, session: CouncilSession) -> None:
    sign_in(page)
    page.goto(f"/councils/{session.pk}")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="Your answer is awaited")).to_be_visible()
    expect(page.locator("#seats")).to_contain_text("waits for a person")
    expect(page.locator("#sentence")).to_contain_text("2 of 3 seats are done.", timeout=60_000)
    assert page.locator("#seats .said").count() == 0  # nobody's answer is shown before hers
    keep(page, "answer")
    page.get_by_label("Wait a year").focus()
    page.keyboard.press("Space")
    page.get_by_label("Your reasons").fill("The night ferry carried half of what was expected [1].")
    page.get_by_role("button", name="Give this answer").press("Enter")

    expect(page.get_by_role("heading", name="Your ballot is awaited")).to_be_visible(timeout=60_000)
    expect(page.locator("#seats .said")).to_have_count(3)  # the opening is open now
    keep(page, "ballot")
    for place, letter in enumerate("BAC", start=1):
        page.get_by_label(f"Place of {letter}").select_option(str(place))
    page.get_by_label("Points for B").fill("9")
    page.get_by_label("Place of C").select_option("1")
    page.get_by_role("button", name="Cast this ballot").click()
    expect(page.get_by_text("Each place can be given once.")).to_be_visible()
    keep(page, "refused")
    expect(page.get_by_label("Points for B")).to_have_value("9")
    page.get_by_label("Place of C").select_option("3")
    page.get_by_role("button", name="Cast this ballot").click()

    expect(page.get_by_role("heading", name="The council waits for your approval")).to_be_visible(timeout=60_000)
    keep(page, "gate")
    page.get_by_role("button", name="Debate once more").wait_for(state="hidden")  # this protocol has none
    page.get_by_label("A note for those who go on").fill("Mention the winter.")
    page.get_by_role("button", name="Approve: write the decision").click()
    dissent = page.get_by_role("textbox", name="Your minority report")
    expect(page.locator(".decision").or_(dissent)).to_be_visible(timeout=60_000)
    if dissent.is_visible():
        dissent.fill("The harbour mouth silts up [2].")
        page.get_by_role("button", name="Send").first.click()
    expect(page.locator(".decision")).to_be_visible(timeout=60_000)
    expect(page.locator("#waiting")).to_be_empty()
    expect(page.locator("#messages")).to_contain_text("Mention the winter.")
    before = page.locator("#seats").inner_text()
    keep(page, "decided")
    page.reload()
    expect(page.locator("#session[data-connection=open]")).to_be_visible()
    assert page.locator("#seats").inner_text() == before
    compared = page.evaluate(COMPARE, str(session.pk))  # the log of a council with a person, reduced by the scripts
    assert compared["reduced"] == compared["snapshot"]
