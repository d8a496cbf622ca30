"""The end of an account: asking, calling it off, and the purge, step by step."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.db import connection, connections, models
from django.test import Client
from django.utils import timezone

from accounts import departures, exports, holdings
from accounts.audit import sealing, verifying
from accounts.errors import LastSuperuser
from accounts.models import ApiKey, Departure, LoginSession, User
from accounts.models_audit import AuditEntry
from accounts.services import create_api_key
from council import services as councils
from council.models import CouncilSession, CouncilTemplate, LlmCall, TemplateVersion
from council.templates import save_template
from knowledge import services as knowledge
from knowledge.models import Entry, EntryRevision, KnowledgePack, PackEvent
from realtime import cleaning
from realtime.actor import acting
from realtime.errors import NotFound
from tests.accounts.conftest import csrf
from tests.conftest import Api
from tests.support.councils import Convene, conclude

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.forges]  # packs and councils go in pieces

PASSWORD = "correct horse battery"
AGO = timedelta(minutes=10)


@pytest.fixture(autouse=True)
def folder(settings: LazySettings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path / "account-exports"


def leave(browser: Client, body: dict[str, Any] | None = None) -> Any:
    return browser.delete("/api/me", body or {}, content_type="application/json", headers=csrf(browser))


def in_the_past() -> None:
    """The grace is over."""
    Departure.objects.update(due_at=timezone.now() - timedelta(seconds=1))


def clean() -> int:
    return cleaning.run("departures", departures.CLEANING).removed


class TestAsking:
    def test_it_needs_the_password_or_a_fresh_login(self, browser: Client, user: User) -> None:
        LoginSession.objects.update(created_at=timezone.now() - AGO)
        answers = [leave(browser, body).json()["code"] for body in ({}, {"password": "guess"})]
        assert answers == ["reauthentication_required", "wrong_password"]
        assert not Departure.objects.exists()
        assert leave(browser, {"password": PASSWORD}).status_code == 202
        assert Departure.objects.get().user == user

    def test_a_fresh_login_is_enough(self, browser: Client) -> None:
        assert leave(browser).status_code == 202

    def test_guesses_at_the_password_are_counted(self, browser: Client, settings: LazySettings) -> None:
        settings.RATELIMIT_ENABLE = True
        answers = [leave(browser, {"password": "guess"}).status_code for _ in range(12)]
        assert (answers[0], answers[-1]) == (403, 429)
        assert not Departure.objects.exists()

    def test_a_key_may_not(self, user: User) -> None:
        answer = Api(create_api_key(user, "all")[1]).delete("/api/me")
        assert (answer.status_code, answer.json()["code"]) == (403, "session_required")

    def test_it_says_what_goes_and_whom_it_hits(self, browser: Client, user: User, other_user: User) -> None:
        shared, _ = (knowledge.create_pack(user, name=name) for name in ("Shared", "Mine"))
        knowledge.share(shared.pk, user, other_user.email, "viewer")
        councils.create_session(user, councils.Plan(question="What?"))
        before = browser.get("/api/me/deletion").json()
        assert before == {**leave(browser).json(), "due_at": None}
        assert before["goes"] == {"packs": 2, "councils": 1}
        assert before["shared"] == [{"id": str(shared.pk), "name": "Shared", "people": 1, "public": False}]

    def test_at_once_councils_stop_and_keys_and_logins_end(self, browser: Client, user: User, convene: Convene) -> None:
        session = councils.start(user, convene().pk)
        program, elsewhere = Api(create_api_key(user, "program")[1]), Client()
        elsewhere.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        leave(browser)
        session.refresh_from_db()
        assert session.status == "stopped"
        answers = [client.get("/api/me").status_code for client in (program, elsewhere, browser)]
        assert answers == [401, 401, 401]

    def test_the_last_administrator_stays(self, browser: Client, user: User, other_user: User) -> None:
        User.objects.filter(pk=user.pk).update(is_superuser=True)
        answer = leave(browser)
        assert (answer.status_code, answer.json()["code"]) == (409, "last_superuser")
        User.objects.filter(pk=other_user.pk).update(is_superuser=True)
        assert leave(browser).status_code == 202
        with pytest.raises(LastSuperuser):  # who leaves does not count any more
            departures.ask(User.objects.get(pk=other_user.pk))


class TestCallingOff:
    def test_whoever_signs_in_again_stays(self, browser: Client, user: User) -> None:
        leave(browser)
        again = Client()
        assert again.post("/accounts/login", {"username": user.email, "password": PASSWORD}).status_code == 302
        assert not Departure.objects.exists()
        assert clean() == 0
        assert again.get("/api/me").status_code == 200
        said = AuditEntry.objects.filter(action__startswith="user.deletion").order_by("created_at")
        assert [(one.action, one.actor_id) for one in said] == [
            ("user.deletion_asked", user.pk),
            ("user.deletion_cancelled", user.pk),
        ]
        assert ApiKey.objects.filter(user=user, revoked_at=None).count() == 0

    def test_nothing_goes_before_its_time(self, browser: Client, user: User) -> None:
        pack = knowledge.create_pack(user, name="Mine")
        leave(browser)
        assert clean() == 0
        assert KnowledgePack.objects.get(pk=pack.pk).status != "deleted"

    def test_once_it_has_begun_there_is_no_way_back(self, browser: Client, user: User) -> None:
        pack = knowledge.create_pack(user, name="Mine")
        knowledge.delete_pack(pack.pk)
        leave(browser)
        in_the_past()
        next(departures.purge(user.pk))
        assert departures.cancel(user) is False
        page = Client().post("/accounts/login", {"username": user.email, "password": PASSWORD})
        assert (page.status_code, Departure.objects.get().state) == (200, "purging")
        with pytest.raises(NotFound):
            knowledge.restore_pack(pack.pk)


@pytest.fixture
def full(user: User, other_user: User, convene: Convene) -> User:
    """Somebody with something of every kind, and traces with another person."""
    with acting(lambda: {"id": str(user.pk), "name": "Ada"}):
        pack = knowledge.create_pack(user, name="Mine")
        knowledge.share(pack.pk, user, other_user.email, "viewer")
        knowledge.add_entries(pack, user, [{"title": str(n), "content": f"The sun shines {n}."} for n in range(5)])
        trashed = knowledge.create_pack(user, name="Trashed")
        knowledge.delete_pack(trashed.pk)
        theirs = knowledge.create_pack(other_user, name="Theirs")
        knowledge.share(theirs.pk, other_user, user.email, "editor")
        knowledge.add_entry(theirs, user, {"title": "Gift", "content": "For you."})
    save_template(user, slug="own", agents=[{"name": "A"}, {"name": "B"}], title="Own")
    conclude(user, convene(packs=[pack.pk]))
    councils.create_session(user, councils.Plan(question="What?", template="own"))
    councils.start(user, convene().pk)
    exports.request(user)
    exports.run(user.account_exports.get().pk)
    return user


def rows_that_name(person: UUID) -> list[str]:
    return [
        f"{model._meta.label}.{field}"
        for model, field, _ in departures._relations()
        if model._base_manager.filter(**{field: person}).exists()
    ]


class TestPurge:
    def test_nothing_is_left_but_what_others_have(self, full: User, other_user: User, folder: Path) -> None:
        person = full.pk
        departures.ask(full)
        in_the_past()
        assert clean() == 1
        assert not User.objects.filter(pk=person).exists()
        assert rows_that_name(person) == []
        assert list(folder.iterdir()) == []
        for model in (CouncilSession, CouncilTemplate, TemplateVersion, LlmCall, Departure):
            assert model._default_manager.count() == 0, model
        assert list(KnowledgePack.objects.values_list("name", "owner")) == [("Theirs", other_user.pk)]
        assert [(one.title, one.revision.author) for one in Entry.objects.all()] == [("Gift", None)]
        assert EntryRevision.objects.count() == 1

    def test_the_logs_of_others_name_them_no_more(self, full: User) -> None:
        departures.ask(full)
        in_the_past()
        clean()
        actors = PackEvent.objects.filter(payload__actor__id=str(full.pk)).values_list(
            "payload__actor__name", flat=True
        )
        assert set(actors) == {None}

    def test_the_audit_log_says_that_and_no_more_and_stays_sound(self, full: User) -> None:
        departures.ask(full)
        in_the_past()
        clean()
        sealing.seal_all()
        about = AuditEntry.objects.filter(models.Q(actor_id=full.pk) | models.Q(object_id=str(full.pk)))
        assert {"user.deleted", "user.erased"} <= set(about.values_list("action", flat=True))
        assert [one for one in about if one.ip or one.user_agent or one.object_name] == []
        assert verifying.verify().fault == ""

    def test_those_who_used_a_pack_are_told(self, full: User, other_user: User) -> None:
        pack = KnowledgePack.objects.get(name="Mine")
        departures.ask(full)
        in_the_past()
        clean()
        told = other_user.stream.events.filter(type="pack.deleted").values_list("payload__pack__id", flat=True)
        assert str(pack.pk) in told
        assert Api(create_api_key(other_user, "k")[1]).get(f"/api/knowledge-packs/{pack.pk}").status_code == 404

    def test_it_goes_on_after_every_step_where_it_was_cut_off(self, full: User) -> None:
        departures.ask(full)
        in_the_past()
        steps = 0
        while User.objects.filter(pk=full.pk).exists():
            next(departures.purge(full.pk), None)  # one step, and then its worker is killed
            steps += 1
            assert steps < 500
        assert not User.objects.filter(pk=full.pk).exists()
        assert (rows_that_name(full.pk), steps > 5) == ([], True)

    def test_two_at_once_do_no_harm(self, full: User) -> None:
        departures.ask(full)
        in_the_past()
        start, errors = threading.Barrier(2), list[Exception]()

        def work() -> None:
            try:
                start.wait(10)
                clean()
            except Exception as error:  # noqa: BLE001  # shown by the assertion below
                errors.append(error)
            finally:
                connections.close_all()

        both = [threading.Thread(target=work) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join(120)
        clean()
        assert (errors, User.objects.filter(pk=full.pk).exists()) == ([], False)

    def test_a_pack_that_was_given_away_stays(self, browser: Client, user: User, other_user: User) -> None:
        pack = knowledge.create_pack(user, name="Given")
        knowledge.add_entry(pack, user, {"title": "Sun", "content": "It shines."})
        knowledge.transfer(pack.pk, other_user.email)
        leave(browser)
        in_the_past()
        clean()
        kept = KnowledgePack.objects.get(pk=pack.pk)
        assert (kept.owner_id, kept.entry_count) == (other_user.pk, 1)

    def test_what_a_decision_of_somebody_else_cites_stays_readable(
        self, user: User, other_user: User, convene: Convene
    ) -> None:
        """The council is the user's, the pack another person's who leaves."""
        pack = knowledge.create_pack(other_user, name="Public")
        knowledge.update_pack(pack.pk, {"visibility": "public"})
        entry, _ = knowledge.add_entry(pack, other_user, {"title": "Tabs", "content": "Tabs or spaces? Tabs."})
        session = conclude(user, convene(packs=[pack.pk]))
        decision = session.runs.get().decision
        decision.citations.create(n=99, revision_id=entry.revision_id, status="verified")
        departures.ask(other_user)
        in_the_past()
        assert clean() == 1
        assert EntryRevision.objects.filter(pk=entry.revision_id, entry=None, author=None).exists()
        departures.ask(user)
        in_the_past()
        assert clean() == 1

    def test_more_entries_than_a_statement_takes_parameters(self, user: User) -> None:
        """65,535 of them; the ORM would name each."""
        pack = knowledge.create_pack(user, name="Large")
        entry, _ = knowledge.add_entry(pack, user, {"title": "Sun", "content": "It shines."})
        many = 66_000
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(
                """
                WITH made AS (SELECT gen_random_uuid() AS id, n FROM generate_series(2, %s) n)
                INSERT INTO knowledge_entryrevision (id, entry_id, number, title, content, content_hash, author_id, note, created_at)
                SELECT id, %s, n, 'Sun', 'It shone.', '', %s, '', now() FROM made
                """,
                [many, entry.pk, user.pk],
            )
            cursor.execute("SET session_replication_role = DEFAULT")
        knowledge.transfer(pack.pk, User.objects.create_user("heir@example.org").email)
        departures.ask(user)
        in_the_past()
        assert clean() == 1
        assert EntryRevision.objects.filter(author=None).count() == many

    def test_every_column_that_names_a_person_is_somebodys_to_clean(self) -> None:
        """A new model either goes or unlinks: one that protects its person would keep them for ever."""
        handled = {model for holding in holdings.every() for model in holding.owned}
        kinds = {(model, field): how for model, field, how in departures._relations()}
        assert handled <= {model for model, _ in kinds}
        assert [one for one, how in kinds.items() if how not in (models.CASCADE, models.SET_NULL)] == []
