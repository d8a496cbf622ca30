"""A pack's dashboard: figures and charts."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.db.models import Count
from django.http import HttpRequest
from django.utils import timezone

from knowledge.admin import charts
from knowledge.admin.pages import Context, Page
from knowledge.models import Evaluation, KnowledgePack
from knowledge.quality import review, searches
from knowledge.selectors import entries_of
from knowledge.states import IndexStatus

DAYS = 30
EVENTS = 10


def dashboard(_request: HttpRequest, pack: KnowledgePack) -> Context:
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
        "events": pack.events.order_by("-seq")[:EVENTS],
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
        ("Zero-result rate", percent(searches.rate(nothing, total)), f"{nothing} without result"),
        ("nDCG@10", *measured),
        ("To review", review.review_queue([pack]).count(), "cited or overdue"),
    ]


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


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


PAGE = Page("dashboard", "Dashboard", dashboard)
