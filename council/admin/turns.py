"""One turn, down to the words: what the seat read, what every call of every attempt said and cost, what it found, what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import display

from council import serial, services, turns
from council.admin.common import STATUS_COLOURS, ReadOnly
from council.deliberation.types import TurnKind
from council.models import LlmCall, Turn
from council.states import OPEN_TURNS, SessionStatus
from realtime.errors import QuorumError

Json = dict[str, Any]
MANAGE = "council.change_councilsession"  # who may stop a council may have a turn of it asked again


@admin.register(Turn)
class TurnAdmin(ReadOnly, ModelAdmin):
    list_display = ("place", "session", "seat", "kind", "state", "attempt", "error", "started_at")
    list_filter = ("status", "kind", "started_at")
    list_select_related = ("session", "seat", "round__run")
    search_fields = ("session__title", "seat__name", "error")
    ordering = ("-created_at", "-id")

    @admin.display(description="round")
    def place(self, turn: Turn) -> str:
        return place_of(turn)

    @display(description="status", label=STATUS_COLOURS, ordering="status")
    def state(self, turn: Turn) -> str:
        return turn.status

    def get_queryset(self, request: HttpRequest) -> QuerySet[Turn]:
        found = cast("QuerySet[Turn]", super().get_queryset(request))
        return found.select_related("session__owner", "seat", "round__run")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Json | None = None
    ) -> HttpResponse:
        """A page of its own to read; the one thing that can be sent to it is the wish to have the turn asked again."""
        turn = self.get_object(request, object_id)
        if not self.has_view_permission(request, turn) or (request.method == "POST" and not may_retry(request)):
            raise PermissionDenied
        if turn is None:
            return cast("HttpResponse", self._get_obj_does_not_exist_redirect(request, self.opts, object_id))
        if request.method == "POST":
            return retry(request, turn)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{who(turn)}, {place_of(turn)}",
            "opts": self.opts,
            "may_retry": request.user.has_perm(MANAGE),
            **page(turn),
        }
        return TemplateResponse(request, "admin/council/turn.html", context)


def may_retry(request: HttpRequest) -> bool:
    return request.user.has_perm(MANAGE) and request.POST.get("do") == "retry"


def retry(request: HttpRequest, turn: Turn) -> HttpResponse:
    try:
        services.retry_turn(turn.session.owner, turn.session_id, turn.pk)
        messages.success(request, "The seat will be asked again.")
    except QuorumError as error:
        messages.error(request, error.detail)
    return HttpResponseRedirect(reverse("admin:council_turn_change", args=[turn.pk]))


def who(turn: Turn) -> str:
    if turn.seat:
        return turn.seat.name
    return "The gate" if turn.kind == TurnKind.GATE else "The count"


def place_of(turn: Turn) -> str:
    return f"{turn.round.run.number}.{turn.round.number} {turn.round.stage}"


def page(turn: Turn) -> Json:
    """What the page shows. Of a turn that is sealed nothing that could tell what it says."""
    sealed = serial.is_sealed(turn)
    result: Json = {} if sealed else cast("Json", turn.result) or {}
    calls = LlmCall.objects.filter(turn=turn).order_by("attempt", "ordinal")
    return {
        "turn": turn,
        "place": place_of(turn),
        "sealed": sealed,
        "live": turn.status in OPEN_TURNS and turn.session.status in (SessionStatus.RUNNING, SessionStatus.PAUSED),
        "why_not": _why_not(turn),
        "evidence": [] if sealed else turn.evidence,
        "cited": {check["n"]: check["status"] for check in result.get("citations", [])},
        "searches": result.get("searches"),
        "said": said(result),
        "attempts": attempts(list(calls)),
    }


def _why_not(turn: Turn) -> str:
    """Why a failed turn cannot be asked again; the service has the last word."""
    if turn.session.status != SessionStatus.RUNNING:
        return f"The council is {turn.session.status}."
    return turns.final(turn)


def said(result: Json) -> list[tuple[str, str]]:
    """The stored result by its parts, without what has a section of its own."""
    parts: Json = next((one for key, one in result.items() if key not in {"citations", "searches"}), {})
    told = ((name.replace("_", " "), in_words(value)) for name, value in dict(parts).items())
    return [(name, words) for name, words in told if words]


def in_words(value: Any) -> str:
    """A stored value to read: lists line by line, what belongs together side by side."""
    if isinstance(value, list):
        return "\n".join(in_words(one) for one in value)
    if isinstance(value, dict):
        return " · ".join(f"{name}: {in_words(one)}" for name, one in value.items() if one not in (None, "", [], {}))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def attempts(calls: Sequence[LlmCall]) -> list[Json]:
    """The calls of each attempt and what they came to."""
    found = []
    for number in sorted({call.attempt for call in calls}):
        mine = [call for call in calls if call.attempt == number]
        found.append(
            {
                "number": number,
                "calls": mine,
                "tokens": sum(call.prompt_tokens + call.completion_tokens for call in mine),
                "usd": sum(call.usd for call in mine),
                "seconds": sum(call.seconds for call in mine),
            }
        )
    return found
