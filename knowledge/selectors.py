"""Who sees which pack, and what they see. Every list, detail, search, socket and admin page starts here."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, CharField, Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, JSONObject
from django.utils import timezone

from accounts.models import User
from knowledge.models import (
    EmbeddingModel,
    Entry,
    EntryRevision,
    Import,
    ImportItem,
    KnowledgePack,
    PackShare,
    Role,
    Snapshot,
    Visibility,
)
from knowledge.shapes import entry_header, pack_header
from knowledge.states import PackStatus
from realtime.errors import Forbidden, NotFound

_RANK = {Role.VIEWER: 1, Role.EDITOR: 2, Role.OWNER: 3}


def readable_packs(user: User) -> QuerySet[KnowledgePack]:
    """Every pack that the user may read, with their ``role`` in it: their own, those shared with them, and public ones. None in
    the trash."""
    share = PackShare.objects.filter(pack=OuterRef("pk"), user=user).values("role")[:1]
    role = Case(
        When(owner=user, then=Value(Role.OWNER.value)),
        default=Coalesce(Subquery(share), Case(When(visibility=Visibility.PUBLIC, then=Value(Role.VIEWER.value)))),
        output_field=CharField(),
    )
    return KnowledgePack.objects.annotate(role=role).filter(role__isnull=False).exclude(status=PackStatus.DELETED)


def public_packs(user: User) -> QuerySet[KnowledgePack]:
    """Packs of others that everybody may read."""
    return readable_packs(user).filter(visibility=Visibility.PUBLIC).exclude(owner=user)


def packs_in_scope(user: User, scope: str | None) -> QuerySet[KnowledgePack]:
    """``SCOPES``: one's own, those shared with one, public ones of others, or everything readable; by default the packs that a
    person works with."""
    match scope:
        case "mine":
            return readable_packs(user).filter(owner=user)
        case "shared":
            return packs_for(user).exclude(owner=user)
        case "public":
            return public_packs(user)
        case "all":
            return readable_packs(user)
    return packs_for(user)


SCOPES = ("mine", "shared", "public", "all")


def trashed_packs(user: User) -> QuerySet[KnowledgePack]:
    """The person's own packs in the trash that can still be restored."""
    kept = timezone.now() - timedelta(days=settings.TRASH_DAYS)
    role = Value(Role.OWNER.value, output_field=CharField())
    trashed = KnowledgePack.objects.filter(owner=user, status=PackStatus.DELETED, deleted_at__gt=kept)
    return trashed.annotate(role=role)


def shares_of(user: User, pack: KnowledgePack) -> QuerySet[PackShare]:
    """Every share for the pack's owner; for others their own alone, since a share shows an e-mail address."""
    shares = PackShare.objects.filter(pack=pack).select_related("user")
    return shares if role_in(pack) == Role.OWNER else shares.filter(user=user)


def snapshot_for(pack: KnowledgePack, snapshot_id: UUID | str) -> Snapshot:
    """A snapshot of a pack that was read for its reader. Raises ``NotFound``."""
    found = Snapshot.objects.filter(pack=pack, pk=uuid_or_not_found(snapshot_id)).first()
    if found is None:
        raise NotFound("There is no such snapshot.")
    return found


def snapshot_named(pack: KnowledgePack, wanted: UUID | str) -> Snapshot:
    """A snapshot of the pack by its label or its id; a label goes first. Raises ``NotFound``."""
    named = Q(label=str(wanted))
    with suppress(ValueError):  # then it can only be a label
        named |= Q(pk=UUID(str(wanted)))
    found = sorted(Snapshot.objects.filter(named, pack=pack), key=lambda snapshot: snapshot.label != str(wanted))
    if not found:
        raise NotFound(f"The pack has no snapshot {str(wanted)!r}.")
    return found[0]


def packs_for(user: User) -> QuerySet[KnowledgePack]:
    """The packs that a person works with: their own and those shared with them. Public packs of others are found by their id, or
    asked for."""
    shared = PackShare.objects.filter(pack=OuterRef("pk"), user=user)
    return readable_packs(user).filter(Q(owner=user) | Exists(shared))


def works_with(user: User, pack_id: UUID) -> bool:
    """Whether the pack is among ``packs_for``."""
    return packs_for(user).filter(pk=pack_id).exists()


def pack_for(user: User, pack_id: UUID | str, at_least: Role = Role.VIEWER) -> KnowledgePack:
    """A pack that the user may read. Raises ``NotFound``, also for a pack that is none of their business and for an id that is no
    UUID, and ``Forbidden`` when they may read it but their role is below ``at_least``."""
    pack = readable_packs(user).filter(pk=uuid_or_not_found(pack_id)).first()
    if pack is None:
        raise NotFound("There is no such knowledge pack.")
    if _RANK[role_in(pack)] < _RANK[at_least]:
        raise Forbidden(f"This needs the role {at_least.value}; yours is {role_in(pack).value}.", code="role_too_low")
    return pack


