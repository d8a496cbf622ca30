"""Who asserts what, on what evidence, and who disputes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from council.claims_table import claims_of
from council.deliberation.assertions import Said, contradiction, merge
from council.export import export
from council.models import CouncilSession
from knowledge import services as knowledge
from tests.conftest import Api
from tests.support.councils import Convene, conclude
from tests.support.fake_openai import FakeModelServer

Json = dict[str, Any]
TEXT = "Tabs are narrower in the file than spaces. Every reader chooses how wide a tab looks. Diffs show 12 changes a week."


@pytest.mark.parametrize(
    ("left", "right", "why"),
    [
        ("Tabs are narrower in the file.", "Tabs are not narrower in the file.", "denies"),
        ("The oven doesn't keep its heat well.", "The oven keeps its heat well.", "denies"),
        ("Diffs show 12 changes every week.", "Diffs show 14 changes every week.", "other_figures"),
        ("Diffs show 1,200 changes every week.", "Diffs show 1200 changes every week.", None),
        ("Tabs are never not narrower in files.", "Tabs are narrower in files.", None),
        ("Tabs are narrower in the file.", "Spaces are never used in old projects.", None),
        ("It rose.", "It did not rise.", None),  # too little to say that both are about one thing
        ("Tabs are narrower in the file.", "Tabs are narrower in the file!", None),
    ],
)
def test_what_counts_as_a_contradiction(left: str, right: str, why: str | None) -> None:
    assert contradiction(left, right) == contradiction(right, left) == why


def test_equal_claims_are_one_and_contradictions_point_at_each_other() -> None:
    said = [
        Said("s1", 1, "Tabs are narrower in the file [1].", 0),
        Said("s2", 1, "tabs  are narrower in the FILE", 1),
        Said("s3", 1, "Tabs are not narrower in the file.", 2),
    ]
    first, second = merge(said)
    assert (first.id, first.text, [one.seat for one in first.said]) == (
        "c1",
        "Tabs are narrower in the file.",
        ["s1", "s2"],
    )
    assert (first.contradicts, second.contradicts) == ({"c2": "denies"}, {"c1": "denies"})


def reply(option: str, *claims: tuple[str, list[int]]) -> str:
    made = [{"text": text, "evidence": evidence} for text, evidence in claims]
    return json.dumps(
        {"answer": f"{option}, it is.", "option": option, "claims": made, "confidence": 0.7, "would_change": ""}
    )


@pytest.fixture
def session(user: User, convene: Convene, fake: FakeModelServer) -> CouncilSession:
    pack = knowledge.create_pack(user, name="Style")
    knowledge.add_entries(pack, user, [{"title": "Tabs", "content": TEXT}])
    narrower, denied = "Tabs are narrower in the file than spaces.", "Tabs are not narrower in the file than spaces."
    fake.set_rules(
        {
            "model": "fake-a",
            "contains": "Choose exactly",
            "reply": reply("Tabs", (narrower, [1]), ("Fashion rules.", [9])),
        },
        {"model": "fake-b", "contains": "Choose exactly", "reply": reply("Tabs", (narrower.lower(), []))},
        {"model": "fake-c", "contains": "Choose exactly", "reply": reply("Spaces", (denied, [1]))},
    )
    return conclude(user, convene(("fake-a", "fake-b", "fake-c", "fake"), packs=[pack.pk]))


@pytest.mark.django_db(transaction=True)
def test_the_table_of_a_council(session: CouncilSession, api: Api, client: Client, user: User) -> None:
    found = api.get(f"/api/council-sessions/{session.pk}/claims").json()
    assert found == claims_of(session, 1)
    narrower, fashion, denied = found["claims"]
    assert [one["name"] for one in narrower["asserted_by"]] == ["Seat 1", "Seat 2"]
    [check] = narrower["asserted_by"][0]["evidence"]
    assert (check["status"], check["title"], check["quote"]) == ("verified", "Tabs", TEXT[: TEXT.index(".") + 1])
    assert narrower["asserted_by"][1]["evidence"] == []
    assert [(one["name"], one["claim"], one["why"]) for one in narrower["disputed_by"]] == [("Seat 3", "c3", "denies")]
    assert [one["name"] for one in denied["disputed_by"]] == ["Seat 1", "Seat 2"]
    assert [one["name"] for one in narrower["opposed_by"]] == ["Seat 3"]
    assert [one["name"] for one in denied["opposed_by"]] == ["Seat 1", "Seat 2"]
    assert (fashion["asserted_by"][0]["evidence"][0]["status"], fashion["disputed_by"]) == ("missing", [])
    client.force_login(user)
    page = client.get(f"/councils/{session.pk}/claims").content.decode()
    for wanted in (
        narrower["text"],
        "Seat 3 denies it (C3)",
        "[1] verified",
        "[9] missing",
        "Seat 2, without evidence",
    ):
        assert wanted in page
    assert client.get(f"/councils/{session.pk}/claims?run=9").status_code == 404
    assert f"/councils/{session.pk}/claims" in client.get(f"/councils/{session.pk}").content.decode()


@pytest.mark.django_db(transaction=True)
def test_minutes_tell_dissent_and_claims_with_their_sources(session: CouncilSession) -> None:
    written = export(session, "md").content.decode()
    assert (
        "| C1 | Tabs are narrower in the file than spaces. | Seat 1 on \\[1\\] verified; Seat 2, without evidence |"
        in written
    )
    assert "Seat 3 for “Spaces”:" in written
    assert "no such source, **verified**" not in written


@pytest.mark.django_db
def test_a_draft_has_no_claims(convene: Convene, api: Api) -> None:
    assert api.get(f"/api/council-sessions/{convene().pk}/claims").json() == {"run": None, "claims": []}
    assert api.get(f"/api/council-sessions/{convene().pk}/claims?run=2").status_code == 404
    assert api.get(f"/api/council-sessions/{convene().pk}/claims?run=x").status_code == 400
