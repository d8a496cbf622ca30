"""Tokens, money, calls and seconds: reserved before a call, settled after it. A budget is a hard stop, not a warning.

Two purses pay for a call: its session's, and its owner's of the day where that person has a limit there. Every change is one
conditional statement: whether a reservation fits, the reservation itself and the record of the call are the same one, so concurrent
seats cannot pass a limit together and no call is ever made unrecorded. The owner's takes a second one, and a refusal there rolls both
back. Budget rows come last in the lock order, the session's before its owner's.

A reservation is meant as an upper bound (``conversation.most_tokens``). A call that costs more than it had reserved, which takes a
server that ignores ``max_tokens`` or a tokenizer that cuts finer than bytes, is charged in full all the same: used may then pass
the limit by what the calls that ran at that moment cost more than they had reserved, and nothing is called any more.

Seconds are those that models work, summed over calls. How long a call will take is not known before, so what is reserved is what it
gets: at most half of what is left, shared among the calls that are asked for together. Its time limit is set accordingly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from accounts import audit
from accounts.models import User
from council import sql
from council.claims import Claim
from council.deliberation.types import Prompt
from council.errors import BudgetBusy, BudgetExhausted
from council.models import Budget, DailyBudget, LlmCall
from council.spend import used_today
from realtime.ids import uuid7

WARN_AT = 0.8
LEAST_S = 1.0  # a call that would get less time than this is not made
LIMITS = ("tokens", "usd", "calls", "seconds")

# The day is UTC's. What was used on another day counts no more; what is reserved does, until it is settled.
_TODAY = "(clock_timestamp() AT TIME ZONE 'UTC')::date"


def _today(column: str) -> str:
    return f"CASE WHEN budget.day = {_TODAY} THEN budget.{column} ELSE 0 END"


# What may be granted is seen without a lock; the conditional updates that follow see again whether it fits.
_OPEN = f"""
    WITH ask AS (
        SELECT budget.user_id AS payer, round(least(
            %(seconds)s::numeric,
            (mine.seconds_limit - mine.seconds_used - mine.seconds_reserved) / (2 * %(count)s),
            (budget.seconds_limit - {_today("seconds_used")} - budget.seconds_reserved) / (2 * %(count)s)
        ), 3) AS seconds
        FROM council_councilsession AS session
        JOIN council_budget AS mine ON mine.session_id = session.id
        LEFT JOIN council_dailybudget AS budget ON budget.user_id = session.owner_id
        WHERE session.id = %(session)s
    ), reserved AS (
        UPDATE council_budget AS budget
        SET tokens_reserved = budget.tokens_reserved + %(tokens)s, usd_reserved = budget.usd_reserved + %(usd)s::numeric,
            calls_reserved = budget.calls_reserved + %(count)s,
            seconds_reserved = budget.seconds_reserved + ask.seconds * %(count)s
        FROM ask
        WHERE budget.session_id = %(session)s AND ask.seconds >= least(%(least)s::numeric, %(seconds)s::numeric)
          AND coalesce(budget.tokens_limit >= budget.tokens_used + budget.tokens_reserved + %(tokens)s, true)
          AND coalesce(budget.usd_limit >= budget.usd_used + budget.usd_reserved + %(usd)s::numeric, true)
          AND coalesce(budget.calls_limit >= budget.calls + budget.calls_reserved + %(count)s, true)
          AND coalesce(
              budget.seconds_limit >= budget.seconds_used + budget.seconds_reserved + ask.seconds * %(count)s, true
          )
        RETURNING budget.session_id, ask.payer, ask.seconds
    ), recorded AS (
        INSERT INTO council_llmcall (
            id, session_id, turn_id, attempt, ordinal, field, model, profile, system, "user", schema, response, status, error,
            error_detail, tokens_reserved, prompt_tokens, completion_tokens, cached_tokens, usd_reserved, usd, seconds_reserved,
            seconds, estimated, started_at
        )
        SELECT new.id, reserved.session_id, new.turn, new.attempt, new.ordinal, new.field, new.model, new.profile, new.system,
               new."user", new.schema, '', 'running', '', '', new.tokens, 0, 0, 0, new.usd, 0, reserved.seconds, 0, false,
               clock_timestamp()
        FROM reserved, jsonb_to_recordset(%(calls)s) AS new(
            id uuid, turn uuid, attempt int, ordinal int, field text, model text, profile text, system text, "user" text,
            schema jsonb, tokens int, usd numeric
        )
        RETURNING id
    )
    SELECT reserved.seconds, reserved.payer FROM reserved, recorded
