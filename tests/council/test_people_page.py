"""The page's forms for people, as a browser without scripts sends them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from council import people, services
from council.models import Ballot, CouncilSession, Decision, Turn
from knowledge.services import add_entry, create_pack
from tests.support.councils import Convene, work

pytestmark = pytest.mark.django_db(transaction=True)

MIXED = ("fake-option-1", "fake-option-2", "human", "fake")
FILLED = {"answer": "Both, each where it is due.", "option": "Both", "confidence": "80", "would_change": ""}


@pytest.fixture
def page(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def begin(user: User, session: CouncilSession) -> CouncilSession:
    services.start(user, session.pk)
    return work(session)


def shown(page: Client, session: CouncilSession) -> str:
    return str(page.get(f"/councils/{session.pk}").content.decode())


def send(page: Client, session: CouncilSession, form: dict[str, str], **headers: str) -> Any:
    turn = Turn.objects.get(session=session, human=True, status="pending")
    return page.post(f"/councils/{session.pk}/turns/{turn.pk}", form, headers=headers)


def test_a_person_answers_votes_and_approves_on_the_page(user: User, page: Client, convene: Convene) -> None:
    pack = create_pack(user, name="Style")
    add_entry(pack, user, {"title": "Survey", "content": "Tabs or spaces: in 2019 tabs were used by 41 of 100 teams."})
    session = begin(user, convene(MIXED, packs=[pack.pk], protocol={"gate": "before_synthesis"}))
    first = shown(page, session)
    assert "Your answer is awaited" in first
    assert "in 2019 tabs were used by 41 of 100 teams" in first
    assert send(page, session, FILLED)["Location"] == f"/councils/{session.pk}"
    work(session)
    letters = sorted(set(re.findall(r'name="place_([A-Z])"', shown(page, session))))
    assert letters == ["A", "B", "C"]
    places = {"place_B": "1", "place_A": "2", "score_B": "9"}
    assert send(page, session, places).status_code == 302
    cast = Ballot.objects.get(seat__model="human")
    assert (cast.ranking, cast.scores) == ([cast.order[1], cast.order[0]], {cast.order[1]: 9})
    work(session)
    assert "The council waits for your approval" in shown(page, session)
    assert page.post(f"/councils/{session.pk}/gate", {"decision": "approve", "note": ""}).status_code == 302
    assert work(session).status in {"running", "completed"}  # it may have to dissent


@pytest.mark.parametrize("kind", ["dissent", "ratify"])
def test_a_person_dissents_and_judges_the_text_on_the_page(
    user: User, page: Client, convene: Convene, kind: str
) -> None:
    models = ("fake-option-1", "fake-option-1", "human", "fake")
    stages = ["opening", "synthesis", *(["ratify"] if kind == "ratify" else [])]
    session = begin(user, convene(models, protocol={"stages": stages, "rule": "majority"}))
    send(page, session, {**FILLED, "option": "Tabs"})
    work(session)
    assert "your minority report" in shown(page, session)
    send(page, session, {"text": "Tabs cost nothing."})
    work(session)
    if kind == "ratify":
        refused = send(page, session, {"verdict": "reject", "reason": ""})
        assert (refused.status_code, "say what is wrong with it" in refused.content.decode()) == (400, True)
        send(page, session, {"verdict": "reject", "reason": "It leaves tabs out."})
    decision = Decision.objects.filter(run__session=work(session)).first()
    assert decision is not None
    assert decision.dissent[0]["text"] == "Tabs cost nothing."


def test_what_was_typed_comes_back_with_what_is_wrong(user: User, page: Client, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    for headers in ({}, {"HX-Request": "true"}):
        refused = send(page, session, {**FILLED, "option": "Neither", "answer": "<b>Kept</b>"}, **headers)
        text = refused.content.decode()
        assert refused.status_code == 400
        assert "&lt;b&gt;Kept&lt;/b&gt;" in text
        assert "Neither is not one of the available choices" in text
    assert people.waiting(user, session.pk)


@pytest.mark.parametrize("form", [{"place_A": "1", "place_B": "1"}, {}])
def test_a_ballot_that_says_nothing_or_too_much_is_refused(
    user: User, page: Client, convene: Convene, form: dict[str, str]
) -> None:
    session = begin(user, convene(MIXED))
    send(page, session, FILLED)
    work(session)
    assert send(page, session, form).status_code == 400
    assert send(page, session, {"abstain": "on"}).status_code == 302


def test_an_answer_that_comes_too_late_is_told_so(user: User, page: Client, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    turn = people.waiting(user, session.pk)[0]
    services.stop(user, session.pk)
    late = page.post(f"/councils/{session.pk}/turns/{turn.pk}", FILLED, follow=True)
    assert "This turn is over: it was cancelled." in late.content.decode()


def test_estimates_and_open_answers_have_their_fields(user: User, page: Client, convene: Convene) -> None:
    open_question: dict[str, Any] = {"options": [], "question": "How long will it take?"}
    protocol = {"preset": "delphi", "estimate": {"low": 0, "high": 90, "unit": "days"}}
    models = ("fake-estimate-10", "fake-estimate-40", "human", "fake")
    session = begin(user, convene(models, **open_question, protocol=protocol))
    assert send(page, session, {**FILLED, "estimate": "91"}).status_code == 400
    assert send(page, session, {**FILLED, "estimate": "30"}).status_code == 302
    work(session)
    debate = shown(page, session)
    assert "3 estimates. Median: 30 days." in debate
    unexplained = send(page, session, {**FILLED, "estimate": "31", "because": ""})
    assert "name the evidence or the error that changed it" in unexplained.content.decode()
    assert send(page, session, {**FILLED, "estimate": "31", "because": "I forgot a day."}).status_code == 302
