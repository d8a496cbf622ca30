"""A question before a real council: sessions made by the services, driven by what workers run, read back as rows.

The driver is one more worker. It claims what is due in its own session and runs it by the same functions as the Celery tasks; when
the workers of ``manage.py up`` come first it waits for them. Claims are fenced, so neither does what the other does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, Sum
from django.utils import timezone

from accounts.models import User
from council import runner, services, workers
from council.defaults import Agent
from council.deliberation.protocol import PRESETS, ProtocolError, check_options, final_tally, flips, resolve
from council.deliberation.types import Answer, Candidate, Outcome, RunState, Stage, Tally, TurnKind
from council.endpoints import unpriced
from council.models import CouncilSession, Decision, LlmCall, Run, Turn
from council.selectors import latest_decision
from council.state import load
from council.states import RunStatus, SessionStatus
from council.trials.questions import Estimate, Question, Said
from council.trials.rows import Flipped, Status
from council.trials.stopping import Stop
from realtime.errors import IllegalState

POLL_S = 0.05
TITLE = "trial"
_AT_WORK = (SessionStatus.RUNNING, SessionStatus.PAUSED)
EVIDENCE_K = 4  # passages that a seat reads, in councils and alone


@dataclass(frozen=True)
class Table:
    """Who sits, and what they may use. Seats have neither role nor instructions: they differ by model and seed alone."""

    owner: User
    seats: int
    models: Sequence[str]  # dealt to the seats in turn; "" = the default
    chair: str
    tokens: int
    deadline_s: float
    packs: Sequence[UUID]

    @property
    def agents(self) -> list[Agent]:
        dealt = [self.models[n % len(self.models)] for n in range(self.seats)]
        voters = [Agent(name=f"Seat {n}", model=model) for n, model in enumerate(dealt, start=1)]
        return [*voters, Agent(name="Chair", model=self.chair, chair=True)]


def settings_for(preset: str, question: Question, deadline_s: float = 600) -> dict[str, Any] | None:
    """The protocol as a session takes it; None where the question is none for it: estimates are put to no ballot, and a delphi asks
    for nothing else."""
    found: dict[str, Any] = {
        "preset": preset,
        "evidence_k": EVIDENCE_K,
        "turn_deadline_s": deadline_s,
        "run_deadline_s": min(deadline_s * 12, 86_400.0),
    }
    if question.scale is not None:
        found["estimate"] = question.scale.model_dump(mode="json")
    elif PRESETS[preset].estimate is not None:
        return None
    try:
        check_options(resolve(found), question.options)
    except ProtocolError:
        return None
    return found


def hold(table: Table, preset: str, question: Question, title: str, stop: Stop) -> CouncilSession:
    """One council from its draft to its end. Raises ``Interrupted``, having stopped it, and whatever the services refuse."""
    protocol = settings_for(preset, question, table.deadline_s)
    if protocol is None:
        raise ValueError(f"{question.id} is no question for {preset}")
    plan = services.Plan(
        question=question.question,
        title=title,
        options=question.options,
        packs=table.packs if question.entries else (),
        agents=table.agents,
        protocol=protocol,
        budget={"tokens": table.tokens},
    )
    session = services.create_session(table.owner, plan)
    try:
        with stop.watching(partial(end, table.owner, session.pk)):
            services.start(table.owner, session.pk)
            drive(session.pk, stop)
    finally:
        put_away(table.owner, session.pk)
    return CouncilSession.objects.get(pk=session.pk)


def put_away(owner: User, session_id: UUID) -> None:
    """Out of its owner's lists, where it would be in the way; by id it stays readable, and so it does in the admin."""
    end(owner, session_id)
    services.archive(owner, session_id)


def end(owner: User, session_id: UUID) -> None:
    """Stop it, if it runs; whoever works on it is told within a heartbeat."""
    try:
        services.stop(owner, session_id)
    except IllegalState:
        return  # it was not running, or has just concluded


def drive(session_id: UUID, stop: Stop) -> None:
    """Work on what is due until the session has ended. Raises ``Interrupted``."""
    while True:
        stop.check()
        due = _due(session_id)
        if due:
            _work(session_id, due)
        elif not CouncilSession.objects.filter(pk=session_id, status__in=_AT_WORK).exists():
            return
        else:
            time.sleep(POLL_S)


def _due(session_id: UUID) -> list[tuple[UUID, str]]:
    due = Turn.objects.filter(session=session_id, session__status=SessionStatus.RUNNING, status="pending")
    return list(due.filter(not_before__lte=timezone.now()).order_by("created_at", "id").values_list("pk", "kind"))


