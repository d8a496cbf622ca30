"""What people are told in their own streams (``accounts.streams``) of the packs that are theirs or shared with them.

Each function belongs at the end of the transaction of the change, under the pack's lock, which fixes whom it concerns. Whoever reads a
pack only because it is public is told nothing.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from accounts import events, streams
from accounts.events import (
    About,
    ImportDone,
    Notification,
    PackCard,
    PackData,
    PackGone,
    PackId,
    PackImported,
    PackPublished,
    SnapshotId,
)
from knowledge.models import Import, KnowledgePack, PackShare, Role, Snapshot
from knowledge.states import ImportStatus
from realtime import actor
from realtime.log import NewEvent

DETAIL_MAX = 300


def members(pack: KnowledgePack) -> dict[UUID, str]:
    """Who works with the pack, and as what."""
    shared = PackShare.objects.filter(pack=pack).values_list("user", "role")
    return {**dict(shared), pack.owner_id: Role.OWNER.value}


def pack_changed(pack: KnowledgePack, verb: str) -> None:
    """``verb``: created, updated or restored."""
    streams.tell({user: [_card(f"pack.{verb}", pack, role)] for user, role in members(pack).items()})


def pack_deleted(pack: KnowledgePack) -> None:
    lost = members(pack)
    streams.withdraw(lost, pack.pk)
    streams.tell({user: [_gone("pack.deleted", pack)] for user in lost})


def role_given(pack: KnowledgePack, *users: UUID, newly: UUID | None = None) -> None:
    """These users have another role in the pack than before; to ``newly`` that is news."""
    roles = members(pack)
    told = {user: [_card("pack.shared", pack, roles[user])] for user in users}
    if newly:
        by = actor.current()
        told[newly].append(_notification(pack, "pack_shared", by=by["name"] if by else None))
    streams.tell(told)


def role_taken(pack: KnowledgePack, user: UUID) -> None:
    streams.withdraw([user], pack.pk)
    streams.tell({user: [_gone("pack.unshared", pack)]})


def pack_purged(pack: KnowledgePack) -> None:
    """To its owner: the others lost it when it went to the trash, and who they were has been forgotten."""
    streams.tell({pack.owner_id: [_gone("pack.purged", pack)]})


def published(pack: KnowledgePack, snapshot: Snapshot) -> None:
    data = PackPublished(pack=PackId(id=pack.id), snapshot=SnapshotId(id=snapshot.id))
    streams.tell({user: [events.event("pack.published", data)] for user in members(pack)})


def import_finished(pack: KnowledgePack, job: Import) -> None:
    """A failure is also a notification: to whoever began it, as long as they work with the pack; else to its owner."""
    status: Any = str(job.status)
    done = events.event(
        "pack.import_finished", PackImported(pack=PackId(id=pack.id), job=ImportDone(id=job.id, status=status))
    )
    told = {user: [done] for user in members(pack)}
    if job.status == ImportStatus.FAILED:
        author = job.created_by_id
        what = ": ".join(part for part in (job.filename, job.error) if part)
        told[author if author in told else pack.owner_id].append(
            _notification(pack, "import_failed", detail=what[:DETAIL_MAX])
        )
    streams.tell(told)


def _card(kind: str, pack: KnowledgePack, role: Any) -> NewEvent:
    status, visibility = str(pack.status), str(pack.visibility)
    card = PackCard.model_validate(
        {"id": pack.id, "name": pack.name, "status": status, "visibility": visibility, "role": str(role)}
    )
    return events.event(kind, PackData(pack=card))


def _gone(kind: str, pack: KnowledgePack) -> NewEvent:
    return events.event(kind, PackGone(pack=PackId(id=pack.id)))


def _notification(pack: KnowledgePack, kind: Any, **more: Any) -> NewEvent:
    about = About(type="pack", id=pack.id)
    return events.notification(Notification(kind=kind, about=about, title=pack.name, **more))
