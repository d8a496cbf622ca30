"""Everything that is cleaned up on a schedule: the one list that beat, ``manage.py cleanup``, the metrics and the table in
``docs/reliability.md`` read. Names only, for the settings import it: the code is found when it is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from realtime.cleaning import Cleaning

TASK: Final = "config.tasks.cleanup"
HOUR: Final = 3600.0


@dataclass(frozen=True)
class Cleaner:
    name: str  # for beat, the command and the metrics' label
    what: str
    kept: str  # for how long, in words; ``{}`` is the setting's value
    setting: str  # that says for how long; "" where that is no choice
    code: str  # the dotted name of a ``realtime.cleaning.Cleaning``
    every_s: float
    queue: str = "control"
    task: str = TASK

    @property
    def cleaning(self) -> Cleaning:
        found: Cleaning = import_string(self.code)
        return found

    def kept_for(self) -> str:
        return self.kept.format(getattr(settings, self.setting)) if self.setting else self.kept


CLEANERS: Final = (
    Cleaner(
        "late",
        "leases of workers that died; turns, gates, people's turns and runs past their deadline; calls that nobody awaits",
        "until their deadline",
        "TURN_LEASE_S",
        "council.cleaning.LATE",
        5.0,
        task="council.tasks.sweep",
    ),
    Cleaner(
        "stuck",
        "councils that run past their deadline because every try to end them fails: failed, with the reason `stuck`",
        "{} hours after the deadline",
        "COUNCIL_STUCK_HOURS",
        "council.cleaning.STUCK",
        HOUR,
    ),
    Cleaner(
        "paused",
        "councils that were paused and forgotten: stopped",
        "{} days",
        "COUNCIL_PAUSED_DAYS",
        "council.cleaning.PAUSES",
        HOUR,
    ),
    Cleaner(
        "drafts",
        "councils that nobody started: archived",
        "{} days",
        "COUNCIL_DRAFT_DAYS",
        "council.cleaning.DRAFTS",
        HOUR,
    ),
    Cleaner(
        "texts",
        "unfinished text of turns that nobody is at (Valkey)",
        "15 minutes after its last word at most",
        "",
        "council.cleaning.TEXTS",
        600.0,
    ),
    Cleaner(
        "presence",
        "watchers whose process died (Valkey)",
        "60 s after their last sign of life",
        "",
        "realtime.leftovers.PRESENCE",
        60.0,
    ),
    Cleaner(
        "tickets",
        "tickets that have lost their time to live; the others expire by themselves (Valkey)",
        "30 s",
        "",
        "realtime.leftovers.TICKETS",
        HOUR,
    ),
    Cleaner(
        "idempotency",
        "first answers to requests with an `Idempotency-Key`",
        "{} hours",
        "IDEMPOTENCY_HOURS",
        "accounts.cleaning.IDEMPOTENCY",
        HOUR,
    ),
    Cleaner(
        "logins",
        "login sessions that have run out (none is older than `SESSION_MAX_HOURS`)",
        "{} minutes after the last request",
        "SESSION_IDLE_MINUTES",
        "accounts.cleaning.LOGINS",
        HOUR,
    ),
    Cleaner(
        "news",
        "what people's own streams (`/ws/me`) told long ago; the newest 600 events of each stay",
        "90 days, and 2,000 events at most",
        "",
        "accounts.cleaning.NEWS",
        HOUR,
    ),
    Cleaner(
        "audit",
        "entries of the audit log, whole seals from the oldest on; the seals stay (docs/audit.md)",
        "{} days",
        "AUDIT_DAYS",
        "accounts.cleaning.AUDIT",
        HOUR,
    ),
    Cleaner(
        "account-exports",
        "exports of accounts, with their files, and files of workers that died",
        "{} hours",
        "ACCOUNT_EXPORT_HOURS",
        "accounts.cleaning.EXPORTS",
        600.0,
        queue="index",
    ),
    Cleaner(
        "departures",
        "accounts whose owners wanted them deleted, with all that they had (docs/accounts.md)",
        "{} days after they asked",
        "ACCOUNT_GRACE_DAYS",
        "accounts.cleaning.DEPARTURES",
        60.0,
        queue="index",
    ),
    Cleaner(
        "webhooks",
        "messages to webhooks, with what came of them",
        "{} days",
        "WEBHOOK_DAYS",
        "accounts.cleaning.WEBHOOKS",
        HOUR,
    ),
    Cleaner(
        "searches",
        "the search log",
        "{} days",
        "SEARCH_LOG_DAYS",
        "knowledge.cleaning.SEARCHES",
        HOUR,
    ),
    Cleaner(
        "import-files",
        "uploads and unpacked archives that no import names any more; the others go with the end of their import",
        "{} minutes",
        "IMPORT_ORPHAN_MINUTES",
        "knowledge.cleaning.FILES",
        600.0,
        queue="index",
    ),
    Cleaner(
        "trashed-entries",
        "entries in the trash, with passages, words and vectors",
        "{} days",
        "TRASH_DAYS",
        "knowledge.cleaning.ENTRIES",
        HOUR,
        queue="index",
    ),
    Cleaner(
        "trashed-packs",
        "packs in the trash, with all that is in them",
        "{} days",
        "TRASH_DAYS",
        "knowledge.cleaning.PACKS",
        600.0,
        queue="index",
    ),
)
BY_NAME: Final = {one.name: one for one in CLEANERS}


def beat() -> dict[str, dict[str, Any]]:
    """Entries of ``CELERY_BEAT_SCHEDULE``. One that nobody took before the next is due is one too many."""
    return {
        f"cleanup-{one.name}": {
            "task": one.task,
            "args": [one.name] if one.task == TASK else [],
            "schedule": one.every_s,
            "options": {"queue": one.queue, "expires": one.every_s},
        }
        for one in CLEANERS
    }


def table() -> str:
    """As Markdown, for ``docs/reliability.md``; settings with their defaults."""
    lines = ["| name | what goes | kept for | setting | every | queue, task |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {one.what} | {one.kept_for()} | {f'`{one.setting}`' if one.setting else ''} | "
        f"{one.every_s:g} s | `{one.queue}`, `{one.task}` |"
        for one in CLEANERS
    ]
    return "\n".join(lines)
