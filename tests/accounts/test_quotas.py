"""What plans allow: each limit at its edge, by every way in, and with two at the door at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import quotas
from accounts.errors import QuotaExceeded
from accounts.models import Plan, QuotaOverride, User
from accounts.models_audit import AuditEntry
from accounts.models_plans import LIMITS
from accounts.services import create_api_key, revoke_api_key
from council import services as councils
from council.models import CouncilSession, LlmCall, Run
from knowledge import services as knowledge
from knowledge.models import Entry, EntryRevision, KnowledgePack
from tests.conftest import Api
from tests.support.councils import Convene, conclude

pytestmark = pytest.mark.django_db(transaction=True)


def allow(user: User, **limits: Any) -> Plan:
    """The user's plan says this."""
    plan, _ = Plan.objects.update_or_create(name="Small", defaults=limits)
    User.objects.filter(pk=user.pk).update(plan=plan)
    user.refresh_from_db()
    return plan


def drafts(count: int, start: int = 0) -> list[dict[str, str]]:
    return [{"title": f"T{n}", "content": f"The sun shines on {n}."} for n in range(start, start + count)]


class TestWhoseLimits:
    def test_nobody_has_any_at_first(self, user: User) -> None:
        assert set(quotas.limits_of(user.pk)) == set(LIMITS)
        assert set(quotas.limits_of(user.pk).values()) == {None}

    def test_an_override_stands_before_the_plan_and_that_before_the_default(self, user: User, other_user: User) -> None:
        Plan.objects.update_or_create(is_default=True, defaults={"name": "Everybody", "packs": 1, "entries": 1})
        assert (quotas.limits_of(user.pk)["packs"], quotas.limits_of(other_user.pk)["packs"]) == (1, 1)
        allow(user, packs=2)
        assert (quotas.limits_of(user.pk)["packs"], quotas.limits_of(user.pk)["entries"]) == (2, None)
        QuotaOverride.objects.create(user=user, packs=3)
        assert (quotas.limits_of(user.pk)["packs"], quotas.limits_of(other_user.pk)["packs"]) == (3, 1)

    def test_every_limit_has_somebody_who_counts_it(self) -> None:
        assert set(quotas._meters()) == set(LIMITS)

    def test_without_a_limit_nothing_is_locked_or_counted(self, user: User) -> None:
        with (
            transaction.atomic(),
            CaptureQueriesContext(
                connection,
            ) as asked,
        ):
            quotas.require(user.pk, packs=1, entries=1, storage_bytes=1)
        assert len([one for one in asked if "accounts_plan" in one["sql"]]) == 1
        assert [one for one in asked if "advisory" in one["sql"]] == []