def _work(session_id: UUID, due: Sequence[tuple[UUID, str]]) -> None:
    for turn in (pk for pk, kind in due if kind == TurnKind.TALLY):
        runner.run_tally(session_id, turn, workers.name())
    asked = [pk for pk, kind in due if kind != TurnKind.TALLY]
    if asked:
        runner.run_turns(session_id, asked, workers.name())


# --- reading it back --------------------------------------------------------------------------------------------------


def read(session: CouncilSession, question: Question) -> dict[str, Any]:
    """What a row says of the council: all fields but those that say which row it is."""
    run = Run.objects.get(session=session)
    state = load(run.pk)
    decision = latest_decision(session)
    tally = final_tally(state)
    said = _elected(tally, question) if tally and decision else None
    right = said is not None and question.right(said)
    stated = ((decision.confidence, right),) if decision and decision.confidence is not None and said else ()
    return {
        "status": _status(run, decision, said),
        "reason": session.reason or run.exhausted or "",
        "answer": question.key(said) if said else "",
        "score": float(right),
        "first": right,
        "stated": stated,
        "opening": _opening(state, question),
        "flips": tuple(_flips(state, question)),
        "session": str(session.pk),
        **_spent(session),
    }


def _status(run: Run, decision: Decision | None, said: Said | None) -> Status:
    if run.status != RunStatus.COMPLETED or decision is None:
        return "failed"
    if said is None or decision.outcome == Outcome.NO_CONSENSUS:
        return "no_consensus"
    return "partial" if decision.outcome == Outcome.PARTIAL else "decided"


def _elected(tally: Tally, question: Question) -> Said | None:
    """What the council decided: the candidate that the count elected, which the chair's text is bound to; of estimates the median."""
    if isinstance(question, Estimate):
        return Said(estimate=tally.estimates.median) if tally.estimates else None
    winner = tally.winning
    return _of(winner) if winner else None


def _of(candidate: Candidate) -> Said:
    return Said(option=candidate.option, text=candidate.text)


def _opening(state: RunState, question: Question) -> float | None:
    """The score of what most seats held before they had read each other; of several that are level the mean."""
    first = next((round_.tally for round_ in state.rounds if round_.stage is Stage.OPENING and round_.tally), None)
    if first is None:
        return None
    if isinstance(question, Estimate):
        return float(first.estimates is not None and question.right(Said(estimate=first.estimates.median)))
    held = [one for one in first.candidates if one.seats]
    leading = [one for one in held if len(one.seats) == max(len(other.seats) for other in held)]
    return sum(question.right(_of(one)) for one in leading) / len(leading) if leading else None


def _flips(state: RunState, question: Question) -> Iterator[Flipped]:
    for flip in flips(state):
        answers = [
            turn.answer
            for round_ in state.rounds
            if round_.number <= flip.round
            for turn in round_.turns
            if turn.seat == flip.seat and turn.kind is TurnKind.ANSWER and turn.answer is not None
        ]
        before, after = (question.right(_said(answer)) for answer in answers[-2:])
        yield Flipped(before=before, after=after, cause=flip.persuaded_by.kind if flip.persuaded_by else "unknown")


def _said(answer: Answer) -> Said:
    return Said(option=answer.option, estimate=answer.estimate, text=answer.answer)


def _spent(session: CouncilSession) -> Mapping[str, Any]:
    calls = LlmCall.objects.filter(session=session)
    found = calls.aggregate(
        prompt=Sum("prompt_tokens"),
        completion=Sum("completion_tokens"),
        guessed=Count("pk", filter=Q(estimated=True)),
        calls=Count("pk"),
        cost=Sum("usd"),
    )
    priced = not unpriced(session.seats.values_list("model", flat=True))
    return {
        "prompt_tokens": found["prompt"] or 0,
        "completion_tokens": found["completion"] or 0,
        "estimated": bool(found["guessed"]),
        "calls": found["calls"],
        "usd": float(found["cost"] or 0) if priced else None,
    }


def abandoned(owner: User, trial: str) -> int:
    """Put away what an earlier process left of this trial; how many councils that were."""
    ours = CouncilSession.objects.filter(owner=owner, title__startswith=f"{TITLE} {trial} ")
    left = list(ours.exclude(status=SessionStatus.ARCHIVED).values_list("pk", flat=True))
    for session_id in left:
        put_away(owner, session_id)
    return len(left)
