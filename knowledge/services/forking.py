"""A copy of a pack that goes its own way.

Everything is copied by statements that never bring texts or vectors into this process; only ids are made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from accounts import audit, quotas
from accounts.models import User
from knowledge import batch, chunking, news, passages, sizes, words
from knowledge.models import EmbeddingSpace, Entry, KnowledgePack, Passage, Snapshot, SpaceState
from knowledge.services import locking
from knowledge.shapes import pack_header
from knowledge.states import IndexStatus, PackStatus
from realtime import log
from realtime.ids import uuid7


class Copy(NamedTuple):
    """An entry and the revision of it that is taken over, with the ids of both copies."""

    entry: UUID
    revision: UUID
    new_entry: UUID
    new_revision: UUID


_PAIRS: Final = """
    FROM unnest(%(entries)s::uuid[], %(revisions)s::uuid[], %(new_entries)s::uuid[], %(new_revisions)s::uuid[])
         WITH ORDINALITY AS c(entry, revision, new_entry, new_revision, place)
"""
_ENTRIES: Final = f"""
    INSERT INTO knowledge_entry (
        id, pack_id, revision_id, revision_number, title, tags, metadata, source_url, external_id, ordinal, content_hash,
        version, enabled, index_status, index_error, attempt, lease_token, language, review_by, created_at, updated_at)
    SELECT c.new_entry, %(pack)s, c.new_revision, 1, r.title, e.tags, e.metadata, e.source_url,
           CASE WHEN row_number() OVER (PARTITION BY e.external_id ORDER BY c.place) = 1 THEN e.external_id END,
           c.place * {batch.GAP}, r.content_hash, 1, e.enabled OR %(snapshot)s, 'pending', '', 0, 0, e.language, e.review_by,
           now() + c.place * interval '1 microsecond', now()
    {_PAIRS} JOIN knowledge_entry e ON e.id = c.entry JOIN knowledge_entryrevision r ON r.id = c.revision
"""  # constants of ours
_REVISIONS: Final = f"""
    INSERT INTO knowledge_entryrevision (id, entry_id, number, title, content, content_hash, author_id, note, created_at)
    SELECT c.new_revision, c.new_entry, 1, r.title, r.content, r.content_hash, %(author)s, %(note)s, now()
    {_PAIRS} JOIN knowledge_entryrevision r ON r.id = c.revision
"""
_PASSAGES: Final = f"""
    INSERT INTO knowledge_passage (id, revision_id, entry_id, pack_id, chunker_version, ordinal, start, "end", heading, text)
    SELECT i.new, c.new_revision, c.new_entry, %(pack)s, p.chunker_version, p.ordinal, p.start, p."end", p.heading, p.text
    {_PAIRS} JOIN knowledge_passage p ON p.revision_id = c.revision
    JOIN unnest(%(passages)s::uuid[], %(new_passages)s::uuid[]) AS i(old, new) ON i.old = p.id
"""
_VECTORS: Final = """
    INSERT INTO knowledge_passagevector (space_id, passage_id, pack_id, embedding, live)
    SELECT %(space)s, i.new, %(pack)s, v.embedding, true
    FROM unnest(%(passages)s::uuid[], %(new_passages)s::uuid[]) AS i(old, new)
    JOIN knowledge_passagevector v ON v.passage_id = i.old AND v.space_id = %(old_space)s
