"""The curators' screens of the admin in a real browser, against the real stack: nothing on them may be refused or fail, and each
shows what it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import LazySettings, global_settings
from django.utils import timezone
from playwright.sync_api import Page, Response, expect

from accounts.models import User
from knowledge import services
from knowledge.models import Entry, EntryUse, KnowledgePack, SearchLog
from knowledge.services import bulk_jobs
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
    "Night ferries": "The night ferry to Fernhaven carried 412 passengers a week in 2023, half of what was expected.",
    "Winter storms": "In winter the ferry stays in port on one day in five, because the harbour mouth silts up.",
    "What a boat costs": "A second boat would cost 3.2 million and needs a crew of eleven.",
}


@pytest.fixture
def curator(settings: LazySettings) -> User:
    """Somebody whose password the server's processes can check: they use the real hasher."""
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
    return User.objects.create_superuser("ada@example.org", PASSWORD, name="Ada")


@pytest.fixture
def pack(curator: User) -> KnowledgePack:
    """A pack with a past: a revision, golden questions and a run, searches, citations."""
    pack = services.create_pack(curator, name="Ferries", description="What is known about the ferries of Fernhaven.")
    results = services.add_entries(pack, curator, [{"title": title, "content": text} for title, text in TEXTS.items()])
    entries = [result.entry for result in results if result.entry]
    services.revise_entry(
        entries[0].pk, curator, {"content": TEXTS["Night ferries"].replace("412", "428")}, "recounted"
    )
    services.add_golden_question(
        pack.pk, curator, question="Why does the ferry stay in port?", expected=[entries[1].pk]
    )
    services.evaluate(pack, curator, "lexical")
    EntryUse.objects.create(entry=entries[0], retrieved=9, cited=4)
    Entry.objects.filter(pk=entries[0].pk).update(created_at=timezone.now() - timedelta(days=30))
    for query, hits in (("ferry", 3), ("zeppelin", 0)):
        SearchLog.objects.create(pack=pack, user=curator, query=query, mode="hybrid", hits=hits, took_ms=3)
    return pack


