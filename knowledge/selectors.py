"""Who sees which pack, and what they see. Every list, detail, search, socket and admin page starts here."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet
from django.db.models.functions import JSONObject

from accounts.models import User
from knowledge.models import Entry, EntryRevision, KnowledgePack
from knowledge.shapes import entry_header, pack_header
from knowledge.states import PackStatus
from realtime.errors import NotFound


def packs_for(user: User) -> QuerySet[KnowledgePack]:
    """Packs that the user may see: their own, except those in the trash."""
    return KnowledgePack.objects.filter(owner=user).exclude(status=PackStatus.DELETED)


def pack_for(user: User, pack_id: UUID | str) -> KnowledgePack:
    """One of those packs. Raises ``NotFound``, also for another user's pack and for an id that is no UUID."""
    pack = packs_for(user).filter(pk=uuid_or_not_found(pack_id)).first()
    if pack is None:
        raise NotFound("There is no such knowledge pack.")
    return pack


def entries_of(pack: KnowledgePack) -> QuerySet[Entry]:
    """The pack's entries that are not deleted, without their content."""
    return Entry.objects.filter(pack=pack, deleted_at__isnull=True)


def revision_text(revision_id: UUID | str) -> str | None:
    """What a revision says, or None when there is none of that id. Its author's packs are not asked: callers hold a citation."""
    return EntryRevision.objects.filter(pk=revision_id).values_list("content", flat=True).first()


def pack_snapshot(pack_id: UUID) -> dict[str, Any]:
    """Header, entry headers and ``last_seq`` of one moment. Raises ``NotFound``.

    Read by one statement: at PostgreSQL's default isolation only a single statement sees a single state of the database, and
    raising the level would need a transaction of our own.
    """
    fields = {field.attname: field.attname for field in Entry._meta.concrete_fields}
    entries = Entry.objects.filter(pack=OuterRef("pk"), deleted_at__isnull=True).order_by("created_at", "id")
    pack = (
        KnowledgePack.objects.filter(pk=pack_id)
        .annotate(entry_rows=ArraySubquery(entries.values(row=JSONObject(**fields))))
        .first()
    )
    if pack is None:
        raise NotFound("There is no such knowledge pack.")
    headers = [entry_header(_entry(row)) for row in pack.entry_rows]
    return {"pack": pack_header(pack), "entries": headers, "last_seq": pack.last_seq}


def uuid_or_not_found(value: UUID | str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except ValueError as error:
        raise NotFound(f"{value!r} is not the id of anything.") from error


def _entry(row: dict[str, Any]) -> Entry:
    """An unsaved entry with the values of its JSON row (times come as text)."""
    times = {name: datetime.fromisoformat(value) for name, value in row.items() if name.endswith("_at") and value}
    return Entry(**{**row, **times})
