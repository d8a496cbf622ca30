"""The lease protocol of a turn: claim, renew, give back.

A *claim* is a worker's right to finish one attempt of one turn. It ends when the lease runs out, when the session is stopped or
when the user interrupts; whatever the worker does afterwards is fenced off by the token. Sessions are always locked before
turns: claims that took the turn first deadlocked against ``stop`` 261 times in 600 when measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from council import events, sql
from council.models import CouncilSession, Turn
from council.states import SERVING, SessionStatus, TurnStatus
from realtime import log
from realtime.errors import NotFound
from realtime.failpoints import failpoint


class Claim(NamedTuple):
    """One attempt of one turn, and everything about it that cannot change while it runs. In the order of ``_TAKE``'s columns."""

    turn_id: UUID
    session_id: UUID
    run_id: UUID
    run_number: int
    run_seed: int
    round_id: UUID
    round_number: int
    stage: str
    kind: str
    seat_id: UUID | None
    ordinal: int
    attempt: int
    token: UUID
    started_at: datetime
    deadline_at: datetime
    error: str  # of the attempt before this one
    error_detail: str
    sealed: bool  # the round's answers are not to be read before it is closed
    person: UUID | None  # who took it, where no worker did

    @property
    def seat(self) -> UUID:
        """The seat of a turn that has one; tallies have none."""
        if self.seat_id is None:
            raise RuntimeError(f"a {self.kind} turn has no seat")
        return self.seat_id

    def seconds_left(self) -> float:
        return (self.deadline_at - timezone.now()).total_seconds()


class Claimed(NamedTuple):
    """What came of asking for several turns at once."""

    claims: list[Claim]
    late: list[UUID]  # their deadline, which spans all attempts, passed before anybody took them


def lock_session(session_id: UUID, *, skip_locked: bool = False) -> CouncilSession | None:
    rows = CouncilSession.objects.select_for_update(no_key=True, skip_locked=skip_locked, of=("self",))
    return rows.filter(pk=session_id).order_by().first()


def lock_owned(user: User, session_id: UUID) -> CouncilSession:
    """The user's own session, locked. Raises ``NotFound``, also for another user's."""
    session = lock_session(session_id)
    if session is None or session.owner_id != user.pk:
        raise NotFound("There is no such council session.")
    return session


def lock_session_of(turn_id: UUID) -> CouncilSession:
    """The session of a turn, locked. Raises ``Turn.DoesNotExist`` for an unknown turn."""
    rows = CouncilSession.objects.select_for_update(no_key=True, of=("self",)).filter(turns=turn_id)
    session = rows.first()
    if session is None:
        raise Turn.DoesNotExist
    return session


def lock_turn(turn_id: UUID) -> Turn:
    """Only under the session's lock."""
    rows = Turn.objects.select_for_update(no_key=True, of=("self",)).select_related("session", "round__run")
    return rows.get(pk=turn_id)


_LOCK_SESSION = "SELECT status FROM council_councilsession WHERE id = %s FOR NO KEY UPDATE"
_TAKE = """
    UPDATE council_turn AS turn
    SET status = 'running', attempt = turn.attempt + 1, lease_token = gen_random_uuid(), worker = %(worker)s,
        person_id = %(person)s,
        lease_expires_at = clock_timestamp() + %(lease)s * interval '1 second',
        started_at = coalesce(turn.started_at, clock_timestamp()),
        deadline_at = coalesce(
            turn.deadline_at, clock_timestamp() + (run.protocol ->> 'turn_deadline_s')::float8 * interval '1 second'
        )
    FROM council_round AS round JOIN council_run AS run ON run.id = round.run_id
    WHERE turn.id = ANY(%(turns)s::uuid[]) AND turn.session_id = %(session)s AND round.id = turn.round_id
      AND turn.human = (%(person)s::uuid IS NOT NULL) AND (%(running)s OR turn.kind = 'reply')
      AND turn.status = 'pending' AND turn.not_before <= clock_timestamp()
      AND coalesce(turn.deadline_at > clock_timestamp(), true)
    RETURNING turn.id, turn.session_id, round.run_id, run.number, run.seed, round.id, round.number, round.stage, turn.kind,
              turn.seat_id, turn.ordinal, turn.attempt, turn.lease_token, turn.started_at, turn.deadline_at, turn.error,
              turn.error_detail, round.sealed, turn.person_id
"""


