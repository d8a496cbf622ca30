"""Quotas: what a person's plan lets them use, and whether there is room.

``require`` is called by the services that make or begin things, within their transaction, *after* the change: it takes the person's lock
until the commit and counts what stands now, so of two changes at once the second sees the first. Too much raises ``QuotaExceeded``,
which rolls the change back. Who has no limit of the kind pays one query and takes no lock.

The lock is an advisory one of its own. It comes after sessions, runs and packs in the lock order, and before budgets and people's streams;
whoever holds it takes no lock of another session or pack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import holdings
from accounts.errors import QuotaExceeded
from accounts.holdings import Amount
from accounts.models import ApiKey, Plan, User
from accounts.models_plans import LIMITS

Json = dict[str, Any]
Added = Amount | Callable[[], Amount]

# What a council spends while it runs; which of its calls is the last is for budgets to say.
SPENT: Final = ("tokens_day", "tokens_month", "usd_day", "usd_month")
_COLUMNS: Final = ", ".join(f"coalesce(mine.{name}, plan.{name})" for name in LIMITS)
_LIMITS_OF: Final = f"""
    SELECT {_COLUMNS} FROM accounts_user AS person
    LEFT JOIN accounts_quotaoverride AS mine ON mine.user_id = person.id
    LEFT JOIN accounts_plan AS plan ON plan.id = person.plan_id OR (person.plan_id IS NULL AND plan.is_default)
    WHERE person.id = %s
"""  # noqa: S608  # names of columns
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('quota:' || %s, 0))"


def limits_of(user_id: UUID) -> dict[str, Amount | None]:
    """By name, what the person may use; None is unlimited."""
    with connection.cursor() as cursor:
        cursor.execute(_LIMITS_OF, [user_id])
        found = cursor.fetchone()
    return dict(zip(LIMITS, found or (None,) * len(LIMITS), strict=True))


def require(user_id: UUID, **added: Added) -> None:
    """``added``: by the name of a limit, how much of what stands now has come with this change (for the refusal's words; a callable is
    asked only then). Raises ``QuotaExceeded`` for the first limit that is passed."""
    _check(user_id, added, lambda used, allowed: used > allowed)


def require_left(user_id: UUID, *names: str) -> None:
    """For what is used up later, by what now begins: there must be something left of each. Raises ``QuotaExceeded``."""
    _check(user_id, dict.fromkeys(names, 0), lambda used, allowed: used >= allowed)


def _check(user_id: UUID, added: Mapping[str, Added], passed: Callable[[Amount, Amount], bool]) -> None:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "a quota is asked within the transaction that a refusal rolls back"
        )
    limits = limits_of(user_id)
    bounded = {name: allowed for name in added if (allowed := limits[name]) is not None}
    if not bounded:
        return
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [str(user_id)])
    meters = _meters()
    for name, allowed in bounded.items():
        used = meters[name](user_id)
        if passed(used, allowed):
            new = added[name]
            before = used - (new() if callable(new) else new)
            raise QuotaExceeded(name, Decimal(before), Decimal(allowed), frees_at(name))


def frees_at(name: str) -> datetime | None:
    """When what was used of a limit counts no more; None where something has to go or to end first."""
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if name.endswith("_day"):
        return today + timedelta(days=1)
    if name.endswith("_month"):
        return (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return None


def report(user: User) -> Json:
    """``{plan, limits: [{limit, used, allowed, frees_at}]}``; ``allowed`` null is unlimited. A constant number of statements."""
    limits, meters = limits_of(user.pk), _meters()
    plan = user.plan or Plan.objects.filter(is_default=True).first()
    return {
        "plan": plan.name if plan else None,
        "limits": [
            {"limit": name, "used": meters[name](user.pk), "allowed": limits[name], "frees_at": frees_at(name)}
            for name in LIMITS
        ],
    }


def _meters() -> dict[str, Callable[[UUID], Amount]]:
    found: dict[str, Callable[[UUID], Amount]] = {"api_keys": _keys_of}
    for holding in holdings.every():
        found |= holding.meters()
    return found


def _keys_of(user_id: UUID) -> int:
    alive = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiKey.objects.filter(alive, user=user_id, revoked_at=None).count()
