"""Tokens: reserved before a call, settled after it. A budget is a hard stop, not a warning.

Every change is one conditional statement: whether a reservation fits, the reservation itself and the record of the call are the
same one, so concurrent seats cannot pass the limit together and no call is ever made unrecorded. Budget rows come last in the
lock order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    SELECT new.id, reserved.session_id, new.turn, new.attempt, new.ordinal, new.field, new.model, new.system, new."user",
           new.schema, '', 'running', '', '', new.tokens, 0, 0, false, clock_timestamp()
    FROM reserved, jsonb_to_recordset(%(calls)s) AS new(
        id uuid, turn uuid, attempt int, ordinal int, field text, model text, system text, "user" text, schema jsonb, tokens int
    )
"""
_SETTLE = """
    WITH settled AS (
        UPDATE council_llmcall AS call
        SET status = given.status, response = given.response, prompt_tokens = given.prompt_tokens,
            completion_tokens = given.completion_tokens, estimated = given.estimated, ttft_ms = given.ttft_ms,
            latency_ms = given.latency_ms, error = given.error, error_detail = given.error_detail,
            finished_at = clock_timestamp()
        FROM jsonb_to_recordset(%s) AS given(
            id uuid, status text, response text, prompt_tokens int, completion_tokens int, estimated boolean, ttft_ms float8,
            latency_ms float8, error text, error_detail text
        )
        WHERE call.id = given.id AND call.status = 'running'
        RETURNING call.session_id, call.tokens_reserved, call.prompt_tokens + call.completion_tokens AS used
    ), total AS (
        SELECT session_id, sum(tokens_reserved) AS reserved, sum(used) AS used, count(*) AS calls FROM settled GROUP BY session_id
    )
    UPDATE council_budget AS budget
    SET tokens_reserved = greatest(budget.tokens_reserved - total.reserved, 0),
        tokens_used = budget.tokens_used + total.used, calls = budget.calls + total.calls
    FROM total WHERE budget.session_id = total.session_id
    RETURNING budget.tokens_used, budget.calls, budget.tokens_limit, budget.warned
"""


class NewCall(NamedTuple):
    """A call that is about to be made for a claimed turn."""

    claim: Claim
    prompt: Prompt
    ordinal: int
    model: str
    tokens: int  # to reserve


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


def open_calls(calls: Sequence[NewCall]) -> list[UUID]:
    """Reserve the tokens of calls of one session and record them, all or none; their ids.

    Raises ``BudgetExhausted``, and records nothing, when so many more would pass the session's limit.
    """
    ids = [uuid7() for _ in calls]
    values = {
        "session": calls[0].claim.session_id,
        "tokens": sum(call.tokens for call in calls),
        "calls": Jsonb([_row(identity, call) for identity, call in zip(ids, calls, strict=True)]),
    }
    if sql.change(_OPEN, values) != len(calls):
        raise BudgetExhausted("the session's token budget does not cover another call")
    return ids


def _row(identity: UUID, call: NewCall) -> dict[str, object]:
    return {
        "id": str(identity),
        "turn": str(call.claim.turn_id),
        "attempt": call.claim.attempt,
        "ordinal": call.ordinal,
        "field": call.prompt.field,
        "model": call.model,
        "system": call.prompt.system,
        "user": call.prompt.user,
        "schema": call.prompt.json_schema,
        "tokens": call.tokens,
    }


def settle(settlements: Sequence[Settlement]) -> Settled | None:
    """Turn the reservations of calls of one session into what they really used; None when all had been settled before (as lost,
    by the sweeper)."""
    rows = [{**asdict(one), "id": str(one.id), "error_detail": one.error_detail[:500]} for one in settlements]
    settled = sql.row(_SETTLE, [Jsonb(rows)]) if rows else None
    return Settled(*settled) if settled is not None else None


def warn_once(session_id: UUID) -> bool:
    """True for the one caller who is to say that the budget is nearly used up."""
    return Budget.objects.filter(session_id=session_id, warned=False).update(warned=True) == 1
