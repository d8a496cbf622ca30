"""Writing an entry."""

from __future__ import annotations

import secrets
from typing import Any, Final
from uuid import UUID

from django.db.models import Model

from accounts.audit import hashing, origin
from accounts.audit.actions import ACTIONS
from accounts.models import User
from accounts.models_audit import ActorKind, AuditEntry, Outcome
from realtime import actor

_TEXT_MAX: Final = 200
_LIST_MAX: Final = 50
Value = str | int | bool | UUID | None


def record(
    action: str,
    of: Model | None = None,
    *,
    kind: str = "",
    outcome: Outcome = Outcome.ALLOWED,
    by: User | None = None,
    **details: Value | list[str],
) -> None:
    """Add an entry: ``action`` (of ``ACTIONS``) was done to ``of``. Call it in the transaction of the change.

    ``by`` where the context does not know yet, or no more, who acts (at sign-in). ``kind`` is the type of the object where the action
    does not say it. ``details``: ids, names of fields, states; never contents, secrets or e-mail addresses, which could not be erased.
    """
    if action not in ACTIONS:
        raise ValueError(f"{action!r} is no action of the audit log")
    asked, who = origin.current(), UUID(str(by.pk)) if by else _acting()
    entry = AuditEntry(
        action=action,
        outcome=outcome,
        actor_kind=_kind(who, asked),
        actor_id=who,
        object_type=kind or action.partition(".")[0],
        object_id="" if of is None else str(of.pk),
        object_name=_name(of),
        details={name: _plain(value) for name, value in details.items()},
        salt=secrets.token_bytes(16),
    )
    if asked:
        entry.ip, entry.user_agent, entry.request_id = asked.ip, asked.user_agent, asked.request_id
        entry.key_id = asked.key_id if who else None
    entry.commitment = hashing.commitment(entry)
    entry.save(force_insert=True)


def _acting() -> UUID | None:
    known = actor.current()
    return UUID(known["id"]) if known else None


def _kind(who: UUID | None, asked: origin.Origin | None) -> ActorKind:
    if who is None:
        return ActorKind.ANONYMOUS if asked else ActorKind.SYSTEM
    return ActorKind.KEY if asked and asked.key_id else ActorKind.USER


def _name(of: Model | None) -> str:
    """What people call it. Not the e-mail address of an account, and no title: councils and entries have content there."""
    if of is None:
        return ""
    named = next((text for field in ("name", "label", "slug") if (text := getattr(of, field, ""))), "")
    return str(named).replace("\x00", "")[:120]


def _plain(value: Value | list[str]) -> Any:
    """As JSON that reads back the same, and short."""
    if isinstance(value, list):
        return [_text(one) for one in value[:_LIST_MAX]]
    return value if value is None or isinstance(value, bool | int) else _text(value)


def _text(value: str | UUID) -> str:
    if not isinstance(value, str | UUID):
        raise TypeError(f"details hold texts, whole numbers and lists of texts, not {type(value).__name__}")
    return str(value).replace("\x00", "")[:_TEXT_MAX]
