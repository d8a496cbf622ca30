"""How packs and entries look outside: one definition for the API, the event log and the snapshot, so that they cannot differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count

from accounts.models import User
from knowledge.models import (
    EmbeddingModel,
    EmbeddingSpace,
    Entry,
    EntryRevision,
    Import,
    ImportItem,
    KnowledgePack,
    PackShare,
    Snapshot,
    SpaceState,
)
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
        "gate_publishing": pack.gate_publishing,
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
        "language": entry.language,
        "ordinal": entry.ordinal,
        "version": entry.version,
        "reviewed_at": entry.reviewed_at and rfc3339(entry.reviewed_at),
        "review_by": entry.review_by and entry.review_by.isoformat(),
        "created_at": rfc3339(entry.created_at),
        "updated_at": rfc3339(entry.updated_at),
    }


def entry_progress(entry: Entry) -> dict[str, Any]:
    """The fields of an entry's header that indexing moves."""
    return {"id": str(entry.id), "status": entry.index_status, "error": entry.index_error or None}


def revision_header(revision: EntryRevision) -> dict[str, Any]:
    """The revision without its content."""
    return {
        "id": str(revision.id),
        "number": revision.number,
        "title": revision.title,
        "content_hash": revision.content_hash,
        "author": person(revision.author),
        "note": revision.note,
        "created_at": rfc3339(revision.created_at),
    }


def person(user: User | None) -> dict[str, Any] | None:
    """Who did something; null when they have left, or when it was a program of ours."""
    return None if user is None else {"id": str(user.pk), "name": user.name}


def embedding_model(model: EmbeddingModel) -> dict[str, Any]:
    """A registered model, as everybody may see it: neither its address nor where its key is."""
    return {
        "name": model.name,
        "provider": model.provider,
        "model": model.model,
        "dimension": model.dimension,
        "enabled": model.enabled,
    }


def pack_embedding(pack: KnowledgePack) -> dict[str, Any]:
    """The model that the pack has chosen (null: the settings'), the space that is searched, and the one that is being filled."""
    spaces = pack.spaces.filter(state__in=[SpaceState.PRESENT, SpaceState.FUTURE]).select_related("embedding")
    by_state = {space.state: space for space in spaces}
    present, future = by_state.get(SpaceState.PRESENT), by_state.get(SpaceState.FUTURE)
    return {
        "pack": str(pack.pk),
        "model": pack.embedding.name if pack.embedding else None,
        "present": {**_space(present), "error": present.error or None} if present else None,
        "future": {**_space(future), **_filling(future)} if future else None,
    }


def _space(space: EmbeddingSpace) -> dict[str, Any]:
    return {
        "id": space.pk,
        "name": space.embedding.name if space.embedding else None,
        "model": space.model,
        "dimension": space.dimension,
    }


def _filling(space: EmbeddingSpace) -> dict[str, Any]:
    return {
        "done": space.done,
        "total": space.total,
        "rate": round(space.rate, 1),  # passages in a second
        "error": space.error or None,
        "started_at": rfc3339(space.created_at),
    }


def snapshot_header(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot without its entries."""
    return {
        "id": str(snapshot.id),
        "pack": str(snapshot.pack_id),
        "label": snapshot.label,
        "note": snapshot.note,
        "entry_count": snapshot.entry_count,
        "passage_count": snapshot.passage_count,
        "content_hash": snapshot.content_hash,
        "created_at": rfc3339(snapshot.created_at),
    }


def share_json(share: PackShare) -> dict[str, Any]:
    """Shown to the pack's owner, and to the person themself: it carries an e-mail address."""
    return {
        "id": str(share.id),
        "user": {"id": str(share.user_id), "name": share.user.name or None, "email": share.user.email},
        "role": share.role,
        "created_at": rfc3339(share.created_at),
    }


def import_header(job: Import) -> dict[str, Any]:
    """The import and how many of its items are where; ``plan`` counts what committing would do (or would have done)."""
    counts = dict.fromkeys(ItemStatus.values, 0)
    plan = {"created": 0, "updated": 0, "unchanged": 0}
    for group in _item_groups(job):
        counts[group["status"]] += group["number"]
        if group["planned"]:
            plan[group["planned"]] += group["number"]
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


def _item_groups(job: Import) -> Iterable[dict[str, Any]]:
    """``{status, planned, number}``: what a list has read with its jobs (``selectors.imports_of``), or asked for one job."""
    read: Iterable[dict[str, Any]] | None = vars(job).get("item_groups")
    if read is not None:
        return read
    groups = job.items.order_by().values_list("status", "planned").annotate(number=Count("pk"))
    return [{"status": status, "planned": planned, "number": number} for status, planned, number in groups]


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
