"""A pack's dashboard: figures and charts."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.db.models import Count
from django.http import HttpRequest
from django.utils import timezone

from knowledge.admin import charts
from knowledge.admin.pages import Context, Page
from knowledge.models import Evaluation, KnowledgePack, PackEvent
from knowledge.quality import review, searches
from knowledge.ranking import Mode
from knowledge.selectors import entries_of
from knowledge.states import IndexStatus

DAYS = 30
EVENTS = 16
STEADY = (
    "entry.indexing",
    "entry.indexed",
    "import.progress",
    "pack.space_progress",
    "pack.index_progress",
)  # too many to list


def dashboard(_request: HttpRequest, pack: KnowledgePack) -> Context:
    statuses = dict(entries_of(pack).values_list("index_status").annotate(count=Count("id")).order_by())
    days = every_day(searches.per_day(searches.logged(pack, DAYS)), timezone.now().date())
    asked = [charts.Point(row["label"], row["searches"], row["nothing"]) for row in days]
    rates = [charts.Point(one.label, round(100 * one.part / one.value, 1)) for one in asked if one.value]
    shares = [(status, statuses.get(status, 0)) for status in IndexStatus.values]
    return {
        "cards": _cards(pack, statuses, asked),
        "entries_chart": charts.shares("Entries by status", shares),
        "queries_chart": charts.bars(f"Searches a day, last {DAYS} days", asked),
        "rate_chart": charts.line("Zero-result rate on days with searches", rates, top=_top(rates), unit=" %"),
        "spaces": space_rows(pack),
        "events": [(event, said(event), actor_of(event)) for event in _events(pack)],
    }


def _top(rates: list[charts.Point]) -> float:
    """The end of the axis: the least of these that shows all of it."""
    highest = max((point.value for point in rates), default=0)
    return next(top for top in (20.0, 50.0, 100.0) if top >= highest)


def _cards(pack: KnowledgePack, statuses: dict[str, int], asked: list[charts.Point]) -> list[tuple[str, object, str]]:
    """Name, figure and note of each number at the top."""
    total, nothing = int(sum(point.value for point in asked)), int(sum(point.part for point in asked))
    latest = Evaluation.objects.filter(pack=pack, mode=Mode.HYBRID).order_by("-created_at", "-id").first()
    failed = statuses.get(IndexStatus.FAILED, 0)
    unready = sum(statuses.values()) - statuses.get(IndexStatus.READY, 0)
    measured = ("–", "never evaluated")
    if latest:
        measured = (f"{latest.ndcg_10:.3f}", f"{latest.questions} questions")
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


def _events(pack: KnowledgePack) -> list[PackEvent]:
    return list(pack.events.exclude(type__in=STEADY).order_by("-seq")[:EVENTS])


def said(event: PackEvent) -> str:
    """What happened, in words, with the name of what it happened to where the event has one."""
    what = event.type.replace(".", " ").replace("_", " ").capitalize()
    names = {"entry": "title", "snapshot": "label", "import": "filename"}
    about = next((event.payload[kind].get(name) for kind, name in names.items() if kind in event.payload), None)
    return f"{what}: {about}" if about else what


def actor_of(event: PackEvent) -> str:
    """The name that the person has chosen; events carry no addresses, and workers have none."""
    actor = event.payload.get("actor")
    return (actor["name"] or "somebody") if actor else "–"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


PAGE = Page("dashboard", "Dashboard", dashboard)
