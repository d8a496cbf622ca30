"""Tokens: reserved before a call, settled after it. A budget is a hard stop, not a warning.

Every change is one conditional ``UPDATE``: whether a reservation fits and the reservation itself are the same statement, so
concurrent seats cannot pass the limit together. Budget rows come last in the lock order.
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import F, Q
from django.db.models.functions import Greatest

from council.errors import BudgetExhausted
from council.models import Budget, LlmCall

WARN_AT = 0.8


def reserve(session_id: UUID, tokens: int) -> None:
    """Raises ``BudgetExhausted`` (and changes nothing) when ``tokens`` more would pass the limit."""
    fits = Q(tokens_limit=None) | Q(tokens_limit__gte=F("tokens_used") + F("tokens_reserved") + tokens)
    changed = Budget.objects.filter(fits, session_id=session_id).update(
        tokens_reserved=F("tokens_reserved") + tokens, calls=F("calls") + 1
    )
    if changed != 1:
        raise BudgetExhausted("the session's token budget does not cover another call")


def settle(call: LlmCall, tokens: int) -> None:
    """Turn the call's reservation into what it really used."""
    Budget.objects.filter(session_id=call.session_id).update(
        tokens_reserved=Greatest(F("tokens_reserved") - call.tokens_reserved, 0),
        tokens_used=F("tokens_used") + tokens,
    )


def warn_once(session_id: UUID) -> Budget | None:
    """The budget, the first time that its use passes ``WARN_AT`` of the limit; else None."""
    high = Q(tokens_limit__isnull=False, tokens_used__gte=F("tokens_limit") * WARN_AT)
    if Budget.objects.filter(high, session_id=session_id, warned=False).update(warned=True) != 1:
        return None
    return Budget.objects.get(session_id=session_id)