"""  # noqa: S608  # constants within a constant
# Of the day, for those who have a limit there. Not within the statement above: an update that reads another one's rows fails
# ("ModifyTable should not be called during EvalPlanQual", PostgreSQL 18) when somebody else has just changed the row that it is for.
_RESERVE_DAY = f"""
    UPDATE council_dailybudget AS budget
    SET day = {_TODAY}, tokens_used = {_today("tokens_used")}, usd_used = {_today("usd_used")}, calls = {_today("calls")},
        seconds_used = {_today("seconds_used")},
        tokens_reserved = budget.tokens_reserved + %(tokens)s, usd_reserved = budget.usd_reserved + %(usd)s::numeric,
        calls_reserved = budget.calls_reserved + %(count)s,
        seconds_reserved = budget.seconds_reserved + %(granted)s::numeric * %(count)s
    WHERE budget.user_id = %(payer)s
      AND coalesce(budget.tokens_limit >= {_today("tokens_used")} + budget.tokens_reserved + %(tokens)s, true)
      AND coalesce(budget.usd_limit >= {_today("usd_used")} + budget.usd_reserved + %(usd)s::numeric, true)
      AND coalesce(budget.calls_limit >= {_today("calls")} + budget.calls_reserved + %(count)s, true)
      AND coalesce(
          budget.seconds_limit
          >= {_today("seconds_used")} + budget.seconds_reserved + %(granted)s::numeric * %(count)s, true
      )
"""  # noqa: S608  # constants within a constant
_SETTLE = """
    WITH settled AS (
        UPDATE council_llmcall AS call
        SET status = given.status, response = given.response, prompt_tokens = given.prompt_tokens,
            completion_tokens = given.completion_tokens, cached_tokens = given.cached_tokens, usd = given.usd,
            seconds = given.seconds, estimated = given.estimated, ttft_ms = given.ttft_ms,
            latency_ms = given.latency_ms, error = given.error, error_detail = given.error_detail,
            finished_at = clock_timestamp()
        FROM jsonb_to_recordset(%s) AS given(
            id uuid, status text, response text, prompt_tokens int, completion_tokens int, cached_tokens int, usd numeric,
            seconds numeric, estimated boolean, ttft_ms float8, latency_ms float8, error text, error_detail text
        )
        WHERE call.id = given.id AND call.status = 'running'
        RETURNING call.session_id, call.tokens_reserved, call.usd_reserved, call.seconds_reserved,
                  call.prompt_tokens + call.completion_tokens AS tokens, call.usd, call.seconds
    ), total AS (
        SELECT session_id, sum(tokens_reserved) AS tokens_reserved, sum(usd_reserved) AS usd_reserved,
               sum(seconds_reserved) AS seconds_reserved, sum(tokens) AS tokens, sum(usd) AS usd, sum(seconds) AS seconds,
               count(*) AS calls
        FROM settled GROUP BY session_id
    ), mine AS (
        UPDATE council_budget AS budget
        SET tokens_reserved = greatest(budget.tokens_reserved - total.tokens_reserved, 0),
            tokens_used = budget.tokens_used + total.tokens,
            usd_reserved = greatest(budget.usd_reserved - total.usd_reserved, 0), usd_used = budget.usd_used + total.usd,
            calls_reserved = greatest(budget.calls_reserved - total.calls, 0), calls = budget.calls + total.calls,
            seconds_reserved = greatest(budget.seconds_reserved - total.seconds_reserved, 0),
            seconds_used = budget.seconds_used + total.seconds
        FROM total WHERE budget.session_id = total.session_id
        RETURNING budget.*
    )
    SELECT mine.tokens_used, mine.usd_used, mine.calls, mine.seconds_used, coalesce(greatest(
        mine.tokens_used::numeric / nullif(tokens_limit, 0), mine.usd_used / nullif(usd_limit, 0),
        mine.calls::numeric / nullif(calls_limit, 0), mine.seconds_used / nullif(seconds_limit, 0)
    ), 0)::float8, warned, (
        SELECT budget.user_id FROM council_dailybudget AS budget
        JOIN council_councilsession AS session ON session.owner_id = budget.user_id WHERE session.id = mine.session_id
    ), total.tokens_reserved, total.tokens, total.usd_reserved, total.usd, total.calls, total.seconds_reserved, total.seconds
    FROM mine JOIN total ON total.session_id = mine.session_id
