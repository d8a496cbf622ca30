"""How packs and entries look outside: one definition for the API, the event log and the snapshot, so that they cannot differ."""

from __future__ import annotations

from typing import Any

from knowledge.models import Entry, KnowledgePack, PackShare, Snapshot
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
