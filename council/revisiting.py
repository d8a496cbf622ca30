"""What a seat reads that is asked about an answer that it has given already: for a person's question, or because its evidence changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from council.claims import Claim
from council.deliberation import citations
from council.deliberation.revisions import moved
from council.deliberation.types import Answer, Evidence, Revised, TurnKind
from council.evidence import shown_to
from council.models import Message, Turn
from council.states import TurnStatus
from knowledge.models import EntryRevision

Json = dict[str, Any]


class Given(NamedTuple):
    """An answer as it was given, and what the seat was shown for it."""

    own: Answer
    shown: tuple[Evidence, ...]


def asked_about(claim: Claim) -> tuple[str, Given]:
    """The question of a reply turn, and the answer of the seat's own that it is about."""
    question = Message.objects.values_list("content", flat=True).get(turn=claim.turn_id)
    done = Turn.objects.filter(kind=TurnKind.ANSWER, status=TurnStatus.COMPLETED)
    return question, _given(done.get(round=claim.round_id, seat=claim.seat_id))


def _given(turn: Turn) -> Given:
    return Given(Answer.model_validate((turn.result or {})["answer"]), shown_to(turn))


class Revisit(NamedTuple):
    """The seat's answer, its evidence as it reads now under the numbers that it had, and the cited passages that changed."""

    own: Answer
    evidence: tuple[Evidence, ...]
    revised: tuple[Revised, ...]


def reconsidered(claim: Claim, origin: Json) -> Revisit:
    """For a seat that ``origin`` (of the run) has asked again."""
    done = Turn.objects.filter(seat=claim.seat_id, kind=TurnKind.ANSWER, status=TurnStatus.COMPLETED)
    turn = done.filter(round__run__number=origin["run"]).order_by("-round__number").first()
    if turn is None:
        raise RuntimeError("a seat that cited something has answered")
    given = _given(turn)
    changes = {one["was"]["revision"]: one["now"] and one["now"]["revision"] for one in origin["changes"]}
    now = _rebound(given.shown, changes)
    cited = {*citations.numbers(given.own.answer), *(n for claim in given.own.claims for n in claim.evidence)}
    changed = [item for item in given.shown if item.revision in changes]
    # Where no passage that changed is cited, what the decision cites of it was only shown.
    told = [item for item in changed if item.n in cited] or changed
    revised = tuple(
        Revised(n=item.n, title=item.title, then=item.text, now=now[item.n].text if item.n in now else None)
        for item in told
    )
    return Revisit(given.own, tuple(now.values()), revised)


def _rebound(shown: Sequence[Evidence], changes: Mapping[str, str | None]) -> dict[int, Evidence]:
    """By number; without passages that nothing took the place of."""
    wanted = {UUID(one) for pair in changes.items() for one in pair if one}
    texts = {str(one.pk): one for one in EntryRevision.objects.filter(pk__in=wanted)}
    items = {item.n: _now(item, changes, texts) for item in shown}
    return {n: item for n, item in items.items() if item is not None}


def _now(item: Evidence, changes: Mapping[str, str | None], texts: Mapping[str, EntryRevision]) -> Evidence | None:
    if item.revision not in changes:
        return item
    old, new = texts.get(item.revision), texts.get(changes[item.revision] or "")
    if old is None or new is None:
        return None
    span = moved(old.content, new.content, item.start, item.end)
    if span is None:
        return None
    place = {"start": span.start, "end": span.end, "text": span.of(new.content), "snapshot": None, "snapshot_label": ""}
    return item.model_copy(update={**place, "revision": str(new.pk), "passage": None, "title": new.title})
