"""Copying closed rounds into another run, for forks and reconsiderations. Only under the lock of the session that they are copied into.

Copies are turns of their own (``copied_from`` names the original) and are told of by the events of any other turn, so that log, snapshot
and recount know them. Nobody is charged for them: the calls stay with the original. Counts are made anew from the copied answers
and ballots by the recorded opinion of which answers say the same; where nothing was left out, they come out as they were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from council import counting, events, serial, turns
from council.deliberation import ballots as b
from council.deliberation import carrying as pure
from council.deliberation import citations
from council.deliberation.types import HUMAN, SEALED_FROM_PEOPLE, Answer, RoundState, RunState, Stage, TurnKind
from council.desk import HISTORY
from council.models import Ballot, CouncilSession, Message, Round, Run, Seat, Turn
from council.state import load, protocol_of
from council.states import TurnStatus
from council.steps import opened_ballots
from realtime import log
from realtime.errors import IllegalState

Json = dict[str, Any]
_SAME = (
    "kind", "ordinal", "status", "attempt", "model_errors", "not_before", "evidence", "result", "error", "error_detail",
    "started_at", "finished_at", "human", "person_id", "seen_at",
)  # fmt: skip


class Carrier:
    """Carries what is kept of ``source`` into the new ``run``; ``seats`` maps the ids of the seats that sit in both."""

    def __init__(self, session: CouncilSession, run: Run, source: Run, seats: Mapping[str, str]) -> None:
        self.session, self.run, self.source, self.seats = session, run, source, seats
        self.before: RunState = load(source.pk)

    def rounds(self, kept: pure.Kept) -> None:
        """Copy them, ask the seats of the last one that are to answer again, and mirror where the run stands."""
        for round_ in self.before.rounds[: kept.rounds]:
            again = kept.asked_again if round_.number == kept.rounds else ()
            self._round(round_, again)
        self._messages(kept.rounds)
        if kept.rounds:
            self._mirror(kept.rounds)

    def _mirror(self, number: int) -> None:
        self.session.round = number
        self.session.save(update_fields=["round"])

    def _round(self, old: RoundState, again: Sequence[str]) -> None:
        stored = Round.objects.get(run=self.source, number=old.number)
        ended = (
            {"opened_at": timezone.now()} if again else {"opened_at": stored.opened_at, "closed_at": stored.closed_at}
        )
        sealed = bool(again) and is_sealed(self.session, old.stage)
        round_ = Round.objects.create(run=self.run, number=old.number, stage=old.stage, sealed=sealed, **ended)
        wanted = pure.turns_kept(old, self.seats, again)
        rows = Turn.objects.filter(pk__in=wanted).order_by("created_at", "id")
        copies = [self._turn(turn, round_) for turn in rows]
        Turn.objects.bulk_create(copies)
        asked = open_turns(self.session, round_, [self.seats[seat] for seat in again]) if again else []
        self._told(round_, copies, asked)
        if not again:
            self._close(old, round_, copies)

    def _turn(self, turn: Turn, round_: Round) -> Turn:
        return copy_of(turn, self.session, round_, self._result(turn), self.seats.get(str(turn.seat_id)))

    def _result(self, turn: Turn) -> Json | None:
        if turn.kind != TurnKind.ANSWER or turn.result is None:
            return turn.result
        said = Answer.model_validate(turn.result["answer"])
        number = turn.round.number
        renamed = pure.answer_for(self.before, number, str(turn.seat_id), said, self.seats)
        return {**turn.result, "answer": renamed.model_dump(mode="json")}

    def _told(self, round_: Round, copies: Iterable[Turn], asked: Iterable[str]) -> None:
        tell(self.session, self.run, round_, copies, asked)

    def _close(self, old: RoundState, round_: Round, copies: Sequence[Turn]) -> None:
        key = serial.round_key(self.run.number, round_.number, round_.stage)
        if old.stage is Stage.BALLOT:
            self._ballots(round_, copies)
        if old.tally is not None:
            tally = counting.count(load(self.run.pk), round_.number, old.tally.merging)
            round_.tally = tally.model_dump(mode="json")
            round_.save(update_fields=["tally"])
            log.append(self.session, events.tally_recounted(key, round_.tally))
        opened = old.stage is Stage.BALLOT
        ballots, texts = opened_ballots(load(self.run.pk), round_.pk, round_.number) if opened else ([], [])
        if round_.closed_at is None:
            raise RuntimeError("a round that is kept whole was closed")
        log.append(self.session, events.round_closed(key, round_.closed_at, ballots, texts, None))

    def _ballots(self, round_: Round, copies: Sequence[Turn]) -> None:
        """Over the texts that are left. In which order a voter read them is part of the record, and stays."""
        number = round_.number
        texts = counting.ballot_texts(load(self.run.pk), number)
        ids, own = pure.text_ids(counting.ballot_texts(self.before, number), texts), b.own_texts(texts)
        old = {ballot.turn_id: ballot for ballot in Ballot.objects.filter(round__run=self.source, round__number=number)}
        cast = {turn.seat: turn.ballot for turn in self.before.rounds[number - 1].turns if turn.ballot}
        back = {new: seat for seat, new in self.seats.items()}
        rows = []
        for turn in copies:
            paper, ballot = old.get(turn.copied_from_id or turn.pk), cast.get(back.get(str(turn.seat_id), ""))
            if paper is None or ballot is None or turn.seat_id is None:
                continue
            mine = pure.ballot_for(ballot, ids, own.get(str(turn.seat_id), set()))
            order = [ids[one] for one in paper.order if one in ids]
            vote = {"ranking": list(mine.ranking), "scores": dict(mine.scores), "abstain": mine.abstain}
            rows.append(Ballot(turn=turn, round=round_, seat_id=turn.seat_id, order=order, **vote))
        Ballot.objects.bulk_create(rows)

    def _messages(self, kept: int) -> None:
        """What people had said by then, so that the seats go on reading it. Questions to one seat stay where they were asked."""
        rounds = {round_.number: round_ for round_ in Round.objects.filter(run=self.run)}
        if not kept:
            return
        theirs = Message.objects.filter(session=self.source.session_id, seat=None, delivered_in__isnull=False)
        for message in theirs.select_related("delivered_in__run").order_by("created_at", "id"):
            place = message.delivered_in
            if place is None or (place.run.number, place.number) > (self.source.number, kept):
                continue
            here = rounds[place.number if place.run_id == self.source.pk else 1]
            said = {name: getattr(message, name) for name in ("author", "kind", "content", "interrupt")}
            copy = Message.objects.create(session=self.session, delivered_in=here, **said)
            log.append(self.session, events.message_created(copy))


def copy_of(turn: Turn, session: CouncilSession, round_: Round, result: Json | None, seat: str | None) -> Turn:
    """The turn in another round, not stored yet. Answers that change their list of evidence are not copied but asked for."""
    same = {name: getattr(turn, name) for name in _SAME}
    return Turn(
        **{**same, "result": result},
        session=session,
        round=round_,
        seat_id=UUID(seat) if seat else None,
        copied_from=turn,
    )


def is_sealed(session: CouncilSession, stage: str) -> bool:
    """Whether a round of this stage, while it is open, is to be kept from the people who sit at the table."""
    return stage in SEALED_FROM_PEOPLE and session.seats.filter(model=HUMAN).exists()


def open_turns(session: CouncilSession, round_: Round, seats: Iterable[str]) -> list[str]:
    """Ask these seats for an answer in a round that is not closed; returns them."""
    now = timezone.now()
    people = {str(pk) for pk in session.seats.filter(model=HUMAN).values_list("pk", flat=True)}
    patience = timedelta(seconds=protocol_of(round_.run).human_deadline_s)
    new = [
        Turn(
            session=session,
            round=round_,
            seat_id=UUID(seat),
            kind=TurnKind.ANSWER,
            human=seat in people,
            deadline_at=now + patience if seat in people else None,
            not_before=now,
            dispatched_at=now,
        )
        for seat in seats
    ]
    Turn.objects.bulk_create(new)
    if any(turn.human for turn in new):  # as ``steps`` does: waiting for people is not the council's own time
        Run.objects.filter(pk=round_.run_id).update(deadline_at=F("deadline_at") + patience)
    Message.objects.filter(session=session, delivered_in=None).update(delivered_in=round_)
    turns.dispatch(session.pk, [(turn.pk, turn.kind) for turn in new if not turn.human])
    return [str(turn.seat_id) for turn in new]


def tell(session: CouncilSession, run: Run, round_: Round, copies: Iterable[Turn], asked: Iterable[str]) -> None:
    """The events of a round that begins with what was copied into it."""
    copies = list(copies)
    first = [str(turn.seat_id) for turn in copies if turn.seat_id and turn.ordinal == 0]
    key = serial.round_key(run.number, round_.number, round_.stage)
    log.append(session, events.round_started(key, round_.opened_at, [*first, *asked]))
    log.append(session, *(events.turn_moved(turn, turn.status) for turn in copies))


def history_before(run: Run) -> list[str]:
    """The decisions that the seats of a run have read: the latest before it, oldest first."""
    earlier = Run.objects.filter(session=run.session_id, number__lt=run.number, decision__isnull=False)
    answers = earlier.order_by("-number").values_list("decision__answer", flat=True)[:HISTORY]
    own = [citations.strip_marks(answer) for answer in reversed(answers)]
    inherited: list[str] = (run.origin or {}).get("history", [])
    return [*inherited, *own][-HISTORY:]


# --- forks ------------------------------------------------------------------------------------------------------------


def tainted(run: Run, entries: Collection[str]) -> dict[int, set[str]]:
    """Round -> seats that were shown one of these entries there, or cite one."""
    found: dict[int, set[str]] = {}
    for turn in Turn.objects.filter(round__run=run, status=TurnStatus.COMPLETED, seat__isnull=False).select_related(
        "round"
    ):
        cited = (turn.result or {}).get("citations", [])
        if turn.kind != TurnKind.REPLY and any(one["entry"] in entries for one in [*turn.evidence, *cited]):
            found.setdefault(turn.round.number, set()).add(str(turn.seat_id))
    return found


def fork_into(session: CouncilSession, run: Run) -> None:
    """Begin the first run of a fork with what it keeps. Raises ``IllegalState`` when the original is gone."""
    origin = session.forked_from or {}
    source = Run.objects.filter(
        session=origin["session"], number=origin["run"], session__owner=session.owner_id
    ).first()
    if source is None:
        raise IllegalState("The council that this one was forked from is gone.", code="fork_source_gone")
    run.seed = source.seed  # the orders and ties of what is kept were decided by it
    kept = pure.Kept(origin["kept"], tuple(origin["asked_again"]))
    run.origin = {**{name: origin[name] for name in ("session", "run", "kept", "new_from")}, "kind": "fork"}
    run.origin["history"] = history_before(source)
    run.save(update_fields=["seed", "origin"])
    Carrier(session, run, source, seats_of(session, source, origin["changes"])).rounds(kept)


def seats_of(session: CouncilSession, source: Run, changes: Mapping[str, Any]) -> dict[str, str]:
    """Old seat -> new seat. They sit in the same order; a chair that had to be added sits behind them."""
    gone = set(changes.get("without_seats", ()))
    old = Seat.objects.filter(session=source.session_id).order_by("position").values_list("pk", flat=True)
    new = Seat.objects.filter(session=session).order_by("position").values_list("pk", flat=True)
    return dict(zip((str(seat) for seat in old if str(seat) not in gone), map(str, new), strict=False))
