"""The audit log: what is recorded of whom and from where, what staff see of it, and what goes from it again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import audit
from accounts.audit import retention, sealing
from accounts.audit.admin import Audited
from accounts.audit.verifying import verify
from accounts.models import ApiKey, User
from accounts.models_audit import AuditEntry, AuditSeal
from accounts.scopes import ALL
from accounts.services import create_api_key, revoke_api_key
from realtime import cleaning
from realtime.actor import acting
from tests.accounts.test_audit_chain import tampering
from tests.conftest import Api

AGENT = "Probe/1.0"
PASSWORD = "correct horse battery"


def recorded() -> list[tuple[str, str]]:
    return [(one.action, one.outcome) for one in AuditEntry.objects.order_by("created_at", "id")]


def latest(action: str) -> AuditEntry:
    return AuditEntry.objects.filter(action=action).latest("created_at")


@pytest.fixture
def chief(db: None) -> User:
    return User.objects.create_superuser("chief@example.org", PASSWORD, name="Chief")


@pytest.fixture
def staff(chief: User) -> Client:
    client = Client(headers={"User-Agent": AGENT, "X-Request-ID": "asked-for-by-staff"})
    client.force_login(chief, backend="django.contrib.auth.backends.ModelBackend")
    return client


# --- Who, from where ----------------------------------------------------------------------------------------------------


def test_signing_in_and_out(user: User) -> None:
    client = Client(headers={"User-Agent": AGENT, "X-Request-ID": "one"})
    form = {"username": user.email, "password": "wrong"}
    assert client.post("/accounts/login", form).status_code == 200
    assert client.post("/accounts/login", {**form, "password": PASSWORD}).status_code == 302
    assert client.post("/accounts/logout").status_code == 302
    assert recorded() == [("user.signed_in", "refused"), ("user.signed_in", "allowed"), ("user.signed_out", "allowed")]
    refused, entered, left = AuditEntry.objects.order_by("created_at")
    assert (refused.actor_kind, refused.actor_id) == (
        "anonymous",
        None,
    )  # whoever it was, they did not prove to be the user
    for entry in (entered, left):
        assert (entry.actor_kind, entry.actor_id) == ("user", user.pk)
    for entry in (refused, entered, left):
        assert (entry.object_type, entry.object_id, entry.object_name) == ("user", str(user.pk), "Ada")
        assert (entry.ip, entry.user_agent, entry.request_id) == ("127.0.0.1", AGENT, "one")


def test_an_unknown_address_and_a_password_in_its_place_leave_nothing(user: User) -> None:
    Client().post("/accounts/login", {"username": "a secret typed too early", "password": "x"})
    assert recorded() == []


@pytest.mark.parametrize("door", ["/accounts/login", "/admin/login/"])
def test_an_inactive_account_is_refused_at_every_door(user: User, door: str) -> None:
    User.objects.update(is_active=False)
    Client().post(door, {"username": user.email, "password": PASSWORD})
    assert recorded() == [("user.signed_in", "refused")]


def test_a_program_is_named_with_its_key_once_the_request_knows_it(user: User) -> None:
    """``request.auth`` is where REST framework puts what an authenticator found."""
    from django.test import RequestFactory

    from accounts.audit import origin
    from accounts.middleware import as_actor

    key, _ = create_api_key(user, "nightly")
    request = RequestFactory().post("/", headers={"User-Agent": AGENT + "x" * 500})
    request.auth = key  # type: ignore[attr-defined]
    with origin.answering(request), acting(lambda: as_actor(user)):
        audit.record("pack.created")
    entry = latest("pack.created")
    assert (entry.actor_kind, entry.actor_id, entry.key_id) == ("key", user.pk, key.pk)
    assert len(entry.user_agent) == 200


def test_the_console_is_the_system(user: User) -> None:
    key, _ = create_api_key(user, "cron")
    revoke_api_key(key)
    revoke_api_key(key)
    assert recorded() == [("key.created", "allowed"), ("key.revoked", "allowed")]  # the second time nothing happened
    entry = latest("key.revoked")
    assert (entry.actor_kind, entry.actor_id, entry.ip, entry.object_id) == ("system", None, None, str(key.pk))
    assert (entry.object_name, entry.details) == ("cron", {"user": str(user.pk)})


def test_no_secret_of_a_key_is_recorded(user: User) -> None:
    _, plaintext = create_api_key(user, "cron")
    row = str(AuditEntry.objects.values().get())
    assert plaintext not in row
    assert plaintext[:10] not in row


@pytest.mark.parametrize("value", [1.5, {"a": 1}, b"x", ["a", 1]])
def test_details_are_texts_whole_numbers_and_lists_of_texts(db: None, value: Any) -> None:
    with pytest.raises(TypeError):
        audit.record("pack.changed", what=value)


def test_strange_text_reads_back_as_it_was_sealed(db: None) -> None:
    audit.record("pack.changed", fields=["a\x00b", "\ud7ff\u2028<é>", "x" * 900], deep=True, none=None, big=2**60)
    sealing.seal_all()
    assert verify().fault == ""
    found = AuditEntry.objects.get().details
    assert found == {"fields": ["ab", "\ud7ff\u2028<é>", "x" * 200], "deep": True, "none": None, "big": 2**60}


# --- The admin ----------------------------------------------------------------------------------------------------------


def test_what_staff_do_to_people(staff: Client, chief: User, user: User) -> None:
    url = f"/admin/accounts/user/{user.pk}/change/"
    assert staff.post(url, {"email": user.email, "name": "Countess", "is_staff": "on"}).status_code == 302
    assert staff.post(f"/admin/accounts/user/{user.pk}/password/", NEW_PASSWORD).status_code == 302
    assert (
        staff.post(url, {"email": user.email, "name": "Countess", "is_active": "on", "is_staff": "on"}).status_code
        == 302
    )
    selected = {"action": "delete_selected", "_selected_action": [str(user.pk)], "post": "yes"}
    assert staff.post("/admin/accounts/user/", selected).status_code == 302
    assert not User.objects.filter(pk=user.pk).exists()
    mine = AuditEntry.objects.filter(
        actor_id=chief.pk, ip="127.0.0.1", user_agent=AGENT, request_id="asked-for-by-staff"
    )
    assert [(one.action, one.object_type) for one in mine.order_by("created_at")] == [
        ("user.deactivated", "user"),
        ("user.permissions_changed", "user"),
        ("user.changed", "user"),
        ("admin.changed", "accounts.user"),
        ("user.password_changed", "user"),
        ("admin.changed", "accounts.user"),
        ("user.activated", "user"),
        ("admin.changed", "accounts.user"),
        ("admin.deleted", "accounts.user"),
        ("user.deleted", "user"),
    ]
    assert latest("user.permissions_changed").details == {"fields": ["is_staff"], "staff": True, "superuser": False}
    assert {one.object_id for one in mine} == {str(user.pk)}
    assert "example.org" not in str(list(AuditEntry.objects.values()))
    sealing.seal_all()
    assert verify().sound


NEW_PASSWORD = {"password1": "another horse staple", "password2": "another horse staple", "usable_password": "true"}


def test_adding_and_deleting_are_recorded(staff: Client, chief: User, user: User) -> None:
    assert staff.post("/admin/auth/group/add/", {"name": "Curators"}).status_code == 302
    group = Group.objects.get()
    assert staff.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code == 302
    key = {"user": str(user.pk), "name": "cron", "scopes": ["admin"], "expires_at_0": "", "expires_at_1": ""}
    assert staff.post("/admin/accounts/apikey/add/", key).status_code == 302
    wanted = ["admin.added", "admin.deleted", "key.created", "admin.added"]
    entries = AuditEntry.objects.filter(actor_id=chief.pk).exclude(action="user.signed_in").order_by("created_at")
    assert [one.action for one in entries] == wanted
    assert entries[0].object_type == "auth.group"
    assert entries[1].object_name == "Curators"


def test_every_page_of_the_admin_records() -> None:
    """Those of Django and allauth as well."""
    registered = admin.site._registry
    assert {"auth.Group", "account.EmailAddress", "knowledge.Entry"} <= {model._meta.label for model in registered}
    assert [one for one in registered.values() if not isinstance(one, Audited)] == []


def test_the_log_is_a_page_to_read_and_to_verify(staff: Client, user: User) -> None:
    create_api_key(user, "cron")
    url = "/admin/accounts/auditentry/"
    sealing.seal_all()
    page = staff.get(url)
    assert b"key.created" in page.content
    assert b"Verify" in page.content
    assert b"key.created" not in staff.get(f"{url}?action=pack.created").content.partition(b"result_list")[2]
    assert staff.get(f"{url}?outcome__exact=refused&q={user.pk}").status_code == 200
    entry = latest("key.created")
    assert str(user.pk).encode() in staff.get(f"{url}{entry.pk}/change/").content
    assert b"Newest seals checked: 1;" in staff.get(f"{url}verify/", follow=True).content
    for path in ("add/", f"{entry.pk}/delete/"):
        assert staff.get(f"{url}{path}").status_code == 403
    assert staff.post(f"{url}{entry.pk}/change/", {"action": "pack.created"}).status_code == 403
    with tampering():
        AuditEntry.objects.filter(pk=entry.pk).update(outcome="failed")
    assert b"was tampered with: entry" in staff.get(f"{url}verify/", follow=True).content


def test_the_log_is_not_for_every_member_of_staff(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=True)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/admin/accounts/auditentry/").status_code == 403
    assert client.get("/admin/accounts/auditentry/verify/").status_code == 403


# --- The API ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(user: User) -> Api:
    """A member of staff who may view the log, and nothing else."""
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_auditentry"))
    return Api(create_api_key(user, "audit")[1])


def test_only_staff_with_the_permission_read_it(anonymous: Api, api: Api, reader: Api, user: User) -> None:
    assert anonymous.get("/api/audit").status_code == 401
    assert reader.get("/api/audit").status_code == 200
    for change in ({"is_staff": False}, {"is_staff": True}):
        User.objects.filter(pk=user.pk).update(**change)
        if change["is_staff"]:
            user.user_permissions.clear()
        refused = reader.get("/api/audit")
        assert (refused.status_code, refused.json()["code"]) == (403, "staff_only")


def test_an_entry_as_the_api_shows_it(reader: Api, user: User) -> None:
    sealing.seal_all()
    [shown] = reader.get("/api/audit?action=key.created").json()["results"]
    entry = latest("key.created")
    assert shown == {
        "id": str(entry.pk),
        "at": entry.created_at.isoformat().replace("+00:00", "Z"),
        "action": "key.created",
        "outcome": "allowed",
        "actor": {"kind": "system", "id": None, "key": None},
        "object": {"type": "key", "id": str(ApiKey.objects.get().pk), "name": "audit"},
        "details": {"user": str(user.pk), "scopes": [str(scope) for scope in ALL]},
        "request_id": "",
        "ip": None,
        "user_agent": "",
        "number": 1,
        "seal": 1,
    }


def test_filters(reader: Api, user: User, other_user: User) -> None:
    for who in (user, other_user):
        audit.record("user.signed_in", who, by=who)
    audit.record("user.signed_in", user, outcome="refused")  # type: ignore[arg-type]
    middle = latest("user.signed_in").created_at

    def found(query: str) -> int:
        answer = reader.get(f"/api/audit?{query}")
        assert answer.status_code == 200, answer.content
        return len(answer.json()["results"])

    assert found("") == 4
    assert found(f"actor={other_user.pk}") == 1
    assert found(f"object={user.pk}&object_type=user") == 2
    assert found("action=user.signed_in&outcome=refused") == 1
    assert found(f"since={quote(middle.isoformat())}") == 1
    assert found(f"until={quote(middle.isoformat())}") == 3
    assert found(f"since={quote((middle + timedelta(days=1)).isoformat())}") == 0
    for bad in ("action=nothing", "actor=me", "since=yesterday", "outcome=maybe", "unknown=1", "limit=0", "cursor=x"):
        answer = reader.get(f"/api/audit?{bad}")
        assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json"), bad


def test_pages_and_a_constant_number_of_queries(reader: Api) -> None:
    for _ in range(7):
        audit.record("pack.changed")
    seen, url = [], "/api/audit?limit=3"
    while url:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page = reader.get(url).json()
        seen += [one["id"] for one in page["results"]]
        url = page["next"]
        assert len(queries) <= 6
    wanted = AuditEntry.objects.order_by("-created_at", "-id").values_list("pk", flat=True)
    assert seen == [str(pk) for pk in wanted]


# --- What goes ----------------------------------------------------------------------------------------------------------


def age(upto: int, days: int) -> None:
    """As if the seals had been made that long ago, soundly."""
    from tests.accounts.test_audit_chain import reseal

    with tampering():
        AuditSeal.objects.filter(number__lte=upto).update(sealed_at=timezone.now() - timedelta(days=days))
        last = AuditSeal.objects.count()
        for number in range(1, last + 1):
            digest = reseal(number)
        from accounts.models_audit import AuditHead

        AuditHead.objects.update(digest=digest)


def fill(seals: int, each: int = 2) -> None:
    for _ in range(seals):
        for _ in range(each):
            audit.record("pack.changed")
        sealing.seal_all()


def test_old_entries_go_and_the_chain_stays(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SEALS", 2)
    fill(5)
    age(3, 401)
    assert verify().fault == ""
    assert retention.count() == 6
    assert list(retention.slices()) == [4, 2]
    assert [one.details for one in AuditEntry.objects.filter(action="audit.forgotten").order_by("created_at")] == [
        {"through": 2, "entries": 4},
        {"through": 3, "entries": 2},
    ]
    sealing.seal_all()
    found = verify()
    assert (found.fault, found.seals, found.forgotten, found.entries) == ("", 6, 3, 6)
    age(6, 401)  # those that said so as well
    assert list(retention.slices()) == [4, 2]
    sealing.seal_all()
    assert (verify().fault, AuditEntry.objects.count()) == ("", 2)


def forget(seal: int) -> None:
    with tampering():
        AuditEntry.objects.filter(seal=seal).delete()
        AuditSeal.objects.filter(number=seal).update(forgotten_at=timezone.now())


def test_a_removal_that_no_entry_explains_is_found(db: None) -> None:
    fill(3)
    forget(1)
    assert verify().fault == "entry 1 of seal 1 was removed, and no entry says that its time was up"


def test_a_removal_from_the_middle_is_found(db: None) -> None:
    fill(3)
    audit.record("audit.forgotten", through=2)
    forget(2)
    assert verify().fault == "entry 3 of seal 2 was removed: entries before it are still kept"


def test_an_entry_put_back_after_its_time_is_found(db: None) -> None:
    fill(2)
    age(1, 401)
    with tampering():
        kept = AuditEntry.objects.get(number=1)
    assert list(retention.slices()) == [2]
    with tampering():
        kept.save(force_insert=True)
    assert "was inserted: its seal says that its time was up" in verify().fault


def test_erasing_leaves_the_chain_whole(user: User, other_user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS", 2)
    for who in (user, other_user):
        client = Client(headers={"User-Agent": f"{who.name}'s own"})
        client.post("/accounts/login", {"username": who.email, "password": "wrong"})
        client.force_login(who, backend="django.contrib.auth.backends.ModelBackend")
        client.post("/accounts/keys", {"name": f"of {who.name}", "scopes": ["packs:read"]})
        sealing.seal_all()
        client.post("/accounts/logout")
    assert AuditEntry.objects.filter(user_agent="Ada's own").count() == 3
    assert retention.erase(user) == 5  # and the one that says so, which names her
    assert retention.erase(user) == 1
    sealing.seal_all()
    assert verify().fault == ""
    assert "Ada" not in str(list(AuditEntry.objects.values()))
    assert AuditEntry.objects.filter(user_agent="Bob's own", ip="127.0.0.1", salt__isnull=False).count() == 3
    assert AuditEntry.objects.filter(actor_id=user.pk).count() == 3


def test_an_erasure_that_no_entry_explains_is_found(user: User) -> None:
    audit.record("user.signed_in", user, by=user)
    sealing.seal_all()
    with transaction.atomic():
        retention._permit("erase")
        AuditEntry.objects.update(ip=None, user_agent="", object_name="", salt=None)
        retention._permit("")
    assert "was erased, and no entry says of whom" in verify().fault


def test_what_was_erased_cannot_say_something_else(user: User) -> None:
    audit.record("user.signed_in", user, by=user)
    sealing.seal_all()
    retention.erase(user)
    with tampering():
        AuditEntry.objects.filter(number=1).update(ip="192.0.2.1")
    assert "was erased, and says something again" in verify().fault


def test_the_scheduled_cleaner_is_this_one() -> None:
    from config.cleaning import BY_NAME

    assert isinstance(BY_NAME["audit"].cleaning, cleaning.Cleaning)
    assert BY_NAME["audit"].cleaning is retention.CLEANING


def test_recording_costs_one_statement(user: User) -> None:
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        audit.record("pack.changed")
    assert [query["sql"].split()[0] for query in queries if "SAVEPOINT" not in query["sql"]] == ["INSERT"]