@pytest.fixture
def page(shared_stack: LiveStack, pack: KnowledgePack) -> Iterator[Page]:
    """Signed in, at the size of a small laptop. Fails the test for anything on the console and for any request that fails."""
    with chromium() as browser:
        context = browser.new_context(base_url=shared_stack.url, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(20_000)
        page, complaints = context.new_page(), Complaints()
        complaints.watch(page)
        page.on("requestfailed", lambda request: complaints.lines.append(f"failed: {request.url}"))
        page.on("response", lambda response: refused(response, complaints))
        page.goto("/admin/")
        page.locator("input[name=username]").fill("ada@example.org")
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("button[type=submit]").click()
        expect(page).to_have_url(re.compile(r"/admin/$"))
        yield page
        assert complaints.lines == []


def refused(response: Response, complaints: Complaints) -> None:
    if response.status >= 400:
        complaints.lines.append(f"{response.status}: {response.url}")


def show(page: Page, path: str, *texts: str) -> None:
    page.goto(path)
    main = page.locator("#main")
    for text in texts:
        expect(main).to_contain_text(text)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280, path


def test_a_curators_day(page: Page, pack: KnowledgePack) -> None:
    """One test, and before the others: each test makes Django's content types anew, while the server's processes remember the
    numbers that they met first and log what staff do under these."""
    reads_a_diff_evaluates_and_reviews(page, pack)
    imports_a_file_and_tags_many_entries_while_watching(page, pack)


def reads_a_diff_evaluates_and_reviews(page: Page, pack: KnowledgePack) -> None:
    tools = f"/admin/knowledge/knowledgepack/{pack.pk}"
    show(page, f"{tools}/review/", "1 entry to look at")
    page.get_by_role("link", name="Night ferries").click()
    page.get_by_role("link", name="what changed").click()
    expect(page.locator(".q-diff del")).to_have_text("412")
    expect(page.locator(".q-diff ins")).to_have_text("428")
    expect(page.locator("#main")).to_contain_text("recounted")
    show(page, f"{tools}/questions/?mode=lexical", "no earlier run")
    page.get_by_role("button", name="Evaluate now").click()
    expect(page.locator("#main")).to_contain_text("nDCG@10 is 1.000 over 1 question.")
    show(page, f"{tools}/review/")
    page.get_by_label("Night ferries").check()
    page.get_by_role("button", name="Mark the chosen as reviewed").click()
    expect(page.locator("#main")).to_contain_text("1 entry was marked as reviewed.")
    expect(page.locator("#main")).to_contain_text("reviewed 2")


def imports_a_file_and_tags_many_entries_while_watching(page: Page, pack: KnowledgePack) -> None:
    """Both pages change by themselves: nothing here loads them again."""
    main = page.locator("#main")
    page.goto(f"/admin/knowledge/import/?pack__id__exact={pack.pk}")
    page.get_by_role("link", name="Add import").first.click()
    rows = "\n".join(f"Stop {n},The ferry calls at stop {n} in the morning." for n in range(bulk_jobs.AT_ONCE + 1))
    page.locator("input[type=file]").set_input_files(
        {"name": "stops.csv", "mimeType": "text/csv", "buffer": f"title,content\n{rows}\n".encode()}
    )
    page.get_by_role("button", name="Import", exact=True).click()
    expect(main).to_contain_text(f"makes {bulk_jobs.AT_ONCE + 1} new entries")
    page.get_by_role("button", name="Carry the plan out").click()
    expect(main.get_by_role("status")).to_have_text("completed")
    page.goto(f"/admin/knowledge/entry/?pack__id__exact={pack.pk}")
    page.locator("#action-toggle").check()
    page.get_by_role("link", name=re.compile(r"Select all \d+")).click()
    page.locator("select[name=action]").select_option("tag")
    page.get_by_role("button", name="Run").click()
    page.get_by_label("Tags to add").fill("timetable")
    page.get_by_role("button", name="Change the tags").click()
    expect(page).to_have_url(re.compile("/entry/bulk/"))
    everything = bulk_jobs.AT_ONCE + 1 + len(TEXTS)
    expect(main).to_contain_text(f"{everything} of {everything} entries")
    expect(main).to_contain_text("Tag: done")


def test_every_screen_opens_without_a_complaint(page: Page, pack: KnowledgePack) -> None:
    tools = f"/admin/knowledge/knowledgepack/{pack.pk}"
    show(page, "/admin/knowledge/knowledgepack/", "Ferries", "50% of 2", "Dashboard")
    page.locator("#main").get_by_role("link", name="Dashboard").click()
    expect(page.get_by_role("img", name=re.compile("Entries by status: "))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Searches a day"))).to_be_visible()
    expect(page.locator("#main")).to_contain_text("Pack evaluated")
    show(page, f"{tools}/change/", "Publishing gate")
    show(page, f"{tools}/sharing/", "ada@example.org", "Transfer ownership")
    show(page, f"{tools}/embedding/", "Make all vectors anew", "all-MiniLM-L6-v2")
    show(page, f"{tools}/manage/", "Download", "Copy the pack", "Move to the trash")
    show(page, f"{tools}/questions/?mode=lexical", "Why does the ferry stay in port?", "Winter storms", "Evaluate now")
    expect(page.get_by_role("img", name=re.compile(r"nDCG@10 of each lexical run\. .*: 1"))).to_be_visible()
    show(page, f"{tools}/hits/?q=winter+storms&mode=lexical", "Winter storms", "bm25", "matched", "Words (BM25)")
    expect(page.locator(".q-passage mark").first).to_be_visible()
    show(page, f"{tools}/searches/", "Zero-result queries", "zeppelin", "50.0%", "Winter storms")
    show(page, f"{tools}/review/", "Night ferries", "never reviewed", "120")
    show(page, f"/admin/knowledge/entry/?pack__id__exact={pack.pk}", "Night ferries", "What a boat costs")
    for model in (
        "goldenquestion",
        "evaluation",
        "searchlog",
        "import",
        "snapshot",
        "embeddingmodel",
        "embeddingspace",
    ):
        show(page, f"/admin/knowledge/{model}/", "")
    show(page, f"/admin/knowledge/import/add/?pack={pack.pk}", "Show the plan first")
    show(page, f"/admin/knowledge/snapshot/add/?pack={pack.pk}", "Councils pin and search")
    show(page, f"/admin/knowledge/goldenquestion/add/?pack={pack.pk}", "Entries of this pack")
    show(page, "/admin/council/llmcall/spend/", "US dollars", "By day and model")
    show(page, "/admin/council/modelprofile/add/", "API key", "Write-only", "When it fails")
    show(page, "/admin/council/dailybudget/add/", "Tokens limit")
    show(page, "/admin/knowledge/embeddingmodel/add/", "the key itself is not stored")
