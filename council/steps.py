"""Applying one step of the protocol to the database. Called only by ``orchestrator.advance``, under the session's lock."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from council import claims, decisions, events, news, serial, sql, turns
from council.claims import Claim
from council.counting import ballot_texts
from council.deliberation import ending, gates
from council.deliberation import types as t
from council.deliberation.citations import strip_marks
from council.deliberation.protocol import final_tally
from council.models import CouncilSession, Round, Run
from council.refs import RunRef
from council.serial import Json
from council.state import load
from council.states import RunStatus, SessionStatus
from realtime import log
from realtime.failpoints import failpoint
from realtime.ids import uuid7


def apply(run: RunRef, state: t.RunState, step: t.Step, taker: str = "") -> list[Claim]:
    """Do it. With a ``taker``, a worker that goes on with what is asked now, the turns are its own from the start if they are
    few enough for one; its claims are returned."""
    match step:
        case t.Ask():
            return _ask(run, state, step, taker)
        case t.CloseRound():
            close_round(run, state, step.number)
        case t.Release():
            turns.release_unneeded(CouncilSession.objects.get(pk=run.session_id), step.turns)
        case t.Conclude():
            _conclude(run, state, step)
        case t.Wait():
            pass
    return []


_INSERT_TURNS = """
    INSERT INTO council_turn (id, session_id, round_id, seat_id, kind, ordinal, human, deadline_at, status, attempt, model_errors,
                              worker, not_before, dispatched_at, evidence, error, error_detail, created_at)
    SELECT new.id, %(session)s, %(round)s, new.seat, new.kind, new.ordinal, new.human,
           CASE WHEN new.human THEN clock_timestamp() + %(patience)s * interval '1 second' END, 'pending', 0, 0, '',
           clock_timestamp(), clock_timestamp(), '[]', '', '', clock_timestamp()
    FROM unnest(%(turns)s::uuid[], %(seats)s::uuid[], %(kinds)s::text[], %(ordinals)s::int[], %(people)s::bool[])
        AS new(id, seat, kind, ordinal, human)
"""
# Waiting for people is not the council's own time, so that it comes on top of what the run has.
_LENGTHEN = "UPDATE council_run SET deadline_at = deadline_at + %s * interval '1 second' WHERE id = %s"
# A stage boundary: what people said since the last one is read by the seats of this round.
_OPEN_ROUND = f"""
    WITH opened AS (
        INSERT INTO council_round (id, run_id, number, stage, sealed, opened_at)
        VALUES (%(round)s, %(run)s, %(number)s, %(stage)s, %(sealed)s, clock_timestamp()) RETURNING opened_at
    ), delivered AS (
        UPDATE council_message SET delivered_in_id = %(round)s WHERE session_id = %(session)s AND delivered_in_id IS NULL
    ), mirrored AS (
        UPDATE council_councilsession SET round = %(number)s WHERE id = %(session)s
    ), asked AS ({_INSERT_TURNS})
    SELECT opened_at FROM opened
"""  # noqa: S608  # a constant within a constant
_ROUND_ID = "SELECT id FROM council_round WHERE run_id = %s AND number = %s"
_CLOSE_ROUND = """
    UPDATE council_round SET closed_at = clock_timestamp() WHERE run_id = %s AND number = %s AND closed_at IS NULL
    RETURNING id, stage, sealed, closed_at