"""
_SETTLE_DAY = f"""
    UPDATE council_dailybudget AS budget
    SET day = {_TODAY},
        tokens_reserved = greatest(budget.tokens_reserved - %s::bigint, 0),
        tokens_used = {_today("tokens_used")} + %s::bigint,
        usd_reserved = greatest(budget.usd_reserved - %s::numeric, 0), usd_used = {_today("usd_used")} + %s::numeric,
        calls_reserved = greatest(budget.calls_reserved - %s::int, 0), calls = {_today("calls")} + %s::int,
        seconds_reserved = greatest(budget.seconds_reserved - %s::numeric, 0),
        seconds_used = {_today("seconds_used")} + %s::numeric
    WHERE budget.user_id = %s
"""  # noqa: S608  # constants within a constant


class NewCall(NamedTuple):
    """A call that is about to be made for a claimed turn, and the most that it may cost."""

    claim: Claim
    prompt: Prompt
    ordinal: int
    model: str
    tokens: int
    profile: str = ""
    usd: Decimal = Decimal(0)
    seconds: float = 3600.0  # the longest that it may take


class Opened(NamedTuple):
    """A call that is recorded and may be made. ``seconds``: how long it may take."""

    id: UUID
    seconds: float


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a call ended: stored with the turn that it belongs to, or alone when that turn was lost."""

    id: UUID
    status: LlmCall.Status
    response: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    usd: Decimal = Decimal(0)
    seconds: float = 0.0
    estimated: bool = False
    ttft_ms: float | None = None
    latency_ms: float | None = None
    error: str = ""
    error_detail: str = ""


class Settled(NamedTuple):
    """The session's budget after a settlement. In the order of ``_SETTLE``'s first columns."""

    tokens: int
    usd: Decimal
    calls: int
    seconds: Decimal
    share: float  # of the limit that is nearest
    warned: bool

    @property
    def high(self) -> bool:
        return self.share >= WARN_AT


