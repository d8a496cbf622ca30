"""Asking one seat: a person's question to it alone, answered in a turn of its own beside the run.

The turn has the kind ``reply`` and stands in the round in which the seat gave the answer that it is asked about, which is closed
already. Neither ``next_step`` nor any count sees it (``state.load`` leaves it out), so a run never waits for it and a recount is the same
with and without it. Why it has no round of its own: docs/decisions/012.
"""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import quotas
from accounts.models import User
from council import budgets, claims, events, turns
from council.deliberation import prompts
from council.deliberation.types import HUMAN, TurnKind
from council.endpoints import check_models
from council.models import CouncilSession, Message, Seat, Turn
from council.states import OPEN_TURNS, SERVING, TurnStatus
from realtime import log
from realtime.errors import IllegalState, InvalidInput, NotFound


def ask(user: User, session_id: UUID, seat_id: UUID, question: str) -> Message:
    """Put a question to one seat. Its ``turn`` brings the reply, streamed like an answer.

    The seat is asked about its latest answer in a closed round: what it says in an open one stays unseen until that closes. Raises
    ``NotFound`` for a seat of another table, ``IllegalState`` with the code ``seat_has_not_spoken``, ``seat_is_human`` or
    ``budget_exhausted``, ``QuotaExceeded``, or while the council can answer nobody (a draft, paused).
    """
    with transaction.atomic():
        session = claims.lock_owned(user, session_id)
        seat = Seat.objects.filter(session=session, pk=seat_id).first()
        if seat is None:
            raise NotFound("There is no such seat.")
        answered = _may_ask(session, seat, question)
        turn = _open_turn(session, answered)
        message = Message.objects.create(
            session=session,
            author=user,
            kind=Message.Kind.QUESTION,
            content=question,
            seat=seat,
            turn=turn,
            delivered_in=answered.round,
        )
        log.append(session, events.message_created(message))
        turns.dispatch(session.pk, [(turn.pk, turn.kind)])
    return message


def _may_ask(session: CouncilSession, seat: Seat, question: str) -> Turn:
    """The answer that the seat is asked about."""
    if not prompts.one_line(question):
        detail = "The question is empty."
        raise InvalidInput(detail, errors=[{"pointer": "/question", "detail": detail}])
    if session.status not in SERVING:
        raise IllegalState(f"The seats of a {session.status} council cannot be asked.")
    if seat.model == HUMAN:
        raise IllegalState("A person holds this seat: ask them yourself.", code="seat_is_human")
    answered = _latest_answer(seat)
    if answered is None:
        raise IllegalState(
            "This seat has given no answer yet that it could be asked about.", code="seat_has_not_spoken"
        )
    check_models([seat.model])
    budgets.require_some(session.pk)
    quotas.require_left(session.owner_id, *quotas.SPENT)
    return answered


def _latest_answer(seat: Seat) -> Turn | None:
    given = Turn.objects.filter(
        seat=seat, kind=TurnKind.ANSWER, status=TurnStatus.COMPLETED, round__closed_at__isnull=False
    )
    return given.select_related("round__run").order_by("-round__run__number", "-round__number").first()


def _open_turn(session: CouncilSession, answered: Turn) -> Turn:
    now = timezone.now()
    place = {"round": answered.round, "seat_id": answered.seat_id, "kind": TurnKind.REPLY}
    return Turn.objects.create(
        session=session,
        **place,
        ordinal=Turn.objects.filter(**place).count(),  # under the session's lock, so nobody else takes it
        not_before=now,
        dispatched_at=now,
    )


def cancel_open(session: CouncilSession) -> int:
    """Cancel every reply that has not ended, of any run. Under the session's lock."""
    rows = Turn.objects.select_for_update(no_key=True, of=("self",)).select_related("round__run")
    open_turns = list(rows.filter(session=session, kind=TurnKind.REPLY, status__in=OPEN_TURNS).order_by("id"))
    for turn in open_turns:
        turns.end(session, turn, TurnStatus.CANCELLED)
    return len(open_turns)