"""


def _ask(run: RunRef, state: t.RunState, step: t.Ask, taker: str) -> list[Claim]:
    ids = [uuid7() for _ in step.turns]
    seats = [UUID(turn.seat) if turn.seat else None for turn in step.turns]
    kinds = [turn.kind.value for turn in step.turns]
    seated = {seat.id for seat in state.seats if seat.human}
    people = [turn.kind is t.TurnKind.GATE or turn.seat in seated for turn in step.turns]
    if any(people):
        sql.change(_LENGTHEN, [state.protocol.human_deadline_s, run.run_id])
    asked = {
        "session": run.session_id,
        "turns": ids,
        "seats": seats,
        "kinds": kinds,
        "ordinals": [turn.ordinal for turn in step.turns],
        "people": people,
        "patience": state.protocol.human_deadline_s,
    }
    if any(round_.number == step.number for round_ in state.rounds):
        sql.change(_INSERT_TURNS, {**asked, "round": _one(sql.row(_ROUND_ID, [run.run_id, step.number]))})
    else:
        _open_round(run, step, {**asked, "sealed": bool(seated) and step.stage in t.SEALED_FROM_PEOPLE})
    if step.stage is t.Stage.GATE:
        _open_gate(run, state, step.number, ids[0])
    if any(people):
        news.people_asked(run.session_id, [one for one, human in zip(ids, people, strict=True) if human])
    if taker and len(ids) <= turns.TOGETHER and None not in seats and not any(people):
        return claims.take(run.session_id, ids, taker)
    turns.dispatch(
        run.session_id, [(one, kind) for one, kind, human in zip(ids, kinds, people, strict=True) if not human]
    )
    return []


def _open_round(run: RunRef, step: t.Ask, asked: Json) -> None:
    values = {**asked, "round": uuid7(), "run": run.run_id, "number": step.number, "stage": step.stage.value}
    opened_at = _one(sql.row(_OPEN_ROUND, values))
    seats = [turn.seat for turn in step.turns if turn.seat is not None]
    key = serial.round_key(run.number, step.number, step.stage.value)
    log.append(run.stream, events.round_started(key, opened_at, seats))


def _open_gate(run: RunRef, state: t.RunState, number: int, turn: UUID) -> None:
    deadline = _one(sql.row("SELECT deadline_at FROM council_turn WHERE id = %s", [turn]))
    key = serial.round_key(run.number, number, t.Stage.GATE)
    log.append(run.stream, events.gate_opened(key, turn, deadline, gate_json(state)))


def gate_json(state: t.RunState) -> Json:
    """The computed outcome that a person is asked about, and the decisions that are open to them."""
    tally, end = final_tally(state), ending.conclude(state)
    winner = tally.winning if tally else None
    allowed = ["approve", *([] if gates.why_no_debate(state) else ["debate"]), "stop"]
    return {
        "outcome": end.outcome.value if end.outcome else "",
        "option": winner.option if winner else None,
        "text": strip_marks(winner.text) if winner else None,
        "decided_by": tally.decided_by if tally else "",
        "margin": tally.margin if tally else None,
        "too_close": tally.too_close if tally else False,
        "allowed": allowed,
    }


def _one(found: tuple[Any, ...] | None) -> Any:
    if found is None:
        raise RuntimeError("a row that is there, or was just made, was not found")
    return found[0]


def close_round(run: RunRef, state: t.RunState, number: int) -> None:
    """Close it, and open what was sealed."""
    closed = sql.row(_CLOSE_ROUND, [run.run_id, number])
    if closed is None:
        return
    round_id, stage, sealed, moment = closed
    ballots, texts = opened_ballots(state, round_id, number) if stage == t.Stage.BALLOT else ([], [])
    opened = serial.opened_turns(round_id) if sealed else None
    key = serial.round_key(run.number, number, stage)
    log.append(run.stream, events.round_closed(key, moment, ballots, texts, opened))


def opened_ballots(state: t.RunState, round_id: UUID, number: int) -> tuple[list[Json], list[Json]]:
    """The ballots of a closed round, and the texts that they rank."""
    return serial.ballots(round_id), serial.texts(ballot_texts(state, number))


_OPEN = (t.TurnStatus.PENDING, t.TurnStatus.RUNNING)


def _conclude(ref: RunRef, state: t.RunState, step: t.Conclude) -> None:
    run = Run.objects.select_related("session").get(pk=ref.run_id)
    session = run.session
    if any(turn.status in _OPEN for round_ in state.rounds for turn in round_.turns):
        turns.cancel_open(session, run)  # a quorum out of reach is not waited for
    if step.status == "completed":
        decision = decisions.record(session, run, state, step)
        log.append(session, events.decision_reached(decision))
        failpoint("council.conclude.decided")
    end_run(session, run, RunStatus(step.status), step.reason)


def end_run(session: CouncilSession, run: Run, status: RunStatus, reason: str = "") -> None:
    """Close the run and let the session mirror it. Rounds left open (a stop, a failure) are closed with it."""
    if unclosed := list(Round.objects.filter(run=run, closed_at=None).values_list("number", flat=True)):
        state = load(run.pk)
        for number in unclosed:
            close_round(RunRef(session.pk, run.pk, run.number), state, number)
    mark_ended(session, run, status, reason)


def mark_ended(session: CouncilSession, run: Run, status: RunStatus, reason: str) -> None:
    """``end_run`` without a look at the record; its open rounds stay as they are."""
    now = timezone.now()
    run.status, run.reason, run.finished_at = status, reason, now
    session.reason = reason
    run.save(update_fields=["status", "reason", "finished_at"])
    session.status, session.finished_at = SessionStatus(status), now
    session.version += 1
    session.save(update_fields=["status", "reason", "finished_at", "version"])
    log.append(session, events.session_moved(session, status.value, reason=reason))
    news.session_changed(session, status.value)
    failpoint("council.conclude.ended")


def stop(session: CouncilSession, run: Run, reason: str) -> None:
    """End an open run now, with whatever it is at. Under the session's lock."""
    turns.cancel_open(session, run)
    end_run(session, run, RunStatus.STOPPED, reason)


def archive(session: CouncilSession) -> None:
    """Under the session's lock, and only what is a draft or finished: the states allow no other."""
    session.status = SessionStatus.ARCHIVED
    session.version += 1
    session.save(update_fields=["status", "version"])
    log.append(session, events.session_moved(session, "archived"))
    news.session_changed(session, "archived")
