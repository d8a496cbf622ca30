"""The admin and the audit log: what staff do there is recorded, and the log is a page to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from accounts import audit
from accounts.audit import verifying
from accounts.audit.actions import ACTIONS
from accounts.models_audit import AuditEntry

NEWEST = 1000  # seals that the button checks, so that the page answers in time; the command checks all


class Audited:
    """Every ``ModelAdmin`` is made one (``cover``): beside what the services record, through which door it came."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record("admin.added", obj, message)
        return super().log_addition(request, obj, message)  # type: ignore[misc]  # a mixin

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record("admin.changed", obj, message)
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for obj in queryset:
            _record("admin.deleted", obj, ())
        return super().log_deletions(request, queryset)  # type: ignore[misc]


def _record(done: str, obj: Model, message: Any) -> None:
    """Of what Django says of a change, the names of the fields: its words quote what inlines are called."""
    changes = message if isinstance(message, Sequence) and not isinstance(message, str) else ()
    fields = sorted({name for one in changes for name in one.get("changed", {}).get("fields", ())})
    audit.record(done, obj, kind=obj._meta.label_lower, fields=fields)


class ActionFilter(admin.SimpleListFilter):
    title, parameter_name = "action", "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in ACTIONS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ModelAdmin):
    """To read, by whoever may view it. People are shown by id: the log outlives them."""

    list_display = ("at", "action", "shown_outcome", "actor", "object_type", "object_name", "object_id", "ip", "sealed")
    list_filter = (ActionFilter, "outcome", "actor_kind", "object_type", "created_at")
    search_fields = ("=actor_id", "=object_id", "=request_id", "=ip")
    search_help_text = "The whole id of a person, an object or a request, or an address."
    ordering = ("-created_at", "-id")
    date_hierarchy = "created_at"
    show_full_result_count = False
    list_per_page = 50
    actions_list = ("verify",)
    fields = (
        "created_at", "action", "outcome", "actor_kind", "actor_id", "key_id", "object_type", "object_id", "object_name",
        "details", "request_id", "ip", "user_agent", "number", "seal",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    @display(description="at", ordering="created_at")
    def at(self, entry: AuditEntry) -> str:
        return f"{entry.created_at:%Y-%m-%d %H:%M:%S}"

    @display(
        description="outcome",
        ordering="outcome",
        label={"allowed": "success", "refused": "warning", "failed": "danger"},
    )
    def shown_outcome(self, entry: AuditEntry) -> str:
        return entry.outcome

    @display(description="actor")
    def actor(self, entry: AuditEntry) -> str:
        return f"{entry.actor_kind} {entry.actor_id or ''}".strip()

    @display(description="sealed", boolean=True)
    def sealed(self, entry: AuditEntry) -> bool:
        return entry.seal_id is not None

    @action(description="Verify", url_path="verify", permissions=["view"])
    def verify(self, request: HttpRequest) -> HttpResponse:
        found = verifying.verify(newest=NEWEST)
        if found.sound:
            messages.success(
                request,
                f"The log is sound. Newest seals checked: {found.seals}; entries that are as they were sealed: {found.entries}; "
                f"not sealed yet: {found.unsealed}. The command verify_audit checks the whole chain.",
            )
        else:
            messages.error(request, f"The log was tampered with: {found.fault}.")
        return redirect("admin:accounts_auditentry_changelist")


def cover(site: admin.AdminSite) -> None:
    """Have every page of the admin record what is done on it, those that other packages bring along too."""
    for model, one in list(site._registry.items()):
        if not isinstance(one, Audited):
            site.unregister(model)
            site.register(model, type(type(one).__name__, (Audited, type(one)), {}))
