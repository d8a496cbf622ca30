"""Sessions to look at and to stop. Ballots of a round that has not closed are not read here at all."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from council import serial, services
from council.admin.common import SEALED, STATUS_COLOURS, ReadOnly, pretty, prose, table
from council.models import Ballot, CouncilSession, Decision, Run, Seat, Turn
from council.selectors import latest_decision
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


class TurnInline(ReadOnly, TabularInline):
    model = Turn
    extra = 0
    hide_title = True
    verbose_name_plural = "rounds and turns"
    fields = (
        "place",
        "seat",
        "kind",
        "human",
        "status",
        "attempt",
        "model_errors",
        "trouble",
        "started_at",
        "finished_at",
        "calls",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Turn]:
        return cast("QuerySet[Turn]", super().get_queryset(request)).select_related("seat", "round__run")

    @admin.display(description="round")
    def place(self, turn: Turn) -> str:
        return f"{turn.round.run.number}.{turn.round.number} {turn.round.stage}"

    @admin.display(description="error")
    def trouble(self, turn: Turn) -> str:
        if serial.is_sealed(turn):
            return f"{turn.error}: {SEALED}" if turn.error else ""
        return f"{turn.error}: {turn.error_detail}" if turn.error else ""

    @admin.display(description="model calls")
    def calls(self, turn: Turn) -> SafeString:
        link = reverse("admin:council_llmcall_changelist")
        return format_html('<a href="{}?turn__id__exact={}">calls</a>', link, turn.pk)


@admin.register(CouncilSession)
class SessionAdmin(ReadOnly, ModelAdmin):
    list_display = ("title", "owner", "state", "round", "tokens", "created_at")
    list_filter = ("status", "created_at")
    list_select_related = ("owner", "budget")
    search_fields = ("title", "question", "owner__email")
    ordering = ("-created_at", "-id")
    date_hierarchy = "created_at"
    actions = ("stop",)
    inlines = (SeatInline, RunInline, TurnInline)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "title",
                    "owner",
                    "question",
                    "options_shown",
                    "state",
                    "round",
                    "packs_shown",
                    "template_ran",
                )
            },
        ),
        ("Decision", {"fields": ("decision", "ballots")}),
        ("Usage", {"fields": ("used", "reserved", "limit", "calls")}),
        ("Protocol", {"fields": ("protocol_shown",), "classes": ("collapse",)}),
        ("Times", {"fields": ("created_at", "started_at", "finished_at", "version", "last_seq")}),
        (f"The latest {EVENTS_SHOWN} events", {"fields": ("events",), "classes": ("collapse",)}),
    )
    readonly_fields = tuple(name for _title, options in fieldsets for name in options["fields"])

    @display(description="status", label=STATUS_COLOURS, ordering="status")
    def state(self, session: CouncilSession) -> str:
        return session.status

    @admin.display(description="tokens", ordering="budget__tokens_used")
    def tokens(self, session: CouncilSession) -> int:
        return session.budget.tokens_used

    @admin.display(description="used")
    def used(self, session: CouncilSession) -> str:
        one = session.budget
        return _amounts(one.tokens_used, one.usd_used, one.calls, one.seconds_used)

    @admin.display(description="reserved")
    def reserved(self, session: CouncilSession) -> str:
        one = session.budget
        return _amounts(one.tokens_reserved, one.usd_reserved, one.calls_reserved, one.seconds_reserved)

    @admin.display(description="limit")
    def limit(self, session: CouncilSession) -> str:
        one = session.budget
        return _amounts(one.tokens_limit, one.usd_limit, one.calls_limit, one.seconds_limit) or "none"

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


def _amounts(tokens: int | None, usd: Decimal | None, calls: int | None, seconds: Decimal | None) -> str:
    """What there is of each, "" when there is nothing to say."""
    parts = ((tokens, "{:,} tokens"), (usd, "${:.6f}"), (calls, "{:,} calls"), (seconds, "{:.1f} s"))
    return " · ".join(text.format(value) for value, text in parts if value is not None)


def decision_table(decision: Decision) -> SafeString | str:
    cited = [f"[{one.n}] {one.status}: {one.quote[:160]}" for one in decision.citations.all()]
    rows: list[tuple[Any, ...]] = [
        ("outcome", decision.outcome),
        ("option", decision.option or "–"),
        ("answer", prose(decision.answer)),
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