def role_in(pack: KnowledgePack) -> Role:
    """The role of the person for whom the pack was read; a pack that was just made is its owner's."""
    return Role(vars(pack).get("role", Role.OWNER))


def for_same_person(pack: KnowledgePack, read: KnowledgePack) -> KnowledgePack:
    """``pack`` as a service returned it, with the role that it was read with before."""
    vars(pack)["role"] = role_in(read).value
    return pack


def entries_of(pack: KnowledgePack) -> QuerySet[Entry]:
    """The pack's entries that are not deleted, without their content."""
    return Entry.objects.filter(pack=pack, deleted_at__isnull=True)


def trash_of(pack: KnowledgePack) -> QuerySet[Entry]:
    """The pack's entries in the trash, without their content."""
    return Entry.objects.filter(pack=pack, deleted_at__isnull=False)


def entry_for(pack: KnowledgePack, entry_id: UUID | str, *, or_trashed: bool = False) -> Entry:
    """One entry of a pack that the caller may read, with its current revision. Raises ``NotFound``; also for an entry in the trash
    unless ``or_trashed``."""
    entries = Entry.objects.filter(pack=pack) if or_trashed else entries_of(pack)
    entry = entries.select_related("revision").filter(pk=uuid_or_not_found(entry_id)).first()
    if entry is None:
        raise NotFound("There is no such entry.")
    return entry


def twin_of(pack: KnowledgePack, content_hash: str) -> Entry | None:
    """The pack's entry that says this already (``drafts.content_hash``)."""
    return entries_of(pack).filter(content_hash=content_hash).first()


def revisions_of(entry: Entry) -> QuerySet[EntryRevision]:
    return EntryRevision.objects.filter(entry=entry).select_related("author")


def revision_of(entry: Entry, number: int) -> EntryRevision:
    revision = revisions_of(entry).filter(number=number).first()
    if revision is None:
        raise NotFound("There is no such revision.")
    return revision


def imports_of(pack: KnowledgePack) -> QuerySet[Import]:
    """The pack's imports, each with how many of its items are where (``shapes.import_header``), by one statement for all."""
    groups = (
        ImportItem.objects.filter(job=OuterRef("pk"))
        .order_by()
        .values("status", "planned")
        .annotate(number=Count("pk"))
    )
    rows = groups.values(row=JSONObject(status="status", planned="planned", number=Count("pk")))
    return Import.objects.filter(pack=pack).annotate(item_groups=ArraySubquery(rows))


def embedding_models() -> QuerySet[EmbeddingModel]:
    """The models that a pack may choose."""
    return EmbeddingModel.objects.filter(enabled=True)


def all_embedding_models() -> QuerySet[EmbeddingModel]:
    """For staff: also the disabled ones, each with the number of packs that use it."""
    return EmbeddingModel.objects.annotate(pack_count=Count("packs", distinct=True)).order_by("name")


def packs_to_embed(pack_id: UUID | None = None) -> QuerySet[KnowledgePack]:
    """For the console: one pack, or all, without those in the trash."""
    packs = KnowledgePack.objects.exclude(status=PackStatus.DELETED).order_by("pk")
    return packs.filter(pk=pack_id) if pack_id else packs


def revision_text(revision_id: UUID | str) -> str | None:
    """What a revision says, or None when there is none of that id. Its author's packs are not asked: callers hold a citation."""
    return EntryRevision.objects.filter(pk=revision_id).values_list("content", flat=True).first()


class Successor(NamedTuple):
    """What took the place of a revision: the entry's current one, or nothing where the entry was withdrawn."""

    entry: UUID | None
    title: str  # of the revision that is asked about
    was: int  # its number
    revision: UUID | None
    number: int | None


def successors(user: User, revisions: Collection[UUID]) -> dict[UUID, Successor]:
    """Those of the revisions that are not what the user reads of their entries any more: a newer one is, or the entry is in the trash, is
    purged, or its pack is not theirs to read. What it says then is none of their business, so that counts as withdrawn."""
    rows = EntryRevision.objects.filter(pk__in=revisions).annotate(
        now=F("entry__revision_id"),
        now_number=F("entry__revision_number"),
        gone=Q(entry=None) | Q(entry__deleted_at__isnull=False) | ~Q(entry__pack__in=readable_packs(user).values("pk")),
    )
    found = {}
    for one in rows.values("pk", "entry_id", "title", "number", "now", "now_number", "gone"):
        current = (None, None) if one["gone"] else (one["now"], one["now_number"])
        if current[0] != one["pk"]:
            found[one["pk"]] = Successor(one["entry_id"], one["title"], one["number"], *current)
    return found


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
    review_by = row["review_by"] and date.fromisoformat(row["review_by"])
    return Entry(**{**row, **times, "review_by": review_by})
