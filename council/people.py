"""What people say for a seat, and at the gate.

A person's turn waits as ``pending`` and no worker takes it. Reading it searches the packs once and keeps what was found, so that
citation numbers hold; answering it takes the turn and finishes it in one transaction, under the session's lock like everything
else. Whoever holds the lock first decides between an answer, the deadline (``sweeper``) and a stop.

Errors: ``NotFound`` for a turn that is not a person's or not this user's; ``IllegalState`` with ``turn_over``, ``deadline_passed``,
``not_running``, ``no_gate`` or ``no_debate``; ``InvalidInput`` with a pointer for a reply that is no valid turn, which stores nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from council import claims, context, events, orchestrator, serial
from council.deliberation import dialogues, gates
from council.deliberation.parsing import ReplyError
from council.deliberation.types import GateAnswer, TurnContext, TurnKind
from council.desk import Desk
from council.evidence import shown_to
from council.models import CouncilSession, Message, Turn
from council.orchestrator import Finished
from council.results import finished
from council.selectors import session_for
from council.state import load
from council.states import SessionStatus, TurnStatus
from council.steps import gate_json
from realtime import log
from realtime.errors import IllegalState, InvalidInput, NotFound

Json = dict[str, Any]
TEXT_MAX = 20_000  # characters of any one text in a reply
GATE_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "decision": {"type": "string", "enum": ["approve", "debate", "stop"]},
        "note": {"type": "string"},
    },
    "required": ["decision"],
    "additionalProperties": False,
}


# --- what waits -------------------------------------------------------------------------------------------------------


def turns_of(user: User, session_id: UUID) -> QuerySet[Turn]:
    """Every turn of the user's session, in the order in which they were asked."""
    session = session_for(user, session_id)
    return Turn.objects.filter(session=session).select_related("round__run", "seat").order_by("created_at", "id")


def waiting(user: User, session_id: UUID) -> list[Turn]:
    """The turns that wait for a person now, the gate's among them; none while the council does not run."""
    turns = turns_of(user, session_id).filter(human=True, status=TurnStatus.PENDING)
    return list(turns.filter(session__status=SessionStatus.RUNNING, deadline_at__gt=timezone.now()))


def header(turn: Turn) -> Json:
    """A turn in a list: as in the snapshot, and until when it waits for a person (null for a model's)."""
    return {
        **serial.turn(turn),
        "human": turn.human,
        "deadline_at": serial.when(turn.deadline_at) if turn.human else None,
    }


class Sheet(NamedTuple):
    """A person's turn as that person may see it: ``assignment`` is what a model in its place would be given."""

    turn: Turn
    assignment: context.Assignment
    expects: Json
    parse: Any  # the reply's text -> the turn's result; raises ReplyError


def turn_detail(user: User, session_id: UUID, turn_id: UUID) -> Json:
    """``header`` with ``context`` (all that this seat may know) and ``expects`` (JSON Schema of the reply). Both are null where
    nothing can be said any more, or for now."""
    turn = person_turn(user, session_id, turn_id)
    if not _open(turn):
        return {**header(turn), "context": None, "expects": None}
    if turn.kind == TurnKind.GATE:
        return {**header(turn), "context": gate_json(load(turn.round.run_id)), "expects": GATE_SCHEMA}
    sheet = open_sheet(turn)
    return {**header(turn), "context": _unaddressed(sheet.assignment.context), "expects": sheet.expects}


def _unaddressed(context: TurnContext) -> Json:
    """Without whom the letters meant that this seat put its own questions to: prompts do not say that either."""
    shown = context.model_dump(mode="json")
    for question in (shown["own"] or {}).get("questions", ()):
        question["seat"] = None
    return shown


def person_turn(user: User, session_id: UUID, turn_id: UUID) -> Turn:
    turn = (
        turns_of(user, session_id)
        .filter(pk=turn_id, human=True)
        .select_related("session", "round__run", "seat")
        .first()
    )
    if turn is None:
        raise NotFound("No such turn waits for a person.")
    return turn


def _open(turn: Turn) -> bool:
    running = turn.session.status == SessionStatus.RUNNING
    late = turn.deadline_at is not None and turn.deadline_at <= timezone.now()
    return running and turn.status == TurnStatus.PENDING and not late


