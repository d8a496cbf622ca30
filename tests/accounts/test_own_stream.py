"""What people's own streams say, who is told what, and that a snapshot and what follows it give the next one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts import events, streams
from accounts.cleaning import NEWS
from accounts.events import About, Notification
from accounts.models import User, UserEvent, UserStream
from council import me, services
from council.models import CouncilSession
from council.states import SessionStatus
from knowledge import services as packs
from knowledge.models import KnowledgePack
from knowledge.services import imports
from knowledge.states import ImportStatus
from realtime import cleaning
from realtime.errors import InvalidInput
from realtime.frames import event_body
from realtime.ids import uuid7
from realtime.sources import read_events
from tests.support.councils import Convene, conclude, work
from tests.support.reducer import reduce_me

Json = dict[str, Any]
db = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)


def log_of(user: User, after: int = 0) -> list[Json]:
    return [json.loads(json.dumps(event_body(row))) for row in read_events(UserStream, user.pk, after, 5000)]


def kinds(user: User) -> list[str]:
    return [event["type"] for event in log_of(user)]


def notified(user: User) -> list[tuple[str, str]]:
    return [(one["kind"], one["title"]) for one in me.snapshot(user.pk)["notifications"]]


def note(user: User, number: int = 1) -> None:
    """Tell of so many failed imports of packs that nobody has."""
    with transaction.atomic():
        for _ in range(number):
            about = About(type="pack", id=uuid7())
            streams.tell({user.pk: [events.notification(Notification(kind="import_failed", about=about, title="T"))]})


def failed_import(pack: KnowledgePack, author: User) -> None:
    job = imports.create_import(pack, author, filename="a.csv")
    with transaction.atomic():
        imports.conclude(*imports.locked_import(job.pk), ImportStatus.FAILED, "It holds no entries.")


# --- What is told -------------------------------------------------------------------------------------------------------


@committed
def test_a_council_is_told_of_by_its_ends_and_not_by_its_turns(user: User, other_user: User, convene: Convene) -> None:
    conclude(user, convene())
    assert kinds(user) == ["session.created", "session.started", "session.completed", "notification.created"]
    assert notified(user) == [("council_concluded", "Tabs or spaces?")]
    assert log_of(other_user) == []


@db
def test_people_are_told_what_waits_for_them(user: User, convene: Convene) -> None:
    session = convene(("human", "fake", "fake", "fake"))
    services.start(user, session.pk)
    assert kinds(user) == ["session.created", "session.started", "notification.created"]
    [waiting] = me.snapshot(user.pk)["notifications"]
    turn = session.turns.get(human=True)
    assert (waiting["kind"], waiting["turn"]) == ("seat_waiting", str(turn.pk))
    assert waiting["deadline_at"] is not None


@committed
def test_a_gate_is_told_of(user: User, convene: Convene) -> None:
    session = convene(protocol={"gate": "before_synthesis"})
    conclude(user, session)
    assert notified(user) == [("gate_waiting", "Tabs or spaces?")]


@committed
def test_a_spent_budget_is_told_of(user: User, convene: Convene) -> None:
    conclude(user, convene(budget={"seconds": 1}))  # too little for any call
    assert [kind for kind, _ in notified(user)] == ["budget_exhausted", "council_failed"]


@db
def test_what_people_do_to_a_council_is_told_on_their_other_pages(user: User, convene: Convene) -> None:
    session = convene()
    services.update_session(user, session.pk, {"title": "Indentation"}, lambda _: None)
    services.start(user, session.pk)
    services.pause(user, session.pk)
    services.resume(user, session.pk)
    services.stop(user, session.pk)
    services.archive(user, session.pk)
    verbs = ["created", "updated", "started", "paused", "resumed", "stopped", "archived"]
    assert kinds(user) == [f"session.{verb}" for verb in verbs]  # and nobody is notified of what they did themselves
    assert [card["status"] for card in me.snapshot(user.pk)["sessions"]] == ["archived"]


@db
def test_a_failed_import_is_told_to_its_author_while_they_work_with_the_pack(user: User, other_user: User) -> None:
    pack = packs.create_pack(user, name="Ferries")
    share, _ = packs.share(pack.pk, user, other_user.email, "editor")
    failed_import(pack, other_user)
    assert [kind for kind, _ in notified(other_user)] == ["pack_shared", "import_failed"]
    packs.unshare(pack.pk, share.pk)
    failed_import(pack, other_user)
    assert (notified(other_user), notified(user)) == ([], [("import_failed", "Ferries")])


@db
def test_those_who_work_with_a_pack_are_told_of_it_as_what_they_are(user: User, other_user: User) -> None:
    stranger = User.objects.create_user("eve@example.org")
    pack = packs.create_pack(user, name="Ferries")
    packs.update_pack(pack.pk, {"visibility": "public"})
    share, _ = packs.share(pack.pk, user, other_user.email, "viewer")
    packs.change_role(pack.pk, share.pk, "editor")
    packs.update_pack(pack.pk, {"name": "Boats", "description": "More."})
    packs.update_pack(pack.pk, {"description": "Much more."})
    packs.transfer(pack.pk, other_user.email)
    roles = [event["data"]["pack"]["role"] for event in log_of(other_user) if event["type"].startswith("pack.")]
    assert roles == ["viewer", "editor", "editor", "owner"]
    assert kinds(user) == ["pack.created", "pack.updated", "pack.updated", "pack.shared"]
    assert log_of(stranger) == []


@db
def test_every_event_has_the_shape_that_is_documented(user: User, other_user: User) -> None:
    pack = packs.create_pack(user, name="Ferries")
    packs.share(pack.pk, user, other_user.email, "viewer")
    packs.delete_pack(pack.pk)
    packs.restore_pack(pack.pk)
    failed_import(pack, user)
    session = services.create_session(user, services.Plan(question="Why?"))
    services.archive(user, session.pk)
    streams.mark_read(user, 2)
    for event in (*log_of(user), *log_of(other_user)):
        assert events.OWN.event_faults(event["type"], event["data"]) == []
    with pytest.raises(TypeError):
        events.event("session.created", events.NotificationsRead(up_to=1))


def test_a_card_knows_every_status_of_a_council() -> None:
    allowed = events.SessionCard.model_json_schema()["properties"]["status"]["enum"]
    assert sorted(allowed) == sorted(SessionStatus.values)


# --- Nothing of what is not theirs any more -----------------------------------------------------------------------------


@db
@pytest.mark.parametrize("how", ["unshared", "deleted"])
def test_what_is_no_longer_shared_is_taken_out_of_the_log(user: User, other_user: User, how: str) -> None:
    kept = packs.create_pack(user, name="Kept")
    packs.share(kept.pk, user, other_user.email, "viewer")
    pack = packs.create_pack(user, name="Secret ferries")
    share, _ = packs.share(pack.pk, user, other_user.email, "viewer")
    packs.update_pack(pack.pk, {"name": "Secret boats"})
    packs.unshare(pack.pk, share.pk) if how == "unshared" else packs.delete_pack(pack.pk)
    last = log_of(other_user)[-1]
    assert (last["type"], last["data"]) == (f"pack.{how}", {"pack": {"id": str(pack.pk)}})
    assert "Secret" not in json.dumps(log_of(other_user)) + json.dumps(me.snapshot(other_user.pk))
    assert [event["seq"] for event in log_of(other_user)] == [1, 2, 3, 4, 5, 6]
    assert notified(other_user) == [("pack_shared", "Kept")]
    packs.update_pack(kept.pk, {"name": "Kept still"})
    assert log_of(other_user)[-1]["data"]["pack"]["name"] == "Kept still"


@db
def test_only_ones_own_councils_are_in_the_snapshot(user: User, other_user: User) -> None:
    mine = services.create_session(user, services.Plan(question="Mine?"))
    services.create_session(other_user, services.Plan(question="Theirs?"))
    assert [card["id"] for card in me.snapshot(user.pk)["sessions"]] == [str(mine.pk)]
    assert not me.MyStreams().authorise(other_user, user.pk)


# --- snapshot(k) and the events after it --------------------------------------------------------------------------------


def assert_each_leads_to_the_last(user: User, taken: list[Json]) -> None:
    last = me.snapshot(user.pk)
    for early in taken:
        assert reduce_me(early, log_of(user, early["last_seq"])) == last


@committed
def test_every_snapshot_and_what_follows_gives_the_last(user: User, other_user: User, convene: Convene) -> None:
    taken = [me.snapshot(user.pk)]

    def then(step: Callable[[], object]) -> None:
        step()
        taken.append(me.snapshot(user.pk))

    theirs = packs.create_pack(other_user, name="Theirs")
    old, session = convene(), convene(("human", "fake-option-1", "fake-option-1", "fake"))
    then(lambda: packs.share(theirs.pk, other_user, user.email, "editor"))
    then(lambda: services.start(user, old.pk))
    for number in range(me.RECENT + 2):  # so that the oldest are shown no longer, but for what runs
        then(partial(services.create_session, user, services.Plan(question=f"Question {number}?")))
    then(lambda: failed_import(theirs, user))
    then(lambda: services.start(user, session.pk))
    then(lambda: streams.mark_read(user, 5))
    then(lambda: work(old))
    then(lambda: packs.delete_pack(theirs.pk))
    then(lambda: services.stop(user, session.pk))
    assert len(taken[-1]["sessions"]) == me.RECENT
    assert_each_leads_to_the_last(user, taken)


@db
def test_notifications_lapse_alike_for_those_who_follow_and_those_who_come(user: User) -> None:
    taken = []
    for _ in range(6):
        note(user, 100)
        taken.append(me.snapshot(user.pk))
    assert [len(one["notifications"]) for one in taken] == [100, 200, 300, 400, 500, 500]
    assert_each_leads_to_the_last(user, taken)


# --- Reading ------------------------------------------------------------------------------------------------------------


@db
def test_what_was_read_stays_read(user: User) -> None:
    note(user, 3)
    streams.mark_read(user, 2)
    streams.mark_read(user, 1)
    assert [one["seq"] for one in me.snapshot(user.pk)["notifications"]] == [3]
    assert kinds(user)[3:] == ["notifications.read"]
    with pytest.raises(InvalidInput) as refused:
        streams.mark_read(user, 5)
    assert refused.value.code == "bad_up_to"


@db
def test_the_route_marks_as_read(user: User, api: Any, other_api: Any) -> None:
    note(user, 3)
    answer = api.post("/api/me/notifications/read", {"up_to": 2})
    assert (answer.status_code, answer.json()) == (200, {"read_up_to": 2, "unread": 1})
    refused = api.post("/api/me/notifications/read", {"up_to": 99})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_up_to")
    assert refused.json()["errors"][0]["pointer"] == "/up_to"
    assert {
        api.post("/api/me/notifications/read", body).status_code for body in ({}, {"up_to": -1}, {"up_to": "x"})
    } == {400}
    assert other_api.post("/api/me/notifications/read", {"up_to": 2}).status_code == 400  # their own stream is empty
    listed = api.get("/api/me/events?after=3").json()
    assert [(one["seq"], one["type"]) for one in listed["results"]] == [(4, "notifications.read")]


@committed
def test_two_devices_that_read_at_once_leave_one_log_without_a_gap(user: User) -> None:
    note(user, 40)
    barrier = threading.Barrier(4)

    def read(numbers: range) -> None:
        try:
            barrier.wait()
            for number in numbers:
                streams.mark_read(user, number)
        finally:
            connection.close()

    threads = [threading.Thread(target=read, args=(range(1 + first, 41, 4),)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    told = [event["data"]["up_to"] for event in log_of(user, 40)]
    assert told == sorted(set(told))
    assert told[-1] == 40
    assert [event["seq"] for event in log_of(user)] == list(range(1, 41 + len(told)))


@committed
def test_councils_and_packs_of_one_person_that_move_at_once_tell_of_all(user: User, other_user: User) -> None:
    """Several writers of the same streams, whose first locks differ: none is lost, none waits for another in a circle."""
    shared = [packs.create_pack(owner, name="P") for owner in (user, other_user, user, other_user)]
    barrier = threading.Barrier(len(shared))

    def work_with(pack: KnowledgePack) -> None:
        try:
            barrier.wait()
            guest = other_user if pack.owner_id == user.pk else user
            for number in range(6):
                share, _ = packs.share(pack.pk, None, guest.email, "viewer")
                packs.update_pack(pack.pk, {"name": f"P{number}"})
                packs.unshare(pack.pk, share.pk)
                services.create_session(guest, services.Plan(question="What?"))
        finally:
            connection.close()

    threads = [threading.Thread(target=work_with, args=(pack,)) for pack in shared]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for person in (user, other_user):
        found = log_of(person)
        assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
        told = [event["type"] for event in found]
        assert (told.count("pack.unshared"), told.count("session.created")) == (12, 12)
        assert me.snapshot(person.pk)["notifications"] == []


# --- Keeping ------------------------------------------------------------------------------------------------------------


@db
def test_old_events_are_forgotten_but_never_what_can_be_replayed(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEPT_MOST", 650)
    note(user, 700)
    assert cleaning.run("news", NEWS).removed == 50
    UserEvent.objects.filter(stream=user.pk).update(created_at=timezone.now() - timedelta(days=streams.KEPT_DAYS + 1))
    assert cleaning.run("news", NEWS).removed == 50
    assert [event["seq"] for event in log_of(user)] == list(range(101, 701))
    assert streams.KEPT_ALWAYS > streams.WINDOW
    assert cleaning.run("news", NEWS).removed == 0


@db
def test_whoever_is_there_has_a_stream(user: User) -> None:
    made = User.objects.bulk_create([User(email="bulk@example.org")])
    assert UserStream.objects.filter(pk__in=[user.pk, made[0].pk]).count() == 2
    user.delete()
    assert not UserStream.objects.filter(pk=user.pk).exists()


@db
def test_a_change_that_is_rolled_back_is_not_told(user: User) -> None:
    with transaction.atomic():
        services.create_session(user, services.Plan(question="Why?"))
        assert kinds(user) == ["session.created"]
        transaction.set_rollback(True)
    assert (log_of(user), CouncilSession.objects.count()) == ([], 0)