class TestKnowledge:
    def test_packs(self, user: User, api: Api) -> None:
        allow(user, packs=1)
        kept = knowledge.create_pack(user, name="One")
        answer = api.post("/api/knowledge-packs", {"name": "Two"})
        assert (answer.status_code, answer.json()["code"]) == (403, "quota_exceeded")
        assert answer.json()["quota"] == {"limit": "packs", "used": "1", "allowed": "1", "frees_at": None}
        assert KnowledgePack.objects.count() == 1
        knowledge.delete_pack(kept.pk)
        assert api.post("/api/knowledge-packs", {"name": "Two"}).status_code == 201
        assert api.post(f"/api/knowledge-packs/{kept.pk}/restore").json()["code"] == "quota_exceeded"

    def test_a_copy_and_a_gift_count_like_a_new_one(self, user: User, other_user: User, api: Api) -> None:
        pack = knowledge.create_pack(user, name="One")
        knowledge.add_entries(pack, user, drafts(3))
        allow(user, packs=1)
        assert api.post(f"/api/knowledge-packs/{pack.pk}/fork", {"name": "Two"}).json()["quota"]["limit"] == "packs"
        allow(other_user, entries=2)
        with pytest.raises(QuotaExceeded) as refused:
            knowledge.transfer(pack.pk, other_user.email)
        assert (refused.value.limit, refused.value.members["quota"]["used"]) == ("entries", "0")
        assert KnowledgePack.objects.get().owner == user

    def test_entries_of_all_packs_by_whoever_adds_them(self, user: User, other_user: User, other_api: Api) -> None:
        first, second = (knowledge.create_pack(user, name=name) for name in "ab")
        knowledge.share(second.pk, user, other_user.email, "editor")
        allow(user, entries=4)
        knowledge.add_entries(first, user, drafts(2))
        entry, _ = knowledge.add_entry(second, other_user, drafts(1)[0])
        with pytest.raises(QuotaExceeded) as refused:
            knowledge.add_entries(second, other_user, drafts(2, 1))
        assert refused.value.members["quota"] == {"limit": "entries", "used": "3", "allowed": "4", "frees_at": None}
        assert Entry.objects.count() == 3
        assert knowledge.add_entry(second, other_user, drafts(1, 1)[0])[1] == "created"
        knowledge.delete_entry(entry.pk)
        knowledge.add_entry(second, other_user, drafts(1, 2)[0])
        with pytest.raises(QuotaExceeded):
            knowledge.restore_entry(entry.pk)

    def test_bytes_with_all_revisions(self, user: User) -> None:
        pack = knowledge.create_pack(user, name="One")
        entry, _ = knowledge.add_entry(pack, user, {"title": "T", "content": "x" * 900})
        allow(user, storage_bytes=1000)
        with pytest.raises(QuotaExceeded) as refused:
            knowledge.revise_entry(entry.pk, user, {"content": "y" * 900})
        assert refused.value.limit == "storage_bytes"
        assert 900 <= int(refused.value.members["quota"]["used"] or 0) <= 910
        assert EntryRevision.objects.count() == 1
        knowledge.revise_entry(entry.pk, user, {"content": "short"})
        knowledge.revise_entry(entry.pk, user, {"title": "Another", "tags": ["t"]})


class TestKeys:
    def test_those_that_work(self, user: User) -> None:
        allow(user, api_keys=1)
        key, _ = create_api_key(user, "one")
        with pytest.raises(QuotaExceeded):
            create_api_key(user, "two")
        revoke_api_key(key)
        create_api_key(user, "two")


class TestCouncils:
    def test_how_many_run_at_once(self, user: User, convene: Convene) -> None:
        allow(user, councils_running=1)
        first, second = convene(), convene()
        councils.start(user, first.pk)
        councils.pause(user, first.pk)
        with pytest.raises(QuotaExceeded) as refused:
            councils.start(user, second.pk)
        assert refused.value.limit == "councils_running"
        assert (CouncilSession.objects.get(pk=second.pk).status, Run.objects.count()) == ("draft", 1)
        councils.stop(user, first.pk)
        assert councils.start(user, second.pk).status == "running"

    def test_how_many_begin_in_a_day(self, user: User, api: Api, convene: Convene) -> None:
        allow(user, councils_day=1)
        councils.stop(user, councils.start(user, convene().pk).pk)
        answer = api.post(f"/api/council-sessions/{convene().pk}/start")
        quota = answer.json()["quota"]
        assert (answer.status_code, quota["limit"], quota["used"]) == (403, "councils_day", "1")
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        assert quota["frees_at"] == f"{tomorrow}T00:00:00Z"
        Run.objects.update(started_at=timezone.now() - timedelta(days=1))
        assert api.post(f"/api/council-sessions/{convene().pk}/start").status_code == 202

    @pytest.mark.forges  # what calls cost
    @pytest.mark.parametrize("limit", ["tokens_day", "tokens_month", "usd_day", "usd_month"])
    def test_nothing_begins_when_all_is_spent(self, user: User, convene: Convene, limit: str) -> None:
        conclude(user, convene())
        LlmCall.objects.update(usd=Decimal("0.01"))
        used = quotas._meters()[limit](user.pk)
        allow(user, **{limit: used})
        with pytest.raises(QuotaExceeded) as refused:
            councils.start(user, convene().pk)
        assert (refused.value.limit, refused.value.members["quota"]["frees_at"] is not None) == (limit, True)
        allow(user, **{limit: used + 1})
        assert councils.start(user, convene().pk).status == "running"


