"""The order of a pack's entries: ordinals with gaps, so that moving a few entries writes only those few rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal
from uuid import UUID

from django.db import connection, transaction

from knowledge.batch import GAP
from knowledge.models import Entry, KnowledgePack
from knowledge.services import locking
from knowledge.shapes import pack_counts
from realtime import log
from realtime.errors import FieldError, InvalidInput

EVENT_ENTRIES: Final = 500  # told of in one event

Side = Literal["before", "after"]
Place = tuple[UUID, int]  # an entry and its ordinal

# Entries with the same ordinal stand in the order of their ids.
_UPDATE: Final = """
    UPDATE knowledge_entry AS entry SET ordinal = new.ordinal
    FROM unnest(%s::uuid[], %s::int[]) AS new(id, ordinal) WHERE entry.id = new.id
"""


@transaction.atomic
def reorder_entries(pack_id: UUID, ids: Sequence[UUID], side: Side, anchor: UUID | None) -> dict[UUID, int]:
    """Put the entries of ``ids``, in that order, before or after ``anchor``; without an anchor, before the end or after the start.

    The new ordinal of every entry that has another one now: usually of those moved; of the whole pack when there was no room
    between the neighbours. Raises ``InvalidInput`` for ids that are not (or not just once) entries of the pack.
    """
    pack = locking.locked_pack(pack_id)
    locking.require_open(pack)
    places = list(
        Entry.objects.filter(pack=pack, deleted_at=None).order_by("ordinal", "id").values_list("id", "ordinal")
    )
    known = dict(places)
    _check(ids, anchor, known)
    moved = set(ids)
    rest = [place for place in places if place[0] not in moved]
    at = _position(rest, side, anchor)
    numbers = _between(rest[at - 1][1] if at else 0, rest[at][1] if at < len(rest) else None, len(ids))
    if numbers:
        wanted = dict(zip(ids, numbers, strict=True))
    else:
        order = [*(entry for entry, _ in rest[:at]), *ids, *(entry for entry, _ in rest[at:])]
        wanted = {entry: place * GAP for place, entry in enumerate(order, 1)}
    changed = {entry: ordinal for entry, ordinal in wanted.items() if known[entry] != ordinal}
    _write(pack, changed)
    return changed


def _check(ids: Sequence[UUID], anchor: UUID | None, known: Mapping[UUID, int]) -> None:
    unknown = "is not an entry of the pack"
    errors: list[FieldError] = [
        {"pointer": f"/ids/{index}", "detail": unknown if entry not in known else "stands twice"}
        for index, entry in enumerate(ids)
        if entry not in known or entry in ids[:index]
    ]
    if anchor is not None and (anchor not in known or anchor in ids):
        errors.append(
            {"pointer": "", "detail": "the entry to move to " + ("is moved itself" if anchor in ids else unknown)}
        )
    if errors:
        raise InvalidInput("The entries cannot be put in this order.", code="bad_order", errors=errors)


def _position(rest: Sequence[Place], side: Side, anchor: UUID | None) -> int:
    """Before which of ``rest`` the moved entries go."""
    if anchor is None:
        return len(rest) if side == "before" else 0
    at = next(index for index, (entry, _) in enumerate(rest) if entry == anchor)
    return at if side == "before" else at + 1


def _between(low: int, high: int | None, count: int) -> list[int]:
    """``count`` rising numbers between two ordinals, evenly spread; none when there is no room."""
    step = GAP if high is None else (high - low) // (count + 1)
    return [low + step * place for place in range(1, count + 1)] if step else []


def _write(pack: KnowledgePack, changed: Mapping[UUID, int]) -> None:
    """Nobody's edit of an entry itself: versions and times stay."""
    with connection.cursor() as cursor:
        cursor.execute(_UPDATE, [list(changed), list(changed.values())])
    rows = [{"id": str(entry), "ordinal": ordinal} for entry, ordinal in changed.items()]
    batches = (rows[first : first + EVENT_ENTRIES] for first in range(0, len(rows), EVENT_ENTRIES))
    log.append(pack, *(("entry.reordered", {"entries": some, "pack": pack_counts(pack)}) for some in batches))