def claim(session_id: UUID, turn_ids: Sequence[UUID], worker: str) -> Claimed:
    """Take those of a session's turns that are pending and due, all in one transaction: one lock, one commit, one wake.

    Turns that are taken, finished or not due yet are left out, and all of them while the session does not run or is gone; but
    replies to people's questions are also given when it has finished.
    """
    with transaction.atomic():
        status, *_ = sql.row(_LOCK_SESSION, [session_id]) or ("",)
        if status not in SERVING:
            return Claimed([], [])
        taken = _take(session_id, turn_ids, worker=worker, person=None, running=status == SessionStatus.RUNNING)
        failpoint("council.claim.locked")
    failpoint("council.claim.committed")
    return Claimed(taken, _late(turn_ids) if len(taken) < len(turn_ids) else [])


def take(session_id: UUID, turn_ids: Sequence[UUID], worker: str) -> list[Claim]:
    """``claim`` under the lock of a session that runs."""
    return _take(session_id, turn_ids, worker=worker, person=None)


def take_as(session_id: UUID, turn_id: UUID, person: UUID) -> Claim | None:
    """A person's turn for that person, who has it done in this very transaction; None when it is over, late or a worker's.
    Only under the session's lock."""
    return next(iter(_take(session_id, [turn_id], worker="", person=person)), None)


def _take(
    session_id: UUID, turn_ids: Sequence[UUID], *, worker: str, person: UUID | None, running: bool = True
) -> list[Claim]:
    """In the order in which the turns were made, which their ids keep."""
    values = {
        "turns": list(turn_ids),
        "session": session_id,
        "worker": worker,
        "person": person,
        "running": running,
    }
    taken = sorted(Claim(*row) for row in sql.rows(_TAKE, {**values, "lease": settings.TURN_LEASE_S}))
    log.append(CouncilSession(pk=session_id), *map(events.turn_claimed, taken))
    return taken


_LOOK = """
    SELECT turn.id, turn.session_id, round.run_id, run.number, run.seed, round.id, round.number, round.stage, turn.kind,
           turn.seat_id, turn.ordinal, turn.attempt + 1, turn.id, clock_timestamp(), turn.deadline_at, turn.error, turn.error_detail,
           round.sealed, turn.person_id
    FROM council_turn AS turn JOIN council_round AS round ON round.id = turn.round_id JOIN council_run AS run ON run.id = round.run_id
    WHERE turn.id = %s AND turn.human AND turn.status = 'pending'
"""


def look(turn_id: UUID) -> Claim | None:
    """A person's turn as it would be claimed, to see what its seat may know. It is no claim: its token fits nothing."""
    found = sql.row(_LOOK, [turn_id])
    return Claim(*found) if found else None


def _late(turn_ids: Sequence[UUID]) -> list[UUID]:
    late = Turn.objects.filter(pk__in=turn_ids, status=TurnStatus.PENDING, deadline_at__lte=timezone.now())
    return list(late.values_list("pk", flat=True))


_RENEW = """
    UPDATE council_turn AS turn SET lease_expires_at = now() + %s * interval '1 second'
    FROM unnest(%s::uuid[], %s::uuid[]) AS held(id, token)
    WHERE turn.id = held.id AND turn.lease_token = held.token AND turn.status = 'running'
    RETURNING turn.id
"""


def renew(held: Mapping[UUID, UUID]) -> set[UUID]:
    """Renew the leases of ``{turn id: token}`` in one statement and return the turns that are still ours.

    Whatever is missing from the answer was stopped, interrupted or taken over: its model call must be cancelled. The renewal is
    the reading of the stop flag.
    """
    found = sql.rows(_RENEW, [settings.TURN_LEASE_S, list(held), list(held.values())])
    return {row[0] for row in found}


_STILL_HELD = """
    SELECT turn.id FROM council_turn AS turn
    JOIN unnest(%s::uuid[], %s::uuid[]) AS held(id, token) ON turn.id = held.id AND turn.lease_token = held.token
    WHERE turn.status = 'running' ORDER BY turn.id FOR NO KEY UPDATE OF turn
"""


class Held(NamedTuple):
    """Which turns of a session that is locked now its claims still own; the others were fenced off."""

    turns: set[UUID]
    running: bool  # the session, which may be paused


def lock_held(session_id: UUID, claims: Sequence[Claim]) -> Held:
    """Lock the session, then those of its turns that these claims still own."""
    found = sql.row(_LOCK_SESSION, [session_id])
    if found is None:
        return Held(set(), running=False)
    ids, tokens = [claim.turn_id for claim in claims], [claim.token for claim in claims]
    held = {row[0] for row in sql.rows(_STILL_HELD, [ids, tokens])}
    return Held(held, running=found == (SessionStatus.RUNNING,))


def lock_one(claim: Claim) -> bool:
    """``lock_held`` of a single claim."""
    return claim.turn_id in lock_held(claim.session_id, [claim]).turns
