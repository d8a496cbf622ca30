"""Trials as they are run: against real councils, a real database and a fake model whose competence is known."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from council import services
from council.deliberation.intervals import wilson
from council.models import CouncilSession, LlmCall, Run
from council.selectors import listed_sessions
from council.trials import questions
from council.trials.library import SERVICE_USER
from tests.support.fake_openai import FakeModelServer

pytestmark = pytest.mark.django_db(transaction=True)

CLOSED = [one for one in questions.load() if one.kind == "closed" and not one.entries]
INDEPENDENT = "fake-competence-70-a,fake-competence-70-b,fake-competence-70-c"


@pytest.fixture
def competent(fake: FakeModelServer) -> FakeModelServer:
    fake.set_rules({"model": "fake-competence*", "key": {one.question: one.answer for one in CLOSED}})
    return fake


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Hold one on the closed questions, without packs; its report."""

    def hold(protocols: str, limit: int = 4, **options: Any) -> dict[str, Any]:
        out = tmp_path / options.pop("name", "trial")
        asked = tmp_path / "asked.jsonl"
        asked.write_text("".join(one.model_dump_json(by_alias=True) + "\n" for one in CLOSED))
        given = {"questions": asked, "out": out, "limit": limit, **options}
        call_command("trial", protocols=protocols.split(","), stdout=StringIO(), **given)
        return {**json.loads((out / "report.json").read_text()), "dir": out}

    return hold


def of(report: dict[str, Any], protocol: str) -> dict[str, Any]:
    return next(one for one in report["protocols"] if one["protocol"] == protocol)


def rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (report["dir"] / "results.jsonl").read_text().splitlines()]


def test_a_model_of_known_competence_measures_as_competent_as_it_is(
    competent: FakeModelServer, trial: Callable[..., dict[str, Any]]
) -> None:
    found = of(trial("single", limit=60, models=INDEPENDENT.split(","), samples=1), "single")
    assert found["accuracy"]["low"] <= 0.7 <= found["accuracy"]["high"]
    assert found["questions"] == len(CLOSED)


def test_independent_seats_gain_by_a_council_and_identical_ones_do_not(
    competent: FakeModelServer, trial: Callable[..., dict[str, Any]]
) -> None:
    apart = trial("single,council", limit=24, models=INDEPENDENT.split(","), samples=1, name="apart")
    alike = trial("single,council", limit=8, model="fake-competence-70-a", samples=1, name="alike")
    assert apart["differences"][0]["by"]["mean"] > 0
    assert alike["differences"][0]["by"]["mean"] == 0
    assert of(alike, "council")["accuracy"] == of(alike, "single")["accuracy"]


def test_every_preset_is_held_and_none_shows_in_anybodys_list(
    fake: FakeModelServer, user: User, trial: Callable[..., dict[str, Any]]
) -> None:
    report = trial("single,self-consistency,council,debate,poll,red-team", limit=1, user=user.email, tokens=40_000)
    assert [one["protocol"] for one in report["protocols"]] == report["plan"]["protocols"]
    assert {row["status"] for row in rows(report)} == {"decided"}
    sessions = CouncilSession.objects.filter(owner=user)
    assert sessions.count() == 4
    assert all(one.title.startswith("trial ") for one in sessions)
    assert not listed_sessions(user).exists()


def test_rows_say_what_the_calls_have_cost(fake: FakeModelServer, trial: Callable[..., dict[str, Any]]) -> None:
    (row,) = rows(trial("council", limit=1))
    calls = LlmCall.objects.filter(session=row["session"])
    assert row["calls"] == calls.count() > 0
    assert row["prompt_tokens"] == sum(call.prompt_tokens for call in calls)
    assert row["completion_tokens"] == sum(call.completion_tokens for call in calls)
    assert row["usd"] is None


def test_no_protocol_spends_more_than_its_budget(fake: FakeModelServer, trial: Callable[..., dict[str, Any]]) -> None:
    report = trial("self-consistency,council,debate", limit=3, tokens=14_000)
    assert max(row["prompt_tokens"] + row["completion_tokens"] for row in rows(report)) <= 14_000
    votes = [row for row in rows(report) if row["protocol"] == "self-consistency"]
    assert min(row["prompt_tokens"] + row["completion_tokens"] for row in votes) > 14_000 * 0.8


