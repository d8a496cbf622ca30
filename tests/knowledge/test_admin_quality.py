"""The curators' pages of the admin: what they show, and that what they do goes through the services."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from knowledge import services
from knowledge.admin.charts import Point, bars, line, shares
from knowledge.admin.diffs import side_by_side
from knowledge.models import (
    EmbeddingModel,
    Entry,
    EntryUse,
    Evaluation,
    GoldenQuestion,
    Import,
    ImportItem,
    KnowledgePack,
    SearchLog,
    Snapshot,
)
from tests.knowledge.conftest import Fill

PAGES = ["dashboard", "questions", "hits", "searches", "review"]
LISTS = ["goldenquestion", "evaluation", "searchlog", "import", "snapshot", "embeddingmodel", "embeddingspace"]


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(
        User.objects.create_superuser("staff@example.org"), backend="django.contrib.auth.backends.ModelBackend"
    )
    return client


@pytest.fixture
def entries(fill: Fill) -> dict[str, Entry]:
    return {result.entry.external_id or "": result.entry for result in fill() if result.entry}


def page(pack: KnowledgePack, name: str) -> str:
    return reverse(f"admin:knowledge_knowledgepack_{name}", args=[pack.pk])


def address(model: str, name: str, *args: object) -> str:
    return reverse(f"admin:knowledge_{model}_{name}", args=args)


def act(client: Client, action: str, *entries: Entry, **extra: str) -> Any:
    body = {"action": action, "_selected_action": [str(one.pk) for one in entries], **extra}
    return client.post(address("entry", "changelist"), body)


def read(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, url
    return str(response.content.decode())


# --- Pages of a pack ---


@pytest.mark.parametrize("name", PAGES)
def test_pages_open_for_a_pack_without_anything(staff: Client, pack: KnowledgePack, name: str) -> None:
    assert 'aria-current="page"' in read(staff, page(pack, name))


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_a_deleted_pack_are_gone(staff: Client, pack: KnowledgePack, name: str) -> None:
    services.delete_pack(pack.pk)
    assert staff.get(page(pack, name)).status_code == 404


def test_the_button_evaluates_and_the_page_shows_figures_chart_and_diff(
    staff: Client, pack: KnowledgePack, entries: dict[str, Entry]
) -> None:
    services.add_golden_question(pack.pk, None, question="photovoltaic", expected=[entries["solar"].pk])
    assert staff.post(page(pack, "questions"), {"mode": "lexical"}).status_code == 302
    services.set_entry_enabled(entries["solar"].pk, enabled=False)
    staff.post(page(pack, "questions"), {"mode": "lexical"})
    shown = read(staff, page(pack, "questions") + "?mode=lexical")
    assert Evaluation.objects.count() == 2
    assert '<svg class="q-chart" role="img" aria-label="nDCG@10 of each lexical run' in shown
    assert '<span class="q-tag q-lost">lost</span>' in shown
    assert "1.000 → 0.000" in shown


def test_without_questions_the_button_says_so(staff: Client, pack: KnowledgePack) -> None:
    response = staff.post(page(pack, "questions"), follow=True)
    assert b"no golden questions to ask" in response.content
    assert staff.post(page(pack, "questions"), {"mode": "nonsense"}, follow=True).status_code == 200


@pytest.mark.parametrize("mode", ["hybrid", "lexical", "semantic"])
def test_hit_testing_shows_how_a_hit_came_to_its_place(
    staff: Client, pack: KnowledgePack, entries: dict[str, Entry], mode: str
) -> None:
    shown = read(staff, page(pack, "hits") + f"?q=flour+and+water&mode={mode}")
    assert "<mark>Flour</mark>" in shown or mode == "semantic"
    assert "Sourdough bread" in shown
    path = {"hybrid": "bm25 + exact", "lexical": "bm25", "semantic": "exact"}[mode]
    assert f"<strong>{path}</strong>" in shown
    assert not SearchLog.objects.exists()


def test_markup_in_queries_and_entries_stays_text(staff: Client, pack: KnowledgePack, user: User) -> None:
    nasty = '<img src=x onerror="alert(1)"> flour'
    services.add_entries(pack, user, [{"title": nasty, "content": nasty}])
    SearchLog.objects.create(pack=pack, query=nasty, mode="lexical", hits=0, took_ms=1)
    for name, query in (("hits", "?q=%3Cimg+src=x%3E+flour&mode=lexical"), ("searches", ""), ("dashboard", "")):
        assert "<img src=x" not in read(staff, page(pack, name) + query)


def test_the_search_log_names_what_was_not_found(
    staff: Client, pack: KnowledgePack, user: User, entries: dict[str, Entry]
) -> None:
    for query, hits in (("zeppelin", 0), ("zeppelin", 0), ("bread", 2)):
        SearchLog.objects.create(pack=pack, user=user, query=query, mode="hybrid", hits=hits, best=0.5, took_ms=4)
    EntryUse.objects.create(entry=entries["bread"], retrieved=1)
    shown = read(staff, page(pack, "searches"))
    assert "66.7%" in shown
    assert "zeppelin" in shown
    assert "Solar panels on the roof" in shown
    assert "Searches a day" in read(staff, page(pack, "dashboard"))
    listed = read(staff, address("searchlog", "changelist") + f"?pack__id__exact={pack.pk}&results=none")
    assert "zeppelin" in listed


def test_chosen_entries_are_marked_as_reviewed(staff: Client, pack: KnowledgePack, entries: dict[str, Entry]) -> None:
    for entry in entries.values():
        EntryUse.objects.create(entry=entry, cited=3)
    assert "never reviewed" in read(staff, page(pack, "review"))
    staff.post(page(pack, "review"), {"entry": [str(entries["solar"].pk), "nonsense"]})
    reviewed = Entry.objects.exclude(reviewed_at=None).get()
    assert (reviewed.external_id, reviewed.reviewed_by.email) == ("solar", "staff@example.org")  # type: ignore[union-attr]  # an error fails the test


def test_the_list_of_packs_shows_where_care_is_needed(
    staff: Client, pack: KnowledgePack, entries: dict[str, Entry]
) -> None:
    for hits in (0, 1, 1, 1):
        SearchLog.objects.create(pack=pack, query="q", mode="hybrid", hits=hits, took_ms=1)
    SearchLog.objects.create(pack=pack, query="old", mode="hybrid", hits=0, took_ms=1)
    SearchLog.objects.filter(query="old").update(at=timezone.now() - timedelta(days=60))
    services.add_golden_question(pack.pk, None, question="photovoltaic", expected=[entries["solar"].pk])
    services.evaluate(pack, None, "hybrid")
    GoldenQuestion.objects.update(question="nothing of the kind")
    services.evaluate(pack, None, "lexical")  # not what most people search by
    shown = read(staff, address("knowledgepack", "changelist"))
    assert "25% of 4" in shown
    assert "1.000" in shown


def test_the_gate_is_set_here(staff: Client, pack: KnowledgePack, user: User) -> None:
    form = {
        "name": "Notes",
        "description": "",
        "visibility": "private",
        "status": "draft",
        "tags": "",
        "language": "english",
    }
    change = address("knowledgepack", "change", pack.pk)
    assert staff.post(change, {**form, "gate_publishing": "1.5"}).status_code == 200
    assert staff.post(change, {**form, "gate_publishing": "0.75"}).status_code == 302
    pack.refresh_from_db()
    assert pack.gate_publishing == 0.75


# --- Entries ---


def test_revisions_stand_side_by_side(staff: Client, entries: dict[str, Entry]) -> None:
    solar = entries["solar"]
    services.revise_entry(solar.pk, None, {"content": "Photovoltaic tiles turn sunlight into electricity."}, "tiles")
    url = address("entry", "revisions", solar.pk)
    shown = read(staff, url)
    assert "<del>modules</del>" in shown
    assert "<ins>tiles</ins>" in shown
    assert "<ins>tiles</ins>" in read(staff, url + "?from=1&to=2")
    assert "same in both" in read(staff, url + "?from=2&to=2")
    assert "<ins>modules</ins>" in read(staff, url + "?from=2&to=1")
    assert "what changed" in read(staff, address("entry", "change", solar.pk))
    assert staff.get(address("entry", "revisions", "01890000-0000-7000-8000-000000000000")).status_code == 404


def test_bulk_actions_go_through_the_services(staff: Client, pack: KnowledgePack, entries: dict[str, Entry]) -> None:
    solar, bread = entries["solar"], entries["bread"]
    act(staff, "disable", solar, bread)
    assert Entry.objects.filter(enabled=False).count() == 2
    act(staff, "enable", solar)
    assert Entry.objects.filter(enabled=False).get() == bread
    act(staff, "mark_reviewed", solar)
    assert Entry.objects.exclude(reviewed_at=None).get() == solar
    assert pack.events.filter(type="entry.updated").count() == 4


def test_tags_are_added_and_removed_in_bulk(staff: Client, entries: dict[str, Entry]) -> None:
    solar, bread = entries["solar"], entries["bread"]
    asked = act(staff, "tag", solar, bread)
    assert b"2 entries" in asked.content
    assert b"at least one tag" in act(staff, "tag", solar, apply="1", add="", remove="").content
    assert act(staff, "tag", solar, bread, apply="1", add="new, checked", remove="energy").status_code == 302
    assert dict(Entry.objects.values_list("external_id", "tags")) == {
        "solar": ["roof", "new", "checked"],
        "bread": ["food", "new", "checked"],
        "cafe": ["food", "travel"],
    }
    assert Entry.objects.get(pk=solar.pk).revision_number == 1


def test_what_one_entry_refuses_is_said_and_holds_up_no_other(
    staff: Client, user: User, entries: dict[str, Entry]
) -> None:
    closed = services.create_pack(user, name="Closed")
    (result,) = services.add_entries(closed, user, [{"title": "Kept", "content": "Words."}])
    assert result.entry
    services.update_pack(closed.pk, {"status": "active"})
    services.update_pack(closed.pk, {"status": "archived"})
    response = act(staff, "disable", result.entry, entries["solar"])
    said = [str(one) for one in staff.get(response.url).context["messages"]]
    assert said == ["Closed: the pack is archived: its entries cannot be changed", "Disable: 1 entry."]


@pytest.mark.parametrize(
    "query", ["review=overdue", "review=never", "review=done", "use=cited", "use=unseen", "index_status__exact=ready"]
)
def test_filters_of_entries(staff: Client, entries: dict[str, Entry], query: str) -> None:
    read(staff, f"{address('entry', 'changelist')}?{query}")


def test_entries_of_one_pack_are_linked(
    staff: Client, pack: KnowledgePack, user: User, entries: dict[str, Entry]
) -> None:
    other = services.create_pack(user, name="Other")
    services.add_entries(other, user, [{"title": "Elsewhere", "content": "Words."}])
    shown = read(staff, f"{address('entry', 'changelist')}?pack__id__exact={pack.pk}")
    assert "Sourdough bread" in shown
    assert "Elsewhere" not in shown


# --- Golden questions ---


def test_a_question_is_added_changed_and_deleted_through_the_services(
    staff: Client, pack: KnowledgePack, entries: dict[str, Entry]
) -> None:
    solar, bread = str(entries["solar"].pk), str(entries["bread"].pk)
    body = {"pack": str(pack.pk), "question": "Which panels?", "expected": [solar], "_save": "1"}
    assert staff.post(address("goldenquestion", "add"), body).url == page(pack, "questions")  # type: ignore[attr-defined]  # a redirect
    question = GoldenQuestion.objects.get()
    assert [str(one.pk) for one in question.expected.all()] == [solar]
    change = address("goldenquestion", "change", question.pk)
    assert staff.post(change, {"question": "What?", "expected": [solar, bread], "_save": "1"}).status_code == 302
    question.refresh_from_db()
    assert (question.question, question.expected.count()) == ("What?", 2)
    staff.post(address("goldenquestion", "delete", question.pk), {"post": "yes"})
    assert not GoldenQuestion.objects.exists()
    assert pack.events.filter(type="pack.questions_changed").count() == 3


def test_a_question_cannot_expect_what_is_elsewhere_or_be_asked_twice(
    staff: Client, pack: KnowledgePack, user: User, entries: dict[str, Entry]
) -> None:
    other = services.create_pack(user, name="Other")
    body = {"pack": str(other.pk), "question": "?", "expected": [str(entries["solar"].pk)]}
    response = staff.post(address("goldenquestion", "add"), body)
    assert response.context["adminform"].form.errors["expected"]
    twice = {**body, "pack": str(pack.pk)}
    assert staff.post(address("goldenquestion", "add"), twice).status_code == 302
    assert staff.post(address("goldenquestion", "add"), twice).context["adminform"].form.errors
    assert GoldenQuestion.objects.count() == 1


def test_a_question_of_a_pack_in_the_trash_stays_as_it_is(
    staff: Client, pack: KnowledgePack, entries: dict[str, Entry]
) -> None:
    solar = str(entries["solar"].pk)
    question = services.add_golden_question(pack.pk, None, question="What?", expected=[entries["solar"].pk])
    services.delete_pack(pack.pk)
    added = staff.post(address("goldenquestion", "add"), {"pack": str(pack.pk), "question": "?", "expected": [solar]})
    assert "in the trash" in str(added.context["adminform"].form.errors)
    for name in ("change", "delete"):
        body = {"question": "Else?", "expected": [solar], "post": "yes"}
        assert staff.post(address("goldenquestion", name, question.pk), body).status_code == 403
    many = {"action": "delete_selected", "_selected_action": [str(question.pk)], "post": "yes"}
    assert b"What?" in staff.post(address("goldenquestion", "changelist"), many).content
    assert GoldenQuestion.objects.get().question == "What?"


def test_faults_of_a_question_are_shown_in_its_form(
    staff: Client, pack: KnowledgePack, entries: dict[str, Entry]
) -> None:
    solar, bread = entries["solar"].pk, entries["bread"].pk
    services.add_golden_question(pack.pk, None, question="Which?", expected=[solar])
    question = services.add_golden_question(pack.pk, None, question="What?", expected=[solar])
    services.delete_entry(bread)
    form = {"question": "Which?", "expected": [str(bread)]}
    errors = staff.post(address("goldenquestion", "change", question.pk), form).context["adminform"].form.errors
    assert set(errors) == {"question", "expected"}


# --- Models, and what is only read ---


def test_an_embedding_model_is_registered_and_never_its_key(staff: Client, user: User) -> None:
    body = {
        "name": "big", "provider": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key_env": "BIG_KEY", "model": "big-1",
        "dimension": "512", "batch_size": "64", "batch_chars": "100000", "query_prefix": "", "passage_prefix": "", "enabled": "on",
    }  # fmt: skip
    wrong = staff.post(address("embeddingmodel", "add"), {**body, "api_key_env": "sk-secret", "base_url": ""})
    assert set(wrong.context["adminform"].form.errors) == {"api_key_env", "base_url"}
    missing = staff.post(address("embeddingmodel", "add"), {**body, "base_url": ""})
    assert set(missing.context["adminform"].form.errors) == {"base_url"}
    assert staff.post(address("embeddingmodel", "add"), body).status_code == 302
    model = EmbeddingModel.objects.get()
    KnowledgePack.objects.create(owner=user, name="Uses it", embedding=model)
    change = address("embeddingmodel", "change", model.pk)
    assert staff.post(change, {**body, "dimension": "100", "batch_size": "32"}).status_code == 302
    model.refresh_from_db()
    assert (model.dimension, model.batch_size) == (512, 32)
    assert staff.post(address("embeddingmodel", "delete", model.pk), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("model", LISTS)
def test_lists_open_and_search(staff: Client, pack: KnowledgePack, entries: dict[str, Entry], model: str) -> None:
    SearchLog.objects.create(pack=pack, query="bread", mode="hybrid", hits=2, best=0.5, took_ms=4)
    services.add_golden_question(pack.pk, None, question="photovoltaic", expected=[entries["solar"].pk])
    services.evaluate(pack, None, "lexical")
    read(staff, address(model, "changelist"))
    read(staff, address(model, "changelist") + "?q=x")


@pytest.mark.forges
def test_history_is_only_read(staff: Client, pack: KnowledgePack, entries: dict[str, Entry]) -> None:
    job = Import.objects.create(pack=pack, filename="notes.zip")
    ImportItem.objects.create(job=job, ordinal=1, source="a.md", error="The file is empty.")
    snapshot = Snapshot.objects.create(pack=pack, label="v1", entry_count=0, passage_count=0, content_hash="0" * 64)
    row = SearchLog.objects.create(pack=pack, query="bread", mode="hybrid", hits=2, best=0.5, took_ms=4)
    services.add_golden_question(pack.pk, None, question="photovoltaic", expected=[entries["solar"].pk])
    run = services.evaluate(pack, None, "lexical")
    space = pack.spaces.get()
    for model, found, text in (
        ("import", job, "The file is empty."),
        ("snapshot", snapshot, "v1"),
        ("searchlog", row, "bread"),
        ("evaluation", run, "photovoltaic"),
        ("embeddingspace", space, "3 of 3"),
    ):
        url = address(model, "change", found.pk)
        assert text in read(staff, url), model
        assert staff.post(url, {}).status_code == 403, model
        if model not in ("import", "snapshot"):
            assert staff.get(address(model, "add")).status_code == 403, model


# --- Drawing ---

LINES = st.lists(st.sampled_from(["alpha beta", "alpha gamma", "<b>", "", "delta"]), max_size=30)


@given(LINES, LINES)
def test_a_diff_shows_every_changed_line_once_and_in_order(old: list[str], new: list[str]) -> None:
    rows = side_by_side("\n".join(old), "\n".join(new))
    before, after = "\n".join(old).splitlines(), "\n".join(new).splitlines()
    old_numbers = [row.old_number for row in rows if row.old_number]
    new_numbers = [row.new_number for row in rows if row.new_number]
    assert old_numbers == sorted(set(old_numbers))
    assert new_numbers == sorted(set(new_numbers))
    hidden_old = [line for n, line in enumerate(before, 1) if n not in old_numbers]
    hidden_new = [line for n, line in enumerate(after, 1) if n not in new_numbers]
    assert hidden_old == hidden_new  # what is left out is the same on both sides
    assert bool(rows) == (before != after)


def test_charts_say_their_figures_and_escape_names() -> None:
    drawn = line("Quality <b>", [Point("Mon", 0.5), Point("Tue", 0.75)])
    assert 'aria-label="Quality &lt;b&gt;. Mon: 0.5; Tue: 0.75"' in drawn
    assert "5 without result" in bars("Searches", [Point("Mon", 7, 5), Point("Tue", 0)])
    assert 'aria-label="Entries: 2 ready, 0 failed"' in shares("Entries", [("ready", 2), ("failed", 0)])
    assert "nothing yet" in line("Empty", [])
    assert "style=" not in drawn
