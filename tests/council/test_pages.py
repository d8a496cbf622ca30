"""The plain pages: who may come in, what they show and what their forms do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils.html import escape

from accounts.models import User
from council import services
from council.defaults import Agent
from council.models import CouncilSession, Message
from council.pages.packs import highlighted
from council.templates import save_template
from knowledge.models import KnowledgePack
from knowledge.services import add_entry, create_pack, share
from tests.support.councils import Convene, conclude

NOBODY = "01a20000-0000-7000-8000-000000000000"  # fixed, for test ids must be the same in every process

pytestmark = pytest.mark.django_db

NASTY = "<script>alert(1)</script> & “quoted”"


@pytest.fixture
def page(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def pack(user: User) -> KnowledgePack:
    pack = create_pack(user, name="Ferries")
    add_entry(
        pack, user, {"title": "Timetable", "content": "The ferry sails at dawn and returns at dusk.", "tags": ["sea"]}
    )
    return pack


@pytest.fixture
def session(user: User) -> CouncilSession:
    return services.create_session(user, services.Plan(question="Shall we sail?", options=["Yes", "No"]))


def text(response: Any) -> str:
    return str(response.content.decode())


# --- Who may come in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/packs/new", "/councils/new", f"/packs/{NOBODY}", f"/councils/{NOBODY}"])
def test_strangers_are_sent_to_sign_in(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"] == f"/accounts/login?next={path}"


def test_another_users_objects_do_not_exist(other_user: User, pack: KnowledgePack, session: CouncilSession) -> None:
    stranger = Client()
    stranger.force_login(other_user)
    entry = pack.entries.get()
    paths = [f"/packs/{pack.pk}", f"/packs/{pack.pk}/entries", f"/entries/{entry.pk}", f"/councils/{session.pk}"]
    assert {stranger.get(path).status_code for path in paths} == {404}
    acts = [f"/councils/{session.pk}/{act}" for act in ("start", "message")] + [f"/packs/{pack.pk}/entries"]
    assert {stranger.post(path, {"content": "x"}).status_code for path in acts} == {404}
    session.refresh_from_db()
    assert session.status == "draft"


def test_forms_need_the_csrf_token(user: User, session: CouncilSession) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    response = client.post(f"/councils/{session.pk}/message", {"content": "x", "kind": "note"})
    assert response.status_code == 403
    assert "expired" in text(response)
    assert not Message.objects.exists()


def test_a_missing_page_is_a_page(page: Client) -> None:
    response = page.get("/nowhere")
    assert response.status_code == 404
    assert "There is nothing here" in text(response)


def test_home_lists_what_one_has(page: Client, pack: KnowledgePack, session: CouncilSession) -> None:
    shown = text(page.get("/"))
    assert f'href="/packs/{pack.pk}"' in shown
    assert f'href="/councils/{session.pk}"' in shown
    assert "/admin/" not in shown


def test_staff_find_the_admin(page: Client, user: User) -> None:
    user.is_staff = True
    user.save()
    assert 'href="/admin/"' in text(page.get("/"))


def test_signing_out_takes_a_post(page: Client) -> None:
    assert page.get("/accounts/logout").status_code == 405
    page.post("/accounts/logout")
    assert page.get("/").status_code == 302


# --- Packs ------------------------------------------------------------------------------------------------------------


def test_a_pack_is_created(page: Client, user: User) -> None:
    response = page.post("/packs/new", {"name": "Trams", "tags": "rail, city, rail", "language": "german"})
    pack = KnowledgePack.objects.get(owner=user)
    assert response["Location"] == f"/packs/{pack.pk}"
    assert (pack.name, pack.tags, pack.language) == ("Trams", ["rail", "city"], "german")


def test_a_pack_without_a_name_is_refused_beside_the_field(page: Client) -> None:
    response = page.post("/packs/new", {"name": " ", "language": "english"})
    assert response.status_code == 400
    assert 'id="id_name_error"' in text(response)
    assert not KnowledgePack.objects.exists()


def test_an_entry_is_added(page: Client, pack: KnowledgePack) -> None:
    response = page.post(f"/packs/{pack.pk}/entries", {"title": NASTY, "content": "Fog.", "tags": "sea"}, follow=True)
    assert pack.entries.count() == 2
    assert escape(NASTY) in text(response)
    assert NASTY not in text(response)


def test_an_entry_that_the_service_refuses_is_explained(page: Client, pack: KnowledgePack) -> None:
    response = page.post(f"/packs/{pack.pk}/entries", {"title": "Fog", "content": " \n "})
    assert response.status_code == 400
    assert "may not be blank" in text(response) or "required" in text(response)
    assert pack.entries.count() == 1


def test_an_archived_pack_takes_no_entries(page: Client, pack: KnowledgePack) -> None:
    KnowledgePack.objects.filter(pk=pack.pk).update(status="active")
    KnowledgePack.objects.filter(pk=pack.pk).update(status="archived")
    assert "<summary>Add an entry</summary>" not in text(page.get(f"/packs/{pack.pk}"))
    response = page.post(f"/packs/{pack.pk}/entries", {"title": "Fog", "content": "Fog."})
    assert response.status_code == 400
    assert "archived" in text(response)


def test_search_shows_the_passage_with_marks_and_both_scores(page: Client, pack: KnowledgePack) -> None:
    shown = text(page.get(f"/packs/{pack.pk}?q=ferry", headers={"HX-Request": "true"}))
    assert "<mark>ferry</mark>" in shown
    assert "words" in shown
    assert "meaning" in shown
    assert "<html" not in shown


def test_search_works_without_htmx_and_keeps_caches_apart(page: Client, pack: KnowledgePack) -> None:
    response = page.get(f"/packs/{pack.pk}", {"q": "ferry"})
    assert "<html" in text(response)
    assert "<mark>ferry</mark>" in text(response)
    assert "HX-Request" in response["Vary"]


@pytest.mark.parametrize("query", ["zeppelin", '"', "-", "\x00", "a" * 900])
def test_odd_queries_are_no_errors(page: Client, pack: KnowledgePack, query: str) -> None:
    assert page.get(f"/packs/{pack.pk}", {"q": query}).status_code == 200


def test_highlights_come_out_as_plain_pieces() -> None:
    assert highlighted("1 &lt; 2 <mark>&amp;</mark> <b>") == [
        {"text": "1 < 2 ", "marked": False},
        {"text": "&", "marked": True},
        {"text": " <b>", "marked": False},
    ]


def test_an_entry_is_read_with_the_cited_span_marked(page: Client, pack: KnowledgePack) -> None:
    entry = pack.entries.get()
    query = {"revision": str(entry.revision_id), "start": "4", "end": "9"}
    assert '<mark id="quote">ferry</mark>' in text(page.get(f"/entries/{entry.pk}", query))
    assert page.get(f"/entries/{entry.pk}", {"revision": "nonsense"}).status_code == 404
    assert page.get(f"/entries/{entry.pk}", {"start": "99999", "end": "-1"}).status_code == 200


# --- Councils ---------------------------------------------------------------------------------------------------------


def test_a_question_is_enough(page: Client, fake: object) -> None:
    response = page.post("/councils/new", {"question": "Shall we sail?", "then": "start"})
    session = CouncilSession.objects.get()
    assert response["Location"] == f"/councils/{session.pk}"
    assert session.status == "running"
    assert session.seats.count() == 4


def test_a_plan_in_full(page: Client, pack: KnowledgePack) -> None:
    plan = {
        "question": "Which?",
        "options": "A\n\n B \nC",
        "packs": [str(pack.pk)],
        "preset": "debate",
        "rule": "borda",
    }
    page.post("/councils/new", {**plan, "then": "keep"})
    session = CouncilSession.objects.get()
    assert (session.status, session.options) == ("draft", ["A", "B", "C"])
    assert (session.protocol["preset"], session.protocol["rule"]) == ("debate", "borda")
    assert list(session.packs.all()) == [pack]


def test_a_template_fills_the_form_in_and_gives_the_seats(page: Client, user: User, pack: KnowledgePack) -> None:
    agents = [Agent(name="Owl", role="sees at night"), Agent(name="Fox")]
    save_template(
        None, slug="night", agents=agents, packs=[pack], options=["Go", "Stay"], title="Night", question="Go?"
    )
    shown = text(page.get("/councils/new", {"template": "night"}, headers={"HX-Request": "true"}))
    assert "Go\nStay</textarea>" in shown
    assert "checked" in shown
    page.post("/councils/new", {"question": "Go?", "options": "Go\nStay", "template": "night", "then": "keep"})
    assert [seat.name for seat in CouncilSession.objects.get().seats.all()][:2] == ["Owl", "Fox"]


@pytest.mark.parametrize(
    ("plan", "fault"),
    [
        ({"question": ""}, "required"),
        ({"question": "Q?", "options": "Only one"}, "2 to 12 options"),
        ({"question": "Q?", "options": "Same\nsame"}, "stands here twice"),
        ({"question": "Q?", "template": "unknown"}, "Unknown template"),
        ({"question": "Q?", "preset": "seance"}, "not one of the available choices"),
        ({"question": "Q?", "packs": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}, "not one of the available choices"),
    ],
)
def test_a_plan_that_cannot_be_is_explained_in_the_form(page: Client, plan: dict[str, str], fault: str) -> None:
    response = page.post("/councils/new", plan)
    assert response.status_code == 400
    assert fault in text(response)
    assert not CouncilSession.objects.exists()


def test_without_a_model_the_council_stays_a_draft_and_the_page_says_why(page: Client, settings: LazySettings) -> None:
    settings.LLM_BASE_URL = ""
    response = page.post("/councils/new", {"question": "Q?", "then": "start"}, follow=True)
    assert "no model is configured" in text(response)
    assert CouncilSession.objects.get().status == "draft"


def test_the_page_of_a_council_has_everything_that_its_scripts_need(page: Client, session: CouncilSession) -> None:
    shown = text(page.get(f"/councils/{session.pk}"))
    assert f'data-socket="/ws/council-sessions/{session.pk}"' in shown
    for name in (
        "decisions",
        "stages",
        "seats",
        "counts",
        "messages",
        "badge",
        "sentence",
        "usage",
        "presence",
        "wording",
    ):
        assert f'id="{name}"' in shown
    assert "Not started yet." in shown


def test_nothing_is_inline(page: Client, pack: KnowledgePack, session: CouncilSession) -> None:
    """The content security policy would refuse it."""
    for path in ("/", "/packs/new", f"/packs/{pack.pk}", "/councils/new", f"/councils/{session.pk}", "/accounts/keys"):
        shown = text(page.get(path))
        assert " style=" not in shown
        assert "<style" not in shown
        assert " onclick=" not in shown
        scripts = [tag.split(">", 1)[0] for tag in shown.split("<script")[1:]]
        assert all("src=" in tag or 'type="application/json"' in tag for tag in scripts)


def test_what_the_service_refuses_is_told_to_htmx(page: Client, session: CouncilSession) -> None:
    response = page.post(f"/councils/{session.pk}/stop", headers={"HX-Request": "true"})
    assert "A draft council cannot be stopped." in text(response)


def test_what_the_service_refuses_is_told_without_htmx(page: Client, session: CouncilSession) -> None:
    response = page.post(f"/councils/{session.pk}/stop", follow=True)
    assert "A draft council cannot be stopped." in text(response)


def test_a_running_council_is_stopped(page: Client, fake: object, session: CouncilSession) -> None:
    page.post(f"/councils/{session.pk}/start")
    page.post(f"/councils/{session.pk}/stop")
    session.refresh_from_db()
    assert session.status == "stopped"


def test_a_message_is_posted(page: Client, session: CouncilSession) -> None:
    page.post(f"/councils/{session.pk}/message", {"content": NASTY, "kind": "constraint", "interrupt": "on"})
    message = Message.objects.get()
    assert (message.content, message.kind, message.interrupt) == (NASTY, "constraint", True)
    assert escape(NASTY) in text(page.get(f"/councils/{session.pk}"))


def test_an_empty_message_is_refused(page: Client, session: CouncilSession) -> None:
    response = page.post(
        f"/councils/{session.pk}/message", {"content": "", "kind": "note"}, headers={"HX-Request": "true"}
    )
    assert response.status_code == 400
    assert "required" in text(response)
    assert not Message.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_concluded_council_is_read_without_scripts(page: Client, user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    shown = text(page.get(f"/councils/{session.pk}"))
    assert session.status == "completed"
    for said in (
        "Concluded after",
        "Secret ballot",
        "Place 1",
        "Dissent",
        "What other rules would have decided",
        "Margin",
    ):
        assert said in shown


@pytest.mark.django_db(transaction=True)
def test_a_follow_up_is_started_with_its_message(page: Client, user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    page.post(f"/councils/{session.pk}/message", {"content": "And in winter?", "kind": "question", "then": "start"})
    session.refresh_from_db()
    assert (session.status, session.runs.count()) == ("running", 2)
    assert "Earlier decisions of this council" in text(page.get(f"/councils/{session.pk}"))


@pytest.mark.django_db(transaction=True)
def test_a_failed_council_says_why(page: Client, user: User, convene: Convene) -> None:
    session = conclude(user, convene(("fake-400", "fake-400", "fake-400", "fake")))
    shown = text(page.get(f"/councils/{session.pk}"))
    assert session.status == "failed"
    assert "too few seats took part" in shown
    assert "the model&#x27;s server did not accept the request" in shown


def test_every_word_for_a_state_is_there() -> None:
    """A state that the code knows and the page does not would be an error page for its users."""
    from council.deliberation.types import Outcome, Rule, Stage, TurnKind
    from council.models import Citation, Decision
    from council.pages import wording
    from council.states import SessionStatus

    check: Callable[..., bool] = lambda table, names: set(names) <= set(table)  # noqa: E731
    assert check(wording.STATUS, SessionStatus.values)
    assert check(wording.STAGE, Stage)
    assert check(wording.OUTCOME, Outcome)
    assert check(wording.RULE, Rule)
    assert check(wording.DONE, {*TurnKind} - {TurnKind.TALLY})
    assert check(wording.SOURCE, Decision.Source.values)
    assert check(wording.CITATION, Citation.Status.values)


@pytest.mark.parametrize("how", ["viewer", "public"])
def test_who_may_only_read_a_pack_cannot_add_to_it(page: Client, user: User, other_user: User, how: str) -> None:
    theirs = create_pack(other_user, name="Theirs", visibility="public" if how == "public" else "private")
    if how == "viewer":
        share(theirs.pk, None, user.email, "viewer")
    assert page.get(f"/packs/{theirs.pk}").status_code == 200
    assert page.post(f"/packs/{theirs.pk}/entries", {"title": "T", "content": "C"}).status_code == 403
    assert not theirs.entries.exists()