def test_estimates_go_to_polls_and_delphi_and_not_to_ballots(fake: FakeModelServer, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text(
        '{"id":"e","kind":"estimate","field":"f","question":"How many?","answer":12,"tolerance":0,"why":"so"}\n'
    )
    call_command("trial", questions=asked, out=tmp_path / "t", model="fake-estimate-12", stdout=StringIO())
    report = json.loads((tmp_path / "t" / "report.json").read_text())
    right = {one["protocol"]: one["accuracy"]["right"] for one in report["protocols"]}
    assert right == {"single": 1, "self-consistency": 1, "poll": 1, "delphi": 1}


def test_seats_read_the_pack_of_questions_that_need_it(fake: FakeModelServer, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    needing = next(one for one in questions.load() if one.id == "ferry-last")
    asked.write_text(needing.model_dump_json(by_alias=True) + "\n")
    given = {"questions": asked, "out": tmp_path / "t", "samples": 1, "stdout": StringIO()}
    call_command("trial", protocols=["single", "poll"], **given)
    prompts = [str(request.body["messages"]) for request in fake.requests]
    assert len(prompts) == 4
    assert all("timetable from May 2024" in prompt and "20:45. A foot passenger" in prompt for prompt in prompts)
    assert CouncilSession.objects.get().packs.count() == 1


def test_a_model_that_fails_makes_honest_rows_and_one_line(fake: FakeModelServer, tmp_path: Path) -> None:
    out, said = tmp_path / "t", StringIO()
    call_command("trial", protocols=["single", "poll"], limit=3, model="fake-400", samples=1, out=out, stdout=said)
    report = json.loads((out / "report.json").read_text())
    assert {one["protocol"]: one["statuses"] for one in report["protocols"]} == {
        "single": {"failed": 3},
        "poll": {"failed": 3},
    }
    assert all(one["accuracy"]["right"] == 0 for one in report["protocols"])
    assert said.getvalue().count("single failed: ") == 1


def test_resuming_asks_only_what_is_missing_and_drops_a_torn_line(
    fake: FakeModelServer, trial: Callable[..., dict[str, Any]]
) -> None:
    report = trial("single,poll", limit=3, samples=1)
    results = report["dir"] / "results.jsonl"
    whole = results.read_text()
    kept = "".join(whole.splitlines(keepends=True)[:4])
    results.write_text(kept + '{"question": "torn')
    fake.reset()
    call_command("trial", resume=report["dir"], stdout=StringIO())
    again = results.read_text()
    assert again.startswith(kept)
    assert {(row["question"], row["protocol"]) for row in rows(report)} == {
        (one["question"], one["protocol"]) for one in map(json.loads, whole.splitlines())
    }
    assert 0 < len(fake.requests) <= 6


@pytest.fixture
def ctrl_c(fake: FakeModelServer) -> Iterator[None]:
    """Pressed as soon as some model is asked."""

    def press() -> None:
        while not fake.requests:
            time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # who starts tests in the background may ignore it
    thread = threading.Thread(target=press)
    thread.start()
    yield
    thread.join()
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_trial_stops_its_councils_and_can_be_resumed(fake: FakeModelServer, tmp_path: Path) -> None:
    out = tmp_path / "t"
    given = {"limit": 2, "out": out, "samples": 1, "stdout": StringIO()}
    with pytest.raises(CommandError, match=f"Interrupted; go on with: manage.py trial --resume {out}"):
        call_command("trial", protocols=["single", "poll"], model="fake-hang", **given)
    assert (out / "results.jsonl").exists() is False
    assert set(CouncilSession.objects.values_list("status", flat=True)) <= {"archived"}
    assert set(Run.objects.values_list("status", flat=True)) <= {"stopped"}
    fake.set_rules({"model": "fake-hang", "hang_s": None})
    call_command("trial", resume=out, stdout=StringIO())
    assert len((out / "results.jsonl").read_text().splitlines()) == 4


def test_what_a_crash_left_running_is_put_away(fake: FakeModelServer, trial: Callable[..., dict[str, Any]]) -> None:
    report = trial("poll", limit=1)
    owner, plan = User.objects.get(email=SERVICE_USER), report["plan"]
    left = services.create_session(owner, services.Plan(question="Q?", title=f"trial {plan['trial']} poll q 1"))
    services.start(owner, left.pk)
    other = services.create_session(owner, services.Plan(question="Q?", title="trial of something else"))
    call_command("trial", resume=report["dir"], stdout=StringIO())
    left.refresh_from_db()
    other.refresh_from_db()
    assert (left.status, other.status) == ("archived", "draft")


def test_the_report_is_whole_in_every_form(fake: FakeModelServer, trial: Callable[..., dict[str, Any]]) -> None:
    report = trial("single,self-consistency,debate", limit=2)
    page = (report["dir"] / "report.md").read_text()
    assert "| debate | single | 2 |" in page
    assert "## Against as many single answers as cost the same" in page
    plot = ET.fromstring((report["dir"] / "accuracy.svg").read_text())  # noqa: S314  # our own
    assert len(plot.findall("{http://www.w3.org/2000/svg}circle")) == 3
    for one in report["protocols"]:
        right = one["accuracy"]["right"] * one["questions"]
        assert list(one["accuracy"].values()) == pytest.approx(wilson(right, one["questions"], 0.95))


def test_the_service_user_cannot_sign_in(fake: FakeModelServer, trial: Callable[..., dict[str, Any]]) -> None:
    trial("poll", limit=1)
    service = User.objects.get(email=SERVICE_USER)
    assert not service.is_active
    assert not service.has_usable_password()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"protocols": ["council", "oracle"]},
            "There is no protocol 'oracle'; known are single, self-consistency, council",
        ),
        ({"questions": Path("nowhere.jsonl")}, "nowhere.jsonl: No such file or directory"),
        ({"seats": 1}, "--seats: Input should be greater than or equal to 2"),
        ({"user": "nobody@example.org"}, "There is no user nobody@example.org."),
        ({"resume": Path("nowhere")}, "nowhere holds no trial that could be resumed"),
    ],
)
def test_what_cannot_be_held_is_refused_in_one_line(
    fake: FakeModelServer, tmp_path: Path, options: dict[str, Any], line: str
) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("trial", stdout=StringIO(), **{"out": tmp_path / "t", **options})
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_a_fault_in_the_file_is_told_with_its_line_and_leaves_nothing_behind(
    fake: FakeModelServer, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.jsonl"
    good = CLOSED[0].model_dump_json(by_alias=True)
    asked.write_text(good + "\n\n" + '{"id":"a","kind":"estimate","field":"f","question":"q","answer":1,"why":"w"}\n')
    with pytest.raises(CommandError, match=r"asked\.jsonl, line 3: tolerance: Field required"):
        call_command("trial", questions=asked, out=tmp_path / "t", stdout=StringIO())
    assert not (tmp_path / "t").exists()
