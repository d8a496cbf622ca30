"""Pages of a pack that tell how good it is: golden questions, search log, review queue."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminFileFieldWidget

from knowledge import services
from knowledge.admin import charts
from knowledge.admin.common import author, counted
from knowledge.admin.dashboard import DAYS, percent
from knowledge.admin.hits import chosen_mode
from knowledge.admin.pages import Context, Page, Step, StepForm, is_uuid
from knowledge.models import Evaluation, KnowledgePack
from knowledge.quality import evaluation as running
from knowledge.quality import question_files, review, searches
from knowledge.ranking import Mode
from knowledge.selectors import entries_of
from realtime.errors import InvalidInput

RUNS = 30  # evaluations in the chart
LATEST = 10  # evaluations in the table
ROWS = 100
SEARCHES = 50  # the latest, on the page of the search log
REFUSED_SHOWN = 10


# --- Golden questions and evaluations ---


def questions(request: HttpRequest, pack: KnowledgePack) -> Context:
    mode = chosen_mode(request)
    runs = list(running.evaluations(pack).filter(mode=mode).order_by("-created_at", "-id")[:RUNS])
    points = [charts.Point(f"{run.created_at:%d %b %H:%M}", round(run.ndcg_10, 3)) for run in reversed(runs)]
    asked = pack.golden_questions.prefetch_related("expected").order_by("created_at", "id")
    scores = {row["question"]: row for row in runs[0].results} if runs else {}
    return {
        "mode": mode,
        "modes": list(Mode),
        "runs": [(run, running.diff(run)) for run in runs[:LATEST]],
        "latest": runs[0] if runs else None,
        "diff": running.diff(runs[0]) if runs else None,
        "chart": charts.line(f"nDCG@10 of each {mode} run", points),
        "questions": [(question, scores.get(question.question)) for question in asked[:ROWS]],
        "question_count": pack.golden_questions.count(),
        "add_link": f"{reverse('admin:knowledge_goldenquestion_add')}?pack={pack.pk}",
    }


def evaluate(request: HttpRequest, pack: KnowledgePack, _values: dict[str, Any]) -> str:
    made = services.evaluate_or_queue(pack, author(request), request.POST.get("mode", Mode.HYBRID.value))
    return _measured(made) if made else "A worker asks the questions now; the run appears here when it is done."


def _measured(run: Evaluation) -> str:
    return f"nDCG@10 is {run.ndcg_10:.3f} over {counted(run.questions, 'question', 'questions')}."


class QuestionFileForm(StepForm):
    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        help_text="CSV with the columns question and expected: an entry's id, external id or title. One row for each expected entry.",
    )


def import_questions(request: HttpRequest, pack: KnowledgePack, values: dict[str, Any]) -> str:
    if values["file"].size > question_files.BYTES_MAX:
        raise InvalidInput(errors=[{"pointer": "/file", "detail": f"At most {question_files.BYTES_MAX} bytes."}])
    rows = question_files.read(values["file"].read())
    outcome = question_files.add(pack, author(request), rows)
    for why in outcome.refused[:REFUSED_SHOWN]:
        messages.warning(request, why)
    if (more := len(outcome.refused) - REFUSED_SHOWN) > 0:
        messages.warning(request, f"{more} more were refused.")
    return f"{counted(outcome.added, 'question was', 'questions were')} added, {len(outcome.refused)} refused."


def export_questions(request: HttpRequest, pack: KnowledgePack, _values: dict[str, Any]) -> HttpResponse:
    name = question_files.filename(pack)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(question_files.write(pack), content_type="text/csv; charset=utf-8", headers=headers)


# --- Searches ---


def search_log(_request: HttpRequest, pack: KnowledgePack) -> Context:
    summary = searches.summary(pack, DAYS)
    return {
        "summary": summary,
        "rate": percent(summary["zero_result_rate"]),
        "latest": searches.logged(pack, DAYS).select_related("user").order_by("-at", "-id")[:SEARCHES],
        "all_link": f"{reverse('admin:knowledge_searchlog_changelist')}?pack__id__exact={pack.pk}",
    }


# --- Reviews ---


def review_queue(_request: HttpRequest, pack: KnowledgePack) -> Context:
    queue = review.review_queue([pack])
    return {"queue": queue[:ROWS], "queue_count": queue.count()}


def mark_reviewed(request: HttpRequest, pack: KnowledgePack, _values: dict[str, Any]) -> str:
    wanted = [value for value in request.POST.getlist("entry") if is_uuid(value)]
    known = list(entries_of(pack).filter(pk__in=wanted).values_list("pk", flat=True))
    count = services.mark_reviewed(known, author(request))
    return f"{counted(count, 'entry was', 'entries were')} marked as reviewed."


QUESTIONS = Page(
    "questions",
    "Golden questions",
    questions,
    {
        "evaluate": Step(evaluate, row=True),
        "import_questions": Step(
            import_questions, "knowledge.add_goldenquestion", QuestionFileForm, fields={"bad_file": "file"}
        ),
        "export_questions": Step(export_questions, "knowledge.view_goldenquestion"),
    },
    permission="knowledge.view_goldenquestion",
)
SEARCHES_PAGE = Page("searches", "Search log", search_log, permission="knowledge.view_searchlog")
REVIEW = Page(
    "review",
    "Review queue",
    review_queue,
    {"mark_reviewed": Step(mark_reviewed, "knowledge.change_entry", row=True)},
    permission="knowledge.view_entry",
)
