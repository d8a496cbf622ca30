"""How many independent votes a council's seats are worth, from the blind openings of past sessions with seats on the same models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from accounts.models import User
from council.deliberation.families import family_warnings
from council.deliberation.independence import LEAST, Estimate, Opening, estimate
from council.deliberation.types import HUMAN, Stage
from council.models import CouncilSession, Round
from council.selectors import sessions_for

Json = dict[str, Any]
SESSIONS_MAX = 1_000  # the newest; beyond, more say nothing new
BASIS = "agreement beyond chance at blind openings of closed questions; the truth is not known, so this is a floor"


def effective_votes(session: CouncilSession, past: QuerySet[CouncilSession]) -> Json:
    """``{seats, sessions, needed, rho, n_eff, basis, warnings}`` of the session's voters that are models; ``rho`` and ``n_eff`` are null
    while a pair of models has met in fewer than ``needed`` of the ``past`` sessions."""
    seated = [seat.model for seat in session.seats.all() if not seat.chair]
    voters = [model for model in seated if model != HUMAN]
    found: Estimate = estimate([model_of(name) for name in voters], openings(past))
    return {**found._asdict(), "needed": LEAST, "basis": BASIS, "warnings": family_warnings(seated)}


def for_owner(user: User, session: CouncilSession) -> Json:
    """From the user's own sessions: how other people's councils voted is not theirs to know, not even on average."""
    return effective_votes(session, sessions_for(user))


def for_staff(session: CouncilSession) -> Json:
    return effective_votes(session, CouncilSession.objects.all())


def model_of(name: str) -> str:
    return name or str(settings.LLM_MODEL)


def openings(sessions: QuerySet[CouncilSession]) -> Iterator[Opening]:
    """One for each session that put a closed question: its first run's opening."""
    rounds = (
        Round.objects.filter(stage=Stage.OPENING, number=1, run__number=1, tally__isnull=False)
        .filter(run__session__in=sessions.exclude(options=[]))
        .select_related("run__session")
        .prefetch_related("run__session__seats")
        .order_by("-opened_at", "-id")[:SESSIONS_MAX]
    )
    for round_ in rounds:
        session = round_.run.session
        models = {str(seat.pk): model_of(seat.model) for seat in session.seats.all() if seat.model != HUMAN}
        positions = (round_.tally or {})["agreement"]["positions"]
        held = {seat: position for seat, position in positions.items() if seat in models}
        if len(held) > 1:
            yield Opening([(models[seat], held[seat]) for seat in sorted(held)], len(session.options))
