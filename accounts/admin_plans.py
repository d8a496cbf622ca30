"""Plans and quotas in the admin. What staff change there is audited like everything else they do (``accounts.audit.admin``)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from unfold.admin import ModelAdmin

from accounts import quotas
from accounts.models import Plan, QuotaOverride, User
from accounts.models_plans import LIMITS

_GROUPS = (
    ("Councils", {"fields": ("councils_running", "councils_day")}),
    ("Models", {"fields": (("tokens_day", "tokens_month"), ("usd_day", "usd_month"))}),
    ("Knowledge", {"fields": ("packs", "entries", "storage_bytes")}),
    ("Programs", {"fields": ("api_keys",)}),
)


def shown_usage(user: User) -> str:
    """A table of what the person uses now and may use."""
    rows = format_html_join(
        "",
        '<tr><td class="pr-6">{}</td><td class="pr-2 text-right">{}</td><td>of {}</td></tr>',
        (
            (one["limit"], f"{one['used']:,}", "unlimited" if one["allowed"] is None else f"{one['allowed']:,}")
            for one in quotas.report(user)["limits"]
        ),
    )
    return format_html("<table>{}</table>", rows)


@admin.register(Plan)
class PlanAdmin(ModelAdmin):
    list_display = ("name", "is_default", "people", *LIMITS)
    search_fields = ("name",)
    fieldsets = ((None, {"fields": ("name", "is_default")}), *_GROUPS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        plans: QuerySet[Plan] = super().get_queryset(request)
        return plans.annotate(people=Count("users"))

    @admin.display(description="people", ordering="people")
    def people(self, plan: Any) -> int:
        """Who have been given it, beside those who have it because it is the default."""
        return int(plan.people)


@admin.register(QuotaOverride)
class QuotaOverrideAdmin(ModelAdmin):
    list_display = ("user", "note", *LIMITS)
    list_select_related = ("user",)
    search_fields = ("user__email", "note")
    autocomplete_fields = ("user",)
    readonly_fields = ("used_now",)
    fieldsets = ((None, {"fields": ("user", "note", "used_now")}), *_GROUPS)

    @admin.display(description="used now")
    def used_now(self, override: QuotaOverride) -> str:
        return shown_usage(override.user) if override.pk else "–"
