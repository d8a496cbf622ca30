"""Whole councils as files: complete, sealed while a round is open, and inert whatever the texts in them say."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]
from markdown_it import MarkdownIt

from accounts.models import User
from council import services, state
from council.deliberation import types as t
from council.export import export, markdown
from council.export.schema import schema
from council.models import Ballot, CouncilSession, Run
from knowledge import services as knowledge
from tests.conftest import Api
from tests.support.councils import Convene, conclude, vote_in_part, work
from tests.support.fake_openai import FakeModelServer

Json = dict[str, Any]
MARK = "zzmark"
HOSTILE = (
    f"<script>alert('{MARK}')</script> <img src=x onerror=alert(1)> [click here](https://evil.example/{MARK})\n"
    f"![beacon](http://evil.example/p.png) <https://evil.example> [ref]: https://evil.example\n"
    f"# A heading\n---\n| a | b |\n|---|---|\n```\ncode {MARK}\n```\n    indented\n<!-- hidden -->\n"
    f"{{{{ settings.SECRET_KEY }}}} {{% debug %}} \u202egnp.exe\u202c www.evil.example a@evil.example $x$ </style></blockquote>"
)


@pytest.fixture
def hostile(user: User, convene: Convene, fake: FakeModelServer) -> CouncilSession:
    """A council with ballots in which everything that anybody may write is hostile."""
    pack = knowledge.create_pack(user, name=f"Pack {HOSTILE[:100]}")
    knowledge.add_entries(pack, user, [{"title": HOSTILE[:150].replace("\n", " "), "content": HOSTILE * 2}])
    answers = [
        {
            "answer": f"{HOSTILE} Answer {number} [1] [7].",
            "option": option,
            "claims": [{"text": f"Claim {number} {HOSTILE}", "evidence": [1, 9]}],
            "confidence": 0.5,
            "would_change": HOSTILE,
        }
        for number, option in enumerate(("Tabs", f"Spaces {HOSTILE[:200]}"))
    ]
    fake.set_rules(
        {"model": "fake-option-1", "contains": "Choose exactly one", "reply": json.dumps(answers[0])},
        {"model": "fake-option-2", "contains": "Choose exactly one", "reply": json.dumps(answers[1])},
        {"contains": "Write the decision", "reply": json.dumps({"answer": f"{HOSTILE} [1]"})},
        {"contains": "minority report", "reply": json.dumps({"text": f"{HOSTILE} [1]"})},
    )
    session = convene(
        ("fake-option-1", "fake-option-2", "fake-option-1", "fake"),
        question=f"Which? {HOSTILE}",
        options=["Tabs", f"Spaces {HOSTILE[:200]}"],
        packs=[pack.pk],
        agents=[
            {"name": f"Seat {number} {HOSTILE[:60]}", "role": HOSTILE[:180], "model": model}
            for number, model in enumerate(("fake-option-1", "fake-option-2", "fake-option-1"))
        ],
    )  # fmt: skip
    services.post_message(user, session.pk, content=HOSTILE, kind="note")
    return conclude(user, session)


def text_of(session: CouncilSession, form: str, **options: Any) -> str:
    return export(session, form, **options).content.decode()


class Tags(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.comments: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def valid(record: Json) -> list[str]:
    checker = Draft202012Validator(schema(), format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message[:200]}" for error in checker.iter_errors(record)]


# --- the record -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_record_follows_the_published_schema(
    hostile: CouncilSession, user: User, convene: Convene, api: Api
) -> None:
    Draft202012Validator.check_schema(schema())
    failed = conclude(user, convene(("fake", "fake-400", "fake-400", "fake")))
    for session in (hostile, failed, convene()):
        assert valid(json.loads(text_of(session, "json", prompts=True))) == []
    assert api.get("/api/council-sessions/export-schema").json() == schema()
    broken = json.loads(text_of(hostile, "json"))
    del broken["runs"][0]["seed"]
    broken["runs"][0]["rounds"][0]["tally"]["winer"] = "o1"
    assert len(valid(broken)) == 2


def state_of(record: Json, number: int) -> t.RunState:
    """A run from its record alone, as ``council.state.load`` reads it from the database."""
    run = next(run for run in record["runs"] if run["number"] == number)
    seats = [{name: seat[name] for name in ("id", "position", "chair")} for seat in record["session"]["agents"]]
    return t.RunState(
        protocol=t.Protocol.model_validate_json(json.dumps(run["protocol"])),
        seats=tuple(t.SeatState.model_validate(seat) for seat in seats),
        options=tuple(record["session"]["options"]),
        rounds=tuple(round_of(one) for one in run["rounds"]),
        seed=run["seed"],
        exhausted=run["exhausted"] or None,
    )


def round_of(one: Json) -> t.RoundState:
    ballots = {
        ballot["seat"]: t.Ballot.model_validate_json(
            json.dumps({name: ballot[name] for name in ("ranking", "scores", "abstain")})
        )
        for ballot in one["ballots"]
    }
    turns = tuple(
        t.TurnState(
            id=turn["turn"],
            seat=turn["seat"],
            kind=t.TurnKind(turn["kind"]),
            ordinal=turn["ordinal"],
            status=t.TurnStatus(turn["status"]),
            answer=t.Answer.model_validate_json(json.dumps(turn["result"]["answer"]))
            if turn["kind"] == "answer"
            else None,
            ballot=ballots.get(turn["seat"]) if turn["kind"] == "ballot" else None,
        )
        for turn in one["turns"]
    )
    tally = t.Tally.model_validate_json(json.dumps(one["tally"])) if one["tally"] else None
    closed = one["closed_at"] is not None
    return t.RoundState(number=one["round"], stage=t.Stage(one["stage"]), closed=closed, turns=turns, tally=tally)


@pytest.mark.django_db(transaction=True)
def test_the_record_is_all_that_a_recount_needs(user: User, convene: Convene) -> None:
    """What the record gives is, value by value, what the recount reads from the database."""
    session = conclude(user, convene(protocol={"preset": "debate"}))
    record = json.loads(text_of(session, "json"))
    assert state_of(record, 1) == state.load(Run.objects.get(session=session).pk)


@pytest.mark.django_db(transaction=True)
def test_attacks_verdicts_and_questions_stand_in_every_form(user: User, convene: Convene) -> None:
    stages = ["opening", "attack", "debate", "ballot", "synthesis", "ratify"]
    models = ("fake-option-1", "fake-option-2-reject", "fake-option-1", "fake")
    session = conclude(user, convene(models, protocol={"preset": "red-team", "rounds": 2, "stages": stages}))
    record = json.loads(text_of(session, "json"))
    assert valid(record) == []
    [run_of] = record["runs"]
    said = [turn["result"] for round_ in run_of["rounds"] for turn in round_["turns"] if turn["result"]]
    attack = next(one["attack"]["text"] for one in said if "attack" in one)
    asked = run_of["decision"]["exchange"][0]["question"]
    for form in ("md", "html"):
        shown = rendered(text_of(session, form)) if form == "md" else unescape(text_of(session, form))
        for words in ("Rejects the text.", "Accepts the text.", "Questions between seats", asked, attack[:40]):
            assert words in unescape(shown), (form, words)


@pytest.mark.django_db(transaction=True)
def test_prompts_stand_in_the_record_when_they_are_asked_for(hostile: CouncilSession, api: Api) -> None:
    address = f"/api/council-sessions/{hostile.pk}/export"
    assert api.get(f"{address}?format=json").json()["calls"] is None
    calls = api.get(f"{address}?format=json&prompts=true").json()["calls"]
    assert {call["field"] for call in calls} == {"answer", "ballot", "synthesis", "dissent"}
    assert all(call["system"] and call["user"] and call["response"] for call in calls)
    assert api.get(f"{address}?format=md&prompts=true").json()["code"] == "bad_prompts"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form", ["json", "md", "html"])
def test_nothing_of_a_sealed_ballot_is_in_any_export(user: User, convene: Convene, form: str) -> None:
    session = services.start(user, convene().pk)
    vote_in_part(session)
    assert Ballot.objects.filter(round__run__session=session).count() == 2
    text = text_of(session, form, prompts=form == "json")
    assert "ranking" not in text
    assert "opened when the round closed" not in text
    if form == "json":
        record = json.loads(text)
        assert (record["runs"][0]["seed"], record["runs"][0]["rounds"][-1]["ballots"]) == (None, [])
        assert {call["field"] for call in record["calls"]} == {"answer"}
    assert work(session).status == "completed"
    opened = text_of(session, form, prompts=form == "json")
    assert {"json": '"ranking"', "md": "Ballot of", "html": "Ballot of"}[form] in opened


# --- who may, and how it is sent --------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_exports_are_the_owners_and_sent_safely(
    convene: Convene, api: Api, other_api: Api, anonymous: Api, capsys: Any
) -> None:
    session = convene()
    for what in ("export", "claims"):
        address = f"/api/council-sessions/{session.pk}/{what}"
        assert [one.get(address).status_code for one in (api, other_api, anonymous)] == [200, 404, 401]
    sent = api.get(f"/api/council-sessions/{session.pk}/export?format=html")
    assert "default-src 'none'" in sent["Content-Security-Policy"]
    assert "sandbox" in sent["Content-Security-Policy"]
    assert sent["X-Content-Type-Options"] == "nosniff"
    sent = api.get(f"/api/council-sessions/{session.pk}/export?format=md")
    assert sent["Content-Type"] == "text/markdown; charset=utf-8"
    assert sent["Content-Disposition"] == f'attachment; filename="council-{session.pk}.md"'
    assert api.get(f"/api/council-sessions/{session.pk}/export?format=pdf").status_code == 400
    call_command("export_session", str(session.pk), "--format", "md")
    assert capsys.readouterr().out.startswith("# Tabs or spaces?")
    with pytest.raises(CommandError):
        call_command("export_session", "01890000-0000-7000-8000-000000000000")


# --- inert ------------------------------------------------------------------------------------------------------------


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


OURS = {
    "h1",
    "h2",
    "h3",
    "h4",
    "ul",
    "li",
    "p",
    "strong",
    "blockquote",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "br",
}


@pytest.mark.django_db(transaction=True)
def test_hostile_texts_stay_text_in_every_form(hostile: CouncilSession) -> None:
    page = Tags(rendered(text_of(hostile, "md")))
    assert page.found <= OURS
    assert page.attributes == set()
    assert page.comments == []
    html = text_of(hostile, "html")
    page = Tags(html)
    prose = {"br", "code", "em", "hr", "ol", "pre", "s"}  # of knowledge.prose, inside quotations
    assert page.found <= OURS | prose | {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "dl",
        "dt",
        "dd",
        "section",
        "span",
    }
    assert {name for name, _ in page.attributes} <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "colspan",
    }
    assert page.comments == []
    assert html.count("<script") == 0
    assert html.count("</style>") == 1
    for text in (html, text_of(hostile, "md")):
        assert MARK in text
        assert "\u202e" not in text
        assert "{{ settings.SECRET_KEY }}" in text.replace("\\", "")


@pytest.mark.django_db(transaction=True)
def test_minutes_say_what_was_decided_by_whom_and_on_what(user: User, convene: Convene) -> None:
    pack = knowledge.create_pack(user, name="Style")
    text = (
        "Tabs or spaces is a question of habit. Tabs are narrower in the file, and readers choose how wide they look."
    )
    knowledge.add_entries(pack, user, [{"title": "Tabs or spaces", "content": text}])
    session = conclude(user, convene(packs=[pack.pk]))
    decision = session.runs.get().decision
    for form in ("md", "html"):
        written = text_of(session, form)
        for wanted in (
            session.question,
            decision.option or "",
            "Seat 1",
            "Seat 3",
            "Schulze",
            "Ballot of",
            "Sources",
            "Claims",
        ):
            assert wanted in written, (form, wanted)
        assert str(session.runs.get().seed) in written
        for citation in decision.citations.exclude(quote_hash=""):
            assert citation.quote_hash in written


@given(st.text(alphabet="ab1 .)-+=#*_`[]()<>!&|~\\\n\t:/@wW$\u202e\u200b", max_size=60))
def test_no_text_becomes_markup(text: str) -> None:
    lines = [
        "# Title",
        "",
        *markdown.quoted(text),
        "",
        f"- {markdown.inert(text)}",
        "",
        f"| {markdown.inert(text)} |",
        "| --- |",
    ]
    page = Tags(rendered("\n".join(lines)))
    assert page.found <= {"h1", "blockquote", "p", "ul", "li", "table", "thead", "tr", "th"}
    assert page.attributes == set()


@given(st.text(alphabet="ab1 .)-+=#*_`[]()<>!&|~\\:/@wW$", max_size=40))
def test_what_is_read_is_what_was_written(text: str) -> None:
    """Escapes and entities are undone by whoever renders the Markdown."""
    page = rendered(f"x {markdown.inert(text)} x")
    shown = re.fullmatch(r"<p>x ?(.*?) ?x</p>\n", page, re.DOTALL)
    assert shown is not None
    assert unescape(shown[1]) == " ".join(text.split())
