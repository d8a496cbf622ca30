"""JSON shapes of the council's objects: the one place that the API, the event log and the snapshot take them from.

Plain functions rather than serializer classes: events are written on the hot path of every turn, and the shapes are the
contract of the architecture page, section 6.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from council import sql
from council.deliberation.citations import strip_marks
from council.deliberation.families import family_warnings
from council.deliberation.types import Candidate, TurnKind
from council.models import Budget, Citation, CouncilSession, Decision, Message, Seat, TemplateVersion, Turn
from council.states import TurnStatus
from realtime.times import rfc3339

Json = dict[str, Any]
SEALED_TURNS = frozenset({TurnKind.ANSWER, TurnKind.RATIFY})  # of a round with a person, while it is open


def when(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None


def seat(seat: Seat) -> Json:
    return {
        "id": str(seat.id),
        "position": seat.position,
        "name": seat.name,
        "role": seat.role,
        "instructions": seat.instructions,
        "model": seat.model,
        "chair": seat.chair,
    }


def usage(budget: Budget) -> Json:
    """As of the last settled call; every ``turn.*`` event that settles one carries it."""
    return usage_json(budget.tokens_used, budget.usd_used, budget.calls, budget.seconds_used)


def usage_json(tokens: int, usd: Decimal, calls: int, seconds: Decimal) -> Json:
    """Money in US dollars; seconds are those that models worked."""
    return {"tokens": tokens, "usd": float(usd), "calls": calls, "seconds": float(seconds)}


def budget(budget: Budget) -> Json:
    """The limits; null is none."""
    usd, seconds = budget.usd_limit, budget.seconds_limit
    return {
        "tokens": budget.tokens_limit,
        "usd": None if usd is None else float(usd),
        "calls": budget.calls_limit,
        "seconds": None if seconds is None else float(seconds),
    }


def session_header(session: CouncilSession) -> Json:
    """For lists: everything but the long and the nested."""
    return {"id": str(session.id), "title": session.title, "question": session.question, **session_status(session)} | {
        "created_at": when(session.created_at)
    }


def session_status(session: CouncilSession) -> Json:
    return {
        "status": session.status,
        "reason": session.reason,
        "round": session.round,
        "version": session.version,
        "started_at": when(session.started_at),
        "finished_at": when(session.finished_at),
    }


def session(session: CouncilSession) -> Json:
    """The session without its decision and ``last_seq``, which ``selectors`` add: events must not carry a number of their own."""
    return {
        "id": str(session.id),
        "title": session.title,
        "question": session.question,
        "options": session.options,
        "protocol": session.protocol,
        "template": template(session),
        "agents": [seat(one) for one in session.seats.all()],
        "packs": [str(pack.pk) for pack in session.packs.all()],
        "snapshots": {str(pin.knowledgepack_id): pin.snapshot.label for pin in session.pack_pins.all() if pin.snapshot},
        "usage": usage(session.budget),
        "budget": budget(session.budget),
        "forked_from": session.forked_from,
        "excluded_entries": session.excluded_entries,
        "warnings": family_warnings([one.model for one in session.seats.all() if not one.chair]),
        "created_at": when(session.created_at),
        **session_status(session),
    }


def template(session: CouncilSession) -> Json | None:
    """Which template shaped the session, as it was then; what it said is ``GET …/template``."""
    ran = session.template_ran
    return {"slug": ran.slug, "title": ran.title, "version": ran.version} if ran else None


def template_version(version: TemplateVersion) -> Json:
    return {
        "slug": version.slug,
        "title": version.title,
        "version": version.version,
        "created_at": when(version.created_at),
        **version.content,
    }


def round_key(run: int, number: int, stage: str) -> Json:
    return {"run": run, "round": number, "stage": stage}


class TurnKey(NamedTuple):
    """What names an attempt of a turn in events and snapshots."""

    turn: UUID
    seat: UUID | None
    run: int
    round: int
    kind: str
    ordinal: int
    attempt: int

    def json(self) -> Json:
        return {**self._asdict(), "turn": str(self.turn), "seat": str(self.seat) if self.seat else None}


def turn_key(turn: Turn) -> TurnKey:
    round_ = turn.round
    return TurnKey(turn.id, turn.seat_id, round_.run.number, round_.number, turn.kind, turn.ordinal, turn.attempt)


def is_sealed(turn: Turn) -> bool:
    """Nothing of it may be read: a ballot, or a person still sits in the same round, which would read what no model reads."""
    opened = turn.round.closed_at is not None
    return not opened and (turn.kind == TurnKind.BALLOT or (turn.round.sealed and turn.kind in SEALED_TURNS))


def opened_turns(round_id: UUID) -> list[Json]:
    """What was sealed of a round that is closed now, but for its ballots, which are opened as such."""
    rows = Turn.objects.filter(round=round_id, kind__in=SEALED_TURNS).select_related("round__run")
    return [turn(one) for one in rows.order_by("created_at", "id") if one.attempt or one.status != TurnStatus.PENDING]


def turn(turn: Turn) -> Json:
    return turn_json(
        turn_key(turn),
        status=turn.status,
        result=turn.result,
        evidence=turn.evidence,
        error=turn.error,
        error_detail=turn.error_detail,
        started_at=turn.started_at,
        finished_at=turn.finished_at,
        person=turn.person_id,
        sealed=turn.round.sealed and turn.round.closed_at is None,
        copied_from=turn.copied_from_id,
    )


def turn_json(
    key: TurnKey,
    *,
    status: str,
    result: Json | None = None,
    evidence: Sequence[Json] = (),
    error: str = "",
    error_detail: str = "",
    started_at: datetime | None,
    finished_at: datetime | None = None,
    person: UUID | None = None,
    sealed: bool = False,
    copied_from: UUID | None = None,
) -> Json:
    """A ballot's and a tally's contents are left out: ballots are sealed until ``round.closed``. So are answers and verdicts of a
    round that is ``sealed`` still, together with what was wrong with those that could not be used."""
    shut = sealed and key.kind in SEALED_TURNS
    left_out = shut or key.kind in {TurnKind.BALLOT, TurnKind.TALLY}
    return {
        **key.json(),
        "status": status,
        "person": str(person) if person else None,
        "result": None if left_out else result,
        "evidence": [] if left_out else list(evidence),
        "error": error,
        "error_detail": "" if shut else error_detail,
        "started_at": when(started_at),
        "finished_at": when(finished_at),
        "copied_from": str(copied_from) if copied_from else None,
    }


_BALLOTS = """
    SELECT ballot.seat_id::text, ballot."order"::text, ballot.ranking::text, ballot.scores::text, ballot.abstain
    FROM council_ballot AS ballot JOIN council_seat AS seat ON seat.id = ballot.seat_id
    WHERE ballot.round_id = %s ORDER BY seat.position
