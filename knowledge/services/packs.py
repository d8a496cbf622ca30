"""Changes of packs themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit, quotas
from accounts.models import Departure, User
from knowledge import news, passages, retention, words
from knowledge.models import KnowledgePack, Visibility
from knowledge.services import locking, sharing
from knowledge.shapes import pack_header
from knowledge.states import PackStatus, check_pack_transition
from realtime import log
from realtime.errors import NotFound

PACK_FIELDS = ("name", "description", "visibility", "status", "tags", "language", "gate_publishing")


@transaction.atomic
def create_pack(
    owner: User,
    *,
    name: str,
    description: str = "",
    visibility: str = Visibility.PRIVATE,
    tags: Sequence[str] = (),
    language: str = "english",
) -> KnowledgePack:
    """A new pack. It is a draft until its first entry is ready (or its owner activates it). Raises ``QuotaExceeded``."""
    pack = KnowledgePack.objects.create(
        owner=owner, name=name, description=description, visibility=visibility, tags=list(tags), language=language
    )
    quotas.require(owner.pk, packs=1)
    log.append(pack, ("pack.created", {"pack": pack_header(pack)}))
    news.pack_changed(pack, "created")
    audit.record("pack.created", pack, visibility=pack.visibility)
    return pack


@transaction.atomic
def update_pack(
    pack_id: UUID, changes: Mapping[str, Any], *, precondition: Callable[[int], None] | None = None
) -> KnowledgePack:
    """Change some of ``PACK_FIELDS``. ``precondition`` gets the version read under the lock and may refuse.

    A change of language indexes all words anew within the transaction. Raises ``IllegalState`` for a step that the table of
    transitions does not have, ``NotFound`` for a deleted pack.
    """
    pack = locking.locked_pack(pack_id)
    if precondition:
        precondition(pack.version)
    locking.refuse_deleted(pack)
    changed = {name: value for name, value in changes.items() if getattr(pack, name) != value}
    if not changed:
        return pack
    check_pack_transition(pack.status, changed.get("status", pack.status))
    for name, value in changed.items():
        setattr(pack, name, value)
    if "language" in changed:
        words.rebuild(pack)
        retention.reindex(pack)
        pack.index_epoch += 1
    pack.version += 1
    pack.save(update_fields=[*changed, "version", "updated_at", *passages.STATISTICS])
    log.append(pack, ("pack.updated", {"pack": pack_header(pack)}))
    if "visibility" in changed:
        sharing.recheck_watchers(pack)
    if {"name", "status", "visibility"} & set(changed):
        news.pack_changed(pack, "updated")
    audit.record("pack.changed", pack, fields=sorted(changed), visibility=pack.visibility, status=pack.status)
    return pack


@transaction.atomic
def delete_pack(pack_id: UUID, *, precondition: Callable[[int], None] | None = None) -> None:
    """Move a pack to the trash: nobody sees or searches it any more; its rows stay."""
    pack = locking.locked_pack(pack_id)
    if precondition:
        precondition(pack.version)
    locking.refuse_deleted(pack)
    check_pack_transition(pack.status, PackStatus.DELETED)
    pack.deleted_from = pack.status
    pack.status, pack.deleted_at = PackStatus.DELETED, timezone.now()
    pack.version += 1
    pack.save(update_fields=["status", "deleted_at", "deleted_from", "version", "updated_at"])
    log.append(pack, ("pack.deleted", {"pack": pack_header(pack)}))
    sharing.recheck_watchers(pack)
    news.pack_deleted(pack)
    audit.record("pack.trashed", pack)


@transaction.atomic
def restore_pack(pack_id: UUID) -> KnowledgePack:
    """Take a pack out of the trash, as it was. Raises ``NotFound`` for one that is not there, or whose time there is up: its
    purge may have begun."""
    pack = locking.locked_pack(pack_id)
    if pack.status != PackStatus.DELETED or pack.deleted_at is None or pack.deleted_at <= purged_before():
        raise NotFound("There is no such pack in the trash.")
    if Departure.objects.filter(user=pack.owner_id, state=Departure.State.PURGING).exists():
        raise NotFound("The account of its owner is being deleted, and the pack with it.")
    pack.status, pack.deleted_at, pack.deleted_from = pack.deleted_from or PackStatus.ACTIVE, None, ""
    pack.version += 1
    pack.save(update_fields=["status", "deleted_at", "deleted_from", "version", "updated_at"])
    quotas.require(pack.owner_id, packs=1, entries=pack.entry_count)
    log.append(pack, ("pack.restored", {"pack": pack_header(pack)}))
    locking.request_indexing(pack)
    news.pack_changed(pack, "restored")
    audit.record("pack.restored", pack)
    return pack


def purged_before() -> datetime:
    """Packs that were deleted earlier than this cannot be restored any more."""
    return timezone.now() - timedelta(days=settings.TRASH_DAYS)
