"""Webhooks: what is told, to whom, how it is signed, and what becomes of it when the receiver fails."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from django.conf import LazySettings
from django.db import connections
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import streams, vault
from accounts.models import User, UserEvent, UserStream, WebhookDelivery, WebhookEndpoint
from accounts.models_audit import AuditEntry
from accounts.webhooks import endpoints, fanning, kinds, sending, signing, task
from council import me
from council import services as councils
from knowledge import services as packs
from knowledge.models import KnowledgePack
from knowledge.services import imports
from knowledge.states import ImportStatus
from tests.conftest import Api
from tests.support.receiver import Receiver

pytestmark = pytest.mark.django_db
HOOKS = "/api/me/webhooks"
DOCS = Path(__file__).resolve().parents[2] / "docs/webhooks.md"
Json = dict[str, Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


def hook(user: User, receiver: Receiver, *events: str) -> tuple[WebhookEndpoint, str]:
    return endpoints.create(user, url=receiver.url, events=events or kinds.ALL)


def forever() -> float:
    return time.monotonic() + 600


def tell() -> None:
    """What the task does, in this transaction."""
    fanning.fan_out(forever())
    while sending.send_one():
        pass


def rested() -> None:
    """Every pause is over."""
    now = timezone.now()
    WebhookEndpoint.objects.update(not_before=now)
    WebhookDelivery.objects.filter(state="pending").update(next_attempt_at=now)


def told(receiver: Receiver) -> list[str]:
    return [json.loads(one.body)["type"] for one in receiver.got]


# --- What is told -------------------------------------------------------------------------------------------------------


def test_a_council_is_told_of_by_ids_and_states(user: User, receiver: Receiver, settings: LazySettings) -> None:
    hook(user, receiver, "session.*")
    session = councils.create_session(user, councils.Plan(question="Which narwhal?"))
    packs.create_pack(user, name="Not asked for")
    tell()
    [one] = receiver.got
    body = json.loads(one.body)
    assert (one.path, body["type"], body["data"]["status"]) == ("/hook", "session.created", "draft")
    assert body["data"]["url"] == f"{settings.PUBLIC_URL}/api/council-sessions/{session.pk}"
    assert b"narwhal" not in one.body
    tell()
    assert len(receiver.got) == 1


def test_a_packs_life_is_told(user: User, receiver: Receiver) -> None:
    hook(user, receiver, "pack.*")
    pack = packs.create_pack(user, name="Secret name")
    packs.update_pack(pack.pk, {"visibility": "public"})
    job = imports.create_import(pack, user, filename="a.csv")
    imports.conclude(*imports.locked_import(job.pk), ImportStatus.FAILED, "It holds no entries.")
    tell()
    packs.delete_pack(pack.pk)
    tell()
    packs.restore_pack(pack.pk)
    tell()
    assert told(receiver) == [
        f"pack.{verb}" for verb in ("created", "updated", "import_finished", "deleted", "restored")
    ]
    assert json.loads(receiver.got[2].body)["data"]["import"] == {"id": str(job.pk), "status": "failed"}
    assert not any(b"Secret name" in one.body for one in receiver.got)


def test_only_what_was_asked_for_and_only_from_now_on(user: User, receiver: Receiver) -> None:
    packs.create_pack(user, name="Before")
    hook(user, receiver, "pack.deleted")
    pack = packs.create_pack(user, name="After")
    packs.delete_pack(pack.pk)
    tell()
    assert told(receiver) == ["pack.deleted"]
    assert set(json.loads(receiver.got[0].body)["data"]) == {"id", "url"}


def test_every_event_that_is_offered_is_one_of_the_stream_and_has_a_message() -> None:
    from accounts.events import OWN

    assert set(kinds.KINDS) <= set(OWN.by_name)
    assert kinds.table() in DOCS.read_text(), f"docs/webhooks.md is to say:\n{kinds.table()}"


# --- Who may know -------------------------------------------------------------------------------------------------------


def test_what_is_no_longer_shared_is_not_sent(user: User, other_user: User, receiver: Receiver) -> None:
    pack = packs.create_pack(user, name="Ferries")
    hook(other_user, receiver, "pack.*")
    share, _ = packs.share(pack.pk, user, other_user.email, "viewer")
    packs.update_pack(pack.pk, {"name": "Boats"})
    fanning.fan_out(forever())  # the messages are made
    packs.unshare(pack.pk, share.pk)
    tell()
    assert told(receiver) == ["pack.unshared"]
    lost = WebhookDelivery.objects.exclude(type="pack.unshared")
    assert {(one.state, one.error, one.attempts) for one in lost} == {("failed", "access_lost", 1)}
    assert WebhookEndpoint.objects.get().failures == 0  # not the receiver's fault


def test_nothing_goes_out_for_an_inactive_account(user: User, receiver: Receiver) -> None:
    hook(user, receiver)
    packs.create_pack(user, name="Ferries")
    User.objects.filter(pk=user.pk).update(is_active=False)
    tell()
    assert receiver.got == []


# --- Signatures ---------------------------------------------------------------------------------------------------------


def verified(secret: str, one: Any) -> bool:
    """By the implementation of Standard Webhooks that OpenAI ships for its own."""
    client = openai.OpenAI(api_key="none", webhook_secret=secret)
    try:
        client.webhooks.verify_signature(one.body, one.headers)
    except openai.InvalidWebhookSignatureError:
        return False
    finally:
        client.close()
    return True


def test_messages_are_signed_as_standard_webhooks(user: User, receiver: Receiver) -> None:
    endpoint, secret = hook(user, receiver)
    endpoints.send_test(user, endpoint.pk)
    tell()
    [one] = receiver.got
    assert verified(secret, one)
    assert not verified(signing.new_secret(), one)
    changed = type(one)(one.path, one.headers, one.body.replace(b"test", b"tess"))
    assert not verified(secret, changed)
    assert secret not in str(WebhookEndpoint.objects.values_list().get())


def test_after_a_rotation_both_secrets_sign_for_a_while(user: User, receiver: Receiver) -> None:
    endpoint, old = hook(user, receiver)
    _, new = endpoints.rotate(user, endpoint.pk, timedelta(hours=1), lambda _: None)
    endpoints.send_test(user, endpoint.pk)
    tell()
    assert (verified(old, receiver.got[0]), verified(new, receiver.got[0])) == (True, True)
    WebhookEndpoint.objects.update(previous_until=timezone.now())
    endpoints.send_test(user, endpoint.pk)
    tell()
    assert (verified(old, receiver.got[1]), verified(new, receiver.got[1])) == (False, True)


def test_the_receiver_in_the_documentation_verifies(user: User, receiver: Receiver) -> None:
    [code] = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: Json = {}
    exec(code, names)  # noqa: S102  # our own page
    endpoint, secret = hook(user, receiver)
    endpoints.send_test(user, endpoint.pk)
    tell()
    [one] = receiver.got
    assert names["verify"](secret, one.headers, one.body) == json.loads(one.body)
    for wrong in (
        (signing.new_secret(), one.headers, one.body),
        (secret, one.headers, one.body + b" "),
        (secret, {**one.headers, "webhook-timestamp": str(int(time.time()) - 600)}, one.body),
        (secret, {**one.headers, "webhook-signature": "v2,xx v1"}, one.body),
    ):
        with pytest.raises(ValueError, match=r"too old|not signed"):
            names["verify"](*wrong)


# --- Failures -----------------------------------------------------------------------------------------------------------


def test_a_failure_is_tried_again_later_under_the_same_id(user: User, receiver: Receiver) -> None:
    hook(user, receiver)
    packs.create_pack(user, name="Ferries")
    receiver.status, receiver.body = 500, b"no\x00" + b"x" * 5000
    tell()
    one = WebhookDelivery.objects.get()
    assert (one.state, one.attempts, one.status, len(one.response)) == ("pending", 1, 500, 1023)
    assert one.next_attempt_at is not None
    assert timedelta(seconds=3) < one.next_attempt_at - timezone.now() < timedelta(seconds=7)
    receiver.status = 200
    tell()
    assert len(receiver.got) == 1  # not before its time
    rested()
    tell()
    assert len(set(receiver.ids)) == 1
    one.refresh_from_db()
    assert (one.state, one.attempts, one.error) == ("delivered", 2, "")
    assert receiver.ids[0] == f"msg_{one.pk.hex}"


def test_attempts_are_spread_over_about_three_days_and_then_it_has_failed(user: User, receiver: Receiver) -> None:
    hook(user, receiver)
    packs.create_pack(user, name="Ferries")
    receiver.status, waited = 503, timedelta()
    for _ in range(len(sending.DELAYS_S)):
        tell()
        again = WebhookDelivery.objects.get().next_attempt_at
        assert again is not None
        waited += again - timezone.now()
        rested()
    assert timedelta(days=2) < waited < timedelta(days=3.5)
    tell()
    assert WebhookDelivery.objects.get().state == "failed"
    assert len(receiver.got) == len(sending.DELAYS_S) + 1


def test_a_receiver_that_fails_rests_and_does_not_get_the_next(user: User, receiver: Receiver) -> None:
    hook(user, receiver)
    for name in ("One", "Two", "Three"):
        packs.create_pack(user, name=name)
    receiver.status = 500
    tell()
    assert len(receiver.got) == 1


def test_redirects_are_not_followed(user: User, receiver: Receiver) -> None:
    with Receiver() as elsewhere:
        hook(user, receiver)
        packs.create_pack(user, name="Ferries")
        receiver.status, receiver.headers = 302, {"Location": elsewhere.url}
        tell()
        assert elsewhere.got == []
    assert WebhookDelivery.objects.get().error == "The receiver answered 302."


def test_410_switches_it_off_and_its_owner_is_told(user: User, receiver: Receiver) -> None:
    endpoint, _ = hook(user, receiver)
    packs.create_pack(user, name="Ferries")
    receiver.status = 410
    tell()
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "gone")
    assert WebhookDelivery.objects.get().state == "failed"
    [note] = me.snapshot(user.pk)["notifications"]
    assert (note["kind"], note["about"]["id"]) == ("webhook_disabled", str(endpoint.pk))
    assert AuditEntry.objects.get(action="webhook.disabled").details["reason"] == "gone"
    packs.create_pack(user, name="More")
    tell()
    assert len(receiver.got) == 1


def test_nothing_but_failures_for_a_day_switches_it_off(user: User, receiver: Receiver) -> None:
    endpoint, _ = hook(user, receiver)
    receiver.status = 500
    for number in range(sending.FAILURES + 1):
        assert WebhookEndpoint.objects.get().enabled
        endpoints.send_test(user, endpoint.pk)
        WebhookEndpoint.objects.update(
            failing_since=timezone.now() - sending.FAILING if number >= sending.FAILURES else None
        )
        tell()
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "failing")


def test_one_success_forgets_the_failures(user: User, receiver: Receiver) -> None:
    endpoint, _ = hook(user, receiver)
    WebhookEndpoint.objects.update(failures=99, failing_since=timezone.now() - timedelta(days=9))
    endpoints.send_test(user, endpoint.pk)
    tell()
    endpoint.refresh_from_db()
    assert (endpoint.failures, endpoint.failing_since) == (0, None)


def test_a_receiver_that_is_not_there_and_one_that_hangs_are_failures(
    user: User, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TOTAL_S", 0.3)
    receiver.delay_s = 3
    endpoint, _ = hook(user, receiver)
    endpoints.send_test(user, endpoint.pk)
    began = time.monotonic()
    tell()
    assert time.monotonic() - began < 2.5
    assert "Timeout" in WebhookDelivery.objects.get().error
    endpoints.change(user, endpoint.pk, {"url": "http://127.0.0.1:1/"}, lambda _: None)
    rested()
    tell()
    assert "Refused" in WebhookDelivery.objects.get().error


# --- The API ------------------------------------------------------------------------------------------------------------


def test_the_secret_is_shown_once(api: Api, receiver: Receiver) -> None:
    body = {"url": receiver.url, "events": ["pack.*"], "description": "Deploys"}
    made = api.post(HOOKS, body, Idempotency_Key="once")
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    secret = made.json()["secret"]
    assert secret.startswith("whsec_")
    assert api.post(HOOKS, body, Idempotency_Key="once").json() == {**made.json(), "secret": None}
    pk = made.json()["id"]
    shown = api.get(f"{HOOKS}/{pk}")
    assert "secret" not in shown.json()
    assert vault.unseal(WebhookEndpoint.objects.get().sealed_secret) == secret
    assert api.post(f"{HOOKS}/{pk}/rotate", {}).json()["secret"] not in (None, secret)


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"url": "https://hooks.example.org/", "events": ["pack.exploded"]}, "invalid", "/events/0"),
        ({"url": "https://hooks.example.org/", "events": []}, "invalid", "/events"),
        ({"url": "https://me@hooks.example.org/", "events": ["pack.*"]}, "address_blocked", "/url"),
        ({"url": "https://10.0.0.1/", "events": ["pack.*"]}, "address_blocked", "/url"),
        ({"url": "https://hooks.example.org/", "events": ["pack.*"], "enabled": False}, "invalid", "/enabled"),
    ],
)
def test_bad_input_is_named(api: Api, body: Json, code: str, pointer: str) -> None:
    answer = api.post(HOOKS, body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert not WebhookEndpoint.objects.exists()


def test_plain_http_and_other_ports_are_for_private_networks(api: Api, settings: LazySettings) -> None:
    settings.WEBHOOK_PRIVATE_NETWORKS = []
    for url in ("http://hooks.example.org/", "https://hooks.example.org:22/", "https://hooks/"):
        assert api.post(HOOKS, {"url": url, "events": ["pack.*"]}).json()["code"] == "address_blocked"
    for url in ("https://hooks.example.org/", "https://hooks.example.org:8443/a?b=c"):
        assert api.post(HOOKS, {"url": url, "events": ["pack.*"]}).status_code == 201


def test_ten_are_the_most(api: Api, user: User, receiver: Receiver) -> None:
    for _ in range(endpoints.ENDPOINTS_MAX):
        hook(user, receiver)
    answer = api.post(HOOKS, {"url": receiver.url, "events": ["pack.*"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhooks")


def test_deliveries_are_listed_and_sent_again(api: Api, user: User, receiver: Receiver) -> None:
    endpoint, _ = hook(user, receiver, "pack.created")
    packs.create_pack(user, name="Ferries")
    tell()
    path = f"{HOOKS}/{endpoint.pk}/deliveries"
    assert api.get(f"{path}?state=failed").json()["results"] == []
    assert api.get(f"{path}?state=lost").status_code == 400
    [one] = api.get(f"{path}?state=delivered").json()["results"]
    assert (one["type"], one["status"], one["attempts"]) == ("pack.created", 204, 1)
    again = api.post(f"{path}/{one['id']}/replay")
    assert (again.status_code, again.json()["state"]) == (202, "pending")
    assert api.post(f"{path}/{one['id']}/replay").json()["code"] == "delivery_pending"
    tell()
    assert len(receiver.got) == 2
    assert (receiver.ids[0], receiver.got[0].body) == (receiver.ids[1], receiver.got[1].body)


def test_one_that_is_switched_on_again_is_told_from_then_on(api: Api, user: User, receiver: Receiver) -> None:
    endpoint, _ = hook(user, receiver, "pack.created")
    path = f"{HOOKS}/{endpoint.pk}"
    assert api.patch(path, {"enabled": False}).json()["disabled_reason"] == "owner"
    packs.create_pack(user, name="Missed")
    assert api.post(f"{path}/test").json()["code"] == "webhook_disabled"
    assert api.patch(path, {"enabled": True}, If_Match='"v1"').status_code == 412
    assert api.patch(path, {"enabled": True}, If_Match='"v2"').json()["enabled"]
    pack = packs.create_pack(user, name="Told")
    tell()
    assert [json.loads(one.body)["data"]["id"] for one in receiver.got] == [str(pack.pk)]


def test_what_staff_switched_off_stays_off(api: Api, user: User, receiver: Receiver) -> None:
    endpoint, _ = hook(user, receiver)
    endpoints.disable_by_staff(endpoint.pk)
    answer = api.patch(f"{HOOKS}/{endpoint.pk}", {"enabled": True})
    assert (answer.status_code, answer.json()["code"]) == (403, "disabled_by_staff")
    endpoints.enable_by_staff(endpoint.pk)
    assert api.get(f"{HOOKS}/{endpoint.pk}").json()["enabled"]


def test_anothers_webhook_is_not_there(user: User, other_api: Api, receiver: Receiver) -> None:
    endpoint, _ = hook(user, receiver)
    sent = endpoints.send_test(user, endpoint.pk)
    path = f"{HOOKS}/{endpoint.pk}"
    answers = [
        other_api.get(path),
        other_api.patch(path, {"enabled": False}),
        other_api.delete(path),
        other_api.get(f"{path}/deliveries"),
        *(other_api.post(f"{path}/{what}") for what in ("rotate", "test", f"deliveries/{sent.pk}/replay")),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert other_api.get(HOOKS).json()["results"] == []


def test_a_delivery_is_replayed_through_its_own_webhook_alone(api: Api, user: User, receiver: Receiver) -> None:
    one, other = hook(user, receiver)[0], hook(user, receiver)[0]
    sent = endpoints.send_test(user, one.pk)
    assert api.post(f"{HOOKS}/{other.pk}/deliveries/{sent.pk}/replay").status_code == 404


def test_changes_are_audited_by_host_and_never_by_path(api: Api, settings: LazySettings) -> None:
    url = "https://hooks.example.org/services/T0KEN"
    pk = api.post(HOOKS, {"url": url, "events": ["pack.*"]}).json()["id"]
    for method, path, body in (
        ("PATCH", "", {"description": "Deploys"}),
        ("POST", "/rotate", {"overlap_s": 60}),
        ("POST", "/test", None),
        ("DELETE", "", None),
    ):
        assert api(method, f"{HOOKS}/{pk}{path}", body).status_code < 300
    entries = AuditEntry.objects.filter(action__startswith="webhook.").order_by("created_at")
    verbs = ["created", "changed", "rotated", "tested", "deleted"]
    assert [entry.action for entry in entries] == [f"webhook.{verb}" for verb in verbs]
    assert not any("T0KEN" in f"{entry.details}{entry.object_name}" for entry in entries)
    assert {entry.details["host"] for entry in entries} == {"hooks.example.org"}


# --- What it costs, and what is kept ------------------------------------------------------------------------------------


def test_a_change_costs_nothing_more_where_there_are_webhooks(
    user: User, receiver: Receiver, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """The hot path: a council's steps are the same statements with ten webhooks as with none."""

    def cost() -> int:
        session = councils.create_session(user, councils.Plan(question="Why?"))
        with django_assert_max_num_queries(100) as queries:
            councils.archive(user, session.pk)
        return len(queries.captured_queries)

    without = cost()
    for _ in range(10):
        hook(user, receiver)
    assert cost() == without


