"""How packs and entries look outside: one definition for the API, the event log and the snapshot, so that they cannot differ."""

from __future__ import annotations

from typing import Any

from django.db.models import Count

from knowledge.models import Entry, Import, ImportItem, KnowledgePack
from knowledge.states import ItemStatus
from realtime.times import rfc3339


def pack_header(pack: KnowledgePack) -> dict[str, Any]:
    """The pack without what depends on who looks (``role``)."""
    return {
        "id": str(pack.id),
        "name": pack.name,
        "description": pack.description,
        "visibility": pack.visibility,
        "status": pack.status,
        "tags": pack.tags,
        "language": pack.language,
        "version": pack.version,
        "entry_count": pack.entry_count,
        "created_at": rfc3339(pack.created_at),
        "updated_at": rfc3339(pack.updated_at),
    }


def pack_counts(pack: KnowledgePack) -> dict[str, Any]:
    """The fields of a pack's header that a change of its entries can move."""
    return {"status": pack.status, "entry_count": pack.entry_count, "updated_at": rfc3339(pack.updated_at)}


def entry_header(entry: Entry) -> dict[str, Any]:
    """The entry without its content."""
    return {
        "id": str(entry.id),
        "pack": str(entry.pack_id),
        "title": entry.title,
        "tags": entry.tags,
        "metadata": entry.metadata,
        "source_url": entry.source_url,
        "external_id": entry.external_id,
        "status": entry.index_status,
        "error": entry.index_error or None,
        "enabled": entry.enabled,
        "revision": entry.revision_number,
        "revision_id": str(entry.revision_id),
        "content_hash": entry.content_hash,
        "created_at": rfc3339(entry.created_at),
        "updated_at": rfc3339(entry.updated_at),
    }


def entry_progress(entry: Entry) -> dict[str, Any]:
    """The fields of an entry's header that indexing moves."""
    return {"id": str(entry.id), "status": entry.index_status, "error": entry.index_error or None}


def import_header(job: Import) -> dict[str, Any]:
    """The import and how many of its items are where; ``plan`` counts what committing would do (or would have done)."""
    counts = dict.fromkeys(ItemStatus.values, 0)
    plan = {"created": 0, "updated": 0, "unchanged": 0}
    for status, planned, number in job.items.order_by().values_list("status", "planned").annotate(number=Count("pk")):
        counts[status] += number
        if planned:
            plan[planned] += number
    return {
        "id": str(job.id),
        "pack": str(job.pack_id),
        "status": job.status,
        "dry_run": job.dry_run,
        "on_duplicate": job.on_duplicate,
        "filename": job.filename,
        "media_type": job.media_type,
        "size": job.size,
        "urls": job.urls,
        "options": job.options,
        "total": sum(counts.values()),
        "counts": counts,
        "plan": plan,
        "error": job.error or None,
        "created_at": rfc3339(job.created_at),
        "finished_at": rfc3339(job.finished_at) if job.finished_at else None,
    }


def import_item(item: ImportItem) -> dict[str, Any]:
    return {
        "ordinal": item.ordinal,
        "source": item.source,
        "status": item.status,
        "planned": item.planned or None,
        "title": item.draft.get("title"),
        "diff": item.diff or None,
        "error": item.error or None,
        "entry": str(item.entry_id) if item.entry_id else None,
    }
