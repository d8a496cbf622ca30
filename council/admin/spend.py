"""What models have cost, by day and model: a page beside the list of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from council import spend
from knowledge.admin import charts

DAYS = 30


class SpendPage:
    """Mixed into the calls' ``ModelAdmin``. Whoever may see calls may see what they cost."""

    admin_site: Any
    opts: Any

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.spend)
        return [path("spend/", page, name="council_llmcall_spend"), *super().get_urls()]  # type: ignore[misc]  # a mixin

    def spend(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm("council.view_llmcall"):
            raise PermissionDenied
        rows = spend.by_day_and_model(DAYS)
        days = spend.by_day(rows, DAYS)
        context = {
            **self.admin_site.each_context(request),
            "title": "Spend",
            "opts": self.opts,
            "rows": rows,
            "days": DAYS,
            "usd": sum(day.usd for day in days),
            "tokens": sum(day.tokens for day in days),
            "calls": sum(row.calls for row in rows),
            "charts": [
                _chart("US dollars a day", days, [float(day.usd) for day in days]),
                _chart("Tokens a day", days, [day.tokens for day in days]),
            ],
        }
        return TemplateResponse(request, "admin/council/spend.html", context)


def _chart(title: str, days: Sequence[spend.Day], values: Sequence[float]) -> tuple[str, SafeString]:
    points = [charts.Point(f"{day.day:%m-%d}", value) for day, value in zip(days, values, strict=True)]
    return title, charts.bars(title, points)