def test_what_a_webhook_is_still_to_be_told_of_is_kept(user: User, receiver: Receiver) -> None:
    endpoint, _ = hook(user, receiver)
    packs.create_pack(user, name="Ferries")
    UserStream.objects.filter(pk=user.pk).update(last_seq=100_000)
    assert not streams.forgotten(timezone.now()).exists()
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(cursor=100_000)
    assert streams.forgotten(timezone.now()).count() == UserEvent.objects.filter(stream=user.pk).count() > 0


def test_secrets_are_sealed_anew_with_a_new_key(user: User, receiver: Receiver, settings: LazySettings) -> None:
    endpoint, secret = hook(user, receiver)
    settings.ENCRYPTION_KEYS = ["n" * 40, *settings.ENCRYPTION_KEYS]
    assert endpoints.reseal() == 1
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    endpoint.refresh_from_db()
    assert endpoints.secrets_of(endpoint) == [secret]


# --- Many workers -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_workers_tell_everything_once_and_two_at_a_time(user: User, receiver: Receiver) -> None:
    hook(user, receiver, "pack.created")
    for number in range(12):
        packs.create_pack(user, name=f"Pack {number}")
    receiver.delay_s = 0.05

    def work() -> None:
        fanning.fan_out(forever())
        task._send(forever())
        connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(60)
    work()  # what both passed over because the other was at it
    assert (len(receiver.got), len(set(receiver.ids))) == (12, 12)
    assert receiver.at_once <= sending.AT_ONCE
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"delivered"}


@pytest.mark.django_db(transaction=True)
def test_the_task_does_it_all_without_keeping_connections(user: User, receiver: Receiver) -> None:
    hook(user, receiver)
    packs.create_pack(user, name="Ferries")
    task.run()
    assert told(receiver) == ["pack.created"]
    assert KnowledgePack.objects.count() == 1


def test_a_lease_that_was_lost_stores_nothing(user: User, receiver: Receiver) -> None:
    """A worker that was thought dead comes back after another has delivered."""
    endpoint, _ = hook(user, receiver)
    endpoints.send_test(user, endpoint.pk)
    claim = sending._claim()
    assert claim is not None
    assert sending._claim() is None  # somebody has it
    WebhookDelivery.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert sending.send_one()
    sending._finish(claim, sending.Outcome(500, "late"))
    one = WebhookDelivery.objects.get()
    assert (one.state, one.error, one.attempts) == ("delivered", "", 2)