"""


@transaction.atomic
def fork(pack_id: UUID, owner: User, name: str, snapshot: Snapshot | None = None) -> KnowledgePack:
    """A private copy for ``owner``: entries as they are now or as the snapshot has them, with their tags, metadata, order and
    language. Vectors are copied; entries that have none yet are queued. History, shares and snapshots stay behind."""
    source = locking.locked_pack(pack_id)
    locking.refuse_deleted(source)
    pack = KnowledgePack.objects.create(
        owner=owner,
        name=name,
        description=source.description,
        tags=source.tags,
        language=source.language,
        lexical_weight=source.lexical_weight,
        embedding=source.embedding,
        forked_from=source,
    )
    copies = _chosen(source, snapshot)
    _copy_texts(pack, copies, owner, snapshot)
    old = _copy_passages(pack, copies)
    _copy_vectors(source, pack, old)
    _settle(pack, len(copies))
    quotas.require(owner.pk, packs=1, entries=len(copies), storage_bytes=lambda: sizes.of_pack(pack.pk))
    log.append(pack, ("pack.created", {"pack": pack_header(pack)}))
    locking.request_indexing(pack)
    news.pack_changed(pack, "created")
    audit.record("pack.forked", source, copy=pack.pk)
    return pack


def _chosen(source: KnowledgePack, snapshot: Snapshot | None) -> list[Copy]:
    rows: Iterable[tuple[UUID, UUID]]
    if snapshot is None:
        entries = Entry.objects.filter(pack=source, deleted_at=None)
        rows = entries.order_by("ordinal", "pk").values_list("pk", "revision_id")
    else:
        rows = [(row.entry_id, row.revision_id) for row in snapshot.entries.order_by("ordinal") if row.entry_id]
    return [Copy(entry, revision, uuid7(), uuid7()) for entry, revision in rows]


def _copy_texts(pack: KnowledgePack, copies: Sequence[Copy], author: User, snapshot: Snapshot | None) -> None:
    values = {
        "pack": pack.pk,
        "snapshot": snapshot is not None,
        "author": author.pk,
        "note": "copied",
        **_columns(copies),
    }
    _run(_ENTRIES, values)
    _run(_REVISIONS, values)


def _copy_passages(pack: KnowledgePack, copies: Sequence[Copy]) -> dict[str, list[UUID]]:
    """The ids of the passages and of their copies."""
    taken = Passage.objects.filter(
        revision__in=[copy.revision for copy in copies], chunker_version=chunking.CHUNKER_VERSION
    )
    old = list(taken.values_list("pk", flat=True))
    ids = {"passages": old, "new_passages": [uuid7() for _ in old]}
    _run(_PASSAGES, {"pack": pack.pk, **ids, **_columns(copies)})
    if old:
        words.add(pack, None)
    return ids


def _copy_vectors(source: KnowledgePack, pack: KnowledgePack, ids: dict[str, list[UUID]]) -> None:
    space = source.spaces.filter(state=SpaceState.PRESENT, chunker_version=chunking.CHUNKER_VERSION).first()
    if space is None:
        return
    new = EmbeddingSpace.objects.create(
        pack=pack,
        model=space.model,
        dimension=space.dimension,
        chunker_version=space.chunker_version,
        embedding=space.embedding,
    )
    _run(_VECTORS, {"space": new.pk, "old_space": space.pk, "pack": pack.pk, **ids})
    for step in _STEPS:
        _run(step, {"space": new.pk, "pack": pack.pk})


# Entries all of whose passages have a vector. The table of transitions knows no step from pending to ready, so in two.
_STEP: Final = """
    UPDATE knowledge_entry e SET index_status = '{to}', lease_expires_at = {lease}
    WHERE e.pack_id = %(pack)s AND e.index_status = '{of}' AND NOT EXISTS (
        SELECT 1 FROM knowledge_passage p
        LEFT JOIN knowledge_passagevector v ON v.passage_id = p.id AND v.space_id = %(space)s
        WHERE p.revision_id = e.revision_id AND v.passage_id IS NULL)
      AND EXISTS (SELECT 1 FROM knowledge_passage p WHERE p.revision_id = e.revision_id)
"""
_STEPS: Final = (
    _STEP.format(to="indexing", of="pending", lease="now()"),
    _STEP.format(to="ready", of="indexing", lease="NULL"),
)


def _settle(pack: KnowledgePack, entries: int) -> None:
    pack.entry_count = entries
    if Entry.objects.filter(pack=pack, index_status=IndexStatus.READY).exists():
        pack.status = PackStatus.ACTIVE
    passages.settle(pack)
    pack.save(update_fields=["entry_count", "status", *passages.STATISTICS])


def _columns(copies: Sequence[Copy]) -> dict[str, list[UUID]]:
    return {
        "entries": [copy.entry for copy in copies],
        "revisions": [copy.revision for copy in copies],
        "new_entries": [copy.new_entry for copy in copies],
        "new_revisions": [copy.new_revision for copy in copies],
    }


def _run(statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
