"""The admin: every page of every registered model answers, ballots stay sealed, and changes go through the services."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from accounts.models import SignIn, User
from accounts.services import create_api_key
from council import services
from council.defaults import Agent
from council.models import Ballot, CouncilSession, CouncilTemplate, LlmCall, Turn
from council.templates import save_template
from knowledge.services import add_entry, create_pack
from tests.support.councils import Convene, conclude, vote_in_part, work

pytestmark = pytest.mark.django_db(transaction=True)

AGENTS = [Agent(name="Owl", role="sees at night"), Agent(name="Fox")]


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.org", "correct horse battery"))
    return client


@pytest.fixture
def something_of_everything(user: User, convene: Convene) -> CouncilSession:
    """A row of every model that people look at in the admin, the awkward ones included: a failed seat, marks and markup."""
    pack = create_pack(user, name="<b>Ferries</b>")
    add_entry(
        pack,
        user,
        {
            "title": "Timetable",
            "content": "Tabs save bytes and spaces save quarrels, says the ferry.",
            "metadata": {"kind": "<i>"},
        },
    )
    save_template(None, slug="night", agents=AGENTS, packs=[pack], title="Night")
    create_api_key(user, "tests")
    SignIn.objects.create(user=user, succeeded=True)
    session = convene(("fake-option-1", "fake-option-2", "fake-400", "fake"), packs=[pack.pk])
    services.post_message(user, session.pk, content="<script>alert(1)</script>")
    return conclude(user, session)


def changelist(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def detail(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def text(response: Any) -> str:
    return str(response.content.decode())


# --- Pages ------------------------------------------------------------------------------------------------------------


def test_every_list_and_detail_page_answers(staff: Client, something_of_everything: CouncilSession) -> None:
    seen = []
    for model in admin.site._registry:
        assert staff.get(changelist(model)).status_code == 200, model
        row = model._default_manager.first()
        if row is not None:
            assert staff.get(detail(row)).status_code == 200, model
            seen.append(model.__name__)
    assert {"CouncilSession", "CouncilTemplate", "LlmCall", "Message", "User"} <= set(seen)


def test_every_list_can_be_searched(staff: Client, something_of_everything: CouncilSession) -> None:
    for model, page in admin.site._registry.items():
        if page.search_fields:
            assert staff.get(changelist(model), {"q": "ferry"}).status_code == 200, model


def test_every_form_for_a_new_row_answers(staff: Client) -> None:
    request = staff.get("/admin/").wsgi_request
    for model, page in admin.site._registry.items():
        expected = 200 if page.has_add_permission(request) else 403
        assert staff.get(f"{changelist(model)}add/").status_code == expected, model


def test_the_sidebar_names_pages_that_exist(staff: Client) -> None:
    shown = text(staff.get("/admin/"))
    for model in (CouncilSession, CouncilTemplate, LlmCall, User):
        assert changelist(model) in shown


def test_people_who_are_not_staff_stay_out(client: Client, user: User) -> None:
    client.force_login(user)
    assert client.get(changelist(CouncilSession)).status_code == 302


def test_what_models_and_people_wrote_is_escaped(staff: Client, something_of_everything: CouncilSession) -> None:
    message = something_of_everything.messages.get()
    for page in (detail(something_of_everything), detail(message), changelist(type(message))):
        assert "<script>alert(1)" not in text(staff.get(page))


def test_a_session_shows_its_decision_turns_errors_and_events(
    staff: Client, something_of_everything: CouncilSession
) -> None:
    shown = text(staff.get(detail(something_of_everything)))
    for said in ("decision.reached", "bad_request", "1.2 ballot", "verified", "Seat 3 (opening)"):
        assert said in shown


def test_calls_are_found_from_their_turn(staff: Client, something_of_everything: CouncilSession) -> None:
    turn = Turn.objects.filter(kind="ballot").first()
    assert turn is not None
    shown = text(staff.get(changelist(LlmCall), {"turn__id__exact": str(turn.pk)}))
    calls = LlmCall.objects.filter(turn=turn)
    assert calls.exists()
    assert all(detail(call) in shown for call in calls)


@pytest.mark.parametrize("model", ["councilsession", "llmcall", "message"])
def test_records_cannot_be_changed_or_deleted(
    staff: Client, something_of_everything: CouncilSession, model: str
) -> None:
    row = next(m for m in admin.site._registry if m._meta.model_name == model)._default_manager.first()
    assert row is not None
    assert staff.post(detail(row), {"content": "forged", "title": "forged"}).status_code == 403
    assert staff.post(detail(row).replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403


# --- Sealed ballots ---------------------------------------------------------------------------------------------------


def test_ballots_of_an_open_round_are_sealed(staff: Client, user: User, convene: Convene) -> None:
    session = convene()
    services.start(user, session.pk)
    vote_in_part(session)
    ballot = Ballot.objects.select_related("round").first()
    assert ballot is not None
    assert ballot.round.closed_at is None
    ranking = " > ".join(ballot.ranking).replace(">", "&gt;")
    assert ranking not in text(staff.get(detail(session)))
    call = LlmCall.objects.filter(turn=ballot.turn).latest("ordinal")
    shown = text(staff.get(detail(call)))
    assert json.dumps(ballot.ranking[0]).replace('"', "&quot;") not in shown
    assert shown.count("sealed until the round closes") == 3
    work(session)
    assert ranking in text(staff.get(detail(session)))
    assert "sealed until the round closes" not in text(staff.get(detail(call)))


# --- Changes ----------------------------------------------------------------------------------------------------------


def test_running_councils_are_stopped_and_others_are_left(staff: Client, user: User, convene: Convene) -> None:
    running, draft = convene(), convene()
    services.start(user, running.pk)
    ids = [str(running.pk), str(draft.pk)]
    response = staff.post(changelist(CouncilSession), {"action": "stop", "_selected_action": ids}, follow=True)
    running.refresh_from_db()
    draft.refresh_from_db()
    assert (running.status, draft.status) == ("stopped", "draft")
    assert "1 council stopped." in text(response)
    assert "A draft council cannot be stopped." in text(response)


def form(**changes: Any) -> dict[str, Any]:
    plain = {
        "slug": "night",
        "title": "Night",
        "agents": AGENTS,
        "protocol": {"rule": "borda"},
        "options": ["Go", "Stay"],
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in (plain | changes).items()}


def test_a_template_is_made_and_changed_through_the_service(staff: Client, user: User) -> None:
    pack = create_pack(user, name="Ferries")
    assert staff.post(f"{changelist(CouncilTemplate)}add/", {**form(), "packs": [str(pack.pk)]}).status_code == 302
    template = CouncilTemplate.objects.get(slug="night")
    assert (template.version, template.agents[0]["name"], list(template.packs.all())) == (1, "Owl", [pack])
    assert staff.post(detail(template), form(title="Deep night")).status_code == 302
    template.refresh_from_db()
    assert (template.version, template.title, template.slug) == (2, "Deep night", "night")
    assert not template.packs.exists()


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("agents", "nonsense", "Enter a valid JSON"),
        ("agents", {"name": "Owl"}, "Expected a list"),
        ("agents", [{"role": "nameless"}, {"name": "Fox"}], "0/name: This field is required"),
        ("agents", [{"name": "Owl"}, {"name": "owl"}], "Another seat has this name"),
        ("agents", [{"name": "Owl"}], "at least two seats"),
        ("protocol", {"rule": "coin"}, "rule: "),
        ("protocol", ["rule"], "Must be an object"),
        ("protocol", {"colour": "red"}, "unknown setting"),
        ("options", ["Only"], "2 to 12 options"),
        ("options", {"a": 1}, "Must be a list of texts"),
    ],
)
def test_faults_of_a_template_stand_beside_their_field(staff: Client, field: str, value: Any, fault: str) -> None:
    response: Any = staff.post(f"{changelist(CouncilTemplate)}add/", form(**{field: value}))
    assert response.status_code == 200
    faults = response.context["adminform"].form.errors
    assert fault in " ".join(faults[field])
    assert not CouncilTemplate.objects.exists()


def test_a_slug_is_used_once(staff: Client) -> None:
    save_template(None, slug="night", agents=AGENTS, title="First")
    response = staff.post(f"{changelist(CouncilTemplate)}add/", form(title="Second"))
    assert response.status_code == 200
    assert CouncilTemplate.objects.get().title == "First"
