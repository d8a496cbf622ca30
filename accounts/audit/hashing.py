"""What is hashed, and how: canonical JSON (sorted keys, no spaces, UTF-8), SHA-256. ``docs/audit.md`` says the same in words, so that
others can check a log without this code."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

from accounts.models_audit import PERSONAL, AuditEntry, AuditSeal

VERSION: Final = 1
NOTHING: Final = bytes(32)  # what the first seal goes on from


def commitment(entry: AuditEntry) -> bytes:
    """Of what is personal in an entry. Without the salt, which goes with the personal data, nobody can tell by trying what it was."""
    if entry.salt is None:
        raise ValueError("what was personal in this entry is erased")
    return _sha256(bytes(entry.salt) + canonical([getattr(entry, name) for name in PERSONAL]))


def leaf(entry: AuditEntry, number: int) -> bytes:
    """Of an entry at its place in the log."""
    return _sha256(
        canonical(
            {
                "v": VERSION,
                "number": number,
                "id": str(entry.pk),
                "at": moment(entry.created_at),
                "action": entry.action,
                "outcome": entry.outcome,
                "actor": [entry.actor_kind, _id(entry.actor_id), _id(entry.key_id)],
                "object": [entry.object_type, entry.object_id],
                "details": entry.details,
                "request_id": entry.request_id,
                "personal": bytes(entry.commitment).hex(),
            }
        )
    )


def seal(one: AuditSeal) -> bytes:
    """Of a batch and everything before it."""
    return _sha256(
        canonical(
            {
                "v": VERSION,
                "seal": one.number,
                "previous": bytes(one.previous).hex(),
                "first": one.first,
                "entries": one.entries,
                "leaves": _sha256(bytes(one.leaves)).hex(),
                "sealed_at": moment(one.sealed_at),
            }
        )
    )


def canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _id(value: Any) -> str | None:
    return None if value is None else str(value)


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
