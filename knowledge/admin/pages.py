"""A pack's tool pages: dashboard, golden questions, hit testing, search log, review queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import mark_safe

from knowledge import services
from knowledge.admin import charts
from knowledge.admin.common import author
from knowledge.models import Evaluation, KnowledgePack
from knowledge.quality import evaluation as running
from knowledge.quality import review, searches
from knowledge.ranking import Mode
from knowledge.search import Hit, SearchResult, search
from knowledge.selectors import entries_of
from knowledge.states import IndexStatus, PackStatus
from realtime.errors import QuorumError

DAYS = 30
RUNS = 30  # evaluations in the chart
ROWS = 100
SEARCHES = 50  # the latest, on the page of the search log
QUERY_MAX = 1000

Context = dict[str, Any]
Page = Callable[["PackPages", HttpRequest, KnowledgePack], Context | HttpResponse]


# What a page shows of other models has to be theirs to see as well; and what is marked as reviewed are entries.
_SHOWS = {"questions": "goldenquestion", "hits": "entry", "searches": "searchlog", "review": "entry"}
_CHANGES = {"review": "entry"}


class PackPages:
    """Mixed into the pack's ``ModelAdmin``. Looking needs the permission to view the pack and what is shown of it, acting the one to
    change it."""

    admin_site: Any
    opts: Any

    def page_urls(self) -> list[URLPattern]:
        pages: dict[str, tuple[str, Page]] = {
            "dashboard": ("Dashboard", dashboard),
            "questions": ("Golden questions", questions),
            "hits": ("Hit testing", hits),
            "searches": ("Search log", search_log),
            "review": ("Review queue", review_queue),
        }
        return [
            path(
                f"<uuid:pk>/{name}/",
                self.admin_site.admin_view(self._view(name, title, page)),
                name=f"knowledge_knowledgepack_{name}",
            )
            for name, (title, page) in pages.items()
        ]

    def _view(self, name: str, title: str, page: Page) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, pk: UUID) -> HttpResponse:
            self._permit(request, name)
            pack = (
                KnowledgePack.objects.exclude(status=PackStatus.DELETED).select_related("owner").filter(pk=pk).first()
            )
            if pack is None:
                raise Http404("There is no such knowledge pack.")
            shown = page(self, request, pack)
            if isinstance(shown, HttpResponse):
                return shown
            context = {
                **self.admin_site.each_context(request),
                **pack_context(pack, name),
                "subtitle": title,
                "original": pack,
                **shown,
            }
            return TemplateResponse(
                request, f"admin/knowledge/{name}.html", {**context, "title": pack.name, "opts": self.opts}
            )

        return view

    def _permit(self, request: HttpRequest, name: str) -> None:
        """As everywhere in the admin, whoever may change something may look at it."""
        models = {"knowledgepack", _SHOWS.get(name, "knowledgepack")}
        deeds = ["view", "change"]
        if request.method == "POST":
            models, deeds = {_CHANGES.get(name, "knowledgepack")}, ["change"]
        for model in models:
            if not any(request.user.has_perm(f"knowledge.{deed}_{model}") for deed in deeds):
                raise PermissionDenied


def open_pack(pack_id: str) -> KnowledgePack | None:
    """The pack of that id, unless there is none, it is in the trash, or the id is not one."""
    if not _is_uuid(pack_id):
        return None
    return KnowledgePack.objects.exclude(status=PackStatus.DELETED).select_related("owner").filter(pk=pack_id).first()


def pack_context(pack: KnowledgePack, here: str) -> Context:
    """What the tabs above every page of a pack need."""
    entries = f"{reverse('admin:knowledge_entry_changelist')}?pack__id__exact={pack.pk}"
    tabs = [
        ("dashboard", "Dashboard", _address(pack, "dashboard")),
        ("change", "Settings", _address(pack, "change")),
        ("entries", "Entries", entries),
        ("questions", "Golden questions", _address(pack, "questions")),
        ("hits", "Hit testing", _address(pack, "hits")),
        ("searches", "Search log", _address(pack, "searches")),
        ("review", "Review queue", _address(pack, "review")),
    ]
    return {
        "pack": pack,
        "pack_tabs": [{"name": n, "title": t, "link": link, "here": n == here} for n, t, link in tabs],
    }


def _address(pack: KnowledgePack, page: str) -> str:
    return reverse(f"admin:knowledge_knowledgepack_{page}", args=[pack.pk])


# --- The pages ---


def dashboard(_admin: PackPages, _request: HttpRequest, pack: KnowledgePack) -> Context:
    statuses = dict(entries_of(pack).values_list("index_status").annotate(count=Count("id")).order_by())
    days = every_day(searches.per_day(searches.logged(pack, DAYS)), timezone.now().date())
    asked = [charts.Point(row["label"], row["searches"], row["nothing"]) for row in days]
    rates = [charts.Point(point.label, point.part / point.value) for point in asked if point.value]
    shares = [(status, statuses.get(status, 0)) for status in IndexStatus.values]
    return {
        "cards": _cards(pack, statuses, asked),
        "entries_chart": charts.shares("Entries by status", shares),
        "queries_chart": charts.bars(f"Searches a day, last {DAYS} days", asked),
        "rate_chart": charts.line("Zero-result rate on days with searches", rates),
        "spaces": space_rows(pack),
        "events": pack.events.order_by("-seq")[:10],
    }


def _cards(pack: KnowledgePack, statuses: dict[str, int], asked: list[charts.Point]) -> list[tuple[str, object, str]]:
    """Name, figure and note of each number at the top."""
    total, nothing = int(sum(point.value for point in asked)), int(sum(point.part for point in asked))
    latest = Evaluation.objects.filter(pack=pack).order_by("-created_at", "-id").first()
    failed = statuses.get(IndexStatus.FAILED, 0)
    unready = sum(statuses.values()) - statuses.get(IndexStatus.READY, 0)
    measured = ("–", "never evaluated")
    if latest:
        measured = (f"{latest.ndcg_10:.3f}", f"{latest.questions} questions, {latest.mode}")
    return [
        ("Entries", pack.entry_count, f"{pack.passage_count} passages"),
        ("Waiting or failed", unready, f"{failed} failed"),
        ("Searches", total, f"in {DAYS} days"),
        ("Zero-result rate", _percent(searches.rate(nothing, total)), f"{nothing} without result"),
        ("nDCG@10", *measured),
        ("To review", review.review_queue([pack]).count(), "cited or overdue"),
    ]


def questions(_admin: PackPages, request: HttpRequest, pack: KnowledgePack) -> Context | HttpResponse:
    if request.method == "POST":
        evaluate_now(request, pack)
        return redirect(_address(pack, "questions"))
    mode = _mode(request)
    runs = list(running.evaluations(pack).filter(mode=mode).order_by("-created_at", "-id")[:RUNS])
    points = [charts.Point(f"{run.created_at:%d %b %H:%M}", round(run.ndcg_10, 3)) for run in reversed(runs)]
    asked = pack.golden_questions.prefetch_related("expected").order_by("created_at", "id")
    scores = {row["question"]: row for row in runs[0].results} if runs else {}
    return {
        "mode": mode,
        "modes": list(Mode),
        "runs": [(run, running.diff(run)) for run in runs[:10]],
        "latest": runs[0] if runs else None,
        "diff": running.diff(runs[0]) if runs else None,
        "chart": charts.line(f"nDCG@10 of each {mode} run", points),
        "questions": [(question, scores.get(question.question)) for question in asked[:ROWS]],
        "question_count": pack.golden_questions.count(),
        "add_link": f"{reverse('admin:knowledge_goldenquestion_add')}?pack={pack.pk}",
    }


def evaluate_now(request: HttpRequest, pack: KnowledgePack) -> None:
    mode = request.POST.get("mode", Mode.HYBRID.value)
    try:
        made = services.evaluate_or_queue(pack, author(request), mode)
    except QuorumError as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, _measured(made) if made else "A worker asks the questions now.")


def _measured(run: Evaluation) -> str:
    return f"nDCG@10 is {run.ndcg_10:.3f} over {run.questions} {'question' if run.questions == 1 else 'questions'}."


def hits(_admin: PackPages, request: HttpRequest, pack: KnowledgePack) -> Context:
    """A search as the API makes it, with everything that led to its order. Not logged: nobody was looking for anything."""
    text, mode = request.GET.get("q", "")[:QUERY_MAX], _mode(request)
    shown: Context = {"query": text, "mode": mode, "modes": list(Mode)}
    if not text.strip():
        return shown
    try:
        result = search([pack], text, mode=mode, limit=20, explain=True)
    except QuorumError as error:
        return {**shown, "problem": error.detail}
    return {
        **shown,
        "result": result,
        "leg": _leg(result),
        "hits": [_hit(n, hit) for n, hit in enumerate(result.hits, 1)],
    }


def _leg(result: SearchResult) -> Context:
    legs = (result.explain or {}).get("packs") or [{}]
    return {"candidates": (result.explain or {}).get("candidates"), **legs[0]}


def _hit(place: int, hit: Hit) -> Context:
    explained = hit.explain or {}
    return {
        "place": place,
        "hit": hit,
        "link": reverse("admin:knowledge_entry_change", args=[hit.entry_id]),
        "highlight": mark_safe(hit.highlight),  # noqa: S308  # knowledge.highlight escapes it and adds <mark>
        "ranks": explained.get("ranks", {}),
        "terms": explained.get("matched_terms", []),
    }


def search_log(_admin: PackPages, _request: HttpRequest, pack: KnowledgePack) -> Context:
    summary = searches.summary(pack, DAYS)
    return {
        "summary": summary,
        "rate": _percent(summary["zero_result_rate"]),
        "latest": searches.logged(pack, DAYS).select_related("user").order_by("-at", "-id")[:SEARCHES],
        "all_link": f"{reverse('admin:knowledge_searchlog_changelist')}?pack__id__exact={pack.pk}",
    }


def review_queue(_admin: PackPages, request: HttpRequest, pack: KnowledgePack) -> Context | HttpResponse:
    if request.method == "POST":
        mark_reviewed(request, pack)
        return redirect(_address(pack, "review"))
    queue = review.review_queue([pack])
    return {"queue": queue[:ROWS], "queue_count": queue.count()}


def mark_reviewed(request: HttpRequest, pack: KnowledgePack) -> None:
    wanted = [value for value in request.POST.getlist("entry") if _is_uuid(value)]
    known = list(entries_of(pack).filter(pk__in=wanted).values_list("pk", flat=True))
    try:
        count = services.mark_reviewed(known, author(request))
    except QuorumError as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"{count} {'entry was' if count == 1 else 'entries were'} marked as reviewed.")


# --- Parts ---


def every_day(rows: list[dict[str, Any]], today: date) -> list[dict[str, Any]]:
    """The last ``DAYS`` days, also those on which nobody searched."""
    known = {row["day"]: row for row in rows}
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    empty = {"searches": 0, "nothing": 0}
    return [{**empty, **known.get(day, {}), "label": f"{day:%d %b}"} for day in days]


def space_rows(pack: KnowledgePack) -> list[Context]:
    """Each embedding space of the pack with how much of the pack it holds."""
    spaces = pack.spaces.annotate(filled=Count("vectors")).order_by("-created_at")
    return [{"space": space, "filled": vars(space)["filled"], "of": pack.passage_count} for space in spaces]


def _mode(request: HttpRequest) -> str:
    mode = request.GET.get("mode", "")
    return mode if mode in list(Mode) else Mode.HYBRID.value


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _is_uuid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True
