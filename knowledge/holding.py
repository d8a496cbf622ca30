"""A person's packs, for what accounts does with everything of theirs: exports, quotas, usage, and the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce

from accounts import holdings
from accounts.holdings import Amount, Json, Member, SharedThing
from accounts.models import User
from knowledge import exports, selectors, services, sizes
from knowledge.models import EntryRevision, Import, KnowledgePack, Visibility
from knowledge.services import purging
from knowledge.states import ImportStatus, PackStatus
from realtime.errors import NotFound

SLICE_S: Final = 1.0  # of a pack's purge in one step
ROWS: Final = 1000

_STORED_BY_DAY: Final = """
    SELECT (r.created_at AT TIME ZONE 'UTC')::date, sum(pg_column_size(r.content)), count(*) FROM knowledge_knowledgepack p
    JOIN knowledge_entry e ON e.pack_id = p.id JOIN knowledge_entryrevision r ON r.entry_id = e.id
    WHERE p.owner_id = %(user)s AND r.created_at >= %(since)s AND r.created_at < %(until)s
    GROUP BY 1 ORDER BY 1
"""
_PASSAGES: Final = """
    SELECT coalesce(sum(pg_column_size(s.text)), 0), count(*) FROM knowledge_knowledgepack p
    JOIN knowledge_passage s ON s.pack_id = p.id WHERE p.owner_id = %(user)s
"""
_UNNAMED: Final = """
    UPDATE knowledge_packevent SET payload = jsonb_set(payload, '{actor,name}', 'null')
    WHERE payload -> 'actor' ->> 'id' = %(user)s AND payload -> 'actor' ->> 'name' IS NOT NULL
"""


class Packs(holdings.Holding):
    name = "knowledge"
    things = "packs"
    stream = KnowledgePack
    layer = 1
    owned = (KnowledgePack,)

    def counts(self, user: User) -> Mapping[str, int]:
        return {"packs": KnowledgePack.objects.filter(owner=user).count()}

    def shared(self, user: User) -> list[SharedThing]:
        packs = KnowledgePack.objects.filter(owner=user).exclude(status=PackStatus.DELETED)
        found = packs.annotate(people=Count("shares")).order_by("name", "pk")
        every = [SharedThing(pack.pk, pack.name, pack.people, pack.visibility == Visibility.PUBLIC) for pack in found]
        return [one for one in every if one.people or one.public]

    def members(self, user: User) -> Iterator[Member]:
        """Each pack as its own export has it, those in the trash too."""
        for pack in KnowledgePack.objects.filter(owner=user).order_by("created_at", "pk").iterator(100):
            name = exports.slug(pack.name) or "pack"
            yield Member(f"packs/{name}-{pack.pk}.jsonl", exports.jsonl(pack))

    def purge_step(self, user_id: UUID) -> bool:
        """Packs first; then revisions of theirs that nothing cites any more; last their name in the logs of other people's packs."""
        pack = KnowledgePack.objects.filter(owner=user_id).order_by("pk").first()
        if pack is not None:
            _purge(pack)
            return True
        return bool(_drop_uncited(user_id) or _run(_UNNAMED, user=str(user_id)))

    def holds(self, user_id: UUID) -> bool:
        return KnowledgePack.objects.filter(owner=user_id).exists()

    def usage(self, user: User, since: datetime, until: datetime) -> Json:
        values: dict[str, Any] = {"user": user.pk, "since": since, "until": until}
        packs = KnowledgePack.objects.filter(owner=user).exclude(status=PackStatus.DELETED)
        counted = packs.aggregate(packs=Count("pk"), entries=Coalesce(Sum("entry_count"), 0))
        [passages] = _rows(_PASSAGES, values)
        return {
            "storage": {
                **counted,
                "entry_bytes": sizes.of_person(user.pk),
                "passages": passages[1],
                "passage_bytes": int(passages[0]),
                "days": [
                    {"date": day, "revisions": count, "bytes": int(size)}
                    for day, size, count in _rows(_STORED_BY_DAY, values)
                ],
            }
        }

    def activity(self, user: User, watched: Collection[UUID]) -> list[Json]:
        """A pack runs while an import of the person's is at work in it."""
        at_work = [ImportStatus.QUEUED, ImportStatus.READING, ImportStatus.WRITING]
        imports = Import.objects.filter(created_by=user, status__in=at_work)
        since = imports.filter(pack=OuterRef("pk")).order_by("created_at").values("created_at")[:1]
        shown = selectors.readable_packs(user).filter(Q(pk__in=watched) | Q(pk__in=imports.values("pack")))
        rows = shown.annotate(running_since=Subquery(since)).order_by("-created_at", "-id")
        return [
            {"id": one.pk, "name": one.name, "status": one.status, "running_since": one.running_since} for one in rows
        ]

    def meters(self) -> Mapping[str, Callable[[UUID], Amount]]:
        return {"packs": packs_of, "entries": entries_of, "storage_bytes": sizes.of_person}


def packs_of(user_id: UUID) -> int:
    return KnowledgePack.objects.filter(owner=user_id).exclude(status=PackStatus.DELETED).count()


def entries_of(user_id: UUID) -> int:
    packs = KnowledgePack.objects.filter(owner=user_id).exclude(status=PackStatus.DELETED)
    return int(packs.aggregate(sum=Coalesce(Sum("entry_count"), 0))["sum"])


def _purge(pack: KnowledgePack) -> None:
    """Those who use the pack are told, then its steps are taken (``purging``: no time in the trash for who is going)."""
    if pack.status != PackStatus.DELETED:
        try:
            services.delete_pack(pack.pk)
        except NotFound:
            return  # another worker was faster
    purging.purge(pack.pk, time.monotonic() + SLICE_S)


@transaction.atomic
def _drop_uncited(user_id: UUID) -> int:
    """Revisions outlive their entry for as long as a decision cites them; those of the person's own councils are gone by now."""
    return purging.drop_uncited(EntryRevision.objects.filter(entry=None, author=user_id), ROWS)


def _rows(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _run(statement: str, **values: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)
