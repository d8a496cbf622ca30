"""Model profiles: keys that go in and never come out, addresses that are checked, routes with fallbacks, their admin and commands."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from itertools import pairwise
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from accounts import vault
from accounts.models import User
from council import endpoints, profiles, services
from council.llm import client, loop
from council.llm.errors import AddressBlocked, Unreachable
from council.llm.types import ChatRequest, Endpoint
from council.models import Budget, DailyBudget, LlmCall, ModelProfile, Turn
from realtime.errors import InvalidInput, Unavailable
from tests.support.councils import Convene, conclude, work
from tests.support.fake_openai import FakeModelServer

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def this_machine_is_allowed(settings: LazySettings) -> Iterator[None]:
    settings.LLM_PRIVATE_NETWORKS = ["127.0.0.0/8"]
    endpoints.forget()
    yield
    endpoints.forget()


def make(fake: FakeModelServer, slug: str = "house", model: str = "fake-option-1", **values: Any) -> ModelProfile:
    key = values.pop("api_key", None)
    return profiles.save_profile(slug, {"base_url": fake.url, "model": model, **values}, api_key=key)


# --- Keys -------------------------------------------------------------------------------------------------------------------


def test_a_key_is_sealed_at_rest_and_opened_for_calls(fake: FakeModelServer) -> None:
    profile = make(fake, api_key=KEY)
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(p)::text FROM council_modelprofile AS p")
        assert KEY not in cursor.fetchone()[0]
    [model] = endpoints.route_for("house")
    assert model.endpoint.api_key == KEY
    assert KEY not in repr(model)
    assert make(fake, title="renamed").sealed_key == profile.sealed_key
    assert make(fake, api_key="").sealed_key == ""


def test_keys_are_changed_without_a_gap(fake: FakeModelServer, settings: LazySettings) -> None:
    old, new = "o" * 40, "n" * 40
    settings.ENCRYPTION_KEYS = [old]
    make(fake, api_key=KEY)
    settings.ENCRYPTION_KEYS = [new, old]
    said = StringIO()
    call_command("rotate_model_keys", stdout=said)
    assert said.getvalue() == "1 key sealed anew.\n"
    settings.ENCRYPTION_KEYS = [new]
    assert endpoints.route_for("house")[0].endpoint.api_key == KEY
    settings.ENCRYPTION_KEYS = [old]
    with pytest.raises(vault.SealBroken):
        vault.unseal(ModelProfile.objects.get().sealed_key)
    with pytest.raises(CommandError, match="nothing was changed"):
        call_command("rotate_model_keys")


# --- What may be saved --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field", "fault"),
    [
        ({"base_url": "ftp://models.example/v1"}, "base_url", "no http or https"),
        ({"base_url": "https://user:pw@models.example/v1"}, "base_url", "Leave out names"),
        ({"base_url": "https://models.example/v1?key=1"}, "base_url", "Leave out names"),
        ({"base_url": "https://models .example"}, "base_url", "no http or https"),
        ({"base_url": "http://[::1/v1"}, "base_url", "no web address"),
        ({"base_url": "http://10.0.0.7/v1"}, "base_url", "private"),
        ({"base_url": "http://169.254.169.254/latest"}, "base_url", "private"),
        ({"base_url": "http://[::ffff:127.0.0.1]/v1"}, "base_url", "private"),
        ({"price_in": Decimal(1)}, "price_out", "both prices"),
        ({"moves_on": ["bad_weather"]}, "moves_on", "no error 'bad_weather'"),
    ],
)
def test_faults_are_named(fake: FakeModelServer, values: dict[str, Any], field: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault) as caught:
        make(fake, **values)
    assert caught.value.errors[0]["pointer"] == f"/{field}"
    assert not ModelProfile.objects.exists()


def test_plain_http_needs_a_private_network(fake: FakeModelServer, settings: LazySettings) -> None:
    settings.LLM_PRIVATE_NETWORKS = []
    with pytest.raises(InvalidInput, match="https only"):
        make(fake, base_url="http://models.example/v1")
    make(fake, base_url="https://models.example/v1")
    assert ModelProfile.objects.count() == 1


def test_fallbacks_do_not_go_in_a_circle(fake: FakeModelServer) -> None:
    first = make(fake, "first")
    second = make(fake, "second", fallback=first)
    with pytest.raises(InvalidInput, match="circle"):
        make(fake, "first", fallback=second)
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelProfile.objects.filter(slug="first").update(fallback=first)


def test_a_route_that_was_made_circular_behind_our_back_ends(fake: FakeModelServer) -> None:
    first = make(fake, "first")
    second = make(fake, "second", fallback=first)
    ModelProfile.objects.filter(slug="first").update(fallback=second)
    endpoints.forget()
    assert [model.profile for model in endpoints.route_for("first")] == ["first", "second"]


# --- Addresses -----------------------------------------------------------------------------------------------------------------


def ask(base_url: str, provider: Any = "openai") -> client.Call:
    endpoint = Endpoint(base_url, "fake", provider, allows=endpoints.may_be_called)
    return client.submit(ChatRequest(endpoint, "", "Why?", timeout_s=5))


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("allowed", [True, False])
def test_the_connection_itself_is_guarded(
    fake: FakeModelServer, settings: LazySettings, allowed: bool, provider: str
) -> None:
    settings.LLM_PRIVATE_NETWORKS = ["127.0.0.0/8"] if allowed else ["10.0.0.0/8"]
    loop.close()  # connections that an earlier test opened were checked then
    call, before = ask(fake.url, provider), fake.accepted
    if allowed:
        assert call.result().text
        return
    with pytest.raises(AddressBlocked) as caught:
        call.result()
    assert (caught.value.retryable, caught.value.usage.total if caught.value.usage else None) == (False, 0)
    assert fake.accepted == before


def test_one_private_address_spoils_a_name(monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> None:
    """Whoever controls the name controls which of its addresses is used."""
    settings.LLM_PRIVATE_NETWORKS = []
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(client, "ALLOW_REAL_MODELS", True)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_given, **_named: found)
    with pytest.raises(AddressBlocked, match=r"models\.example"):
        ask("https://models.example/v1").result()


def test_a_name_that_leads_nowhere_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: Any, **_named: Any) -> None:
        raise socket.gaierror("unknown")

    monkeypatch.setattr(client, "ALLOW_REAL_MODELS", True)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Unreachable, match="cannot be resolved"):
        ask("https://models.example/v1").result()


# --- Routes --------------------------------------------------------------------------------------------------------------------


def test_seats_name_profiles_or_models_of_the_default_endpoint(fake: FakeModelServer) -> None:
    make(fake, price_in=Decimal(1), price_out=Decimal(2), timeout_s=7, context_window=8000)
    [model] = endpoints.route_for("house")
    assert (model.profile, model.endpoint.model, model.timeout_s) == ("house", "fake-option-1", 7)
    [plain] = endpoints.route_for("fake-option-2")
    assert (plain.profile, plain.endpoint.model, plain.endpoint.allows) == ("", "fake-option-2", None)
    assert endpoints.unpriced(["house", "fake-option-2"]) == ["fake-option-2"]


def test_a_profile_that_is_off_is_passed_over(fake: FakeModelServer, user: User, convene: Convene) -> None:
    spare = make(fake, "spare")
    make(fake, enabled=False, fallback=spare)
    assert [model.profile for model in endpoints.route_for("house")] == ["spare"]
    make(fake, "spare", enabled=False)
    with pytest.raises(Unavailable, match="switched off"):
        services.start(user, convene(("house", "fake", "fake", "fake")).pk)


def test_a_seat_speaks_through_its_profile(user: User, convene: Convene, fake: FakeModelServer) -> None:
    make(fake, api_key=KEY, price_in=Decimal(10), price_out=Decimal(20))
    session = conclude(user, convene(("house", "fake-option-2", "fake-option-3", "fake")))
    assert session.status == "completed"
    calls = LlmCall.objects.filter(session=session, profile="house")
    assert {call.model for call in calls} == {"fake-option-1"}
    assert all(call.usd == Decimal(10 * call.prompt_tokens + 20 * call.completion_tokens) / 10**6 for call in calls)
    assert Budget.objects.get(session=session).usd_used == sum(call.usd for call in calls) > 0


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ({"model": "fake-500"}, "server_error"),
        ({"model": "fake-429"}, "rate_limited"),
        ({"model": "fake-cut"}, "cut_stream"),
        ({"model": "fake-hang", "timeout_s": 1}, "timeout"),
        ({"model": "fake-401"}, "auth_failed"),
        ({"model": "fake", "base_url": "http://127.0.0.1:9/v1"}, "unreachable"),
    ],
)
def test_the_fallback_is_asked_within_the_same_attempt(
    user: User, convene: Convene, fake: FakeModelServer, broken: dict[str, Any], code: str
) -> None:
    make(fake, **broken, fallback=make(fake, "spare"))
    session = services.start(user, convene(("house", "fake-option-2", "fake-option-3", "fake")).pk)
    work(session, limit=1)
    turn = Turn.objects.get(session=session, seat__model="house", kind="answer")
    assert (turn.status, turn.attempt, turn.model_errors) == ("completed", 1, 0)
    calls = LlmCall.objects.filter(turn=turn).order_by("ordinal")
    assert [(call.profile, call.status, call.error) for call in calls] == [
        ("house", "error", code),
        ("spare", "ok", ""),
    ]
    budget = Budget.objects.get(session=session)
    used = sum(call.prompt_tokens + call.completion_tokens for call in LlmCall.objects.filter(session=session))
    assert (budget.tokens_used, budget.tokens_reserved, budget.calls) == (used, 0, 4)


def test_only_the_errors_that_are_named_move_on(user: User, convene: Convene, fake: FakeModelServer) -> None:
    make(fake, model="fake-refusal", fallback=make(fake, "spare"))
    session = services.start(user, convene(("house", "fake", "fake", "fake")).pk)
    work(session, limit=1)
    assert Turn.objects.get(session=session, seat__model="house", kind="answer").error == "refused"
    make(fake, "house", moves_on=["refused"])
    again = services.start(user, convene(("house", "fake", "fake", "fake")).pk)
    work(again, limit=1)
    assert Turn.objects.get(session=again, seat__model="house", kind="answer").status == "completed"


def test_a_prompt_that_does_not_fit_goes_to_the_larger_model(
    user: User, convene: Convene, fake: FakeModelServer
) -> None:
    make(fake, context_window=600, fallback=make(fake, "large", context_window=100_000))
    session = services.start(user, convene(("house", "fake", "fake", "fake")).pk)
    work(session, limit=1)
    [call] = LlmCall.objects.filter(session=session, turn__seat__model="house")
    assert (call.profile, call.status) == ("large", "ok")


def test_when_the_whole_route_fails_the_turn_is_tried_again(
    user: User, convene: Convene, fake: FakeModelServer
) -> None:
    make(fake, model="fake-500", fallback=make(fake, "spare", model="fake-503"))
    session = services.start(user, convene(("house", "fake", "fake", "fake")).pk)
    work(session, limit=1)
    turn = Turn.objects.get(session=session, seat__model="house", kind="answer")
    assert (turn.status, turn.model_errors, turn.error) == ("pending", 1, "server_error")
    assert [call.profile for call in LlmCall.objects.filter(turn=turn).order_by("ordinal")] == ["house", "spare"]


def test_a_guided_turn_begins_anew_with_a_structured_fallback(
    user: User, convene: Convene, fake: FakeModelServer
) -> None:
    fake.set_rules({"model": "fake-small", "skip": 1, "status": 500})
    make(fake, model="fake-small", style="guided", fallback=make(fake, "spare", style="structured"))
    session = services.start(user, convene(("house", "fake", "fake", "fake")).pk)
    work(session, limit=1)
    turn = Turn.objects.get(session=session, seat__model="house", kind="answer")
    calls = LlmCall.objects.filter(turn=turn).order_by("ordinal")
    assert [(call.profile, call.status) for call in calls] == [("house", "ok"), ("house", "error"), ("spare", "ok")]
    assert turn.status == "completed"


# --- Limits, in a council -----------------------------------------------------------------------------------------------------


def test_seats_wait_for_their_turn_at_a_limited_model(user: User, convene: Convene, fake: FakeModelServer) -> None:
    make(fake, model="fake-latency-100", max_concurrent=1)
    session = services.start(user, convene(("house", "house", "house", "fake")).pk)
    work(session, limit=1)
    assert {turn.status for turn in session.turns.filter(round__number=1, kind="answer")} == {"completed"}
    spans = sorted((one.arrived_at, one.finished_at or 0) for one in fake.requests if one.model == "fake-latency-100")
    assert all(ended <= began + 0.01 for (_, ended), (began, _) in pairwise(spans))


def test_a_model_without_room_in_time_is_no_fault_of_its_own(
    user: User, convene: Convene, fake: FakeModelServer
) -> None:
    make(fake, requests_per_minute=1, wait_s=0)
    session = services.start(user, convene(("house", "house", "fake", "fake")).pk)
    work(session, limit=1)
    [waiting] = Turn.objects.filter(session=session, seat__model="house", status="pending")
    assert (waiting.error, waiting.model_errors) == ("limited", 0)
    [refused] = LlmCall.objects.filter(turn=waiting)
    assert (refused.error, refused.prompt_tokens, refused.seconds) == ("limited", 0, 0)


# --- check_model --------------------------------------------------------------------------------------------------------------


def checked(*arguments: str) -> tuple[list[str], str]:
    said, fault = StringIO(), ""
    try:
        call_command("check_model", *arguments, stdout=said)
    except CommandError as error:
        fault = str(error)
    return said.getvalue().splitlines(), fault


def test_a_good_model_passes_every_check(fake: FakeModelServer) -> None:
    fake.set_rules({"contains": "Count from", "reply": "1 2 3 " * 20, "token_delay_s": 0.001})
    make(fake)
    lines, fault = checked("house")
    assert [line.split()[:2] for line in lines] == [
        ["ok", name] for name in ("reachable", "streams", "schema", "usage", "speed")
    ]
    assert (fault, "enforced as json_schema" in lines[2], "tokens a second" in lines[4]) == ("", True, True)


def test_what_a_model_cannot_do_is_said(fake: FakeModelServer) -> None:
    fake.set_rules({"model": "fake-mute", "unsupported": ["json_schema", "json_object"]})
    make(fake, model="fake-mute")
    lines, fault = checked("house")
    assert [line.split()[0] for line in lines] == ["ok", "ok", "FAIL", "FAIL", "ok"]
    assert "asked for in words" in lines[2]
    assert fault == "not fit for councils: schema"


def test_a_model_that_is_away_is_said_in_one_line(fake: FakeModelServer, settings: LazySettings) -> None:
    make(fake, base_url="http://127.0.0.1:9/v1")
    lines, fault = checked("house")
    assert [line.split()[:2] for line in lines] == [["FAIL", "reachable"]]
    assert fault == "not fit for councils: reachable"
    assert checked("nobody") == ([], "There is no model profile 'nobody'.")
    settings.LLM_BASE_URL = ""
    assert "LLM_BASE_URL" in checked("--default")[1]


def test_the_default_model_is_checked_too(fake: FakeModelServer) -> None:
    assert checked("--default")[0][0].startswith(f"ok   reachable {fake.url} answers as fake")


# --- Admin ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.org", "correct horse battery"))
    return client


def form(fake: FakeModelServer, **changes: Any) -> dict[str, Any]:
    plain = {
        "slug": "house", "enabled": "on", "provider": "openai", "base_url": fake.url, "model": "fake", "style": "auto",
        "schema": "json_schema", "wait_s": 30, "moves_on": '["timeout"]',
    }  # fmt: skip
    return plain | changes


def test_staff_make_a_profile_and_never_see_its_key_again(staff: Client, fake: FakeModelServer) -> None:
    add = reverse("admin:council_modelprofile_add")
    assert staff.post(add, form(fake, api_key=KEY, price_in="1.5", price_out="6")).status_code == 302
    profile = ModelProfile.objects.get()
    assert (vault.unseal(profile.sealed_key), profile.moves_on, profile.price_out) == (KEY, ["timeout"], Decimal(6))
    change = reverse("admin:council_modelprofile_change", args=[profile.pk])
    for page in (change, reverse("admin:council_modelprofile_changelist")):
        shown = staff.get(page).content.decode()
        assert KEY not in shown
        assert profile.sealed_key not in shown
    staff.post(change, form(fake, title="House"))
    profile.refresh_from_db()
    assert (profile.title, vault.unseal(profile.sealed_key)) == ("House", KEY)
    staff.post(change, form(fake, forget_key="on"))
    profile.refresh_from_db()
    assert profile.sealed_key == ""


@pytest.mark.parametrize(
    ("changes", "field", "fault"),
    [
        ({"base_url": "http://10.0.0.7/v1"}, "base_url", "private"),
        ({"moves_on": '{"a": 1}'}, "moves_on", "list of texts"),
        ({"price_in": "1"}, "price_out", "both prices"),
        ({"api_key": KEY, "forget_key": "on"}, "forget_key", "not both"),
        ({"max_concurrent": "0"}, "max_concurrent", "greater than or equal to 1"),
    ],
)
def test_faults_of_a_profile_stand_beside_their_field(
    staff: Client, fake: FakeModelServer, changes: dict[str, Any], field: str, fault: str
) -> None:
    response: Any = staff.post(reverse("admin:council_modelprofile_add"), form(fake, **changes))
    assert response.status_code == 200
    assert fault in " ".join(response.context["adminform"].form.errors[field])


def test_staff_delete_profiles(staff: Client, fake: FakeModelServer) -> None:
    profile = make(fake)
    assert endpoints.route_for("house")[0].profile == "house"
    staff.post(reverse("admin:council_modelprofile_delete", args=[profile.pk]), {"post": "yes"})
    assert endpoints.route_for("house")[0].profile == ""


def test_staff_limit_a_persons_day(staff: Client, user: User, fake: FakeModelServer) -> None:
    staff.post(
        reverse("admin:council_dailybudget_add"), {"user": str(user.pk), "tokens_limit": "5000", "usd_limit": "0.5"}
    )
    budget = DailyBudget.objects.get(user=user)
    assert (budget.tokens_limit, budget.usd_limit, budget.calls_limit) == (5000, Decimal("0.5"), None)
    change = reverse("admin:council_dailybudget_change", args=[user.pk])
    assert "0 of 5,000" in staff.get(change).content.decode()
    staff.post(change, {"tokens_limit": "", "calls_limit": "7"})
    budget.refresh_from_db()
    assert (budget.tokens_limit, budget.calls_limit) == (None, 7)


def test_spend_has_a_page(staff: Client, user: User, convene: Convene) -> None:
    page = reverse("admin:council_llmcall_spend")
    assert "No model was called" in staff.get(page).content.decode()
    conclude(user, convene())
    shown = staff.get(page).content.decode()
    assert "fake-option-2" in shown
    assert "Tokens a day" in shown
    outsider = Client()
    outsider.force_login(User.objects.create_user("eve@example.org", "correct horse battery", is_staff=True))
    assert outsider.get(page).status_code == 403


def test_processes_go_by_what_they_have_read_for_a_moment(fake: FakeModelServer) -> None:
    make(fake)
    seen: list[str] = []

    def look() -> None:
        seen.append(endpoints.route_for("house")[0].endpoint.model)
        connection.close()

    look()
    ModelProfile.objects.update(model="fake-option-2")  # as another process would
    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    endpoints.forget()
    look()
    assert seen == ["fake-option-1", "fake-option-1", "fake-option-1", "fake-option-2"]
