"""A turn down to its words in the admin: what is shown, what stays sealed, and having a failed turn asked again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from council import claims, services
from council.models import CouncilSession, LlmCall, Seat, Turn
from knowledge import services as knowledge
from realtime.errors import IllegalState, NotFound
from tests.council.test_snapshot import events, snapshot
from tests.support.councils import Convene, conclude, pending, run, vote_in_part, work
from tests.support.fake_openai import FakeModelServer
from tests.support.reducer import reduce

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.org", "correct horse battery"))
    return client


def at(row: Turn | CouncilSession) -> str:
    return reverse(f"admin:council_{row._meta.model_name}_change", args=[row.pk])


def text(response: Any) -> str:
    return str(response.content.decode())


@pytest.fixture
def half_failed(user: User, convene: Convene) -> CouncilSession:
    """An opening in which one seat has failed for good and the others have not begun."""
    session = convene(("fake-400", "fake-option-2", "fake-option-3", "fake"))
    services.start(user, session.pk)
    first = next(turn for turn in pending(session) if turn.seat and turn.seat.model == "fake-400")
    with ThreadPoolExecutor(1) as worker:
        worker.submit(run, session, [first]).result()
    return session


def failed(session: CouncilSession) -> Turn:
    return Turn.objects.get(session=session, status="failed")


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_turn_shows_words_passages_searches_and_costs(
    staff: Client, user: User, convene: Convene, settings: LazySettings
) -> None:
    settings.LLM_TOOLS = True
    pack = knowledge.create_pack(user, name="Style")
    knowledge.add_entries(pack, user, [{"title": "Bytes", "content": "Tabs save bytes, spaces save <b>quarrels</b>."}])
    models = ("fake-tools-1-a", "fake-tools-1-b", "fake-tools-1-c", "fake")
    session = conclude(user, convene(models, packs=[pack.pk]))
    turn = Turn.objects.filter(session=session, kind="answer").earliest("created_at")
    shown = text(staff.get(at(turn)))
    call = LlmCall.objects.filter(turn=turn).latest("ordinal")
    for said in ("Rules of the council", "search_packs(", "Its own searches", "Bytes", "Attempt 1", "2 calls"):
        assert said in shown
    assert f"{call.prompt_tokens} in" in shown
    assert "<b>quarrels" not in shown
    assert "&lt;b&gt;quarrels" in shown


def test_every_attempt_shows_what_went_wrong(staff: Client, half_failed: CouncilSession) -> None:
    shown = text(staff.get(at(failed(half_failed))))
    assert "bad_request" in shown
    assert "Attempt 1" in shown


def test_a_sealed_ballot_stays_sealed_until_its_round_closes(staff: Client, user: User, convene: Convene) -> None:
    session = convene()
    services.start(user, session.pk)
    [turn, _] = vote_in_part(session)
    call = LlmCall.objects.filter(turn=turn).latest("ordinal")
    reply = json.dumps(json.loads(call.response)["ranking"])[1:-1].replace('"', "&quot;")
    shown = text(staff.get(at(turn)))
    assert "sealed until the round closes" in shown
    assert reply not in shown
    assert "candidate A" not in shown
    work(session)
    assert reply in text(staff.get(at(turn)))


def test_the_page_of_a_council_follows_it_while_it_runs(staff: Client, user: User, half_failed: CouncilSession) -> None:
    shown = text(staff.get(at(half_failed)))
    assert shown.count('data-live="on"') == 2
    assert "round 1, opening: 1 of 3 seats are done" in shown
    assert at(failed(half_failed)) in shown
    work(half_failed)
    assert 'data-live="on"' not in text(staff.get(at(half_failed)))


def test_a_council_is_stopped_from_its_page(staff: Client, half_failed: CouncilSession) -> None:
    assert staff.post(at(half_failed), {"do": "stop"}).status_code == 302
    half_failed.refresh_from_db()
    assert half_failed.status == "stopped"


def test_who_may_only_look_neither_stops_nor_asks_again(half_failed: CouncilSession) -> None:
    looker = User.objects.create_user("look@example.org", "correct horse battery", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename__in=["view_turn", "view_councilsession"]))
    client = Client()
    client.force_login(looker, backend="django.contrib.auth.backends.ModelBackend")
    turn = failed(half_failed)
    assert "Ask this seat again" not in text(client.get(at(turn)))
    assert client.post(at(turn), {"do": "retry"}).status_code == 403
    assert client.post(at(half_failed), {"do": "stop"}).status_code == 403
    assert failed(half_failed).pk == turn.pk


# --- asking again -----------------------------------------------------------------------------------------------------


def test_a_failed_turn_of_an_open_round_is_asked_again_and_counts(
    staff: Client, user: User, half_failed: CouncilSession
) -> None:
    turn = failed(half_failed)
    Seat.objects.filter(turns=turn).update(model="fake-option-1")
    before = snapshot(half_failed)
    assert "Ask this seat again" in text(staff.get(at(turn)))
    assert "will be asked again" in text(staff.post(at(turn), {"do": "retry"}, follow=True))
    work(half_failed)
    turn.refresh_from_db()
    assert (turn.status, turn.attempt, turn.error) == ("completed", 2, "")
    assert half_failed.status == "completed"
    built = reduce(before, events(half_failed, before["last_seq"]))
    for round_ in built["rounds"]:
        round_["turns"].sort(key=lambda turn: turn["turn"])
    last = snapshot(half_failed)
    for part in last:
        assert built[part] == last[part], part
    assert LlmCall.objects.filter(turn=turn, attempt=1, status="error").count() == 1


def test_a_turn_that_fails_again_fails_again(user: User, half_failed: CouncilSession) -> None:
    turn = failed(half_failed)
    services.retry_turn(user, half_failed.pk, turn.pk)
    work(half_failed)
    turn.refresh_from_db()
    assert (turn.status, turn.attempt) == ("failed", 2)


def refused(user: User, turn: Turn) -> str:
    with pytest.raises(IllegalState) as error:
        services.retry_turn(user, turn.session_id, turn.pk)
    return error.value.detail


def test_what_cannot_be_undone_is_refused_with_the_reason(
    staff: Client, user: User, half_failed: CouncilSession
) -> None:
    turn, other = failed(half_failed), pending(half_failed)[0]
    assert refused(user, other) == "Only a failed turn can be asked again."
    work(half_failed, limit=1)
    assert refused(user, turn).startswith("Its round has closed")
    work(half_failed)
    assert refused(user, turn) == "A completed council cannot be asked again."
    assert "The council is completed." in text(staff.get(at(turn)))
    assert "cannot be asked again" in text(staff.post(at(turn), {"do": "retry"}, follow=True))


def test_a_writer_whose_place_was_taken_is_not_asked_again(user: User, convene: Convene, fake: FakeModelServer) -> None:
    session = convene(("fake-option-1", "fake-option-2", "fake-option-3", "fake-400"))
    services.start(user, session.pk)
    while not Turn.objects.filter(session=session, kind="synthesis", ordinal=1).exists():
        work(session, limit=1)
    assert refused(user, failed(session)) == "Another seat was asked in its place."


def test_nobody_elses_turn(user: User, other_user: User, half_failed: CouncilSession, convene: Convene) -> None:
    turn = failed(half_failed)
    for owner, session in ((other_user, half_failed), (user, convene())):
        if session != half_failed:
            services.start(user, session.pk)
        with pytest.raises(NotFound):
            services.retry_turn(owner, session.pk, turn.pk)


def test_who_closes_the_round_first_wins(user: User, half_failed: CouncilSession) -> None:
    """The last seat finishes in one connection while staff press the button in another: the second sees what the first did."""
    turn = failed(half_failed)
    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            claims.lock_session(half_failed.pk)
            asked = other.submit(_retry, user, turn)
            services.stop(user, half_failed.pk)
        assert asked.result() == "A stopped council cannot be asked again."


def _retry(user: User, turn: Turn) -> str:
    try:
        return refused(user, turn)
    finally:
        connection.close()
