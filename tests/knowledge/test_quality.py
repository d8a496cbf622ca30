"""Golden questions, evaluations and the review queue, through the API and the console."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from knowledge import services
from knowledge.models import Entry, EntryUse, Evaluation, EvaluationJob, GoldenQuestion, KnowledgePack, PackShare, Role
from knowledge.quality import evaluation, jobs, tasks, uses
from knowledge.quality.evaluation import evaluations
from knowledge.quality.review import review_queue
from knowledge.tasks import sweep
from realtime import nudge
from realtime.errors import IllegalState, InvalidInput
from tests.conftest import Api
from tests.knowledge.conftest import Fill

Commit = Callable[..., Any]


@pytest.fixture
def entries(fill: Fill) -> dict[str, Entry]:
    return {result.entry.external_id or "": result.entry for result in fill() if result.entry}


@pytest.fixture
def url(pack: KnowledgePack) -> str:
    return f"/api/knowledge-packs/{pack.pk}"


def ask(pack: KnowledgePack, question: str, *expected: Entry) -> GoldenQuestion:
    return services.add_golden_question(pack.pk, None, question=question, expected=[one.pk for one in expected])


# --- Golden questions ---


def test_a_question_is_made_read_changed_and_removed(api: Api, url: str, entries: dict[str, Entry]) -> None:
    solar, bread = str(entries["solar"].pk), str(entries["bread"].pk)
    made = api.post(f"{url}/golden-questions", {"question": " Which panels? ", "expected": [solar]})
    assert (made.status_code, made.json()["question"], made.json()["expected"]) == (201, "Which panels?", [solar])
    one = f"{url}/golden-questions/{made.json()['id']}"
    assert api.get(one).json() == made.json()
    assert api.patch(one, {"expected": [solar, bread]}).json()["expected"] == sorted([solar, bread])
    assert api.patch(one, {"question": "What?"}).json()["question"] == "What?"
    assert [row["question"] for row in api.get(f"{url}/golden-questions").json()["results"]] == ["What?"]
    assert api.delete(one).status_code == 204
    assert api.get(one).status_code == 404


def test_each_question_of_an_array_has_its_result(api: Api, url: str, entries: dict[str, Entry]) -> None:
    good = {"question": "Which panels?", "expected": [str(entries["solar"].pk)]}
    bad = [good, good, {"question": "x", "expected": [str(uuid4())]}, {"question": "", "expected": []}, 7]
    answer = api.post(f"{url}/golden-questions", bad)
    assert answer.status_code == 207
    results = answer.json()["results"]
    assert [row["status"] for row in results] == ["created", "failed", "failed", "failed", "failed"]
    assert results[1]["errors"][0]["pointer"] == "/question"
    assert results[2]["errors"][0]["pointer"] == "/expected/0"
    assert GoldenQuestion.objects.count() == 1


def test_a_question_is_asked_once_a_pack(api: Api, url: str, pack: KnowledgePack, entries: dict[str, Entry]) -> None:
    ask(pack, "Which panels?", entries["solar"])
    other = ask(pack, "Which bread?", entries["bread"])
    again = api.post(f"{url}/golden-questions", {"question": "Which panels?", "expected": [str(entries["solar"].pk)]})
    assert (again.status_code, again.json()["code"]) == (409, "question_exists")
    assert api.patch(f"{url}/golden-questions/{other.pk}", {"question": "Which panels?"}).status_code == 409


def test_entries_of_other_packs_cannot_be_expected(api: Api, url: str, user: User, entries: dict[str, Entry]) -> None:
    other = services.create_pack(user, name="Other")
    (foreign,) = services.add_entries(other, user, [{"title": "T", "content": "Words."}])
    assert foreign.entry
    body = {"question": "?", "expected": [str(entries["solar"].pk), str(foreign.entry.pk)]}
    answer = api.post(f"{url}/golden-questions", body)
    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/expected/1"]


ROUTES = [
    pytest.param("GET", "golden-questions", None, True, id="list questions"),
    pytest.param("POST", "golden-questions", {"question": "?", "expected": []}, False, id="add a question"),
    pytest.param("GET", "evaluations", None, True, id="list evaluations"),
    pytest.param("POST", "evaluations", {}, False, id="evaluate"),
    pytest.param("GET", "searches", None, False, id="searches"),
    pytest.param("GET", "searches/summary", None, False, id="summary"),
    pytest.param("GET", "review-queue", None, False, id="review queue"),
    pytest.param("POST", "review-queue", {"reviewed": []}, False, id="mark reviewed"),
]


@pytest.mark.parametrize(("method", "path", "body", "viewers"), ROUTES)
def test_roles(
    anonymous: Api, other_api: Api, other_user: User, pack: KnowledgePack, url: str, method: str, path: str, body: Any, viewers: bool
) -> None:  # fmt: skip
    address = f"{url}/{path}"
    assert anonymous(method, address, body).status_code == 401
    assert other_api(method, address, body).status_code == 404
    PackShare.objects.create(pack=pack, user=other_user, role=Role.VIEWER)
    assert other_api(method, address, body).status_code == (200 if viewers else 403)


# --- Evaluations ---


def test_an_evaluation_measures_each_question(
    api: Api, url: str, pack: KnowledgePack, entries: dict[str, Entry]
) -> None:
    ask(pack, "photovoltaic inverter", entries["solar"])
    ask(pack, "espresso", entries["bread"])  # wrong on purpose: lexical search finds the café alone
    answer = api.post(f"{url}/evaluations", {"mode": "lexical"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["questions"], made["ndcg_10"], made["recall_10"], made["mrr"]) == (2, 0.5, 0.5, 0.5)
    assert [row["ndcg"] for row in made["results"]] == [1.0, 0.0]
    assert made["results"][1]["found"] == [str(entries["cafe"].pk)]
    assert made["diff"] is None
    assert pack.events.last().payload["evaluation"]["id"] == made["id"]  # type: ignore[union-attr]  # an error fails the test


def test_the_diff_names_what_changed_since_the_run_before(
    api: Api, url: str, pack: KnowledgePack, entries: dict[str, Entry]
) -> None:
    ask(pack, "photovoltaic inverter", entries["solar"])
    gone = ask(pack, "flour", entries["bread"])
    first = services.evaluate(pack, None, "lexical")
    services.evaluate(pack, None, "semantic")  # another mode is another series
    services.delete_golden_question(gone.pk)
    services.set_entry_enabled(entries["solar"].pk, enabled=False)
    ask(pack, "espresso", entries["cafe"])
    second = services.evaluate(pack, None, "lexical")
    diff = api.get(f"{url}/evaluations/{second.pk}").json()["diff"]
    assert diff["previous"] == str(first.pk)
    assert {row["question"]: row["change"] for row in diff["questions"]} == {
        "photovoltaic inverter": "lost",
        "flour": "removed",
        "espresso": "new",
    }
    latest = api.get(f"{url}/evaluations?limit=1").json()["results"][0]
    assert (latest["diff"]["ndcg_10"], latest["diff"]["counts"]["lost"]) == (-0.5, 1)
    assert "results" not in latest
    assert "questions" not in latest["diff"]


def test_without_questions_there_is_nothing_to_evaluate(api: Api, url: str) -> None:
    answer = api.post(f"{url}/evaluations")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_golden_questions")


@pytest.fixture
def job(pack: KnowledgePack, user: User, entries: dict[str, Entry]) -> EvaluationJob:
    ask(pack, "photovoltaic", entries["solar"])
    return services.queue_evaluation(pack.pk, user, "lexical")


def test_many_questions_are_left_to_a_worker(
    api: Api, url: str, user: User, pack: KnowledgePack, entries: dict[str, Entry], django_capture_on_commit_callbacks: Commit
) -> None:  # fmt: skip
    for number in range(services.EVALUATE_AT_ONCE + 1):
        ask(pack, f"photovoltaic {number}", entries["solar"])
    with django_capture_on_commit_callbacks() as queued:
        answer = api.post(f"{url}/evaluations", {"mode": "lexical"})
    job = answer.json()
    assert (answer.status_code, job["status"], job["mode"], job["error"]) == (202, "queued", "lexical", None)
    assert len(queued) == 2  # the event and the worker
    assert api.get(f"{url}/evaluations/{job['id']}").json() == job
    assert api.post(f"{url}/evaluations", {"mode": "lexical"}).json() == job  # one is enough
    tasks.run_evaluation(job["id"])
    made = Evaluation.objects.get()
    assert (made.questions, made.created_by) == (services.EVALUATE_AT_ONCE + 1, user)
    shown = api.get(f"{url}/evaluations/{job['id']}").json()
    assert (shown["status"], shown["questions"]) == ("finished", made.questions)
    assert not EvaluationJob.objects.exists()
    kinds = pack.events.filter(type__startswith="pack.evalua").order_by("seq").values_list("type", flat=True)
    assert list(kinds) == ["pack.evaluation_queued", "pack.evaluated"]


def test_the_sweeper_finds_an_evaluation_that_the_broker_has_lost(
    job: EvaluationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, list[str], str]] = []
    monkeypatch.setattr(nudge, "send_task", lambda name, args, queue, **_: sent.append((name, list(args), queue)))
    sweep()
    assert sent == [("knowledge.tasks.run_evaluation", [str(job.pk)], "index")]
    assert jobs.claim(job.pk)
    sweep()
    assert len(sent) == 1  # somebody is at it
    EvaluationJob.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    sweep()
    assert len(sent) == 2  # and has died


def test_a_worker_that_lost_its_evaluation_stores_nothing(
    api: Api, url: str, pack: KnowledgePack, job: EvaluationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "RENEW_S", 0.0)
    run = evaluation.run

    def overtaken(pack: KnowledgePack, mode: str, beat: Callable[[], object]) -> evaluation.Run:
        monkeypatch.setattr(evaluation, "run", run)
        assert api.get(f"{url}/evaluations/{job.pk}").json()["status"] == "running"
        tasks.run_evaluation(str(job.pk))  # nothing: the lease has not run out
        assert not Evaluation.objects.exists()
        EvaluationJob.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        assert jobs.claim(job.pk)
        with pytest.raises(jobs.Fenced):
            beat()
        return run(pack, mode)

    monkeypatch.setattr(evaluation, "run", overtaken)
    tasks.run_evaluation(str(job.pk))
    assert not Evaluation.objects.exists()
    assert EvaluationJob.objects.get().status == "running"


def test_an_evaluation_that_kills_its_workers_fails_in_the_end(job: EvaluationJob) -> None:
    for _ in range(jobs.MAX_ATTEMPTS):
        assert jobs.claim(job.pk)
        EvaluationJob.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    tasks.run_evaluation(str(job.pk))
    job.refresh_from_db()
    assert (job.status, job.error) == ("failed", "The worker died each time it asked the questions.")
    assert jobs.with_work() == []


def test_a_queued_evaluation_says_why_it_failed(api: Api, url: str, pack: KnowledgePack, job: EvaluationJob) -> None:
    services.delete_golden_question(GoldenQuestion.objects.get().pk)
    tasks.run_evaluation(str(job.pk))
    shown = api.get(f"{url}/evaluations/{job.pk}").json()
    assert (shown["status"], shown["error"]) == ("failed", "the pack has no golden questions to ask")
    assert pack.events.last().type == "pack.evaluation_failed"  # type: ignore[union-attr]  # an error fails the test
    again = services.queue_evaluation(pack.pk, None, "lexical")
    services.delete_pack(pack.pk)
    tasks.run_evaluation(str(again.pk))
    again.refresh_from_db()
    assert (again.status, again.error) == ("failed", "The pack was deleted.")
    tasks.run_evaluation(str(uuid4()))  # purged meanwhile
    with pytest.raises(InvalidInput):
        services.queue_evaluation(pack.pk, None, "loud")


def test_a_trashed_entry_is_missed(pack: KnowledgePack, entries: dict[str, Entry]) -> None:
    ask(pack, "photovoltaic", entries["solar"])
    assert services.evaluate(pack, None, "lexical").ndcg_10 == 1.0
    services.delete_entry(entries["solar"].pk)
    assert services.evaluate(pack, None, "lexical").ndcg_10 == 0.0
    Entry.objects.filter(pk=entries["solar"].pk).update(deleted_at=timezone.now())


def test_the_console_prints_the_table_and_the_diff(pack: KnowledgePack, entries: dict[str, Entry]) -> None:
    question = ask(pack, "photovoltaic", entries["solar"])
    call_command("evaluate_pack", pack.name, mode="lexical", stdout=StringIO())
    services.change_golden_question(question.pk, expected=[entries["bread"].pk])
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as stopped:
        call_command("evaluate_pack", str(pack.pk), mode="lexical", min_ndcg=0.5, stdout=out, stderr=err)
    assert stopped.value.code == 1
    assert "below 0.500" in err.getvalue()
    assert "lost    1.000 -> 0.000  photovoltaic" in out.getvalue()
    assert "mean of 1, lexical" in out.getvalue()
    call_command("evaluate_pack", str(pack.pk), mode="lexical", min_ndcg=0.0, stdout=StringIO())


@pytest.mark.parametrize("named", ["Nobody's", "00000000-0000-0000-0000-000000000000", "Notes"])
def test_the_console_says_what_is_wrong(pack: KnowledgePack, named: str) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("evaluate_pack", named, stdout=StringIO())
    assert refused.value.returncode == 2


def test_the_gate_is_a_number_from_0_to_1(api: Api, url: str) -> None:
    assert api.get(url).json()["gate_publishing"] is None
    assert api.patch(url, {"gate_publishing": 0.8}).json()["gate_publishing"] == 0.8
    assert api.patch(url, {"gate_publishing": None}).json()["gate_publishing"] is None
    for wrong in (1.5, -0.1, "0.5", True, [1]):
        assert api.patch(url, {"gate_publishing": wrong}).status_code == 400, wrong


# --- Review ---


def cited(entry: Entry, times: int, days: float) -> None:
    EntryUse.objects.create(entry=entry, cited=times)
    Entry.objects.filter(pk=entry.pk).update(created_at=timezone.now() - timedelta(days=days))


def test_the_queue_is_ranked_by_damage_after_what_is_overdue(
    api: Api, url: str, pack: KnowledgePack, entries: dict[str, Entry]
) -> None:
    cited(entries["solar"], 2, 10)  # 20
    cited(entries["bread"], 1, 30)  # 30
    Entry.objects.filter(pk=entries["cafe"].pk).update(review_by=timezone.now().date())
    rows = api.get(f"{url}/review-queue").json()["results"]
    assert [row["entry"]["external_id"] for row in rows] == ["cafe", "bread", "solar"]
    assert [(row["cited"], row["damage"], row["overdue"]) for row in rows] == [
        (0, 0, True),
        (1, 30.0, False),
        (2, 20.0, False),
    ]
    assert list(review_queue([pack]).values_list("external_id", flat=True)) == ["cafe", "bread", "solar"]


def test_a_review_takes_entries_to_the_end(api: Api, url: str, user: User, entries: dict[str, Entry]) -> None:
    cited(entries["bread"], 1, 30)
    Entry.objects.filter(pk=entries["cafe"].pk).update(review_by=timezone.now().date() - timedelta(days=3))
    both = [str(entries[name].pk) for name in ("bread", "cafe")]
    assert api.post(f"{url}/review-queue", {"reviewed": both}).json() == {"reviewed": 2}
    (left,) = api.get(f"{url}/review-queue").json()["results"]
    assert (left["entry"]["id"], left["damage"], left["days"]) == (str(entries["bread"].pk), 0.0, 0.0)
    entry = Entry.objects.get(pk=entries["cafe"].pk)
    assert (entry.reviewed_by, entry.review_by, entry.version) == (user, None, 2)
    assert entry.pack.events.last().type == "entry.updated"  # type: ignore[union-attr]  # an error fails the test


def test_only_entries_of_the_pack_are_marked(api: Api, url: str, entries: dict[str, Entry]) -> None:
    answer = api.post(f"{url}/review-queue", {"reviewed": [str(entries["solar"].pk), str(uuid4())]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/reviewed/1")
    assert Entry.objects.exclude(reviewed_at=None).count() == 0


def test_entries_of_an_archived_pack_are_not_marked(pack: KnowledgePack, entries: dict[str, Entry]) -> None:
    services.update_pack(pack.pk, {"status": "archived"})
    with pytest.raises(IllegalState):
        services.mark_reviewed([entries["solar"].pk], None)


# --- Citations ---


def test_citations_are_counted_after_the_commit(
    entries: dict[str, Entry], django_capture_on_commit_callbacks: Commit
) -> None:
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            uses.note_citations([entries["solar"].revision_id, str(entries["bread"].revision_id), uuid4()])
    assert set(EntryUse.objects.values_list("entry__external_id", "cited", "retrieved")) == {
        ("solar", 2, 0),
        ("bread", 2, 0),
    }


def test_evaluations_of_equal_time_have_one_order(pack: KnowledgePack, entries: dict[str, Entry]) -> None:
    ask(pack, "photovoltaic", entries["solar"])
    made = [services.evaluate(pack, None, "lexical") for _ in range(3)]
    Evaluation.objects.update(created_at=timezone.now())
    previous = {row.pk: vars(row)["previous_id"] for row in evaluations(pack)}
    assert previous == {made[0].pk: None, made[1].pk: made[0].pk, made[2].pk: made[1].pk}
