"""What models were asked, and what people said to councils: to read."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from council import serial
from council.admin.common import SEALED, STATUS_COLOURS, ReadOnly, pretty, prose
from council.admin.spend import SpendPage
from council.models import LlmCall, Message


@admin.register(LlmCall)
class LlmCallAdmin(SpendPage, ReadOnly, ModelAdmin):
    """What models were asked and answered. The answers of voters are sealed with their ballots."""

    list_display = ("started_at", "session", "seat", "field", "model", "profile", "state", "tokens", "usd", "latency")
    list_filter = ("status", "profile", "model", "started_at")
    list_select_related = ("session", "turn__seat", "turn__round")
    search_fields = ("session__title", "model", "error")
    ordering = ("-started_at", "-id")
    fields = (
        "session", "seat", "field", "attempt", "ordinal", "model", "profile", "state", "error", "error_detail", "prompt_tokens",
        "cached_tokens", "completion_tokens", "estimated", "tokens_reserved", "usd", "usd_reserved", "seconds", "seconds_reserved",
        "ttft_ms", "latency_ms", "started_at", "finished_at", "system", "asked", "schema_shown", "answered",
    )  # fmt: skip
    readonly_fields = fields

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        drill_down = {"turn__id__exact", "session__id__exact"}
        return lookup in drill_down or super().lookup_allowed(lookup, value, request)

    @admin.display(description="seat")
    def seat(self, call: LlmCall) -> str:
        return call.turn.seat.name if call.turn.seat else "–"

    @display(description="status", label=STATUS_COLOURS, ordering="status")
    def state(self, call: LlmCall) -> str:
        return call.status

    @admin.display(description="tokens")
    def tokens(self, call: LlmCall) -> int:
        return call.prompt_tokens + call.completion_tokens

    @admin.display(description="latency", ordering="latency_ms")
    def latency(self, call: LlmCall) -> str:
        return "" if call.latency_ms is None else f"{call.latency_ms:.0f} ms"

    @admin.display(description="user prompt")
    def asked(self, call: LlmCall) -> SafeString | str:
        """Sealed too: a guided ballot's later questions repeat the ranking so far."""
        return SEALED if is_sealed(call) else prose(call.user)

    @admin.display(description="JSON schema")
    def schema_shown(self, call: LlmCall) -> SafeString | str:
        """Sealed too: a guided ballot's schema leaves out what has been ranked already."""
        return SEALED if is_sealed(call) else pretty(call.schema)

    @admin.display(description="reply")
    def answered(self, call: LlmCall) -> SafeString | str:
        return SEALED if is_sealed(call) else prose(call.response)


def is_sealed(call: LlmCall) -> bool:
    return serial.is_sealed(call.turn)


@admin.register(Message)
class MessageAdmin(ReadOnly, ModelAdmin):
    list_display = ("created_at", "session", "author", "kind", "interrupt", "excerpt")
    list_filter = ("kind", "interrupt", "created_at")
    list_select_related = ("session", "author")
    search_fields = ("content", "session__title", "author__email")
    ordering = ("-created_at", "-id")
    fields = ("session", "author", "kind", "content", "interrupt", "delivered_in", "created_at")
    readonly_fields = fields

    @admin.display(description="content")
    def excerpt(self, message: Message) -> str:
        return message.content[:80]
