"""Sessions to look at and to stop. Ballots of a round that has not closed are not read here at all."""

from __future__ import annotations

import json
from typing import Any, cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from council import services
from council.admin.common import STATUS_COLOURS, ReadOnly, pretty, table
from council.admin.now import now
from council.models import Ballot, CouncilSession, Decision, Run, Seat
from council.selectors import latest_decision
from knowledge.prose import rendered
from realtime.errors import IllegalState

EVENTS_SHOWN = 50


class SeatInline(ReadOnly, TabularInline):
    model = Seat
    extra = 0
    hide_title = True
    fields = ("position", "name", "role", "model", "chair")
    readonly_fields = fields
    ordering = ("position",)


class RunInline(ReadOnly, TabularInline):
    model = Run
    extra = 0
    hide_title = True
    fields = ("number", "status", "exhausted", "reason", "seed", "started_at", "finished_at", "deadline_at")
    readonly_fields = fields


@admin.register(CouncilSession)
class SessionAdmin(ReadOnly, ModelAdmin):
    list_display = ("title", "owner", "state", "round", "tokens", "created_at")
    list_filter = ("status", "created_at")
    list_select_related = ("owner", "budget")
    search_fields = ("title", "question", "owner__email")
    ordering = ("-created_at", "-id")
    date_hierarchy = "created_at"
    actions = ("stop",)
    inlines = (SeatInline, RunInline)
    change_form_outer_before_template = "admin/council/session_now.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "title",
                    "owner",
                    "question",
                    "options_shown",
                    "packs_shown",
                    "template_ran",
                )
            },
        ),
        ("Decision", {"fields": ("decision", "ballots")}),
        ("Usage", {"fields": ("calls",)}),
        ("Protocol", {"fields": ("protocol_shown",), "classes": ("collapse",)}),
        ("Times", {"fields": ("created_at", "started_at", "finished_at", "version", "last_seq")}),
        (f"The latest {EVENTS_SHOWN} events", {"fields": ("events",), "classes": ("collapse",)}),
    )
    readonly_fields = tuple(name for _title, options in fieldsets for name in options["fields"])

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """With how it stands now above it. The one thing that can be sent to the page is the wish to stop the council."""
        session = self.get_object(request, object_id) if object_id else None
        if session is None or not self.has_view_permission(request, session):
            return cast("HttpResponse", super().changeform_view(request, object_id, form_url, extra_context))
        if request.method == "POST" and request.POST.get("do") == "stop" and self.has_stop_permission(request):
            self.stop(request, CouncilSession.objects.filter(pk=session.pk))
            return HttpResponseRedirect(request.path)
        context = {**(extra_context or {}), "now": now(request, session)}
        return cast("HttpResponse", super().changeform_view(request, object_id, form_url, context))

    @display(description="status", label=STATUS_COLOURS, ordering="status")
    def state(self, session: CouncilSession) -> str:
        return session.status

    @admin.display(description="tokens", ordering="budget__tokens_used")
    def tokens(self, session: CouncilSession) -> int:
        return session.budget.tokens_used

    @admin.display(description="model calls")
    def calls(self, session: CouncilSession) -> SafeString:
        link = reverse("admin:council_llmcall_changelist")
        return format_html('<a href="{}?session__id__exact={}">{}</a>', link, session.pk, session.budget.calls)

    @admin.display(description="options")
    def options_shown(self, session: CouncilSession) -> str:
        return " · ".join(session.options) or "open question"

    @admin.display(description="packs")
    def packs_shown(self, session: CouncilSession) -> str:
        return ", ".join(pack.name for pack in session.packs.all()) or "none"

    @admin.display(description="protocol")
    def protocol_shown(self, session: CouncilSession) -> SafeString:
        return pretty(session.protocol)

    @admin.display(description="decision")
    def decision(self, session: CouncilSession) -> SafeString | str:
        found = latest_decision(session)
        return decision_table(found) if found else "none yet"

    @admin.display(description="ballots of closed rounds")
    def ballots(self, session: CouncilSession) -> SafeString | str:
        opened = Ballot.objects.filter(turn__session=session, round__closed_at__isnull=False)
        rows = opened.select_related("seat", "round__run").order_by("round__opened_at", "seat__position")
        return table(
            ("round", "seat", "ranking", "scores", "abstained"),
            [
                (
                    f"{one.round.run.number}.{one.round.number}",
                    one.seat.name,
                    " > ".join(one.ranking),
                    json.dumps(one.scores),
                    "yes" if one.abstain else "",
                )
                for one in rows
            ],
        )

    @admin.display(description="events")
    def events(self, session: CouncilSession) -> SafeString | str:
        """The log has a composite primary key, with which the admin cannot have a page of its own."""
        rows = session.events.order_by("-seq")[:EVENTS_SHOWN]
        return table(
            ("seq", "type", "at"), [(row.seq, row.type, row.created_at.isoformat(" ", "seconds")) for row in rows]
        )

    @admin.action(description="Stop the selected councils", permissions=["stop"])
    def stop(self, request: HttpRequest, queryset: QuerySet[CouncilSession]) -> None:
        stopped = 0
        for session in queryset.select_related("owner"):
            try:
                services.stop(session.owner, session.pk)
                stopped += 1
            except IllegalState as error:
                messages.warning(request, f"{session.title}: {error.detail}")
        messages.success(request, f"{stopped} {'council' if stopped == 1 else 'councils'} stopped.")

    def has_stop_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("council.change_councilsession")


def decision_table(decision: Decision) -> SafeString | str:
    cited = [f"[{one.n}] {one.status}: {one.quote[:160]}" for one in decision.citations.all()]
    rows: list[tuple[Any, ...]] = [
        ("outcome", decision.outcome),
        ("option", decision.option or "–"),
        ("answer", rendered(decision.answer, headings=0)),
        ("decided by", decision.decided_by or "–"),
        ("margin", "more than 2" if decision.margin is None else decision.margin),
        ("too close", "yes" if decision.too_close else "no"),
        ("citations", format_html_join("", "<div>{}</div>", ((line,) for line in cited)) or "none"),
        (
            "dissent",
            format_html_join("", "<div>{}: {}</div>", ((d["name"], d["text"]) for d in decision.dissent)) or "none",
        ),
        ("missing seats", ", ".join(f"{one['name']} ({one['stage']})" for one in decision.missing) or "none"),
        ("notes", " ".join(decision.notes) or "none"),
    ]
    return table(("", ""), rows)
