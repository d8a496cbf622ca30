"""Tokens: reserved before a call, settled after it. A budget is a hard stop, not a warning.

Every change is one conditional ``UPDATE``: whether a reservation fits and the reservation itself are the same statement, so
concurrent seats cannot pass the limit together. Budget rows come last in the lock order.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import F, Q

from council.errors import BudgetExhausted
from council.models import Budget, LlmCall

WARN_AT = 0.8


def reserve(session_id: UUID, tokens: int) -> None:
    """Raises ``BudgetExhausted`` (and changes nothing) when ``tokens`` more would pass the limit."""
    fits = Q(tokens_limit=None) | Q(tokens_limit__gte=F("tokens_used") + F("tokens_reserved") + tokens)
    changed = Budget.objects.filter(fits, session_id=session_id).update(tokens_reserved=F("tokens_reserved") + tokens)
    if changed != 1:
        raise BudgetExhausted("the session's token budget does not cover another call")


_SETTLE = """
    UPDATE council_budget
    SET tokens_reserved = greatest(tokens_reserved - %s, 0), tokens_used = tokens_used + %s, calls = calls + 1
    WHERE session_id = %s
    RETURNING tokens_used, calls, tokens_limit, warned
"""


@dataclass(frozen=True, slots=True)
class Settled:
    """The budget after a settlement."""

    tokens_used: int
    calls: int
    tokens_limit: int | None
    warned: bool

    @property
    def high(self) -> bool:
        return self.tokens_limit is not None and self.tokens_used >= self.tokens_limit * WARN_AT


def settle(call: LlmCall, tokens: int) -> Settled:
    """Turn the call's reservation into what it really used."""
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, [call.tokens_reserved, tokens, call.session_id])
        return Settled(*cursor.fetchone())


def warn_once(session_id: UUID) -> bool:
    """True for the one caller who is to say that the budget is nearly used up."""
    return Budget.objects.filter(session_id=session_id, warned=False).update(warned=True) == 1
