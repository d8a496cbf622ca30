"""Who else may use a pack.

Events name people by their ids alone: everybody who may read a pack may read its log, the public included. Whoever loses access
loses open sockets too: these are told to check again after the commit.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from accounts import audit, quotas
from accounts.models import User
from knowledge import news, sizes
from knowledge.models import KnowledgePack, PackShare, Role
from knowledge.services import locking
from realtime import log, nudge
from realtime.errors import Conflict, NotFound
from realtime.groups import stream_group


@transaction.atomic
def share(pack_id: UUID, by: User | None, email: str, role: str) -> tuple[PackShare, bool]:
    """Give a person a role in the pack, or another one than before; whether the share is new. Raises ``NotFound``
    (``user_not_found``) and ``Conflict`` (``already_owner``)."""
    pack = _locked(pack_id)
    person = _person(email)
    if person.pk == pack.owner_id:
        raise Conflict("The owner of a pack needs no share of it.", code="already_owner")
    known = PackShare.objects.filter(pack=pack, user=person).select_related("user").first()
    if known is not None:
        return _give(pack, known, role), False
    new = PackShare.objects.create(pack=pack, user=person, role=role, created_by=by)
    log.append(pack, ("pack.shared", {"share": _event(new)}))
    news.role_given(pack, person.pk, newly=person.pk)
    audit.record("pack.shared", pack, user=person.pk, role=role)
    return new, True


@transaction.atomic
def change_role(pack_id: UUID, share_id: UUID, role: str) -> PackShare:
    pack = _locked(pack_id)
    return _give(pack, _share(pack, share_id), role)


@transaction.atomic
def unshare(pack_id: UUID, share_id: UUID) -> None:
    pack = _locked(pack_id)
    known = _share(pack, share_id)
    event = _event(known)
    known.delete()
    log.append(pack, ("pack.unshared", {"share": event}))
    recheck_watchers(pack)
    news.role_taken(pack, known.user_id)
    audit.record("pack.unshared", pack, user=known.user_id)


@transaction.atomic
def transfer(pack_id: UUID, email: str) -> KnowledgePack:
    """Make another person the owner; the old one stays as an editor. Raises as ``share`` does, and ``QuotaExceeded`` when
    that person has no room for it."""
    pack = _locked(pack_id)
    person = _person(email)
    if person.pk == pack.owner_id:
        raise Conflict("The pack is theirs already.", code="already_owner")
    PackShare.objects.filter(pack=pack, user=person).delete()
    PackShare.objects.create(pack=pack, user_id=pack.owner_id, role=Role.EDITOR, created_by_id=pack.owner_id)
    old, pack.owner = pack.owner_id, person
    pack.save(update_fields=["owner"])
    quotas.require(person.pk, packs=1, entries=pack.entry_count, storage_bytes=lambda: sizes.of_pack(pack.pk))
    log.append(pack, ("pack.transferred", {"from": str(old), "to": str(person.pk)}))
    recheck_watchers(pack)
    news.role_given(pack, old, person.pk, newly=person.pk)
    audit.record("pack.transferred", pack, owner=old, user=person.pk)
    return pack


def recheck_watchers(pack: KnowledgePack) -> None:
    """After the commit, every socket of the pack asks again whether it may stay. When that message is lost, they ask within a
    minute."""
    group = stream_group(KnowledgePack, pack.pk)
    transaction.on_commit(lambda: nudge.recheck(group), robust=True)


def _locked(pack_id: UUID) -> KnowledgePack:
    pack = locking.locked_pack(pack_id)
    locking.refuse_deleted(pack)
    return pack


def _person(email: str) -> User:
    person = User.objects.by_email(email).filter(is_active=True).first()
    if person is None:
        raise NotFound("Nobody has an account with this e-mail address.", code="user_not_found")
    return person


def _share(pack: KnowledgePack, share_id: UUID) -> PackShare:
    known = PackShare.objects.filter(pack=pack, pk=share_id).select_related("user").first()
    if known is None:
        raise NotFound("There is no such share.")
    return known


def _give(pack: KnowledgePack, known: PackShare, role: str) -> PackShare:
    if known.role != role:
        known.role = role
        known.save(update_fields=["role"])
        log.append(pack, ("pack.shared", {"share": _event(known)}))
        news.role_given(pack, known.user_id)
        audit.record("pack.shared", pack, user=known.user_id, role=role)
    return known


def _event(known: PackShare) -> dict[str, Any]:
    return {"id": str(known.pk), "user": str(known.user_id), "role": known.role}
