"""How a council stands this moment, for the top of its page, which asks for it again each second while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Sum
from django.http import HttpRequest
from django.urls import reverse

from council import serial
from council.admin.common import SEALED
from council.admin.turns import place_of
from council.models import CouncilSession, LlmCall, Round, Turn
from council.models.calls import Purse
from council.states import FINISHED, OPEN_TURNS, SessionStatus

Json = dict[str, Any]
LIVE = (SessionStatus.RUNNING, SessionStatus.PAUSED)


def now(request: HttpRequest, session: CouncilSession) -> Json:
    live = session.status in LIVE
    return {
        "live": live,
        "status": session.status,
        "sentence": sentence(session),
        "may_stop": live and request.user.has_perm("council.change_councilsession"),
        "cards": list(cards(session.budget)),
        "turns": list(turns_of(session)),
    }


def sentence(session: CouncilSession) -> str:
    if session.status in FINISHED:
        return session.reason
    current = Round.objects.filter(run__session=session, closed_at=None).first()
    if current is None:
        return ""
    asked = current.turns.exclude(seat=None)
    out = asked.filter(status__in=OPEN_TURNS).count()
    return f"round {current.number}, {current.stage}: {asked.count() - out} of {asked.count()} seats are done"


def cards(budget: Purse) -> Iterator[tuple[str, str, str]]:
    """What was used of each measure, and beside it the limit and what running calls have reserved."""
    measures = (
        ("Tokens", budget.tokens_used, budget.tokens_limit, budget.tokens_reserved, "{:,}"),
        ("US dollars", budget.usd_used, budget.usd_limit, budget.usd_reserved, "{:,.4f}"),
        ("Calls", budget.calls, budget.calls_limit, budget.calls_reserved, "{:,}"),
        ("Seconds", budget.seconds_used, budget.seconds_limit, budget.seconds_reserved, "{:,.1f}"),
    )
    for name, used, limit, reserved, form in measures:
        notes = ["no limit" if limit is None else f"of {form.format(limit)}"]
        notes += [f"{form.format(reserved)} reserved"] if reserved else []
        yield name, form.format(used), ", ".join(notes)


def turns_of(session: CouncilSession) -> Iterator[Json]:
    found = Turn.objects.filter(session=session).select_related("seat", "round__run")
    costs: dict[Any, Any] = {
        one["turn"]: one
        for one in LlmCall.objects.filter(session=session)
        .order_by()
        .values("turn")
        .annotate(calls=Count("id"), tokens=Sum(F("prompt_tokens") + F("completion_tokens")), spent=Sum("usd"))
    }
    for turn in found.order_by("round__run__number", "round__number", "created_at", "id"):
        cost = costs.get(turn.pk, {})
        yield {
            "place": place_of(turn),
            "seat": turn.seat.name if turn.seat else "–",
            "kind": turn.kind,
            "link": reverse("admin:council_turn_change", args=[turn.pk]),
            "status": turn.status,
            "attempt": turn.attempt,
            "calls": cost.get("calls", 0),
            "tokens": cost.get("tokens", 0),
            "usd": cost.get("spent", Decimal(0)),
            "took": took(turn),
            "trouble": trouble(turn),
        }


def trouble(turn: Turn) -> str:
    if not turn.error_detail:
        return turn.error
    return f"{turn.error}: {SEALED if serial.is_sealed(turn) else turn.error_detail}"


def took(turn: Turn) -> str:
    if turn.started_at is None or turn.finished_at is None:
        return ""
    return f"{(turn.finished_at - turn.started_at).total_seconds():.1f} s"