@pytest.mark.parametrize("what", ["packs", "entries", "api_keys", "councils_running"])
def test_two_at_the_door_and_one_place(user: User, convene: Convene, what: str) -> None:
    pack = knowledge.create_pack(user, name="One")
    sessions = [convene().pk for _ in range(2)]
    enter: dict[str, Callable[[int], object]] = {
        "packs": lambda n: knowledge.create_pack(user, name=str(n)),
        "entries": lambda n: knowledge.add_entries(knowledge.create_pack(user, name=str(n)), user, drafts(1)),
        "api_keys": lambda n: create_api_key(user, str(n)),
        "councils_running": lambda n: councils.start(user, sessions[n]),
    }
    allow(user, **{what: 2 if what == "packs" else 1})
    start, ended = threading.Barrier(2), list[str]()

    def come(number: int) -> None:
        try:
            start.wait(10)
            enter[what](number)
            ended.append("in")
        except QuotaExceeded:
            ended.append("out")
        finally:
            connections.close_all()

    both = [threading.Thread(target=come, args=[number]) for number in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert (sorted(ended), pack.pk is not None) == (["in", "out"], True)
    assert quotas._meters()[what](user.pk) == quotas.limits_of(user.pk)[what]


@pytest.mark.forges  # what calls cost
class TestUsage:
    def test_it_is_what_the_calls_cost(self, user: User, api: Api, convene: Convene) -> None:
        session = conclude(user, convene())
        LlmCall.objects.update(usd=Decimal("0.000000001"))
        pack = knowledge.create_pack(user, name="One")
        knowledge.add_entries(pack, user, drafts(2))
        said = api.get("/api/me/usage").json()
        calls = LlmCall.objects.filter(session=session)
        assert said["total"]["calls"] == calls.count() == sum(model["calls"] for model in said["models"])
        assert said["total"]["tokens_in"] == sum(call.prompt_tokens for call in calls)
        assert said["total"]["tokens_out"] == sum(call.completion_tokens for call in calls)
        assert Decimal(said["total"]["usd"]) == Decimal("0.000000001") * calls.count()
        assert [day["date"] for day in said["days"]] == [str(datetime.now(UTC).date())]
        storage = said["storage"]
        assert (storage["packs"], storage["entries"], storage["days"][0]["revisions"]) == (1, 2, 2)
        assert storage["entry_bytes"] == storage["days"][0]["bytes"] > 0
        assert storage["passage_bytes"] > 0

    def test_days_are_cut_off_where_asked(self, user: User, api: Api, convene: Convene) -> None:
        conclude(user, convene())
        calls = LlmCall.objects.count()
        first = LlmCall.objects.order_by("pk").first()
        assert first
        LlmCall.objects.filter(pk=first.pk).update(started_at=datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC))
        said = api.get("/api/me/usage?from=2026-03-01&to=2026-03-01&by=day").json()
        assert (said["total"]["calls"], said["days"][0]["date"]) == (1, "2026-03-01")
        assert api.get("/api/me/usage?from=2026-03-02&to=2026-03-03").json()["days"] == []
        assert api.get("/api/me/usage").json()["total"]["calls"] == calls - 1

    @pytest.mark.parametrize(
        "query", ["from=2026-02-30", "from=2026-03-02&to=2026-03-01", "from=2020-01-01", "by=hour", "of=x"]
    )
    def test_what_cannot_be_meant_is_refused(self, api: Api, query: str) -> None:
        assert api.get(f"/api/me/usage?{query}").status_code == 400

    def test_it_is_ones_own(self, user: User, other_api: Api, convene: Convene) -> None:
        conclude(user, convene())
        knowledge.add_entry(knowledge.create_pack(user, name="One"), user, drafts(1)[0])
        said = other_api.get("/api/me/usage").json()
        assert (said["total"]["calls"], said["models"], said["storage"]["entry_bytes"]) == (0, [], 0)

    def test_the_number_of_queries_does_not_grow(self, user: User, api: Api, convene: Convene) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as asked:
                assert api.get("/api/me/usage").status_code == 200
            return len(asked)

        queries()
        before = queries()
        conclude(user, convene())
        for name in "abc":
            knowledge.add_entries(knowledge.create_pack(user, name=name), user, drafts(2))
        assert queries() == before

    def test_the_plan_is_shown_with_what_is_used(self, user: User, api: Api) -> None:
        allow(user, packs=5, usd_month=Decimal("2.5"))
        knowledge.create_pack(user, name="One")
        quota = api.get("/api/me/usage").json()["quota"]
        limits = {one["limit"]: (one["used"], one["allowed"]) for one in quota["limits"]}
        assert (quota["plan"], set(limits)) == ("Small", set(LIMITS))
        assert (limits["packs"], limits["usd_month"], limits["entries"]) == (("1", "5"), ("0", "2.5"), ("0", None))