def open_sheet(turn: Turn) -> Sheet:
    """Put the turn before its seat. The first time it searches the packs, outside of any transaction of ours, and keeps what was
    found; of two that come first together one is kept. Raises ``IllegalState`` when the turn is over."""
    claim = claims.look(turn.pk)
    if claim is None:
        raise _over(turn)
    if turn.seen_at is None:
        found = context.prepare(Desk([claim]), claim).context.evidence
        _keep(turn, [item.model_dump(mode="json") for item in found])
        turn.refresh_from_db(fields=["evidence", "seen_at"])
    assignment = context.prepare(Desk([claim]), claim, shown=shown_to(turn))
    expects, parse = dialogues.for_person(assignment.context, assignment.seed)
    return Sheet(turn, assignment, expects, parse)


def _keep(turn: Turn, found: list[Json]) -> None:
    with transaction.atomic():
        claims.lock_session(turn.session_id)
        fresh = Turn.objects.filter(pk=turn.pk, seen_at=None, status=TurnStatus.PENDING)
        fresh.update(evidence=found, seen_at=timezone.now())


# --- answering --------------------------------------------------------------------------------------------------------


def reply(user: User, session_id: UUID, turn_id: UUID, body: Any) -> Turn:
    """Complete a seat's turn with what its person says; it is held to what a model's reply is held to."""
    turn = person_turn(user, session_id, turn_id)
    if turn.kind == TurnKind.GATE:
        raise IllegalState("A gate is answered at /gate.", code="is_gate")
    if not _open(turn):
        raise _over(turn)
    sheet = open_sheet(turn)
    _commit(user, turn, finished(_read(sheet, body), sheet.assignment))
    return person_turn(user, session_id, turn_id)


def _read(sheet: Sheet, body: Any) -> Any:
    if not isinstance(body, Mapping) or not body:
        raise InvalidInput(
            "The reply is an object.", code="bad_reply", errors=[{"pointer": "", "detail": "Must be an object."}]
        )
    if too_long := next(_too_long(body, ""), None):
        detail = f"A text has at most {TEXT_MAX} characters."
        raise InvalidInput(detail, code="bad_reply", errors=[{"pointer": too_long, "detail": detail}])
    try:
        return sheet.parse(json.dumps(body))
    except ReplyError as error:
        pointer = f"/{error.at}" if error.at else ""
        detail = error.detail[:1].upper() + error.detail[1:] + "."
        raise InvalidInput(detail, code=error.code, errors=[{"pointer": pointer, "detail": detail}]) from error


def _too_long(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, str) and len(value) > TEXT_MAX:
        yield at
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _too_long(one, f"{at}/{key}")


def _commit(user: User, turn: Turn, done: Finished) -> None:
    with transaction.atomic():
        claims.lock_session(turn.session_id)
        claim = claims.take_as(turn.session_id, turn.pk, user.pk)
        if claim is None:
            turn.refresh_from_db()
            raise _over(turn)
        orchestrator.finish([(claim, done)])


def _over(turn: Turn) -> IllegalState:
    """Why nothing can be said in this turn any more."""
    status = CouncilSession.objects.values_list("status", flat=True).get(pk=turn.session_id)
    late = turn.error == "deadline" or (turn.deadline_at is not None and turn.deadline_at <= timezone.now())
    if turn.status in {TurnStatus.PENDING, TurnStatus.FAILED} and late:
        return IllegalState("The time for this turn is over.", code="deadline_passed")
    if turn.status == TurnStatus.PENDING:
        return IllegalState(f"The council is {status}.", code="not_running")
    return IllegalState(f"This turn is over: it was {turn.status}.", code="turn_over")


# --- the gate ---------------------------------------------------------------------------------------------------------


def open_gate(user: User, session_id: UUID) -> Turn:
    """Raises ``IllegalState`` when no gate is open."""
    found = next((turn for turn in waiting(user, session_id) if turn.kind == TurnKind.GATE), None)
    if found is None:
        raise IllegalState("The council does not wait at a gate.", code="no_gate")
    return found


def decide_gate(user: User, session_id: UUID, *, decision: str, note: str = "") -> CouncilSession:
    """Go on to the text, debate once more, or end with the count. Who said so and when stays with the turn; ``note`` is read by
    those who are asked next, the chair among them."""
    with transaction.atomic():
        session = claims.lock_session(session_id)
        if session is None or session.owner_id != user.pk:
            raise NotFound("There is no such council session.")
        turn = open_gate(user, session_id)
        if decision == "debate" and (why := gates.why_no_debate(load(turn.round.run_id))):
            raise IllegalState(why, code="no_debate")
        answer = GateAnswer.model_validate({"decision": decision, "note": note})
        if note and decision != "stop":
            message = Message.objects.create(session=session, author=user, kind=Message.Kind.NOTE, content=note)
            log.append(session, events.message_created(message))
        _commit(user, turn, Finished({"gate": answer.model_dump(mode="json")}))
    return session_for(user, session_id)
