"""Tokens: reserved before a call, settled after it. A budget is a hard stop, not a warning.

Every change is one conditional statement: whether a reservation fits, the reservation itself and the record of the call are the
same one, so concurrent seats cannot pass the limit together and no call is ever made unrecorded. Budget rows come last in the
lock order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from council import sql
from council.claims import Claim
from council.deliberation.types import Prompt
from council.errors import BudgetExhausted
from council.models import Budget, LlmCall
from realtime.ids import uuid7

WARN_AT = 0.8

_OPEN = """
    WITH reserved AS (
        UPDATE council_budget SET tokens_reserved = tokens_reserved + %(tokens)s
        WHERE session_id = %(session)s
          AND coalesce(tokens_limit >= tokens_used + tokens_reserved + %(tokens)s, true)
        RETURNING session_id
    )
    INSERT INTO council_llmcall (
        id, session_id, turn_id, attempt, ordinal, field, model, system, "user", schema, response, status, error, error_detail,
        tokens_reserved, prompt_tokens, completion_tokens, estimated, started_at
    )
    SELECT %(id)s, session_id, %(turn)s, %(attempt)s, %(ordinal)s, %(field)s, %(model)s, %(system)s, %(user)s, %(schema)s, '',
           'running', '', '', %(tokens)s, 0, 0, false, clock_timestamp()
    FROM reserved
"""
_SETTLE = """
    WITH settled AS (
        UPDATE council_llmcall
        SET status = %(status)s, response = %(response)s, prompt_tokens = %(prompt_tokens)s,
            completion_tokens = %(completion_tokens)s, estimated = %(estimated)s, ttft_ms = %(ttft_ms)s,
            latency_ms = %(latency_ms)s, error = %(error)s, error_detail = %(error_detail)s, finished_at = clock_timestamp()
        WHERE id = %(id)s AND status = 'running'
        RETURNING session_id, tokens_reserved, prompt_tokens + completion_tokens AS used
    )
    UPDATE council_budget AS budget
    SET tokens_reserved = greatest(budget.tokens_reserved - settled.tokens_reserved, 0),
        tokens_used = budget.tokens_used + settled.used, calls = budget.calls + 1
    FROM settled WHERE budget.session_id = settled.session_id
    RETURNING budget.tokens_used, budget.calls, budget.tokens_limit, budget.warned
"""


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a call ended: stored with the turn that it belongs to, or alone when that turn was lost."""

    id: UUID
    status: LlmCall.Status
    response: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    ttft_ms: float | None = None
    latency_ms: float | None = None
    error: str = ""
    error_detail: str = ""


class Settled(NamedTuple):
    """The budget after a settlement. In the order of ``_SETTLE``'s columns."""

    tokens_used: int
    calls: int
    tokens_limit: int | None
    warned: bool

    @property
    def high(self) -> bool:
        return self.tokens_limit is not None and self.tokens_used >= self.tokens_limit * WARN_AT


def open_call(claim: Claim, prompt: Prompt, *, ordinal: int, model: str, tokens: int) -> UUID:
    """Reserve ``tokens`` and record the call that is about to be made; its id.

    Raises ``BudgetExhausted``, and records nothing, when so many more would pass the session's limit.
    """
    call = uuid7()
    values = {
        "id": call,
        "session": claim.session_id,
        "turn": claim.turn_id,
        "attempt": claim.attempt,
        "ordinal": ordinal,
        "field": prompt.field,
        "model": model,
        "system": prompt.system,
        "user": prompt.user,
        "schema": Jsonb(prompt.json_schema) if prompt.json_schema is not None else None,
        "tokens": tokens,
    }
    if sql.change(_OPEN, values) != 1:
        raise BudgetExhausted("the session's token budget does not cover another call")
    return call


def settle(settlement: Settlement) -> Settled | None:
    """Turn the call's reservation into what it really used; None when it had been settled before (as lost, by the sweeper)."""
    values = {name: getattr(settlement, name) for name in settlement.__slots__}
    settled = sql.row(_SETTLE, {**values, "error_detail": settlement.error_detail[:500]})
    return Settled(*settled) if settled is not None else None


def warn_once(session_id: UUID) -> bool:
    """True for the one caller who is to say that the budget is nearly used up."""
    return Budget.objects.filter(session_id=session_id, warned=False).update(warned=True) == 1