class TestAdmin:
    @pytest.fixture
    def staff(self, db: None) -> Client:
        chief = User.objects.create_superuser("chief@example.org", "a long enough password")
        client = Client()
        client.force_login(chief, backend="django.contrib.auth.backends.ModelBackend")
        return client

    def test_a_plan_is_made_given_and_shown_and_that_is_audited(self, staff: Client, user: User) -> None:
        form = {"name": "Small", "packs": "1234"}
        assert staff.post("/admin/accounts/plan/add/", form).status_code == 302
        plan = Plan.objects.get(name="Small")
        path = f"/admin/accounts/user/{user.pk}/change/"
        assert (
            staff.post(path, {"email": user.email, "name": "Ada", "is_active": "on", "plan": str(plan.pk)}).status_code
            == 302
        )
        assert quotas.limits_of(user.pk)["packs"] == 1234
        page = staff.get(path).content.decode()
        assert "of 1,234" in page
        said = AuditEntry.objects.filter(action__in=["admin.added", "user.changed"]).order_by("created_at")
        assert [(one.action, one.object_type, one.details["fields"]) for one in said] == [
            ("admin.added", "accounts.plan", []),
            ("user.changed", "user", ["plan"]),
        ]

    def test_somebodys_own_limits(self, staff: Client, user: User) -> None:
        assert staff.post("/admin/accounts/quotaoverride/add/", {"user": str(user.pk), "packs": "7"}).status_code == 302
        assert quotas.limits_of(user.pk)["packs"] == 7
        for path in ("plan/", "quotaoverride/", f"quotaoverride/{user.pk}/change/", "user/"):
            assert staff.get(f"/admin/accounts/{path}").status_code == 200

    def test_a_deletion_is_asked_for_and_called_off(self, staff: Client, user: User) -> None:
        selected = {"_selected_action": [str(user.pk)]}
        staff.post("/admin/accounts/user/", {"action": "delete_account", **selected})
        user.refresh_from_db()
        assert user.departure.state == "asked"
        staff.post("/admin/accounts/user/", {"action": "keep_account", **selected})
        assert not User.objects.filter(departure__isnull=False).exists()
        said = AuditEntry.objects.filter(action__startswith="user.deletion").order_by("created_at")
        assert [one.action for one in said] == ["user.deletion_asked", "user.deletion_cancelled"]
        chief = User.objects.get(is_superuser=True)
        assert {one.actor_id for one in said} == {chief.pk}