def open_calls(calls: Sequence[NewCall]) -> list[Opened]:
    """Reserve what calls of one session may cost and record them, all or none.

    Raises, and then the transaction must be rolled back: ``BudgetExhausted`` when so many more would pass a limit, ``BudgetBusy``
    when they would do so only together with calls that are running, which may turn out cheaper than what they have reserved.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("calls are opened in a transaction that a refusal rolls back")
    ids = [uuid7() for _ in calls]
    values = {
        "session": calls[0].claim.session_id,
        "count": len(calls),
        "tokens": sum(call.tokens for call in calls),
        "usd": sum((call.usd for call in calls), Decimal(0)),
        "seconds": round(max(call.seconds for call in calls), 3),
        "least": LEAST_S,
        "calls": Jsonb([_row(identity, call) for identity, call in zip(ids, calls, strict=True)]),
    }
    opened = sql.rows(_OPEN, values)
    if len(opened) != len(calls):
        raise _refusal(values)
    granted, payer = opened[0]
    if payer is not None and not sql.change(_RESERVE_DAY, {**values, "granted": granted, "payer": payer}):
        raise _refusal(values)
    return [Opened(identity, float(granted)) for identity in ids]


def _row(identity: UUID, call: NewCall) -> dict[str, object]:
    return {
        "id": str(identity),
        "turn": str(call.claim.turn_id),
        "attempt": call.claim.attempt,
        "ordinal": call.ordinal,
        "field": call.prompt.field,
        "model": call.model,
        "profile": call.profile,
        "system": call.prompt.system,
        "user": call.prompt.said,
        "schema": call.prompt.json_schema,
        "tokens": call.tokens,
        "usd": str(call.usd),
    }


def _refusal(asked: Mapping[str, Any]) -> BudgetExhausted | BudgetBusy:
    """Why nothing was reserved. Only asked when something is wrong, so it may take statements of its own."""
    mine = Budget.objects.select_related("session").get(pk=asked["session"])
    daily = DailyBudget.objects.filter(user=mine.session.owner_id).first()
    if daily is not None:
        if daily.day != today():
            daily.tokens_used = daily.calls = 0
            daily.usd_used = daily.seconds_used = Decimal(0)
        if name := _short_of(daily, asked):
            return BudgetExhausted(f"the owner's {name} of the day do not cover another call")
    # What has been paid for is waited for: those calls may end cheaper, and if not, their answers count.
    running = LlmCall.objects.filter(session=asked["session"], status=LlmCall.Status.RUNNING).exists()
    if (name := _short_of(mine, asked)) and not running:
        return BudgetExhausted(f"the session's budget of {name} does not cover another call")
    return BudgetBusy("calls that are running have reserved what is left of the budget")


def _short_of(purse: Budget | DailyBudget, asked: Mapping[str, Any]) -> str:
    """The first limit that would be passed even if every running call ended without a cost; "" when there is none."""
    wanted = {**asked, "calls": asked["count"], "seconds": 2 * asked["count"] * min(LEAST_S, asked["seconds"])}
    for name in LIMITS:
        limit, used = getattr(purse, f"{name}_limit"), getattr(purse, used_field(name))
        if limit is not None and limit < used + Decimal(wanted[name]):
            return name
    return ""


def today() -> date:
    """The day of daily budgets."""
    return datetime.now(UTC).date()


def used_field(name: str) -> str:
    return "calls" if name == "calls" else f"{name}_used"


def settle(settlements: Sequence[Settlement]) -> Settled | None:
    """Turn the reservations of calls of one session into what they really used; None when all had been settled before (as lost,
    by the sweeper)."""
    rows = [_settled_row(one) for one in settlements]
    settled = sql.row(_SETTLE, [Jsonb(rows)]) if rows else None
    if settled is None:
        return None
    *mine, payer, tokens_back, tokens, usd_back, usd, calls, seconds_back, seconds = settled
    if payer is not None:
        sql.change(_SETTLE_DAY, [tokens_back, tokens, usd_back, usd, calls, calls, seconds_back, seconds, payer])
    return Settled(*mine)


def _settled_row(one: Settlement) -> dict[str, object]:
    return {
        **asdict(one),
        "id": str(one.id),
        "usd": str(one.usd),
        "seconds": round(max(one.seconds, 0), 3),
        "error_detail": one.error_detail[:500],
    }


def lost(call: LlmCall) -> Settlement:
    """Of a call whose worker died: what the provider did is unknown, so the whole reservation is used up."""
    return Settlement(
        call.pk,
        LlmCall.Status.LOST,
        prompt_tokens=call.tokens_reserved,
        usd=call.usd_reserved,
        seconds=float(call.seconds_reserved),
        estimated=True,
    )


def warn_once(session_id: UUID) -> bool:
    """True for the one caller who is to say that the budget is nearly used up."""
    return Budget.objects.filter(session_id=session_id, warned=False).update(warned=True) == 1


def require_some(session_id: UUID) -> None:
    """Raise ``BudgetExhausted`` when a limit of the session is reached, so that no call of any size would fit any more."""
    budget = Budget.objects.get(session=session_id)
    for name in LIMITS:
        limit = getattr(budget, f"{name}_limit")
        if limit is not None and getattr(budget, used_field(name)) >= limit:
            raise BudgetExhausted(f"The session's budget of {name} is used up.")


def set_limits(session_id: UUID, limits: Mapping[str, Any]) -> None:
    """Set those of tokens, usd, calls and seconds that are named; None takes a limit away. Under the session's lock.

    It holds from the next reservation on, also while the council runs; a warning may be due anew.
    """
    changes = {f"{name}_limit": limits[name] for name in LIMITS if name in limits}
    if changes:
        Budget.objects.filter(session_id=session_id).update(**changes, warned=False)


def set_daily_limits(user: User, limits: Mapping[str, Any]) -> DailyBudget:
    """Limit what a person's councils may use in a day. What today's calls have used and reserved so far counts."""
    changes = {f"{name}_limit": limits[name] for name in LIMITS if name in limits}
    with transaction.atomic():
        defaults = {"day": today(), **used_today(user), **changes}
        budget, created = DailyBudget.objects.select_for_update(of=("self",)).get_or_create(
            user=user, defaults=defaults
        )
        if not created:
            DailyBudget.objects.filter(pk=budget.pk).update(**changes)
        audit.record("budget.changed", budget, user=user.pk, fields=sorted(changes))
    return DailyBudget.objects.get(pk=budget.pk)