"""


def ballots(round_id: UUID) -> list[Json]:
    """In table order. Only for a closed round."""
    return [
        {
            "seat": seat,
            "order": json.loads(order),
            "ranking": json.loads(ranking),
            "scores": json.loads(scores),
            "abstain": abstain,
        }
        for seat, order, ranking, scores, abstain in sql.rows(_BALLOTS, [round_id])
    ]


def texts(candidates: Iterable[Candidate]) -> list[Json]:
    """What ballots rank, by id. Without the marks, which point into one seat's evidence, and without the seats that hold it."""
    return [{"id": one.id, "text": strip_marks(one.text), "option": one.option} for one in candidates]


def message(message: Message) -> Json:
    return {
        "id": str(message.id),
        "kind": message.kind,
        "content": message.content,
        "interrupt": message.interrupt,
        "author": str(message.author_id) if message.author_id else None,
        "seat": str(message.seat_id) if message.seat_id else None,
        "turn": str(message.turn_id) if message.turn_id else None,
        "created_at": when(message.created_at),
    }


def citation(citation: Citation) -> Json:
    revision = citation.revision
    return {
        "n": citation.n,
        "revision": str(citation.revision_id) if citation.revision_id else None,
        "entry": str(revision.entry_id) if revision else None,
        "title": revision.title if revision else None,
        "passage": citation.passage or None,
        "start": citation.start,
        "end": citation.end,
        "quote": citation.quote,
        "quote_hash": citation.quote_hash,
        "status": citation.status,
        "reason": citation.reason,
        "similarity": citation.similarity,
        "snapshot": {"id": str(citation.snapshot), "label": citation.snapshot_label} if citation.snapshot else None,
    }


def decision(decision: Decision) -> Json:
    return {
        "run": decision.run.number,
        "outcome": decision.outcome,
        "answer": decision.answer,
        "source": decision.source,
        "option": decision.option,
        "citations": [citation(one) for one in decision.citations.select_related("revision")],
        "confidence": decision.confidence,
        "agreement": decision.agreement,
        "rules": decision.rules,
        "decided_by": decision.decided_by,
        "margin": decision.margin,
        "too_close": decision.too_close,
        "dissent": decision.dissent,
        "flips": decision.flips,
        "ratification": decision.ratification,
        "exchange": decision.exchange,
        "missing": decision.missing,
        "notes": decision.notes,
    }
